//! A part of a response on its way: who shares it, and how it is put to what is stored.
//!
//! What always holds: parts are put together outside of the store's locks, and stored only
//! in place of the very response that they were put to; if that has changed meanwhile it is
//! done again. What was purged does not come back with a part that is put to it.
//!
//! What it never does: decide whether a part may be stored, or whom it answers; see
//! [`crate::policy::partial`].

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use http::StatusCode;
use xxhash_rust::xxh3::xxh3_64;

use super::fetcher::{Asked, Fetcher, Private};
use super::fly;
use crate::clock::Wall;
use crate::message::{Body, Piece};
use crate::origin::Exchange;
use crate::policy::admit::{Admission, Moments, readmit};
use crate::policy::decide::{Gap, Plan};
use crate::policy::partial::{self, Cut, Place};
use crate::rfc::fields::Fields;
use crate::rfc::range::{self, Spec};
use crate::rfc::validator::is_same_representation;
use crate::rfc::{connection, freshen};
use crate::store::{Inserted, Rival};
use crate::stored::parts::Limits;
use crate::stored::{Head, Parts, StoredBody, StoredResponse};

/// How often a part is put together anew because what is stored has changed meanwhile.
const MOST_TURNS: usize = 16;

/// The number of those who ask for this range, and for the whole where there is none.
pub(super) fn lane(part: Option<&Spec>) -> u64 {
    part.map_or(0, |spec| xxh3_64(spec.to_string().as_bytes()).max(1))
}

/// What of a response for one client alone that client gets, where only a part was asked
/// for; nothing where it is not the part that the client wants.
pub(super) fn cut(mut private: Private, asked: &Asked, plan: &Plan, now: Wall) -> Option<Private> {
    let Some(spec) = plan.part.as_ref().filter(|_| private.status == StatusCode::PARTIAL_CONTENT) else {
        return Some(private);
    };
    match partial::cut(&asked.presented, spec, &private.fields, private.length, now) {
        Cut::Unfit => None,
        Cut::Nothing => Some(private),
        Cut::To { of_body, part } => {
            private.fields.set("content-range", part.to_string());
            range::remove_digests(&mut private.fields);
            private.length = Some(of_body.end - of_body.start);
            private.body = cut_body(private.body, of_body.start, of_body.end - of_body.start);
            Some(private)
        }
    }
}

/// So many bytes of a body, behind those that are skipped. The rest is not waited for.
fn cut_body(body: Body, skip: u64, take: u64) -> Body {
    let pieces = stream::unfold((body, skip, take), |(mut body, mut skip, take)| async move {
        if take == 0 {
            return None;
        }
        loop {
            let mut bytes = match body.next().await? {
                Ok(Piece::Bytes(bytes)) => bytes,
                // What stands behind the last byte belongs to the whole message.
                Ok(Piece::Trailers(_)) => continue,
                Err(broken) => return Some((Err(broken), (body, 0, 0))),
            };
            let len = bytes.len() as u64;
            if len <= skip {
                skip -= len;
                continue;
            }
            bytes = bytes.slice(usize::try_from(skip).unwrap_or(usize::MAX)..);
            bytes.truncate(usize::try_from(take).unwrap_or(usize::MAX));
            let left = take - bytes.len() as u64;
            return Some((Ok(Piece::Bytes(bytes)), (body, 0, left)));
        }
    });
    pieces.boxed()
}

/// Asks for what is lacking, or for the whole if that is another one (RFC 9110 13.1.5).
pub(super) fn ask_for_gap(fields: &mut Fields, gap: &Gap) {
    let validator =
        gap.stored.head.fields.get("etag").or_else(|| gap.stored.head.fields.get("last-modified"));
    let Some(validator) = validator else { return };
    fields.set("if-range", validator);
    fields.set("range", Spec::Within(gap.range.clone()).to_string());
}

/// Whether what is stored may become a whole: the store would take it, and no purge means it.
pub(super) fn may_fill(fetcher: &Fetcher, asked: &Asked, gap: &Gap) -> bool {
    let (store, stored) = (fetcher.store(), &gap.stored);
    stored.complete_len() <= store.max_response() && store.may_use(&asked.key, stored, stored.head.sequence)
}

/// The whole of what is stored and what was lacking, if this is just that, and what is stored was
/// not purged meanwhile. A purge from now on is later than its head.
pub(super) fn fill_gap(
    fetcher: &Fetcher,
    asked: &Asked,
    gap: &Gap,
    exchange: Exchange,
    moments: Moments,
) -> Option<(Arc<Head>, Body)> {
    let mut fields = exchange.head.fields;
    // Were it longer or shorter than it says, what is stored behind it would be displaced.
    let length = fly::content_length(&fields, exchange.head.status)?;
    connection::strip(&mut fields);
    let place = partial::place(&fields, Some(length), moments.received).ok()?;
    let Admission::Store { head, withheld } = fly::admit_part(asked, fields, &place, moments) else {
        return None;
    };
    let stored = &gap.stored;
    let fits = place.range == gap.range && is_same(stored, &head, &place, moments.received);
    if !fits || !withheld.is_empty() || !may_fill(fetcher, asked, gap) {
        return None;
    }
    let head = together(asked, &stored.head, &head)?;
    let lacking = cut_body(exchange.body, 0, length);
    let before = stored.read(0..gap.range.start);
    let behind = stored.read(gap.range.end..place.complete);
    Some((Arc::new(head), before.boxed().chain(lacking).chain(behind).boxed()))
}

/// Stores a part, together with those that are stored already where they belong to the same
/// representation. Says whether it did.
pub(super) fn store(
    fetcher: &Fetcher,
    asked: &Asked,
    head: &Arc<Head>,
    place: &Place,
    body: &StoredBody,
    marker: Option<Wall>,
) -> bool {
    let (store, counters) = (fetcher.store(), fetcher.counters());
    let limits = Limits { parts: asked.rules.max_parts, bytes: store.max_response() };
    let matches = |stored: &StoredResponse| {
        stored.head.secondary.matches(&asked.presented.fields, asked.rules.sort_accept_language)
    };
    for _ in 0..MOST_TURNS {
        let now = fetcher.clock().now();
        let found = store.find_in_memory(&asked.key);
        let known: Vec<&Arc<StoredResponse>> = found
            .iter()
            .flat_map(|found| found.responses.iter())
            .filter(|stored| !stored.is_gone())
            .collect();
        let old = known.iter().find(|stored| matches(stored)).copied();
        let same = old.filter(|old| is_same(old, head, place, now));
        // What is there whole is better than any part, be that newer.
        if old.is_some_and(|old| old.is_complete() && old.head.status == StatusCode::OK) {
            return false;
        }
        let mut parts = same.and_then(|same| same.parts()).map_or(Parts::none(place.complete), Parts::clone);
        let dropped = parts.add(place.range.start, body, limits);
        let head = match same {
            Some(same) => match together(asked, &same.head, head) {
                Some(head) => Arc::new(head),
                None => return false,
            },
            None => Arc::clone(head),
        };
        let (status, requested) = (head.status, head.requested);
        let response = StoredResponse::of_parts(head, parts);
        let is_complete = response.is_complete();
        // What is known of the whole is not changed by a part.
        let known_marker = found.as_ref().and_then(|found| found.marker).filter(|_| !is_complete);
        let marker = marker.or(known_marker);
        let inserted = match same {
            Some(same) => store.freshen(&asked.key, same, response, marker),
            None => {
                let rival =
                    |stored: &StoredResponse| match fly::rival(stored, status, requested, fetcher, asked) {
                        // What has come meanwhile may be what this is to be put to.
                        Rival::Yields if !known.iter().any(|known| std::ptr::eq(&***known, stored)) => {
                            Rival::Stays
                        }
                        rival => rival,
                    };
                store.insert(&asked.key, response, rival, marker)
            }
        };
        match inserted {
            Inserted::Stored(_) => {
                counters.parts_stored.add(u64::from(!body.is_empty()));
                counters.parts_dropped.add(dropped as u64);
                counters.parts_completed.add(u64::from(is_complete));
                return true;
            }
            Inserted::Fenced(_) => return false,
            Inserted::Outdone if old.is_some_and(|old| is_newer(old, requested, now)) => return false,
            Inserted::Outdone | Inserted::Gone => {}
        }
    }
    false
}

/// The head of what is stored together with a part: the part may lack fields that the stored
/// head has (RFC 9110 15.3.7), and its tags and terms are those of both. None where the two may
/// not be stored together.
fn together(asked: &Asked, old: &Head, new: &Head) -> Option<Head> {
    let fields = freshen::freshen(&old.fields, &new.fields);
    let Head { requested, received, sequence, initial_age, .. } = *new;
    let moments = Moments { requested, received, sequence };
    let together = readmit(&asked.presented, old, fields, moments, &asked.rules);
    together.kept.ok()?;
    // Its `Age` was read and taken away when it came.
    Some(Head { initial_age, ..together.head })
}

/// Whether a stored response and a part are of the same representation.
fn is_same(stored: &StoredResponse, head: &Head, place: &Place, now: Wall) -> bool {
    stored.head.status == head.status
        && stored.complete_len() == place.complete
        && is_same_representation(&stored.head.fields, &head.fields, now)
}

/// Whether a stored response was asked for later than at this time.
fn is_newer(stored: &StoredResponse, requested: Wall, now: Wall) -> bool {
    stored.head.requested > requested && stored.head.requested <= now
}

/// Whether a whole response takes the place of a stored one though that was asked for later:
/// it is the same, and only part of it is there.
pub(super) fn completes(head: &Head, stored: &StoredResponse, now: Wall) -> bool {
    !stored.is_complete() && is_same_representation(&stored.head.fields, &head.fields, now)
}
