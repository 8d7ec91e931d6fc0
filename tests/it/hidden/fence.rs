//! No fill brings back what was purged while it was on its way, and none that comes
//! late does harm.

use std::time::Duration;

use forebay::config::{self, Flags};
use serde_json::{Value, json};

use super::{filled, fills, hidden};
use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok, response};
use crate::purge::post;

/// `/x` with the tag `t`; its answer waits at the gate. Bodies are the number of the
/// request.
async fn under_way(gate: &Gate) -> World {
    let world = hidden("", "").await;
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let mut script = if n == 1 { vec![Step::Wait(at.clone())] } else { Vec::new() };
        let fields = [("Cache-Control", "max-age=60"), ("Cache-Tag", "t"), ("X-Color", "red")];
        script.extend(response("200 OK", &fields, &n.to_string()));
        script
    });
    assert_eq!(world.get("/x").await.status, 503);
    gate.reached(1).await;
    world
}

fn every_kind() -> Vec<Value> {
    vec![
        json!({ "url": "http://www.example.org/x" }),
        json!({ "url": "/x" }),
        json!({ "prefix": "http://www.example.org/" }),
        json!({ "host": "www.example.org" }),
        json!({ "tag": "t" }),
        json!({ "ban": "obj.http.X-Color == \"red\"" }),
        json!({ "ban": "req.url ~ ^/x" }),
        json!({ "all": true }),
    ]
}

#[tokio::test]
async fn a_fill_that_was_purged_by_force_on_its_way_is_not_kept_and_the_next_miss_asks_again() {
    for mut what in every_kind() {
        let gate = Gate::default();
        let world = under_way(&gate).await;
        what["hard"] = json!(true);
        post(&world, "/v1/purge", &what).await;
        assert_eq!(world.get("/x").await.status, 503, "{what}");
        gate.open();
        world.until("the fill to be refused", |c| c.fills_refused_fenced.get() == 1).await;
        assert_eq!(world.counters().store_inserted.get(), 0, "{what}");
        assert_eq!(filled(&world, "/x").await.text(), "2", "{what}");
        assert_eq!(world.origin.count("/x"), 2);
    }
}

#[tokio::test]
async fn a_fill_that_was_purged_on_its_way_is_kept_stale_and_got_anew() {
    for (soft, mut what) in
        [true, false].into_iter().flat_map(|soft| every_kind().into_iter().map(move |what| (soft, what)))
    {
        let gate = Gate::default();
        let world = under_way(&gate).await;
        what["soft"] = json!(soft);
        post(&world, "/v1/purge", &what).await;
        gate.open();
        fills(&world, 1).await;
        let stale = world.get("/x").await;
        assert_eq!((stale.status, stale.text(), stale.is_hit()), (200, "1", false), "{what}");
        fills(&world, 2).await;
        let hit = world.get("/x").await;
        assert_eq!((hit.text(), hit.is_hit()), ("2", true), "{what}");
    }
}

#[tokio::test]
async fn a_purge_makes_stale_and_what_it_names_is_got_anew_before_anybody_asks() {
    let world = hidden("", "").await;
    world.origin.on("/x", |_, n| ok("max-age=60", &n.to_string()));
    assert_eq!(filled(&world, "/x").await.text(), "1");
    let gate = Gate::default();
    super::gated(&world, "/x", &gate, "max-age=60");
    post(&world, "/v1/purge", &json!({ "url": "http://www.example.org/x" })).await;
    gate.reached(1).await;
    assert_eq!(world.get("/x").await.text(), "1", "meanwhile it is there, stale");
    gate.open();
    fills(&world, 2).await;
    assert_eq!(world.get("/x").await.text(), "2");
    let hard = json!({ "url": "http://www.example.org/x", "hard": true });
    let closed = Gate::default();
    super::gated(&world, "/x", &closed, "max-age=60");
    post(&world, "/v1/purge", &hard).await;
    assert_eq!(world.get("/x").await.status, 503, "gone, as somebody said");
    closed.open();
    fills(&world, 3).await;
    assert_eq!(world.get("/x").await.text(), "3");
}

#[tokio::test]
async fn a_purge_of_something_else_does_not_touch_it() {
    let gate = Gate::default();
    let world = under_way(&gate).await;
    for what in [json!({ "url": "/y" }), json!({ "tag": "u" }), json!({ "ban": "obj.http.X-Color == blue" })]
    {
        post(&world, "/v1/purge", &what).await;
    }
    gate.open();
    fills(&world, 1).await;
    assert!(world.get("/x").await.is_hit());
    assert_eq!(world.counters().fills_refused_fenced.get(), 0);
}

/// Another configuration of the same node.
fn reload(world: &World, settings: &str) {
    let text = World::config_text(&world.origin, settings);
    world.node.reload(config::read("test", &text, &Flags::default()).expect("good"));
}

#[tokio::test]
async fn a_fill_older_than_what_is_stored_is_refused() {
    let gate = Gate::default();
    let world = under_way(&gate).await;
    // While it is on its way the route is open, and something newer is stored.
    world.advance(Duration::from_secs(5));
    reload(&world, "");
    assert_eq!(world.get("/x").await.text(), "2");
    world.settled().await;
    reload(&world, "origin.rate = \"10000/s\"\n[rules]\nmode = \"hidden\"\n");
    gate.open();
    world.until("the fill to be refused", |c| c.fills_refused_older.get() == 1).await;
    let hit = world.get("/x").await;
    assert_eq!((hit.text(), hit.is_hit()), ("2", true));
    assert_eq!(world.counters().fills_kept.get(), 0);
}

#[tokio::test]
async fn a_fill_that_comes_after_its_lease_is_kept_and_does_no_harm() {
    let world = hidden("", "[hidden]\nlease = \"10ms\"\n").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let mut script = vec![Step::Wait(at.clone())];
        script.extend(ok("max-age=60", &n.to_string()));
        script
    });
    world.get("/x").await;
    world.until("the lease to be over", |c| c.leases_expired.get() == 1).await;
    gate.open();
    fills(&world, 1).await;
    assert_eq!(world.get("/x").await.text(), "1");
    assert_eq!(world.counters().leases.get(), 0);
}

#[tokio::test]
async fn a_fill_for_a_route_that_is_open_by_now_is_not_kept() {
    let gate = Gate::default();
    let world = under_way(&gate).await;
    reload(&world, "");
    gate.open();
    world.until("the fill to be refused", |c| c.fills_refused_route.get() == 1).await;
    assert_eq!(world.counters().store_inserted.get(), 0);
    assert_eq!(world.get("/x").await.text(), "2");
}
