//! Who wants the same missing part shares one request.

use super::{CONTENT, asked, tagged};
use crate::harness::origin::{Gate, Step, raw};
use crate::harness::{Client, World};

const BY_EIGHT: &str = "[rules]\nrange_slice = \"8B\"";

async fn send(world: &World, range: Option<&str>) -> Client {
    let mut client = world.client("client").await;
    let range = range.map_or(String::new(), |range| format!("Range: bytes={range}\r\n"));
    client.send(format!("GET /r HTTP/1.1\r\nHost: www.example.org\r\n{range}\r\n").as_bytes()).await;
    client
}

/// A world whose origin sends nothing in answer to its first `held` requests before the gate.
async fn gated(held: usize) -> (World, Gate) {
    let world = World::start(BY_EIGHT).await;
    let gate = Gate::default();
    let before = gate.clone();
    world.origin.on("/r", move |seen, n| {
        let wait = if n <= held { vec![Step::Wait(before.clone())] } else { Vec::new() };
        [wait, tagged(seen, CONTENT, "\"v1\"")].concat()
    });
    (world, gate)
}

#[tokio::test]
async fn a_storm_of_small_ranges_is_a_request_for_each_slice() {
    let (world, gate) = gated(1).await;
    let mut clients = vec![(0, send(&world, Some("0-0")).await)];
    gate.reached(1).await;
    for start in 1..20 {
        clients.push((start, send(&world, Some(&format!("{start}-{start}"))).await));
    }
    world.until("19 to follow", |c| c.followers_waiting.get() == 19).await;
    gate.open();
    for (start, client) in &mut clients {
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.text()), (206, &CONTENT[*start..=*start]));
    }
    world.settled().await;
    let mut asked = asked(&world);
    asked.sort();
    assert_eq!(
        asked,
        ["bytes=0-7", "bytes=16-19", "bytes=8-15"].map(|slice| {
            // As long as the first part is not stored its length is not known.
            if slice == "bytes=16-19" && asked.contains(&"bytes=16-23".to_owned()) {
                "bytes=16-23"
            } else {
                slice
            }
        })
    );
    assert!(world.get("/r").await.is_hit());
}

#[tokio::test]
async fn two_that_miss_the_same_part_of_what_is_known_share_one_request() {
    let (world, gate) = gated(0).await;
    world.get_with("/r", &[("Range", "bytes=0-0")]).await;
    world.settled().await;
    let held = gate.clone();
    world
        .origin
        .on("/r", move |seen, _| [vec![Step::Wait(held.clone())], tagged(seen, CONTENT, "\"v1\"")].concat());
    let mut one = send(&world, Some("8-9")).await;
    gate.reached(1).await;
    let mut other = send(&world, Some("9-12")).await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    // Another part and the whole are requests of their own, and wait for nobody.
    let (mut third, mut whole) = (send(&world, Some("16-17")).await, send(&world, None).await);
    gate.reached(3).await;
    gate.open();
    assert_eq!(one.reply(false).await.text(), "89");
    let shared = other.reply(false).await;
    assert_eq!(shared.text(), "9abc");
    assert!(shared.cache_status().contains("collapsed"), "{}", shared.cache_status());
    assert_eq!(third.reply(false).await.text(), "gh");
    assert_eq!(whole.reply(false).await.text(), CONTENT);
    world.settled().await;
    assert_eq!(world.origin.count("/r"), 4);
    assert!(world.get("/r").await.is_hit());
}

#[tokio::test]
async fn who_wants_the_whole_does_not_get_a_part_for_it() {
    let (world, gate) = gated(1).await;
    let mut part = send(&world, Some("8-8")).await;
    gate.reached(1).await;
    let mut whole = send(&world, None).await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    gate.open();
    assert_eq!(part.reply(false).await.text(), "8");
    let whole = whole.reply(false).await;
    assert_eq!((whole.status, whole.text()), (200, CONTENT));
    assert_eq!(asked(&world), ["bytes=8-15", "whole"]);
}

#[tokio::test]
async fn a_range_far_off_does_not_wait_for_a_whole_that_is_on_its_way() {
    let world = World::start("[rules]\nrange_slice = \"4B\"").await;
    let gate = Gate::default();
    let held = gate.clone();
    world.origin.on("/r", move |seen, n| match n {
        1 => vec![
            raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Length: 20\r\n\r\n0123"),
            Step::Wait(held.clone()),
            raw("456789abcdefghij"),
        ],
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    let mut whole = send(&world, None).await;
    assert_eq!(whole.head().await.status, 200);
    gate.reached(1).await;
    let far = send(&world, Some("17-18")).await.reply(false).await;
    assert_eq!((far.status, far.text()), (206, "hi"), "while the whole stands still");
    assert_eq!(send(&world, Some("1-2")).await.reply(false).await.text(), "12", "this has come already");
    let mut near = send(&world, Some("5-6")).await;
    assert_eq!(near.head().await.status, 206);
    assert_eq!(asked(&world), ["whole", "bytes=16-19"]);
    world.until("the part to be stored", |c| c.parts_stored.get() == 1).await;
    gate.open();
    assert_eq!(near.bytes(2).await, b"56");
    assert_eq!(whole.bytes(20).await, CONTENT.as_bytes());
    world.settled().await;
    // The whole was asked for before the part, and yet is better.
    assert!(world.get("/r").await.is_hit());
    assert_eq!(world.origin.count("/r"), 2);
}

#[tokio::test]
async fn a_long_part_that_nobody_reads_any_more_is_kept_as_far_as_it_has_come() {
    let world = World::start("[rules]\nrange_slice = \"4B\"").await;
    let (gate, never) = (Gate::default(), Gate::default());
    let (held, end) = (gate.clone(), never.clone());
    world.origin.on("/r", move |seen, n| match n {
        1 => vec![
            raw("HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\n"),
            raw("Content-Range: bytes 4-19/20\r\nContent-Length: 16\r\n\r\n4567"),
            Step::Wait(held.clone()),
            raw("89"),
            Step::Wait(end.clone()),
        ],
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    let mut one = send(&world, Some("5-")).await;
    assert_eq!(one.head().await.status, 206);
    assert_eq!(one.bytes(3).await, b"567");
    gate.reached(1).await;
    drop(one);
    world.until("it to be gone", |c| c.client_connections_open.get() == 0).await;
    gate.open();
    world.until("the rest to be given up", |c| c.fetches_abandoned.get() == 1).await;
    world.settled().await;
    assert!(send(&world, Some("4-7")).await.reply(false).await.is_hit());
    let rest = send(&world, Some("8-")).await.reply(false).await;
    assert_eq!((rest.text(), rest.is_hit()), ("89abcdefghij", false));
    assert_eq!(asked(&world), ["bytes=4-", "bytes=8-19"]);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_part_from_nobody() {
    let (world, gate) = gated(1).await;
    let one = send(&world, Some("8-9")).await;
    gate.reached(1).await;
    drop(one);
    world.until("it to be gone", |c| c.client_connections_open.get() == 0).await;
    gate.open();
    world.until("the part to be stored", |c| c.parts_stored.get() == 1).await;
    assert!(send(&world, Some("8-15")).await.reply(false).await.is_hit());
}
