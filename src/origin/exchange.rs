//! One exchange with an origin: what goes out, what comes back, and the ways in
//! which it fails.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;

use super::bulkhead::{Place, Saturated};
use super::tls;
use crate::message::interim::Tell;
use crate::message::{Body, Broken, Piece, RequestHead, ResponseHead, Switched};

/// What is sent to an origin.
pub struct Outgoing {
    /// Method, target and fields, complete but for the framing.
    pub head: RequestHead,
    /// The content, if there is any.
    pub body: Option<Content>,
    /// Whether the connection is to leave HTTP if the origin agrees.
    pub upgrade: bool,
    /// The cache key, by which a server may be chosen.
    pub key: Arc<str>,
    /// What a route allows in place of what its origin does.
    pub limits: Limits,
    /// Takes the interim responses that come before the final one.
    pub tell: Option<Tell>,
}

/// Deadlines of a route that differ from those of its origin.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// From the request's last byte to the response's head.
    pub first_byte: Option<Duration>,
    /// Between two pieces of a body, whichever way it goes.
    pub between_bytes: Option<Duration>,
    /// From the beginning of a request to the end of its response.
    pub total: Option<Duration>,
}

/// A request's content.
pub struct Content {
    /// The pieces.
    pub body: Body,
    /// Its length in bytes, when the client has told it.
    pub length: Option<u64>,
}

/// What came back.
pub struct Exchange {
    /// The final status and the fields, hop-by-hop ones included.
    pub head: ResponseHead,
    /// The content, with the deadlines of the exchange still upon it.
    pub body: Body,
    /// The other side of the tunnel, after a `101`.
    pub switched: Option<Switched>,
}

/// Why there is no response.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The name of the origin has no address.
    #[error("the origin's name does not resolve: {0}")]
    Unresolved(String),
    /// No connection could be made.
    #[error("connecting failed: {0}")]
    Connect(String),
    /// No connection was made in time.
    #[error("not connected within {0:?}")]
    ConnectTimeout(Duration),
    /// The server could not be spoken to in TLS, or is not who it should be.
    #[error("TLS failed: {why}")]
    Tls {
        /// In which way.
        trouble: tls::Trouble,
        /// In words.
        why: String,
    },
    /// The head did not arrive in time.
    #[error("no response head within {0:?}")]
    FirstByteTimeout(Duration),
    /// The request's content was still on its way when all of the time was over.
    #[error("the request's content was not sent within {0:?}")]
    ContentOverdue(Duration),
    /// The origin stopped taking the request.
    #[error("nothing more of the request taken within {0:?}")]
    NotTaken(Duration),
    /// The connection was closed or reset before the head was complete.
    #[error("the connection was closed before a response")]
    Closed,
    /// What arrived is no HTTP response, or an ambiguous or endless one.
    #[error("the response cannot be understood: {0}")]
    Malformed(String),
    /// The client's content broke off, so that there is no complete request.
    #[error("the request's content broke off")]
    RequestBroken,
    /// A breaker is open: the origin was not asked.
    #[error("its breaker is open: {why}")]
    Open {
        /// Why it has opened.
        why: String,
        /// When it is tried again.
        retry_after: Option<Duration>,
    },
    /// None of its servers may be asked.
    #[error("no server of it may be asked: {why}")]
    NoServer {
        /// How they stand.
        why: String,
        /// When the first of them may be.
        retry_after: Option<Duration>,
    },
    /// As many requests as may be are under way.
    #[error("its bulkhead is full: {0}")]
    Saturated(#[from] Saturated),
    /// As many requests as may be are still sending their content.
    #[error("too many requests are still sending their content: {0}")]
    Uploads(Saturated),
}

impl Failure {
    /// Whether no server was asked: the request has cost the origin nothing.
    pub fn is_unasked(&self) -> bool {
        match self {
            Failure::Unresolved(_)
            | Failure::Open { .. }
            | Failure::NoServer { .. }
            | Failure::Saturated(_)
            | Failure::Uploads(_) => true,
            Failure::Connect(_)
            | Failure::ConnectTimeout(_)
            | Failure::Tls { .. }
            | Failure::FirstByteTimeout(_)
            | Failure::ContentOverdue(_)
            | Failure::NotTaken(_)
            | Failure::Closed
            | Failure::Malformed(_)
            | Failure::RequestBroken => false,
        }
    }
}

impl Content {
    /// The same content; `place` is given up when its last piece has been taken.
    pub(super) fn holding(self, place: Place) -> Content {
        let place = Some(place).filter(|_| self.length != Some(0));
        let body = Box::pin(Holding { body: self.body, left: self.length, place });
        Content { body, length: self.length }
    }
}

/// Content on its way, and its place among those.
struct Holding {
    body: Body,
    /// Bytes to come, where that is known.
    left: Option<u64>,
    place: Option<Place>,
}

impl futures_util::Stream for Holding {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = std::task::ready!(self.body.poll_next_unpin(cx));
        match &piece {
            Some(Ok(Piece::Bytes(bytes))) => {
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                if self.left == Some(0) {
                    self.place = None;
                }
            }
            Some(Ok(Piece::Trailers(_)) | Err(_)) | None => self.place = None,
        }
        Poll::Ready(piece)
    }
}
