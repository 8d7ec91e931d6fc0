//! Fields that concern one connection only (RFC 9110 7.6.1).

use std::collections::HashSet;

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
    if !HOP_BY_HOP.iter().any(|name| fields.contains(name)) {
        return;
    }
    let is_among = |names: &[&str], name: &[u8]| names.iter().any(|other| other.as_bytes() == name);
    let named = named(fields);
    fields.retain(|name, _| {
        !is_among(&HOP_BY_HOP, name) && (is_among(&FOR_ALL, name) || !named.iter().any(|other| other == name))
    });
}

/// Which of the fields that are there `Connection` names. There may be many more options than
/// fields, and each is looked up only once.
fn named(fields: &Fields) -> Vec<Vec<u8>> {
    let mut named = Vec::new();
    let is_plain =
        |option: &[u8]| option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive");
    let mut options = fields.members("connection").filter(|option| !is_plain(option)).peekable();
    if options.peek().is_none() {
        return named;
    }
    let mut names: HashSet<&[u8]> = fields.iter().map(|(name, _)| name.as_bytes()).collect();
    let longest = names.iter().map(|name| name.len()).max().unwrap_or_default();
    for option in options.filter(|option| option.len() <= longest) {
        if names.remove(&option.to_ascii_lowercase()[..]) {
            named.push(option.to_ascii_lowercase());
        }
    }
    named
}

/// Whether a field may stand in a trailer section: neither framing nor routing, and nothing
/// that had to be known before the content (RFC 9110 6.5.1).
pub fn may_be_trailer(name: &str) -> bool {
    const NOT: [&str; 14] = [
        "age",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "expires",
        "host",
        "location",
        "retry-after",
        "set-cookie",
        "trailer",
        "vary",
    ];
    !NOT.contains(&name) && !HOP_BY_HOP.contains(&name)
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
