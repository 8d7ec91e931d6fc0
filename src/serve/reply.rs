//! A reply on its way to the client: head, body, and what comes after it.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::StatusCode;

use super::outcome::Record;
use crate::message::{Body, Broken, Piece, Switched};
use crate::rfc::fields::Fields;
use crate::stored::{Head, StoredResponse, body, filling};

/// What the client is sent.
pub struct Reply {
    /// A final status, or 101.
    pub status: StatusCode,
    /// Whose fields go before these.
    pub base: Base,
    /// All fields, or those beside the base's; `Content-Length` included where the length
    /// is known.
    pub fields: Fields,
    /// The body; it records the request when it ends or is dropped.
    pub body: ReplyBody,
    /// The body's length, when it is known.
    pub length: Option<u64>,
    /// Whether the connection ends with this reply.
    pub close: bool,
    /// After a 101: what the client is to be joined with.
    pub tunnel: Option<Tunnel>,
}

/// Fields that are sent as they are stored.
pub enum Base {
    /// None.
    None,
    /// Those of the stored response whose body the reply has.
    Body,
    /// Those of this head.
    Head(Arc<Head>),
}

/// The other end of a tunnel.
pub struct Tunnel {
    /// The origin's end.
    pub origin: Switched,
    /// The protocol that both have agreed on.
    pub protocol: Vec<u8>,
}

/// The body of a reply, and the record of its request.
pub struct ReplyBody {
    content: ReplyContent,
    record: Record,
}

/// Where the bytes of a reply come from.
pub enum ReplyContent {
    /// Nowhere.
    Empty,
    /// One piece, made here.
    Made(Bytes),
    /// This range of a stored response, and perhaps its trailer section.
    Stored(Arc<StoredResponse>, Range<u64>, Option<Fields>),
    /// These bytes of stored ones.
    Read(body::Read),
    /// A response that is still arriving.
    Filling(filling::Reader),
    /// Several ranges of a stored response, each behind its own small head.
    Parts(std::vec::IntoIter<(Bytes, body::Read)>, Option<body::Read>, Bytes),
    /// The origin, for this client alone.
    Passed(Body),
}

impl ReplyBody {
    /// A body whose end is recorded.
    pub fn new(content: ReplyContent, record: Record) -> Self {
        ReplyBody { content, record }
    }

    /// The stored response whose body this is.
    pub fn stored(&self) -> Option<&StoredResponse> {
        match &self.content {
            ReplyContent::Stored(response, ..) => Some(response),
            _ => None,
        }
    }

    /// How many bytes are left, where all of them stand in the store and nothing follows them.
    pub fn held(&self) -> Option<u64> {
        match &self.content {
            ReplyContent::Stored(response, range, None) => {
                Some(range.end.min(response.body.len()).saturating_sub(range.start))
            }
            _ => None,
        }
    }

    /// What is left of a body [in the store](ReplyBody::held), as it stands there. Whoever
    /// takes some of it says [how much](ReplyBody::took).
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = match &self.content {
            ReplyContent::Stored(response, range, None) => Some((&response.body, range.clone())),
            _ => None,
        };
        std::iter::from_fn(move || {
            let (body, range) = left.as_mut()?;
            let (piece, place) = body.piece(range)?;
            range.start += place.len() as u64;
            piece.get(place)
        })
    }

    /// Notes that so many bytes of what is [left](ReplyBody::slices) have been taken.
    pub fn took(&mut self, bytes: u64) {
        if let ReplyContent::Stored(_, range, None) = &mut self.content {
            range.start += bytes;
        }
        self.record.sent(bytes);
    }

    /// Notes that so many bytes that were got for the client, of the head perhaps, were not taken.
    pub fn unsent(&mut self, bytes: u64) {
        self.record.unsent(bytes);
    }

    /// Notes that the client has been given all that was promised.
    pub fn complete(&mut self) {
        self.record.complete();
    }
}

impl Stream for ReplyBody {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let piece = std::task::ready!(this.content.poll_piece(cx));
        match &piece {
            None | Some(Ok(Piece::Trailers(_))) => {}
            Some(Ok(Piece::Bytes(bytes))) => this.record.sent(bytes.len() as u64),
            Some(Err(broken)) => this.record.broken(*broken),
        }
        Poll::Ready(piece)
    }
}

impl ReplyContent {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        match self {
            ReplyContent::Empty => Poll::Ready(None),
            ReplyContent::Made(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Piece::Bytes(bytes))))
            }
            ReplyContent::Stored(response, range, trailers) => {
                Poll::Ready(match response.body.piece(range) {
                    Some((piece, place)) => {
                        range.start += place.len() as u64;
                        Some(Ok(Piece::Bytes(piece.slice(place))))
                    }
                    None => trailers.take().map(|trailers| Ok(Piece::Trailers(trailers))),
                })
            }
            ReplyContent::Read(read) => read.poll_next_unpin(cx),
            ReplyContent::Filling(reader) => reader.poll_next_unpin(cx),
            ReplyContent::Parts(parts, current, end) => {
                let bytes = current.as_mut().and_then(Iterator::next).or_else(|| {
                    let (head, read) = parts.next()?;
                    *current = Some(read);
                    Some(head)
                });
                let bytes = bytes.unwrap_or_else(|| {
                    *current = None;
                    std::mem::take(end)
                });
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Piece::Bytes(bytes))))
            }
            ReplyContent::Passed(body) => body.poll_next_unpin(cx),
        }
    }
}
