//! A client's socket under deadlines.
//!
//! The socket knows in which state the connection is, and how long each may
//! last: *idle* (no byte of a request yet), *head* (some bytes of it), *body*
//! (the request is being answered, and the client is to send more), *tunnel* (it
//! has left HTTP), and, beside those, *send* (bytes are to go out and the client
//! takes none).
//!
//! What always holds: time in which nobody waits for the client is not counted;
//! a socket holds its place among the connections for as long as it is open, as a
//! tunnel too.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Settings;
use super::places::Place;
use crate::observe::counters::Counters;

/// What the connection is waiting for, shared with whoever serves it.
#[derive(Debug)]
pub struct State {
    kind: AtomicU8,
    /// Of the task that waits for the client to send something.
    reader: AtomicWaker,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;
const READING_BODY: u8 = 3;
const TUNNEL: u8 = 4;

impl State {
    /// A request has arrived and is being answered. Its content is not awaited
    /// before [`State::reading_body`] says so.
    pub fn serving(&self) {
        self.kind.store(SERVING, Ordering::Relaxed);
    }

    /// The request's content is awaited from now on.
    pub fn reading_body(&self) {
        self.kind.store(READING_BODY, Ordering::Relaxed);
    }

    /// The request's content has come; nobody waits for the client, unless the answer
    /// was complete before it.
    pub fn body_read(&self) {
        let _ = self.kind.compare_exchange(READING_BODY, SERVING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The answer is complete; the next request is awaited.
    pub fn idle(&self) {
        self.kind.store(IDLE, Ordering::Relaxed);
        // The library may have asked for the next request already, and asks only
        // once: the wait has to be looked at anew, for its deadline begins now.
        self.reader.wake();
    }

    /// The connection has left HTTP: only silence of both sides is a fault there.
    pub fn tunnel(&self) {
        self.kind.store(TUNNEL, Ordering::Relaxed);
    }
}

/// A client's socket under deadlines.
pub struct Timed {
    stream: TcpStream,
    state: Arc<State>,
    /// Of the state in which reading has begun to wait.
    waiting_as: Option<u8>,
    waiting_since: Instant,
    read_deadline: Pin<Box<Sleep>>,
    /// Whether a write is waiting for the client.
    sending: bool,
    send_deadline: Pin<Box<Sleep>>,
    settings: Settings,
    counters: Arc<Counters>,
    place: Place,
}

impl Timed {
    /// This socket, idle, in its place among the connections.
    pub fn new(
        stream: TcpStream,
        settings: &Settings,
        counters: &Arc<Counters>,
        place: Place,
    ) -> (Self, Arc<State>) {
        counters.client_connections_open.up();
        let state = Arc::new(State { kind: AtomicU8::new(IDLE), reader: AtomicWaker::new() });
        // Both are set anew whenever a wait begins.
        let far = || Box::pin(tokio::time::sleep(Duration::from_secs(3600)));
        let timed = Timed {
            stream,
            state: Arc::clone(&state),
            waiting_as: None,
            waiting_since: Instant::now(),
            read_deadline: far(),
            sending: false,
            send_deadline: far(),
            settings: settings.clone(),
            counters: Arc::clone(counters),
            place,
        };
        (timed, state)
    }

    /// How long the client may stay silent in this state.
    fn patience(&self, state: u8) -> Option<Duration> {
        match state {
            // Whether there is room for it is looked at again and again.
            IDLE => Some(self.idle_tenth()),
            HEAD => Some(self.settings.header_timeout),
            READING_BODY => Some(self.settings.body_timeout),
            TUNNEL => Some(self.settings.tunnel_timeout),
            _ => None,
        }
    }

    fn idle_tenth(&self) -> Duration {
        (self.settings.idle_timeout / 10).max(Duration::from_millis(1)).min(self.settings.idle_timeout)
    }

    /// Whether an idle connection, silent for a tenth of its time or more, may stay on; its
    /// deadline is set anew then.
    fn may_stay_idle(&mut self) -> bool {
        let now = Instant::now();
        let end = self.waiting_since + self.settings.idle_timeout;
        let stays = now < end && !self.place.is_crowded();
        if stays {
            let next = (now + self.idle_tenth()).min(end);
            self.read_deadline.as_mut().reset(next);
        }
        stays
    }

    fn poll_read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state.kind.load(Ordering::Relaxed);
        if self.waiting_as != Some(state) {
            self.waiting_as = Some(state);
            self.waiting_since = Instant::now();
            let patience = self.patience(state).unwrap_or(Duration::from_secs(24 * 3600));
            self.read_deadline.as_mut().reset(self.waiting_since + patience);
        }
        std::task::ready!(self.read_deadline.as_mut().poll(cx));
        while state == IDLE && self.may_stay_idle() {
            std::task::ready!(self.read_deadline.as_mut().poll(cx));
        }
        match state {
            IDLE if self.waiting_since.elapsed() < self.settings.idle_timeout => {
                self.counters.client_timeout_crowded.up();
            }
            IDLE => self.counters.client_timeout_idle.up(),
            HEAD => self.counters.client_timeout_header.up(),
            READING_BODY => self.counters.client_timeout_body.up(),
            TUNNEL => self.counters.client_timeout_tunnel.up(),
            _ => {
                // Serving: nobody waits for the client, and the wait begins anew.
                self.waiting_as = None;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client was silent for too long")))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                let got = buf.filled().len() > before;
                // The deadline of a head runs from its first byte to its last; every
                // other one begins anew with each byte.
                let begun = got
                    && this
                        .state
                        .kind
                        .compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed)
                        .is_ok();
                if begun || this.waiting_as != Some(HEAD) {
                    this.waiting_as = None;
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                // Before the state is looked at, so that no change of it is missed.
                this.state.reader.register(cx.waker());
                match this.poll_read_deadline(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                }
            }
        }
    }
}

impl Timed {
    fn timed_send<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.sending = false;
            if self.waiting_as == Some(TUNNEL) {
                // Whichever side speaks, the tunnel is not silent.
                self.waiting_as = None;
            }
            return sent;
        }
        if !self.sending {
            self.sending = true;
            self.send_deadline.as_mut().reset(Instant::now() + self.settings.send_timeout);
        }
        std::task::ready!(self.send_deadline.as_mut().poll(cx));
        self.counters.client_timeout_send.up();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took no bytes for too long")))
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.timed_send(cx, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.timed_send(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.counters.client_connections_open.down();
    }
}
