//! Fields that concern one connection only (RFC 9110 7.6.1).

use super::fields::Fields;

/// Never forwarded and never stored, whether `Connection` names them or not.
/// `Trailer` stays: it tells the next reader which trailers come.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Drops them, and whatever else `Connection` names.
pub fn strip(fields: &mut Fields) {
    let named: Vec<Vec<u8>> = fields.members("connection").map(<[u8]>::to_vec).collect();
    fields.retain(|name, _| {
        !HOP_BY_HOP.contains(&name) && !named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()))
    });
}

/// The protocol that the message asks to switch to: `Upgrade`, if `Connection`
/// names it (RFC 9110 7.8).
pub fn upgrade(fields: &Fields) -> Option<&[u8]> {
    let named = fields.members("connection").any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    fields.get("upgrade").filter(|_| named)
}
