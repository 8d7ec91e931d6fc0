//! Connections are kept, used again, and replaced where they have died.

use crate::harness::World;
use crate::harness::origin::{Step, ok, raw};

#[tokio::test]
async fn requests_one_after_another_share_a_connection() {
    let world = World::start("").await;
    let chunked = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    world.origin.always("/stored", ok("max-age=60", "content"));
    world.origin.always("/private", ok("no-store", "content"));
    world.origin.always("/chunked", vec![raw(chunked)]);
    world.origin.always("/posted", ok("no-store", "content"));
    world.origin.always("/empty", ok("no-store", ""));
    world.origin.always("/none", vec![raw("HTTP/1.1 204 No Content\r\n\r\n")]);
    world.origin.always("/head", vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")]);
    let mut client = world.client("client").await;
    for (method, path) in [
        ("GET", "/stored"),
        ("GET", "/private"),
        ("GET", "/chunked"),
        ("POST", "/posted"),
        ("POST", "/empty"),
        ("GET", "/none"),
        ("HEAD", "/head"),
        ("PUT", "/unknown"),
        ("GET", "/last"),
    ] {
        client.ask(method, path, &[], b"").await;
        world.settled().await;
        let seen = world.origin.requests().pop().expect("a request");
        assert_eq!((seen.target.as_str(), seen.connection), (path, 0));
    }
    assert_eq!(world.counters().origin_connections.get(), 1);
    assert_eq!(world.counters().client_connections.get(), 1);
}

#[tokio::test]
async fn an_origin_that_closes_is_connected_anew() {
    let world = World::start("").await;
    for close in ["HTTP/1.1 200 OK\r\nConnection: close\r\n", "HTTP/1.0 200 OK\r\n"] {
        world.origin.always("/c", vec![raw(&format!("{close}Content-Length: 2\r\n\r\nok"))]);
        let before = world.counters().origin_connections.get();
        for _ in 0..2 {
            assert_eq!(world.get("/c").await.text(), "ok");
            world.settled().await;
        }
        assert!(world.counters().origin_connections.get() > before, "{close}");
    }
    let last = world.origin.requests().pop().expect("a request");
    assert!(last.connection >= 2, "{last:?}");
    assert_eq!(world.counters().origin_retries.get(), 0);
}

#[tokio::test]
async fn a_body_up_to_the_end_of_the_connection_is_stored() {
    let world = World::start("").await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n";
    world.origin.always("/e", vec![raw(head), raw("content"), Step::Close]);
    let mut client = world.client("client").await;
    for hit in [false, true] {
        let reply = client.get("/e").await;
        assert_eq!((reply.text(), reply.complete, reply.is_hit()), ("content", true, hit));
        world.settled().await;
    }
    assert_eq!(world.origin.count("/e"), 1);
}

/// Asks over a connection that has been used, and dies with this request.
async fn over_a_dying_connection(method: &str, body: &[u8]) -> (u16, usize, u64) {
    let world = World::start("").await;
    world.origin.always("/first", ok("no-store", "content"));
    world.origin.on("/dies", |_, n| if n == 1 { vec![Step::Close] } else { ok("no-store", "") });
    world.get("/first").await;
    world.settled().await;
    let reply = world.client("client").await.ask(method, "/dies", &[], body).await;
    world.settled().await;
    let seen = world.origin.requests();
    assert_eq!(seen[1].connection, 0, "it was used again");
    assert_eq!(world.counters().origin_requests.get(), 2);
    (reply.status, world.origin.count("/dies"), world.counters().origin_retries.get())
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_once() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        assert_eq!(over_a_dying_connection(method, b"").await, (200, 2, 1), "{method}");
    }
    for (method, body) in [("POST", &b""[..]), ("POST", b"content"), ("PUT", b"content"), ("BREW", b"")] {
        assert_eq!(over_a_dying_connection(method, body).await, (502, 1, 0), "{method}");
    }
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() {
    let world = World::start("").await;
    let mut all = String::new();
    for path in ["/1", "/2", "/3"] {
        world.origin.always(path, ok("max-age=60", path));
        all.push_str(&format!("GET {path} HTTP/1.1\r\nHost: www.example.org\r\n\r\n"));
    }
    let mut client = world.client("client").await;
    client.send(all.as_bytes()).await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.reply(false).await.text(), path);
    }
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let world = World::start("listen.max_connections = 1").await;
    world.origin.always("/a", ok("max-age=60", "content"));
    let mut first = world.client("first").await;
    assert_eq!(first.get("/a").await.text(), "content");
    assert!(world.client("second").await.is_closed().await);
    assert_eq!(world.counters().client_connections_refused.get(), 1);
    world.settled().await;
    assert!(first.get("/a").await.is_hit());
    drop(first);
    world.until("its place to be free", |c| c.client_connections_open.get() == 0).await;
}

#[tokio::test]
async fn a_reused_connection_that_dies_in_the_middle_of_a_head_is_no_reason_to_try_again() {
    for (end, count) in [(vec![Step::Close], 2), (vec![raw("HTTP/1.1 200 OK\r\nX-A"), Step::Close], 1)] {
        let world = World::start("").await;
        world.origin.always("/first", ok("no-store", "x"));
        world.get("/first").await;
        world.settled().await;
        world.origin.always("/then", end);
        assert_eq!(world.get("/then").await.status, 502);
        assert_eq!(world.origin.count("/then"), count, "only silence lets it be sent once more");
        assert_eq!(world.counters().origin_retries.get(), count as u64 - 1);
    }
}
