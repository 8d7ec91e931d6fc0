//! The same contract within one process: for one machine, where nothing else is to
//! be installed.
//!
//! What always holds: every queue has a limit, and a letter that finds no room is
//! refused, never an older one dropped for it; what is read at [`Address::Fills`] and
//! [`Address::Outcomes`] reaches every subscription there was when it was published,
//! as far as each has room.
//!
//! What it never does: outlive the process, but for dead letters, which are
//! [written down](LocalQueues::write_down) where there is a place for it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::BrokerError;
use super::queue::{Address, Delivery, Letter, Queues, Receipt, Subscription, Unpublished};

/// How much the queues of a process hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most letters of one queue.
    pub letters: usize,
    /// The most bytes of content of one queue.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { letters: 50_000, bytes: 256 * 1024 * 1024 }
    }
}

/// The most letters that wait for a pause to be over, of one origin.
const MOST_PAUSING: usize = 10_000;

/// The most letters of one origin that were given up.
const MOST_DEAD: usize = 10_000;

/// How often a letter comes again before it counts as one that nobody can read.
const MOST_RETURNS: u32 = 5;

/// Queues within this process; cheap to clone.
#[derive(Clone)]
pub struct LocalQueues {
    shared: Arc<Shared>,
}

/// A dead letter as it is written down; its content is JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    origin: String,
    id: String,
    content_type: String,
    headers: Vec<(String, String)>,
    body: String,
}

struct Shared {
    limits: Limits,
    /// Where dead letters are written down, and what was last written.
    file: Mutex<Option<(PathBuf, Vec<Written>)>>,
    queues: Mutex<HashMap<Address, Arc<Queue>>>,
    /// The subscriptions of the exchanges, each with a queue of its own.
    bound: Mutex<HashMap<Address, Vec<std::sync::Weak<Queue>>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Kept>,
    bytes: usize,
    /// Delivered, and neither acknowledged nor refused.
    out: usize,
}

struct Kept {
    letter: Letter,
    returned: u32,
    until: Option<Instant>,
}

impl LocalQueues {
    /// Empty queues.
    pub fn new(limits: Limits) -> Self {
        let shared =
            Shared { limits, file: Mutex::default(), queues: Mutex::default(), bound: Mutex::default() };
        LocalQueues { shared: Arc::new(shared) }
    }

    /// Puts in the dead letters of a file, and remembers where they are to be written.
    /// Says what is wrong with it.
    pub fn read_from(&self, file: PathBuf) -> Option<String> {
        let trouble = match std::fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice::<Vec<Written>>(&bytes) {
                Ok(all) => {
                    for Written { origin, id, content_type, headers, body } in all {
                        let letter = Letter { id, content_type, headers, body: body.into(), expires: None };
                        // Those that were there before had room then.
                        let _ = self.send(Address::Dead(origin), letter);
                    }
                    None
                }
                Err(error) => {
                    Some(format!("`{}` is damaged: {error}; dead letters are lost", file.display()))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(format!("`{}`: {error}; dead letters are lost", file.display())),
        };
        let last = trouble.is_none().then(|| self.dead());
        *self.shared.file.lock() = Some((file, last.unwrap_or_default()));
        trouble
    }

    /// Writes the dead letters down, if they have changed since they last were. Blocks.
    pub fn write_down(&self) -> Result<(), String> {
        let Some((file, last)) = self.shared.file.lock().clone() else { return Ok(()) };
        let dead = self.dead();
        if dead == last {
            return Ok(());
        }
        let fresh = file.with_extension("new");
        let write = || {
            let mut new = std::fs::File::create(&fresh)?;
            new.write_all(&serde_json::to_vec(&dead).unwrap_or_default())?;
            new.sync_data()?;
            std::fs::rename(&fresh, &file)
        };
        write().map_err(|error: io::Error| format!("`{}`: {error}", file.display()))?;
        *self.shared.file.lock() = Some((file, dead));
        Ok(())
    }

    fn dead(&self) -> Vec<Written> {
        let queues = self.shared.queues.lock();
        let mut all = Vec::new();
        for (at, queue) in queues.iter() {
            let Address::Dead(origin) = at else { continue };
            for Kept { letter, .. } in &queue.waiting.lock().letters {
                all.push(Written {
                    origin: origin.clone(),
                    id: letter.id.clone(),
                    content_type: letter.content_type.clone(),
                    headers: letter.headers.clone(),
                    body: String::from_utf8_lossy(&letter.body).into_owned(),
                });
            }
        }
        all
    }

    /// How many letters wait at an address.
    pub fn waiting(&self, at: &Address) -> usize {
        self.shared.queues.lock().get(at).map_or(0, |queue| queue.waiting.lock().letters.len())
    }

    fn send(&self, to: Address, letter: Letter) -> Result<(), Unpublished> {
        match &to {
            Address::Fills | Address::Outcomes(_) => {
                let mut bound = self.shared.bound.lock();
                let Some(queues) = bound.get_mut(&to) else { return Err(Unpublished::Unroutable) };
                queues.retain(|queue| queue.strong_count() > 0);
                let mut taken = Err(Unpublished::Unroutable);
                for queue in queues.iter().filter_map(std::sync::Weak::upgrade) {
                    // One that is full misses it, as it would at a broker.
                    let sent = queue.put(letter.clone(), 0, self.shared.limits);
                    if taken.is_err() {
                        taken = sent;
                    }
                }
                taken
            }
            Address::Retry(origin, pause) => {
                let pausing = self.shared.queue(&to);
                {
                    let mut waiting = pausing.waiting.lock();
                    if waiting.out >= MOST_PAUSING {
                        return Err(Unpublished::Full);
                    }
                    waiting.out += 1;
                }
                let (queues, misses, pause) = (self.clone(), Address::Misses(origin.clone()), *pause);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    pausing.waiting.lock().out -= 1;
                    // Where there is no room now the next miss asks again.
                    let _ = queues.send(misses, letter);
                });
                Ok(())
            }
            Address::Misses(_) | Address::Work(_) => {
                self.shared.queue(&to).put(letter, 0, self.shared.limits)
            }
            Address::Dead(_) => {
                let limits =
                    Limits { letters: MOST_DEAD.min(self.shared.limits.letters), ..self.shared.limits };
                self.shared.queue(&to).put(letter, 0, limits)
            }
        }
    }
}

impl Shared {
    fn queue(&self, at: &Address) -> Arc<Queue> {
        Arc::clone(self.queues.lock().entry(at.clone()).or_default())
    }
}

impl Queue {
    fn put(&self, letter: Letter, returned: u32, limits: Limits) -> Result<(), Unpublished> {
        let mut waiting = self.waiting.lock();
        waiting.drop_expired();
        let bytes = letter.body.len();
        // A single one larger than all of the room goes through all the same.
        let crowded = !waiting.letters.is_empty() && waiting.bytes + bytes > limits.bytes;
        if waiting.letters.len() >= limits.letters || crowded {
            return Err(Unpublished::Full);
        }
        waiting.bytes += bytes;
        let until = letter.expires.map(|time| Instant::now() + time);
        waiting.letters.push_back(Kept { letter, returned, until });
        self.more.notify_one();
        Ok(())
    }

    /// Puts back what was delivered in vain, before all others.
    fn put_back(&self, letter: Letter, returned: u32) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += letter.body.len();
        let until = letter.expires.map(|time| Instant::now() + time);
        waiting.letters.push_front(Kept { letter, returned, until });
        self.more.notify_one();
    }
}

impl Waiting {
    fn take(&mut self, ahead: usize) -> Option<Kept> {
        if self.out >= ahead {
            return None;
        }
        self.drop_expired();
        let kept = self.letters.pop_front()?;
        self.bytes -= kept.letter.body.len();
        self.out += 1;
        Some(kept)
    }

    /// Those that nobody may have any more, from the front on.
    fn drop_expired(&mut self) {
        let now = Instant::now();
        while let Some(front) = self.letters.front()
            && front.until.is_some_and(|until| until <= now)
        {
            self.bytes -= front.letter.body.len();
            self.letters.pop_front();
        }
    }
}

impl Queues for LocalQueues {
    fn publish(&self, to: Address, letter: Letter) -> BoxFuture<'_, Result<(), Unpublished>> {
        std::future::ready(self.send(to, letter)).boxed()
    }

    fn subscribe(
        &self,
        to: Address,
        ahead: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BrokerError>> {
        let queue = match &to {
            Address::Fills | Address::Outcomes(_) => {
                let queue = Arc::<Queue>::default();
                self.shared.bound.lock().entry(to.clone()).or_default().push(Arc::downgrade(&queue));
                queue
            }
            Address::Misses(_) | Address::Work(_) | Address::Retry(..) | Address::Dead(_) => {
                self.shared.queue(&to)
            }
        };
        let dead = match &to {
            Address::Misses(origin) | Address::Work(origin) => Some(Address::Dead(origin.clone())),
            _ => None,
        };
        let reading = Reading { queue, ahead: usize::from(ahead), queues: self.clone(), dead };
        std::future::ready(Ok(Box::new(reading) as Box<dyn Subscription>)).boxed()
    }

    fn look(&self, at: Address, most: usize) -> BoxFuture<'_, Result<Vec<Letter>, BrokerError>> {
        let queue = self.shared.queue(&at);
        let letters =
            queue.waiting.lock().letters.iter().take(most).map(|kept| kept.letter.clone()).collect();
        std::future::ready(Ok(letters)).boxed()
    }
}

struct Reading {
    queue: Arc<Queue>,
    ahead: usize,
    queues: LocalQueues,
    /// Where what is refused goes.
    dead: Option<Address>,
}

impl Subscription for Reading {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>> {
        async move {
            loop {
                let more = self.queue.more.notified();
                if let Some(Kept { letter, returned, .. }) = self.queue.waiting.lock().take(self.ahead) {
                    let receipt = LocalReceipt {
                        queue: Arc::clone(&self.queue),
                        queues: self.queues.clone(),
                        dead: self.dead.clone(),
                        kept: Some((letter.clone(), returned)),
                    };
                    return Ok(Delivery { letter, returned, receipt: Box::new(receipt) });
                }
                more.await;
            }
        }
        .boxed()
    }
}

struct LocalReceipt {
    queue: Arc<Queue>,
    queues: LocalQueues,
    dead: Option<Address>,
    /// The letter, until somebody has decided about it.
    kept: Option<(Letter, u32)>,
}

impl LocalReceipt {
    fn settle(&mut self) -> Option<(Letter, u32)> {
        let kept = self.kept.take()?;
        self.queue.waiting.lock().out -= 1;
        // There may be room now for one that waits.
        self.queue.more.notify_one();
        Some(kept)
    }

    fn bury(&self, letter: Letter) {
        if let Some(dead) = &self.dead {
            // Where dead letters have no room either, this one is lost, and was refused.
            let _ = self.queues.send(dead.clone(), Letter { expires: None, ..letter });
        }
    }
}

impl Receipt for LocalReceipt {
    fn acknowledge(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.settle();
        std::future::ready(Ok(())).boxed()
    }

    fn refuse(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>> {
        if let Some((letter, _)) = self.settle() {
            self.bury(letter);
        }
        std::future::ready(Ok(())).boxed()
    }
}

impl Drop for LocalReceipt {
    fn drop(&mut self) {
        match self.settle() {
            None => {}
            Some((letter, returned)) if returned >= MOST_RETURNS && self.dead.is_some() => self.bury(letter),
            Some((letter, returned)) => self.queue.put_back(letter, returned + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn letter(id: &str) -> Letter {
        Letter { id: id.to_owned(), body: "12345678".into(), ..Letter::default() }
    }

    fn misses() -> Address {
        Address::Misses("o".to_owned())
    }

    async fn next(reading: &mut Box<dyn Subscription>) -> Option<Delivery> {
        let next = tokio::time::timeout(Duration::from_secs(1), reading.next());
        next.await.ok().map(|delivery| delivery.expect("delivered"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_acknowledged_comes_again_and_at_last_is_dead() {
        let queues = LocalQueues::new(Limits::default());
        queues.publish(misses(), letter("a")).await.expect("room");
        let mut reading = queues.subscribe(misses(), 1).await.expect("a subscription");
        for returned in 0..=MOST_RETURNS {
            let delivery = next(&mut reading).await.expect("it comes again");
            assert_eq!(delivery.returned, returned);
            assert!(next(&mut reading).await.is_none(), "one ahead");
            drop(delivery);
        }
        assert!(next(&mut reading).await.is_none());
        assert_eq!(queues.waiting(&Address::Dead("o".to_owned())), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_bounded_and_refuses_the_newest() {
        let queues = LocalQueues::new(Limits { letters: 3, bytes: 20 });
        queues.publish(misses(), letter("a")).await.expect("room");
        queues.publish(misses(), letter("b")).await.expect("room");
        assert_eq!(queues.publish(misses(), letter("c")).await, Err(Unpublished::Full), "by bytes");
        let mut reading = queues.subscribe(misses(), 9).await.expect("a subscription");
        assert_eq!(next(&mut reading).await.expect("one").letter.id, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_too_long_is_dropped_and_a_retry_comes_back_as_a_miss() {
        let queues = LocalQueues::new(Limits::default());
        let work = Address::Work("o".to_owned());
        let short = Letter { expires: Some(Duration::from_secs(2)), ..letter("w") };
        queues.publish(work.clone(), short).await.expect("room");
        tokio::time::advance(Duration::from_secs(3)).await;
        let mut reading = queues.subscribe(work, 9).await.expect("a subscription");
        assert!(next(&mut reading).await.is_none());
        let retry = Address::Retry("o".to_owned(), Duration::from_secs(4));
        queues.publish(retry, letter("r")).await.expect("room");
        let mut reading = queues.subscribe(misses(), 9).await.expect("a subscription");
        assert!(next(&mut reading).await.is_none(), "not yet");
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(next(&mut reading).await.expect("now").letter.id, "r");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fill_reaches_everybody_and_one_without_readers_is_told() {
        let queues = LocalQueues::new(Limits::default());
        assert_eq!(queues.publish(Address::Fills, letter("f")).await, Err(Unpublished::Unroutable));
        let mut one = queues.subscribe(Address::Fills, 9).await.expect("a subscription");
        let mut two = queues.subscribe(Address::Fills, 9).await.expect("a subscription");
        queues.publish(Address::Fills, letter("f")).await.expect("room");
        for reading in [&mut one, &mut two] {
            let delivery = next(reading).await.expect("it arrives");
            delivery.receipt.acknowledge().await.expect("acknowledged");
        }
        drop((one, two));
        assert_eq!(queues.publish(Address::Fills, letter("f")).await, Err(Unpublished::Unroutable));
    }
}
