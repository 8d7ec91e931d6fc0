//! An origin's socket that counts what has arrived over it, so that a connection
//! that died silently can be told from one that died in the middle of an answer.
//!
//! What always holds: an origin that takes nothing of what is sent for too long loses
//! the connection, whether somebody still waits for its answer or not. Dropping it closes
//! the socket at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::client::TlsStream;

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
    /// Bytes that have arrived so far.
    arrived: u64,
    /// How long the origin may take nothing of what is sent, where that is limited.
    patience: Option<Duration>,
    /// Runs while a write waits for the origin.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    /// Counts from here on.
    pub fn new(stream: Stream, patience: Option<Duration>) -> Self {
        Counted { stream, arrived: 0, patience, deadline: None }
    }

    /// Bytes that have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Whether there is nothing to be read, as the socket itself says. What the runtime knows
    /// of it may be a moment old.
    pub fn is_quiet(&self) -> bool {
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
        let before = buf.filled().len();
        let read = either!(self, stream => Pin::new(stream).poll_read(cx, buf));
        self.arrived += (buf.filled().len() - before) as u64;
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
