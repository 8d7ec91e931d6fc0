//! What is stored only ever gets better: newer, and never a failure in place of
//! something usable.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok, raw, response};

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";

#[tokio::test]
async fn a_slow_body_does_not_replace_what_was_asked_for_later() {
    let world = World::start("").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let start = raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\n");
        match n {
            1 => vec![start, Step::Wait(at.clone()), raw("1")],
            n => ok("max-age=60", &n.to_string()),
        }
    });
    let mut slow = world.client("slow").await;
    slow.send(REQUEST).await;
    assert_eq!(slow.head().await.status, 200);
    world.advance(Duration::from_secs(61));
    assert_eq!(world.get("/x").await.text(), "2");
    world.until("the newer one to be stored", |c| c.store_inserted.get() == 1).await;
    gate.open();
    assert_eq!(slow.bytes(1).await, b"1");
    world.settled().await;
    let hit = world.get("/x").await;
    assert_eq!((hit.text(), hit.is_hit()), ("2", true));
    assert_eq!((world.counters().store_outdone.get(), world.counters().store_inserted.get()), (1, 1));
}

#[tokio::test]
async fn a_failure_that_says_it_is_fresh_does_not_replace_what_is_usable() {
    let world = World::start("[rules]\nrequest_directives = \"all\"").await;
    world.origin.on("/x", |_, n| match n {
        1 => ok("max-age=60", "good"),
        _ => response("503 Service Unavailable", &[("Cache-Control", "max-age=60")], "broken"),
    });
    world.get("/x").await;
    world.settled().await;
    let insists = world.get_with("/x", &[("Cache-Control", "no-cache")]).await;
    assert_eq!((insists.status, insists.text()), (503, "broken"), "it may not have what is stored");
    world.settled().await;
    let hit = world.get("/x").await;
    assert_eq!((hit.text(), hit.is_hit()), ("good", true));
}

#[tokio::test]
async fn a_failure_of_a_request_alone_does_not_replace_what_came_meanwhile() {
    let world = World::start("").await;
    let (first, second) = (Gate::default(), Gate::default());
    let (at_first, at_second) = (first.clone(), second.clone());
    world.origin.on("/x", move |_, n| match n {
        // The marker that this leaves lets the next two fly side by side.
        1 => ok("no-store", "nothing"),
        2 => [vec![Step::Wait(at_first.clone())], ok("max-age=60", "good")].concat(),
        _ => {
            let broken = response("503 Service Unavailable", &[("Cache-Control", "max-age=60")], "broken");
            [vec![Step::Wait(at_second.clone())], broken].concat()
        }
    });
    world.get("/x").await;
    world.settled().await;
    let mut one = world.client("one").await;
    one.send(REQUEST).await;
    first.reached(1).await;
    let mut two = world.client("two").await;
    two.send(REQUEST).await;
    second.reached(1).await;
    first.open();
    assert_eq!(one.reply(false).await.text(), "good");
    world.until("it to be stored", |c| c.store_inserted.get() == 1).await;
    second.open();
    assert_eq!(two.reply(false).await.status, 503);
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "good");
    assert_eq!(world.counters().store_outdone.get(), 1);
}

#[tokio::test]
async fn one_clients_refusal_does_not_throw_away_what_others_may_have() {
    let world = World::start("").await;
    world.origin.on("/x", |seen, n| match (n, seen.field("cookie")) {
        (1, _) => ok("max-age=5", "good"),
        (_, Some(_)) => response("403 Forbidden", &[("Cache-Control", "no-store")], "not you"),
        _ => vec![Step::Close],
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    assert_eq!(world.get_with("/x", &[("Cookie", "a=b")]).await.status, 403);
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "good", "stale, since the origin fails");
}

#[tokio::test]
async fn what_the_origin_no_longer_shares_is_gone() {
    for status in ["200 OK", "404 Not Found", "410 Gone"] {
        let world = World::start("").await;
        world.origin.on("/x", move |_, n| match n {
            1 => ok("max-age=5", "good"),
            2 => response(status, &[("Cache-Control", "no-store")], "now"),
            _ => vec![Step::Close],
        });
        world.get("/x").await;
        world.settled().await;
        world.advance(Duration::from_secs(10));
        assert_eq!(world.get("/x").await.text(), "now");
        world.settled().await;
        assert_eq!(world.get("/x").await.status, 502, "{status}");
    }
}
