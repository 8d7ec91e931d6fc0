//! What does it cost to find a stored response, and how does that grow with how many there are?
//!
//! Keys are asked for in random order, so that what grows is what the processor's caches
//! do not hold any more. Beside the store stands moka alone, asked for the same. Then two
//! threads ask for different keys, and for one and the same. Compare ratios within one run.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use forebay::clock::Wall;
use forebay::rfc::lifetime::{Lifetime, Source};
use forebay::store::{Rival, Settings, Store};
use forebay::stored::{CacheKey, Head, StoredBody, StoredResponse, Variants};
use http::StatusCode;
use moka::sync::Cache;

fn response() -> StoredResponse {
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
    StoredResponse::new(Arc::new(head), StoredBody::default(), None)
}

fn keys(count: usize) -> Vec<CacheKey> {
    let mut keys: Vec<CacheKey> = (0..count)
        .map(|n| CacheKey::new("http", "www.example.org", 80, &format!("/catalogue/{n}")))
        .collect();
    fastrand::Rng::with_seed(1).shuffle(&mut keys);
    keys
}

fn store(keys: &[CacheKey]) -> Store {
    let store = Store::new(Settings { memory: 8 << 30, ..Settings::default() }, Arc::default());
    for key in keys {
        store.insert(key, response(), |_| Rival::Yields, None);
    }
    store
}

/// What a hit takes along of what is stored.
fn find(store: &Store, key: &CacheKey) -> Option<Arc<StoredResponse>> {
    store.look(key, |found| found?.responses.first().cloned())
}

/// One after the other, and then from the beginning.
fn turns<'a>(keys: &'a [CacheKey]) -> impl FnMut() -> &'a CacheKey {
    let mut at = 0;
    move || {
        at = (at + 1) % keys.len();
        &keys[at]
    }
}

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("how long does a look-up take among so many");
    for count in [1_000, 10_000, 100_000, 1_000_000] {
        let keys = keys(count);
        let store = store(&keys);
        let mut next = turns(&keys);
        group.bench_function(BenchmarkId::new("store", count), |b| {
            b.iter(|| assert!(find(&store, black_box(next())).is_some()));
        });
        drop(store);
        let cache: Cache<u128, Arc<Variants>> = Cache::builder().max_capacity(u64::MAX).build();
        for key in &keys {
            cache.insert(key.hash, Arc::new(Variants::none(Arc::clone(&key.text))));
        }
        cache.run_pending_tasks();
        let mut next = turns(&keys);
        group.bench_function(BenchmarkId::new("moka", count), |b| {
            b.iter(|| {
                let key = black_box(next());
                assert!(cache.get(&key.hash).is_some_and(|found| found.key == key.text));
            });
        });
    }
    group.finish();
}

fn two_threads(c: &mut Criterion) {
    let keys = keys(1000);
    let store = store(&keys);
    let mut group = c.benchmark_group("how long does a look-up take while another thread looks for");
    for (what, other) in [("another key", &keys[1]), ("the same key", &keys[0])] {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    black_box(find(&store, other));
                }
            });
            group.bench_function(what, |b| b.iter(|| find(&store, black_box(&keys[0]))));
            over.store(true, Ordering::Relaxed);
        });
    }
    group.finish();
}

criterion_group!(benches, sizes, two_threads);
criterion_main!(benches);
