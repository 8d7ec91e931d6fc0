//! A node that cannot reach the broker, and finds out by itself.

use std::time::Duration;

use serde_json::json;

use super::{PAGE, Place, in_touch, out_of_touch, purge_tag, until_reached};
use crate::harness::Wire;
use crate::harness::World;
use crate::harness::origin::response;
use crate::harness::rabbit::shared;
use crate::purge::fill;

/// Two nodes; the second one's wire to the broker is in the test's hand.
async fn with_wire(more: &str) -> ([World; 2], Wire) {
    let place = Place::new(shared().await);
    let wire = Wire::to(place.broker).await;
    let a = place.first("a").await;
    let b = place.through(wire.address()).with(more).beside(&a, "b").await;
    fill(&b, &PAGE, &[("Surrogate-Key", "news")]).await;
    a.until("two nodes", |counters| counters.cluster_nodes.get() == 2).await;
    ([a, b], wire)
}

/// Whether the page is still fresh on this node: nobody has to be asked.
async fn is_fresh(world: &World) -> bool {
    world.get("/a").await.is_hit()
}

#[tokio::test]
async fn a_short_cut_costs_nothing_and_what_was_missed_is_made_up_for() {
    let ([a, b], wire) = with_wire("").await;
    wire.cut();
    out_of_touch(&b).await;
    let (sequence, _) = purge_tag(&a, "sport").await;
    assert!(is_fresh(&b).await);
    wire.mend();
    until_reached(&a, sequence, 2).await;
    assert!(is_fresh(&b).await, "nobody has purged it");
    assert_eq!((b.counters().cluster_lost.get(), b.counters().cluster_links_lost.get()), (0, 1));
}

#[tokio::test]
async fn cut_off_for_longer_than_it_may_it_takes_everything_for_stale() {
    let ([_, b], wire) = with_wire("max_disconnected = \"400ms\"").await;
    wire.cut();
    out_of_touch(&b).await;
    let before = b.counters().cluster_distrusted.get();
    b.until("distrust", |counters| counters.cluster_distrusted.get() > before).await;
    let asked = b.origin.count("/a");
    b.get("/a").await;
    b.settled().await;
    assert_eq!(b.origin.count("/a"), asked + 1, "it is stale, and is asked for anew");
    // It goes on to serve what it has where the origin does not answer.
    b.origin.on("/a", |_, _| response("503 Service Unavailable", &[], "broken"));
    let again = b.counters().cluster_distrusted.get();
    b.until("distrust once more", |counters| counters.cluster_distrusted.get() > again).await;
    let reply = b.get("/a").await;
    assert_eq!((reply.status, reply.text()), (200, "x"), "{:?}", reply.fields);
    wire.mend();
    in_touch(&b).await;
}

#[tokio::test]
async fn a_wire_that_swallows_everything_is_noticed_in_time() {
    let ([a, b], wire) = with_wire("max_disconnected = \"1s\"").await;
    let before = b.counters().cluster_distrusted.get();
    wire.swallow();
    // Nobody tells b that it is cut off.
    let swallowed = std::time::Instant::now();
    let (sequence, answer) = purge_tag(&a, "news").await;
    assert_eq!(answer["published"], json!(true), "{answer}");
    b.until("distrust", |counters| counters.cluster_distrusted.get() > before).await;
    assert!(swallowed.elapsed() < Duration::from_secs(8), "{:?}", swallowed.elapsed());
    let asked = b.origin.count("/a");
    b.get("/a").await;
    b.settled().await;
    assert_eq!(b.origin.count("/a"), asked + 1);
    wire.mend();
    until_reached(&a, sequence, 2).await;
}

#[tokio::test]
async fn a_node_in_touch_trusts_what_it_holds_however_short_the_time() {
    // It is announced once a second where that is often enough, which it is not here.
    let ([_, b], _wire) = with_wire("max_disconnected = \"900ms\"").await;
    let quiet = async {
        loop {
            let before = b.counters().cluster_distrusted.get();
            tokio::time::sleep(Duration::from_secs(2)).await;
            // A machine that is very busy may hold up an announcement, though not for ever.
            if b.counters().cluster_distrusted.get() == before {
                return;
            }
        }
    };
    b.transcript.within("two seconds of trust", quiet).await;
}
