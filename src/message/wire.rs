//! Between the HTTP library's types and ours.
//!
//! What always holds: a head that comes out of here can be written again as it
//! is; one that could not be is refused.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::StreamExt;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::{Body, Broken, Duplex, Piece, Switched};
use crate::rfc::fields::{BadField, Fields};

/// Reads a header map into one buffer.
pub fn fields_from(map: &HeaderMap) -> Result<Fields, BadField> {
    let bytes = map.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut fields = Fields::with_capacity(map.len(), bytes);
    for (name, value) in map {
        fields.push(name.as_str(), value.as_bytes())?;
    }
    Ok(fields)
}

/// The same fields as a header map. The buffer is copied once; every value is a
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

/// The library's body as ours. `on_end` is called once when the last piece has
/// been read (a reader that knows the length asks no further), and never when the
/// body broke off or was dropped early.
pub fn body_from(incoming: Incoming, on_end: impl FnOnce() + Send + Unpin + 'static) -> Body {
    let arriving = Arriving::new(incoming);
    if arriving.is_whole() {
        on_end();
        return super::empty();
    }
    FromWire { arriving, on_end: Some(on_end) }.boxed()
}

/// The library's body, read piece by piece.
pub struct Arriving {
    /// Until its last piece has been read.
    incoming: Option<Incoming>,
}

impl Arriving {
    /// Nothing of it has been read so far.
    pub fn new(incoming: Incoming) -> Self {
        Arriving { incoming: Some(incoming).filter(|incoming| !incoming.is_end_stream()) }
    }

    /// A body without content.
    pub fn empty() -> Self {
        Arriving { incoming: None }
    }

    /// Whether its last piece has been read, so that nothing comes after it.
    pub fn is_whole(&self) -> bool {
        self.incoming.is_none()
    }

    /// The next piece. To be asked for no more after one that broke off.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
            let frame = match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                None => {
                    self.incoming = None;
                    continue;
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Broken::CutOff))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(bytes) => {
                    if incoming.is_end_stream() {
                        self.incoming = None;
                    }
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Piece::Bytes(bytes))));
                    }
                }
                Err(frame) => {
                    let Ok(map) = frame.into_trailers() else { continue };
                    let Ok(trailers) = fields_from(&map) else {
                        return Poll::Ready(Some(Err(Broken::CutOff)));
                    };
                    // Nothing comes after it, and some readers do not ask whether.
                    self.incoming = None;
                    return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
                }
            }
        }
    }
}

struct FromWire<F> {
    arriving: Arriving,
    on_end: Option<F>,
}

impl<F: FnOnce() + Unpin> futures_util::Stream for FromWire<F> {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = std::task::ready!(self.arriving.poll_piece(cx));
        if matches!(piece, Some(Err(_))) {
            self.on_end = None;
        } else if self.arriving.is_whole()
            && let Some(on_end) = self.on_end.take()
        {
            on_end();
        }
        Poll::Ready(piece)
    }
}

/// Our body as the library's.
pub struct ToWire {
    body: Body,
    /// Bytes still to come, when the head promises a length.
    length: Option<u64>,
    ended: bool,
    /// Whom to tell when the last piece has been taken.
    taken: Option<Taken>,
}

/// Whether the last piece of a body has been taken; cheap to clone. A body that
/// broke off, or was dropped, never comes to that.
#[derive(Clone, Debug, Default)]
pub struct Taken(Arc<(AtomicBool, Notify)>);

impl Taken {
    /// Whether it has been taken by now.
    pub fn is_whole(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }

    /// Waits until it has been taken.
    pub async fn whole(&self) {
        let told = self.0.1.notified();
        if !self.is_whole() {
            told.await;
        }
    }

    fn tell(&self) {
        self.0.0.store(true, Ordering::Release);
        self.0.1.notify_waiters();
    }
}

impl ToWire {
    /// Sends `body`, whose head promises `length` bytes if it promises any.
    pub fn new(body: Body, length: Option<u64>) -> Self {
        ToWire { body, length, ended: length == Some(0), taken: None }
    }

    /// Tells when its last piece has been taken. To be asked for before the first
    /// one is.
    pub fn taken(&mut self) -> Taken {
        let taken = self.taken.get_or_insert_default();
        if self.ended {
            taken.tell();
        }
        taken.clone()
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(taken) = &self.taken {
            taken.tell();
        }
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
                self.end();
                Poll::Ready(None)
            }
            Some(Err(broken)) => {
                self.ended = true;
                Poll::Ready(Some(Err(broken)))
            }
            Some(Ok(Piece::Trailers(trailers))) => {
                // The library asks no further behind it either.
                self.end();
                Poll::Ready(Some(Ok(Frame::trailers(map_from(&trailers)))))
            }
            Some(Ok(Piece::Bytes(bytes))) => {
                if let Some(length) = &mut self.length {
                    *length = length.saturating_sub(bytes.len() as u64);
                    // The library asks no further once it has what was promised.
                    if *length == 0 {
                        self.end();
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

/// The library's promise of an upgraded connection as ours.
pub fn switched(upgrade: hyper::upgrade::OnUpgrade) -> Switched {
    Box::pin(async move {
        let upgraded = upgrade.await.ok()?;
        Some(Box::new(TokioIo::new(upgraded)) as Box<dyn Duplex>)
    })
}
