//! Who is let through to an origin when there is too much: a rate of misses for each
//! client, and caps on what is under way and on what is buffered.
//!
//! What always holds: only what is not answered from the cache is asked about here, so
//! that a hit costs nothing and is never refused; refreshes in the background are refused
//! before anything that a client waits for; no cap is passed, however many come at once;
//! a [`Place`] is given up when it is dropped, whatever became of its request.
//!
//! What it never does: answer a client, or know what a request is for.

mod clients;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::observe::counters::Counters;
use crate::stored::filling::Budget;

pub use clients::{Allowance, Bucket, Clients, MOST_CLIENTS, PerSecond, Prefixes};

/// Limits of what is not answered from the cache.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// How many misses of each client go to an origin; none where there is no limit.
    pub miss_rate: Option<PerSecond>,
    /// How many of them at once.
    pub miss_burst: u32,
    /// What counts as one client.
    pub prefixes: Prefixes,
    /// The most requests under way that are not answered from the cache, refreshes in
    /// the background included.
    pub max_requests: usize,
    /// Bytes of bodies on their way from origins, from which on no more are begun.
    pub max_buffered: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            miss_rate: None,
            miss_burst: 200,
            prefixes: Prefixes::default(),
            max_requests: 10_000,
            max_buffered: 512 * 1024 * 1024,
        }
    }
}

/// Refreshes in the background are begun up to this part of a cap.
const REFRESH_PERCENT: u64 = 80;

/// What wants to be let through; the later one is dearer to refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errand {
    /// A refresh in the background: somebody has been served already.
    Refresh,
    /// A client waits for a response whose body may be buffered.
    Fetch,
    /// A client waits for a response that is passed through.
    Pass,
}

/// Why something is not let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shed {
    /// The client has missed too often; it may again after so long.
    Rate(Duration),
    /// `max_requests` is reached.
    Requests,
    /// `max_buffered` is reached.
    Bytes,
}

impl Shed {
    /// What it is called in logs and in `Proxy-Status`: the setting that was reached.
    pub fn name(self) -> &'static str {
        match self {
            Shed::Rate(_) => "miss_rate",
            Shed::Requests => "max_requests",
            Shed::Bytes => "max_buffered",
        }
    }
}

/// The door to the origins; cheap to clone.
#[derive(Clone)]
pub struct Door {
    settings: Settings,
    /// What outlives a reload.
    state: Arc<State>,
}

struct State {
    clients: Mutex<Clients>,
    under_way: AtomicUsize,
    budget: Budget,
    counters: Arc<Counters>,
}

/// A place among the requests that are not answered from the cache.
pub struct Place(Arc<State>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.counters.shed_places.down();
    }
}

impl Door {
    /// A door that nobody has passed yet; `budget` knows what bodies on their way hold.
    pub fn new(settings: Settings, budget: Budget, counters: Arc<Counters>) -> Self {
        let clients = Mutex::default();
        Door {
            settings,
            state: Arc::new(State { clients, under_way: AtomicUsize::new(0), budget, counters }),
        }
    }

    /// The same door with other limits.
    pub fn with(&self, settings: Settings) -> Self {
        Door { settings, state: Arc::clone(&self.state) }
    }

    /// A place for this, unless a cap is reached.
    pub fn place(&self, errand: Errand) -> Result<Place, Shed> {
        let place = self.try_place(errand);
        if let Err(why) = &place {
            let counters = &self.state.counters;
            match (errand, why) {
                (Errand::Refresh, _) => counters.shed_refreshes.up(),
                (_, Shed::Bytes) => counters.shed_bytes.up(),
                _ => counters.shed_requests.up(),
            }
        }
        place
    }

    fn try_place(&self, errand: Errand) -> Result<Place, Shed> {
        let part = |cap: u64| match errand {
            Errand::Refresh => {
                u64::try_from(u128::from(cap) * u128::from(REFRESH_PERCENT) / 100).unwrap_or(cap)
            }
            Errand::Fetch | Errand::Pass => cap,
        };
        // A pass holds no body: its client takes it as fast as it can.
        if errand != Errand::Pass && self.state.budget.held() >= part(self.settings.max_buffered) {
            return Err(Shed::Bytes);
        }
        let most = part(self.settings.max_requests as u64);
        let one_more = |under_way: usize| ((under_way as u64) < most).then_some(under_way + 1);
        self.state
            .under_way
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Shed::Requests)?;
        self.state.counters.shed_places.up();
        Ok(Place(Arc::clone(&self.state)))
    }

    /// Bytes of bodies on their way, from which on no more are begun.
    pub fn max_buffered(&self) -> u64 {
        self.settings.max_buffered
    }

    /// Whether bodies on their way hold so much.
    pub fn is_full_of_bytes(&self) -> bool {
        self.state.budget.held() >= self.settings.max_buffered
    }

    /// Counts a miss of this client, unless it has missed too often.
    pub fn charge(&self, client: IpAddr, now: impl FnOnce() -> Instant) -> Result<(), Shed> {
        let Some(rate) = self.settings.miss_rate else { return Ok(()) };
        let now = now();
        let allowance = Allowance { rate, burst: self.settings.miss_burst, prefixes: self.settings.prefixes };
        let mut clients = self.state.clients.lock();
        let charged = clients.take(client, allowance, now);
        self.state.counters.shed_clients.set(clients.remembered() as u64);
        drop(clients);
        charged.map_err(|wait| {
            self.state.counters.shed_rate.up();
            Shed::Rate(wait)
        })
    }

    /// Counts a miss that was not expected to be one, and has been answered.
    pub fn charge_late(&self, client: IpAddr, now: Instant) {
        let Some(rate) = self.settings.miss_rate else { return };
        let allowance = Allowance { rate, burst: self.settings.miss_burst, prefixes: self.settings.prefixes };
        self.state.clients.lock().owe(client, allowance, now);
    }

    /// Takes back a miss of this client that was counted and has cost the origin nothing.
    pub fn give_back(&self, client: IpAddr) {
        if self.settings.miss_rate.is_some() {
            self.state.clients.lock().give_back(client, self.settings.prefixes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(settings: Settings) -> (Door, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (Door::new(settings, Budget::default(), Arc::clone(&counters)), counters)
    }

    #[test]
    fn refreshes_leave_room_for_those_who_wait() {
        let (door, counters) = door(Settings { max_requests: 10, ..Settings::default() });
        let refreshes: Vec<Place> = std::iter::from_fn(|| door.place(Errand::Refresh).ok()).collect();
        assert_eq!(refreshes.len(), 8);
        let fetch = door.place(Errand::Fetch).ok();
        let pass = door.place(Errand::Pass).ok();
        assert!(fetch.is_some() && pass.is_some());
        assert_eq!(door.place(Errand::Fetch).err(), Some(Shed::Requests));
        assert_eq!(door.place(Errand::Pass).err(), Some(Shed::Requests));
        assert_eq!(counters.shed_places.get(), 10);
        assert_eq!((counters.shed_refreshes.get(), counters.shed_requests.get()), (1, 2));
        drop(refreshes);
        assert_eq!(counters.shed_places.get(), 2);
        assert!(door.place(Errand::Fetch).is_ok());
    }

    #[test]
    fn a_smaller_cap_holds_for_whom_is_there_already() {
        let (door, counters) = door(Settings { max_requests: 4, ..Settings::default() });
        let places: Vec<Place> = std::iter::from_fn(|| door.place(Errand::Fetch).ok()).collect();
        let smaller = door.with(Settings { max_requests: 2, ..Settings::default() });
        for (n, place) in places.into_iter().enumerate() {
            assert_eq!(smaller.place(Errand::Fetch).is_ok(), n > 2, "{n} have left");
            drop(place);
        }
        assert_eq!(counters.shed_places.get(), 0);
    }

    #[test]
    fn the_cap_is_not_passed_by_many_at_once() {
        let (door, _) = door(Settings { max_requests: 50, ..Settings::default() });
        let all: Vec<Place> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..40).filter_map(|_| door.place(Errand::Fetch).ok()).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
        });
        assert_eq!(all.len(), 50);
    }

    #[test]
    fn no_client_is_counted_unless_a_rate_is_set() {
        let now = Instant::now();
        let client = IpAddr::from([192, 0, 2, 1]);
        let (door, counters) = door(Settings::default());
        assert!((0..10_000).all(|_| door.charge(client, || now).is_ok()));
        assert_eq!(counters.shed_clients.get(), 0);
        let limited =
            door.with(Settings { miss_rate: Some(PerSecond(1.0)), miss_burst: 2, ..Settings::default() });
        assert_eq!((0..10).filter(|_| limited.charge(client, || now).is_ok()).count(), 2);
        assert_eq!((counters.shed_clients.get(), counters.shed_rate.get()), (1, 8));
    }
}
