//! Invalidations that this node accepted, and the others have yet to be told of.
//!
//! What always holds: they are told in the order in which they were accepted; one
//! stays here until it has been read back from where the others read it, for what
//! a broker has confirmed it may still lose.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::history::{Entry, Identity};
use crate::observe::counters::Counters;

/// The most that wait.
const MOST: usize = 100_000;
/// The most bytes that wait, as they are told.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// The most that are told at once.
const BATCH: usize = 256;
/// The most bytes that are told at once, but for one that alone is larger.
const BATCH_BYTES: usize = 512 * 1024;

/// The invalidations that have not been read back.
pub struct Outbox {
    waiting: Mutex<Waiting>,
    more: Notify,
    told: Condvar,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Waiting {
    /// In the order in which they were accepted.
    all: VecDeque<Parcel>,
    /// So many at the front have been confirmed.
    confirmed: usize,
    bytes: usize,
    /// The number of the last one that has been confirmed.
    last: u64,
    /// Why nothing is being told at the moment.
    trouble: Option<String>,
}

struct Parcel {
    entry: Entry,
    bytes: usize,
}

impl Outbox {
    /// Nothing waits.
    pub fn new(counters: Arc<Counters>) -> Self {
        let waiting =
            Mutex::new(Waiting { trouble: Some("not connected yet".to_owned()), ..Waiting::default() });
        Outbox { waiting, more: Notify::new(), told: Condvar::new(), counters }
    }

    /// Adds one that was accepted after all others. Says whether there was room.
    pub fn push(&self, entry: Entry, bytes: usize) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.all.len() >= MOST || waiting.bytes + bytes > MOST_BYTES {
            self.counters.cluster_outbox_full.up();
            return false;
        }
        waiting.bytes += bytes;
        waiting.all.push_back(Parcel { entry, bytes });
        self.counters.cluster_outbox.set(waiting.all.len() as u64);
        self.more.notify_one();
        true
    }

    /// Puts those among the others, in the order of their numbers, that are not there: whoever
    /// has read a number takes all that were accepted before it for known.
    pub fn put_back(&self, entries: Vec<Entry>) {
        let mut waiting = self.waiting.lock();
        let parcel = |entry: Entry| Parcel { bytes: entry.size(), entry };
        let mut all: Vec<Parcel> = waiting.all.drain(..).chain(entries.into_iter().map(parcel)).collect();
        all.sort_by_key(|parcel| parcel.entry.sequence);
        all.dedup_by(|again, before| again.entry.identity == before.entry.identity);
        waiting.bytes = all.iter().map(|parcel| parcel.bytes).sum();
        waiting.all = all.into();
        waiting.confirmed = 0;
        self.counters.cluster_outbox.set(waiting.all.len() as u64);
        self.more.notify_one();
    }

    /// The next ones to be told; waits until there are some. Those that were given
    /// out are given out again until they are [confirmed](Outbox::confirmed).
    pub async fn batch(&self) -> Vec<Entry> {
        loop {
            let more = self.more.notified();
            {
                let waiting = self.waiting.lock();
                let mut bytes = 0;
                let next = waiting.all.iter().skip(waiting.confirmed).take(BATCH);
                let batch: Vec<Entry> = next
                    .enumerate()
                    .take_while(|(index, parcel)| {
                        bytes += parcel.bytes;
                        *index == 0 || bytes <= BATCH_BYTES
                    })
                    .map(|(_, parcel)| parcel.entry.clone())
                    .collect();
                if !batch.is_empty() {
                    return batch;
                }
            }
            more.await;
        }
    }

    /// Those up to this one will reach the others.
    pub fn confirmed(&self, last: &Entry) {
        let mut waiting = self.waiting.lock();
        // Some may have been read back before they were confirmed.
        let up_to = waiting.all.iter().take_while(|parcel| parcel.entry.sequence <= last.sequence).count();
        waiting.confirmed = waiting.confirmed.max(up_to);
        waiting.last = waiting.last.max(last.sequence);
        self.told.notify_all();
    }

    /// This one and those before it from the same node are where the others read.
    /// Says whether it was here.
    pub fn read_back(&self, identity: &Identity) -> bool {
        let mut waiting = self.waiting.lock();
        let Waiting { all, confirmed, bytes, last, .. } = &mut *waiting;
        let before = all.len();
        // They are read back in the order in which they were told, so it is the first.
        while let Some(parcel) = all.pop_front_if(|parcel| {
            let own = parcel.entry.identity.as_ref();
            own.is_some_and(|own| own.node == identity.node && own.number <= identity.number)
        }) {
            *bytes -= parcel.bytes;
            *last = parcel.entry.sequence.max(*last);
            *confirmed = confirmed.saturating_sub(1);
        }
        let was_here = all.len() < before;
        self.counters.cluster_outbox.set(all.len() as u64);
        self.told.notify_all();
        was_here
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().all.is_empty()
    }

    /// All that have not been read back are to be told again.
    pub fn again(&self) {
        let mut waiting = self.waiting.lock();
        waiting.confirmed = 0;
        waiting.trouble = None;
        self.more.notify_one();
    }

    /// Nothing can be told at the moment.
    pub fn interrupted(&self, why: &str) {
        self.waiting.lock().trouble = Some(why.to_owned());
        self.told.notify_all();
    }

    /// Waits until this number is confirmed; otherwise says what is in the way.
    pub fn wait(&self, sequence: u64, patience: Duration) -> Result<(), String> {
        let deadline = std::time::Instant::now() + patience;
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.last >= sequence {
                return Ok(());
            }
            if let Some(trouble) = &waiting.trouble {
                return Err(trouble.clone());
            }
            if self.told.wait_until(&mut waiting, deadline).timed_out() && waiting.last < sequence {
                return Err(format!("the broker has not confirmed it within {patience:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Selector;

    fn entry(node: &str, number: u64) -> Entry {
        let identity = Some(Identity { node: node.to_owned(), number });
        let what = vec![Selector::All];
        Entry { sequence: number, what, identity, own: true, ..Entry::default() }
    }

    fn numbers(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.sequence).collect()
    }

    async fn batch(outbox: &Outbox) -> Vec<u64> {
        let batch = outbox.batch();
        numbers(&tokio::time::timeout(Duration::from_secs(5), batch).await.expect("a batch"))
    }

    #[tokio::test]
    async fn what_was_confirmed_is_told_again_until_it_is_read_back() {
        let outbox = Outbox::new(Arc::default());
        (1..=3).for_each(|number| assert!(outbox.push(entry("a", number), 10)));
        assert_eq!(batch(&outbox).await, [1, 2, 3]);
        outbox.confirmed(&entry("a", 2));
        assert_eq!(batch(&outbox).await, [3]);
        outbox.read_back(&Identity { node: "a".to_owned(), number: 1 });
        assert_eq!(batch(&outbox).await, [3], "one that was confirmed has gone");
        outbox.again();
        assert_eq!(batch(&outbox).await, [2, 3]);
        outbox.read_back(&Identity { node: "a".to_owned(), number: 3 });
        assert!(outbox.push(entry("a", 4), 10));
        assert_eq!(batch(&outbox).await, [4]);
    }

    #[tokio::test]
    async fn what_is_put_back_is_told_in_the_order_of_its_numbers() {
        let outbox = Outbox::new(Arc::default());
        [5, 6].into_iter().for_each(|number| assert!(outbox.push(entry("a", number), 10)));
        outbox.put_back([4, 6, 9].map(|number| entry("a", number)).to_vec());
        assert_eq!(batch(&outbox).await, [4, 5, 6, 9]);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_confirmation_or_with_the_reason() {
        let outbox = Outbox::new(Arc::default());
        assert!(outbox.push(entry("a", 1), 10));
        let long = Duration::from_secs(60);
        assert_eq!(outbox.wait(1, long), Err("not connected yet".to_owned()));
        outbox.again();
        assert!(outbox.wait(1, Duration::from_millis(1)).is_err());
        outbox.confirmed(&entry("a", 1));
        assert_eq!(outbox.wait(1, long), Ok(()));
        assert!(outbox.push(entry("a", 2), 10));
        outbox.read_back(&Identity { node: "a".to_owned(), number: 2 });
        assert_eq!(outbox.wait(2, long), Ok(()), "read back before it was confirmed");
    }

    #[tokio::test]
    async fn a_batch_is_bounded_and_so_is_what_waits() {
        let outbox = Outbox::new(Arc::default());
        assert!(outbox.push(entry("a", 1), BATCH_BYTES * 2));
        assert!(outbox.push(entry("a", 2), 10));
        assert_eq!(batch(&outbox).await, [1], "one that is larger goes alone");
        assert!(!outbox.push(entry("a", 3), MOST_BYTES));
        outbox.put_back(vec![entry("b", 8), entry("b", 9), entry("a", 1)]);
        assert_eq!(outbox.waiting.lock().all.len(), 4, "none twice");
    }
}
