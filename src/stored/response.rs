//! A stored response: the head as received and cleaned, what was computed from
//! it once, and its complete body.
//!
//! What always holds: `lifetime`, `initial_age` and `terms` were computed from
//! these very fields; a response never changes but for its atomics (validity,
//! back-off, last use), and validity only ever gets worse; freshening makes a new
//! response that shares the body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::body::allocated;
use super::index::Place;
use super::{Names, Parts, StoredBody, Strength};
use crate::clock::Wall;
use crate::rfc::age;
use crate::rfc::fields::Fields;
use crate::rfc::lifetime::Lifetime;
use crate::rfc::reuse::StaleTerms;
use crate::rfc::vary::SecondaryKey;

/// The head of a response that may be shared, and what follows from it.
#[derive(Clone, Debug)]
pub struct Head {
    /// A final status.
    pub status: StatusCode,
    /// End-to-end fields; neither `Age` nor `Content-Length` is among them.
    pub fields: Fields,
    /// What `Vary` nominates, with the values of the request that it answered.
    pub secondary: SecondaryKey,
    /// When the request was sent.
    pub requested: Wall,
    /// When the head arrived.
    pub received: Wall,
    /// Age on arrival, in seconds (RFC 9111 4.2.3).
    pub initial_age: u32,
    /// How long it is fresh, counted from age zero.
    pub lifetime: Lifetime,
    /// What the origin says of use when stale.
    pub terms: StaleTerms,
    /// `no-cache`: to be validated before each use.
    pub always_validate: bool,
    /// The last invalidation that it is known to be newer than.
    pub sequence: u64,
    /// Tags and groups by which it can be invalidated.
    pub names: Names,
    /// The site under whose rules it was fetched.
    pub site: Arc<str>,
    /// Whether it answers on a hidden route: nobody gets it anew for the client that asks.
    pub hidden: bool,
}

/// A response that may be reused: complete, or as far as its parts go.
#[derive(Debug)]
pub struct StoredResponse {
    /// Status, fields, and what follows from them.
    pub head: Head,
    /// The complete content; nothing where there are [parts](StoredResponse::parts) of it.
    pub body: StoredBody,
    /// What few have.
    pub(super) extra: Option<Box<Extra>>,
    /// Its place in the index, with the word that says whether it is still valid;
    /// none as long as it is not stored.
    place: Option<Place>,
    /// The last pattern that it has been tested against, or is newer than.
    tested: AtomicU64,
    /// No refresh before this moment, in milliseconds of wall time.
    refresh_not_before: AtomicU64,
    /// Nobody waits for the late refresh before this moment, in milliseconds of wall time.
    late_until: AtomicU64,
    /// Refreshes that have failed since it was stored.
    refresh_failures: AtomicU32,
    /// When it was last chosen, in seconds of wall time.
    last_used: AtomicU32,
}

/// What few responses have.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    /// The trailer section, if there was one.
    pub trailers: Option<Fields>,
    /// What there is of the content, where that is not all of it.
    pub parts: Option<Parts>,
}

impl Extra {
    fn heap_bytes(&self) -> usize {
        let trailers = self.trailers.as_ref().map_or(0, |fields| allocated(fields.heap_bytes()));
        let parts = self.parts.as_ref().map_or(0, Parts::heap_bytes);
        allocated(size_of::<Self>()) + trailers + parts
    }
}

impl Head {
    /// Current age in milliseconds (RFC 9111 4.2.3).
    pub fn age_millis(&self, now: Wall) -> u64 {
        age::current_age_millis(self.initial_age.into(), self.received, now)
    }

    /// Current age in whole seconds, as the `Age` field has it.
    pub fn age(&self, now: Wall) -> u64 {
        self.age_millis(now) / 1000
    }

    /// When the origin has made it or confirmed it, as far as is known from its `Date` and `Age`.
    pub fn generated(&self) -> Wall {
        Wall::from_millis(self.received.millis().saturating_sub(u64::from(self.initial_age) * 1000))
    }

    /// Milliseconds of freshness left; negative by how long it has been stale.
    pub fn freshness_left_millis(&self, now: Wall) -> i64 {
        let lifetime = i64::from(self.lifetime.seconds) * 1000;
        let age = i64::try_from(self.age_millis(now)).unwrap_or(i64::MAX);
        lifetime.saturating_sub(age)
    }

    /// For how long it has been stale; `None` while it is fresh.
    pub fn stale_for(&self, now: Wall) -> Option<Duration> {
        let left = self.freshness_left_millis(now);
        (left <= 0).then(|| Duration::from_millis(left.unsigned_abs()))
    }
}

impl StoredResponse {
    /// A complete response. Its head stands in its own allocation; one that others hold
    /// as well is copied.
    pub fn new(head: Arc<Head>, body: StoredBody, trailers: Option<Fields>) -> Self {
        let last_used = AtomicU32::new(seconds(head.received));
        StoredResponse {
            head: Arc::unwrap_or_clone(head),
            body,
            extra: trailers.map(|trailers| Box::new(Extra { trailers: Some(trailers), parts: None })),
            place: None,
            tested: AtomicU64::new(0),
            refresh_not_before: AtomicU64::new(0),
            late_until: AtomicU64::new(0),
            refresh_failures: AtomicU32::new(0),
            last_used,
        }
    }

    /// The trailer section, if there was one.
    pub fn trailers(&self) -> Option<&Fields> {
        self.extra.as_ref().and_then(|extra| extra.trailers.as_ref())
    }

    /// For how long it has been stale, by age or by a soft purge; `None` while it
    /// is fresh.
    pub fn stale_for(&self, now: Wall) -> Option<Duration> {
        let by_age = self.head.stale_for(now);
        if by_age.is_none() && self.is_soft_purged() { Some(Duration::ZERO) } else { by_age }
    }

    /// Gives it a place in the index, from where invalidations reach it.
    pub fn settle(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// The same response apart from the store: it has no place, and what happens to one of the
    /// two does not happen to the other.
    pub fn apart(&self) -> Self {
        let copy = self.with_head(Arc::new(self.head.clone()));
        let times = [
            (&copy.tested, &self.tested),
            (&copy.refresh_not_before, &self.refresh_not_before),
            (&copy.late_until, &self.late_until),
        ];
        times.into_iter().for_each(|(to, from)| to.store(from.load(Ordering::Acquire), Ordering::Release));
        for (to, from) in
            [(&copy.refresh_failures, &self.refresh_failures), (&copy.last_used, &self.last_used)]
        {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        copy
    }

    /// Ends its freshness at once. Says whether that is news.
    pub fn soft_purge(&self) -> bool {
        self.purge(Strength::Soft)
    }

    /// Ends its use at once, also by those who have found it already; on a hidden route
    /// its freshness, unless that is forced. Says whether that is news.
    pub fn purge(&self, strength: Strength) -> bool {
        let Some(place) = &self.place else { return false };
        match strength {
            Strength::Soft => place.mark_stale(),
            Strength::Hard => place.mark_gone(),
            Strength::Forced => place.mark_forced(),
        }
    }

    /// Notes that it is not stored any more; who has found it may still use it.
    pub fn leave(&self) {
        if let Some(place) = &self.place {
            place.mark_left();
        }
    }

    /// Whether its freshness has been ended before its time.
    pub fn is_soft_purged(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_stale)
    }

    /// Whether it must not be used again.
    pub fn is_gone(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_gone)
    }

    /// The number of the last pattern that it has been tested against.
    pub fn tested(&self) -> u64 {
        self.tested.load(Ordering::Acquire)
    }

    /// Notes that it has been tested against all patterns up to this number.
    pub fn set_tested(&self, number: u64) {
        self.tested.fetch_max(number, Ordering::AcqRel);
    }

    /// Notes a failed refresh: the origin is left alone for `base`, doubled with
    /// each further failure up to 32 times as long. Failures of requests that
    /// were under way together count as one.
    pub fn refresh_failed(&self, now: Wall, base: Duration) {
        if now.millis() < self.refresh_not_before.load(Ordering::Acquire) {
            return;
        }
        let failures = self.refresh_failures.fetch_add(1, Ordering::Relaxed).min(5);
        let until = now.plus(base.saturating_mul(1 << failures));
        self.refresh_not_before.store(until.millis(), Ordering::Release);
    }

    /// Notes that a refresh is under way and late: until it comes to something, and for
    /// `patience` at most, nobody else waits for it.
    pub fn refresh_is_late(&self, now: Wall, patience: Duration) {
        self.late_until.store(now.plus(patience).millis(), Ordering::Release);
    }

    /// Notes that a refresh has come to something, whatever that is.
    pub fn refresh_has_come(&self) {
        self.late_until.store(0, Ordering::Release);
    }

    /// How many refreshes have failed since it was stored.
    pub fn failed_refreshes(&self) -> u32 {
        self.refresh_failures.load(Ordering::Relaxed)
    }

    /// Whether the origin may be asked about it again.
    pub fn may_refresh(&self, now: Wall) -> bool {
        let until = self.refresh_not_before.load(Ordering::Acquire);
        now.millis() >= until.max(self.late_until.load(Ordering::Acquire))
    }

    /// Notes that it was chosen; written once a second. Says whether it was. A clock that was set
    /// back is followed.
    pub fn used(&self, now: Wall) -> bool {
        let now = seconds(now);
        let is_news = self.last_used.load(Ordering::Relaxed) != now;
        if is_news {
            self.last_used.store(now, Ordering::Relaxed);
        }
        is_news
    }

    /// When it was last chosen, in seconds of wall time.
    pub fn last_used(&self) -> u64 {
        u64::from(self.last_used.load(Ordering::Relaxed))
    }

    /// Heap bytes that it holds, its own allocation included.
    pub fn heap_bytes(&self) -> usize {
        allocated(16 + size_of::<Self>())
            + allocated(self.head.fields.heap_bytes())
            + of_vec(self.head.secondary.as_bytes().len())
            + self.body.heap_bytes()
            + self.head.names.heap_bytes()
            + self.place.as_ref().map_or(0, Place::heap_bytes)
            + self.extra.as_ref().map_or(0, |extra| extra.heap_bytes())
    }
}

/// What a boxed vector of so many bytes takes, which is not there where it would be empty.
fn of_vec(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { allocated(size_of::<Vec<u8>>()) + allocated(bytes) }
}

/// Seconds of wall time, for as long as 32 bits last.
fn seconds(now: Wall) -> u32 {
    u32::try_from(now.secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Variants;

    #[test]
    fn use_is_noted_once_a_second_whichever_way_the_clock_goes() {
        let head = Head {
            status: StatusCode::OK,
            fields: Fields::new(),
            secondary: SecondaryKey::default(),
            requested: Wall::default(),
            received: Wall::from_secs(5000),
            initial_age: 0,
            lifetime: Lifetime { seconds: 1, source: crate::rfc::lifetime::Source::MaxAge },
            terms: StaleTerms::default(),
            always_validate: false,
            sequence: 0,
            names: Names::default(),
            site: "s".into(),
            hidden: false,
        };
        let response = StoredResponse::new(Arc::new(head), StoredBody::default(), None);
        let at = |millis| response.used(Wall::from_millis(millis));
        assert_eq!([5_000_000, 5_001_000, 5_001_999, 5_002_000].map(at), [false, true, false, true]);
        assert_eq!([1_000_000, 1_000_001].map(at), [true, false]);
        assert_eq!(response.last_used(), 1000);
    }

    #[test]
    fn a_response_and_its_key_fit_the_sizes_that_the_allocator_has() {
        let (response, variants) = (16 + size_of::<StoredResponse>(), 16 + size_of::<Variants>());
        assert!(response <= 256 && variants <= 64, "{response} and {variants} bytes");
    }
}
