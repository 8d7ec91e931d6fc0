//! What one client's request brings about leaves the others as they were.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{ok, raw, response};

#[tokio::test]
async fn a_validation_with_authorization_does_not_evict_the_shared_copy() {
    let world = World::start("").await;
    world.origin.on("/x", |_, n| match n {
        1 => response("200 OK", &[("Cache-Control", "max-age=5"), ("ETag", "\"a\"")], "shared"),
        _ => vec![raw("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=5\r\nETag: \"a\"\r\n\r\n")],
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    assert_eq!(world.get_with("/x", &[("Authorization", "Basic x")]).await.text(), "shared");
    world.settled().await;
    let validated = world.get("/x").await;
    assert_eq!(validated.cache_status(), "fwd=stale; fwd-status=304; ttl=5; stored");
}

#[tokio::test]
async fn a_response_for_one_client_alone_meets_its_conditions_as_well() {
    let world = World::start("").await;
    world.origin.always("/x", response("200 OK", &[("Cache-Control", "private"), ("ETag", "\"a\"")], "mine"));
    // The first time the origin is asked without the condition, as what it sends might be for
    // others as well; the second time with it, and this one does not know it.
    for status in [304, 200] {
        let reply = world.get_with("/x", &[("If-None-Match", "\"a\"")]).await;
        assert_eq!(reply.status, status, "{reply:?}");
        world.settled().await;
    }
    let seen = world.origin.requests();
    assert_eq!((seen[0].field("if-none-match"), seen[1].field("if-none-match")), (None, Some("\"a\"")));
}

#[tokio::test]
async fn another_version_of_http_is_not_switched_to_and_the_cache_answers() {
    let world = World::start("").await;
    world.origin.always("/x", ok("max-age=60", "x"));
    let h2c = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")];
    world.get_with("/x", &h2c).await;
    world.settled().await;
    assert!(world.get_with("/x", &h2c).await.is_hit());
    let seen = &world.origin.requests()[0];
    assert_eq!(
        (seen.field("upgrade"), seen.field("http2-settings"), seen.field("connection")),
        (None, None, None)
    );
}
