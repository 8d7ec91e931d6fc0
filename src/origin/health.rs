//! What active probes say of a server: how many of the last ones were good.
//!
//! A server begins as if all probes before had been good, so that a start is no outage; one
//! that is dead is found out by live traffic at once, and by its probes after a few.
//!
//! Pure: it is told the time.

use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

/// How probes are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many of the last probes count; at most 64.
    pub window: u32,
    /// How many of these have to be good.
    pub threshold: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { window: 8, threshold: 6 }
    }
}

/// What has become of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Too many probes have failed.
    Sick,
    /// Enough are good again.
    Healthy,
}

/// What is known of a server by its probes.
#[derive(Clone, Debug)]
pub struct Health {
    settings: Settings,
    /// A bit for each of the last probes, the newest the lowest; set for a good one.
    history: u64,
    probes: u64,
    since: Option<Instant>,
    failure: Option<String>,
}

/// The same, for operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// Whether it is well.
    pub healthy: bool,
    /// How many of the last probes were good.
    pub good: u32,
    /// Of how many.
    pub window: u32,
    /// How many have to be.
    pub threshold: u32,
    /// What was wrong with the last one that was not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// For how long it has been so, in milliseconds; since the start where it never changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl Health {
    /// Not probed yet, and taken for well.
    pub fn new(settings: Settings) -> Self {
        Health { settings, history: u64::MAX, probes: 0, since: None, failure: None }
    }

    /// A probe has ended like this.
    pub fn probed(&mut self, result: Result<(), String>, now: Instant) -> Option<Change> {
        let before = self.is_healthy();
        self.probes += 1;
        self.history = self.history << 1 | u64::from(result.is_ok());
        if let Err(why) = result {
            self.failure = Some(why);
        }
        let change = match (before, self.is_healthy()) {
            (true, false) => Change::Sick,
            (false, true) => Change::Healthy,
            (true, true) | (false, false) => return None,
        };
        self.since = Some(now);
        Some(change)
    }

    /// Whether it is well.
    pub fn is_healthy(&self) -> bool {
        self.good() >= self.settings.threshold.min(self.window())
    }

    /// How it stands.
    pub fn view(&self, now: Instant) -> View {
        View {
            healthy: self.is_healthy(),
            good: self.good(),
            window: self.window(),
            threshold: self.settings.threshold.min(self.window()),
            last_failure: self.failure.clone(),
            for_ms: self.since.map(|since| now.saturating_duration_since(since).as_millis() as u64),
        }
    }

    fn window(&self) -> u32 {
        self.settings.window.clamp(1, u64::BITS)
    }

    fn good(&self) -> u32 {
        (self.history << (u64::BITS - self.window())).count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_sick_when_too_few_of_the_last_probes_are_good_and_comes_back_the_same_way() {
        let (mut health, now) = (Health::new(Settings { window: 4, threshold: 3 }), Instant::now());
        assert!(health.is_healthy());
        let bad = || Err("no answer".to_owned());
        assert_eq!(health.probed(bad(), now), None);
        assert_eq!(health.probed(bad(), now), Some(Change::Sick), "two of four");
        assert_eq!(health.probed(Ok(()), now), None);
        assert_eq!(health.probed(Ok(()), now), None);
        assert_eq!(health.probed(Ok(()), now), Some(Change::Healthy));
        let view = health.view(now);
        assert_eq!((view.good, view.window, view.last_failure.as_deref()), (3, 4, Some("no answer")));
    }

    proptest! {
        #[test]
        fn it_is_well_exactly_when_enough_of_the_last_probes_were_good(
            window in 1..=64u32, threshold in 1..=64u32, probes in prop::collection::vec(any::<bool>(), 0..200)
        ) {
            let (mut health, now) = (Health::new(Settings { window, threshold }), Instant::now());
            let mut last = vec![true; window as usize];
            let mut healthy = true;
            for good in probes {
                last.remove(0);
                last.push(good);
                let change = health.probed(if good { Ok(()) } else { Err(String::new()) }, now);
                let count = last.iter().filter(|good| **good).count() as u32;
                let is_healthy = count >= threshold.min(window);
                prop_assert_eq!(health.is_healthy(), is_healthy);
                let expected = (is_healthy != healthy).then_some(if is_healthy { Change::Healthy } else { Change::Sick });
                prop_assert_eq!(change, expected);
                healthy = is_healthy;
            }
        }
    }
}
