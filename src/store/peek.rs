//! A look into the store that leaves no trace, for a person who asks what would be found.
//!
//! What always holds: what comes out is what [`Store::find_in_memory`] would find, with
//! everything that waits to be tested; it is made of copies of heads that share the bodies.
//!
//! What it never does: mark a response, count, tell the room that a key is wanted, or keep
//! a lock.

use std::sync::Arc;

use super::{Invalidation, Store};
use crate::stored::index::{Home, Index};
use crate::stored::{CacheKey, StoredResponse, Strength, Variants};

/// What is stored under a key.
#[derive(Clone, Debug, Default)]
pub struct Peeked {
    /// Copies, as they would be found; none where nothing is stored.
    pub variants: Option<Arc<Variants>>,
    /// Of each of the responses there what has purged it, in the same order.
    pub purged: Vec<Option<Purged>>,
    /// The last invalidation of this URL that is remembered, as far as one needs to know nothing
    /// of a response for that.
    pub last: Option<Invalidation>,
}

/// That a response has been purged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purged {
    /// The number of the invalidation, as long as it is remembered.
    pub sequence: Option<u64>,
    /// The pattern that would find it at the next look, where it has not been marked yet.
    pub pattern: Option<String>,
}

impl Store {
    /// What is stored under this key. Nothing is changed by that, and nothing is counted.
    pub fn peek(&self, key: &CacheKey) -> Peeked {
        let last = {
            let fence = self.fence.lock();
            fence.since(key, None, fence.horizon())
        };
        let Some(found) = self.table.find(key) else { return Peeked { last, ..Peeked::default() } };
        let apart = Arc::<Index>::default();
        let (responses, purged): (Vec<_>, Vec<_>) =
            found.responses.iter().map(|response| self.copy(key, response, &apart)).unzip();
        let variants =
            Variants { key: Arc::clone(&found.key), responses: responses.into(), marker: found.marker };
        Peeked { variants: Some(Arc::new(variants)), purged, last }
    }

    /// A copy of a response with all that has been done to it or would be at the next look.
    fn copy(
        &self,
        key: &CacheKey,
        response: &StoredResponse,
        apart: &Arc<Index>,
    ) -> (Arc<StoredResponse>, Option<Purged>) {
        let head = &response.head;
        let mut copy = response.apart();
        let home = Home {
            authority: CacheKey::authority_of(&key.text),
            site: &head.site,
            sequence: head.sequence,
            hidden: head.hidden,
        };
        copy.settle(apart.place(home, &head.names));
        if response.is_soft_purged() {
            copy.purge(Strength::Soft);
        }
        if response.is_gone() {
            copy.purge(Strength::Forced);
        }
        let marked = response.is_gone() || response.is_soft_purged();
        let waiting =
            if response.is_gone() { Some(Vec::new()) } else { self.patterns.waiting(&key.text, response) };
        let mut purged = None;
        match waiting {
            Some(patterns) => {
                for pattern in patterns {
                    if copy.purge(pattern.strength) {
                        purged = Some(Purged {
                            sequence: Some(pattern.number),
                            pattern: Some(pattern.test.to_string()),
                        });
                    }
                }
            }
            // The list is not enough; the fence is asked, as it is at a look.
            None => match self.invalidated_since(key, Some(head), head.sequence) {
                Some(Invalidation::Hard(number)) if copy.purge(Strength::Forced) => {
                    purged = Some(Purged { sequence: Some(number), pattern: None });
                }
                Some(Invalidation::Soft(number)) if copy.purge(Strength::Soft) => {
                    purged = Some(Purged { sequence: Some(number), pattern: None });
                }
                _ => {}
            },
        }
        if purged.is_none() && marked {
            purged = Some(Purged { sequence: self.number_of(key, response), pattern: None });
        }
        (Arc::new(copy), purged)
    }

    /// The number of the invalidation that has marked a response.
    fn number_of(&self, key: &CacheKey, response: &StoredResponse) -> Option<u64> {
        let fence = self.fence.lock();
        // What has been forgotten counts there as if it had meant everything.
        let since = response.head.sequence.max(fence.horizon());
        match fence.since(key, Some(&response.head), since)? {
            Invalidation::Hard(number) | Invalidation::Soft(number) => Some(number),
        }
    }
}
