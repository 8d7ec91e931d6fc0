//! A circuit breaker: when a server, or an origin, is left alone because requests to it
//! fail, and how it is tried again.
//!
//! Closed, it lets everything through and counts. When within the window so many of at
//! least so many requests have failed it opens, and refuses everything for a while. Then it
//! is half open: a few trials are let through. If all of them are answered it closes; if
//! one fails it opens again, for twice as long.
//!
//! What always holds: what ends after the breaker has changed says nothing any more; what was
//! opened or closed by hand stays so until it is given back. Whoever has a pass tells its end,
//! if only that it is not judged: half open, nobody else is let through before.
//!
//! Pure: it is told the time and what is random.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

/// When it opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// It opens when so many of a hundred requests have failed.
    pub failure_percent: u32,
    /// Within this time.
    pub window: Duration,
    /// Of at least so many requests.
    pub min_requests: u32,
    /// How long it stays open the first time.
    pub open_for: Duration,
    /// How long at most.
    pub max_open: Duration,
    /// How many trials have to be answered.
    pub trials: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            failure_percent: 50,
            window: Duration::from_secs(10),
            min_requests: 20,
            open_for: Duration::from_secs(5),
            max_open: Duration::from_secs(60),
            trials: 3,
        }
    }
}

/// How a request has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered.
    Success,
    /// The server is to blame.
    Failure,
    /// Nobody knows: the client has left, say.
    Unjudged,
}

/// The right to send one request, to be given back with its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pass {
    generation: u64,
    /// Whether it is a trial.
    pub trial: bool,
}

/// Whether a request may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may.
    Go(Pass),
    /// It may not; until then, if that is known.
    Refused {
        /// When the next trial may be sent.
        until: Option<Instant>,
    },
}

/// What an operator has decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forced {
    /// Nothing is sent.
    Open,
    /// Everything is sent.
    Closed,
}

/// What has become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It has opened, or opened again.
    Opened,
    /// It has closed.
    Closed,
}

/// How it stands, for operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// `closed`, `open` or `half-open`.
    pub state: &'static str,
    /// Whether an operator has decided that.
    pub forced: bool,
    /// Why it is not closed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// For how long it has been so, in milliseconds.
    pub for_ms: u64,
    /// When the next trial is sent, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_trial_ms: Option<u64>,
    /// Requests within the window.
    pub requests: u32,
    /// How many of them failed.
    pub failures: u32,
}

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    window: Window,
    forced: Option<Forced>,
    /// Passes of an earlier one are of no account.
    generation: u64,
    /// For how long it opens the next time.
    next_open: Duration,
    since: Option<Instant>,
    cause: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// Trials that are out, and those that were answered.
    HalfOpen {
        out: u32,
        answered: u32,
    },
}

impl Breaker {
    /// Closed, and nothing is known.
    pub fn new(settings: Settings) -> Self {
        Breaker {
            settings,
            state: State::Closed,
            window: Window::default(),
            forced: None,
            generation: 0,
            next_open: settings.open_for,
            since: None,
            cause: String::new(),
        }
    }

    /// Whether a request would be refused now, and until when. Changes nothing.
    pub fn refuses(&self, now: Instant) -> Option<Option<Instant>> {
        match (self.forced, self.state) {
            (Some(Forced::Open), _) => Some(None),
            (Some(Forced::Closed), _) | (None, State::Closed) => None,
            (None, State::Open { until }) => (now < until).then_some(Some(until)),
            (None, State::HalfOpen { out, answered }) => {
                // The trials end in a moment, as a rule.
                let soon = now + self.settings.max_open.min(Duration::from_secs(1));
                (out + answered >= self.settings.trials.max(1)).then_some(Some(soon))
            }
        }
    }

    /// Whether a request may be sent; a place among the trials is taken then.
    pub fn may(&mut self, now: Instant) -> Verdict {
        if let Some(until) = self.refuses(now) {
            return Verdict::Refused { until };
        }
        let trial = self.forced.is_none() && self.state != State::Closed;
        if trial {
            let (out, answered) = match self.state {
                State::HalfOpen { out, answered } => (out, answered),
                // Its time has come.
                State::Closed | State::Open { .. } => {
                    self.generation += 1;
                    self.since = Some(now);
                    (0, 0)
                }
            };
            self.state = State::HalfOpen { out: out + 1, answered };
        }
        Verdict::Go(Pass { generation: self.generation, trial })
    }

    /// A request that was let through has ended. `random` is between 0 and 1: many
    /// breakers that open together do not try in step.
    pub fn ended(&mut self, pass: Pass, outcome: Outcome, now: Instant, random: f64) -> Option<Change> {
        if pass.generation != self.generation {
            return None;
        }
        match (&mut self.state, outcome) {
            (State::Closed, Outcome::Unjudged) | (State::Open { .. }, _) => None,
            (State::Closed, Outcome::Success) => {
                self.window.count(false, self.settings.window, now);
                None
            }
            (State::Closed, Outcome::Failure) => {
                self.window.count(true, self.settings.window, now);
                self.judge(now, random)
            }
            (State::HalfOpen { out, .. }, Outcome::Unjudged) => {
                *out = out.saturating_sub(1);
                None
            }
            (State::HalfOpen { out, answered, .. }, Outcome::Success) => {
                *out = out.saturating_sub(1);
                *answered += 1;
                (*answered >= self.settings.trials.max(1)).then(|| self.close(now))
            }
            (State::HalfOpen { .. }, Outcome::Failure) => {
                self.next_open = (self.next_open * 2).min(self.settings.max_open);
                "a trial failed".clone_into(&mut self.cause);
                Some(self.open(now, random))
            }
        }
    }

    /// Whether every request within the window has failed, and there was one.
    pub fn only_fails(&self, now: Instant) -> bool {
        let (requests, failures) = self.window.sums(self.settings.window, now);
        failures > 0 && requests == failures
    }

    /// The response to a request that counts as answered has broken off.
    pub fn fault(&mut self, pass: Pass, now: Instant, random: f64) -> Option<Change> {
        if pass.generation != self.generation || self.state != State::Closed {
            return None;
        }
        self.window.fault(self.settings.window, now);
        self.judge(now, random)
    }

    /// What an operator has decided; with none it decides by itself again, and begins
    /// anew.
    pub fn force(&mut self, forced: Option<Forced>, now: Instant) {
        if forced == self.forced {
            return;
        }
        self.forced = forced;
        self.close(now);
    }

    /// What an operator has decided.
    pub fn forced(&self) -> Option<Forced> {
        self.forced
    }

    /// How it stands.
    pub fn view(&self, now: Instant) -> View {
        let (requests, failures) = self.window.sums(self.settings.window, now);
        let (state, cause) = match (self.forced, self.state) {
            (Some(Forced::Open), _) => ("open", Some("it was opened by hand".to_owned())),
            (Some(Forced::Closed), _) => ("closed", Some("it was closed by hand".to_owned())),
            (None, State::Closed) => ("closed", None),
            (None, State::Open { until }) if now < until => ("open", Some(self.cause.clone())),
            (None, State::Open { .. } | State::HalfOpen { .. }) => ("half-open", Some(self.cause.clone())),
        };
        let next = self.refuses(now).flatten();
        View {
            state,
            forced: self.forced.is_some(),
            cause,
            for_ms: self.since.map_or(0, |since| millis(now.saturating_duration_since(since))),
            next_trial_ms: next.map(|next| millis(next.saturating_duration_since(now))),
            requests,
            failures,
        }
    }

    /// Opens it if too much has failed.
    fn judge(&mut self, now: Instant, random: f64) -> Option<Change> {
        if self.forced.is_some() {
            return None;
        }
        let (requests, failures) = self.window.sums(self.settings.window, now);
        let share = u64::from(failures) * 100;
        if requests < self.settings.min_requests.max(1)
            || share < u64::from(self.settings.failure_percent) * u64::from(requests)
        {
            return None;
        }
        // It was well for long enough to be trusted again.
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.settings.max_open) {
            self.next_open = self.settings.open_for.min(self.settings.max_open);
        }
        self.cause = format!("{failures} of {requests} requests failed within {:?}", self.settings.window);
        Some(self.open(now, random))
    }

    fn open(&mut self, now: Instant, random: f64) -> Change {
        let time = self.next_open.mul_f64(0.9 + random.clamp(0.0, 1.0) / 5.0);
        self.change(State::Open { until: now + time }, now);
        Change::Opened
    }

    fn close(&mut self, now: Instant) -> Change {
        self.change(State::Closed, now);
        Change::Closed
    }

    fn change(&mut self, state: State, now: Instant) {
        self.state = state;
        self.generation += 1;
        self.window = Window::default();
        self.since = Some(now);
    }
}

/// Into how many parts the window is cut: what is older than it goes part by part.
const PARTS: usize = 10;

/// What has happened lately.
#[derive(Clone, Copy, Default, Debug)]
struct Window {
    parts: [Part; PARTS],
    /// When the newest part began, and its place.
    newest: Option<(Instant, usize)>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Part {
    requests: u32,
    failures: u32,
}

impl Window {
    fn count(&mut self, failed: bool, length: Duration, now: Instant) {
        let part = self.part(length, now);
        part.requests = part.requests.saturating_add(1);
        part.failures = part.failures.saturating_add(u32::from(failed));
    }

    /// A request that was counted has failed after all.
    fn fault(&mut self, length: Duration, now: Instant) {
        let part = self.part(length, now);
        part.failures = part.failures.saturating_add(1);
        part.requests = part.requests.max(part.failures);
    }

    /// The part of now; those that are too old are emptied.
    fn part(&mut self, length: Duration, now: Instant) -> &mut Part {
        let step = step(length);
        let (mut began, mut place) = self.newest.unwrap_or((now, 0));
        for _ in 0..PARTS {
            if now.saturating_duration_since(began) < step {
                break;
            }
            began += step;
            place = (place + 1) % PARTS;
            self.parts[place] = Part::default();
        }
        if now.saturating_duration_since(began) >= step {
            began = now;
        }
        self.newest = Some((began, place));
        &mut self.parts[place]
    }

    /// Requests and failures within the window.
    fn sums(&self, length: Duration, now: Instant) -> (u32, u32) {
        let mut window = *self;
        window.part(length, now);
        window.parts.iter().fold((0, 0), |(requests, failures), part| {
            (part.requests.saturating_add(requests), part.failures.saturating_add(failures))
        })
    }
}

fn step(length: Duration) -> Duration {
    (length / PARTS as u32).max(Duration::from_millis(1))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings { min_requests: 4, trials: 2, open_for: SECOND, max_open: 8 * SECOND, ..Settings::default() }
    }

    fn pass(breaker: &mut Breaker, now: Instant) -> Pass {
        match breaker.may(now) {
            Verdict::Go(pass) => pass,
            Verdict::Refused { .. } => panic!("it refuses: {breaker:?}"),
        }
    }

    /// So many requests end like this, one after the other.
    fn end(breaker: &mut Breaker, outcome: Outcome, count: u32, now: Instant) -> Option<Change> {
        let mut last = None;
        for _ in 0..count {
            let pass = pass(breaker, now);
            last = breaker.ended(pass, outcome, now, 0.5);
        }
        last
    }

    #[test]
    fn it_opens_when_half_of_enough_requests_have_failed_and_says_why() {
        let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
        assert_eq!(end(&mut breaker, Outcome::Failure, 3, now), None, "too few to tell");
        assert_eq!(end(&mut breaker, Outcome::Success, 4, now), None);
        assert_eq!(end(&mut breaker, Outcome::Failure, 1, now), Some(Change::Opened), "4 of 8");
        assert_eq!(breaker.may(now), Verdict::Refused { until: Some(now + SECOND) });
        let view = breaker.view(now);
        assert_eq!((view.state, view.next_trial_ms), ("open", Some(1000)));
        assert_eq!(view.cause.as_deref(), Some("4 of 8 requests failed within 10s"));
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let (mut breaker, mut now) = (Breaker::new(settings()), Instant::now());
        end(&mut breaker, Outcome::Failure, 3, now);
        now += 11 * SECOND;
        assert_eq!(end(&mut breaker, Outcome::Failure, 3, now), None);
        assert_eq!((breaker.view(now).requests, breaker.view(now).failures), (3, 3));
        now += 1000 * SECOND;
        assert_eq!(breaker.view(now).requests, 0);
    }

    #[test]
    fn it_is_tried_with_a_few_and_closes_when_all_of_them_are_answered() {
        let (mut breaker, mut now) = (Breaker::new(settings()), Instant::now());
        end(&mut breaker, Outcome::Failure, 4, now);
        now += SECOND;
        let (first, second) = (pass(&mut breaker, now), pass(&mut breaker, now));
        assert!(first.trial && second.trial);
        assert!(breaker.refuses(now).is_some(), "two trials are out");
        assert_eq!(breaker.ended(first, Outcome::Unjudged, now, 0.5), None);
        let third = pass(&mut breaker, now);
        assert_eq!(breaker.ended(second, Outcome::Success, now, 0.5), None);
        assert_eq!(breaker.view(now).state, "half-open");
        assert_eq!(breaker.ended(third, Outcome::Success, now, 0.5), Some(Change::Closed));
        assert!(!pass(&mut breaker, now).trial);
    }

    #[test]
    fn each_trial_that_fails_doubles_the_time_up_to_a_limit_and_a_good_time_forgets_it() {
        let (mut breaker, mut now) = (Breaker::new(settings()), Instant::now());
        end(&mut breaker, Outcome::Failure, 4, now);
        for seconds in [1, 2, 4, 8, 8] {
            assert_eq!(breaker.refuses(now), Some(Some(now + seconds * SECOND)));
            now += seconds * SECOND;
            assert_eq!(end(&mut breaker, Outcome::Failure, 1, now), Some(Change::Opened));
        }
        now += 8 * SECOND;
        assert_eq!(end(&mut breaker, Outcome::Success, 2, now), Some(Change::Closed));
        end(&mut breaker, Outcome::Failure, 4, now);
        assert_eq!(breaker.refuses(now), Some(Some(now + 8 * SECOND)), "it was well for no time");
        now += 8 * SECOND;
        end(&mut breaker, Outcome::Success, 2, now);
        now += 9 * SECOND;
        end(&mut breaker, Outcome::Failure, 4, now);
        assert_eq!(breaker.refuses(now), Some(Some(now + SECOND)));
    }

    #[test]
    fn what_ends_after_a_change_says_nothing() {
        let (mut breaker, mut now) = (Breaker::new(settings()), Instant::now());
        let early = pass(&mut breaker, now);
        end(&mut breaker, Outcome::Failure, 4, now);
        assert_eq!(breaker.ended(early, Outcome::Success, now, 0.5), None);
        now += SECOND;
        assert_eq!(end(&mut breaker, Outcome::Success, 2, now), Some(Change::Closed));
        // However many bodies from before the change break off now.
        for _ in 0..100 {
            assert_eq!(breaker.fault(early, now, 0.5), None);
        }
    }

    #[test]
    fn trials_may_take_longer_than_it_is_ever_open() {
        let (mut breaker, mut now) = (Breaker::new(settings()), Instant::now());
        end(&mut breaker, Outcome::Failure, 4, now);
        now += SECOND;
        let trials = (pass(&mut breaker, now), pass(&mut breaker, now));
        now += 100 * SECOND;
        assert!(breaker.refuses(now).is_some(), "they are out still");
        assert_eq!(breaker.ended(trials.0, Outcome::Success, now, 0.5), None);
        assert_eq!(breaker.ended(trials.1, Outcome::Success, now, 0.5), Some(Change::Closed));
    }

    #[test]
    fn a_response_that_breaks_off_counts_as_a_failure() {
        let (mut breaker, now) = (Breaker::new(settings()), Instant::now());
        let early = pass(&mut breaker, now);
        end(&mut breaker, Outcome::Success, 4, now);
        assert_eq!(breaker.fault(early, now, 0.5), None);
        assert_eq!(breaker.fault(early, now, 0.5), Some(Change::Opened));
        assert_eq!(breaker.fault(early, now, 0.5), None);
    }

    #[test]
    fn what_an_operator_decides_holds_until_it_is_taken_back() {
        let (mut breaker, mut now) = (Breaker::new(settings()), Instant::now());
        breaker.force(Some(Forced::Open), now);
        now += 1000 * SECOND;
        assert_eq!(breaker.may(now), Verdict::Refused { until: None });
        assert_eq!(breaker.view(now).cause.as_deref(), Some("it was opened by hand"));
        breaker.force(Some(Forced::Closed), now);
        assert_eq!(end(&mut breaker, Outcome::Failure, 100, now), None);
        assert_eq!(breaker.view(now).failures, 100, "it counts all the same");
        breaker.force(None, now);
        assert_eq!(breaker.view(now).failures, 0);
        assert_eq!(end(&mut breaker, Outcome::Failure, 4, now), Some(Change::Opened));
    }

    proptest! {
        #[test]
        fn whatever_happens_it_refuses_for_no_longer_than_it_may_and_tries_no_more_than_it_should(
            steps in prop::collection::vec((0..4u8, 0..3000u64, 0.0..1.0f64), 1..200)
        ) {
            let settings = settings();
            let (mut breaker, mut now) = (Breaker::new(settings), Instant::now());
            let mut out: Vec<(Pass, Instant)> = Vec::new();
            for (step, ms, random) in steps {
                now += Duration::from_millis(ms);
                match (step, breaker.refuses(now)) {
                    (0, refused) => match (breaker.may(now), refused) {
                        (Verdict::Go(pass), None) => out.push((pass, now)),
                        (Verdict::Refused { until }, Some(same)) => {
                            prop_assert_eq!(until, same);
                            let until = until.expect("nobody has forced it");
                            prop_assert!(until > now && until <= now + settings.max_open.mul_f64(1.1));
                        }
                        (verdict, refused) => prop_assert!(false, "{:?} and {:?}", verdict, refused),
                    },
                    (step, _) if !out.is_empty() => {
                        let outcome = [Outcome::Success, Outcome::Failure, Outcome::Unjudged][step as usize - 1];
                        let (pass, _) = out.remove(0);
                        breaker.ended(pass, outcome, now, random);
                    }
                    _ => {}
                }
                let trials = out.iter().filter(|(pass, _)| pass.trial && pass.generation == breaker.generation);
                prop_assert!(trials.count() <= settings.trials as usize);
                let view = breaker.view(now);
                prop_assert!(view.failures <= view.requests);
            }
        }
    }
}
