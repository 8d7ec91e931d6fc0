//! `Vary` and the secondary key (RFC 9111 4.1, RFC 9110 12.5.5).
//!
//! What always holds: a missing field matches a missing field only; values are
//! compared after white space that means nothing has gone, and `Accept-Encoding`
//! and `Accept-Language` without regard to letter case.

use std::borrow::Cow;

use super::fields::Fields;

/// What a response varies on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VaryNames {
    /// On what no cache can see: `*`.
    Star,
    /// On these request fields, in lower case, sorted, each once; none at all
    /// where there is no `Vary`.
    Names(Vec<String>),
}

/// What the response varies on, over all of its lines.
pub fn names(fields: &Fields) -> VaryNames {
    let mut names = Vec::new();
    for member in fields.members("vary") {
        if member == b"*" {
            return VaryNames::Star;
        }
        names.push(String::from_utf8_lossy(member).to_ascii_lowercase());
    }
    names.sort_unstable();
    names.dedup();
    VaryNames::Names(names)
}

/// The nominated request fields and their values: one byte string, in which each
/// name is followed by its normalised value, or by the mark of its absence.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SecondaryKey {
    #[expect(clippy::box_collection, reason = "most have none, and a word for it")]
    bytes: Option<Box<Vec<u8>>>,
}

/// Ends a name, a value or an absence. None of them can be part of a field.
const NAME_END: u8 = 0;
const VALUE_END: u8 = 1;
const ABSENT: u8 = 2;

impl SecondaryKey {
    /// The key of a request under these names.
    pub fn of(names: &[String], request: &Fields, sort_accept_language: bool) -> Self {
        let mut bytes = Vec::new();
        for name in names {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(NAME_END);
            match normalised(name, request, sort_accept_language) {
                None => bytes.push(ABSENT),
                Some(value) => {
                    bytes.extend_from_slice(&value);
                    bytes.push(VALUE_END);
                }
            }
        }
        bytes.shrink_to_fit();
        SecondaryKey { bytes: (!bytes.is_empty()).then(|| Box::new(bytes)) }
    }

    /// Whether a request selects the response that this is the key of.
    pub fn matches(&self, request: &Fields, sort_accept_language: bool) -> bool {
        self.entries().all(|(name, value)| {
            let asked = normalised(name, request, sort_accept_language);
            asked.as_deref() == value
        })
    }

    /// The nominated names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(name, _)| name)
    }

    /// Whether nothing is nominated.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }

    /// The key as bytes, for hashing.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The nominated names, each with its value unless it was absent.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            let end = rest.iter().position(|&b| b == NAME_END)?;
            // Names are lower-cased text; nothing else is ever put in here.
            let name = std::str::from_utf8(&rest[..end]).ok()?;
            rest = &rest[end + 1..];
            let end = rest.iter().position(|&b| b == VALUE_END || b == ABSENT)?;
            let value = (rest[end] == VALUE_END).then(|| &rest[..end]);
            rest = &rest[end + 1..];
            Some((name, value))
        })
    }
}

/// The value of a request field in the form in which it is compared.
pub fn normalised<'a>(name: &str, request: &'a Fields, sort_accept_language: bool) -> Option<Cow<'a, [u8]>> {
    let mut lines = request.get_all(name);
    // The fields of a request outlive the name they are looked up by.
    let first = request.get(name)?;
    lines.next();
    let single = lines.next().is_none();
    let negotiates = name == "accept-encoding" || name == "accept-language";
    if single && !negotiates && !first.contains(&b',') {
        return Some(Cow::Borrowed(first));
    }
    let mut members: Vec<Vec<u8>> = request
        .members(name)
        .map(|member| if negotiates { negotiated(member) } else { member.to_vec() })
        .collect();
    // Members of equal weight have no order, and the weights stand beside them.
    if name == "accept-encoding" || (name == "accept-language" && sort_accept_language) {
        members.sort_unstable();
        members.dedup();
    }
    Some(Cow::Owned(members.join(&b',')))
}

/// A member of a negotiating field without what means nothing: letter case, white
/// space, and a weight of one.
fn negotiated(member: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = member.to_ascii_lowercase();
    text.retain(|b| !b.is_ascii_whitespace());
    for weight in [&b";q=1"[..], b";q=1.", b";q=1.0", b";q=1.00", b";q=1.000"] {
        if let Some(bare) = text.strip_suffix(weight) {
            return bare.to_vec();
        }
    }
    text
}
