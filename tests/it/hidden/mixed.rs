//! Hidden and open routes side by side; a node that hides everything asks nobody; what
//! a reload changes.

use std::time::Duration;

use forebay::config::{self, Flags};

use super::{filled, fills, gated, hidden, proxy_status};
use crate::harness::World;
use crate::harness::origin::{Gate, ok};

const MIXED: &str = r#"
origin.rate = "10000/s"
[[site]]
hosts = ["*"]
origin = "o"
[[site.route]]
path = "/api/"
[[site.route]]
path = "/"
[site.route.rules]
mode = "hidden"
"#;

#[tokio::test]
async fn open_and_hidden_routes_stand_side_by_side() {
    let world = World::start(MIXED).await;
    world.origin.always("/api/x", ok("max-age=60", "api"));
    world.origin.always("/page", ok("max-age=60", "page"));
    let open = world.get_with("/api/x", &[("Cookie", "a=b")]).await;
    assert_eq!((open.status, open.text()), (200, "api"));
    assert_eq!(world.get_with("/page", &[("Cookie", "a=b")]).await.status, 503);
    fills(&world, 1).await;
    assert!(world.get("/page").await.is_hit());
    let seen = world.origin.requests();
    assert_eq!(seen.iter().map(|seen| seen.field("cookie")).collect::<Vec<_>>(), [Some("a=b"), None]);
    let written = world.client("writer").await.ask("POST", "/page", &[], b"x").await;
    assert_eq!(written.status, 405);
}

/// Every way in which a client or an operator can make a cache ask its origin.
async fn provoke(world: &World) {
    let range = [("Range", "bytes=0-1"), ("If-None-Match", "\"x\""), ("Cache-Control", "no-cache")];
    for path in ["/page", "/other"] {
        world.get_with(path, &range).await;
        world.get_with(path, &[("Connection", "upgrade"), ("Upgrade", "websocket")]).await;
        world.client("head").await.ask("HEAD", path, &[], b"").await;
        let url = format!("http://www.example.org{path}");
        assert_eq!(world.operator().await.ask("REFRESH", &url, &[], b"").await.status, 200);
        world.client("trace").await.ask("TRACE", path, &[], b"").await;
    }
}

#[tokio::test]
async fn nobody_but_the_worker_asks_the_origin_of_a_hidden_route() {
    for settings in [MIXED, "origin.rate = \"10000/s\"\n[rules]\nmode = \"hidden\"\n"] {
        let world = World::start(settings).await;
        world.origin.on("/page", |_, n| ok("max-age=5", &n.to_string()));
        world.origin.always("/other", ok("max-age=60, must-revalidate", "x"));
        filled(&world, "/page").await;
        world.advance(Duration::from_secs(10));
        provoke(&world).await;
        fills(&world, 3).await;
        world.settled().await;
        let c = world.counters();
        assert_eq!(c.origin_requests.get(), c.worker_requests.get(), "each was the worker's");
        assert_eq!((c.refreshes.get(), c.flights_open.get()), (0, 0));
        assert!(world.origin.requests().iter().all(|seen| seen.method == "GET"));
    }
}

#[tokio::test]
async fn refreshing_a_hidden_page_asks_the_worker_for_it() {
    for settings in [MIXED, "origin.rate = \"10000/s\"\n[rules]\nmode = \"hidden\"\n"] {
        let world = World::start(settings).await;
        world.origin.on("/page", |_, n| ok("max-age=60", &n.to_string()));
        assert_eq!(filled(&world, "/page").await.text(), "1");
        let refreshed = world.operator().await.ask("REFRESH", "http://www.example.org/page", &[], b"").await;
        assert_eq!(refreshed.status, 200);
        fills(&world, 2).await;
        let hit = world.get("/page").await;
        assert_eq!((hit.text(), hit.is_hit()), ("2", true));
        assert_eq!((world.counters().worker_requests.get(), world.counters().refreshes.get()), (2, 0));
    }
}

/// Another configuration of the same node.
fn reload(world: &World, settings: &str) {
    let text = World::config_text(&world.origin, settings);
    world.node.reload(config::read("test", &text, &Flags::default()).expect("good"));
}

#[tokio::test]
async fn a_reload_hides_routes_and_opens_them_again() {
    let world = World::start("").await;
    world.origin.on("/a", |_, n| ok("max-age=60", &n.to_string()));
    assert_eq!(world.get("/a").await.text(), "1");
    let hide = "origin.rate = \"10000/s\"\n[rules]\nmode = \"hidden\"\n";
    reload(&world, hide);
    assert!(world.get("/a").await.is_hit(), "the cache stays");
    world.origin.always("/b", ok("max-age=60", "b"));
    assert_eq!(filled(&world, "/b").await.text(), "b");
    reload(&world, "");
    world.origin.always("/c", ok("max-age=60", "c"));
    assert_eq!(world.get("/c").await.text(), "c");
    reload(&world, hide);
    world.origin.always("/d", ok("max-age=60", "d"));
    assert_eq!(filled(&world, "/d").await.text(), "d");
}

#[tokio::test]
async fn a_reload_changes_the_allow_list() {
    let world = hidden("allow = [\"^/a\"]\n", "").await;
    world.origin.always("/b", ok("max-age=60", "b"));
    assert_eq!(world.get("/b").await.status, 404);
    reload(&world, "origin.rate = \"10000/s\"\n[rules]\nmode = \"hidden\"\nallow = [\"^/b\"]\n");
    assert_eq!(filled(&world, "/b").await.text(), "b");
    let refused = world.get("/a").await;
    assert_eq!((refused.status, proxy_status(&refused).contains("not listed")), (404, true));
}

#[tokio::test]
async fn a_reload_changes_what_was_agreed_with_the_origin() {
    let world = hidden("", "origin.rate = \"1/h\"\norigin.concurrency = 1\n").await;
    let gate = Gate::default();
    let paths: Vec<String> = (0..30).map(|n| format!("/{n}")).collect();
    for path in &paths[..20] {
        gated(&world, path, &gate, "max-age=60");
        assert_eq!(world.get(path).await.status, 503);
    }
    world.until("all to be told", |c| c.events_published.get() == 20).await;
    assert!(world.origin.requests().is_empty(), "one an hour");
    reload(&world, "origin.rate = \"10000/s\"\norigin.concurrency = 1\n[rules]\nmode = \"hidden\"\n");
    gate.reached(1).await;
    world.until("only one of them", |c| c.events_released.get() == 1).await;
    reload(&world, "origin.rate = \"10000/s\"\norigin.concurrency = 20\n[rules]\nmode = \"hidden\"\n");
    gate.reached(20).await;
    gate.open();
    fills(&world, 20).await;
}
