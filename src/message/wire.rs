//! From our types to the HTTP library's.
//!
//! What always holds: a body breaks off where ours does, and never looks like a whole one.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::StreamExt;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use super::{Body, Broken, Piece};
use crate::rfc::fields::Fields;

/// Fields as a header map. The buffer is copied once; every value is a
/// slice of that copy.
pub fn map_from(fields: &Fields) -> HeaderMap {
    let shared = Bytes::copy_from_slice(fields.bytes());
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, place) in fields.places() {
        let value = HeaderValue::from_maybe_shared(shared.slice(place));
        // Fields refuses whatever the library would refuse, so nothing is lost here.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
            map.append(name, value);
        }
    }
    map
}

/// Our body as the library's.
pub struct ToWire {
    body: Body,
    /// Bytes still to come, when the head promises a length.
    length: Option<u64>,
    ended: bool,
}

impl ToWire {
    /// Sends `body`, whose head promises `length` bytes if it promises any.
    pub fn new(body: Body, length: Option<u64>) -> Self {
        ToWire { body, length, ended: length == Some(0) }
    }
}

impl http_body::Body for ToWire {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended && self.length.is_some() {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.body.poll_next_unpin(cx)) {
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(Err(broken)) => {
                self.ended = true;
                Poll::Ready(Some(Err(broken)))
            }
            Some(Ok(Piece::Trailers(trailers))) => {
                // The library asks no further behind it either.
                self.ended = true;
                Poll::Ready(Some(Ok(Frame::trailers(map_from(&trailers)))))
            }
            Some(Ok(Piece::Bytes(bytes))) => {
                if let Some(length) = &mut self.length {
                    *length = length.saturating_sub(bytes.len() as u64);
                    // The library asks no further once it has what was promised.
                    if *length == 0 {
                        self.ended = true;
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
