//! What each step of the walk costs, without sockets.
//!
//! Each bench answers the question that its name asks; compare the ratios within
//! one run, not the times between machines.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay::apart::Handles;
use forebay::clock::{Clock, Wall};
use forebay::config::{self, Flags};
use forebay::fetch::{Common, Fetcher, Flights, Joined, Lane, Limits};
use forebay::invalidate::Invalidator;
use forebay::message::wire;
use forebay::observe::access_log::AccessLog;
use forebay::observe::counters::Counters;
use forebay::policy::admit::{Admission, Moments, admit};
use forebay::policy::{Presented, Received, decide, normalise};
use forebay::rfc::fields::Fields;
use forebay::serve::{Purging, Request, Server, Upstreams};
use forebay::shed::Door;
use forebay::store::{Rival, Settings, Store};
use forebay::stored::filling::{Budget, Seats, filling};
use forebay::stored::{CacheKey, StoredBody, StoredResponse};
use futures_util::StreamExt;
use http::{Method, StatusCode, Version};

const NOW: Wall = Wall::from_secs(1_800_000_000);

fn received() -> Received {
    let fields: Fields = [
        ("host", "www.example.org"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("connection", "keep-alive"),
    ]
    .into_iter()
    .collect();
    Received {
        method: Method::GET,
        target: "/catalogue/shoes?size=42&colour=blue".to_owned(),
        version: Version::HTTP_11,
        fields,
        has_body: false,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        encrypted: false,
    }
}

fn presented() -> Presented {
    normalise::normalise(received(), &Default::default()).expect("a good request")
}

fn key(request: &Presented) -> CacheKey {
    CacheKey::new(request.scheme, &request.host, request.port, &request.path_and_query)
}

fn response(vary: bool, body: &[u8]) -> StoredResponse {
    let mut fields: Fields = [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "public, max-age=3600, stale-while-revalidate=60"),
        ("etag", "\"0123456789abcdef\""),
        ("last-modified", "Thu, 14 Jan 2027 00:00:00 GMT"),
        ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("server", "origin/1.0"),
    ]
    .into_iter()
    .collect();
    if vary {
        fields.add("vary", "Accept-Encoding, Accept-Language");
    }
    let moments = Moments { requested: NOW, received: NOW, sequence: 0 };
    let admission = admit(&presented(), StatusCode::OK, fields, moments, &Default::default());
    let Admission::Store { head, .. } = admission else { panic!("a cacheable response") };
    StoredResponse::new(Arc::new(head), StoredBody::copied(&[Bytes::copy_from_slice(body)]), None)
}

fn filled_store() -> Arc<Store> {
    let store = Store::new(Settings::default(), Arc::default());
    store.insert(&key(&presented()), response(false, &[b'x'; 1024]), |_| Rival::Yields, None);
    Arc::new(store)
}

fn small_steps(c: &mut Criterion) {
    c.bench_function("how long does the canonical form take", |b| {
        b.iter_batched(received, |r| normalise::normalise(r, &Default::default()), BatchSize::SmallInput);
    });
    let request = presented();
    c.bench_function("how long does the cache key take", |b| b.iter(|| key(black_box(&request))));
    let store = filled_store();
    let wanted = key(&request);
    c.bench_function("how long does looking up take", |b| {
        b.iter(|| store.find_in_memory(black_box(&wanted)))
    });
    let rules = Default::default();
    let found = store.find_in_memory(&wanted);
    c.bench_function("how long does deciding a hit take", |b| {
        b.iter(|| decide(black_box(&request), found.as_deref(), &rules, NOW));
    });
    let varied = Store::new(Settings::default(), Arc::default());
    varied.insert(&wanted, response(true, b"x"), |_| Rival::Yields, None);
    let found = varied.find_in_memory(&wanted);
    c.bench_function("how long does deciding a hit with Vary take", |b| {
        b.iter(|| decide(black_box(&request), found.as_deref(), &rules, NOW));
    });
}

fn server(store: Arc<Store>, clock: Clock) -> Server {
    let config =
        config::read("bench", "[[origin]]\nname = \"o\"\nurl = \"http://127.0.0.1:1\"\n", &Flags::default())
            .expect("a good configuration");
    let counters = Arc::new(Counters::default());
    let common = Common {
        store: Arc::clone(&store),
        flights: Flights::new(Arc::clone(&counters)),
        budget: Budget::default(),
        origins: Arc::new(forebay::origin::Origins::by_system(Arc::clone(&counters)).expect("a resolver")),
        clock: clock.clone(),
        counters: Arc::clone(&counters),
        id: "n".into(),
    };
    let door = Door::new(config.shed, common.budget.clone(), Arc::clone(&counters));
    Server {
        sites: config.sites,
        presentation: config.presentation,
        upstreams: Upstreams {
            direct: Some(Fetcher::new(
                Vec::new(),
                config.fetch,
                "forebay".to_owned(),
                door.clone(),
                common,
                None,
            )),
            announcer: None,
            names: Arc::default(),
        },
        door,
        purging: Purging {
            settings: Default::default(),
            invalidator: Arc::new(Invalidator::new(
                Arc::clone(&store),
                None,
                None,
                clock.clone(),
                Arc::clone(&counters),
            )),
        },
        store,
        node: "forebay".to_owned(),
        via: "1.1 forebay".to_owned(),
        clock,
        counters: Handles::new(Arc::clone(&counters)),
        access_log: AccessLog::start(&config.access_log, counters).expect("no log"),
    }
}

fn flights_and_heads(c: &mut Criterion) {
    let counters = Arc::new(Counters::default());
    let store = Store::new(Settings::default(), Arc::clone(&counters));
    let flights = Flights::new(Arc::clone(&counters));
    let wanted = key(&presented());
    let limits = Limits { flights: 1000, followers: usize::MAX, patience: Duration::from_secs(60) };
    let join = || flights.join(&wanted, Lane::default(), None, &store, limits, |_| true);
    c.bench_function("how long does leading a flight take", |b| {
        b.iter(|| assert!(matches!(join(), Joined::Lead(_))));
    });
    let lease = join();
    c.bench_function("how long does joining a flight take", |b| {
        b.iter(|| assert!(matches!(join(), Joined::Follow(_))));
    });
    drop(lease);
    let stored = response(true, b"x");
    c.bench_function("how long does turning a stored head into the library's take", |b| {
        b.iter(|| wire::map_from(black_box(&stored.head.fields)));
    });
}

fn whole_hit(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let server = server(filled_store(), Clock::manual(NOW));
    let mut group = c.benchmark_group("how long does a memory hit take without sockets");
    group.throughput(Throughput::Elements(1));
    group.bench_function("1 KiB", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let request = Request { received: received(), content: None };
                let mut reply = server.serve(request).await;
                assert_eq!(reply.status, StatusCode::OK);
                while reply.body.next().await.is_some() {}
            });
        });
    });
    group.finish();
}

fn bodies(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut group = c.benchmark_group("how long does a MiB take from the writer to its readers");
    group.throughput(Throughput::Bytes(1 << 20));
    let piece = Bytes::from(vec![7; 16 * 1024]);
    for readers in [1, 8] {
        group.bench_function(format!("{readers} readers"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let (body, mut writer) = filling(&Budget::default(), Arc::new(Seats::default()));
                    let readers: Vec<_> = (0..readers).filter_map(|_| body.reader(0..u64::MAX)).collect();
                    for _ in 0..64 {
                        writer.push(piece.clone(), Duration::from_secs(1)).await.expect("readers are there");
                    }
                    let kept = writer.compact().await;
                    writer.complete();
                    for mut reader in readers {
                        while let Some(piece) = reader.next().await {
                            black_box(piece).expect("a whole body");
                        }
                    }
                    kept
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, small_steps, flights_and_heads, whole_hit, bodies);
criterion_main!(benches);
