//! Tags and cache groups: exact, and heeded wherever a response is on its way.

use serde_json::json;

use super::{OWN, fill, left, post};
use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok, raw, response};

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";

#[tokio::test]
async fn every_convention_is_read_and_kept_from_clients() {
    for field in [
        "Surrogate-Key",
        "xkey",
        "Cache-Tag",
        "Cache-Tags",
        "X-Cache-Tags",
        "Edge-Cache-Tag",
        "X-Magento-Tags",
    ] {
        let world = World::start("").await;
        world
            .origin
            .always("/x", response("200 OK", &[("Cache-Control", "max-age=60"), (field, "a,b c")], "x"));
        for _ in 0..2 {
            assert_eq!(world.get("/x").await.field(&field.to_ascii_lowercase()), None, "{field}");
            world.settled().await;
        }
        for (tag, count) in [("", 0), ("ab", 0), ("a b", 0), ("A", 0), ("c", 1), ("c", 0)] {
            let told = post(&world, "/v1/purge", &json!({ "tag": tag })).await;
            assert_eq!(told["purged"], json!(count), "{field} {tag:?}");
        }
        assert!(!world.get("/x").await.is_hit(), "{field}");
    }
}

#[tokio::test]
async fn tags_reach_clients_where_that_is_wanted_and_only_named_fields_are_tags() {
    let world = World::start("[rules]\ntag_fields = [\"x-labels\"]\nstrip_tags = false").await;
    let fields = [("Cache-Control", "max-age=60"), ("X-Labels", "a"), ("Surrogate-Key", "b")];
    world.origin.always("/x", response("200 OK", &fields, "x"));
    let reply = world.get("/x").await;
    assert_eq!((reply.field("x-labels"), reply.field("surrogate-key")), (Some("a"), Some("b")));
    world.settled().await;
    assert_eq!(post(&world, "/v1/purge", &json!({ "tag": "b" })).await["purged"], json!(0));
    assert_eq!(post(&world, "/v1/purge", &json!({ "tags": ["a", "b"] })).await["purged"], json!(1));
}

#[tokio::test]
async fn tags_of_what_is_not_stored_are_kept_from_clients_as_well() {
    let world = World::start("").await;
    world.origin.always("/x", response("200 OK", &[("Cache-Control", "no-store"), ("xkey", "a")], "x"));
    assert_eq!(world.get("/x").await.field("xkey"), None);
    assert_eq!(world.client("c").await.ask("POST", "/x", &[], b"x").await.field("xkey"), None);
}

#[tokio::test]
async fn a_response_with_more_tags_than_can_be_kept_is_not_stored() {
    let world = World::start("").await;
    let tags = vec!["1234567"; 9000].join(" ");
    world.origin.always("/x", response("200 OK", &[("Cache-Control", "max-age=60"), ("xkey", &tags)], "x"));
    let reply = world.get("/x").await;
    assert_eq!((reply.status, reply.cache_status()), (200, "fwd=uri-miss; detail=tags"));
    world.settled().await;
    assert_eq!((world.counters().store_inserted.get(), world.counters().store_untagged.get()), (0, 1));
}

#[tokio::test]
async fn nothing_is_left_of_tags_whose_responses_are_gone() {
    let world = World::start("").await;
    world.origin.on("/x", |_, n| {
        let tags = format!("all, only-{n}");
        response("200 OK", &[("Cache-Control", "max-age=60"), ("Cache-Tag", &tags)], "x")
    });
    for _ in 0..3 {
        world.get("/x").await;
        world.settled().await;
        assert_eq!(post(&world, "/v1/purge", &json!({ "tag": "all" })).await["purged"], json!(1));
    }
    world.until("the lurker to drop it", |c| c.lurker_passes.get() > 0).await;
    world.get("/y").await;
    let stats = || async { world.operator().await.get_with("/v1/stats", &[OWN]).await.text().to_owned() };
    let gone = async {
        while !stats().await.contains("\"forebay_store_tags\":0") {
            tokio::task::yield_now().await;
        }
    };
    world.transcript.within("no tag to be left", gone).await;
}

#[tokio::test]
async fn a_tag_purge_fences_what_is_on_its_way() {
    let world = World::start("").await;
    let (head, body) = (Gate::default(), Gate::default());
    let (at_head, at_body) = (head.clone(), body.clone());
    world.origin.on("/x", move |_, n| {
        let start =
            raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nxkey: news\r\nContent-Length: 1\r\n\r\n");
        if n == 1 {
            vec![Step::Wait(at_head.clone()), start, Step::Wait(at_body.clone()), raw("1")]
        } else {
            vec![start, raw(&n.to_string())]
        }
    });
    let mut leader = world.client("leader").await;
    leader.send(REQUEST).await;
    head.reached(1).await;
    // Nobody knows yet that the response has this tag.
    assert_eq!(post(&world, "/v1/purge", &json!({ "tag": "news" })).await["purged"], json!(0));
    let mut follower = world.client("follower").await;
    follower.send(REQUEST).await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    head.open();
    assert_eq!(leader.head().await.status, 200);
    // The head shows the tag: who came after the purge does not get this response.
    assert_eq!(follower.reply(false).await.text(), "2");
    assert_eq!(world.get("/x").await.text(), "2");
    body.open();
    assert_eq!(leader.bytes(1).await, b"1", "it asked before the purge");
    world.settled().await;
    assert_eq!(world.counters().store_fenced.get(), 1);
    let hit = world.get("/x").await;
    assert_eq!((hit.text(), hit.is_hit()), ("2", true));
}

#[tokio::test]
async fn a_tag_purge_fences_a_validation() {
    let world = World::start("").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |seen, n| {
        if seen.field("if-none-match").is_some() {
            let head = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\n\r\n";
            return vec![Step::Wait(at.clone()), raw(head)];
        }
        let fields = [("Cache-Control", "max-age=5, must-revalidate"), ("ETag", "\"a\""), ("xkey", "news")];
        response("200 OK", &fields, &n.to_string())
    });
    world.get("/x").await;
    world.settled().await;
    world.advance(std::time::Duration::from_secs(10));
    let mut before = world.client("before").await;
    before.send(REQUEST).await;
    gate.reached(1).await;
    assert_eq!(post(&world, "/v1/purge", &json!({ "tag": "news" })).await["purged"], json!(1));
    gate.open();
    assert_eq!(before.reply(false).await.text(), "1");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "3");
}

#[tokio::test]
async fn a_group_belongs_to_its_origin_and_travels_on() {
    let world = World::start("").await;
    let places = [("a.example", "/x"), ("a.example", "/y"), ("b.example", "/x")];
    fill(&world, &places, &[("Cache-Groups", "\"scripts\", \"all\"")]).await;
    let reply = world.get_with("/x", &[("Host", "a.example")]).await;
    assert_eq!(reply.field("cache-groups"), Some("\"scripts\", \"all\""));
    // A safe method's answer invalidates nothing, whatever it says.
    world.origin.always("/g", response("200 OK", &[("Cache-Group-Invalidation", "\"scripts\"")], "x"));
    world.get_with("/g", &[("Host", "a.example")]).await;
    world.client("c").await.ask("HEAD", "/g", &[("Host", "a.example")], b"").await;
    assert_eq!(left(&world, &places).await, [0, 1, 2]);
    // Nor does an error's.
    world.origin.always("/e", response("500 No", &[("Cache-Group-Invalidation", "\"scripts\"")], "x"));
    world.client("c").await.ask("POST", "/e", &[("Host", "a.example")], b"x").await;
    assert_eq!(left(&world, &places).await, [0, 1, 2]);
    world.client("c").await.ask("POST", "/g", &[("Host", "a.example")], b"x").await;
    assert_eq!(left(&world, &places).await, [2]);
}

#[tokio::test]
async fn a_group_invalidation_fences_what_is_on_its_way() {
    let world = World::start("").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| {
        let wait = if n == 1 { vec![Step::Wait(at.clone())] } else { vec![] };
        let fields = [("Cache-Control", "max-age=60"), ("Cache-Groups", "\"g\"")];
        [wait, response("200 OK", &fields, &n.to_string())].concat()
    });
    world.origin.always("/done", response("200 OK", &[("Cache-Group-Invalidation", "\"g\"")], "x"));
    let mut before = world.client("before").await;
    before.send(REQUEST).await;
    gate.reached(1).await;
    world.client("c").await.ask("POST", "/done", &[], b"x").await;
    gate.open();
    assert_eq!(before.reply(false).await.text(), "1");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "2");
}

#[tokio::test]
async fn patterns_and_everything_fence_what_is_on_its_way() {
    for body in [json!({ "prefix": "/x" }), json!({ "ban": "obj.status == 200" }), json!({ "all": true })] {
        let world = World::start("").await;
        let gate = Gate::default();
        let at = gate.clone();
        world.origin.on("/x", move |_, n| {
            let wait = if n == 1 { vec![Step::Wait(at.clone())] } else { vec![] };
            [wait, ok("max-age=60", &n.to_string())].concat()
        });
        let mut before = world.client("before").await;
        before.send(REQUEST).await;
        gate.reached(1).await;
        post(&world, "/v1/purge", &body).await;
        gate.open();
        assert_eq!(before.reply(false).await.text(), "1", "{body}");
        world.settled().await;
        assert_eq!(world.get("/x").await.text(), "2", "{body}");
        world.settled().await;
        assert!(world.get("/x").await.is_hit(), "{body}");
    }
}
