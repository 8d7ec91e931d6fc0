//! How much may be asked for that is not known to exist: in all, and by each client.
//!
//! What always holds: keys are counted that nothing is known of, and not requests, so
//! that a client that asks for known pages, or again and again for one, spends nothing; what is remembered of clients is
//! bounded, and where there is no room for one more, those that have not asked for
//! long are forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many, each second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PerSecond(pub f64);

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn full(most: f64, now: Instant) -> Self {
        Bucket { tokens: most, at: now }
    }

    /// Takes one; otherwise says how long until there is one.
    pub fn take(&mut self, rate: PerSecond, most: f64, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * rate.0).min(most);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.tokens) / rate.0.max(1e-6);
        Err(Duration::from_secs_f64(missing.min(3600.0)))
    }

    /// Puts one back that was not used.
    pub fn give_back(&mut self) {
        self.tokens += 1.0;
    }
}

/// Limits of what is not known.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Unknown keys of all clients together.
    pub unknown: PerSecond,
    /// New keys of each client; none where there is no limit.
    pub per_client: Option<PerSecond>,
    /// How many of them a client may ask for at once.
    pub client_burst: u32,
    /// The bits of an IPv6 address that tell clients apart.
    pub v6_prefix: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            unknown: PerSecond(10.0),
            per_client: Some(PerSecond(1.0)),
            client_burst: 60,
            v6_prefix: 64,
        }
    }
}

/// The most clients that are remembered.
const MOST_CLIENTS: usize = 50_000;
/// Where there is no room for one more, room is made for many.
const ENOUGH_CLIENTS: usize = 40_000;

/// Unknown keys may come in bursts of so many seconds' worth.
const UNKNOWN_BURST: f64 = 2.0;

/// The budgets of a node.
#[derive(Debug)]
pub struct Budgets {
    settings: Settings,
    unknown: Bucket,
    clients: HashMap<IpAddr, Bucket>,
}

/// Why a new key is not asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spent {
    /// The client has asked for too many new keys.
    Client(Duration),
    /// All clients together have asked for too many unknown keys.
    Unknown(Duration),
}

impl Budgets {
    /// Budgets of which nothing is spent.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let unknown = Bucket::full(most_unknown(&settings), now);
        Budgets { settings, unknown, clients: HashMap::new() }
    }

    /// Other limits from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Whether a client may ask for a key that nothing is known of.
    pub fn spend(&mut self, client: IpAddr, now: Instant) -> Result<(), Spent> {
        let burst = f64::from(self.settings.client_burst.max(1));
        let client = self.prefix(client);
        if let Some(rate) = self.settings.per_client {
            self.forget(rate, burst, now);
            let bucket = self.clients.entry(client).or_insert(Bucket::full(burst, now));
            bucket.take(rate, burst, now).map_err(Spent::Client)?;
        }
        let most = most_unknown(&self.settings);
        self.unknown.take(self.settings.unknown, most, now).map_err(|wait| {
            // What was not asked for is not the client's.
            if let Some(bucket) = self.clients.get_mut(&client) {
                bucket.give_back();
            }
            Spent::Unknown(wait)
        })
    }

    fn prefix(&self, client: IpAddr) -> IpAddr {
        match client.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => {
                let bits = self.settings.v6_prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        }
    }

    /// Makes room: a bucket that is full again says nothing.
    fn forget(&mut self, rate: PerSecond, burst: f64, now: Instant) {
        if self.clients.len() < MOST_CLIENTS {
            return;
        }
        let is_spent = |bucket: &Bucket| {
            bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * rate.0 < burst
        };
        self.clients.retain(|_, bucket| is_spent(bucket));
        if self.clients.len() > ENOUGH_CLIENTS {
            // Nearly all of them are busy, and to look through them for each one more would
            // take too long. Those who have spent least lose least.
            let mut left: Vec<f64> = self.clients.values().map(|bucket| bucket.tokens).collect();
            left.sort_by(f64::total_cmp);
            let middle = left[left.len() / 2];
            self.clients.retain(|_, bucket| bucket.tokens < middle);
        }
    }
}

fn most_unknown(settings: &Settings) -> f64 {
    (settings.unknown.0 * UNKNOWN_BURST).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_client_that_scans_is_stopped_and_the_others_are_not() {
        let now = Instant::now();
        let unknown = PerSecond(1000.0);
        let mut budgets = Budgets::new(Settings { unknown, ..Settings::default() }, now);
        let asked = (0..1000).filter(|_| budgets.spend(client(1), now).is_ok()).count();
        assert_eq!(asked, 60);
        assert!(matches!(budgets.spend(client(1), now), Err(Spent::Client(_))));
        assert_eq!(budgets.spend(client(2), now), Ok(()));
        assert_eq!(budgets.spend(client(1), now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn there_is_a_budget_for_all_that_costs_no_client_its_own() {
        let now = Instant::now();
        let mut budgets = Budgets::new(Settings::default(), now);
        let asked = (0..1000).filter(|n| budgets.spend(client(*n), now).is_ok()).count();
        assert_eq!(asked, 20);
        for _ in 0..100 {
            assert!(matches!(budgets.spend(client(5000), now), Err(Spent::Unknown(_))));
        }
        assert_eq!(budgets.spend(client(5000), now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_their_number_is_bounded() {
        let now = Instant::now();
        let settings = Settings { client_burst: 1, unknown: PerSecond(1e9), ..Settings::default() };
        let mut budgets = Budgets::new(settings, now);
        let v6 = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(budgets.spend(v6("2001:db8::1"), now).is_ok());
        assert!(budgets.spend(v6("2001:db8::2"), now).is_err());
        assert!(budgets.spend(v6("2001:db8:0:1::1"), now).is_ok());
        for n in 0..200_000 {
            let _ = budgets.spend(client(n), now);
        }
        assert!(budgets.clients.len() <= MOST_CLIENTS);
    }

    #[test]
    fn room_is_made_for_many_at_once() {
        let now = Instant::now();
        let settings = Settings { unknown: PerSecond(1e9), ..Settings::default() };
        let mut budgets = Budgets::new(settings, now);
        let later = now + Duration::from_secs(1);
        // One of them has not spent anything any more when there is no room.
        for n in 0..MOST_CLIENTS as u32 {
            let at = if n == 0 { now } else { later };
            assert!(budgets.spend(client(n), at).is_ok());
        }
        assert!(budgets.spend(client(1_000_000), later).is_ok());
        assert!(budgets.clients.len() <= ENOUGH_CLIENTS + 1, "{}", budgets.clients.len());
    }
}
