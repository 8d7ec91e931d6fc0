//! Purging on hidden routes: nobody gets anew for a client what was purged, so it is
//! kept, stale, until it has been filled; unless somebody insists.

use std::time::Duration;

use crate::harness::origin::{Gate, Step, ok};
use crate::harness::{Client, World};

/// A world with one hidden origin and `/x` filled from it.
async fn filled() -> World {
    let world = World::start("[rules]\nmode = \"hidden\"\n").await;
    world.origin.on("/x", |_, count| ok("max-age=600", &format!("version {count}")));
    assert_eq!(world.get("/x").await.status, 503);
    world.until("the fill", |c| c.fills_kept.get() == 1).await;
    assert!(world.get("/x").await.is_hit());
    world
}

async fn purge(operator: &mut Client, body: &str) -> serde_json::Value {
    let json = [super::OWN, ("Content-Type", "application/json")];
    let reply = operator.ask("POST", "/v1/purge", &json, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).expect("JSON")
}

#[tokio::test]
async fn what_is_purged_answers_stale_until_it_has_been_got_anew() {
    let world = filled().await;
    let gate = Gate::default();
    let held = gate.clone();
    world
        .origin
        .on("/x", move |_, _| [vec![Step::Wait(held.clone())], ok("max-age=600", "version 2")].concat());
    let told = purge(&mut world.operator().await, r#"{"url": "http://www.example.org/x"}"#).await;
    assert_eq!(told["purged"], 1);
    // Nobody has asked, and it is being got all the same.
    world.origin.wait_for("/x", 2).await;
    let reply = world.get("/x").await;
    assert_eq!((reply.status, reply.text()), (200, "version 1"));
    assert!(reply.cache_status().contains("detail=stale-hidden"), "{}", reply.cache_status());
    gate.open();
    world.until("the fill", |c| c.fills_kept.get() == 2).await;
    let reply = world.get("/x").await;
    assert!(reply.is_hit() && reply.text() == "version 2");
}

#[tokio::test]
async fn whoever_insists_has_it_gone_at_once_and_it_is_got_anew() {
    let world = filled().await;
    let gate = Gate::default();
    let held = gate.clone();
    world
        .origin
        .on("/x", move |_, _| [vec![Step::Wait(held.clone())], ok("max-age=600", "version 2")].concat());
    purge(&mut world.operator().await, r#"{"url": "http://www.example.org/x", "hard": true}"#).await;
    world.origin.wait_for("/x", 2).await;
    assert_eq!(world.get("/x").await.status, 503);
    gate.open();
    world.until("the fill", |c| c.fills_kept.get() == 2).await;
    assert_eq!(world.get("/x").await.text(), "version 2");
}

#[tokio::test]
async fn everything_else_that_purges_spares_as_well_unless_it_insists() {
    for body in [
        r#"{"prefix": "http://www.example.org/"}"#,
        r#"{"host": "www.example.org"}"#,
        r#"{"ban": "req.url ~ x"}"#,
        r#"{"all": true}"#,
    ] {
        let world = filled().await;
        assert_eq!(purge(&mut world.operator().await, body).await["purged"], 1, "{body}");
        let reply = world.get("/x").await;
        assert_eq!(reply.status, 200, "{body}");
        assert!(reply.cache_status().contains("stale-hidden"), "{body}");
        let insisting = body.replacen('{', r#"{"hard": true, "#, 1);
        purge(&mut world.operator().await, &insisting).await;
        let reply = world.get("/x").await;
        // It may have been filled again by now; what was purged never answers.
        assert!(reply.status == 503 || reply.text() != "version 1", "{body}");
    }
}

#[tokio::test]
async fn a_fill_that_was_on_its_way_is_kept_stale_or_not_at_all() {
    for (hard, kept) in [(false, 1), (true, 0)] {
        let world = World::start("[rules]\nmode = \"hidden\"\n[hidden]\nlease = \"50ms\"\n").await;
        let gate = Gate::default();
        let held = gate.clone();
        world.origin.on("/x", move |_, count| {
            let wait = if count == 1 { vec![Step::Wait(held.clone())] } else { Vec::new() };
            [wait, ok("max-age=600", &format!("version {count}"))].concat()
        });
        world.get("/x").await;
        gate.reached(1).await;
        let body = format!(r#"{{"url": "http://www.example.org/x", "hard": {hard}}}"#);
        purge(&mut world.operator().await, &body).await;
        gate.open();
        world
            .until("the fill to be judged", |c| c.fills_kept.get() + c.fills_refused_fenced.get() == 1)
            .await;
        assert_eq!(world.counters().fills_kept.get(), kept);
        // Either way the next one asks again, and gets what was made after the purge.
        let again = async {
            while !world.get("/x").await.text().contains("version 2") {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        world.transcript.within("what was made after the purge", again).await;
    }
}

#[tokio::test]
async fn a_purge_ends_what_holds_a_page_down_that_could_not_be_filled() {
    let world =
        World::start("[rules]\nmode = \"hidden\"\n[hidden]\nhold_down = \"1h\"\nmax_hold_down = \"1h\"\n")
            .await;
    world.origin.on("/x", |_, count| ok(if count == 1 { "no-store" } else { "max-age=600" }, "mended"));
    world.get("/x").await;
    world.until("word of it", |c| c.worker_not_storable.get() == 1).await;
    let held = async {
        while world.get("/x").await.status != 502 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    world.transcript.within("it to be held down", held).await;
    purge(&mut world.operator().await, r#"{"url": "http://www.example.org/x"}"#).await;
    assert_eq!(world.get("/x").await.status, 503);
    world.until("the fill", |c| c.fills_kept.get() == 1).await;
    assert_eq!(world.get("/x").await.text(), "mended");
}
