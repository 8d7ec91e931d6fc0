//! Requests with content: slow clients do not hold an origin's places, and deadlines hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::message::{Broken, Piece, RequestHead};
use forebay::observe::counters::Counters;
use forebay::origin::resolve::Name;
use forebay::origin::{Content, Group, Origins, Outgoing, Server, Settings};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::harness::origin::{Gate, Step, ok};
use crate::harness::{Client, Transcript, World, breathe};

const HALF: &[u8] = b"POST /up HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 4\r\n\r\nab";

async fn upload(world: &World, name: &str) -> Client {
    let mut client = world.client(name).await;
    client.send(HALF).await;
    client
}

#[tokio::test]
async fn those_that_send_slowly_hold_no_more_than_their_part_of_the_places() {
    let world = World::start("origin.max_requests = 4\norigin.line_wait = \"100ms\"").await;
    world.origin.otherwise(|_, _| ok("no-store", "done"));
    let mut slow = [upload(&world, "one").await, upload(&world, "two").await];
    world.until("both have a place", |counters| counters.origin_requests.get() == 2).await;

    let mut third = upload(&world, "three").await;
    let refused = third.head().await;
    assert_eq!((refused.status, refused.field("retry-after").is_some()), (503, true));
    assert_eq!(world.counters().origin_refused_overdue.get(), 1);
    // Everybody else has the other half.
    for path in ["/a", "/b", "/c"] {
        assert_eq!(world.get(path).await.text(), "done");
    }

    slow[0].send(b"cd").await;
    assert_eq!(slow[0].reply(false).await.status, 200);
    let mut fourth = upload(&world, "four").await;
    fourth.send(b"cd").await;
    assert_eq!(fourth.reply(false).await.status, 200);
}

/// What is still to be sent counts, and not what has been sent and waits for its answer.
#[tokio::test]
async fn content_that_was_sent_is_no_upload_any_more() {
    let world = World::start("origin.max_requests = 4\norigin.line_wait = \"5s\"").await;
    let gate = Gate::default();
    let held = gate.clone();
    world.origin.otherwise(move |_, _| [vec![Step::Wait(held.clone())], ok("no-store", "done")].concat());
    let mut clients = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let mut client = world.client(name).await;
        client.send(HALF).await;
        client.send(b"cd").await;
        clients.push(client);
    }
    gate.reached(4).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply(false).await.status, 200);
    }
}

#[tokio::test]
async fn the_whole_time_is_over_for_whoever_has_sent_content_too() {
    let settings = "origin.first_byte_timeout = \"60s\"\norigin.total_timeout = \"200ms\"";
    let world = World::start(settings).await;
    world.origin.otherwise(|_, _| vec![Step::Wait(Gate::default())]);
    let began = Instant::now();
    let reply = world.client("client").await.ask("POST", "/", &[], b"content").await;
    assert_eq!(reply.status, 504);
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(world.counters().origin_timeout_first_byte.get(), 1);
}

/// An origin that answers as soon as it has the head of a request, and reads on.
async fn early(total_timeout: Duration) -> Group {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let name = Name::Host { host: address.ip().to_string(), port: address.port() };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.windows(4).any(|window| window == b"\r\n\r\n") {
                    let Ok(1..) = stream.read_buf(&mut read).await else { return };
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await;
                while matches!(stream.read_buf(&mut read).await, Ok(1..)) {}
            });
        }
    });
    let servers = vec![Server { name, tls: false, weight: 1 }];
    let settings = Settings { name: "early".to_owned(), servers, total_timeout, ..Settings::default() };
    Origins::by_system(Arc::<Counters>::default()).expect("a resolver").get(&settings)
}

/// Sends the head of an upload, and reads the whole answer to it. What comes through the channel
/// is its content.
async fn answered_early(group: &Group) -> mpsc::Sender<Result<Piece, Broken>> {
    let (content, pieces) = mpsc::channel(1);
    let body = futures_util::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let fields = [("host", "www.example.org")].into_iter().collect();
    let outgoing = Outgoing {
        head: RequestHead { method: http::Method::POST, target: "/up".to_owned(), fields },
        body: Some(Content { body: Box::pin(body), length: Some(4) }),
        upgrade: false,
        key: "".into(),
        limits: Default::default(),
        tell: None,
    };
    let mut exchange = group.exchange(outgoing).await.expect("an answer");
    let mut answer = Vec::new();
    while let Some(piece) = exchange.body.next().await {
        match piece {
            Ok(Piece::Bytes(bytes)) => answer.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answer, b"early");
    content
}

async fn until_free(group: &Group) {
    let wait = async {
        while group.view().requests.under_way > 0 {
            breathe().await;
        }
    };
    Transcript::default().within("the place to be free", wait).await;
}

#[tokio::test]
async fn what_is_still_sent_behind_an_early_answer_holds_its_place() {
    let group = early(Duration::from_secs(600)).await;
    let content = answered_early(&group).await;
    assert_eq!(group.view().requests.under_way, 1);
    content.send(Ok(Piece::Bytes("whol".into()))).await.expect("it is taken");
    until_free(&group).await;
    // One that breaks off is over, too.
    let content = answered_early(&group).await;
    assert_eq!(group.view().requests.under_way, 1);
    drop(content);
    until_free(&group).await;
}

#[tokio::test]
async fn nor_does_it_for_longer_than_the_whole_may_take() {
    let group = early(Duration::from_millis(300)).await;
    let content = answered_early(&group).await;
    until_free(&group).await;
    assert!(content.send(Ok(Piece::Bytes("late".into()))).await.is_err(), "nobody takes it any more");
}
