//! A broker that dies and comes back.

use serde_json::json;

use super::{PAGE, Place, foreign_tags, in_touch, out_of_touch, purge_tag, until_applied, until_reached};
use crate::harness::Rabbit;
use crate::harness::origin::ok;
use crate::purge::{OWN, left};

#[tokio::test]
async fn what_was_purged_while_the_broker_was_dead_is_told_later_in_order() {
    let mut rabbit = Rabbit::start().await;
    let [a, b] = Place::new(rabbit.address()).two().await;
    purge_tag(&a, "before").await;
    until_applied(&b, 1).await;
    rabbit.kill();
    out_of_touch(&a).await;
    out_of_touch(&b).await;
    let mut wanted = vec!["before".to_owned()];
    for n in 0..50 {
        let (_, answer) = purge_tag(&a, &n.to_string()).await;
        assert_eq!(answer["published"], json!(false), "{answer}");
        wanted.push(n.to_string());
    }
    let json = ("Content-Type", "application/json");
    let body = json!({ "tag": "news" }).to_string();
    let reply = a.operator().await.ask("POST", "/v1/purge", &[OWN, json], body.as_bytes()).await;
    wanted.push("news".to_owned());
    assert_eq!(reply.status, 202, "{}", reply.text());
    assert!(reply.text().contains("the other nodes learn of it later"), "{}", reply.text());
    assert!(left(&a, &PAGE).await.is_empty(), "here it holds");
    assert_eq!(left(&b, &PAGE).await, [0], "there it does not yet");
    // Clients of content management systems take anything but 2xx for a failure.
    let by_method = a.operator().await.ask("PURGE", "/other", &[], b"").await;
    assert_eq!(by_method.status, 202, "{}", by_method.text());
    wanted.push("none".to_owned());
    assert_eq!(b.get("/a").await.status, 200, "nobody waits for the broker");
    rabbit.restart().await;
    in_touch(&a).await;
    in_touch(&b).await;
    until_applied(&b, wanted.len() as u64).await;
    assert_eq!(foreign_tags(&b).await, wanted, "in order, and each once");
    assert!(left(&b, &PAGE).await.is_empty());
    let (sequence, answer) = purge_tag(&b, "after").await;
    assert_eq!(answer["published"], json!(true), "{answer}");
    until_reached(&b, sequence, 2).await;
}

#[tokio::test]
async fn a_broker_that_restarts_in_good_order_is_found_again() {
    let mut rabbit = Rabbit::start().await;
    let [a, b] = Place::new(rabbit.address()).two().await;
    rabbit.stop().await;
    out_of_touch(&a).await;
    out_of_touch(&b).await;
    rabbit.restart().await;
    in_touch(&a).await;
    in_touch(&b).await;
    assert_eq!(left(&b, &PAGE).await, [0], "nothing was lost, so everything stays");
    assert_eq!((a.counters().cluster_lost.get(), b.counters().cluster_lost.get()), (0, 0));
    a.origin.always("/a", ok("max-age=600", "new"));
    let (sequence, _) = purge_tag(&a, "news").await;
    until_reached(&a, sequence, 2).await;
    assert_eq!(b.get("/a").await.text(), "new");
}
