//! Under any order of what can happen on a node nothing is served that a purge
//! meant which had been acknowledged, and nothing else is lost.
//!
//! A seeded run drives the store as the fetcher and the flights do, one step of one
//! actor at a time: fetches, validations, clients that want to join, evictions, and
//! purges of all kinds. A model knows what may be served. The seed is in the panic's
//! text.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay::clock::Wall;
use forebay::policy::admit::{Admission, Moments, admit};
use forebay::policy::{Presented, Received, Rules, normalise};
use forebay::rfc::fields::Fields;
use forebay::store::{Inserted, Rival, Settings, Store};
use forebay::stored::{CacheKey, Selector, StoredBody, StoredResponse, Strength};
use http::{Method, StatusCode, Version};

const NOW: Wall = Wall::from_secs(1_800_000_000);
const PATHS: [&str; 4] = ["/a/1", "/a/2", "/b/1", "/c"];
const TAGS: [&str; 3] = ["x", "y", "z"];

/// A fetch between its request and its insertion.
struct Fetch {
    path: usize,
    tags: Vec<&'static str>,
    sequence: u64,
    /// At which step the origin was asked.
    began: usize,
    version: usize,
    /// What it validates, and which one that is to the model.
    old: Option<(Arc<StoredResponse>, usize)>,
}

/// What the model knows of a purge.
struct Purge {
    selectors: Vec<Selector>,
    soft: bool,
    /// It means what was asked for before this step.
    before: usize,
}

impl Purge {
    fn means(&self, path: usize, tags: &[&str], began: usize) -> bool {
        began < self.before && self.selectors.iter().any(|selector| is_meant(selector, path, tags))
    }

    /// Whether it means a response whose head is not known yet.
    fn means_any(&self, path: usize, began: usize) -> bool {
        let by_head = |selector: &&Selector| matches!(selector, Selector::Tag { .. } | Selector::Site { .. });
        let mut by_key = self.selectors.iter().filter(|selector| !by_head(selector));
        began < self.before && by_key.any(|selector| is_meant(selector, path, &[]))
    }
}

fn is_meant(selector: &Selector, path: usize, tags: &[&str]) -> bool {
    match selector {
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

/// What is stored, as the model sees it.
struct Kept {
    version: usize,
    tags: Vec<&'static str>,
    began: usize,
    /// Which one it is: a validation makes another one of the same version.
    number: usize,
}

/// A run of the store and of the model beside it.
struct Run {
    seed: u64,
    step: usize,
    random: fastrand::Rng,
    store: Store,
    /// Whether there is too little room for everything.
    evicts: bool,
    fetches: Vec<Fetch>,
    purges: Vec<Purge>,
    kept: HashMap<usize, Kept>,
    numbers: usize,
    /// A moment that purges may mean: its number, and the step.
    turn: (u64, usize),
}

impl Run {
    fn new(seed: u64) -> Run {
        let evicts = seed % 4 == 3;
        let memory = if evicts { 3000 } else { Settings::default().memory };
        Run {
            seed,
            step: 0,
            random: fastrand::Rng::with_seed(seed),
            store: Store::new(Settings { memory, ..Settings::default() }, Arc::default()),
            evicts,
            fetches: Vec::new(),
            purges: Vec::new(),
            kept: HashMap::new(),
            numbers: 0,
            turn: (0, 0),
        }
    }

    fn go(mut self) {
        for step in 1..=300 {
            self.step = step;
            match self.random.u8(..16) {
                0..4 => self.ask(),
                4..6 => self.validate(),
                6..10 => self.store(),
                10..12 => self.purge(),
                12 => self.turn = (self.store.turn(), step),
                13 => self.join(),
                14 => self.store.tick(),
                _ => self.look(self.random.clone().usize(..PATHS.len())),
            }
        }
        (0..PATHS.len()).for_each(|path| self.look(path));
    }

    fn fail(&self, why: &str) -> ! {
        panic!("seed {}, step {}: {why}", self.seed, self.step);
    }

    fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    fn ask(&mut self) {
        let path = self.random.usize(..PATHS.len());
        let tags = TAGS.into_iter().filter(|_| self.random.bool()).collect();
        let (sequence, version) = (self.store.sequence(), self.number());
        self.fetches.push(Fetch { path, tags, sequence, began: self.step, version, old: None });
    }

    fn validate(&mut self) {
        let path = self.random.usize(..PATHS.len());
        let (Some(kept), Some(found)) = (self.kept.get(&path), self.found(path)) else { return };
        let (tags, version, old) = (kept.tags.clone(), kept.version, Some((found, kept.number)));
        let sequence = self.store.sequence();
        self.fetches.push(Fetch { path, tags, sequence, began: self.step, version, old });
    }

    fn store(&mut self) {
        if self.fetches.is_empty() {
            return;
        }
        let fetch = self.fetches.swap_remove(self.random.usize(..self.fetches.len()));
        let hit = |purge: &Purge| !purge.soft && purge.means(fetch.path, &fetch.tags, fetch.began);
        let forbidden = self.purges.iter().any(hit);
        let is_kept = |number: usize| self.kept.get(&fetch.path).is_some_and(|kept| kept.number == number);
        let replaced = fetch.old.as_ref().is_some_and(|(_, number)| !is_kept(*number));
        let key = key(fetch.path);
        let stored = match &fetch.old {
            Some((old, _)) => self.store.freshen(&key, old, response(&fetch), None),
            None => self.store.insert(&key, response(&fetch), |_| Rival::Yields, None),
        };
        match stored {
            Inserted::Stored(_) if forbidden => self.fail("a purged response was stored"),
            Inserted::Stored(_) if replaced => self.fail("what was replaced came back"),
            Inserted::Stored(_) => {
                let number = self.number();
                let Fetch { path, version, tags, began, .. } = fetch;
                self.kept.insert(path, Kept { version, tags, began, number });
            }
            Inserted::Fenced(_) if !forbidden => self.fail("a response was fenced for nothing"),
            Inserted::Fenced(_) => {}
            Inserted::Gone if fetch.old.is_some() && (replaced || self.evicts) => {}
            other => self.fail(&format!("{other:?}")),
        }
    }

    fn purge(&mut self) {
        let selectors: Vec<Selector> =
            (0..self.random.usize(1..3)).map(|_| selector(&mut self.random)).collect();
        let soft = self.random.u8(..3) == 0;
        // One of another node may mean what was asked for before an earlier moment.
        let now = (u64::MAX, self.step);
        let (number, before) = if self.random.u8(..4) == 0 { self.turn } else { now };
        self.store.begin(&selectors, Strength::of(soft, false), NOW, number, |_| {}).expect("a good purge");
        let purge = Purge { selectors, soft, before };
        if !soft {
            self.kept.retain(|path, kept| !purge.means(*path, &kept.tags, kept.began));
        }
        self.purges.push(purge);
    }

    /// Somebody asks for what is on its way: it may be shared as long as nothing has
    /// been purged of it since its origin was asked.
    fn join(&mut self) {
        if self.fetches.is_empty() {
            return;
        }
        let fetch = &self.fetches[self.random.usize(..self.fetches.len())];
        let outdated = |head| self.store.invalidated_since(&key(fetch.path), head, fetch.sequence).is_some();
        let head = response(fetch).head;
        let meant = self.purges.iter().any(|purge| purge.means(fetch.path, &fetch.tags, fetch.began));
        if outdated(Some(&head)) != meant {
            self.fail(&format!("to be joined: {}", !meant));
        }
        let meant = self.purges.iter().any(|purge| purge.means_any(fetch.path, fetch.began));
        if meant && !outdated(None) {
            self.fail("joined, although it is purged whatever its head will be");
        }
    }

    fn found(&self, path: usize) -> Option<Arc<StoredResponse>> {
        self.store.find_in_memory(&key(path))?.select(&request(PATHS[path]).fields, false).cloned()
    }

    /// What a look-up finds is exactly what the model says.
    fn look(&self, path: usize) {
        match (self.found(path), self.kept.get(&path)) {
            (None, None) => {}
            (Some(_), None) => self.fail(&format!("{} served although it was purged", PATHS[path])),
            (None, Some(_)) if self.evicts => {}
            (None, Some(_)) => self.fail(&format!("{} lost although nothing purged it", PATHS[path])),
            (Some(response), Some(kept)) => {
                let place = format!("seed {}, step {}, {}", self.seed, self.step, PATHS[path]);
                assert_eq!(response.body.chunks()[0], kept.version.to_string(), "{place}");
                let stale = self.purges.iter().any(|purge| purge.means(path, &kept.tags, kept.began));
                assert_eq!(response.is_soft_purged(), stale, "{place}: stale by a purge");
            }
        }
    }
}

#[test]
fn nothing_purged_is_served_and_nothing_else_is_lost() {
    for seed in 0..600 {
        Run::new(seed).go();
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
        let fetch = |version| Fetch {
            path: 0,
            tags: vec!["x"],
            sequence: store.sequence(),
            began: 0,
            version,
            old: None,
        };
        store.insert(&key(0), response(&fetch(1)), |_| Rival::Yields, None);
        let found = store.find_in_memory(&key(0)).expect("stored");
        store
            .begin(std::slice::from_ref(&what), Strength::Hard, NOW, u64::MAX, |_| {})
            .expect("a good purge");
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
                    let fetch = Fetch { path, tags: vec!["x"], sequence, began: 0, version, old: None };
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
            store
                .begin(std::slice::from_ref(&what), Strength::Hard, NOW, u64::MAX, |_| {})
                .expect("a good purge");
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
