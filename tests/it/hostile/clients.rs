//! A request that could be read in two ways is refused, and its connection ends.

use crate::harness::World;
use crate::harness::origin::ok;

/// A request that reaches the origin if the one before it is not refused for good.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: www.example.org\r\n\r\n";

/// Sends it, with another request behind it, and expects this status and the end.
async fn refused(world: &World, request: &str, status: u16) {
    let mut client = world.client("hostile").await;
    client.send(format!("{request}{SMUGGLED}").as_bytes()).await;
    let reply = client.reply(false).await;
    let shown = request.get(..80).unwrap_or(request);
    assert_eq!(reply.status, status, "{shown}");
    assert_eq!(reply.field("cache-status"), None, "{shown}");
    assert!(client.is_closed().await, "{shown}");
}

/// After all of it the origin has heard nothing, and others are served.
async fn unharmed(world: &World) {
    assert!(world.origin.requests().is_empty());
    world.origin.always("/fine", ok("max-age=60", "content"));
    assert_eq!(world.get("/fine").await.text(), "content");
    world.until("all connections to end", |c| c.client_connections_open.get() == 0).await;
}

#[tokio::test]
async fn framing_that_is_ambiguous_is_refused() {
    let world = World::start("").await;
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: -5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
    ] {
        refused(&world, &format!("POST /x HTTP/1.1\r\nHost: www.example.org\r\n{fields}\r\n\r\nhello"), 400)
            .await;
    }
    for (codings, status) in [("gzip, chunked", 501), ("chunked, chunked", 400)] {
        let head = "POST /x HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding";
        refused(&world, &format!("{head}: {codings}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), status).await;
    }
    unharmed(&world).await;
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let world = World::start("").await;
    for fields in [
        "X-No: host",
        "Host: www.example.org\r\nHost: other.example",
        "Host: www.example.org\r\nHost: www.example.org",
        "Host:",
        "Host: a b",
        "Host: user@www.example.org",
        "Host: www.example.org/path",
        "Host: www.example.org:port",
        "Host: www.example.org:123456",
        "Host: a, b:80",
        "Host: [::1",
    ] {
        refused(&world, &format!("GET /x HTTP/1.1\r\n{fields}\r\n\r\n"), 400).await;
    }
    refused(&world, "GET http://a@www.example.org/x HTTP/1.1\r\nHost: www.example.org\r\n\r\n", 400).await;
    unharmed(&world).await;
    world.settled().await;
    assert_eq!(world.counters().requests_refused.get() + world.counters().client_malformed.get(), 12);
}

#[tokio::test]
async fn field_lines_that_are_none_are_refused() {
    let world = World::start("").await;
    for line in
        ["X-A : b", "X-A: b\r\n folded", " X-A: b", "X-A: b\0c", "X A: b", ": b", "no colon", "X-A: \x07"]
    {
        refused(&world, &format!("GET /x HTTP/1.1\r\nHost: www.example.org\r\n{line}\r\n\r\n"), 400).await;
    }
    unharmed(&world).await;
    assert_eq!(world.counters().client_malformed.get(), 8);
}

#[tokio::test]
async fn request_lines_that_are_none_are_refused() {
    let world = World::start("").await;
    for line in ["garbage", "GET", "GET /x", "GET /a b HTTP/1.1", "G@T /x HTTP/1.1", "GET x HTTP/1.1"] {
        refused(&world, &format!("{line}\r\nHost: www.example.org\r\n\r\n"), 400).await;
    }
    refused(&world, "GET /x HTTP/3.1\r\nHost: www.example.org\r\n\r\n", 505).await;
    for request in ["GET ftp://www.example.org/x HTTP/1.1", "GET * HTTP/1.1"] {
        refused(&world, &format!("{request}\r\nHost: www.example.org\r\n\r\n"), 400).await;
    }
    unharmed(&world).await;
}

#[tokio::test]
async fn nobody_tunnels_through() {
    let world = World::start("").await;
    refused(&world, "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n", 405).await;
    unharmed(&world).await;
    assert_eq!(world.counters().requests_refused.get(), 1);
}

#[tokio::test]
async fn heads_and_targets_have_limits() {
    let world = World::start("").await;
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: www.example.org\r\n{fields}\r\n")
    };
    for length in [9 * 1024, 20 * 1024] {
        refused(&world, &get(&format!("/{}", "a".repeat(length)), ""), 414).await;
    }
    for length in [33 * 1024, 100 * 1024, 1024 * 1024] {
        refused(&world, &get("/x", &format!("X-Big: {}\r\n", "a".repeat(length))), 431).await;
    }
    for lines in [100, 101, 500] {
        refused(&world, &get("/x", &"X-Many: a\r\n".repeat(lines)), 431).await;
    }
    unharmed(&world).await;
    // What is within the limits passes.
    let mut client = world.client("client").await;
    let most = get(&format!("/{}", "a".repeat(8191)), &"X-Many: a\r\n".repeat(99));
    client.send(most.as_bytes()).await;
    assert_eq!(client.reply(false).await.status, 404);
    client.send(get("/x", &format!("X-Big: {}\r\n", "a".repeat(31 * 1024))).as_bytes()).await;
    assert_eq!(client.reply(false).await.status, 404);
}

#[tokio::test]
async fn chunks_that_are_none_end_the_request() {
    let world = World::start("").await;
    for chunks in [
        "xyz\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
    ] {
        let mut client = world.client("hostile").await;
        let head = "POST /x HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{chunks}{SMUGGLED}").as_bytes()).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.status, 400, "{chunks}");
        assert!(client.is_closed().await, "{chunks}");
    }
    // No whole request has reached the origin.
    world.until("all exchanges to end", |c| c.origin_connections_open.get() == 0).await;
    unharmed(&world).await;
    assert_eq!(world.counters().invalidated_by_method.get(), 0);
}

#[tokio::test]
async fn chunks_that_are_none_stay_so_wherever_they_are_cut() {
    let world = World::start("").await;
    for (first, second) in [
        ("3\r\nabc\r\n0\r\nbad", "\r\n"),
        ("zz", "5\r\nhello\r\n0\r\n\r\n"),
        ("3\r\nabcX", "\r\n0\r\n\r\n"),
        ("3\r\nabc\r\n0\r\nX: y\0", "\r\n\r\n"),
    ] {
        let mut client = world.client("hostile").await;
        let head = "POST /x HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{first}").as_bytes()).await;
        // The first part is likely to be read by itself.
        tokio::task::yield_now().await;
        client.send(format!("{second}{SMUGGLED}").as_bytes()).await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.field("connection")), (400, Some("close")), "{first:?}");
        assert!(client.is_closed().await, "{first:?}");
    }
    world.until("all exchanges to end", |c| c.origin_connections_open.get() == 0).await;
    unharmed(&world).await;
}
