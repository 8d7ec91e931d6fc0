//! Host and port (RFC 9110 7.2, RFC 3986 3.2.2).

use super::fields::number;
use super::uri::is_plain;

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
    let (host, port) = if text.first() == Some(&b'[') {
        let end = text.iter().position(|byte| *byte == b']')?;
        let address = std::str::from_utf8(text.get(1..end)?).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        text.split_at(end + 1)
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        let (host, port) = text.split_at(end);
        if host.is_empty() || host.len() > 255 || !host.iter().all(|byte| is_of_name(*byte)) {
            return None;
        }
        (host, port)
    };
    let port = match port {
        [] => None,
        // An empty port is the scheme's own (RFC 3986 3.2.3).
        [b':'] => None,
        [b':', digits @ ..] => Some(u16::try_from(number(digits)?).ok()?),
        _ => return None,
    };
    let host = String::from_utf8(host.to_ascii_lowercase()).ok()?;
    Some(Authority { host, port })
}

/// Whether this byte may stand in a registered name (RFC 3986 3.2.2).
fn is_of_name(byte: u8) -> bool {
    is_plain(byte) && !matches!(byte, b':' | b'/' | b'?' | b'[' | b']' | b'@')
}
