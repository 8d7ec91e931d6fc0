//! Chaos: random faults at random servers under load, from a seed. Whatever breaks, every
//! request has an answer in time, no body is wrong, no origin has more requests than its
//! bulkhead has places, and in the end every breaker is closed again.
//!
//! `cargo test --test it chaos -- --ignored --nocapture` runs it for minutes and prints a
//! report; FOREBAY_SEED and FOREBAY_CHAOS_SECONDS say from which seed and for how long.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::cluster::ask;
use crate::harness::{Client, Origin, Transcript, World, breathe};

/// What a server may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Well,
    /// Nobody listens.
    Refused,
    /// It takes the request, and says nothing.
    Hangs,
    /// It stops in the middle of the body.
    HangsInBody,
    /// A byte now and then.
    Drips,
    Resets,
    /// It closes in the middle of the body.
    Truncates,
    Garbage,
    Fails,
    /// Well and not, request by request.
    Flaps,
}

const MODES: [Mode; 10] = [
    Mode::Well,
    Mode::Refused,
    Mode::Hangs,
    Mode::HangsInBody,
    Mode::Drips,
    Mode::Resets,
    Mode::Truncates,
    Mode::Garbage,
    Mode::Fails,
    Mode::Flaps,
];

/// Origins, servers of each, and places in the bulkhead of each.
const ORIGINS: [(usize, usize); 3] = [(1, 6), (2, 8), (3, 12)];
const CLIENTS: usize = 48;
/// Until when everybody has an answer: connecting, waiting, the head, and a body that
/// pauses, with room for a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// A server that is not well.
struct Server {
    address: SocketAddr,
    mode: AtomicU8,
    under_way: Arc<UnderWay>,
    served: AtomicUsize,
}

/// The requests that are under way at an origin.
struct UnderWay {
    places: usize,
    /// The sockets over which they have come.
    sockets: Mutex<BTreeMap<usize, Arc<Socket>>>,
    next: AtomicUsize,
    most: AtomicUsize,
    /// How often what the node had given up was noticed late.
    late: AtomicUsize,
    /// What was seen where there were more than places.
    beyond: Mutex<Vec<String>>,
}

/// The socket over which a request has come.
struct Socket {
    descriptor: OwnedFd,
    mode: Mode,
    /// Whether nothing more of its answer is to be sent.
    over: AtomicBool,
}

/// A request, until nothing more of its answer is to be sent.
struct Request(Arc<UnderWay>, usize);

/// By then the end of a connection that was closed has arrived, on a busy machine too: the
/// system tells of it on one processor, and of the next request perhaps on another.
const ENDS_ARRIVE: Duration = Duration::from_millis(50);

impl Socket {
    /// Whether the node has not closed it, as far as is known here.
    fn is_open(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(&self.descriptor, &mut [0u8; 1], flags);
        peeked.map_or_else(|error| error == rustix::io::Errno::AGAIN, |(read, _)| read > 0)
    }
}

impl UnderWay {
    fn new(places: usize) -> Arc<Self> {
        let (most, late, next) = Default::default();
        Arc::new(UnderWay { places, sockets: Mutex::default(), next, most, late, beyond: Mutex::default() })
    }

    /// One more. What the node has given up is over, whether its server has noticed or not:
    /// its socket is closed by now.
    fn begin(self: &Arc<Self>, stream: &TcpStream, mode: Mode) -> Request {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let descriptor = stream.as_fd().try_clone_to_owned().expect("a descriptor");
        let mut sockets = self.sockets.lock().expect("no panic");
        sockets.insert(number, Arc::new(Socket { descriptor, mode, over: AtomicBool::new(false) }));
        let open: Vec<_> = sockets.values().filter(|socket| socket.is_open()).cloned().collect();
        drop(sockets);
        if open.len() > self.places {
            tokio::spawn(Arc::clone(self).look_again(open));
        } else {
            self.most.fetch_max(open.len(), Ordering::SeqCst);
        }
        Request(Arc::clone(self), number)
    }

    /// There seemed to be too many: those of them whose end was on its way then, before any
    /// answer, do not count.
    async fn look_again(self: Arc<Self>, open: Vec<Arc<Socket>>) {
        let began = Instant::now();
        let mut given_up = vec![false; open.len()];
        loop {
            for (socket, given_up) in open.iter().zip(&mut given_up) {
                *given_up |= !socket.over.load(Ordering::SeqCst) && !socket.is_open();
            }
            let count = given_up.iter().filter(|given_up| !**given_up).count();
            if count <= self.places {
                self.late.fetch_add(1, Ordering::Relaxed);
                self.most.fetch_max(count, Ordering::SeqCst);
                return;
            }
            if began.elapsed() > ENDS_ARRIVE {
                let modes: Vec<Mode> = open.iter().map(|socket| socket.mode).collect();
                let beyond = format!("{count} requests at an origin of {} places: {modes:?}", self.places);
                self.beyond.lock().expect("no panic").push(beyond);
                return;
            }
            breathe().await;
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let socket = self.0.sockets.lock().expect("no panic").remove(&self.1);
        if let Some(socket) = socket {
            // What is not open now was given up before its server could answer.
            socket.over.store(socket.is_open(), Ordering::SeqCst);
        }
    }
}

/// What the body for a target is; long enough for several pieces.
fn body(target: &str) -> String {
    format!("{target} ").repeat(400)
}

impl Server {
    async fn start(under_way: &Arc<UnderWay>) -> Arc<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Arc::new(Server {
            address: listener.local_addr().expect("an address"),
            mode: AtomicU8::new(0),
            under_way: Arc::clone(under_way),
            served: AtomicUsize::new(0),
        });
        tokio::spawn(Arc::clone(&server).listen(listener));
        server
    }

    fn mode(&self) -> Mode {
        MODES[self.mode.load(Ordering::Relaxed) as usize]
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            if self.mode() == Mode::Refused {
                listener = None;
                breathe().await;
                continue;
            }
            let Some(open) = &listener else {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.set_reuseaddr(true).expect("an option");
                listener = socket.bind(self.address).and_then(|()| socket.listen(1024)).ok();
                continue;
            };
            tokio::select! {
                accepted = open.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    tokio::spawn(Arc::clone(&self).serve(stream));
                }
                () = breathe() => {}
            }
        }
    }

    /// One connection: request after request.
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut read = Vec::new();
        loop {
            let target = loop {
                if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&read[..end]).into_owned();
                    read.drain(..end + 4);
                    break head.split(' ').nth(1).unwrap_or_default().to_owned();
                }
                match stream.read_buf(&mut read).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                }
            };
            let number = self.served.fetch_add(1, Ordering::Relaxed);
            let mode = match self.mode() {
                Mode::Flaps if number.is_multiple_of(2) => Mode::Resets,
                Mode::Flaps => Mode::Well,
                mode => mode,
            };
            let mut request = Some(self.under_way.begin(&stream, mode));
            let (mut reader, mut writer) = stream.split();
            let gone = async {
                // Nobody sends anything but the next request, and that only after an answer.
                let mut rest = [0; 1];
                let _ = reader.read(&mut rest).await;
            };
            let goes_on = tokio::select! {
                goes_on = answer(mode, &mut writer, &target, &mut request) => goes_on,
                () = gone => false,
            };
            drop(request);
            if !goes_on {
                return;
            }
        }
    }
}

/// Answers as it does in this mode; whether the connection goes on.
async fn answer(
    mode: Mode,
    to: &mut (impl AsyncWriteExt + Unpin),
    target: &str,
    request: &mut Option<Request>,
) -> bool {
    let body = body(target);
    let lives = if target.contains("/kept/") { "max-age=1" } else { "no-store" };
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: {lives}\r\nContent-Length: {}\r\n\r\n", body.len());
    let whole = format!("{head}{body}");
    let half = head.len() + body.len() / 2;
    match mode {
        Mode::Well | Mode::Refused | Mode::Flaps => {
            // The node has the last byte before this goes on here.
            *request = None;
            to.write_all(whole.as_bytes()).await.is_ok()
        }
        Mode::Hangs => std::future::pending().await,
        Mode::HangsInBody => {
            let _ = to.write_all(&whole.as_bytes()[..half]).await;
            std::future::pending().await
        }
        Mode::Drips => {
            for (at, byte) in whole.as_bytes().iter().enumerate() {
                if at + 1 == whole.len() {
                    *request = None;
                }
                if to.write_all(&[*byte]).await.is_err() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            true
        }
        // It closes with what it was sent half unread, or without a word.
        Mode::Resets => false,
        Mode::Truncates => {
            let _ = to.write_all(&whole.as_bytes()[..half]).await;
            false
        }
        Mode::Garbage => {
            let _ = to.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
            false
        }
        Mode::Fails => {
            let fails = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfail";
            *request = None;
            to.write_all(fails.as_bytes()).await.is_ok()
        }
    }
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<String, usize>,
    longest: Duration,
    /// Of each origin the longest time in which nobody got a page of it.
    outages: BTreeMap<usize, (Instant, Duration)>,
}

/// One client, until it is told to stop.
async fn client(world: &World, seed: u64, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut connection: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        let origin = random.usize(..ORIGINS.len());
        let kept = if random.bool() { "kept" } else { "not" };
        let target = format!("/{origin}/{kept}/{}", random.u32(..20));
        let began = Instant::now();
        let asking = async {
            let client = match &mut connection {
                Some(client) => client,
                none => {
                    none.insert(Client::connect(world.node.address(), Transcript::default(), "chaos").await)
                }
            };
            client.try_get(&target).await
        };
        let reply = tokio::time::timeout(DEADLINE, asking).await;
        let took = began.elapsed();
        let mut seen = seen.lock().expect("no panic");
        let reply = reply.unwrap_or_else(|_| panic!("no answer to {target} within {DEADLINE:?}"));
        seen.longest = seen.longest.max(took);
        let word = match &reply {
            Some(reply) if reply.status == 200 => {
                assert!(reply.text() == body(&target), "a wrong body for {target}");
                let (last, longest) = seen.outages.entry(origin).or_insert((began, Duration::ZERO));
                *longest = (*longest).max(last.elapsed());
                *last = Instant::now();
                "200".to_owned()
            }
            Some(reply) => {
                assert!([502, 503, 504].contains(&reply.status), "{} to {target}", reply.status);
                reply.status.to_string()
            }
            // What had begun broke off with the origin's body, and says so by closing.
            None => "broken off".to_owned(),
        };
        *seen.statuses.entry(word).or_default() += 1;
        drop(seen);
        if reply.is_none() {
            connection = None;
        }
    }
}

async fn chaos(seed: u64, time: Duration) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut servers: Vec<Vec<Arc<Server>>> = Vec::new();
    let (mut origins, mut routes) = (String::new(), String::new());
    let mut most = Vec::new();
    for (origin, (count, places)) in ORIGINS.into_iter().enumerate() {
        let under_way = UnderWay::new(places);
        let of_origin = join_all((0..count).map(|_| Server::start(&under_way))).await;
        let urls: Vec<String> =
            of_origin.iter().map(|server| format!("\"http://{}\"", server.address)).collect();
        origins.push_str(&format!(
            "[[origin]]\nname = \"{origin}\"\nurl = [{}]\nmax_requests = {places}\nmax_line = 8\nline_wait = \"100ms\"\n\
             connect_timeout = \"500ms\"\nfirst_byte_timeout = \"400ms\"\nbetween_bytes_timeout = \"300ms\"\ntotal_timeout = \"2s\"\n\
             breaker_min_requests = 5\nbreaker_window = \"2s\"\nbreaker_open = \"200ms\"\nbreaker_max_open = \"1s\"\n\
             eject_for = \"300ms\"\nmax_eject_for = \"1s\"\nslow_start = \"200ms\"\nbalance = \"{}\"\n",
            urls.join(", "),
            ["round-robin", "least-busy", "hash"][origin],
        ));
        routes.push_str(&format!("[[site.route]]\npath = \"/{origin}/\"\norigin = \"{origin}\"\n"));
        servers.push(of_origin);
        most.push(under_way);
    }
    let settings = format!(
        "{origins}[[site]]\nhosts = [\"*\"]\norigin = \"o\"\n{routes}[rules]\nstale_on_error = \"2s\"\nrefresh_backoff = \"100ms\"\n"
    );
    let world = World::real(Origin::start(Transcript::default()).await, &settings).await;
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    let clients = join_all((0..CLIENTS as u64).map(|n| client(&world, seed ^ (n << 32), &stop, &seen)));
    let breaking = async {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let origin = random.usize(..servers.len());
            let server = random.usize(..servers[origin].len());
            servers[origin][server].mode.store(random.u8(..MODES.len() as u8), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(random.u64(10..400))).await;
        }
        for server in servers.iter().flatten() {
            server.mode.store(0, Ordering::Relaxed);
        }
        // Load goes on until every breaker has closed: only requests can show that all is well.
        let wait = async {
            loop {
                let view = ask(&world, "/v1/origins").await;
                let origins = view["origins"].as_array().cloned().unwrap_or_default();
                let all = origins.iter().flat_map(|origin| {
                    let servers = origin["servers"].as_array().cloned().unwrap_or_default();
                    servers.into_iter().chain([origin.clone()])
                });
                if all.into_iter().all(|one| one["breaker"]["state"] == "closed") {
                    break;
                }
                breathe().await;
            }
        };
        world.transcript.within("every breaker to close again", wait).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(clients, breaking);
    world.settled().await;
    for under_way in &most {
        let beyond = under_way.beyond.lock().expect("no panic");
        assert!(beyond.is_empty(), "{}", beyond.join("\n"));
    }
    let seen = seen.into_inner().expect("no panic");
    let outages: Vec<String> =
        seen.outages.iter().map(|(origin, (_, longest))| format!("origin {origin} {longest:.1?}")).collect();
    let counters = world.counters();
    format!(
        "seed {seed}, {time:?}: {} requests; answers {:?}; the longest took {:.1?}; longest time without a page of {}; \
         breakers opened {}, servers ejected {}, further attempts {}, most at once {:?} of {:?}, \
         ends that were noticed late {}",
        seen.statuses.values().sum::<usize>(),
        seen.statuses,
        seen.longest,
        outages.join(", "),
        counters.origin_breaker_opened.get(),
        counters.origin_ejected.get(),
        counters.origin_retries_other.get(),
        most.iter().map(|most| most.most.load(Ordering::SeqCst)).collect::<Vec<_>>(),
        ORIGINS.map(|(_, places)| places),
        most.iter().map(|most| most.late.load(Ordering::Relaxed)).sum::<usize>(),
    )
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_seconds_of_chaos() {
    let seed = from_environment("FOREBAY_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    println!("{}", chaos(seed, Duration::from_secs(3)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes"]
async fn minutes_of_chaos() {
    let seed = from_environment("FOREBAY_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = from_environment("FOREBAY_CHAOS_SECONDS").unwrap_or(180);
    println!("seed {seed}");
    println!("{}", chaos(seed, Duration::from_secs(seconds)).await);
}
