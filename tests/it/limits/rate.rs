//! Whoever misses too often is refused, and nobody else; what is stored goes on.

use std::time::Duration;

use serde_json::json;

use crate::harness::origin::{Gate, Step, ok, raw};
use crate::harness::{Client, World};
use crate::purge::post;

/// Two misses at once and one more an hour: none comes back while a test runs.
const SLOW: &str =
    "listen.trusted_proxies = [\"127.0.0.0/8\"]\n[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 2\n";

fn of(client: &str) -> [(&str, &str); 1] {
    [("X-Forwarded-For", client)]
}

#[tokio::test]
async fn a_client_that_scans_is_refused_and_hits_flow() {
    let world = World::start("[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 3").await;
    world.origin.otherwise(|_, _| ok("max-age=60", "content"));
    let mut client = world.client("scanner").await;
    let mut statuses = Vec::new();
    for n in 0..10 {
        statuses.push(client.get(&format!("/{n}")).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429, 429, 429, 429, 429]);
    let refused = client.get("/10").await;
    let again: u64 = refused.field("retry-after").expect("when to come again").parse().expect("seconds");
    assert!((3000..=3600).contains(&again), "{again}");
    assert_eq!(
        refused.field("proxy-status"),
        Some("forebay; error=http_request_denied; details=\"miss_rate\"")
    );
    assert_eq!(refused.field("cache-control"), Some("no-store"));
    assert_eq!(refused.field("cache-status"), None);
    for _ in 0..20 {
        assert!(client.get("/0").await.is_hit());
    }
    assert_eq!(world.origin.requests().len(), 3);
    world.settled().await;
    let counters = world.counters();
    assert_eq!((counters.shed_rate.get(), counters.requests_shed.get()), (8, 8));
    assert_eq!((counters.shed_clients.get(), counters.shed_places.get()), (1, 0));
}

#[tokio::test]
async fn without_a_rate_nobody_is_refused() {
    let world = World::start("").await;
    world.origin.otherwise(|_, _| ok("no-store", "content"));
    let mut client = world.client("scanner").await;
    for n in 0..300 {
        assert_eq!(client.get(&format!("/{n}")).await.status, 200);
    }
    assert_eq!((world.counters().shed_rate.get(), world.counters().shed_clients.get()), (0, 0));
}

#[tokio::test]
async fn clients_behind_one_trusted_proxy_are_told_apart() {
    let world = World::start(SLOW).await;
    world.origin.otherwise(|_, _| ok("max-age=60", "content"));
    // One connection for all, as a proxy has it.
    let mut proxy = world.client("proxy").await;
    for (n, status) in [200, 200, 429, 429].into_iter().enumerate() {
        assert_eq!(proxy.get_with(&format!("/{n}"), &of("192.0.2.1")).await.status, status, "{n}");
    }
    assert_eq!(proxy.get_with("/a", &of("192.0.2.2")).await.status, 200);
    assert_eq!(proxy.get_with("/b", &of("192.0.2.1")).await.status, 429);
    // The last one that no trusted proxy vouches for counts, and not what it claims itself.
    assert_eq!(proxy.get_with("/c", &of("192.0.2.9, 192.0.2.1")).await.status, 429);
    assert_eq!(world.counters().shed_clients.get(), 2);
}

#[tokio::test]
async fn whoever_is_no_trusted_proxy_is_counted_itself() {
    let world = World::start("[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 2\n").await;
    world.origin.otherwise(|_, _| ok("max-age=60", "content"));
    for (n, status) in [200, 200, 429].into_iter().enumerate() {
        let name = format!("192.0.2.{n}");
        assert_eq!(world.get_with(&format!("/{n}"), &of(&name)).await.status, status);
    }
}

#[tokio::test]
async fn a_network_is_one_client() {
    for (prefixes, same, other) in [
        ("", ["2001:db8::1", "2001:db8::ffff:2"], "2001:db8:0:1::1"),
        ("miss_v6_prefix = 48", ["2001:db8::1", "2001:db8:0:1::1"], "2001:db8:1::1"),
        ("miss_v4_prefix = 24", ["192.0.2.1", "192.0.2.200"], "192.0.3.1"),
    ] {
        let world = World::start(&format!("{SLOW}{prefixes}")).await;
        world.origin.otherwise(|_, _| ok("max-age=60", "content"));
        for (n, client) in same.into_iter().enumerate() {
            assert_eq!(world.get_with(&format!("/{n}"), &of(client)).await.status, 200);
        }
        for client in same {
            assert_eq!(world.get_with("/2", &of(client)).await.status, 429, "{client}");
        }
        assert_eq!(world.get_with("/3", &of(other)).await.status, 200, "{other}");
        assert_eq!(world.counters().shed_clients.get(), 2);
    }
}

#[tokio::test]
async fn whatever_goes_to_the_origin_for_a_client_counts() {
    let world =
        World::start("[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 4\n[rules]\nstale_on_error = \"0s\"").await;
    let valid = "HTTP/1.1 200 OK\r\nCache-Control: max-age=5\r\nETag: \"a\"\r\nContent-Length: 2\r\n\r\nok";
    world.origin.on("/v", move |_, n| {
        if n == 1 { vec![raw(valid)] } else { vec![raw("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n")] }
    });
    world.origin.always("/p", ok("no-store", "private"));
    let mut client = world.client("client").await;
    assert_eq!(client.get("/v").await.status, 200);
    world.settled().await;
    world.advance(Duration::from_secs(10));
    assert_eq!(client.get("/v").await.text(), "ok");
    assert_eq!(client.get("/p").await.status, 200);
    assert_eq!(client.ask("POST", "/p", &[], b"content").await.status, 200);
    assert_eq!(client.ask("POST", "/p", &[], b"content").await.status, 429);
    assert_eq!(client.ask("HEAD", "/h", &[], b"").await.status, 429);
    assert_eq!(world.origin.requests().len(), 4);
}

#[tokio::test]
async fn stale_answers_where_it_may_rather_than_429() {
    let world = World::start("[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 1").await;
    world.origin.always("/x", ok("max-age=5", "content"));
    let mut client = world.client("client").await;
    client.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    for method in ["GET", "HEAD"] {
        let reply = client.ask(method, "/x", &[], b"").await;
        assert_eq!((reply.status, reply.cache_status()), (200, "hit; ttl=-5; detail=stale-shed"), "{method}");
    }
    assert_eq!(world.origin.count("/x"), 1);
    assert_eq!((world.counters().shed_rate.get(), world.counters().requests_stale.get()), (2, 2));
}

#[tokio::test]
async fn whoever_follows_spends_nothing() {
    let world = World::start("[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 2").await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(ok("max-age=60", "content"));
    world.origin.always("/x", script);
    world.origin.always("/y", ok("max-age=60", "content"));
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        world.origin.wait_for("/x", 1).await;
        clients.push(client);
    }
    world.until("the others to wait", |c| c.followers_waiting.get() == 9).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply(false).await.text(), "content");
    }
    assert_eq!((world.get("/y").await.status, world.get("/z").await.status), (200, 429));
    assert_eq!(world.origin.count("/x"), 1);
}

#[tokio::test]
async fn whoever_follows_in_vain_is_counted_after_all() {
    let world = World::start("[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 2").await;
    let gate = Gate::default();
    let waiting = gate.clone();
    world.origin.on("/x", move |_, n| {
        let mut script = if n == 1 { vec![Step::Wait(waiting.clone())] } else { Vec::new() };
        script.extend(ok("no-store", "private"));
        script
    });
    let mut first = world.client("first").await;
    first.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    world.origin.wait_for("/x", 1).await;
    let mut second = world.client("second").await;
    second.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    world.until("the second to wait", |c| c.followers_waiting.get() == 1).await;
    gate.open();
    for client in [&mut first, &mut second] {
        assert_eq!(client.reply(false).await.text(), "private");
    }
    assert_eq!((world.origin.count("/x"), world.get("/y").await.status), (2, 429));
}

#[tokio::test]
async fn what_a_breaker_or_a_bulkhead_refuses_spends_nothing() {
    let world = World::start(
        "origin.max_requests = 1\norigin.max_line = 0\n[shed]\nmiss_rate = \"1/h\"\nmiss_burst = 2",
    )
    .await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(ok("no-store", "slow"));
    world.origin.always("/slow", script);
    world.origin.otherwise(|_, _| ok("no-store", "content"));
    let mut client = world.client("client").await;
    let mut refused = 0;
    let mut ask_in_vain = async |client: &mut Client| {
        for n in 0..3 {
            assert_eq!(client.get(&format!("/{n}")).await.status, 503, "{n}");
            assert_eq!(client.ask("POST", "/", &[], b"content").await.status, 503, "{n}");
            refused += 2;
        }
    };
    post(&world, "/v1/origins/o/breaker", &json!({ "state": "open" })).await;
    ask_in_vain(&mut client).await;
    assert_eq!(world.counters().origin_refused_open.get(), 6);
    post(&world, "/v1/origins/o/breaker", &json!({ "state": "auto" })).await;
    // One of the two misses is under way, and takes the only place.
    let mut slow = world.client("slow").await;
    slow.send(b"GET /slow HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    world.origin.wait_for("/slow", 1).await;
    ask_in_vain(&mut client).await;
    gate.open();
    assert_eq!(slow.reply(false).await.text(), "slow");
    world.settled().await;
    assert_eq!((client.get("/a").await.status, client.get("/b").await.status), (200, 429));
    assert_eq!((world.origin.requests().len(), refused), (2, 12));
    assert_eq!(world.counters().shed_rate.get(), 1);
}

#[tokio::test]
async fn a_reload_sets_a_rate_and_forgets_nobody() {
    let world = World::start(SLOW).await;
    world.origin.otherwise(|_, _| ok("no-store", "content"));
    for status in [200, 200, 429] {
        assert_eq!(world.get_with("/a", &of("192.0.2.1")).await.status, status);
    }
    let reload = |settings: &str| {
        let text = World::config_text(&world.origin, settings);
        let config = forebay::config::read("test", &text, &forebay::config::Flags::default()).expect("good");
        world.node.reload(config)
    };
    reload("listen.trusted_proxies = [\"127.0.0.0/8\"]\n");
    assert_eq!(world.get_with("/a", &of("192.0.2.1")).await.status, 200);
    reload(SLOW);
    assert_eq!(world.get_with("/a", &of("192.0.2.1")).await.status, 429);
    assert_eq!(world.get_with("/a", &of("192.0.2.2")).await.status, 200);
}
