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
