//! What is stored, what is not, and what of it later clients see.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{ok, response};

/// Asks twice; tells how often the origin was asked, and the second answer.
async fn twice(
    settings: &str,
    status: &str,
    fields: &[(&str, &str)],
    asked: &[(&str, &str)],
) -> (usize, String) {
    let world = World::start(settings).await;
    world.origin.always("/t", response(status, fields, "content"));
    let first = world.get_with("/t", asked).await;
    assert_eq!(first.text(), "content");
    for (name, value) in fields {
        assert_eq!(first.field(&name.to_lowercase()), Some(*value), "the first client sees everything");
    }
    world.settled().await;
    let second = world.get("/t").await;
    assert_eq!(second.text(), "content");
    world.settled().await;
    let counters = world.counters();
    assert_eq!(counters.requests_hit.get() + counters.requests_miss.get(), 2);
    assert_eq!(counters.origin_requests.get() as usize, world.origin.count("/t"));
    (world.origin.count("/t"), first.cache_status().to_owned())
}

#[tokio::test]
async fn what_the_origin_forbids_is_not_stored() {
    for (cache_control, detail) in
        [("no-store", "no-store"), ("private, max-age=60", "private"), ("no-store, max-age=60", "no-store")]
    {
        let (asked, status) = twice("", "200 OK", &[("Cache-Control", cache_control)], &[]).await;
        assert_eq!(asked, 2, "{cache_control}");
        assert_eq!(status, format!("fwd=uri-miss; detail={detail}"));
    }
    let (asked, status) = twice("", "200 OK", &[("Cache-Control", "max-age=60"), ("Vary", "*")], &[]).await;
    assert_eq!((asked, status.as_str()), (2, "fwd=uri-miss; detail=vary-star"));
}

#[tokio::test]
async fn a_cookie_is_not_stored_unless_the_rules_say_so() {
    let fields = [("Cache-Control", "max-age=60"), ("Set-Cookie", "id=1")];
    let (asked, status) = twice("", "200 OK", &fields, &[]).await;
    assert_eq!((asked, status.as_str()), (2, "fwd=uri-miss; detail=set-cookie"));
    let (asked, status) = twice("[rules]\nset_cookie = \"store\"", "200 OK", &fields, &[]).await;
    assert_eq!((asked, status.as_str()), (1, "fwd=uri-miss; ttl=60; stored"));
}

#[tokio::test]
async fn an_answer_to_authorization_is_stored_only_where_it_is_said_to_be_shared() {
    let authorized = [("Authorization", "Basic abc")];
    for (cache_control, asked) in
        [("max-age=60", 2), ("max-age=60, public", 1), ("max-age=60, must-revalidate", 1), ("s-maxage=60", 1)]
    {
        let found = twice("", "200 OK", &[("Cache-Control", cache_control)], &authorized).await;
        assert_eq!(found.0, asked, "{cache_control}");
    }
}

#[tokio::test]
async fn must_understand_stores_what_is_understood_despite_no_store() {
    let fields = [("Cache-Control", "max-age=60, must-understand, no-store")];
    assert_eq!(twice("", "200 OK", &fields, &[]).await.0, 1);
    assert_eq!(twice("", "299 Odd", &fields, &[]).await.0, 2);
    let fields = [("Cache-Control", "max-age=60, must-understand")];
    let (asked, status) = twice("", "299 Odd", &fields, &[]).await;
    assert_eq!((asked, status.as_str()), (2, "fwd=uri-miss; detail=must-understand"));
    // A status that nobody knows is stored where its freshness is explicit.
    assert_eq!(twice("", "299 Odd", &[("Cache-Control", "max-age=60")], &[]).await.0, 1);
}

#[tokio::test]
async fn named_fields_are_withheld_from_later_clients() {
    for directive in ["no-cache", "private"] {
        let world = World::start("").await;
        let cache_control = format!("max-age=60, {directive}=\"X-Secret, x-other\"");
        let fields =
            [("Cache-Control", cache_control.as_str()), ("X-Secret", "s"), ("X-Other", "o"), ("X-Open", "p")];
        world.origin.always("/w", response("200 OK", &fields, "content"));
        let first = world.get("/w").await;
        assert_eq!((first.field("x-secret"), first.field("x-other")), (Some("s"), Some("o")));
        world.settled().await;
        let hit = world.get("/w").await;
        assert!(hit.is_hit(), "{directive}: {}", hit.cache_status());
        assert_eq!((hit.field("x-secret"), hit.field("x-other")), (None, None), "{directive}");
        assert_eq!((hit.field("x-open"), hit.text()), (Some("p"), "content"));
        assert_eq!(world.origin.count("/w"), 1);
    }
}

#[tokio::test]
async fn without_freshness_the_age_of_the_content_says_how_long() {
    let world = World::start("").await;
    // Changed 1000 seconds ago: fresh for 100.
    let fields =
        [("Last-Modified", "Fri, 15 Jan 2027 07:43:20 GMT"), ("Date", "Fri, 15 Jan 2027 08:00:00 GMT")];
    world.origin.always("/h", response("200 OK", &fields, "content"));
    world.origin.always("/odd", response("299 Odd", &fields, "content"));
    assert_eq!(world.get("/h").await.cache_status(), "fwd=uri-miss; ttl=100; stored");
    world.settled().await;
    world.advance(Duration::from_secs(99));
    assert_eq!(world.get("/h").await.cache_status(), "hit; ttl=1");
    world.advance(Duration::from_secs(2));
    assert!(world.get("/h").await.cache_status().starts_with("fwd=stale"));
    assert_eq!(world.origin.count("/h"), 2);
    assert_eq!(world.get("/odd").await.cache_status(), "fwd=uri-miss; detail=no-freshness");
}

#[tokio::test]
async fn s_maxage_goes_before_max_age_and_that_before_expires() {
    for (fields, ttl) in [
        (
            vec![("Cache-Control", "max-age=10, s-maxage=20"), ("Expires", "Fri, 15 Jan 2027 08:00:30 GMT")],
            20,
        ),
        (vec![("Cache-Control", "max-age=10"), ("Expires", "Fri, 15 Jan 2027 08:00:30 GMT")], 10),
        (vec![("Expires", "Fri, 15 Jan 2027 08:00:30 GMT")], 30),
        (vec![("Cache-Control", "max-age=10"), ("Age", "4")], 6),
    ] {
        let world = World::start("").await;
        world.origin.always("/f", response("200 OK", &fields, "content"));
        let status = world.get("/f").await.cache_status().to_owned();
        assert_eq!(status, format!("fwd=uri-miss; ttl={ttl}; stored"), "{fields:?}");
    }
}

#[tokio::test]
async fn an_age_from_upstream_counts_on() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("Age", "30")];
    world.origin.always("/a", response("200 OK", &fields, "content"));
    assert_eq!(world.get("/a").await.field("age"), Some("30"));
    world.settled().await;
    world.advance(Duration::from_secs(10));
    let hit = world.get("/a").await;
    assert_eq!((hit.field("age"), hit.cache_status()), (Some("40"), "hit; ttl=20"));
    world.advance(Duration::from_secs(21));
    assert!(!world.get("/a").await.is_hit());
    assert_eq!(world.origin.count("/a"), 2);
}

#[tokio::test]
async fn a_query_makes_another_response() {
    let world = World::start("").await;
    for path in ["/q", "/q?", "/q?a=1", "/q?a=2"] {
        world.origin.always(path, ok("max-age=60", path));
        assert_eq!(world.get(path).await.text(), path);
        world.settled().await;
        let again = world.get(path).await;
        assert_eq!((again.text(), again.is_hit()), (path, true));
        assert_eq!(world.origin.count(path), 1);
    }
}
