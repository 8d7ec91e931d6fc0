//! The inverted index: which stored responses an invalidation by tag, group, host
//! or site means.
//!
//! Every stored response has a *place* here, and at that place one word that says
//! whether it is still valid. The index goes from a name straight to those words:
//! making a hundred thousand responses unusable is a hundred thousand stores of a
//! byte, and neither looks up a key nor touches a response.
//!
//! What always holds: names are compared as texts, never as hashes or patterns; a
//! place belongs to exactly one response, which gives it up, and all that stands
//! in the index on its account, when it is dropped; a word only ever gets worse.
//!
//! What it never does: hold a response, or call out while it is locked.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::body::allocated;
use super::names::Names;

/// Words in one allocation.
const CHUNK: usize = 4096;

/// What a membership costs in bytes: a number in the set of its name, and one at
/// its response.
const MEMBERSHIP: usize = 16;
/// What a name costs in bytes beside its text.
const NAME: usize = 112;
/// What a place costs in bytes.
const PLACE: usize = 32;

/// The index; shared by all that is stored on a node.
#[derive(Default)]
pub struct Index {
    inner: Mutex<Inner>,
}

/// A response's place in the index. Dropping it gives up the place.
pub struct Place {
    chunk: Arc<Chunk>,
    number: u32,
    /// In bytes.
    cost: u32,
    #[expect(clippy::box_collection, reason = "most have none, and a word for it")]
    names: Option<Box<Vec<u32>>>,
}

/// Where a response comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Home<'a> {
    /// Scheme, host and port, as they stand in its key.
    pub authority: &'a str,
    /// The site whose rules it was stored under.
    pub site: &'a str,
    /// The last invalidation that it is newer than.
    pub sequence: u64,
    /// Whether it answers on a hidden route.
    pub hidden: bool,
}

/// Which responses are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// All of a site.
    Site(&'a str),
    /// All of a host, on this port or on every one.
    Host(&'a str, Option<u16>),
    /// All that have this name; with a site, only those of the site.
    Named(&'a [u8], Option<&'a str>),
}

/// What is to be done with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Nothing: they are only counted.
    None,
    /// Their freshness ends.
    Stale,
    /// Their use ends; on hidden routes their freshness.
    Gone,
    /// Their use ends, wherever they are.
    Forced,
}

/// The words of [`CHUNK`] places.
struct Chunk {
    index: Weak<Index>,
    words: [Word; CHUNK],
}

/// Flags and not one number: each is written without looking at the others.
#[derive(Default)]
struct Word {
    stale: AtomicBool,
    gone: AtomicBool,
    /// It is not stored any more; somebody may still hold it.
    left: AtomicBool,
    /// It answers on a hidden route; written before its place is known to anybody.
    hidden: AtomicBool,
}

#[derive(Default)]
struct Inner {
    chunks: Vec<Arc<Chunk>>,
    homes: Vec<Option<Lives>>,
    free: Vec<u32>,
    authorities: Interned,
    sites: Interned,
    named: Interned,
    members: Vec<Members>,
}

/// What is known of a response that has a place.
#[derive(Clone, Copy)]
struct Lives {
    /// One more than the number of its text, so that an empty place takes no more.
    authority: NonZeroU32,
    site: u32,
    /// The last invalidation that it is newer than.
    sequence: u64,
}

/// Texts with numbers, for as long as somebody uses them.
#[derive(Default)]
struct Interned {
    numbers: HashMap<Arc<[u8]>, u32>,
    texts: Vec<Option<(Arc<[u8]>, u32)>>,
    free: Vec<u32>,
}

/// The places that have a name; most names have few.
#[derive(Default)]
enum Members {
    #[default]
    None,
    One(u32),
    Many(HashSet<u32, BuildHasherDefault<Spread>>),
}

impl Index {
    /// Takes a place for a response that comes from `home` and has these names.
    pub fn place(self: &Arc<Self>, home: Home<'_>, names: &Names) -> Place {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let authority = inner.authorities.take(home.authority.as_bytes());
        let site = inner.sites.take(home.site.as_bytes());
        let number = inner.free.pop().unwrap_or_else(|| {
            if inner.homes.len().is_multiple_of(CHUNK) {
                let words = std::array::from_fn(|_| Word::default());
                inner.chunks.push(Arc::new(Chunk { index: Arc::downgrade(self), words }));
            }
            inner.homes.push(None);
            u32::try_from(inner.homes.len() - 1).unwrap_or(u32::MAX)
        });
        inner.homes[number as usize] = Some(Lives {
            authority: NonZeroU32::MIN.saturating_add(authority),
            site,
            sequence: home.sequence,
        });
        let chunk = Arc::clone(&inner.chunks[number as usize / CHUNK]);
        let word = &chunk.words[number as usize % CHUNK];
        word.stale.store(false, Ordering::Relaxed);
        word.gone.store(false, Ordering::Relaxed);
        word.left.store(false, Ordering::Relaxed);
        word.hidden.store(home.hidden, Ordering::Relaxed);

        let mut cost = PLACE;
        let mut own = Vec::new();
        for name in names.indexed(home.authority) {
            let id = inner.named.take(&name);
            if inner.members.len() <= id as usize {
                inner.members.resize_with(id as usize + 1, Members::default);
            }
            if matches!(inner.members[id as usize], Members::None) {
                cost += NAME + name.len();
            }
            if inner.members[id as usize].add(number) {
                cost += MEMBERSHIP;
                own.push(id);
            } else {
                inner.named.give_up(id);
            }
        }
        if !own.is_empty() {
            own.shrink_to_fit();
            cost += allocated(size_of::<Vec<u32>>());
        }
        Place {
            chunk,
            number,
            cost: u32::try_from(cost).unwrap_or(u32::MAX),
            names: (!own.is_empty()).then(|| Box::new(own)),
        }
    }

    /// Marks all responses that are meant and were asked for before the invalidation
    /// of this number, and returns how many of them were not so marked yet.
    pub fn mark(&self, which: Which<'_>, mark: Mark, number: u64) -> usize {
        let inner = self.inner.lock();
        let before = |lives: &Lives| lives.sequence < number;
        match which {
            Which::All => inner.mark_homes(mark, before),
            Which::Site(site) => match inner.sites.number(site.as_bytes()) {
                Some(wanted) => inner.mark_homes(mark, |lives| lives.site == wanted && before(lives)),
                None => 0,
            },
            Which::Host(host, port) => {
                let wanted: Vec<bool> = inner
                    .authorities
                    .texts
                    .iter()
                    .map(|text| text.as_ref().is_some_and(|(text, _)| is_host(text, host, port)))
                    .collect();
                inner.mark_homes(mark, |lives| wanted[lives.authority() as usize] && before(lives))
            }
            Which::Named(name, site) => {
                let Some(id) = inner.named.number(name) else { return 0 };
                let site = match site.map(|site| inner.sites.number(site.as_bytes())) {
                    None => None,
                    Some(None) => return 0,
                    Some(wanted) => wanted,
                };
                let meant = |number: &u32| {
                    inner.homes[*number as usize]
                        .as_ref()
                        .is_some_and(|lives| before(lives) && site.is_none_or(|site| lives.site == site))
                };
                match &inner.members[id as usize] {
                    Members::None => 0,
                    Members::One(number) => usize::from(meant(number) && inner.word(*number).mark(mark)),
                    Members::Many(numbers) => numbers
                        .iter()
                        .filter(|number| meant(number) && inner.word(**number).mark(mark))
                        .count(),
                }
            }
        }
    }

    /// The authorities (scheme, host, port) of which something is stored.
    pub fn authorities(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let texts = inner.authorities.texts.iter().flatten();
        texts.filter_map(|(text, _)| String::from_utf8(text.to_vec()).ok()).collect()
    }

    /// How many names there are now.
    pub fn names(&self) -> usize {
        self.inner.lock().named.numbers.len()
    }

    fn give_up(&self, place: &Place) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        for &id in place.names.iter().flat_map(|names| names.iter()) {
            inner.members[id as usize].remove(place.number);
            inner.named.give_up(id);
        }
        if let Some(lives) = inner.homes[place.number as usize].take() {
            inner.authorities.give_up(lives.authority());
            inner.sites.give_up(lives.site);
        }
        inner.free.push(place.number);
    }
}

impl Lives {
    fn authority(&self) -> u32 {
        self.authority.get() - 1
    }
}

impl Place {
    /// Ends the response's freshness. Says whether that is news.
    pub fn mark_stale(&self) -> bool {
        self.word().mark(Mark::Stale)
    }

    /// Ends the response's use, or on a hidden route its freshness. Says whether that
    /// is news.
    pub fn mark_gone(&self) -> bool {
        self.word().mark(Mark::Gone)
    }

    /// Ends the response's use. Says whether that is news.
    pub fn mark_forced(&self) -> bool {
        self.word().mark(Mark::Forced)
    }

    /// Notes that it is not stored any more: it counts no longer.
    pub fn mark_left(&self) {
        self.word().left.store(true, Ordering::Release);
    }

    /// Whether its freshness has been ended.
    pub fn is_stale(&self) -> bool {
        self.word().stale.load(Ordering::Acquire)
    }

    /// Whether its use has been ended.
    pub fn is_gone(&self) -> bool {
        self.word().gone.load(Ordering::Acquire)
    }

    /// What stands in the index on its account, in bytes, itself included.
    pub fn heap_bytes(&self) -> usize {
        self.cost as usize
    }

    fn word(&self) -> &Word {
        &self.chunk.words[self.number as usize % CHUNK]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(index) = self.chunk.index.upgrade() {
            index.give_up(self);
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.number)
    }
}

impl Word {
    /// Whether this changed anything that is stored. Plain loads and stores: nothing
    /// ever clears a flag while its place is taken.
    fn mark(&self, mark: Mark) -> bool {
        let was = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let alive = !was(&self.gone) && !was(&self.left);
        match mark {
            Mark::None => alive,
            Mark::Stale => {
                let fresh = !was(&self.stale);
                self.stale.store(true, Ordering::Release);
                alive && fresh
            }
            Mark::Gone if was(&self.hidden) => self.mark(Mark::Stale),
            Mark::Gone | Mark::Forced => {
                self.gone.store(true, Ordering::Release);
                alive
            }
        }
    }
}

impl Inner {
    fn word(&self, number: u32) -> &Word {
        &self.chunks[number as usize / CHUNK].words[number as usize % CHUNK]
    }

    fn mark_homes(&self, mark: Mark, meant: impl Fn(&Lives) -> bool) -> usize {
        let mut count = 0;
        for (homes, chunk) in self.homes.chunks(CHUNK).zip(&self.chunks) {
            for (home, word) in homes.iter().zip(&chunk.words) {
                if home.as_ref().is_some_and(&meant) {
                    count += usize::from(word.mark(mark));
                }
            }
        }
        count
    }
}

impl Interned {
    /// The number of this text, which is used once more from now on.
    fn take(&mut self, text: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            if let Some((_, uses)) = &mut self.texts[number as usize] {
                *uses += 1;
            }
            return number;
        }
        let text: Arc<[u8]> = text.into();
        let number = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            u32::try_from(self.texts.len() - 1).unwrap_or(u32::MAX)
        });
        self.texts[number as usize] = Some((Arc::clone(&text), 1));
        self.numbers.insert(text, number);
        number
    }

    fn number(&self, text: &[u8]) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// One use less; a text that nobody uses is forgotten.
    fn give_up(&mut self, number: u32) {
        let Some((text, uses)) = &mut self.texts[number as usize] else { return };
        *uses -= 1;
        if *uses == 0 {
            self.numbers.remove(&**text);
            self.texts[number as usize] = None;
            self.free.push(number);
        }
    }
}

impl Members {
    /// Whether it was not among them yet.
    fn add(&mut self, number: u32) -> bool {
        match self {
            Members::None => {
                *self = Members::One(number);
                true
            }
            Members::One(only) if *only == number => false,
            Members::One(only) => {
                *self = Members::Many([*only, number].into_iter().collect());
                true
            }
            Members::Many(numbers) => numbers.insert(number),
        }
    }

    fn remove(&mut self, number: u32) {
        match self {
            Members::None => {}
            Members::One(_) => *self = Members::None,
            Members::Many(numbers) => {
                numbers.remove(&number);
                if numbers.is_empty() {
                    *self = Members::None;
                } else if numbers.capacity() > 64 && numbers.len() < numbers.capacity() / 8 {
                    numbers.shrink_to_fit();
                }
            }
        }
    }
}

/// Whether an authority, as it stands in a key, is of this host and port.
fn is_host(authority: &[u8], host: &str, port: Option<u16>) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else { return false };
    let Some((of, number)) = authority.split_once("://").and_then(|(_, rest)| rest.rsplit_once(':')) else {
        return false;
    };
    of == host && port.is_none_or(|port| number.parse() == Ok(port))
}

/// Spreads small numbers over a table.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home<'_> = Home { authority: "http://a:80", site: "shop", sequence: 0, hidden: false };

    fn tagged(tags: &[&str]) -> Names {
        let mut names = Names::default();
        tags.iter().for_each(|tag| names.add_tag(tag.as_bytes()));
        names
    }

    fn tag(text: &str) -> Vec<u8> {
        Names::tag(text)
    }

    #[test]
    fn a_name_reaches_those_that_have_it_and_nobody_else() {
        let index = Arc::new(Index::default());
        let places: Vec<Place> = (0..1000)
            .map(|n| index.place(HOME, &tagged(&["all", &format!("n{n}"), &format!("mod{}", n % 7)])))
            .collect();
        assert_eq!(index.mark(Which::Named(&tag("mod3"), None), Mark::Gone, 1), 143);
        for (n, place) in places.iter().enumerate() {
            assert_eq!(place.is_gone(), n % 7 == 3, "{n}");
        }
        assert_eq!(index.mark(Which::Named(&tag("mod3"), None), Mark::Gone, 1), 0, "once is enough");
        assert_eq!(
            index.mark(Which::Named(&tag("mod"), None), Mark::Gone, 1),
            0,
            "a part of a name is no name"
        );
        assert_eq!(index.mark(Which::Named(&tag("all"), None), Mark::Stale, 1), 857);
    }

    #[test]
    fn what_was_asked_for_after_an_invalidation_is_not_meant() {
        let index = Arc::new(Index::default());
        let older = index.place(Home { sequence: 6, ..HOME }, &tagged(&["x"]));
        let newer = index.place(Home { sequence: 7, ..HOME }, &tagged(&["x"]));
        for which in [Which::Named(&tag("x"), None), Which::All, Which::Site("shop"), Which::Host("a", None)]
        {
            assert_eq!(index.mark(which, Mark::None, 7), 1, "{which:?}");
        }
        assert_eq!(index.mark(Which::Named(&tag("x"), Some("shop")), Mark::Gone, 7), 1);
        assert_eq!((older.is_gone(), newer.is_gone()), (true, false));
    }

    #[test]
    fn homes_are_told_apart() {
        let index = Arc::new(Index::default());
        let other = Home { authority: "https://a:443", site: "blog", sequence: 0, hidden: false };
        let third = Home { authority: "http://ab:80", site: "blog", sequence: 0, hidden: false };
        let (one, two, three) = (
            index.place(HOME, &tagged(&["x"])),
            index.place(other, &tagged(&["x"])),
            index.place(third, &tagged(&[])),
        );
        assert_eq!(index.mark(Which::Host("a", Some(443)), Mark::None, 1), 1);
        assert_eq!(index.mark(Which::Host("a", None), Mark::None, 1), 2);
        assert_eq!(index.mark(Which::Named(&tag("x"), Some("blog")), Mark::Gone, 1), 1);
        assert_eq!((one.is_gone(), two.is_gone()), (false, true));
        assert_eq!(index.mark(Which::Site("blog"), Mark::Gone, 1), 1);
        assert!(three.is_gone());
        assert_eq!(index.mark(Which::All, Mark::Gone, 1), 1);
    }

    #[test]
    fn nothing_stays_when_its_response_has_gone() {
        let index = Arc::new(Index::default());
        for round in 0..3 {
            let places: Vec<Place> =
                (0..5000).map(|n| index.place(HOME, &tagged(&["t", "t", &format!("{round}-{n}")]))).collect();
            assert_eq!(index.names(), 5001);
            drop(places);
        }
        let inner = index.inner.lock();
        assert_eq!(
            (inner.named.numbers.len(), inner.authorities.numbers.len(), inner.sites.numbers.len()),
            (0, 0, 0)
        );
        assert!(inner.homes.len() == 5000 && inner.free.len() == 5000 && inner.chunks.len() == 2);
        assert!(inner.members.iter().all(|members| matches!(members, Members::None)));
    }

    #[test]
    fn a_place_that_is_taken_again_is_valid() {
        let index = Arc::new(Index::default());
        let place = index.place(HOME, &tagged(&["x"]));
        place.mark_gone();
        drop(place);
        let place = index.place(HOME, &tagged(&["x"]));
        assert!(!place.is_gone() && !place.is_stale());
    }
}
