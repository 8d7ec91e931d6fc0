//! A long run: mixed load upon a full store, in which responses come and go all the time.
//! Its memory stays within a tenth of what it may have beyond that, and does not grow; answers
//! do not become slower. No body is wrong.
//!
//! `cargo test --test it soak -- --ignored --nocapture` runs it for half an hour and prints a
//! row for each window; FOREBAY_SOAK_SECONDS says how long it takes, FOREBAY_SEED from which
//! seed it runs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process;
use crate::harness::{Client, Transcript, breathe};

/// What the store may have.
const MEMORY: u64 = 128 * 1024 * 1024;
/// Pages that there are; together they are several times as large.
const PAGES: usize = 120_000;
const CLIENTS: usize = 24;
/// Windows in which the run is looked at.
const WINDOWS: usize = 60;

/// What one window has seen.
struct Window {
    resident: u64,
    stored: u64,
    requests: usize,
    hits: usize,
    p99: Duration,
}

/// What clients have seen since the last window.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    hits: usize,
    wrong: Option<String>,
}

/// What the page of this number is: itself, again and again, up to some length between one
/// byte and 64 KiB, most of them short.
fn page(number: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let most = 1 << random.u32(6..=16);
    let length = random.usize(1..=most);
    let word = format!("page {number} ");
    word.bytes().cycle().take(length).collect()
}

/// One connection of the origin.
async fn serve(mut stream: TcpStream, asked: Arc<AtomicUsize>) {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
                read.drain(..end + 4);
                break head;
            }
            match stream.read_buf(&mut read).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        };
        asked.fetch_add(1, Ordering::Relaxed);
        let target = head.split(' ').nth(1).unwrap_or_default();
        let number: usize = target.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        let tag = format!("\"{number}\"");
        if head.contains(&format!("if-none-match: {tag}")) {
            let fresh =
                format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nCache-Control: max-age=20\r\n\r\n");
            if stream.write_all(fresh.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let lives = match number % 20 {
            0 => "no-store",
            1..6 => "max-age=20, stale-while-revalidate=20",
            _ => "max-age=600",
        };
        let vary = if number.is_multiple_of(7) { "Vary: x-variant\r\n" } else { "" };
        let content = page(number);
        let framing = if number.is_multiple_of(3) {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", content.len())
        };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: {tag}\r\nCache-Tag: t{}\r\nCache-Control: {lives}\r\n{vary}{framing}\r\n\r\n",
            number % 1000
        )
        .into_bytes();
        if number.is_multiple_of(3) {
            for chunk in content.chunks(5000) {
                response.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                response.extend_from_slice(chunk);
                response.extend_from_slice(b"\r\n");
            }
            response.extend_from_slice(b"0\r\n\r\n");
        } else {
            response.extend_from_slice(&content);
        }
        if stream.write_all(&response).await.is_err() {
            return;
        }
    }
}

/// One client, until it is told to stop.
async fn client(address: SocketAddr, seed: u64, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut connection: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut client = match connection.take() {
            Some(client) => client,
            None => Client::connect(address, Transcript::default(), "client").await,
        };
        // A few pages are wanted often, most of them seldom.
        let number = (random.f64().powi(3) * PAGES as f64) as usize;
        let target = format!("/pages/{number}");
        let variant = ["a", "b"][random.usize(0..2)];
        let mut fields = vec![("X-Variant", variant)];
        let tag = format!("\"{number}\"");
        let kind = random.u8(0..100);
        match kind {
            0..10 => fields.push(("If-None-Match", &tag)),
            10..20 => fields.push(("Range", "bytes=0-9")),
            _ => {}
        }
        let content = page(number);
        if kind == 99 {
            // It leaves in the middle.
            client.send(&crate::harness::client::request("GET", &target, &fields, b"")).await;
            let _ = client.head().await;
            continue;
        }
        let asked = Instant::now();
        let reply = client.get_with(&target, &fields).await;
        let took = asked.elapsed();
        let is_right = match reply.status {
            200 => reply.body == content,
            206 => content.starts_with(&reply.body) && reply.body.len() == content.len().min(10),
            304 => kind < 10 && reply.body.is_empty(),
            _ => false,
        };
        let mut seen = seen.lock().expect("no panic");
        if !is_right || !reply.complete {
            seen.wrong.get_or_insert(format!("{target}: {} with {} bytes", reply.status, reply.body.len()));
        }
        seen.times.push(took);
        seen.hits += usize::from(reply.is_hit());
        drop(seen);
        if kind < 98 {
            connection = Some(client);
        }
    }
}

/// An operator, until told to stop: purges of all kinds.
async fn operator(address: SocketAddr, seed: u64, stop: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let number = random.usize(0..PAGES);
        let what = match random.u8(0..10) {
            0..5 => format!(r#"{{"url": "http://www.example.org/pages/{number}"}}"#),
            5..8 => format!(r#"{{"tag": "t{}"}}"#, number % 1000),
            8 => format!(r#"{{"prefix": "http://www.example.org/pages/{}"}}"#, 1000 + number % 1000),
            _ => format!(r#"{{"tag": "t{}", "soft": true}}"#, number % 1000),
        };
        // Such a connection lasts for minutes only.
        let mut client = Client::connect(address, Transcript::default(), "operator").await;
        let reply = client
            .ask(
                "POST",
                "/v1/purge",
                &[("Host", "localhost"), ("Content-Type", "application/json")],
                what.as_bytes(),
            )
            .await;
        assert!((200..300).contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
        for _ in 0..20 {
            breathe().await;
        }
    }
}

/// Resident bytes of a process, its program text aside.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the program runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("resident memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// The value of a metric.
async fn metric(admin: SocketAddr, name: &str) -> u64 {
    let mut client = Client::connect(admin, Transcript::default(), "metrics").await;
    let text = client.get_with("/metrics", &[("Host", "localhost")]).await.text().to_owned();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("the metric");
    line.split(' ').nth(1).and_then(|value| value.parse::<f64>().ok()).expect("a number") as u64
}

fn median<T: Copy + Ord>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour"]
async fn soak() {
    let from_env = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let seed = from_env("FOREBAY_SEED", 1);
    let whole = Duration::from_secs(from_env("FOREBAY_SOAK_SECONDS", 1800));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&counted)));
        }
    });
    let memory = format!("{}MiB", MEMORY / 1024 / 1024);
    let mut program =
        process::serve(&Transcript::default(), &["--origin", &origin, "--memory", &memory]).await;
    // What nobody reads would hold it up in the end.
    let mut log = program.child.stderr.take().expect("its log");
    tokio::spawn(async move { tokio::io::copy(&mut log, &mut tokio::io::sink()).await });
    let id = program.child.id().expect("it runs");
    let idle = resident(id);

    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..CLIENTS as u64 {
        let (stop, seen, address) = (Arc::clone(&stop), Arc::clone(&seen), program.address);
        load.spawn(async move { client(address, seed * 1000 + number, &stop, &seen).await });
    }
    let (stopped, admin) = (Arc::clone(&stop), program.admin);
    load.spawn(async move { operator(admin, seed, &stopped).await });

    println!("soak: seed {seed}, {} s, {memory}; idle {} MiB", whole.as_secs(), idle >> 20);
    println!(
        "{:>7} {:>10} {:>10} {:>9} {:>6} {:>9}",
        "second", "resident", "stored", "requests", "hits", "p99"
    );
    let began = Instant::now();
    let mut windows = Vec::new();
    for number in 1..=WINDOWS as u32 {
        tokio::time::sleep_until((began + whole * number / WINDOWS as u32).into()).await;
        let Seen { mut times, hits, wrong } = std::mem::take(&mut *seen.lock().expect("no panic"));
        assert_eq!(wrong, None);
        assert!(!times.is_empty(), "somebody was answered");
        times.sort_unstable();
        let window = Window {
            resident: resident(id),
            stored: metric(admin, "forebay_store_bytes").await,
            requests: times.len(),
            hits,
            p99: times[times.len() * 99 / 100],
        };
        println!(
            "{:>7} {:>6} MiB {:>6} MiB {:>9} {:>4} % {:>6.1} ms",
            began.elapsed().as_secs(),
            window.resident >> 20,
            window.stored >> 20,
            window.requests,
            window.hits * 100 / window.requests,
            window.p99.as_secs_f64() * 1000.0
        );
        windows.push(window);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("nobody panics");
    }
    let requests: usize = windows.iter().map(|window| window.requests).sum();
    println!("{requests} requests, {} at the origin", asked.load(Ordering::Relaxed));

    let (second, last) = (&windows[WINDOWS / 3..WINDOWS * 2 / 3], &windows[WINDOWS * 2 / 3..]);
    let full = median(second.iter().map(|window| window.stored));
    assert!(full > MEMORY * 9 / 10, "the store is full: {full}");
    let most = windows[WINDOWS / 3..].iter().map(|window| window.resident).max().unwrap_or_default();
    assert!(most <= idle + MEMORY * 11 / 10, "{most} bytes resident, {idle} of them when idle");
    let of = |windows: &[Window]| median(windows.iter().map(|window| window.resident));
    assert!(of(last) <= of(second) * 102 / 100, "it grows: from {} to {}", of(second), of(last));
    let of = |windows: &[Window]| median(windows.iter().map(|window| window.p99));
    let (before, after) = (of(second), of(last));
    assert!(after <= before * 3 / 2 + Duration::from_millis(2), "it slows down: {before:?} to {after:?}");
}
