//! Which of moka's policies keeps the better hit ratio when the store is full?
//!
//! Not a timing: it counts hits. A cache that holds a tenth of all bytes is asked
//! for keys by Zipf's law, alone and with one request in ten for a key that is
//! never asked for again (a crawler). Sizes are mixed, as the store weighs bytes.
//! `cargo bench --bench eviction` prints the table.

use std::sync::Arc;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

const KEYS: usize = 100_000;
const REQUESTS: usize = 2_000_000;

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

fn hit_percent(policy: EvictionPolicy, exponent: f64, one_off: bool) -> f64 {
    let total: u64 = (0..KEYS as u64).map(|key| u64::from(size(key))).sum();
    let cache: Cache<u64, Arc<u32>> = Cache::builder()
        .max_capacity(total / 10)
        .weigher(|_, size: &Arc<u32>| **size)
        .eviction_policy(policy)
        .build();
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
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, Arc::new(size(key)));
        }
        // The first half only fills the cache.
        if turn >= REQUESTS / 2 && key < KEYS as u64 {
            asked += 1;
            hits += u32::from(hit);
        }
    }
    f64::from(hits) * 100.0 / f64::from(asked)
}

fn main() {
    println!("hit ratio in percent; the cache holds a tenth of all bytes");
    println!("{:<34} {:>8} {:>8}", "load", "TinyLFU", "LRU");
    for exponent in [0.7, 0.9, 1.0, 1.2] {
        for one_off in [false, true] {
            let load = format!("Zipf {exponent}{}", if one_off { ", 10% one-off keys" } else { "" });
            let lfu = hit_percent(EvictionPolicy::tiny_lfu(), exponent, one_off);
            let lru = hit_percent(EvictionPolicy::lru(), exponent, one_off);
            println!("{load:<34} {lfu:>8.1} {lru:>8.1}");
        }
    }
}
