//! What the store says that it holds is what the allocator has given for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use forebay::clock::Wall;
use forebay::observe::counters::Counters;
use forebay::rfc::fields::Fields;
use forebay::rfc::lifetime::{Lifetime, Source};
use forebay::store::{Rival, Settings, Store};
use forebay::stored::body::allocated;
use forebay::stored::{CacheKey, Head, Names, StoredBody, StoredResponse};
use http::StatusCode;

/// The system's allocator, which counts for each thread what it has taken and given back.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: usize, sign: isize) {
    // A thread that ends gives back when it has no counter any more.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * allocated(bytes) as isize));
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        unsafe { System.dealloc(memory, layout) }
    }
}

fn response(n: usize, site: &Arc<str>) -> StoredResponse {
    let mut fields: Fields =
        [("content-type", "text/html; charset=utf-8"), ("etag", "\"0123456789\"")].into_iter().collect();
    fields.compact();
    let mut names = Names::default();
    (0..n % 4).for_each(|tag| names.add_tag(format!("tag-{}", (n * 7 + tag) % 1000).as_bytes()));
    names.compact();
    let head = Head {
        status: StatusCode::OK,
        fields,
        secondary: Default::default(),
        requested: Wall::default(),
        received: Wall::default(),
        initial_age: 0,
        lifetime: Lifetime { seconds: 1000, source: Source::MaxAge },
        terms: Default::default(),
        always_validate: false,
        sequence: 0,
        names,
        site: Arc::clone(site),
        hidden: false,
    };
    let body = StoredBody::copied(&[Bytes::from(vec![b'x'; n % 3000])]);
    // Whoever delivers it does so, too.
    drop(body.clone());
    StoredResponse::new(Arc::new(head), body, None)
}

#[test]
fn what_is_counted_is_what_is_held() {
    let site = Arc::from("s");
    for (memory, count) in [(1 << 30, 3000), (1 << 30, 20_000), (16 << 20, 20_000)] {
        let before = HELD.get();
        let counters = Arc::new(Counters::default());
        let store = Store::new(Settings { memory, ..Settings::default() }, Arc::clone(&counters));
        store.tick();
        let empty = HELD.get();
        for n in 0..count {
            let key = CacheKey::new("http", "www.example.org", 80, &format!("/catalogue/{n}"));
            store.insert(&key, response(n, &site), |_| Rival::Yields, None);
        }
        // What was turned out is given back when nobody can be looking at it any more.
        (0..100).for_each(|_| store.tick());
        let (held, counted) = ((HELD.get() - empty) as f64, counters.store_bytes.get() as f64);
        let ratio = counted / held;
        assert!((0.9..1.15).contains(&ratio), "{memory}, {count}: {counted} are counted, {held} are held");
        drop(store);
        assert!(HELD.get() - before < held as isize / 20, "it was not given back");
    }
}
