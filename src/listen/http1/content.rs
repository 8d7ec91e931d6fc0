//! The content of a request, read from the client's socket by whoever wants it.
//!
//! A connection lends the socket's reading half to the content, and gets it back with
//! what followed the content when that has been read, or when nobody wants it any more.
//! So content is read at the pace of whoever sends it on, in the task of whoever does.
//!
//! What always holds: only one of the two reads; `100 Continue` is asked for only when
//! content is wanted and none of it is there (RFC 9110 10.1.1); the client is not waited
//! for longer than it may be silent.
//!
//! Cancel safety: content that is dropped gives the reading half back as it is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, Sleep};

use super::head::Framing;
use crate::message::chunked::{Decoder, Step};
use crate::message::{Body, Broken, Piece};
use crate::observe::counters::Counters;
use crate::rfc::fields::Fields;

/// How much is read at once at most.
const READ: usize = 64 * 1024;
/// How much content that nobody wanted is read to get at the request behind it.
const DISCARDED: usize = 256 * 1024;

/// The connection's end of content that is being read.
pub struct Upload {
    shared: Arc<Shared>,
}

/// What the content has for its connection.
pub enum News {
    /// Content is wanted, and the client is to be told so.
    Continue,
    /// It is done with, one way or the other.
    Back(Source),
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The task of the connection.
    connection: AtomicWaker,
    /// The task of whoever reads the content.
    reader: AtomicWaker,
}

#[derive(Default)]
struct State {
    back: Option<Source>,
    wants_continue: bool,
    /// The connection goes on without it.
    given_up: bool,
}

/// The reading half, and where the content stands.
pub struct Source {
    /// Where it is read from.
    pub read: OwnedReadHalf,
    /// What has arrived and is not dealt with.
    pub rest: BytesMut,
    left: Left,
    /// Whether the client waits to be told that the content is wanted.
    expects: bool,
}

/// How much of the content is to come.
enum Left {
    Length(u64),
    Chunks(Box<Decoder>),
    Nothing,
}

/// What stands next in a source.
enum Next {
    Content(Bytes),
    More,
    End(Option<Fields>),
    Bad,
}

/// Lends the reading half and what has been read from it.
pub fn lend(
    read: OwnedReadHalf,
    rest: &[u8],
    framing: Framing,
    expects: bool,
    patience: Duration,
    counters: &Arc<Counters>,
) -> (Upload, Body) {
    let left = match framing {
        Framing::None | Framing::Length(0) => Left::Nothing,
        Framing::Length(length) => Left::Length(length),
        Framing::Chunked => Left::Chunks(Box::default()),
    };
    let source = Source { read, rest: BytesMut::from(rest), left, expects };
    let shared = Arc::new(Shared::default());
    let incoming = Incoming {
        source: Some(source),
        shared: Arc::clone(&shared),
        patience,
        silence: None,
        is_silent: false,
        counters: Arc::clone(counters),
    };
    (Upload { shared }, incoming.boxed())
}

impl Upload {
    /// What there is to do for it.
    pub fn poll_news(&self, cx: &mut Context<'_>) -> Poll<News> {
        // Before the state is looked at, so that no change of it is missed.
        self.shared.connection.register(cx.waker());
        let mut state = self.shared.state.lock();
        if let Some(source) = state.back.take() {
            return Poll::Ready(News::Back(source));
        }
        if std::mem::take(&mut state.wants_continue) {
            return Poll::Ready(News::Continue);
        }
        Poll::Pending
    }

    /// The answer is complete: whoever still reads is to leave off.
    pub fn give_up(&self) {
        self.shared.state.lock().given_up = true;
        self.shared.reader.wake();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Whoever keeps the content beyond its connection would keep the socket open.
        self.give_up();
    }
}

impl Source {
    /// Passes over what is left of the content, as far as it has arrived. Says whether
    /// its end has been found.
    pub fn discard(&mut self) -> bool {
        let mut discarded = 0;
        while discarded < DISCARDED {
            match self.next() {
                Next::End(_) => return true,
                Next::Bad => return false,
                Next::Content(bytes) => discarded += bytes.len(),
                Next::More => {
                    self.rest.reserve(READ / 4);
                    // Who waits to be told to send it may send it or not.
                    if self.expects || !matches!(self.read.try_read_buf(&mut self.rest), Ok(1..)) {
                        return false;
                    }
                }
            }
        }
        false
    }

    fn next(&mut self) -> Next {
        match &mut self.left {
            Left::Nothing => Next::End(None),
            _ if self.rest.is_empty() => Next::More,
            Left::Length(left) => {
                let len = usize::try_from(*left).map_or(self.rest.len(), |left| left.min(self.rest.len()));
                *left -= len as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                Next::Content(self.rest.split_to(len).freeze())
            }
            Left::Chunks(decoder) => match decoder.step(&self.rest, 0) {
                Ok(Step::Content(place)) => {
                    self.rest.advance(place.start);
                    Next::Content(self.rest.split_to(place.len()).freeze())
                }
                Ok(Step::More) => {
                    self.rest.clear();
                    Next::More
                }
                Ok(Step::Done(end)) => {
                    self.rest.advance(end);
                    let trailers = decoder.trailers();
                    self.left = Left::Nothing;
                    Next::End(trailers)
                }
                Err(_) => Next::Bad,
            },
        }
    }

    /// How many more bytes have arrived; none at the end of the connection.
    async fn read_more(&mut self) -> std::io::Result<usize> {
        let room = match self.left {
            Left::Length(left) => usize::try_from(left).map_or(READ, |left| left.min(READ)),
            _ => READ / 4,
        };
        self.rest.reserve(room);
        self.read.read_buf(&mut self.rest).await
    }
}

/// The content's end that is read.
struct Incoming {
    /// None once it has been given back.
    source: Option<Source>,
    shared: Arc<Shared>,
    patience: Duration,
    /// Runs while the client is waited for.
    silence: Option<Pin<Box<Sleep>>>,
    is_silent: bool,
    counters: Arc<Counters>,
}

impl Incoming {
    fn give_back(&mut self) {
        if let Some(source) = self.source.take() {
            self.shared.state.lock().back = Some(source);
            self.shared.connection.wake();
        }
    }

    fn broken(&mut self, why: Broken) -> Poll<Option<Result<Piece, Broken>>> {
        self.give_back();
        Poll::Ready(Some(Err(why)))
    }

    /// Whether the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !self.is_silent {
            self.is_silent = true;
            silence.as_mut().reset(Instant::now() + patience);
        }
        silence.as_mut().poll(cx)
    }
}

impl futures_util::Stream for Incoming {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(source) = &mut this.source else { return Poll::Ready(None) };
            match source.next() {
                Next::Content(bytes) => {
                    this.is_silent = false;
                    source.expects = false;
                    // A reader that knows the length asks no further.
                    if matches!(source.left, Left::Nothing) {
                        this.give_back();
                    }
                    return Poll::Ready(Some(Ok(Piece::Bytes(bytes))));
                }
                Next::End(trailers) => {
                    this.give_back();
                    return Poll::Ready(trailers.map(|trailers| Ok(Piece::Trailers(trailers))));
                }
                Next::Bad => return this.broken(Broken::CutOff),
                Next::More => {}
            }
            // Before the state is looked at, so that no change of it is missed.
            this.shared.reader.register(cx.waker());
            let wants_continue = std::mem::take(&mut source.expects);
            {
                let mut state = this.shared.state.lock();
                if state.given_up {
                    drop(state);
                    return this.broken(Broken::CutOff);
                }
                state.wants_continue |= wants_continue;
            }
            if wants_continue {
                this.shared.connection.wake();
            }
            let read = std::pin::pin!(source.read_more()).poll(cx);
            match read {
                Poll::Ready(Ok(1..)) => this.is_silent = false,
                Poll::Ready(_) => return this.broken(Broken::CutOff),
                Poll::Pending => {
                    std::task::ready!(this.poll_silence(cx));
                    this.counters.client_timeout_body.up();
                    let patience = this.patience;
                    return this.broken(Broken::Paused(patience));
                }
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.give_back();
    }
}
