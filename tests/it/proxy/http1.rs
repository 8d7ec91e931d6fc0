//! One connection over HTTP/1: its requests, its replies, and how it ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::World;
use crate::harness::origin::{CHANCE, Gate, Step, ok, raw};

/// A plain socket, for what no well-behaved client does.
async fn socket(world: &World) -> TcpStream {
    TcpStream::connect(world.node.address()).await.expect("a connection")
}

async fn everything(socket: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let ended = socket.read_to_end(&mut bytes).await;
    (String::from_utf8_lossy(&bytes).into_owned(), ended.is_ok())
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_and_behind_empty_lines() {
    let world = World::start("").await;
    world.origin.always("/a", ok("max-age=60", "content"));
    let mut client = world.client("slow").await;
    for hit in [false, true] {
        for byte in b"\r\n\r\nGET /a HTTP/1.1\r\nHost: www.example.org\r\n\r\n" {
            client.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        let reply = client.reply(false).await;
        assert_eq!((reply.text(), reply.is_hit()), ("content", hit));
        world.settled().await;
    }
}

/// Where nobody reads the content of requests.
const READ_ONLY: &str = "origin.rate = \"10000/s\"\n[rules]\nmode = \"hidden\"";

#[tokio::test]
async fn requests_with_content_follow_one_another_at_once() {
    let world = World::start("").await;
    world.origin.always("/up", ok("no-store", "thanks"));
    let mut client = world.client("client").await;
    let requests = "POST /up HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         PUT /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 3\r\n\r\ndef\
         GET /up HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    client.send(requests.as_bytes()).await;
    for _ in 0..3 {
        assert_eq!(client.reply(false).await.text(), "thanks");
    }
    let seen: Vec<_> = world.origin.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(seen, [&b"abc"[..], b"def", b""]);
}

#[tokio::test]
async fn content_that_nobody_reads_is_passed_over_where_it_has_come() {
    let world = World::start(READ_ONLY).await;
    let mut client = world.client("client").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    for framed in [
        format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
    ] {
        client.send(format!("POST /a HTTP/1.1\r\nHost: www.example.org\r\n{framed}").as_bytes()).await;
        assert_eq!(client.reply(false).await.status, 405);
    }
    assert_eq!((world.counters().client_connections.get(), world.counters().requests_queued.get()), (1, 0));
}

#[tokio::test]
async fn content_that_nobody_reads_and_that_comes_later_is_never_a_request() {
    let world = World::start(READ_ONLY).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    for framing in
        [format!("Content-Length: {}", smuggled.len() + 1), "Transfer-Encoding: chunked".to_owned()]
    {
        let mut client = world.client("client").await;
        client
            .send(format!("POST /a HTTP/1.1\r\nHost: www.example.org\r\n{framing}\r\n\r\n").as_bytes())
            .await;
        assert_eq!(client.reply(false).await.status, 405);
        client.send(smuggled.as_bytes()).await;
        assert!(client.is_closed().await);
    }
    world.until("both to end", |c| c.client_connections_open.get() == 0).await;
    assert_eq!(world.counters().requests_queued.get(), 0);
}

#[tokio::test]
async fn a_client_that_says_it_sends_no_more_still_gets_what_is_stored() {
    let world = World::start("").await;
    world.origin.always("/a", ok("max-age=60", "content"));
    world.get("/a").await;
    world.settled().await;
    let mut socket = socket(&world).await;
    socket.write_all(b"GET /a HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await.expect("sent");
    socket.shutdown().await.expect("half closed");
    let (text, ended) = everything(&mut socket).await;
    assert!(ended && text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\ncontent"), "{text}");
}

#[tokio::test]
async fn a_body_without_length_that_breaks_off_ends_with_a_reset() {
    let world = World::start("origin.between_bytes_timeout = \"50ms\"").await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
    world.origin.always("/cut", vec![raw(head), raw("5\r\nhello\r\n"), Step::Wait(Gate::default())]);
    let mut socket = socket(&world).await;
    socket.write_all(b"GET /cut HTTP/1.0\r\nHost: www.example.org\r\n\r\n").await.expect("sent");
    let (text, ended) = everything(&mut socket).await;
    assert!(!ended, "it must not look complete: {text}");
    assert_eq!(world.counters().replies_broken.get(), 1);
}

#[tokio::test]
async fn an_old_client_may_keep_its_connection() {
    let world = World::start("").await;
    world.origin.always("/a", ok("max-age=60", "content"));
    let mut client = world.client("old").await;
    for _ in 0..2 {
        client.send(b"GET /a HTTP/1.0\r\nHost: www.example.org\r\nConnection: keep-alive\r\n\r\n").await;
        let reply = client.reply(false).await;
        assert_eq!((reply.text(), reply.field("connection")), ("content", Some("keep-alive")));
    }
    client.send(b"GET /a HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.reply(false).await.field("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn whoever_is_refused_gets_to_read_why_although_it_still_sends() {
    let world = World::start("").await;
    let mut socket = socket(&world).await;
    let (mut read, mut write) = socket.split();
    let sending = async {
        let _ = write.write_all(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n").await;
        for _ in 0..64 {
            if write.write_all(&[b'x'; 16 * 1024]).await.is_err() {
                break;
            }
        }
        let _ = write.shutdown().await;
    };
    let reading = async {
        let mut text = String::new();
        read.read_to_string(&mut text).await.expect("no reset");
        text
    };
    let ((), text) = tokio::join!(sending, reading);
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("the Content-Length is no number"), "{text}");
    world.settled().await;
    assert_eq!((world.counters().client_malformed.get(), world.counters().requests_refused.get()), (1, 1));
}

#[tokio::test]
async fn a_client_that_leaves_while_its_content_is_on_its_way_is_noticed() {
    let world = World::start("").await;
    let gate = Gate::default();
    world.origin.always("/up", [vec![Step::Wait(gate.clone())], ok("no-store", "thanks")].concat());
    let mut client = world.client("client").await;
    client.send(b"POST /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 3\r\n\r\nabc").await;
    gate.reached(1).await;
    // All of its content has been read by now, and only the answer is waited for.
    drop(client);
    world.until("the client to be missed", |c| c.requests_left.get() == 1).await;
    world.until("its exchange to end", |c| c.origin_connections_open.get() == 0).await;
}

#[tokio::test]
async fn whoever_asks_before_it_sends_is_told_once_and_only_if_it_is_wanted() {
    let world = World::start("").await;
    world.origin.always("/up", ok("no-store", "thanks"));
    let mut client = world.client("client").await;
    let head =
        "POST /up HTTP/1.1\r\nHost: www.example.org\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n";
    client.send(head.as_bytes()).await;
    assert_eq!(client.bytes(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"abc").await;
    tokio::time::sleep(CHANCE).await;
    client.send(b"def").await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.text()), (200, "thanks"));
    assert_eq!(world.origin.requests().pop().expect("a request").body, b"abcdef");

    // Where nobody wants it, it may come or not.
    let world = World::start(READ_ONLY).await;
    let mut client = world.client("client").await;
    client.send(head.as_bytes()).await;
    assert_eq!(client.reply(false).await.status, 405);
    assert!(client.is_closed().await);
}
