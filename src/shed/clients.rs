//! An allowance for each client: how much it may ask for, by its network.
//!
//! What always holds: what is remembered of clients is bounded, and where there is no
//! room for one more, those that have spent least are forgotten.
//!
//! What it never does: say what is counted; that is up to whoever counts.

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

/// How many leading bits of an address tell clients apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefixes {
    /// Of an IPv4 address, 32 at most.
    pub v4: u32,
    /// Of an IPv6 address, 128 at most.
    pub v6: u32,
}

impl Default for Prefixes {
    fn default() -> Self {
        // One subscriber has one address of IPv4, and a network of IPv6 to itself.
        Prefixes { v4: 32, v6: 64 }
    }
}

impl Prefixes {
    /// The first address of the network that this one counts as.
    pub fn of(self, client: IpAddr) -> IpAddr {
        match client.to_canonical() {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - self.v4.min(32)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - self.v6.min(128)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        }
    }
}

/// What each client may spend.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Allowance {
    /// In the long run.
    pub rate: PerSecond,
    /// At once.
    pub burst: u32,
    /// What counts as one client.
    pub prefixes: Prefixes,
}

/// The most clients that are remembered.
pub const MOST_CLIENTS: usize = 50_000;
/// Where there is no room for one more, room is made for many.
const ENOUGH_CLIENTS: usize = 40_000;

/// What clients have spent.
#[derive(Default, Debug)]
pub struct Clients {
    buckets: HashMap<IpAddr, Bucket>,
}

impl Clients {
    /// Takes one of what the client has left; otherwise says how long until it has one.
    pub fn take(&mut self, client: IpAddr, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        let most = f64::from(allowance.burst.max(1));
        self.forget(allowance.rate, most, now);
        let bucket = self.buckets.entry(allowance.prefixes.of(client)).or_insert(Bucket::full(most, now));
        bucket.take(allowance.rate, most, now)
    }

    /// Takes one of what the client has left, or will have: it has had it already. Its debt
    /// is never larger than what it may spend at once.
    pub fn owe(&mut self, client: IpAddr, allowance: Allowance, now: Instant) {
        if self.take(client, allowance, now).is_err()
            && let Some(bucket) = self.buckets.get_mut(&allowance.prefixes.of(client))
        {
            bucket.tokens = (bucket.tokens - 1.0).max(-f64::from(allowance.burst.max(1)));
        }
    }

    /// Puts one back that the client has not used.
    pub fn give_back(&mut self, client: IpAddr, prefixes: Prefixes) {
        if let Some(bucket) = self.buckets.get_mut(&prefixes.of(client)) {
            bucket.give_back();
        }
    }

    /// How many are remembered; never more than [`MOST_CLIENTS`].
    pub fn remembered(&self) -> usize {
        self.buckets.len()
    }

    /// Makes room: a bucket that is full again says nothing.
    fn forget(&mut self, rate: PerSecond, most: f64, now: Instant) {
        if self.buckets.len() < MOST_CLIENTS {
            return;
        }
        let is_spent = |bucket: &Bucket| {
            bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * rate.0 < most
        };
        self.buckets.retain(|_, bucket| is_spent(bucket));
        if self.buckets.len() > ENOUGH_CLIENTS {
            // Nearly all of them are busy, and to look through them for each one more would
            // take too long. Those who have spent least lose least.
            let mut left: Vec<f64> = self.buckets.values().map(|bucket| bucket.tokens).collect();
            left.sort_by(f64::total_cmp);
            let middle = left[left.len() / 2];
            self.buckets.retain(|_, bucket| bucket.tokens < middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn allowance(burst: u32) -> Allowance {
        Allowance { rate: PerSecond(1.0), burst, prefixes: Prefixes::default() }
    }

    #[test]
    fn a_client_spends_its_own_and_nobody_elses() {
        let now = Instant::now();
        let mut clients = Clients::default();
        let taken = (0..10).filter(|_| clients.take(client(1), allowance(3), now).is_ok()).count();
        assert_eq!(taken, 3);
        assert_eq!(clients.take(client(1), allowance(3), now), Err(Duration::from_secs(1)));
        assert_eq!(clients.take(client(2), allowance(3), now), Ok(()));
        clients.give_back(client(1), Prefixes::default());
        assert_eq!(clients.take(client(1), allowance(3), now), Ok(()));
        assert_eq!(clients.take(client(1), allowance(3), now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_prefix_is_one_client() {
        let prefixes = Prefixes { v4: 24, v6: 64 };
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.200", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8::1", "2001:db8::2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.7", true),
        ] {
            assert_eq!(prefixes.of(address(one)) == prefixes.of(address(other)), same, "{one} {other}");
        }
        let all = Prefixes { v4: 0, v6: 0 };
        assert_eq!(all.of(address("192.0.2.1")), address("0.0.0.0"));
        assert_eq!(all.of(address("2001:db8::1")), address("::"));
        let each = Prefixes { v4: 32, v6: 128 };
        assert_eq!(each.of(address("2001:db8::1")), address("2001:db8::1"));
    }

    #[test]
    fn their_number_is_bounded_and_room_is_made_for_many_at_once() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut clients = Clients::default();
        // One of them has not spent anything any more when there is no room.
        for n in 0..MOST_CLIENTS as u32 {
            let at = if n == 0 { now } else { later };
            assert!(clients.take(client(n), allowance(60), at).is_ok());
        }
        assert_eq!(clients.remembered(), MOST_CLIENTS);
        assert!(clients.take(client(1_000_000), allowance(60), later).is_ok());
        assert!(clients.remembered() <= ENOUGH_CLIENTS + 1, "{}", clients.remembered());
        for n in 0..200_000 {
            let _ = clients.take(client(n), allowance(1), later);
        }
        assert!(clients.remembered() <= MOST_CLIENTS);
    }
}
