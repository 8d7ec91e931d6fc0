//! Host and port (RFC 9110 7.2, RFC 3986 3.2.2).

/// A host and, if it was given, a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    /// Lower-case; an IPv6 address keeps its brackets.
    pub host: String,
    /// The port, if it was given.
    pub port: Option<u16>,
}

/// Reads `host[:port]`. User information, white space, empty hosts and whatever
/// else no host has are refused.
pub fn parse_authority(text: &[u8]) -> Option<Authority> {
    let text = std::str::from_utf8(text).ok()?;
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']')?;
        text[1..end].parse::<std::net::Ipv6Addr>().ok()?;
        text.split_at(end + 1)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, port) = text.split_at(end);
        let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b);
        if host.is_empty() || host.len() > 255 || !host.bytes().all(valid) {
            return None;
        }
        (host, port)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        // An empty port is the scheme's own (RFC 3986 3.2.3).
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    Some(Authority { host: host.to_ascii_lowercase(), port })
}
