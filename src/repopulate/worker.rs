//! The worker: takes work that the pacer has released, asks the origin, and tells all
//! edges what came of it.
//!
//! What always holds: work is acknowledged only after its end has been told; one that
//! cannot be told comes again. What the origin has failed to answer is tried again
//! after a pause, each longer than the one before, and then given up; the answer of a
//! rate limiter or of a broken server is never a fill. A worker keeps what it got in a
//! store of its own, if it has one, so that an edge that lost its cache can be filled
//! without asking the origin again.
//!
//! What it never does: take an address from an event. Origins and edges are those of
//! its own configuration and of the cluster.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::StatusCode;
use tokio::task::JoinSet;

use super::event::{MissEvent, Wanted};
use super::fill::{self, EndedAs, FillHead, Outcome, Word};
use super::keep::{self, Refused};
use super::pace;
use super::token::Secrets;
use super::{Settings, announce, push};
use crate::broker::{Address, Delivery, Letter, Queues, Unpublished};
use crate::clock::{Clock, Wall, monotonic};
use crate::fetch::{Asked, Purpose, origin_request};
use crate::invalidate::{Invalidator, Moment};
use crate::message::{Body, Broken, Piece};
use crate::observe::counters::Counters;
use crate::origin::{Failure, Group, Limits, Outgoing};
use crate::policy::Hop;
use crate::policy::Sites;
use crate::policy::admit::Moments;
use crate::policy::site::Rules;
use crate::rfc::fields::Fields;
use crate::rfc::{connection, date};
use crate::store::{Rival, Store};
use crate::stored::{StoredBody, StoredResponse};

/// The pauses before a further attempt, each with a queue of its own where that is
/// needed.
pub const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(16),
    Duration::from_secs(64),
    Duration::from_secs(256),
    Duration::from_secs(1024),
];

/// Between two attempts to read work.
const PAUSE: Duration = Duration::from_millis(500);

/// An origin that is not asked now is left alone for so long at least.
const LEAST_REST: Duration = Duration::from_secs(1);

/// How often a worker says that it is still at a piece of work.
const STILL_AT_IT: Duration = Duration::from_secs(pace::LOST_AFTER.as_secs() / 4);

/// Where the edge of this name is filled, if it is known.
pub type Places = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Gets responses for edges; cheap to clone.
#[derive(Clone)]
pub struct Worker {
    inner: Arc<Inner>,
}

/// What a worker works with.
pub struct Parts {
    /// What is hidden, and where it is got.
    pub behind: Behind,
    /// Where it keeps what it got, if it does.
    pub store: Option<Arc<Store>>,
    /// What fills are signed with.
    pub secrets: Secrets,
    /// What it knows of invalidations.
    pub invalidator: Arc<Invalidator>,
    /// How work reaches it, and fills the edges.
    pub queues: Arc<dyn Queues>,
    /// Where edges are filled with what is large.
    pub places: Places,
    /// How the requests that it makes name it.
    pub hop: Hop,
    /// Limits and times.
    pub settings: Settings,
    /// Wall time.
    pub clock: Clock,
    /// Everything that is counted.
    pub counters: Arc<Counters>,
}

/// What is hidden, and where it is got.
#[derive(Clone)]
pub struct Behind {
    /// The sites.
    pub sites: Sites,
    /// The names of the origins in the order in which rules count them.
    pub names: Vec<String>,
    /// The hidden origins by name.
    pub origins: HashMap<String, Group>,
}

struct Inner {
    parts: Parts,
    behind: ArcSwap<Behind>,
}

/// A response of the origin's.
enum Got {
    /// To be told to all edges.
    Letter(Letter),
    /// The edge that wanted it has it.
    Pushed,
}

/// Why there is no fill.
enum Ended {
    /// The origin did not answer, or with something that is no fill.
    Failed { why: String, too_many: bool, retry_after: Option<Duration> },
    /// What it answered may not be stored.
    NotStorable(Arc<str>),
    /// The broker or the edge could not be told.
    Untold(String),
}

impl Worker {
    /// A worker that has nothing to do yet.
    pub fn new(parts: Parts) -> Self {
        let behind = ArcSwap::from_pointee(parts.behind.clone());
        Worker { inner: Arc::new(Inner { parts, behind }) }
    }

    /// Something else is hidden from now on.
    pub fn set(&self, behind: Behind) {
        self.inner.behind.store(Arc::new(behind));
    }

    /// Closes connections that have been idle for too long. To be called from a ticker.
    pub fn tick(&self) {
        self.inner.behind.load().origins.values().for_each(Group::close_expired);
    }

    /// Does the work of one origin, so many pieces at once, for as long as it is polled.
    pub async fn run(self, origin: String, at_once: u16) {
        let queues = Arc::clone(&self.inner.parts.queues);
        loop {
            match queues.subscribe(Address::Work(origin.clone()), at_once.max(1)).await {
                Ok(mut reading) => {
                    // Work under way is given back when the subscription breaks.
                    let mut working = JoinSet::new();
                    let error = loop {
                        let delivery = tokio::select! {
                            biased;
                            Some(_) = working.join_next() => continue,
                            delivery = reading.next() => delivery,
                        };
                        match delivery {
                            Ok(delivery) => {
                                let (worker, origin) = (self.clone(), origin.clone());
                                working.spawn(async move { worker.work(&origin, delivery).await });
                            }
                            Err(error) => break error,
                        }
                    };
                    tracing::debug!(target: "forebay::worker", %origin, "no work arrives: {error}");
                }
                Err(error) => {
                    tracing::debug!(target: "forebay::worker", %origin, "work cannot be read: {error}");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Does one piece of work.
    async fn work(&self, origin: &str, delivery: Delivery) {
        let Parts { counters, clock, .. } = &self.inner.parts;
        let Delivery { letter, receipt, returned } = delivery;
        let event = MissEvent::read(&letter.body).map_err(|bad| bad.to_string());
        let good = event.and_then(|event| self.may(&event, origin).map(|asked| (event, asked)));
        let (event, asked) = match good {
            Ok(good) => good,
            Err(why) => {
                counters.events_refused.up();
                tracing::warn!(target: "forebay::worker", origin, id = %letter.id, "an event is refused: {why}");
                let _ = receipt.refuse().await;
                return;
            }
        };
        let told = if event.expires <= clock.now() {
            counters.events_expired.up();
            self.outcome(origin, &event, EndedAs::NotAsked, Duration::ZERO, None).await;
            Ok(())
        } else if returned > 0 {
            self.pace_again(origin, &event).await
        } else {
            self.fill(origin, &event, asked).await
        };
        match told {
            Ok(()) => {
                // If this is lost the work comes again, which does no harm.
                let _ = receipt.acknowledge().await;
            }
            Err(unpublished) => {
                // Giving it back lets it come again, perhaps to another worker.
                tracing::warn!(target: "forebay::worker", origin, id = %event.id, "work is given back: {unpublished}");
                drop(receipt);
            }
        }
    }

    /// The request for what an event wants, if it may want that of this origin.
    fn may(&self, event: &MissEvent, origin: &str) -> Result<Asked, String> {
        let Parts { secrets, clock, .. } = &self.inner.parts;
        let behind = self.inner.behind.load_full();
        let claim = secrets.verify(&event.token, clock.now()).map_err(|bad| bad.to_string())?;
        if claim.wanted != event.wanted || claim.moment != event.moment {
            return Err("its token is for another URL, or another moment".to_owned());
        }
        let asked = keep::asked(&event.wanted, &behind.sites);
        let mut asked = asked.ok_or_else(|| format!("no hidden route for {}", event.wanted.url()))?;
        if behind.names.get(asked.rules.origin.0).is_none_or(|name| name != origin) {
            return Err(format!("{} is of another origin", event.wanted.url()));
        }
        let fields = &mut asked.presented.fields;
        if fields.push("x-request-id", event.id.as_bytes()).is_err() {
            return Err("its id is none".to_owned());
        }
        if let Some(trace) = &event.traceparent
            && fields.push("traceparent", trace.as_bytes()).is_err()
        {
            return Err("its traceparent is none".to_owned());
        }
        Ok(asked)
    }

    /// Work that comes again has used up its turn, for the origin may have been asked: it
    /// goes back to the pacer, as one more attempt. So the rate holds when workers end,
    /// and work that ends workers is given up.
    async fn pace_again(&self, origin: &str, event: &MissEvent) -> Result<(), Unpublished> {
        let Parts { queues, counters, clock, settings, .. } = &self.inner.parts;
        // First of all the pacer takes it for under way no longer.
        self.outcome(origin, event, EndedAs::Answered, Duration::ZERO, None).await;
        let attempts = event.attempts + 1;
        if attempts >= settings.attempts {
            return self.again_or_dead(origin, event, None, "whoever worked on it has ended").await;
        }
        let again = MissEvent { attempts, ..event.clone() };
        queues.publish(Address::Misses(origin.to_owned()), announce::letter(&again, clock.now())).await?;
        counters.events_returned.up();
        Ok(())
    }

    /// Gets one response, and tells the edges and the pacer what came of it.
    async fn fill(&self, origin: &str, event: &MissEvent, asked: Asked) -> Result<(), Unpublished> {
        let Parts { queues, secrets, counters, clock, settings, .. } = &self.inner.parts;
        if let Some(read) = &event.moment.read {
            // A fill from before what the edge knew of would be of no use to the others; the
            // edge itself takes it in any case, because the origin is asked after its event.
            self.inner.parts.invalidator.reads_as_far_as(read).await;
        }
        // What the edge has invalidated and this worker cannot know of may mean what is kept.
        let kept = if event.moment.unread { None } else { self.kept(&asked, &event.wanted) };
        if let Some(letter) = kept {
            queues.publish(Address::Fills, letter).await?;
            counters.worker_from_store.up();
            self.outcome(origin, event, EndedAs::NotAsked, Duration::ZERO, None).await;
            return Ok(());
        }
        self.outcome(origin, event, EndedAs::Begun, Duration::ZERO, None).await;
        counters.worker_requests.up();
        let (began, answered) = (monotonic(), OnceLock::new());
        let got = tokio::select! {
            got = self.get(origin, event, &asked, &answered) => got,
            never = self.keep_place(origin, event) => match never {},
        };
        // What comes after the head is as slow as whoever takes it.
        let took = answered.get().unwrap_or(&monotonic()).saturating_duration_since(began);
        let url = event.wanted.url();
        let notice = |word| fill::notice(secrets, event.wanted.clone(), word, clock.now());
        match got {
            Ok(got) => {
                // The pacer hears of it first: who is not served by the fill asks again.
                self.outcome(origin, event, EndedAs::Answered, took, None).await;
                let sent = match got {
                    Got::Pushed => Ok(()),
                    Got::Letter(letter) => queues.publish(Address::Fills, letter).await,
                };
                match sent {
                    Ok(()) => {
                        counters.worker_fills.up();
                        Ok(())
                    }
                    Err(why) => self.untold(origin, event, &why.to_string()).await,
                }
            }
            Err(Ended::Untold(why)) => {
                self.outcome(origin, event, EndedAs::Answered, took, None).await;
                self.untold(origin, event, &why).await
            }
            Err(Ended::NotStorable(reason)) => {
                counters.worker_not_storable.up();
                tracing::warn!(target: "forebay::worker", origin, %url, %reason, "the response may not be stored, so it cannot be served");
                let word = Word::NotStorable { reason: reason.to_string() };
                queues.publish(Address::Fills, notice(word)).await?;
                self.outcome(origin, event, EndedAs::Answered, took, None).await;
                Ok(())
            }
            Err(Ended::Failed { why, too_many, retry_after }) => {
                counters.worker_failures.up();
                tracing::warn!(target: "forebay::worker", origin, %url, attempt = event.attempts + 1, of = settings.attempts, "the origin failed: {why}");
                let ended = if too_many { EndedAs::TooMany } else { EndedAs::Failed };
                self.outcome(origin, event, ended, took, retry_after).await;
                self.again_or_dead(origin, event, retry_after, &why).await
            }
        }
    }

    /// Says again and again that work is under way: a large response may take longer than
    /// the pacer waits for word of a worker.
    async fn keep_place(&self, origin: &str, event: &MissEvent) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(STILL_AT_IT).await;
            self.outcome(origin, event, EndedAs::Begun, Duration::ZERO, None).await;
        }
    }

    /// There is a response, and nobody who takes it.
    async fn untold(&self, origin: &str, event: &MissEvent, why: &str) -> Result<(), Unpublished> {
        let url = event.wanted.url();
        tracing::warn!(target: "forebay::worker", origin, %url, "the edge could not be told: {why}");
        self.again_or_dead(origin, event, None, why).await
    }

    /// Asks again after a pause, or gives up.
    async fn again_or_dead(
        &self,
        origin: &str,
        event: &MissEvent,
        retry_after: Option<Duration>,
        why: &str,
    ) -> Result<(), Unpublished> {
        let Parts { queues, secrets, counters, clock, settings, .. } = &self.inner.parts;
        let now = clock.now();
        let attempts = event.attempts + 1;
        let wanted = settings.retry_pause.saturating_mul(4u32.saturating_pow(event.attempts.min(8)));
        let pause = step(wanted.max(retry_after.unwrap_or_default()));
        let word = if attempts < settings.attempts && pause.is_some() {
            let pause = pause.unwrap_or_default();
            // It is still of use after the pause.
            let expires = event.expires.max(now.plus(pause).plus(settings.event_ttl));
            let again = MissEvent { attempts, expires, ..event.clone() };
            queues.publish(Address::Retry(origin.to_owned(), pause), announce::letter(&again, now)).await?;
            counters.events_retried.up();
            Word::Postponed { pause_ms: pause.as_millis() as u64 }
        } else {
            counters.events_dead.up();
            tracing::error!(target: "forebay::worker", origin, url = %event.wanted.url(), "given up after {attempts} attempts: {why}");
            let mut letter = announce::letter(event, now);
            letter.expires = None;
            letter.headers.push(("reason".to_owned(), why.chars().take(500).collect()));
            match queues.publish(Address::Dead(origin.to_owned()), letter).await {
                // The key is left alone all the same; only nobody can look at it later.
                Err(Unpublished::Full) => counters.events_dropped.up(),
                sent => sent?,
            }
            Word::Failed
        };
        // Nobody may be there to hear it; then nobody waits for it either.
        let _ = queues.publish(Address::Fills, fill::notice(secrets, event.wanted.clone(), word, now)).await;
        Ok(())
    }

    /// Asks the origin. What is large has been sent to the edge when this returns; when
    /// the origin has answered is noted in `answered`, and told before that is sent.
    async fn get(
        &self,
        origin: &str,
        event: &MissEvent,
        asked: &Asked,
        answered: &OnceLock<Instant>,
    ) -> Result<Got, Ended> {
        let Parts { invalidator, clock, hop, settings, secrets, .. } = &self.inner.parts;
        let behind = self.inner.behind.load_full();
        let failed = |why: String| Ended::Failed { why, too_many: false, retry_after: None };
        let group = behind.origins.get(origin).ok_or_else(|| failed("there is no such origin".to_owned()))?;
        let head = origin_request(asked, hop, Purpose::Store);
        let Rules { first_byte_timeout, between_bytes_timeout, total_timeout, .. } = *asked.rules;
        let limits = Limits {
            first_byte: first_byte_timeout,
            between_bytes: between_bytes_timeout,
            total: total_timeout,
        };
        // The origin is asked after the edge has told the event, and so after its moment.
        let (began, requested) = (monotonic(), clock.now());
        let moment = invalidator.moment().after(&event.moment);
        let exchange = group
            .exchange(Outgoing {
                head,
                body: None,
                upgrade: false,
                key: Arc::clone(&asked.key.text),
                limits,
                tell: None,
            })
            .await;
        let exchange = exchange.map_err(|failure| match &failure {
            // It is left alone, and so nothing is released either.
            Failure::Open { retry_after, .. } | Failure::NoServer { retry_after, .. } => {
                let retry_after = Some(retry_after.unwrap_or_default().max(LEAST_REST));
                Ended::Failed { why: failure.to_string(), too_many: true, retry_after }
            }
            Failure::Saturated(_) => {
                Ended::Failed { why: failure.to_string(), too_many: true, retry_after: Some(LEAST_REST) }
            }
            failure => failed(failure.to_string()),
        })?;
        let received = clock.now();
        let (status, mut fields) = (exchange.head.status, exchange.head.fields);
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            // A server that says when to come back is asked too much, whatever it calls it.
            let retry_after = retry_after(&fields, received);
            let too_many = status == StatusCode::TOO_MANY_REQUESTS || retry_after.is_some();
            return Err(Ended::Failed { why: format!("it answered {status}"), too_many, retry_after });
        }
        connection::strip(&mut fields);
        let number = invalidator.number_of(&moment).unwrap_or_default();
        let moments = Moments { requested, received, sequence: number };
        let judged =
            keep::storable(&asked.presented, &asked.rules, status, fields.clone(), moments, received);
        let stored_head = match judged {
            Ok(head) => head,
            Err(Refused::NotStorable(reason)) => return Err(Ended::NotStorable(reason)),
            Err(other) => return Err(failed(other.to_string())),
        };
        fields.remove("content-length");
        let head = FillHead::new(event.wanted.clone(), status, &fields, requested, received);
        let mut body = exchange.body;
        let content = inline(&mut body, settings.inline_max).await.map_err(failed)?;
        let _ = answered.set(monotonic());
        match content {
            Content::Whole(bytes) => {
                self.keep(asked, stored_head, &bytes);
                Ok(Got::Letter(fill::letter(secrets, &head, bytes, moment, received)))
            }
            Content::Large(first) => {
                // Its place stays taken; but that the origin answers is known now.
                self.outcome(origin, event, EndedAs::Answering, began.elapsed(), None).await;
                self.push(event, &head, moment, first, body).await.map(|()| Got::Pushed)
            }
        }
    }

    /// Sends a large response to the edge that wants it.
    async fn push(
        &self,
        event: &MissEvent,
        head: &FillHead,
        moment: Moment,
        first: Vec<Bytes>,
        rest: Body,
    ) -> Result<(), Ended> {
        let Parts { secrets, places, clock, counters, .. } = &self.inner.parts;
        let source = event.source.rsplit('/').next().unwrap_or_default();
        // Its name in the cluster, which no other has; or as its configuration calls it.
        let Some(place) = places(&event.moment.node).or_else(|| places(source)) else {
            return Err(Ended::Untold(format!("no edge is called `{source}`")));
        };
        let (said, token) = fill::announced(secrets, head, moment, clock.now());
        let first = futures_util::stream::iter(first.into_iter().map(|bytes| Ok(Piece::Bytes(bytes))));
        // Whether the origin has broken off is not to be taken for the edge's fault.
        let broken = Arc::new(OnceLock::new());
        let note = Arc::clone(&broken);
        let rest = rest.inspect_err(move |why| {
            let _ = note.set(*why);
        });
        let pushed = push::push(&place, &said, &token, first.chain(rest).boxed()).await;
        // One that took too long in all may have waited for the edge.
        if let Some(why) = broken.get().filter(|why| !matches!(why, Broken::Overdue(_))) {
            let why = format!("the response broke off: {why}");
            return Err(Ended::Failed { why, too_many: false, retry_after: None });
        }
        match pushed {
            Ok(()) => {
                counters.worker_pushed.up();
                Ok(())
            }
            Err(push::Trouble::Refused(why)) => {
                // The edge has judged it, and knows.
                tracing::info!(target: "forebay::worker", url = %event.wanted.url(), "the edge refused it: {why}");
                Ok(())
            }
            Err(push::Trouble::Failed(why)) => Err(Ended::Untold(why)),
        }
    }

    /// Keeps a response for the next edge that wants it.
    fn keep(&self, asked: &Asked, head: crate::stored::Head, body: &Bytes) {
        let Parts { store: Some(store), .. } = &self.inner.parts else { return };
        let response =
            StoredResponse::new(Arc::new(head), StoredBody::copied(std::slice::from_ref(body)), None);
        let (fields, sort) = (&asked.presented.fields, asked.rules.sort_accept_language);
        let rival = |stored: &StoredResponse| {
            if stored.head.secondary.matches(fields, sort) { Rival::Yields } else { Rival::Other }
        };
        store.insert(&asked.key, response, rival, None);
    }

    /// The fill of something that is still fresh here.
    fn kept(&self, asked: &Asked, wanted: &Wanted) -> Option<Letter> {
        let Parts { store, secrets, invalidator, clock, .. } = &self.inner.parts;
        let store = store.as_ref()?;
        // Noted before it is looked for, so that whatever is purged meanwhile is later.
        let moment = Moment { kept: true, ..invalidator.moment() };
        let now = clock.now();
        let found = store.find_in_memory(&asked.key)?;
        let response = found.select(&asked.presented.fields, asked.rules.sort_accept_language)?;
        if response.stale_for(now).is_some()
            || response.head.always_validate
            || !store.may_use(&asked.key, response, response.head.sequence)
        {
            return None;
        }
        let head = &response.head;
        let mut fields = head.fields.clone();
        fields.set("age", head.initial_age.to_string());
        let head = FillHead::new(wanted.clone(), head.status, &fields, head.requested, head.received);
        let body = match response.body.chunks() {
            [only] => only.clone(),
            chunks => Bytes::from(chunks.concat()),
        };
        Some(fill::letter(secrets, &head, body, moment, now))
    }

    async fn outcome(
        &self,
        origin: &str,
        event: &MissEvent,
        ended: EndedAs,
        took: Duration,
        retry_after: Option<Duration>,
    ) {
        let outcome = Outcome {
            key: format!("{:032x}", event.wanted.id()),
            release: event.release.clone(),
            ended,
            took_ms: took.as_millis() as u64,
            retry_after_ms: retry_after.map(|time| time.as_millis() as u64),
        };
        let letter = Letter {
            id: event.id.clone(),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            body: serde_json::to_vec(&outcome).unwrap_or_default().into(),
            expires: Some(Duration::from_secs(60)),
        };
        // A pacer that does not hear of it takes the work for lost after a while.
        let _ = self.inner.parts.queues.publish(Address::Outcomes(origin.to_owned()), letter).await;
    }
}

/// A body, as far as it was read.
enum Content {
    Whole(Bytes),
    Large(Vec<Bytes>),
}

/// Reads a body as far as it may go through the broker.
async fn inline(body: &mut Body, most: u64) -> Result<Content, String> {
    let (mut pieces, mut length) = (Vec::new(), 0u64);
    while let Some(piece) = body.next().await {
        if let Piece::Bytes(bytes) = piece.map_err(|broken| broken.to_string())? {
            length += bytes.len() as u64;
            pieces.push(bytes);
            if length > most {
                return Ok(Content::Large(pieces));
            }
        }
    }
    Ok(Content::Whole(match &pieces[..] {
        [only] => only.clone(),
        pieces => Bytes::from(pieces.concat()),
    }))
}

/// The shortest pause there is that is long enough; none if it would be too long.
fn step(wanted: Duration) -> Option<Duration> {
    PAUSES.into_iter().find(|pause| *pause >= wanted)
}

/// When the origin wants to be asked again (RFC 9110 10.2.3).
fn retry_after(fields: &Fields, now: Wall) -> Option<Duration> {
    let value = fields.get_str("retry-after")?;
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = date::parse(value.as_bytes(), now)?;
    Some(Wall::from_secs(at).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_back_is_read_in_both_forms() {
        let now = Wall::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let fields: Fields = [("retry-after", value)].into_iter().collect();
            assert_eq!(retry_after(&fields, now).map(|time| time.as_secs()), seconds, "{value}");
        }
    }

    #[test]
    fn pauses_are_those_that_have_a_queue() {
        assert_eq!(step(Duration::from_millis(10)), Some(Duration::from_secs(1)));
        assert_eq!(step(Duration::from_secs(5)), Some(Duration::from_secs(16)));
        assert_eq!(step(Duration::from_secs(5000)), None);
    }
}
