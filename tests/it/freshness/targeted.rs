//! Targeted cache control (RFC 9213): what stands in for `Cache-Control`.

use crate::harness::World;
use crate::harness::origin::response;

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
