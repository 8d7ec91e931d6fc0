//! One connection to a server, and the body that arrives over it.
//!
//! A connection has no task of its own: whoever waits for what comes over it drives it, in
//! their own task, and while it is idle nobody does. Only where the request's content is
//! still on its way when the response begins does it go on by itself, so that content moves
//! on while nobody reads.
//!
//! What always holds: dropping a connection, or a body, has closed the socket when it
//! returns. The exception is a body that was read to its end before the request's content
//! was sent: that goes on to its own end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{AbortHandle, unconstrained};
use tokio::time::{Instant, Sleep};

use super::counted::{Arrived, Counted};
use super::pool::Pool;
use crate::message::wire::{Arriving, Taken, ToWire};
use crate::message::{Broken, Duplex, Piece, Switched};
use crate::observe::counters::Counters;

type Http = http1::Connection<TokioIo<Counted>, ToWire>;

/// A connection to a server.
pub(super) struct Connection {
    sender: SendRequest<ToWire>,
    link: Link,
}

/// What moves the bytes.
struct Link {
    /// Dropped first: it has the socket.
    http: Box<Http>,
    /// Whether it has come to its end.
    done: bool,
    arrived: Arrived,
    /// One for all heads that are waited for: to move it further away costs next to nothing.
    timer: Pin<Box<Sleep>>,
    open: Open,
}

/// Counts a connection for as long as it is open.
struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.origin_connections_open.down();
    }
}

/// Polls what only the link moves on: whoever waits is woken by the link, and not twice.
fn quietly<T>(poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
    poll(&mut Context::from_waker(Waker::noop()))
}

impl Connection {
    /// A connection that has just been made.
    pub fn new(sender: SendRequest<ToWire>, http: Http, arrived: Arrived, counters: Arc<Counters>) -> Self {
        counters.origin_connections.up();
        counters.origin_connections_open.up();
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let link = Link { http: Box::new(http), done: false, arrived, timer, open: Open(counters) };
        Connection { sender, link }
    }

    /// How many bytes have arrived over it.
    pub fn arrived(&self) -> u64 {
        self.link.arrived.bytes()
    }

    /// Whether a request may be sent over this idle connection: as far as is known, or,
    /// `surely`, after its socket was asked.
    pub fn is_good(&mut self, surely: bool) -> bool {
        self.link.arrived.look(surely);
        quietly(|cx| self.link.drive(cx));
        self.link.arrived.look(false);
        self.is_ready()
    }

    /// Whether the next request may be sent.
    fn is_ready(&self) -> bool {
        !self.link.done && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its response. `patience` is asked once how
    /// long to wait, when the request's content is sent; where that takes too long, until
    /// `content_by`, or the head does, the error says so.
    pub async fn ask(
        &mut self,
        request: Request<ToWire>,
        content: Option<(&Taken, Instant)>,
        patience: impl FnOnce() -> Duration,
    ) -> Result<Response<Incoming>, NoHead> {
        // It is told by the link, in this task; a budget for it could run out unheard.
        let mut answer = std::pin::pin!(unconstrained(self.sender.send_request(request)));
        let mut sent = content.map(|(taken, by)| Box::pin(tokio::time::timeout_at(by, taken.whole())));
        let (mut patience, mut waits) = (Some(patience), Duration::ZERO);
        let link = &mut self.link;
        std::future::poll_fn(move |cx| {
            link.drive(cx);
            if let Poll::Ready(answer) = quietly(|cx| answer.as_mut().poll(cx)) {
                return Poll::Ready(answer.map_err(NoHead::Error));
            }
            if let Some(whole) = &mut sent {
                if std::task::ready!(whole.as_mut().poll(cx)).is_err() {
                    return Poll::Ready(Err(NoHead::ContentOverdue));
                }
                sent = None;
            }
            if let Some(patience) = patience.take() {
                waits = patience();
                link.timer.as_mut().reset(Instant::now() + waits);
            }
            link.timer.as_mut().poll(cx).map(|()| Err(NoHead::Overdue(waits)))
        })
        .await
    }

    /// The other side of the tunnel, after a `101`.
    pub fn into_tunnel(self) -> Switched {
        let Connection { sender, mut link } = self;
        Box::pin(async move {
            let _sender = sender;
            std::future::poll_fn(|cx| if link.drive(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            let http1::Parts { io, read_buf, .. } = link.http.into_parts();
            let tunnel = Tunnel { socket: io.into_inner(), early: read_buf, _open: link.open };
            Some(Box::new(tunnel) as Box<dyn Duplex>)
        })
    }
}

impl Link {
    /// Moves on what can be moved; whether it has come to its end.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        // An error here is also the error of the exchange that was under way.
        self.done = self.done || Pin::new(&mut *self.http).poll(cx).is_ready();
        self.done
    }
}

/// Why there is no head.
pub(super) enum NoHead {
    /// The request's content was not sent in time.
    ContentOverdue,
    /// The head did not arrive within this.
    Overdue(Duration),
    /// The connection has failed, or what came over it is no response.
    Error(hyper::Error),
}

/// A response's body, and the connection over which it comes.
pub(super) struct Flow {
    arriving: Arriving,
    via: Via,
    /// Where the connection goes afterwards, where it may be used again.
    pool: Option<Pool>,
    /// Of the request.
    content: Option<Taken>,
    /// What is still to be told.
    broken: Option<Broken>,
}

enum Via {
    /// Driven by whoever reads.
    Here(Connection),
    /// By a task of its own.
    Beside(Beside),
    Closed,
}

impl Flow {
    /// Nothing arrives.
    pub fn empty() -> Self {
        Flow { arriving: Arriving::empty(), via: Via::Closed, pool: None, content: None, broken: None }
    }

    /// What arrives over `connection`, which goes back to `pool` after the last byte.
    pub fn new(
        incoming: Incoming,
        connection: Connection,
        pool: Option<Pool>,
        content: Option<Taken>,
    ) -> Self {
        let is_sent = content.as_ref().is_none_or(Taken::is_whole);
        let via = if is_sent { Via::Here(connection) } else { Via::Beside(Beside::new(connection)) };
        let mut flow = Flow { arriving: Arriving::new(incoming), via, pool, content, broken: None };
        flow.note_the_end();
        flow
    }

    /// Whether the connection is at nothing for it any more.
    pub fn is_whole(&self) -> bool {
        matches!(self.via, Via::Closed)
    }

    /// Nothing more is read: the connection is closed.
    pub fn close(&mut self) {
        self.via = Via::Closed;
    }

    /// The next piece; none after the last one.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let mut piece = match &mut self.via {
            Via::Here(_) => quietly(|cx| self.arriving.poll_piece(cx)),
            Via::Beside(_) | Via::Closed => self.arriving.poll_piece(cx),
        };
        if let (Poll::Pending, Via::Here(connection)) = (&piece, &mut self.via) {
            connection.link.drive(cx);
            piece = quietly(|cx| self.arriving.poll_piece(cx));
        }
        match &piece {
            Poll::Ready(Some(Err(broken))) => {
                // Told a turn later: what has arrived before it, the head be it, goes on to
                // where a failure would overtake it.
                self.broken = Some(*broken);
                self.close();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(_) => self.note_the_end(),
            Poll::Pending => {}
        }
        piece
    }

    /// Lets go of the connection after the last byte.
    fn note_the_end(&mut self) {
        if !self.arriving.is_whole() {
            return;
        }
        let is_sent = self.content.as_ref().is_none_or(Taken::is_whole);
        let connection = match std::mem::replace(&mut self.via, Via::Closed) {
            Via::Here(connection) => Some(connection),
            Via::Beside(beside) if is_sent => beside.take_back(),
            Via::Beside(beside) => {
                beside.leave();
                None
            }
            Via::Closed => None,
        };
        if let (Some(mut connection), Some(pool)) = (connection, self.pool.take())
            && (connection.is_ready() || connection.is_good(false))
        {
            pool.give_back(connection);
        }
    }
}

/// A connection with a task that drives it.
struct Beside {
    sender: Option<SendRequest<ToWire>>,
    link: Arc<Mutex<Option<Link>>>,
    task: Option<AbortHandle>,
}

impl Beside {
    fn new(connection: Connection) -> Self {
        let Connection { sender, link } = connection;
        let link = Arc::new(Mutex::new(Some(link)));
        let driven = Arc::clone(&link);
        let driving = std::future::poll_fn(move |cx| {
            let mut link = driven.lock();
            if link.as_mut().is_some_and(|link| !link.drive(cx)) {
                return Poll::Pending;
            }
            *link = None;
            Poll::Ready(())
        });
        Beside { sender: Some(sender), link, task: Some(tokio::spawn(driving).abort_handle()) }
    }

    /// The connection, if it has not come to its end.
    fn take_back(mut self) -> Option<Connection> {
        let link = self.link.lock().take()?;
        Some(Connection { sender: self.sender.take()?, link })
    }

    /// It goes on to its end by itself.
    fn leave(mut self) {
        self.task = None;
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            // The task may be at it at this moment, on another thread, but not for long.
            drop(self.link.lock().take());
            task.abort();
        }
    }
}

/// A connection that has left HTTP.
struct Tunnel {
    socket: Counted,
    /// What has arrived behind the head already.
    early: Bytes,
    _open: Open,
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let fits = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..fits]);
        self.early.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
