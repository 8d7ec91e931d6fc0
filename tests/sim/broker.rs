//! Queues under the simulator's control. They keep the contract of
//! [`forebay::broker::Queues`] and do whatever else it allows: letters come late and out
//! of order, publishing fails with and without having been done, readers lose their
//! connection and with it everything that they have not acknowledged, what is told to
//! everybody is lost or comes twice.
//!
//! What they never do: lose a letter of a queue before its time is over, deliver one
//! twice but for want of an acknowledgement, or let two read miss events at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use forebay::broker::BrokerError;
use forebay::broker::queue::{Address, Delivery, Letter, Queues, Receipt, Subscription, Unpublished};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a letter comes again before it is dead.
const MOST_RETURNS: u32 = 20;

/// What goes wrong, in parts of a thousand.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// A letter is not published, and its publisher told so.
    pub unpublished: u32,
    /// A letter is published, and its publisher told that this is not known.
    pub unsure: u32,
    /// A queue is full.
    pub full: u32,
    /// What is told to everybody reaches somebody twice.
    pub twice: u32,
    /// What is told to everybody does not reach somebody.
    pub lost: u32,
    /// A letter takes much longer than others.
    pub late: u32,
}

/// What has been seen.
#[derive(Default, Debug)]
pub struct Tally {
    /// Acknowledged miss events.
    pub misses_done: u64,
    /// Those among them that were not released, and whose key neither waited nor was
    /// under way at the time.
    pub misses_dropped: u64,
    /// Acknowledged pieces of work.
    pub work_done: u64,
    /// Work that nobody took in its time.
    pub work_expired: u64,
    /// Letters that came again.
    pub returned: u64,
    /// Dead letters that somebody has given up, by their ids.
    pub dead: Vec<String>,
    /// Letters that came again too often.
    pub poison: u64,
    /// When work was released, and when it was told that it had asked nobody.
    pub releases: Vec<(Instant, i32)>,
    /// When somebody else began to read miss events.
    pub takeovers: Vec<Instant>,
}

#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    random: Rng,
    faults: Faults,
    queues: HashMap<Name, Queue>,
    readers: BTreeMap<u64, Reader>,
    /// Who read miss events last.
    pacing: Option<u64>,
    /// The keys that were released, and of which nobody has said that they ended, each with
    /// its last release.
    released: HashMap<String, String>,
    next: u64,
    tally: Tally,
}

/// A queue: one that is shared, or that of one reader alone.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    Shared(Address),
    Own(u64),
}

#[derive(Default)]
struct Queue {
    /// By the time at which they may be read.
    letters: BTreeMap<(Instant, u64), Kept>,
}

#[derive(Clone)]
struct Kept {
    letter: Letter,
    returned: u32,
    until: Option<Instant>,
}

struct Reader {
    at: Address,
    name: Name,
    ahead: usize,
    out: BTreeMap<u64, Kept>,
    broken: bool,
}

enum Taken {
    Delivery(u64, Kept),
    Broken,
    Wait(Option<Instant>),
}

/// What becomes of a letter that is published.
enum Fate {
    Done,
    Unsure,
    Unpublished,
    Full,
}

impl Broker {
    pub fn new(random: Rng) -> Self {
        let state = State {
            random,
            faults: Faults::default(),
            queues: HashMap::new(),
            readers: BTreeMap::new(),
            pacing: None,
            released: HashMap::new(),
            next: 0,
            tally: Tally::default(),
        };
        Broker { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }) }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.shared.state.lock().faults = faults;
    }

    /// What has been seen so far.
    pub fn tally<T>(&self, look: impl FnOnce(&Tally) -> T) -> T {
        look(&self.shared.state.lock().tally)
    }

    /// Somebody loses the connection.
    pub fn break_one(&self) {
        let mut state = self.shared.state.lock();
        let ids: Vec<u64> = state.readers.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[state.random.usize(..ids.len())];
        state.give_back(id);
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// How many events and pieces of work wait or are with somebody.
    pub fn unsettled(&self) -> usize {
        let state = self.shared.state.lock();
        let is_event = |at: &Address| matches!(at, Address::Misses(_) | Address::Work(_));
        let waiting: usize = state
            .queues
            .iter()
            .filter(|(name, _)| matches!(name, Name::Shared(at) if is_event(at)))
            .map(|(_, queue)| queue.letters.len())
            .sum();
        let out = state.readers.values().filter(|reader| is_event(&reader.at));
        waiting + out.map(|reader| reader.out.len()).sum::<usize>()
    }
}

impl State {
    fn chance(&mut self, of_thousand: u32) -> bool {
        self.random.u32(..1000) < of_thousand
    }

    fn put(&mut self, name: Name, kept: Kept, after: Duration) {
        self.next += 1;
        let place = (Instant::now() + after, self.next);
        self.queues.entry(name).or_default().letters.insert(place, kept);
    }

    /// A letter arrives at the broker.
    fn arrive(&mut self, to: Address, letter: Letter) {
        let now = Instant::now();
        let late = self.faults.late;
        let mut delay = Duration::from_millis(self.random.u64(0..40));
        let is_late = self.chance(late);
        match to {
            Address::Fills | Address::Outcomes(_) => {
                let readers: Vec<u64> = self
                    .readers
                    .iter()
                    .filter(|(_, reader)| reader.at == to && !reader.broken)
                    .map(|(id, _)| *id)
                    .collect();
                for id in readers {
                    let (mut lost, twice) = (self.faults.lost, self.faults.twice);
                    if to != Address::Fills {
                        // Who is connected gets them all, but for want of room.
                        lost /= 20;
                    }
                    let copies = match (self.chance(lost), self.chance(twice)) {
                        (true, _) => 0,
                        (_, true) => 2,
                        _ => 1,
                    };
                    for _ in 0..copies {
                        let mut delay = Duration::from_millis(self.random.u64(0..40));
                        if self.chance(late) {
                            delay = Duration::from_millis(self.random.u64(..15_000));
                        }
                        let until = letter.expires.map(|time| now + time);
                        self.put(Name::Own(id), Kept { letter: letter.clone(), returned: 0, until }, delay);
                    }
                }
            }
            Address::Retry(origin, pause) => {
                let until = letter.expires.map(|time| now + pause + time);
                let kept = Kept { letter, returned: 0, until };
                self.put(Name::Shared(Address::Misses(origin)), kept, pause + delay);
            }
            Address::Dead(_) => self.tally.dead.push(letter.id),
            Address::Misses(_) | Address::Work(_) => {
                if is_late {
                    delay = Duration::from_millis(self.random.u64(..6000));
                }
                let until = letter.expires.map(|time| now + time);
                self.put(Name::Shared(to), Kept { letter, returned: 0, until }, delay);
            }
        }
    }

    fn take(&mut self, id: u64) -> Taken {
        let now = Instant::now();
        let Some(reader) = self.readers.get_mut(&id) else { return Taken::Broken };
        if reader.broken {
            return Taken::Broken;
        }
        let at = reader.at.clone();
        let paces = matches!(at, Address::Misses(_));
        if reader.out.len() >= reader.ahead {
            return Taken::Wait(None);
        }
        let queue = self.queues.entry(reader.name.clone()).or_default();
        let before = queue.letters.len();
        queue.letters.retain(|_, kept| kept.until.is_none_or(|until| until > now));
        if matches!(at, Address::Work(_)) {
            self.tally.work_expired += (before - queue.letters.len()) as u64;
        }
        // One at a time reads miss events: who has read for longest.
        let first = self.readers.iter().find(|(_, other)| other.at == at && !other.broken).map(|(id, _)| *id);
        if paces && first != Some(id) {
            return Taken::Wait(None);
        }
        let Some((place, _)) = self.queues[&self.readers[&id].name].letters.first_key_value() else {
            return Taken::Wait(None);
        };
        let place = *place;
        if place.0 > now {
            return Taken::Wait(Some(place.0));
        }
        if paces && self.pacing != Some(id) {
            self.pacing = Some(id);
            self.tally.takeovers.push(now);
        }
        let name = self.readers[&id].name.clone();
        let Some(kept) = self.queues.get_mut(&name).and_then(|queue| queue.letters.remove(&place)) else {
            return Taken::Wait(None);
        };
        // A pacer subscribes to outcomes just before it subscribes to miss events.
        if matches!(at, Address::Outcomes(_)) && self.pacing == Some(id + 1) {
            let says = |what: &[u8]| kept.letter.body.windows(what.len()).any(|part| part == what);
            if says(b"not-asked") {
                self.tally.releases.push((now, -1));
            }
            let key = key_of(&kept.letter);
            if !says(b"begun") && self.released.get(&key) == Some(&release_of(&kept.letter)) {
                self.released.remove(&key);
            }
        }
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.out.insert(place.1, kept.clone());
        }
        Taken::Delivery(place.1, kept)
    }

    /// What a reader has not acknowledged goes back; what only it would have read is
    /// lost.
    fn give_back(&mut self, id: u64) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.broken = true;
        let (name, out) = (reader.name.clone(), std::mem::take(&mut reader.out));
        match name {
            Name::Own(_) => drop(self.queues.remove(&name)),
            Name::Shared(_) => out.into_values().for_each(|kept| self.again(name.clone(), kept)),
        }
    }

    fn again(&mut self, name: Name, kept: Kept) {
        self.tally.returned += 1;
        if kept.returned >= MOST_RETURNS {
            self.tally.poison += 1;
            return;
        }
        let delay = Duration::from_millis(self.random.u64(0..20));
        self.put(name, Kept { returned: kept.returned + 1, ..kept }, delay);
    }
}

impl Queues for Broker {
    fn publish(&self, to: Address, letter: Letter) -> BoxFuture<'_, Result<(), Unpublished>> {
        async move {
            let (before, after, fate) = {
                let mut state = self.shared.state.lock();
                let faults = state.faults;
                let is_queue = matches!(to, Address::Misses(_) | Address::Work(_));
                let fate = match () {
                    () if state.chance(faults.unpublished) => Fate::Unpublished,
                    () if state.chance(faults.unsure) => Fate::Unsure,
                    () if is_queue && state.chance(faults.full) => Fate::Full,
                    () => Fate::Done,
                };
                if matches!((&to, &fate), (Address::Work(_), Fate::Done | Fate::Unsure)) {
                    state.tally.releases.push((Instant::now(), 1));
                    state.released.insert(key_of(&letter), release_of(&letter));
                }
                let slow = if state.chance(faults.late) { 600 } else { 10 };
                let mut time = || Duration::from_millis(state.random.u64(0..slow));
                (time(), time(), fate)
            };
            sleep(before).await;
            if matches!(fate, Fate::Done | Fate::Unsure) {
                self.shared.state.lock().arrive(to, letter);
                self.shared.changed.notify_waiters();
            }
            sleep(after).await;
            match fate {
                Fate::Done => Ok(()),
                Fate::Full => Err(Unpublished::Full),
                Fate::Unsure | Fate::Unpublished => {
                    Err(Unpublished::Broker(BrokerError::Silent(Duration::from_secs(1))))
                }
            }
        }
        .boxed()
    }

    fn subscribe(
        &self,
        to: Address,
        ahead: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BrokerError>> {
        let mut state = self.shared.state.lock();
        state.next += 1;
        let id = state.next;
        let name = match &to {
            Address::Fills | Address::Outcomes(_) => Name::Own(id),
            _ => Name::Shared(to.clone()),
        };
        let ahead = usize::from(ahead);
        state.readers.insert(id, Reader { at: to, name, ahead, out: BTreeMap::new(), broken: false });
        drop(state);
        let reading = Reading { shared: Arc::clone(&self.shared), id };
        std::future::ready(Ok(Box::new(reading) as Box<dyn Subscription>)).boxed()
    }

    fn look(&self, _: Address, _: usize) -> BoxFuture<'_, Result<Vec<Letter>, BrokerError>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }
}

/// The key that a letter is of.
/// Which release a piece of work, or word of one, is of.
fn release_of(letter: &Letter) -> String {
    let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap_or_default();
    let release = body.get("release").or_else(|| body.pointer("/data/release"));
    release.and_then(|release| release.as_str()).unwrap_or_default().to_owned()
}

fn key_of(letter: &Letter) -> String {
    let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap_or_default();
    let key = body.get("partitionkey").or_else(|| body.get("key"));
    key.and_then(|key| key.as_str()).unwrap_or_default().to_owned()
}

struct Reading {
    shared: Arc<Shared>,
    id: u64,
}

impl Subscription for Reading {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>> {
        async move {
            loop {
                let changed = self.shared.changed.notified();
                let taken = self.shared.state.lock().take(self.id);
                match taken {
                    Taken::Broken => return Err(BrokerError::Ended),
                    Taken::Delivery(number, Kept { letter, returned, .. }) => {
                        let (shared, settled) = (Arc::clone(&self.shared), false);
                        let receipt = Box::new(Held { shared, reader: self.id, number, settled });
                        return Ok(Delivery { letter, returned, receipt });
                    }
                    Taken::Wait(None) => changed.await,
                    Taken::Wait(Some(until)) => tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(until) => {}
                    },
                }
            }
        }
        .boxed()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.give_back(self.id);
        state.readers.remove(&self.id);
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

struct Held {
    shared: Arc<Shared>,
    reader: u64,
    number: u64,
    settled: bool,
}

impl Held {
    /// Takes the letter from its reader, if it is still there.
    fn settle(&mut self) -> Option<(Address, Kept)> {
        self.settled = true;
        let mut state = self.shared.state.lock();
        let reader = state.readers.get_mut(&self.reader)?;
        let kept = reader.out.remove(&self.number)?;
        Some((reader.at.clone(), kept))
    }
}

impl Receipt for Held {
    fn acknowledge(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>> {
        let settled = self.settle();
        let mut state = self.shared.state.lock();
        match &settled {
            Some((Address::Misses(_), kept)) => {
                state.tally.misses_done += 1;
                let key = key_of(&kept.letter);
                let waits = state
                    .readers
                    .get(&self.reader)
                    .is_some_and(|reader| reader.out.values().any(|other| key_of(&other.letter) == key));
                let dropped = !waits && !state.released.contains_key(&key);
                state.tally.misses_dropped += u64::from(dropped);
            }
            Some((Address::Work(_), _)) => state.tally.work_done += 1,
            _ => {}
        }
        drop(state);
        self.shared.changed.notify_waiters();
        std::future::ready(settled.map(drop).ok_or(BrokerError::Ended)).boxed()
    }

    fn refuse(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>> {
        let settled = self.settle();
        if let Some((_, kept)) = &settled {
            self.shared.state.lock().tally.dead.push(kept.letter.id.clone());
        }
        self.shared.changed.notify_waiters();
        std::future::ready(settled.map(drop).ok_or(BrokerError::Ended)).boxed()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if let Some((at, kept)) = self.settle() {
            if !matches!(at, Address::Fills | Address::Outcomes(_)) {
                self.shared.state.lock().again(Name::Shared(at), kept);
            }
            self.shared.changed.notify_waiters();
        }
    }
}
