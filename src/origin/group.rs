//! An origin as sites name it: a group of servers, and how a request to it goes.
//!
//! A request takes a place in the bulkhead, is sent to one server, and where that fails
//! and may be repeated, to another one; what the servers' answers say is heeded for the
//! next ones.
//!
//! What always holds: a request is under way from when it has its place until the last
//! byte of its response, or until nobody wants that any more; nothing is sent twice that
//! is not idempotent, has content, or whose response has begun; a further attempt has
//! only what is left of the time, and comes out of a budget. An open breaker and a full
//! bulkhead are told at once.
//!
//! Cancel safety: dropping a request or its body gives up its place, and judges nobody.

use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::breaker::{Forced, Outcome, Pass};
use super::bulkhead::{self, Bulkhead, Place};
use super::exchange::{Exchange, Failure, Outgoing};
use super::pool::{Deadlines, Pool};
use super::resolve::{self, Endpoint, Resolver};
use super::servers::{self, News, Picked, Servers};
use super::timed::Timed;
use super::{HashOn, Settings, probe};
use crate::clock::monotonic;
use crate::message::{Body, Broken, Piece, RequestHead};
use crate::observe::counters::Counters;
use crate::rfc::unsafe_method::is_idempotent;

/// An origin; cheap to clone.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

/// Answers in the place of an origin, in tests.
pub type Script = Box<dyn Fn(Outgoing) -> BoxFuture<'static, Result<Exchange, Failure>> + Send + Sync>;

struct Inner {
    shared: Arc<Shared>,
    resolver: Option<Resolver>,
    /// What goes on in the background, from the first request on or before it.
    tasks: OnceLock<Vec<AbortHandle>>,
}

pub(super) struct Shared {
    pub settings: Arc<Settings>,
    script: Option<Script>,
    pub servers: Mutex<Servers>,
    bulkhead: Bulkhead,
    /// The places of requests whose content is still on its way.
    uploads: Bulkhead,
    /// Which of the configured servers have been looked up, a bit for each.
    looked_up: watch::Sender<u64>,
    names: Mutex<Vec<resolve::Viewer>>,
    pub counters: Arc<Counters>,
}

/// How an origin stands, for operators.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// What the configuration calls it.
    pub name: String,
    /// Requests under way, and those that wait.
    pub requests: bulkhead::View,
    /// Its breaker and its servers.
    #[serde(flatten)]
    pub servers: servers::View,
    /// What is known of its servers' names.
    pub names: Vec<resolve::View>,
}

impl Group {
    /// An origin whose servers are found by this resolver. Nothing is asked of them, or
    /// of it, before the first request, unless it is [woken](Group::wake).
    pub fn new(settings: Settings, resolver: Resolver, counters: Arc<Counters>) -> Self {
        let places = places(&settings);
        Self::with(settings, places, Some(resolver), None, counters)
    }

    /// An origin that connects to nobody: what it is asked is answered by `script`.
    pub fn scripted(settings: Settings, counters: Arc<Counters>, script: Script) -> Self {
        let places = places(&settings);
        Self::with(settings, places, None, Some(script), counters)
    }

    fn with(
        settings: Settings,
        (bulkhead, uploads): (Bulkhead, Bulkhead),
        resolver: Option<Resolver>,
        script: Option<Script>,
        counters: Arc<Counters>,
    ) -> Self {
        let settings = Arc::new(settings);
        let shared = Shared {
            script,
            servers: Mutex::new(Servers::new(Arc::clone(&settings), monotonic())),
            bulkhead,
            uploads,
            looked_up: watch::Sender::new(0),
            names: Mutex::default(),
            settings,
            counters,
        };
        Group { inner: Arc::new(Inner { shared: Arc::new(shared), resolver, tasks: OnceLock::new() }) }
    }

    /// How this origin is asked.
    pub fn settings(&self) -> &Settings {
        &self.inner.shared.settings
    }

    /// The same origin with other settings. Requests that are under way count on, and what
    /// was opened or closed by hand stays so; the rest is learnt anew.
    pub(super) fn succeeded_by(&self, settings: Settings) -> Group {
        let Inner { shared, resolver, .. } = &*self.inner;
        shared.bulkhead.set(settings.bulkhead);
        shared.uploads.set(settings.bulkhead.of_uploads());
        let (places, counters) =
            ((shared.bulkhead.clone(), shared.uploads.clone()), Arc::clone(&shared.counters));
        let next = Self::with(settings, places, resolver.clone(), None, counters);
        let mine = &next.inner.shared;
        // Where its servers were is better than nothing until their names are answered again.
        for (source, server) in mine.settings.servers.iter().enumerate() {
            let before = shared.settings.servers.iter().position(|other| other.name == server.name);
            let known = before.map(|before| shared.servers.lock().endpoints(before)).unwrap_or_default();
            if !known.is_empty() {
                mine.found(source, &known);
            }
        }
        let forced = shared.servers.lock().forced();
        mine.servers.lock().set_forced(forced, monotonic());
        // Its probes and look-ups are those of the new one now.
        self.inner.tasks.get().into_iter().flatten().for_each(AbortHandle::abort);
        next
    }

    /// Finds the servers and probes them from now on, in the background.
    pub fn wake(&self) {
        let Inner { shared, resolver, tasks } = &*self.inner;
        let Some(resolver) = resolver else { return };
        tasks.get_or_init(|| {
            let mut begun = Vec::new();
            for (source, server) in shared.settings.servers.iter().enumerate() {
                let watch = resolver.watch(server.name.clone());
                shared.names.lock().push(watch.viewer());
                // Addresses are known without a look-up.
                let known = watch.endpoints();
                if !known.is_empty() {
                    shared.found(source, &known);
                }
                begun.push(tokio::spawn(follow(Arc::downgrade(shared), source, watch)).abort_handle());
            }
            if let Some(probe) = &shared.settings.probe {
                begun.push(tokio::spawn(probe::run(Arc::downgrade(shared), probe.clone())).abort_handle());
            }
            begun
        });
    }

    /// Whether it was ever to be asked.
    pub fn is_awake(&self) -> bool {
        self.inner.tasks.get().is_some()
    }

    /// One request, one response head; the body follows at the reader's pace.
    pub async fn exchange(&self, outgoing: Outgoing) -> Result<Exchange, Failure> {
        let shared = &self.inner.shared;
        let outcome = match &shared.script {
            // A large future, with all that connecting needs: whoever only might ask does not
            // carry it about.
            None => Box::pin(self.request(outgoing)).await,
            Some(script) => script(outgoing).await,
        };
        if let Err(failure) = &outcome {
            count(&shared.counters, failure);
        }
        outcome
    }

    async fn request(&self, outgoing: Outgoing) -> Result<Exchange, Failure> {
        let shared = &self.inner.shared;
        self.wake();
        let began = Instant::now();
        // What is refused anyhow does not wait for a place first.
        if let Some(failure) = shared.servers.lock().refuses(began.into_std()) {
            return Err(failure);
        }
        let Outgoing { head, mut body, upgrade, key, limits, tell } = outgoing;
        let at_once = if body.is_none() { shared.bulkhead.try_enter() } else { None };
        let has_waited = at_once.is_none();
        let place = match at_once {
            Some(place) => place,
            None => {
                let _waiting = shared.counters.origin_waiting.hold();
                if let Some(content) = body.take() {
                    let upload = shared.uploads.enter().await.map_err(Failure::Uploads)?;
                    body = Some(content.holding(upload));
                }
                shared.bulkhead.enter_after(began.elapsed()).await?
            }
        };
        let looked = self.looked_up().await;
        let now = if has_waited || !looked.is_zero() { Instant::now() } else { began };
        let pass = shared.servers.lock().begin(now.into_std())?;
        shared.counters.origin_requests.up();
        let whole = Whole { shared: Arc::clone(shared), pass, is_judged: false, _place: place };
        let settings = &shared.settings;
        let deadlines = Deadlines {
            started: began,
            connect: settings.connect_timeout.saturating_sub(looked),
            first_byte: limits.first_byte.unwrap_or(settings.first_byte_timeout),
            between_bytes: limits.between_bytes.unwrap_or(settings.between_bytes_timeout),
            total: limits.total.unwrap_or(settings.total_timeout),
        };
        let repeatable = body.is_none() && !upgrade && is_idempotent(&head.method);
        let hash = settings.hash(&head, &key);
        // The first attempt costs no room here.
        let mut tried = Vec::new();
        // A server's own error is better than none of ours.
        let mut earlier = None;
        let picked = shared.servers.lock().pick(&tried, hash, now.into_std());
        let mut picked = picked.map_err(|failure| shared.unresolved().unwrap_or(failure))?;
        loop {
            let mut attempt = Attempt {
                shared: Arc::clone(shared),
                number: picked.number,
                pass: picked.pass,
                is_judged: false,
            };
            let answered = picked.pool.exchange(&head, body.take(), upgrade, tell.as_ref(), &deadlines).await;
            let outcome = match &answered {
                Ok(answer) if settings.is_failure(answer.head.status) => Outcome::Failure,
                Ok(_) => Outcome::Success,
                // It is the client's content that broke off, or took all the time there was.
                Err(Failure::RequestBroken | Failure::ContentOverdue(_)) => Outcome::Unjudged,
                Err(_) => Outcome::Failure,
            };
            let answered_at = monotonic();
            attempt.judge(outcome, answered_at);
            let again = outcome == Outcome::Failure
                && repeatable
                && tried.len() < settings.retries
                && !deadlines.left().is_zero();
            if again && let Some(another) = shared.pick_another(&mut tried, picked.number, hash) {
                // What still comes would be one more request under way.
                let whole_answer = answered.ok().filter(|answer| answer.body.is_whole());
                earlier = whole_answer.map(|answer| (answer, attempt)).or(earlier);
                picked = another;
                continue;
            }
            // What would have been had of another server says nothing of all of them together.
            let outcome = match outcome {
                Outcome::Failure if shared.has_good(&tried, picked.number) => Outcome::Unjudged,
                outcome => outcome,
            };
            let mut whole = whole;
            whole.end(outcome, answered_at);
            let (answer, attempt) = match (answered, earlier) {
                (Ok(answer), _) => (answer, attempt),
                (Err(_), Some(earlier)) => earlier,
                (Err(failure), None) => return Err(failure),
            };
            if answer.switched.is_some() {
                // A tunnel is no request any more.
                return Ok(Exchange {
                    head: answer.head,
                    body: Box::pin(answer.body),
                    switched: answer.switched,
                });
            }
            let body: Body = Box::pin(UnderWay { body: answer.body, until_end: Some((attempt, whole)) });
            return Ok(Exchange { head: answer.head, body, switched: None });
        }
    }

    /// Waits until it is known where the servers are, where none is known and not all names
    /// were looked up. Returns how long that took; nothing where it was known.
    async fn looked_up(&self) -> Duration {
        let shared = &self.inner.shared;
        if !shared.servers.lock().is_empty() {
            return Duration::ZERO;
        }
        let all = (0..shared.settings.servers.len()).map(bit).fold(0, |all, bit| all | bit);
        if *shared.looked_up.borrow() == all {
            return Duration::ZERO;
        }
        let began = Instant::now();
        let mut looked_up = shared.looked_up.subscribe();
        let known = looked_up.wait_for(|known| *known == all);
        // Whoever asks after that learns that it has no servers.
        let _ = tokio::time::timeout(shared.settings.connect_timeout, known).await;
        began.elapsed()
    }

    /// Opens or closes a breaker by hand, or gives it back to itself; that of one server,
    /// or that of all of them together. Returns how many were meant.
    pub fn force(&self, server: Option<&str>, forced: Option<Forced>) -> usize {
        self.inner.shared.servers.lock().force(server, forced, monotonic())
    }

    /// Closes the connections that have been idle for too long.
    pub fn close_expired(&self) {
        self.inner.shared.servers.lock().close_expired();
    }

    /// How it stands.
    pub fn view(&self) -> View {
        let shared = &self.inner.shared;
        View {
            name: shared.settings.name.clone(),
            requests: shared.bulkhead.view(),
            servers: shared.servers.lock().view(monotonic()),
            names: shared.names.lock().iter().map(resolve::Viewer::view).collect(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.get().into_iter().flatten().for_each(AbortHandle::abort);
    }
}

/// Follows where a configured server is to be found.
async fn follow(shared: Weak<Shared>, source: usize, mut watch: resolve::Watch) {
    watch.first().await;
    loop {
        {
            let Some(shared) = shared.upgrade() else { return };
            if watch.is_answered() {
                shared.found(source, &watch.endpoints());
            } else {
                shared.has_looked_up(source);
            }
        }
        watch.changed().await;
    }
}

impl Shared {
    /// A configured server is here now.
    fn found(&self, source: usize, endpoints: &[Endpoint]) {
        let speaks_tls = self.settings.servers.get(source).is_some_and(|server| server.tls);
        let tls = self.settings.tls.as_ref().filter(|_| speaks_tls);
        let pool = |endpoint: &Endpoint| {
            Pool::new(endpoint.clone(), tls.cloned(), Arc::clone(&self.settings), Arc::clone(&self.counters))
        };
        self.servers.lock().found(source, endpoints, monotonic(), pool);
        self.has_looked_up(source);
    }

    /// It is known, or known not to be known, where a configured server is.
    fn has_looked_up(&self, source: usize) {
        self.looked_up.send_modify(|known| *known |= bit(source));
    }

    /// Why there are no servers, if that is because of their names.
    fn unresolved(&self) -> Option<Failure> {
        if !self.servers.lock().is_empty() {
            return None;
        }
        self.names.lock().iter().find_map(resolve::Viewer::trouble).map(Failure::Unresolved)
    }

    /// Whether there is another server than these that might have answered well.
    fn has_good(&self, tried: &[u64], last: u64) -> bool {
        self.servers.lock().has_good(tried, last, monotonic())
    }

    /// The server for one more attempt, another one than those that were `tried` and the
    /// `last` one, if there may be one. All under one lock: whoever has an answer to lose
    /// does not let go of it before there is a server to ask.
    fn pick_another(&self, tried: &mut Vec<u64>, last: u64, hash: u64) -> Option<Picked> {
        // Those who wait for a place go before whoever has had one.
        if self.bulkhead.view().waiting > 0 {
            return None;
        }
        let mut servers = self.servers.lock();
        let now = monotonic();
        if !servers.has_another(tried, last, now) {
            return None;
        }
        if !servers.may_retry(now) {
            self.counters.origin_retries_refused.up();
            return None;
        }
        self.counters.origin_retries_other.up();
        tried.push(last);
        servers.pick(tried, hash, now).ok()
    }

    /// Tells the operator what has happened.
    pub fn tell(&self, news: Vec<News>) {
        for news in news {
            let counters = &self.counters;
            match &news {
                News::Opened { .. } => counters.origin_breaker_opened.up(),
                News::Closed { .. } => counters.origin_breaker_closed.up(),
                News::Ejected { .. } => counters.origin_ejected.up(),
                News::Sick { .. } => counters.origin_sick.up(),
                News::Healthy { .. } => counters.origin_healthy.up(),
            }
            let origin = &self.settings.name;
            match news {
                News::Closed { .. } | News::Healthy { .. } => {
                    tracing::info!(target: "forebay::origin", %origin, "{news}");
                }
                News::Opened { .. } | News::Ejected { .. } | News::Sick { .. } => {
                    tracing::warn!(target: "forebay::origin", %origin, "{news}");
                }
            }
        }
    }
}

/// The places of an origin, and those of requests whose content is still on its way.
fn places(settings: &Settings) -> (Bulkhead, Bulkhead) {
    (Bulkhead::new(settings.bulkhead), Bulkhead::new(settings.bulkhead.of_uploads()))
}

/// What stands for a configured server; the last bit for all that have none of their own.
fn bit(source: usize) -> u64 {
    1 << source.min(63)
}

/// Counts a request without a response.
fn count(counters: &Counters, failure: &Failure) {
    match failure {
        Failure::Unresolved(_) | Failure::Connect(_) => counters.origin_failed_connect.up(),
        Failure::Tls { .. } => counters.origin_failed_tls.up(),
        Failure::ConnectTimeout(_) => counters.origin_timeout_connect.up(),
        Failure::FirstByteTimeout(_) => counters.origin_timeout_first_byte.up(),
        Failure::ContentOverdue(_) => counters.origin_failed_request.up(),
        Failure::NotTaken(_) => counters.origin_timeout_between_bytes.up(),
        Failure::Closed => counters.origin_failed_closed.up(),
        Failure::Malformed(_) => counters.origin_failed_malformed.up(),
        Failure::RequestBroken => counters.origin_failed_request.up(),
        Failure::Open { .. } => counters.origin_refused_open.up(),
        Failure::NoServer { .. } => counters.origin_refused_no_server.up(),
        Failure::Saturated(bulkhead::Saturated::Full { .. })
        | Failure::Uploads(bulkhead::Saturated::Full { .. }) => counters.origin_refused_full.up(),
        Failure::Saturated(bulkhead::Saturated::Overdue { .. })
        | Failure::Uploads(bulkhead::Saturated::Overdue { .. }) => counters.origin_refused_overdue.up(),
    }
}

impl Settings {
    /// Whether an answer of this status speaks against the server.
    fn is_failure(&self, status: http::StatusCode) -> bool {
        self.failure_statuses.contains(&status.as_u16())
    }

    /// What a request is told apart by, where that decides which server is asked.
    fn hash(&self, head: &RequestHead, key: &str) -> u64 {
        let path = || head.target.split('?').next().unwrap_or_default();
        match &self.hash_on {
            HashOn::Key => xxh3_64(key.as_bytes()),
            HashOn::Path => xxh3_64(path().as_bytes()),
            HashOn::Header(name) => xxh3_64(head.fields.get(name).unwrap_or_default()),
        }
    }
}

/// A request, from its place in the bulkhead to the end of its response.
struct Whole {
    shared: Arc<Shared>,
    pass: Pass,
    is_judged: bool,
    _place: Place,
}

impl Whole {
    fn end(&mut self, outcome: Outcome, now: std::time::Instant) {
        if std::mem::replace(&mut self.is_judged, true) {
            return;
        }
        let news = {
            let mut servers = self.shared.servers.lock();
            servers.end(self.pass, outcome, now);
            servers.news()
        };
        self.shared.tell(news);
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.is_judged {
            self.end(Outcome::Unjudged, monotonic());
        }
    }
}

/// One attempt at a server, until its response has ended.
struct Attempt {
    shared: Arc<Shared>,
    number: u64,
    pass: Pass,
    is_judged: bool,
}

impl Attempt {
    fn judge(&mut self, outcome: Outcome, now: std::time::Instant) {
        if std::mem::replace(&mut self.is_judged, true) {
            return;
        }
        let news = {
            let mut servers = self.shared.servers.lock();
            servers.answered(self.number, self.pass, outcome, now);
            servers.news()
        };
        self.shared.tell(news);
    }

    /// Its response, and so that of the whole request, has broken off.
    fn broke_off(&self, whole: &Whole) {
        let news = {
            let mut servers = self.shared.servers.lock();
            servers.broke_off(self.number, self.pass, whole.pass, monotonic());
            servers.news()
        };
        self.shared.tell(news);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_judged {
            self.judge(Outcome::Unjudged, monotonic());
        }
        self.shared.servers.lock().left(self.number);
    }
}

/// A response's body, whose request is under way until it has ended, and all of that is sent.
struct UnderWay {
    body: Timed,
    /// Ends after the body, whose connection is closed by then: nobody gets the place of a
    /// request that its server may still be at.
    until_end: Option<(Attempt, Whole)>,
}

impl UnderWay {
    fn end(&mut self) {
        if let Some(kept) = self.until_end.take() {
            self.body.keep_until_sent(kept);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.body.close();
        self.end();
    }
}

impl futures_util::Stream for UnderWay {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.body.poll_next_unpin(cx);
        match &polled {
            Poll::Pending | Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None) => self.end(),
            // What has taken too long in all may have waited for its reader.
            Poll::Ready(Some(Err(Broken::Overdue(_)))) if !self.body.is_its_fault() => {
                drop(self.until_end.take());
            }
            Poll::Ready(Some(Err(_))) => {
                if let Some((attempt, whole)) = self.until_end.take() {
                    attempt.broke_off(&whole);
                }
            }
        }
        polled
    }
}
