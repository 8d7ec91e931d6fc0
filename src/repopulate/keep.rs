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
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, StatusCode, Version};

use super::event::Wanted;
use super::fill::{self, BadFill, Fill, Read, Word};
use super::lease::Unfillable;
use super::token::{BadToken, Claim, Secrets};
use super::wants::Wants;
use crate::broker::{Address, Letter, Queues};
use crate::clock::{Clock, Wall, monotonic};
use crate::fetch::{Asked, Common};
use crate::invalidate::{Invalidator, Moment};
use crate::observe::counters::Counters;
use crate::policy::admit::{Admission, Moments, admit};
use crate::policy::decide::is_worth_storing;
use crate::policy::site::{Mode, OriginId, Rules};
use crate::policy::{Presented, Sites, narrow};
use crate::rfc::fields::Fields;
use crate::rfc::vary::{self, SecondaryKey, VaryNames};
use crate::rfc::{connection, host, uri};
use crate::store::{Inserted, Rival, Store};
use crate::stored::filling::{self, Budget, Writer};
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
    budget: Budget,
    /// What bodies on their way may hold.
    max_filling: u64,
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
    /// Too much is under way.
    #[error("too many bodies are on their way")]
    Busy,
}

/// A fill whose body is being taken. Dropping it is as if it had broken off.
pub struct Taking {
    keeper: Keeper,
    judged: Option<Judged>,
    writer: Writer,
}

/// A fill whose head is good; its body may follow.
pub struct Judged {
    asked: Asked,
    head: Head,
    id: u128,
    known_by: u128,
}

/// How many letters are delivered ahead.
const AHEAD: u16 = 64;
/// Between two attempts to subscribe.
const PAUSE: Duration = Duration::from_millis(500);

impl Keeper {
    /// Keeps fills in the store of a node, for what these sites hide; bodies on their way
    /// hold so many bytes at most.
    pub fn new(
        common: &Common,
        max_filling: u64,
        sites: Sites,
        wants: Arc<Wants>,
        secrets: Secrets,
        invalidator: Arc<Invalidator>,
    ) -> Self {
        let Common { store, budget, clock, counters, .. } = common.clone();
        let sites = ArcSwap::from_pointee(sites);
        let inner = Inner { store, sites, wants, secrets, invalidator, budget, max_filling, clock, counters };
        Keeper { inner: Arc::new(inner) }
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
                            self.read(&delivery.letter).await;
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
    async fn read(&self, letter: &Letter) {
        let inner = &*self.inner;
        match fill::read(&inner.secrets, letter, inner.clock.now()) {
            Ok(Read::Fill(fill, body)) => {
                let url = fill.head.wanted.url();
                let body = StoredBody::copied(&[body]);
                let kept = self.judge(&fill).await.and_then(|judged| self.keep(judged, body));
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
        let (wants, key, now) = (&self.inner.wants, wanted.id(), monotonic());
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
    pub async fn judge(&self, fill: &Fill) -> Result<Judged, Refused> {
        let invalidator = &self.inner.invalidator;
        // What whoever got it had read is on its way here as well. A fill that this node
        // has asked for is as old as that.
        if let Some(read) = &fill.moment.read
            && !invalidator.knows(&fill.moment)
        {
            invalidator.reads_as_far_as(read).await;
        }
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
        let wanted = &fill.head.wanted;
        Ok(Judged { asked, head, id: wanted.id(), known_by: wanted.known_id() })
    }

    /// Keeps a response whose head is good.
    pub fn keep(&self, judged: Judged, body: StoredBody) -> Result<Arc<StoredResponse>, Refused> {
        let Judged { asked, head, id, known_by } = judged;
        let inner = &*self.inner;
        let kept = self.try_keep(&asked, head, body);
        match &kept {
            Ok(response) => {
                inner.counters.fills_kept.up();
                let exists = response.head.status.as_u16() < 400;
                inner.wants.filled(id, exists.then_some(known_by), monotonic());
            }
            Err(refused) => {
                inner.count(refused);
                match refused {
                    // What is there answers.
                    Refused::Older => inner.wants.filled(id, None, monotonic()),
                    refused => self.act_upon(id, refused),
                }
            }
        }
        kept
    }

    fn try_keep(&self, asked: &Asked, head: Head, body: StoredBody) -> Result<Arc<StoredResponse>, Refused> {
        let inner = &*self.inner;
        if body.len() > inner.store.max_response() {
            return Err(Refused::NotStorable("too-large".into()));
        }
        let requested = head.requested;
        let response = StoredResponse::new(Arc::new(head), body, None);
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

    /// Takes the body of a fill whose head is good, piece by piece.
    pub fn take(&self, judged: Judged) -> Taking {
        let (_, writer) = filling::filling(&self.inner.budget, Arc::default());
        Taking { keeper: self.clone(), judged: Some(judged), writer }
    }

    /// What the token of a miss event gives the right to, for whoever answers it.
    pub fn pushed_by(&self, token: &str) -> Result<Claim, Refused> {
        let claim = self.inner.secrets.verify(token, self.now()).and_then(|claim| {
            // One that is for one response alone is none of an event.
            if claim.response.is_some() { Err(BadToken::Other) } else { Ok(claim) }
        });
        claim.map_err(|bad| self.count_bad(bad.into()))
    }

    /// The refusal of a fill without any right.
    pub fn no_right(&self) -> Refused {
        self.count_bad(BadToken::Forged.into())
    }

    /// Counts a fill that cannot be read.
    pub fn count_bad(&self, bad: BadFill) -> Refused {
        let refused = Refused::from(bad);
        self.inner.count(&refused);
        refused
    }

    /// This moment, for a response that is made from now on.
    pub fn moment(&self) -> Moment {
        self.inner.invalidator.moment()
    }

    /// The wall time now.
    pub fn now(&self) -> Wall {
        self.inner.clock.now()
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
                wants.unfillable(id, Unfillable::NotStorable(Arc::clone(reason)), monotonic());
            }
            // The next miss asks again: what was got is from before the purge.
            Refused::Fenced | Refused::Broken | Refused::Busy => wants.forget(id),
            // What somebody else made up is no reason for anything.
            Refused::Token(_)
            | Refused::Malformed(_)
            | Refused::Route
            | Refused::Status(_)
            | Refused::Older => {}
        }
    }
}

impl Taking {
    /// Takes a piece, unless it is too much.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), Refused> {
        let inner = Arc::clone(&self.keeper.inner);
        let more = bytes.len() as u64;
        if self.writer.len() + more > inner.store.max_response() {
            return Err(self.end(Refused::NotStorable("too-large".into())));
        }
        if inner.budget.held() + more > inner.max_filling {
            return Err(self.end(Refused::Busy));
        }
        // Held whole, it waits for nobody.
        let pushed = self.writer.push(bytes, Duration::ZERO).await;
        pushed.map_err(|_| self.end(Refused::Broken))
    }

    /// How many bytes have come.
    pub fn len(&self) -> u64 {
        self.writer.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// All of it has come.
    pub async fn keep(mut self) -> Result<Arc<StoredResponse>, Refused> {
        let body = self.writer.compact().await;
        let Some(judged) = self.judged.take() else { return Err(Refused::Broken) };
        self.keeper.keep(judged, body)
    }

    /// It broke off before it was whole.
    pub fn broken(mut self) -> Refused {
        self.end(Refused::Broken)
    }

    fn end(&mut self, refused: Refused) -> Refused {
        if let Some(judged) = self.judged.take() {
            self.keeper.inner.count(&refused);
            self.keeper.act_upon(judged.id, &refused);
        }
        refused
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.end(Refused::Broken);
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
            Refused::Busy => counters.fills_refused_busy.up(),
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
    let rules = sites.site(host)?.route(path)?.rules.take();
    if rules.mode != Mode::Hidden || !rules.lists(path) {
        return None;
    }
    let mut fields = Fields::new();
    for (name, value) in vary {
        fields.push(name, value.as_bytes()).ok()?;
    }
    let mut presented = plain_get(scheme, host, *port, target, fields);
    narrow::query(&mut presented, &rules);
    let values = narrow::variant(&mut presented.fields, &rules);
    if presented.path_and_query != *target || values != *vary {
        return None;
    }
    let key = CacheKey::new(scheme, host, *port, target);
    Some(Asked { presented, rules, key, interims: None })
}

/// What is to be wanted so that a stored variant is got anew, and the origin that has
/// it; none where no hidden route answers for it any more.
pub fn again(key: &CacheKey, secondary: &SecondaryKey, sites: &Sites) -> Option<(Wanted, OriginId)> {
    let (scheme, rest) = key.text.split_once("://")?;
    let target = CacheKey::path_of(&key.text);
    let (host, port) = rest[..rest.len() - target.len()].rsplit_once(':')?;
    let mut vary: Vec<(String, String)> = Vec::new();
    for (name, value) in secondary.entries() {
        if let Some(value) = value {
            vary.push((name.to_owned(), String::from_utf8(value.to_vec()).ok()?));
        }
    }
    let wanted = Wanted {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok()?,
        target: target.to_owned(),
        vary,
    };
    let origin = asked(&wanted, sites)?.rules.origin;
    Some((wanted, origin))
}

/// What may be wanted under a key on a hidden route: the plain response, and one in each
/// coding of the route.
pub fn forms(key: &CacheKey, sites: &Sites) -> Vec<Wanted> {
    let Some((plain, _)) = again(key, &SecondaryKey::default(), sites) else { return Vec::new() };
    let Some(asked) = asked(&plain, sites) else { return Vec::new() };
    let coded = asked.rules.encodings.iter().map(|coding| Wanted {
        vary: vec![("accept-encoding".to_owned(), coding.to_owned())],
        ..plain.clone()
    });
    coded.chain([plain.clone()]).collect()
}

/// A request to read that no client has sent.
pub(super) fn plain_get(
    scheme: &'static str,
    host: &str,
    port: u16,
    target: &str,
    fields: Fields,
) -> Presented {
    Presented {
        method: Method::GET,
        scheme,
        host: host.to_owned(),
        port,
        path_and_query: target.to_owned(),
        version: Version::HTTP_11,
        fields,
        upgrade: None,
        has_body: false,
        peer: NOBODY,
        client: NOBODY,
        from_trusted_proxy: false,
    }
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
    let of_the_moment = matches!(status.as_u16(), 206 | 304 | 408 | 416 | 421 | 425 | 429 | 431 | 511);
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
    let windows = Duration::from_secs(head.terms.while_revalidate.into()).max(rules.grace);
    let on_error =
        head.terms.if_error.map_or(rules.stale_on_error, |seconds| Duration::from_secs(seconds.into()));
    !head.terms.forbidden && head.status.as_u16() < 400 && !windows.max(on_error).is_zero()
}
