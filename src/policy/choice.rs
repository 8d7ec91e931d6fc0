//! Variants that the origin may choose from, where the request selects none of them (RFC 9111
//! 4.1, 4.3.1, 4.3.2).
//!
//! The entity tags of what is stored for other requests go along with the request. Where the
//! origin would send one of these very representations, it answers 304 with its tag, and the
//! content need not come again: it is stored for this request as well.
//!
//! What always holds: only a strong tag is told, for it alone means the same bytes; only of
//! what is complete and still valid; and never of content in a coding that the client does
//! not take, or in none where the client takes some and the origin chooses by that: there are
//! origins that tell the same tag of both.

use std::sync::Arc;

use http::StatusCode;

use super::decide::is_worth_keeping;
use super::normalise::Presented;
use super::site::Rules;
use crate::clock::Wall;
use crate::rfc::fields::Fields;
use crate::rfc::validator::EntityTag;
use crate::stored::{StoredResponse, Variants};

/// The most tags that are told.
pub const MOST_TAGS: usize = 8;

/// The most bytes of them all: origins have limits for the head of a request.
const MOST_BYTES: usize = 1024;

/// The variants whose tags are told to the origin, the newest first, each tag once.
pub fn choices(request: &Presented, found: &Variants, rules: &Rules, now: Wall) -> Vec<Arc<StoredResponse>> {
    let (mut choices, mut bytes) = (Vec::<Arc<StoredResponse>>::new(), 0);
    // What is kept no longer is forgotten, here as elsewhere.
    for response in found.responses.iter().filter(|response| is_worth_keeping(response, rules, now)) {
        let Some(tag) = tag_to_tell(request, response) else { continue };
        let is_told = choices.iter().any(|told| told.head.fields.get("etag") == Some(tag));
        if !is_told && choices.len() < MOST_TAGS && bytes + tag.len() <= MOST_BYTES {
            bytes += tag.len();
            choices.push(Arc::clone(response));
        }
    }
    choices
}

/// The value of `If-None-Match` that tells their tags.
pub fn told(choices: &[Arc<StoredResponse>]) -> Vec<u8> {
    let tags: Vec<&[u8]> = choices.iter().filter_map(|choice| choice.head.fields.get("etag")).collect();
    tags.join(&b", "[..])
}

/// The variant that a 304 with these fields names by its strong tag (RFC 9111 4.3.4). One without
/// any validator can only mean the one whose tag was told, where there was no more than one.
pub fn chosen<'a>(choices: &'a [Arc<StoredResponse>], update: &Fields) -> Option<&'a Arc<StoredResponse>> {
    let Some(said) = update.get("etag") else {
        let [only] = choices else { return None };
        return Some(only).filter(|_| !update.contains("last-modified"));
    };
    let said = EntityTag::parse(said)?;
    choices.iter().find(|choice| {
        let own = choice.head.fields.get("etag").and_then(EntityTag::parse);
        own.is_some_and(|own| own.matches_strongly(&said))
    })
}

fn tag_to_tell<'a>(request: &Presented, response: &'a StoredResponse) -> Option<&'a [u8]> {
    let fields = &response.head.fields;
    let tag = fields.get("etag").filter(|tag| EntityTag::parse(tag).is_some_and(|tag| !tag.weak))?;
    let usable = response.head.status == StatusCode::OK && response.is_complete() && !response.is_gone();
    (usable && takes_coding(&request.fields, fields)).then_some(tag)
}

/// Whether the client names the content's codings among those that it takes (RFC 9110 12.5.3); of
/// content that has none, and might have some for others, that the client names none.
fn takes_coding(request: &Fields, response: &Fields) -> bool {
    let is_plain = response.members("content-encoding").next().is_none();
    if is_plain && response.members("vary").any(|name| name.eq_ignore_ascii_case(b"accept-encoding")) {
        let names = request.members("accept-encoding");
        return names.into_iter().all(|member| member.eq_ignore_ascii_case(b"identity"));
    }
    response.members("content-encoding").all(|coding| {
        request.members("accept-encoding").any(|member| {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let is_same = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
            let refused = parts.any(|weight| {
                let digits = weight.strip_prefix(b"q=").or_else(|| weight.strip_prefix(b"Q="));
                digits.is_some_and(|digits| digits.iter().all(|byte| matches!(byte, b'0' | b'.')))
            });
            is_same && !refused
        })
    })
}
