//! Answers that come neither from the origin nor from the store (RFC 9110 6.6.1, RFC 9211 2).

use crate::harness::World;
use crate::harness::origin::{Step, ok, raw};

#[tokio::test]
async fn what_is_made_here_is_dated_and_says_nothing_of_a_cache() {
    let world = World::start("[node]\nname = \"edge-1\"").await;
    world.origin.otherwise(|_, _| vec![Step::Close]);
    let host = "Host: www.example.org\r\n";
    for (request, status) in [
        (format!("GET /x HTTP/1.1\r\n{host}\r\n"), 502),
        (format!("GET /x HTTP/1.1\r\n{host}Cache-Control: only-if-cached\r\n\r\n"), 504),
        (format!("OPTIONS /x HTTP/1.1\r\n{host}Max-Forwards: 0\r\n\r\n"), 200),
        (format!("TRACE /x HTTP/1.1\r\n{host}Max-Forwards: 0\r\n\r\n"), 200),
        ("GET /x HTTP/1.1\r\nX-No: host\r\n\r\n".to_owned(), 400),
        (format!("CONNECT a.example:443 HTTP/1.1\r\n{host}\r\n"), 405),
        (format!("GET /x HTTP/2.1\r\n{host}\r\n"), 505),
    ] {
        let mut client = world.client("client").await;
        client.send(request.as_bytes()).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.status, status, "{request}");
        assert!(reply.field("date").is_some_and(|date| date.ends_with(" GMT")), "{request}");
        assert_eq!(reply.field("cache-status"), None, "{request}");
        assert!(reply.field("proxy-status").is_none_or(|said| said.starts_with("edge-1; ")), "{request}");
        assert_eq!(
            reply.field("allow").is_some(),
            status == 405 || request.starts_with("OPTIONS"),
            "{request}"
        );
        if status == 505 {
            assert!(reply.text().contains("neither 1.0 nor 1.1"), "{}", reply.text());
        }
    }
}

#[tokio::test]
async fn a_status_that_nobody_has_is_passed_on_and_nothing_is_guessed_about_it() {
    let world = World::start("").await;
    let head =
        "HTTP/1.1 799 Odd\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 3\r\n\r\nodd";
    world.origin.always("/x", vec![raw(head)]);
    for n in 1..=2 {
        let reply = world.get("/x").await;
        assert_eq!((reply.status, reply.text(), reply.is_hit()), (799, "odd", false));
        world.settled().await;
        assert_eq!(world.origin.count("/x"), n);
    }
}

#[tokio::test]
async fn an_old_client_is_not_told_to_continue() {
    let world = World::start("").await;
    world.origin.on("/u", |seen, _| ok("no-store", &String::from_utf8_lossy(&seen.body)));
    let mut client = world.client("old").await;
    let head =
        "POST /u HTTP/1.0\r\nHost: www.example.org\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    client.send(head.as_bytes()).await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.text()), (200, "hi"));
}

#[tokio::test]
async fn what_went_wrong_is_told_only_where_that_is_wanted() {
    let world = World::start("[rules]\nproxy_status = false").await;
    world.origin.otherwise(|_, _| vec![Step::Close]);
    let reply = world.get("/x").await;
    assert_eq!((reply.status, reply.field("proxy-status")), (502, None));
}

#[tokio::test]
async fn the_key_is_told_where_that_is_wanted() {
    let world = World::start("[rules]\ncache_status_key = true").await;
    world.origin.always("/x", ok("max-age=60", "x"));
    world.origin.always("/private", ok("private", "x"));
    for (method, path, status) in [
        ("GET", "/x", "fwd=uri-miss; ttl=60; stored; key=\"http://www.example.org:80/x\""),
        ("GET", "/x", "hit; ttl=60; key=\"http://www.example.org:80/x\""),
        ("GET", "/private", "fwd=uri-miss; key=\"http://www.example.org:80/private\"; detail=private"),
        ("DELETE", "/x", "fwd=method; key=\"http://www.example.org:80/x\""),
    ] {
        let reply = world.client("client").await.ask(method, path, &[], b"").await;
        assert_eq!(
            reply.field("cache-status"),
            Some(format!("forebay; {status}").as_str()),
            "{method} {path}"
        );
        world.settled().await;
    }
}
