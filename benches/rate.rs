//! How long do answers take at a constant rate? Requests are sent when they are due, whether
//! the ones before have been answered or not, and the time of an answer counts from when its
//! request was due: a server that stalls is charged for everybody who would have come
//! meanwhile.
//!
//! ```text
//! cargo bench --bench rate
//! cargo bench --bench rate -- --at 127.0.0.1:8080 --path /page --rates 20000,40000 --seconds 5
//! ```
//!
//! Without `--at` it starts forebay itself, on one core, with an origin that answers once. The
//! generator spins on another core, so that nothing is late on its account. Without `--rates`
//! the most that the server answers is measured first; then half of that, and nine tenths.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const BINARY: &str = env!("CARGO_BIN_EXE_forebay");
const SERVER_CORE: &str = "0";
const OWN_CORE: &str = "1";
/// What is thrown away at the beginning of each run.
const WARM: Duration = Duration::from_millis(300);

struct Plan {
    at: Option<SocketAddr>,
    path: String,
    rates: Vec<f64>,
    seconds: f64,
    connections: usize,
}

/// One connection, and when the request that it carries was due.
struct Connection {
    stream: TcpStream,
    due: Option<Instant>,
    read: Vec<u8>,
}

/// A server of our own, until it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let plan = plan();
    pin(std::process::id(), OWN_CORE);
    let (at, _server) = match plan.at {
        Some(at) => (at, None),
        None => {
            let (at, server) = start();
            (at, Some(server))
        }
    };
    let request = format!("GET {} HTTP/1.1\r\nHost: www.example.org\r\n\r\n", plan.path);
    let rates = if plan.rates.is_empty() {
        let peak = run(at, &request, None, &plan).len() as f64 / plan.seconds;
        println!("most: {peak:.0} requests a second over {} connections", plan.connections);
        vec![peak * 0.5, peak * 0.9]
    } else {
        plan.rates.clone()
    };
    println!("| requests a second | answered | median | 99 % | 99.9 % | longest |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for rate in rates {
        let mut times = run(at, &request, Some(rate), &plan);
        times.sort_unstable();
        let part = |part: f64| {
            let place = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            times.get(place).copied().unwrap_or_default().as_secs_f64() * 1e6
        };
        println!(
            "| {rate:.0} | {:.0} | {:.0} us | {:.0} us | {:.0} us | {:.0} us |",
            times.len() as f64 / plan.seconds,
            part(0.5),
            part(0.99),
            part(0.999),
            part(1.0)
        );
    }
}

fn plan() -> Plan {
    let mut plan = Plan { at: None, path: "/".to_owned(), rates: Vec::new(), seconds: 3.0, connections: 64 };
    let args: Vec<String> = std::env::args().collect();
    for pair in args.windows(2) {
        let value = &pair[1];
        match pair[0].as_str() {
            "--at" => plan.at = Some(value.parse().expect("--at takes an address and a port")),
            "--path" => plan.path = value.clone(),
            "--rates" => {
                let rate = |rate: &str| rate.parse().expect("--rates takes numbers");
                plan.rates = value.split(',').map(rate).collect();
            }
            "--seconds" => plan.seconds = value.parse().expect("--seconds takes a number"),
            "--connections" => plan.connections = value.parse().expect("--connections takes a number"),
            _ => {}
        }
    }
    plan
}

/// Keeps a process, and those that it starts, on one core.
fn pin(process: u32, core: &str) {
    let pinned = Command::new("taskset").args(["-cp", core, &process.to_string()]).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        eprintln!("taskset failed: the processes are not kept apart");
    }
}

/// Starts forebay on a core of its own, in front of an origin.
fn start() -> (SocketAddr, Server) {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", origin.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in origin.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let body = "x".repeat(1024);
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 1024\r\n\r\n";
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let mut child = Command::new("taskset")
        .args(["-c", SERVER_CORE, BINARY, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--origin", &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("forebay starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut line).expect("its first line");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
    (address.and_then(|address| address.parse().ok()).expect("its address"), Server(child))
}

/// Asks at this rate, or as fast as there are answers. Returns how long each answer took.
fn run(at: SocketAddr, request: &str, rate: Option<f64>, plan: &Plan) -> Vec<Duration> {
    let mut poll = Poll::new().expect("a poll");
    let mut connections: Vec<Connection> = (0..plan.connections)
        .map(|number| {
            let stream = std::net::TcpStream::connect(at).expect("the server takes connections");
            stream.set_nodelay(true).expect("an option");
            stream.set_nonblocking(true).expect("an option");
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE).expect("registered");
            Connection { stream, due: None, read: Vec::with_capacity(64 * 1024) }
        })
        .collect();
    let mut idle: Vec<usize> = (0..connections.len()).collect();
    let mut waiting = VecDeque::new();
    let mut times = Vec::with_capacity(4_000_000);
    let mut events = Events::with_capacity(1024);
    let began = Instant::now();
    let (from, end) = (began + WARM, began + WARM + Duration::from_secs_f64(plan.seconds));
    let interval = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let mut next = began;
    loop {
        let now = Instant::now();
        if now >= end {
            return times;
        }
        match interval {
            Some(interval) => {
                while next <= now {
                    waiting.push_back(next);
                    next += interval;
                }
            }
            None => waiting.extend(idle.iter().map(|_| now)),
        }
        while !waiting.is_empty()
            && let Some(number) = idle.pop()
        {
            let connection = &mut connections[number];
            connection.due = waiting.pop_front();
            connection.stream.write_all(request.as_bytes()).expect("the server takes requests");
        }
        poll.poll(&mut events, Some(Duration::ZERO)).expect("a poll");
        for event in &events {
            let Token(number) = event.token();
            let connection = &mut connections[number];
            if connection.read_whole() {
                idle.push(number);
                let now = Instant::now();
                if let Some(due) = connection.due.take()
                    && now >= from
                {
                    times.push(now - due);
                }
            }
        }
    }
}

impl Connection {
    /// Reads what has arrived; whether that completes the answer.
    fn read_whole(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closes connections"),
                Ok(read) => self.read.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("reading failed: {error}"),
            }
        }
        let Some(head) = self.read.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
        let text = String::from_utf8_lossy(&self.read[..head]).to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        let length = text.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|length| length.trim().parse().ok()).expect("its length");
        let whole = self.read.len() >= head + 4 + length;
        if whole {
            self.read.clear();
        }
        whole
    }
}
