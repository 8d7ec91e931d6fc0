//! One flight from the request to the last byte: ask, judge, land, fill, store.

use std::sync::Arc;

use futures_util::StreamExt;
use http::StatusCode;
use tokio::sync::oneshot;

use super::fetcher::{Asked, Failed, Fetcher, Keep, Private};
use super::flights::{Landing, Lease};
use super::part;
use super::request::{self, Purpose};
use crate::clock::Wall;
use crate::message::{Body, Broken, Piece};
use crate::origin::Exchange;
use crate::policy::admit::{Admission, Moments, NotAdmitted, admit, readmit};
use crate::policy::choice;
use crate::policy::decide::{Plan, is_servable, may_answer_others};
use crate::policy::partial::{self, Place};
use crate::policy::site::RangeMiss;
use crate::rfc::fields::{self, Fields};
use crate::rfc::range::{self, Spec};
use crate::rfc::{connection, freshen, validator};
use crate::store::{Inserted, Rival};
use crate::stored::filling::{self, Abandoned, Filling, Writer};
use crate::stored::{Head, StoredBody, StoredResponse};

/// A longer body than this is not waited for with the head.
const LONG: u64 = 64 * 1024;

/// A response whose body is on its way.
pub struct Flowing {
    /// Its head; the same one that will be stored.
    pub head: Arc<Head>,
    /// Its body.
    pub body: Filling,
    /// The body's length in bytes, when the origin has told it.
    pub length: Option<u64>,
    /// Where the body belongs, if it is only a part of the content.
    pub place: Option<Place>,
    /// Whether it is the whole, though a part was asked for.
    pub ignores_ranges: bool,
    /// Fields that only the leader's client may see.
    pub withheld: Fields,
    /// Whether it will be stored, as far as is known when it lands.
    pub kept: bool,
}

/// Asks the origin and carries the response to its last byte. `private` takes a
/// response that only the leader's client may see.
pub(super) async fn fly(
    fetcher: Fetcher,
    asked: Arc<Asked>,
    plan: Plan,
    lease: Lease,
    private: Option<oneshot::Sender<Private>>,
) {
    // Looked up here, behind the number that the flight began with: so what was invalidated
    // before that has gone, and what is invalidated later is noticed when it is stored.
    let found = plan.choose.then(|| fetcher.store().find_in_memory(&asked.key)).flatten();
    let choices = found
        .map(|found| choice::choices(&asked.presented, &found, &asked.rules, fetcher.clock().now()))
        .unwrap_or_default();
    let purpose = match &plan.stored {
        Some(stored) if plan.validate => Purpose::Validate(stored),
        _ if !choices.is_empty() => Purpose::Choose(&choices),
        _ => Purpose::Store,
    };
    let mut head = request::request(&asked, fetcher.hop(), purpose);
    if let Some(spec) = &plan.part {
        head.fields.set("range", spec.to_string());
    }
    let gap = plan.gap.as_ref().filter(|gap| part::may_fill(&fetcher, &asked, gap));
    if let Some(gap) = gap {
        part::ask_for_gap(&mut head.fields, gap);
    }
    fetcher.ask_shield(&asked.rules, &mut head.fields);
    let requested = fetcher.clock().now();
    // What comes before the response is for the client whose request this is, and waits for it.
    let tell = private.as_ref().and_then(|_| fetcher.tell(&asked));
    let outgoing = fetcher.outgoing(&asked, head, None, false, tell);
    let outcome = fetcher.origin(&asked.rules).exchange(outgoing).await;
    let received = fetcher.clock().now();
    if let Some(stored) = &plan.stored {
        stored.refresh_has_come();
    }

    let mut exchange = match outcome {
        Ok(exchange) => exchange,
        Err(failure) => return failed(&fetcher, &asked, &plan, &lease, Failed::Origin(failure)),
    };
    let fields = &mut exchange.head.fields;
    let sequence = fetcher.later_than(&asked, fields, requested, lease.sequence()).await;
    let moments = Moments { requested, received, sequence };
    let status = exchange.head.status;
    if let Some(stored) = plan.stored.as_ref().filter(|_| !is_failure(status))
        && stored.failed_refreshes() > 0
    {
        fetcher.recovered(&asked, stored.failed_refreshes());
    }
    if status == StatusCode::NOT_MODIFIED {
        return match &plan.stored {
            Some(stored) if plan.validate => {
                if !validator::speaks_of(&exchange.head.fields, &stored.head.fields) {
                    // What it speaks of is not what is stored (RFC 9111 4.3.4); so the
                    // whole is asked for.
                    let plan = Plan { validate: false, ..plan };
                    drop(exchange);
                    return Box::pin(fly(fetcher, asked, plan, lease, private)).await;
                }
                not_modified(&fetcher, &asked, stored, exchange.head.fields, moments, &lease);
            }
            _ if !choices.is_empty() => {
                let Some(chosen) = choice::chosen(&choices, &exchange.head.fields) else {
                    let plan = Plan { choose: false, ..plan };
                    drop(exchange);
                    return Box::pin(fly(fetcher, asked, plan, lease, private)).await;
                };
                fetcher.counters().variants_chosen.up();
                variant_chosen(&fetcher, &asked, chosen, exchange.head.fields, moments, &lease);
            }
            _ => failed(&fetcher, &asked, &plan, &lease, Failed::Unasked304),
        };
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE && gap.is_some() {
        let plan = Plan { gap: None, ..plan };
        drop(exchange);
        return Box::pin(fly(fetcher, asked, plan, lease, private)).await;
    }
    if let (StatusCode::RANGE_NOT_SATISFIABLE, Some(spec)) = (status, &plan.part) {
        // How long the whole is shows in its beginning, which is good for others as well; a
        // whole that is empty has none.
        let first = Spec::first(asked.rules.range_slice);
        let part = (*spec != first).then_some(first);
        let plan = Plan { part, stored: None, validate: false, stale_on_error: false, choose: false, ..plan };
        drop(exchange);
        return Box::pin(fly(fetcher, asked, plan, lease, private)).await;
    }
    if let Some(gap) = gap.filter(|_| status == StatusCode::PARTIAL_CONTENT) {
        return match part::fill_gap(&fetcher, &asked, gap, exchange, moments) {
            Some((head, body)) => {
                let length = Some(gap.stored.complete_len());
                let withheld = Fields::new();
                let landed = Landed { head, withheld, length, plan, place: None, ignores_ranges: false };
                let (_, rest) = carry(fetcher, asked, landed, body, lease);
                rest.await;
            }
            // It is not what is lacking any more.
            None => Box::pin(fly(fetcher, asked, Plan { gap: None, ..plan }, lease, private)).await,
        };
    }
    if plan.stale_on_error && is_failure(status) {
        return failed(&fetcher, &asked, &plan, &lease, Failed::Status(status));
    }
    arrived(fetcher, asked, plan, exchange, moments, lease, private).await;
}

/// The statuses that count as a failure of the origin, where something better is
/// stored (RFC 5861 section 4).
/// A loop is the fault of one request, and says nothing of the origin.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::LOOP_DETECTED
}

/// There is no response: those who wait are told, and the origin is left alone
/// about what is stored for a while.
fn failed(fetcher: &Fetcher, asked: &Asked, plan: &Plan, lease: &Lease, why: Failed) {
    fetcher.complain(asked, format_args!("fetch failed: {why}"));
    if let Some(stored) = &plan.stored {
        fetcher.refresh_failed(asked, stored);
    }
    lease.land(Landing::Failed(why));
}

/// A 304 freshens what is stored (RFC 9111 4.3.4).
fn not_modified(
    fetcher: &Fetcher,
    asked: &Asked,
    stored: &Arc<StoredResponse>,
    mut update: Fields,
    moments: Moments,
    lease: &Lease,
) {
    connection::strip(&mut update);
    let fields = freshen::freshen(&stored.head.fields, &update);
    let readmitted = readmit(&asked.presented, &stored.head, fields, moments, &asked.rules);
    let may_keep = readmitted.kept.is_ok();
    let only_this_request = readmitted.kept.is_err_and(NotAdmitted::only_this_request);
    let head = Arc::new(readmitted.head);
    let marker = marker_for(&head, asked);
    let fresh = stored.with_head(Arc::clone(&head));
    let (response, kept) = if may_keep {
        match fetcher.store().freshen(&asked.key, stored, fresh, marker) {
            Inserted::Stored(fresh) => (fresh, true),
            // Those who asked before the invalidation may still have it.
            Inserted::Fenced(_) | Inserted::Gone | Inserted::Outdone => {
                (Arc::new(stored.with_head(head)), false)
            }
        }
    } else {
        if !only_this_request {
            fetcher.store().remove(&asked.key, stored);
        }
        (Arc::new(fresh), false)
    };
    // Whoever came after a purge of what was confirmed asks for the whole of it.
    let shared = may_keep && !stored.is_gone();
    lease.land(Landing::Freshened { response, shared, kept });
}

/// The origin has named a variant that is stored for other requests: the same content is stored
/// for this one as well, under a head that the 304 has freshened. The variant stays as it is
/// (RFC 9111 4.3.4: it could not have been chosen for this request).
fn variant_chosen(
    fetcher: &Fetcher,
    asked: &Asked,
    chosen: &Arc<StoredResponse>,
    mut update: Fields,
    moments: Moments,
    lease: &Lease,
) {
    connection::strip(&mut update);
    let fields = freshen::freshen(&chosen.head.fields, &update);
    let readmitted = readmit(&asked.presented, &chosen.head, fields, moments, &asked.rules);
    let head = Arc::new(readmitted.head);
    let marker = marker_for(&head, asked);
    let variant = chosen.with_head(Arc::clone(&head));
    let rival = |stored: &StoredResponse| rival(stored, head.status, head.requested, fetcher, asked);
    // What was purged meanwhile answers those who asked before that, and nobody else.
    let may_keep = readmitted.kept.is_ok() && fetcher.store().may_use(&asked.key, chosen, moments.sequence);
    let (response, kept) = if may_keep {
        match fetcher.store().insert(&asked.key, variant, rival, marker) {
            Inserted::Stored(variant) => (variant, true),
            Inserted::Fenced(_) | Inserted::Gone | Inserted::Outdone => {
                (Arc::new(chosen.with_head(head)), false)
            }
        }
    } else {
        (Arc::new(variant), false)
    };
    lease.land(Landing::Freshened { response, shared: may_keep && !chosen.is_gone(), kept });
}

/// A response other than 304 has arrived.
async fn arrived(
    fetcher: Fetcher,
    asked: Arc<Asked>,
    plan: Plan,
    exchange: Exchange,
    moments: Moments,
    mut lease: Lease,
    private: Option<oneshot::Sender<Private>>,
) {
    let Exchange { head, body, .. } = exchange;
    let mut fields = head.fields;
    let length = content_length(&fields, head.status);
    connection::strip(&mut fields);
    let is_part = head.status == StatusCode::PARTIAL_CONTENT && plan.part.is_some();
    let place = is_part.then(|| partial::place(&fields, length, moments.received));
    let ignores_ranges = plan.part.is_some() && head.status == StatusCode::OK;
    let outdone =
        |stored: &Arc<StoredResponse>| rival(stored, head.status, moments.requested, &fetcher, &asked);
    let admission = if plan.stored.as_ref().is_some_and(|stored| outdone(stored) == Rival::Stays) {
        // This client may not have what is stored; the others may.
        Admission::Refuse { fields, why: NotAdmitted::Outdone }
    } else {
        match &place {
            None => admit(&asked.presented, head.status, fields, moments, &asked.rules),
            Some(Err(why)) => Admission::Refuse { fields, why: *why },
            Some(Ok(place)) => admit_part(&asked, fields, place, moments),
        }
    };
    match admission {
        Admission::Refuse { fields, why } => {
            lease.close();
            fetcher.counters().parts_refused.add(u64::from(why == NotAdmitted::Uncombinable));
            let only_this_request = why.only_this_request();
            if !only_this_request && speaks_for_all(head.status) {
                fetcher.store().mark(&asked.key, moments.received.plus(asked.rules.hit_for_miss));
                if let Some(stored) = &plan.stored {
                    // The origin has something else now, and it is not for keeping.
                    fetcher.store().remove(&asked.key, stored);
                }
            }
            if why == NotAdmitted::TooManyTags {
                fetcher.counters().store_untagged.up();
            }
            if let Some(private) = private {
                // The client may have left; then the exchange ends here.
                let _ = private.send(Private { status: head.status, fields, length, body, why });
            }
            let failure = Some(head.status).filter(|status| is_failure(*status));
            lease.land(Landing::Nothing { only_this_request, failure });
        }
        Admission::Store { head, withheld } => {
            let head = Arc::new(head);
            let place = place.and_then(Result::ok).filter(|place| !place.is_whole() || length.is_none());
            lease.change_to(part::lane(plan.part.as_ref().filter(|_| place.is_some())));
            let landed = Landed { head, withheld, length, plan, place, ignores_ranges };
            let (_, rest) = carry(fetcher, asked, landed, body, lease);
            rest.await;
        }
    }
}

/// Judges a part with the status that the whole would have (RFC 9111 3.3).
pub(super) fn admit_part(asked: &Asked, mut fields: Fields, place: &Place, moments: Moments) -> Admission {
    fields.remove("content-range");
    range::remove_digests(&mut fields);
    match admit(&asked.presented, StatusCode::OK, fields, moments, &asked.rules) {
        Admission::Refuse { mut fields, why } => {
            fields.set("content-range", range::content_range(&place.range, place.complete));
            Admission::Refuse { fields, why }
        }
        admission => admission,
    }
}

/// A response that may be stored, as it lands.
pub(super) struct Landed {
    pub head: Arc<Head>,
    pub withheld: Fields,
    pub length: Option<u64>,
    pub plan: Plan,
    pub place: Option<Place>,
    pub ignores_ranges: bool,
}

/// Lands a response that may be stored. Returns it, and the rest of the flight:
/// to carry its body to the last byte and store it.
pub(super) fn carry(
    fetcher: Fetcher,
    asked: Arc<Asked>,
    landed: Landed,
    body: Body,
    mut lease: Lease,
) -> (Arc<Flowing>, impl Future<Output = ()> + Send) {
    let Landed { head, withheld, length, plan, place, ignores_ranges } = landed;
    let (filling, writer) = filling::filling(fetcher.budget(), lease.seats());
    let marker = marker_for(&head, &asked);
    let shared = marker.is_none();
    if let Some(until) = marker {
        lease.close();
        fetcher.store().mark(&asked.key, until);
    }
    let most = fetcher.store().max_response();
    let keep = fetcher.room_for(0, length.unwrap_or(0), most);
    let part = place.as_ref().map(|place| place.range.end - place.range.start);
    let mut carrying = Carrying { fetcher, asked, writer, lease, keep: Keep::Whole, most, part };
    carrying.keep(keep);
    if keep == Keep::TooLarge {
        carrying.know(&head, place.as_ref(), length);
    }
    let kept = keep == Keep::Whole;
    let response = Arc::new(Flowing {
        head: Arc::clone(&head),
        body: filling,
        length,
        place: place.clone(),
        ignores_ranges,
        withheld,
        kept,
    });
    carrying.lease.land(Landing::Flowing { response: Arc::clone(&response), shared });

    let rest = async move {
        // Whoever polls this is to see first that it has landed: a fast origin has always more.
        if length.is_none_or(|length| length > LONG) {
            tokio::task::yield_now().await;
        }
        let outcome = carrying.fill(body).await;
        let Carrying { fetcher, asked, mut writer, lease: _lease, keep, .. } = carrying;
        match (outcome, keep) {
            (Ok(_), Keep::Whole) if let Some(place) = &place => {
                if writer.len() != place.range.end - place.range.start {
                    // It is not what it has said.
                    fetcher.complain(&asked, format_args!("a part is not as long as it says"));
                    fetcher.counters().parts_refused.up();
                    return writer.fail(Broken::CutOff);
                }
                let body = writer.compact().await;
                if part::store(&fetcher, &asked, &head, place, &body, marker) {
                    writer.kept();
                }
                writer.complete();
            }
            (Ok(trailers), Keep::Whole) => {
                let body = writer.compact().await;
                let response = StoredResponse::new(Arc::clone(&head), body, trailers);
                let now = fetcher.clock().now();
                let rival = |stored: &StoredResponse| match rival(
                    stored,
                    head.status,
                    head.requested,
                    &fetcher,
                    &asked,
                ) {
                    Rival::Stays if part::completes(&head, stored, now) => Rival::Yields,
                    rival => rival,
                };
                if let Inserted::Stored(_) = fetcher.store().insert(&asked.key, response, rival, marker) {
                    writer.kept();
                }
                writer.complete();
            }
            (Err(Unfinished::Broken(why)), keep) => {
                fetcher.complain(&asked, format_args!("response broke off: {why}"));
                let begun = place.or_else(|| whole_of(&head, length, fetcher.clock().now()));
                let takes_place = plan.stored.as_ref().is_none_or(|stored| !stored.is_complete());
                if keep == Keep::Whole && takes_place {
                    keep_begun(&fetcher, &asked, &head, begun, &mut writer, marker).await;
                }
                if let Some(stored) = &plan.stored {
                    fetcher.refresh_failed(&asked, stored);
                }
                writer.fail(why);
            }
            (Err(Unfinished::Unread), Keep::Whole) => {
                fetcher.counters().fetches_abandoned.up();
                keep_begun(&fetcher, &asked, &head, place, &mut writer, marker).await;
            }
            (not_kept, keep) => {
                match (&plan.stored, keep) {
                    // The origin has something else now, and it is not for keeping.
                    (Some(stored), Keep::TooLarge) if place.is_none() => {
                        fetcher.store().remove(&asked.key, stored)
                    }
                    (Some(stored), _) => fetcher.refresh_failed(&asked, stored),
                    (None, _) => {}
                }
                match not_kept {
                    Ok(_) => writer.complete(),
                    Err(_) => fetcher.counters().fetches_abandoned.up(),
                }
            }
        }
    };
    (response, rest)
}

/// Keeps what has come of a body that does not come to its end.
async fn keep_begun(
    fetcher: &Fetcher,
    asked: &Asked,
    head: &Arc<Head>,
    begun: Option<Place>,
    writer: &mut Writer,
    marker: Option<Wall>,
) {
    let Some(place) = begun.and_then(|place| as_far_as(place, writer.len())) else { return };
    let body = writer.compact().await;
    if part::store(fetcher, asked, head, &place, &body, marker) {
        writer.kept();
    }
}

/// Where a response belongs that has begun as a whole, if it can be kept as a part as well
/// (RFC 9111 3.3).
fn whole_of(head: &Head, length: Option<u64>, now: Wall) -> Option<Place> {
    let complete =
        length.filter(|_| head.status == StatusCode::OK && validator::is_strong(&head.fields, now))?;
    Some(Place { range: 0..complete, complete })
}

/// So much of what was to come.
fn as_far_as(place: Place, arrived: u64) -> Option<Place> {
    let end = place.range.start.saturating_add(arrived).min(place.range.end);
    let range = place.range.start..end;
    (!range.is_empty()).then_some(Place { range, ..place })
}

/// How a stored response stands to one of this status that was asked for at
/// `requested`: what was asked for later stays, and so does what may be served
/// where the newcomer is a failure of the origin.
pub(super) fn rival(
    stored: &StoredResponse,
    status: StatusCode,
    requested: Wall,
    fetcher: &Fetcher,
    asked: &Asked,
) -> Rival {
    if !stored.head.secondary.matches(&asked.presented.fields, asked.rules.sort_accept_language) {
        return Rival::Other;
    }
    let now = fetcher.clock().now();
    // What comes from the future comes from before the clock was set back.
    let newer = stored.head.requested > requested && stored.head.requested <= now;
    let better = is_failure(status) && is_servable(stored, &asked.rules, now);
    if newer || better { Rival::Stays } else { Rival::Yields }
}

/// Whether a response of this status tells of the resource, and not of an outage or
/// of the request that it answers: another client's credentials, or an odd field of
/// its own.
fn speaks_for_all(status: StatusCode) -> bool {
    !status.is_server_error()
        && (!status.is_client_error() || status == StatusCode::NOT_FOUND || status == StatusCode::GONE)
}

/// A body on its way, and those who wait for it.
struct Carrying {
    fetcher: Fetcher,
    asked: Arc<Asked>,
    writer: Writer,
    lease: Lease,
    keep: Keep,
    /// The largest response that was kept when it came: what may be changes meanwhile.
    most: u64,
    /// The length of the part that it is.
    part: Option<u64>,
}

/// Why a body did not come to its end.
enum Unfinished {
    Broken(Broken),
    Abandoned,
    /// It is a long part, and nobody waits for what is missing of it.
    Unread,
}

impl Carrying {
    /// Notes whether the body is kept, as far as is known now. Only a body that is
    /// too large is a reason not to collapse the next requests.
    fn keep(&mut self, keep: Keep) {
        self.keep = keep;
        let counters = self.fetcher.counters();
        match keep {
            Keep::Whole => return,
            Keep::NoRoom => counters.store_no_room.up(),
            // Other parts may well be kept.
            Keep::TooLarge if self.part.is_some() => counters.store_too_large.up(),
            Keep::TooLarge => {
                counters.store_too_large.up();
                let until = self.fetcher.clock().now().plus(self.asked.rules.hit_for_miss);
                self.fetcher.store().mark(&self.asked.key, until);
            }
        }
        self.lease.close();
        self.writer.keep_only(self.fetcher.window());
    }

    /// Notes the length and the validator of what is too large to be kept whole, with no part of
    /// it: so ranges of it are asked for one by one, and kept.
    fn know(&self, head: &Arc<Head>, place: Option<&Place>, length: Option<u64>) {
        let Carrying { fetcher, asked, .. } = self;
        let now = fetcher.clock().now();
        let place = place.cloned().or_else(|| whole_of(head, length, now));
        let Some(place) = place.filter(|_| asked.rules.range_miss != RangeMiss::Whole) else { return };
        let marker = self.part.is_none().then(|| now.plus(asked.rules.hit_for_miss));
        let nothing = Place { range: place.range.start..place.range.start, ..place };
        part::store(fetcher, asked, head, &nothing, &StoredBody::default(), marker);
    }

    /// Whether it is a part that nobody reads any more, and more than a slice is missing beyond
    /// the next `more` bytes. Whoever looks around in a film would make the origin send the
    /// rest of it each time.
    fn is_in_vain(&mut self, more: u64) -> bool {
        let arrived = self.writer.len().saturating_add(more);
        let missing = self.part.map_or(0, |part| part.saturating_sub(arrived));
        if missing <= self.asked.rules.range_slice || self.writer.is_read() {
            return false;
        }
        // Somebody may have joined just now; later nobody does.
        self.lease.close();
        !self.writer.is_read()
    }

    /// Moves the body into the filling one; returns the trailer section.
    async fn fill(&mut self, mut body: Body) -> Result<Option<Fields>, Unfinished> {
        let mut trailers = None;
        while let Some(piece) = body.next().await {
            match piece.map_err(Unfinished::Broken)? {
                Piece::Bytes(bytes) => {
                    if self.keep == Keep::Whole {
                        let keep = self.fetcher.room_for(self.writer.len(), bytes.len() as u64, self.most);
                        self.keep(keep);
                    } else {
                        self.writer.keep_only(self.fetcher.window());
                    }
                    if self.is_in_vain(bytes.len() as u64) {
                        return Err(Unfinished::Unread);
                    }
                    let pushed = self.writer.push(bytes, self.fetcher.settings().slow_reader).await;
                    pushed.map_err(|Abandoned| Unfinished::Abandoned)?;
                }
                Piece::Trailers(mut fields) => {
                    connection::strip(&mut fields);
                    self.writer.trailers(fields.clone());
                    trailers = Some(fields);
                }
            }
        }
        Ok(trailers)
    }
}

/// Until when requests are not collapsed because of this response; `None` when it
/// may answer others.
fn marker_for(head: &Head, asked: &Asked) -> Option<Wall> {
    let now = head.received;
    (!may_answer_others(head, &asked.rules, now)).then(|| now.plus(asked.rules.hit_for_miss))
}

/// The length that the head promises, if it promises one.
pub(super) fn content_length(fields: &Fields, status: StatusCode) -> Option<u64> {
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Some(0);
    }
    fields::number(fields.members("content-length").next()?)
}

/// Why a response is not stored, for those who only want to say so.
impl Private {
    /// Word for `Cache-Status`'s `detail`.
    pub fn reason(&self) -> &'static str {
        NotAdmitted::reason(self.why)
    }
}
