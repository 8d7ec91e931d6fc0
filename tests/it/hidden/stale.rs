//! Stale on a hidden route: served wherever it may be, always with an event; where it
//! may not, the client is told so and the page is got.

use std::time::Duration;

use super::{filled, fills, gated, hidden, proxy_status, retry_after};
use crate::harness::World;
use crate::harness::origin::{Gate, ok, response};

/// `/a` is stored, with these rules and this `Cache-Control`, and so many seconds old.
/// Bodies are the number of the request.
async fn aged(rules: &str, cache_control: &'static str, seconds: u64) -> World {
    let world = hidden(rules, "").await;
    world.origin.on("/a", move |_, n| ok(cache_control, &n.to_string()));
    assert_eq!(filled(&world, "/a").await.text(), "1");
    world.advance(Duration::from_secs(seconds));
    world
}

#[tokio::test]
async fn what_may_be_served_stale_is_and_is_filled_anew() {
    let rows = [
        ("grace = \"60s\"\n", "max-age=5", "stale-while-revalidate"),
        ("", "max-age=5, stale-while-revalidate=60", "stale-while-revalidate"),
        ("", "max-age=5", "stale-hidden"),
        ("stale_on_error = \"0s\"\n", "max-age=5, stale-if-error=60", "stale-hidden"),
    ];
    for (rules, cache_control, detail) in rows {
        let world = aged(rules, cache_control, 30).await;
        let stale = world.get("/a").await;
        assert_eq!((stale.status, stale.text()), (200, "1"), "{cache_control}");
        assert!(stale.cache_status().contains(&format!("detail={detail}")), "{}", stale.cache_status());
        assert_eq!(stale.field("age"), Some("30"));
        fills(&world, 2).await;
        let hit = world.get("/a").await;
        assert_eq!((hit.text(), hit.is_hit()), ("2", true), "{cache_control}");
        assert_eq!(world.origin.count("/a"), 2);
    }
}

#[tokio::test]
async fn many_who_get_it_stale_are_one_event() {
    let world = hidden("", "").await;
    let gate = Gate::default();
    gate.open();
    gated(&world, "/a", &gate, "max-age=5");
    filled(&world, "/a").await;
    let closed = Gate::default();
    gated(&world, "/a", &closed, "max-age=5");
    world.advance(Duration::from_secs(10));
    for _ in 0..20 {
        assert_eq!(world.get("/a").await.text(), "1");
    }
    closed.reached(1).await;
    closed.open();
    fills(&world, 2).await;
    assert_eq!((world.counters().events_published.get(), world.origin.count("/a")), (2, 2));
}

#[tokio::test]
async fn where_stale_is_forbidden_the_client_gets_504_and_the_page_is_filled() {
    for cache_control in ["max-age=5, must-revalidate", "max-age=5, proxy-revalidate", "s-maxage=5"] {
        let world = aged("", cache_control, 30).await;
        let refused = world.get("/a").await;
        assert_eq!((refused.status, refused.field("cache-control")), (504, Some("no-store")));
        assert_eq!(proxy_status(&refused), "error=destination_unavailable; details=\"queued, stale\"");
        assert!(retry_after(&refused) >= 1);
        fills(&world, 2).await;
        assert_eq!(world.get("/a").await.text(), "2", "{cache_control}");
    }
}

#[tokio::test]
async fn the_operator_may_let_a_route_serve_it_all_the_same() {
    for cache_control in ["max-age=5, must-revalidate", "no-cache", "s-maxage=5"] {
        let world = aged("serve_forbidden_stale = true\n", cache_control, 30).await;
        let stale = world.get("/a").await;
        assert_eq!((stale.status, stale.text()), (200, "1"), "{cache_control}");
        fills(&world, 2).await;
    }
}

#[tokio::test]
async fn what_is_past_every_window_is_a_miss_and_not_a_refusal() {
    let world = aged("stale_on_error = \"10s\"\nkeep = \"1h\"\n", "max-age=5", 60).await;
    let miss = world.get("/a").await;
    assert_eq!(
        (miss.status, proxy_status(&miss)),
        (503, "error=destination_unavailable; details=\"queued\"")
    );
    fills(&world, 2).await;
    assert_eq!(world.get("/a").await.text(), "2");
}

#[tokio::test]
async fn a_stale_error_answers_nobody() {
    let world = hidden("", "").await;
    world.origin.on("/a", |_, n| match n {
        1 => response("404 Not Found", &[("Cache-Control", "max-age=5")], "no"),
        _ => ok("max-age=5", "there now"),
    });
    assert_eq!(filled(&world, "/a").await.status, 404);
    world.advance(Duration::from_secs(10));
    assert_eq!(world.get("/a").await.status, 503);
    fills(&world, 2).await;
    assert_eq!(world.get("/a").await.text(), "there now");
}
