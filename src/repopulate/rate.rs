//! The rate at which an origin is asked: a token bucket whose rate is halved when the
//! origin is strained, and rises again bit by bit to what was agreed.
//!
//! What always holds: a rate is a whole number of billionths of a request a second,
//! time a whole number of nanoseconds, so what the bucket gets is a whole number and
//! nothing is ever rounded; a new bucket is empty; it holds what comes in within
//! [`BURST`], or one token where that is less; no rate is above the agreed one.
//!
//! What it never does: read the clock, or count a moment twice. A time that lies
//! before the one up to which the bucket was filled changes nothing.

use std::time::{Duration, Instant};

/// The bucket holds what comes in within this time.
pub const BURST: Duration = Duration::from_millis(100);
/// How often the rate rises as long as it is below the agreed one.
pub const STEP: Duration = Duration::from_secs(1);
/// It rises by such a part of the agreed rate.
const RISE: u64 = 20;
/// It never falls below such a part of the agreed rate.
const FLOOR: u64 = 64;
/// One token: a request, in billionths of a request a second times nanoseconds.
const TOKEN: u128 = 1_000_000_000_000_000_000;
/// Longer times than a year are taken for a year.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The bucket, and the rate at which it is filled.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// What was agreed.
    agreed: u64,
    /// What holds at the moment.
    rate: u64,
    /// What the bucket holds.
    credit: u128,
    /// Up to when it has been filled; while the origin is left alone, a time to come.
    filled: Instant,
    /// When the rate rises next, if it is below the agreed one.
    rises: Instant,
}

impl Allowance {
    /// An empty bucket, and the agreed rate.
    pub fn new(agreed: f64, now: Instant) -> Self {
        let agreed = billionths(agreed);
        Allowance { agreed, rate: agreed, credit: 0, filled: now, rises: now }
    }

    /// Requests a second at the moment.
    pub fn rate(&self) -> f64 {
        self.rate as f64 / 1e9
    }

    /// What was agreed, in requests a second.
    pub fn agreed(&self) -> f64 {
        self.agreed as f64 / 1e9
    }

    /// Puts into the bucket what has come in until `now`.
    pub fn fill(&mut self, now: Instant) {
        while self.filled < now {
            let rising = self.rate < self.agreed;
            let until = if rising { self.rises.clamp(self.filled, now) } else { now };
            self.credit += u128::from(self.rate) * (until - self.filled).min(FAR).as_nanos();
            self.credit = self.credit.min(self.most());
            self.filled = until;
            if rising && self.rises <= until {
                self.rate = (self.rate + (self.agreed / RISE).max(1)).min(self.agreed);
                self.rises = until + STEP;
            }
        }
    }

    /// When there is a token, or was; the bucket is filled up to now.
    pub fn ready_at(&self) -> Instant {
        let Some(mut missing) = TOKEN.checked_sub(self.credit).filter(|missing| *missing > 0) else {
            return self.filled;
        };
        let (mut rate, mut at, mut rises) = (self.rate, self.filled, self.rises.max(self.filled));
        loop {
            let needed = Duration::from_nanos(missing.div_ceil(u128::from(rate)) as u64).min(FAR);
            if rate >= self.agreed || at + needed <= rises {
                return at + needed;
            }
            missing -= u128::from(rate) * (rises - at).as_nanos();
            at = rises;
            rises += STEP;
            rate = (rate + (self.agreed / RISE).max(1)).min(self.agreed);
        }
    }

    /// Takes a token, of which it is known that it is there.
    pub fn take(&mut self) {
        debug_assert!(self.credit >= TOKEN);
        self.credit = self.credit.saturating_sub(TOKEN);
    }

    /// Puts back a token with which nobody was asked.
    pub fn give_back(&mut self) {
        self.credit = (self.credit + TOKEN).min(self.most());
    }

    /// Halves the rate.
    pub fn halve(&mut self) {
        self.rate = (self.rate / 2).max(self.agreed / FLOOR).max(1);
        self.credit = self.credit.min(self.most());
    }

    /// Does not let the rate rise until a step after this time.
    pub fn hold(&mut self, until: Instant) {
        self.rises = self.rises.max(until + STEP);
    }

    /// Empties the bucket, and lets nothing come in until this time.
    pub fn rest(&mut self, until: Instant) {
        self.credit = 0;
        self.filled = self.filled.max(until);
        self.hold(until);
    }

    /// Another rate has been agreed. One that was lowered keeps its distance.
    pub fn agree(&mut self, agreed: f64) {
        let agreed = billionths(agreed);
        let scaled = u128::from(self.rate) * u128::from(agreed) / u128::from(self.agreed);
        self.rate = u64::try_from(scaled).unwrap_or(agreed).clamp(1, agreed);
        self.agreed = agreed;
        self.credit = self.credit.min(self.most());
    }

    /// The most that the bucket holds.
    fn most(&self) -> u128 {
        TOKEN.max(u128::from(self.rate) * BURST.as_nanos())
    }
}

/// A time, if it is to come within a year; a year from then otherwise.
pub fn after(then: Instant, time: Duration) -> Instant {
    then + time.min(FAR)
}

/// A rate in whole billionths, at least one. What is no number is the least rate.
fn billionths(rate: f64) -> u64 {
    ((rate * 1e9) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes as many tokens as there are until `until`, and says when.
    fn taken(allowance: &mut Allowance, until: Instant) -> Vec<Instant> {
        let mut taken = Vec::new();
        loop {
            let at = allowance.ready_at();
            if at > until {
                return taken;
            }
            allowance.fill(at);
            allowance.take();
            taken.push(at);
        }
    }

    #[test]
    fn a_bucket_begins_empty_and_fills_to_a_tenth_of_a_second_or_one_token() {
        for (rate, at_once) in [(200.0, 20), (10.0, 1), (15.0, 1), (0.2, 1), (f64::NAN, 0), (-1.0, 0)] {
            let start = Instant::now();
            let mut allowance = Allowance::new(rate, start);
            assert!(allowance.ready_at() > start, "{rate}");
            let later = start + 3600 * SECOND;
            allowance.fill(later);
            assert_eq!(taken(&mut allowance, later).len(), at_once, "{rate}");
        }
    }

    #[test]
    fn a_third_of_a_request_a_second_does_not_drift() {
        let start = Instant::now();
        let mut allowance = Allowance::new(1.0 / 3.0, start);
        let taken = taken(&mut allowance, start + 30_000 * SECOND + Duration::from_millis(1));
        assert_eq!(taken.len(), 10_000);
        // The billionths are cut off and not rounded: never more than agreed.
        assert!(taken[9_999] >= start + 30_000 * SECOND);
    }

    #[test]
    fn it_is_halved_down_to_a_floor_and_rises_by_a_twentieth_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new(200.0, start);
        let rates: Vec<f64> = (0..8)
            .map(|_| {
                allowance.halve();
                allowance.rate()
            })
            .collect();
        assert_eq!(rates, [100.0, 50.0, 25.0, 12.5, 6.25, 3.125, 3.125, 3.125]);
        allowance.hold(start);
        allowance.fill(start + SECOND - Duration::from_nanos(1));
        assert_eq!(allowance.rate(), 3.125);
        allowance.fill(start + SECOND);
        assert_eq!(allowance.rate(), 13.125);
        allowance.fill(start + 19 * SECOND);
        assert_eq!(allowance.rate(), 193.125);
        allowance.fill(start + 1000 * SECOND);
        assert_eq!(allowance.rate(), 200.0);
    }

    #[test]
    fn nothing_comes_in_while_the_origin_is_left_alone() {
        let start = Instant::now();
        let mut allowance = Allowance::new(100.0, start);
        allowance.fill(start + SECOND);
        allowance.rest(start + 10 * SECOND);
        allowance.fill(start + 9 * SECOND);
        assert_eq!(allowance.ready_at(), start + 10 * SECOND + Duration::from_millis(10));
        allowance.agree(1000.0);
        assert_eq!(allowance.ready_at(), start + 10 * SECOND + Duration::from_millis(1));
        assert_eq!(allowance.rate(), 1000.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_does_not_matter_how_often_the_bucket_is_filled(
            rate in prop_oneof![0.001..1.0, 1.0..10_000.0f64],
            halved in 0..8usize,
            spans in proptest::collection::vec(0..3_000_000_000u64, 1..40),
        ) {
            let start = Instant::now();
            let mut often = Allowance::new(rate, start);
            (0..halved).for_each(|_| often.halve());
            often.hold(start);
            let mut once = often;
            let mut now = start;
            for span in spans {
                now += Duration::from_nanos(span);
                often.fill(now);
                // An earlier time changes nothing.
                often.fill(now - Duration::from_nanos(span / 2));
            }
            once.fill(now);
            prop_assert_eq!((often.rate, often.credit), (once.rate, once.credit));
            prop_assert_eq!(often.ready_at(), once.ready_at());
        }

        #[test]
        fn a_token_is_there_when_it_was_said_and_not_before(
            rate in prop_oneof![0.001..1.0, 1.0..10_000.0f64],
            halved in 0..8usize,
            held in 0..5_000_000_000u64,
        ) {
            let start = Instant::now();
            let mut allowance = Allowance::new(rate, start);
            (0..halved).for_each(|_| allowance.halve());
            allowance.hold(start + Duration::from_nanos(held));
            for _ in 0..20 {
                let at = allowance.ready_at();
                allowance.fill(at - Duration::from_nanos(1));
                prop_assert!(allowance.credit < TOKEN);
                allowance.fill(at);
                prop_assert!(allowance.credit >= TOKEN);
                allowance.take();
            }
        }
    }
}
