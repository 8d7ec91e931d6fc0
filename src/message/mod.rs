//! Messages under way: a request's head, a response's head, and a body that
//! arrives piece by piece.
//!
//! How HTTP/1.1 is read stands here as far as both sides need it: its [chunks](chunked), and
//! the head of a [response]. Where the HTTP library is used, [`wire`] translates.

pub mod chunked;
pub mod interim;
pub mod response;
pub mod wire;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::rfc::fields::Fields;

/// The field by which an edge and a shield tell each other how far they have read what all
/// nodes of their cluster read. It is between these two, and goes no further.
pub const READ: &str = "forebay-read";

/// What is asked of an origin.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method, forwarded as it came.
    pub method: Method,
    /// Path and query, in origin form.
    pub target: String,
    /// All fields, `Host` included.
    pub fields: Fields,
}

/// What an origin answered, before it is judged.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The final status.
    pub status: StatusCode,
    /// All fields, as received.
    pub fields: Fields,
}

/// One piece of a body.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Some bytes of the content; never empty.
    Bytes(Bytes),
    /// The trailer section; the last piece if it comes at all.
    Trailers(Fields),
}

/// Why a body broke off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// The sender closed or reset the connection before the body was complete,
    /// or its framing could not be understood.
    #[error("the body was cut off")]
    CutOff,
    /// The sender paused for longer than this.
    #[error("no bytes for {0:?}")]
    Paused(Duration),
    /// The exchange took longer than it may in all.
    #[error("not complete after {0:?}")]
    Overdue(Duration),
    /// The reader fell too far behind the others that share the body.
    #[error("the reader was too slow")]
    ReaderTooSlow,
}

/// A body that arrives piece by piece; whoever polls it sets the pace.
pub type Body = Pin<Box<dyn Stream<Item = Result<Piece, Broken>> + Send>>;

/// A body without content.
pub fn empty() -> Body {
    stream::empty().boxed()
}

/// A connection that has left HTTP (`101 Switching Protocols`).
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The other end of a tunnel, once the switch is complete.
pub type Switched = Pin<Box<dyn Future<Output = Option<Box<dyn Duplex>>> + Send>>;
