//! Who may stay when there is not room for everything: a window, and moka behind it.
//!
//! A newcomer enters the window, a plain queue of hashes. Only when all that is stored
//! needs more room than there is, the oldest of the window is offered to moka, which
//! holds the rest of the room and decides by how often each is asked for (TinyLFU; or by
//! how recently, where everything is to be admitted). What moka turns away or turns out
//! is stored no more. So what is asked for once costs moka nothing, an entry of moka's
//! (which takes a quarter of a KiB) is only paid for when the store is full, and a
//! newcomer has the window's time to show that it is wanted.
//!
//! What always holds: whatever is in the [`Table`] is in the window's queue or is known to
//! moka, and its weight is counted once; moka is called with no lock held; what moka
//! knows of a key is what the table holds, as soon as those who change the key have
//! returned. A removal does not wait for moka: the table is the truth.
//!
//! moka is told of one hit in [`SAMPLE`], and of one miss in as many, so that what it
//! counts is in proportion; also of what is still in the window, for it counts what it
//! does not know, too. Where everything is admitted, who came last counts and not how
//! often: there moka is told of every hit, and has all of the room. As long as it holds
//! nothing it is told nothing.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::Settings;
use super::table::{Change, Slot, Table};
use crate::observe::counters::Counters;
use crate::stored::{CacheKey, Variants};

/// Bytes in the unit of weight: moka's weights have 32 bits, and all variants of a key
/// together may be larger than 4 GiB.
pub(super) const UNIT: u64 = 64;

/// What an entry of moka's takes, in units.
const ENTRY: u32 = 4;

/// The least part of the room that the window has, in percent.
const WINDOW: u64 = 10;

/// moka is told of one hit in so many.
const SAMPLE: u32 = 4;

/// The room of a store.
pub(super) struct Room {
    table: Arc<Table>,
    main: Cache<u64, Arc<Variants>, BuildHasherDefault<AlreadyHashed>>,
    window: Mutex<VecDeque<u64>>,
    held: Arc<Held>,
    /// In units.
    limit: u64,
    main_limit: u64,
    /// moka is told of one look in so many.
    sample: u32,
}

/// Weights of all that is stored, in units.
#[derive(Default)]
struct Held {
    window: AtomicU64,
    /// moka's entries included.
    main: AtomicU64,
    /// How many keys are in the window.
    queued: AtomicU64,
}

impl Held {
    fn add(&self, slot: &Slot) {
        if slot.main {
            self.main.fetch_add(u64::from(slot.weight + ENTRY), Ordering::Relaxed);
        } else {
            self.window.fetch_add(u64::from(slot.weight), Ordering::Relaxed);
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn less(&self, slot: &Slot) {
        if slot.main {
            self.main.fetch_sub(u64::from(slot.weight + ENTRY), Ordering::Relaxed);
        } else {
            self.window.fetch_sub(u64::from(slot.weight), Ordering::Relaxed);
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Room {
    pub fn new(settings: &Settings, counters: Arc<Counters>, table: Arc<Table>) -> Self {
        let limit = settings.memory / UNIT;
        let (window, sample) = if settings.admit_all { (0, 1) } else { (WINDOW, SAMPLE) };
        let main_limit = limit - limit * window / 100;
        let held: Arc<Held> = Arc::default();
        let main = Cache::builder()
            .max_capacity(main_limit)
            .weigher(|_, variants: &Arc<Variants>| weight(variants).saturating_add(ENTRY))
            .eviction_policy(if settings.admit_all {
                EvictionPolicy::lru()
            } else {
                EvictionPolicy::tiny_lfu()
            })
            .eviction_listener({
                let (table, held) = (Arc::clone(&table), Arc::clone(&held));
                move |hash: Arc<u64>, variants: Arc<Variants>, cause| {
                    if cause == RemovalCause::Size && evict(&table, &held, *hash, &variants) {
                        counters.store_evicted.up();
                        variants.responses.iter().for_each(|response| response.leave());
                    }
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        Room { table, main, window: Mutex::default(), held, limit, main_limit, sample }
    }

    /// Notes that a key was looked for, now and then.
    pub fn looked_for(&self, key: &CacheKey) {
        if self.held.main.load(Ordering::Relaxed) == 0 {
            return;
        }
        if self.sample == 1 || fastrand::u32(..self.sample) == 0 {
            drop(self.main.get(&key.short()));
        }
    }

    /// Replaces what is stored under a key by what `change` makes of it: `None` is
    /// nothing, `Some(None)` ends it. Makes room for what has come.
    pub fn change(
        &self,
        hash: u64,
        text: &str,
        change: impl FnOnce(Option<&Arc<Variants>>) -> Option<Option<Variants>>,
    ) {
        let (mut entered, mut in_main) = (false, false);
        let replaced = self.table.change(hash, text, |slot| {
            let stored = slot.map(|slot| &slot.variants).filter(|variants| *variants.key == *text);
            let Some(changed) = change(stored) else { return Change::Nothing };
            let main = slot.is_some_and(|slot| slot.main);
            if let Some(slot) = slot {
                self.held.less(slot);
            }
            in_main = main;
            let Some(changed) = changed else { return Change::Remove };
            entered = slot.is_none();
            let slot = Slot { weight: weight(&changed), variants: Arc::new(changed), main };
            self.held.add(&slot);
            Change::Put(slot)
        });
        drop(replaced);
        if entered {
            self.window.lock().push_back(hash);
        }
        if in_main {
            self.tell(hash);
        }
        self.make_room();
    }

    /// Tells moka what the table holds under a key of its own, until they agree: of those
    /// who change a key at once, the last one to tell has seen what there is at last.
    fn tell(&self, hash: u64) {
        let current = || self.table.slot(hash).filter(|slot| slot.main).map(|slot| slot.variants);
        let mut told = current();
        loop {
            match &told {
                Some(variants) => self.main.insert(hash, Arc::clone(variants)),
                None => self.main.invalidate(&hash),
            }
            let now = current();
            if now.as_ref().map(Arc::as_ptr) == told.as_ref().map(Arc::as_ptr) {
                return;
            }
            told = now;
        }
    }

    /// Offers the oldest of the window to moka, as long as the window is larger than
    /// what moka leaves to it.
    fn make_room(&self) {
        loop {
            let main = self.held.main.load(Ordering::Relaxed).min(self.main_limit);
            if self.held.window.load(Ordering::Relaxed) <= self.limit - main {
                break;
            }
            let Some(oldest) = self.window.lock().pop_front() else { break };
            self.offer(oldest);
        }
        self.tidy();
    }

    fn offer(&self, hash: u64) {
        let mut offered = false;
        self.table.update(hash, |slot| {
            if !slot.main {
                self.held.less(slot);
                slot.main = true;
                self.held.add(slot);
                offered = true;
            }
        });
        if offered {
            self.tell(hash);
        }
    }

    /// Forgets hashes of what is stored no more, before they are most of the window.
    fn tidy(&self) {
        let queued = self.held.queued.load(Ordering::Relaxed) as usize;
        let mut kept = {
            let mut window = self.window.lock();
            if window.len() <= 2 * queued + 1024 {
                return;
            }
            std::mem::take(&mut *window)
        };
        let mut seen = HashSet::new();
        kept.retain(|&hash| self.table.slot(hash).is_some_and(|slot| !slot.main) && seen.insert(hash));
        kept.shrink_to_fit();
        let mut window = self.window.lock();
        kept.append(&mut window);
        *window = kept;
    }

    /// Lets moka do what it has put off.
    pub fn tick(&self) {
        self.main.run_pending_tasks();
    }

    /// Bytes that all that is stored takes.
    pub fn bytes(&self) -> u64 {
        (self.held.window.load(Ordering::Relaxed) + self.held.main.load(Ordering::Relaxed)) * UNIT
    }
}

/// Takes out what moka has turned out, unless it has been changed since. Says whether it did.
fn evict(table: &Table, held: &Held, hash: u64, variants: &Arc<Variants>) -> bool {
    let evicted = table.change(hash, &variants.key, |slot| match slot {
        Some(slot) if slot.main && Arc::ptr_eq(&slot.variants, variants) => {
            held.less(slot);
            Change::Remove
        }
        _ => Change::Nothing,
    });
    evicted.is_some()
}

fn weight(variants: &Variants) -> u32 {
    u32::try_from((variants.weight() as u64).div_ceil(UNIT)).unwrap_or(u32::MAX - ENTRY)
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

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::clock::Wall;

    fn room(memory: u64) -> Room {
        let settings = Settings { memory, ..Settings::default() };
        Room::new(&settings, Arc::default(), Arc::new(Table::new()))
    }

    fn key(n: u64) -> CacheKey {
        CacheKey::new("http", "a", 80, &format!("/{n}"))
    }

    fn put(room: &Room, key: &CacheKey, until: u64) {
        room.change(key.short(), &key.text, |_| {
            let mut variants = Variants::none(Arc::clone(&key.text));
            variants.marker = Some(Wall::from_secs(until));
            Some(Some(variants))
        });
    }

    fn end(room: &Room, key: &CacheKey) {
        room.change(key.short(), &key.text, |_| Some(None));
    }

    /// That all that is stored is in one of the two, and counted once.
    fn check(room: &Room) {
        room.tick();
        let queue: HashSet<u64> = room.window.lock().iter().copied().collect();
        let known: HashMap<u64, Arc<Variants>> =
            room.main.iter().map(|(hash, variants)| (*hash, variants)).collect();
        let (mut window, mut main, mut queued) = (0, 0, 0);
        for variants in room.table.all() {
            let hash = CacheKey::short_of(&variants.key);
            let slot = room.table.slot(hash).expect("nobody changes anything");
            if slot.main {
                assert!(Arc::ptr_eq(&known[&hash], &variants), "moka knows another one");
                main += u64::from(slot.weight + ENTRY);
            } else {
                assert!(queue.contains(&hash), "it would stay for ever");
                window += u64::from(slot.weight);
                queued += 1;
            }
        }
        let held = |held: &AtomicU64| held.load(Ordering::Relaxed);
        assert_eq!(
            (held(&room.held.window), held(&room.held.main), held(&room.held.queued)),
            (window, main, queued)
        );
        assert!(window + main <= room.limit, "{window} and {main} are more than {}", room.limit);
    }

    #[test]
    fn whoever_changes_what_at_once_everything_is_in_one_place_and_counted() {
        let room = room(30_000);
        for round in 0..20 {
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (room, mut random) = (&room, fastrand::Rng::with_seed(round * 4 + thread));
                    scope.spawn(move || {
                        for n in 0..2000 {
                            let key = key(random.u64(..200));
                            match random.u8(..8) {
                                0 => end(room, &key),
                                1 => room.looked_for(&key),
                                2 if n % 100 == 0 => room.tick(),
                                _ => put(room, &key, random.u64(..)),
                            }
                        }
                    });
                }
            });
            check(&room);
        }
        assert!(room.main.entry_count() > 0, "there was no need of moka");
        (0..200).for_each(|n| end(&room, &key(n)));
        check(&room);
        assert_eq!((room.table.len(), room.bytes()), (0, 0));
    }

    #[test]
    fn moka_is_left_alone_while_there_is_room() {
        let room = room(1 << 20);
        (0..1000).for_each(|n| put(&room, &key(n), n));
        check(&room);
        assert_eq!((room.table.len(), room.main.entry_count()), (1000, 0));
    }

    #[test]
    fn what_comes_and_goes_does_not_let_the_queue_grow() {
        let room = room(1 << 20);
        for n in 0..100_000 {
            put(&room, &key(n % 3), n);
            end(&room, &key((n + 1) % 3));
        }
        assert!(room.window.lock().len() < 1100);
        check(&room);
    }
}
