//! Purge methods on the clients' port: off unless somebody may.

use serde_json::Value;

use super::{fill, left};
use crate::harness::World;
use crate::harness::origin::ok;

const PLACES: [(&str, &str); 2] = [("www.example.org", "/x"), ("www.example.org", "/y")];

#[tokio::test]
async fn where_it_is_off_the_method_goes_to_the_origin() {
    let world = World::start("").await;
    fill(&world, &PLACES[1..], &[]).await;
    world.origin.always("/y", ok("no-store", "the origin's own purge"));
    let reply = world.client("cms").await.ask("BAN", "/y", &[], b"").await;
    assert_eq!(reply.text(), "the origin's own purge");
    assert_eq!(world.counters().purges.get(), 0);
}

#[tokio::test]
async fn whoever_is_allowed_purges() {
    let world = World::start("[purge]\nallow = [\"127.0.0.0/8\"]").await;
    fill(&world, &PLACES, &[("xkey", "t")]).await;
    let reply = world.client("cms").await.ask("PURGE", "/x", &[], b"").await;
    assert_eq!((reply.status, reply.field("x-purged"), reply.field("cache-status")), (200, Some("1"), None));
    let told: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(told["purged"], 1);
    assert_eq!(left(&world, &PLACES).await, [1]);
    let reply = world.client("cms").await.ask("PURGEKEYS", "/", &[("xkey-purge", "t")], b"").await;
    assert_eq!(reply.field("x-purged"), Some("1"));
    assert_eq!(left(&world, &PLACES).await, [] as [usize; 0]);
    assert_eq!(world.client("cms").await.ask("PURGEKEYS", "/", &[], b"").await.status, 400);
    let list = world.operator().await.get_with("/v1/purges", &[super::OWN]).await;
    assert!(list.text().contains("\"by\":\"client 127.0.0.1\""), "{}", list.text());
    assert_eq!(world.counters().requests_purge.get(), 3);
}

#[tokio::test]
async fn everybody_else_is_refused() {
    for (settings, fields) in [
        ("[purge]\nallow = [\"10.0.0.0/8\"]", &[][..]),
        // What a client says of itself is not believed.
        ("[purge]\nallow = [\"10.0.0.0/8\"]", &[("X-Forwarded-For", "10.0.0.1")][..]),
        ("[purge]\nallow = [\"127.0.0.1\"]\nsecret_header = \"X-Key\"\nsecret = \"abc\"", &[][..]),
        (
            "[purge]\nallow = [\"127.0.0.1\"]\nsecret_header = \"X-Key\"\nsecret = \"abc\"",
            &[("X-Key", "abd")][..],
        ),
    ] {
        let world = World::start(settings).await;
        fill(&world, &PLACES, &[]).await;
        let reply = world.client("stranger").await.ask("PURGE", "/x", fields, b"").await;
        assert_eq!(reply.status, 405, "{settings} {fields:?}");
        assert_eq!(left(&world, &PLACES).await, [0, 1]);
        assert_eq!(world.counters().purges_denied.get(), 1);
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_it_is_the_client_who_may() {
    let world = World::start(
        "listen.trusted_proxies = [\"127.0.0.1\"]\n[purge]\nallow = [\"127.0.0.1\", \"10.0.0.5\"]",
    )
    .await;
    fill(&world, &PLACES, &[]).await;
    for (told, status) in
        [("203.0.113.9", 405), ("10.0.0.5, 203.0.113.9", 405), ("203.0.113.9, 10.0.0.5", 200)]
    {
        let reply = world.client("lb").await.ask("PURGE", "/x", &[("X-Forwarded-For", told)], b"").await;
        assert_eq!(reply.status, status, "{told}");
    }
}

#[tokio::test]
async fn the_secret_lets_in() {
    let world =
        World::start("[purge]\nallow = [\"127.0.0.1\"]\nsecret_header = \"X-Key\"\nsecret = \"abc\"").await;
    fill(&world, &PLACES, &[]).await;
    let reply = world.client("cms").await.ask("PURGE", "/x", &[("x-key", "abc")], b"").await;
    assert_eq!((reply.status, reply.field("x-purged")), (200, Some("1")));
}
