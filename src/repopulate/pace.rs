//! The pacer of an origin at work: reads miss events, and releases them as work at the
//! agreed rate. The judgement is [`Pacer`]'s; here are the queues and the time.
//!
//! What always holds: an event is acknowledged when it has been released, merged into
//! one that waits, or is of no more use, and not before; so a pacer that ends loses
//! none, and whoever takes over begins with them.
//!
//! What the origin sees beyond what was agreed: work that comes again, because its worker
//! has died, is asked for again; and who takes over begins with an empty bucket, but does
//! not know what is under way, which comes on top of its own until it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::announce;
use super::event::{Class, MissEvent};
use super::fill::{EndedAs, Outcome};
use super::pacer::{Ended, Next, Offer, Offered, Pacer, View};
use super::{Agreed, pacer};
use crate::broker::{Address, Delivery, Letter, Queues, Subscription, Unpublished};
use crate::clock::{Clock, monotonic};
use crate::observe::counters::Counters;

/// Work that nobody takes within this time is dropped: what is not done now is not to
/// be done later, together with what is released then.
pub const WORK_TTL: Duration = Duration::from_secs(5);
/// By then a worker has begun with a piece of work, or nobody does.
const UNBEGUN: Duration = Duration::from_secs(WORK_TTL.as_secs() + 2);
/// So long after the last word of its worker a piece of work counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(90);
/// Between two attempts to read.
const PAUSE: Duration = Duration::from_millis(500);
/// How many events are delivered ahead at most: RabbitMQ counts them in 16 bits.
const MOST_AHEAD: usize = 60_000;
/// Events beyond those that may wait, among which the least wanted are given up.
const CROWD: usize = 1024;
/// Outcomes that are delivered ahead.
const OUTCOMES_AHEAD: u16 = 256;
/// Between two looks at what is over.
const TICK: Duration = Duration::from_millis(500);

/// The pacer of one origin; cheap to clone.
#[derive(Clone)]
pub struct Pace {
    inner: Arc<Inner>,
}

struct Inner {
    origin: String,
    settings: Mutex<pacer::Settings>,
    pacer: Mutex<Pacer<Held>>,
    /// What has been released, and not been heard to have ended.
    out: Mutex<HashMap<u128, Out>>,
    queues: Arc<dyn Queues>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// A piece of work that has been released.
struct Out {
    /// Tells it from every other one for the same key: word of an earlier one, whose worker
    /// has died, say, is not word of this one.
    release: String,
    /// When, or when there was word of it last.
    at: Instant,
    /// Whether a worker has begun with it.
    begun: bool,
}

/// An event that waits for its turn, and its place in the queue.
struct Held {
    event: MissEvent,
    receipt: Box<dyn crate::broker::queue::Receipt>,
}

impl Pace {
    /// The pacer of an origin with whose owner this was agreed.
    pub fn new(
        origin: String,
        agreed: &Agreed,
        queues: Arc<dyn Queues>,
        (clock, counters): (Clock, Arc<Counters>),
    ) -> Self {
        let settings = settings(agreed);
        let pacer = Mutex::new(Pacer::new(settings.clone(), monotonic()));
        let settings = Mutex::new(settings);
        Pace {
            inner: Arc::new(Inner {
                origin,
                settings,
                pacer,
                out: Mutex::default(),
                queues,
                clock,
                counters,
            }),
        }
    }

    /// The name of the origin.
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// Something else was agreed.
    pub fn set(&self, agreed: &Agreed) {
        let settings = settings(agreed);
        *self.inner.settings.lock() = settings.clone();
        let over = self.inner.pacer.lock().set_settings(settings, monotonic());
        // Their places in the queue are given up with them; the next miss asks again.
        self.inner.counters.events_dropped.add(over.len() as u64);
        tokio::spawn(async move {
            for held in over {
                let _ = held.receipt.acknowledge().await;
            }
        });
    }

    /// How it stands.
    pub fn view(&self) -> View {
        self.inner.pacer.lock().view(monotonic())
    }

    /// Paces for as long as it is polled, whenever it is this one's turn to read.
    pub async fn run(self) {
        loop {
            if let Err(error) = self.inner.pace().await {
                tracing::debug!(target: "forebay::pacer", origin = %self.inner.origin, "no events arrive: {error}");
            }
            // What was delivered goes back, and to whoever reads next; an own bucket that
            // is not empty any more must not come on top of another one's.
            self.inner.begin_anew();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn settings(agreed: &Agreed) -> pacer::Settings {
    pacer::Settings {
        rate: agreed.rate.0,
        concurrency: agreed.concurrency,
        max_waiting: agreed.max_waiting,
        slow: agreed.slow,
        lost_after: LOST_AFTER,
    }
}

impl Inner {
    async fn pace(&self) -> Result<(), crate::broker::BrokerError> {
        let outcomes = Address::Outcomes(self.origin.clone());
        let mut outcomes = self.queues.subscribe(outcomes, OUTCOMES_AHEAD).await?;
        // More than may wait, so that what is wanted more can take the place of the rest.
        let ahead = self.settings.lock().max_waiting.saturating_add(CROWD).min(MOST_AHEAD);
        let ahead = u16::try_from(ahead).unwrap_or(u16::MAX);
        let mut misses = self.queues.subscribe(Address::Misses(self.origin.clone()), ahead).await?;
        let mut ticker = tokio::time::interval(TICK);
        let mut is_its_turn = false;
        loop {
            let until = self.release().await;
            tokio::select! {
                biased;
                ended = outcomes.next() => self.ended(ended?).await,
                // Several at once, so that the most wanted is known before one is released.
                offered = many(&mut misses) => {
                    let offered = offered?;
                    if !is_its_turn {
                        // Until now another one may have released.
                        self.begin_anew();
                        is_its_turn = true;
                    }
                    for delivery in offered {
                        self.offer(delivery).await;
                    }
                }
                _ = ticker.tick() => self.tick().await,
                () = sleep_until(until) => {}
            }
        }
    }

    /// Takes an event in.
    async fn offer(&self, delivery: Delivery) {
        let Delivery { letter, receipt, .. } = delivery;
        let event = match MissEvent::read(&letter.body) {
            Ok(event) => event,
            Err(bad) => {
                self.counters.events_refused.up();
                tracing::warn!(target: "forebay::pacer", origin = %self.origin, id = %letter.id, "an event is refused: {bad}");
                let _ = receipt.refuse().await;
                return;
            }
        };
        let (now, wall) = (monotonic(), self.clock.now());
        if event.expires <= wall {
            self.counters.events_expired.up();
            let _ = receipt.acknowledge().await;
            return;
        }
        let expires = now + event.expires.since(wall);
        let (key, class, misses) = (event.wanted.id(), event.class, event.misses);
        let payload = Held { event, receipt };
        let offered = self.pacer.lock().offer(Offer { key, class, misses, expires, payload }, now);
        let over = match offered {
            Offered::Held => return,
            Offered::Merged(held) => {
                self.counters.events_merged.up();
                held
            }
            Offered::Dropped(held) => {
                self.counters.events_crowded_out.up();
                held
            }
        };
        let _ = over.receipt.acknowledge().await;
    }

    /// Releases one piece of work, if one may be released now. Returns when to look again:
    /// between two it is seen how work has ended, and whether this one still reads.
    async fn release(&self) -> Option<Instant> {
        self.drop_expired().await;
        let now = monotonic();
        let next = self.pacer.lock().next(now);
        match next {
            Next::Idle => None,
            Next::Wait(until) => Some(until),
            Next::Release { key, misses, payload, waited, class } => {
                self.put_out(key, misses, class, payload, waited).await;
                Some(now)
            }
        }
    }

    async fn put_out(&self, key: u128, misses: u64, class: Class, held: Held, waited: Duration) {
        let Held { event, receipt } = held;
        let release = format!("{:016x}", fastrand::u64(..));
        let event = MissEvent { misses, class, release: Some(release.clone()), ..event };
        let out = Out { release, at: monotonic(), begun: false };
        self.out.lock().insert(key, out);
        let letter = Letter { expires: Some(WORK_TTL), ..announce::letter(&event, self.clock.now()) };
        match self.queues.publish(Address::Work(self.origin.clone()), letter).await {
            Ok(()) => {
                self.counters.events_released.up();
                self.counters.pacer_wait_seconds.record(waited);
                let _ = receipt.acknowledge().await;
            }
            Err(unpublished) => {
                // It may have been published all the same, so its turn is used up. The
                // event goes back to its queue and comes again.
                let full = unpublished == Unpublished::Full;
                let ended = if full { Ended::NotAsked } else { Ended::Unknown };
                self.out.lock().remove(&key);
                self.pacer.lock().ended(key, ended, monotonic());
                tracing::warn!(target: "forebay::pacer", origin = %self.origin, "work cannot be released: {unpublished}");
                drop(receipt);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Heeds how a piece of work has ended.
    async fn ended(&self, delivery: Delivery) {
        let read: Result<Outcome, _> = serde_json::from_slice(&delivery.letter.body);
        if let Ok(outcome) = &read
            && let Ok(key) = u128::from_str_radix(&outcome.key, 16)
            && self.is_of_now(key, outcome)
        {
            let now = monotonic();
            let latency = Duration::from_millis(outcome.took_ms);
            let retry_after = outcome.retry_after_ms.map(Duration::from_millis);
            let ended = match outcome.ended {
                EndedAs::Begun => {
                    self.pacer.lock().still_under_way(key, now);
                    None
                }
                EndedAs::Answering => {
                    self.pacer.lock().answering(key, latency, now);
                    None
                }
                EndedAs::Answered => Some(Ended::Answered { latency }),
                EndedAs::TooMany => Some(Ended::TooMany { retry_after, latency }),
                EndedAs::Failed => Some(Ended::Failed { latency }),
                EndedAs::NotAsked => Some(Ended::NotAsked),
            };
            if let Some(ended) = ended {
                self.pacer.lock().ended(key, ended, now);
            }
        }
        let _ = delivery.receipt.acknowledge().await;
    }

    /// Whether an outcome is that of what is out now; notes it.
    fn is_of_now(&self, key: u128, outcome: &Outcome) -> bool {
        let mut all = self.out.lock();
        let Some(out) = all.get_mut(&key).filter(|out| outcome.release.as_ref() == Some(&out.release)) else {
            return false;
        };
        match outcome.ended {
            EndedAs::Begun | EndedAs::Answering => (out.begun, out.at) = (true, monotonic()),
            EndedAs::Answered | EndedAs::TooMany | EndedAs::Failed | EndedAs::NotAsked => {
                drop(all.remove(&key))
            }
        }
        true
    }

    async fn tick(&self) {
        self.drop_expired().await;
        let now = monotonic();
        let waiting = self.pacer.lock().view(now).waiting;
        let waiting = waiting.user + waiting.refresh + waiting.unknown + waiting.warm;
        self.counters.pacer_waiting.set(waiting as u64);
        // What no worker has begun with has been dropped by its queue: its place is free.
        let mut unbegun = Vec::new();
        self.out.lock().retain(|key, out| {
            let age = now.duration_since(out.at);
            if !out.begun && age > UNBEGUN {
                unbegun.push(*key);
            }
            age <= if out.begun { LOST_AFTER } else { UNBEGUN }
        });
        for key in unbegun {
            self.counters.events_expired.up();
            // Or else the word that a worker has begun is lost: then the origin was asked.
            self.pacer.lock().ended(key, Ended::Unknown, now);
        }
    }

    /// Gives up what has waited for longer than it is of use.
    async fn drop_expired(&self) {
        let over = self.pacer.lock().expire(monotonic());
        self.counters.events_expired.add(over.len() as u64);
        for held in over {
            let _ = held.receipt.acknowledge().await;
        }
    }

    /// Forgets what was delivered, which goes back to its queue.
    fn begin_anew(&self) {
        let settings = self.settings.lock().clone();
        self.out.lock().clear();
        *self.pacer.lock() = Pacer::new(settings, monotonic());
    }
}

/// The next delivery, and those that are there already.
async fn many(reading: &mut Box<dyn Subscription>) -> Result<Vec<Delivery>, crate::broker::BrokerError> {
    const MOST: usize = 256;
    let mut all = vec![reading.next().await?];
    while all.len() < MOST
        && let Some(next) = futures_util::FutureExt::now_or_never(reading.next())
    {
        all.push(next?);
    }
    Ok(all)
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        // The runtime's timer counts milliseconds.
        Some(until) if until <= monotonic() => {}
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Limits, LocalQueues};
    use crate::clock::Wall;
    use crate::invalidate::Moment;
    use crate::repopulate::event::{Reason, Wanted};

    fn event(target: &str) -> MissEvent {
        let time = Wall::from_secs(1_800_000_000);
        let (scheme, host, target) = ("http".to_owned(), "a".to_owned(), target.to_owned());
        MissEvent {
            id: target.clone(),
            source: String::new(),
            time,
            expires: time.plus(Duration::from_secs(3600)),
            traceparent: None,
            wanted: Wanted { scheme, host, port: 80, target, vary: Vec::new() },
            reason: Reason::Absent,
            class: Class::User,
            misses: 1,
            moment: Moment::default(),
            etag: None,
            last_modified: None,
            fill: String::new(),
            token: String::new(),
            attempts: 0,
            release: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_over_begins_with_an_empty_bucket_however_long_it_has_waited() {
        let queues = Arc::new(LocalQueues::new(Limits::default()));
        let agreed = Agreed { rate: super::super::PerSecond(4.0), ..Agreed::default() };
        let clock = Clock::Paced(Wall::from_secs(1_800_000_000), monotonic());
        let queue: Arc<dyn Queues> = Arc::clone(&queues) as _;
        let pace = Pace::new("o".to_owned(), &agreed, queue, (clock.clone(), Arc::default()));
        let pacing = tokio::spawn(pace.run());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut work = queues.subscribe(Address::Work("o".to_owned()), 9).await.expect("a subscription");
        let began = monotonic();
        for target in ["/1", "/2"] {
            let letter = announce::letter(&event(target), clock.now());
            queues.publish(Address::Misses("o".to_owned()), letter).await.expect("room");
        }
        for released in 1..3 {
            let delivery = work.next().await.expect("work");
            let after = monotonic() - began;
            assert!(after >= released * Duration::from_millis(250), "{after:?}");
            drop(delivery.receipt.acknowledge().await);
        }
        pacing.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn work_of_which_there_is_word_again_and_again_keeps_its_place() {
        let queues = Arc::new(LocalQueues::new(Limits::default()));
        let agreed = Agreed { concurrency: 1, ..Agreed::default() };
        let clock = Clock::Paced(Wall::from_secs(1_800_000_000), monotonic());
        let queue: Arc<dyn Queues> = Arc::clone(&queues) as _;
        let pace = Pace::new("o".to_owned(), &agreed, queue, (clock.clone(), Arc::default()));
        let pacing = tokio::spawn(pace.clone().run());
        let mut work = queues.subscribe(Address::Work("o".to_owned()), 9).await.expect("a subscription");
        for target in ["/large", "/next"] {
            let letter = announce::letter(&event(target), clock.now());
            queues.publish(Address::Misses("o".to_owned()), letter).await.expect("room");
        }
        let first = work.next().await.expect("work");
        let first = MissEvent::read(&first.letter.body).expect("an event");
        let key = format!("{:032x}", first.wanted.id());
        let outcome =
            Outcome { key, release: first.release, ended: EndedAs::Begun, took_ms: 0, retry_after_ms: None };
        let began = monotonic();
        for _ in 0..20 {
            let body = serde_json::to_vec(&outcome).expect("JSON").into();
            let letter = Letter { body, ..Letter::default() };
            queues.publish(Address::Outcomes("o".to_owned()), letter).await.expect("room");
            let more = tokio::time::timeout(LOST_AFTER / 2, work.next()).await;
            assert!(more.is_err(), "the only place is taken after {:?}", monotonic() - began);
        }
        work.next().await.expect("its worker has died, so the place is free");
        assert!(monotonic() - began > LOST_AFTER * 10);
        pacing.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn word_of_an_earlier_release_gives_back_no_place_of_a_later_one() {
        let queues = Arc::new(LocalQueues::new(Limits::default()));
        let agreed = Agreed { concurrency: 1, ..Agreed::default() };
        let clock = Clock::Paced(Wall::from_secs(1_800_000_000), monotonic());
        let queue: Arc<dyn Queues> = Arc::clone(&queues) as _;
        let pace = Pace::new("o".to_owned(), &agreed, queue, (clock.clone(), Arc::default()));
        let pacing = tokio::spawn(pace.clone().run());
        let mut work = queues.subscribe(Address::Work("o".to_owned()), 9).await.expect("a subscription");
        let miss = async |target: &str| {
            let letter = announce::letter(&event(target), clock.now());
            queues.publish(Address::Misses("o".to_owned()), letter).await.expect("room");
        };
        let tell = async |of: &MissEvent, ended| {
            let key = format!("{:032x}", of.wanted.id());
            let (release, retry_after_ms) = (of.release.clone(), None);
            let outcome = Outcome { key, release, ended, took_ms: 5, retry_after_ms };
            let body = serde_json::to_vec(&outcome).expect("JSON").into();
            let letter = Letter { body, ..Letter::default() };
            queues.publish(Address::Outcomes("o".to_owned()), letter).await.expect("room");
        };
        miss("/1").await;
        let first = work.next().await.expect("work");
        let first = MissEvent::read(&first.letter.body).expect("an event");
        tell(&first, EndedAs::Answered).await;
        miss("/1").await;
        let second = work.next().await.expect("the same once more");
        let second = MissEvent::read(&second.letter.body).expect("an event");
        assert_ne!(first.release, second.release);
        tell(&second, EndedAs::Begun).await;
        miss("/2").await;
        tell(&first, EndedAs::Answered).await;
        let more = tokio::time::timeout(Duration::from_secs(10), work.next()).await;
        assert!(more.is_err(), "the only place is taken");
        tell(&second, EndedAs::Answered).await;
        work.next().await.expect("now there is room");
        pacing.abort();
    }
}
