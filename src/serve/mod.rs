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
mod hidden;
mod outcome;
mod purge;
mod reply;
mod synth;

use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

use http::{Method, StatusCode};

use crate::clock::{self, Clock, Wall};
use crate::fetch::{Asked, Fetched, Fetcher, Passed};
use crate::invalidate::ReadTo;
use crate::message::{READ, Switched};
use crate::observe::access_log::AccessLog;
use crate::observe::counters::Counters;
use crate::observe::request_id;
use crate::origin::Content;
use crate::policy::decide::{Pass, Plan, Stale};
use crate::policy::site::{Mode, Presentation, Sites};
use crate::policy::{Decision, Received, decide, narrow, normalise};
use crate::repopulate::Announcer;
use crate::rfc::cache_status::Fwd;
use crate::shed::{Door, Errand, Shed};
use crate::store::Store;
use crate::stored::{CacheKey, StoredResponse, Variants};

use deliver::{Answer, Source};
pub use outcome::{Outcome, Record};
pub use purge::{Again, Purging, Settings as PurgeSettings};
pub use reply::{Reply, ReplyBody, Tunnel};

/// How often a request is decided anew because what is stored has changed.
const MOST_TURNS: usize = 4;

/// A request as it reaches the walk.
pub struct Request {
    /// Its head and where it came from.
    pub received: Received,
    /// Its content, if it has any.
    pub content: Option<Content>,
    /// The client's end of a tunnel, should one be agreed on.
    pub switched: Option<Switched>,
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
    /// This node's name in `Via` and `Cache-Status`.
    pub node: String,
    /// Wall time.
    pub clock: Clock,
    /// Everything that is counted.
    pub counters: Arc<Counters>,
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

impl Server {
    /// Serves one request.
    pub async fn serve(&self, request: Request) -> Reply {
        let Request { received, mut content, switched } = request;
        let now = self.clock.now();
        let mut record = Record::begin(self, &received, now, Instant::now());
        if self.purging.is_meant(&received) {
            return purge::purge(self, received, record).await;
        }

        let edge = match received.fields.get(READ) {
            // Only edges ask, so only their walks have room for it.
            Some(asked) => Box::pin(self.purging.invalidator.asked_by_edge(asked)).await.map(Box::new),
            None => None,
        };
        let id = request_id::accept_or_new(received.fields.get("x-request-id"));
        record.request_id = id.clone();
        let mut presented = match normalise::normalise(received, &self.presentation) {
            Ok(presented) => presented,
            Err(refusal) => return synth::refused(self, refusal, record),
        };
        presented.fields.set("x-request-id", &id);
        record.client = presented.client;

        let Some(site) = self.sites.site(&presented.host) else {
            return synth::no_site(self, record);
        };
        let Some(route) = site.route(presented.path()) else {
            return synth::no_site(self, record);
        };
        let rules = Arc::clone(&route.rules);
        narrow::query(&mut presented, &rules);
        let hides = rules.mode == Mode::Hidden;
        if hides {
            // Nothing is asked for that would have to be passed on.
            presented.upgrade = None;
            narrow::variant(&mut presented.fields, &rules);
        }
        let key = CacheKey::new(presented.scheme, &presented.host, presented.port, &presented.path_and_query);
        let asked = Arc::new(Asked { presented, rules, key });
        let mut walk = Walk { server: self, asked, now, record, charged: false, edge };
        let fetcher = match (hides, &self.upstreams.direct) {
            (false, Some(fetcher)) => fetcher,
            (false, None) => return synth::lost(walk),
            (true, _) => {
                return match self.upstreams.hidden(&walk.asked.rules) {
                    Some(hidden) => hidden::serve(walk, hidden, content, switched).await,
                    None => synth::lost(walk),
                };
            }
        };

        for turn in 0.. {
            let found = self.store.find_in_memory(&walk.asked.key);
            let decision = decide(&walk.asked.presented, found.as_deref(), &walk.asked.rules, walk.now);
            match decision {
                Decision::Deliver(response) => return walk.hit(&response),
                Decision::DeliverStale(response, why) => {
                    return walk.stale(fetcher, &response, why, found.as_ref());
                }
                Decision::NotCached => return synth::not_cached(walk),
                Decision::Pass(pass) => {
                    return match walk.enter(Errand::Pass, false) {
                        Ok(()) => walk.pass(fetcher, pass, content.take(), switched).await,
                        Err(why) => walk.shed(why, pass.stored.filter(|_| pass.stale_on_error).as_ref()),
                    };
                }
                Decision::Fetch(mut plan) => {
                    plan.collapse &= turn < MOST_TURNS;
                    let follows = fetcher.would_follow(&walk.asked, &plan, found.as_ref());
                    if let Err(why) = walk.enter(Errand::Fetch, follows) {
                        return walk.shed(why, plan.stored.filter(|_| plan.stale_on_error).as_ref());
                    }
                    match walk.fetch(fetcher, plan, found.as_ref()).await {
                        Fetch::Done(reply) => return reply,
                        Fetch::LookAgain(same) => walk = same,
                    }
                }
            }
        }
        synth::lost(walk)
    }
}

/// What became of a fetch.
#[expect(clippy::large_enum_variant, reason = "it is looked at once and never kept")]
enum Fetch<'a> {
    Done(Reply),
    LookAgain(Walk<'a>),
}

impl<'a> Walk<'a> {
    /// Lets the request through to the origin, or says why not. Whoever `follows` another
    /// one costs the origin nothing, and is not counted as a miss of its client.
    fn enter(&mut self, errand: Errand, follows: bool) -> Result<(), Shed> {
        let door = &self.server.door;
        if self.record.place.is_none() {
            self.record.place = Some(Arc::new(door.place(errand)?));
        }
        if !self.charged && !follows {
            door.charge(self.record.client, clock::monotonic())?;
            self.charged = true;
        }
        Ok(())
    }

    /// The origin is not asked for this client now: what is stale answers, where it may.
    fn shed(mut self, why: Shed, stale: Option<&Arc<StoredResponse>>) -> Reply {
        self.record.place = None;
        self.record.failure = Some(format!("shed: {}", why.name()));
        let Some(stored) = stale else { return synth::shed(self, why) };
        stored.used(self.now);
        self.stored(stored, Outcome::Stale, Some(Stale::Shed.name()))
    }

    /// A fresh stored response answers.
    fn hit(self, response: &Arc<StoredResponse>) -> Reply {
        response.used(self.now);
        self.stored(response, Outcome::Hit, None)
    }

    /// A stored response answers, for this reason if it is stale.
    fn stored(
        mut self,
        response: &Arc<StoredResponse>,
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
        status.is_server_error()
            && self.asked.rules.intercept_errors
            && matches!(self.asked.presented.method, Method::GET | Method::HEAD)
    }

    /// A stale stored response answers; the origin is asked in the background
    /// where that is what makes it usable.
    fn stale(
        self,
        fetcher: &Fetcher,
        response: &Arc<StoredResponse>,
        why: Stale,
        seen: Option<&Arc<Variants>>,
    ) -> Reply {
        response.used(self.now);
        if why == Stale::WhileRevalidate
            && response.may_refresh(self.now)
            && !fetcher.is_loop(&self.asked)
            && let plan = Plan::refresh(response)
            && !fetcher.would_follow(&self.asked, &plan, seen)
            && let Ok(place) = self.server.door.place(Errand::Refresh)
        {
            fetcher.refresh(&self.asked, plan, seen, place);
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
                    return Fetch::Done(self.stale(fetcher, stored, Stale::Deadline, None));
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
                let outcome = if collapsed { Outcome::Collapsed } else { Outcome::Miss };
                let status = Some(response.head.status.as_u16());
                let answer = Answer {
                    outcome,
                    fwd: Some(plan.fwd),
                    fwd_status: status.filter(|_| plan.fwd == Fwd::Stale),
                    stored: response.kept,
                    collapsed,
                    ..Answer::default()
                };
                deliver::deliver(self, Source::Flowing(&response, seat), answer)
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
                deliver::deliver(self, Source::Stored(&response), answer)
            }
            Fetched::Private(private) => deliver::private(self, private, plan.fwd),
            Fetched::LookAgain => return Fetch::LookAgain(self),
            Fetched::Failed(why) => match fallback.filter(|stored| self.may_use(stored, since)) {
                Some(stored) => {
                    self.record.failure = Some(why.to_string());
                    self.stale(fetcher, stored, Stale::OnError, None)
                }
                None => synth::failed(self, &why),
            },
        })
    }

    /// Asks the origin for this client alone.
    async fn pass(
        mut self,
        fetcher: &Fetcher,
        pass: Pass,
        content: Option<Content>,
        switched: Option<Switched>,
    ) -> Reply {
        if fetcher.is_loop(&self.asked) {
            return synth::looped(self);
        }
        let since = self.server.store.sequence();
        let asked = Arc::clone(&self.asked);
        let mut passing = pin!(fetcher.pass(&asked, &pass, content));
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
                    return self.stale(fetcher, stored, Stale::Deadline, None);
                }
            },
        };
        self.now = self.server.clock.now();
        match passed {
            Ok(Passed::Answer { status, .. }) if self.intercepts(status) => synth::intercepted(self, status),
            Ok(Passed::Answer { status, fields, length, body, switched: origin }) => {
                let tunnel = origin.zip(switched).map(|((origin, protocol), client)| Tunnel {
                    origin,
                    client,
                    protocol,
                });
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
            Err(why) => match fallback.filter(|stored| self.may_use(stored, since)) {
                Some(stored) => {
                    fetcher.refresh_failed(&self.asked, stored);
                    self.record.failure = Some(why.to_string());
                    self.stale(fetcher, stored, Stale::OnError, None)
                }
                None => synth::failed(self, &why),
            },
        }
    }
}
