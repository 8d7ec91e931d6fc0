//! The pacer of one origin: what the origin is asked for next, and when.
//!
//! Whatever is wanted of the origin is offered to its pacer, which merges it by key
//! and releases one piece of work after the other: the better class first, within a
//! class what most clients miss, and of that what came first. It releases at the rate
//! that was agreed with the origin's owner, in requests a second and in requests under
//! way, and more slowly while the origin is strained. It asks nobody itself: it is told
//! how each piece of work has ended.
//!
//! The rate is halved when the origin says 429 or is slow for a while, once a second at
//! most and only for work that was released since; each second without such trouble it
//! rises by a twentieth of the agreed rate. For as long as `Retry-After` says, nothing
//! is released at all. After five failures in a row the pacer stops, for a second at
//! first and for up to a minute; then it releases a single piece of work, a *trial*, and
//! goes on at half the rate when one is answered.
//!
//! What always holds:
//! - Within any span of time there are no more releases than the agreed rate times the
//!   span and a burst of what comes in within 100 ms, or of one, where that is more. A
//!   new pacer begins without a burst, and so does one that had stopped. Work that asked
//!   nobody gives its token back when that is told, and another piece may go instead.
//! - There is never more under way than was agreed. Work of which nothing is heard
//!   counts as lost after [`Settings::lost_after`] and frees its place.
//! - A key waits once, or is under way, and never both.
//! - There are no more than [`Settings::max_waiting`] payloads, those that are over and
//!   not fetched yet among them. Where there is no room, the least wanted of all goes; so
//!   no flood of a class displaces a better one.
//! - Every payload comes back exactly once: merged, dropped, released, or over.
//! - [`Next::Wait`] names a time to come, so a caller that obeys it never spins. A time
//!   that lies before one that was told already counts as that one.
//! - No step takes longer than the logarithm of what waits, but for what comes back.
//!
//! What it never does: read the clock, lock, wait, or release a payload whose time is
//! over.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use waiting::{Waiting, Wanted};

pub use super::event::Class;
use super::rate::{Allowance, STEP, after};
pub use view::{ByClass, Paused, View, Why};

#[cfg(test)]
mod model;
mod view;
mod waiting;

/// After so many failures in a row the origin counts as failing.
const FAILURES: u32 = 5;
/// For so long a failing origin is left alone, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// An origin's `Retry-After` is believed up to here.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Each answer has such a part in the mean latency.
const PART: f64 = 1.0 / 8.0;

/// What was agreed with an origin's owner, and limits.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Requests a second.
    pub rate: f64,
    /// Requests under way; at least one.
    pub concurrency: usize,
    /// The most keys that wait, of all classes.
    pub max_waiting: usize,
    /// The mean latency above which the origin counts as strained; zero: none.
    pub slow: Duration,
    /// After so long without word of it a released piece of work counts as lost.
    pub lost_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            rate: 10.0,
            concurrency: 4,
            max_waiting: 100_000,
            slow: Duration::from_secs(1),
            lost_after: Duration::from_secs(60),
        }
    }
}

/// Something that is wanted of the origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer<T> {
    /// What is merged.
    pub key: u128,
    /// How urgent it is.
    pub class: Class,
    /// How many clients have missed it.
    pub misses: u64,
    /// When it is not wanted any more.
    pub expires: Instant,
    /// What is released in the end.
    pub payload: T,
}

/// What became of an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Offered<T> {
    /// It waits.
    Held,
    /// The same key waits already, and has got its misses, or is under way. This payload
    /// is not needed: of two for a key the one stays whose time is over later, and if
    /// that is the same, the older one.
    Merged(T),
    /// There is no room. This is the least wanted of all, maybe the one just offered.
    Dropped(T),
}

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next<T> {
    /// The origin is to be asked for this, now; then the pacer is to be asked again.
    Release {
        /// Its key, by which its end is told.
        key: u128,
        /// How many clients have missed it by now.
        misses: u64,
        /// The best class in which it was offered.
        class: Class,
        /// What was offered.
        payload: T,
        /// How long it has waited.
        waited: Duration,
    },
    /// Nothing, unless something is offered or ends, until then: either something may
    /// be released, or the time of something is [over](Pacer::expire).
    Wait(Instant),
    /// Nothing waits.
    Idle,
}

/// How a piece of work has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The origin has answered.
    Answered {
        /// After so long.
        latency: Duration,
    },
    /// The origin has said 429.
    TooMany {
        /// It wants to be left alone for so long.
        retry_after: Option<Duration>,
        /// After so long it said so.
        latency: Duration,
    },
    /// The origin is not there, timed out, broke off, or said 5xx.
    Failed {
        /// After so long.
        latency: Duration,
    },
    /// The origin was not asked.
    NotAsked,
    /// Whether it was is not known.
    Unknown,
}

/// The pacer of one origin.
#[derive(Debug)]
pub struct Pacer<T> {
    settings: Settings,
    allowance: Allowance,
    /// The latest time that was told.
    latest: Instant,
    waiting: Waiting<T>,
    /// Those whose time is over, and that have not been fetched.
    over: Vec<T>,
    under_way: HashMap<u128, UnderWay>,
    /// When was there word of what is under way, the oldest first.
    heard: BTreeSet<(Instant, u128)>,
    health: Health,
    /// Until when the origin wants to be left alone.
    rests: Option<Instant>,
    /// The mean latency in seconds.
    mean: f64,
    /// When the rate was last halved.
    halved: Option<Instant>,
}

/// A piece of work that has not ended.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    released: Instant,
    /// When there was word of it last.
    heard: Instant,
    /// Whether it is known that the origin answers.
    answering: bool,
}

/// What is known of the origin.
#[derive(Clone, Copy, Debug)]
enum Health {
    Well {
        /// What was released until then says nothing.
        since: Instant,
        /// Failures in a row.
        failed: u32,
    },
    Failing {
        /// For how long it was left alone.
        pause: Duration,
        /// Until when.
        until: Instant,
        /// The single piece of work by which it is tried.
        trial: Option<u128>,
    },
}

impl<T> Pacer<T> {
    /// Nothing waits, nothing is under way, and the bucket is empty.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Pacer {
            allowance: Allowance::new(settings.rate, now),
            settings,
            latest: now,
            waiting: Waiting::new(),
            over: Vec::new(),
            under_way: HashMap::new(),
            heard: BTreeSet::new(),
            health: Health::Well { since: now, failed: 0 },
            rests: None,
            mean: 0.0,
            halved: None,
        }
    }

    /// Something is wanted.
    pub fn offer(&mut self, offer: Offer<T>, now: Instant) -> Offered<T> {
        let now = self.pass_to(now);
        if self.under_way.contains_key(&offer.key) {
            return Offered::Merged(offer.payload);
        }
        let offer = match self.waiting.merge(offer) {
            Ok(payload) => return Offered::Merged(payload),
            Err(offer) => offer,
        };
        let full = self.waiting.len() + self.over.len() >= self.settings.max_waiting;
        if offer.expires <= now {
            if full {
                return Offered::Dropped(offer.payload);
            }
            self.over.push(offer.payload);
            return Offered::Held;
        }
        if !full {
            self.waiting.push(offer, now);
            return Offered::Held;
        }
        if self.over.is_empty() && !self.waiting.has_less_wanted(&offer) {
            return Offered::Dropped(offer.payload);
        }
        let dropped = self.drop_least();
        self.waiting.push(offer, now);
        dropped.map_or(Offered::Held, Offered::Dropped)
    }

    /// What is to be done next.
    pub fn next(&mut self, now: Instant) -> Next<T> {
        let now = self.pass_to(now);
        let Some(end) = self.waiting.first_end() else { return Next::Idle };
        let ready = self.allowance.ready_at();
        let ready = self.place_free_at().map_or(ready, |free| free.max(ready));
        if ready > now {
            return Next::Wait(ready.min(end));
        }
        let Some(Wanted { offer, since }) = self.waiting.pop_best() else { return Next::Idle };
        let Offer { key, class, misses, payload, .. } = offer;
        self.allowance.take();
        self.under_way.insert(key, UnderWay { released: now, heard: now, answering: false });
        self.heard.insert((now, key));
        if let Health::Failing { trial, .. } = &mut self.health {
            *trial = Some(key);
        }
        Next::Release { key, misses, class, payload, waited: now - since }
    }

    /// The work for this key goes on, and has so long again before it counts as lost.
    pub fn still_under_way(&mut self, key: u128, now: Instant) {
        let now = self.pass_to(now);
        if let Some(work) = self.under_way.get_mut(&key) {
            self.heard.remove(&(work.heard, key));
            self.heard.insert((now, key));
            work.heard = now;
        }
    }

    /// The origin answers for this key, after so long, and goes on doing so: its place stays
    /// taken, and a trial has come to its end.
    pub fn answering(&mut self, key: u128, latency: Duration, now: Instant) {
        self.still_under_way(key, now);
        let Some(work) = self.under_way.get_mut(&key).filter(|work| !work.answering) else { return };
        work.answering = true;
        let released = work.released;
        self.answered(key, latency, released, now);
    }

    /// How the work for this key has ended. Where there is none, or it counts as lost
    /// already, nothing happens.
    pub fn ended(&mut self, key: u128, ended: Ended, now: Instant) {
        let now = self.pass_to(now);
        let Some(UnderWay { released, heard, answering }) = self.under_way.remove(&key) else { return };
        self.heard.remove(&(heard, key));
        if let (Ended::Answered { latency }, false) = (ended, answering) {
            return self.answered(key, latency, released, now);
        }
        let tried = self.end_trial(key);
        match ended {
            Ended::NotAsked => self.allowance.give_back(),
            // Its turn is used up, and says nothing of the origin; or all that it says is known.
            Ended::Unknown | Ended::Answered { .. } => {}
            Ended::TooMany { retry_after, latency } => {
                self.slow_down(latency, released, now);
                if let Some(time) = retry_after {
                    let until = after(now, time.min(LONGEST_REST));
                    self.allowance.rest(until);
                    self.rests = self.rests.max(Some(until));
                }
                // It is there, but this was no answer: it is tried again after as long.
                if tried && let Health::Failing { pause, until, .. } = &mut self.health {
                    *until = after(now, *pause);
                    self.allowance.rest(*until);
                }
            }
            Ended::Failed { latency } => {
                self.allowance.hold(now);
                if latency > self.settings.slow {
                    self.feel(latency, released, now);
                }
                self.failed(tried, released, now);
            }
        }
    }

    /// Those whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        self.pass_to(now);
        std::mem::take(&mut self.over)
    }

    /// From now on these settings hold. Returns those for which there is no room any
    /// more.
    #[must_use]
    pub fn set_settings(&mut self, settings: Settings, now: Instant) -> Vec<T> {
        self.pass_to(now);
        self.allowance.agree(settings.rate);
        self.settings = settings;
        let mut dropped = Vec::new();
        while self.waiting.len() + self.over.len() > self.settings.max_waiting {
            dropped.extend(self.drop_least());
        }
        dropped
    }

    /// The state, for operators.
    pub fn view(&self, now: Instant) -> View {
        let now = now.max(self.latest);
        let mut allowance = self.allowance;
        allowance.fill(now);
        let rests = self.rests.filter(|until| *until > now).map(|until| (until, Why::RetryAfter));
        let failing = match self.health {
            Health::Failing { until, .. } => Some((until, Why::Failing)),
            Health::Well { .. } => None,
        };
        View {
            rate: allowance.rate(),
            agreed_rate: allowance.agreed(),
            under_way: self.under_way.len(),
            concurrency: self.settings.concurrency.max(1),
            waiting: self.waiting.by_class(),
            max_waiting: self.settings.max_waiting,
            oldest_ms: self.waiting.oldest().map(|since| milliseconds(now.saturating_duration_since(since))),
            latency_ms: (self.mean * 1000.0) as u64,
            paused: rests.into_iter().chain(failing).max_by_key(|(until, _)| *until).map(|(until, why)| {
                Paused { why, for_ms: milliseconds(until.saturating_duration_since(now)) }
            }),
        }
    }

    /// Lets time pass: what is lost frees its place, what is over waits no longer, and
    /// tokens come in. Returns the time that counts.
    fn pass_to(&mut self, now: Instant) -> Instant {
        let now = now.max(self.latest);
        self.latest = now;
        while let Some((heard, key)) = self.heard.first().copied()
            && after(heard, self.settings.lost_after) <= now
        {
            self.heard.pop_first();
            self.under_way.remove(&key);
            self.end_trial(key);
        }
        while let Some(over) = self.waiting.pop_over(now) {
            self.over.push(over.offer.payload);
        }
        self.allowance.fill(now);
        now
    }

    /// When there is a place for one more under way at the latest, if there is none now.
    /// Beside a trial there is none.
    fn place_free_at(&self) -> Option<Instant> {
        let lost = |heard: Instant| after(heard, self.settings.lost_after);
        if let Health::Failing { trial: Some(key), .. } = self.health {
            return self.under_way.get(&key).map(|work| lost(work.heard));
        }
        let full = self.under_way.len() >= self.settings.concurrency.max(1);
        self.heard.first().filter(|_| full).map(|(heard, _)| lost(*heard))
    }

    /// Makes room. What is over is wanted least.
    fn drop_least(&mut self) -> Option<T> {
        self.over.pop().or_else(|| self.waiting.pop_least().map(|least| least.offer.payload))
    }

    /// Says whether the work for this key was a trial, which it is no longer.
    fn end_trial(&mut self, key: u128) -> bool {
        match &mut self.health {
            Health::Failing { trial, .. } if *trial == Some(key) => trial.take().is_some(),
            _ => false,
        }
    }

    /// The origin works again.
    fn answered(&mut self, key: u128, latency: Duration, released: Instant, now: Instant) {
        if self.end_trial(key) {
            self.resume(latency, now);
        } else if let Health::Well { since, failed } = &mut self.health
            && released > *since
        {
            *failed = 0;
        }
        self.feel(latency, released, now);
    }

    fn resume(&mut self, latency: Duration, now: Instant) {
        self.health = Health::Well { since: now, failed: 0 };
        self.allowance.halve();
        self.allowance.rest(now);
        self.allowance.hold(after(now, latency.min(self.settings.lost_after)));
        self.halved = Some(now);
    }

    fn failed(&mut self, tried: bool, released: Instant, now: Instant) {
        let pause = match &mut self.health {
            Health::Failing { pause, .. } if tried => (*pause * 2).min(PAUSE.1),
            Health::Well { since, failed } if released > *since => {
                *failed += 1;
                if *failed < FAILURES {
                    return;
                }
                PAUSE.0
            }
            // It was released before the origin began to fail, or to work again.
            _ => return,
        };
        let until = after(now, pause);
        self.health = Health::Failing { pause, until, trial: None };
        self.allowance.rest(until);
    }

    /// Takes a latency into the mean. One of work that was released before the rate was
    /// halved says nothing of how the origin does at this rate; and one alone, however
    /// long, does not make the mean slow.
    fn feel(&mut self, latency: Duration, released: Instant, now: Instant) {
        if self.halved.is_some_and(|halved| released <= halved) {
            return;
        }
        let slow = self.settings.slow;
        self.mean += (latency.min(slow.saturating_mul(2)).as_secs_f64() - self.mean) * PART;
        if latency > slow && self.mean > slow.as_secs_f64() {
            self.slow_down(latency, released, now);
        }
    }

    /// The origin is strained: the rate is halved, once a second at most, and not for
    /// work that was released before. It does not rise until an answer at the new rate
    /// has had its time.
    fn slow_down(&mut self, latency: Duration, released: Instant, now: Instant) {
        self.allowance.hold(after(now, latency.min(self.settings.lost_after)));
        if self.halved.is_none_or(|halved| released > halved && now >= halved + STEP) {
            self.allowance.halve();
            self.halved = Some(now);
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const MS: Duration = Duration::from_millis(1);
    pub const SECOND: Duration = Duration::from_secs(1);
    pub const OK: Ended = Ended::Answered { latency: MS };
    pub const BAD: Ended = Ended::Failed { latency: MS };

    pub fn settings(rate: f64, concurrency: usize, max_waiting: usize) -> Settings {
        Settings { rate, concurrency, max_waiting, slow: 100 * MS, lost_after: 10 * SECOND }
    }

    /// A pacer, and a time that it is told.
    pub struct Run {
        pub pacer: Pacer<u64>,
        pub now: Instant,
        start: Instant,
    }

    impl Run {
        pub fn new(settings: Settings) -> Run {
            let start = Instant::now();
            Run { pacer: Pacer::new(settings, start), now: start, start }
        }

        fn offer(&mut self, key: u128, class: Class, misses: u64) -> Offered<u64> {
            let expires = self.now + 100 * 3600 * SECOND;
            self.pacer.offer(Offer { key, class, misses, expires, payload: key as u64 }, self.now)
        }

        pub fn flood(&mut self, keys: std::ops::Range<u128>) {
            keys.for_each(|key| assert_eq!(self.offer(key, Class::User, 1), Offered::Held));
        }

        /// Waits for the next release, which is due at some time.
        fn released(&mut self) -> u128 {
            loop {
                match self.pacer.next(self.now) {
                    Next::Release { key, .. } => return key,
                    Next::Wait(at) => {
                        assert!(at > self.now);
                        self.now = at;
                    }
                    Next::Idle => panic!("nothing waits"),
                }
            }
        }

        /// The next release ends like this, after no time.
        pub fn one_ends(&mut self, ended: Ended) {
            let key = self.released();
            self.pacer.ended(key, ended, self.now);
        }

        fn view(&self) -> View {
            self.pacer.view(self.now)
        }

        pub fn passed(&self) -> Duration {
            self.now - self.start
        }
    }

    #[test]
    fn the_better_class_goes_first_then_what_most_miss_then_the_oldest() {
        let mut run = Run::new(settings(10.0, 9, 9));
        for (key, class, misses) in [
            (1, Class::Warm, 99),
            (2, Class::Unknown, 1),
            (3, Class::User, 1),
            (4, Class::User, 5),
            (5, Class::User, 1),
            (6, Class::Refresh, 50),
            (7, Class::Unknown, 2),
        ] {
            assert_eq!(run.offer(key, class, misses), Offered::Held);
        }
        // Two more misses, and somebody waits for it now.
        assert_eq!(run.offer(7, Class::User, 2), Offered::Merged(7));
        let order: Vec<u128> = (0..7).map(|_| run.released()).collect();
        assert_eq!(order, [4, 7, 3, 5, 6, 2, 1]);
        assert_eq!(run.passed(), 700 * MS);
        assert_eq!(run.pacer.next(run.now), Next::Idle);
        // What is under way is not asked for again; when it has ended it is.
        assert_eq!(run.offer(7, Class::User, 1), Offered::Merged(7));
        run.pacer.ended(7, OK, run.now);
        assert_eq!(run.offer(7, Class::User, 1), Offered::Held);
    }

    #[test]
    fn of_two_payloads_for_a_key_the_one_stays_whose_time_is_over_later() {
        let mut run = Run::new(settings(1.0, 1, 9));
        let offer = |payload, seconds| Offer {
            key: 1,
            class: Class::User,
            misses: 1,
            expires: run.start + seconds * SECOND,
            payload,
        };
        assert_eq!(run.pacer.offer(offer(1, 3), run.now), Offered::Held);
        assert_eq!(run.pacer.offer(offer(2, 5), run.now), Offered::Merged(1));
        assert_eq!(run.pacer.offer(offer(3, 4), run.now), Offered::Merged(3));
        assert_eq!(run.pacer.offer(offer(4, 5), run.now), Offered::Merged(4));
        assert!(run.pacer.expire(run.start + 4 * SECOND).is_empty());
        assert_eq!(run.pacer.expire(run.start + 5 * SECOND), [2]);
        assert_eq!(run.pacer.next(run.start + 6 * SECOND), Next::Idle);
    }

    #[test]
    fn a_flood_of_a_class_displaces_no_better_one() {
        let mut run = Run::new(settings(1.0, 1, 100));
        for key in 0..60 {
            run.offer(key, if key % 2 == 0 { Class::User } else { Class::Refresh }, 1);
        }
        for key in 1000..100_000 {
            run.offer(key, Class::Unknown, 1 + key as u64 % 7);
        }
        assert_eq!(run.view().waiting, ByClass { user: 30, refresh: 30, unknown: 40, warm: 0 });
        assert_eq!(run.offer(1, Class::Warm, 9), Offered::Merged(1));
        assert_eq!(run.offer(900, Class::Warm, 9), Offered::Dropped(900));
        // The one with the fewest misses makes way, of those the newest; for what nobody
        // wants more, none does.
        let newest = (1000..100_000).filter(|key| key % 7 == 6).nth(39).expect("enough");
        assert_eq!(run.offer(901, Class::Unknown, 1), Offered::Dropped(901));
        assert_eq!(run.offer(902, Class::User, 1), Offered::Dropped(newest));
    }

    #[test]
    fn a_fraction_of_a_request_a_second_comes_without_drift_and_from_an_empty_bucket() {
        let mut run = Run::new(settings(0.2, 1, 1000));
        run.flood(0..700);
        for n in 1..=700 {
            run.one_ends(OK);
            assert_eq!(run.passed(), n * 5 * SECOND);
        }
    }

    #[test]
    fn no_more_are_under_way_than_agreed_and_lost_ones_free_their_places() {
        let mut run = Run::new(settings(1000.0, 3, 9));
        run.flood(0..6);
        for _ in 0..3 {
            run.released();
        }
        let lost = run.start + MS + 10 * SECOND;
        assert_eq!(run.pacer.next(run.now), Next::Wait(lost));
        assert_eq!((run.view().under_way, run.view().waiting.user), (3, 3));
        run.pacer.ended(1, OK, run.now);
        assert_eq!(run.released(), 3);
        assert_eq!(run.released(), 4);
        assert_eq!(run.now, lost);
        // It is late, and changes nothing.
        run.pacer.ended(0, OK, run.now);
        assert_eq!(run.view().under_way, 3);
    }

    #[test]
    fn word_of_work_under_way_gives_it_its_time_again_and_is_no_new_release() {
        let mut run = Run::new(settings(100.0, 1, 9));
        run.flood(0..2);
        assert_eq!(run.released(), 0);
        for _ in 0..10 {
            run.now += 9 * SECOND;
            run.pacer.still_under_way(0, run.now);
            assert!(matches!(run.pacer.next(run.now), Next::Wait(_)));
        }
        run.pacer.still_under_way(7, run.now);
        assert_eq!(run.view().under_way, 1);
        run.now += 10 * SECOND;
        assert_eq!(run.view().under_way, 1, "nobody has looked");
        assert_eq!(run.released(), 1);
    }

    #[test]
    fn a_trial_whose_response_takes_its_time_holds_up_nobody() {
        let mut run = Run::new(settings(100.0, 2, 9));
        run.flood(0..9);
        (0..5).for_each(|_| run.one_ends(BAD));
        let trial = run.released();
        assert!(run.view().paused.is_some());
        run.pacer.answering(trial, MS, run.now);
        assert!(run.view().paused.is_none(), "it answers");
        assert_eq!(run.view().under_way, 1, "and its place is taken");
        let next = run.released();
        run.pacer.ended(trial, OK, run.now);
        run.pacer.ended(next, OK, run.now);
        assert_eq!(run.view().under_way, 0);
    }

    #[test]
    fn work_that_asked_nobody_gives_its_token_back() {
        let mut run = Run::new(settings(1.0, 1, 99));
        run.flood(0..50);
        for _ in 0..40 {
            run.one_ends(Ended::NotAsked);
        }
        assert_eq!(run.passed(), SECOND);
        run.one_ends(OK);
        run.one_ends(OK);
        assert_eq!(run.passed(), 2 * SECOND);
        // Of this it is not known whether it did.
        run.one_ends(Ended::Unknown);
        run.one_ends(OK);
        assert_eq!(run.passed(), 4 * SECOND);
    }

    #[test]
    fn a_429_halves_the_rate_once_a_second_and_it_rises_again() {
        let too_many = Ended::TooMany { retry_after: None, latency: MS };
        let mut run = Run::new(settings(100.0, 99, 10_000));
        run.flood(0..9000);
        run.now += SECOND;
        let early: Vec<u128> = (0..10).map(|_| run.released()).collect();
        for key in &early[..5] {
            run.pacer.ended(*key, too_many, run.now);
        }
        assert_eq!(run.view().rate, 50.0);
        // What was released before that says nothing of this rate, but lets it not rise.
        run.now += SECOND;
        for key in &early[5..] {
            run.pacer.ended(*key, too_many, run.now);
        }
        run.now += SECOND;
        assert_eq!(run.view().rate, 50.0);
        run.one_ends(too_many);
        assert_eq!(run.view().rate, 25.0);
        // Not yet a second later.
        run.one_ends(too_many);
        assert_eq!(run.view().rate, 25.0);
        for _ in 0..1000 {
            run.one_ends(too_many);
        }
        assert_eq!(run.view().rate, 1.5625);
        let recovery = run.now;
        while run.view().rate < 100.0 {
            run.one_ends(OK);
        }
        assert_eq!((run.now - recovery).as_secs(), 20);
        assert_eq!(run.view().agreed_rate, 100.0);
    }

    #[test]
    fn an_origin_that_is_slow_for_a_while_is_asked_less_and_once_is_no_while() {
        let slow = Ended::Answered { latency: 150 * MS };
        let mut run = Run::new(settings(100.0, 99, 10_000));
        run.flood(0..9000);
        run.one_ends(Ended::Answered { latency: 9 * SECOND });
        (0..50).for_each(|_| run.one_ends(OK));
        (0..8).for_each(|_| run.one_ends(slow));
        assert_eq!(run.view().rate, 100.0);
        run.one_ends(slow);
        assert_eq!(run.view().rate, 50.0);
        assert_eq!(run.view().latency_ms, 105);
        for _ in 0..200 {
            run.one_ends(slow);
        }
        assert!(run.view().rate < 20.0, "{:?}", run.view());
    }

    #[test]
    fn retry_after_is_honoured_up_to_ten_minutes_and_followed_by_no_burst() {
        for (asked, rests) in [(7, 7), (100_000, 600)] {
            let mut run = Run::new(settings(100.0, 9, 99));
            run.flood(0..20);
            let (first, second) = (run.released(), run.released());
            let (latency, from) = (MS, run.now);
            let retry_after = Some(asked * SECOND);
            run.pacer.ended(first, Ended::TooMany { retry_after, latency }, run.now);
            run.pacer.ended(second, Ended::TooMany { retry_after: Some(SECOND), latency }, run.now);
            let paused = run.view().paused.expect("a pause");
            assert_eq!(paused, Paused { why: Why::RetryAfter, for_ms: rests * 1000 });
            run.one_ends(OK);
            assert_eq!(run.now - from, rests as u32 * SECOND + 20 * MS);
            run.one_ends(OK);
            assert_eq!(run.now - from, rests as u32 * SECOND + 40 * MS);
            assert_eq!(run.view().paused, None);
        }
    }

    #[test]
    fn a_failing_origin_is_left_alone_then_tried_and_then_asked_less() {
        let mut run = Run::new(settings(100.0, 99, 999));
        run.flood(0..500);
        run.now += SECOND;
        let early: Vec<u128> = (0..9).map(|_| run.released()).collect();
        (0..4).for_each(|_| run.one_ends(BAD));
        run.one_ends(OK);
        (0..4).for_each(|_| run.one_ends(BAD));
        assert_eq!(run.view().paused, None);
        run.one_ends(BAD);
        assert_eq!(run.view().paused, Some(Paused { why: Why::Failing, for_ms: 1000 }));
        run.pacer.ended(early[0], OK, run.now);
        run.pacer.ended(early[1], BAD, run.now);
        assert_eq!(run.view().paused, Some(Paused { why: Why::Failing, for_ms: 1000 }));
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let from = run.now;
            let trial = run.released();
            assert_eq!(run.now - from, pause * SECOND + 10 * MS);
            // One at a time.
            assert!(matches!(run.pacer.next(run.now + SECOND), Next::Wait(_)));
            run.now += SECOND;
            run.pacer.ended(trial, BAD, run.now);
        }
        run.one_ends(Ended::NotAsked);
        run.released();
        // A trial that is lost makes room for another one.
        let from = run.now;
        run.one_ends(OK);
        assert_eq!(run.now - from, 10 * SECOND);
        assert_eq!((run.view().paused, run.view().rate), (None, 50.0));
        let from = run.now;
        (0..5).for_each(|_| run.one_ends(OK));
        assert_eq!(run.now - from, 100 * MS);
    }

    #[test]
    fn failures_of_work_from_before_a_stop_do_not_stop_it_again() {
        let mut run = Run::new(settings(100.0, 99, 999));
        run.flood(0..500);
        run.now += SECOND;
        let early: Vec<u128> = (0..9).map(|_| run.released()).collect();
        (0..5).for_each(|_| run.one_ends(BAD));
        run.one_ends(OK);
        for key in early {
            run.pacer.ended(key, BAD, run.now);
        }
        assert_eq!((run.view().paused, run.view().rate), (None, 50.0));
    }

    #[test]
    fn a_429_for_a_trial_neither_ends_the_stop_nor_lengthens_it() {
        let mut run = Run::new(settings(100.0, 99, 999));
        run.flood(0..500);
        (0..5).for_each(|_| run.one_ends(BAD));
        run.one_ends(Ended::TooMany { retry_after: None, latency: MS });
        assert_eq!(run.view().paused, Some(Paused { why: Why::Failing, for_ms: 1000 }));
        run.one_ends(Ended::TooMany { retry_after: Some(5 * SECOND), latency: MS });
        assert_eq!(run.view().paused, Some(Paused { why: Why::RetryAfter, for_ms: 5000 }));
        run.one_ends(OK);
        assert_eq!(run.view().paused, None);
    }

    #[test]
    fn a_time_that_lies_before_another_gives_nothing() {
        let mut run = Run::new(settings(10.0, 9, 9));
        run.flood(0..9);
        run.now += SECOND;
        run.released();
        let back = run.start.checked_sub(3600 * SECOND).unwrap_or(run.start);
        for _ in 0..9 {
            assert_eq!(run.pacer.next(back), Next::Wait(run.now + 100 * MS));
            assert!(run.pacer.expire(back).is_empty());
            run.pacer.view(back);
        }
        run.pacer.ended(0, BAD, back);
        assert_eq!(run.pacer.next(back), Next::Wait(run.now + 100 * MS));
    }

    #[test]
    fn a_reload_changes_what_holds_and_returns_what_has_no_room() {
        let mut run = Run::new(settings(100.0, 9, 9));
        run.flood(0..9);
        run.now += SECOND;
        let key = run.released();
        run.pacer.ended(key, Ended::TooMany { retry_after: None, latency: MS }, run.now);
        let dropped = run.pacer.set_settings(settings(10.0, 1, 5), run.now);
        assert_eq!(dropped, [8, 7, 6]);
        assert_eq!((run.view().rate, run.view().agreed_rate), (5.0, 10.0));
        // No token is left of those from before but one.
        let from = run.now;
        (0..2).for_each(|_| run.one_ends(OK));
        assert_eq!(run.now - from, 200 * MS);
    }

    #[test]
    fn the_state_is_told_in_words() {
        let mut run = Run::new(settings(0.5, 2, 9));
        run.flood(0..3);
        run.released();
        run.now += SECOND;
        let expected = serde_json::json!({
            "rate": 0.5, "agreed_rate": 0.5, "under_way": 1, "concurrency": 2, "max_waiting": 9,
            "waiting": { "user": 2, "refresh": 0, "unknown": 0, "warm": 0 },
            "oldest_ms": 3000, "latency_ms": 0,
        });
        assert_eq!(serde_json::to_value(run.view()).expect("JSON"), expected);
    }
}
