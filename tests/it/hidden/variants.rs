//! What tells variants apart on a hidden route: the parameters that count, and the
//! normal form of what it varies on.

use std::time::Duration;

use super::{filled, fills, gated, hidden, proxy_status, until_decided};
use crate::harness::origin::{Gate, ok, response};

#[tokio::test]
async fn parameters_that_do_not_count_make_no_new_key() {
    let world = hidden("query = [\"page\", \"size\"]\n", "").await;
    world.origin.always("/q?page=2&size=l", ok("max-age=60", "q"));
    world.get("/q?size=l&utm_source=x&page=2").await;
    fills(&world, 1).await;
    for same in ["/q?page=2&size=l", "/q?_=17&size=l&page=2", "/q?size=l&page=2&pages=3"] {
        assert!(world.get(same).await.is_hit(), "{same}");
    }
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn each_client_gets_the_best_coding_of_the_route() {
    let world = hidden("encodings = [\"br\", \"gzip\"]\n", "").await;
    world.origin.on("/a", |seen, _| {
        let coding = seen.field("accept-encoding").unwrap_or("identity");
        let fields =
            [("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding"), ("Content-Encoding", coding)];
        response("200 OK", &fields, coding)
    });
    for (n, accept) in ["gzip, deflate, br, zstd", "gzip", "deflate"].into_iter().enumerate() {
        assert_eq!(world.get_with("/a", &[("Accept-Encoding", accept)]).await.status, 503, "{accept}");
        fills(&world, n as u64 + 1).await;
    }
    for (accept, coding) in [
        ("br;q=0.1, gzip", "br"),
        ("br;q=0, gzip", "gzip"),
        ("x-gzip, gzip", "gzip"),
        ("*", "br"),
        ("", "identity"),
    ] {
        let hit = world.get_with("/a", &[("Accept-Encoding", accept)]).await;
        assert_eq!((hit.is_hit(), hit.text()), (true, coding), "{accept}");
    }
    assert_eq!(world.origin.requests().len(), 3);
}

#[tokio::test]
async fn one_response_that_varies_on_nothing_answers_everybody() {
    let world = hidden("encodings = [\"br\", \"gzip\"]\n", "").await;
    world.origin.always("/a", ok("max-age=60", "a"));
    world.get_with("/a", &[("Accept-Encoding", "br")]).await;
    fills(&world, 1).await;
    assert!(world.get("/a").await.is_hit());
    assert!(world.get_with("/a", &[("Accept-Encoding", "gzip")]).await.is_hit());
}

#[tokio::test]
async fn the_origin_is_asked_in_the_normal_form_of_what_the_route_varies_on() {
    let world = hidden("vary_on = [\"accept-language\"]\n", "").await;
    world.origin.on("/a", |seen, _| {
        let fields = [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")];
        response("200 OK", &fields, seen.field("accept-language").unwrap_or("none"))
    });
    let asked = [("Accept-Language", "DE,  en;q=1.0"), ("Accept-Encoding", "gzip")];
    world.get_with("/a", &asked).await;
    fills(&world, 1).await;
    let hit = world.get_with("/a", &[("Accept-Language", "de,en")]).await;
    assert_eq!((hit.is_hit(), hit.text()), (true, "de,en"));
    assert_eq!(world.origin.requests()[0].field("accept-encoding"), None);
    assert_eq!(filled(&world, "/a").await.text(), "none");
}

#[tokio::test]
async fn a_response_that_varies_on_something_else_cannot_be_served() {
    let world = hidden("", "").await;
    world.origin.on("/a", |_, _| {
        response("200 OK", &[("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding, Cookie")], "mine")
    });
    assert_eq!(world.get_with("/a", &[("Cookie", "a=b")]).await.status, 503);
    let refused = until_decided(&world, "/a").await;
    assert_eq!(refused.status, 502);
    assert_eq!(proxy_status(&refused), "error=proxy_internal_response; details=\"vary\"");
    assert_eq!(world.origin.requests().len(), 1, "held down");
}

#[tokio::test]
async fn values_that_make_no_difference_make_no_further_event() {
    let world = hidden("vary_on = [\"accept-language\"]\n", "").await;
    world.origin.always("/a", ok("max-age=5", "a"));
    filled(&world, "/a").await;
    gated(&world, "/a", &Gate::default(), "max-age=5");
    world.advance(Duration::from_secs(10));
    for n in 0..50 {
        let stale = world.get_with("/a", &[("Accept-Language", &format!("x-{n}"))]).await;
        assert_eq!((stale.status, stale.text()), (200, "a"), "{n}");
    }
    // But for a renewal, where all that takes long.
    let same = world.counters().events_deduplicated.get();
    assert!((45..=49).contains(&same), "{same}");
}
