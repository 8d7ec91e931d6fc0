//! A stored response answers a client's own conditions.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{raw, response};

const MODIFIED: &str = "Thu, 14 Jan 2027 08:00:00 GMT";
const EARLIER: &str = "Wed, 13 Jan 2027 08:00:00 GMT";
const LATER: &str = "Thu, 14 Jan 2027 09:00:00 GMT";

/// A world in which `/c` is stored, with both validators.
async fn stored(etag: &str) -> World {
    let world = World::start("").await;
    let fields = [
        ("Cache-Control", "max-age=60"),
        ("ETag", etag),
        ("Last-Modified", MODIFIED),
        ("Content-Type", "text/plain"),
        ("X-More", "told"),
    ];
    world.origin.always("/c", response("200 OK", &fields, "content"));
    assert_eq!(world.get("/c").await.text(), "content");
    world.settled().await;
    world
}

#[tokio::test]
async fn if_none_match_gets_304_where_a_tag_matches_weakly() {
    let world = stored("\"v1\"").await;
    world.advance(Duration::from_secs(3));
    for (condition, status) in [
        ("\"v1\"", 304),
        ("W/\"v1\"", 304),
        ("\"x\", \"v1\"", 304),
        ("\"x\",W/\"v1\" , \"y\"", 304),
        ("*", 304),
        ("\"v2\"", 200),
        ("v1", 200),
        ("\"x\", \"y\"", 200),
    ] {
        let reply = world.get_with("/c", &[("If-None-Match", condition)]).await;
        assert_eq!(reply.status, status, "{condition}");
        assert_eq!(reply.cache_status(), "hit; ttl=57", "{condition}");
        assert_eq!(reply.field("etag"), Some("\"v1\""));
        assert_eq!(reply.field("age"), Some("3"));
        if status == 304 {
            assert_eq!((reply.field("content-type"), reply.field("content-length")), (None, None));
            assert_eq!(reply.field("cache-control"), Some("max-age=60"));
        }
    }
    assert_eq!(world.origin.count("/c"), 1);
    world.settled().await;
    assert_eq!(world.counters().requests_hit.get(), 8);
}

#[tokio::test]
async fn if_modified_since_gets_304_unless_changed() {
    let world = stored("\"v1\"").await;
    for (condition, status) in [(MODIFIED, 304), (LATER, 304), (EARLIER, 200), ("yesterday", 200)] {
        let reply = world.get_with("/c", &[("If-Modified-Since", condition)]).await;
        assert_eq!(reply.status, status, "{condition}");
    }
    // The tag goes before the date.
    let both = [("If-None-Match", "\"other\""), ("If-Modified-Since", LATER)];
    assert_eq!(world.get_with("/c", &both).await.status, 200);
    assert_eq!(world.origin.count("/c"), 1);
}

#[tokio::test]
async fn if_match_and_if_unmodified_since_get_412_where_they_fail() {
    let world = stored("\"v1\"").await;
    for (name, condition, status) in [
        ("If-Match", "\"v1\"", 200),
        ("If-Match", "*", 200),
        ("If-Match", "\"x\", \"v1\"", 200),
        ("If-Match", "\"v2\"", 412),
        ("If-Match", "W/\"v1\"", 412),
        ("If-Unmodified-Since", MODIFIED, 200),
        ("If-Unmodified-Since", EARLIER, 412),
    ] {
        let reply = world.get_with("/c", &[(name, condition)]).await;
        assert_eq!(reply.status, status, "{name}: {condition}");
        assert_eq!(reply.text(), if status == 200 { "content" } else { "" });
    }
    assert_eq!(world.origin.count("/c"), 1);
}

#[tokio::test]
async fn a_weak_tag_never_satisfies_if_match() {
    let world = stored("W/\"v1\"").await;
    assert_eq!(world.get_with("/c", &[("If-Match", "W/\"v1\"")]).await.status, 412);
    assert_eq!(world.get_with("/c", &[("If-None-Match", "\"v1\"")]).await.status, 304);
    assert_eq!(world.origin.count("/c"), 1);
}

#[tokio::test]
async fn a_condition_on_a_miss_is_answered_here_and_the_whole_is_stored() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("ETag", "\"v1\"")];
    world.origin.always("/m", response("200 OK", &fields, "content"));
    let mut client = world.client("client").await;
    let first = client.get_with("/m", &[("If-None-Match", "\"v1\"")]).await;
    assert_eq!((first.status, first.text()), (304, ""));
    assert_eq!(first.cache_status(), "fwd=uri-miss; ttl=60; stored");
    assert_eq!(world.origin.requests()[0].field("if-none-match"), None);
    world.settled().await;
    let whole = client.get("/m").await;
    assert_eq!((whole.status, whole.text(), whole.is_hit()), (200, "content", true));
    assert_eq!(world.origin.count("/m"), 1);
}

#[tokio::test]
async fn an_error_is_answered_whatever_the_condition() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("ETag", "\"v1\"")];
    world.origin.always("/gone", response("410 Gone", &fields, "no more"));
    for _ in 0..2 {
        let reply = world.get_with("/gone", &[("If-None-Match", "\"v1\"")]).await;
        assert_eq!((reply.status, reply.text()), (410, "no more"));
        world.settled().await;
    }
    assert_eq!(world.origin.count("/gone"), 1);
}

#[tokio::test]
async fn a_304_that_is_passed_on_says_nothing_of_the_length() {
    let world = World::start("[rules]\ncache = false").await;
    world.origin.always("/x", vec![raw("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n")]);
    for method in ["GET", "HEAD"] {
        let tag = [("If-None-Match", "\"a\"")];
        let reply = world.client("client").await.ask(method, "/x", &tag, b"").await;
        assert_eq!((reply.status, reply.field("content-length")), (304, None), "{method}");
    }
}
