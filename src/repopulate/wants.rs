//! What this node wants to be filled: its leases, the keys that it knows, what may
//! still be asked for, and the clients that wait.
//!
//! What always holds: nothing here takes longer than a few look-ups, and no lock is
//! held when a function returns.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::budget::{Budgets, Spent};
use super::event::{Class, Reason};
use super::known::{self, Known};
use super::lease::{Leases, Unfillable, Verdict};
use super::{Settings, lease};
use crate::observe::counters::Counters;

/// The name of the file with the known keys.
const KNOWN_FILE: &str = "known-keys";

/// What this node wants.
pub struct Wants {
    book: Mutex<Book>,
    waiting: Mutex<HashMap<u128, Waiting>>,
    file: Option<PathBuf>,
    counters: Arc<Counters>,
}

struct Book {
    leases: Leases,
    known: Known,
    budgets: Budgets,
}

struct Waiting {
    ended: Arc<Notify>,
    clients: usize,
}

/// What a miss leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missed {
    /// It is to be told.
    Tell {
        /// How urgently.
        class: Class,
        /// By how many requests, since it was last told.
        misses: u64,
    },
    /// It has been told.
    Told,
    /// Nobody is asked for it for so long.
    HeldDown(Unfillable, Duration),
    /// This client has asked for too many new keys.
    TooManyNew(Duration),
    /// Too much is asked for that nothing is known of.
    Unknown(Duration),
    /// There are too many leases.
    Full,
}

impl Wants {
    /// Nothing yet; the keys that are known from before are in the state directory.
    pub fn new(settings: &Settings, state: Option<&Path>, counters: Arc<Counters>, now: Instant) -> Self {
        let file = state.map(|state| state.join(KNOWN_FILE));
        let (known, trouble) = match &file {
            Some(file) => Known::load(file, settings.known_keys),
            None => (Known::new(settings.known_keys), None),
        };
        if let Some(trouble) = trouble {
            tracing::warn!(target: "forebay::repopulate", "{trouble}");
        }
        let leases = Leases::new(settings.lease.clone());
        let budgets = Budgets::new(settings.budget.clone(), now);
        let book = Mutex::new(Book { leases, known, budgets });
        Wants { book, waiting: Mutex::default(), file, counters }
    }

    /// Other limits from now on.
    pub fn set(&self, settings: &Settings) {
        self.book.lock().budgets.set(settings.budget.clone());
    }

    /// A client has missed this key, or somebody wants it for none; `known_by` tells
    /// whether it exists.
    pub fn miss(
        &self,
        key: u128,
        known_by: u128,
        reason: Reason,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Missed {
        let mut book = self.book.lock();
        let Book { leases, known, budgets } = &mut *book;
        let class = class(reason, client.is_some(), || known.knows(known_by));
        // What is known to exist was paid for when it was new, and so was what is wanted
        // already.
        if class == Class::Unknown
            && let Some(client) = client
            && !leases.knows(key)
        {
            match budgets.spend(client, now) {
                Ok(()) => {}
                Err(Spent::Client(wait)) => {
                    self.counters.hidden_refused_client.up();
                    return Missed::TooManyNew(wait);
                }
                Err(Spent::Unknown(wait)) => {
                    self.counters.hidden_refused_unknown.up();
                    return Missed::Unknown(wait);
                }
            }
        }
        if class != Class::Warm {
            leases.hasten(key, now);
        }
        match leases.miss(key, now) {
            Verdict::Tell { misses, renewal } => {
                if class == Class::Warm {
                    leases.idle(key);
                }
                self.counters.leases_renewed.add(u64::from(renewal));
                Missed::Tell { class, misses }
            }
            Verdict::Leased(_) => {
                self.counters.events_deduplicated.up();
                Missed::Told
            }
            Verdict::HeldDown(why, left) => {
                self.counters.misses_held_down.up();
                Missed::HeldDown(why, left)
            }
            Verdict::Full => {
                self.counters.leases_full.up();
                Missed::Full
            }
        }
    }

    /// What a miss by a client would lead to, and how urgent it would be. Nothing is noted, and
    /// whether the client's budget and the room for leases suffice is not looked at.
    pub fn would(&self, key: u128, known_by: u128, reason: Reason, now: Instant) -> (Missed, Class) {
        let mut book = self.book.lock();
        let Book { leases, known, .. } = &mut *book;
        let class = class(reason, true, || known.has(known_by));
        let missed = match leases.would(key, now) {
            Verdict::Tell { misses, .. } => Missed::Tell { class, misses },
            Verdict::Leased(_) => Missed::Told,
            Verdict::HeldDown(why, left) => Missed::HeldDown(why, left),
            Verdict::Full => Missed::Full,
        };
        (missed, class)
    }

    /// This key has been filled; if it exists, this is known from now on. That there is
    /// nothing is no reason to ask for it before others.
    pub fn filled(&self, key: u128, exists: Option<u128>, now: Instant) {
        let took = {
            let mut book = self.book.lock();
            if let Some(known_by) = exists {
                book.known.learn(known_by);
            }
            book.leases.filled(key, now)
        };
        if let Some(took) = took {
            self.counters.fill_seconds.record(took);
        }
        self.ended(key);
    }

    /// This key was given up.
    pub fn unfillable(&self, key: u128, why: Unfillable, now: Instant) {
        self.book.lock().leases.unfillable(key, why, now);
        self.ended(key);
    }

    /// Nothing holds this key down any longer.
    pub fn lift(&self, key: u128, now: Instant) {
        self.book.lock().leases.lift(key, now);
    }

    /// This key is tried again later.
    pub fn postponed(&self, key: u128, pause: Duration, now: Instant) {
        self.book.lock().leases.postponed(key, pause, now);
    }

    /// What was to be told could not be.
    pub fn untold(&self, key: u128) {
        self.book.lock().leases.untold(key);
    }

    /// The next miss of this key is told.
    pub fn forget(&self, key: u128) {
        self.book.lock().leases.forget(key);
        self.ended(key);
    }

    /// How long a fill takes as a rule.
    pub fn usual(&self) -> Duration {
        self.book.lock().leases.usual()
    }

    /// How many leases there are, how many keys are known, and since when the key has
    /// been wanted that has been wanted for longest.
    pub fn extent(&self, now: Instant) -> (usize, usize, Duration) {
        let book = self.book.lock();
        (book.leases.len(), book.known.len(), book.leases.oldest(now).unwrap_or_default())
    }

    /// Waits until a key has been filled or given up, for at most so long. Says whether
    /// it was.
    pub async fn wait(&self, key: u128, patience: Duration) -> bool {
        let ended = {
            let mut waiting = self.waiting.lock();
            let waiting = waiting.entry(key).or_insert(Waiting { ended: Arc::default(), clients: 0 });
            waiting.clients += 1;
            Arc::clone(&waiting.ended)
        };
        let _seat = Seat { wants: self, key };
        tokio::time::timeout(patience, ended.notified()).await.is_ok()
    }

    fn ended(&self, key: u128) {
        if let Some(waiting) = self.waiting.lock().get(&key) {
            waiting.ended.notify_waiters();
        }
    }

    /// What is to be done from time to time: ends what is over and keeps the counters.
    pub fn tick(&self, now: Instant) {
        let mut book = self.book.lock();
        let unfilled = book.leases.expire(now);
        self.counters.leases_expired.add(unfilled as u64);
        self.counters.leases.set(book.leases.len() as u64);
        self.counters.known_keys.set(book.known.len() as u64);
        let oldest = book.leases.oldest(now).unwrap_or_default();
        self.counters.oldest_wanted.set(oldest.as_secs());
    }

    /// Writes down which keys are known, if there is a place for it. Blocks.
    pub fn write_down(&self) {
        let Some(file) = &self.file else { return };
        let Some(bytes) = self.book.lock().known.take_changes() else { return };
        if let Err(error) = known::save(file, &bytes) {
            tracing::error!(target: "forebay::repopulate", "the known keys are not on disk: `{}`: {error}", file.display());
        }
    }
}

/// A client that waits; gives its place up when it is dropped.
struct Seat<'a> {
    wants: &'a Wants,
    key: u128,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut all = self.wants.waiting.lock();
        if let Some(waiting) = all.get_mut(&self.key) {
            waiting.clients -= 1;
            if waiting.clients == 0 {
                all.remove(&self.key);
            }
        }
    }
}

/// The limits of leases that hold where nothing is said.
impl Default for Settings {
    fn default() -> Self {
        Settings {
            lease: lease::Settings::default(),
            budget: super::budget::Settings::default(),
            known_keys: 1_000_000,
            event_ttl: Duration::from_secs(120),
            backlog: 10_000,
            attempts: 4,
            retry_pause: Duration::from_secs(1),
            inline_max: 1024 * 1024,
            secrets: Vec::new(),
        }
    }
}
/// How urgent it is; `known` tells whether it is known to exist.
fn class(reason: Reason, has_client: bool, known: impl FnOnce() -> bool) -> Class {
    match reason {
        // It was there, and now somebody waits for it.
        Reason::Purged if has_client => Class::User,
        Reason::Stale | Reason::Purged => Class::Refresh,
        Reason::Warm => Class::Warm,
        Reason::Absent if known() => Class::User,
        Reason::Absent => Class::Unknown,
    }
}
