//! Fields of one connection stay on it, and each message says whom it came by.

use crate::harness::World;
use crate::harness::origin::{ok, raw};

#[tokio::test]
async fn fields_of_the_client_s_connection_stay_there() {
    let world = World::start("").await;
    world.origin.always("/c", ok("max-age=60", "content"));
    let fields = [
        ("Connection", "keep-alive, X-Hop, Close-Not"),
        ("X-Hop", "1"),
        ("Close-Not", "1"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic abc"),
        ("Proxy-Connection", "keep-alive"),
        ("Upgrade", "h2c"),
        ("X-End", "to end"),
    ];
    for method in ["GET", "POST"] {
        world.client("client").await.ask(method, "/c", &fields, b"").await;
        let seen = world.origin.requests().pop().expect("a request");
        assert_eq!(seen.method, method);
        for (name, _) in &fields[1..8] {
            assert_eq!(seen.field(&name.to_lowercase()), None, "{method} {name}");
        }
        assert!(seen.all("connection").iter().all(|line| !line.contains("X-Hop")), "{seen:?}");
        assert_eq!(seen.field("x-end"), Some("to end"));
        world.settled().await;
    }
}

#[tokio::test]
async fn fields_of_the_origin_s_connection_stay_there() {
    let world = World::start("").await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                Proxy-Authenticate: Basic\r\nX-End: to end\r\nContent-Length: 7\r\n\r\ncontent";
    world.origin.always("/c", vec![raw(head)]);
    for hit in [false, true] {
        let reply = world.get("/c").await;
        assert_eq!((reply.text(), reply.is_hit()), ("content", hit));
        for name in ["x-hop", "keep-alive", "proxy-authenticate", "connection"] {
            assert_eq!(reply.field(name), None, "{name}, hit: {hit}");
        }
        assert_eq!(reply.field("x-end"), Some("to end"));
        world.settled().await;
    }
    let passed = world.client("client").await.ask("POST", "/c", &[], b"").await;
    assert_eq!((passed.field("x-hop"), passed.field("keep-alive")), (None, None));
}

#[tokio::test]
async fn via_tells_both_sides() {
    let world = World::start("").await;
    let head =
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nVia: 1.1 upstream\r\nContent-Length: 2\r\n\r\nok";
    world.origin.always("/v", vec![raw(head)]);
    let miss = world.get("/v").await;
    assert_eq!(miss.all("via").join(", "), "1.1 upstream, 1.1 forebay");
    world.settled().await;
    assert_eq!(world.get("/v").await.all("via").join(", "), "1.1 upstream, 1.1 forebay");
    world.client("client").await.ask("POST", "/v", &[("Via", "1.0 downstream")], b"").await;
    let seen = world.origin.requests();
    assert_eq!(seen[0].all("via"), ["1.1 forebay"]);
    assert_eq!(seen[1].all("via"), ["1.0 downstream, 1.1 forebay"]);
}

#[tokio::test]
async fn a_node_goes_by_its_own_name() {
    let world = World::start("[node]\nname = \"edge-7\"").await;
    world.origin.always("/n", ok("max-age=60", "content"));
    let reply = world.get("/n").await;
    assert_eq!(reply.all("via"), ["1.1 edge-7"]);
    assert_eq!(reply.field("cache-status"), Some("edge-7; fwd=uri-miss; ttl=60; stored"));
}

#[tokio::test]
async fn a_request_id_is_kept_or_made_and_told_to_both_sides() {
    let world = World::start("").await;
    world.origin.always("/i", ok("max-age=60", "content"));
    let first = world.get_with("/i", &[("X-Request-Id", "mine-1")]).await;
    assert_eq!(first.all("x-request-id"), ["mine-1"]);
    assert_eq!(world.origin.requests()[0].all("x-request-id"), ["mine-1"]);
    world.settled().await;
    let hit = world.get_with("/i", &[("X-Request-Id", "mine-2")]).await;
    assert_eq!((hit.is_hit(), hit.all("x-request-id")), (true, vec!["mine-2"]));
    let made = world.client("client").await.ask("POST", "/i", &[], b"").await;
    let id = made.field("x-request-id").expect("an id").to_owned();
    assert!(id.len() >= 16, "{id}");
    assert_eq!(world.origin.requests()[1].all("x-request-id"), [id.as_str()]);
    // What is no id is replaced.
    let bad = world.get_with("/i", &[("X-Request-Id", "a b\"c")]).await;
    assert_ne!(bad.field("x-request-id"), Some("a b\"c"));
    assert_ne!(bad.field("x-request-id"), Some(id.as_str()));
}

#[tokio::test]
async fn an_id_that_the_origin_sent_is_not_replayed() {
    let world = World::start("").await;
    world.origin.on("/i", |seen, _| {
        let id = seen.field("x-request-id").unwrap_or_default().to_owned();
        crate::harness::origin::response(
            "200 OK",
            &[("Cache-Control", "max-age=60"), ("X-Request-Id", id.as_str())],
            "content",
        )
    });
    for id in ["one", "two"] {
        let reply = world.get_with("/i", &[("X-Request-Id", id)]).await;
        assert_eq!(reply.all("x-request-id"), [id]);
        world.settled().await;
    }
    assert_eq!(world.origin.count("/i"), 1);
}

#[tokio::test]
async fn a_trace_goes_on() {
    let world = World::start("").await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    world.get_with("/t", &[("traceparent", parent), ("tracestate", "a=b")]).await;
    let seen = &world.origin.requests()[0];
    assert_eq!((seen.field("traceparent"), seen.field("tracestate")), (Some(parent), Some("a=b")));
}

#[tokio::test]
async fn fields_that_override_method_or_target_do_not_go_on() {
    let world = World::start("").await;
    let fields = [
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "DELETE"),
        ("X-Method-Override", "DELETE"),
    ];
    for method in ["GET", "POST"] {
        world.client("client").await.ask(method, "/o", &fields, b"").await;
        let seen = world.origin.requests().pop().expect("a request");
        for (name, _) in fields {
            assert_eq!(seen.field(&name.to_lowercase()), None, "{method} {name}");
        }
        world.settled().await;
    }
}
