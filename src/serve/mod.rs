//! The walk of one request: canonical form, rules and key, look up, decide, act,
//! deliver, record.
//!
//! What always holds: every request gets exactly one reply, and is recorded
//! exactly once, when the reply's last byte has been taken or the client has
//! left. A memory hit is five calls and no await of ours.
//!
//! What it never does: know how requests arrive or replies leave, or decide
//! anything that `policy` decides.
//!
//! Cancel safety: dropping the walk at any await loses this client's reply and
//! nothing else; only a pass takes its exchange with the origin along.

mod deliver;
pub mod explain;
mod hidden;
mod outcome;
mod purge;
mod reply;
mod synth;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

use http::{Method, StatusCode, Version};

use crate::apart::{Handle, Handles};
use crate::clock::{self, Clock, Wall};
use crate::fetch::{Asked, Failed, Fetched, Fetcher, Flowing, Passed};
use crate::invalidate::ReadTo;
use crate::message::READ;
use crate::message::interim::Interims;
use crate::observe::access_log::AccessLog;
use crate::observe::counters::Counters;
use crate::observe::request_id;
use crate::origin::Content;
use crate::policy::decide::{Pass, Plan, Stale};
use crate::policy::site::{Mode, Presentation, RangeMiss, Route, Rules, Site, Sites};
use crate::policy::{Decision, Presented, Received, Refusal, decide, narrow, normalise, partial};
use crate::repopulate::Announcer;
use crate::rfc::cache_status::Fwd;
use crate::rfc::fields::Fields;
use crate::rfc::max_forwards::{self, Forwards};
use crate::shed::{Door, Errand, Shed};
use crate::store::Store;
use crate::stored::{CacheKey, StoredResponse, Variants};

use deliver::{Answer, Source};
pub use outcome::{Outcome, Record};
pub use purge::{Again, Purging, Settings as PurgeSettings};
pub use reply::{Base, Reply, ReplyBody, Tunnel};

/// How often a request is decided anew because what is stored has changed.
const MOST_TURNS: usize = 4;

/// A request as it reaches the walk.
pub struct Request {
    /// Its head and where it came from.
    pub received: Received,
    /// Its content, if it has any.
    pub content: Option<Content>,
}

/// One generation of configuration, ready to serve.
pub struct Server {
    /// Which rules hold for which request.
    pub sites: Sites,
    /// What a request may look like.
    pub presentation: Presentation,
    /// What routes have of their origins.
    pub upstreams: Upstreams,
    /// Where they are kept.
    pub store: Arc<Store>,
    /// Whom it lets through to the origins.
    pub door: Door,
    /// Purging by clients.
    pub purging: Purging,
    /// This node's name in `Cache-Status` and `Proxy-Status`.
    pub node: String,
    /// Its member of `Via` for responses (RFC 9110 7.6.3).
    pub via: String,
    /// Wall time.
    pub clock: Clock,
    /// Everything that is counted.
    pub counters: Handles<Counters>,
    /// One line for each request.
    pub access_log: AccessLog,
}

/// What routes have of their origins. A node whose every route is hidden has no fetcher
/// at all.
pub struct Upstreams {
    /// How responses are got, for routes that ask their origin.
    pub direct: Option<Fetcher>,
    /// How misses are told, for hidden ones.
    pub announcer: Option<Announcer>,
    /// What the origins are called, in the order in which rules count them.
    pub names: Arc<[String]>,
}

/// What every step of the walk needs to know about its request.
struct Walk<'a> {
    server: &'a Server,
    asked: Arc<Asked>,
    now: Wall,
    record: Record,
    /// Whether the request counts as a miss of its client already.
    charged: bool,
    /// How far this node had read, where the client is an edge of its cluster.
    edge: Option<Box<ReadTo>>,
}

/// A request that has been looked at.
pub enum Begun {
    /// What the store or this node itself could answer at once.
    Done(Reply),
    /// There is something to be waited for; to be handed to [`Server::go_on`].
    On(Started),
}

/// A request that waits for somebody.
pub struct Started {
    errand: Waits,
    record: Record,
    content: Option<Content>,
}

/// For whom a request waits.
enum Waits {
    /// For a purge, or for what an edge has read already.
    First(Received),
    /// For a response.
    Fetch(Arc<Asked>, Wall, First),
}

/// What the store had when the request came, where a response alone is not enough; and what is
/// to be done.
type First = (Option<Arc<Variants>>, Decision);

impl Server {
    /// Serves one request.
    pub async fn serve(&self, request: Request) -> Reply {
        match self.begin(request) {
            Begun::Done(reply) => reply,
            Begun::On(started) => self.go_on(started, None).await,
        }
    }

    /// Answers a request that the store can answer, without an await; what cannot be
    /// answered so goes on.
    pub fn begin(&self, request: Request) -> Begun {
        let Request { received, content } = request;
        let now = self.clock.now();
        let record = Record::begin(self, &received, now, Instant::now());
        // Only edges ask for it, so only their walks wait for it.
        if self.purging.is_meant(&received) || received.fields.contains(READ) {
            return Begun::On(Started { errand: Waits::First(received), record, content });
        }
        let walk = match self.walk(received, now, record, None) {
            Ok(walk) => walk,
            Err(reply) => return Begun::Done(reply),
        };
        let (found, decision) = walk.look();
        match decision {
            Decision::Deliver(response) if !walk.is_with_content_in_vain() => Begun::Done(walk.hit(response)),
            decision => {
                let Walk { mut asked, record, .. } = walk;
                tell_id(&mut asked, &record);
                let errand = Waits::Fetch(asked, now, (found, decision));
                Begun::On(Started { errand, record, content })
            }
        }
    }

    /// Serves a request that has [begun](Server::begin). Interim responses are put into
    /// `interims` while it goes on; whoever polls this looks there afterwards.
    pub async fn go_on(&self, started: Started, interims: Option<Arc<Interims>>) -> Reply {
        let Started { errand, record, content } = started;
        match errand {
            Waits::First(received) => {
                let now = self.clock.now();
                if self.purging.is_meant(&received) {
                    return purge::purge(self, received, record).await;
                }
                let edge = match received.fields.get(READ) {
                    Some(asked) => self.purging.invalidator.asked_by_edge(asked).await.map(Box::new),
                    None => None,
                };
                match self.walk(received, now, record, edge) {
                    Ok(mut walk) => {
                        tell_id(&mut walk.asked, &walk.record);
                        listen(&mut walk.asked, interims);
                        walk.act(content, None).await
                    }
                    Err(reply) => reply,
                }
            }
            Waits::Fetch(mut asked, now, first) => {
                listen(&mut asked, interims);
                let walk = Walk { server: self, asked, now, record, charged: false, edge: None };
                walk.act(content, Some(first)).await
            }
        }
    }

    /// Refuses what is no request.
    pub fn refuse(&self, why: Refusal, peer: IpAddr) -> Reply {
        // What it would have been is not known; the log has the same for it as others have.
        let unknown = Received {
            method: Method::from_bytes(b"-").unwrap_or_default(),
            target: "-".to_owned(),
            version: Version::HTTP_11,
            fields: Fields::new(),
            has_body: false,
            peer,
            encrypted: false,
        };
        let record = Record::begin(self, &unknown, self.clock.now(), Instant::now());
        synth::refused(self, why, record)
    }

    /// The canonical form of a request, its rules and its key; or the reply to one that has
    /// none of these.
    #[expect(clippy::result_large_err, reason = "it is looked at once and never kept")]
    fn walk(
        &self,
        received: Received,
        now: Wall,
        mut record: Record,
        edge: Option<Box<ReadTo>>,
    ) -> Result<Walk<'_>, Reply> {
        record.request_id = request_id::accept_or_new(received.fields.get("x-request-id"));
        let mut presented = match normalise::normalise(received, &self.presentation) {
            Ok(presented) => presented,
            Err(refusal) => return Err(synth::refused(self, refusal, record)),
        };
        record.client = presented.client;
        match max_forwards::forwards(&presented.method, &presented.fields) {
            Forwards::Any => {}
            Forwards::None => return Err(synth::last(self, &presented, record)),
            Forwards::Then(times) => presented.fields.set("max-forwards", times.to_string()),
        }

        let Ok((_, route)) = self.place(&presented) else {
            return Err(synth::no_site(self, record));
        };
        let asked = Arc::new(asked(presented, route.rules.take()));
        Ok(Walk { server: self, asked, now, record, charged: false, edge })
    }

    /// The site and the route that answer for a request; without a route the site alone, if
    /// there is one.
    fn place(&self, presented: &Presented) -> Result<(&Site, &Route), Option<&Site>> {
        let site = self.sites.site(&presented.host).ok_or(None)?;
        let route = site.route(presented.path()).ok_or(Some(site))?;
        Ok((site, route))
    }
}

/// What counts of a request where these rules hold, and its key.
fn asked(mut presented: Presented, rules: Handle<Rules>) -> Asked {
    narrow::query(&mut presented, &rules);
    if rules.mode == Mode::Hidden {
        // Nothing is asked for that would have to be passed on.
        presented.upgrade = None;
        narrow::variant(&mut presented.fields, &rules);
    }
    let key = CacheKey::new(presented.scheme, &presented.host, presented.port, &presented.path_and_query);
    Asked { presented, rules, key, interims: None }
}

/// Whoever is asked is to know the request by the same id.
fn tell_id(asked: &mut Arc<Asked>, record: &Record) {
    // Nobody else has it yet.
    if let Some(asked) = Arc::get_mut(asked) {
        asked.presented.fields.set("x-request-id", &record.request_id);
    }
}

/// Interim responses for the client of this request are put there.
fn listen(asked: &mut Arc<Asked>, interims: Option<Arc<Interims>>) {
    // Nobody else has it yet.
    if let Some(asked) = Arc::get_mut(asked) {
        asked.interims = interims;
    }
}

/// Whether the origin is asked anew in the background where a stale response answers for this
/// reason.
fn refreshes(why: Stale, response: &StoredResponse, now: Wall) -> bool {
    why == Stale::WhileRevalidate && response.may_refresh(now)
}

/// Whether whoever asks for this does not get to see an answer of this status.
fn intercepts(asked: &Asked, status: StatusCode) -> bool {
    status.is_server_error()
        && asked.rules.intercept_errors
        && matches!(asked.presented.method, Method::GET | Method::HEAD)
}

/// What became of a fetch.
#[expect(clippy::large_enum_variant, reason = "it is looked at once and never kept")]
enum Fetch<'a> {
    Done(Reply),
    LookAgain(Walk<'a>),
}

impl<'a> Walk<'a> {
    /// Acts until there is a reply; `first` is what was found and decided already.
    async fn act(mut self, mut content: Option<Content>, mut first: Option<First>) -> Reply {
        let server = self.server;
        let fetcher = match (self.asked.rules.mode == Mode::Hidden, &server.upstreams.direct) {
            (false, Some(fetcher)) => fetcher,
            (false, None) => return synth::lost(self),
            (true, _) => {
                return match server.upstreams.hidden(&self.asked.rules) {
                    Some(hidden) => hidden::serve(self, hidden, content, first).await,
                    None => synth::lost(self),
                };
            }
        };
        for turn in 0.. {
            let (found, decision) = first.take().unwrap_or_else(|| self.look());
            match decision {
                Decision::Deliver(response) => return self.hit(response),
                Decision::DeliverStale(response, why) => {
                    return self.stale(fetcher, response, why, found.as_ref());
                }
                Decision::NotCached => return synth::not_cached(self),
                Decision::Pass(pass) => {
                    return match self.enter(Errand::Pass, false) {
                        Ok(()) => self.pass(fetcher, pass, content.take()).await,
                        Err(why) => self.shed(why, pass.stored.filter(|_| pass.stale_on_error).as_ref()),
                    };
                }
                Decision::Fetch(mut plan) => {
                    plan.collapse &= turn < MOST_TURNS;
                    let follows = fetcher.would_follow(&self.asked, &plan, found.as_ref());
                    if let Err(why) = self.enter(Errand::Fetch, follows) {
                        return self.shed(why, plan.stored.filter(|_| plan.stale_on_error).as_ref());
                    }
                    match self.fetch(fetcher, plan, found.as_ref()).await {
                        Fetch::Done(reply) => return reply,
                        Fetch::LookAgain(same) => self = same,
                    }
                }
            }
        }
        synth::lost(self)
    }

    /// What the store has, and what is to be done.
    fn look(&self) -> First {
        self.server.store.look(&self.asked.key, |found| {
            let decision = decide(&self.asked.presented, found.map(Arc::as_ref), &self.asked.rules, self.now);
            let is_enough = match &decision {
                Decision::Deliver(_) => true,
                Decision::DeliverStale(response, why) => !refreshes(*why, response, self.now),
                Decision::NotCached | Decision::Pass(_) | Decision::Fetch(_) => false,
            };
            (found.filter(|_| !is_enough).cloned(), decision)
        })
    }

    /// Room for the fields of the reply: that which the request's had, where nobody else has
    /// the request.
    fn room(&mut self) -> Fields {
        let request = Arc::get_mut(&mut self.asked);
        let mut room = request.map(|asked| std::mem::take(&mut asked.presented.fields)).unwrap_or_default();
        room.clear();
        room
    }

    /// Whether it has content that nobody could pass on, on a hidden route.
    fn is_with_content_in_vain(&self) -> bool {
        self.asked.presented.has_body && self.asked.rules.mode == Mode::Hidden
    }

    /// Lets the request through to the origin, or says why not. Whoever `follows` another
    /// one costs the origin nothing, and is not counted as a miss of its client.
    fn enter(&mut self, errand: Errand, follows: bool) -> Result<(), Shed> {
        let door = &self.server.door;
        if self.record.place.is_none() {
            self.record.place = Some(Arc::new(door.place(errand)?));
        }
        if !self.charged && !follows {
            door.charge(self.record.client, clock::monotonic)?;
            self.charged = true;
        }
        Ok(())
    }

    /// Gives back what the client was charged with where the origin was not asked after all.
    fn excuse(&mut self, why: &Failed) {
        if self.charged && why.is_unasked() {
            self.server.door.give_back(self.record.client);
            self.charged = false;
        }
    }

    /// The origin is not asked for this client now: what is stale answers, where it may.
    fn shed(mut self, why: Shed, stale: Option<&Arc<StoredResponse>>) -> Reply {
        self.record.place = None;
        self.record.failure = Some(format!("shed: {}", why.name()));
        let Some(stored) = stale else { return synth::shed(self, why) };
        self.used(stored);
        self.stored(Arc::clone(stored), Outcome::Stale, Some(Stale::Shed.name()))
    }

    /// Notes that a stored response answers.
    fn used(&self, response: &StoredResponse) {
        self.server.store.used(&self.asked.key, response, self.now);
    }

    /// A fresh stored response answers.
    fn hit(self, response: Arc<StoredResponse>) -> Reply {
        self.used(&response);
        self.stored(response, Outcome::Hit, None)
    }

    /// A stored response answers, for this reason if it is stale.
    fn stored(
        mut self,
        response: Arc<StoredResponse>,
        outcome: Outcome,
        detail: Option<&'static str>,
    ) -> Reply {
        self.record.place = None;
        if self.intercepts(response.head.status) {
            return synth::intercepted(self, response.head.status);
        }
        let answer = Answer { outcome, hit: true, detail, ..Answer::default() };
        deliver::deliver(self, Source::Stored(response), answer)
    }

    /// Whether the client does not get to see an answer of this status.
    fn intercepts(&self, status: StatusCode) -> bool {
        intercepts(&self.asked, status)
    }

    /// A stale stored response answers; the origin is asked in the background
    /// where that is what makes it usable.
    fn stale(
        self,
        fetcher: &Fetcher,
        response: Arc<StoredResponse>,
        why: Stale,
        seen: Option<&Arc<Variants>>,
    ) -> Reply {
        self.used(&response);
        // Where nothing was kept of the look there was nothing to be refreshed at that moment.
        if let Some(seen) = seen.filter(|_| refreshes(why, &response, self.now))
            && !fetcher.is_loop(&self.asked)
            && let plan = Plan::refresh(&self.asked.presented, &response, &self.asked.rules, self.now)
            && !fetcher.would_follow(&self.asked, &plan, Some(seen))
            && let Ok(place) = self.server.door.place(Errand::Refresh)
        {
            fetcher.refresh(&self.asked, plan, Some(seen), place);
        }
        self.stored(response, Outcome::Stale, Some(why.name()))
    }

    /// Whether what was found when `since` was the last invalidation may still be used.
    fn may_use(&self, found: &StoredResponse, since: u64) -> bool {
        self.server.store.may_use(&self.asked.key, found, since)
    }

    /// Gets a response that may be stored. Where a stale one may answer instead,
    /// the client waits no longer than the route's `stale_deadline`.
    async fn fetch(mut self, fetcher: &Fetcher, plan: Plan, seen: Option<&Arc<Variants>>) -> Fetch<'a> {
        if fetcher.is_loop(&self.asked) {
            return Fetch::Done(synth::looped(self));
        }
        let since = self.server.store.sequence();
        let fetching = fetcher.fetch(&self.asked, &plan, seen, self.record.place.clone());
        let fallback = plan.stored.as_ref().filter(|_| plan.stale_on_error);
        let fetched = match fallback {
            None => fetching.await,
            Some(stored) => match tokio::time::timeout(self.asked.rules.stale_deadline, fetching).await {
                Ok(fetched) => fetched,
                Err(_) if !self.may_use(stored, since) => return Fetch::LookAgain(self),
                Err(_) => {
                    // The fetch goes on, and nobody else waits for it in vain.
                    self.server.counters.stale_deadline.up();
                    self.now = self.server.clock.now();
                    fetcher.is_late(stored);
                    return Fetch::Done(self.stale(fetcher, Arc::clone(stored), Stale::Deadline, None));
                }
            },
        };
        self.now = self.server.clock.now();
        if !self.charged && fetched.was_alone() {
            // It was to follow another one, and had to ask for itself after all.
            self.server.door.charge_late(self.record.client, clock::monotonic());
            self.charged = true;
        }
        Fetch::Done(match fetched {
            Fetched::Flowing { response, .. } if self.intercepts(response.head.status) => {
                synth::intercepted(self, response.head.status)
            }
            Fetched::Freshened { response, .. } if self.intercepts(response.head.status) => {
                synth::intercepted(self, response.head.status)
            }
            Fetched::Private(private) if self.intercepts(private.status) => {
                synth::intercepted(self, private.status)
            }
            Fetched::Flowing { response, seat, collapsed } => {
                self.want_rest(fetcher, &response, collapsed);
                let outcome = if collapsed { Outcome::Collapsed } else { Outcome::Miss };
                let is_part = response.place.is_some();
                let status = Some(if is_part { 206 } else { response.head.status.as_u16() });
                let answer = Answer {
                    outcome,
                    fwd: Some(plan.fwd),
                    fwd_status: status.filter(|_| is_part || plan.fwd == Fwd::Stale),
                    stored: response.kept,
                    collapsed,
                    ..Answer::default()
                };
                deliver::deliver(self, Source::Flowing(&response, seat), answer)
            }
            // What was confirmed may be other than what the client has, and that no part of it.
            Fetched::Freshened { response, .. }
                if !partial::answers(&self.asked.presented, &response, &self.asked.rules, self.now) =>
            {
                return Fetch::LookAgain(self);
            }
            Fetched::Freshened { response, kept, collapsed } => {
                let answer = Answer {
                    outcome: Outcome::Revalidated,
                    fwd: Some(plan.fwd),
                    fwd_status: Some(304),
                    stored: kept,
                    collapsed,
                    ..Answer::default()
                };
                deliver::deliver(self, Source::Stored(response), answer)
            }
            Fetched::Private(private) => deliver::private(self, private, plan.fwd),
            Fetched::LookAgain => return Fetch::LookAgain(self),
            Fetched::Failed(why) => {
                self.excuse(&why);
                match fallback.filter(|stored| self.may_use(stored, since)) {
                    Some(stored) => {
                        self.record.failure = Some(why.to_string());
                        self.stale(fetcher, Arc::clone(stored), Stale::OnError, None)
                    }
                    None => synth::failed(self, &why),
                }
            }
        })
    }

    /// Gets the whole in the background where a part has been got, if the route is to and the
    /// store would take it.
    fn want_rest(&self, fetcher: &Fetcher, response: &Flowing, collapsed: bool) {
        let wants = self.asked.rules.range_miss == RangeMiss::Both && !collapsed;
        let Some(place) = response.place.as_ref().filter(|_| wants) else { return };
        let found = self.server.store.find_in_memory(&self.asked.key);
        let plan = Plan::rest();
        if place.complete <= self.server.store.max_response()
            && found.as_ref().is_none_or(|found| !found.is_marked(self.now))
            && !fetcher.would_follow(&self.asked, &plan, found.as_ref())
            && let Ok(place) = self.server.door.place(Errand::Refresh)
        {
            fetcher.refresh(&self.asked, plan, found.as_ref(), place);
        }
    }

    /// Asks the origin for this client alone.
    async fn pass(mut self, fetcher: &Fetcher, pass: Pass, content: Option<Content>) -> Reply {
        if fetcher.is_loop(&self.asked) {
            return synth::looped(self);
        }
        let since = self.server.store.sequence();
        let asked = Arc::clone(&self.asked);
        let mut passing = pin!(fetcher.pass(&asked, &pass, content, self.record.place.clone()));
        let fallback = pass.stored.as_ref().filter(|_| pass.stale_on_error);
        let passed = match fallback {
            None => passing.await,
            Some(stored) => match tokio::time::timeout(self.asked.rules.stale_deadline, &mut passing).await {
                Ok(passed) => passed,
                Err(_) if !self.may_use(stored, since) => passing.await,
                Err(_) => {
                    // Unlike a fetch, a pass does not go on without its client.
                    self.server.counters.stale_deadline.up();
                    fetcher.refresh_failed(&self.asked, stored);
                    self.now = self.server.clock.now();
                    return self.stale(fetcher, Arc::clone(stored), Stale::Deadline, None);
                }
            },
        };
        self.now = self.server.clock.now();
        match passed {
            Ok(Passed::Answer { status, .. }) if self.intercepts(status) => synth::intercepted(self, status),
            Ok(Passed::Answer { status, fields, length, body, switched }) => {
                let tunnel = switched.map(|(origin, protocol)| Tunnel { origin, protocol });
                deliver::passed(self, status, fields, length, body, tunnel, pass.why.fwd())
            }
            Ok(Passed::Kept { response, seat }) => {
                let answer = Answer {
                    outcome: Outcome::Pass,
                    fwd: Some(Fwd::Method),
                    stored: response.kept,
                    ..Answer::default()
                };
                deliver::deliver(self, Source::Flowing(&response, seat), answer)
            }
            Err(why) => {
                self.excuse(&why);
                match fallback.filter(|stored| self.may_use(stored, since)) {
                    Some(stored) => {
                        fetcher.refresh_failed(&self.asked, stored);
                        self.record.failure = Some(why.to_string());
                        self.stale(fetcher, Arc::clone(stored), Stale::OnError, None)
                    }
                    None => synth::failed(self, &why),
                }
            }
        }
    }
}
