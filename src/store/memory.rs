//! The memory tier: moka holds the variants of each key, by weight in bytes.
//!
//! What always holds: all variants of a key change together; a change happens
//! under moka's lock of that key, and so does the look at the fence that goes
//! before it, and an invalidation is numbered before it takes that lock. So
//! either the insertion sees the number, or the invalidation sees the response.
//!
//! What it never does: use moka's own expiry (freshness is decided above), or
//! hold a lock when a function returns.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::{Fence, Invalidation, Settings};
use crate::clock::Wall;
use crate::observe::counters::Counters;
use crate::stored::{CacheKey, StoredResponse, Variants};

/// The store of a node.
pub struct Store {
    cache: Cache<u128, Arc<Variants>, BuildHasherDefault<AlreadyHashed>>,
    fence: Mutex<Fence>,
    settings: Settings,
    counters: Arc<Counters>,
}

/// Bytes in moka's unit of weight: its weights have 32 bits, and all variants of a
/// key together may be larger than 4 GiB.
const UNIT: u64 = 64;

/// What became of a response that was to be stored.
#[derive(Clone, Debug)]
pub enum Inserted {
    /// It is reusable from now on.
    Stored(Arc<StoredResponse>),
    /// An invalidation of this number came after its request.
    Fenced(u64),
    /// The response that it was to freshen is there no more.
    Gone,
    /// What is stored is better than this.
    Outdone,
}

/// How a stored response stands to one that is to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rival {
    /// It answers other requests.
    Other,
    /// It makes way.
    Yields,
    /// It is better, and the newcomer is not stored.
    Stays,
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings, counters: Arc<Counters>) -> Self {
        let listener_counters = Arc::clone(&counters);
        let cache = Cache::builder()
            .max_capacity(settings.memory / UNIT)
            .weigher(|_, variants: &Arc<Variants>| {
                u32::try_from((variants.weight() as u64).div_ceil(UNIT)).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    listener_counters.store_evicted.up();
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        Store { cache, fence: Mutex::default(), settings, counters }
    }

    /// What is stored under this key. Takes no lock that outlives the call.
    pub fn find_in_memory(&self, key: &CacheKey) -> Option<Arc<Variants>> {
        self.cache.get(&key.hash).filter(|variants| *variants.key == *key.text)
    }

    /// The number of the last invalidation; to be noted before an origin is asked.
    pub fn sequence(&self) -> u64 {
        self.fence.lock().sequence()
    }

    /// Whether an invalidation of this key came after `sequence`.
    pub fn invalidated_since(&self, key: &CacheKey, sequence: u64) -> Option<Invalidation> {
        self.fence.lock().since([key.hash, key.path_hash], sequence)
    }

    /// Whether a response that was found under this key may still be used: nothing
    /// has purged it hard since.
    pub fn may_use(&self, key: &CacheKey, found: &StoredResponse) -> bool {
        let invalidated = self.invalidated_since(key, found.head.sequence);
        !found.is_gone() && !matches!(invalidated, Some(Invalidation::Hard(_)))
    }

    /// The largest response that is kept, in bytes of body.
    pub fn max_response(&self) -> u64 {
        (self.settings.memory / 100).saturating_mul(u64::from(self.settings.max_response_percent))
    }

    /// Stores a response in place of the stored ones that yield to it, unless one
    /// of them stays; sets or clears the key's hit-for-miss marker with it.
    pub fn insert(
        &self,
        key: &CacheKey,
        response: StoredResponse,
        rival: impl Fn(&StoredResponse) -> Rival,
        marker: Option<Wall>,
    ) -> Inserted {
        self.put(key, response, None, rival, marker)
    }

    /// Stores `response`, which shares the body of `old`, in its place. If `old`
    /// is gone (it was purged, or evicted), its body does not come back.
    pub fn freshen(
        &self,
        key: &CacheKey,
        old: &Arc<StoredResponse>,
        response: StoredResponse,
        marker: Option<Wall>,
    ) -> Inserted {
        self.put(key, response, Some(old), |_| Rival::Other, marker)
    }

    fn put(
        &self,
        key: &CacheKey,
        response: StoredResponse,
        old: Option<&Arc<StoredResponse>>,
        rival: impl Fn(&StoredResponse) -> Rival,
        marker: Option<Wall>,
    ) -> Inserted {
        let response = Arc::new(response);
        let mut refused = None;
        self.change(key, |variants| {
            match self.fence.lock().since([key.hash, key.path_hash], response.head.sequence) {
                Some(Invalidation::Hard(number)) => {
                    refused = Some(Inserted::Fenced(number));
                    return false;
                }
                Some(Invalidation::Soft(_)) => response.soft_purge(),
                None => {}
            }
            let is_old = |stored: &Arc<StoredResponse>| old.is_some_and(|old| Arc::ptr_eq(stored, old));
            if old.is_some() && !variants.responses.iter().any(is_old) {
                refused = Some(Inserted::Gone);
                return false;
            }
            let rivals: Vec<Rival> = variants.responses.iter().map(|stored| rival(stored)).collect();
            if rivals.contains(&Rival::Stays) {
                refused = Some(Inserted::Outdone);
                return false;
            }
            let mut rivals = rivals.into_iter();
            variants.responses.retain(|stored| rivals.next() == Some(Rival::Other) && !is_old(stored));
            variants.responses.insert(0, Arc::clone(&response));
            self.limit(variants);
            variants.marker = marker;
            true
        });
        match refused {
            None => self.counters.store_inserted.up(),
            Some(Inserted::Fenced(_)) => self.counters.store_fenced.up(),
            Some(Inserted::Outdone) => self.counters.store_outdone.up(),
            Some(Inserted::Gone | Inserted::Stored(_)) => {}
        }
        refused.unwrap_or(Inserted::Stored(response))
    }

    /// Leaves a hit-for-miss marker: until then requests are not collapsed.
    pub fn mark(&self, key: &CacheKey, until: Wall) {
        self.counters.store_marked.up();
        self.change(key, |variants| {
            variants.marker = Some(until);
            true
        });
    }

    /// Makes everything stored under this key unusable, or only stale. Returns
    /// the invalidation's number and how many responses there were.
    pub fn invalidate(&self, key: &CacheKey, soft: bool) -> (u64, usize) {
        let number = self.fence.lock().invalidate(key.hash, soft);
        (number, self.end(key.hash, &key.text, soft))
    }

    /// Makes everything stored under this key unusable on account of a response that
    /// was asked for at `since`. Returns the invalidation's number, unless another
    /// one came in between: then that response is outdated as well.
    pub fn invalidate_for(&self, key: &CacheKey, since: u64) -> Option<u64> {
        let (number, latest) = {
            let mut fence = self.fence.lock();
            let latest = fence.since([key.hash, key.path_hash], since).is_none();
            (fence.invalidate(key.hash, false), latest)
        };
        self.end(key.hash, &key.text, false);
        latest.then_some(number)
    }

    /// As [`Store::invalidate`], for everything with this path and query, whatever its
    /// scheme and host. Looks at every key.
    pub fn invalidate_path(&self, path_and_query: &str, soft: bool) -> (u64, usize) {
        let number = self.fence.lock().invalidate(CacheKey::path_hash(path_and_query), soft);
        let mut count = 0;
        for (hash, variants) in &self.cache {
            if CacheKey::path_of(&variants.key) == path_and_query {
                count += self.end(*hash, &variants.key, soft);
            }
        }
        (number, count)
    }

    /// Ends the use of everything stored under a key, or its freshness.
    fn end(&self, hash: u128, text: &Arc<str>, soft: bool) -> usize {
        let mut count = 0;
        self.change_at(hash, text, |variants| {
            count = variants.responses.len();
            if soft {
                variants.responses.iter().for_each(|response| response.soft_purge());
                return false;
            }
            variants.responses.iter().for_each(|response| response.hard_purge());
            variants.responses.clear();
            variants.marker = None;
            true
        });
        count
    }

    /// Removes one response that was found to be no longer right, if it is still
    /// there.
    pub fn remove(&self, key: &CacheKey, response: &Arc<StoredResponse>) {
        self.change(key, |variants| {
            let before = variants.responses.len();
            variants.responses.retain(|stored| !Arc::ptr_eq(stored, response));
            variants.responses.len() != before
        });
    }

    /// Lets moka do what it has put off (eviction, above all), and brings the
    /// gauges up to date. To be called from a ticker.
    pub fn tick(&self) {
        self.cache.run_pending_tasks();
        self.counters.store_keys.set(self.cache.entry_count());
        self.counters.store_bytes.set(self.cache.weighted_size() * UNIT);
        self.counters.store_limit_bytes.set(self.settings.memory);
    }

    /// How often [`Store::tick`] wants to be called.
    pub const TICK: Duration = Duration::from_millis(500);

    /// Changes the variants of a key as a whole. `change` says whether it did.
    fn change(&self, key: &CacheKey, change: impl FnOnce(&mut Variants) -> bool) {
        self.change_at(key.hash, &key.text, change);
    }

    fn change_at(&self, hash: u128, text: &Arc<str>, change: impl FnOnce(&mut Variants) -> bool) {
        self.cache.entry(hash).and_compute_with(|entry| {
            let stored = entry.map(moka::Entry::into_value).filter(|found| *found.key == **text);
            let mut variants =
                stored.map_or_else(|| Variants::none(Arc::clone(text)), |found| Variants::clone(&found));
            if !change(&mut variants) {
                Op::Nop
            } else if variants.responses.is_empty() && variants.marker.is_none() {
                Op::Remove
            } else {
                variants.responses.shrink_to_fit();
                Op::Put(Arc::new(variants))
            }
        });
    }

    /// Drops the least recently used variants above the limit. The first one is
    /// the newcomer and stays.
    fn limit(&self, variants: &mut Variants) {
        while variants.responses.len() > self.settings.max_variants.max(1) {
            let others = variants.responses.iter().enumerate().skip(1);
            // `min_by_key` takes the first of equals; the last one is the oldest.
            let Some((oldest, _)) = others.rev().min_by_key(|(_, response)| response.last_used()) else {
                break;
            };
            variants.responses.remove(oldest);
            self.counters.store_variants_dropped.up();
        }
    }
}

/// Keys are hashes already; hashing them again would only cost.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
