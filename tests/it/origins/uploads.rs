//! Requests with content: slow clients do not hold an origin's places, and deadlines hold.

use std::time::{Duration, Instant};

use crate::harness::origin::{Gate, Step, ok};
use crate::harness::{Client, World};

const HALF: &[u8] = b"POST /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 4\r\n\r\nab";

async fn upload(world: &World, name: &str) -> Client {
    let mut client = world.client(name).await;
    client.send(HALF).await;
    client
}

#[tokio::test]
async fn those_that_send_slowly_hold_no_more_than_their_part_of_the_places() {
    let world = World::start("origin.max_requests = 4\norigin.line_wait = \"100ms\"").await;
    world.origin.otherwise(|_, _| ok("no-store", "done"));
    let mut slow = [upload(&world, "one").await, upload(&world, "two").await];
    world.until("both have a place", |counters| counters.origin_requests.get() == 2).await;

    let mut third = upload(&world, "three").await;
    let refused = third.head().await;
    assert_eq!((refused.status, refused.field("retry-after").is_some()), (503, true));
    assert_eq!(world.counters().origin_refused_overdue.get(), 1);
    // Everybody else has the other half.
    for path in ["/a", "/b", "/c"] {
        assert_eq!(world.get(path).await.text(), "done");
    }

    slow[0].send(b"cd").await;
    assert_eq!(slow[0].reply(false).await.status, 200);
    let mut fourth = upload(&world, "four").await;
    fourth.send(b"cd").await;
    assert_eq!(fourth.reply(false).await.status, 200);
}

/// What is still to be sent counts, and not what has been sent and waits for its answer.
#[tokio::test]
async fn content_that_was_sent_is_no_upload_any_more() {
    let world = World::start("origin.max_requests = 4\norigin.line_wait = \"5s\"").await;
    let gate = Gate::default();
    let held = gate.clone();
    world.origin.otherwise(move |_, _| [vec![Step::Wait(held.clone())], ok("no-store", "done")].concat());
    let mut clients = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let mut client = world.client(name).await;
        client.send(HALF).await;
        client.send(b"cd").await;
        clients.push(client);
    }
    gate.reached(4).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply(false).await.status, 200);
    }
}

#[tokio::test]
async fn the_whole_time_is_over_for_whoever_has_sent_content_too() {
    let settings = "origin.first_byte_timeout = \"60s\"\norigin.total_timeout = \"200ms\"";
    let world = World::start(settings).await;
    world.origin.otherwise(|_, _| vec![Step::Wait(Gate::default())]);
    let began = Instant::now();
    let reply = world.client("client").await.ask("POST", "/", &[], b"content").await;
    assert_eq!(reply.status, 504);
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(world.counters().origin_timeout_first_byte.get(), 1);
}
