//! Updating a stored response (RFC 9111 3.2, 4.3.4, 4.3.5).

use super::fields::Fields;
use super::validator::EntityTag;

/// Fields that a 304 does not change: they describe the content that was stored,
/// which the 304 has not got, or are computed by each cache itself.
const KEPT: [&str; 6] =
    ["content-length", "content-encoding", "content-range", "content-md5", "etag", "transfer-encoding"];

/// The stored fields with what the update brings in place of what it names. The
/// update's hop-by-hop fields must have gone.
pub fn freshen(stored: &Fields, update: &Fields) -> Fields {
    // Age and Date are about the message that carried them: the old ones go in any
    // case. A message without a Date is dated when it is received (RFC 9110 6.6.1).
    let mut fields = stored.clone();
    fields.retain(|name, _| {
        let is_kept = KEPT.iter().any(|kept| kept.as_bytes() == name);
        !matches!(name, b"age" | b"date")
            && (is_kept || !std::str::from_utf8(name).is_ok_and(|name| update.contains(name)))
    });
    for (name, value) in update.iter().filter(|(name, _)| !KEPT.contains(name)) {
        fields.add(name, value);
    }
    fields
}

/// What a response to `HEAD` does to a stored response to `GET`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadEffect {
    /// It is the same representation: its fields are freshened.
    Freshen,
    /// It is another one: the stored one counts as stale.
    Invalidate,
}

/// Compares what is known of the content (RFC 9111 4.3.5).
pub fn head_updates(stored: &Fields, length: u64, head: &Fields) -> HeadEffect {
    let same = |name: &str| match (stored.get(name), head.get(name)) {
        (Some(stored), Some(told)) => stored == told,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let same_tag = match (stored.get("etag"), head.get("etag")) {
        (Some(stored), Some(told)) => match (EntityTag::parse(stored), EntityTag::parse(told)) {
            (Some(stored), Some(told)) => stored.matches_weakly(&told),
            _ => stored == told,
        },
        _ => true,
    };
    let same_length = head.get("content-length").is_none_or(|told| told == length.to_string().as_bytes());
    if same_tag && same("last-modified") && same_length {
        HeadEffect::Freshen
    } else {
        HeadEffect::Invalidate
    }
}
