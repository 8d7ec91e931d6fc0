//! Validators and preconditions (RFC 9110 8.8 and 13, RFC 9111 4.3).

use http::{Method, StatusCode};

use super::date;
use super::fields::Fields;
use crate::clock::Wall;

/// An entity tag (RFC 9110 8.8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntityTag<'a> {
    /// `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads one entity tag.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (weak, quoted) = match text.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, text),
        };
        let opaque = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let valid = opaque.iter().all(|&b| b == 0x21 || (0x23..=0x7e).contains(&b) || b >= 0x80);
        valid.then_some(EntityTag { weak, opaque })
    }

    /// Strong comparison (8.8.3.2).
    pub fn matches_strongly(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (8.8.3.2).
    pub fn matches_weakly(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// What the preconditions of a request make of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// They hold, or there are none.
    Proceed,
    /// The client has it already: 304.
    NotModified,
}

/// Evaluates the preconditions that a cache evaluates, in the order of RFC 9110 13.2.2,
/// against the response that would be sent. `If-Match` and `If-Unmodified-Since` are not
/// among them: they are for the origin (RFC 9111 4.3.2).
pub fn evaluate(
    method: &Method,
    request: &Fields,
    status: StatusCode,
    response: &Fields,
    received: Wall,
    now: Wall,
) -> Precondition {
    // They only count where the answer would be a success without them (13.2.1), and what
    // is no GET or HEAD is not answered from a cache.
    if !status.is_success() || (*method != Method::GET && *method != Method::HEAD) {
        return Precondition::Proceed;
    }
    if request.contains("if-none-match") {
        if any_tag(request, "if-none-match", response, false) {
            return Precondition::NotModified;
        }
    } else if let Some(since) = asked_date(request, "if-modified-since", now) {
        // Without Last-Modified the Date stands in, and without that the moment of
        // receipt (RFC 9111 4.3.2).
        let reference = date_of(response, "last-modified", now)
            .or_else(|| date_of(response, "date", now))
            .unwrap_or(received.secs());
        if reference <= since {
            return Precondition::NotModified;
        }
    }
    Precondition::Proceed
}

/// Whether the request has a condition that only the origin may judge (RFC 9110 13.1.1,
/// 13.1.4).
pub fn has_origin_condition(request: &Fields) -> bool {
    request.contains("if-match") || request.contains("if-unmodified-since")
}

/// Whether the response is one for which the conditions for the origin are sure to hold, so
/// that it makes no difference who answers. Nothing but the origin may say that they fail.
pub fn meets_origin_conditions(request: &Fields, response: &Fields, now: Wall) -> bool {
    if request.contains("if-match") {
        return any_tag(request, "if-match", response, true);
    }
    asked_date(request, "if-unmodified-since", now)
        .is_none_or(|limit| date_of(response, "last-modified", now).is_some_and(|modified| modified <= limit))
}

/// Whether a part of the response may be sent to whoever asks for one: neither `If-Range` nor
/// a condition for the origin says that the client has other content, to which the part would
/// be added. The whole is always right (RFC 9110 14.2).
pub fn may_be_parted(request: &Fields, response: &Fields, now: Wall) -> bool {
    if_range_holds(request, response, now) && meets_origin_conditions(request, response, now)
}

/// The date of a request's condition, where there is one date and no more.
fn asked_date(request: &Fields, name: &str, now: Wall) -> Option<u64> {
    match (request.get_all(name).count(), request.get(name)) {
        (1, Some(text)) => date::parse(text, now),
        _ => None,
    }
}

fn date_of(response: &Fields, name: &str, now: Wall) -> Option<u64> {
    response.get(name).and_then(|text| date::parse(text, now))
}

/// Whether a `304` may speak of the stored response whose validators were asked
/// about, so that it is freshened (RFC 9111 4.3.4).
///
/// A stored `ETag` was asked about by name, so the origin's word holds, whatever
/// tag it adds (which is not taken over). By date alone another representation may
/// be meant: one that has a tag, or one that is older than the date asked about.
pub fn speaks_of(update: &Fields, stored: &Fields) -> bool {
    if stored.contains("etag") {
        return true;
    }
    let said = update.get("last-modified");
    !update.contains("etag") && (said.is_none() || said == stored.get("last-modified"))
}

/// Whether `If-Range` lets a range be answered (RFC 9110 13.1.5). Without the
/// field it does.
pub fn if_range_holds(request: &Fields, response: &Fields, now: Wall) -> bool {
    let Some(condition) = request.get("if-range") else { return true };
    if let Some(asked) = EntityTag::parse(condition) {
        let current = response.get("etag").and_then(EntityTag::parse);
        return current.is_some_and(|current| current.matches_strongly(&asked));
    }
    let (Some(asked), Some(modified)) = (date::parse(condition, now), response.get("last-modified")) else {
        return false;
    };
    let (Some(modified), Some(sent)) =
        (date::parse(modified, now), response.get("date").and_then(|text| date::parse(text, now)))
    else {
        return false;
    };
    // A date is a strong validator only where the response is at least a second
    // younger than the change (8.8.2.2).
    asked == modified && modified < sent
}

/// Whether a response is told apart from every other one by a strong validator (RFC 9110
/// 8.8.1): a strong entity tag, or without any tag a date of change that is older than the
/// response by a second at least (8.8.2.2).
pub fn is_strong(response: &Fields, now: Wall) -> bool {
    if let Some(tag) = response.get("etag") {
        return EntityTag::parse(tag).is_some_and(|tag| !tag.weak);
    }
    let time = |name| response.get(name).and_then(|text| date::parse(text, now));
    time("last-modified").zip(time("date")).is_some_and(|(modified, sent)| modified < sent)
}

/// Whether two responses are parts of the same representation (RFC 9110 15.3.7.3).
pub fn is_same_representation(one: &Fields, other: &Fields, now: Wall) -> bool {
    let same = match (one.get("etag"), other.get("etag")) {
        (None, None) => one.get("last-modified") == other.get("last-modified"),
        (one, other) => one == other,
    };
    same && is_strong(one, now) && is_strong(other, now)
}

/// The fields with which a stored response is validated, its validators verbatim
/// (RFC 9111 4.3.1).
pub fn conditional_fields(stored: &Fields) -> impl Iterator<Item = (&'static str, &[u8])> {
    let tag = stored.get("etag").map(|tag| ("if-none-match", tag));
    let modified = stored.get("last-modified").map(|date| ("if-modified-since", date));
    tag.into_iter().chain(modified)
}

/// Whether a field belongs into a 304. What describes the content that is not
/// sent stays out; whatever else the response says is told (RFC 9110 15.4.5).
pub fn not_modified_fields(name: &[u8]) -> bool {
    !matches!(
        name,
        b"content-length"
            | b"content-encoding"
            | b"content-type"
            | b"content-language"
            | b"content-range"
            | b"trailer"
    )
}

/// What of these fields goes into a 304, with room for a few more.
pub fn not_modified(fields: &Fields) -> Fields {
    fields.only(not_modified_fields)
}

/// Whether any entity tag that the request names is the response's own. `*` is
/// any response at all.
fn any_tag(request: &Fields, name: &str, response: &Fields, strongly: bool) -> bool {
    let current = response.get("etag").and_then(EntityTag::parse);
    request.get_all(name).flat_map(tags_of).any(|member| {
        member == b"*"
            || match (EntityTag::parse(member), &current) {
                (Some(asked), Some(current)) if strongly => asked.matches_strongly(current),
                (Some(asked), Some(current)) => asked.matches_weakly(current),
                _ => false,
            }
    })
}

/// The members of a list of entity tags. Unlike in a quoted string, a backslash in
/// a tag is a character like any other (RFC 9110 8.8.3).
fn tags_of(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    value
        .split(move |&b| {
            quoted ^= b == b'"';
            b == b',' && !quoted
        })
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}
