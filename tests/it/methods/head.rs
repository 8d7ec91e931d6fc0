//! `HEAD` is answered from a stored `GET`, and what it learns counts for it.

use std::time::Duration;

use crate::harness::origin::{ok, raw, response};
use crate::harness::{Reply, World};

async fn head(world: &World, path: &str) -> Reply {
    world.client("head").await.ask("HEAD", path, &[], b"").await
}

#[tokio::test]
async fn a_stored_get_answers_head() {
    let world = World::start("").await;
    world.origin.always("/h", ok("max-age=60", "content"));
    world.get("/h").await;
    world.settled().await;
    let reply = head(&world, "/h").await;
    assert_eq!((reply.status, reply.cache_status()), (200, "hit; ttl=60"));
    assert_eq!(reply.field("content-length"), Some("7"));
    assert_eq!(world.origin.requests().len(), 1);
    world.settled().await;
    assert_eq!((world.counters().requests_hit.get(), world.counters().reply_body_bytes.get()), (1, 7));
}

#[tokio::test]
async fn head_on_a_miss_is_passed_and_nothing_is_stored() {
    let world = World::start("").await;
    world.origin.on("/h", |seen, _| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 7\r\n\r\n";
        if seen.method == "HEAD" { vec![raw(head)] } else { vec![raw(head), raw("content")] }
    });
    for _ in 0..2 {
        let reply = head(&world, "/h").await;
        assert_eq!((reply.status, reply.cache_status()), (200, "fwd=miss"));
        assert_eq!(reply.field("content-length"), Some("7"));
        world.settled().await;
    }
    assert_eq!(world.get("/h").await.text(), "content");
    assert_eq!(world.origin.count("/h"), 3);
    world.settled().await;
    assert_eq!(world.counters().requests_pass.get(), 2);
    assert_eq!(world.counters().origin_connections.get(), 1);
}

/// A world in which `/h` is stored and stale, and `HEAD` brings these fields.
async fn outlived(told: &'static str) -> World {
    let world = World::start("").await;
    world.origin.on("/h", move |seen, n| {
        if seen.method == "HEAD" {
            return vec![raw(&format!("HTTP/1.1 {told}\r\n\r\n"))];
        }
        let fields = [("Cache-Control", "max-age=10, must-revalidate"), ("ETag", "\"v1\"")];
        response("200 OK", &fields, &format!("answer {n}"))
    });
    world.get("/h").await;
    world.settled().await;
    world.advance(Duration::from_secs(11));
    world
}

#[tokio::test]
async fn head_freshens_the_same_content() {
    let world =
        outlived("200 OK\r\nCache-Control: max-age=30\r\nETag: \"v1\"\r\nContent-Length: 8\r\nX-New: yes")
            .await;
    let reply = head(&world, "/h").await;
    assert_eq!((reply.status, reply.cache_status()), (200, "fwd=miss"));
    world.settled().await;
    let hit = world.get("/h").await;
    assert_eq!((hit.text(), hit.cache_status()), ("answer 1", "hit; ttl=30"));
    assert_eq!(hit.field("x-new"), Some("yes"));
    assert_eq!(world.origin.count("/h"), 2);
}

#[tokio::test]
async fn head_outdates_other_content() {
    for told in [
        "200 OK\r\nCache-Control: max-age=30\r\nETag: \"v2\"\r\nContent-Length: 8",
        "200 OK\r\nCache-Control: max-age=30\r\nETag: \"v1\"\r\nContent-Length: 9",
        "404 Not Found\r\nContent-Length: 8",
    ] {
        let world = outlived(told).await;
        head(&world, "/h").await;
        world.settled().await;
        let next = world.get("/h").await;
        assert_eq!(next.text(), "answer 3", "{told}");
        assert!(next.cache_status().starts_with("fwd=stale"), "{}", next.cache_status());
    }
}

#[tokio::test]
async fn a_head_that_fails_changes_nothing() {
    let world = outlived("503 Service Unavailable\r\nContent-Length: 0").await;
    assert_eq!(head(&world, "/h").await.status, 503);
    world.settled().await;
    world.origin.always("/h", vec![raw("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n")]);
    let again = world.get("/h").await;
    assert_eq!(again.text(), "answer 1");
    assert!(again.cache_status().contains("fwd-status=304"));
}

/// A world in which `/h` is stored and fresh, and a `HEAD` that insists, with one
/// more field, is answered with this by the origin.
async fn insisting(told: &'static str, field: (&str, &str)) -> World {
    let world = World::start("[rules]\nrequest_directives = \"all\"").await;
    world.origin.on("/h", move |seen, n| {
        if seen.method == "HEAD" {
            return vec![raw(&format!("HTTP/1.1 {told}\r\n\r\n"))];
        }
        response("200 OK", &[("Cache-Control", "max-age=60"), ("ETag", "\"v1\"")], &format!("answer {n}"))
    });
    world.get("/h").await;
    world.settled().await;
    let fields = [("Cache-Control", "no-cache"), field];
    let reply = world.client("head").await.ask("HEAD", "/h", &fields, b"").await;
    assert_eq!(reply.status.to_string(), told[..3]);
    world.settled().await;
    world
}

#[tokio::test]
async fn head_outdates_what_is_still_fresh() {
    for told in ["200 OK\r\nETag: \"v2\"\r\nContent-Length: 8", "410 Gone\r\nContent-Length: 0"] {
        let world = insisting(told, ("X-Any", "thing")).await;
        let next = world.get("/h").await;
        assert_eq!(next.text(), "answer 3", "{told}");
        assert!(next.cache_status().starts_with("fwd=stale"), "{}", next.cache_status());
    }
}

#[tokio::test]
async fn an_answer_to_a_head_s_own_condition_says_nothing_of_the_content() {
    for (told, condition) in [
        ("304 Not Modified\r\nETag: \"v1\"", ("If-None-Match", "\"v1\"")),
        ("412 Precondition Failed\r\nContent-Length: 0", ("If-Match", "\"v0\"")),
    ] {
        let world = insisting(told, condition).await;
        let hit = world.get("/h").await;
        assert_eq!((hit.text(), hit.is_hit()), ("answer 1", true), "{told}");
        assert_eq!(world.origin.count("/h"), 2);
    }
}
