//! Two edges and two workers: what one edge misses all edges get.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Place, fresh, until_hit};
use crate::harness::origin::{Gate, Step, ok};
use crate::harness::rabbit::shared;
use crate::purge::post;
use serde_json::json;

#[tokio::test]
async fn what_one_edge_misses_a_worker_gets_for_all_of_them() {
    let place = Place::new(shared().await).await;
    let (a, b) = (place.edge("a").await, place.edge("b").await);
    let (_v, _w) = (place.worker("v").await, place.worker("w").await);
    for n in 0..20 {
        place.origin.always(&format!("/{n}"), fresh("page"));
    }
    for n in 0..20 {
        let reply = a.get(&format!("/{n}")).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
    }
    a.until("20 fills", |counters| counters.fills_kept.get() == 20).await;
    b.until("20 fills", |counters| counters.fills_kept.get() == 20).await;
    for world in [&a, &b] {
        for n in 0..20 {
            let reply = world.get(&format!("/{n}")).await;
            assert_eq!((reply.status, reply.text()), (200, "page"));
        }
    }
    assert_eq!(place.origin.requests().len(), 20);
    for world in [&a, &b] {
        assert_eq!(world.counters().origin_connections.get(), 0, "an edge never connects to an origin");
    }
}

#[tokio::test]
async fn an_edge_that_lost_its_cache_is_filled_and_the_origin_is_not_asked() {
    let place = Place::new(shared().await).await;
    let _worker = place.worker("w").await;
    let a = place.edge("a").await;
    place.origin.always("/", fresh("once"));
    assert_eq!(until_hit(&a, "/").await.text(), "once");
    a.node.drain().await;
    let again = place.edge("a").await;
    assert_eq!(until_hit(&again, "/").await.text(), "once");
    assert_eq!(place.origin.count("/"), 1);
}

#[tokio::test]
async fn what_was_purged_anywhere_is_got_anew_and_the_worker_forgets_it_as_well() {
    let place = Place::new(shared().await).await;
    let worker = place.worker("w").await;
    let (a, b) = (place.edge("a").await, place.edge("b").await);
    place.origin.on("/", |_, count| fresh(&format!("version {count}")));
    assert_eq!(until_hit(&a, "/").await.text(), "version 1");
    assert_eq!(until_hit(&b, "/").await.text(), "version 1");
    for (round, world) in [(2, &a), (3, &b)] {
        post(world, "/v1/purge", &json!({ "url": "http://www.example.org/" })).await;
        for world in [&a, &b] {
            let wait = async { while until_hit(world, "/").await.text() != format!("version {round}") {} };
            world.transcript.within(&format!("version {round}"), wait).await;
        }
        assert_eq!(place.origin.count("/"), round);
    }
    assert!(worker.counters().cluster_applied.get() >= 2);
}

#[tokio::test]
async fn a_fill_from_before_a_purge_is_refused_everywhere() {
    let place = Place::new(shared().await).await;
    let _worker = place.worker("w").await;
    let (a, b) = (place.edge("a").await, place.edge("b").await);
    let gate = Gate::default();
    let held = gate.clone();
    place.origin.on("/", move |_, count| {
        let mut script = vec![];
        if count == 1 {
            script.push(Step::Wait(held.clone()));
        }
        script.extend(fresh(&format!("version {count}")));
        script
    });
    assert_eq!(a.get("/").await.status, 503);
    gate.reached(1).await;
    post(&b, "/v1/purge", &json!({ "all": true, "hard": true })).await;
    a.until("the purge", |counters| counters.cluster_applied.get() == 1).await;
    gate.open();
    for world in [&a, &b] {
        world.until("a refusal", |counters| counters.fills_refused_fenced.get() == 1).await;
        assert_eq!(until_hit(world, "/").await.text(), "version 2");
    }
}

#[tokio::test]
async fn what_is_written_through_one_edge_is_got_anew_for_all() {
    let place = Place::new(shared().await).await;
    let place = place.with("[[site]]\nhosts = [\"*\"]\norigin = \"o\"\nwrite_origin = \"o\"");
    let _worker = place.worker("w").await;
    let (a, b) = (place.edge("a").await, place.edge("b").await);
    let written = Arc::<AtomicUsize>::default();
    let version = Arc::clone(&written);
    place.origin.on("/", move |seen, _| match seen.method.as_str() {
        "POST" => {
            version.fetch_add(1, Ordering::Relaxed);
            ok("no-store", "done")
        }
        _ => fresh(&format!("version {}", version.load(Ordering::Relaxed))),
    });
    for world in [&a, &b] {
        assert_eq!(until_hit(world, "/").await.text(), "version 0");
    }
    let reply = a.client("writer").await.ask("POST", "/", &[], b"more").await;
    assert_eq!(reply.text(), "done");
    for world in [&a, &b] {
        let wait = async { while until_hit(world, "/").await.text() != "version 1" {} };
        world.transcript.within("version 1", wait).await;
    }
}

#[tokio::test]
async fn what_is_large_goes_to_the_edge_that_wants_it_at_the_place_that_the_cluster_knows() {
    let place = Place::new(shared().await).await;
    let worker = place.worker("w").await;
    let (a, b) = (place.edge("a").await, place.edge("b").await);
    worker.until("company", |counters| counters.cluster_nodes.get() == 3).await;
    place.origin.always("/", fresh(&"x".repeat(2_000_000)));
    assert_eq!(until_hit(&a, "/").await.body.len(), 2_000_000);
    assert_eq!((worker.counters().worker_pushed.get(), b.counters().fills_kept.get()), (1, 0));
}
