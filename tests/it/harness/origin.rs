//! A scripted origin on a raw socket: it can say anything, at any time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Transcript, breathe};

/// A request as the origin saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Which connection it came over, counted from 0.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// All field lines, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The content, decoded.
    pub body: Vec<u8>,
    /// The trailer section.
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Something that opens once, and counts who waits for it.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { open: Arc::new(watch::Sender::new(false)), waiting: Arc::new(watch::Sender::new(0)) }
    }
}

impl Gate {
    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `n` have come here, be they let through already or not.
    pub async fn reached(&self, n: usize) {
        let wait = async { self.waiting.subscribe().wait_for(|count| *count >= n).await.map(|_| ()) };
        tokio::time::timeout(super::PATIENCE, wait)
            .await
            .expect("the gate is reached")
            .expect("the gate lives");
    }

    async fn pass(&self) {
        self.waiting.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        // The gate lives as long as the script that holds it.
        let _ = open.wait_for(|open| *open).await;
    }
}

/// One thing that the origin does in answer to a request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits for the gate.
    Wait(Gate),
    /// Takes its time: what is slow is what is asked for, and not what is waited for.
    Pause(Duration),
    /// Closes the connection in good order.
    Close,
    /// Resets it.
    Reset,
    /// Sends `count` times the same bytes, as fast as they are taken.
    Repeat(Vec<u8>, usize),
    /// Sends back what comes, until the client ends.
    Echo,
}

/// What the origin does with a request: the steps, in order.
pub type Script = Vec<Step>;

type Respond = Arc<dyn Fn(&Seen, usize) -> Script + Send + Sync>;

/// A scripted origin.
#[derive(Clone)]
pub struct Origin {
    address: SocketAddr,
    scripts: Arc<Mutex<HashMap<String, Respond>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    content: Arc<AtomicUsize>,
    transcript: Transcript,
}

/// A response with this head and body, and its length.
pub fn response(status: &str, fields: &[(&str, &str)], body: &str) -> Vec<Step> {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    vec![Step::Send(text.into_bytes())]
}

/// `200` with this `Cache-Control` and body.
pub fn ok(cache_control: &str, body: &str) -> Vec<Step> {
    response("200 OK", &[("Cache-Control", cache_control)], body)
}

/// Exact bytes.
pub fn raw(bytes: &str) -> Step {
    Step::Send(bytes.as_bytes().to_vec())
}

/// Where the script for paths that have none of their own stands; no target is like it.
const OTHERWISE: &str = "";

impl Origin {
    /// Starts an origin that knows no path yet; unknown ones get a 404 that is not
    /// to be stored.
    pub async fn start(transcript: Transcript) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = Origin {
            address: listener.local_addr().expect("an address"),
            scripts: Arc::default(),
            seen: Arc::default(),
            content: Arc::default(),
            transcript,
        };
        let accepting = origin.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let origin = accepting.clone();
                tokio::spawn(async move { origin.serve(stream, connection).await });
            }
        });
        origin
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, requests for `path` (with its query) get what `respond` makes of
    /// them; its second argument counts the requests for the path, from 1.
    pub fn on(&self, path: &str, respond: impl Fn(&Seen, usize) -> Script + Send + Sync + 'static) {
        self.scripts.lock().expect("scripts").insert(path.to_owned(), Arc::new(respond));
    }

    /// From now on, requests for `path` get this.
    pub fn always(&self, path: &str, script: Script) {
        self.on(path, move |_, _| script.clone());
    }

    /// From now on, requests for all other paths get what `respond` makes of them.
    pub fn otherwise(&self, respond: impl Fn(&Seen, usize) -> Script + Send + Sync + 'static) {
        self.on(OTHERWISE, respond);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("seen").clone()
    }

    /// How many requests there were for this path.
    pub fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|seen| seen.target == path).count()
    }

    /// Waits until there were `n` requests for this path.
    pub async fn wait_for(&self, path: &str, n: usize) {
        let wait = async {
            while self.count(path) < n {
                breathe().await;
            }
        };
        self.transcript.within(&format!("{n} requests for {path} at the origin"), wait).await;
    }

    /// Waits until so many bytes of a request's content have come, be it whole or not.
    pub async fn wait_for_content(&self, bytes: usize) {
        let wait = async {
            while self.content.load(Ordering::Relaxed) < bytes {
                breathe().await;
            }
        };
        self.transcript.within(&format!("{bytes} bytes of content at the origin"), wait).await;
    }

    async fn serve(&self, mut stream: TcpStream, connection: usize) {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer, connection, &self.content).await {
            self.transcript.note(
                &format!("origin {connection} <"),
                format!("{} {}\r\n{:?} + {} bytes", seen.method, seen.target, seen.fields, seen.body.len())
                    .as_bytes(),
            );
            let count = {
                let mut all = self.seen.lock().expect("seen");
                all.push(seen.clone());
                all.iter().filter(|other| other.target == seen.target).count()
            };
            let respond = {
                let scripts = self.scripts.lock().expect("scripts");
                scripts.get(&seen.target).or_else(|| scripts.get(OTHERWISE)).cloned()
            };
            let script = respond.map_or_else(
                || response("404 Not Found", &[("Cache-Control", "no-store")], "nothing here"),
                |respond| respond(&seen, count),
            );
            for step in script {
                match step {
                    Step::Send(bytes) => {
                        self.transcript.note(&format!("origin {connection} >"), &bytes);
                        if stream.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    Step::Repeat(bytes, count) => {
                        for _ in 0..count {
                            if stream.write_all(&bytes).await.is_err() {
                                return;
                            }
                        }
                    }
                    Step::Wait(gate) => gate.pass().await,
                    Step::Pause(time) => tokio::time::sleep(time).await,
                    Step::Close => return,
                    Step::Reset => {
                        let _ = stream.set_zero_linger();
                        return;
                    }
                    Step::Echo => {
                        let (mut read, mut write) = stream.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                        return;
                    }
                }
            }
        }
    }
}

/// Reads one request, its content included.
async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
    content: &AtomicUsize,
) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    buffer.drain(..head_end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut seen = Seen { connection, method, target, fields, body: Vec::new(), trailers: Vec::new() };
    if seen.field("x-early").is_some() {
        // It is answered on sight of the head alone.
    } else if let Some(length) = seen.field("content-length").and_then(|length| length.parse::<usize>().ok())
    {
        while buffer.len() < length {
            content.store(buffer.len(), Ordering::Relaxed);
            if stream.read_buf(buffer).await.ok()? == 0 {
                return Some(seen);
            }
        }
        seen.body = buffer.drain(..length).collect();
    } else if seen.field("transfer-encoding").is_some() {
        (seen.body, seen.trailers) = super::client::read_chunked(stream, buffer).await?;
    }
    Some(seen)
}

/// A pause that only gives the other side the chance to do something wrong.
pub const CHANCE: Duration = Duration::from_millis(50);
