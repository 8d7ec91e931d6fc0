//! A stream that has lost what a node has not read, or that is another one.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::json;

use super::{PAGE, Place, in_touch, out_of_touch, purge_tag, until_reached};
use crate::harness::rabbit::{self, shared};
use crate::harness::{Wire, World, breathe};
use crate::purge::journal::{Directory, end};
use crate::purge::{fill, left, post};

async fn channel(place: &Place) -> (Connection, Channel) {
    let url = rabbit::url(place.broker);
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("the broker");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

async fn delete(place: &Place) {
    let (_connection, channel) = channel(place).await;
    let name = format!("{}.purges", place.cluster);
    channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
}

/// Waits until a node has noticed that it has missed something.
async fn until_lost(world: &World, times: u64) {
    world.until("something to be missed", |counters| counters.cluster_lost.get() >= times).await;
}

/// Whether the page is fresh, stale or gone: by whether the origin is asked when it is not
/// there to answer.
async fn is_stale(world: &World) -> bool {
    let asked = world.origin.count("/a");
    world.get("/a").await;
    world.settled().await;
    world.origin.count("/a") > asked
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_made_anew_and_nothing_is_forgotten() {
    let place = Place::new(shared().await);
    let wire = Wire::to(place.broker).await;
    let a = place.first("a").await;
    let b = place.beside(&a, "b").await;
    let c = place.through(wire.address()).beside(&a, "c").await;
    for world in [&a, &b, &c] {
        fill(world, &PAGE, &[("Surrogate-Key", "news")]).await;
    }
    wire.cut();
    out_of_touch(&c).await;
    // c does not learn of it before the stream is gone.
    let (sequence, _) = purge_tag(&a, "news").await;
    until_reached(&a, sequence, 2).await;
    for world in [&a, &b] {
        fill(world, &PAGE, &[("Surrogate-Key", "news")]).await;
    }
    let applied = b.counters().cluster_applied.get();
    delete(&place).await;
    until_lost(&a, 1).await;
    until_lost(&b, 1).await;
    wire.mend();
    until_lost(&c, 1).await;
    until_reached(&a, sequence, 3).await;
    assert!(left(&c, &PAGE).await.is_empty(), "what the old stream had is told again");
    assert_eq!(b.counters().cluster_applied.get(), applied, "and not applied again where it was known");
    for world in [&a, &b] {
        in_touch(world).await;
        assert!(is_stale(world).await, "stale, and yet not gone");
    }
    in_touch(&c).await;
    let (sequence, answer) = purge_tag(&c, "sport").await;
    assert_eq!(answer["published"], json!(true), "{answer}");
    until_reached(&c, sequence, 3).await;
}

#[tokio::test]
async fn a_node_that_was_away_for_longer_than_the_stream_keeps_takes_everything_for_stale() {
    let place = Place::new(shared().await).with("keep_bytes = \"64KiB\"");
    let wire = Wire::to(place.broker).await;
    let a = place.first("a").await;
    let b = place.through(wire.address()).beside(&a, "b").await;
    fill(&b, &PAGE, &[("Surrogate-Key", "news")]).await;
    wire.cut();
    out_of_touch(&b).await;
    // This one is soon gone from the stream.
    purge_tag(&a, "news").await;
    outgrow(&a).await;
    wire.mend();
    until_lost(&b, 1).await;
    in_touch(&b).await;
    assert!(is_stale(&b).await);
    let (sequence, _) = purge_tag(&a, "later").await;
    until_reached(&a, sequence, 2).await;
}

#[tokio::test]
async fn a_node_that_starts_behind_what_the_stream_keeps_says_so() {
    let directory = Directory::new("behind");
    let place = Place::new(shared().await).with("keep_bytes = \"64KiB\"");
    let settings = format!("{}state = {:?}\n", place.settings("b"), directory.path());
    let a = place.first("a").await;
    let b = a.beside(&settings).await;
    in_touch(&b).await;
    end(b, &directory).await;
    outgrow(&a).await;
    let b = a.beside(&settings).await;
    in_touch(&b).await;
    assert_eq!(b.counters().cluster_lost.get(), 1);
    let (sequence, _) = purge_tag(&a, "later").await;
    until_reached(&a, sequence, 2).await;
    end(b, &directory).await;
}

/// Purges as much as the stream does not keep.
async fn outgrow(world: &World) {
    let tags: Vec<String> = (0..100).map(|n| format!("{n:0>100}")).collect();
    let before = world.counters().cluster_told.get();
    for _ in 0..60 {
        post(world, "/v1/purge", &json!({ "tags": tags })).await;
    }
    world.until("all of it to be told", |counters| counters.cluster_told.get() >= before + 60).await;
}

#[tokio::test]
async fn a_message_that_no_node_understands_makes_everything_stale() {
    let place = Place::new(shared().await);
    let [a, b] = place.two().await;
    let (_connection, channel) = channel(&place).await;
    let name = format!("{}.purges", place.cluster);
    let options = QueueDeclareOptions::durable().passive();
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.expect("it is there");
    let properties = lapin::BasicProperties::default();
    let sent = channel.basic_publish("".into(), name.as_str().into(), Default::default(), b"{}", properties);
    sent.await.expect("sent").await.expect("confirmed");
    for world in [&a, &b] {
        world.until("it to be noticed", |counters| counters.cluster_unread.get() == 1).await;
        // The counter is counted before what follows from it.
        let before = world.counters().cluster_position.get();
        let (sequence, _) = purge_tag(world, "sport").await;
        while world.counters().cluster_position.get() <= before {
            breathe().await;
        }
        until_reached(world, sequence, 2).await;
        assert!(is_stale(world).await);
    }
    assert_eq!((a.counters().cluster_links_lost.get(), b.counters().cluster_links_lost.get()), (0, 0));
}
