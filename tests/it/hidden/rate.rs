//! The rate that was agreed with the origin's owner holds, whatever is missing; what
//! most clients ask for comes first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{fills, hidden};
use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok};

/// When the origin was asked, and the most requests that it had under way.
#[derive(Clone, Default)]
pub struct Load {
    times: Arc<Mutex<Vec<Instant>>>,
    most: Arc<AtomicUsize>,
}

impl Load {
    /// The origin is asked now.
    pub fn note(&self) {
        self.times.lock().expect("times").push(Instant::now());
    }

    /// The most requests within any span of this length.
    pub fn most_within(&self, span: Duration) -> usize {
        let times = self.times.lock().expect("times");
        let within = |at: usize| times[at..].iter().take_while(|time| **time - times[at] < span).count();
        (0..times.len()).map(within).max().unwrap_or_default()
    }

    /// How many there were.
    pub fn len(&self) -> usize {
        self.times.lock().expect("times").len()
    }
}

/// Lets the origin answer these paths, each once something has been counted.
fn counted(world: &World, paths: &[String]) -> Load {
    let load = Load::default();
    for path in paths {
        let load = load.clone();
        world.origin.on(path, move |seen, _| {
            load.note();
            // Each takes one connection at a time.
            load.most.fetch_max(seen.connection + 1, Ordering::Relaxed);
            ok("max-age=600", &seen.target)
        });
    }
    load
}

#[tokio::test]
async fn hundreds_of_misses_at_once_reach_the_origin_at_the_agreed_rate() {
    let settings = "origin.rate = \"200/s\"\norigin.concurrency = 4\n\
                    [hidden]\nunknown_rate = \"1000/s\"\nclient_rate = \"off\"\n";
    let world = hidden("", settings).await;
    let paths: Vec<String> = (0..300).map(|n| format!("/{n}")).collect();
    let load = counted(&world, &paths);
    let began = Instant::now();
    let mut client = world.client("client").await;
    for path in &paths {
        assert_eq!(client.get(path).await.status, 503);
    }
    fills(&world, 300).await;
    let took = began.elapsed();
    // What comes in within a tenth of a second may come at once.
    assert!(took >= Duration::from_millis(1350), "{took:?}");
    assert!(
        load.most_within(Duration::from_secs(1)) <= 200 + 20 + 5,
        "{}",
        load.most_within(Duration::from_secs(1))
    );
    assert!(load.most_within(Duration::from_millis(100)) <= 20 + 20 + 5);
    assert!(load.most.load(Ordering::Relaxed) <= 4, "connections: {}", load.most.load(Ordering::Relaxed));
    assert_eq!(load.len(), 300);
    let c = world.counters();
    assert_eq!((c.events_published.get(), c.fills_kept.get(), c.leases_expired.get()), (300, 300, 0));
}

#[tokio::test]
async fn never_more_are_under_way_than_agreed() {
    let settings = "origin.rate = \"10000/s\"\norigin.concurrency = 3\n[hidden]\nunknown_rate = \"1000/s\"\n";
    let world = hidden("", settings).await;
    let gates: Vec<Gate> = (0..12).map(|_| Gate::default()).collect();
    for (n, gate) in gates.iter().enumerate() {
        let gate = gate.clone();
        world.origin.on(&format!("/{n}"), move |_, _| {
            let mut script = vec![Step::Wait(gate.clone())];
            script.extend(ok("max-age=600", "x"));
            script
        });
        world.get(&format!("/{n}")).await;
    }
    world.until("all to be told", |c| c.events_published.get() == 12).await;
    for answered in 0..=9 {
        world.until("three to be under way", |c| c.worker_requests.get() == answered + 3).await;
        assert_eq!(world.counters().events_released.get(), answered + 3);
        // They come in the order in which they were missed.
        gates[answered as usize].reached(1).await;
        gates[answered as usize].open();
        fills(&world, answered + 1).await;
    }
}

#[tokio::test]
async fn what_most_clients_ask_for_comes_first() {
    let settings = "origin.rate = \"10000/s\"\norigin.concurrency = 1\n[hidden]\nlease = \"1ms\"\n";
    let world = hidden("", settings).await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/first", move |_, _| {
        let mut script = vec![Step::Wait(at.clone())];
        script.extend(ok("max-age=600", "x"));
        script
    });
    world.get("/first").await;
    gate.reached(1).await;
    let mut told = 1;
    for (path, misses) in [("/rare", 1), ("/popular", 9), ("/liked", 4)] {
        world.origin.always(path, ok("max-age=600", "x"));
        for _ in 0..misses {
            told += 1;
            let telling = async {
                // As soon as the lease of the one before is over.
                while world.counters().events_published.get() < told {
                    world.get(path).await;
                }
            };
            world.transcript.within("it to be told", telling).await;
        }
    }
    gate.open();
    fills(&world, 4).await;
    let order: Vec<String> = world.origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order, ["/first", "/popular", "/liked", "/rare"]);
}
