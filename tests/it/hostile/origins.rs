//! An origin that lies costs one request, and nothing of it is kept.

use crate::harness::World;
use crate::harness::origin::{Step, ok, raw};

/// The head of a response that could be stored.
fn head(framing: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}\r\n\r\n")
}

#[tokio::test]
async fn a_body_that_breaks_off_is_cut_and_not_stored() {
    let chunks = |text: &str| format!("{}{text}", head("Transfer-Encoding: chunked"));
    for (text, end) in [
        (format!("{}01234", head("Content-Length: 10")), Step::Close),
        (format!("{}01234", head("Content-Length: 10")), Step::Reset),
        (chunks("5\r\n01234\r\n"), Step::Close),
        (chunks("5\r\n01234\r\nxyz\r\n"), Step::Close),
        (chunks("5\r\n01234567\r\n0\r\n\r\n"), Step::Close),
        (chunks("5\r\n01234\r\n0\r\nX-Cut: "), Step::Close),
    ] {
        let world = World::start("").await;
        world.origin.on(
            "/s",
            move |_, n| {
                if n == 1 { vec![raw(&text), end.clone()] } else { ok("max-age=60", "whole") }
            },
        );
        let mut client = world.client("client").await;
        let cut = client.get("/s").await;
        assert_eq!((cut.status, cut.complete), (200, false));
        assert!(client.is_closed().await);
        world.settled().await;
        let counters = world.counters();
        assert_eq!((counters.replies_broken.get(), counters.origin_failed_body.get()), (1, 1));
        assert_eq!(counters.store_inserted.get(), 0);
        let next = world.get("/s").await;
        assert_eq!((next.text(), next.is_hit()), ("whole", false));
        world.settled().await;
        assert!(world.get("/s").await.is_hit());
        assert_eq!(world.origin.count("/s"), 2);
    }
}

// With several threads the connection's own task may be behind the reply's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_follows_a_response_is_never_an_answer() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (first, method) in [
        (format!("{}hello", head("Content-Length: 5")), "GET"),
        (format!("{}5\r\nhello\r\n0\r\n\r\n", head("Transfer-Encoding: chunked")), "GET"),
        ("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "GET"),
        ("HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\n\r\n".to_owned(), "GET"),
        (head("Content-Length: 5"), "HEAD"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "POST"),
    ] {
        let world = World::start("").await;
        world.origin.always("/first", vec![raw(&format!("{first}{evil}"))]);
        world.origin.always("/next", ok("max-age=60", "good"));
        let mut client = world.client("client").await;
        let reply = client.ask(method, "/first", &[], b"").await;
        assert!(matches!(reply.text(), "hello" | ""), "{method} {first}: {}", reply.text());
        world.settled().await;
        assert_eq!(client.get("/next").await.text(), "good", "{method} {first}");
        let seen = world.origin.requests();
        assert_ne!(seen[0].connection, seen[1].connection, "{method} {first}");
    }
}

#[tokio::test]
async fn a_head_that_is_none_gets_502() {
    for bad in [
        "garbage\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let world = World::start("").await;
        world.origin.always("/bad", vec![raw(bad)]);
        world.origin.always("/next", ok("max-age=60", "good"));
        let mut client = world.client("client").await;
        for n in 1..=2 {
            let reply = client.get("/bad").await;
            assert_eq!((reply.status, reply.field("cache-status")), (502, None), "{bad}");
            assert_eq!(reply.field("cache-control"), Some("no-store"));
            assert_eq!(world.origin.count("/bad"), n, "{bad}");
        }
        assert_eq!(client.get("/next").await.text(), "good");
        world.settled().await;
        let counters = world.counters();
        assert_eq!(counters.requests_failed.get(), 2);
        let unasked = bad.contains("304");
        assert_eq!(counters.origin_failed_malformed.get(), if unasked { 0 } else { 2 }, "{bad}");
    }
}

#[tokio::test]
async fn a_head_beyond_the_limits_gets_502() {
    for (settings, line, count) in [
        (
            "",
            "X-Endless: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".to_owned(),
            1_000_000,
        ),
        ("", "X-A: b\r\n".to_owned(), 300),
        ("origin.max_header_bytes = \"16KiB\"", format!("X-Big: {}\r\n", "a".repeat(20_000)), 1),
    ] {
        let world = World::start(settings).await;
        let script = vec![
            raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
            Step::Repeat(line.into_bytes(), count),
            raw("\r\nok"),
        ];
        world.origin.always("/big", script);
        assert_eq!(world.get("/big").await.status, 502, "{settings} {count}");
        world.settled().await;
        assert_eq!(world.counters().origin_failed_malformed.get(), 1);
        assert_eq!(world.counters().store_inserted.get(), 0);
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_head_gets_502() {
    for end in [vec![Step::Close], vec![Step::Reset], vec![raw("HTTP/1.1 200 OK\r\nX-A"), Step::Close]] {
        let world = World::start("").await;
        world.origin.always("/gone", end);
        let reply = world.get("/gone").await;
        assert_eq!((reply.status, reply.field("cache-status")), (502, None));
        world.settled().await;
        assert_eq!(world.origin.count("/gone"), 1, "a new connection is no reason to try again");
        assert_eq!(
            (world.counters().origin_failed_closed.get(), world.counters().origin_retries.get()),
            (1, 0)
        );
    }
}
