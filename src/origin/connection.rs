//! One connection to a server: HTTP/1.1 as a client speaks it (RFC 9112), and the body that
//! arrives over it.
//!
//! A connection has no task of its own: whoever waits for what comes over it drives it, in
//! their own task, and while it is idle nobody does. Only where the request's content is
//! still on its way when the response begins does that go on in a task, so that content moves
//! on while nobody reads.
//!
//! What always holds: a connection may be used again only if request and response are whole,
//! both sides want it, and nothing has arrived behind the response. Dropping a connection, or
//! a body, has closed the socket when it returns. The exception is a body that was read to
//! its end before the request's content was sent: that goes on to its own end, no longer than
//! the exchange may take, and [keeps](Flow::keep_until_sent) what it is given until then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};

use super::counted::Counted;
use super::pool::Pool;
use super::sending::{NotSent, Sending};
use crate::message::chunked::{Decoder, Step};
use crate::message::response::{self, BadHead, Framing, Head};
use crate::message::{Broken, Duplex, Piece, Switched};
use crate::observe::counters::Counters;

/// The room for a head, and what comes with it.
const ROOM: usize = 8 * 1024;
/// The most interim responses before a final one. Whoever sends more keeps from being timed.
const MOST_INTERIMS: usize = 1024;
/// The most that is read at once.
const MOST_ROOM: usize = 64 * 1024;

/// A connection to a server.
pub(super) struct Connection {
    link: Box<Link>,
}

struct Link {
    /// Dropped first: it has the socket.
    io: Counted,
    /// What has arrived and is not dealt with.
    read: BytesMut,
    /// How much is read at once where it is not known what comes.
    room: usize,
    limits: response::Limits,
    /// What is still to be sent of the request.
    sending: Option<Sending>,
    /// Interim responses to it so far.
    interims: usize,
    /// Whether not all of it can be.
    is_cut_short: bool,
    /// What is still to come of the response.
    left: Left,
    /// Whether both sides want to use it again, as far as is known.
    keeps: bool,
    /// One for all heads that are waited for: to move it further away costs next to nothing.
    timer: Pin<Box<Sleep>>,
    open: Open,
}

/// What is still to come of a response's content.
enum Left {
    Nothing,
    Length(u64),
    Chunks(Box<Decoder>),
    UntilClose,
}

/// Counts a connection for as long as it is open.
struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.origin_connections_open.down();
    }
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum NoHead {
    /// The request's content was not sent in time.
    ContentOverdue,
    /// The head did not arrive within this.
    Overdue(Duration),
    /// The request's content has broken off.
    ContentBroken,
    /// What arrived is no head, or one of two meanings.
    Bad(BadHead),
    /// The server has closed the connection.
    Closed,
    /// The connection has failed.
    Io(io::Error),
}

/// How long one waits for a head.
pub(super) struct Waits<P> {
    /// Until when the request's content has to be sent.
    pub content_by: Instant,
    /// Asked once how long the head may take from then on, when the request is sent, or at
    /// once where it has no content.
    pub patience: P,
}

impl Connection {
    /// A connection that has just been made.
    pub fn new(io: Counted, limits: response::Limits, counters: Arc<Counters>) -> Self {
        counters.origin_connections.up();
        counters.origin_connections_open.up();
        Connection {
            link: Box::new(Link {
                io,
                read: BytesMut::new(),
                room: ROOM,
                limits,
                sending: None,
                interims: 0,
                is_cut_short: false,
                left: Left::Nothing,
                keeps: true,
                timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
                open: Open(counters),
            }),
        }
    }

    /// How many bytes have arrived over it.
    pub fn arrived(&self) -> u64 {
        self.link.io.arrived()
    }

    /// Whether a request may be sent over this idle connection. Its socket is asked: what has
    /// come without having been asked for would be taken for the next answer.
    pub fn is_good(&mut self) -> bool {
        if !self.is_ready() || !self.link.io.is_quiet() {
            return false;
        }
        // Whatever there is to read, and be it the end, nobody has asked for.
        let (mut byte, mut cx) = ([0], Context::from_waker(Waker::noop()));
        Pin::new(&mut self.link.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Whether the next request may be sent.
    fn is_ready(&self) -> bool {
        let Link { keeps, sending, is_cut_short, left, read, .. } = &*self.link;
        let is_sent = sending.is_none() && !is_cut_short;
        *keeps && is_sent && matches!(left, Left::Nothing) && read.is_empty()
    }

    /// Sends a request, to a `HEAD` or another one, and waits for the head of its response.
    /// Every interim one that comes before it is handed to `interim`. `may_keep` says whether
    /// the request allows to use the connection again.
    pub async fn ask(
        &mut self,
        request: Sending,
        to_head: bool,
        may_keep: bool,
        mut interim: impl FnMut(Head),
        waits: Waits<impl FnOnce() -> Duration>,
    ) -> Result<Head, NoHead> {
        let link = &mut *self.link;
        link.sending = Some(request);
        (link.room, link.interims) = (ROOM, 0);
        let Waits { content_by, patience } = waits;
        let (mut patience, mut waited, mut is_timed) = (Some(patience), Duration::ZERO, false);
        let has_content = link.sending.as_ref().is_some_and(Sending::has_content);
        let mut reader = response::Reader::default();
        let head = std::future::poll_fn(|cx| {
            if let Poll::Ready(head) = link.poll_head(cx, &mut reader, &mut interim) {
                return Poll::Ready(head);
            }
            if has_content && link.sending.is_some() {
                if !std::mem::replace(&mut is_timed, true) {
                    link.timer.as_mut().reset(content_by);
                }
                return link.timer.as_mut().poll(cx).map(|()| Err(NoHead::ContentOverdue));
            }
            if let Some(patience) = patience.take() {
                waited = patience();
                link.timer.as_mut().reset(Instant::now() + waited);
            }
            link.timer.as_mut().poll(cx).map(|()| Err(NoHead::Overdue(waited)))
        })
        .await?;
        link.left = match head.framing(to_head).map_err(NoHead::Bad)? {
            Framing::Length(0) => Left::Nothing,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks(Box::new(Decoder::of_response())),
            Framing::UntilClose => Left::UntilClose,
        };
        link.keeps = may_keep && head.keeps();
        Ok(head)
    }

    /// The other side of the tunnel, after a `101`.
    pub fn into_tunnel(self) -> Switched {
        let Link { io, read, open, .. } = *self.link;
        let tunnel = Tunnel { socket: io, early: read.freeze(), _open: open };
        Box::pin(std::future::ready(Some(Box::new(tunnel) as Box<dyn Duplex>)))
    }
}

impl Link {
    /// The head of the final response.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut response::Reader,
        interim: &mut impl FnMut(Head),
    ) -> Poll<Result<Head, NoHead>> {
        match self.poll_send(cx) {
            Poll::Ready(Err(NotSent::Content)) => return Poll::Ready(Err(NoHead::ContentBroken)),
            Poll::Ready(Err(NotSent::Io(error))) => return Poll::Ready(Err(NoHead::Io(error))),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            if !self.read.is_empty()
                && let Some((head, end)) = reader.read(&self.read, &self.limits).map_err(NoHead::Bad)?
            {
                self.read.advance(end);
                // After a 101 it is no HTTP any more.
                if head.status.is_informational() && head.status != http::StatusCode::SWITCHING_PROTOCOLS {
                    *reader = response::Reader::default();
                    self.interims += 1;
                    if self.interims > MOST_INTERIMS {
                        return Poll::Ready(Err(NoHead::Bad(BadHead::Interims)));
                    }
                    interim(head);
                    continue;
                }
                return Poll::Ready(Ok(head));
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(NoHead::Closed)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(NoHead::Io(error))),
                // An answer to what could not be sent may be on its way all the same; its end
                // is, at least.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Moves the request on; ready when no more of it is to be sent. A server may answer, and
    /// take nothing more: that is no error here, unless there is no answer.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        let outcome = ready!(sending.poll(&mut self.io, cx));
        self.sending = None;
        match outcome {
            Err(NotSent::Io(error)) if error.kind() != io::ErrorKind::TimedOut => {
                self.is_cut_short = true;
                Poll::Ready(Ok(()))
            }
            outcome => Poll::Ready(outcome),
        }
    }

    /// Reads what is there; none at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < ROOM / 8 {
            // A little more than is to come: where a read fills its room, the runtime has to
            // ask once more whether there was more.
            let room = match self.left {
                Left::Length(left) => usize::try_from(left).map_or(MOST_ROOM, |left| left.saturating_add(64)),
                Left::Nothing | Left::Chunks(_) | Left::UntilClose => self.room,
            };
            self.read.reserve(room.clamp(ROOM / 4, MOST_ROOM));
        }
        let room = self.read.capacity() - self.read.len();
        let read = ready!(std::pin::pin!(self.io.read_buf(&mut self.read)).poll(cx))?;
        if read == room {
            self.room = (self.room * 2).min(MOST_ROOM);
        }
        Poll::Ready(Ok(read))
    }

    /// The next piece of the content; none after the last one.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            match self.next_piece() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.is_whole() => return Poll::Ready(None),
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if matches!(self.left, Left::UntilClose) => {
                    (self.left, self.keeps) = (Left::Nothing, false)
                }
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(Broken::CutOff))),
                Ok(_) => {}
            }
        }
    }

    /// The next piece among what has arrived.
    fn next_piece(&mut self) -> Result<Option<Piece>, Broken> {
        match &mut self.left {
            Left::Nothing => Ok(None),
            _ if self.read.is_empty() => Ok(None),
            Left::UntilClose => Ok(Some(Piece::Bytes(self.read.split().freeze()))),
            Left::Length(left) => {
                let len = usize::try_from(*left).map_or(self.read.len(), |left| left.min(self.read.len()));
                *left -= len as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                Ok(Some(Piece::Bytes(self.read.split_to(len).freeze())))
            }
            Left::Chunks(decoder) => match decoder.step(&self.read, 0).map_err(|_| Broken::CutOff)? {
                Step::Content(place) => {
                    self.read.advance(place.start);
                    Ok(Some(Piece::Bytes(self.read.split_to(place.len()).freeze())))
                }
                Step::More => {
                    self.read.clear();
                    Ok(None)
                }
                Step::Done(end) => {
                    self.read.advance(end);
                    let trailers = decoder.trailers();
                    self.left = Left::Nothing;
                    Ok(trailers.map(Piece::Trailers))
                }
            },
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }
}

/// A response's body, and the connection over which it comes.
pub(super) struct Flow {
    via: Via,
    /// Where the connection goes afterwards, where it may be used again.
    pool: Option<Pool>,
    /// What is still to be told.
    broken: Option<Broken>,
    /// The sending of the request, where that goes on behind the response.
    rest: Option<Arc<Mutex<Both>>>,
}

enum Via {
    /// Driven by whoever reads.
    Here(Connection),
    /// The request's content by a task of its own.
    Beside(Beside),
    Closed,
}

impl Flow {
    /// Nothing arrives.
    pub fn empty() -> Self {
        Flow { via: Via::Closed, pool: None, broken: None, rest: None }
    }

    /// What arrives over `connection`, which goes back to `pool` after the last byte. What is
    /// not sent of the request then has to be by `deadline`.
    pub fn new(connection: Connection, pool: Option<Pool>, deadline: Instant) -> Self {
        let is_sent = connection.link.sending.is_none();
        let via =
            if is_sent { Via::Here(connection) } else { Via::Beside(Beside::new(connection, deadline)) };
        let mut flow = Flow { via, pool, broken: None, rest: None };
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

    /// Drops `kept` when nothing more of the request is sent and its connection is closed: now,
    /// where that is so.
    pub fn keep_until_sent(&mut self, kept: impl Send + 'static) {
        if let Some(rest) = self.rest.take() {
            rest.lock().kept = Some(Box::new(kept));
        }
    }

    /// The next piece; none after the last one.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let piece = match &mut self.via {
            Via::Here(connection) => ready!(connection.link.poll_piece(cx)),
            Via::Beside(beside) => ready!(beside.poll_piece(cx)),
            Via::Closed => None,
        };
        if let Some(Err(broken)) = piece {
            // Told a turn later: what has arrived before it, the head be it, goes on to
            // where a failure would overtake it.
            self.broken = Some(broken);
            self.close();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.note_the_end();
        Poll::Ready(piece)
    }

    /// Lets go of the connection after the last byte.
    fn note_the_end(&mut self) {
        let is_whole = match &self.via {
            Via::Here(connection) => connection.link.is_whole(),
            Via::Beside(beside) => beside.is_whole(),
            Via::Closed => return,
        };
        if !is_whole {
            return;
        }
        let connection = match std::mem::replace(&mut self.via, Via::Closed) {
            Via::Here(connection) => Some(connection),
            Via::Beside(beside) => match beside.take_back() {
                Ok(connection) => Some(connection),
                Err(rest) => {
                    self.rest = Some(rest);
                    None
                }
            },
            Via::Closed => None,
        };
        if let (Some(mut connection), Some(pool)) = (connection, self.pool.take())
            && connection.is_ready()
        {
            // An idle one has no buffer.
            connection.link.read = BytesMut::new();
            pool.give_back(connection);
        }
    }
}

/// A connection with a task that sends the request's content.
struct Beside {
    both: Arc<Mutex<Both>>,
    task: Option<AbortHandle>,
}

/// What the task and the reader share.
struct Both {
    connection: Option<Connection>,
    /// Who waits for the response's content.
    reader: Option<Waker>,
    /// Dropped last, when the connection is closed.
    kept: Option<Box<dyn Send>>,
}

impl Both {
    /// A request that is not whole has no answer.
    fn close(&mut self) {
        self.connection = None;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Beside {
    fn new(connection: Connection, deadline: Instant) -> Self {
        let both = Arc::new(Mutex::new(Both { connection: Some(connection), reader: None, kept: None }));
        let shared = Arc::clone(&both);
        let sending = async move {
            let sent = std::future::poll_fn(|cx| {
                let mut both = shared.lock();
                let Some(connection) = &mut both.connection else { return Poll::Ready(()) };
                if ready!(connection.link.poll_send(cx)).is_err() {
                    both.close();
                }
                Poll::Ready(())
            });
            if tokio::time::timeout_at(deadline, sent).await.is_err() {
                shared.lock().close();
            }
        };
        Beside { both, task: Some(tokio::spawn(sending).abort_handle()) }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let mut both = self.both.lock();
        let Some(connection) = &mut both.connection else {
            return Poll::Ready(Some(Err(Broken::CutOff)));
        };
        let piece = connection.link.poll_piece(cx);
        if piece.is_pending() {
            both.reader = Some(cx.waker().clone());
        }
        piece
    }

    fn is_whole(&self) -> bool {
        self.both.lock().connection.as_ref().is_some_and(|connection| connection.link.is_whole())
    }

    /// The connection, if the request is sent; if not, that goes on to its end by itself, and
    /// what is shared with it comes back.
    fn take_back(mut self) -> Result<Connection, Arc<Mutex<Both>>> {
        let mut both = self.both.lock();
        match both.connection.take_if(|connection| connection.link.sending.is_none()) {
            Some(connection) => Ok(connection),
            None => {
                self.task = None;
                drop(both);
                Err(Arc::clone(&self.both))
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            // The task may be at it at this moment, on another thread, but not for long.
            drop(self.both.lock().connection.take());
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
