//! What tells variants apart is what the origin was sent, and nothing else.

use crate::harness::World;
use crate::harness::origin::response;

#[tokio::test]
async fn a_field_that_stays_on_the_connection_selects_nothing() {
    let world = World::start("").await;
    world.origin.on("/x", |seen, _| {
        let fields = [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")];
        response("200 OK", &fields, seen.field("accept-language").unwrap_or("none"))
    });
    let hop = [("Accept-Language", "de"), ("Connection", "accept-language")];
    assert_eq!(world.get_with("/x", &hop).await.text(), "none");
    world.settled().await;
    assert_eq!(world.get_with("/x", &[("Accept-Language", "de")]).await.text(), "de");
}

#[tokio::test]
async fn a_response_that_varies_on_who_asks_is_not_shared() {
    let world = World::start("").await;
    world.origin.on("/x", |_, n| {
        response("200 OK", &[("Cache-Control", "max-age=60"), ("Vary", "X-Forwarded-For")], &n.to_string())
    });
    for n in 1..=2 {
        let reply = world.get("/x").await;
        assert_eq!(
            (reply.text(), reply.cache_status()),
            (n.to_string().as_str(), "fwd=uri-miss; detail=vary-star")
        );
        world.settled().await;
    }
}
