//! Purges on all nodes while wires are cut and the broker dies: whatever happens,
//! what is promised holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::{Place, in_touch, purge_tag, reached, until_reached};
use crate::harness::origin::response;
use crate::harness::{Rabbit, Wire, World};

/// A purge that was answered: by which node, its number there, and what the origin had
/// before it.
struct Purged {
    node: usize,
    sequence: u64,
    version: u64,
}

/// The version that a node answers with.
async fn version(world: &World) -> u64 {
    let reply = world.get("/v").await;
    reply.text().parse().unwrap_or_else(|_| panic!("{}: {}", reply.status, reply.text()))
}

/// The origin changes, and a node is told so: from the answer on it has nothing older.
async fn change(nodes: &[World], node: usize, current: &AtomicU64) -> Purged {
    let new = current.fetch_add(1, Ordering::SeqCst) + 1;
    let (sequence, answer) = purge_tag(&nodes[node], "v").await;
    let served = version(&nodes[node]).await;
    assert!(served >= new, "node {node} served {served} after it was told of {new}: {answer}");
    Purged { node, sequence, version: new }
}

/// What is listed for a purge has nothing older.
async fn check(nodes: &[World], purged: &Purged) {
    for name in reached(&nodes[purged.node], purged.sequence).await {
        let served = version(&nodes["abc".find(&name).expect("a node")]).await;
        assert!(served >= purged.version, "{name} is listed for {}, and served {served}", purged.version);
    }
}

#[tokio::test]
async fn whatever_breaks_who_is_listed_has_nothing_older_and_in_the_end_all_are() {
    let mut rabbit = Rabbit::start().await;
    let place = Place::new(rabbit.address());
    let wires = [Wire::to(place.broker).await, Wire::to(place.broker).await];
    let current = Arc::new(AtomicU64::new(1));
    let a = place.first("a").await;
    let b = place.through(wires[0].address()).beside(&a, "b").await;
    let c = place.through(wires[1].address()).beside(&a, "c").await;
    let of_origin = Arc::clone(&current);
    a.origin.on("/v", move |_, _| {
        let fields = [("Cache-Control", "max-age=600"), ("Surrogate-Key", "v")];
        response("200 OK", &fields, &of_origin.load(Ordering::SeqCst).to_string())
    });
    let nodes = [a, b, c];
    let over = AtomicBool::new(false);
    let purging = (0..nodes.len()).map(|node| {
        let (nodes, current, over) = (&nodes, &current, &over);
        async move {
            let mut all = Vec::new();
            while !over.load(Ordering::Relaxed) {
                all.push(change(nodes, node, current).await);
                check(nodes, all.last().expect("one")).await;
                version(&nodes[fastrand::usize(..nodes.len())]).await;
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            }
            all
        }
    });
    let breaking = async {
        for round in 0..8 {
            if round == 4 {
                rabbit.kill();
                rabbit.restart().await;
            }
            let wire = &wires[round % 2];
            if round % 3 == 2 {
                wire.swallow()
            } else {
                wire.cut()
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
            wire.mend();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..300))).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (all, ()) = tokio::join!(join_all(purging), breaking);
    for world in &nodes {
        in_touch(world).await;
        world.until("everything to be told", |counters| counters.cluster_outbox.get() == 0).await;
    }
    for of_node in &all {
        let last = of_node.last().expect("some purges");
        until_reached(&nodes[last.node], last.sequence, nodes.len()).await;
        check(&nodes, last).await;
    }
    let newest = all.iter().flatten().map(|purged| purged.version).max().unwrap_or_default();
    for world in &nodes {
        assert_eq!(version(world).await, newest);
        assert_eq!(world.counters().cluster_lost.get(), 0, "the broker has kept everything");
    }
}
