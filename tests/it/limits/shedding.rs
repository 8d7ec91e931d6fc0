//! When too much is under way, what is stored is served, and the rest is refused,
//! refreshes first.

use std::time::Duration;

use crate::harness::origin::{Gate, Step, ok, raw};
use crate::harness::{Client, World, breathe};

/// A world in which `/hit` is fresh and `/stale` is stale, and so many requests wait at the
/// gate for `/slow/N`.
async fn full_world(settings: &str, waiting: usize) -> (World, Gate, Vec<Client>) {
    let world = World::start(settings).await;
    let gate = Gate::default();
    for n in 0..waiting {
        let mut script = vec![Step::Wait(gate.clone())];
        script.extend(ok("max-age=60", "slow"));
        world.origin.always(&format!("/slow/{n}"), script);
    }
    world.origin.always("/hit", ok("max-age=600", "hit"));
    world.origin.always("/stale", ok("max-age=5", "stale"));
    world.origin.always("/grace", ok("max-age=5, stale-while-revalidate=600", "grace"));
    for path in ["/hit", "/stale", "/grace"] {
        world.get(path).await;
    }
    world.settled().await;
    world.advance(Duration::from_secs(10));
    let mut clients = Vec::new();
    for n in 0..waiting {
        let mut client = world.client(&format!("waiting {n}")).await;
        client.send(format!("GET /slow/{n} HTTP/1.1\r\nHost: www.example.org\r\n\r\n").as_bytes()).await;
        world.origin.wait_for(&format!("/slow/{n}"), 1).await;
        clients.push(client);
    }
    (world, gate, clients)
}

#[tokio::test]
async fn at_the_cap_hits_and_stale_answers_flow_and_misses_are_refused() {
    let (world, gate, mut clients) = full_world("[shed]\nmax_requests = 4", 4).await;
    assert_eq!(world.counters().shed_places.get(), 4);
    let mut client = world.client("client").await;
    for _ in 0..20 {
        assert!(client.get("/hit").await.is_hit());
    }
    assert_eq!(client.get("/stale").await.cache_status(), "hit; ttl=-5; detail=stale-shed");
    for (method, path) in [("GET", "/miss"), ("POST", "/hit"), ("HEAD", "/miss"), ("GET", "/slow/0")] {
        let reply = client.ask(method, path, &[], b"").await;
        assert_eq!((reply.status, reply.field("cache-status")), (503, None), "{method} {path}");
        let again: u64 = reply.field("retry-after").expect("when to come again").parse().expect("seconds");
        assert!((3..=6).contains(&again), "{again}");
        assert_eq!(
            reply.field("proxy-status"),
            Some("forebay; error=connection_limit_reached; details=\"max_requests\"")
        );
    }
    assert_eq!(
        (world.origin.count("/miss"), world.origin.count("/hit"), world.origin.count("/stale")),
        (0, 1, 1)
    );
    assert_eq!((world.counters().shed_requests.get(), world.counters().requests_shed.get()), (5, 4));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply(false).await.text(), "slow");
    }
    world.settled().await;
    assert_eq!(world.counters().shed_places.get(), 0);
    assert_eq!(client.get("/miss").await.status, 404);
}

#[tokio::test]
async fn what_clients_have_left_behind_holds_its_place_until_it_is_done() {
    let (world, gate, clients) = full_world("[shed]\nmax_requests = 4", 4).await;
    drop(clients);
    world.until("all of them to be gone", |counters| counters.requests_under_way.get() == 0).await;
    assert_eq!(world.counters().shed_places.get(), 4, "their fetches go on");
    assert_eq!(world.get("/miss").await.status, 503);
    gate.open();
    world.until("no place to be held", |counters| counters.shed_places.get() == 0).await;
    assert_eq!(world.get("/miss").await.status, 404);
}

#[tokio::test]
async fn refreshes_are_refused_first() {
    let (world, gate, mut clients) = full_world("[shed]\nmax_requests = 5", 4).await;
    let mut client = world.client("client").await;
    for n in 1..=3 {
        assert_eq!(client.get("/grace").await.cache_status(), "hit; ttl=-5; detail=stale-while-revalidate");
        assert_eq!(world.counters().shed_refreshes.get(), n);
    }
    assert_eq!((client.get("/miss").await.status, world.origin.count("/grace")), (404, 1));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply(false).await.text(), "slow");
    }
    world.settled().await;
    assert_eq!(client.get("/grace").await.text(), "grace");
    world.origin.wait_for("/grace", 2).await;
    world.until("the refresh to end", |c| c.shed_places.get() == 0).await;
    assert!(client.get("/grace").await.is_hit());
}

#[tokio::test]
async fn whoever_waits_for_another_ones_response_is_under_way() {
    let (world, gate, mut clients) = full_world("[shed]\nmax_requests = 2", 1).await;
    let mut follower = world.client("follower").await;
    follower.send(b"GET /slow/0 HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    world.until("it to follow", |c| c.followers_waiting.get() == 1).await;
    assert_eq!(world.get("/slow/0").await.status, 503);
    gate.open();
    assert_eq!(clients[0].reply(false).await.text(), "slow");
    assert_eq!(follower.reply(false).await.text(), "slow");
    assert_eq!(world.origin.count("/slow/0"), 1);
}

#[tokio::test]
async fn what_is_buffered_stops_new_fetches_and_nothing_else() {
    let world = World::start("[shed]\nmax_buffered = \"1MiB\"").await;
    let gate = Gate::default();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
    let content = "x".repeat(1024 * 1024);
    let chunk = format!("{:x}\r\n{content}\r\n", content.len());
    world.origin.always("/large", vec![raw(head), raw(&chunk), Step::Wait(gate.clone()), raw("0\r\n\r\n")]);
    world.origin.always("/hit", ok("max-age=600", "hit"));
    world.get("/hit").await;
    let mut large = world.client("large").await;
    large.send(b"GET /large HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    gate.reached(1).await;
    let mut client = world.client("client").await;
    assert!(client.get("/hit").await.is_hit());
    // The last bytes may still be on their way.
    let mut tries = 0;
    let until_refused = async {
        loop {
            tries += 1;
            let reply = client.get(&format!("/miss/{tries}")).await;
            if reply.status != 404 {
                return reply;
            }
            breathe().await;
        }
    };
    let refused = world.transcript.within("a miss to be refused", until_refused).await;
    assert_eq!(
        (refused.status, refused.field("proxy-status")),
        (503, Some("forebay; error=connection_limit_reached; details=\"max_buffered\""))
    );
    assert_eq!(client.ask("POST", "/miss", &[], b"").await.status, 404, "it holds nothing");
    assert_eq!((world.counters().shed_bytes.get(), world.counters().shed_requests.get()), (1, 0));
    gate.open();
    assert_eq!(large.reply(false).await.body.len(), content.len());
    world.settled().await;
    assert!(client.get("/large").await.is_hit());
    assert_eq!(client.get("/miss").await.status, 404);
}

#[tokio::test]
async fn the_access_log_says_why() {
    let path = std::env::temp_dir().join(format!("forebay-shed-{:x}.log", fastrand::u64(..)));
    let settings = format!(
        "[access_log]\noutput = {path:?}\n[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 1",
        path = path.display().to_string()
    );
    let world = World::start(&settings).await;
    world.origin.otherwise(|_, _| ok("max-age=5", "content"));
    let mut client = world.client("client").await;
    client.get("/a").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    client.get("/a").await;
    client.get("/b").await;
    world.until("three lines", |c| c.access_log_lines.get() == 3).await;
    let text = std::fs::read_to_string(&path).expect("the log");
    std::fs::remove_file(&path).expect("removed");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said = |n: usize| (lines[n]["status"].as_u64(), lines[n]["detail"].as_str());
    assert_eq!(said(1), (Some(200), Some("shed: miss_rate")));
    assert_eq!(said(2), (Some(429), Some("shed: miss_rate")));
}
