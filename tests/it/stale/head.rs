//! `HEAD` of a stale response waits no longer for the origin than `GET` does.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok, raw};

#[tokio::test]
async fn a_slow_origin_is_answered_with_stale_and_left_alone() {
    let world = World::start("[rules]\nstale_deadline = \"20ms\"").await;
    let gate = Gate::default();
    let at = gate.clone();
    world
        .origin
        .on("/x", move |_, n| if n == 1 { ok("max-age=5", "good") } else { vec![Step::Wait(at.clone())] });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    let head = async || world.client("client").await.ask("HEAD", "/x", &[], b"").await;
    let first = head().await;
    assert_eq!((first.status, first.cache_status()), (200, "hit; ttl=-5; detail=stale-deadline"));
    assert_eq!(head().await.cache_status(), "hit; ttl=-5; detail=stale-back-off");
    assert_eq!(world.origin.count("/x"), 2);
    gate.open();
}

#[tokio::test]
async fn a_head_for_something_stale_refreshes_what_get_is_answered_with() {
    let world = World::start("").await;
    world.origin.on("/x", |seen, n| {
        let body = if seen.method == "HEAD" { String::new() } else { format!("body {n}") };
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=5, stale-while-revalidate=60\r\n";
        vec![raw(&format!("{head}Content-Length: 6\r\n\r\n{body}"))]
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    let head = world.client("client").await.ask("HEAD", "/x", &[], b"").await;
    assert_eq!(head.cache_status(), "hit; ttl=-5; detail=stale-while-revalidate");
    world.settled().await;
    let get = world.get("/x").await;
    assert_eq!((get.text(), get.is_hit(), get.complete), ("body 2", true, true));
    assert_eq!(world.origin.requests()[1].method, "GET");
}

#[tokio::test]
async fn failures_of_requests_under_way_together_count_as_one() {
    let world = World::start("[rules]\nrefresh_backoff = \"2s\"\nstale_deadline = \"60s\"").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |seen, n| match (n, seen.method.as_str()) {
        (1, _) => ok("max-age=5", "good"),
        (_, "HEAD") => vec![Step::Wait(at.clone()), Step::Close],
        _ => ok("max-age=5", "new"),
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    let mut clients = Vec::new();
    for n in 0..5 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(b"HEAD /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        clients.push(client);
    }
    gate.reached(5).await;
    gate.open();
    for mut client in clients {
        assert_eq!(client.reply(true).await.cache_status(), "hit; ttl=-5; detail=stale-on-error");
    }
    world.advance(Duration::from_secs(2));
    assert_eq!(world.get("/x").await.text(), "new", "the origin is left alone no longer");
}
