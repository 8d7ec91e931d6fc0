//! How many further attempts all requests together may have, so that they do not multiply
//! an outage: a part of the requests, and a few beyond it, without which quiet times would
//! have none.
//!
//! Pure: it is told the time.

use std::time::{Duration, Instant};

/// How many there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// So many for a hundred requests; 0 for none at all.
    pub percent: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { percent: 10 }
    }
}

/// So many a second may be had beyond that, where any may be had.
const AT_LEAST: f64 = 0.5;
/// What is not spent is kept for as long as this.
const KEPT: Duration = Duration::from_secs(10);
/// Further attempts that are kept at most, by what requests have brought.
const MOST: f64 = 100.0;

/// What may be spent on further attempts.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    part: f64,
    /// What requests have brought.
    earned: f64,
    /// What time has brought.
    given: f64,
    latest: Instant,
}

impl RetryBudget {
    /// A few may be had at once.
    pub fn new(settings: Settings, now: Instant) -> Self {
        RetryBudget {
            part: f64::from(settings.percent) / 100.0,
            earned: 0.0,
            given: most_given(),
            latest: now,
        }
    }

    /// A request was sent for the first time.
    pub fn deposit(&mut self) {
        self.earned = (self.earned + self.part).min(MOST);
    }

    /// Whether there may be one more attempt; it is spent then.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        if self.part <= 0.0 {
            return false;
        }
        let passed = now.saturating_duration_since(self.latest);
        self.latest = self.latest.max(now);
        self.given = (self.given + passed.as_secs_f64() * AT_LEAST).min(most_given());
        let purse = if self.earned >= 1.0 { &mut self.earned } else { &mut self.given };
        let enough = *purse >= 1.0;
        if enough {
            *purse -= 1.0;
        }
        enough
    }
}

fn most_given() -> f64 {
    KEPT.as_secs_f64() * AT_LEAST
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tenth_of_the_requests_and_a_few_beyond() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(Settings::default(), now);
        (0..200).for_each(|_| budget.deposit());
        assert_eq!((0..1000).filter(|_| budget.withdraw(now)).count(), 20 + 5);
        let later = now + Duration::from_secs(4);
        assert_eq!((0..1000).filter(|_| budget.withdraw(later)).count(), 2);
    }

    #[test]
    fn none_is_none() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(Settings { percent: 0 }, now);
        budget.deposit();
        assert!(!budget.withdraw(now + Duration::from_secs(3600)));
    }

    proptest! {
        #[test]
        fn never_more_than_requests_and_time_have_brought(
            percent in 0..=100u32, steps in prop::collection::vec((any::<bool>(), 0..500u64), 0..500)
        ) {
            let start = Instant::now();
            let mut budget = RetryBudget::new(Settings { percent }, start);
            let (mut now, mut requests, mut attempts) = (start, 0u32, 0u32);
            for (is_request, ms) in steps {
                now += Duration::from_millis(ms);
                if is_request {
                    requests += 1;
                    budget.deposit();
                } else {
                    attempts += u32::from(budget.withdraw(now));
                }
                let most = f64::from(requests * percent) / 100.0 + (now - start).as_secs_f64() * AT_LEAST + most_given();
                prop_assert!(f64::from(attempts) <= most + 1e-6);
            }
        }
    }
}
