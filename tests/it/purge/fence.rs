//! No response from before a purge is used after it, wherever it was on its way.

use std::time::Duration;

use serde_json::json;

use super::post;
use crate::harness::origin::{Gate, Script, Step, ok, raw, response};
use crate::harness::{Client, World};

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";

async fn asking(world: &World, name: &str) -> Client {
    let mut client = world.client(name).await;
    client.send(REQUEST).await;
    client
}

/// The first answer waits at `head` before its head and at `body` before its
/// content; later ones come at once. Bodies are the number of the request.
fn gated(world: &World, head: &Gate, body: &Gate) {
    let (head, body) = (head.clone(), body.clone());
    world.origin.on("/x", move |_, n| -> Script {
        if n > 1 {
            return ok("max-age=60", &n.to_string());
        }
        let start = raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\n");
        vec![Step::Wait(head.clone()), start, Step::Wait(body.clone()), raw("1")]
    });
}

#[tokio::test]
async fn a_purge_before_the_head_fences_the_response() {
    let world = World::start("").await;
    let (head, body) = (Gate::default(), Gate::default());
    gated(&world, &head, &body);
    body.open();
    let mut before = asking(&world, "before").await;
    head.reached(1).await;
    assert_eq!(world.purge("http://www.example.org/x").await, 0);
    let mut after = asking(&world, "after").await;
    assert_eq!(after.reply(false).await.text(), "2", "it does not join the flight from before");
    world.until("the new response to be stored", |c| c.store_inserted.get() == 1).await;
    head.open();
    assert_eq!(before.reply(false).await.text(), "1");
    world.settled().await;
    assert_eq!(world.counters().store_fenced.get(), 1);
    let hit = world.get("/x").await;
    assert_eq!((hit.text(), hit.is_hit()), ("2", true));
}

#[tokio::test]
async fn a_purge_between_head_and_body_fences_the_response() {
    let world = World::start("").await;
    let (head, body) = (Gate::default(), Gate::default());
    gated(&world, &head, &body);
    head.open();
    let mut before = asking(&world, "before").await;
    assert_eq!(before.head().await.status, 200);
    world.purge("http://www.example.org/x").await;
    let mut after = asking(&world, "after").await;
    assert_eq!(after.reply(false).await.text(), "2");
    body.open();
    assert_eq!(before.bytes(1).await, b"1");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "2");
    assert_eq!(world.counters().store_fenced.get(), 1);
}

#[tokio::test]
async fn a_purge_during_a_followers_wait_fences_what_it_gets() {
    let world = World::start("").await;
    let (head, body) = (Gate::default(), Gate::default());
    gated(&world, &head, &body);
    body.open();
    let mut leader = asking(&world, "leader").await;
    head.reached(1).await;
    let mut follower = asking(&world, "follower").await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    world.purge("http://www.example.org/x").await;
    head.open();
    assert_eq!(leader.reply(false).await.text(), "1", "it asked before the purge");
    assert_eq!(follower.reply(false).await.text(), "2", "it might have had it, and does better");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "2");
}

/// `/x` is stored and stale; the second request waits at the gate and then gets
/// `then`; later ones a new response.
async fn stale_world(gate: &Gate, cache_control: &'static str, then: Script) -> World {
    let world = World::start("").await;
    let gate = gate.clone();
    world.origin.on("/x", move |_, n| match n {
        2 => {
            let mut script = vec![Step::Wait(gate.clone())];
            script.extend(then.clone());
            script
        }
        n => response("200 OK", &[("Cache-Control", cache_control), ("ETag", "\"a\"")], &n.to_string()),
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    world
}

#[tokio::test]
async fn a_purge_during_a_validation_does_not_bring_the_old_body_back() {
    let gate = Gate::default();
    let not_modified = raw("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\n\r\n");
    let settings_free = stale_world(&gate, "max-age=5, must-revalidate", vec![not_modified]).await;
    let world = settings_free;
    let mut before = asking(&world, "before").await;
    gate.reached(1).await;
    assert_eq!(world.origin.requests()[1].field("if-none-match"), Some("\"a\""));
    assert_eq!(world.purge("http://www.example.org/x").await, 1);
    gate.open();
    assert_eq!(before.reply(false).await.text(), "1", "it asked before the purge");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "3");
}

#[tokio::test]
async fn a_purge_during_a_background_refresh_fences_its_response() {
    let gate = Gate::default();
    let then = ok("max-age=60", "from before");
    let world = stale_world(&gate, "max-age=5, stale-while-revalidate=60", then).await;
    assert_eq!(world.get("/x").await.text(), "1");
    gate.reached(1).await;
    assert_eq!(world.purge("http://www.example.org/x").await, 1);
    gate.open();
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "3");
    assert_eq!(world.counters().store_fenced.get(), 1);
}

#[tokio::test]
async fn a_soft_purge_during_a_fetch_stores_the_response_stale() {
    let world = World::start("").await;
    let (head, body) = (Gate::default(), Gate::default());
    gated(&world, &head, &body);
    body.open();
    let mut before = asking(&world, "before").await;
    head.reached(1).await;
    let mut operator = world.operator().await;
    let call = br#"{"url": "http://www.example.org/x", "soft": true}"#;
    let json = [("Content-Type", "application/json"), ("Host", "127.0.0.1")];
    assert_eq!(operator.ask("POST", "/v1/purge", &json, call).await.status, 200);
    head.open();
    assert_eq!(before.reply(false).await.text(), "1");
    world.settled().await;
    let next = world.get("/x").await;
    assert_eq!((next.text(), next.is_hit()), ("2", false), "stored, and stale at once");
}

#[tokio::test]
async fn a_successful_unsafe_request_fences_as_well() {
    let world = World::start("").await;
    let (head, body) = (Gate::default(), Gate::default());
    gated(&world, &head, &body);
    body.open();
    let mut before = asking(&world, "before").await;
    head.reached(1).await;
    let posted = world.client("writer").await.ask("POST", "/x", &[], b"new").await;
    assert_eq!(posted.status, 200);
    head.open();
    assert_eq!(before.reply(false).await.text(), "1");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "3");
}

#[tokio::test]
async fn a_purge_during_a_post_fences_what_it_would_leave_for_get() {
    let world = World::start("").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |seen, n| {
        let mut script = if n == 1 { vec![Step::Wait(at.clone())] } else { Vec::new() };
        let fields = [("Cache-Control", "max-age=60"), ("Content-Location", "/x")];
        script.extend(response("200 OK", &fields, &format!("{} {n}", seen.method)));
        script
    });
    let mut writer = world.client("writer").await;
    writer.send(b"POST /x HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 1\r\n\r\nx").await;
    gate.reached(1).await;
    world.purge("http://www.example.org/x").await;
    gate.open();
    assert_eq!(writer.reply(false).await.text(), "POST 1");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "GET 2");
    let second = world.client("writer").await.ask("POST", "/x", &[], b"y").await;
    assert_eq!(second.text(), "POST 3");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "POST 3", "without a purge it is kept");
}

#[tokio::test]
async fn a_purge_by_tag_during_a_post_fences_what_it_would_leave_for_get() {
    let world = World::start("").await;
    for (round, purged) in ["a", "other"].into_iter().enumerate() {
        let path = format!("/{round}");
        let (gate, named) = (Gate::default(), path.clone());
        let at = gate.clone();
        world.origin.on(&path, move |seen, n| {
            let mut script = if n == 1 { vec![Step::Wait(at.clone())] } else { Vec::new() };
            let fields =
                [("Cache-Control", "max-age=60"), ("Content-Location", &named), ("Surrogate-Key", "a b")];
            script.extend(response("200 OK", &fields, &format!("{} {n}", seen.method)));
            script
        });
        let mut writer = world.client("writer").await;
        let request = format!("POST {path} HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 1\r\n\r\nx");
        writer.send(request.as_bytes()).await;
        gate.reached(1).await;
        post(&world, "/v1/purge", &json!({ "tag": purged })).await;
        gate.open();
        assert_eq!(writer.reply(false).await.text(), "POST 1");
        world.settled().await;
        let kept = world.get(&path).await;
        assert_eq!(kept.text(), if purged == "a" { "GET 2" } else { "POST 1" }, "{purged} was purged");
    }
}

#[tokio::test]
async fn a_stale_response_is_no_fallback_once_it_is_purged() {
    let gate = Gate::default();
    let world = stale_world(&gate, "max-age=5", response("503 Broken", &[], "broken")).await;
    let mut before = asking(&world, "before").await;
    gate.reached(1).await;
    assert_eq!(world.purge("http://www.example.org/x").await, 1);
    gate.open();
    let reply = before.reply(false).await;
    assert_eq!((reply.status, reply.field("age")), (502, None), "{reply:?}");
}

#[tokio::test]
async fn a_stale_response_is_not_served_at_the_deadline_once_it_is_purged() {
    let world = World::start("[rules]\nstale_deadline = \"2s\"").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let wait = if n == 2 { vec![Step::Wait(at.clone())] } else { Vec::new() };
        [wait, ok("max-age=5", &n.to_string())].concat()
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    let mut before = asking(&world, "before").await;
    gate.reached(1).await;
    assert_eq!(world.purge("http://www.example.org/x").await, 1);
    assert_eq!(before.reply(false).await.text(), "3", "the origin is asked again");
    gate.open();
}

#[tokio::test]
async fn what_is_stored_stays_a_fallback_however_much_else_is_purged() {
    let world = World::start("").await;
    world.origin.on("/x", |_, n| if n == 1 { ok("max-age=5", "good") } else { vec![Step::Close] });
    world.get("/x").await;
    world.settled().await;
    // More than the store remembers one by one.
    for round in 0..7 {
        let tags: Vec<String> = (0..10_000).map(|n| format!("{round}-{n}")).collect();
        assert_eq!(post(&world, "/v1/purge", &json!({ "tags": tags })).await["purged"], 0);
    }
    world.advance(Duration::from_secs(10));
    let stale = world.get("/x").await;
    assert_eq!((stale.status, stale.text()), (200, "good"), "{stale:?}");
}
