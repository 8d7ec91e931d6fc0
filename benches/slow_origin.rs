//! The slow-origin story: two origins, one of which hangs; a twentieth of the traffic
//! needs it. What do the clients of the other one notice? Beside it the same without the
//! hanging one, and with the protections off, to see that there is something to see.
//!
//! ```text
//! cargo bench --bench slow_origin
//! cargo bench --bench slow_origin -- --seconds 30 --clients 400
//! ```
//!
//! Origins, node and clients are in one process and speak HTTP over loopback. A client asks
//! for one page after the other, with a pause between two, and waits for each: so who waits
//! for what hangs asks for nothing else meanwhile, as people do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forebay::clock::Clock;
use forebay::config::{self, Flags};
use forebay::node::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Of a hundred requests so many need the origin that hangs.
const SLOW_PERCENT: u32 = 5;
/// How long the healthy origin takes.
const WORK: Duration = Duration::from_millis(5);
/// Between an answer and the client's next request.
const PAUSE: Duration = Duration::from_millis(100);
/// What the run with a hanging origin may cost the others.
const MOST: f64 = 1.5;

/// The settings of both origins where nothing protects anybody.
const UNPROTECTED: &str = "max_requests = 1000000\nbreaker_min_requests = 4294967295\neject_after = 0\n";

#[derive(Clone, Copy)]
struct Plan {
    clients: usize,
    seconds: u64,
}

/// What one run has shown.
struct Shown {
    /// How long hits and misses took, and requests to the origin that hangs; in order.
    hits: Vec<Duration>,
    misses: Vec<Duration>,
    slow: Vec<Duration>,
    /// The most requests that the hanging origin had at once.
    most: usize,
}

fn main() {
    let mut plan = Plan { clients: 300, seconds: 25 };
    let args: Vec<String> = std::env::args().collect();
    for pair in args.windows(2) {
        let Ok(value) = pair[1].parse::<usize>() else { continue };
        match pair[0].as_str() {
            "--clients" => plan.clients = value.max(1),
            "--seconds" => plan.seconds = value.max(1) as u64,
            _ => {}
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let [without, with, unprotected] = runtime.block_on(async {
        [
            run(plan, 0, "").await,
            run(plan, SLOW_PERCENT, "").await,
            run(plan, SLOW_PERCENT, UNPROTECTED).await,
        ]
    });
    println!(
        "{} clients, {} s each, {SLOW_PERCENT} % of the requests to an origin that hangs\n",
        plan.clients, plan.seconds
    );
    println!("| | without it | with it | with it, unprotected |\n|---|---:|---:|---:|");
    let runs = [&without, &with, &unprotected];
    row(
        "answers of the healthy origin's pages",
        runs.map(|run| (run.hits.len() + run.misses.len()).to_string()),
    );
    row("hits, median", runs.map(|run| ms(quantile(&run.hits, 0.5))));
    row("hits, 95th percentile", runs.map(|run| ms(quantile(&run.hits, 0.95))));
    row("misses, median", runs.map(|run| ms(quantile(&run.misses, 0.5))));
    row("misses, 95th percentile", runs.map(|run| ms(quantile(&run.misses, 0.95))));
    row("answers of pages of the one that hangs", runs.map(|run| run.slow.len().to_string()));
    row("they took, median", runs.map(|run| ms(quantile(&run.slow, 0.5))));
    row("most requests at it at once", runs.map(|run| run.most.to_string()));

    for (what, part) in [("hits", &with.hits), ("misses", &with.misses)] {
        let base = if what == "hits" { &without.hits } else { &without.misses };
        for share in [0.5, 0.95] {
            let ratio = quantile(part, share).as_secs_f64() / quantile(base, share).as_secs_f64();
            println!("\n{what}, quantile {share}: {ratio:.2} times as long as without it");
            assert!(
                ratio <= MOST,
                "an origin that hangs costs the others: {what} take {ratio:.2} times as long"
            );
        }
    }
    let served = |run: &Shown| (run.hits.len() + run.misses.len()) as f64;
    let (kept, lost) = (served(&with) / served(&without), served(&unprotected) / served(&without));
    println!("\nanswers of the healthy one: {kept:.2} of those without the other; unprotected {lost:.2}");
    assert!(kept >= 0.75, "clients are held up by the origin that hangs: {kept:.2}");
    assert!(lost < 0.5, "the unprotected run shows no collapse ({lost:.2}), so this shows nothing");
}

fn row(what: &str, cells: [String; 3]) {
    println!("| {what} | {} |", cells.join(" | "));
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted
        .get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

async fn run(plan: Plan, slow_percent: u32, protections: &str) -> Shown {
    let most = Arc::new(AtomicUsize::new(0));
    let (healthy, hanging) = (healthy().await, hanging(Arc::clone(&most)).await);
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"healthy\"\nurl = \"http://{healthy}\"\n{protections}\
         [[origin]]\nname = \"hanging\"\nurl = \"http://{hanging}\"\nfirst_byte_timeout = \"5s\"\n{protections}\
         [[site]]\nhosts = [\"*\"]\norigin = \"healthy\"\n[[site.route]]\npath = \"/slow/\"\norigin = \"hanging\"\n"
    );
    let config = config::read("bench", &text, &Flags::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let node = Node::start(config, Clock::System).await.expect("a node");
    let (address, stop) = (node.address(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..plan.clients)
        .map(|n| tokio::spawn(client(address, n as u64, slow_percent, Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut shown = Shown { hits: Vec::new(), misses: Vec::new(), slow: Vec::new(), most: 0 };
    for client in clients {
        // Who waits for what hangs has no answer yet, and none that would count.
        if let Ok(Ok(times)) = tokio::time::timeout(Duration::from_secs(10), client).await {
            let [hits, misses, slow] = times;
            shown.hits.extend(hits);
            shown.misses.extend(misses);
            shown.slow.extend(slow);
        }
    }
    node.drain().await;
    shown.hits.sort_unstable();
    shown.misses.sort_unstable();
    shown.slow.sort_unstable();
    shown.most = most.load(Ordering::Relaxed);
    shown
}

/// One client; how long its hits, misses and requests to the hanging origin took.
async fn client(
    address: SocketAddr,
    seed: u64,
    slow_percent: u32,
    stop: Arc<AtomicBool>,
) -> [Vec<Duration>; 3] {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut stream = TcpStream::connect(address).await.expect("the node");
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    while !stop.load(Ordering::Relaxed) {
        let kind = if random.u32(..100) < slow_percent { 2 } else { random.usize(..2) };
        let path = ["/hit/", "/miss/", "/slow/"][kind];
        let request = format!("GET {path}{} HTTP/1.1\r\nHost: www.example.org\r\n\r\n", random.u32(..50));
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("sent");
        read_answer(&mut stream).await;
        let took = began.elapsed();
        // What has taken until after the end says nothing of the time before.
        if !stop.load(Ordering::Relaxed) {
            times[kind].push(took);
        }
        tokio::time::sleep(PAUSE.mul_f64(0.5 + random.f64())).await;
    }
    times
}

/// Reads one answer with a length.
async fn read_answer(stream: &mut TcpStream) {
    let mut read = Vec::new();
    loop {
        assert!(stream.read_buf(&mut read).await.expect("read") > 0, "the node has closed");
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.expect("a length").trim().parse().expect("a number");
        while read.len() < end + 4 + length {
            assert!(stream.read_buf(&mut read).await.expect("read") > 0, "the node has closed");
        }
        return;
    }
}

/// An origin that answers everything in a few milliseconds.
async fn healthy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
                    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
                        continue;
                    };
                    let lives = if read.starts_with(b"GET /hit/") { "max-age=3600" } else { "no-store" };
                    read.drain(..end + 4);
                    tokio::time::sleep(WORK).await;
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nCache-Control: {lives}\r\nContent-Length: 1000\r\n\r\n{}",
                        "x".repeat(1000)
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// An origin that takes requests, and answers none.
async fn hanging(most: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let now = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (most, now) = (Arc::clone(&most), Arc::clone(&now));
            tokio::spawn(async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let mut rest = Vec::new();
                // Until whoever asks has given up.
                let _ = stream.read_to_end(&mut rest).await;
                now.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    address
}
