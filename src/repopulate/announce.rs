//! Telling the origin's side what is wanted. All that a hidden route knows of an
//! origin is this.
//!
//! What always holds: no client waits for the broker; what it does not take at once
//! waits in a backlog of bounded length, and what finds no room there is dropped and
//! counted; an event whose time is over is not told any more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Settings;
use super::event::{self, MissEvent, Reason, Wanted};
use super::lease::Unfillable;
use super::token::{Claim, Secrets};
use super::wants::{Missed, Wants};
use crate::broker::{Address, Letter, Queues, Unpublished};
use crate::clock::{Clock, Wall, monotonic};
use crate::invalidate::Invalidator;
use crate::observe::counters::Counters;
use crate::stored::StoredResponse;

/// Events that are published and not yet confirmed.
const UNCONFIRMED: usize = 32;
/// Between two attempts to publish while the broker is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A token outlives its event by so much: whoever acts on the event at its very end
/// still needs it.
pub(super) const GRACE: Duration = Duration::from_secs(600);

/// Tells what is wanted; cheap to clone.
#[derive(Clone)]
pub struct Announcer {
    inner: Arc<Inner>,
}

struct Inner {
    wants: Arc<Wants>,
    backlog: mpsc::Sender<Told>,
    secrets: Secrets,
    invalidator: Arc<Invalidator>,
    node: String,
    fill: String,
    event_ttl: Duration,
    clock: Clock,
    counters: Arc<Counters>,
}

/// An event on its way to the queue of its origin.
struct Told {
    origin: String,
    event: MissEvent,
}

/// A miss, and whose it is.
pub struct Miss<'a> {
    /// What is wanted.
    pub wanted: Wanted,
    /// The name of the origin that has it.
    pub origin: &'a str,
    /// Why it is wanted.
    pub reason: Reason,
    /// What is stored of it, stale as it is.
    pub stored: Option<&'a StoredResponse>,
    /// Who asks; nobody where this node itself does.
    pub client: Option<IpAddr>,
    /// The trace that the request belongs to.
    pub traceparent: Option<String>,
}

/// What came of telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Announced {
    /// It is expected within about so long.
    Expected(Duration),
    /// It was tried, and nobody is asked for it for so long.
    HeldDown(Unfillable, Duration),
    /// The client has asked for too many new things; it may again after so long.
    TooManyNew(Duration),
    /// It is not told now, for lack of room; it may be after so long.
    NotNow(Duration),
}

/// What is told to a client that finds no room: no sooner than this.
const NO_ROOM: Duration = Duration::from_secs(5);

impl Announcer {
    /// Tells through these queues. `node` is this node's name, and `fill` its address
    /// for those who fill it.
    pub fn start(
        settings: &Settings,
        wants: Arc<Wants>,
        secrets: Secrets,
        invalidator: Arc<Invalidator>,
        queues: Arc<dyn Queues>,
        (node, fill): (String, String),
        (clock, counters): (Clock, Arc<Counters>),
    ) -> Self {
        let (backlog, waiting) = mpsc::channel(settings.backlog.max(1));
        tokio::spawn(publish(waiting, queues, Arc::clone(&wants), clock.clone(), Arc::clone(&counters)));
        let event_ttl = settings.event_ttl;
        let inner = Inner { wants, backlog, secrets, invalidator, node, fill, event_ttl, clock, counters };
        Announcer { inner: Arc::new(inner) }
    }

    /// Tells a miss, unless it has been told.
    pub fn miss(&self, miss: Miss<'_>) -> Announced {
        let inner = &*self.inner;
        let key = miss.wanted.id();
        let known_by = miss.wanted.known_id();
        match inner.wants.miss(key, known_by, miss.reason, miss.client, monotonic()) {
            Missed::Tell { class, misses } => {
                let now = inner.clock.now();
                let event = inner.event(&miss, class, misses, now);
                let told = Told { origin: miss.origin.to_owned(), event };
                if inner.backlog.try_send(told).is_err() {
                    inner.counters.events_dropped.up();
                    inner.wants.untold(key);
                    return Announced::NotNow(NO_ROOM);
                }
                Announced::Expected(inner.wants.usual())
            }
            Missed::Told => Announced::Expected(inner.wants.usual()),
            Missed::HeldDown(why, left) => Announced::HeldDown(why, left),
            Missed::TooManyNew(wait) => Announced::TooManyNew(wait),
            Missed::Unknown(wait) => Announced::NotNow(wait.max(NO_ROOM)),
            Missed::Full => Announced::NotNow(NO_ROOM),
        }
    }

    /// What would come of telling a client's miss, and its class where an event would go out.
    /// Nothing is told, and nothing noted.
    pub fn would(&self, wanted: &Wanted, reason: Reason) -> (Announced, Option<event::Class>) {
        let wants = &self.inner.wants;
        let (missed, class) = wants.would(wanted.id(), wanted.known_id(), reason, monotonic());
        match missed {
            Missed::Tell { .. } => (Announced::Expected(wants.usual()), Some(class)),
            Missed::Told => (Announced::Expected(wants.usual()), None),
            Missed::HeldDown(why, left) => (Announced::HeldDown(why, left), None),
            Missed::TooManyNew(wait) => (Announced::TooManyNew(wait), None),
            Missed::Unknown(wait) => (Announced::NotNow(wait), None),
            Missed::Full => (Announced::NotNow(NO_ROOM), None),
        }
    }

    /// What this node wants.
    pub fn wants(&self) -> &Arc<Wants> {
        &self.inner.wants
    }
}

impl Inner {
    fn event(&self, miss: &Miss<'_>, class: event::Class, misses: u64, now: Wall) -> MissEvent {
        let moment = self.invalidator.moment_for(&miss.wanted.cache_key());
        let expires = now.plus(self.event_ttl);
        let claim = Claim {
            wanted: miss.wanted.clone(),
            moment: moment.clone(),
            expires_ms: expires.plus(GRACE).millis(),
            response: None,
        };
        let field =
            |name: &str| miss.stored.and_then(|stored| stored.head.fields.get_str(name)).map(str::to_owned);
        MissEvent {
            id: event::new_id(now),
            source: format!("/forebay/{}", self.node),
            time: now,
            expires,
            traceparent: miss.traceparent.clone(),
            wanted: miss.wanted.clone(),
            reason: miss.reason,
            class,
            misses,
            moment,
            etag: field("etag"),
            last_modified: field("last-modified"),
            fill: self.fill.clone(),
            token: self.secrets.sign(&claim),
            attempts: 0,
            release: None,
        }
    }
}

/// The letter of an event.
pub(super) fn letter(event: &MissEvent, now: Wall) -> Letter {
    Letter {
        id: event.id.clone(),
        content_type: event::MEDIA_TYPE.to_owned(),
        headers: Vec::new(),
        body: event.to_json().into(),
        expires: Some(event.expires.since(now)),
    }
}

/// Publishes what waits, several at a time, for as long as there is an announcer.
async fn publish(
    mut waiting: mpsc::Receiver<Told>,
    queues: Arc<dyn Queues>,
    wants: Arc<Wants>,
    clock: Clock,
    counters: Arc<Counters>,
) {
    let mut under_way = FuturesUnordered::new();
    loop {
        let told = tokio::select! {
            biased;
            Some(()) = under_way.next() => continue,
            told = waiting.recv(), if under_way.len() < UNCONFIRMED => match told {
                Some(told) => told,
                None => break,
            },
        };
        counters.events_backlog.set(waiting.len() as u64);
        under_way.push(publish_one(told, &*queues, &wants, &clock, &counters));
    }
    while under_way.next().await.is_some() {}
}

async fn publish_one(told: Told, queues: &dyn Queues, wants: &Wants, clock: &Clock, counters: &Counters) {
    let Told { origin, event } = told;
    let key = event.wanted.id();
    let mut pause = PAUSE.0;
    loop {
        let now = clock.now();
        if event.expires <= now {
            counters.events_expired.up();
            wants.untold(key);
            return;
        }
        match queues.publish(Address::Misses(origin.clone()), letter(&event, now)).await {
            Ok(()) => {
                counters.events_published.up();
                return;
            }
            Err(Unpublished::Full) => {
                counters.events_nacked.up();
                wants.untold(key);
                return;
            }
            Err(Unpublished::Unroutable | Unpublished::Broker(_)) => {
                counters.events_unconfirmed.up();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}
