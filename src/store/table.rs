//! Where everything stored is looked up: the variants of each key, by the key's hash.
//!
//! What always holds: a shard's lock is held for one look or for one change, and never
//! while anything is called but that look or change itself; whoever reads takes along what it
//! wants to keep, and what is replaced is dropped outside of the lock.
//!
//! A look writes no word that other threads write: who reads has of each lock a word that only
//! the readers of the same thread write (from nine threads on, two threads), and whoever changes
//! something, which happens once for many looks, takes all of them.
//! So what a hit writes that others write, too, is the count of handles of the response that
//! it chooses, and nothing else but once in a second when that was used: the store is looked at
//! where it stands, what all requests need (rules, counters) they share by
//! [handles](crate::apart) of their own thread, and what [`super::room`] is told of each look
//! stands on a list of the thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::stored::{CacheKey, Variants};

/// So many locks, of a KiB each; a power of two. More than there are threads by far, and so many
/// that what is done with one of them locked (it grows, or is walked through) is short.
const SHARDS: usize = 256;

/// The variants of all keys.
pub(super) struct Table {
    shards: Box<[Shard]>,
    /// Which shard is to be shrunk next, if it has become too large.
    shrinks: AtomicUsize,
}

/// Shards do not share lines of the processor's cache.
#[repr(align(64))]
#[derive(Default)]
struct Shard(ShardedLock<HashTable<Slot>>);

impl Shard {
    fn read(&self) -> ShardedLockReadGuard<'_, HashTable<Slot>> {
        // A change that has panicked has changed one slot or has not.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> ShardedLockWriteGuard<'_, HashTable<Slot>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is stored under one key.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// [`CacheKey::short`]; a shard that grows does not have to look at every key.
    pub hash: u64,
    pub variants: Arc<Variants>,
    /// In the unit of [`super::room`].
    pub weight: u32,
    /// Whether moka knows it; the window does otherwise.
    pub main: bool,
}

impl Table {
    pub fn new() -> Self {
        Table { shards: (0..SHARDS).map(|_| Shard::default()).collect(), shrinks: AtomicUsize::new(0) }
    }

    /// Shows `look` what is stored under this key, where it stands: nobody changes anything in
    /// this shard meanwhile, so `look` is short and does not come here again.
    pub fn look<R>(&self, key: &CacheKey, look: impl FnOnce(Option<&Arc<Variants>>) -> R) -> R {
        let shard = self.shard(key.short()).read();
        let is_meant = |slot: &Slot| slot.hash == key.short() && *slot.variants.key == *key.text;
        look(shard.find(key.short(), is_meant).map(|slot| &slot.variants))
    }

    /// What is stored under this key.
    pub fn find(&self, key: &CacheKey) -> Option<Arc<Variants>> {
        self.look(key, |found| found.cloned())
    }

    /// Replaces what is stored under the key of this text by what `change` makes of it.
    /// Returns what was there and is there no more.
    pub fn change(
        &self,
        hash: u64,
        text: &str,
        change: impl FnOnce(Option<&Slot>) -> Change,
    ) -> Option<Arc<Variants>> {
        let mut shard = self.shard(hash).write();
        // Two keys of one hash would displace each other; that is for nobody to bring about.
        match shard.entry(hash, |slot| slot.hash == hash || *slot.variants.key == *text, |slot| slot.hash) {
            Entry::Occupied(mut entry) => match change(Some(entry.get())) {
                Change::Nothing => None,
                Change::Put(slot) => Some(std::mem::replace(entry.get_mut(), slot).variants),
                Change::Remove => Some(entry.remove().0.variants),
            },
            Entry::Vacant(entry) => {
                if let Change::Put(slot) = change(None) {
                    entry.insert(slot);
                }
                None
            }
        }
    }

    /// What is stored under the key of this hash.
    pub fn slot(&self, hash: u64) -> Option<Slot> {
        self.shard(hash).read().find(hash, |slot| slot.hash == hash).cloned()
    }

    /// Lets `change` change the slot of this hash, if there is one.
    pub fn update(&self, hash: u64, change: impl FnOnce(&mut Slot)) {
        self.shard(hash).write().find_mut(hash, |slot| slot.hash == hash).map(change);
    }

    /// Everything, a shard at a time, as it was when that shard's turn came.
    pub fn all(&self) -> impl Iterator<Item = Arc<Variants>> + '_ {
        self.shards.iter().flat_map(|shard| {
            let shard = shard.read();
            shard.iter().map(|slot| Arc::clone(&slot.variants)).collect::<Vec<_>>()
        })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Gives back what a few shards have too much, after most of what they had is gone.
    pub fn shrink(&self) {
        for _ in 0..SHARDS / 16 {
            let next = self.shrinks.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let Some(shard) = self.shards.get(next) else { continue };
            let is_too_large = |shard: &HashTable<Slot>| shard.capacity() > 64 + 4 * shard.len();
            if is_too_large(&shard.read()) {
                let mut shard = shard.write();
                let wanted = 2 * shard.len();
                shard.shrink_to(wanted, |slot| slot.hash);
            }
        }
    }

    /// For how many keys there is room.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().capacity()).sum()
    }

    /// The low bits find the place within a shard, and the highest ones tell places apart.
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

/// What becomes of a slot.
pub(super) enum Change {
    Nothing,
    Put(Slot),
    Remove,
}
