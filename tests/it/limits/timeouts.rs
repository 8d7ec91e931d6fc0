//! Whoever is silent for too long is left, and counted by what was waited for.

use crate::harness::World;
use crate::harness::origin::{CHANCE, Gate, Step, ok, raw};

/// A gate that nobody opens.
fn never() -> Step {
    Step::Wait(Gate::default())
}

#[tokio::test]
async fn an_origin_without_a_first_byte_gets_504() {
    let world = World::start("origin.first_byte_timeout = \"50ms\"").await;
    world.origin.always("/silent", vec![never()]);
    world.origin.always("/half", vec![raw("HTTP/1.1 200 OK\r\n"), never()]);
    for (n, path) in ["/silent", "/half"].into_iter().enumerate() {
        let reply = world.get(path).await;
        assert_eq!((reply.status, reply.field("cache-status")), (504, None), "{path}");
        world.settled().await;
        assert_eq!(world.counters().origin_timeout_first_byte.get(), n as u64 + 1);
        assert_eq!((world.origin.count(path), world.counters().origin_retries.get()), (1, 0));
    }
    world.until("its connections to end", |c| c.origin_connections_open.get() == 0).await;
}

#[tokio::test]
async fn an_origin_that_pauses_is_cut_off() {
    let world = World::start("origin.between_bytes_timeout = \"50ms\"").await;
    for cache_control in ["max-age=60", "no-store"] {
        let head =
            format!("HTTP/1.1 200 OK\r\nCache-Control: {cache_control}\r\nContent-Length: 10\r\n\r\n01234");
        world.origin.on("/p", move |_, _| vec![raw(&head), never()]);
        let before = world.counters().origin_timeout_between_bytes.get();
        let mut client = world.client("client").await;
        let cut = client.get("/p").await;
        assert_eq!((cut.status, cut.complete, cut.text()), (200, false, "01234"));
        assert!(client.is_closed().await);
        world.settled().await;
        assert_eq!(world.counters().origin_timeout_between_bytes.get(), before + 1);
    }
    assert_eq!((world.counters().store_inserted.get(), world.counters().replies_broken.get()), (0, 2));
    world.until("its connections to end", |c| c.origin_connections_open.get() == 0).await;
}

#[tokio::test]
async fn an_exchange_has_an_end() {
    let world = World::start("origin.total_timeout = \"100ms\"").await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n01234";
    world.origin.always("/t", vec![raw(head), never()]);
    assert!(!world.get("/t").await.complete);
    world.settled().await;
    assert_eq!(world.counters().origin_timeout_total.get(), 1);
    assert_eq!(world.counters().store_inserted.get(), 0);
}

#[tokio::test]
async fn an_origin_that_is_not_there_gets_502() {
    // Bound and not listening: nobody else takes the port, and nobody answers on it.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("an address");
    let settings = format!(
        "[[origin]]\nname = \"gone\"\nurl = \"http://{address}\"\n[[site]]\nhosts = [\"*\"]\norigin = \"gone\""
    );
    let world = World::start(&settings).await;
    for method in ["GET", "HEAD", "POST"] {
        let reply = world.client("client").await.ask(method, "/x", &[], b"").await;
        assert_eq!((reply.status, reply.field("cache-status")), (502, None), "{method}");
    }
    world.settled().await;
    assert_eq!(
        (world.counters().origin_failed_connect.get(), world.counters().requests_failed.get()),
        (3, 3)
    );
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_closes() {
    let world = World::start("listen.header_timeout = \"50ms\"").await;
    let mut client = world.client("slow").await;
    client.send(b"GET /x HTTP/1.1\r\nHost: www.exam").await;
    assert!(client.is_closed().await);
    world.until("the connection to end", |c| c.client_connections_open.get() == 0).await;
    let counters = world.counters();
    assert_eq!((counters.client_timeout_header.get(), counters.client_timeout_idle.get()), (1, 0));
    assert!(world.origin.requests().is_empty());
}

#[tokio::test]
async fn a_connection_without_requests_closes() {
    let world = World::start("listen.idle_timeout = \"50ms\"").await;
    world.origin.always("/a", ok("max-age=60", "content"));
    assert!(world.client("silent").await.is_closed().await);
    let mut client = world.client("client").await;
    assert_eq!(client.get("/a").await.text(), "content");
    assert!(client.is_closed().await);
    world.until("the connections to end", |c| c.client_connections_open.get() == 0).await;
    let counters = world.counters();
    assert_eq!((counters.client_timeout_idle.get(), counters.client_timeout_header.get()), (2, 0));
}

#[tokio::test]
async fn waiting_for_the_origin_is_not_the_client_s_silence() {
    let world = World::start(
        "listen.idle_timeout = \"10ms\"\nlisten.header_timeout = \"10ms\"\nlisten.body_timeout = \"10ms\"",
    )
    .await;
    let gate = Gate::default();
    world.origin.always("/slow", [vec![Step::Wait(gate.clone())], ok("no-store", "content")].concat());
    for method in ["GET", "POST"] {
        let mut client = world.client("client").await;
        client.send(&crate::harness::client::request(method, "/slow", &[], b"abc")).await;
        world.origin.wait_for("/slow", if method == "GET" { 1 } else { 2 }).await;
        tokio::time::sleep(CHANCE).await;
        gate.open();
        assert_eq!(client.reply(false).await.text(), "content", "{method}");
    }
    assert_eq!(world.counters().client_timeout_body.get(), 0);
}

#[tokio::test]
async fn content_that_does_not_come_closes() {
    let world = World::start("listen.body_timeout = \"50ms\"").await;
    world.origin.always("/up", ok("no-store", "thanks"));
    let mut client = world.client("slow").await;
    client.send(b"PUT /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 10\r\n\r\n01234").await;
    world
        .until("the connection to end", |c| {
            c.client_connections.get() == 1 && c.client_connections_open.get() == 0
        })
        .await;
    world.settled().await;
    let counters = world.counters();
    assert_eq!((counters.client_timeout_body.get(), counters.client_timeout_idle.get()), (1, 0));
    assert_eq!(counters.invalidated_by_method.get(), 0);
    world.until("its exchange to end", |c| c.origin_connections_open.get() == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_left() {
    let world = World::start("listen.send_timeout = \"50ms\"").await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 67108864\r\n\r\n";
    world.origin.always("/large", vec![raw(head), Step::Repeat(vec![b'x'; 65_536], 1024)]);
    let mut client = world.client("client").await;
    client.send(b"GET /large HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    world.until("the client to be left", |c| c.client_timeout_send.get() == 1).await;
    world.settled().await;
    world.until("its exchange to end", |c| c.origin_connections_open.get() == 0).await;
    assert_eq!(world.counters().client_connections_open.get(), 0);

    // The same where it is stored.
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 33554432\r\n\r\n";
    world.origin.always("/stored", vec![raw(head), Step::Repeat(vec![b'x'; 65_536], 512)]);
    for left in 2..=3 {
        let mut client = world.client("client").await;
        client.send(b"GET /stored HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        world.until("the client to be left", |c| c.client_timeout_send.get() == left).await;
        world.until("it to be stored", |c| c.store_inserted.get() == 1).await;
    }
    assert_eq!(world.origin.count("/stored"), 1);
}

#[tokio::test]
async fn an_origin_that_has_a_whole_request_is_not_waited_for_longer_than_for_one_without_content() {
    let world = World::start("origin.first_byte_timeout = \"50ms\"").await;
    world.origin.always("/p", vec![never()]);
    let mut client = world.client("client").await;
    assert_eq!(client.ask("POST", "/p", &[], b"all of it").await.status, 504);
    assert_eq!(world.origin.count("/p"), 1);
}

#[tokio::test]
async fn an_origin_that_takes_nothing_of_the_content_is_left() {
    let world = World::start("origin.between_bytes_timeout = \"50ms\"").await;
    world.origin.always("/up", vec![never()]);
    let mut client = world.client("client").await;
    let upload = vec![b'x'; 64 * 1024 * 1024];
    tokio::spawn(async move {
        // The origin reads no further than the head, and the node stops reading as well.
        client.ask("PUT", "/up", &[("X-Early", "1")], &upload).await;
    });
    world.until("the origin to be left", |c| c.origin_timeout_between_bytes.get() == 1).await;
    world.until("its connection to end", |c| c.origin_connections_open.get() == 0).await;
}

#[tokio::test]
async fn content_that_comes_after_the_answer_does_not_keep_a_connection_for_ever() {
    let world = World::start("listen.idle_timeout = \"200ms\"\nlisten.header_timeout = \"200ms\"").await;
    world.origin.always("/early", ok("no-store", "enough"));
    let mut client = world.client("client").await;
    client
        .send(
            b"PUT /early HTTP/1.1\r\nHost: www.example.org\r\nX-Early: 1\r\nContent-Length: 10\r\n\r\n01234",
        )
        .await;
    assert_eq!(client.reply(false).await.text(), "enough");
    client.send(b"56789").await;
    assert!(client.is_closed().await);
}
