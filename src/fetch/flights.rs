//! Flights: the fetches under way that others may join, by cache key.
//!
//! The first request for a key *leads*: it begins a flight. Later ones *follow*:
//! they wait for its head. A flight lands once: with a response to share, with
//! the news that there is nothing to share, or with a failure.
//!
//! What always holds: an entry is a lease with a deadline and not a flag; it goes
//! with the flight's own task, however that ends, and a flight past its deadline
//! is replaced by the next leader. Whoever leads has looked into the store again
//! under the entry's lock. Nobody joins a flight that began before an
//! invalidation that it came after itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Failed;
use super::fly::Flowing;
use crate::message::interim::{Interims, Tell};
use crate::observe::counters::Counters;
use crate::store::Store;
use crate::stored::filling::Seats;
use crate::stored::{CacheKey, Head, StoredResponse, Variants};

/// The flights of a node.
pub struct Flights {
    by_key: DashMap<FlightKey, Arc<Flight>>,
    /// Leases that are out, those of flights that nobody can join included.
    open: AtomicUsize,
    counters: Arc<Counters>,
}

/// Which requests may share a flight: those for one cache key that, as far as is
/// known, select the same variant, and want the same of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlightKey {
    /// The cache key's hash.
    pub key: u128,
    /// Which of the flights for it.
    pub lane: Lane,
}

/// Which of the flights for a cache key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Lane {
    /// The secondary key's hash; zero as long as no `Vary` is known.
    pub secondary: u64,
    /// The hash of the range that is asked for; zero for the whole, and as long as it is not
    /// known whether there are parts to be had.
    pub part: u64,
}

/// A fetch under way.
pub struct Flight {
    landing: watch::Sender<Option<Landing>>,
    /// The last invalidation before it began.
    pub sequence: u64,
    /// What has come before the landing, for the leader.
    interims: Interims,
    counters: Arc<Counters>,
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
}

/// A seat in another one's flight.
pub struct Follower {
    flight: Arc<Flight>,
    landing: watch::Receiver<Option<Landing>>,
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
        Arc::new(Flights { by_key: DashMap::new(), open: AtomicUsize::new(0), counters })
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
                let (over, outdated) = match &*flight.landing.borrow() {
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
                let flight = Arc::clone(flight);
                let landing = flight.landing.subscribe();
                Joined::Follow(Follower { flight, landing })
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
        match &*flight.landing.borrow() {
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
            landing: watch::Sender::new(None),
            sequence,
            interims: Interims::default(),
            counters: Arc::clone(&self.counters),
            deadline: Instant::now() + patience,
            seats: Arc::default(),
            key: Arc::clone(&key.text),
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        self.counters.flights_open.up();
        Lease { flights: Arc::clone(self), key: flight_key, flight }
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

    /// Takes interim responses for the leader.
    pub fn tell(&self) -> Tell {
        let flight = Arc::clone(&self.flight);
        Arc::new(move |interim| {
            if flight.interims.add(Arc::new(interim)) {
                flight.landing.send_modify(|_| {});
            } else {
                flight.counters.interim_dropped.up();
            }
        })
    }

    /// Tells the followers, and from now on those who join.
    pub fn land(&self, landing: Landing) {
        self.flight.landing.send_replace(Some(landing));
    }

    /// The leader's own seat.
    pub fn seat(&self) -> Follower {
        let flight = Arc::clone(&self.flight);
        flight.seats.take();
        Follower { landing: flight.landing.subscribe(), flight }
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
        self.flight.landing.send_if_modified(|landing| {
            let lost = landing.is_none();
            if lost {
                *landing = Some(Landing::Failed(Failed::Lost));
            }
            lost
        });
        self.flights.open.fetch_sub(1, Ordering::Relaxed);
        self.flights.counters.flights_open.down();
    }
}

impl Follower {
    /// The last invalidation before the flight began.
    pub fn sequence(&self) -> u64 {
        self.flight.sequence
    }

    /// Waits for the landing; for the leader interim responses are put into `interims`
    /// meanwhile. The seat
    /// is kept until the follower is dropped: so long, no byte of a landed body is lost to it.
    pub async fn landing(&mut self, interims: Option<&Interims>) -> Landing {
        let mut known = 0;
        loop {
            let landing = self.landing.borrow_and_update().clone();
            if let Some(interims) = interims {
                for new in self.flight.interims.since(&mut known) {
                    if !interims.add(new) {
                        self.flight.counters.interim_dropped.up();
                    }
                }
            }
            if let Some(landing) = landing {
                return landing;
            }
            if self.landing.changed().await.is_err() {
                return Landing::Failed(Failed::Lost);
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.flight.seats.give_up();
    }
}
