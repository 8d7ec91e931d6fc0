//! One flight from the request to the last byte: ask, judge, land, fill, store.

use std::sync::Arc;

use futures_util::StreamExt;
use http::StatusCode;
use tokio::sync::oneshot;

use super::fetcher::{Asked, Failed, Fetcher, Keep, Private};
use super::flights::{Landing, Lease};
use super::request::{self, Purpose};
use crate::clock::Wall;
use crate::message::{Body, Broken, Piece};
use crate::origin::Exchange;
use crate::policy::admit::{Admission, Moments, NotAdmitted, admit, readmit};
use crate::policy::decide::{Plan, is_servable, may_answer_others};
use crate::rfc::fields::Fields;
use crate::rfc::{connection, freshen, validator};
use crate::store::{Inserted, Rival};
use crate::stored::filling::{self, Abandoned, Filling, Writer};
use crate::stored::{Head, StoredResponse};

/// A response whose body is on its way.
pub struct Flowing {
    /// Its head; the same one that will be stored.
    pub head: Arc<Head>,
    /// Its body.
    pub body: Filling,
    /// The body's length in bytes, when the origin has told it.
    pub length: Option<u64>,
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
    let purpose = match &plan.stored {
        Some(stored) if plan.validate => Purpose::Validate(stored),
        _ => Purpose::Store,
    };
    let mut head = request::request(&asked, fetcher.hop(), purpose);
    fetcher.ask_shield(&asked.rules, &mut head.fields);
    let requested = fetcher.clock().now();
    let outgoing = fetcher.outgoing(&asked, head, None, false, Some(lease.tell()));
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
            _ => failed(&fetcher, &asked, &plan, &lease, Failed::Unasked304),
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
    let marker = marker_for(&head, asked, fetcher);
    let trailers = stored.trailers.as_deref().cloned();
    let fresh = StoredResponse::new(Arc::clone(&head), stored.body.clone(), trailers.clone());
    let (response, kept) = if may_keep {
        match fetcher.store().freshen(&asked.key, stored, fresh, marker) {
            Inserted::Stored(fresh) => (fresh, true),
            // Those who asked before the invalidation may still have it.
            Inserted::Fenced(_) | Inserted::Gone | Inserted::Outdone => {
                (Arc::new(StoredResponse::new(head, stored.body.clone(), trailers)), false)
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
    let outdone =
        |stored: &Arc<StoredResponse>| rival(stored, head.status, moments.requested, &fetcher, &asked);
    let admission = if plan.stored.as_ref().is_some_and(|stored| outdone(stored) == Rival::Stays) {
        // This client may not have what is stored; the others may.
        Admission::Refuse { fields, why: NotAdmitted::Outdone }
    } else {
        admit(&asked.presented, head.status, fields, moments, &asked.rules)
    };
    match admission {
        Admission::Refuse { fields, why } => {
            lease.close();
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
            let landed = Landed { head, withheld, length, plan };
            let (_, rest) = carry(fetcher, asked, landed, body, lease);
            rest.await;
        }
    }
}

/// A response that may be stored, as it lands.
pub(super) struct Landed {
    pub head: Arc<Head>,
    pub withheld: Fields,
    pub length: Option<u64>,
    pub plan: Plan,
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
    let Landed { head, withheld, length, plan } = landed;
    let (filling, writer) = filling::filling(fetcher.budget(), lease.seats());
    let marker = marker_for(&head, &asked, &fetcher);
    let shared = marker.is_none();
    if let Some(until) = marker {
        lease.close();
        fetcher.store().mark(&asked.key, until);
    }
    let keep = fetcher.room_for(0, length.unwrap_or(0));
    let mut carrying = Carrying { fetcher, asked, writer, lease, keep: Keep::Whole };
    carrying.keep(keep);
    let kept = keep == Keep::Whole;
    let response = Arc::new(Flowing { head: Arc::clone(&head), body: filling, length, withheld, kept });
    carrying.lease.land(Landing::Flowing { response: Arc::clone(&response), shared });

    let rest = async move {
        let outcome = carrying.fill(body).await;
        let Carrying { fetcher, asked, mut writer, lease: _lease, keep } = carrying;
        match (outcome, keep) {
            (Ok(trailers), Keep::Whole) => {
                let body = writer.compact().await;
                let (status, requested) = (head.status, head.requested);
                let response = StoredResponse::new(head, body, trailers);
                let rival = |stored: &StoredResponse| rival(stored, status, requested, &fetcher, &asked);
                if let Inserted::Stored(_) = fetcher.store().insert(&asked.key, response, rival, marker) {
                    writer.kept();
                }
                writer.complete();
            }
            (Err(Unfinished::Broken(why)), _) => {
                fetcher.complain(&asked, format_args!("response broke off: {why}"));
                if let Some(stored) = &plan.stored {
                    fetcher.refresh_failed(&asked, stored);
                }
                writer.fail(why);
            }
            (not_kept, keep) => {
                match (&plan.stored, keep) {
                    // The origin has something else now, and it is not for keeping.
                    (Some(stored), Keep::TooLarge) => fetcher.store().remove(&asked.key, stored),
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

/// How a stored response stands to one of this status that was asked for at
/// `requested`: what was asked for later stays, and so does what may be served
/// where the newcomer is a failure of the origin.
fn rival(
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
}

/// Why a body did not come to its end.
enum Unfinished {
    Broken(Broken),
    Abandoned,
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
            Keep::TooLarge => {
                counters.store_too_large.up();
                let until = self.fetcher.clock().now().plus(self.asked.rules.hit_for_miss);
                self.fetcher.store().mark(&self.asked.key, until);
            }
        }
        self.lease.close();
        self.writer.keep_only(self.fetcher.window());
    }

    /// Moves the body into the filling one; returns the trailer section.
    async fn fill(&mut self, mut body: Body) -> Result<Option<Fields>, Unfinished> {
        let mut trailers = None;
        while let Some(piece) = body.next().await {
            match piece.map_err(Unfinished::Broken)? {
                Piece::Bytes(bytes) => {
                    if self.keep == Keep::Whole {
                        let keep = self.fetcher.room_for(self.writer.len(), bytes.len() as u64);
                        self.keep(keep);
                    } else {
                        self.writer.keep_only(self.fetcher.window());
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
fn marker_for(head: &Head, asked: &Asked, fetcher: &Fetcher) -> Option<Wall> {
    let now = fetcher.clock().now();
    (!may_answer_others(head, &asked.rules, now)).then(|| now.plus(asked.rules.hit_for_miss))
}

/// The length that the head promises, if it promises one.
pub(super) fn content_length(fields: &Fields, status: StatusCode) -> Option<u64> {
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Some(0);
    }
    std::str::from_utf8(fields.members("content-length").next()?).ok()?.parse().ok()
}

/// Why a response is not stored, for those who only want to say so.
impl Private {
    /// Word for `Cache-Status`'s `detail`.
    pub fn reason(&self) -> &'static str {
        NotAdmitted::reason(self.why)
    }
}
