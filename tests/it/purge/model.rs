//! Under any order of what can happen on a node nothing is served that a purge
//! meant which had been acknowledged, and nothing else is lost.
//!
//! A seeded run drives the store and the flights as the fetcher does, one step of
//! one actor at a time, and a model knows what may be served. The seed is in the
//! panic's text.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay::clock::Wall;
use forebay::policy::admit::{Admission, Moments, admit};
use forebay::policy::{Presented, Received, Rules, normalise};
use forebay::rfc::fields::Fields;
use forebay::store::{Inserted, Rival, Settings, Store};
use forebay::stored::{CacheKey, Selector, StoredBody, StoredResponse};
use http::{Method, StatusCode, Version};

const NOW: Wall = Wall::from_secs(1_800_000_000);
const PATHS: [&str; 4] = ["/a/1", "/a/2", "/b/1", "/c"];
const TAGS: [&str; 3] = ["x", "y", "z"];

/// A fetch between its request and its insertion.
struct Fetch {
    path: usize,
    tags: Vec<&'static str>,
    sequence: u64,
    /// How many purges had been acknowledged when the origin was asked.
    began: usize,
    version: usize,
}

/// What the model knows of a purge.
struct Purge {
    selectors: Vec<Selector>,
    soft: bool,
}

impl Purge {
    fn means(&self, path: usize, tags: &[&str]) -> bool {
        self.selectors.iter().any(|selector| match selector {
            Selector::Url { path_and_query, .. } | Selector::Path { path_and_query } => {
                path_and_query == PATHS[path]
            }
            Selector::Prefix { prefix, .. } => PATHS[path].starts_with(prefix.as_str()),
            Selector::Tag { tag, .. } => tags.contains(&tag.as_str()),
            Selector::Host { .. } | Selector::Site { .. } | Selector::All => true,
            Selector::Ban { expression } => {
                expression.strip_prefix("req.url ~ ").is_some_and(|part| PATHS[path].contains(part))
            }
            Selector::Group { .. } => false,
        })
    }
}

fn request(path: &str) -> Presented {
    let received = Received {
        method: Method::GET,
        target: path.to_owned(),
        version: Version::HTTP_11,
        fields: [("host", "h")].into_iter().collect(),
        has_body: false,
        peer: [127, 0, 0, 1].into(),
        encrypted: false,
    };
    normalise::normalise(received, &Default::default()).expect("a good request")
}

fn key(path: usize) -> CacheKey {
    CacheKey::new("http", "h", 80, PATHS[path])
}

fn response(fetch: &Fetch) -> StoredResponse {
    let mut fields: Fields = [("cache-control", "max-age=1000")].into_iter().collect();
    if !fetch.tags.is_empty() {
        fields.add("surrogate-key", fetch.tags.join(" "));
    }
    let moments = Moments { requested: NOW, received: NOW, sequence: fetch.sequence };
    let rules = Rules { site: "s".into(), ..Rules::default() };
    let Admission::Store { head, .. } =
        admit(&request(PATHS[fetch.path]), StatusCode::OK, fields, moments, &rules)
    else {
        panic!("a cacheable response")
    };
    let body = StoredBody::copied(&[Bytes::from(fetch.version.to_string())]);
    StoredResponse::new(Arc::new(head), body, None)
}

fn selector(random: &mut fastrand::Rng) -> Selector {
    let path = PATHS[random.usize(..PATHS.len())].to_owned();
    let host = "h".to_owned();
    match random.u8(..8) {
        0 | 1 => Selector::Url { scheme: None, host, port: None, path_and_query: path },
        2 => Selector::Path { path_and_query: path },
        3 => Selector::Prefix { host: random.bool().then_some(host), port: None, prefix: "/a/".to_owned() },
        4 | 5 => Selector::Tag {
            tag: TAGS[random.usize(..TAGS.len())].to_owned(),
            site: random.bool().then(|| "s".to_owned()),
        },
        6 => Selector::Ban { expression: format!("req.url ~ {}", ["/1", "/b", "c"][random.usize(..3)]) },
        _ => [
            Selector::Host { host, port: random.bool().then_some(80) },
            Selector::Site { site: "s".to_owned() },
            Selector::All,
        ][random.usize(..3)]
        .clone(),
    }
}

/// What is stored, as the model sees it: version, tags and the purges before it.
struct Kept {
    version: usize,
    tags: Vec<&'static str>,
    began: usize,
}

fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let store = Store::new(Settings::default(), Arc::default());
    let mut fetches: Vec<Fetch> = Vec::new();
    let mut purges: Vec<Purge> = Vec::new();
    let mut kept: HashMap<usize, Kept> = HashMap::new();
    let mut versions = 0;
    for step in 0..200 {
        match random.u8(..10) {
            0..3 => {
                let path = random.usize(..PATHS.len());
                let tags = TAGS.into_iter().filter(|_| random.bool()).collect();
                versions += 1;
                let sequence = store.sequence();
                fetches.push(Fetch { path, tags, sequence, began: purges.len(), version: versions });
            }
            3..6 if !fetches.is_empty() => {
                let fetch = fetches.swap_remove(random.usize(..fetches.len()));
                let hit = |purge: &&Purge| !purge.soft && purge.means(fetch.path, &fetch.tags);
                let forbidden = purges[fetch.began..].iter().find(hit).is_some();
                let stored = store.insert(&key(fetch.path), response(&fetch), |_| Rival::Yields, None);
                match stored {
                    Inserted::Stored(_) => {
                        assert!(!forbidden, "seed {seed}, step {step}: a purged response was stored");
                        let Fetch { version, tags, began, .. } = fetch;
                        kept.insert(fetch.path, Kept { version, tags, began });
                    }
                    Inserted::Fenced(_) => {
                        assert!(forbidden, "seed {seed}, step {step}: a response was fenced for nothing");
                    }
                    other => panic!("seed {seed}, step {step}: {other:?}"),
                }
            }
            6..8 => {
                let selectors: Vec<Selector> =
                    (0..random.usize(1..3)).map(|_| selector(&mut random)).collect();
                let soft = random.u8(..3) == 0;
                store.begin(&selectors, soft, NOW, u64::MAX, |_| {}).expect("a good purge");
                let purge = Purge { selectors, soft };
                if !soft {
                    kept.retain(|path, kept| !purge.means(*path, &kept.tags));
                }
                purges.push(purge);
            }
            8 => store.tick(),
            _ => {
                let path = random.usize(..PATHS.len());
                check(&store, path, kept.get(&path), &purges, seed, step);
            }
        }
    }
    for path in 0..PATHS.len() {
        check(&store, path, kept.get(&path), &purges, seed, 200);
    }
}

/// What a look-up finds is exactly what the model says.
fn check(store: &Store, path: usize, kept: Option<&Kept>, purges: &[Purge], seed: u64, step: usize) {
    let found = store.find_in_memory(&key(path));
    let response = found.as_deref().and_then(|variants| variants.select(&request(PATHS[path]).fields, false));
    let place = format!("seed {seed}, step {step}, {}", PATHS[path]);
    match (response, kept) {
        (None, None) => {}
        (Some(_), None) => panic!("{place}: served although it was purged"),
        (None, Some(_)) => panic!("{place}: lost although nothing purged it"),
        (Some(response), Some(kept)) => {
            assert_eq!(response.body.chunks()[0], kept.version.to_string(), "{place}");
            let stale = purges[kept.began..].iter().any(|purge| purge.means(path, &kept.tags));
            assert_eq!(response.is_soft_purged(), stale, "{place}: stale by a purge");
        }
    }
}

#[test]
fn nothing_purged_is_served_and_nothing_else_is_lost() {
    for seed in 0..500 {
        run(seed);
    }
}

#[test]
fn a_validation_that_began_after_a_purge_does_not_bring_back_what_it_found_before() {
    for what in [
        Selector::Tag { tag: "x".to_owned(), site: None },
        Selector::All,
        Selector::Prefix { host: None, port: None, prefix: "/a".to_owned() },
    ] {
        let store = Store::new(Settings::default(), Arc::default());
        let fetch =
            |version| Fetch { path: 0, tags: vec!["x"], sequence: store.sequence(), began: 0, version };
        store.insert(&key(0), response(&fetch(1)), |_| Rival::Yields, None);
        let found = store.find_in_memory(&key(0)).expect("stored");
        store.begin(std::slice::from_ref(&what), false, NOW, u64::MAX, |_| {}).expect("a good purge");
        let freshened = store.freshen(&key(0), &found.responses[0], response(&fetch(1)), None);
        assert!(matches!(freshened, Inserted::Gone), "{what}: {freshened:?}");
    }
}

/// The same with threads: fetches that run while purges do. After each purge has
/// returned, nothing that was asked for before it is found.
#[test]
fn no_race_brings_a_purged_response_back() {
    let store = Arc::new(Store::new(Settings::default(), Arc::default()));
    forebay::store::Lurker::start(&store).expect("a thread");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let version = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (store, stop, version) = (&store, &stop, &version);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let sequence = store.sequence();
                    // The version that the origin has now.
                    let version = version.load(std::sync::atomic::Ordering::SeqCst);
                    let path = random.usize(..2);
                    let fetch = Fetch { path, tags: vec!["x"], sequence, began: 0, version };
                    if random.bool() {
                        std::thread::yield_now();
                    }
                    store.insert(&key(path), response(&fetch), |_| Rival::Yields, None);
                }
            });
        }
        let _stop = Stop(&stop);
        let mut random = fastrand::Rng::with_seed(99);
        for round in 1..=1500 {
            // The origin changes, then says so.
            version.store(round, std::sync::atomic::Ordering::SeqCst);
            let what = match random.u8(..4) {
                0 => Selector::Prefix { host: None, port: None, prefix: "/a/".to_owned() },
                1 => Selector::Tag { tag: "x".to_owned(), site: None },
                2 => Selector::All,
                _ => Selector::Host { host: "h".to_owned(), port: None },
            };
            store.begin(std::slice::from_ref(&what), false, NOW, u64::MAX, |_| {}).expect("a good purge");
            for (path, text) in PATHS.iter().enumerate().take(2) {
                let found = store.find_in_memory(&key(path));
                let fields = request(text).fields;
                if let Some(response) = found.as_deref().and_then(|variants| variants.select(&fields, false))
                {
                    let served: usize =
                        String::from_utf8_lossy(&response.body.chunks()[0]).parse().expect("a number");
                    assert!(served >= round, "round {round}: {served} was served after {what}");
                }
            }
        }
    });
}

/// Ends the threads also where the test fails.
struct Stop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
