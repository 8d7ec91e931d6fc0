//! Making stored responses unusable, or stale, on somebody's word.
//!
//! What always holds: from the moment that an invalidation has returned no
//! response from before it is used as if it had not been, be it stored or on its
//! way; invalidations are numbered, and what is told of them is in that order.

pub mod history;
pub mod journal;
pub mod target;
pub mod wire;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::{Clock, Wall};
use crate::observe::counters::Counters;
use crate::store::{self, Store};
use crate::stored::Selector;

pub use history::{Entry, History};
use journal::{Appending, Record};
pub use journal::{Journal, JournalError, Recovered};
pub use target::Unclear;

/// What somebody wants to be invalidated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// All that is meant.
    pub what: Vec<Selector>,
    /// Whether it becomes stale only.
    pub soft: bool,
    /// Whether it is only counted.
    pub dry_run: bool,
    /// Whether URLs among it are fetched anew at once.
    pub refresh: bool,
}

/// What an invalidation has done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// Its number; none for one that only counted.
    pub sequence: Option<u64>,
    /// How many stored responses it has hit so far.
    pub responses: usize,
    /// Whether more may be hit: some have not been tested yet, and are before they
    /// are used.
    pub pending: bool,
    /// Whether it outlives the node: it is in the journal.
    pub durable: bool,
    /// Why it is not in the journal, where it should be. It holds all the same.
    pub trouble: Option<String>,
}

/// The invalidations of a node.
pub struct Invalidator {
    store: Arc<Store>,
    history: Mutex<History>,
    journal: Option<Journal>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// By how much the numbers jump at a start, so that none is given out twice: those
/// of requests with unsafe methods are not in the journal.
const JUMP: u64 = 1 << 32;

impl Invalidator {
    /// For what is stored there; with a journal, and what it remembers, if there is
    /// a place for one.
    pub fn new(
        store: Arc<Store>,
        journal: Option<(Journal, Recovered)>,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Self {
        let mut history = History::default();
        let journal = journal.map(|(journal, recovered)| {
            store.begin_after(recovered.horizon);
            for record in &recovered.records {
                let read: Result<Entry, _> = serde_json::from_slice(&record.payload);
                let noted = read.map_err(|error| error.to_string()).and_then(|entry| {
                    let at = Wall::from_millis(entry.at_ms);
                    store
                        .remember(record.sequence, &entry.what, entry.soft, at)
                        .map_err(|refused| refused.to_string())?;
                    history.add(entry);
                    Ok(())
                });
                if let Err(error) = noted {
                    // What it meant is not known, so it counts as if it had meant everything.
                    store.begin_after(record.sequence);
                    tracing::error!(target: "forebay::journal", "purge {} is not understood: {error}", record.sequence);
                }
            }
            if recovered.sequence > 0 {
                store.skip_to(recovered.sequence.saturating_add(JUMP));
            }
            journal
        });
        Invalidator { store, history: Mutex::new(history), journal, clock, counters }
    }

    /// Invalidates what is wanted in the name of `by`. May take a moment: not to be
    /// called where others wait.
    pub fn invalidate(&self, wanted: &Wanted, by: &str) -> Result<Accepted, store::Refused> {
        let at = self.clock.now();
        if wanted.dry_run {
            let responses = self.store.count(&wanted.what, at)?;
            return Ok(Accepted { responses, ..Accepted::default() });
        }
        let mut appending = None;
        let noted = |sequence| {
            let (by, what) = (by.to_owned(), wanted.what.clone());
            let entry = Entry { sequence, at_ms: at.millis(), by, what, soft: wanted.soft, responses: None };
            // In the order of the numbers: the next one is not given out before.
            appending = self.journal.as_ref().map(|journal| {
                let payload = serde_json::to_vec(&entry).unwrap_or_default();
                journal.append(Record { sequence, payload })
            });
            self.history.lock().add(entry);
        };
        let done = self.store.invalidate(&wanted.what, wanted.soft, at, noted)?;
        self.history.lock().told(done.sequence, done.responses);
        let written = appending.map(|appending| appending.and_then(Appending::wait));
        self.counters.purges.up();
        self.counters.purged_responses.add(done.responses as u64);
        for selector in &wanted.what {
            tracing::info!(
                target: "forebay::purge",
                by,
                soft = wanted.soft,
                sequence = done.sequence,
                responses = done.responses,
                "purged {selector}"
            );
        }
        Ok(Accepted {
            sequence: Some(done.sequence),
            responses: done.responses,
            pending: done.pending,
            durable: written == Some(Ok(())),
            trouble: written.and_then(Result::err).map(|error| error.to_string()),
        })
    }

    /// The last invalidations, newest first: at most `count` of those before the
    /// number `before`.
    pub fn history(&self, before: Option<u64>, count: usize) -> Vec<Entry> {
        self.history.lock().newest(before, count)
    }

    /// One invalidation, as long as it is remembered.
    pub fn entry(&self, sequence: u64) -> Option<Entry> {
        self.history.lock().find(sequence)
    }
}
