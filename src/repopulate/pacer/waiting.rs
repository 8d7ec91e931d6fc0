//! What waits for one origin, by key, the most wanted first: the better class, then
//! more misses, then the earlier arrival.
//!
//! What always holds: all views of what waits name the same keys; a key is there once.
//! What it never does: drop anything by itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::{ByClass, Class, Offer};

/// What waits.
#[derive(Debug)]
pub struct Waiting<T> {
    /// By the number of its arrival.
    wanted: BTreeMap<u64, Wanted<T>>,
    /// How many have arrived.
    arrivals: u64,
    by_key: HashMap<u128, u64>,
    /// The most wanted first.
    order: BTreeSet<Rank>,
    /// When the time of each is over.
    ends: BTreeSet<(Instant, u64)>,
    by_class: ByClass,
}

/// The better class, then more misses, then the earlier arrival.
type Rank = (Class, Reverse<u64>, u64);

/// Something that waits.
#[derive(Debug)]
pub struct Wanted<T> {
    /// What was offered, and what was merged into it.
    pub offer: Offer<T>,
    /// When it was offered first.
    pub since: Instant,
}

impl<T> Waiting<T> {
    /// Nothing waits.
    pub fn new() -> Self {
        Waiting {
            wanted: BTreeMap::new(),
            arrivals: 0,
            by_key: HashMap::new(),
            order: BTreeSet::new(),
            ends: BTreeSet::new(),
            by_class: ByClass::default(),
        }
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// How many of each class.
    pub fn by_class(&self) -> ByClass {
        self.by_class
    }

    /// Since when the oldest has waited.
    pub fn oldest(&self) -> Option<Instant> {
        self.wanted.first_key_value().map(|(_, oldest)| oldest.since)
    }

    /// When the time of the first one is over.
    pub fn first_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Takes an offer together with what waits for its key, and returns the payload that
    /// is not needed; or returns the offer, where nothing waits.
    pub fn merge(&mut self, offer: Offer<T>) -> Result<T, Offer<T>> {
        let Some(arrival) = self.by_key.get(&offer.key).copied() else { return Err(offer) };
        let Some(mut wanted) = self.remove(arrival) else { return Err(offer) };
        let waits = &mut wanted.offer;
        waits.misses = waits.misses.saturating_add(offer.misses);
        waits.class = waits.class.min(offer.class);
        // What a payload holds may be good for no longer than the payload itself.
        let mut other = offer.payload;
        if offer.expires > waits.expires {
            waits.expires = offer.expires;
            std::mem::swap(&mut waits.payload, &mut other);
        }
        self.insert(arrival, wanted);
        Ok(other)
    }

    /// Adds what is known not to wait.
    pub fn push(&mut self, offer: Offer<T>, now: Instant) {
        self.insert(self.arrivals, Wanted { offer, since: now });
        self.arrivals += 1;
    }

    /// Takes out the most wanted.
    pub fn pop_best(&mut self) -> Option<Wanted<T>> {
        let (_, _, arrival) = *self.order.first()?;
        self.remove(arrival)
    }

    /// Takes out the least wanted.
    pub fn pop_least(&mut self) -> Option<Wanted<T>> {
        let (_, _, arrival) = *self.order.last()?;
        self.remove(arrival)
    }

    /// Takes out one whose time is over.
    pub fn pop_over(&mut self, now: Instant) -> Option<Wanted<T>> {
        let (_, arrival) = *self.ends.first().filter(|(end, _)| *end <= now)?;
        self.remove(arrival)
    }

    /// Whether something waits that is wanted less than this offer.
    pub fn has_less_wanted(&self, offer: &Offer<T>) -> bool {
        self.order.last().is_some_and(|least| rank(offer, self.arrivals) < *least)
    }

    fn insert(&mut self, arrival: u64, wanted: Wanted<T>) {
        let offer = &wanted.offer;
        self.by_key.insert(offer.key, arrival);
        self.order.insert(rank(offer, arrival));
        self.ends.insert((offer.expires, arrival));
        *self.by_class.of(offer.class) += 1;
        self.wanted.insert(arrival, wanted);
    }

    fn remove(&mut self, arrival: u64) -> Option<Wanted<T>> {
        let wanted = self.wanted.remove(&arrival)?;
        let offer = &wanted.offer;
        self.by_key.remove(&offer.key);
        self.order.remove(&rank(offer, arrival));
        self.ends.remove(&(offer.expires, arrival));
        *self.by_class.of(offer.class) -= 1;
        Some(wanted)
    }
}

fn rank<T>(offer: &Offer<T>, arrival: u64) -> Rank {
    (offer.class, Reverse(offer.misses), arrival)
}
