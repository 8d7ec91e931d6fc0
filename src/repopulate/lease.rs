//! Leases: who has been asked for what, and what is left alone for a while.
//!
//! The first miss of a key takes a lease and is told to the origin's side; as long as
//! the lease lives further misses are only counted. Their number goes along when the
//! lease is renewed, so that what many clients want comes first. What cannot be got,
//! or may not be kept, is *held down*: for a time that doubles with each failure
//! nobody is asked for it.
//!
//! What always holds: one event a key while its lease lives, but for renewals, which
//! come no oftener than [`Settings::renew_after`]; every lease ends, be it filled or
//! not; there are never more than [`Settings::max`], and where there is no room for
//! one more, one that is over makes way, or the miss is refused.
//!
//! What it never does: read the clock, publish, or wait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limits and times of leases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a lease lives unless it is filled.
    pub duration: Duration,
    /// How soon a lease is renewed that very many clients wait for.
    pub renew_after: Duration,
    /// The most leases, those that hold a key down included.
    pub max: usize,
    /// How long a key is held down at first.
    pub hold_down: Duration,
    /// How long at most.
    pub max_hold_down: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            duration: Duration::from_secs(10),
            renew_after: Duration::from_secs(1),
            max: 100_000,
            hold_down: Duration::from_secs(5),
            max_hold_down: Duration::from_secs(600),
        }
    }
}

/// A lease is renewed before its time when so many times more clients have missed
/// than it was told with. So the number of its renewals grows with the logarithm of
/// that of its misses, and what many clients want is known as such within a second.
const GROWTH: u64 = 2;

/// How many leases are looked at for one that is over.
const MOST_LOOKED_AT: usize = 64;

/// What a miss leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is to be told.
    Tell {
        /// How many misses there were since this was last told, this one included.
        misses: u64,
        /// Whether a lease of this key lived already.
        renewal: bool,
    },
    /// It has been told; its lease lives for so long.
    Leased(Duration),
    /// Nobody is asked for it for so long.
    HeldDown(Unfillable, Duration),
    /// There are too many leases.
    Full,
}

/// Why a key cannot be filled for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfillable {
    /// The response may not be stored, for this reason.
    NotStorable(Arc<str>),
    /// The origin could not be asked, or failed, as often as was tried.
    Failed,
}

/// The leases of a node.
#[derive(Debug)]
pub struct Leases {
    settings: Settings,
    by_key: HashMap<u128, Lease>,
    /// Keys in the order in which their leases were last begun or changed; stale
    /// entries are skipped. All of them live for the same time.
    order: VecDeque<(u128, u32)>,
    /// The others by when they can be forgotten: those that have failed, and those that
    /// were put off.
    parked: BTreeSet<(Instant, u128)>,
    /// How long a fill takes as a rule, in milliseconds.
    usual: f64,
}

#[derive(Debug)]
struct Lease {
    state: State,
    /// Misses since it was last told.
    misses: u64,
    /// Misses that it was last told with.
    told_with: u64,
    told_at: Instant,
    /// When somebody first missed it, of those who still wait.
    wanted_since: Instant,
    /// Failures in a row.
    failures: u32,
    /// It was told as something that nobody waits for.
    idle: bool,
    /// Changes whenever its place in `order` does.
    turn: u32,
    /// Its place in `parked`.
    parked: Option<Instant>,
}

#[derive(Clone, Debug)]
enum State {
    Asked { until: Instant },
    HeldDown { why: Unfillable, until: Instant },
}

impl Leases {
    /// No leases.
    pub fn new(settings: Settings) -> Self {
        Leases {
            settings,
            by_key: HashMap::new(),
            order: VecDeque::new(),
            parked: BTreeSet::new(),
            usual: 1000.0,
        }
    }

    /// Somebody has missed this key.
    pub fn miss(&mut self, key: u128, now: Instant) -> Verdict {
        let Settings { duration, renew_after, .. } = self.settings;
        if let Some(lease) = self.by_key.get_mut(&key) {
            let verdict = lease.next(now, renew_after);
            lease.misses += 1;
            let Verdict::Tell { renewal, .. } = verdict else { return verdict };
            if !renewal {
                lease.wanted_since = now;
            }
            return self.tell(key, now + duration, now, renewal);
        }
        if !self.make_room(now) {
            return Verdict::Full;
        }
        let state = State::Asked { until: now + duration };
        let lease = Lease { state, misses: 1, ..Lease::over(now) };
        self.by_key.insert(key, lease);
        self.tell(key, now + duration, now, false)
    }

    /// What one more miss would lead to, of somebody who waits. Whether there is room for one
    /// more lease is not looked at.
    pub fn would(&self, key: u128, now: Instant) -> Verdict {
        match self.by_key.get(&key) {
            Some(lease) if lease.idle && matches!(lease.state, State::Asked { .. }) => {
                Verdict::Tell { misses: lease.misses + 1, renewal: true }
            }
            Some(lease) => lease.next(now, self.settings.renew_after),
            None => Verdict::Tell { misses: 1, renewal: false },
        }
    }

    /// It was told as something that nobody waits for.
    pub fn idle(&mut self, key: u128) {
        if let Some(lease) = self.by_key.get_mut(&key) {
            lease.idle = true;
        }
    }

    /// Somebody waits for it now: where it was told as something that nobody waits for,
    /// the next miss tells it once more.
    pub fn hasten(&mut self, key: u128, now: Instant) {
        if let Some(lease) = self.by_key.get_mut(&key)
            && std::mem::take(&mut lease.idle)
            && let State::Asked { until } = &mut lease.state
        {
            *until = now;
        }
    }

    /// It has been filled. Returns how long it was wanted, if it was.
    pub fn filled(&mut self, key: u128, now: Instant) -> Option<Duration> {
        let lease = self.remove(key)?;
        let took = now.saturating_duration_since(lease.wanted_since);
        if matches!(lease.state, State::Asked { .. }) {
            // What took long counts slowly, so that one straggler frightens nobody.
            self.usual += (took.as_millis() as f64 - self.usual) / 8.0;
        }
        Some(took)
    }

    /// It was given up: it is held down, longer with each time.
    pub fn unfillable(&mut self, key: u128, why: Unfillable, now: Instant) {
        let Settings { hold_down, max_hold_down, .. } = self.settings;
        if !self.by_key.contains_key(&key) && !self.make_room(now) {
            return;
        }
        let lease = self.by_key.entry(key).or_insert(Lease::over(now));
        let time = hold_down.saturating_mul(1 << lease.failures.min(20)).min(max_hold_down);
        lease.failures = lease.failures.saturating_add(1);
        lease.state = State::HeldDown { why, until: now + time };
        lease.misses = 0;
        self.park(key);
    }

    /// Somebody who knows better wants it: what holds it down is over. Its failures count
    /// on.
    pub fn lift(&mut self, key: u128, now: Instant) {
        if let Some(lease) = self.by_key.get_mut(&key)
            && let State::HeldDown { until, .. } = &mut lease.state
        {
            *until = now;
        }
    }

    /// It is tried again after `pause`; until then, and for a lease's time after, it
    /// counts as told.
    pub fn postponed(&mut self, key: u128, pause: Duration, now: Instant) {
        let until = now + pause.min(self.settings.max_hold_down) + self.settings.duration;
        if let Some(lease) = self.by_key.get_mut(&key) {
            lease.state = State::Asked { until };
            lease.told_at = now + pause;
            self.park(key);
        }
    }

    /// It could not be told after all. Its lease lives, so that what has no room is not
    /// tried again at once.
    pub fn untold(&mut self, key: u128) {
        if let Some(lease) = self.by_key.get_mut(&key) {
            lease.misses += lease.told_with;
            lease.told_with = 0;
        }
    }

    /// It is no matter any more, whatever it was: the next miss is told.
    pub fn forget(&mut self, key: u128) {
        self.remove(key);
    }

    /// Ends the leases that are over. Returns how many of them were never filled.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut unfilled = 0;
        while let Some((key, turn)) = self.order.front().copied() {
            match self.by_key.get(&key) {
                Some(lease) if lease.turn == turn => {
                    if now < lease.until() {
                        break;
                    }
                    unfilled += 1;
                    self.by_key.remove(&key);
                }
                _ => {}
            }
            self.order.pop_front();
        }
        while let Some((_, key)) = self.parked.first().copied().filter(|(end, _)| *end <= now) {
            let lease = self.remove(key);
            unfilled += usize::from(lease.is_some_and(|lease| matches!(lease.state, State::Asked { .. })));
        }
        unfilled
    }

    /// How long a client had best wait before it asks again for something that was
    /// told just now.
    pub fn usual(&self) -> Duration {
        Duration::from_millis(self.usual.clamp(1.0, 3_600_000.0) as u64)
    }

    /// Whether there is a lease of this key, or it is held down.
    pub fn knows(&self, key: u128) -> bool {
        self.by_key.contains_key(&key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Since when the key has been wanted that has been wanted for longest, as far as
    /// the oldest leases tell.
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        let asked = self.order.iter().take(64).filter_map(|(key, turn)| {
            let lease = self.by_key.get(key).filter(|lease| lease.turn == *turn)?;
            matches!(lease.state, State::Asked { .. }).then_some(lease.wanted_since)
        });
        let put_off = self.parked.iter().take(64).filter_map(|(_, key)| {
            let lease = self.by_key.get(key)?;
            matches!(lease.state, State::Asked { .. }).then_some(lease.wanted_since)
        });
        asked.chain(put_off).min().map(|since| now.saturating_duration_since(since))
    }

    fn tell(&mut self, key: u128, until: Instant, now: Instant, renewal: bool) -> Verdict {
        let Some(lease) = self.by_key.get_mut(&key) else { return Verdict::Full };
        let misses = lease.misses;
        lease.state = State::Asked { until };
        (lease.told_with, lease.misses, lease.told_at) = (misses, 0, now);
        if lease.failures > 0 {
            self.park(key);
        } else {
            self.requeue(key);
        }
        Verdict::Tell { misses, renewal }
    }

    fn remove(&mut self, key: u128) -> Option<Lease> {
        let lease = self.by_key.remove(&key)?;
        if let Some(end) = lease.parked {
            self.parked.remove(&(end, key));
        }
        Some(lease)
    }

    /// Puts a key where it is found when it can be forgotten: when it is over, and so is
    /// the time in which a further failure would count as one in a row.
    fn park(&mut self, key: u128) {
        let Some(lease) = self.by_key.get_mut(&key) else { return };
        let memory = if lease.failures > 0 { self.settings.max_hold_down } else { Duration::ZERO };
        let end = lease.until() + memory;
        lease.turn = lease.turn.wrapping_add(1);
        if let Some(before) = lease.parked.replace(end) {
            self.parked.remove(&(before, key));
        }
        self.parked.insert((end, key));
    }

    /// Puts a key last in the order of those that may be dropped.
    fn requeue(&mut self, key: u128) {
        if let Some(lease) = self.by_key.get_mut(&key) {
            lease.turn = lease.turn.wrapping_add(1);
            if let Some(before) = lease.parked.take() {
                self.parked.remove(&(before, key));
            }
            self.order.push_back((key, lease.turn));
        }
        // Entries of keys that have moved on or ended are skipped, but not for ever.
        if self.order.len() > 4 * self.settings.max.max(1024) {
            let by_key = &self.by_key;
            self.order.retain(|(key, turn)| by_key.get(key).is_some_and(|lease| lease.turn == *turn));
        }
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.by_key.len() < self.settings.max {
            return true;
        }
        self.expire(now);
        if self.by_key.len() < self.settings.max {
            return true;
        }
        // One that is over makes way, even if its failures are forgotten with it. All
        // failures are remembered for equally long, so it is among the first of them.
        let over = self.parked.iter().take(MOST_LOOKED_AT).find_map(|(_, key)| {
            let lease = self.by_key.get(key)?;
            (lease.until() <= now).then_some(*key)
        });
        over.and_then(|key| self.remove(key)).is_some()
    }
}

impl Lease {
    /// What one more miss leads to.
    fn next(&self, now: Instant, renew_after: Duration) -> Verdict {
        let misses = self.misses + 1;
        match &self.state {
            State::HeldDown { why, until } if now < *until => {
                Verdict::HeldDown(why.clone(), until.duration_since(now))
            }
            State::HeldDown { .. } => Verdict::Tell { misses, renewal: false },
            &State::Asked { until } => {
                let crowded = misses >= self.told_with.saturating_mul(GROWTH)
                    && now.saturating_duration_since(self.told_at) >= renew_after;
                if now < until && !crowded {
                    return Verdict::Leased(until.duration_since(now));
                }
                Verdict::Tell { misses, renewal: true }
            }
        }
    }

    /// One that is over as soon as it has begun.
    fn over(now: Instant) -> Self {
        Lease {
            state: State::Asked { until: now },
            misses: 0,
            told_with: 0,
            told_at: now,
            wanted_since: now,
            failures: 0,
            idle: false,
            turn: 0,
            parked: None,
        }
    }

    fn until(&self) -> Instant {
        match self.state {
            State::Asked { until } | State::HeldDown { until, .. } => until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn one_event_while_a_lease_lives_and_the_misses_with_its_renewal() {
        let (mut leases, start) = (Leases::new(Settings::default()), Instant::now());
        assert_eq!(leases.miss(1, start), Verdict::Tell { misses: 1, renewal: false });
        for _ in 0..5 {
            assert!(matches!(leases.miss(1, start + seconds(1) / 2), Verdict::Leased(_)));
        }
        assert_eq!(leases.miss(1, start + seconds(10)), Verdict::Tell { misses: 6, renewal: true });
        assert_eq!(leases.filled(1, start + seconds(12)), Some(seconds(12)));
        assert_eq!(leases.filled(1, start + seconds(12)), None, "a second fill ends nothing");
        assert!(leases.is_empty());
    }

    #[test]
    fn what_very_many_wait_for_is_told_sooner() {
        let (mut leases, start) = (Leases::new(Settings::default()), Instant::now());
        leases.miss(1, start);
        let told: Vec<u64> = (0..1000)
            .filter_map(|n| match leases.miss(1, start + Duration::from_millis(n * 5)) {
                Verdict::Tell { misses, .. } => Some(misses),
                _ => None,
            })
            .collect();
        assert!((1..=3).contains(&told.len()), "{told:?}");
    }

    #[test]
    fn what_nobody_waited_for_is_told_once_more_when_somebody_does() {
        let (mut leases, now) = (Leases::new(Settings::default()), Instant::now());
        leases.hasten(1, now);
        leases.miss(1, now);
        leases.idle(1);
        assert!(matches!(leases.miss(1, now), Verdict::Leased(_)));
        leases.hasten(1, now);
        assert_eq!(leases.miss(1, now), Verdict::Tell { misses: 2, renewal: true });
        leases.hasten(1, now);
        assert!(matches!(leases.miss(1, now), Verdict::Leased(_)), "once is enough");
    }

    #[test]
    fn what_cannot_be_filled_is_held_down_for_longer_each_time() {
        let (mut leases, start) = (Leases::new(Settings::default()), Instant::now());
        let (mut now, mut times) = (start, Vec::new());
        for _ in 0..9 {
            assert!(matches!(leases.miss(1, now), Verdict::Tell { .. }));
            leases.unfillable(1, Unfillable::Failed, now);
            let Verdict::HeldDown(Unfillable::Failed, time) = leases.miss(1, now) else {
                panic!("held down")
            };
            times.push(time.as_secs());
            now += time;
        }
        assert_eq!(times, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        leases.filled(1, now);
        assert!(matches!(leases.miss(1, now), Verdict::Tell { renewal: false, .. }), "a fill forgives");
    }

    #[test]
    fn whoever_knows_better_has_it_asked_for_at_once() {
        let (mut leases, start) = (Leases::new(Settings::default()), Instant::now());
        leases.miss(1, start);
        leases.unfillable(1, Unfillable::NotStorable("no-store".into()), start);
        assert!(matches!(leases.miss(1, start), Verdict::HeldDown(..)));
        leases.lift(1, start);
        assert!(matches!(leases.miss(1, start), Verdict::Tell { .. }));
        leases.unfillable(1, Unfillable::Failed, start);
        let Verdict::HeldDown(_, left) = leases.miss(1, start) else { panic!("held down") };
        assert_eq!(left, seconds(10), "it failed before");
    }

    #[test]
    fn there_is_a_limit_and_what_is_over_makes_way() {
        let settings = Settings { max: 3, ..Settings::default() };
        let (mut leases, start) = (Leases::new(settings), Instant::now());
        (1..=3).for_each(|key| assert!(matches!(leases.miss(key, start), Verdict::Tell { .. })));
        assert_eq!(leases.miss(4, start), Verdict::Full);
        assert!(matches!(leases.miss(4, start + seconds(10)), Verdict::Tell { .. }));
        assert!(leases.len() <= 3);
    }

    #[test]
    fn one_that_is_held_down_for_long_keeps_no_other() {
        let settings = Settings { max: 3, hold_down: seconds(300), ..Settings::default() };
        let (mut leases, start) = (Leases::new(settings), Instant::now());
        leases.unfillable(1, Unfillable::Failed, start);
        leases.miss(2, start);
        leases.miss(3, start);
        assert_eq!(leases.expire(start + seconds(10)), 2);
        leases.miss(2, start + seconds(10));
        leases.miss(3, start + seconds(10));
        assert!(matches!(leases.miss(4, start + seconds(20)), Verdict::Tell { .. }));
        // Held down no longer, it is remembered, and makes way before one that lives.
        (5..=6)
            .for_each(|key| assert!(matches!(leases.miss(key, start + seconds(299)), Verdict::Tell { .. })));
        assert_eq!(leases.miss(7, start + seconds(299)), Verdict::Full);
        assert!(matches!(leases.miss(7, start + seconds(300)), Verdict::Tell { .. }));
        assert!(leases.parked.is_empty() && leases.len() == 3);
    }

    #[test]
    fn every_lease_ends() {
        let (mut leases, start) = (Leases::new(Settings::default()), Instant::now());
        (0..100).for_each(|key| drop(leases.miss(key, start)));
        leases.unfillable(7, Unfillable::NotStorable("no-store".into()), start);
        leases.postponed(8, seconds(30), start);
        assert_eq!(leases.expire(start + seconds(9)), 0);
        assert_eq!(leases.expire(start + seconds(1000)), 99);
        assert!(leases.is_empty() && leases.order.is_empty() && leases.parked.is_empty());
    }

    #[test]
    fn a_postponed_key_is_not_told_again_before_its_time() {
        let (mut leases, start) = (Leases::new(Settings::default()), Instant::now());
        leases.miss(1, start);
        leases.postponed(1, seconds(60), start);
        (1..1000).for_each(|_| assert!(matches!(leases.miss(1, start + seconds(50)), Verdict::Leased(_))));
        assert!(matches!(leases.miss(1, start + seconds(70)), Verdict::Tell { renewal: true, .. }));
    }
}
