//! The origin is told who asked; what clients say of it themselves is not believed.

use crate::harness::World;
use crate::harness::origin::{Seen, ok};

/// What the origin sees of a request with fields that lie.
async fn seen(settings: &str) -> Seen {
    let world = World::start(settings).await;
    let fields = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "forged.example"),
        ("X-Forwarded-Port", "1"),
        ("Forwarded", "for=192.0.2.1"),
    ];
    assert_eq!(world.get_with("/f", &fields).await.status, 404);
    world.origin.requests().pop().expect("a request")
}

#[tokio::test]
async fn a_client_s_own_word_is_overwritten() {
    let seen = seen("").await;
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["www.example.org"]);
    assert!(seen.all("forwarded").is_empty() && seen.all("x-forwarded-port").is_empty());
}

#[tokio::test]
async fn a_trusted_proxy_s_word_is_kept() {
    let seen = seen("listen.trusted_proxies = [\"127.0.0.1/32\"]").await;
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("x-forwarded-host"), ["forged.example"]);
}

#[tokio::test]
async fn a_trusted_proxy_tells_https_and_http_apart() {
    let world = World::start("listen.trusted_proxies = [\"127.0.0.1/32\"]").await;
    world.origin.on("/s", |seen, _| ok("max-age=60", seen.field("x-forwarded-proto").unwrap_or_default()));
    for scheme in ["https", "http", "https", "http"] {
        let reply = world.get_with("/s", &[("X-Forwarded-Proto", scheme)]).await;
        assert_eq!(reply.text(), scheme);
        world.settled().await;
    }
    assert_eq!(world.origin.count("/s"), 2);
    assert_eq!(world.origin.requests()[0].field("host"), Some("www.example.org"));
}

#[tokio::test]
async fn the_standard_field_takes_the_others_place() {
    let seen_plain = seen("[rules]\nforwarded = \"forwarded\"").await;
    assert_eq!(seen_plain.all("forwarded"), ["for=127.0.0.1;host=\"www.example.org\";proto=http"]);
    assert!(seen_plain.all("x-forwarded-for").is_empty());
    let seen = seen("listen.trusted_proxies = [\"127.0.0.1/32\"]\n[rules]\nforwarded = \"forwarded\"").await;
    assert_eq!(seen.all("forwarded"), ["for=192.0.2.1, for=127.0.0.1;host=\"www.example.org\";proto=https"]);
}

#[tokio::test]
async fn with_off_nothing_is_told() {
    let seen = seen("[rules]\nforwarded = \"off\"").await;
    assert!(seen.fields.iter().all(|(name, _)| !name.contains("forwarded")), "{seen:?}");
}

#[tokio::test]
async fn the_origin_sees_the_host_that_the_rules_say() {
    let world = World::start("[rules]\norigin_host = \"inner.example\"").await;
    world.origin.always("/h", ok("max-age=60", "content"));
    world.get("/h").await;
    world.settled().await;
    world.get_with("/h", &[("Host", "other.example")]).await;
    let seen = world.origin.requests();
    assert_eq!(
        (seen.len(), seen[0].all("host"), seen[1].all("host")),
        (2, vec!["inner.example"], vec!["inner.example"])
    );
    assert_eq!(seen[1].field("x-forwarded-host"), Some("other.example"));
}
