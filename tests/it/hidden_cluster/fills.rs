//! Two edges and two workers: what one edge misses all edges get.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Place, connected, disconnected, fresh, until_hit};
use crate::cluster::ask;
use crate::harness::origin::{Gate, Step, ok, raw};
use crate::harness::rabbit::shared;
use crate::harness::{Rabbit, World, breathe};
use crate::purge::post;
use futures_util::StreamExt;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use serde_json::{Value, json};

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

#[tokio::test]
async fn a_large_response_that_breaks_off_is_the_origins_fault_and_is_asked_for_again() {
    let place = Place::new(shared().await).await.with("retry_pause = \"1s\"");
    let worker = place.worker("w").await;
    let a = place.edge("a").await;
    let whole = "x".repeat(3_000_000);
    let head =
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n", whole.len());
    place.origin.on("/", move |_, count| match count {
        1 => vec![raw(&head), raw(&whole[..2_000_000]), Step::Close],
        _ => vec![raw(&head), raw(&whole)],
    });
    assert_eq!(until_hit(&a, "/").await.body.len(), 3_000_000);
    let counters = worker.counters();
    let seen = (counters.worker_failures.get(), counters.events_retried.get(), counters.worker_pushed.get());
    assert_eq!(seen, (1, 1, 1));
}

/// Pushes a response as an origin does that has got this event, and returns the status.
async fn push(world: &World, event: &Value, body: &str) -> u16 {
    let token = event["data"]["fill"]["token"].as_str().expect("a token");
    let fields = [
        ("Forebay-Fill-Token", token),
        ("Forebay-Fill-Status", "200"),
        ("Forebay-Fill-Cache-Control", "max-age=60"),
    ];
    world.operator().await.ask("PUT", "/v1/fill", &fields, body.as_bytes()).await.status
}

/// Misses a page at the edge `a`; its event of that, for which there is no worker.
async fn missed(place: &Place, a: &World) -> Value {
    assert_eq!(a.get("/").await.status, 503);
    let channel = place.channel().await;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let queue = place.queue("misses.o");
    let reading = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
    let mut reading = reading.await.expect("the queue of misses");
    let read = async {
        loop {
            let delivery = reading.next().await.expect("a delivery").expect("whole");
            let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
            // A node that is told to purge wants the page by itself.
            if event["source"] == "/forebay/a" {
                return event;
            }
        }
    };
    let event = a.transcript.within("an event", read).await;
    channel.close(200, "done".into()).await.expect("closed");
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_from_before_the_broker_lost_the_end_of_its_stream_undoes_no_purge() {
    let mut rabbit = Rabbit::start().await;
    let place = Place::new(rabbit.address()).await;
    let (a, b) = (place.edge("a").await, place.edge("b").await);
    let nodes = [&a, &b];
    rabbit.stop().await;
    rabbit.remember();
    for world in nodes {
        disconnected(world).await;
    }
    rabbit.restart().await;
    for world in nodes {
        connected(world).await;
    }
    // All of this will be lost, and that the first edge has read it means nothing then.
    for n in 0..60 {
        post(&b, "/v1/purge", &json!({ "url": format!("http://www.example.org/{n}") })).await;
    }
    a.until("60 purges", |counters| counters.cluster_applied.get() == 60).await;
    let before = missed(&place, &a).await;
    assert_eq!(push(&b, &before, "version 1").await, 200, "it is good at both");
    assert_eq!(b.get("/").await.text(), "version 1");
    rabbit.stop().await;
    rabbit.forget();
    for world in nodes {
        disconnected(world).await;
    }
    rabbit.restart().await;
    for world in nodes {
        connected(world).await;
    }
    let purge = json!({ "url": "http://www.example.org/", "hard": true });
    let sequence = post(&b, "/v1/purge", &purge).await["sequence"].clone();
    let listed = async {
        let reached =
            async || ask(&b, &format!("/v1/purges/{sequence}")).await["nodes"].as_array().map(Vec::len);
        while reached().await != Some(2) {
            breathe().await;
        }
    };
    b.transcript.within("the purge on both", listed).await;
    for world in nodes {
        assert_eq!(push(world, &before, "version 1").await, 409);
    }
    let after = missed(&place, &a).await;
    for world in nodes {
        assert_eq!(push(world, &after, "version 2").await, 200);
        assert_eq!(world.get("/").await.text(), "version 2");
    }
}
