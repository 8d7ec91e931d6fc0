//! The acts: fetch with others, refresh in the background, pass for one client.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use super::Settings;
use super::flights::{Carried, Flights, Follower, Joined, Landing, Lane, Lease, Limits};
use super::fly::{self, Flowing, Landed};
use super::part;
use super::request::{self, Purpose};
use super::shield::Shields;
use crate::apart::Handle;
use crate::clock::Clock;
use crate::message::interim::{Interims, Tell};
use crate::message::{Body, RequestHead, Switched};
use crate::observe::counters::Counters;
use crate::observe::trace::Seldom;
use crate::origin::{self, Content, Failure, Group, Origins, Outgoing};
use crate::policy::admit::{Admission, Moments, NotAdmitted, admit, readmit};
use crate::policy::decide::{Pass, PassReason, Plan, may_answer_others};
use crate::policy::site::Rules;
use crate::policy::{Hop, Loop, Presented, partial};
use crate::rfc::cache_status::Fwd;
use crate::rfc::fields::{Fields, members_of};
use crate::rfc::freshen::{self, HeadEffect};
use crate::rfc::vary::SecondaryKey;
use crate::rfc::{connection, groups, storable, unsafe_method};
use crate::shed::{Door, Place};
use crate::store::Store;
use crate::stored::filling::Budget;
use crate::stored::{CacheKey, Head, Selector, StoredResponse, Strength, Variants};

/// How often one request may find its circumstances changed before it goes alone.
const MOST_TURNS: usize = 8;

/// The window of a body that is not kept, where too much is buffered.
const NARROW_WINDOW: usize = 16 * 1024;

/// How long nobody else waits for a fetch that is late: after that somebody looks
/// whether it still is.
const LATE: Duration = Duration::from_secs(5);

/// A presented request, its rules and its key: what every act needs.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub presented: Presented,
    /// What holds for it.
    pub rules: Handle<Rules>,
    /// Under which its response is stored.
    pub key: CacheKey,
    /// Where interim responses for its client are put, if it can have some.
    pub interims: Option<Arc<Interims>>,
}

/// Gets responses; cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    shared: Arc<Shared>,
}

struct Shared {
    origins: Vec<Group>,
    store: Arc<Store>,
    flights: Arc<Flights>,
    budget: Budget,
    door: Door,
    settings: Settings,
    hop: Hop,
    shields: Option<Arc<dyn Shields>>,
    clock: Clock,
    counters: Arc<Counters>,
    failures: Seldom,
    recoveries: Seldom,
    loops: Seldom,
}

/// What all fetchers of a node share, through every reload.
#[derive(Clone)]
pub struct Common {
    /// Where responses are kept.
    pub store: Arc<Store>,
    /// The fetches under way.
    pub flights: Arc<Flights>,
    /// What bodies under way hold.
    pub budget: Budget,
    /// Whom responses are got from.
    pub origins: Arc<Origins>,
    /// Wall time.
    pub clock: Clock,
    /// Everything that is counted.
    pub counters: Arc<Counters>,
    /// A token that no other node has, and no other start of this one.
    pub id: Arc<str>,
}

/// What a fetch has brought.
pub enum Fetched {
    /// A response whose body is on its way.
    Flowing {
        /// The response.
        response: Arc<Flowing>,
        /// To be given up once a reader of the body has been taken.
        seat: Follower,
        /// Whether another request had asked for it.
        collapsed: bool,
    },
    /// The stored response, found to be still right.
    Freshened {
        /// The response, fresh again.
        response: Arc<StoredResponse>,
        /// Whether it is stored.
        kept: bool,
        /// Whether another request had asked.
        collapsed: bool,
    },
    /// A response for this client alone.
    Private(Private),
    /// What is stored has changed: the request is to be decided anew.
    LookAgain,
    /// There is no response.
    Failed(Failed),
}

impl Fetched {
    /// Whether the origin was asked, and answered, for this request and not for another.
    pub fn was_alone(&self) -> bool {
        match self {
            Fetched::Flowing { collapsed, .. } | Fetched::Freshened { collapsed, .. } => !collapsed,
            Fetched::Private(_) => true,
            Fetched::LookAgain | Fetched::Failed(_) => false,
        }
    }
}

/// A response for one client alone.
pub struct Private {
    /// Its final status.
    pub status: StatusCode,
    /// End-to-end fields.
    pub fields: Fields,
    /// The body's length, when the origin has told it.
    pub length: Option<u64>,
    /// The body.
    pub body: Body,
    /// Why it is not shared.
    pub why: NotAdmitted,
}

/// What a pass has brought.
pub enum Passed {
    /// The origin's answer.
    Answer {
        /// Its final status.
        status: StatusCode,
        /// End-to-end fields.
        fields: Fields,
        /// The body's length, when the origin has told it.
        length: Option<u64>,
        /// The body.
        body: Body,
        /// The origin's end of the tunnel after a `101`, and the protocol.
        switched: Option<(Switched, Vec<u8>)>,
    },
    /// An answer to `POST` that later `GET`s may have as well.
    Kept {
        /// The response.
        response: Arc<Flowing>,
        /// To be given up once a reader of the body has been taken.
        seat: Follower,
    },
}

/// Why there is no response.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Failed {
    /// The exchange with the origin failed.
    #[error(transparent)]
    Origin(Failure),
    /// The origin answered with an error: something better is stored, or another
    /// request's failure is this one's as well.
    #[error("the origin answered {0}")]
    Status(StatusCode),
    /// The origin answered 304 to a request without a condition.
    #[error("the origin answered 304 to a request without a condition")]
    Unasked304,
    /// Another request's fetch did not come back in time.
    #[error("no response within {0:?} to the request that this one waits for")]
    Waited(Duration),
    /// Too many requests are under way.
    #[error("too many requests are waiting")]
    Full,
    /// The fetch ended without a word; only a fault of the program does that.
    #[error("the fetch was lost")]
    Lost,
}

impl Failed {
    /// Whether the origin was not asked at all.
    pub fn is_unasked(&self) -> bool {
        match self {
            Failed::Origin(failure) => failure.is_unasked(),
            Failed::Full => true,
            Failed::Status(_) | Failed::Unasked304 | Failed::Waited(_) | Failed::Lost => false,
        }
    }
}

impl Fetcher {
    /// A fetcher for these origins; `shields` is what those of them that are shields need.
    pub fn new(
        origins: Vec<Group>,
        settings: Settings,
        node: String,
        door: Door,
        common: Common,
        shields: Option<Arc<dyn Shields>>,
    ) -> Self {
        let Common { store, flights, budget, clock, counters, id, .. } = common;
        Fetcher {
            shared: Arc::new(Shared {
                origins,
                store,
                flights,
                budget,
                door,
                settings,
                hop: Hop::new(node, id.as_ref().to_owned()),
                shields,
                clock,
                counters,
                failures: Seldom::default(),
                recoveries: Seldom::default(),
                loops: Seldom::default(),
            }),
        }
    }

    /// Gets a response that may be stored, together with everyone who wants the
    /// same one. `seen` is what the request found in the store; its `place` is held until what
    /// it begins is done, be its client there or not.
    pub async fn fetch(
        &self,
        asked: &Arc<Asked>,
        plan: &Plan,
        seen: Option<&Arc<Variants>>,
        place: Option<Arc<Place>>,
    ) -> Fetched {
        let mut lane = self.lane(asked, plan, seen);
        let mut seen = seen.cloned();
        let mut plan = plan.clone();
        let limits = self.limits(&asked.rules);
        let mut has_failed = false;
        for _ in 0..MOST_TURNS {
            if !plan.collapse {
                break;
            }
            let usable =
                |response: &Flowing| may_answer_others(&response.head, &asked.rules, self.clock().now());
            let seen_now = seen.as_ref();
            match self.shared.flights.join(&asked.key, lane, seen_now, self.store(), limits, usable) {
                Joined::Lead(lease) => match self.lead(asked, &plan, lease, place.clone()).await {
                    Some(fetched) => return fetched,
                    None => (lane.part, seen) = (0, self.want_whole(asked, &mut plan)),
                },
                Joined::LookAgain => return Fetched::LookAgain,
                Joined::Full => return Fetched::Failed(Failed::Full),
                Joined::Follow(follower) => match self.follow(asked, &plan, follower).await {
                    Followed::Got(fetched) => return fetched,
                    Followed::OtherVariant(other) => lane.secondary = other,
                    Followed::OtherPart => match part::lane(plan.part.as_ref()) {
                        own if own != lane.part => lane.part = own,
                        // Not even what was asked for in this lane is what is wanted.
                        _ => (lane.part, seen) = (0, self.want_whole(asked, &mut plan)),
                    },
                    // One failure may be due to the leader's own request. After two, those
                    // who wait do not fall upon an origin that says that it cannot.
                    Followed::OriginFailed(status) if has_failed => {
                        return Fetched::Failed(Failed::Status(status));
                    }
                    Followed::OriginFailed(_) => has_failed = true,
                    Followed::GoAlone => plan.collapse = false,
                },
            }
        }
        // A part may turn out not to be what is wanted, the whole never does.
        for _ in 0..2 {
            let Some(lease) = self.shared.flights.alone(&asked.key, self.store(), limits) else {
                return Fetched::Failed(Failed::Full);
            };
            match self.lead(asked, &plan, lease, place.clone()).await {
                Some(fetched) => return fetched,
                None => drop(self.want_whole(asked, &mut plan)),
            }
        }
        Fetched::Failed(Failed::Lost)
    }

    /// The whole is to be got from now on, as the part was not what the request wants.
    fn want_whole(&self, asked: &Asked, plan: &mut Plan) -> Option<Arc<Variants>> {
        if plan.part.take().is_some() {
            self.counters().parts_unfit.up();
            (plan.stored, plan.validate, plan.stale_on_error) = (None, false, false);
        }
        self.store().find_in_memory(&asked.key)
    }

    /// Which flight is the one for this plan: that of the whole, where it comes to what is
    /// wanted soon; else that of the part. As long as nothing is known of a response there is
    /// one for all who want any of it.
    fn lane(&self, asked: &Asked, plan: &Plan, seen: Option<&Arc<Variants>>) -> Lane {
        let flights = &self.shared.flights;
        let secondary = seen.map_or(0, |variants| known_secondary(variants, asked));
        let (all, own) =
            (Lane { secondary, part: 0 }, Lane { secondary, part: part::lane(plan.part.as_ref()) });
        if own == all {
            return all;
        }
        let whole = flights.on_its_way(&asked.key, all).filter(|flowing| flowing.place.is_none());
        if whole.is_some_and(|whole| self.serves(asked, plan, &whole)) {
            return all;
        }
        let is_known = plan.fwd == Fwd::Partial || plan.stored.is_some();
        if is_known || flights.is_joinable(&asked.key, own) { own } else { all }
    }

    /// Whether a fetch for this plan would be shared with somebody who has begun one, as
    /// things stand.
    pub fn would_follow(&self, asked: &Asked, plan: &Plan, seen: Option<&Arc<Variants>>) -> bool {
        plan.collapse && self.shared.flights.is_joinable(&asked.key, self.lane(asked, plan, seen))
    }

    /// Refreshes a stored response in the background, unless somebody does already. `place`
    /// is held until that is done.
    pub fn refresh(&self, asked: &Arc<Asked>, plan: Plan, seen: Option<&Arc<Variants>>, place: Place) {
        let lane = self.lane(asked, &plan, seen);
        let limits = Limits { followers: usize::MAX, ..self.limits(&asked.rules) };
        let usable = |_: &Flowing| true;
        if let Joined::Lead(mut lease) =
            self.shared.flights.join(&asked.key, lane, seen, self.store(), limits, usable)
        {
            self.counters().refreshes.up();
            lease.hold(Some(Arc::new(place)));
            // Large, and a task is moved about several times before it stands in its place.
            tokio::spawn(Box::pin(fly::fly(self.clone(), Arc::clone(asked), plan, lease, None)));
        }
    }

    /// Asks the origin for this client alone. The request's `place` is held until what it
    /// begins is done, be its client there or not.
    pub async fn pass(
        &self,
        asked: &Arc<Asked>,
        pass: &Pass,
        content: Option<Content>,
        place: Option<Arc<Place>>,
    ) -> Result<Passed, Failed> {
        let upgrade = pass.why == PassReason::Upgrade;
        let purpose = if upgrade { Purpose::Upgrade } else { Purpose::Pass };
        let mut head = request::request(asked, self.hop(), purpose);
        self.ask_shield(&asked.rules, &mut head.fields);
        let requested = self.clock().now();
        let sequence = self.store().sequence();
        let outgoing = self.outgoing(asked, head, content, upgrade, self.tell(asked));
        let outcome = self.origin(&asked.rules).exchange(outgoing).await;
        let exchange = outcome.map_err(|failure| {
            self.complain(asked, format_args!("pass failed: {failure}"));
            Failed::Origin(failure)
        })?;
        let received = self.clock().now();
        let status = exchange.head.status;
        let mut fields = exchange.head.fields;
        let later_than = self.later_than(asked, &mut fields, requested, sequence).await;
        let moments = Moments { requested, received, sequence: later_than };
        let length = fly::content_length(&fields, status);
        let protocol = connection::upgrade(&fields).map(<[u8]>::to_vec);
        connection::strip(&mut fields);
        if pass.stale_on_error && fly::is_failure(status) {
            return Err(Failed::Status(status));
        }
        if asked.presented.method == Method::HEAD
            && let Some(stored) = &pass.stored
        {
            self.head_effect(asked, stored, status, &fields, moments);
        }
        if !unsafe_method::is_safe(&asked.presented.method) {
            let number = self.invalidate_after(asked, status, &fields, sequence);
            if let Some(sequence) =
                number.filter(|_| asked.presented.method == Method::POST && asked.rules.cache)
            {
                let moments = Moments { sequence, ..moments };
                let answer = (status, fields, length, exchange.body);
                return Ok(self.maybe_keep_post(asked, answer, (moments, later_than), place));
            }
        }
        let offered = |protocol: &[u8]| {
            let members = asked.presented.upgrade.as_deref().into_iter().flat_map(members_of);
            members.into_iter().any(|member| member.eq_ignore_ascii_case(protocol))
        };
        let switched = exchange.switched.zip(protocol.filter(|protocol| offered(protocol)));
        if status == StatusCode::SWITCHING_PROTOCOLS && switched.is_none() {
            // The client could take what follows for anything.
            let why = "a 101 to a protocol that was not asked for".to_owned();
            return Err(Failed::Origin(Failure::Malformed(why)));
        }
        Ok(Passed::Answer { status, fields, length, body: exchange.body, switched })
    }

    /// How a request is known to have been here before, in words. Nothing is counted.
    pub fn goes_round(&self, asked: &Asked) -> Option<&'static str> {
        let found = self.shared.hop.finds_itself(&asked.presented.fields, &asked.key)?;
        Some(match found {
            Loop::SameTarget => "this node has asked for it on behalf of the same request already",
            Loop::TooOften => "this node has passed the same request on too often",
            Loop::Via => "Via names this node already, and no other one may have its name",
        })
    }

    /// How many fetches for this key are under way that others may join.
    pub fn under_way(&self, key: &CacheKey) -> usize {
        self.shared.flights.under_way(key)
    }

    /// How the origin of a route stands.
    pub fn origin_of(&self, rules: &Rules) -> origin::View {
        self.origin(rules).view()
    }

    /// Whether a request has been here before, so that to ask the origin would send it
    /// round. It is counted, and told the operator.
    pub fn is_loop(&self, asked: &Asked) -> bool {
        let Some(why) = self.goes_round(asked) else { return false };
        self.counters().loops.up();
        let (url, origin) = (&asked.key.text, &self.origin(&asked.rules).settings().name);
        let site = &asked.rules.site;
        self.shared.loops.tell(self.clock().now(), |left_out| {
            tracing::error!(
                target: "forebay::origin", %site, %origin, %url, left_out,
                "a request goes round and is answered with 508: {why}. The url of the origin leads back here, at once or by way of other proxies; it has to lead to the application."
            );
        });
        true
    }

    /// Notes that the origin could not be asked about `stored`.
    pub fn refresh_failed(&self, asked: &Asked, stored: &StoredResponse) {
        self.counters().refresh_failed.up();
        stored.refresh_failed(self.clock().now(), asked.rules.refresh_backoff);
    }

    /// Notes that a client has waited in vain for the fetch that is to replace `stored`.
    pub fn is_late(&self, stored: &StoredResponse) {
        stored.refresh_is_late(self.clock().now(), LATE);
    }

    /// Closes connections that have been idle for too long. To be called from a
    /// ticker.
    pub fn tick(&self) {
        self.shared.origins.iter().for_each(Group::close_expired);
    }

    /// Begins a flight and takes the leader's seat in it. Nothing comes of it where that is a
    /// part, and not the one that is wanted.
    async fn lead(
        &self,
        asked: &Arc<Asked>,
        plan: &Plan,
        mut lease: Lease,
        place: Option<Arc<Place>>,
    ) -> Option<Fetched> {
        let seat = lease.seat();
        lease.hold(place);
        let (private, for_us) = oneshot::channel();
        let flight = Box::pin(fly::fly(self.clone(), Arc::clone(asked), plan.clone(), lease, Some(private)));
        // Most flights have nothing left to do when they have landed: what is short comes whole.
        let mut flight = Carried::new(flight);
        let landing = std::future::poll_fn(|cx| {
            flight.poll(cx);
            seat.landed().map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        drop(flight);
        Some(match landing {
            Landing::Flowing { response, .. } if !self.serves(asked, plan, &response) => return None,
            Landing::Flowing { response, .. } => Fetched::Flowing { response, seat, collapsed: false },
            Landing::Freshened { response, kept, .. } => {
                Fetched::Freshened { response, kept, collapsed: false }
            }
            Landing::Failed(why) => Fetched::Failed(why),
            Landing::Nothing { .. } => match for_us.await {
                Ok(private) => Fetched::Private(part::cut(private, asked, plan, self.clock().now())?),
                Err(_) => Fetched::Failed(Failed::Lost),
            },
        })
    }

    /// Whether what is on its way has what the request asks for, and soon enough.
    fn serves(&self, asked: &Asked, plan: &Plan, response: &Flowing) -> bool {
        let Asked { presented, rules, .. } = asked;
        match &response.place {
            Some(place) => partial::serves(presented, &response.head, place, rules, self.clock().now()),
            // What ignores ranges would be asked in vain.
            None if plan.part.is_none() || response.ignores_ranges => true,
            None if response.head.status != StatusCode::OK => true,
            None => partial::comes_soon(presented, response.body.arrived(), response.length, rules),
        }
    }

    /// Waits for another one's flight to land.
    async fn follow(&self, asked: &Asked, plan: &Plan, follower: Follower) -> Followed {
        let patience = self.settings().follower_wait;
        let landing = {
            let _waiting = self.counters().followers_waiting.hold();
            // What comes before the response is the leader's: it may be about that client alone.
            tokio::time::timeout(patience, follower.landing()).await
        };
        let rules = &asked.rules;
        let fields = &asked.presented.fields;
        let other_variant = |key: &SecondaryKey| {
            (!key.matches(fields, rules.sort_accept_language)).then(|| secondary_of(key, asked))
        };
        // What has been invalidated meanwhile may have been so before this request came:
        // only the head shows which tags it has.
        let outdated = |head: &Head| {
            self.store().invalidated_since(&asked.key, Some(head), follower.sequence()).is_some()
        };
        match landing {
            Ok(Landing::Flowing { response, .. }) if outdated(&response.head) => {
                Followed::Got(Fetched::LookAgain)
            }
            Ok(Landing::Freshened { response, .. }) if outdated(&response.head) => {
                Followed::Got(Fetched::LookAgain)
            }
            Err(_) => {
                self.counters().collapse_timeout.up();
                Followed::Got(Fetched::Failed(Failed::Waited(patience)))
            }
            Ok(Landing::Flowing { response, shared: true }) => {
                match other_variant(&response.head.secondary) {
                    Some(other) => Followed::OtherVariant(other),
                    None if !self.serves(asked, plan, &response) => Followed::OtherPart,
                    None => Followed::Got(Fetched::Flowing { response, seat: follower, collapsed: true }),
                }
            }
            Ok(Landing::Freshened { response, shared: true, kept }) => {
                if !may_answer_others(&response.head, rules, self.clock().now()) {
                    return Followed::GoAlone;
                }
                match other_variant(&response.head.secondary) {
                    Some(other) => Followed::OtherVariant(other),
                    None if !partial::answers(&asked.presented, &response, rules, self.clock().now()) => {
                        Followed::Got(Fetched::LookAgain)
                    }
                    None => Followed::Got(Fetched::Freshened { response, kept, collapsed: true }),
                }
            }
            Ok(Landing::Nothing { only_this_request: true, .. }) if !is_personal(asked) => {
                Followed::Got(Fetched::LookAgain)
            }
            Ok(Landing::Nothing { failure: Some(status), .. }) => Followed::OriginFailed(status),
            Ok(Landing::Flowing { .. } | Landing::Freshened { .. } | Landing::Nothing { .. }) => {
                Followed::GoAlone
            }
            Ok(Landing::Failed(why)) => Followed::Got(Fetched::Failed(why)),
        }
    }

    /// A response to `HEAD` freshens what is stored for `GET`, or shows that it is
    /// outdated (RFC 9111 4.3.5).
    fn head_effect(
        &self,
        asked: &Asked,
        stored: &Arc<StoredResponse>,
        status: StatusCode,
        update: &Fields,
        moments: Moments,
    ) {
        // Such an answer is to the client's own condition or range.
        let conditional = matches!(status.as_u16(), 206 | 304 | 412 | 416);
        if status != stored.head.status {
            if status.as_u16() < 500 && !conditional {
                stored.soft_purge();
            }
            return;
        }
        match freshen::head_updates(&stored.head.fields, stored.complete_len(), update) {
            HeadEffect::Invalidate => {
                stored.soft_purge();
            }
            HeadEffect::Freshen => {
                let fields = freshen::freshen(&stored.head.fields, update);
                let readmitted = readmit(&asked.presented, &stored.head, fields, moments, &asked.rules);
                if readmitted.kept.is_ok() {
                    let fresh = stored.with_head(Arc::new(readmitted.head));
                    self.store().freshen(&asked.key, stored, fresh, None);
                } else if !readmitted.kept.is_err_and(NotAdmitted::only_this_request) {
                    self.store().remove(&asked.key, stored);
                }
            }
        }
    }

    /// A successful unsafe request invalidates its target and what the answer
    /// names on the same origin (RFC 9111 4.4). Returns the invalidation's number,
    /// unless nothing was invalidated or somebody else did so since the request.
    fn invalidate_after(
        &self,
        asked: &Asked,
        status: StatusCode,
        fields: &Fields,
        since: u64,
    ) -> Option<u64> {
        if status.is_client_error() || status.is_server_error() {
            return None;
        }
        self.counters().invalidated_by_method.up();
        let number = self.store().invalidate_for(&asked.key, since);
        let presented = &asked.presented;
        let named = unsafe_method::invalidated(
            presented.scheme,
            &presented.host,
            presented.port,
            &presented.path_and_query,
            fields,
        );
        for path_and_query in named {
            let key = CacheKey::new(presented.scheme, &presented.host, presented.port, &path_and_query);
            if key != asked.key {
                self.store().invalidate_for(&key, since);
            }
        }
        let authority = CacheKey::authority_of(&asked.key.text);
        let groups: Vec<Selector> = groups::invalidated(fields)
            .into_iter()
            .map(|group| Selector::Group { authority: authority.to_owned(), group })
            .collect();
        if !groups.is_empty() {
            // Groups are names, which nothing refuses.
            let _ = self.store().invalidate(&groups, Strength::Forced, self.clock().now(), |_| {});
        }
        number
    }

    /// Keeps an answer to `POST` that says itself that it answers `GET` as well
    /// (RFC 9110 9.3.3).
    fn maybe_keep_post(
        &self,
        asked: &Arc<Asked>,
        (status, fields, length, body): (StatusCode, Fields, Option<u64>, Body),
        (moments, asked_at): (Moments, u64),
        place: Option<Arc<Place>>,
    ) -> Passed {
        let presented = &asked.presented;
        let serves_get = storable::post_serves_get(
            presented.scheme,
            &presented.host,
            presented.port,
            &presented.path_and_query,
            status,
            &fields,
        );
        if !serves_get {
            return Passed::Answer { status, fields, length, body, switched: None };
        }
        match admit(presented, status, fields, moments, &asked.rules) {
            Admission::Refuse { fields, .. } => {
                Passed::Answer { status, fields, length, body, switched: None }
            }
            Admission::Store { head, withheld } => {
                let limits = self.limits(&asked.rules);
                // By its number it is later than its own request's invalidation, and so than all
                // that came before that while the origin was at work.
                let is_outdated = self.store().names_invalidated_since(&asked.key, &head, asked_at);
                let lease =
                    (!is_outdated).then(|| self.shared.flights.alone(&asked.key, self.store(), limits));
                let Some(mut lease) = lease.flatten() else {
                    let mut fields = head.fields;
                    withheld.iter().for_each(|(name, value)| fields.add(name, value));
                    return Passed::Answer { status, fields, length, body, switched: None };
                };
                lease.hold(place);
                let seat = lease.seat();
                let plan = Plan { fwd: Fwd::Method, collapse: false, ..Plan::rest() };
                let landed = Landed {
                    head: Arc::new(head),
                    withheld,
                    length,
                    plan,
                    place: None,
                    ignores_ranges: false,
                };
                let (flowing, carried) = fly::carry(self.clone(), Arc::clone(asked), landed, body, lease);
                tokio::spawn(carried);
                Passed::Kept { response: flowing, seat }
            }
        }
    }

    fn limits(&self, rules: &Rules) -> Limits {
        Limits {
            flights: self.settings().max_flights,
            followers: self.settings().max_followers,
            patience: self.patience(rules),
        }
    }

    /// How long a flight may take until its head has arrived before it counts as
    /// lost: a retry included, with room to spare.
    fn patience(&self, rules: &Rules) -> Duration {
        let origin = self.origin(rules).settings();
        let first_byte = rules.first_byte_timeout.unwrap_or(origin.first_byte_timeout);
        (origin.connect_timeout + first_byte) * 2 + origin.bulkhead.max_wait + Duration::from_secs(1)
    }

    /// Tells the operator what an origin has done wrong.
    pub(super) fn complain(&self, asked: &Asked, what: fmt::Arguments<'_>) {
        let (url, origin) = (&asked.key.text, &self.origin(&asked.rules).settings().name);
        self.shared.failures.tell(self.clock().now(), |left_out| {
            tracing::warn!(target: "forebay::origin", %url, %origin, left_out, "{what}");
        });
    }

    /// Tells the operator that an origin answers after so many failures.
    pub(super) fn recovered(&self, asked: &Asked, failures: u32) {
        let (url, origin) = (&asked.key.text, &self.origin(&asked.rules).settings().name);
        self.shared.recoveries.tell(self.clock().now(), |left_out| {
            tracing::info!(target: "forebay::origin", %url, %origin, left_out, "the origin answers again, after {failures} failed attempts");
        });
    }

    /// Takes interim responses for the client of this request, if it can have some.
    pub(super) fn tell(&self, asked: &Asked) -> Option<Tell> {
        let interims = asked.interims.clone()?;
        let counters = Arc::clone(&self.shared.counters);
        Some(Arc::new(move |interim| {
            if !interims.add(Arc::new(interim)) {
                counters.interim_dropped.up();
            }
        }))
    }

    /// What an origin is sent with this head.
    pub(super) fn outgoing(
        &self,
        asked: &Asked,
        head: RequestHead,
        body: Option<Content>,
        upgrade: bool,
        tell: Option<Tell>,
    ) -> Outgoing {
        let rules = &asked.rules;
        let limits = origin::Limits {
            first_byte: rules.first_byte_timeout,
            between_bytes: rules.between_bytes_timeout,
            total: rules.total_timeout,
        };
        Outgoing { head, body, upgrade, key: Arc::clone(&asked.key.text), limits, tell }
    }

    pub(super) fn origin(&self, rules: &Rules) -> &Group {
        &self.shared.origins[rules.origin.0]
    }

    pub(super) fn shields(&self) -> Option<&dyn Shields> {
        self.shared.shields.as_deref()
    }

    pub(super) fn hop(&self) -> &Hop {
        &self.shared.hop
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(super) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// The most bytes of all bodies that are to be kept.
    fn most_kept(&self) -> u64 {
        self.settings().max_filling_bytes.min(self.shared.door.max_buffered())
    }

    /// How much of a body that is not kept is held for its readers: hardly anything where
    /// too much is held already, so that its origin is read as slowly as its clients read.
    pub(super) fn window(&self) -> usize {
        let window = self.settings().window;
        if self.shared.door.is_full_of_bytes() { window.min(NARROW_WINDOW) } else { window }
    }

    /// Whether a body may still be kept when `more` bytes join the `held` ones, where the
    /// largest response has `most`.
    pub(super) fn room_for(&self, held: u64, more: u64, most: u64) -> Keep {
        if held.saturating_add(more) > most {
            Keep::TooLarge
        } else if self.shared.budget.held().saturating_add(more) > self.most_kept() {
            Keep::NoRoom
        } else {
            Keep::Whole
        }
    }
}

/// Whether a body is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// As far as is known.
    Whole,
    /// It never is: it is larger than the store takes.
    TooLarge,
    /// Not this time: bodies on their way hold all that they may.
    NoRoom,
}

/// What a follower has found out.
enum Followed {
    /// This.
    Got(Fetched),
    /// The response is another variant; it is to join the flight of its own.
    OtherVariant(u64),
    /// The response has not what is wanted of it.
    OtherPart,
    /// The origin has failed, with this status.
    OriginFailed(StatusCode),
    /// There is nothing to share.
    GoAlone,
}

/// Whether the request itself makes its response unusable for others.
fn is_personal(asked: &Asked) -> bool {
    asked.presented.fields.contains("authorization") || asked.presented.fields.contains("cache-control")
}

/// The secondary key of this request under the `Vary` that is known so far.
fn known_secondary(variants: &Variants, asked: &Asked) -> u64 {
    variants.responses.first().map_or(0, |newest| secondary_of(&newest.head.secondary, asked))
}

/// The hash of this request's secondary key under the names of `key`.
fn secondary_of(key: &SecondaryKey, asked: &Asked) -> u64 {
    if key.is_empty() {
        return 0;
    }
    let names: Vec<String> = key.names().map(str::to_owned).collect();
    let own = SecondaryKey::of(&names, &asked.presented.fields, asked.rules.sort_accept_language);
    xxh3_64(own.as_bytes()).max(1)
}
