//! The fence: numbered invalidations, so that no response from before one is
//! ever stored after it.
//!
//! What is invalidated goes by a name: the hash of a cache key, or of a path for
//! an invalidation that names no host. Every invalidation gets the next sequence number. A fetch notes the sequence
//! just before the origin is asked; what it brings is compared with every later
//! invalidation of its names.
//!
//! What always holds: numbers only grow; the number of the last invalidation of
//! a key is remembered for the last [`REMEMBERED`] invalidations, and everything
//! older than those counts as invalidated. So forgetting errs towards fetching
//! once more, never towards serving what was purged.

use std::collections::{HashMap, VecDeque};

/// How many invalidations are remembered by key.
pub const REMEMBERED: usize = 65_536;

/// The numbers given out so far.
#[derive(Debug, Default)]
pub struct Fence {
    /// The number of the last invalidation; zero before the first one.
    sequence: u64,
    /// The remembered ones in order.
    recent: VecDeque<(u64, u128)>,
    /// For each remembered key its last hard and its last soft one.
    last: HashMap<u128, Last>,
    /// The number of the last one that has been forgotten.
    horizon: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    hard: u64,
    soft: u64,
}

/// What stands between a response and the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalidation {
    /// It was made unusable by the invalidation of this number.
    Hard(u64),
    /// It was made stale by the invalidation of this number.
    Soft(u64),
}

impl Fence {
    /// The number of the last invalidation.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Notes an invalidation of `key` and returns its number.
    pub fn invalidate(&mut self, key: u128, soft: bool) -> u64 {
        self.sequence += 1;
        let last = self.last.entry(key).or_default();
        if soft {
            last.soft = self.sequence;
        } else {
            last.hard = self.sequence;
        }
        self.recent.push_back((self.sequence, key));
        if self.recent.len() > REMEMBERED {
            self.forget_oldest();
        }
        self.sequence
    }

    /// The strongest invalidation later than `sequence` of anything that a
    /// response goes by.
    pub fn since(&self, names: [u128; 2], sequence: u64) -> Option<Invalidation> {
        if sequence < self.horizon {
            return Some(Invalidation::Hard(self.horizon));
        }
        let [first, second] = names.map(|name| self.of(name, sequence));
        match (first, second) {
            (Some(Invalidation::Soft(_)), Some(Invalidation::Hard(_))) => second,
            (None, _) => second,
            _ => first,
        }
    }

    fn of(&self, name: u128, sequence: u64) -> Option<Invalidation> {
        let last = self.last.get(&name)?;
        if last.hard > sequence {
            Some(Invalidation::Hard(last.hard))
        } else if last.soft > sequence {
            Some(Invalidation::Soft(last.soft))
        } else {
            None
        }
    }

    fn forget_oldest(&mut self) {
        let Some((number, key)) = self.recent.pop_front() else { return };
        self.horizon = number;
        if let Some(last) = self.last.get(&key)
            && last.hard.max(last.soft) == number
        {
            self.last.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_fenced_by_later_invalidations_of_its_key_only() {
        let mut fence = Fence::default();
        let before = fence.sequence();
        let hard = fence.invalidate(1, false);
        let soft = fence.invalidate(2, true);
        assert_eq!(fence.since([1, 0], before), Some(Invalidation::Hard(hard)));
        assert_eq!(fence.since([0, 2], before), Some(Invalidation::Soft(soft)));
        assert_eq!(fence.since([3, 4], before), None);
        assert_eq!(fence.since([1, 0], hard), None);
    }

    #[test]
    fn what_has_been_forgotten_counts_as_invalidated() {
        let mut fence = Fence::default();
        let before = fence.sequence();
        for key in 0..REMEMBERED as u128 {
            fence.invalidate(key, false);
        }
        assert_eq!(fence.since([u128::MAX; 2], before), None);
        fence.invalidate(0, false);
        assert!(fence.since([u128::MAX; 2], before).is_some());
        assert_eq!(fence.since([u128::MAX; 2], fence.sequence()), None);
        assert!(fence.last.len() <= REMEMBERED);
    }
}
