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

/// RFC 9110 7.6.2: it counts down, and what has come to its end is answered here.
#[tokio::test]
async fn max_forwards_ends_trace_and_options_here() {
    let world = World::start("").await;
    world.origin.otherwise(|_, _| ok("no-store", "from the origin"));
    let mut client = world.client("client").await;
    for (method, target) in [("TRACE", "/x?y"), ("OPTIONS", "/x"), ("OPTIONS", "*")] {
        let secret = ("Authorization", "Bearer abc");
        let fields = [("Max-Forwards", "0"), secret, ("Cookie", "session=1"), ("X-Probe", "here")];
        let reply = client.ask(method, target, &fields, b"").await;
        assert_eq!(reply.status, 200, "{method} {target}");
        if method == "TRACE" {
            assert_eq!(reply.field("content-type"), Some("message/http"));
            assert!(reply.text().starts_with("TRACE /x?y HTTP/1.1\r\n"), "{}", reply.text());
            assert!(reply.text().to_ascii_lowercase().contains("x-probe: here\r\n"), "{}", reply.text());
            for hidden in ["abc", "session"] {
                assert!(!reply.text().contains(hidden), "{}", reply.text());
            }
        } else {
            assert!(reply.field("allow").is_some_and(|allow| allow.contains("GET")));
        }
    }
    assert_eq!(world.origin.requests().len(), 0);
    assert_eq!(world.counters().requests_own.get(), 3);

    for (method, told, passed_on) in
        [("TRACE", "3", "2"), ("OPTIONS", "1", "0"), ("OPTIONS", "odd", "odd"), ("GET", "0", "0")]
    {
        client.ask(method, "/x", &[("Max-Forwards", told)], b"").await;
        let seen = world.origin.requests().pop().expect("it was passed on");
        assert_eq!((seen.method.as_str(), seen.field("max-forwards")), (method, Some(passed_on)));
    }
}
