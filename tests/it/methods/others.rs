//! What is neither `GET` nor `HEAD` nor unsafe, and a `GET` that brings content.

use crate::harness::World;
use crate::harness::origin::ok;

#[tokio::test]
async fn a_get_with_content_stays_away_from_the_cache() {
    let world = World::start("").await;
    world.origin.on("/g", |seen, n| {
        ok("max-age=60", &format!("answer {n} to {}", String::from_utf8_lossy(&seen.body)))
    });
    let mut client = world.client("client").await;
    let first = client.ask("GET", "/g", &[], b"abc").await;
    assert_eq!((first.text(), first.cache_status()), ("answer 1 to abc", "fwd=request"));
    world.settled().await;
    assert_eq!(client.get("/g").await.text(), "answer 2 to ");
    world.settled().await;
    assert_eq!(client.ask("GET", "/g", &[], b"abc").await.text(), "answer 3 to abc");
    client.send(b"GET /g HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n").await;
    assert_eq!(client.reply(false).await.text(), "answer 4 to xyz");
    assert_eq!(client.get("/g").await.text(), "answer 2 to ");
    world.settled().await;
    assert_eq!((world.counters().requests_pass.get(), world.counters().requests_hit.get()), (3, 1));
}

#[tokio::test]
async fn options_and_trace_are_passed_and_never_stored() {
    let world = World::start("").await;
    for path in ["/o", "*"] {
        world.origin.on(path, |_, n| ok("max-age=60", &format!("answer {n}")));
        for n in 1..=2 {
            let reply = world.client("client").await.ask("OPTIONS", path, &[], b"").await;
            assert_eq!((reply.text(), reply.cache_status()), (format!("answer {n}").as_str(), "fwd=method"));
            world.settled().await;
        }
        assert_eq!(world.origin.count(path), 2);
    }
    assert_eq!(world.get("/o").await.text(), "answer 3");
}
