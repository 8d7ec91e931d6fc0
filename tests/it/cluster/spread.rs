//! What one node accepts holds on the others from the moment that they are listed.

use serde_json::json;

use super::{PAGE, Place, ask, foreign_tags, purge_tag, until_applied, until_reached};
use crate::harness::origin::{Gate, Step, ok, response};
use crate::harness::rabbit::shared;
use crate::purge::{fill, left, post};

const PAGES: [(&str, &str); 2] = [PAGE[0], ("www.example.org", "/b")];

#[tokio::test]
async fn a_purge_on_one_node_holds_on_all_as_soon_as_they_are_listed() {
    let nodes = Place::new(shared().await).three().await;
    for world in &nodes {
        fill(world, &PAGES[1..], &[("Surrogate-Key", "sport")]).await;
        assert_eq!(left(world, &PAGES).await, [0, 1]);
    }
    let (sequence, answer) = purge_tag(&nodes[0], "news").await;
    assert_eq!((&answer["purged"], &answer["published"]), (&json!(1), &json!(true)), "{answer}");
    assert_eq!(left(&nodes[0], &PAGES).await, [1], "it holds here from the answer on");
    until_reached(&nodes[0], sequence, 3).await;
    for world in &nodes[1..] {
        assert_eq!(left(world, &PAGES).await, [1], "and there as soon as they are listed");
    }
    let own = ask(&nodes[0], &format!("/v1/purges/{sequence}")).await;
    let there = &ask(&nodes[1], "/v1/purges").await["purges"][0];
    assert_eq!((&there["identity"], &there["own"]), (&own["identity"], &json!(false)), "{there}");
    assert_eq!(there["offset"], own["offset"]);
}

#[tokio::test]
async fn every_kind_travels_hard_and_soft() {
    let [a, b] = Place::new(shared().await).two().await;
    let kinds = [
        json!({ "url": "http://www.example.org/a" }),
        json!({ "prefix": "http://www.example.org/" }),
        json!({ "host": "www.example.org" }),
        json!({ "site": "*" }),
        json!({ "ban": "req.url == /a && obj.status == 200" }),
        json!({ "all": true }),
    ];
    for kind in kinds {
        for soft in [true, false] {
            fill(&b, &PAGE, &[]).await;
            let asked = b.origin.count("/a");
            let mut body = kind.clone();
            body["soft"] = json!(soft);
            let answer = post(&a, "/v1/purge", &body).await;
            until_reached(&a, answer["sequence"].as_u64().expect("a number"), 2).await;
            if !soft {
                assert!(left(&b, &PAGE).await.is_empty(), "{kind}");
            }
            // What is stale only is asked for anew, as is what is gone.
            b.get("/a").await;
            b.settled().await;
            assert_eq!(b.origin.count("/a"), asked + 1, "{kind} soft: {soft}");
        }
    }
}

#[tokio::test]
async fn what_another_node_purges_while_a_response_is_on_its_way_is_not_stored() {
    let [a, b] = Place::new(shared().await).two().await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(response("200 OK", &[("Cache-Control", "max-age=600"), ("Surrogate-Key", "late")], "old"));
    a.origin.always("/late", script);
    let mut client = b.client("early").await;
    client.send(b"GET /late HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    gate.reached(1).await;
    let (sequence, _) = purge_tag(&a, "late").await;
    until_reached(&a, sequence, 2).await;
    a.origin.always("/late", ok("max-age=600", "new"));
    gate.open();
    assert_eq!(client.reply(false).await.text(), "old", "who asked before the purge may have it");
    b.settled().await;
    assert_eq!(b.get("/late").await.text(), "new");
    assert_eq!(b.counters().store_fenced.get(), 1);
}

#[tokio::test]
async fn purges_of_several_nodes_are_applied_in_one_order_everywhere() {
    let nodes = Place::new(shared().await).three().await;
    let many = 20;
    let purges = nodes.iter().enumerate().map(|(node, world)| async move {
        for n in 0..many {
            purge_tag(world, &format!("{node}-{n}")).await;
        }
    });
    futures_util::future::join_all(purges).await;
    for (node, world) in nodes.iter().enumerate() {
        until_applied(world, 2 * many).await;
        let tags = foreign_tags(world).await;
        assert_eq!(tags.len() as u64, 2 * many, "each once");
        for other in (0..3).filter(|other| *other != node) {
            let of_other: Vec<&String> =
                tags.iter().filter(|tag| tag.starts_with(&format!("{other}-"))).collect();
            let wanted: Vec<String> = (0..many).map(|n| format!("{other}-{n}")).collect();
            assert_eq!(of_other, wanted.iter().collect::<Vec<_>>(), "in the order of acceptance");
        }
    }
}

#[tokio::test]
async fn nodes_know_of_each_other_and_of_who_has_left() {
    let [a, b] = Place::new(shared().await).two().await;
    let view = ask(&a, "/v1/nodes").await;
    let nodes = view["nodes"].as_array().expect("a list");
    let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!(names, ["a", "b"], "{view}");
    assert_eq!(nodes[0]["node"], view["node"]);
    let admins: Vec<&str> = nodes.iter().filter_map(|node| node["admin"].as_str()).collect();
    assert_eq!(admins, [a.node.admin_address().to_string(), b.node.admin_address().to_string()]);
    assert!(nodes.iter().all(|node| node["live"] == json!(true) && node["same_stream"] == json!(true)));
    b.node.drain().await;
    a.until("one node", |counters| counters.cluster_nodes.get() == 1).await;
    let (sequence, _) = purge_tag(&a, "news").await;
    let shown = ask(&a, &format!("/v1/purges/{sequence}")).await;
    assert_eq!(shown["waiting_for"], json!([]), "nobody waits for who has left: {shown}");
}
