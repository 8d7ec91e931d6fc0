//! Content passes while it arrives, in both directions.

use crate::harness::World;
use crate::harness::origin::{Gate, Step, ok, raw, response};

#[tokio::test]
async fn an_upload_reaches_the_origin_while_it_arrives() {
    let world = World::start("").await;
    world.origin.always("/up", ok("no-store", "thanks"));
    let mut client = world.client("client").await;
    client.send(b"PUT /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 10\r\n\r\n01234").await;
    world.origin.wait_for_content(5).await;
    client.send(b"56789").await;
    assert_eq!(client.reply(false).await.text(), "thanks");
    let seen = world.origin.requests();
    assert_eq!((seen[0].body.as_slice(), seen[0].field("content-length")), (&b"0123456789"[..], Some("10")));
}

#[tokio::test]
async fn chunks_and_trailers_of_a_request_go_on() {
    let world = World::start("").await;
    world.origin.always("/up", ok("no-store", "thanks"));
    let mut client = world.client("client").await;
    client
        .send(
            b"POST /up HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
              3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n",
        )
        .await;
    assert_eq!(client.reply(false).await.text(), "thanks");
    let seen = world.origin.requests();
    assert_eq!(seen[0].body, b"abcde");
    assert_eq!(seen[0].trailers, [("x-sum".to_owned(), "5".to_owned())]);
    assert_eq!(client.get("/up").await.text(), "thanks", "the connection stays");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_no_request() {
    let world = World::start("").await;
    world.origin.always("/up", ok("no-store", "thanks"));
    let mut client = world.client("client").await;
    client.send(b"PUT /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 10\r\n\r\n01234").await;
    world.origin.wait_for_content(5).await;
    drop(client);
    world.until("the request to end", |c| c.requests_under_way.get() == 0).await;
    world.until("its connection to end", |c| c.origin_connections_open.get() == 0).await;
    assert_eq!(world.counters().invalidated_by_method.get(), 0);
}

#[tokio::test]
async fn the_client_is_told_to_continue() {
    let world = World::start("").await;
    world.origin.always("/up", ok("no-store", "thanks"));
    let mut client = world.client("client").await;
    client
        .send(
            b"PUT /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        )
        .await;
    assert_eq!(client.bytes(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"abc").await;
    assert_eq!(client.reply(false).await.text(), "thanks");
    assert_eq!(world.origin.requests()[0].body, b"abc");
    assert_eq!(world.origin.requests()[0].field("expect"), None);
}

#[tokio::test]
async fn a_download_reaches_the_client_while_it_arrives() {
    let world = World::start("").await;
    for cache_control in ["max-age=60", "no-store"] {
        let gate = Gate::default();
        let head =
            format!("HTTP/1.1 200 OK\r\nCache-Control: {cache_control}\r\nContent-Length: 10\r\n\r\n01234");
        world.origin.always("/down", vec![raw(&head), Step::Wait(gate.clone()), raw("56789")]);
        let mut client = world.client("client").await;
        client.send(b"GET /down HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        assert_eq!(client.head().await.field("content-length"), Some("10"));
        assert_eq!(client.bytes(5).await, b"01234");
        gate.reached(1).await;
        gate.open();
        assert_eq!(client.bytes(5).await, b"56789");
        world.settled().await;
        world.purge("/down").await;
    }
}

#[tokio::test]
async fn trailers_of_a_response_come_with_a_miss_and_with_a_hit() {
    let world = World::start("").await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    world.origin.always("/t", vec![raw(head), raw("5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n")]);
    for hit in [false, true] {
        let reply = world.get_with("/t", &[("TE", "trailers"), ("Connection", "TE")]).await;
        assert_eq!((reply.text(), reply.complete, reply.is_hit()), ("hello", true, hit));
        assert_eq!(reply.trailers, [("x-sum".to_owned(), "5".to_owned())], "hit: {hit}");
        assert_eq!((reply.field("trailer"), reply.field("x-sum")), (Some("X-Sum"), None), "hit: {hit}");
        world.settled().await;
    }
    // Who does not take trailers gets the content all the same.
    let plain = world.get("/t").await;
    assert_eq!((plain.text(), plain.complete, plain.trailers.len()), ("hello", true, 0));
    assert_eq!(world.origin.count("/t"), 1);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let world = World::start("").await;
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Key: k\r\n\r\n";
    world.origin.always("/ws", vec![raw(switch), Step::Echo]);
    let mut client = world.client("client").await;
    let reply = client.get_with("/ws", &[("Connection", "Upgrade"), ("Upgrade", "echo")]).await;
    assert_eq!((reply.status, reply.field("upgrade"), reply.field("x-key")), (101, Some("echo"), Some("k")));
    assert!(reply.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    let seen = world.origin.requests();
    assert_eq!((seen[0].field("upgrade"), seen[0].field("connection")), (Some("echo"), Some("upgrade")));
    for text in ["ping", "GET / HTTP/1.1\r\n\r\n"] {
        client.send(text.as_bytes()).await;
        assert_eq!(client.bytes(text.len()).await, text.as_bytes());
    }
    drop(client);
    world.until("the tunnel to end", |c| c.client_connections_open.get() == 0).await;
    world.until("its other end, too", |c| c.origin_connections_open.get() == 0).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_others() {
    let world = World::start("").await;
    world.origin.on("/ws", |_, n| ok("max-age=60", &format!("answer {n}")));
    let mut client = world.client("client").await;
    for n in 1..=2 {
        let reply = client.get_with("/ws", &[("Connection", "Upgrade"), ("Upgrade", "echo")]).await;
        assert_eq!((reply.status, reply.text()), (200, format!("answer {n}").as_str()));
        assert_eq!((reply.cache_status(), reply.field("upgrade")), ("fwd=request", None));
    }
}

#[tokio::test]
async fn an_old_client_gets_the_end_of_the_connection_for_an_end() {
    let world = World::start("").await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
    world.origin.always("/old", vec![raw(head), raw("5\r\nhello\r\n0\r\n\r\n")]);
    for hit in [false, true] {
        let mut client = world.client("old").await;
        client.send(b"GET /old HTTP/1.0\r\nHost: www.example.org\r\n\r\n").await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.text(), reply.is_hit()), (200, "hello", hit));
        assert_eq!(reply.field("transfer-encoding"), None);
        assert!(client.is_closed().await);
        world.settled().await;
    }
    assert_eq!(world.origin.requests()[0].field("via"), Some("1.0 forebay"));
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_and_ends_when_both_sides_are_silent() {
    let world = World::start("listen.tunnel_timeout = \"200ms\"\nlisten.max_connections = 1").await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    world.origin.always("/ws", vec![raw(switch), Step::Echo]);
    let mut client = world.client("client").await;
    client.get_with("/ws", &[("Connection", "Upgrade"), ("Upgrade", "echo")]).await;
    client.send(b"ping").await;
    assert_eq!(client.bytes(4).await, b"ping");
    assert_eq!(world.counters().client_connections_open.get(), 1, "it is still one of the connections");
    assert!(world.client("another").await.is_closed().await, "and there is room for one only");
    assert!(client.is_closed().await, "nobody has said anything for a while");
    assert_eq!(world.counters().client_timeout_tunnel.get(), 1);
}

#[tokio::test]
async fn a_connection_whose_request_is_not_whole_yet_carries_no_other() {
    let world = World::start("").await;
    world.origin.always("/early", response("413 Content Too Large", &[], "enough"));
    world.origin.always("/x", ok("max-age=60", "x"));
    let mut uploading = world.client("uploading").await;
    uploading
        .send(
            b"POST /early HTTP/1.1\r\nHost: www.example.org\r\nX-Early: 1\r\nContent-Length: 10\r\n\r\n01234",
        )
        .await;
    assert_eq!(uploading.reply(false).await.text(), "enough");
    assert_eq!(world.get("/x").await.text(), "x");
    let asked = world.origin.requests();
    assert_ne!(asked[0].connection, asked[1].connection);
}

#[tokio::test]
async fn a_trailer_section_is_the_end_of_a_message() {
    let world = World::start("origin.first_byte_timeout = \"50ms\"").await;
    let head =
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    world.origin.always("/t", vec![raw(head), raw("5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n")]);
    world.origin.always("/silent", vec![Step::Wait(Gate::default())]);
    let upload = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n"
        )
    };
    for path in ["/t", "/t", "/silent"] {
        let mut client = world.client(path).await;
        client.send(upload(path).as_bytes()).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.status, if path == "/t" { 200 } else { 504 });
        world.settled().await;
    }
    assert_eq!(world.get("/t").await.text(), "hello");
    let connections: Vec<usize> = world.origin.requests().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1], "both messages had come to their end");
}

#[tokio::test]
async fn a_switch_to_what_nobody_asked_for_is_no_answer() {
    let world = World::start("").await;
    for (n, fields) in
        ["", "Connection: upgrade\r\nUpgrade: h2c\r\n", "Connection: upgrade\r\nUpgrade: other\r\n"]
            .into_iter()
            .enumerate()
    {
        let path = format!("/{n}");
        world.origin.always(
            &path,
            vec![raw(&format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n")), Step::Echo],
        );
        let mut client = world.client("client").await;
        let reply = client.get_with(&path, &[("Connection", "Upgrade"), ("Upgrade", "echo")]).await;
        assert_eq!(reply.status, 502, "{fields}");
    }
}

#[tokio::test]
async fn an_upgrade_is_for_whoever_speaks_the_version_that_has_it_and_sends_no_content() {
    let world = World::start("").await;
    world.origin.always("/ws", ok("no-store", "plain"));
    for (version, more) in [("1.0", ""), ("1.1", "Content-Length: 3\r\n")] {
        let mut client = world.client("client").await;
        let content = if more.is_empty() { "" } else { "abc" };
        let request = format!(
            "GET /ws HTTP/{version}\r\nHost: www.example.org\r\nConnection: upgrade\r\nUpgrade: echo\r\n{more}\r\n{content}"
        );
        client.send(request.as_bytes()).await;
        assert_eq!(client.reply(false).await.text(), "plain");
        assert_eq!(world.origin.requests().pop().expect("a request").field("upgrade"), None);
    }
}
