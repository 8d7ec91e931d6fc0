//! Making stored responses unusable, or stale, on somebody's word.
//!
//! What always holds: from the moment that an invalidation has returned no
//! response from before it is used as if it had not been, be it stored or on its
//! way; invalidations are numbered, and what is told of them is in that order.

pub mod history;
pub mod target;
pub mod wire;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::observe::counters::Counters;
use crate::store::{self, Store};
use crate::stored::Selector;

pub use history::{Entry, History};
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
}

/// What an invalidation has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// Its number; none for one that only counted.
    pub sequence: Option<u64>,
    /// How many stored responses it has hit so far.
    pub responses: usize,
    /// Whether more may be hit: some have not been tested yet, and are before they
    /// are used.
    pub pending: bool,
}

/// The invalidations of a node.
pub struct Invalidator {
    store: Arc<Store>,
    history: Mutex<History>,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Invalidator {
    /// For what is stored there.
    pub fn new(store: Arc<Store>, clock: Clock, counters: Arc<Counters>) -> Self {
        Invalidator { store, history: Mutex::default(), clock, counters }
    }

    /// Invalidates what is wanted in the name of `by`. May take a moment: not to be
    /// called where others wait.
    pub fn invalidate(&self, wanted: &Wanted, by: &str) -> Result<Accepted, store::Refused> {
        let at = self.clock.now();
        if wanted.dry_run {
            let responses = self.store.count(&wanted.what, at)?;
            return Ok(Accepted { sequence: None, responses, pending: false });
        }
        let noted = |sequence| {
            let entry = Entry {
                sequence,
                at_ms: at.millis(),
                by: by.to_owned(),
                what: wanted.what.clone(),
                soft: wanted.soft,
                responses: None,
            };
            self.history.lock().add(entry);
        };
        let done = self.store.invalidate(&wanted.what, wanted.soft, at, noted)?;
        self.history.lock().told(done.sequence, done.responses);
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
        Ok(Accepted { sequence: Some(done.sequence), responses: done.responses, pending: done.pending })
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
