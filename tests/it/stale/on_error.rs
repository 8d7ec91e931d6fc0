//! What is stored answers when the origin fails, where nothing forbids it.

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{Gate, Script, Step, ok, raw, response};

/// A world in which `/x` was stored for five seconds and is stale now; from the
/// second request on the origin does `then`.
async fn stale_world(
    settings: &str,
    first: Script,
    then: impl Fn(usize) -> Script + Send + Sync + 'static,
) -> World {
    let world = World::start(settings).await;
    world.origin.on("/x", move |_, n| if n == 1 { first.clone() } else { then(n) });
    world.get("/x").await;
    world.settled().await;
    world.advance(Duration::from_secs(10));
    world
}

#[tokio::test]
async fn every_kind_of_failure_is_answered_with_stale() {
    let truncated = || vec![raw("HTTP/1.1 200 OK\r\nContent-Le"), Step::Close];
    let failures: [(&str, Script); 6] = [
        ("503", response("503 Service Unavailable", &[], "broken")),
        ("500 that says it is fresh", response("500 Oops", &[("Cache-Control", "max-age=60")], "broken")),
        ("close", vec![Step::Close]),
        ("reset", vec![Step::Reset]),
        ("truncated head", truncated()),
        ("garbage", vec![raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Step::Close]),
    ];
    for (what, failure) in failures {
        let world = stale_world("", ok("max-age=5", "good"), move |_| failure.clone()).await;
        let reply = world.get("/x").await;
        assert_eq!((reply.status, reply.text()), (200, "good"), "{what}");
        assert_eq!(reply.cache_status(), "hit; ttl=-5; detail=stale-on-error", "{what}");
        assert_eq!(reply.field("age"), Some("10"), "{what}");
    }
}

#[tokio::test]
async fn an_origin_that_is_gone_is_answered_with_stale_until_the_window_ends() {
    let settings = "[rules]\nstale_on_error = \"60s\"\nrefresh_backoff = \"1s\"";
    let world = stale_world(settings, ok("max-age=5", "good"), |_| vec![Step::Close]).await;
    assert_eq!(world.get("/x").await.text(), "good");
    world.advance(Duration::from_secs(54));
    assert_eq!(world.get("/x").await.text(), "good");
    world.advance(Duration::from_secs(2));
    assert_eq!(world.get("/x").await.status, 502);
}

#[tokio::test]
async fn the_origins_own_stale_if_error_goes_before_the_operators() {
    let world = stale_world("", ok("max-age=5, stale-if-error=20", "good"), |_| vec![Step::Close]).await;
    assert_eq!(world.get("/x").await.text(), "good");
    world.advance(Duration::from_secs(20));
    assert_eq!(world.get("/x").await.status, 502);
}

#[tokio::test]
async fn what_forbids_stale_is_obeyed() {
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=5", "no-cache"] {
        let first = ok(&format!("max-age=5, {directive}"), "good");
        let world = stale_world("", first, |_| vec![Step::Close]).await;
        let reply = world.get("/x").await;
        assert_eq!((reply.status, reply.field("cache-status")), (502, None), "{directive}");
    }
}

#[tokio::test]
async fn a_failed_refresh_leaves_the_origin_alone_for_longer_each_time() {
    let settings = "[rules]\nrefresh_backoff = \"2s\"";
    let broken = |_| response("503 Service Unavailable", &[], "broken");
    let world = stale_world(settings, ok("max-age=5", "good"), broken).await;
    for (asked, wait) in [(2, 2), (3, 4), (4, 8)] {
        assert_eq!(world.get("/x").await.cache_status().split("detail=").nth(1), Some("stale-on-error"));
        for _ in 0..3 {
            let reply = world.get("/x").await;
            assert_eq!(reply.cache_status().split("detail=").nth(1), Some("stale-back-off"));
        }
        assert_eq!(world.origin.count("/x"), asked);
        world.advance(Duration::from_secs(wait));
    }
    assert_eq!(world.counters().refresh_failed.get(), 3);
}

#[tokio::test]
async fn an_origin_that_recovers_is_fresh_again() {
    let then = |n| match n {
        2 => response("503 Service Unavailable", &[], "broken"),
        _ => ok("max-age=5", "new"),
    };
    let world = stale_world("", ok("max-age=5", "good"), then).await;
    assert_eq!(world.get("/x").await.text(), "good");
    world.advance(Duration::from_secs(2));
    assert_eq!(world.get("/x").await.text(), "new");
    world.settled().await;
    assert!(world.get("/x").await.is_hit());
}

#[tokio::test]
async fn a_broken_body_never_replaces_what_is_stored() {
    let broken = raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=5\r\nContent-Length: 100\r\n\r\nonly this");
    let world = stale_world("", ok("max-age=5", "good"), move |_| vec![broken.clone(), Step::Close]).await;
    let cut = world.get("/x").await;
    assert!(!cut.complete, "{cut:?}");
    world.settled().await;
    assert_eq!(world.get("/x").await.text(), "good");
    assert_eq!(world.counters().origin_failed_body.get(), 1);
}

#[tokio::test]
async fn a_slow_origin_is_answered_with_stale_at_the_deadline_and_fetched_all_the_same() {
    let gate = Gate::default();
    let at = gate.clone();
    let then = move |_| {
        let mut script = vec![Step::Wait(at.clone())];
        script.extend(ok("max-age=5", "new"));
        script
    };
    let world = stale_world("[rules]\nstale_deadline = \"20ms\"", ok("max-age=5", "good"), then).await;
    let stale = world.get("/x").await;
    assert_eq!((stale.text(), stale.cache_status()), ("good", "hit; ttl=-5; detail=stale-deadline"));
    gate.open();
    world.settled().await;
    let fresh = world.get("/x").await;
    assert!(fresh.is_hit(), "{fresh:?}");
    assert_eq!(fresh.text(), "new");
    assert_eq!((world.origin.count("/x"), world.counters().stale_deadline.get()), (2, 1));
}

#[tokio::test]
async fn only_the_first_client_waits_for_an_origin_that_hangs() {
    let gate = Gate::default();
    let at = gate.clone();
    let then = move |n| match n {
        2 => [vec![Step::Wait(at.clone())], response("503 Broken", &[], "broken")].concat(),
        _ => ok("max-age=5", "new"),
    };
    let settings = "[rules]\nstale_deadline = \"20ms\"\nrefresh_backoff = \"2s\"";
    let world = stale_world(settings, ok("max-age=5", "good"), then).await;
    let detail = async || {
        let reply = world.get("/x").await;
        assert_eq!(reply.text(), "good");
        reply.cache_status().split("detail=").nth(1).expect("why").to_owned()
    };
    assert_eq!(detail().await, "stale-deadline");
    for _ in 0..3 {
        world.advance(Duration::from_secs(1));
        assert_eq!(detail().await, "stale-back-off");
    }
    world.advance(Duration::from_secs(2));
    assert_eq!(detail().await, "stale-deadline", "somebody looks now and then");
    assert_eq!((world.origin.count("/x"), world.counters().refresh_failed.get()), (2, 0));
    gate.open();
    world.settled().await;
    assert_eq!(detail().await, "stale-back-off", "now it has failed");
    world.advance(Duration::from_secs(2));
    assert_eq!(world.get("/x").await.text(), "new");
    assert_eq!(world.counters().refresh_failed.get(), 1);
}

#[tokio::test]
async fn a_stored_error_is_never_stale_material() {
    for status in ["404 Not Found", "500 Oops"] {
        let first =
            response(status, &[("Cache-Control", "max-age=5, stale-while-revalidate=60")], "an error");
        let world = stale_world("", first, |_| vec![Step::Close]).await;
        assert_eq!(world.get("/x").await.status, 502, "{status}");
    }
}

#[tokio::test]
async fn past_its_windows_a_response_is_kept_for_validation() {
    let settings = "[rules]\nstale_on_error = \"1m\"\nkeep = \"1h\"";
    let first = response("200 OK", &[("Cache-Control", "max-age=5"), ("ETag", "\"a\"")], "good");
    let world = stale_world(settings, first, |_| {
        vec![raw("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=7\r\n\r\n")]
    })
    .await;
    world.advance(Duration::from_secs(1800));
    let reply = world.get("/x").await;
    assert_eq!((reply.text(), reply.cache_status()), ("good", "fwd=stale; fwd-status=304; ttl=7; stored"));
    assert_eq!(world.origin.requests()[1].field("if-none-match"), Some("\"a\""));
    world.advance(Duration::from_secs(2 * 3600));
    world.get("/x").await;
    assert_eq!(world.origin.requests()[2].field("if-none-match"), None, "past keep it is forgotten");
}

#[tokio::test]
async fn what_is_stale_shows_in_its_age() {
    let world = World::start("").await;
    world
        .origin
        .on("/a", |_, n| if n == 1 { ok("max-age=5, stale-if-error=60", "old") } else { vec![Step::Close] });
    world.get("/a").await;
    world.settled().await;
    world.advance(Duration::from_secs(30));
    let stale = world.get("/a").await;
    assert_eq!((stale.text(), stale.field("age"), stale.field("warning")), ("old", Some("30"), None));
    assert_eq!(stale.cache_status(), "hit; ttl=-25; detail=stale-on-error");
}
