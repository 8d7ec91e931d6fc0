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

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Settings;
use super::connection::{Connection, Flow, NoHead, Waits};
use super::counted::{Counted, Stream};
use super::exchange::{Content, Failure};
use super::resolve::Endpoint;
use super::sending::{BadTarget, Sending};
use super::timed::Timed;
use super::tls::{self, Tls};
use crate::message::interim::{Interim, Tell};
use crate::message::{RequestHead, ResponseHead, Switched, response};
use crate::observe::counters::Counters;
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
        if !upgrade && let Some(connection) = self.take_idle() {
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

    /// The idle connection that was used last and is still open and quiet.
    fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut idle = self.shared.idle.lock().pop()?;
            let expired = idle.since.elapsed() >= self.shared.settings.idle_timeout;
            if !expired && idle.connection.is_good() {
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
        idle.retain_mut(|idle| now - idle.since < timeout && idle.connection.is_good());
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
            let limits =
                response::Limits { bytes: settings.max_header_bytes, lines: settings.max_header_lines };
            let counters = Arc::clone(&self.shared.counters);
            Ok::<_, Failure>(Connection::new(Counted::new(stream, patience), limits, counters))
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
        let request = Sending::new(head, body)
            .map_err(|BadTarget| Failure::Malformed("own request target".to_owned()))?;
        let interim = |head: response::Head| {
            if let Some(tell) = tell
                && let Some(interim) = Interim::of(head.status, head.fields)
            {
                tell(interim);
            }
        };
        // Content may take its time, but not for ever.
        let has_content = request.has_content();
        let patience = || {
            let left = if has_content {
                deadlines.end().saturating_duration_since(Instant::now())
            } else {
                deadlines.left()
            };
            deadlines.first_byte.min(left)
        };
        let waits = Waits { content_by: deadlines.end(), patience };
        let closes = |option: &[u8]| option.eq_ignore_ascii_case(b"close");
        let may_keep = !upgrade && !head.fields.members("connection").any(closes);
        let answer = connection.ask(request, head.method == Method::HEAD, may_keep, interim, waits).await;
        let response::Head { status, fields, .. } = answer.map_err(|why| Lost {
            failure: failure(why, deadlines),
            silently: connection.arrived() == before,
        })?;
        let head = ResponseHead { status, fields };
        let counters = Arc::clone(&self.shared.counters);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            if !upgrade {
                return Err(Failure::Malformed(format!("a final response of status {status}")).into());
            }
            let body = Timed::new(Flow::empty(), deadlines, counters);
            return Ok(Answer { head, body, switched: Some(connection.into_tunnel()) });
        }
        // One for a tunnel has other deadlines.
        let flow = Flow::new(connection, (!upgrade).then(|| self.clone()), deadlines.end());
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

/// Why there is no head, as a failure of the exchange.
fn failure(why: NoHead, deadlines: &Deadlines) -> Failure {
    match why {
        NoHead::ContentOverdue => Failure::ContentOverdue(deadlines.total),
        NoHead::Overdue(patience) => Failure::FirstByteTimeout(patience),
        NoHead::ContentBroken => Failure::RequestBroken,
        NoHead::Bad(bad) => Failure::Malformed(bad.to_string()),
        NoHead::Closed => Failure::Closed,
        NoHead::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Failure::NotTaken(deadlines.between_bytes)
        }
        // A server may say only after the handshake that it wants another certificate.
        NoHead::Io(error) => match tls::trouble(&error) {
            Some((trouble, why)) => Failure::Tls { trouble, why },
            None => Failure::Closed,
        },
    }
}
