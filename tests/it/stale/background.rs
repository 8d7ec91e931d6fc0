//! A stale response answers at once while one refresh is under way.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{Gate, Step, response};

async fn refreshed_once(settings: &str, cache_control: &'static str) {
    let world = World::start(settings).await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let mut script = if n == 2 { vec![Step::Wait(at.clone())] } else { Vec::new() };
        script.extend(response("200 OK", &[("Cache-Control", cache_control)], &format!("{n}")));
        script
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    for _ in 0..5 {
        let stale = world.get("/x").await;
        assert_eq!((stale.text(), stale.field("age")), ("1", Some("10")));
        assert_eq!(stale.cache_status(), "hit; ttl=-5; detail=stale-while-revalidate");
    }
    gate.reached(1).await;
    gate.open();
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "2");
    assert_eq!(world.origin.count("/x"), 2);
    assert_eq!((world.counters().refreshes.get(), world.counters().requests_stale.get()), (1, 5));
}

#[tokio::test]
async fn stale_while_revalidate_refreshes_once() {
    refreshed_once("", "max-age=5, stale-while-revalidate=60").await;
}

#[tokio::test]
async fn grace_refreshes_once() {
    refreshed_once("[rules]\ngrace = \"60s\"", "max-age=5").await;
}

#[tokio::test]
async fn a_refresh_that_brings_an_uncacheable_answer_ends_the_old_one() {
    let world = World::start("").await;
    world.origin.on("/x", |_, n| {
        let cache_control = if n == 1 { "max-age=5, stale-while-revalidate=60" } else { "no-store" };
        response("200 OK", &[("Cache-Control", cache_control)], &format!("{n}"))
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    assert_eq!(world.get("/x").await.text(), "1");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "3");
}

#[tokio::test]
async fn after_the_window_the_origin_is_asked_first() {
    let world = World::start("").await;
    world.origin.on("/x", |_, n| {
        response("200 OK", &[("Cache-Control", "max-age=5, stale-while-revalidate=60")], &format!("{n}"))
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(66));
    let fresh = world.get("/x").await;
    assert_eq!((fresh.text(), fresh.cache_status()), ("2", "fwd=stale; fwd-status=200; ttl=5; stored"));
}
