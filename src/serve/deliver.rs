//! From a response to a reply: preconditions, ranges, `Age`, `Cache-Status`
//! (RFC 9110 sections 13 and 14, RFC 9111 section 4, RFC 9211).

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::outcome::Outcome;
use super::reply::{Base, Reply, ReplyBody, ReplyContent, Tunnel};
use super::{Walk, synth};
use crate::clock::Wall;
use crate::fetch::{Asked, Failed, Flowing, Follower, Private};
use crate::invalidate::told;
use crate::message::{Body, READ};
use crate::policy::tags;
use crate::rfc::cache_status::{CacheStatus, Fwd};
use crate::rfc::fields::Fields;
use crate::rfc::range::{self, Multipart, Ranges};
use crate::rfc::validator::{self, Precondition};
use crate::stored::{Head, StoredResponse};

/// Where a shareable response comes from.
pub(super) enum Source<'a> {
    /// The store, complete.
    Stored(Arc<StoredResponse>),
    /// The origin, still arriving; with the seat that holds the body's first byte.
    Flowing(&'a Arc<Flowing>, Follower),
}

/// What `Cache-Status` says of an answer, and how it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    pub outcome: Outcome,
    pub hit: bool,
    pub fwd: Option<Fwd>,
    pub fwd_status: Option<u16>,
    pub stored: bool,
    pub collapsed: bool,
    pub detail: Option<&'static str>,
}

/// Which part of the body the client gets.
enum Part {
    Nothing,
    Whole,
    One(Range<u64>),
    Many(Vec<Range<u64>>),
}

/// A response that may be shared, as this client is to have it.
pub(super) fn deliver(mut walk: Walk<'_>, source: Source<'_>, answer: Answer) -> Reply {
    let (head, length): (&Head, Option<u64>) = match &source {
        Source::Stored(response) => (&response.head, Some(response.complete_len())),
        Source::Flowing(response, _) => {
            (&response.head, response.place.as_ref().map(|place| place.complete).or(response.length))
        }
    };
    let request = &walk.asked.presented;

    let precondition = precondition(&walk.asked, head, walk.now);
    let flows = matches!(source, Source::Flowing(..));
    // What goes out as it is stored is not copied.
    let mut changed = keeps_some(head, &walk).then(|| {
        let mut fields = head.fields.clone();
        strip(&mut fields, &walk);
        fields
    });
    // What is on its way may end before what was asked for does (RFC 9110 15.3.7).
    let end = match &source {
        Source::Flowing(response, _) => response.place.as_ref().map_or(u64::MAX, |place| place.range.end),
        Source::Stored(_) => u64::MAX,
    };
    let (status, part, mut length) = match precondition {
        Precondition::NotModified => {
            changed = Some(validator::not_modified(changed.as_ref().unwrap_or(&head.fields)));
            (StatusCode::NOT_MODIFIED, Part::Nothing, None)
        }
        Precondition::Proceed => select_part(&walk.asked, walk.now, head, length, flows, end, &mut changed),
    };
    if !is_there(&source, &part) {
        return synth::failed(walk, &Failed::Lost);
    }
    let base = match (&changed, &source) {
        (Some(_), _) => Base::None,
        (None, Source::Stored(_)) => Base::Body,
        (None, Source::Flowing(response, _)) => Base::Head(Arc::clone(&response.head)),
    };
    let (is_head, version) = (request.method == Method::HEAD, request.version);
    let mut fields = changed.unwrap_or_else(|| walk.room());
    if let Source::Flowing(response, _) = &source
        && !answer.collapsed
    {
        for (name, value) in response.withheld.iter().filter(|(name, _)| is_sent(status, name)) {
            fields.add(name, value);
        }
    }
    let (part, boundary) = match part {
        Part::Many(ranges) => (Part::Many(ranges), Some(format!("{:032x}", fastrand::u128(..)))),
        part => (part, None),
    };

    let left = ttl(head, walk.now);
    let age = head.age(walk.now);
    // A first-hand response carries no Age of its own (RFC 9111 5.1).
    if answer.hit || answer.collapsed || answer.outcome == Outcome::Revalidated || age > 0 {
        fields.add_number("age", age);
    }
    if let Some(read) = &walk.edge
        && !is_outdated(head, &walk)
    {
        // Whoever has joined a fetch of another client has what was asked for earlier.
        let first_hand = answer.outcome == Outcome::Miss && !answer.collapsed && is_first_hand(&walk);
        fields.add(READ, told(read, !first_hand));
    }
    let trailers = match &source {
        Source::Stored(response) => response.trailers().cloned(),
        Source::Flowing(..) => None,
    };
    let content = match (part, source) {
        // Of a stored one at least the head is needed.
        (Part::Nothing, Source::Stored(response)) => ReplyContent::Stored(response, 0..0, None),
        (_, Source::Stored(response)) if is_head => ReplyContent::Stored(response, 0..0, None),
        (_, _) if is_head => ReplyContent::Empty,
        (Part::Nothing, _) => ReplyContent::Empty,
        (Part::Whole, Source::Stored(response)) => {
            // Trailers can only be sent without a length (RFC 9112 7.1.2).
            if trailers.is_some() && version >= http::Version::HTTP_11 {
                length = None;
            }
            let whole = 0..response.body.len();
            ReplyContent::Stored(response, whole, trailers)
        }
        (Part::One(range), Source::Stored(response)) if response.is_complete() => {
            ReplyContent::Stored(response, range, None)
        }
        (Part::One(range), Source::Stored(response)) => ReplyContent::Read(response.read(range)),
        (Part::Many(ranges), Source::Stored(response)) => {
            let boundary = boundary.unwrap_or_default();
            let content_type = response.head.fields.get("content-type");
            let multipart = Multipart::new(&boundary, content_type, response.complete_len());
            length = Some(multipart.length(&ranges));
            fields.set("content-type", multipart.content_type());
            let parts: Vec<_> = ranges
                .into_iter()
                .map(|range| (Bytes::from(multipart.head(&range)), response.read(range)))
                .collect();
            ReplyContent::Parts(parts.into_iter(), None, Bytes::from(multipart.end()))
        }
        (part, Source::Flowing(response, seat)) => {
            let start = response.place.as_ref().map_or(0, |place| place.range.start);
            let range = match part {
                Part::One(range) => range.start.saturating_sub(start)..range.end.saturating_sub(start),
                _ => 0..u64::MAX,
            };
            let reader = response.body.reader(range);
            drop(seat);
            match reader {
                Some(reader) => ReplyContent::Filling(reader),
                // Only a follower that was not expected any more comes too late.
                None => return synth::failed(walk, &Failed::Lost),
            }
        }
    };
    let status_member = CacheStatus {
        cache: &walk.server.node,
        hit: answer.hit,
        fwd: answer.fwd,
        fwd_status: answer.fwd_status,
        ttl: Some(left),
        stored: answer.stored,
        collapsed: answer.collapsed,
        key: None,
        detail: answer.detail,
    };
    finish(walk, status, base, fields, length, content, answer.outcome, &status_member, None)
}

/// Whether this part of the response is there: who looks for parts makes sure of that, and
/// nothing else than it may ever be sent in its place.
fn is_there(source: &Source<'_>, part: &Part) -> bool {
    match (source, part) {
        (_, Part::Nothing) => true,
        (Source::Stored(response), Part::Whole) => response.is_complete(),
        (Source::Stored(response), Part::One(range)) => response.covers(range),
        (Source::Stored(response), Part::Many(ranges)) => ranges.iter().all(|range| response.covers(range)),
        (Source::Flowing(response, _), Part::One(range)) => {
            response.place.as_ref().is_none_or(|place| place.range.contains(&range.start))
        }
        (Source::Flowing(response, _), Part::Whole | Part::Many(_)) => response.place.is_none(),
    }
}

/// Whether a field goes with this status, where another one stands for the response's own.
fn is_sent(status: StatusCode, name: &str) -> bool {
    match status {
        StatusCode::RANGE_NOT_SATISFIABLE => false,
        StatusCode::NOT_MODIFIED => validator::not_modified_fields(name.as_bytes()),
        _ => true,
    }
}

/// A response to a miss that is for this client alone.
pub(super) fn private(walk: Walk<'_>, private: Private, fwd: Fwd) -> Reply {
    let Private { mut status, mut fields, mut length, body, why } = private;
    let cache_status = CacheStatus {
        cache: &walk.server.node,
        fwd: Some(fwd),
        fwd_status: Some(status.as_u16()).filter(|_| fwd == Fwd::Stale),
        detail: Some(why.reason()),
        ..CacheStatus::default()
    };
    strip(&mut fields, &walk);
    // The origin was asked without the client's conditions, as what it sent might have
    // been for others as well.
    let request = &walk.asked.presented;
    match validator::evaluate(&request.method, &request.fields, status, &fields, walk.now, walk.now) {
        Precondition::Proceed => {}
        Precondition::NotModified => {
            fields = validator::not_modified(&fields);
            (status, length) = (StatusCode::NOT_MODIFIED, None);
        }
    }
    tell_edge(&mut fields, &walk);
    let content =
        if is_without_content(&walk, status) { ReplyContent::Empty } else { ReplyContent::Passed(body) };
    fields.remove("x-request-id");
    finish(walk, status, Base::None, fields, length, content, Outcome::Miss, &cache_status, None)
}

/// A response to a request that was passed on.
pub(super) fn passed(
    walk: Walk<'_>,
    status: StatusCode,
    mut fields: Fields,
    length: Option<u64>,
    body: Body,
    tunnel: Option<Tunnel>,
    fwd: Fwd,
) -> Reply {
    strip(&mut fields, &walk);
    tell_edge(&mut fields, &walk);
    let cache_status = CacheStatus { cache: &walk.server.node, fwd: Some(fwd), ..CacheStatus::default() };
    let content =
        if is_without_content(&walk, status) { ReplyContent::Empty } else { ReplyContent::Passed(body) };
    fields.remove("x-request-id");
    finish(walk, status, Base::None, fields, length, content, Outcome::Pass, &cache_status, tunnel)
}

/// Takes away what is for caches alone. An edge is one: it has to be purged by tags as well,
/// and to keep what it gets for as long as this node does.
fn strip(fields: &mut Fields, walk: &Walk<'_>) {
    if walk.edge.is_some() {
        return;
    }
    let rules = &walk.asked.rules;
    tags::strip(fields, rules);
    if rules.strip_targeted {
        rules.targeted_fields.iter().for_each(|field| fields.remove(field));
    }
}

/// Whether something of it is for caches alone.
fn keeps_some(head: &Head, walk: &Walk<'_>) -> bool {
    let rules = &walk.asked.rules;
    walk.edge.is_none()
        && (rules.strip_tags && !head.names.is_empty()
            || rules.strip_targeted && rules.targeted_fields.iter().any(|field| head.fields.contains(field)))
}

/// Whether a purge that holds here means a response, be it only that it is stale.
fn is_outdated(head: &Head, walk: &Walk<'_>) -> bool {
    walk.server.store.invalidated_since(&walk.asked.key, Some(head), head.sequence).is_some()
}

/// Whether what this request was passed on for comes from the application itself, and so
/// was made after the request arrived.
fn is_first_hand(walk: &Walk<'_>) -> bool {
    let fetcher = walk.server.upstreams.direct.as_ref();
    fetcher.is_some_and(|fetcher| !fetcher.is_shielded(&walk.asked.rules))
}

/// Tells an edge how far this node had read before it passed the request on.
fn tell_edge(fields: &mut Fields, walk: &Walk<'_>) {
    if let Some(read) = walk.edge.as_ref().filter(|_| is_first_hand(walk)) {
        fields.set(READ, told(read, false));
    }
}

fn is_without_content(walk: &Walk<'_>, status: StatusCode) -> bool {
    walk.asked.presented.method == Method::HEAD
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
        )
}

/// What the conditions of a request make of a response. What an unsafe request asked for on
/// conditions the origin has judged and done.
fn precondition(asked: &Asked, head: &Head, now: Wall) -> Precondition {
    let request = &asked.presented;
    validator::evaluate(&request.method, &request.fields, head.status, &head.fields, head.received, now)
}

/// The cache key, where `Cache-Status` is to have it.
pub(super) fn shown_key(asked: &Asked) -> Option<&str> {
    asked.rules.cache_status_key.then_some(&*asked.key.text)
}

/// Freshness left in seconds, to the nearest one: a response that has just arrived has all of
/// its time left.
pub(super) fn ttl(head: &Head, now: Wall) -> i64 {
    head.freshness_left_millis(now).saturating_add(500).div_euclid(1000)
}

/// The status with which a stored response answers, by the request's conditions and ranges.
pub(super) fn status_of(asked: &Asked, response: &StoredResponse, now: Wall) -> StatusCode {
    let head = &response.head;
    match precondition(asked, head, now) {
        Precondition::NotModified => StatusCode::NOT_MODIFIED,
        Precondition::Proceed => {
            let length = Some(response.complete_len());
            select_part(asked, now, head, length, false, u64::MAX, &mut None).0
        }
    }
}

/// Status, part and length of a response that no precondition stands against.
fn select_part(
    asked: &Asked,
    now: Wall,
    head: &Head,
    length: Option<u64>,
    flows: bool,
    end: u64,
    changed: &mut Option<Fields>,
) -> (StatusCode, Part, Option<u64>) {
    let request = &asked.presented;
    let whole = (head.status, Part::Whole, length);
    let may_be_partial = request.method == Method::GET && head.status == StatusCode::OK;
    let (Some(wanted), Some(len)) = (request.fields.get("range").filter(|_| may_be_partial), length) else {
        return whole;
    };
    if !validator::may_be_parted(&request.fields, &head.fields, now) {
        return whole;
    }
    match range::resolve(wanted, len, asked.rules.max_ranges) {
        Ranges::None => whole,
        // Several ranges would have to wait for the last of them; the whole need not.
        Ranges::Many(_) if flows => whole,
        Ranges::Unsatisfiable => {
            let fields = changed.get_or_insert_with(|| head.fields.clone());
            fields.retain(|name, _| matches!(name, b"date" | b"vary" | b"etag"));
            fields.add("content-range", range::unsatisfied(len));
            (StatusCode::RANGE_NOT_SATISFIABLE, Part::Nothing, Some(0))
        }
        Ranges::One(range) => {
            let range = range.start..range.end.min(end).max(range.start);
            let fields = changed.get_or_insert_with(|| head.fields.clone());
            fields.set("content-range", range::content_range(&range, len));
            range::remove_digests(fields);
            let part = range.end - range.start;
            (StatusCode::PARTIAL_CONTENT, Part::One(range), Some(part))
        }
        Ranges::Many(ranges) => {
            range::remove_digests(changed.get_or_insert_with(|| head.fields.clone()));
            (StatusCode::PARTIAL_CONTENT, Part::Many(ranges), None)
        }
    }
}

/// What every reply from the store or the origin has in common.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a part of the reply, and nothing else holds them together"
)]
fn finish(
    walk: Walk<'_>,
    status: StatusCode,
    base: Base,
    mut fields: Fields,
    length: Option<u64>,
    content: ReplyContent,
    outcome: Outcome,
    cache_status: &CacheStatus<'_>,
    tunnel: Option<Tunnel>,
) -> Reply {
    let Walk { server, mut record, now, asked, .. } = walk;
    // Neither of the two is in the fields of a stored response.
    if matches!(base, Base::None) {
        fields.remove("content-length");
        if !fields.contains("date") {
            fields.add("date", crate::rfc::date::format(now));
        }
    }
    // Neither 204 nor 101 has one (RFC 9110 8.6), and with a 304 it would be that of
    // content which was not sent.
    let has_length = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) && tunnel.is_none();
    if let Some(length) = length.filter(|_| has_length) {
        fields.add_number("content-length", length);
    }
    let cache_status = CacheStatus { key: shown_key(&asked), ..*cache_status };
    record.head(outcome, status, fields.add_with("cache-status", |out| cache_status.write_to(out)));
    fields.add("via", &server.via);
    fields.add("x-request-id", &record.request_id);
    let body = ReplyBody::new(content, record);
    Reply { status, base, fields, body, length, close: false, tunnel }
}
