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

/// What clients say counts.
const ALL: &str = "[rules]\nrequest_directives = \"all\"";

/// A world in which `/o` is stored, whose origin judges the conditions that are for it alone.
async fn judging(etag: &'static str, rules: &str) -> World {
    let world = World::start(rules).await;
    world.origin.on("/o", move |seen, n| {
        if n > 1 && seen.field("if-match").or(seen.field("if-unmodified-since")).is_some() {
            return response("412 Precondition Failed", &[], "");
        }
        let fields = [("Cache-Control", "max-age=60"), ("ETag", etag), ("Last-Modified", MODIFIED)];
        response("200 OK", &fields, "content")
    });
    assert_eq!(world.get("/o").await.text(), "content");
    world.settled().await;
    world
}

#[tokio::test]
async fn what_is_stored_answers_where_conditions_for_the_origin_are_sure_to_hold() {
    let world = judging("\"v1\"", ALL).await;
    for (name, condition) in [
        ("If-Match", "\"v1\""),
        ("If-Match", "*"),
        ("If-Match", "\"x\", \"v1\""),
        ("If-Unmodified-Since", MODIFIED),
        ("If-Unmodified-Since", "yesterday"),
    ] {
        let reply = world.get_with("/o", &[(name, condition)]).await;
        assert_eq!(
            (reply.status, reply.text(), reply.is_hit()),
            (200, "content", true),
            "{name}: {condition}"
        );
    }
    assert_eq!(world.origin.count("/o"), 1);
}

/// Where no client's word counts against what is fresh, this one does not either; but nobody adds
/// a part to other content.
#[tokio::test]
async fn by_default_nobody_gets_past_what_is_fresh_with_conditions_for_the_origin() {
    let world = judging("\"v1\"", "").await;
    for (name, condition) in [("If-Match", "\"v2\""), ("If-Unmodified-Since", EARLIER)] {
        for fields in [&[(name, condition)][..], &[(name, condition), ("Range", "bytes=0-1")]] {
            let reply = world.get_with("/o", fields).await;
            assert_eq!((reply.status, reply.text(), reply.is_hit()), (200, "content", true), "{fields:?}");
        }
    }
    assert_eq!(world.origin.count("/o"), 1);
}

#[tokio::test]
async fn no_other_than_the_origin_says_that_a_condition_fails() {
    for (etag, name, condition) in [
        ("\"v1\"", "If-Match", "\"v2\""),
        ("\"v1\"", "If-Match", "W/\"v1\""),
        ("W/\"v1\"", "If-Match", "W/\"v1\""),
        ("\"v1\"", "If-Unmodified-Since", EARLIER),
    ] {
        let world = judging(etag, ALL).await;
        let range = ("Range", "bytes=0-1");
        for fields in [&[(name, condition)][..], &[(name, condition), range]] {
            let reply = world.get_with("/o", fields).await;
            assert_eq!((reply.status, reply.text()), (412, ""), "{name}: {condition}");
            assert_eq!(reply.cache_status(), "fwd=request", "{name}: {condition}");
        }
        let asked = world.origin.requests();
        assert_eq!(asked.len(), 3, "{name}: {condition}");
        assert_eq!(asked[1].field(&name.to_lowercase()), Some(condition));
        assert_eq!(asked[2].field("range"), Some("bytes=0-1"));
        // Nobody else notices.
        assert!(world.get("/o").await.is_hit());
    }
}

#[tokio::test]
async fn what_is_not_stored_is_asked_for_with_the_conditions_for_the_origin() {
    let world = World::start("").await;
    world.origin.on("/m", |seen, _| match seen.field("if-match") {
        Some(_) => response("412 Precondition Failed", &[("Cache-Control", "max-age=60")], ""),
        None => response("200 OK", &[("Cache-Control", "max-age=60"), ("ETag", "\"v1\"")], "content"),
    });
    let reply = world.get_with("/m", &[("If-Match", "\"v0\"")]).await;
    assert_eq!((reply.status, reply.cache_status()), (412, "fwd=uri-miss"));
    world.settled().await;
    let next = world.get("/m").await;
    assert_eq!(
        (next.status, next.text(), next.cache_status()),
        (200, "content", "fwd=uri-miss; ttl=60; stored")
    );
}

#[tokio::test]
async fn what_meets_the_conditions_answers_when_the_origin_fails_and_nothing_else_does() {
    let world = World::start("").await;
    world.origin.on("/m", |_, n| match n {
        1 => response(
            "200 OK",
            &[("Cache-Control", "max-age=60, stale-if-error=600"), ("ETag", "\"v1\"")],
            "x",
        ),
        _ => response("503 Service Unavailable", &[], ""),
    });
    world.get("/m").await;
    world.settled().await;
    world.advance(Duration::from_secs(100));
    let met = world.get_with("/m", &[("If-Match", "\"v1\"")]).await;
    assert_eq!((met.status, met.text()), (200, "x"), "{met:?}");
    assert_eq!(world.get_with("/m", &[("If-Match", "\"v0\"")]).await.status, 503);
}

#[tokio::test]
async fn a_weak_tag_is_compared_weakly_and_no_other_way() {
    let world = stored("W/\"v1\"").await;
    assert_eq!(world.get_with("/c", &[("If-None-Match", "\"v1\"")]).await.status, 304);
    assert_eq!(world.get_with("/c", &[("If-None-Match", "W/\"v2\"")]).await.status, 200);
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
