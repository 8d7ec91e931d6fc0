//! Patterns at work: tested at look-up, and by the lurker, who passes over
//! everything stored in the background and drops what is gone.
//!
//! What always holds: a pattern stays in the list until a whole pass that began
//! after it has ended, so a response that is found has been tested against every
//! pattern that means it, or is tested now; one that became visible behind the back of
//! a pass shows that, and is told from the others; a pass takes half of a thread at most.
//!
//! What it never does: keep a node from ending. The thread goes with its store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};

use super::Store;
use crate::stored::pattern::{Pattern, Test};
use crate::stored::{StoredResponse, Variants};

/// The lurker works for so long, and then rests for as long.
const STINT: Duration = Duration::from_millis(5);
/// How often it looks whether its store is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Patterns in the order of their numbers.
type List = Arc<Vec<Arc<Pattern>>>;

/// The patterns that have not been tested against everything stored yet.
#[derive(Default)]
pub(super) struct Patterns {
    /// In the order of their numbers.
    list: ArcSwap<Vec<Arc<Pattern>>>,
    /// The number of the newest one there has ever been.
    newest: AtomicU64,
    /// Those up to this number may have left the list.
    passed: AtomicU64,
    progress: Mutex<Progress>,
    /// Told when there is work for the lurker, and when a pass has ended.
    turn: Condvar,
}

#[derive(Default)]
struct Progress {
    /// A pass has tested everything against the patterns up to here.
    done: u64,
    /// Whether something waits to be dropped.
    sweep: bool,
}

/// What testing a response has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tested {
    /// There was nothing new to it.
    Before,
    /// It was tested against all that was new to it.
    Now,
    /// Something that is new to it is not in the list any more: nothing was tested.
    Missed,
}

/// The thread that passes over what is stored.
#[derive(Debug)]
pub struct Lurker;

impl Patterns {
    /// Adds new patterns, which are the newest ones; to be called in the order of
    /// their numbers. One that says the same takes the place of an older one.
    pub fn add(&self, new: &[Arc<Pattern>], merged: impl Fn()) {
        let Some(newest) = new.iter().map(|pattern| pattern.number).max() else { return };
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            let before = list.len();
            list.retain(|old| !new.iter().any(|new| says_the_same(old, new)));
            (list.len()..before).for_each(|_| merged());
            list.extend(new.iter().cloned());
            list
        });
        self.newest.fetch_max(newest, Ordering::AcqRel);
        let _progress = self.progress.lock();
        self.turn.notify_all();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.load().len()
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<Pattern>> {
        Vec::clone(&self.list.load())
    }

    /// Whether one of these has not been tested against every pattern.
    pub fn are_new_to(&self, variants: &Variants) -> bool {
        let newest = self.newest.load(Ordering::Acquire);
        variants.responses.iter().any(|response| response.tested() < newest)
    }

    /// Tests a stored response against the patterns that are new to it.
    pub fn test(&self, key: &str, response: &StoredResponse) -> Tested {
        let newest = self.newest.load(Ordering::Acquire);
        let tested = response.tested();
        if tested >= newest {
            return Tested::Before;
        }
        let Some((list, first)) = self.new_to(tested) else { return Tested::Missed };
        for pattern in &list[first..] {
            if pattern.matches(key, response) {
                if response.purge(pattern.strength) {
                    pattern.hit();
                }
                if response.is_gone() {
                    break;
                }
            }
        }
        response.set_tested(newest);
        Tested::Now
    }

    /// The list, and the first one there that is new to what has been tested so far; none
    /// where something new to it may have left the list.
    fn new_to(&self, tested: u64) -> Option<(arc_swap::Guard<List>, usize)> {
        let list = self.list.load();
        // Written before anything leaves the list, so it is read after that.
        if tested < self.passed.load(Ordering::Acquire) {
            return None;
        }
        let first = list.partition_point(|pattern| pattern.number <= tested);
        Some((list, first))
    }

    /// The patterns that [testing](Patterns::test) a response would find to mean it, oldest
    /// first; none where that cannot be told by the list alone. Nothing is tested.
    pub fn waiting(&self, key: &str, response: &StoredResponse) -> Option<Vec<Arc<Pattern>>> {
        let tested = response.tested();
        if tested >= self.newest.load(Ordering::Acquire) {
            return Some(Vec::new());
        }
        let (list, first) = self.new_to(tested)?;
        let new = list[first..].iter().filter(|pattern| pattern.matches(key, response));
        Some(new.cloned().collect())
    }

    /// Lets the lurker drop what is gone.
    pub fn sweep(&self) {
        self.progress.lock().sweep = true;
        self.turn.notify_all();
    }

    /// Waits until everything has been tested against the patterns up to `number`.
    /// Says whether that has come to pass.
    pub fn wait(&self, number: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut progress = self.progress.lock();
        while progress.done < number {
            if self.turn.wait_until(&mut progress, deadline).timed_out() {
                return progress.done >= number;
            }
        }
        true
    }

    /// Waits for work. Returns up to which pattern the next pass tests.
    fn next(&self) -> Option<u64> {
        let mut progress = self.progress.lock();
        let newest = self.newest.load(Ordering::Acquire);
        if newest <= progress.done && !progress.sweep {
            self.turn.wait_for(&mut progress, LOOK);
            let newest = self.newest.load(Ordering::Acquire);
            if newest <= progress.done && !progress.sweep {
                return None;
            }
        }
        progress.sweep = false;
        Some(self.newest.load(Ordering::Acquire))
    }

    /// A pass has tested everything against the patterns up to `number`.
    pub(super) fn done(&self, number: u64) {
        self.passed.fetch_max(number, Ordering::AcqRel);
        self.list
            .rcu(|list| list.iter().filter(|pattern| pattern.number > number).cloned().collect::<Vec<_>>());
        let mut progress = self.progress.lock();
        progress.done = progress.done.max(number);
        self.turn.notify_all();
    }
}

impl Lurker {
    /// Lets it pass over `store` for as long as that lives.
    pub fn start(store: &Arc<Store>) -> std::io::Result<()> {
        let store = Arc::downgrade(store);
        std::thread::Builder::new().name("lurker".to_owned()).spawn(move || lurk(&store)).map(drop)
    }
}

fn lurk(store: &Weak<Store>) {
    while let Some(store) = store.upgrade() {
        let Some(number) = store.patterns.next() else { continue };
        let mut since = Instant::now();
        let rest = || {
            if since.elapsed() >= STINT {
                std::thread::sleep(STINT);
                since = Instant::now();
            }
            // A store that only this thread holds is not worth the work.
            Arc::strong_count(&store) > 1
        };
        if store.pass(rest) {
            store.counters.lurker_passes.up();
            store.patterns.done(number);
        }
    }
}

/// Whether an older pattern is not needed beside a newer one.
fn says_the_same(old: &Pattern, new: &Pattern) -> bool {
    // A newer one may mean less, as far as time goes.
    if old.before <= new.before && old.strength <= new.strength {
        match (&old.test, &new.test) {
            (Test::Ban(old), Test::Ban(new)) => !new.asks_age() && old.text() == new.text(),
            (
                Test::Prefix { host, port, prefix },
                Test::Prefix { host: new_host, port: new_port, prefix: new_prefix },
            ) => (host, port, prefix) == (new_host, new_port, new_prefix),
            _ => false,
        }
    } else {
        false
    }
}
