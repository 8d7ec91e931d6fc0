//! Fields that concern one connection only (RFC 9110 7.6.1).

use super::fields::Fields;

/// Never forwarded and never stored, whether `Connection` names them or not.
/// `Trailer` stays: it tells the next reader which trailers come.
const HOP_BY_HOP: [&str; 9] = [
    "http2-settings",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Meant for everybody on the way, so no sender may have them taken off (RFC 9110 7.6.1,
/// RFC 8586 3): who could would hide a loop.
const FOR_ALL: [&str; 2] = ["cdn-loop", "via"];

/// Drops them, and whatever else `Connection` names.
pub fn strip(fields: &mut Fields) {
    let named: Vec<Vec<u8>> = fields.members("connection").map(<[u8]>::to_vec).collect();
    let is_among = |names: &[&str], name: &[u8]| names.iter().any(|other| other.as_bytes() == name);
    fields.retain(|name, _| {
        let is_named = || named.iter().any(|named| named.eq_ignore_ascii_case(name));
        !is_among(&HOP_BY_HOP, name) && (is_among(&FOR_ALL, name) || !is_named())
    });
}

/// The protocol that the message asks to switch to: `Upgrade`, if `Connection`
/// names it (RFC 9110 7.8). Other versions of HTTP, and TLS, are between two
/// neighbours and not for a tunnel; whoever asks for them is answered without.
pub fn upgrade(fields: &Fields) -> Option<&[u8]> {
    let named = fields.members("connection").any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let between_neighbours = |protocol: &[u8]| {
        let protocol = protocol.to_ascii_lowercase();
        [&b"h2"[..], b"h3", b"http", b"tls"].iter().any(|name| protocol.starts_with(name))
    };
    fields.get("upgrade").filter(|_| named && !fields.members("upgrade").any(between_neighbours))
}
