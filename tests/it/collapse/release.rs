//! An answer that cannot be shared releases all who wait for it, at once.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{Gate, Step, raw, response};

/// Ten clients ask; the first answer is `fields`. Nine are released together:
/// all of them are at the origin before any of them is answered.
async fn releases_all(world: &World, path: &str, fields: &'static [(&str, &str)]) {
    let (first, others) = (Gate::default(), Gate::default());
    let (at_first, at_others) = (first.clone(), others.clone());
    world.origin.on(path, move |_, n| {
        let gate = if n == 1 { at_first.clone() } else { at_others.clone() };
        let mut script = vec![Step::Wait(gate)];
        script.extend(response("200 OK", fields, &format!("{n}")));
        script
    });
    let request = format!("GET {path} HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(request.as_bytes()).await;
        clients.push(client);
    }
    world.until("nine to follow", |c| c.followers_waiting.get() == 9).await;
    first.open();
    others.reached(9).await;
    others.open();
    let mut bodies = Vec::new();
    for mut client in clients {
        bodies.push(client.reply(false).await.text().parse::<usize>().expect("a number"));
    }
    bodies.sort_unstable();
    assert_eq!(bodies, (1..=10).collect::<Vec<_>>(), "{path}: everybody got an answer of their own");
    world.settled().await;
}

#[tokio::test]
async fn every_kind_of_uncacheable_answer_releases_all() {
    let world = World::start("").await;
    releases_all(&world, "/no-store", &[("Cache-Control", "no-store")]).await;
    releases_all(&world, "/private", &[("Cache-Control", "private, max-age=60")]).await;
    releases_all(&world, "/max-age-0", &[("Cache-Control", "max-age=0")]).await;
    releases_all(&world, "/no-cache", &[("Cache-Control", "no-cache"), ("ETag", "\"a\"")]).await;
    releases_all(&world, "/never", &[("Expires", "Never")]).await;
    releases_all(&world, "/cookie", &[("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")]).await;
}

#[tokio::test]
async fn a_marker_keeps_later_requests_from_waiting_for_each_other_until_it_expires() {
    let world = World::start("[rules]\nhit_for_miss = \"10s\"").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let mut script = if n == 1 { Vec::new() } else { vec![Step::Wait(at.clone())] };
        script.extend(response("200 OK", &[("Cache-Control", "no-store")], "x"));
        script
    });
    world.get("/x").await;
    let request = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    let (mut one, mut two) = (world.client("one").await, world.client("two").await);
    one.send(request).await;
    two.send(request).await;
    gate.reached(2).await;
    assert_eq!(world.counters().followers_waiting.get(), 0);
    world.advance(Duration::from_secs(11));
    let (mut three, mut four) = (world.client("three").await, world.client("four").await);
    three.send(request).await;
    gate.reached(3).await;
    four.send(request).await;
    world.until("one to follow again", |c| c.followers_waiting.get() == 1).await;
    gate.open();
    for client in [&mut one, &mut two, &mut three, &mut four] {
        assert_eq!(client.reply(false).await.text(), "x");
    }
}

#[tokio::test]
async fn what_only_one_request_made_uncacheable_leaves_no_marker() {
    let world = World::start("").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |seen, n| {
        let mut script = if n == 1 { vec![Step::Wait(at.clone())] } else { Vec::new() };
        script.extend(response(
            "200 OK",
            &[("Cache-Control", "max-age=60")],
            seen.field("authorization").unwrap_or("public"),
        ));
        script
    });
    let mut personal = world.client("personal").await;
    personal.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\nAuthorization: Basic abc\r\n\r\n").await;
    gate.reached(1).await;
    let mut others = Vec::new();
    for n in 0..5 {
        let mut client = world.client(&format!("other {n}")).await;
        client.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        others.push(client);
    }
    world.until("five to follow", |c| c.followers_waiting.get() == 5).await;
    gate.open();
    assert_eq!(personal.reply(false).await.text(), "Basic abc");
    for mut other in others {
        assert_eq!(other.reply(false).await.text(), "public");
    }
    world.settled().await;
    assert_eq!(world.origin.count("/x"), 2, "one for the personal request, one for all others");
    assert_eq!(world.counters().store_marked.get(), 0);
}

#[tokio::test]
async fn a_shareable_answer_ends_the_marker() {
    let world = World::start("").await;
    world.origin.on("/x", |_, n| {
        let cache_control = if n == 1 { "no-store" } else { "max-age=60" };
        response("200 OK", &[("Cache-Control", cache_control)], "x")
    });
    world.get("/x").await;
    world.settled().await;
    world.get("/x").await;
    world.settled().await;
    assert!(world.get("/x").await.is_hit());
    assert_eq!(world.origin.count("/x"), 2);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_own_exchange_along() {
    let world = World::start("").await;
    let gate = Gate::default();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 10\r\n\r\n";
    world.origin.always("/x", vec![raw(head), Step::Wait(gate.clone()), raw("0123456789")]);
    let mut client = world.client("client").await;
    client.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    drop(client);
    world.until("the origin's connection to close", |c| c.origin_connections_open.get() == 0).await;
    gate.open();
}

#[tokio::test]
async fn a_refusal_of_one_request_leaves_no_marker() {
    let world = World::start("").await;
    world.origin.on("/x", |seen, _| match seen.field("x-odd") {
        Some(_) => response("400 Bad Request", &[], "odd"),
        None => response("200 OK", &[("Cache-Control", "max-age=60")], "x"),
    });
    assert_eq!(world.get_with("/x", &[("X-Odd", "1")]).await.status, 400);
    world.settled().await;
    assert_eq!(world.counters().store_marked.get(), 0);
}
