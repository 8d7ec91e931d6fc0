//! The invalidations that were accepted: who, when, what, how many.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stored::{Selector, Strength};

/// How many are remembered.
const REMEMBERED: usize = 10_000;
/// How many bytes of them; one may name ten thousand things.
const REMEMBERED_BYTES: usize = 64 * 1024 * 1024;

/// An accepted invalidation.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its number on this node.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who wanted it.
    pub by: String,
    /// What it meant.
    pub what: Vec<Selector>,
    /// Whether it made stale only.
    pub soft: bool,
    /// Whether what is on hidden routes is gone as well, and not stale only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// How many stored responses it had hit when it was answered; none while it is
    /// under way, and after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<usize>,
    /// In a cluster: who accepted it, the same on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Whether this node accepted it.
    #[serde(default = "yes")]
    pub own: bool,
    /// In a cluster: its place in the order in which the nodes apply them, as soon as
    /// it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// Which invalidation it is, the same on every node of a cluster.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The node that accepted it.
    pub node: String,
    /// Its number there.
    pub number: u64,
}

fn yes() -> bool {
    true
}

impl Entry {
    /// How far it goes.
    pub fn strength(&self) -> Strength {
        Strength::of(self.soft, self.forced)
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        256 + self.by.len() + size_of_all(&self.what)
    }
}

/// About how many bytes these take.
pub(super) fn size_of_all(what: &[Selector]) -> usize {
    what.iter().map(|selector| selector.to_string().len() + 64).sum()
}

/// The last ones, in the order of their numbers.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl History {
    /// Adds the newest one.
    pub fn add(&mut self, entry: Entry) {
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while (self.entries.len() > REMEMBERED || self.bytes > REMEMBERED_BYTES)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.size();
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

    /// Notes the place of one that a node of the cluster accepted.
    pub fn placed(&mut self, identity: &Identity, offset: u64) {
        // It is among the last ones as a rule.
        let found = self.entries.iter_mut().rev().find(|entry| entry.identity.as_ref() == Some(identity));
        if let Some(entry) = found {
            entry.offset = Some(offset);
        }
    }

    /// The places are not those of this order any more.
    pub fn displaced(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.offset = None);
    }

    /// Those that this node has accepted since then, in milliseconds since 1970; oldest first.
    pub fn own_since(&self, at_ms: u64) -> Vec<Entry> {
        let is_meant = |entry: &&Entry| entry.own && entry.identity.is_some() && entry.at_ms >= at_ms;
        self.entries.iter().filter(is_meant).cloned().collect()
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&sequence, |entry| entry.sequence).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_remembered_and_no_more_bytes_than_there_is_room_for() {
        let mut history = History::default();
        for sequence in 1..=REMEMBERED as u64 + 5 {
            history.add(Entry { sequence, what: vec![Selector::All], ..Entry::default() });
        }
        assert_eq!(
            (history.entries.len(), history.find(5), history.find(6).is_some()),
            (REMEMBERED, None, true)
        );
        let tag = Selector::Tag { tag: "t".repeat(1024 * 1024), site: None };
        for sequence in 20_000..20_100 {
            history.add(Entry { sequence, what: vec![tag.clone()], ..Entry::default() });
        }
        assert!(history.bytes <= REMEMBERED_BYTES && history.entries.len() > 50);
        assert_eq!(history.bytes, history.entries.iter().map(Entry::size).sum::<usize>());
        assert!(history.find(20_099).is_some() && history.find(20_000).is_none());
    }
}
