//! What a client gets on a hidden route: at once, and from the store alone.

use std::collections::BTreeSet;

use super::{filled, fills, gated, hidden, proxy_status, retry_after, until_decided};
use crate::harness::origin::{Gate, ok, response};

#[tokio::test]
async fn a_miss_is_answered_at_once_and_the_next_request_is_a_hit() {
    let world = hidden("", "").await;
    let gate = Gate::default();
    gated(&world, "/a", &gate, "max-age=60");
    let accept = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let miss = world.get_with("/a", &accept).await;
    assert_eq!((miss.status, miss.field("cache-control")), (503, Some("no-store")));
    assert_eq!(proxy_status(&miss), "error=destination_unavailable; details=\"queued\"");
    assert_eq!(miss.field("cache-status"), None, "nothing of it came from the cache");
    let seconds = retry_after(&miss);
    assert!((1..=3).contains(&seconds), "as long as a fill takes as a rule: {seconds}");
    let reload = format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">");
    assert!(miss.text().contains(&reload), "{}", miss.text());
    let port = world.origin.address().port().to_string();
    assert!(!format!("{miss:?}{}", miss.text()).contains(&port), "the origin is not named");
    gate.open();
    fills(&world, 1).await;
    let hit = world.get("/a").await;
    assert_eq!((hit.status, hit.text(), hit.is_hit()), (200, "1", true));
    assert_eq!(hit.field("proxy-status"), None);
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn the_page_comes_in_the_form_that_is_wanted() {
    let world = hidden("", "").await;
    for (accept, kind) in [
        ("application/json", "application/json"),
        ("application/problem+json;q=0.9, text/html", "application/json"),
        ("text/html, application/json", "text/html; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let miss = world.get_with(&format!("/{}", accept.len()), &[("Accept", accept)]).await;
        assert_eq!((miss.status, miss.field("content-type")), (503, Some(kind)), "{accept}");
        if kind == "application/json" {
            let body: serde_json::Value = serde_json::from_slice(&miss.body).expect("JSON");
            assert_eq!(body["retry_after"], retry_after(&miss));
        }
    }
}

#[tokio::test]
async fn clients_are_not_told_to_come_back_together() {
    let world = hidden("", "").await;
    let gate = Gate::default();
    gated(&world, "/a", &gate, "max-age=60");
    let mut client = world.client("client").await;
    let mut times = BTreeSet::new();
    for _ in 0..60 {
        times.insert(retry_after(&client.get("/a").await));
    }
    assert!(times.len() > 1 && times.iter().all(|seconds| (1..=3).contains(seconds)), "{times:?}");
}

#[tokio::test]
async fn head_is_answered_from_the_store_and_filled_by_get() {
    let world = hidden("", "").await;
    world.origin.always("/a", ok("max-age=60", "four"));
    let miss = world.client("client").await.ask("HEAD", "/a", &[], b"").await;
    assert_eq!((miss.status, miss.body.len()), (503, 0));
    assert!(retry_after(&miss) >= 1);
    fills(&world, 1).await;
    let hit = world.client("client").await.ask("HEAD", "/a", &[], b"").await;
    assert_eq!((hit.status, hit.field("content-length"), hit.is_hit()), (200, Some("4"), true));
    let methods: Vec<String> = world.origin.requests().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET"]);
}

#[tokio::test]
async fn ranges_and_conditions_are_answered_from_what_is_stored() {
    let world = hidden("", "").await;
    world.origin.always("/a", ok("max-age=60", "0123456789"));
    let range = [("Range", "bytes=2-4")];
    assert_eq!(world.get_with("/a", &range).await.status, 503);
    fills(&world, 1).await;
    let part = world.get_with("/a", &range).await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(world.get_with("/a", &[("Range", "bytes=99-")]).await.status, 416);
    assert_eq!(world.origin.requests()[0].field("range"), None, "the whole is asked for");
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn only_if_cached_is_504_and_nobody_is_told() {
    let world = hidden("", "").await;
    let reply = world.get_with("/a", &[("Cache-Control", "only-if-cached")]).await;
    assert_eq!(reply.status, 504);
    world.settled().await;
    assert_eq!((world.counters().events_published.get(), world.counters().leases.get()), (0, 0));
    assert!(world.origin.requests().is_empty());
}

#[tokio::test]
async fn nothing_is_written_through_a_hidden_route() {
    let world = hidden("", "").await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let reply = world.client("writer").await.ask(method, "/a", &[], b"x").await;
        assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(world.client("odd").await.ask("GET", "/a", &[], b"content").await.status, 400);
    let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    assert_eq!(world.get_with("/404", &upgrade).await.status, 503, "it is a miss as any other");
    world.origin.wait_for("/404", 1).await;
    let seen = world.origin.requests();
    assert_eq!((seen.len(), seen[0].field("upgrade")), (1, None));
}

#[tokio::test]
async fn a_write_origin_gets_what_is_written_and_the_page_is_filled_again() {
    let site = "[[site]]\nhosts = [\"*\"]\norigin = \"o\"\nwrite_origin = \"o\"\n";
    let world = hidden("", site).await;
    world.origin.on("/x", |seen, n| ok("max-age=60", &format!("{} {n}", seen.method)));
    assert_eq!(filled(&world, "/x").await.text(), "GET 1");
    let written = world.client("writer").await.ask("POST", "/x", &[("Cookie", "a=b")], b"new").await;
    assert_eq!((written.status, written.text()), (200, "POST 2"));
    let seen = world.origin.requests().remove(1);
    assert_eq!((seen.body, seen.fields.iter().any(|(name, _)| name == "cookie")), (b"new".to_vec(), true));
    fills(&world, 2).await;
    let hit = world.get("/x").await;
    assert_eq!((hit.text(), hit.is_hit()), ("GET 3", true), "it was not asked for by anybody");
    assert_eq!(world.get("/other").await.status, 503, "reading stays hidden");
}

#[tokio::test]
async fn what_is_not_stored_or_was_only_read_is_not_asked_for_by_a_write_origin_s_answer() {
    let site = "[[site]]\nhosts = [\"*\"]\norigin = \"o\"\nwrite_origin = \"o\"\n";
    let world = hidden("", site).await;
    world.origin.on("/x", |_, _| ok("max-age=60", "x"));
    filled(&world, "/x").await;
    let mut client = world.client("writer").await;
    assert_eq!(client.ask("OPTIONS", "/x", &[], b"").await.status, 200);
    for n in 0..20 {
        let path = format!("/search?q={n}");
        world.origin.always(&path, ok("max-age=60", "found"));
        assert_eq!(client.ask("POST", &path, &[], b"x").await.status, 200);
    }
    // Whatever had been told before this would have gone first.
    world.origin.always("/last", ok("max-age=60", "last"));
    filled(&world, "/last").await;
    assert_eq!(world.counters().events_published.get(), 2);
    assert_eq!(world.origin.requests().len(), 23);
}

#[tokio::test]
async fn what_is_not_on_the_list_is_not_there_and_not_told() {
    let world = hidden("allow = ['^/p/\\d+$', '^/$']\n", "").await;
    world.origin.always("/p/1", ok("max-age=60", "one"));
    for path in ["/p/x", "/p/1/edit", "/wp-login.php"] {
        let reply = world.get(path).await;
        assert_eq!((reply.status, reply.field("retry-after")), (404, None), "{path}");
        assert_eq!(proxy_status(&reply), "error=http_request_denied; details=\"not listed\"");
        assert_eq!(reply.field("cache-control"), Some("no-store"));
    }
    assert_eq!(world.counters().events_published.get(), 0);
    assert_eq!(filled(&world, "/p/1").await.text(), "one");
    assert_eq!(world.get("/p/1?a=b").await.status, 503, "a query is no part of the path");
    world.origin.wait_for("/p/1?a=b", 1).await;
    assert_eq!(world.origin.requests().len(), 2);
}

#[tokio::test]
async fn with_a_short_wait_the_fill_answers_the_very_request_that_missed() {
    let world = hidden("wait = \"2s\"\n", "").await;
    world.origin.always("/a", ok("max-age=60", "a"));
    let reply = world.get("/a").await;
    assert_eq!((reply.status, reply.text(), reply.is_hit()), (200, "a", true));
    world.origin.always("/private", ok("private", "for one"));
    let reply = world.get("/private").await;
    assert_eq!(
        (reply.status, proxy_status(&reply)),
        (502, "error=proxy_internal_response; details=\"private\"")
    );
}

#[tokio::test]
async fn nobody_waits_for_longer_than_that() {
    let world = hidden("wait = \"20ms\"\n", "").await;
    let gate = Gate::default();
    gated(&world, "/a", &gate, "max-age=60");
    assert_eq!(world.get("/a").await.status, 503, "the origin has not answered yet");
    gate.open();
    fills(&world, 1).await;
    assert!(world.get("/a").await.is_hit());
}

#[tokio::test]
async fn what_is_said_to_this_cache_alone_holds_for_what_a_worker_brings() {
    let world = hidden("", "").await;
    let fields = [("Forebay-Cache-Control", "max-age=60"), ("Cache-Control", "no-store")];
    world.origin.always("/a", response("200 OK", &fields, "kept"));
    let fields = [("CDN-Cache-Control", "no-store"), ("Cache-Control", "max-age=60")];
    world.origin.always("/b", response("200 OK", &fields, "not kept"));
    assert_eq!((filled(&world, "/a").await.text(), world.get("/a").await.is_hit()), ("kept", true));
    world.advance(std::time::Duration::from_secs(61));
    assert!(world.get("/a").await.field("cache-status").is_some_and(|said| said.contains("ttl=-1")));
    let reply = until_decided(&world, "/b").await;
    assert!(reply.status == 502 && proxy_status(&reply).contains("no-store"), "{reply:?}");
}
