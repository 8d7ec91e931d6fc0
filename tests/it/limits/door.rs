//! Who gets a connection, and who keeps it when there are hardly any left.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::harness::origin::ok;
use crate::harness::{Client, World};

/// A connection from another address of this machine.
async fn from(world: &World, last: u8) -> Client {
    let address = IpAddr::from([127, 0, 0, last]);
    let name = format!("client at {address}");
    Client::connect_from(address, world.node.address(), world.transcript.clone(), &name).await
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let world = World::start("listen.max_connections_per_address = 2").await;
    world.origin.always("/a", ok("max-age=60", "content"));
    let (mut first, mut second) = (world.client("first").await, world.client("second").await);
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/a").await.status, 200);
    }
    assert!(world.client("third").await.is_closed().await);
    let counters = world.counters();
    assert_eq!(
        (counters.client_connections_refused_address.get(), counters.client_connections_refused.get()),
        (1, 0)
    );
    assert!(first.get("/a").await.is_hit());
    assert!(from(&world, 2).await.get("/a").await.is_hit(), "another address has its own");
    drop(second);
    world.until("its place to be free", |c| c.client_connections_open.get() == 1).await;
    assert!(world.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_trusted_proxy_has_as_many_as_it_needs() {
    let world =
        World::start("listen.max_connections_per_address = 1\nlisten.trusted_proxies = [\"127.0.0.1\"]")
            .await;
    world.origin.always("/a", ok("max-age=60", "content"));
    let mut clients = Vec::new();
    for n in 0..5 {
        let mut client = world.client(&format!("proxy {n}")).await;
        assert_eq!(client.get("/a").await.status, 200);
        clients.push(client);
    }
    let mut other = from(&world, 2).await;
    assert!(other.get("/a").await.is_hit());
    assert!(from(&world, 2).await.is_closed().await);
}

#[tokio::test]
async fn the_limit_of_an_address_can_be_off() {
    let world = World::start("listen.max_connections_per_address = \"off\"").await;
    let mut clients = Vec::new();
    for n in 0..20 {
        let mut client = world.client(&format!("client {n}")).await;
        assert_eq!(client.get("/").await.status, 404);
        clients.push(client);
    }
}

#[tokio::test]
async fn whoever_is_idle_makes_room_when_it_is_crowded() {
    let world = World::start("listen.max_connections = 10\nlisten.idle_timeout = \"3s\"").await;
    world.origin.always("/a", ok("max-age=60", "content"));
    let mut clients = Vec::new();
    for n in 0..9 {
        clients.push(world.client(&format!("idle {n}")).await);
    }
    world.until("them to be there", |c| c.client_connections_open.get() == 9).await;
    let began = Instant::now();
    let last = world.client("one more").await;
    world.until("one to make room", |c| c.client_timeout_crowded.get() > 0).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    world.until("its place to be free", |c| c.client_connections_open.get() < 10).await;
    assert_eq!(world.counters().client_timeout_idle.get(), 0);
    assert_eq!(world.get("/a").await.status, 200);
    drop((clients, last));
}

#[tokio::test]
async fn where_there_is_room_whoever_is_idle_has_the_whole_time() {
    let world = World::start("listen.max_connections = 10\nlisten.idle_timeout = \"400ms\"").await;
    let began = Instant::now();
    let mut client = world.client("idle").await;
    assert!(client.is_closed().await);
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    let counters = world.counters();
    assert_eq!((counters.client_timeout_idle.get(), counters.client_timeout_crowded.get()), (1, 0));
}
