//! How a request came out, recorded once.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use super::Server;
use crate::apart::Handle;
use crate::clock::Wall;
use crate::message::Broken;
use crate::observe::access_log::{Entry, Log};
use crate::observe::counters::{Counters, Spread};
use crate::policy::Received;
use crate::shed::Place;

/// How a request came out, by what answered it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Outcome {
    /// A fresh stored response.
    Hit,
    /// A stale stored response.
    Stale,
    /// A stored response that the origin said was still right.
    Revalidated,
    /// The origin's response, which may be stored.
    Miss,
    /// The origin's response to another request.
    Collapsed,
    /// The origin's response for this client alone.
    Pass,
    /// Nothing yet: it has been told that the response is wanted.
    Queued,
    /// This node's own: the request was to go no further.
    Own,
    /// Whether a purge was done.
    Purge,
    /// Nothing: the request was not acceptable.
    Refused,
    /// Nothing: too much was under way, or the client has missed too often.
    Shed,
    /// Nothing: there was no response to be had.
    Failed,
    /// Nothing: the client left before there was a reply.
    #[default]
    Left,
}

impl Outcome {
    /// Its row in the table of counters.
    fn count(self, counters: &Counters) -> &Spread {
        match self {
            Outcome::Hit => &counters.requests_hit,
            Outcome::Stale => &counters.requests_stale,
            Outcome::Revalidated => &counters.requests_revalidated,
            Outcome::Miss => &counters.requests_miss,
            Outcome::Collapsed => &counters.requests_collapsed,
            Outcome::Pass => &counters.requests_pass,
            Outcome::Queued => &counters.requests_queued,
            Outcome::Own => &counters.requests_own,
            Outcome::Purge => &counters.requests_purge,
            Outcome::Refused => &counters.requests_refused,
            Outcome::Shed => &counters.requests_shed,
            Outcome::Failed => &counters.requests_failed,
            Outcome::Left => &counters.requests_left,
        }
    }
}

/// The record of one request. It is written when it is dropped, whatever became
/// of the request until then.
pub struct Record {
    counters: Handle<Counters>,
    log: Option<(Log, Box<Line>)>,
    started: Instant,
    bytes: u64,
    complete: bool,
    /// How it came out, as far as is known.
    pub outcome: Outcome,
    /// Who asked.
    pub client: IpAddr,
    /// The id that the client and the origin were told.
    pub request_id: String,
    /// What stood in the way of a better outcome.
    pub failure: Option<String>,
    /// Held for as long as the request is under way, unless the cache answers it.
    pub place: Option<Arc<Place>>,
}

/// What the access log has for a status where the client left before there was one;
/// nginx writes the same.
const LEFT: u16 = 499;

/// What only the access log wants to know.
struct Line {
    at: Wall,
    method: Method,
    version: Version,
    status: u16,
    time_to_head: std::time::Duration,
    texts: Texts,
}

/// Texts of a request and of its reply behind each other, in one allocation.
#[derive(Default)]
struct Texts {
    text: String,
    places: [Option<Range<usize>>; 5],
}

/// Which of the texts is meant.
#[derive(Clone, Copy)]
enum Which {
    Target,
    Host,
    Referer,
    UserAgent,
    CacheStatus,
}

impl Texts {
    fn put(&mut self, which: Which, text: &[u8]) {
        let start = self.text.len();
        self.text.push_str(&String::from_utf8_lossy(text));
        self.places[which as usize] = Some(start..self.text.len());
    }

    fn get(&self, which: Which) -> Option<&str> {
        self.text.get(self.places[which as usize].clone()?)
    }
}

impl Record {
    /// Begins with what is known of every request.
    pub fn begin(server: &Server, received: &Received, at: Wall, started: Instant) -> Self {
        let counters = server.counters.take();
        counters.requests_under_way.up();
        let log = server.access_log.take().map(|log| {
            // Most of them fit, with the `Cache-Status` that follows.
            let mut texts = Texts { text: String::with_capacity(512), ..Texts::default() };
            texts.put(Which::Target, received.target.as_bytes());
            for (which, name) in
                [(Which::Host, "host"), (Which::Referer, "referer"), (Which::UserAgent, "user-agent")]
            {
                if let Some(value) = received.fields.get(name) {
                    texts.put(which, value);
                }
            }
            let line = Line {
                at,
                method: received.method.clone(),
                version: received.version,
                status: LEFT,
                time_to_head: std::time::Duration::ZERO,
                texts,
            };
            (log, Box::new(line))
        });
        Record {
            counters,
            log,
            started,
            bytes: 0,
            complete: false,
            outcome: Outcome::default(),
            client: received.peer,
            request_id: String::new(),
            failure: None,
            place: None,
        }
    }

    /// Notes the head of the reply.
    pub fn head(&mut self, outcome: Outcome, status: StatusCode, cache_status: &[u8]) {
        self.outcome = outcome;
        if let Some((_, line)) = &mut self.log {
            line.status = status.as_u16();
            line.time_to_head = self.started.elapsed();
            line.texts.put(Which::CacheStatus, cache_status);
        }
    }

    /// Notes bytes of the body.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Notes that so many bytes that were to be sent, some of the head perhaps, were not.
    pub fn unsent(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Notes that the body came to its end.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Notes that the body broke off.
    pub fn broken(&mut self, why: Broken) {
        self.counters.replies_broken.up();
        self.failure = Some(why.to_string());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.outcome.count(&self.counters).up();
        self.counters.reply_body_bytes.add(self.bytes);
        self.counters.request_seconds.record(took);
        if let Some((log, line)) = self.log.take() {
            let text = |which| line.texts.get(which);
            log.record(&Entry {
                at: line.at,
                client: self.client,
                method: &line.method,
                host: text(Which::Host).unwrap_or_default(),
                target: text(Which::Target).unwrap_or_default(),
                version: line.version,
                status: line.status,
                body_bytes: self.bytes,
                took,
                time_to_head: line.time_to_head,
                cache_status: text(Which::CacheStatus).unwrap_or_default(),
                request_id: &self.request_id,
                referer: text(Which::Referer),
                user_agent: text(Which::UserAgent),
                complete: self.complete,
                detail: self.failure.as_deref(),
            });
        }
        // Whoever waits until nothing is under way finds everything recorded.
        self.counters.requests_under_way.down();
    }
}
