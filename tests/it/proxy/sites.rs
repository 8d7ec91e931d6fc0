//! Sites are found by host, routes by path.

use crate::harness::World;
use crate::harness::origin::ok;

const SITES: &str = r#"
[[site]]
hosts = ["*.example.org"]
origin = "o"
[site.rules]
origin_host = "wild.internal"
[[site]]
hosts = ["www.example.org"]
origin = "o"
[site.rules]
origin_host = "exact.internal"
[[site.route]]
path = "/api/"
[site.route.rules]
cache = false
[[site.route]]
match = '\.png$'
[site.route.rules]
origin_host = "images.internal"
[[site.route]]
path = "/"
[[site]]
hosts = ["*.deep.example.org"]
origin = "o"
[site.rules]
origin_host = "deep.internal"
"#;

#[tokio::test]
async fn the_best_pattern_claims_the_host() {
    let world = World::start(SITES).await;
    for (host, site) in [
        ("www.example.org", "exact.internal"),
        ("WWW.EXAMPLE.ORG:81", "exact.internal"),
        ("shop.example.org", "wild.internal"),
        ("a.deep.example.org", "deep.internal"),
        ("deep.example.org", "wild.internal"),
    ] {
        assert_eq!(world.get_with("/x", &[("Host", host)]).await.status, 404);
        assert_eq!(world.origin.requests().pop().expect("a request").field("host"), Some(site), "{host}");
    }
}

#[tokio::test]
async fn nobody_s_host_gets_421() {
    let world = World::start(SITES).await;
    for host in ["example.org", "other.example", "xexample.org"] {
        let reply = world.get_with("/x", &[("Host", host)]).await;
        assert_eq!((reply.status, reply.field("cache-status")), (421, None), "{host}");
    }
    assert!(world.origin.requests().is_empty());
    world.settled().await;
    assert_eq!(world.counters().requests_refused.get(), 3);
}

#[tokio::test]
async fn the_first_route_that_fits_has_the_rules() {
    let world = World::start(SITES).await;
    for (path, count, host) in
        [("/page", 1, "exact.internal"), ("/a/b.png", 1, "images.internal"), ("/api/x", 2, "exact.internal")]
    {
        world.origin.always(path, ok("max-age=60", "content"));
        let mut status = String::new();
        for _ in 0..2 {
            status = world.get(path).await.cache_status().to_owned();
            world.settled().await;
        }
        assert_eq!(status, if count == 1 { "hit; ttl=60" } else { "fwd=bypass" }, "{path}");
        assert_eq!(world.origin.count(path), count, "{path}");
        assert_eq!(world.origin.requests().pop().expect("a request").field("host"), Some(host));
    }
    // The query is no part of the path.
    world.get("/page?x.png").await;
    assert_eq!(world.origin.requests().pop().expect("a request").field("host"), Some("exact.internal"));
}
