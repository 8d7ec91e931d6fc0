//! A reload changes the rules and keeps the cache; a drain loses no request.

use forebay::config::{self, Flags};

use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok, raw};

#[tokio::test]
async fn a_reload_keeps_the_cache_and_applies_the_new_rules() {
    let world = World::start("").await;
    world.origin.always("/a", ok("max-age=60", "a"));
    world.get("/a").await;
    world.settled().await;
    let reload = |settings: &str| {
        let text = World::config_text(&world.origin, settings);
        world.node.reload(config::read("test", &text, &Flags::default()).expect("good"))
    };
    assert_eq!(reload("[rules]\ngrace = \"5s\""), Vec::<String>::new());
    assert!(world.get("/a").await.is_hit());
    reload("[rules]\ncache = false");
    assert_eq!(world.get("/a").await.cache_status(), "fwd=bypass");
    let notes = reload("[store]\nmemory = \"64MiB\"");
    assert!(notes.iter().any(|note| note.contains("store.memory")), "{notes:?}");
    assert!(world.get("/a").await.is_hit());
    assert_eq!(world.counters().reloads.get(), 3);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let world = World::start("").await;
    let gate = Gate::default();
    let head = raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n");
    world.origin.always("/slow", vec![head, raw("first"), Step::Wait(gate.clone()), raw("again")]);
    let mut idle = world.client("idle").await;
    world.origin.always("/a", ok("max-age=60", "a"));
    idle.get("/a").await;
    let mut client = world.client("client").await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    client.head().await;
    let address = world.node.address();
    let transcript = world.transcript.clone();
    let counters = world.node.counters().clone();
    let draining = tokio::spawn(world.node.drain());
    assert!(idle.is_closed().await, "an idle connection is closed at once");
    while counters.client_connections_open.get() > 1 {
        crate::harness::breathe().await;
    }
    let closing = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            crate::harness::breathe().await;
        }
    };
    transcript.within("nobody to listen any more", closing).await;
    gate.open();
    assert_eq!(client.bytes(10).await, b"firstagain");
    draining.await.expect("drained");
}
