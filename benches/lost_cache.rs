//! The lost-cache story: a node that knows a hundred thousand URLs has lost its cache,
//! and all its clients ask at once. How many requests does the origin see, what do the
//! clients get, and how soon is the cache of use again? Beside it the same clients in
//! front of the same node in proxy mode.
//!
//! ```text
//! cargo bench --bench lost_cache                 # a short one
//! cargo bench --bench lost_cache -- --full       # 100,000 URLs, three minutes each
//! cargo bench --bench lost_cache -- --seconds 60 --known 20000 --load 1000 --attack 500
//! ```
//!
//! The report is `target/lost-cache/report.md`, with a drawing beside it. Origin, node
//! and clients are in one process and speak HTTP over loopback; the origin counts what
//! it is asked for itself. It does sixteen things at once and takes 30 ms for each, so
//! it is good for about five hundred requests a second, and was agreed to 200.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::clock::Clock;
use forebay::config::{self, Flags};
use forebay::node::Node;
use forebay::repopulate::Wanted;
use forebay::repopulate::known::{self, Known};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Requests a second that were agreed with the origin's owner.
const RATE: usize = 200;
/// What may come at once on top of it: what comes in within a tenth of a second.
const BURST: usize = RATE / 10;
/// Requests under way that were agreed.
const CONCURRENCY: usize = 10;
/// What the origin does at once, and how long each takes it.
const ORIGIN: (usize, Duration) = (16, Duration::from_millis(30));
/// Bytes of a page.
const PAGE: usize = 2048;
/// The host that everybody asks for.
const HOST: &str = "www.example.org";
/// How many keys a node remembers where nothing is said.
const KNOWN_KEYS: usize = 1_000_000;
/// Whoever waits for longer has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is played.
#[derive(Clone, Copy, Debug)]
struct Plan {
    known: usize,
    seconds: u64,
    /// Requests a second of all clients together.
    load: usize,
    /// Connections that they come over.
    connections: usize,
    /// Requests a second for invented URLs.
    attack: usize,
}

impl Plan {
    fn from_args() -> Plan {
        let mut plan = Plan { known: 10_000, seconds: 15, load: 2000, connections: 400, attack: 0 };
        let args: Vec<String> = std::env::args().collect();
        if args.iter().any(|arg| arg == "--full") {
            plan = Plan { known: 100_000, seconds: 180, ..plan };
        }
        for pair in args.windows(2) {
            let Ok(value) = pair[1].parse::<usize>() else { continue };
            match pair[0].as_str() {
                "--known" => plan.known = value.max(1),
                "--seconds" => plan.seconds = value.max(1) as u64,
                "--load" => plan.load = value.max(1),
                "--connections" => plan.connections = value.max(1),
                "--attack" => plan.attack = value,
                _ => {}
            }
        }
        plan
    }
}

/// One request at the origin.
#[derive(Clone, Copy)]
struct Asked {
    at: Duration,
    /// Which page; none for an invented one.
    rank: Option<usize>,
}

/// One answer to a client.
#[derive(Clone, Copy)]
struct Answer {
    /// When it was to be asked for.
    at: Duration,
    took: Duration,
    status: u16,
    attack: bool,
}

/// What all sides have seen of a run.
struct Run {
    asked: Vec<Asked>,
    answers: Vec<Answer>,
    most_under_way: usize,
    seconds: u64,
    leases: u64,
    memory: u64,
}

fn main() -> io::Result<()> {
    let plan = Plan::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{plan:?}");
    let hidden = runtime.block_on(play(plan, true))?;
    println!("hidden: {} requests at the origin, {} answers", hidden.asked.len(), hidden.answers.len());
    let proxy = runtime.block_on(play(plan, false))?;
    println!("proxy: {} requests at the origin, {} answers", proxy.asked.len(), proxy.answers.len());
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("report.svg"), drawing(plan, &hidden, &proxy))?;
    let report = report(plan, &hidden, &proxy);
    std::fs::write(folder.join("report.md"), &report)?;
    println!("\n{report}\nwritten to {}", folder.display());
    Ok(())
}

/// `lost-cache` in the folder that everything is built in.
fn folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let target = own.ancestors().find(|path| path.join("CACHEDIR.TAG").exists());
    target.map_or_else(|| PathBuf::from("target"), Path::to_path_buf).join("lost-cache")
}

fn page(rank: usize) -> String {
    format!("/page/{rank}")
}

/// A node with an empty cache, its origin and its clients, for the time of the plan.
async fn play(plan: Plan, hidden: bool) -> io::Result<Run> {
    let began = Instant::now();
    let origin = Origin::start(began).await?;
    let state = std::env::temp_dir().join(format!("forebay-lost-cache-{}", std::process::id()));
    std::fs::create_dir_all(&state)?;
    let text = format!(
        "[node]\nstate = {:?}\n[listen]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[access_log]\noutput = \"off\"\n[store]\nmemory = \"1GiB\"\n\
         [[origin]]\nname = \"o\"\nurl = \"http://{}\"\nrate = \"{RATE}/s\"\nconcurrency = {CONCURRENCY}\n{}",
        state.display().to_string(),
        origin.address,
        if hidden { "[rules]\nmode = \"hidden\"\n" } else { "" },
    );
    remember(&state, plan.known)?;
    let config = config::read("bench", &text, &Flags::default());
    let config = config.map_err(|faults| io::Error::other(faults.to_string()))?;
    let node =
        Node::start(config, Clock::System).await.map_err(|error| io::Error::other(error.to_string()))?;
    let weights = Arc::new(Weights::new(plan.known));
    let answers = Arc::new(Mutex::new(Vec::with_capacity(plan.load * plan.seconds as usize)));
    let began = origin.begin();
    let end = began + Duration::from_secs(plan.seconds);
    let mut clients = Vec::new();
    for (load, connections, attack) in
        [(plan.load, plan.connections, false), (plan.attack, plan.connections / 8 + 1, true)]
    {
        for seed in 0..if load > 0 { connections } else { 0 } {
            let client = Client {
                node: node.address(),
                began,
                end,
                pause: Duration::from_secs_f64(connections as f64 / load as f64),
                weights: Arc::clone(&weights),
                random: fastrand::Rng::with_seed(seed as u64 + 1000 * u64::from(attack)),
                attack,
                answers: Arc::clone(&answers),
            };
            clients.push(tokio::spawn(client.run()));
        }
    }
    let mut leases = 0;
    while Instant::now() < end {
        leases = leases.max(node.counters().leases.get());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for client in clients {
        let _ = client.await;
    }
    let memory = resident();
    node.drain().await;
    let _ = std::fs::remove_dir_all(&state);
    let (asked, most_under_way) = origin.end();
    let answers = std::mem::take(&mut *answers.lock().expect("answers"));
    Ok(Run { asked, answers, most_under_way, seconds: plan.seconds, leases, memory })
}

/// Writes down which keys are known, as a node does that has filled them all.
fn remember(state: &Path, pages: usize) -> io::Result<()> {
    let mut known = Known::new(KNOWN_KEYS);
    for rank in 0..pages {
        let (scheme, host) = ("http".to_owned(), HOST.to_owned());
        let wanted = Wanted { scheme, host, port: 80, target: page(rank), vary: Vec::new() };
        known.learn(wanted.known_id());
    }
    known.take_changes().map_or(Ok(()), |bytes| known::save(&state.join("known-keys"), &bytes))
}

/// Resident memory of the whole process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

/// How often pages are asked for: the one of rank n in proportion to 1/n (Zipf).
struct Weights {
    sums: Vec<f64>,
}

impl Weights {
    fn new(pages: usize) -> Self {
        let sums = (1..=pages).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Weights { sums: sums.collect() }
    }

    fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let wanted = random.f64() * self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum < wanted).min(self.sums.len() - 1)
    }

    /// The part of all requests that are for these pages.
    fn share(&self, ranks: impl Iterator<Item = usize>) -> f64 {
        ranks.map(|rank| 1.0 / (rank + 1) as f64).sum::<f64>() / self.sums.last().copied().unwrap_or(1.0)
    }
}

/// The origin: counts, does so much at once, and is slow.
struct Origin {
    address: SocketAddr,
    shared: Arc<Seen>,
}

struct Seen {
    began: Mutex<Instant>,
    counts: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    busy: Semaphore,
}

impl Origin {
    async fn start(began: Instant) -> io::Result<Origin> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Seen {
            began: Mutex::new(began),
            counts: AtomicBool::new(true),
            asked: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            busy: Semaphore::new(ORIGIN.0),
        });
        let seen = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Ok(Origin { address, shared })
    }

    /// From now on times count.
    fn begin(&self) -> Instant {
        let now = Instant::now();
        *self.shared.began.lock().expect("began") = now;
        now
    }

    /// What it has seen.
    fn end(self) -> (Vec<Asked>, usize) {
        self.shared.counts.store(false, Ordering::Relaxed);
        let asked = std::mem::take(&mut *self.shared.asked.lock().expect("asked"));
        (asked, self.shared.most.load(Ordering::Relaxed))
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let _ = stream.set_nodelay(true);
    let began = *seen.began.lock().expect("began");
    let body = "x".repeat(PAGE);
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let rank = path.strip_prefix("/page/").and_then(|rank| rank.parse().ok());
        if seen.counts.load(Ordering::Relaxed) {
            seen.asked.lock().expect("asked").push(Asked { at: began.elapsed(), rank });
        }
        let under_way = seen.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        seen.most.fetch_max(under_way, Ordering::Relaxed);
        let Ok(turn) = seen.busy.acquire().await else { return };
        tokio::time::sleep(ORIGIN.1).await;
        drop(turn);
        seen.under_way.fetch_sub(1, Ordering::Relaxed);
        let status = if rank.is_some() { "200 OK" } else { "404 Not Found" };
        let reply = format!(
            "HTTP/1.1 {status}\r\nCache-Control: max-age=3600\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads up to the end of a head.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    Some(head)
}

/// Clients that share a connection, as those behind a balancer do; each request is
/// somebody else's.
struct Client {
    node: SocketAddr,
    began: Instant,
    end: Instant,
    pause: Duration,
    weights: Arc<Weights>,
    random: fastrand::Rng,
    attack: bool,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Client {
    async fn run(mut self) {
        let mut connection = None;
        // Times to ask come as they do, whether the one before has been answered or not; so
        // that a slow answer is not left out of account.
        let mut due = self.began + self.pause.mul_f64(self.random.f64());
        while due < self.end {
            tokio::time::sleep_until(due.into()).await;
            let request = self.request();
            let asking = ask(&mut connection, self.node, &request);
            let status = match tokio::time::timeout(PATIENCE, asking).await {
                Ok(Ok(status)) => status,
                Ok(Err(_)) | Err(_) => {
                    connection = None;
                    0
                }
            };
            let now = Instant::now();
            let (at, took) = (due - self.began, now - due);
            self.answers.lock().expect("answers").push(Answer { at, took, status, attack: self.attack });
            // Exponential, so that they come at random times.
            due += self.pause.mul_f64(-(1.0 - self.random.f64()).ln());
            // Nobody asks for a minute ago.
            due = due.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(due));
        }
    }

    fn request(&mut self) -> String {
        let random = &mut self.random;
        let (path, client) = if self.attack {
            (format!("/invented/{:x}", random.u64(..)), format!("192.0.2.{}", random.u8(..)))
        } else {
            let address = random.u32(0x0a00_0000..0x0a00_4000);
            (page(self.weights.draw(random)), std::net::Ipv4Addr::from_bits(address).to_string())
        };
        format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {client}\r\n\r\n")
    }
}

async fn ask(connection: &mut Option<TcpStream>, node: SocketAddr, request: &str) -> io::Result<u16> {
    if connection.is_none() {
        let stream = TcpStream::connect(node).await?;
        stream.set_nodelay(true)?;
        *connection = Some(stream);
    }
    let stream = connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(4096);
    let head = read_head(stream, &mut buffer).await.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let Some(length) = length else {
        // A body that streams; its end is not looked for.
        return read_chunks(stream, buffer).await.map(|()| status);
    };
    while buffer.len() < length {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(status)
}

/// Reads a chunked body of which nothing follows.
async fn read_chunks(stream: &mut TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    while !buffer.ends_with(b"0\r\n\r\n") {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

impl Run {
    /// The most requests at the origin within any span of this length.
    fn most_within(&self, span: Duration) -> usize {
        let mut last = 0;
        let within = self.asked.iter().enumerate().map(|(first, asked)| {
            while last < self.asked.len() && self.asked[last].at < asked.at + span {
                last += 1;
            }
            last - first
        });
        within.max().unwrap_or_default()
    }

    /// Requests at the origin in each second.
    fn origin_by_second(&self) -> Vec<f64> {
        let mut bins = vec![0.0; self.seconds as usize];
        for asked in &self.asked {
            if let Some(bin) = bins.get_mut(asked.at.as_secs() as usize) {
                *bin += 1.0;
            }
        }
        bins
    }

    fn of_clients(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| !answer.attack)
    }

    /// The part of the answers in each second that were pages, and quick ones.
    fn served_by_second(&self, within: Duration) -> Vec<f64> {
        let mut bins = vec![(0.0, 0.0); self.seconds as usize];
        for answer in self.of_clients() {
            if let Some((good, all)) = bins.get_mut(answer.at.as_secs() as usize) {
                *all += 1.0;
                *good += f64::from(u8::from(answer.status == 200 && answer.took <= within));
            }
        }
        bins.into_iter().map(|(good, all)| if all > 0.0 { good / all } else { 0.0 }).collect()
    }

    /// The time that so many of a hundred of these answers took at most, in milliseconds.
    fn percentile(&self, part: f64, which: impl Fn(&Answer) -> bool) -> f64 {
        let mut times: Vec<Duration> = self.of_clients().filter(|a| which(a)).map(|a| a.took).collect();
        times.sort_unstable();
        let at = (times.len() as f64 * part / 100.0) as usize;
        times.get(at.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }

    fn count(&self, which: impl Fn(&Answer) -> bool) -> usize {
        self.answers.iter().filter(|answer| which(answer)).count()
    }

    /// When the origin had been asked for all of the so many most popular pages.
    fn all_got(&self, most_popular: usize) -> Option<Duration> {
        let mut missing: std::collections::HashSet<usize> = (0..most_popular).collect();
        self.asked.iter().find_map(|asked| {
            missing.remove(&asked.rank?);
            missing.is_empty().then_some(asked.at)
        })
    }
}

/// What is quick enough to count as served.
const QUICK: Duration = Duration::from_secs(1);

fn report(plan: Plan, hidden: &Run, proxy: &Run) -> String {
    let Plan { known, seconds, load, connections, attack } = plan;
    let weights = Weights::new(known);
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    line(format!(
        "# The lost cache\n\n{known} known URLs, an empty cache, {load} requests a second over {connections} \
         connections (Zipf, exponent 1), {attack} a second for invented URLs, {seconds} s. The origin was \
         agreed to {RATE} requests a second, {CONCURRENCY} at once.\n\n![](report.svg)\n"
    ));
    line("| | hidden | proxy |\n|---|---:|---:|".to_owned());
    let mut row = |name: &str, of: &dyn Fn(&Run) -> String| {
        line(format!("| {name} | {} | {} |", of(hidden), of(proxy)));
    };
    row("requests at the origin", &|run| run.asked.len().to_string());
    row("most in any second", &|run| run.most_within(Duration::from_secs(1)).to_string());
    row("most in any 100 ms", &|run| run.most_within(Duration::from_millis(100)).to_string());
    row("most under way at the origin", &|run| run.most_under_way.to_string());
    row("requests for invented URLs at the origin", &|run| {
        run.asked.iter().filter(|asked| asked.rank.is_none()).count().to_string()
    });
    row("answers to clients", &|run| run.count(|a| !a.attack).to_string());
    row("of them 200", &|run| run.count(|a| !a.attack && a.status == 200).to_string());
    row("of them 503", &|run| run.count(|a| !a.attack && a.status == 503).to_string());
    row("of them 429", &|run| run.count(|a| !a.attack && a.status == 429).to_string());
    row("of them 502, 504 or none", &|run| {
        run.count(|a| !a.attack && matches!(a.status, 0 | 502 | 504)).to_string()
    });
    row("time to 503, p50 and p99 in ms", &|run| {
        let of = |part| run.percentile(part, |answer| answer.status == 503);
        let any = run.count(|answer| !answer.attack && answer.status == 503) > 0;
        if any { format!("{:.2}, {:.2}", of(50.0), of(99.0)) } else { "-".to_owned() }
    });
    row("time to any answer, p50 and p99 in ms", &|run| {
        format!("{:.2}, {:.2}", run.percentile(50.0, |_| true), run.percentile(99.0, |_| true))
    });
    for second in [1, 5, 15, 60, 180].into_iter().filter(|second| *second <= seconds) {
        row(&format!("200 within 1 s, in second {second}"), &|run| {
            format!("{:.1} %", run.served_by_second(QUICK)[second as usize - 1] * 100.0)
        });
    }
    for most_popular in [10, 100, 1000, 10_000].into_iter().filter(|number| *number <= known) {
        row(&format!("all of the {most_popular} most popular asked for, in s"), &|run| {
            run.all_got(most_popular).map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
        });
    }
    row("the first 1,000 URLs asked for are of the load", &|run| {
        let first = run.asked.iter().filter_map(|asked| asked.rank).take(1000);
        let first: std::collections::HashSet<usize> = first.collect();
        format!("{:.1} %", weights.share(first.into_iter()) * 100.0)
    });
    row("pages that the origin was asked for more than once", &|run| {
        let ranks: Vec<usize> = run.asked.iter().filter_map(|asked| asked.rank).collect();
        let distinct: std::collections::HashSet<&usize> = ranks.iter().collect();
        (ranks.len() - distinct.len()).to_string()
    });
    row("most keys wanted or held down", &|run| run.leases.to_string());
    row("resident memory at the end, origin and clients included", &|run| {
        format!("{} MiB", run.memory / 1024 / 1024)
    });
    let bound = |span: f64| (RATE as f64 * span) as usize + BURST + CONCURRENCY;
    line(format!(
        "\nThe agreed rate allows {} requests in any second and {} in any 100 ms: the rate, a burst of {BURST}, \
         and {CONCURRENCY} that were released before and arrive late.",
        bound(1.0),
        bound(0.1)
    ));
    text
}

/// The drawing: two charts, one above the other.
fn drawing(plan: Plan, hidden: &Run, proxy: &Run) -> String {
    let (blue, red) = ("#1f6fb4", "#c8402f");
    let most = proxy.origin_by_second().into_iter().chain(hidden.origin_by_second()).fold(1.0, f64::max);
    let percent =
        |run: &Run| run.served_by_second(QUICK).into_iter().map(|part| part * 100.0).collect::<Vec<_>>();
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 600\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"820\" height=\"600\" fill=\"white\"/>\n",
    );
    let above = Chart { top: 40.0, most, seconds: plan.seconds as f64 };
    above.frame(&mut svg, "Requests at the origin, each second");
    above.line(&mut svg, &hidden.origin_by_second(), blue);
    above.line(&mut svg, &proxy.origin_by_second(), red);
    above.level(&mut svg, RATE as f64, "agreed");
    let below = Chart { top: 340.0, most: 100.0, seconds: plan.seconds as f64 };
    below.frame(&mut svg, "Clients that get the page within a second, in percent");
    below.line(&mut svg, &percent(hidden), blue);
    below.line(&mut svg, &percent(proxy), red);
    for (at, color, name) in [(560.0, blue, "hidden"), (660.0, red, "proxy")] {
        let _ = writeln!(
            svg,
            "<rect x=\"{at}\" y=\"14\" width=\"14\" height=\"4\" fill=\"{color}\"/><text x=\"{}\" y=\"22\">{name}</text>",
            at + 20.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A chart of something by the second.
struct Chart {
    top: f64,
    most: f64,
    seconds: f64,
}

const LEFT: f64 = 60.0;
const WIDTH: f64 = 730.0;
const HEIGHT: f64 = 210.0;

impl Chart {
    fn x(&self, second: f64) -> f64 {
        LEFT + WIDTH * second / self.seconds
    }

    fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (1.0 - value / self.most)
    }

    fn frame(&self, svg: &mut String, title: &str) {
        let (top, bottom) = (self.top, self.top + HEIGHT);
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{title}</text>", top - 10.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {top}V{bottom}H{}\" fill=\"none\" stroke=\"#888\"/>",
            LEFT + WIDTH
        );
        for part in 0..=4 {
            let (value, second) = (self.most * f64::from(part) / 4.0, self.seconds * f64::from(part) / 4.0);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{value:.0}</text><text x=\"{:.0}\" y=\"{}\" text-anchor=\"middle\">{second:.0} s</text>",
                LEFT - 6.0,
                self.y(value) + 4.0,
                self.x(second),
                bottom + 18.0
            );
        }
    }

    fn line(&self, svg: &mut String, values: &[f64], color: &str) {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(second, value)| format!("{:.1},{:.1}", self.x(second as f64 + 0.5), self.y(*value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.6\"/>",
            points.join(" ")
        );
    }

    fn level(&self, svg: &mut String, value: f64, name: &str) {
        let (y, right) = (self.y(value), LEFT + WIDTH);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#333\" stroke-dasharray=\"5 4\"/><text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{name}: {value:.0}</text>",
            y - 5.0
        );
    }
}
