//! Where everything stored is looked up: the variants of each key, by the key's hash.
//!
//! What always holds: a shard's lock is held for one look or for one change, and never
//! while anything is called but the change itself; whoever reads takes a handle of its
//! own along, and what is replaced is dropped outside of the lock.
//!
//! A look writes two words: the lock of one shard in [`SHARDS`], which nobody shares but
//! who looks for one of that shard's keys at the same moment, and the count of handles of
//! what is found, which everybody shares who wants the same. No other word of the store
//! is written on a hit, but for those that [`super::room`] writes now and then.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::RwLock;

use crate::stored::{CacheKey, Variants};

/// So many locks; a power of two. More than there are threads by far.
const SHARDS: usize = 256;

/// The variants of all keys.
pub(super) struct Table {
    shards: Box<[Shard]>,
}

/// Shards do not share lines of the processor's cache.
#[repr(align(64))]
#[derive(Default)]
struct Shard(RwLock<HashTable<Slot>>);

/// What is stored under one key.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub variants: Arc<Variants>,
    /// In the unit of [`super::room`].
    pub weight: u32,
    /// Whether moka knows it; the window does otherwise.
    pub main: bool,
}

impl Table {
    pub fn new() -> Self {
        Table { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// What is stored under this key.
    pub fn find(&self, key: &CacheKey) -> Option<Arc<Variants>> {
        let shard = self.shard(key.short()).0.read();
        shard.find(key.short(), |slot| *slot.variants.key == *key.text).map(|slot| Arc::clone(&slot.variants))
    }

    /// Replaces what is stored under the key of this text by what `change` makes of it.
    /// Returns what was there and is there no more.
    pub fn change(
        &self,
        hash: u64,
        text: &str,
        change: impl FnOnce(Option<&Slot>) -> Change,
    ) -> Option<Arc<Variants>> {
        let mut shard = self.shard(hash).0.write();
        // Two keys of one hash would displace each other; that is for nobody to bring about.
        match shard.entry(hash, |slot| *slot.variants.key == *text || hash_of(slot) == hash, hash_of) {
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
        self.shard(hash).0.read().find(hash, |slot| hash_of(slot) == hash).cloned()
    }

    /// Lets `change` change the slot of this hash, if there is one.
    pub fn update(&self, hash: u64, change: impl FnOnce(&mut Slot)) {
        self.shard(hash).0.write().find_mut(hash, |slot| hash_of(slot) == hash).map(change);
    }

    /// Everything, a shard at a time, as it was when that shard's turn came.
    pub fn all(&self) -> impl Iterator<Item = Arc<Variants>> + '_ {
        self.shards.iter().flat_map(|shard| {
            let shard = shard.0.read();
            shard.iter().map(|slot| Arc::clone(&slot.variants)).collect::<Vec<_>>()
        })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
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

/// Only a shard that grows asks for it, so it is not kept.
fn hash_of(slot: &Slot) -> u64 {
    CacheKey::short_of(&slot.variants.key)
}
