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
async fn parts_are_kept_of_what_is_too_large_to_be_kept_whole() {
    let settings = "[rules]\nrange_slice = \"1KiB\"\n[store]\nmemory = \"1MiB\"\nmax_response_percent = 1";
    let world = World::start(settings).await;
    let content = "0123456789".repeat(2_000);
    let whole = content.clone();
    world.origin.on("/r", move |seen, _| tagged(seen, &whole, "\"v1\""));
    for _ in 0..2 {
        let beginning = world.get_with("/r", &[("Range", "bytes=0-")]).await;
        assert_eq!((beginning.status, beginning.text()), (206, content.as_str()));
        world.settled().await;
    }
    assert_eq!(world.counters().store_too_large.get(), 1, "the second one was passed on");
    for hit in [false, true] {
        let part = world.get_with("/r", &[("Range", "bytes=5000-5004")]).await;
        assert_eq!((part.text(), part.is_hit()), ("01234", hit), "{}", part.cache_status());
        world.settled().await;
    }
    let same = world.get_with("/r", &[("If-None-Match", "\"v1\"")]).await;
    assert_eq!(
        (same.status, same.cache_status()),
        (304, "fwd=miss"),
        "the origin is not made to send it all"
    );
    assert_eq!(world.origin.requests().last().and_then(|seen| seen.field("if-none-match")), Some("\"v1\""));
    // A tail that is too large goes through, and leaves what is stored as it is.
    let tail = world.get_with("/r", &[("Range", "bytes=1500-")]).await;
    assert_eq!(tail.text(), &content[1500..]);
    world.settled().await;
    assert!(world.get_with("/r", &[("Range", "bytes=5100-5104")]).await.is_hit());
    // Of many parts there are only as many bytes as of one response that is whole.
    for start in (0..19_000).step_by(1024) {
        let range = format!("bytes={start}-{}", start + 5);
        assert_eq!(world.get_with("/r", &[("Range", &range)]).await.text(), &content[start..start + 6]);
        world.settled().await;
    }
    assert!(world.counters().parts_dropped.get() >= 8, "{}", world.counters().parts_dropped.get());
    assert!(world.get_with("/r", &[("Range", "bytes=18500-18504")]).await.is_hit());
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

#[tokio::test]
async fn one_node_behind_another_is_asked_for_slices_as_an_origin_is() {
    let settings = "[rules]\nrange_slice = \"8B\"";
    let inner = World::start(settings).await;
    inner.origin.on("/r", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    let own =
        format!("origin.url = \"http://{}\"\n[node]\nname = \"edge\"\n{settings}", inner.node.address());
    let outer = World::again(inner.origin.clone(), &own).await;
    let mut client = outer.client("client").await;
    for (range, content) in [("bytes=9-10", "9a"), ("bytes=15-", "fghij"), ("bytes=3-12", "3456789abc")] {
        let reply = client.get_with("/r", &[("Range", range)]).await;
        assert_eq!((reply.status, reply.text()), (206, content), "{:?}", reply.fields);
        outer.settled().await;
        inner.settled().await;
    }
    let whole = client.get("/r").await;
    assert_eq!((whole.status, whole.text(), whole.all("via").len()), (200, CONTENT, 2));
    assert_eq!(asked(&inner), ["bytes=8-15", "bytes=8-19", "bytes=0-15"]);
}
