//! Keeping fills: whether a response that somebody got may be stored here, and word of
//! those that could not be had.
//!
//! What always holds: a fill is kept only on a hidden route, only if its request has
//! the form in which this node itself would have asked, only if nothing that means it
//! was invalidated since its moment, and only if nothing newer is stored. A fill that
//! comes late, twice or out of order does no harm; each refusal has a name and is
//! counted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, StatusCode, Version};

use super::event::Wanted;
use super::fill::{self, BadFill, Fill, Read, Word};
use super::lease::Unfillable;
use super::token::{BadToken, Secrets};
use super::wants::Wants;
use crate::broker::{Address, Letter, Queues};
use crate::clock::{Clock, Wall};
use crate::fetch::Asked;
use crate::invalidate::{Invalidator, Moment};
use crate::observe::counters::Counters;
use crate::policy::admit::{Admission, Moments, admit};
use crate::policy::decide::is_worth_storing;
use crate::policy::site::{Mode, Rules};
use crate::policy::{Presented, Sites, narrow};
use crate::rfc::fields::Fields;
use crate::rfc::vary::{self, VaryNames};
use crate::rfc::{connection, host, uri};
use crate::store::{Inserted, Rival, Store};
use crate::stored::{CacheKey, Head, StoredBody, StoredResponse};

/// Keeps fills; cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    sites: ArcSwap<Sites>,
    wants: Arc<Wants>,
    secrets: Secrets,
    invalidator: Arc<Invalidator>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// Why a fill is not kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It has no right to be.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// It cannot be understood.
    #[error("the fill cannot be understood: {0}")]
    Malformed(String),
    /// No hidden route answers for it.
    #[error("no hidden route answers for this URL, or not in this form")]
    Route,
    /// A status that says nothing of the resource.
    #[error("a response of status {0} is no fill")]
    Status(StatusCode),
    /// It may not be stored.
    #[error("the response may not be stored: {0}")]
    NotStorable(Arc<str>),
    /// It was invalidated after it had been asked for.
    #[error("it was purged after it had been asked for")]
    Fenced,
    /// Something newer is stored.
    #[error("something newer is stored")]
    Older,
    /// It broke off.
    #[error("the body broke off")]
    Broken,
}

/// A fill whose head is good; its body may follow.
pub struct Judged {
    asked: Asked,
    head: Head,
    id: u128,
}

/// How many letters are delivered ahead.
const AHEAD: u16 = 64;
/// Between two attempts to subscribe.
const PAUSE: Duration = Duration::from_millis(500);

impl Keeper {
    /// Keeps fills there, for what these sites hide.
    pub fn new(
        store: Arc<Store>,
        sites: Sites,
        wants: Arc<Wants>,
        secrets: Secrets,
        invalidator: Arc<Invalidator>,
        (clock, counters): (Clock, Arc<Counters>),
    ) -> Self {
        let sites = ArcSwap::from_pointee(sites);
        Keeper { inner: Arc::new(Inner { store, sites, wants, secrets, invalidator, clock, counters }) }
    }

    /// Other sites from now on.
    pub fn set_sites(&self, sites: Sites) {
        self.inner.sites.store(Arc::new(sites));
    }

    /// The secrets that fills are signed with.
    pub fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }

    /// The largest body that is kept.
    pub fn max_body(&self) -> u64 {
        self.inner.store.max_response()
    }

    /// Reads what is told to all edges, and keeps what may be kept, for as long as it
    /// is polled.
    pub async fn run(self, queues: Arc<dyn Queues>) {
        loop {
            match queues.subscribe(Address::Fills, AHEAD).await {
                Ok(mut reading) => loop {
                    match reading.next().await {
                        Ok(delivery) => {
                            self.read(&delivery.letter);
                            // One that comes again does no harm.
                            let _ = delivery.receipt.acknowledge().await;
                        }
                        Err(error) => {
                            tracing::debug!(target: "forebay::repopulate", "no fills arrive: {error}");
                            break;
                        }
                    }
                },
                Err(error) => {
                    tracing::debug!(target: "forebay::repopulate", "fills cannot be read: {error}");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Does what a letter says.
    fn read(&self, letter: &Letter) {
        let inner = &*self.inner;
        match fill::read(&inner.secrets, letter, inner.clock.now()) {
            Ok(Read::Fill(fill, body)) => {
                let url = fill.head.wanted.url();
                let kept = self.judge(&fill).and_then(|judged| self.keep(judged, &[body], None));
                match kept {
                    Ok(_) => tracing::debug!(target: "forebay::repopulate", %url, "filled"),
                    Err(why) => {
                        tracing::info!(target: "forebay::repopulate", %url, "a fill is not kept: {why}")
                    }
                }
            }
            Ok(Read::Word(wanted, word)) => self.heed(&wanted, word),
            Err(bad) => {
                let refused = Refused::from(bad);
                inner.count(&refused);
                tracing::warn!(target: "forebay::repopulate", "a fill from the broker is refused: {refused}");
            }
        }
    }

    /// Heeds word of a key that was not filled.
    fn heed(&self, wanted: &Wanted, word: Word) {
        let (wants, key, now) = (&self.inner.wants, wanted.id(), Instant::now());
        match word {
            Word::Postponed { pause_ms } => wants.postponed(key, Duration::from_millis(pause_ms), now),
            Word::Failed => wants.unfillable(key, Unfillable::Failed, now),
            Word::NotStorable { reason } => {
                wants.unfillable(key, Unfillable::NotStorable(reason.into()), now);
            }
        }
    }

    /// Whether a response with this head may be kept, as far as that is known without
    /// its body. What may never be is remembered for a while.
    pub fn judge(&self, fill: &Fill) -> Result<Judged, Refused> {
        let judged = self.try_judge(fill);
        if let Err(refused) = &judged {
            self.refused(&fill.head.wanted, refused);
        }
        judged
    }

    fn try_judge(&self, fill: &Fill) -> Result<Judged, Refused> {
        let inner = &*self.inner;
        let now = inner.clock.now();
        let head = &fill.head;
        let status = StatusCode::from_u16(head.status)
            .map_err(|_| Refused::Malformed(format!("the status {}", head.status)))?;
        let asked = asked(&head.wanted, &inner.sites.load()).ok_or(Refused::Route)?;
        let sequence = inner.invalidator.number_of(&fill.moment).ok_or(Refused::Fenced)?;
        // Another machine's clock may be ahead of this one's.
        let received = Wall::from_millis(head.received_ms).min(now);
        let requested = Wall::from_millis(head.requested_ms).min(received);
        let moments = Moments { requested, received, sequence };
        let fields = head.fields()?;
        let head = storable(&asked.presented, &asked.rules, status, fields, moments, now)?;
        Ok(Judged { asked, head, id: fill.head.wanted.id() })
    }

    /// Keeps a response whose head is good.
    pub fn keep(
        &self,
        judged: Judged,
        body: &[Bytes],
        trailers: Option<Fields>,
    ) -> Result<Arc<StoredResponse>, Refused> {
        let Judged { asked, head, id } = judged;
        let inner = &*self.inner;
        let kept = self.try_keep(&asked, head, body, trailers);
        match &kept {
            Ok(_) => {
                inner.counters.fills_kept.up();
                inner.wants.filled(id, Instant::now());
            }
            Err(refused) => {
                inner.count(refused);
                match refused {
                    // What is there answers.
                    Refused::Older => inner.wants.filled(id, Instant::now()),
                    refused => self.act_upon(id, refused),
                }
            }
        }
        kept
    }

    fn try_keep(
        &self,
        asked: &Asked,
        head: Head,
        body: &[Bytes],
        trailers: Option<Fields>,
    ) -> Result<Arc<StoredResponse>, Refused> {
        let inner = &*self.inner;
        let length: u64 = body.iter().map(|piece| piece.len() as u64).sum();
        if length > inner.store.max_response() {
            return Err(Refused::NotStorable("too-large".into()));
        }
        let requested = head.requested;
        let response = StoredResponse::new(Arc::new(head), StoredBody::copied(body), trailers);
        let rival = |stored: &StoredResponse| {
            let same =
                stored.head.secondary.matches(&asked.presented.fields, asked.rules.sort_accept_language);
            match same {
                false => Rival::Other,
                true if stored.head.requested > requested && !stored.is_gone() => Rival::Stays,
                true => Rival::Yields,
            }
        };
        match inner.store.insert(&asked.key, response, rival, None) {
            Inserted::Stored(response) => Ok(response),
            Inserted::Fenced(_) | Inserted::Gone => Err(Refused::Fenced),
            Inserted::Outdone => Err(Refused::Older),
        }
    }

    /// A fill broke off before it was whole.
    pub fn broken(&self, judged: &Judged) -> Refused {
        self.inner.count(&Refused::Broken);
        self.act_upon(judged.id, &Refused::Broken);
        Refused::Broken
    }

    fn refused(&self, wanted: &Wanted, refused: &Refused) {
        self.inner.count(refused);
        self.act_upon(wanted.id(), refused);
    }

    /// What a refusal means for those who want the response.
    fn act_upon(&self, id: u128, refused: &Refused) {
        let wants = &self.inner.wants;
        match refused {
            Refused::NotStorable(reason) => {
                wants.unfillable(id, Unfillable::NotStorable(Arc::clone(reason)), Instant::now());
            }
            // The next miss asks again: what was got is from before the purge.
            Refused::Fenced | Refused::Broken => wants.forget(id),
            // What somebody else made up is no reason for anything.
            Refused::Token(_)
            | Refused::Malformed(_)
            | Refused::Route
            | Refused::Status(_)
            | Refused::Older => {}
        }
    }
}

impl Inner {
    fn count(&self, refused: &Refused) {
        let counters = &self.counters;
        match refused {
            Refused::Token(_) => counters.fills_refused_token.up(),
            Refused::Malformed(_) => counters.fills_refused_malformed.up(),
            Refused::Route => counters.fills_refused_route.up(),
            Refused::Status(_) => counters.fills_refused_status.up(),
            Refused::NotStorable(_) => counters.fills_refused_not_storable.up(),
            Refused::Fenced => counters.fills_refused_fenced.up(),
            Refused::Older => counters.fills_refused_older.up(),
            Refused::Broken => counters.fills_refused_broken.up(),
        }
    }
}

impl From<BadFill> for Refused {
    fn from(bad: BadFill) -> Self {
        match bad {
            BadFill::Malformed(why) => Refused::Malformed(why),
            BadFill::Token(bad) => Refused::Token(bad),
        }
    }
}

/// The request for what is wanted, as this node itself would have asked for it on a
/// hidden route; none where it has another form, or no such route.
pub fn asked(wanted: &Wanted, sites: &Sites) -> Option<Asked> {
    let Wanted { scheme, host, port, target, vary } = wanted;
    let scheme = match scheme.as_str() {
        "http" => "http",
        "https" => "https",
        _ => return None,
    };
    let authority = host::parse_authority(host.as_bytes())?;
    if authority.host != *host || authority.port.is_some() || uri::canonical_path_and_query(target) != *target
    {
        return None;
    }
    let path = target.split('?').next().unwrap_or_default();
    let rules = Arc::clone(&sites.site(host)?.route(path)?.rules);
    if rules.mode != Mode::Hidden || !rules.lists(path) {
        return None;
    }
    let mut fields = Fields::new();
    for (name, value) in vary {
        fields.push(name, value.as_bytes()).ok()?;
    }
    let mut presented = Presented {
        method: Method::GET,
        scheme,
        host: host.clone(),
        port: *port,
        path_and_query: target.clone(),
        version: Version::HTTP_11,
        fields,
        upgrade: None,
        has_body: false,
        peer: NOBODY,
        client: NOBODY,
        from_trusted_proxy: false,
    };
    narrow::query(&mut presented, &rules);
    let values = narrow::variant(&mut presented.fields, &rules);
    if presented.path_and_query != *target || values != *vary {
        return None;
    }
    let key = CacheKey::new(scheme, host, *port, target);
    Some(Asked { presented, rules, key })
}

/// On whose behalf a node itself asks.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The head with which a response is stored on a hidden route, or why it is not. Edges
/// and workers judge alike.
pub fn storable(
    presented: &Presented,
    rules: &Rules,
    status: StatusCode,
    mut fields: Fields,
    moments: Moments,
    now: Wall,
) -> Result<Head, Refused> {
    let of_the_moment = matches!(status.as_u16(), 206 | 304 | 416 | 421 | 425 | 429 | 431 | 511);
    if status.is_informational() || status.is_server_error() || of_the_moment {
        return Err(Refused::Status(status));
    }
    connection::strip(&mut fields);
    if let VaryNames::Names(names) = vary::names(&fields)
        && names.iter().any(|name| !rules.vary_on.iter().any(|on| on == name))
    {
        return Err(Refused::NotStorable("vary".into()));
    }
    let says_nothing = !["cache-control", "expires"].iter().any(|name| fields.contains(name));
    if says_nothing && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        // That there is nothing is worth knowing, for a moment.
        fields.add("cache-control", format!("max-age={NEGATIVE}"));
    }
    match admit(presented, status, fields, moments, rules) {
        Admission::Refuse { why, .. } => Err(Refused::NotStorable(why.reason().into())),
        Admission::Store { head, .. } => {
            // What could never answer anybody would be asked for without end.
            let answers = rules.serve_forbidden_stale
                || !head.always_validate
                    && (head.stale_for(now).is_none() || may_ever_be_stale(&head, rules));
            let worth = is_worth_storing(&head, rules, now);
            if answers && worth { Ok(head) } else { Err(Refused::NotStorable("no-use".into())) }
        }
    }
}

/// How long the absence of something is believed where its origin does not say, in
/// seconds.
const NEGATIVE: u64 = 10;

fn may_ever_be_stale(head: &Head, rules: &Rules) -> bool {
    let windows = Duration::from_secs(head.terms.while_revalidate).max(rules.grace);
    let on_error = head.terms.if_error.map_or(rules.stale_on_error, Duration::from_secs);
    !head.terms.forbidden && head.status.as_u16() < 400 && !windows.max(on_error).is_zero()
}

/// A fill that an origin pushes by itself, with the right that its token gives, or of
/// one who may fill anyhow.
pub fn pushed(head: fill::FillHead, moment: Moment) -> Fill {
    Fill { head, moment }
}
