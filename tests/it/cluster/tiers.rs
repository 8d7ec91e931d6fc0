//! An edge and its shield in one cluster: what is purged reaches the shield before the edge
//! keeps anything from it again.

use serde_json::json;

use super::{Place, in_touch, purge_tag, until_applied};
use crate::harness::origin::response;
use crate::harness::rabbit::shared;
use crate::harness::{Wire, World, breathe};
use crate::purge::post;

const FIELD: &str = "forebay-read";

/// An edge, and its shield, whose wire to the broker is in the test's hand. The application
/// says of `/a` which answer it is.
async fn tiers(rules: &str) -> ([World; 2], Wire) {
    let place = Place::new(shared().await).with(rules);
    let wire = Wire::to(place.broker).await;
    let shield = place.through(wire.address()).first("shield").await;
    let edge = in_front(&shield, &place.settings("edge")).await;
    in_touch(&edge).await;
    for world in [&edge, &shield] {
        world.until("company", |counters| counters.cluster_nodes.get() == 2).await;
    }
    numbered(&shield);
    ([edge, shield], wire)
}

fn numbered(world: &World) {
    world.origin.on("/a", |_, count| {
        let fields = [("Cache-Control", "max-age=600"), ("Surrogate-Key", "news"), ("Forebay-Read", "{}")];
        response("200 OK", &fields, &count.to_string())
    });
}

async fn in_front(shield: &World, settings: &str) -> World {
    let url = format!("origin.url = \"http://{}\"\norigin.shield = true\n", shield.node.address());
    shield.beside(&format!("{url}{settings}")).await
}

/// What a client of the edge gets, when nothing is under way any more.
async fn get(tiers: &[World; 2]) -> (String, bool) {
    let reply = tiers[0].get("/a").await;
    assert_eq!(reply.status, 200, "{:?}", reply.fields);
    assert_eq!((reply.field(FIELD), reply.field("surrogate-key")), (None, None), "between the two");
    tiers[0].settled().await;
    tiers[1].settled().await;
    let own = reply.all("cache-status").pop().unwrap_or_default().to_owned();
    (reply.text().to_owned(), own.contains("edge; hit"))
}

fn older(world: &World) -> (u64, u64) {
    (world.counters().shield_behind.get(), world.counters().shield_silent.get())
}

#[tokio::test]
async fn a_shield_that_has_not_read_a_purge_does_not_undo_it() {
    let (tiers, wire) = tiers("").await;
    assert_eq!(get(&tiers).await, ("1".to_owned(), false));
    assert_eq!(get(&tiers).await, ("1".to_owned(), true));
    assert_eq!(older(&tiers[0]), (0, 0));
    wire.swallow();
    let (_, answer) = purge_tag(&tiers[0], "news").await;
    assert_eq!(answer["purged"], 1, "the shield has told the tags: {answer}");
    for times in 1..=2 {
        assert_eq!(get(&tiers).await, ("1".to_owned(), false), "it is delivered, and not kept");
        assert_eq!(older(&tiers[0]), (times, 0));
    }
    wire.mend();
    until_applied(&tiers[1], 1).await;
    assert_eq!(get(&tiers).await, ("2".to_owned(), false));
    assert_eq!(get(&tiers).await, ("2".to_owned(), true));
    assert_eq!((older(&tiers[0]), tiers[1].origin.count("/a")), ((2, 0), 2));
    assert!(tiers[1].origin.requests().iter().all(|seen| seen.field(FIELD).is_none()));
}

#[tokio::test]
async fn a_purge_reaches_the_shield_before_the_edge_asks_it() {
    let (tiers, _) = tiers("").await;
    let mut at_once = 0;
    for round in 1..=20_u64 {
        let new = round.to_string();
        let mut got = get(&tiers).await;
        at_once += u64::from(got.0 == new);
        // A machine that is very busy may hold up the shield for longer than it waits.
        while got.0 != new {
            assert!(!got.1, "what was purged is never kept: {got:?}");
            got = get(&tiers).await;
        }
        assert_eq!(get(&tiers).await, (new, true));
        let before = tiers[0].counters().cluster_position.get();
        purge_tag(&tiers[0], "news").await;
        // The edge has read it back, and says so to the shield.
        tiers[0].until("read back", |counters| counters.cluster_position.get() > before).await;
    }
    assert!(at_once >= 10, "the shield waits for what the edge has read: {at_once}");
    assert_eq!(older(&tiers[0]).1, 0);
}

#[tokio::test]
async fn what_is_only_stale_at_the_shield_is_not_fresh_at_the_edge() {
    let (tiers, _) = tiers("[rules]\ngrace = \"1h\"").await;
    assert_eq!(get(&tiers).await, ("1".to_owned(), false));
    let soft = json!({ "tag": "news", "soft": true });
    post(&tiers[0], "/v1/purge", &soft).await;
    until_applied(&tiers[1], 1).await;
    let wait = async {
        while get(&tiers).await.0 != "2" {
            breathe().await;
        }
    };
    tiers[0].transcript.within("the new one", wait).await;
    assert_eq!(tiers[1].origin.count("/a"), 2);
}

#[tokio::test]
async fn what_the_shield_has_stored_the_edge_keeps_as_well() {
    let (tiers, _) = tiers("").await;
    purge_tag(&tiers[0], "sport").await;
    until_applied(&tiers[1], 1).await;
    assert_eq!(tiers[1].get("/a").await.text(), "1");
    tiers[1].settled().await;
    assert_eq!(get(&tiers).await, ("1".to_owned(), false));
    assert_eq!(tiers[1].counters().requests_hit.get(), 1);
    assert_eq!(get(&tiers).await, ("1".to_owned(), true));
    assert_eq!(older(&tiers[0]), (0, 0));
}

#[tokio::test]
async fn nobody_else_is_told() {
    let (tiers, _) = tiers("").await;
    let stranger = r#"{"epoch":"0123456789abcdef","offset":1,"id":"m"}"#;
    for asked in ["", "{", "[]", "\"", stranger] {
        let reply = tiers[1].get_with("/a", &[("Forebay-Read", asked)]).await;
        assert_eq!((reply.status, reply.text()), (200, "1"), "{asked}");
        assert_eq!((reply.field(FIELD), reply.field("surrogate-key")), (None, None), "{asked}");
        tiers[1].settled().await;
    }
    assert_eq!(tiers[1].origin.requests()[0].field(FIELD), None);
}

#[tokio::test]
async fn a_shield_that_says_nothing_is_asked_each_time() {
    let place = Place::new(shared().await);
    let alone = World::start("[rules]\nstrip_tags = false").await;
    numbered(&alone);
    let edge = in_front(&alone, &place.settings("edge")).await;
    in_touch(&edge).await;
    let tiers = [edge, alone];
    // It may have missed all that this edge may have missed before it came into touch.
    for _ in 0..3 {
        assert_eq!(get(&tiers).await, ("1".to_owned(), false));
    }
    assert_eq!((older(&tiers[0]), tiers[1].origin.count("/a")), ((0, 3), 1));
}

#[tokio::test]
async fn a_write_by_one_shield_is_not_undone_by_what_another_one_has_kept() {
    let place = Place::new(shared().await);
    let one = place.first("one").await;
    let two = place.beside(&one, "two").await;
    let urls = [&one, &two].map(|shield| format!("\"http://{}\"", shield.node.address())).join(", ");
    let own = place.settings("edge");
    let edge = one.beside(&format!("origin.url = [{urls}]\norigin.shield = true\n{own}")).await;
    in_touch(&edge).await;
    for world in [&edge, &one, &two] {
        world.until("company", |counters| counters.cluster_nodes.get() == 3).await;
    }
    numbered(&one);
    one.origin
        .on("/form", |_, _| response("303 See Other", &[("Location", "/a"), ("Content-Length", "0")], ""));
    for (shield, page) in [(&one, "1"), (&two, "2")] {
        assert_eq!(shield.get("/a").await.text(), page, "each has a page of its own");
        shield.settled().await;
    }
    // The servers take turns: this one goes by the first shield, and what comes next by the second.
    let reply = edge.client("writer").await.ask("POST", "/form", &[], b"new").await;
    assert_eq!(reply.status, 303);
    edge.settled().await;
    let mut got = Vec::new();
    for _ in 0..3 {
        let reply = edge.get("/a").await;
        edge.settled().await;
        let own = reply.all("cache-status").pop().unwrap_or_default().to_owned();
        got.push((reply.text().to_owned(), own.contains("edge; hit")));
    }
    let wanted = [("2", false), ("3", false), ("3", true)].map(|(page, hit)| (page.to_owned(), hit));
    assert_eq!(got, wanted, "what was before the write is not kept; what was asked for after it is");
    assert_eq!(older(&edge), (1, 0));
}
