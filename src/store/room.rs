//! Who may stay when there is not room for everything: a window, and moka behind it.
//!
//! A newcomer enters the window, a plain queue of hashes; one that would fill it alone is
//! offered to moka at once. As soon as the room is [half full](Room::begins), the oldest of the
//! window are offered to moka, which holds the rest of the room and decides by how often each
//! is asked for (TinyLFU; or by how recently, where everything is to be admitted). What moka
//! turns away or turns out is stored no more. So what is asked for once costs moka nothing, an
//! entry of moka's (which takes a quarter of a KiB) is only paid for where room becomes scarce,
//! and a newcomer has the window's time to show that it is wanted.
//!
//! Everybody who brings something moves as much as is needed so that moka knows all but the
//! window by the time that the room is full: [twice](Room::make_room) what they brought. So
//! nobody moves everything.
//!
//! What always holds: whatever is in the [`Table`] is in the window's queue or is known to
//! moka, and its weight is counted once; moka is called with no lock held; what moka
//! knows of a key is what the table holds, as soon as those who change the key have
//! returned. A removal does not wait for moka: the table is the truth.
//!
//! Weights are what the allocator takes: where it is known what the process [has in
//! all](Room::takes), the holes that come and go with responses of all lengths are counted in.
//!
//! A key that is ended and comes again while it is in the queue stands there twice, and is
//! offered when the first of the two is the oldest: earlier than others, which costs it
//! nothing while moka has room for it.
//!
//! moka is told of one look in [`SAMPLE`], be it a hit or a miss, so that what it counts is in
//! proportion; also of what is still in the window, for it counts what it does not know, too.
//! Who looks leaves that on a list of its thread; whoever brings something tells moka what stands
//! on the list of the same thread and of one other in turn, and a ticker what stands on all of
//! them. On a list that is full a look takes the place of another one, whichever that is: there
//! little is brought for what is looked for, and little has to go.
//!
//! Where everything is admitted, who came last counts and not how often: there moka is told at
//! once of a response that is used, of each once in a second, and has all of the room. A key with
//! nothing but a marker is as old as its marker there. As long as moka has held nothing it is told
//! nothing.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::Settings;
use super::table::{Change, Slot, Table};
use crate::apart::{Apart, PLACES, place};
use crate::observe::counters::Counters;
use crate::stored::key::AlreadyHashed;
use crate::stored::{CacheKey, Variants};

/// Bytes in the unit of weight: moka's weights have 32 bits, and all variants of a key
/// together may be larger than 4 GiB.
pub(super) const UNIT: u64 = 64;

/// What an entry of moka's takes, in units.
const ENTRY: u32 = 4;

/// The least part of the room that the window has, in percent.
const WINDOW: u64 = 10;

/// moka is told of one look in so many.
const SAMPLE: u32 = 4;

/// So many looks a thread's list has room for.
const LOOKS: usize = 64;

/// So many are moved at a time at most where what has come is not heavy, and twice as many where
/// there is too much in all.
const MOVES: usize = 512;

/// The overhead where the allocator takes just what is needed.
const ONE: u64 = 1 << 16;

/// What it is taken to be before anything is seen of it: what it comes to after some churn.
const USUAL_OVERHEAD: u64 = ONE + ONE / 8;

/// The most that it is believed to be; a process may hold things that have nothing to do with
/// what is stored.
const MOST_OVERHEAD: u64 = 2 * ONE;

/// So many are moved by a ticker at most.
const TICK_MOVES: usize = 8192;

/// The room of a store.
pub(super) struct Room {
    table: Arc<Table>,
    main: Cache<u64, Known, BuildHasherDefault<AlreadyHashed>>,
    window: Mutex<VecDeque<u64>>,
    held: Arc<Held>,
    /// In units.
    limit: u64,
    main_limit: u64,
    window_limit: u64,
    admit_all: bool,
    /// Whether moka knows anything; every look reads it.
    is_used: Apart<AtomicBool>,
    /// Hashes of what threads have looked for.
    looks: [Apart<Mutex<Vec<u64>>>; PLACES],
    /// Whose list is told next by somebody else; only who brings something writes it.
    turn: Apart<AtomicUsize>,
    /// What is taken for what is needed, in parts of [`ONE`].
    overhead: AtomicU64,
}

/// What moka has of a key.
#[derive(Clone)]
struct Known {
    variants: Arc<Variants>,
    weight: u32,
}

/// Weights of all that is stored, in units.
#[derive(Default)]
struct Held {
    window: AtomicU64,
    /// moka's entries included.
    main: AtomicU64,
    /// How many keys are in the window.
    queued: AtomicU64,
    /// Bytes that are needed for all of them, whatever is taken.
    needed: AtomicU64,
    /// Bytes needed for what has come since the overhead was looked at.
    brought: AtomicU64,
}

impl Held {
    fn add(&self, slot: &Slot) {
        self.needed.fetch_add(slot.variants.weight() as u64, Ordering::Relaxed);
        if slot.main {
            self.main.fetch_add(u64::from(slot.weight + ENTRY), Ordering::Relaxed);
        } else {
            self.window.fetch_add(u64::from(slot.weight), Ordering::Relaxed);
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn less(&self, slot: &Slot) {
        self.needed.fetch_sub(slot.variants.weight() as u64, Ordering::Relaxed);
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
        let window = if settings.admit_all { 0 } else { WINDOW };
        let window_limit = limit * window / 100;
        let main_limit = limit - window_limit;
        let held: Arc<Held> = Arc::default();
        let main = Cache::builder()
            .max_capacity(main_limit)
            .weigher(|_, known: &Known| known.weight.saturating_add(ENTRY))
            .eviction_policy(if settings.admit_all {
                EvictionPolicy::lru()
            } else {
                EvictionPolicy::tiny_lfu()
            })
            .eviction_listener({
                let (table, held) = (Arc::clone(&table), Arc::clone(&held));
                move |hash: Arc<u64>, Known { variants, .. }: Known, cause| {
                    if cause == RemovalCause::Size && evict(&table, &held, *hash, &variants) {
                        counters.store_evicted.up();
                        variants.responses.iter().for_each(|response| response.leave());
                    }
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        Room {
            table,
            main,
            window: Mutex::default(),
            held,
            limit,
            main_limit,
            window_limit,
            admit_all: settings.admit_all,
            is_used: Apart::default(),
            turn: Apart::default(),
            looks: std::array::from_fn(|_| Apart(Mutex::new(Vec::with_capacity(LOOKS)))),
            overhead: AtomicU64::new(ONE),
        }
    }

    /// Notes that a key was looked for, now and then.
    pub fn looked_for(&self, key: &CacheKey) {
        if self.admit_all || !self.is_used.0.load(Ordering::Relaxed) || fastrand::u32(..SAMPLE) != 0 {
            return;
        }
        let mut looks = self.looks[place()].0.lock();
        if looks.len() < LOOKS {
            looks.push(key.short());
        } else {
            looks[fastrand::usize(..LOOKS)] = key.short();
        }
    }

    /// Notes that what is stored under a key has been used; to be called once in a while.
    pub fn used(&self, key: &CacheKey) {
        if self.admit_all {
            drop(self.main.get(&key.short()));
        }
    }

    /// Tells moka what the threads of this place have looked for.
    fn tell_looks(&self, place: usize) {
        let looks: Vec<u64> = self.looks[place % PLACES].0.lock().drain(..).collect();
        looks.iter().for_each(|hash| drop(self.main.get(hash)));
    }

    /// Replaces what is stored under a key by what `change` makes of it: `None` is
    /// nothing, `Some(None)` ends it. Makes room for what has come.
    pub fn change(
        &self,
        hash: u64,
        text: &str,
        change: impl FnOnce(Option<&Arc<Variants>>) -> Option<Option<Variants>>,
    ) {
        let (mut entered, mut in_main, mut brought) = (false, false, 0);
        let replaced = self.table.change(hash, text, |slot| {
            let stored = slot.map(|slot| &slot.variants).filter(|variants| *variants.key == *text);
            let Some(changed) = change(stored) else { return Change::Nothing };
            let was_in_main = slot.is_some_and(|slot| slot.main);
            if let Some(slot) = slot {
                self.held.less(slot);
            }
            in_main = was_in_main;
            let Some(changed) = changed else { return Change::Remove };
            let weight = self.weight(&changed);
            in_main |= u64::from(weight) > self.window_limit;
            entered = slot.is_none() && !in_main;
            brought = u64::from(weight);
            let slot = Slot { hash, weight, variants: Arc::new(changed), main: in_main };
            self.held.add(&slot);
            self.held.brought.fetch_add(slot.variants.weight() as u64, Ordering::Relaxed);
            Change::Put(slot)
        });
        drop(replaced);
        if entered {
            self.window.lock().push_back(hash);
        }
        if in_main {
            self.tell(hash);
        }
        if brought > 0 {
            self.tell_looks(place());
            self.tell_looks(self.turn.0.fetch_add(1, Ordering::Relaxed));
            // What is heavy has many small ones moved, so that it does not come on top of them.
            let pieces = usize::try_from(brought / 8).unwrap_or(usize::MAX);
            match self.over() {
                0 => self.make_room(2 * brought, MOVES.max(pieces)),
                over => self.make_room(2 * brought + 8 * over, 2 * MOVES.max(pieces)),
            }
            self.tidy();
        }
    }

    /// Tells moka what the table holds under a key of its own, until they agree: of those
    /// who change a key at once, the last one to tell has seen what there is at last.
    fn tell(&self, hash: u64) {
        if !self.is_used.0.load(Ordering::Relaxed) {
            self.is_used.0.store(true, Ordering::Relaxed);
        }
        let current = || {
            let slot = self.table.slot(hash).filter(|slot| slot.main)?;
            Some(Known { variants: slot.variants, weight: slot.weight })
        };
        let which = |known: &Option<Known>| known.as_ref().map(|known| Arc::as_ptr(&known.variants));
        let mut told = current();
        loop {
            match &told {
                Some(known) => self.main.insert(hash, known.clone()),
                None => self.main.invalidate(&hash),
            }
            let now = current();
            if which(&now) == which(&told) {
                return;
            }
            told = now;
        }
    }

    /// Whether the room becomes scarce.
    fn begins(&self, held: u64) -> bool {
        held > self.limit / 2
    }

    /// How much there is too much in all.
    fn over(&self) -> u64 {
        let held = &self.held;
        let all = held.window.load(Ordering::Relaxed) + held.main.load(Ordering::Relaxed);
        all.saturating_sub(self.limit)
    }

    /// Offers the oldest of the window to moka where the window is too large, until they
    /// weigh so much or are so `many`.
    fn make_room(&self, weight: u64, many: usize) {
        let (mut weight, mut many) = (weight, many);
        loop {
            let window = self.held.window.load(Ordering::Relaxed);
            let held = window + self.held.main.load(Ordering::Relaxed);
            if window <= self.window_limit || !self.begins(held) || weight == 0 || many == 0 {
                return;
            }
            let Some(oldest) = self.window.lock().pop_front() else { return };
            weight = weight.saturating_sub(self.offer(oldest));
            many -= 1;
        }
    }

    /// Offers one to moka, if it still is in the window; its weight.
    fn offer(&self, hash: u64) -> u64 {
        let mut offered = 0;
        self.table.update(hash, |slot| {
            if !slot.main {
                self.held.less(slot);
                slot.main = true;
                self.held.add(slot);
                offered = u64::from(slot.weight);
            }
        });
        if offered > 0 {
            self.tell(hash);
        }
        offered
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

    /// Lets moka do what it has put off, and does what is left to be done here.
    pub fn tick(&self) {
        (0..PLACES).for_each(|place| self.tell_looks(place));
        self.make_room(u64::MAX, TICK_MOVES);
        self.main.run_pending_tasks();
        self.tidy();
        self.table.shrink();
    }

    /// What is taken for what is stored is what is usual, until it is [told](Room::takes).
    pub fn expect_holes(&self) {
        self.overhead.store(USUAL_OVERHEAD, Ordering::Relaxed);
    }

    /// Notes that so many bytes are taken for all that is stored. What comes from now on
    /// weighs accordingly; by how much sooner, the more has come since the last time.
    pub fn takes(&self, bytes: u64) {
        // moka's own entries are counted apart, and are taken all the same.
        let entries = self.main.entry_count() * u64::from(ENTRY) * UNIT;
        let needed = self.held.needed.load(Ordering::Relaxed) + entries;
        let brought = self.held.brought.swap(0, Ordering::Relaxed);
        // Of a little nothing can be told.
        if needed < self.limit * UNIT / 8 {
            return;
        }
        let seen = (bytes.saturating_mul(ONE) / needed).clamp(ONE, MOST_OVERHEAD);
        let part = brought.saturating_mul(2 * ONE) / (self.limit * UNIT);
        let part = part.min(ONE / 4);
        let overhead = self.overhead.load(Ordering::Relaxed);
        let next = (overhead * (ONE - part) + seen * part) / ONE;
        self.overhead.store(next, Ordering::Relaxed);
    }

    /// What is taken for what is needed, in thousandths.
    pub fn overhead(&self) -> u64 {
        self.overhead.load(Ordering::Relaxed) * 1000 / ONE
    }

    fn weight(&self, variants: &Variants) -> u32 {
        let taken = (variants.weight() as u64).saturating_mul(self.overhead.load(Ordering::Relaxed)) / ONE;
        u32::try_from(taken.div_ceil(UNIT)).unwrap_or(u32::MAX - ENTRY)
    }

    /// The heaviest that there is room for, in bytes.
    pub fn largest(&self) -> u64 {
        let most = self.main_limit.saturating_sub(u64::from(ENTRY)).min(u64::from(u32::MAX - ENTRY)) * UNIT;
        most.saturating_mul(ONE) / self.overhead.load(Ordering::Relaxed)
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

    /// One that would fill the window of a MiB's room alone.
    fn put_large(room: &Room) {
        let large = key(0);
        room.change(large.short(), &large.text, |_| {
            let mut variants = Variants::none(format!("{}{}", large.text, "x".repeat(200_000)).into());
            variants.marker = Some(Wall::from_secs(1));
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
            room.main.iter().map(|(hash, known)| (*hash, known.variants)).collect();
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
    fn holes_count_and_what_comes_later_makes_room_for_them() {
        let room = room(4 << 20);
        let needed = || room.held.needed.load(Ordering::Relaxed);
        let entries = || room.main.entry_count() * u64::from(ENTRY) * UNIT;
        for n in 0..200_000 {
            put(&room, &key(n), n);
            if n % 100 == 0 {
                room.tick();
                // Whatever is needed, a third more of it is taken.
                room.takes((needed() + entries()) * 4 / 3);
            }
        }
        check(&room);
        assert!((1300..1340).contains(&room.overhead()), "{}", room.overhead());
        let taken = needed() * 4 / 3 + entries();
        assert!((3 << 20..=(4 << 20) * 11 / 10).contains(&taken), "{taken}");
        // A process that has other things beside what is stored is not followed for ever.
        for n in 0..200_000 {
            put(&room, &key(n), n);
            if n % 100 == 0 {
                room.takes(u64::MAX);
            }
        }
        assert!(room.overhead() <= 2000);
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

    #[test]
    fn whoever_brings_something_moves_little_and_the_room_is_kept() {
        let room = room(4 << 20);
        let queued = || room.held.queued.load(Ordering::Relaxed);
        let (mut most, mut n) = (0, 0);
        let mut bring = |count: u64| {
            for _ in 0..count {
                let before = queued();
                put(&room, &key(n), n);
                most = (before + 1 - queued()).max(most);
                n += 1;
            }
        };
        bring(1);
        let each = room.held.window.load(Ordering::Relaxed);
        // As many as there would be room for three times.
        bring(3 * room.limit / each);
        // Such small ones that moka's own entries fill the room: even then it has an end.
        assert!(most <= 2 * MOVES as u64, "one moved {most}");
        assert!(room.held.window.load(Ordering::Relaxed) <= room.window_limit + each);
        check(&room);
        assert!(room.bytes() > room.limit * UNIT * 8 / 10, "it is full");
    }

    #[test]
    fn what_is_asked_for_again_and_again_stays() {
        let room = room(4 << 20);
        put(&room, &key(0), 0);
        let fit = room.limit / room.held.window.load(Ordering::Relaxed);
        let wanted = fit / 20;
        (0..wanted).for_each(|n| put(&room, &key(n), n));
        for n in 0..10 * fit {
            put(&room, &key(wanted + n), n);
            (0..4).for_each(|look| room.looked_for(&key((n * 4 + look) % wanted)));
            if n % 100 == 0 {
                room.tick();
            }
        }
        check(&room);
        let kept = (0..wanted).filter(|n| room.table.find(&key(*n)).is_some()).count() as u64;
        assert!(kept >= wanted * 95 / 100, "{kept} of {wanted} that are wanted are left");
    }

    #[test]
    fn what_one_thread_asks_for_stays_where_another_one_brings() {
        const WANTED: u64 = 100;
        let room = room(1 << 20);
        put(&room, &key(0), 0);
        let fit = room.limit / room.held.window.load(Ordering::Relaxed);
        // It is full of what was asked for now and then.
        let old = || (1000..1000 + fit).for_each(|n| put(&room, &key(n), n));
        old();
        for n in 0..4 * fit {
            room.looked_for(&key(1000 + n % fit));
            if n % LOOKS as u64 == 0 {
                room.tick();
            }
        }
        old();
        let new = std::cell::Cell::new(1_000_000);
        let bring = |count: u64| {
            (0..count).for_each(|n| put(&room, &key(new.get() + n), n));
            new.set(new.get() + count);
        };
        for n in 0..WANTED {
            let room = &room;
            std::thread::scope(|scope| {
                scope.spawn(move || (0..64).for_each(|_| room.looked_for(&key(n))));
            });
            put(room, &key(n), n);
            bring(2 * PLACES as u64);
        }
        bring(fit);
        check(&room);
        let kept = (0..WANTED).filter(|n| room.table.find(&key(*n)).is_some()).count() as u64;
        assert!(kept >= WANTED * 9 / 10, "{kept} of {WANTED} that are wanted are left");
    }

    #[test]
    fn where_everything_is_admitted_what_was_used_last_stays() {
        let settings = Settings { memory: 1 << 20, admit_all: true, ..Settings::default() };
        let room = Room::new(&settings, Arc::default(), Arc::new(Table::new()));
        (0..100).for_each(|n| put(&room, &key(n), n));
        for n in 100..20_000 {
            room.used(&key(n % 50));
            room.looked_for(&key(50 + n % 50));
            put(&room, &key(n), n);
            room.tick();
        }
        check(&room);
        let is_there = |n: &u64| room.table.find(&key(*n)).is_some();
        assert_eq!((0..50).filter(is_there).count(), 50, "they were used all the while");
        assert_eq!((50..100).filter(is_there).count(), 0, "they were only looked for");
    }

    #[test]
    fn what_is_looked_for_where_nothing_is_brought_does_not_pile_up() {
        let room = room(1 << 20);
        put_large(&room);
        let waiting = || room.looks.iter().map(|looks| looks.0.lock().len()).sum::<usize>();
        (0..10_000).for_each(|n| room.looked_for(&key(n)));
        assert_eq!(waiting(), LOOKS);
        put(&room, &key(1), 1);
        assert_eq!(waiting(), 0, "whoever brings something tells");
        room.looked_for(&key(0));
        room.tick();
        assert_eq!(waiting(), 0);
    }

    #[test]
    fn what_would_fill_the_window_alone_is_for_moka_to_judge() {
        let room = room(1 << 20);
        put_large(&room);
        assert_eq!((room.held.queued.load(Ordering::Relaxed), room.window.lock().len()), (0, 0));
        room.tick();
        assert_eq!(room.main.entry_count(), 1);
    }

    #[test]
    fn a_table_that_was_large_gives_back_what_it_had() {
        let room = room(1 << 30);
        (0..300_000).for_each(|n| put(&room, &key(n), n));
        let full = room.table.capacity();
        (0..300_000).for_each(|n| end(&room, &key(n)));
        (0..32).for_each(|_| room.tick());
        assert!(room.table.capacity() < full / 2, "{} of {full}", room.table.capacity());
        assert!(room.window.lock().capacity() < 10_000);
    }
}
