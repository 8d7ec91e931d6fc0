//! Accepting connections, and one connection's requests over HTTP/1.1.
//!
//! Cancel safety: a connection is a task of its own; when the client leaves, its
//! walk is dropped at whatever await it stands.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request as HttpRequest, Response, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Settings;
use super::places::{Full, Place, Places};
use super::timed::{State, Timed};
use crate::message::{Broken, Piece, wire};
use crate::observe::counters::Counters;
use crate::observe::trace::Seldom;
use crate::origin::Content;
use crate::policy::{Received, normalise};
use crate::serve::{Reply, ReplyBody, Request, Server, Tunnel};

/// The generation of configuration in force, which a reload replaces.
pub type Current = Arc<ArcSwap<Server>>;

/// How much room the library's head parser gets beyond the configured limit:
/// what is over the limit, but fits here, gets an answer that says so.
const HEAD_ROOM: usize = 16 * 1024;

/// How long nobody is accepted after an attempt that failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `drain` turns true, then lets those that are open
/// finish what is under way. Returns when the last one has ended or
/// `drain_deadline` has passed.
pub async fn listen(
    listener: TcpListener,
    settings: Settings,
    current: Current,
    counters: Arc<Counters>,
    mut drain: watch::Receiver<bool>,
    drain_deadline: Duration,
) {
    let gate = Gate::new(&settings, &current, &counters);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = told(&mut drain) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                gate.failed(&error).await;
                continue;
            }
        };
        let Some(place) = gate.place(peer.ip()) else { continue };
        counters.client_connections.up();
        let connection = Connection {
            current: Arc::clone(&current),
            counters: Arc::clone(&counters),
            settings: settings.clone(),
        };
        let drain = drain.clone();
        connections.spawn(connection.run(stream, place, drain));
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain_deadline, rest).await.is_err() {
        tracing::warn!(target: "forebay::listen", "{} connections cut off at the drain deadline", connections.len());
    }
}

/// Who gets in, and what is said of those who do not.
struct Gate {
    places: Arc<Places>,
    current: Current,
    counters: Arc<Counters>,
    failures: Seldom,
    refusals: Seldom,
}

impl Gate {
    fn new(settings: &Settings, current: &Current, counters: &Arc<Counters>) -> Self {
        Gate {
            places: Places::new(settings.max_connections, settings.max_connections_per_address),
            current: Arc::clone(current),
            counters: Arc::clone(counters),
            failures: Seldom::default(),
            refusals: Seldom::default(),
        }
    }

    /// A place for a connection from this address. A proxy's connections are those of many
    /// clients, and not counted for its address.
    fn place(&self, peer: IpAddr) -> Option<Place> {
        let server = self.current.load();
        let counted = (!normalise::is_trusted(peer, &server.presentation)).then_some(peer);
        let (setting, count) = match self.places.take(counted) {
            Ok(place) => return Some(place),
            Err(Full::All) => ("listen.max_connections", &self.counters.client_connections_refused),
            Err(Full::Address) => {
                ("listen.max_connections_per_address", &self.counters.client_connections_refused_address)
            }
        };
        count.up();
        self.refusals.tell(server.clock.now(), |left_out| {
            tracing::warn!(target: "forebay::listen", client = %peer, left_out, "a connection was closed at once: {setting} is reached");
        });
        None
    }

    /// Waits a moment where the next attempt to accept would fail as well.
    async fn failed(&self, error: &io::Error) {
        self.counters.client_accept_errors.up();
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            // It was about this connection alone, and that is gone.
            return;
        }
        self.failures.tell(self.current.load().clock.now(), |left_out| {
            tracing::warn!(target: "forebay::listen", left_out, "accepting failed: {error}");
        });
        // Out of file descriptors, mostly: connections have to end before another try
        // makes sense, and those that are open are served meanwhile.
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Completes when draining begins, or when nobody is left who could begin it.
async fn told(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}

struct Connection {
    current: Current,
    counters: Arc<Counters>,
    settings: Settings,
}

impl Connection {
    async fn run(self, stream: TcpStream, place: Place, mut drain: watch::Receiver<bool>) {
        let Ok(peer) = stream.peer_addr() else { return };
        // Replies are written whole; waiting to join small writes only adds delay.
        let _ = stream.set_nodelay(true);
        let (socket, state) = Timed::new(stream, &self.settings, &self.counters, place);
        let presentation = &self.current.load().presentation.clone();
        let current = Arc::clone(&self.current);
        let service = service_fn(move |request| {
            let server = current.load_full();
            let state = Arc::clone(&state);
            let peer = peer.ip().to_canonical();
            async move { Ok::<_, Infallible>(answer(&server, request, peer, state).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // The socket's own deadlines tell silence from slowness; this one cannot.
            .header_read_timeout(None)
            .max_buf_size(presentation.max_header_bytes + presentation.max_target_bytes + HEAD_ROOM)
            .max_headers(presentation.max_header_lines + 1)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = told(&mut drain) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            if error.is_parse() {
                self.counters.client_malformed.up();
            }
            tracing::debug!(target: "forebay::listen", client = %peer, "connection ended: {error}");
        }
    }
}

/// One request: to our types, through the walk, and back.
async fn answer(
    server: &Arc<Server>,
    mut request: HttpRequest<Incoming>,
    peer: IpAddr,
    state: Arc<State>,
) -> Response<WireBody> {
    state.serving();
    let wants_upgrade = request.headers().contains_key(http::header::UPGRADE);
    let switched = wants_upgrade.then(|| wire::switched(hyper::upgrade::on(&mut request)));
    let (parts, incoming) = request.into_parts();
    // A line that cannot be written again cannot come out of the parser either.
    let fields = wire::fields_from(&parts.headers).unwrap_or_default();
    let received = Received {
        method: parts.method,
        // The library keeps the target as it stood on the request line.
        target: parts.uri.to_string(),
        version: parts.version,
        fields,
        has_body: !incoming.is_end_stream(),
        peer,
        encrypted: false,
    };
    let content = received.has_body.then(|| {
        state.reading_body();
        let length = incoming.size_hint().exact();
        let state = Arc::clone(&state);
        Content { body: wire::body_from(incoming, move || state.body_read()), length }
    });
    let version = received.version;
    let reply = server.serve(Request { received, content, switched }).await;
    respond(reply, version, state)
}

fn respond(reply: Reply, version: Version, state: Arc<State>) -> Response<WireBody> {
    let Reply { status, mut fields, body, length, close, tunnel } = reply;
    if close {
        fields.set("connection", "close");
    }
    if let Some(tunnel) = &tunnel {
        fields.add("connection", "upgrade");
        fields.add("upgrade", &tunnel.protocol);
    }
    let mut response = Response::new(WireBody { body, length, state, ended: false });
    *response.status_mut() = status;
    *response.headers_mut() = wire::map_from(&fields);
    if version == Version::HTTP_10 && length.is_none() {
        // Without a length only the end of the connection can end the body.
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    if let Some(tunnel) = tunnel {
        let state = Arc::clone(&response.body().state);
        tokio::spawn(join(tunnel, state));
    }
    response
}

/// Joins the two ends of a tunnel until one of them closes.
async fn join(tunnel: Tunnel, state: Arc<State>) {
    let (Some(mut client), Some(mut origin)) = tokio::join!(tunnel.client, tunnel.origin) else { return };
    state.tunnel();
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut origin).await {
        tracing::debug!(target: "forebay::listen", "tunnel ended: {error}");
    }
}

/// A reply's body as the library wants it.
struct WireBody {
    body: ReplyBody,
    length: Option<u64>,
    state: Arc<State>,
    ended: bool,
}

impl http_body::Body for WireBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match std::task::ready!(this.body.poll_next_unpin(cx)) {
            None => {
                this.ended = true;
                None
            }
            Some(Ok(Piece::Bytes(bytes))) => {
                if let Some(length) = &mut this.length {
                    *length = length.saturating_sub(bytes.len() as u64);
                    if *length == 0 {
                        // The library stops asking at the promised length.
                        this.body.complete();
                    }
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Ok(Piece::Trailers(trailers))) => Some(Ok(Frame::trailers(wire::map_from(&trailers)))),
            Some(Err(broken)) => {
                this.ended = true;
                Some(Err(broken))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for WireBody {
    fn drop(&mut self) {
        self.state.idle();
    }
}
