//! The invalidations that were accepted: who, when, what, how many.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stored::Selector;

/// How many are remembered.
const REMEMBERED: usize = 1000;

/// An accepted invalidation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who wanted it.
    pub by: String,
    /// What it meant.
    pub what: Vec<Selector>,
    /// Whether it made stale only.
    pub soft: bool,
    /// How many stored responses it had hit when it was answered; none while it is
    /// under way, and after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<usize>,
}

/// The last ones, in the order of their numbers.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
}

impl History {
    /// Adds the newest one.
    pub fn add(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        if self.entries.len() > REMEMBERED {
            self.entries.pop_front();
        }
    }

    /// Notes how many responses one has hit.
    pub fn told(&mut self, sequence: u64, responses: usize) {
        if let Some(at) = self.position(sequence) {
            self.entries[at].responses = Some(responses);
        }
    }

    /// At most `count` of those before the number `before`, newest first.
    pub fn newest(&self, before: Option<u64>, count: usize) -> Vec<Entry> {
        let wanted = self.entries.iter().rev().filter(|entry| before.is_none_or(|at| entry.sequence < at));
        wanted.take(count).cloned().collect()
    }

    /// The one of this number.
    pub fn find(&self, sequence: u64) -> Option<Entry> {
        self.position(sequence).map(|at| self.entries[at].clone())
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&sequence, |entry| entry.sequence).ok()
    }
}
