//! Targeted cache control (RFC 9213): fields that speak to one kind of cache, in
//! place of `Cache-Control` and `Expires`.
//!
//! What always holds: of the fields in the list the first valid one governs alone
//! (2.2); one that is empty or is no Dictionary (RFC 9651) counts as absent (2.1);
//! a directive whose value has the wrong type is ignored, and so is one that is not
//! known. `Age`, `Date` and all other fields count as ever.

use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::fields::Fields;

/// The fields that govern storing and freshness, where one of the `targets` (names in
/// lower case, the most specific first) is valid. `None` where none is.
pub fn governing(fields: &Fields, targets: &[Box<str>]) -> Option<Fields> {
    let directives = targets.iter().find_map(|target| directives(fields, target))?;
    let mut governing = fields.clone();
    governing.retain(|name, _| name != b"cache-control" && name != b"expires");
    governing.push("cache-control", directives.as_bytes()).ok()?;
    Some(governing)
}

/// Which of the `targets` governs; `None` where none is valid.
pub fn which<'a>(fields: &Fields, targets: &'a [Box<str>]) -> Option<&'a str> {
    targets.iter().map(|target| &**target).find(|target| directives(fields, target).is_some())
}

/// What a targeted field says, as `Cache-Control` would say it.
fn directives(fields: &Fields, target: &str) -> Option<String> {
    if !fields.contains(target) {
        return None;
    }
    let lines: Vec<&[u8]> = fields.get_all(target).collect();
    let members = Parser::new(&lines.join(&b", "[..])).parse::<Dictionary>().ok()?;
    if members.is_empty() {
        return None;
    }
    let known = members.iter().filter_map(|(name, member)| match member {
        ListEntry::Item(item) => directive(name.as_str(), &item.bare_item),
        ListEntry::InnerList(_) => None,
    });
    Some(known.collect::<Vec<_>>().join(", "))
}

/// A directive that is known and has a value of its type.
fn directive(name: &str, value: &BareItem) -> Option<String> {
    match (name, value) {
        (
            "no-store" | "no-cache" | "private" | "public" | "must-revalidate" | "proxy-revalidate"
            | "must-understand" | "no-transform" | "immutable",
            BareItem::Boolean(true),
        ) => Some(name.to_owned()),
        (
            "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error",
            BareItem::Integer(seconds),
        ) => {
            let seconds = u64::try_from(i64::from(*seconds)).ok()?;
            Some(format!("{name}={seconds}"))
        }
        ("no-cache" | "private", BareItem::String(names)) => {
            let names = names.as_str();
            // A quote or a backslash is part of no field's name.
            let plain = !names.contains(['"', '\\']);
            Some(if plain { format!("{name}=\"{names}\"") } else { name.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn governed_by(said: &[(&str, &str)]) -> Option<String> {
        let targets = ["forebay-cache-control", "cdn-cache-control"].map(Box::from);
        let mut fields: Fields = [("cache-control", "no-store"), ("expires", "0")].into_iter().collect();
        for (name, value) in said {
            fields.push(name, value.as_bytes()).unwrap();
        }
        governing(&fields, &targets).map(|fields| {
            assert!(!fields.contains("expires"));
            String::from_utf8_lossy(fields.get("cache-control").unwrap_or_default()).into_owned()
        })
    }

    #[test]
    fn values_of_the_wrong_type_are_ignored_and_what_cannot_be_parsed_is_absent() {
        for (value, governing) in [
            ("max-age=60", Some("max-age=60")),
            ("max-age=60;a=1, foo=(1 2), bar", Some("max-age=60")),
            ("max-age=99999999999", Some("max-age=99999999999")),
            ("max-age=1, max-age=2", Some("max-age=2")),
            ("max-age=\"60\", no-store", Some("no-store")),
            ("max-age=60.5", Some("")),
            ("max-age=-1", Some("")),
            ("max-age", Some("")),
            ("no-store=?0, max-age=5", Some("max-age=5")),
            ("private=\"a, b\"", Some("private=\"a, b\"")),
            ("max-age =60", None),
            ("max-age=60,", None),
            ("MAX-AGE=60", None),
            ("max-age=9999999999999999", None),
            ("", None),
        ] {
            assert_eq!(governed_by(&[("cdn-cache-control", value)]).as_deref(), governing, "{value}");
        }
    }

    /// Section 2.2: those that it must know, and all others that `Cache-Control` has here.
    #[test]
    fn every_directive_is_known_in_a_targeted_field() {
        for known in [
            "max-age=1",
            "must-revalidate",
            "no-store",
            "no-cache",
            "private",
            "s-maxage=1",
            "public",
            "proxy-revalidate",
            "must-understand",
            "no-transform",
            "immutable",
            "stale-while-revalidate=1",
            "stale-if-error=1",
        ] {
            assert_eq!(governed_by(&[("cdn-cache-control", known)]).as_deref(), Some(known));
        }
    }

    #[test]
    fn the_first_valid_field_of_the_list_governs_alone() {
        let cdn = ("cdn-cache-control", "max-age=60, must-revalidate");
        assert_eq!(governed_by(&[cdn, ("forebay-cache-control", "max-age=5")]).as_deref(), Some("max-age=5"));
        assert_eq!(governed_by(&[cdn, ("forebay-cache-control", "&")]).as_deref(), Some(cdn.1));
    }
}
