//! What live traffic says of one of several servers: after so many failures in a row it is
//! left alone for a while, as long as enough others are there.
//!
//! It is quicker than the [breaker](super::breaker), which judges by shares of many
//! requests; and unlike it, it spares servers only where others can take their part.
//!
//! Pure: it is told the time.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

/// When a server is left alone, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// After so many failures in a row; 0 for never.
    pub consecutive: u32,
    /// For how long the first time, and so much longer each further time.
    pub eject_for: Duration,
    /// For how long at most.
    pub max_eject_for: Duration,
    /// How many of a hundred servers may be out at once.
    pub max_ejected_percent: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            consecutive: 5,
            eject_for: Duration::from_secs(30),
            max_eject_for: Duration::from_secs(300),
            max_ejected_percent: 50,
        }
    }
}

/// What live traffic says of a server.
#[derive(Clone, Debug)]
pub struct Outlier {
    settings: Settings,
    failures: u32,
    /// How often it was ejected, less one for each quiet time since.
    ejections: u32,
    until: Option<Instant>,
}

/// The same, for operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// Failures in a row.
    pub failures: u32,
    /// For how much longer it is left alone, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_ms: Option<u64>,
}

impl Outlier {
    /// Nothing is known.
    pub fn new(settings: Settings) -> Self {
        Outlier { settings, failures: 0, ejections: 0, until: None }
    }

    /// A request was answered.
    pub fn success(&mut self) {
        self.failures = 0;
    }

    /// A request failed. Says whether the server should be left alone.
    pub fn failure(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.settings.consecutive != 0
            && self.failures >= self.settings.consecutive
            && self.ejected_until(now).is_none()
    }

    /// It is left alone from now on.
    pub fn eject(&mut self, now: Instant) {
        let Settings { eject_for, max_eject_for, .. } = self.settings;
        if let Some(back) = self.until {
            let quiet = now.saturating_duration_since(back).as_millis() / eject_for.as_millis().max(1);
            self.ejections = self.ejections.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX));
        }
        self.ejections = self.ejections.saturating_add(1);
        self.failures = 0;
        self.until = Some(now + eject_for.saturating_mul(self.ejections).min(max_eject_for));
    }

    /// Until when it is left alone.
    pub fn ejected_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// When it has come back, or will have.
    pub fn returned_at(&self) -> Option<Instant> {
        self.until
    }

    /// How it stands.
    pub fn view(&self, now: Instant) -> View {
        let left = self.ejected_until(now).map(|until| until.saturating_duration_since(now));
        View { failures: self.failures, ejected_ms: left.map(|left| left.as_millis() as u64) }
    }
}

/// Whether one more server may be left alone, where so many of so many are.
pub fn may_eject(out: usize, all: usize, settings: &Settings) -> bool {
    let out = out + 1;
    out < all && out * 100 <= all * settings.max_ejected_percent as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_put_a_server_out_and_each_time_for_longer() {
        let (mut outlier, mut now) =
            (Outlier::new(Settings { consecutive: 3, ..Settings::default() }), Instant::now());
        assert!(!outlier.failure(now) && !outlier.failure(now));
        outlier.success();
        assert!(!outlier.failure(now) && !outlier.failure(now));
        assert!(outlier.failure(now));
        for seconds in [30, 60, 90] {
            outlier.eject(now);
            let until = now + Duration::from_secs(seconds);
            assert_eq!(outlier.ejected_until(now), Some(until));
            assert!(!(0..9).any(|_| outlier.failure(now)), "it is out already");
            now = until;
            assert_eq!(outlier.ejected_until(now), None);
            assert_eq!(outlier.returned_at(), Some(now));
        }
        now += Duration::from_secs(65);
        outlier.eject(now);
        assert_eq!(outlier.ejected_until(now), Some(now + Duration::from_secs(60)), "two quiet times");
        for _ in 0..100 {
            outlier.eject(now);
        }
        assert_eq!(outlier.ejected_until(now), Some(now + Duration::from_secs(300)));
    }

    #[test]
    fn never_the_only_one_and_never_more_than_a_part() {
        let settings = Settings::default();
        let most = |all: usize| (0..all).take_while(|out| may_eject(*out, all, &settings)).count();
        assert_eq!([1, 2, 3, 4, 5, 10].map(most), [0, 1, 1, 2, 2, 5]);
        let all_but_one = Settings { max_ejected_percent: 100, ..settings };
        assert!(may_eject(1, 3, &all_but_one) && !may_eject(2, 3, &all_but_one));
        assert!(!may_eject(0, 9, &Settings { max_ejected_percent: 0, ..settings }));
    }

    #[test]
    fn with_none_in_a_row_nobody_is_put_out() {
        let mut outlier = Outlier::new(Settings { consecutive: 0, ..Settings::default() });
        assert!(!(0..1000).any(|_| outlier.failure(Instant::now())));
    }
}
