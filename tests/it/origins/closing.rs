//! Connections that end: ours are closed before anybody else is asked for the same place,
//! and those that the origin has closed are not used.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::harness::{Client, Origin, Transcript, World};

/// One request at a time, over short times.
const ONE: &str = "origin.max_requests = 1\norigin.max_line = 4\norigin.line_wait = \"9s\"\n\
                   [rules]\ncache = false\n";

/// An origin that says only what a test tells it, socket by socket.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("origin.url = \"http://{}\"\n", listener.local_addr().expect("an address"));
    (listener, url)
}

/// Accepts a connection and reads a head.
fn request(listener: &TcpListener) -> TcpStream {
    // Where a test fails, nobody comes.
    listener.set_nonblocking(true).expect("an option");
    let end = Instant::now() + Duration::from_secs(20);
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("nobody connects: {error}"),
        }
    };
    stream.set_nonblocking(false).expect("an option");
    read_head(&mut stream);
    stream
}

fn read_head(stream: &mut TcpStream) {
    let (mut read, mut byte) = (Vec::new(), [0; 1]);
    while !read.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        read.push(byte[0]);
    }
}

fn answer(stream: &mut TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell").expect("it is taken");
}

/// Says that nothing more comes, and waits until the other side's kernel knows.
fn close(stream: &TcpStream) {
    let port = |address: std::io::Result<SocketAddr>| format!(":{:04X}", address.expect("an address").port());
    // Where the other side closes at once, there is no address any more.
    let (ours, theirs) = (port(stream.local_addr()), port(stream.peer_addr()));
    stream.shutdown(Shutdown::Write).expect("it is open");
    // The end was received: FIN_WAIT2, or TIME_WAIT where the other side has closed as well.
    let is_known = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (ours_is, theirs_is) = (words.next(), words.next());
        ours_is.is_some_and(|word| word.ends_with(&ours))
            && theirs_is.is_some_and(|word| word.ends_with(&theirs))
            && words.next().is_some_and(|state| state == "05" || state == "06")
    };
    let end = Instant::now() + Duration::from_secs(20);
    // Where the other side has closed as well, there is no such line any more.
    let is_there = |text: &str| text.lines().any(|line| line.contains(&ours) && line.contains(&theirs));
    loop {
        let text = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        if text.lines().any(is_known) || !is_there(&text) {
            return;
        }
        assert!(Instant::now() < end, "the end is not received: {ours} {theirs}\n{text}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the other side has closed this one, at this moment.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Answers the first request with `beginning`, the second one in full, and tells whether the
/// first one's connection was closed when the second one came.
fn two(listener: TcpListener, beginning: &'static str) -> (mpsc::Receiver<()>, JoinHandle<bool>) {
    let (told, begun) = mpsc::channel();
    let served = spawn_blocking(move || {
        let mut first = request(&listener);
        first.write_all(beginning.as_bytes()).expect("it is taken");
        told.send(()).expect("the test waits");
        let mut second = request(&listener);
        let was_closed = is_closed(&mut first);
        answer(&mut second);
        was_closed
    });
    (begun, served)
}

async fn world(settings: &str) -> World {
    World::real(Origin::start(Transcript::default()).await, settings).await
}

/// A request that waits for the place of the first one.
async fn second(world: &World) -> Client {
    let mut client = world.client("second").await;
    client.send(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.until("the second one waits for the place", |counters| counters.origin_waiting.get() == 1).await;
    client
}

const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome of it";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_late_has_closed_its_connection_before_its_place_is_taken() {
    let patience = "origin.first_byte_timeout = \"600ms\"\norigin.between_bytes_timeout = \"600ms\"\n";
    for beginning in ["", "HTTP/1.1 200 OK\r\nConte", HALF] {
        let (listener, url) = listener();
        let world = world(&format!("{url}{patience}{ONE}")).await;
        let (begun, served) = two(listener, beginning);
        let mut first = world.client("first").await;
        first.send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n").await;
        spawn_blocking(move || begun.recv()).await.expect("no panic").expect("the origin is asked");
        let mut second = second(&world).await;
        assert_eq!(second.reply(false).await.status, 200, "after {beginning:?}");
        assert!(served.await.expect("no panic"), "the first was open still, after {beginning:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_has_its_connection_closed_before_its_place_is_taken() {
    for (method, beginning) in [("GET", ""), ("GET", HALF), ("POST", ""), ("POST", HALF), ("PUT", HALF)] {
        let (listener, url) = listener();
        let world = world(&format!("{url}{ONE}")).await;
        let (begun, served) = two(listener, beginning);
        let mut first = world.client("first").await;
        // The content of a PUT is on its way still when its response begins.
        let framing = match method {
            "GET" => "",
            "POST" => "Content-Length: 4\r\n",
            _ => "Content-Length: 400\r\n",
        };
        first.send(format!("{method} /first HTTP/1.1\r\nHost: x\r\n{framing}\r\n").as_bytes()).await;
        if method != "GET" {
            first.send(b"some").await;
        }
        spawn_blocking(move || begun.recv()).await.expect("no panic").expect("the origin is asked");
        let mut second = second(&world).await;
        drop(first);
        assert_eq!(second.reply(false).await.status, 200, "after {method} {beginning:?}");
        assert!(served.await.expect("no panic"), "the first was open still, after {method} {beginning:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_sent_twice_is_not_sent_to_an_origin_that_has_just_closed() {
    const ROUNDS: usize = 20;
    let (listener, url) = listener();
    let world = world(&format!("{url}{ONE}")).await;
    let (end, closing) = mpsc::channel::<()>();
    let (told, closed) = mpsc::channel();
    let served = spawn_blocking(move || {
        for _ in 0..ROUNDS {
            let mut stream = request(&listener);
            answer(&mut stream);
            closing.recv().expect("the test goes on");
            close(&stream);
            told.send(()).expect("the test goes on");
        }
    });
    let mut client = world.client("client").await;
    for round in 0..ROUNDS {
        let reply = client.ask("POST", "/x", &[], b"").await;
        assert_eq!((reply.status, reply.text()), (200, "well"), "round {round}");
        world.until("it is idle", |counters| counters.origin_connections_open.get() == 1).await;
        end.send(()).expect("the origin goes on");
        closed.recv().expect("the origin goes on");
    }
    served.await.expect("no panic");
    assert_eq!(world.counters().origin_connections.get(), ROUNDS as u64);
    assert_eq!(world.counters().origin_retries.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_the_origin_has_closed_is_closed_without_a_request() {
    let (listener, url) = listener();
    let world = world(&format!("{url}{ONE}")).await;
    let (end, closing) = mpsc::channel::<()>();
    let served = spawn_blocking(move || {
        let mut stream = request(&listener);
        answer(&mut stream);
        closing.recv().expect("the test goes on");
    });
    assert_eq!(world.get("/x").await.status, 200);
    assert_eq!(world.counters().origin_connections_open.get(), 1);
    end.send(()).expect("the origin goes on");
    served.await.expect("no panic");
    world.until("ours is closed", |counters| counters.origin_connections_open.get() == 0).await;
}
