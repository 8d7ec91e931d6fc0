//! What purges cost, with a million tagged responses stored.
//!
//! Each line answers one question; times are the median of several runs, the
//! first, hard purge of a name apart.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::clock::Wall;
use forebay::invalidate::Journal;
use forebay::invalidate::journal::{Appending, Record};
use forebay::observe::counters::Counters;
use forebay::policy::admit::{Admission, Moments, admit};
use forebay::policy::{Presented, Received, normalise};
use forebay::rfc::fields::Fields;
use forebay::store::{Lurker, Rival, Settings, Store};
use forebay::stored::{CacheKey, Selector, StoredBody, StoredResponse, Strength};
use http::{Method, StatusCode, Version};

const NOW: Wall = Wall::from_secs(1_800_000_000);
const RESPONSES: usize = 1_000_000;

fn presented() -> Presented {
    let received = Received {
        method: Method::GET,
        target: "/".to_owned(),
        version: Version::HTTP_11,
        fields: [("host", "www.example.org")].into_iter().collect(),
        has_body: false,
        peer: [127, 0, 0, 1].into(),
        encrypted: false,
    };
    normalise::normalise(received, &Default::default()).expect("a good request")
}

fn key(n: usize) -> CacheKey {
    CacheKey::new("http", "www.example.org", 80, &format!("/section-{}/page-{n}", n % 100))
}

fn fill(store: &Store, tags: impl Fn(usize) -> String) {
    let (request, body) = (presented(), StoredBody::copied(&[Bytes::from_static(b"x")]));
    for n in 0..RESPONSES {
        let mut fields: Fields =
            [("content-type", "text/html"), ("cache-control", "max-age=3600")].into_iter().collect();
        let tags = tags(n);
        if !tags.is_empty() {
            fields.add("surrogate-key", tags);
        }
        let moments = Moments { requested: NOW, received: NOW, sequence: store.sequence() };
        let admission = admit(&request, StatusCode::OK, fields, moments, &Default::default());
        let Admission::Store { head, .. } = admission else { panic!("a cacheable response") };
        let response = StoredResponse::new(Arc::new(head), body.clone(), None);
        store.insert(&key(n), response, |_| Rival::Yields, None);
    }
    store.tick();
}

fn new_store() -> Arc<Store> {
    let settings = Settings { memory: 16 << 30, ..Settings::default() };
    let store = Arc::new(Store::new(settings, Arc::default()));
    Lurker::start(&store).expect("a thread");
    store
}

fn purge(store: &Store, what: Selector, soft: bool) -> (Duration, usize, bool) {
    let began = Instant::now();
    let done = store.invalidate(&[what], Strength::of(soft, false), NOW, |_| {}).expect("a good purge");
    (began.elapsed(), done.responses, done.pending)
}

/// Soft purges can be repeated; each reaches all that it means again.
fn median(store: &Store, what: &Selector) -> Duration {
    let mut times: Vec<Duration> = (0..21).map(|_| purge(store, what.clone(), true).0).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096
}

fn tag(text: &str) -> Selector {
    Selector::Tag { tag: text.to_owned(), site: None }
}

/// On average, of about 10 bytes each.
const TAGS: f64 = 3.1;

fn tags(n: usize) -> String {
    let tenth = if n.is_multiple_of(10) { " tenth" } else { "" };
    format!("of-{} page-{n} author-{}{tenth}", n % 1000, n % 7919)
}

fn main() {
    if let Some(kind) = std::env::args().find_map(|word| word.strip_prefix("--memory=").map(str::to_owned)) {
        let before = resident();
        let store = new_store();
        fill(&store, |n| if kind == "tagged" { tags(n) } else { String::new() });
        println!("{}", (resident() - before) / RESPONSES as u64);
        return;
    }
    let [plain, tagged] = ["plain", "tagged"].map(|kind| {
        // Memory that was used before tells nothing; so each has a process of its own.
        let own = std::env::current_exe().expect("this program");
        let done = std::process::Command::new(own).arg(format!("--memory={kind}")).output();
        let told = String::from_utf8(done.expect("it runs").stdout).expect("a number");
        let bytes: f64 = told.trim().parse().expect("a number");
        println!("{bytes:>6} bytes of memory for a {kind} response");
        bytes
    });
    println!("{:>6.0} bytes for a tag of a response, its text in the head included", (tagged - plain) / TAGS);
    let store = new_store();
    fill(&store, tags);

    println!("\npurge of a                      soft, median   hard, first   responses");
    let url = Selector::Url {
        scheme: None,
        host: "www.example.org".to_owned(),
        port: None,
        path_and_query: "/section-5/page-5".to_owned(),
    };
    for (what, selector) in [
        ("URL", url),
        ("tag of 1", tag("page-17")),
        ("tag of 1,000", tag("of-23")),
        ("tag of 100,000", tag("tenth")),
        ("host of 1,000,000", Selector::Host { host: "www.example.org".to_owned(), port: None }),
    ] {
        let soft = median(&store, &selector);
        let (hard, responses, _) = purge(&store, selector, false);
        println!("{what:<30} {soft:>12.1?} {hard:>13.1?} {responses:>11}");
    }
    drop(store);

    let store = new_store();
    fill(&store, |_| String::new());
    let prefix = Selector::Prefix { host: None, port: None, prefix: "/section-7/".to_owned() };
    let (took, responses, pending) = purge(&store, prefix, false);
    println!("prefix of 10,000: answered after {took:.1?} with {responses} hit, more to come: {pending}");

    println!("\nappending to the journal, by how many purge at once");
    for threads in [1, 16, 256] {
        let directory = std::env::temp_dir().join(format!("forebay-bench-{}-{threads}", std::process::id()));
        let counters = Arc::new(Counters::default());
        let (journal, _) = Journal::open(&directory, Arc::clone(&counters)).expect("a journal");
        let next = Mutex::new(0);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while began.elapsed() < Duration::from_secs(1) {
                        let appending = {
                            let mut next = next.lock().expect("a number");
                            *next += 1;
                            journal.append(Record { sequence: *next, payload: vec![b'x'; 200] })
                        };
                        appending.and_then(Appending::wait).expect("appended");
                    }
                });
            }
        });
        let (records, syncs) = (counters.journal_records.get(), counters.journal_syncs.get());
        println!("{threads:>6}: {records} a second with {syncs} syncs");
        drop(journal);
        let _ = std::fs::remove_dir_all(&directory);
    }

    println!("\nlook-up of a response that has been tested, by the number of bans in the list");
    for bans in [0, 100, 10_000] {
        let store =
            Store::new(Settings { memory: 1 << 30, max_bans: 20_000, ..Settings::default() }, Arc::default());
        let request = presented();
        let fields: Fields = [("cache-control", "max-age=3600")].into_iter().collect();
        let moments = Moments { requested: NOW, received: NOW, sequence: 0 };
        let admission = admit(&request, StatusCode::OK, fields, moments, &Default::default());
        let Admission::Store { head, .. } = admission else { panic!("a cacheable response") };
        store.insert(
            &key(1),
            StoredResponse::new(Arc::new(head), StoredBody::default(), None),
            |_| Rival::Yields,
            None,
        );
        let before = resident();
        for n in 0..bans {
            let expression = format!("req.url ~ ^/nowhere/{n}/");
            // Nobody lurks here, so that the list stays as it is; nor does anybody wait.
            let ban = Selector::Ban { expression };
            store.begin(&[ban], Strength::Hard, NOW, u64::MAX, |_| {}).expect("a good ban");
        }
        let memory = resident().saturating_sub(before).checked_div(bans).unwrap_or(0);
        let first = Instant::now();
        black_box(store.find_in_memory(&key(1)));
        let first = first.elapsed();
        let wanted = key(1);
        let began = Instant::now();
        for _ in 0..1_000_000 {
            black_box(store.find_in_memory(black_box(&wanted)));
        }
        println!(
            "{bans:>6} bans: {:>5.1?} each; {first:>8.1?} for the first, which tests them; {memory} bytes a ban",
            began.elapsed() / 1_000_000
        );
    }
}
