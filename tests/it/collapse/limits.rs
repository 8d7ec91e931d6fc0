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
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
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
