//! Flights: the fetches under way that others may join, by cache key.
//!
//! The first request for a key *leads*: it begins a flight. Later ones *follow*:
//! they wait for its head. A flight lands once: with a response to share, with
//! the news that there is nothing to share, or with a failure.
//!
//! A flight is carried on by its leader for as long as that waits for it, and by a task
//! afterwards.
//!
//! What always holds: an entry is a lease with a deadline and not a flag; it goes
//! with the flight itself, however that ends, and a flight past its deadline
//! is replaced by the next leader. Whoever leads has looked into the store again
//! under the entry's lock. Nobody joins a flight that began before an
//! invalidation that it came after itself.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::Context;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Failed;
use super::fly::Flowing;
use crate::observe::counters::Counters;
use crate::shed::Place;
use crate::store::Store;
use crate::stored::filling::Seats;
use crate::stored::key::AlreadyHashed;
use crate::stored::{CacheKey, Head, StoredResponse, Variants};

/// The flights of a node.
pub struct Flights {
    by_key: DashMap<FlightKey, Arc<Flight>, BuildHasherDefault<AlreadyHashed>>,
    /// Leases that are out, those of flights that nobody can join included.
    open: AtomicUsize,
    counters: Arc<Counters>,
}

/// Which requests may share a flight: those for one cache key that, as far as is
/// known, select the same variant, and want the same of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlightKey {
    /// The cache key's hash.
    pub key: u128,
    /// Which of the flights for it.
    pub lane: Lane,
}

impl Hash for FlightKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // All three are hashes already. Clients choose what the last two are of, but not by
        // what they are multiplied.
        let [a, b] = *FACTORS;
        let Lane { secondary, part } = self.lane;
        let folded = |hash: u64, factor: u64| {
            let product = u128::from(hash) * u128::from(factor);
            (product ^ (product >> 64)) as u64
        };
        state.write_u64(self.key as u64 ^ folded(secondary, a) ^ folded(part, b));
    }
}

/// Odd, and others in each process.
static FACTORS: LazyLock<[u64; 2]> = LazyLock::new(|| [fastrand::u64(..) | 1, fastrand::u64(..) | 1]);

/// Which of the flights for a cache key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lane {
    /// The secondary key's hash; zero as long as no `Vary` is known.
    pub secondary: u64,
    /// The hash of the range that is asked for; zero for the whole, and as long as it is not
    /// known whether there are parts to be had.
    pub part: u64,
}

/// A fetch under way.
pub struct Flight {
    landing: OnceLock<Landing>,
    /// Told when it lands.
    landed: Notify,
    /// The last invalidation before it began.
    pub sequence: u64,
    /// When it counts as lost.
    deadline: Instant,
    /// Those who wait for the landing, or have landed and have no reader yet.
    seats: Arc<Seats>,
    /// The cache key as text: hashes may collide.
    key: Arc<str>,
}

/// How a flight has landed.
#[derive(Clone)]
pub enum Landing {
    /// With a response whose body is on its way.
    Flowing {
        /// The response.
        response: Arc<Flowing>,
        /// Whether the followers may use it, or only its leader.
        shared: bool,
    },
    /// The stored response is still right, and fresh again.
    Freshened {
        /// The response.
        response: Arc<StoredResponse>,
        /// Whether the followers may use it: not where the 304 was for its client alone.
        shared: bool,
        /// Whether it is stored.
        kept: bool,
    },
    /// There is nothing to share.
    Nothing {
        /// Whether that is due to the leader's request alone.
        only_this_request: bool,
        /// The status, where the origin has failed.
        failure: Option<StatusCode>,
    },
    /// There is no response.
    Failed(Failed),
}

/// What became of a request that wants to join.
pub enum Joined {
    /// It leads a flight of its own.
    Lead(Lease),
    /// It follows one.
    Follow(Follower),
    /// The store has changed since the request looked into it.
    LookAgain,
    /// A limit has been reached.
    Full,
}

/// The leader's hold on its flight; dropping it ends the flight.
pub struct Lease {
    flights: Arc<Flights>,
    key: Option<FlightKey>,
    flight: Arc<Flight>,
    /// Of the request that it began with, among those that are let through.
    place: Option<Arc<Place>>,
}

/// A seat in a flight.
pub struct Follower {
    flight: Arc<Flight>,
}

/// A flight that its leader carries on for as long as it waits itself. Whenever it stops, be
/// it that its client has left, a task goes on: nobody owns a flight.
pub(super) struct Carried<F: Future<Output = ()> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output = ()> + Send + 'static> Carried<F> {
    pub fn new(flight: Pin<Box<F>>) -> Self {
        Carried(Some(flight))
    }

    /// Moves it on.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        // One that panics is gone, and not polled once more.
        if let Some(mut flight) = self.0.take()
            && flight.as_mut().poll(cx).is_pending()
        {
            self.0 = Some(flight);
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Drop for Carried<F> {
    fn drop(&mut self) {
        // Without a runtime the program is about to end.
        if let Some(flight) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(flight);
        }
    }
}

/// The limits that hold for joining.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most flights.
    pub flights: usize,
    /// The most followers of one.
    pub followers: usize,
    /// How long a flight may take in all before it counts as lost.
    pub patience: Duration,
}

impl Flights {
    /// No flights.
    pub fn new(counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Flights { by_key: DashMap::default(), open: AtomicUsize::new(0), counters })
    }

    /// Leads or follows. `seen` is what the request found in the store; `usable`
    /// says whether a response on its way may answer others as well.
    pub fn join(
        self: &Arc<Self>,
        key: &CacheKey,
        lane: Lane,
        seen: Option<&Arc<Variants>>,
        store: &Store,
        limits: Limits,
        usable: impl Fn(&Flowing) -> bool,
    ) -> Joined {
        let flight_key = FlightKey { key: key.hash, lane };
        // Noted before the store is looked into once more, so that whatever is
        // invalidated in between counts as later.
        let sequence = store.sequence();
        match self.by_key.entry(flight_key) {
            Entry::Occupied(mut entry) => {
                let flight = entry.get();
                let outdated =
                    |head: Option<&Head>| store.invalidated_since(key, head, flight.sequence).is_some();
                let (over, outdated) = match flight.landing.get() {
                    None => (Instant::now() >= flight.deadline, outdated(None)),
                    Some(Landing::Flowing { response, shared }) => {
                        (!shared || !usable(response), outdated(Some(&response.head)))
                    }
                    Some(Landing::Freshened { response, .. }) => (false, outdated(Some(&response.head))),
                    Some(_) => (false, outdated(None)),
                };
                if over || outdated || *flight.key != *key.text {
                    if changed(store, key, seen) {
                        return Joined::LookAgain;
                    }
                    if self.is_full(limits) {
                        return Joined::Full;
                    }
                    let lease = self.lease(Some(flight_key), key, sequence, limits.patience);
                    entry.insert(Arc::clone(&lease.flight));
                    return Joined::Lead(lease);
                }
                if flight.seats.take() >= limits.followers {
                    flight.seats.give_up();
                    self.counters.collapse_full.up();
                    return Joined::Full;
                }
                Joined::Follow(Follower { flight: Arc::clone(flight) })
            }
            Entry::Vacant(entry) => {
                if changed(store, key, seen) {
                    return Joined::LookAgain;
                }
                if self.is_full(limits) {
                    return Joined::Full;
                }
                let lease = self.lease(Some(flight_key), key, sequence, limits.patience);
                entry.insert(Arc::clone(&lease.flight));
                Joined::Lead(lease)
            }
        }
    }

    /// Whether there is a flight for this key that can still be joined, as far as can be
    /// told without its lock being kept.
    pub fn is_joinable(&self, key: &CacheKey, lane: Lane) -> bool {
        let flight_key = FlightKey { key: key.hash, lane };
        self.by_key.get(&flight_key).is_some_and(|flight| *flight.key == *key.text)
    }

    /// How many flights there are for this key, whichever their lanes. Looks at all flights.
    pub fn under_way(&self, key: &CacheKey) -> usize {
        self.by_key.iter().filter(|flight| flight.key().key == key.hash && *flight.key == *key.text).count()
    }

    /// What is on its way in this lane for all who want it, if its head has come.
    pub fn on_its_way(&self, key: &CacheKey, lane: Lane) -> Option<Arc<Flowing>> {
        let flight = self.by_key.get(&FlightKey { key: key.hash, lane })?;
        match flight.landing.get() {
            Some(Landing::Flowing { response, shared: true }) => Some(Arc::clone(response)),
            _ => None,
        }
    }

    /// A flight that nobody can join, unless there are too many flights already.
    pub fn alone(self: &Arc<Self>, key: &CacheKey, store: &Store, limits: Limits) -> Option<Lease> {
        if self.is_full(limits) {
            return None;
        }
        Some(self.lease(None, key, store.sequence(), limits.patience))
    }

    /// Whether no flight may begin. Those that begin at the same moment may pass
    /// the limit by as many as there are threads.
    fn is_full(&self, limits: Limits) -> bool {
        let full = self.open.load(Ordering::Relaxed) >= limits.flights;
        if full {
            self.counters.collapse_full.up();
        }
        full
    }

    fn lease(
        self: &Arc<Self>,
        flight_key: Option<FlightKey>,
        key: &CacheKey,
        sequence: u64,
        patience: Duration,
    ) -> Lease {
        let flight = Arc::new(Flight {
            landing: OnceLock::new(),
            landed: Notify::new(),
            sequence,
            deadline: Instant::now() + patience,
            seats: Arc::default(),
            key: Arc::clone(&key.text),
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        self.counters.flights_open.up();
        Lease { flights: Arc::clone(self), key: flight_key, flight, place: None }
    }
}

/// Whether the store holds something else now than what was seen.
fn changed(store: &Store, key: &CacheKey, seen: Option<&Arc<Variants>>) -> bool {
    match (store.find_in_memory(key), seen) {
        (None, None) => false,
        (Some(now), Some(then)) => !Arc::ptr_eq(&now, then),
        _ => true,
    }
}

impl Lease {
    /// The last invalidation before the flight began.
    pub fn sequence(&self) -> u64 {
        self.flight.sequence
    }

    /// The seats of those who have not got a reader yet.
    pub fn seats(&self) -> Arc<Seats> {
        Arc::clone(&self.flight.seats)
    }

    /// Holds the place of the request that it began with, to its end.
    pub fn hold(&mut self, place: Option<Arc<Place>>) {
        self.place = place;
    }

    /// Tells the followers, and from now on those who join. Only the first landing counts.
    pub fn land(&self, landing: Landing) {
        if self.flight.landing.set(landing).is_ok() {
            self.flight.landed.notify_waiters();
        }
    }

    /// The leader's own seat.
    pub fn seat(&self) -> Follower {
        let flight = Arc::clone(&self.flight);
        flight.seats.take();
        Follower { flight }
    }

    /// Has turned out to bring what those in another lane want: the whole, or just a part. The
    /// followers that there are stay; where that lane is taken no more come.
    pub fn change_to(&mut self, part: u64) {
        let Some(key) = self.key.filter(|key| key.lane.part != part) else { return };
        let new = FlightKey { lane: Lane { part, ..key.lane }, ..key };
        let moved = match self.flights.by_key.entry(new) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(&self.flight));
                true
            }
        };
        // It is seen in both for a moment, and never in none.
        self.close();
        self.key = Some(new).filter(|_| moved);
    }

    /// Takes no more followers: later requests begin a flight of their own.
    pub fn close(&mut self) {
        if let Some(key) = self.key.take() {
            self.flights.by_key.remove_if(&key, |_, flight| Arc::ptr_eq(flight, &self.flight));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.close();
        // Unless it has landed already.
        self.land(Landing::Failed(Failed::Lost));
        self.flights.open.fetch_sub(1, Ordering::Relaxed);
        self.flights.counters.flights_open.down();
    }
}

impl Follower {
    /// The last invalidation before the flight began.
    pub fn sequence(&self) -> u64 {
        self.flight.sequence
    }

    /// How the flight has landed, if it has.
    pub fn landed(&self) -> Option<Landing> {
        self.flight.landing.get().cloned()
    }

    /// Waits for the landing. The seat
    /// is kept until the follower is dropped: so long, no byte of a landed body is lost to it.
    pub async fn landing(&self) -> Landing {
        loop {
            // Whoever is told of what happens from here on misses nothing.
            let told = self.flight.landed.notified();
            if let Some(landing) = self.landed() {
                return landing;
            }
            told.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.flight.seats.give_up();
    }
}
