//! The connections to one origin, and the exchanges over them.
//!
//! Idle connections are kept last in, first out, so that few stay warm. An
//! idempotent request without content is sent once more, on a new connection,
//! when a connection that was used before died before the first byte of the
//! answer: the origin had closed it while it was idle (RFC 9112 9.3.1).
//!
//! What always holds: a connection returns to the idle ones only when the
//! request's last byte has been sent and the response's last byte read, and leaves
//! them only if it is still quiet; bytes that arrive on an idle connection close it.
//!
//! Cancel safety: dropping an exchange or its body closes its connection, at once or,
//! where the origin does not take what is on its way to it, after a while.

use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::{Request, Uri, Version};
use http_body::Body as _;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Settings;
use super::counted::{Arrived, Counted};
use super::exchange::{Exchange, Failure, Outgoing};
use crate::message::wire::{self, ToWire};
use crate::message::{self, Body, Broken, Piece, RequestHead, ResponseHead};
use crate::observe::counters::Counters;
use crate::rfc::fields::Fields;
use crate::rfc::unsafe_method::is_idempotent;

/// How long idle connections may take, all together, to say that they are still good;
/// one that is says so at once.
const READY: Duration = Duration::from_millis(500);

/// One origin.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// Answers in the place of an origin, in tests.
pub type Script = Box<dyn Fn(Outgoing) -> BoxFuture<'static, Result<Exchange, Failure>> + Send + Sync>;

struct Shared {
    settings: Settings,
    script: Option<Script>,
    idle: Mutex<Vec<Idle>>,
    counters: Arc<Counters>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection, and what has arrived over it.
struct Connection {
    sender: SendRequest<ToWire>,
    arrived: Arrived,
}

impl Client {
    /// A client without connections yet.
    pub fn new(settings: Settings, counters: Arc<Counters>) -> Self {
        Client { shared: Arc::new(Shared { settings, script: None, idle: Mutex::default(), counters }) }
    }

    /// A client that connects to nobody: what it is asked is answered by `script`.
    pub fn scripted(settings: Settings, counters: Arc<Counters>, script: Script) -> Self {
        let script = Some(script);
        Client { shared: Arc::new(Shared { settings, script, idle: Mutex::default(), counters }) }
    }

    /// How this origin is asked.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// One request, one response head; the body follows at the reader's pace.
    pub async fn exchange(&self, outgoing: Outgoing) -> Result<Exchange, Failure> {
        let started = Instant::now();
        let counters = &self.shared.counters;
        counters.origin_requests.up();
        let outcome = match &self.shared.script {
            None => self.try_exchange(outgoing, started).await,
            Some(script) => script(outgoing).await,
        };
        match &outcome {
            Ok(_) => {}
            Err(Failure::Unresolved(_) | Failure::Connect(_)) => counters.origin_failed_connect.up(),
            Err(Failure::ConnectTimeout(_)) => counters.origin_timeout_connect.up(),
            Err(Failure::FirstByteTimeout(_)) => counters.origin_timeout_first_byte.up(),
            Err(Failure::NotTaken(_)) => counters.origin_timeout_between_bytes.up(),
            Err(Failure::Closed) => counters.origin_failed_closed.up(),
            Err(Failure::Malformed(_)) => counters.origin_failed_malformed.up(),
            Err(Failure::RequestBroken) => counters.origin_failed_request.up(),
        }
        outcome
    }

    async fn try_exchange(&self, outgoing: Outgoing, started: Instant) -> Result<Exchange, Failure> {
        let Outgoing { head, body, upgrade } = outgoing;
        let repeatable = body.is_none() && !upgrade && is_idempotent(&head.method);
        if !upgrade && let Some(connection) = self.take_idle().await {
            if !repeatable {
                return self.send(connection, head, body, upgrade, started).await;
            }
            let arrived = connection.arrived.clone();
            let before = arrived.bytes();
            match self.send(connection, head.clone(), None, false, started).await {
                Err(Failure::Closed) if arrived.bytes() == before => self.shared.counters.origin_retries.up(),
                outcome => return outcome,
            }
        }
        let connection = self.connect(upgrade).await?;
        self.send(connection, head, body, upgrade, started).await
    }

    /// The idle connection that was used last and is still open and quiet.
    async fn take_idle(&self) -> Option<Connection> {
        let deadline = Instant::now() + READY;
        loop {
            let mut idle = self.shared.idle.lock().pop()?;
            if idle.since.elapsed() >= self.shared.settings.idle_timeout {
                continue;
            }
            // Ready means that its task has looked at the socket and found nothing
            // there that does not belong there.
            let ready = tokio::time::timeout_at(deadline, idle.connection.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(idle.connection);
            }
        }
    }

    fn give_back(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.shared.idle.lock();
        if idle.len() < self.shared.settings.max_idle {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes the connections that have been idle for too long.
    pub fn close_expired(&self) {
        let now = Instant::now();
        let mut idle = self.shared.idle.lock();
        // The oldest stand first.
        let timeout = self.shared.settings.idle_timeout;
        let expired = idle.iter().take_while(|idle| now - idle.since >= timeout).count();
        idle.drain(..expired);
    }

    async fn connect(&self, upgrade: bool) -> Result<Connection, Failure> {
        let settings = &self.shared.settings;
        let connecting = async {
            let stream = dial(&settings.host, settings.port).await?;
            // Small writes are whole messages here; waiting to join them only adds delay.
            let _ = stream.set_nodelay(true);
            // In a tunnel both sides have their own idea of how long one may wait.
            let patience = (!upgrade).then_some(settings.between_bytes_timeout);
            let (stream, arrived) = Counted::new(stream, patience);
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(settings.max_header_bytes.max(8192))
                .max_headers(settings.max_header_lines)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|error| Failure::Connect(error.to_string()))?;
            Ok((Connection { sender, arrived }, connection))
        };
        let (ours, connection) = tokio::time::timeout(settings.connect_timeout, connecting)
            .await
            .map_err(|_| Failure::ConnectTimeout(settings.connect_timeout))??;
        let counters = Arc::clone(&self.shared.counters);
        counters.origin_connections.up();
        counters.origin_connections_open.up();
        tokio::spawn(async move {
            // An error here is also the error of the exchange that was under way.
            let _ = connection.with_upgrades().await;
            counters.origin_connections_open.down();
        });
        Ok(ours)
    }

    async fn send(
        &self,
        mut connection: Connection,
        head: RequestHead,
        body: Option<super::exchange::Content>,
        upgrade: bool,
        started: Instant,
    ) -> Result<Exchange, Failure> {
        let settings = &self.shared.settings;
        // For methods that seldom have content the library drops it, unless the
        // framing is told.
        let chunked = body.as_ref().is_some_and(|content| content.length.is_none());
        let mut request = Request::new(match body {
            None => ToWire::new(message::empty(), Some(0)),
            Some(content) => ToWire::new(content.body, content.length),
        });
        *request.method_mut() = head.method;
        *request.uri_mut() =
            Uri::try_from(head.target).map_err(|_| Failure::Malformed("own request target".to_owned()))?;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = wire::map_from(&head.fields);
        if chunked {
            let value = http::HeaderValue::from_static("chunked");
            request.headers_mut().insert(http::header::TRANSFER_ENCODING, value);
        }

        let content = if request.body().is_end_stream() { None } else { Some(request.body_mut().taken()) };
        let answer = connection.sender.send_request(request);
        let overdue = async {
            if let Some(content) = &content {
                // Content may take its time, but not for ever.
                let deadline = started + settings.total_timeout;
                if tokio::time::timeout_at(deadline, content.whole()).await.is_err() {
                    return settings.total_timeout;
                }
            }
            tokio::time::sleep(settings.first_byte_timeout).await;
            settings.first_byte_timeout
        };
        let mut response = tokio::select! {
            biased;
            answer = answer => answer.map_err(|error| failure(&error, settings))?,
            patience = overdue => return Err(Failure::FirstByteTimeout(patience)),
        };
        let status = response.status();
        let switched = (status == http::StatusCode::SWITCHING_PROTOCOLS && upgrade)
            .then(|| wire::switched(hyper::upgrade::on(&mut response)));
        if status.is_informational() && switched.is_none() {
            return Err(Failure::Malformed(format!("a final response of status {status}")));
        }
        let (parts, incoming) = response.into_parts();
        let fields = wire::fields_from(&parts.headers).map_err(|bad| Failure::Malformed(bad.to_string()))?;
        check_framing(&fields)?;
        let client = self.clone();
        let reusable = switched.is_none() && parts.version == Version::HTTP_11;
        let body = wire::body_from(incoming, move || {
            if reusable && content.is_none_or(|content| content.is_whole()) {
                client.give_back(connection);
            }
        });
        let body: Body = Box::pin(Timed {
            body,
            between: settings.between_bytes_timeout,
            total: settings.total_timeout,
            deadline: started + settings.total_timeout,
            pause: Box::pin(tokio::time::sleep_until(started + settings.total_timeout)),
            waiting: false,
            ended: false,
            counters: Arc::clone(&self.shared.counters),
        });
        Ok(Exchange { head: ResponseHead { status, fields }, body, switched })
    }
}

/// Connects to the first address of the name that answers.
async fn dial(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
        .await
        .map_err(|error| Failure::Unresolved(error.to_string()))?
        .collect();
    let mut last = Failure::Unresolved("no address".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Failure::Connect(error.to_string()),
        }
    }
    Err(last)
}

/// What the library refused, in our words.
fn failure(error: &hyper::Error, settings: &Settings) -> Failure {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    if error.is_user() {
        Failure::RequestBroken
    } else if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
        Failure::NotTaken(settings.between_bytes_timeout)
    } else if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        Failure::Malformed(error.to_string())
    } else {
        Failure::Closed
    }
}

/// Framing that two readers could understand differently is refused (RFC 9112 6.3).
fn check_framing(fields: &Fields) -> Result<(), Failure> {
    if fields.members("transfer-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
        return Err(Failure::Malformed("a transfer coding that was not asked for".to_owned()));
    }
    let mut lengths = fields.members("content-length");
    if let Some(first) = lengths.next() {
        if lengths.any(|other| other != first) {
            return Err(Failure::Malformed("two differing Content-Lengths".to_owned()));
        }
        if fields.contains("transfer-encoding") {
            return Err(Failure::Malformed("both Content-Length and Transfer-Encoding".to_owned()));
        }
    }
    Ok(())
}

/// A body under the deadlines of its exchange.
struct Timed {
    body: Body,
    between: Duration,
    total: Duration,
    deadline: Instant,
    /// Ends when the sender has paused for too long, or the exchange took too long.
    pause: Pin<Box<Sleep>>,
    /// Whether the reader is waiting, so that the pause is running. Time in which
    /// nobody asks is the reader's own and not the origin's.
    waiting: bool,
    ended: bool,
    counters: Arc<Counters>,
}

impl futures_util::Stream for Timed {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match this.body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                this.waiting = false;
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(end) => {
                this.ended = true;
                if matches!(end, Some(Err(_))) {
                    this.counters.origin_failed_body.up();
                }
                Poll::Ready(end)
            }
            Poll::Pending => {
                if !this.waiting {
                    this.waiting = true;
                    this.pause.as_mut().reset((Instant::now() + this.between).min(this.deadline));
                }
                std::task::ready!(this.pause.as_mut().poll(cx));
                this.ended = true;
                let broken = if Instant::now() >= this.deadline {
                    this.counters.origin_timeout_total.up();
                    Broken::Overdue(this.total)
                } else {
                    this.counters.origin_timeout_between_bytes.up();
                    Broken::Paused(this.between)
                };
                Poll::Ready(Some(Err(broken)))
            }
        }
    }
}
