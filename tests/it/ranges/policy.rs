//! What a route may have asked for where a range is missing.

use super::{CONTENT, asked, tagged};
use crate::harness::World;
use crate::harness::origin::{Gate, Step};

#[tokio::test]
async fn the_whole_is_asked_for_where_the_route_says_so() {
    let world = World::start("[rules]\nrange_miss = \"whole\"\nrange_slice = \"4B\"").await;
    world.origin.on("/r", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    let part = world.get_with("/r", &[("Range", "bytes=9-10")]).await;
    assert_eq!((part.status, part.text()), (206, "9a"));
    world.settled().await;
    assert!(world.get("/r").await.is_hit());
    assert_eq!(asked(&world), ["whole"]);
}

#[tokio::test]
async fn with_both_the_range_comes_at_once_and_the_whole_after_it() {
    let world = World::start("[rules]\nrange_miss = \"both\"\nrange_slice = \"4B\"").await;
    let gate = Gate::default();
    let held = gate.clone();
    world.origin.on("/r", move |seen, _| {
        let wait = if seen.field("range").is_none() { vec![Step::Wait(held.clone())] } else { Vec::new() };
        [wait, tagged(seen, CONTENT, "\"v1\"")].concat()
    });
    let part = world.get_with("/r", &[("Range", "bytes=9-10")]).await;
    assert_eq!((part.status, part.text()), (206, "9a"));
    gate.reached(1).await;
    let other = world.get_with("/r", &[("Range", "bytes=17-18")]).await;
    assert_eq!((other.status, other.text()), (206, "hi"));
    world.until("both parts to be stored", |c| c.parts_stored.get() == 2).await;
    gate.open();
    world.settled().await;
    assert!(world.get("/r").await.is_hit());
    assert_eq!(asked(&world), ["bytes=8-11", "whole", "bytes=16-19"]);
}

#[tokio::test]
async fn what_the_store_would_not_take_is_not_got_after_its_part() {
    let settings = "[rules]\nrange_miss = \"both\"\nrange_slice = \"1KiB\"\n[store]\nmemory = \"1MiB\"\nmax_response_percent = 1";
    let world = World::start(settings).await;
    let content = "x".repeat(20_000);
    world.origin.on("/r", move |seen, _| tagged(seen, &content, "\"v1\""));
    assert_eq!(world.get_with("/r", &[("Range", "bytes=5000-5009")]).await.body.len(), 10);
    world.settled().await;
    assert!(world.get_with("/r", &[("Range", "bytes=5005-5009")]).await.is_hit());
    assert_eq!(asked(&world), ["bytes=4096-5119"]);
}
