//! An origin's socket that counts what has arrived over it, so that a connection
//! that died silently can be told from one that died in the middle of an answer.
//!
//! What always holds: an origin that takes nothing of what is sent for too long loses
//! the connection, whether somebody still waits for its answer or not. Dropping it closes
//! the socket at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::client::TlsStream;

/// What is known of a connection's socket, wherever that is.
#[derive(Clone, Debug, Default)]
pub struct Arrived(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    bytes: AtomicU64,
    look: AtomicBool,
}

impl Arrived {
    /// Bytes that have arrived so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// From now on, or no more: a read asks the socket itself whether there is something,
    /// and whatever there is ends the connection. What the runtime knows of a socket may be
    /// a moment old; this is for a connection on which nothing is to be expected.
    pub fn look(&self, look: bool) {
        self.0.look.store(look, Ordering::Relaxed);
    }
}

/// A connection to a server. Counted is what arrives within it: what TLS says for itself
/// is no answer.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose bytes are counted.
pub struct Counted {
    stream: Stream,
    arrived: Arrived,
    /// How long the origin may take nothing of what is sent, where that is limited.
    patience: Option<Duration>,
    /// Runs while a write waits for the origin.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    /// Counts from here on.
    pub fn new(stream: Stream, patience: Option<Duration>) -> (Self, Arrived) {
        let arrived = Arrived::default();
        (Counted { stream, arrived: arrived.clone(), patience, deadline: None }, arrived)
    }

    /// Whether there is nothing to be read, as the socket itself says.
    fn is_quiet(&self) -> bool {
        let socket = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        let peeked = rustix::net::recv(socket, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.err() == Some(rustix::io::Errno::AGAIN)
    }

    fn timed<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(patience) = self.patience else { return sent };
        if sent.is_ready() {
            self.deadline = None;
            return sent;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        std::task::ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the origin took no bytes for too long")))
    }
}

/// Does the same with the connection, whichever it is.
macro_rules! either {
    ($self:ident, $stream:ident => $what:expr) => {
        match &mut $self.stream {
            Stream::Plain($stream) => $what,
            Stream::Tls($stream) => $what,
        }
    };
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.arrived.0.look.load(Ordering::Relaxed) && !self.is_quiet() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let read = either!(self, stream => Pin::new(stream).poll_read(cx, buf));
        self.arrived.0.bytes.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = either!(self, stream => Pin::new(stream).poll_write(cx, buf));
        self.timed(cx, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        self.timed(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS holds back what it was given until then.
        let flushed = either!(self, stream => Pin::new(stream).poll_flush(cx));
        self.timed(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = either!(self, stream => Pin::new(stream).poll_shutdown(cx));
        self.timed(cx, shut)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // The origin is told, as far as its socket takes that at once, that it is not an
        // attack that ends the connection (RFC 8446 6.1).
        if let Stream::Tls(stream) = &mut self.stream {
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}
