//! How good is the store at keeping what will be asked for, when it is full?
//!
//! Not a timing: it counts hits. A store that has room for a tenth of everything is
//! asked for keys by Zipf's law, alone and with one request in ten for a key that is
//! never asked for again (a crawler). Sizes are mixed, as the store weighs bytes. Beside
//! the store's own way (a window, and moka behind it, which is told of some of the hits)
//! stands moka alone, told of every hit, by either of its policies, with the same room.
//! `cargo bench --bench eviction` prints the table.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::clock::Wall;
use forebay::rfc::lifetime::{Lifetime, Source};
use forebay::store::{Rival, Settings, Store};
use forebay::stored::{CacheKey, Head, StoredBody, StoredResponse, Variants};
use http::StatusCode;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

const KEYS: usize = 100_000;
const REQUESTS: usize = 1_000_000;
/// From one request to the next.
const BETWEEN: Duration = Duration::from_millis(1);
/// What moka takes for each of its entries.
const ENTRY: u32 = 256;

/// Bytes of the response of a key: 1 KiB to 32 KiB, most of them small.
fn size(key: u64) -> u32 {
    1024 << (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61).min(5)
}

/// Cumulated Zipf weights of the keys.
fn zipf(exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / (rank as f64).powf(exponent);
            sum
        })
        .collect()
}

/// What is asked for, one after the other; the same in every run.
fn ask(exponent: f64, one_off: bool, mut is_hit: impl FnMut(u64) -> bool) -> f64 {
    let weights = zipf(exponent);
    let all = weights.last().copied().unwrap_or_default();
    let mut random = fastrand::Rng::with_seed(42);
    let (mut hits, mut asked) = (0u32, 0u32);
    for turn in 0..REQUESTS {
        let key = if one_off && turn % 10 == 0 {
            (KEYS + turn) as u64
        } else {
            let point = random.f64() * all;
            weights.partition_point(|&weight| weight < point) as u64
        };
        let hit = is_hit(key);
        // The first half only fills the cache.
        if turn >= REQUESTS / 2 && key < KEYS as u64 {
            asked += 1;
            hits += u32::from(hit);
        }
    }
    f64::from(hits) * 100.0 / f64::from(asked)
}

/// A response, whose body is a part of `bytes`.
fn response(bytes: &Bytes, size: u32) -> StoredResponse {
    let head = Head {
        status: StatusCode::OK,
        fields: [("content-type", "image/png")].into_iter().collect(),
        secondary: Default::default(),
        requested: Wall::default(),
        received: Wall::default(),
        initial_age: 0,
        lifetime: Lifetime { seconds: 1000, source: Source::MaxAge },
        terms: Default::default(),
        always_validate: false,
        sequence: 0,
        names: Default::default(),
        site: "s".into(),
        hidden: false,
    };
    StoredResponse::new(Arc::new(head), StoredBody::copied(&[bytes.slice(..size as usize)]), None)
}

/// What a stored response weighs beside its body.
fn overhead(bytes: &Bytes) -> u32 {
    let key = CacheKey::new("http", "a", 80, "/12345");
    let mut variants = Variants::none(key.text);
    variants.responses.put_first(Arc::new(response(bytes, 1024)));
    variants.weight() as u32 - 1024
}

fn by_store(room: u64, bytes: &Bytes, admit_all: bool, exponent: f64, one_off: bool) -> f64 {
    let store = Store::new(
        Settings { memory: room, admit_all, max_response_percent: 100, ..Settings::default() },
        Arc::default(),
    );
    let now = Cell::new(Wall::default());
    ask(exponent, one_off, |key| {
        let wanted = CacheKey::new("http", "a", 80, &format!("/{key}"));
        let found = store.look(&wanted, |found| found?.responses.first().cloned());
        if let Some(response) = &found {
            store.used(&wanted, response, now.get());
        }
        now.set(now.get().plus(BETWEEN));
        let hit = found.is_some();
        if !hit {
            store.insert(&wanted, response(bytes, size(key)), |_| Rival::Yields, None);
        }
        hit
    })
}

fn by_moka(room: u64, overhead: u32, policy: EvictionPolicy, exponent: f64, one_off: bool) -> f64 {
    let cache: Cache<u64, Arc<u32>> = Cache::builder()
        .max_capacity(room)
        .weigher(move |_, size: &Arc<u32>| **size + overhead + ENTRY)
        .eviction_policy(policy)
        .build();
    ask(exponent, one_off, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, Arc::new(size(key)));
        }
        hit
    })
}

fn main() {
    let bytes = Bytes::from(vec![0; 32 * 1024]);
    let overhead = overhead(&bytes);
    let room = (0..KEYS as u64).map(|key| u64::from(size(key) + overhead)).sum::<u64>() / 10;
    println!("hit ratio in percent; there is room for a tenth of all bytes");
    println!("{:<26} {:>9} {:>9} {:>9} {:>9}", "load", "store", "TinyLFU", "admit all", "LRU");
    for exponent in [0.7, 0.9, 1.0, 1.2] {
        for one_off in [false, true] {
            let load = format!("Zipf {exponent}{}", if one_off { ", 10% one-off" } else { "" });
            let store = by_store(room, &bytes, false, exponent, one_off);
            let lfu = by_moka(room, overhead, EvictionPolicy::tiny_lfu(), exponent, one_off);
            let all = by_store(room, &bytes, true, exponent, one_off);
            let lru = by_moka(room, overhead, EvictionPolicy::lru(), exponent, one_off);
            println!("{load:<26} {store:>9.1} {lfu:>9.1} {all:>9.1} {lru:>9.1}");
        }
    }
}
