//! `Cache-Status` (RFC 9211): what a cache did with a request, in one member.

/// This cache's member of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStatus<'a> {
    /// The cache's name.
    pub cache: &'a str,
    /// Answered from the cache without asking further.
    pub hit: bool,
    /// Why the request went further.
    pub fwd: Option<Fwd>,
    /// The status that the next server answered with.
    pub fwd_status: Option<u16>,
    /// Freshness left in seconds; negative when stale.
    pub ttl: Option<i64>,
    /// Whether the response is stored.
    pub stored: bool,
    /// Whether the request shared another one's.
    pub collapsed: bool,
    /// The cache key.
    pub key: Option<&'a str>,
    /// What else there is to say: a token.
    pub detail: Option<&'a str>,
}

/// Why a request went further (RFC 9211 2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fwd {
    /// The cache was told not to handle the request.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored under the key.
    UriMiss,
    /// What is stored under the key is not what the request selects.
    VaryMiss,
    /// Nothing suitable is stored.
    Miss,
    /// What is stored is fresh, but the request does not take it.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored is only a part.
    Partial,
}

impl Fwd {
    /// The token.
    pub fn token(self) -> &'static str {
        match self {
            Fwd::Bypass => "bypass",
            Fwd::Method => "method",
            Fwd::UriMiss => "uri-miss",
            Fwd::VaryMiss => "vary-miss",
            Fwd::Miss => "miss",
            Fwd::Request => "request",
            Fwd::Stale => "stale",
            Fwd::Partial => "partial",
        }
    }
}

impl CacheStatus<'_> {
    /// The member as written.
    pub fn write(&self) -> String {
        let mut text = Vec::with_capacity(64);
        self.write_to(&mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Writes the member, in ASCII.
    pub fn write_to(&self, text: &mut Vec<u8>) {
        push_name(text, self.cache);
        if self.hit {
            text.extend_from_slice(b"; hit");
        }
        if let Some(fwd) = self.fwd {
            text.extend_from_slice(b"; fwd=");
            text.extend_from_slice(fwd.token().as_bytes());
        }
        if let Some(status) = self.fwd_status {
            text.extend_from_slice(b"; fwd-status=");
            push_number(text, status.into());
        }
        if let Some(ttl) = self.ttl {
            // The integers of structured fields have fifteen digits.
            text.extend_from_slice(b"; ttl=");
            push_number(text, ttl.clamp(-999_999_999_999_999, 999_999_999_999_999));
        }
        if self.stored {
            text.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            text.extend_from_slice(b"; collapsed");
        }
        if let Some(key) = self.key {
            text.extend_from_slice(b"; key=");
            push_string(text, key);
        }
        if let Some(detail) = self.detail {
            text.extend_from_slice(b"; detail=");
            push_name(text, detail);
        }
    }
}

/// In decimal digits.
pub(super) fn push_number(text: &mut Vec<u8>, number: i64) {
    if number < 0 {
        text.push(b'-');
    }
    super::fields::write_number(number.unsigned_abs(), text);
}

/// A token where that is possible, else a string.
pub(super) fn push_name(text: &mut Vec<u8>, name: &str) {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*');
    if starts && name.bytes().all(|b| super::fields::is_token_byte(b) || b == b':' || b == b'/') {
        text.extend_from_slice(name.as_bytes());
    } else {
        push_string(text, name);
    }
}

/// A string of a structured field; what cannot stand in one is left out.
pub(super) fn push_string(text: &mut Vec<u8>, content: &str) {
    text.push(b'"');
    for byte in content.bytes().filter(|byte| (0x20..0x7f).contains(byte)) {
        if byte == b'"' || byte == b'\\' {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_have_fifteen_digits_at_most() {
        let most = "999999999999999";
        for (ttl, text) in [
            (0, "0".to_owned()),
            (-1, "-1".to_owned()),
            (9, "9".to_owned()),
            (10, "10".to_owned()),
            (-3600, "-3600".to_owned()),
            (i64::MAX, most.to_owned()),
            (i64::MIN, format!("-{most}")),
        ] {
            let status =
                CacheStatus { cache: "a", ttl: Some(ttl), fwd_status: Some(304), ..CacheStatus::default() };
            assert_eq!(status.write(), format!("a; fwd-status=304; ttl={text}"));
        }
    }
}
