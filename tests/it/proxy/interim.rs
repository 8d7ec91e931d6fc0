//! Interim responses (RFC 9110 15.2): passed on in time, and never part of anything else.

use crate::harness::origin::{Gate, Step, ok, raw};
use crate::harness::{Origin, Transcript, World, breathe};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nx-hint: one\r\n\r\n";
const PROCESSING: &str = "HTTP/1.1 102 Processing\r\nx-progress: half\r\n\r\n";

/// What the origin answers: these interim responses, and after the gate the final one.
fn script(interim: &[&str], gate: &Gate, cache_control: &str) -> Vec<Step> {
    let mut script: Vec<Step> = interim.iter().map(|bytes| raw(bytes)).collect();
    script.push(Step::Wait(gate.clone()));
    script.extend(ok(cache_control, "whole"));
    script
}

#[tokio::test]
async fn they_come_before_the_final_response_and_in_order() {
    for (cache_control, path) in [("max-age=60", "/stored"), ("no-store", "/passed")] {
        let world = World::start("").await;
        let gate = Gate::default();
        world.origin.always(path, script(&[HINT, PROCESSING], &gate, cache_control));
        let mut client = world.client("client").await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: www.example.org\r\n\r\n").as_bytes()).await;

        let hint = client.head().await;
        assert_eq!((hint.status, hint.field("link")), (103, Some("</style.css>; rel=preload")));
        let processing = client.head().await;
        assert_eq!((processing.status, processing.field("x-progress")), (102, Some("half")));
        // All of that while the origin has not yet answered.
        gate.open();

        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.text()), (200, "whole"));
        assert_eq!((reply.field("x-hint"), reply.field("x-progress")), (None, None));
        assert_eq!(world.counters().interim_forwarded.get(), 2);
    }
}

#[tokio::test]
async fn they_are_not_stored() {
    let world = World::start("").await;
    let gate = Gate::default();
    gate.open();
    world.origin.always("/", script(&[HINT], &gate, "max-age=60"));
    let mut client = world.client("client").await;
    client.send(b"GET / HTTP/1.1\r\nhost: www.example.org\r\n\r\n").await;
    assert_eq!(client.head().await.status, 103);
    assert_eq!(client.reply(false).await.status, 200);

    let again = client.get("/").await;
    assert!(again.is_hit());
    assert_eq!((again.status, again.field("link"), again.field("x-hint")), (200, None, None));
    assert_eq!(world.origin.count("/"), 1);
}

#[tokio::test]
async fn unsafe_requests_and_those_with_a_body_get_them_too() {
    let world = World::start("").await;
    let gate = Gate::default();
    world.origin.always("/", script(&[PROCESSING], &gate, "no-store"));
    let mut client = world.client("client").await;
    client.send(b"POST / HTTP/1.1\r\nhost: www.example.org\r\ncontent-length: 4\r\n\r\nbody").await;
    assert_eq!(client.head().await.status, 102);
    gate.open();
    assert_eq!(client.reply(false).await.status, 200);
}

/// They may be about its own client alone, which only the final response tells.
#[tokio::test]
async fn whoever_shares_a_fetch_gets_none_of_them() {
    let world = World::start("").await;
    let gate = Gate::default();
    world.origin.always("/", script(&[HINT], &gate, "max-age=60"));
    let ask = b"GET / HTTP/1.1\r\nhost: www.example.org\r\n\r\n";
    let mut leader = world.client("leader").await;
    leader.send(ask).await;
    assert_eq!(leader.head().await.status, 103);
    let mut follower = world.client("follower").await;
    follower.send(ask).await;
    world.until("it waits", |counters| counters.followers_waiting.get() == 1).await;
    gate.open();
    assert_eq!(leader.reply(false).await.text(), "whole");
    let reply = follower.reply(false).await;
    assert_eq!((reply.status, reply.text()), (200, "whole"));
    assert_eq!(world.origin.count("/"), 1);
}

#[tokio::test]
async fn http_1_0_has_none_of_them() {
    let world = World::start("").await;
    let gate = Gate::default();
    gate.open();
    world.origin.always("/", script(&[HINT, PROCESSING], &gate, "no-store"));
    let mut client = world.client("client").await;
    client.send(b"GET / HTTP/1.0\r\nhost: www.example.org\r\n\r\n").await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.text()), (200, "whole"));
}

#[tokio::test]
async fn what_is_between_two_neighbours_stays_there() {
    let world = World::start("").await;
    let gate = Gate::default();
    gate.open();
    // 100 is for whoever asked for it; framing and hop-by-hop fields have no place in it.
    let odd =
        "HTTP/1.1 199 Odd\r\nconnection: x-mine\r\nx-mine: 1\r\ncontent-length: 7\r\nx-yours: 2\r\n\r\n";
    world.origin.always("/", script(&["HTTP/1.1 100 Continue\r\n\r\n", odd], &gate, "no-store"));
    let mut client = world.client("client").await;
    client.send(b"GET / HTTP/1.1\r\nhost: www.example.org\r\n\r\n").await;
    let interim = client.head().await;
    assert_eq!((interim.status, interim.field("x-yours")), (199, Some("2")));
    for gone in ["connection", "x-mine", "content-length", "via", "cache-status"] {
        assert_eq!(interim.field(gone), None, "{gone}");
    }
    assert_eq!(client.reply(false).await.status, 200);
}

#[tokio::test]
async fn an_origin_that_does_not_stop_is_not_followed() {
    let world = World::start("").await;
    let gate = Gate::default();
    gate.open();
    world.origin.always("/", script(&[HINT; 100], &gate, "max-age=60"));
    let mut client = world.client("client").await;
    client.send(b"GET / HTTP/1.1\r\nhost: www.example.org\r\n\r\n").await;
    let mut interim = 0;
    loop {
        let head = client.head().await;
        if head.status == 200 {
            break;
        }
        assert_eq!(head.status, 103);
        interim += 1;
    }
    assert_eq!(interim, 16);
    assert_eq!(world.counters().interim_dropped.get(), 84);
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_nothing_more() {
    let world = World::start("").await;
    let gate = Gate::default();
    world.origin.always("/", script(&[HINT], &gate, "max-age=60"));
    let mut client = world.client("gone").await;
    client.send(b"GET / HTTP/1.1\r\nhost: www.example.org\r\n\r\n").await;
    world.origin.wait_for("/", 1).await;
    drop(client);
    gate.open();
    world.until("it is stored all the same", |counters| counters.flights_open.get() == 0).await;
    breathe().await;
    assert!(world.get("/").await.is_hit());
}

/// An interim response is not the first byte of the response: a dead connection is replaced.
#[tokio::test]
async fn a_connection_that_dies_after_one_is_a_failure() {
    let origin = Origin::start(Transcript::default()).await;
    origin.always("/", vec![raw(HINT), Step::Close]);
    let world = World::again(origin, "").await;
    let mut client = world.client("client").await;
    client.send(b"GET / HTTP/1.1\r\nhost: www.example.org\r\n\r\n").await;
    assert_eq!(client.head().await.status, 103);
    let mut reply = client.head().await;
    // Another attempt may have brought it once more.
    while reply.status == 103 {
        reply = client.head().await;
    }
    assert_eq!(reply.status, 502);
}
