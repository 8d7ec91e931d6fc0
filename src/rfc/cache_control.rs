//! `Cache-Control` (RFC 9111 5.2): the directives of requests and responses.
//!
//! What always holds: names are compared in any letter case; a quoted argument
//! is as good as a token, and whatever stands within quotes is no directive;
//! numbers are clamped, never wrapped; where a freshness directive is invalid or
//! contradicts itself, the response counts as stale (RFC 9111 4.2.1).

use std::borrow::Cow;

use super::fields::{Fields, is_token_byte, members_of};

/// The largest number of seconds that is told apart (RFC 9111 1.2.2).
pub const MOST_SECONDS: u64 = 1 << 31;

/// A directive that may be limited to some fields.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FieldNames {
    /// Not given.
    #[default]
    Absent,
    /// Given for the whole response.
    All,
    /// Given for these fields, in lower case.
    Only(Vec<String>),
}

/// The directives of a response (RFC 9111 5.2.2, RFC 5861, RFC 8246).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseDirectives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`.
    pub no_cache: FieldNames,
    /// `private`.
    pub private: FieldNames,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `no-transform`.
    pub no_transform: bool,
    /// `immutable`.
    pub immutable: bool,
    /// `max-age` in seconds; zero when it is invalid.
    pub max_age: Option<u64>,
    /// `s-maxage` in seconds; zero when it is invalid.
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate` in seconds.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error` in seconds.
    pub stale_if_error: Option<u64>,
}

/// The directives of a request (RFC 9111 5.2.1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age` in seconds; zero when it is invalid.
    pub max_age: Option<u64>,
    /// `min-fresh` in seconds.
    pub min_fresh: Option<u64>,
    /// `max-stale`.
    pub max_stale: Option<MaxStale>,
}

/// How stale a response a client takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaxStale {
    /// However stale.
    Any,
    /// Stale for at most so many seconds.
    Seconds(u64),
}

impl ResponseDirectives {
    /// Reads them off a response.
    pub fn read(fields: &Fields) -> Self {
        let mut read = Self::default();
        for (name, argument) in directives(fields) {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if is("no-store") {
                read.no_store = true;
            } else if is("no-cache") {
                read.no_cache.add(argument);
            } else if is("private") {
                read.private.add(argument);
            } else if is("public") {
                read.public = true;
            } else if is("must-revalidate") {
                read.must_revalidate = true;
            } else if is("proxy-revalidate") {
                read.proxy_revalidate = true;
            } else if is("must-understand") {
                read.must_understand = true;
            } else if is("no-transform") {
                read.no_transform = true;
            } else if is("immutable") {
                read.immutable = true;
            } else if is("max-age") {
                shortest(&mut read.max_age, seconds(argument).unwrap_or(0));
            } else if is("s-maxage") {
                shortest(&mut read.s_maxage, seconds(argument).unwrap_or(0));
            } else if is("stale-while-revalidate") {
                shortest(&mut read.stale_while_revalidate, seconds(argument).unwrap_or(0));
            } else if is("stale-if-error") {
                shortest(&mut read.stale_if_error, seconds(argument).unwrap_or(0));
            }
        }
        read
    }
}

impl RequestDirectives {
    /// Reads them off a request. Costs one look when there are none.
    pub fn read(fields: &Fields) -> Self {
        let mut read = Self::default();
        if !fields.contains("cache-control") {
            read.no_cache = fields.members("pragma").any(|member| member.eq_ignore_ascii_case(b"no-cache"));
            return read;
        }
        for (name, argument) in directives(fields) {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if is("no-cache") {
                read.no_cache = true;
            } else if is("no-store") {
                read.no_store = true;
            } else if is("only-if-cached") {
                read.only_if_cached = true;
            } else if is("max-age") {
                shortest(&mut read.max_age, seconds(argument).unwrap_or(0));
            } else if is("min-fresh") {
                read.min_fresh = seconds(argument).max(read.min_fresh);
            } else if is("max-stale") {
                read.max_stale = match argument {
                    None => Some(MaxStale::Any),
                    // What cannot be understood allows nothing.
                    argument => seconds(argument).map(MaxStale::Seconds),
                };
            }
        }
        read
    }
}

impl FieldNames {
    /// Whether it holds for the whole response.
    pub fn is_all(&self) -> bool {
        *self == FieldNames::All
    }

    /// The fields that it is limited to.
    pub fn only(&self) -> &[String] {
        match self {
            FieldNames::Only(names) => names,
            _ => &[],
        }
    }

    fn add(&mut self, argument: Option<Cow<'_, [u8]>>) {
        let names: Vec<String> = argument
            .iter()
            .flat_map(|argument| members_of(argument))
            .filter(|name| super::fields::is_token(name))
            .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
            .collect();
        match self {
            // An argument without a single name limits nothing.
            _ if names.is_empty() => *self = FieldNames::All,
            FieldNames::All => {}
            FieldNames::Absent => *self = FieldNames::Only(names),
            FieldNames::Only(known) => known.extend(names),
        }
    }
}

/// Directives as name and argument; quotes around an argument are taken off.
fn directives(fields: &Fields) -> impl Iterator<Item = (&[u8], Option<Cow<'_, [u8]>>)> {
    fields.members("cache-control").filter_map(|member| {
        let end = member.iter().position(|b| !is_token_byte(*b)).unwrap_or(member.len());
        let (name, rest) = member.split_at(end);
        match rest.trim_ascii_start() {
            [] if !name.is_empty() => Some((name, None)),
            // "max-age =1" is no directive: no space may stand before the sign.
            [b'=', argument @ ..] if !name.is_empty() && rest[0] == b'=' => {
                Some((name, Some(unquoted(argument))))
            }
            _ => None,
        }
    })
}

/// The content of a quoted string, or the bytes as they are.
fn unquoted(argument: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed(argument);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut content = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        content.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    Cow::Owned(content)
}

/// Delta-seconds (RFC 9111 1.2.2): digits only; too large a number is clamped.
fn seconds(argument: Option<Cow<'_, [u8]>>) -> Option<u64> {
    delta_seconds(&argument?)
}

/// Delta-seconds (RFC 9111 1.2.2): digits only; too large a number is clamped.
pub fn delta_seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text
        .iter()
        .fold(0u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number.min(MOST_SECONDS))
}

/// Of two that contradict each other, the one that is stale earlier.
fn shortest(known: &mut Option<u64>, seconds: u64) {
    *known = Some(known.map_or(seconds, |known| known.min(seconds)));
}
