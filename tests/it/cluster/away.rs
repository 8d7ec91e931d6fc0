//! A node that was away knows what was purged before it serves.

use std::time::Duration;

use serde_json::json;

use super::{
    PAGE, Place, ask, foreign_tags, in_touch, out_of_touch, purge_tag, until_applied, until_reached,
};
use crate::harness::rabbit::shared;
use crate::harness::{Wire, World};
use crate::purge::journal::{Directory, end};
use crate::purge::{OWN, fill, left};

/// The settings of a node with a state directory.
fn with_state(place: &Place, name: &str, directory: &Directory) -> String {
    format!("{}state = {:?}\n", place.settings(name), directory.path())
}

#[tokio::test]
async fn with_a_state_directory_it_has_everything_that_it_missed_before_its_first_answer() {
    let directory = Directory::new("away");
    let place = Place::new(shared().await);
    let a = place.first("a").await;
    let b = a.beside(&with_state(&place, "b", &directory)).await;
    in_touch(&b).await;
    purge_tag(&a, "known").await;
    until_applied(&b, 1).await;
    end(b, &directory).await;
    for tag in ["x", "y", "z"] {
        purge_tag(&a, tag).await;
    }
    let b = a.beside(&with_state(&place, "b", &directory)).await;
    b.get("/a").await;
    assert_eq!(foreign_tags(&b).await, ["known", "x", "y", "z"]);
    assert_eq!(b.counters().cluster_applied.get(), 3, "what it knew is not applied again");
    end(b, &directory).await;
}

#[tokio::test]
async fn without_one_it_is_as_far_as_the_others_before_its_first_answer() {
    let place = Place::new(shared().await);
    let a = place.first("a").await;
    let (sequence, _) = purge_tag(&a, "x").await;
    until_reached(&a, sequence, 1).await;
    let wire = Wire::to(place.broker).await;
    wire.swallow();
    let b = a.beside(&place.through(wire.address()).settings("b")).await;
    let mut client = b.client("early").await;
    client.send(b"GET /a HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    let ready = b.operator().await.get_with("/readyz", &[OWN]).await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("catching up"), "{}", ready.text());
    wire.mend();
    client.reply(false).await;
    let position = ask(&b, "/v1/nodes").await["position"].as_u64().expect("a position");
    let purged_at = ask(&a, &format!("/v1/purges/{sequence}")).await["offset"].as_u64().expect("an offset");
    assert!(position > purged_at, "{position} > {purged_at}");
    assert_eq!(a.counters().cluster_duplicates.get(), 0);
}

#[tokio::test]
async fn what_it_missed_does_not_mean_what_it_asked_for_since() {
    let place = Place::new(shared().await);
    let wire = Wire::to(place.broker).await;
    let a = place.first("a").await;
    let b = place.through(wire.address()).beside(&a, "b").await;
    fill(&b, &PAGE, &[("Surrogate-Key", "news")]).await;
    wire.cut();
    out_of_touch(&b).await;
    purge_tag(&a, "news").await;
    assert_eq!(left(&b, &PAGE).await, [0], "nobody has told it");
    wire.mend();
    in_touch(&b).await;
    assert!(left(&b, &PAGE).await.is_empty());
    // What is read or told again does not kill what is newer.
    fill(&b, &PAGE, &[("Surrogate-Key", "news")]).await;
    let before = b.counters().cluster_applied.get();
    wire.cut();
    out_of_touch(&b).await;
    wire.mend();
    in_touch(&b).await;
    assert_eq!(left(&b, &PAGE).await, [0]);
    assert_eq!(b.counters().cluster_applied.get(), before);
}

#[tokio::test]
async fn what_it_accepted_while_it_was_alone_is_told_by_its_next_start() {
    let directory = Directory::new("untold");
    let place = Place::new(shared().await);
    let wire = Wire::to(place.broker).await;
    let a = place.first("a").await;
    fill(&a, &PAGE, &[("Surrogate-Key", "y")]).await;
    wire.cut();
    let cut_off = place.through(wire.address()).with("catch_up = \"0s\"");
    let b = a.beside(&with_state(&cut_off, "b", &directory)).await;
    for tag in ["x", "y", "z"] {
        let (_, answer) = purge_tag(&b, tag).await;
        assert_eq!((&answer["durable"], &answer["published"]), (&json!(true), &json!(false)), "{answer}");
    }
    end(b, &directory).await;
    wire.mend();
    let b = a.beside(&with_state(&cut_off, "b", &directory)).await;
    until_applied(&a, 3).await;
    assert_eq!(foreign_tags(&a).await, ["x", "y", "z"]);
    assert!(left(&a, &PAGE).await.is_empty());
    until_nothing_waits(&b).await;
    end(b, &directory).await;
    // And not once more by the one after that.
    let b = a.beside(&with_state(&place, "b", &directory)).await;
    in_touch(&b).await;
    purge_tag(&b, "last").await;
    until_applied(&a, 4).await;
    assert_eq!(a.counters().cluster_duplicates.get(), 0);
    end(b, &directory).await;
}

#[tokio::test]
async fn without_a_broker_it_serves_once_it_has_waited() {
    let nobody = Wire::to(shared().await).await;
    nobody.cut();
    let place = Place::new(nobody.address()).with("catch_up = \"100ms\"");
    let world = World::start(&place.settings("a")).await;
    let begun = std::time::Instant::now();
    fill(&world, &PAGE, &[("Surrogate-Key", "news")]).await;
    assert!(begun.elapsed() >= Duration::from_millis(50), "it has waited");
    assert_eq!(left(&world, &PAGE).await, [0]);
    let view = ask(&world, "/v1/nodes").await;
    assert_eq!(view["connected"], json!(false), "{view}");
    assert!(view["trouble"].is_string(), "{view}");
}

async fn until_nothing_waits(world: &World) {
    world.until("everything to be told", |counters| counters.cluster_outbox.get() == 0).await;
}
