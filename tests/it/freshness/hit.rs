//! A fresh stored response answers without the origin, and says how old it is.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::ok;

#[tokio::test]
async fn a_fresh_response_answers_with_its_age() {
    let world = World::start("").await;
    world.origin.always("/a", ok("max-age=60", "hello"));
    let miss = world.get("/a").await;
    assert_eq!((miss.status, miss.text()), (200, "hello"));
    assert_eq!(miss.cache_status(), "fwd=uri-miss; ttl=60; stored");
    world.settled().await;
    world.advance(Duration::from_secs(5));
    let hit = world.get("/a").await;
    assert_eq!((hit.status, hit.text(), hit.field("age")), (200, "hello", Some("5")));
    assert_eq!(hit.cache_status(), "hit; ttl=55");
    assert_eq!(world.origin.count("/a"), 1);
    world.settled().await;
    assert_eq!((world.counters().requests_hit.get(), world.counters().requests_miss.get()), (1, 1));
}

#[tokio::test]
async fn expires_never_means_already_stale() {
    let world = World::start("").await;
    world.origin.on("/never", |_, n| {
        crate::harness::origin::response("200 OK", &[("Expires", "Never")], &format!("answer {n}"))
    });
    for n in 1..=3 {
        assert_eq!(world.get("/never").await.text(), format!("answer {n}"));
        world.settled().await;
    }
    assert_eq!(world.origin.count("/never"), 3);
}
