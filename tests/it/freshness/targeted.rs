//! Targeted cache control (RFC 9213): what stands in for `Cache-Control`.

use crate::harness::World;
use crate::harness::origin::{Step, response};

/// Asks twice; tells how often the origin was asked, and how the second answer came.
async fn twice(settings: &str, fields: &[(&str, &str)]) -> (usize, String) {
    let world = World::start(settings).await;
    world.origin.always("/t", response("200 OK", fields, "content"));
    let first = world.get("/t").await;
    for (name, value) in fields {
        assert_eq!(first.field(&name.to_lowercase()), Some(*value), "clients get the fields as they came");
    }
    world.settled().await;
    let second = world.get("/t").await;
    assert_eq!(second.text(), "content");
    world.settled().await;
    (world.origin.count("/t"), second.cache_status().to_owned())
}

#[tokio::test]
async fn a_valid_targeted_field_replaces_cache_control() {
    for (targeted, cache_control, asked) in [
        ("max-age=600", "no-store", 1),
        ("max-age=99999999999", "no-store", 1),
        ("no-store", "max-age=600", 2),
        ("private", "max-age=600", 2),
        ("max-age=\"600\", no-store", "max-age=600", 2),
        ("max-age =600", "no-store", 2),
        ("no-store, &", "max-age=600", 1),
    ] {
        let fields = [("CDN-Cache-Control", targeted), ("Cache-Control", cache_control)];
        assert_eq!(twice("", &fields).await.0, asked, "{targeted} over {cache_control}");
    }
}

#[tokio::test]
async fn what_is_for_caches_alone_can_be_kept_from_clients() {
    let fields = [("CDN-Cache-Control", "max-age=600"), ("Cache-Control", "no-store"), ("X-Other", "1")];
    let world = World::start("[rules]\nstrip_targeted = true").await;
    world.origin.always("/t", response("200 OK", &fields, "content"));
    for _ in 0..2 {
        let reply = world.get("/t").await;
        assert_eq!((reply.field("cdn-cache-control"), reply.field("x-other")), (None, Some("1")));
        world.settled().await;
    }
    assert_eq!(world.origin.count("/t"), 1, "it has counted all the same");
}

/// A 304 brings the field anew, or leaves it as it was; either way it goes on governing.
#[tokio::test]
async fn it_governs_what_has_been_validated() {
    for brought in [&[("CDN-Cache-Control", "max-age=600")][..], &[]] {
        let world = World::start("").await;
        let targeted = ("CDN-Cache-Control", "max-age=10, stale-while-revalidate=0");
        let stored = [targeted, ("Cache-Control", "no-store"), ("ETag", "\"v\"")];
        let validated = [&[("ETag", "\"v\""), ("Cache-Control", "no-store")], brought].concat();
        world.origin.on("/t", move |seen, _| {
            if seen.field("if-none-match").is_some() {
                response("304 Not Modified", &validated, "")
            } else {
                response("200 OK", &stored, "content")
            }
        });
        world.get("/t").await;
        world.settled().await;
        world.advance(std::time::Duration::from_secs(11));
        assert!(world.get("/t").await.cache_status().contains("fwd-status=304"));
        world.settled().await;
        assert!(world.get("/t").await.is_hit(), "{brought:?}");
        assert_eq!(world.origin.count("/t"), 2);
    }
}

/// What may be served stale is said by the same field as how long it is fresh.
#[tokio::test]
async fn stale_terms_are_its_own() {
    for (targeted, status) in [("max-age=1, stale-if-error=600", 200), ("max-age=1, must-revalidate", 502)] {
        let world = World::start("").await;
        let fields = [("CDN-Cache-Control", targeted), ("Cache-Control", "max-age=1, stale-if-error=0")];
        world.origin.on("/t", move |_, count| {
            if count == 1 { response("200 OK", &fields, "content") } else { vec![Step::Close] }
        });
        world.get("/t").await;
        world.settled().await;
        world.advance(std::time::Duration::from_secs(60));
        assert_eq!(world.get("/t").await.status, status, "{targeted}");
    }
}

#[tokio::test]
async fn age_counts_against_a_targeted_lifetime() {
    let fields = [("CDN-Cache-Control", "max-age=600"), ("Cache-Control", "max-age=9000")];
    let world = World::start("").await;
    let aged = [fields[0], fields[1], ("Age", "700")];
    world.origin.always("/aged", response("200 OK", &aged, "content"));
    world.get("/aged").await;
    world.settled().await;
    world.get("/aged").await;
    assert_eq!(world.origin.count("/aged"), 2);
}

#[tokio::test]
async fn the_list_of_targeted_fields_is_configured_and_its_order_counts() {
    let fields =
        [("Forebay-Cache-Control", "max-age=600"), ("CDN-Cache-Control", "no-store"), ("Expires", "0")];
    assert_eq!(twice("", &fields).await.0, 1);
    assert_eq!(twice("[rules]\ntargeted_fields = [\"cdn-cache-control\"]", &fields).await.0, 2);
    let only = [("CDN-Cache-Control", "no-store"), ("Cache-Control", "max-age=600")];
    assert_eq!(twice("[rules]\ntargeted_fields = []", &only).await.0, 1);
}
