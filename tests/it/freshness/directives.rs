//! A request's own directives count only where the rules say so.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::ok;

const ALL: &str = "[rules]\nrequest_directives = \"all\"";

/// A world in which `/d` has been stored for 20 of its 60 seconds.
async fn stored(settings: &str) -> World {
    let world = World::start(settings).await;
    world.origin.on("/d", |_, n| ok("max-age=60", &format!("answer {n}")));
    world.get("/d").await;
    world.settled().await;
    world.advance(Duration::from_secs(20));
    world
}

#[tokio::test]
async fn by_default_no_client_gets_past_the_cache() {
    let world = stored("").await;
    for directive in ["no-cache", "no-store", "max-age=0", "max-age=10", "min-fresh=50"] {
        let reply = world.get_with("/d", &[("Cache-Control", directive)]).await;
        assert_eq!((reply.text(), reply.is_hit()), ("answer 1", true), "{directive}");
    }
    assert!(world.get_with("/d", &[("Pragma", "no-cache")]).await.is_hit());
    assert_eq!(world.origin.count("/d"), 1);
    world.settled().await;
    assert_eq!(world.counters().requests_hit.get(), 6);
}

#[tokio::test]
async fn with_all_each_directive_that_refuses_asks_the_origin() {
    for directive in ["no-cache", "max-age=0", "max-age=19", "min-fresh=41"] {
        let world = stored(ALL).await;
        let reply = world.get_with("/d", &[("Cache-Control", directive)]).await;
        assert_eq!(reply.text(), "answer 2", "{directive}");
        assert_eq!(reply.cache_status(), "fwd=request; ttl=60; stored", "{directive}");
        world.settled().await;
        assert_eq!((world.get("/d").await.text(), world.origin.count("/d")), ("answer 2", 2));
    }
    let world = stored(ALL).await;
    assert_eq!(world.get_with("/d", &[("Pragma", "no-cache")]).await.text(), "answer 2");
}

#[tokio::test]
async fn with_all_what_is_good_enough_still_answers() {
    let world = stored(ALL).await;
    for directive in ["max-age=20", "min-fresh=40", "max-stale=5", "no-transform"] {
        let reply = world.get_with("/d", &[("Cache-Control", directive)]).await;
        assert_eq!((reply.text(), reply.is_hit()), ("answer 1", true), "{directive}");
    }
    assert_eq!(world.origin.count("/d"), 1);
}

#[tokio::test]
async fn with_all_a_client_may_take_stale() {
    let world = stored(ALL).await;
    world.advance(Duration::from_secs(50));
    for directive in ["max-stale", "max-stale=10", "max-stale=100"] {
        let reply = world.get_with("/d", &[("Cache-Control", directive)]).await;
        assert_eq!(reply.text(), "answer 1", "{directive}");
        assert!(reply.cache_status().contains("detail=max-stale"), "{}", reply.cache_status());
    }
    world.settled().await;
    assert_eq!((world.origin.count("/d"), world.counters().requests_stale.get()), (1, 3));
    assert_eq!(world.get_with("/d", &[("Cache-Control", "max-stale=9")]).await.text(), "answer 2");
}

#[tokio::test]
async fn by_default_no_client_takes_stale() {
    let world = stored("").await;
    world.advance(Duration::from_secs(50));
    assert_eq!(world.get_with("/d", &[("Cache-Control", "max-stale")]).await.text(), "answer 2");
}

#[tokio::test]
async fn with_all_no_store_in_a_request_keeps_the_answer_out() {
    let world = World::start(ALL).await;
    world.origin.on("/s", |_, n| ok("max-age=60", &format!("answer {n}")));
    let first = world.get_with("/s", &[("Cache-Control", "no-store")]).await;
    assert_eq!(first.cache_status(), "fwd=uri-miss; detail=request-no-store");
    world.settled().await;
    assert_eq!(world.get("/s").await.text(), "answer 2");
}

#[tokio::test]
async fn only_if_cached_never_asks_the_origin() {
    for settings in ["", ALL] {
        let world = stored(settings).await;
        let only = [("Cache-Control", "only-if-cached")];
        assert!(world.get_with("/d", &only).await.is_hit());
        let unknown = world.get_with("/unknown", &only).await;
        assert_eq!((unknown.status, unknown.field("cache-status")), (504, None));
        world.advance(Duration::from_secs(50));
        assert_eq!(world.get_with("/d", &only).await.status, 504, "{settings}: stale");
        assert_eq!(world.origin.requests().len(), 1);
        world.settled().await;
        assert_eq!(world.counters().requests_failed.get(), 2);
    }
}

/// A browser's reload does not ask about what does not change, a forced one does (RFC 8246).
#[tokio::test]
async fn with_all_what_is_immutable_is_validated_only_where_the_client_insists() {
    let world = World::start(ALL).await;
    world.origin.on("/i", |_, n| ok("max-age=60, immutable", &format!("answer {n}")));
    world.get("/i").await;
    world.settled().await;
    world.advance(Duration::from_secs(20));
    for reload in ["max-age=0", "max-age=10"] {
        assert!(world.get_with("/i", &[("Cache-Control", reload)]).await.is_hit(), "{reload}");
    }
    assert_eq!(world.get_with("/i", &[("Cache-Control", "no-cache")]).await.text(), "answer 2");
    world.settled().await;
    world.advance(Duration::from_secs(60));
    assert_eq!(world.get_with("/i", &[("Cache-Control", "max-age=0")]).await.text(), "answer 3");
    assert_eq!(world.origin.count("/i"), 3);
}
