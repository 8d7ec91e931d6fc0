//! The connections to one server, and the exchanges over them.
//!
//! Idle connections are kept last in, first out, so that few stay warm. An
//! idempotent request without content is sent once more, on a new connection,
//! when a connection that was used before died before the first byte of the
//! answer: the origin had closed it while it was idle (RFC 9112 9.3.1).
//!
//! What always holds: a connection returns to the idle ones only when the
//! request's last byte has been sent and the response's last byte read, and leaves
//! them only if it is still quiet; bytes that arrive on an idle connection close it. What
//! may not be sent twice is sent only after the socket itself was asked.
//!
//! Cancel safety: dropping an exchange or its body has closed the connection's socket when
//! it returns.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri, Version};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Settings;
use super::connection::{Connection, Flow, NoHead};
use super::counted::{Counted, Stream};
use super::exchange::{Content, Failure};
use super::resolve::Endpoint;
use super::timed::Timed;
use super::tls::{self, Tls};
use crate::message::interim::{Interim, Tell};
use crate::message::wire::{self, ToWire};
use crate::message::{self, RequestHead, ResponseHead, Switched};
use crate::observe::counters::Counters;
use crate::rfc::fields::Fields;
use crate::rfc::unsafe_method::is_idempotent;

/// The connections to one server; cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    /// Where it speaks TLS.
    tls: Option<Tls>,
    settings: Arc<Settings>,
    idle: Mutex<Vec<Idle>>,
    counters: Arc<Counters>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// What a server has answered.
pub(super) struct Answer {
    /// The final status and the fields, hop-by-hop ones included.
    pub head: ResponseHead,
    /// The content, with the deadlines of the exchange still upon it.
    pub body: Timed,
    /// The other side of the tunnel, after a `101`.
    pub switched: Option<Switched>,
}

/// The deadlines of a request, whatever it takes: those of a further attempt are what is
/// left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// When it began.
    pub started: Instant,
    /// How long connecting may take.
    pub connect: Duration,
    /// From the request's last byte to the response's head.
    pub first_byte: Duration,
    /// Between two pieces of a body, whichever way it goes.
    pub between_bytes: Duration,
    /// From the beginning to the end of the response.
    pub total: Duration,
}

impl Deadlines {
    /// When the response has to be complete.
    pub fn end(&self) -> Instant {
        self.started + self.total
    }

    /// How long the head of the response to a request without content may still take, all
    /// attempts together.
    pub fn left(&self) -> Duration {
        let whole = self.connect.saturating_add(self.first_byte).min(self.total);
        whole.saturating_sub(self.started.elapsed())
    }
}

impl Pool {
    /// No connections yet.
    pub fn new(
        endpoint: Endpoint,
        tls: Option<Tls>,
        settings: Arc<Settings>,
        counters: Arc<Counters>,
    ) -> Self {
        Pool { shared: Arc::new(Shared { endpoint, tls, settings, idle: Mutex::default(), counters }) }
    }

    /// One request, one response head; the body follows at the reader's pace.
    pub async fn exchange(
        &self,
        head: &RequestHead,
        body: Option<Content>,
        upgrade: bool,
        tell: Option<&Tell>,
        deadlines: &Deadlines,
    ) -> Result<Answer, Failure> {
        let repeatable = body.is_none() && !upgrade && is_idempotent(&head.method);
        if !upgrade && let Some(connection) = self.take_idle(!repeatable) {
            if !repeatable {
                let sent = self.send(connection, head, body, upgrade, tell, deadlines).await;
                return sent.map_err(|lost| lost.failure);
            }
            match self.send(connection, head, None, false, tell, deadlines).await {
                Err(Lost { failure: Failure::Closed, silently: true }) => {
                    self.shared.counters.origin_retries.up();
                }
                outcome => return outcome.map_err(|lost| lost.failure),
            }
        }
        // A large future, and seldom needed.
        let connection = Box::pin(self.connect(upgrade, deadlines)).await?;
        self.send(connection, head, body, upgrade, tell, deadlines).await.map_err(|lost| lost.failure)
    }

    /// One request over a connection of its own, which is closed after it.
    pub async fn exchange_alone(&self, head: &RequestHead, deadlines: &Deadlines) -> Result<Answer, Failure> {
        let connection = self.connect(false, deadlines).await?;
        self.send(connection, head, None, false, None, deadlines).await.map_err(|lost| lost.failure)
    }

    /// The idle connection that was used last and is still open and quiet: as far as is
    /// known, or, `surely`, after its socket was asked.
    fn take_idle(&self, surely: bool) -> Option<Connection> {
        loop {
            let mut idle = self.shared.idle.lock().pop()?;
            let expired = idle.since.elapsed() >= self.shared.settings.idle_timeout;
            if !expired && idle.connection.is_good(surely) {
                return Some(idle.connection);
            }
        }
    }

    /// A connection over which the next request may be sent.
    pub fn give_back(&self, connection: Connection) {
        let mut idle = self.shared.idle.lock();
        if idle.len() < self.shared.settings.max_idle {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// How many connections are idle.
    pub fn idle(&self) -> usize {
        self.shared.idle.lock().len()
    }

    /// Closes the connections that have been idle for too long, and those that the server
    /// has closed.
    pub fn close_expired(&self) {
        let now = Instant::now();
        let timeout = self.shared.settings.idle_timeout;
        let mut idle = self.shared.idle.lock();
        idle.retain_mut(|idle| now - idle.since < timeout && idle.connection.is_good(true));
    }

    async fn connect(&self, upgrade: bool, deadlines: &Deadlines) -> Result<Connection, Failure> {
        let Shared { endpoint, tls, settings, .. } = &*self.shared;
        let connecting = async {
            let stream = TcpStream::connect(endpoint.address)
                .await
                .map_err(|error| Failure::Connect(error.to_string()))?;
            // Small writes are whole messages here; waiting to join them only adds delay.
            let _ = stream.set_nodelay(true);
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(tls) => {
                    let connected = tls.connect(stream, &endpoint.host).await;
                    Stream::Tls(Box::new(connected.map_err(|(trouble, why)| Failure::Tls { trouble, why })?))
                }
            };
            // In a tunnel both sides have their own idea of how long one may wait.
            let patience = (!upgrade).then_some(deadlines.between_bytes);
            let (stream, arrived) = Counted::new(stream, patience);
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(settings.max_header_bytes.max(8192))
                .max_headers(settings.max_header_lines)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|error| Failure::Connect(error.to_string()))?;
            let counters = Arc::clone(&self.shared.counters);
            Ok::<_, Failure>(Connection::new(sender, connection, arrived, counters))
        };
        let patience = deadlines.connect.min(deadlines.left());
        tokio::time::timeout(patience, connecting).await.map_err(|_| Failure::ConnectTimeout(patience))?
    }

    async fn send(
        &self,
        mut connection: Connection,
        head: &RequestHead,
        body: Option<Content>,
        upgrade: bool,
        tell: Option<&Tell>,
        deadlines: &Deadlines,
    ) -> Result<Answer, Lost> {
        let before = connection.arrived();
        let (mut request, content) = request(head, body)?;
        if let Some(tell) = tell {
            let tell = Arc::clone(tell);
            hyper::ext::on_informational(&mut request, move |response| {
                let fields = wire::fields_from(response.headers()).ok();
                if let Some(interim) = fields.and_then(|fields| Interim::of(response.status(), fields)) {
                    tell(interim);
                }
            });
        }
        let sending = content.as_ref().map(|content| (content, deadlines.end()));
        // Content may take its time, but not for ever.
        let patience = || match &content {
            Some(_) => deadlines.first_byte.min(deadlines.end().saturating_duration_since(Instant::now())),
            None => deadlines.first_byte.min(deadlines.left()),
        };
        let answer = connection.ask(request, sending, patience).await;
        let response = answer.map_err(|why| Lost {
            failure: match why {
                NoHead::ContentOverdue => Failure::ContentOverdue(deadlines.total),
                NoHead::Overdue(patience) => Failure::FirstByteTimeout(patience),
                NoHead::Error(error) => failure(&error, deadlines),
            },
            silently: connection.arrived() == before,
        })?;
        let (parts, incoming) = response.into_parts();
        let status = parts.status;
        let switches = status == http::StatusCode::SWITCHING_PROTOCOLS && upgrade;
        if status.is_informational() && !switches {
            return Err(Failure::Malformed(format!("a final response of status {status}")).into());
        }
        let fields = wire::fields_from(&parts.headers).map_err(|bad| Failure::Malformed(bad.to_string()))?;
        check_framing(&fields)?;
        let head = ResponseHead { status, fields };
        let counters = Arc::clone(&self.shared.counters);
        if switches {
            let body = Timed::new(Flow::empty(), deadlines, counters);
            return Ok(Answer { head, body, switched: Some(connection.into_tunnel()) });
        }
        // One for a tunnel has other deadlines.
        let reusable = !upgrade && parts.version == Version::HTTP_11;
        let flow = Flow::new(incoming, connection, reusable.then(|| self.clone()), content);
        Ok(Answer { head, body: Timed::new(flow, deadlines, counters), switched: None })
    }
}

/// An exchange without a response.
struct Lost {
    failure: Failure,
    /// Whether nothing at all has come back.
    silently: bool,
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Lost { failure, silently: false }
    }
}

/// The request as the library takes it, and, where it has content, what tells when the last
/// of that was taken.
fn request(
    head: &RequestHead,
    body: Option<Content>,
) -> Result<(Request<ToWire>, Option<wire::Taken>), Failure> {
    // For methods that seldom have content the library drops it, unless the
    // framing is told.
    let chunked = body.as_ref().is_some_and(|content| content.length.is_none());
    let mut request = Request::new(match body {
        None => ToWire::new(message::empty(), Some(0)),
        Some(content) => ToWire::new(content.body, content.length),
    });
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::try_from(head.target.as_str())
        .map_err(|_| Failure::Malformed("own request target".to_owned()))?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = wire::map_from(&head.fields);
    if chunked {
        let value = http::HeaderValue::from_static("chunked");
        request.headers_mut().insert(http::header::TRANSFER_ENCODING, value);
    }

    let content = if request.body().is_end_stream() { None } else { Some(request.body_mut().taken()) };
    Ok((request, content))
}

/// What the library refused, in our words.
fn failure(error: &hyper::Error, deadlines: &Deadlines) -> Failure {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    if error.is_user() {
        Failure::RequestBroken
    } else if let Some((trouble, why)) = io.and_then(tls::trouble) {
        // A server may say only after the handshake that it wants another certificate.
        Failure::Tls { trouble, why }
    } else if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
        Failure::NotTaken(deadlines.between_bytes)
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
