//! How much may be asked for that is not known to exist: in all, and by each client.
//!
//! What always holds: keys are counted that nothing is known of, and not requests, so
//! that a client that asks for known pages, or again and again for one, spends nothing; what is remembered of clients is
//! bounded, and where there is no room for one more, those that have not asked for
//! long are forgotten.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::shed::{Allowance, Bucket, Clients, PerSecond, Prefixes};

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

/// Unknown keys may come in bursts of so many seconds' worth.
const UNKNOWN_BURST: f64 = 2.0;

/// The budgets of a node.
#[derive(Debug)]
pub struct Budgets {
    settings: Settings,
    unknown: Bucket,
    clients: Clients,
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
        Budgets { settings, unknown, clients: Clients::default() }
    }

    /// Other limits from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Whether a client may ask for a key that nothing is known of.
    pub fn spend(&mut self, client: IpAddr, now: Instant) -> Result<(), Spent> {
        let prefixes = Prefixes { v6: self.settings.v6_prefix, ..Prefixes::default() };
        if let Some(rate) = self.settings.per_client {
            let allowance = Allowance { rate, burst: self.settings.client_burst, prefixes };
            self.clients.take(client, allowance, now).map_err(Spent::Client)?;
        }
        let most = most_unknown(&self.settings);
        self.unknown.take(self.settings.unknown, most, now).map_err(|wait| {
            // What was not asked for is not the client's.
            self.clients.give_back(client, prefixes);
            Spent::Unknown(wait)
        })
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
    fn a_network_of_ipv6_is_one_client() {
        let now = Instant::now();
        let settings = Settings { client_burst: 1, unknown: PerSecond(1e9), ..Settings::default() };
        let mut budgets = Budgets::new(settings, now);
        let v6 = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(budgets.spend(v6("2001:db8::1"), now).is_ok());
        assert!(budgets.spend(v6("2001:db8::2"), now).is_err());
        assert!(budgets.spend(v6("2001:db8:0:1::1"), now).is_ok());
    }
}
