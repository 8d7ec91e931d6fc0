//! A stale response with a validator is asked for conditionally, and a 304 freshens it.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{Gate, Seen, Step, ok, raw, response};

/// Answers 304 to whoever names the validator, and else 200.
fn etagged(seen: &Seen, _: usize) -> Vec<Step> {
    let fields = [("Cache-Control", "max-age=10, must-revalidate"), ("ETag", "\"v1\""), ("X-Old", "kept")];
    if seen.field("if-none-match") == Some("\"v1\"") {
        return vec![raw(
            "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=20\r\nX-New: yes\r\n\r\n",
        )];
    }
    response("200 OK", &fields, "content")
}

#[tokio::test]
async fn a_304_to_an_etag_freshens() {
    let world = World::start("").await;
    world.origin.on("/e", etagged);
    world.get("/e").await;
    world.settled().await;
    world.advance(Duration::from_secs(15));
    let again = world.get("/e").await;
    assert_eq!((again.status, again.text()), (200, "content"));
    assert_eq!(again.cache_status(), "fwd=stale; fwd-status=304; ttl=20; stored");
    assert_eq!(again.field("x-new"), Some("yes"));
    assert_eq!(again.field("x-old"), Some("kept"));
    assert_eq!(again.field("cache-control"), Some("max-age=20"));
    assert_eq!(again.field("age"), Some("0"));
    world.settled().await;
    world.advance(Duration::from_secs(15));
    let hit = world.get("/e").await;
    assert_eq!((hit.text(), hit.cache_status()), ("content", "hit; ttl=5"));
    assert_eq!((hit.field("x-new"), hit.field("age")), (Some("yes"), Some("15")));
    assert_eq!(world.origin.count("/e"), 2);
    world.settled().await;
    let counters = world.counters();
    assert_eq!((counters.requests_miss.get(), counters.requests_hit.get()), (1, 1));
    assert_eq!(counters.requests_revalidated.get(), 1);
}

#[tokio::test]
async fn a_304_to_a_date_freshens() {
    let world = World::start("").await;
    let modified = "Thu, 14 Jan 2027 08:00:00 GMT";
    world.origin.on("/d", move |seen, n| {
        if n == 1 {
            let fields = [("Cache-Control", "max-age=10, must-revalidate"), ("Last-Modified", modified)];
            return response("200 OK", &fields, "content");
        }
        assert_eq!(seen.field("if-modified-since"), Some(modified));
        assert_eq!(seen.field("if-none-match"), None);
        vec![raw("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n")]
    });
    world.get("/d").await;
    world.settled().await;
    world.advance(Duration::from_secs(11));
    let again = world.get("/d").await;
    assert_eq!(again.cache_status(), "fwd=stale; fwd-status=304; ttl=60; stored");
    assert_eq!(again.text(), "content");
    world.settled().await;
    assert!(world.get("/d").await.is_hit());
    assert_eq!(world.origin.count("/d"), 2);
}

#[tokio::test]
async fn a_200_to_a_validation_replaces() {
    let world = World::start("").await;
    world.origin.on("/r", |_, n| {
        let etag = format!("\"v{n}\"");
        let fields = [("Cache-Control", "max-age=10, must-revalidate"), ("ETag", etag.as_str())];
        response("200 OK", &fields, &format!("answer {n}"))
    });
    world.get("/r").await;
    world.settled().await;
    world.advance(Duration::from_secs(11));
    let new = world.get("/r").await;
    assert_eq!(new.text(), "answer 2");
    assert!(new.cache_status().starts_with("fwd=stale; "), "{}", new.cache_status());
    assert_eq!(world.origin.requests()[1].field("if-none-match"), Some("\"v1\""));
    world.settled().await;
    let hit = world.get("/r").await;
    assert_eq!((hit.text(), hit.field("etag"), hit.is_hit()), ("answer 2", Some("\"v2\""), true));
    world.settled().await;
    assert_eq!(world.counters().requests_revalidated.get(), 0);
}

#[tokio::test]
async fn no_cache_is_stored_and_validated_each_time() {
    let world = World::start("").await;
    world.origin.on("/n", |seen, _| {
        if seen.field("if-none-match").is_some() {
            return vec![raw("HTTP/1.1 304 Not Modified\r\nETag: \"n\"\r\n\r\n")];
        }
        response("200 OK", &[("Cache-Control", "no-cache, max-age=60"), ("ETag", "\"n\"")], "content")
    });
    assert_eq!(world.get("/n").await.text(), "content");
    for n in 2..=4 {
        world.settled().await;
        let again = world.get("/n").await;
        assert_eq!((again.status, again.text()), (200, "content"));
        assert!(again.cache_status().contains("fwd-status=304"), "{}", again.cache_status());
        assert_eq!(world.origin.count("/n"), n);
    }
    world.settled().await;
    assert_eq!(world.counters().requests_revalidated.get(), 3);
}

#[tokio::test]
async fn a_client_s_own_conditions_are_not_passed_on() {
    let world = World::start("").await;
    world.origin.always("/c", response("200 OK", &[("Cache-Control", "max-age=60")], "content"));
    let miss = world.get_with("/c", &[("If-None-Match", "\"mine\""), ("Range", "bytes=0-1")]).await;
    assert_eq!(miss.status, 206);
    let seen = world.origin.requests();
    // The range that is asked for is not the client's own.
    assert_eq!((seen[0].field("if-none-match"), seen[0].field("range")), (None, Some("bytes=0-1048575")));
    world.settled().await;
    let whole = world.get("/c").await;
    assert_eq!((whole.status, whole.text(), whole.is_hit()), (200, "content", true));
}

#[tokio::test]
async fn a_304_for_one_client_alone_is_told_to_no_other() {
    for secret in ["Set-Cookie: id=first", "Cache-Control: private\r\nX-Secret: s"] {
        let world = World::start("").await;
        let gate = Gate::default();
        let held = gate.clone();
        world.origin.on("/p", move |_, n| match n {
            1 => etagged(&Seen::default(), n),
            2 => vec![
                Step::Wait(held.clone()),
                raw(&format!("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n{secret}\r\n\r\n")),
            ],
            _ => response("200 OK", &[("Cache-Control", "max-age=60")], "new"),
        });
        world.get("/p").await;
        world.settled().await;
        world.advance(Duration::from_secs(11));
        let (mut first, mut second) = (world.client("first").await, world.client("second").await);
        first.send(b"GET /p HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        gate.reached(1).await;
        second.send(b"GET /p HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        world.until("the second to wait", |c| c.followers_waiting.get() == 1).await;
        gate.open();
        let (first, second) = (first.reply(false).await, second.reply(false).await);
        assert_eq!(first.text(), "content", "{secret}");
        assert!(first.cache_status().contains("fwd-status=304"), "{}", first.cache_status());
        assert!(!first.cache_status().contains("stored"), "{}", first.cache_status());
        assert!(first.field("set-cookie").or(first.field("x-secret")).is_some());
        assert_eq!(second.text(), "new", "{secret}");
        assert_eq!((second.field("set-cookie"), second.field("x-secret")), (None, None), "{secret}");
        world.settled().await;
        assert_eq!((world.get("/p").await.text(), world.origin.count("/p")), ("new", 3));
    }
}

#[tokio::test]
async fn a_304_that_speaks_of_another_response_freshens_nothing() {
    let modified = "Mon, 01 Jan 2024 00:00:00 GMT";
    for said in ["ETag: \"b\"", "Last-Modified: Sun, 31 Dec 2023 00:00:00 GMT"] {
        let world = World::start("").await;
        let not_modified =
            format!("HTTP/1.1 304 Not Modified\r\n{said}\r\nCache-Control: max-age=60\r\n\r\n");
        world.origin.on("/x", move |_, n| match n {
            1 => response("200 OK", &[("Last-Modified", modified), ("Cache-Control", "max-age=5")], "old"),
            2 => vec![raw(&not_modified)],
            _ => ok("max-age=60", "new"),
        });
        world.get("/x").await;
        world.settled().await;
        world.advance(Duration::from_secs(10));
        assert_eq!(world.get("/x").await.text(), "new", "{said}");
        world.settled().await;
        assert!(world.get("/x").await.is_hit());
        let asked = world.origin.requests();
        let since = |n: usize| asked[n].field("if-modified-since").is_some();
        assert_eq!((asked.len(), since(1), since(2)), (3, true, false), "{said}");
    }
}
