//! What of a request counts: parameters of its query, and on hidden routes the values
//! that tell variants apart. Whatever is left out is as if it had not been sent, for
//! the look-up and for the origin alike.
//!
//! What always holds: a request that has been narrowed is not changed by it once more.

use super::normalise::Presented;
use super::site::{QueryRule, Rules};
use crate::rfc::fields::Fields;
use crate::rfc::vary;

/// The longest value that tells variants apart; a longer one counts as absent.
const LONGEST: usize = 256;

/// Takes away the parameters of the query that do not count.
pub fn query(presented: &mut Presented, rules: &Rules) {
    let QueryRule::Only(names) = &rules.query else { return };
    let Some((path, query)) = presented.path_and_query.split_once('?') else { return };
    let mut kept = String::new();
    for name in names {
        for pair in query.split('&').filter(|pair| pair.split('=').next() == Some(name)) {
            kept.push(if kept.is_empty() { '?' } else { '&' });
            kept.push_str(pair);
        }
    }
    presented.path_and_query = format!("{path}{kept}");
}

/// Brings the fields that a hidden route varies on into the form in which the origin
/// is asked. Returns them by name; those that are absent are left out.
pub fn variant(fields: &mut Fields, rules: &Rules) -> Vec<(String, String)> {
    let mut values = Vec::new();
    for name in rules.vary_on.iter() {
        let value = if name == "accept-encoding" {
            coding(fields, rules).map(str::to_owned)
        } else {
            let value = vary::normalised(name, fields, rules.sort_accept_language);
            value
                .filter(|value| value.len() <= LONGEST)
                .and_then(|value| String::from_utf8(value.into_owned()).ok())
        };
        match value {
            Some(value) => {
                fields.set(name, &value);
                values.push((name.to_owned(), value));
            }
            None => fields.remove(name),
        }
    }
    values.sort();
    values.dedup();
    values
}

/// The best coding of the route's that the client takes (RFC 9110 12.5.3).
fn coding<'a>(fields: &Fields, rules: &'a Rules) -> Option<&'a str> {
    let weight = |wanted: &str| {
        let mut any = None;
        for member in fields.members("accept-encoding") {
            let member = String::from_utf8_lossy(member).to_ascii_lowercase();
            let (coding, parameters) = member.split_once(';').unwrap_or((&member, ""));
            let refused = parameters.split(';').any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or_default();
                name.trim() == "q" && value.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
            });
            match coding.trim() {
                coding if coding == wanted => return !refused,
                "*" => any = Some(!refused),
                _ => {}
            }
        }
        any.unwrap_or(false)
    };
    rules.encodings.iter().find(|coding| weight(coding))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::site::FieldNames;

    fn names(names: &[&str]) -> FieldNames {
        FieldNames(names.iter().copied().map(Box::from).collect::<Arc<[Box<str>]>>())
    }

    #[test]
    fn a_client_gets_the_first_coding_of_the_route_that_it_takes() {
        let rules = Rules { encodings: names(&["br", "gzip"]), ..Rules::default() };
        for (asked, coding) in [
            (&["gzip, deflate, br"][..], Some("br")),
            (&["gzip", "BR;q=0.1"], Some("br")),
            (&["gzip, br;q=0"], Some("gzip")),
            (&["br;q=0.000, *"], Some("gzip")),
            (&["*"], Some("br")),
            (&["*;q=0"], None),
            (&["deflate, identity"], None),
            (&[], None),
        ] {
            let mut fields: Fields = asked.iter().map(|value| ("accept-encoding", *value)).collect();
            let values = variant(&mut fields, &rules);
            assert_eq!(values.first().map(|(_, value)| value.as_str()), coding, "{asked:?}");
            assert_eq!(fields.get_str("accept-encoding"), coding);
            assert_eq!(variant(&mut fields, &rules), values, "once more changes nothing");
        }
    }

    #[test]
    fn only_what_the_route_varies_on_counts_and_no_endless_values() {
        let rules = Rules { vary_on: names(&["accept-language", "x-device"]), ..Rules::default() };
        let long = "x".repeat(300);
        let mut fields: Fields =
            [("accept-language", "DE, en;q=1.0"), ("x-device", &long), ("cookie", "a=b")]
                .into_iter()
                .collect();
        let values = variant(&mut fields, &rules);
        assert_eq!(values, [("accept-language".to_owned(), "de,en".to_owned())]);
        assert!(!fields.contains("x-device") && fields.contains("cookie"));
    }
}
