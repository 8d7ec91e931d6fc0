//! Those who wait are limited in number and in time.

use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok};

#[tokio::test]
async fn one_follower_too_many_is_told_to_come_again() {
    let world = World::start("[collapse]\nmax_followers = 3").await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(ok("max-age=60", "x"));
    world.origin.always("/x", script);
    let request = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    let mut clients = Vec::new();
    for n in 0..3 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(request).await;
        clients.push(client);
    }
    // The leader has a seat as well.
    world.until("two to follow", |c| c.followers_waiting.get() == 2).await;
    let refused = world.get("/x").await;
    let after: u64 = refused.field("retry-after").and_then(|after| after.parse().ok()).expect("a time");
    assert!(
        refused.status == 503 && (1..=3).contains(&after),
        "those who are told do not come back together"
    );
    assert_eq!(refused.field("cache-status"), None);
    assert_eq!(world.counters().collapse_full.get(), 1);
    gate.open();
    for mut client in clients {
        assert_eq!(client.reply(false).await.text(), "x");
    }
    assert_eq!(world.origin.count("/x"), 1);
}

#[tokio::test]
async fn a_follower_does_not_wait_for_ever() {
    let world = World::start("[collapse]\nfollower_wait = \"30ms\"").await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(ok("max-age=60", "x"));
    world.origin.always("/x", script);
    let mut leader = world.client("leader").await;
    leader.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    gate.reached(1).await;
    assert_eq!(world.get("/x").await.status, 504);
    assert_eq!(world.counters().collapse_timeout.get(), 1);
    gate.open();
    assert_eq!(leader.reply(false).await.text(), "x");
    assert_eq!(world.origin.count("/x"), 1);
}

#[tokio::test]
async fn fetches_that_nobody_can_join_count_as_well() {
    let world = World::start("[collapse]\nmax_flights = 1").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let wait = if n == 1 { Vec::new() } else { vec![Step::Wait(at.clone())] };
        [wait, ok("no-store", "x")].concat()
    });
    assert_eq!(world.get("/x").await.text(), "x");
    world.settled().await;
    let mut alone = world.client("alone").await;
    alone.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    gate.reached(1).await;
    assert_eq!(world.get("/x").await.status, 503);
    gate.open();
    assert_eq!(alone.reply(false).await.text(), "x");
    assert_eq!((world.origin.count("/x"), world.counters().collapse_full.get()), (2, 1));
}

#[tokio::test]
async fn a_follower_that_leaves_waits_no_more() {
    let world = World::start("").await;
    let gate = Gate::default();
    world.origin.always("/x", [vec![Step::Wait(gate.clone())], ok("max-age=60", "x")].concat());
    let request = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    let (mut leader, mut follower) = (world.client("leader").await, world.client("follower").await);
    leader.send(request).await;
    gate.reached(1).await;
    follower.send(request).await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    drop(follower);
    world.until("nobody to follow", |c| c.followers_waiting.get() == 0).await;
    world.until("it to be counted", |c| c.requests_left.get() == 1).await;
    gate.open();
    assert_eq!(leader.reply(false).await.text(), "x");
}
