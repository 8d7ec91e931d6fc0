//! Purges on all nodes while wires are cut and the broker dies: whatever happens,
//! what is promised holds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{Place, ask, in_touch, purge_tag, reached, until_reached};
use crate::harness::origin::response;
use crate::harness::{Rabbit, Wire, World};

/// A purge that was answered: by which node, its number there, and what the origin had
/// before it.
struct Purged {
    node: usize,
    sequence: u64,
    version: u64,
    answered: Instant,
}

/// The version that a node answers with.
async fn version(world: &World) -> u64 {
    told(world).await.0
}

/// The version that a node answers with, and what it says of where it has it from.
async fn told(world: &World) -> (u64, String) {
    let reply = world.get("/v").await;
    let version = reply.text().parse().unwrap_or_else(|_| panic!("{}: {}", reply.status, reply.text()));
    (version, reply.field("cache-status").unwrap_or_default().to_owned())
}

/// The origin changes, and a node is told so: from the answer on it has nothing older.
async fn change(nodes: &[World], node: usize, current: &AtomicU64) -> Purged {
    let new = current.fetch_add(1, Ordering::SeqCst) + 1;
    let (sequence, answer) = purge_tag(&nodes[node], "v").await;
    let served = version(&nodes[node]).await;
    assert!(served >= new, "node {node} served {served} after it was told of {new}: {answer}");
    Purged { node, sequence, version: new, answered: Instant::now() }
}

/// What is listed for a purge has nothing older.
async fn check(nodes: &[World], purged: &Purged, course: &Course) {
    let asked = Instant::now();
    for name in reached(&nodes[purged.node], purged.sequence).await {
        let listed = Instant::now();
        let node = &nodes["abc".find(&name).expect("a node")];
        let (served, status) = told(node).await;
        if served < purged.version {
            let times = [purged.answered, asked, listed, Instant::now()].map(|at| course.millis(at));
            let story = story(&nodes[purged.node], purged, node, course).await;
            panic!(
                "{name} is listed for {}, and served {served} ({status})\nms of purge answered, list asked for, listed, served: {times:?}\n{story}",
                purged.version
            );
        }
    }
}

/// What can still be learned of a node that served something older than a purge that it is
/// listed for: whether it goes on doing so, which purges it knows with which places (a number
/// that is missing among its own is that of a link, and what stands at it means only what was
/// asked for before that number), what both say of each other, and what was done to the wires.
async fn story(accepted: &World, purged: &Purged, listed: &World, course: &Course) -> String {
    let again = told(listed).await;
    let purge = ask(accepted, &format!("/v1/purges/{}", purged.sequence)).await;
    let mut story = format!("asked again: {again:?}\nthe purge: {purge}\n");
    for (who, world) in [("accepted", accepted), ("listed", listed)] {
        let nodes = ask(world, "/v1/nodes").await;
        let counters = world.counters();
        let (lost, links_lost) = (counters.cluster_lost.get(), counters.cluster_links_lost.get());
        let (applied, duplicates) = (counters.cluster_applied.get(), counters.cluster_duplicates.get());
        let distrusted = counters.cluster_distrusted.get();
        story += &format!(
            "{who}: lost {lost}, links lost {links_lost}, applied {applied}, duplicates {duplicates}, distrusted {distrusted}\n  {nodes}\n"
        );
        let purges = ask(world, "/v1/purges?count=60").await;
        for entry in purges["purges"].as_array().into_iter().flatten() {
            story += &format!(
                "  {} offset {} own {} of {} hit {}\n",
                entry["sequence"], entry["offset"], entry["own"], entry["identity"], entry["responses"]
            );
        }
    }
    story + &course.events.lock().expect("no panic").join("\n")
}

/// What was done to the wires and the broker, and when.
struct Course {
    began: Instant,
    events: Mutex<Vec<String>>,
}

impl Course {
    fn millis(&self, at: Instant) -> u128 {
        at.duration_since(self.began).as_millis()
    }

    fn note(&self, what: &str) {
        let event = format!("{} ms: {what}", self.millis(Instant::now()));
        self.events.lock().expect("no panic").push(event);
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
    let course = Course { began: Instant::now(), events: Mutex::default() };
    let purging = (0..nodes.len()).map(|node| {
        let (nodes, current, over, course) = (&nodes, &current, &over, &course);
        async move {
            let mut all = Vec::new();
            while !over.load(Ordering::Relaxed) {
                all.push(change(nodes, node, current).await);
                check(nodes, all.last().expect("one"), course).await;
                version(&nodes[fastrand::usize(..nodes.len())]).await;
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            }
            all
        }
    });
    let breaking = async {
        for round in 0..8 {
            if round == 4 {
                course.note("the broker is killed");
                rabbit.kill();
                rabbit.restart().await;
                course.note("the broker runs again");
            }
            let wire = &wires[round % 2];
            let node = ["b", "c"][round % 2];
            if round % 3 == 2 {
                course.note(&format!("the wire of {node} swallows"));
                wire.swallow()
            } else {
                course.note(&format!("the wire of {node} is cut"));
                wire.cut()
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
            wire.mend();
            course.note(&format!("the wire of {node} is mended"));
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
        check(&nodes, last, &course).await;
    }
    let newest = all.iter().flatten().map(|purged| purged.version).max().unwrap_or_default();
    for world in &nodes {
        assert_eq!(version(world).await, newest);
        assert_eq!(world.counters().cluster_lost.get(), 0, "the broker has kept everything");
    }
}
