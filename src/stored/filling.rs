//! A body while it is being filled: one writer, many readers.
//!
//! The states are Streaming -> Complete | Failed. A reader may join at any time
//! before a byte has been dropped, begins at the first byte, and gets what has
//! arrived at once and the rest as it arrives.
//!
//! A body is held *whole* as long as it may still be kept. Once it is known not
//! to be kept it is held as a *window*: bytes that every reader has taken are
//! dropped, and the writer waits for the slowest reader. A reader that keeps
//! another one waiting for longer than its allowance is cut off; a reader that
//! is alone is never cut here.
//!
//! What always holds: bytes are only ever appended; a reader sees each byte once
//! and in order, or an error; the budget counts what this body holds, until the
//! store has taken it.
//!
//! Cancel safety: a reader or the writer may be dropped at any time. A dropped
//! writer fails the body, so that no reader waits for ever.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::{StoredBody, copies};
use crate::message::{Broken, Piece};
use crate::rfc::fields::Fields;

/// The places of those who are promised the body from its first byte but have no
/// reader yet. As long as there is one, no byte is dropped.
#[derive(Debug, Default)]
pub struct Seats {
    waiting: AtomicUsize,
    /// Told whenever there may be more room: a reader has moved or left, or a
    /// seat has been given up. Only the writer listens.
    room: Notify,
}

impl Seats {
    /// Takes a seat.
    pub fn take(&self) -> usize {
        self.waiting.fetch_add(1, Ordering::AcqRel)
    }

    /// Gives it up, with a reader in hand or without.
    pub fn give_up(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        self.room.notify_one();
    }

    /// How many are taken.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

/// How many bytes all filling bodies hold together.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<AtomicU64>);

impl Budget {
    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that is being filled; cheap to clone, every clone is the same body.
#[derive(Clone)]
pub struct Filling {
    shared: Arc<Shared>,
}

/// The one who fills it.
pub struct Writer {
    shared: Arc<Shared>,
}

/// One who reads it; a stream of pieces.
pub struct Reader {
    shared: Arc<Shared>,
    id: usize,
    /// Offset of the next byte to hand out, and of the first one not to.
    range: Range<u64>,
    ended: bool,
}

/// Nobody reads a body that is not going to be kept: filling it is pointless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abandoned;

struct Shared {
    state: Mutex<State>,
    seats: Arc<Seats>,
    budget: Budget,
}

struct State {
    /// What is held, each piece with the offset of its first byte.
    chunks: VecDeque<(u64, Bytes)>,
    /// Bytes received.
    len: u64,
    phase: Phase,
    trailers: Option<Fields>,
    /// `Some(bytes)` when only a window is held.
    window: Option<usize>,
    readers: Vec<Option<ReaderState>>,
    /// Whether what is held counts in the budget: until the store has taken it.
    charged: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Streaming,
    Complete,
    Failed(Broken),
}

#[derive(Default)]
struct ReaderState {
    at: u64,
    waker: Option<Waker>,
    cut: bool,
    /// For how long this reader has kept another one waiting.
    held_up: Duration,
}

/// A new body, held whole, and its writer.
pub fn filling(budget: &Budget, seats: Arc<Seats>) -> (Filling, Writer) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            chunks: VecDeque::new(),
            len: 0,
            phase: Phase::Streaming,
            trailers: None,
            window: None,
            readers: Vec::new(),
            charged: true,
        }),
        seats,
        budget: budget.clone(),
    });
    (Filling { shared: Arc::clone(&shared) }, Writer { shared })
}

impl Filling {
    /// A reader of `range` (offsets into the body; the end may lie past it), or
    /// `None` when the beginning of the body has been dropped already.
    pub fn reader(&self, range: Range<u64>) -> Option<Reader> {
        let mut state = self.shared.state.lock();
        if state.base() > 0 {
            return None;
        }
        let free = state.readers.iter().position(Option::is_none);
        let id = free.unwrap_or(state.readers.len());
        if free.is_none() {
            state.readers.push(None);
        }
        state.readers[id] = Some(ReaderState::default());
        drop(state);
        Some(Reader { shared: Arc::clone(&self.shared), id, range, ended: false })
    }

    /// How many bytes have arrived.
    pub fn arrived(&self) -> u64 {
        self.shared.state.lock().len
    }
}

impl Writer {
    /// Appends bytes. While only a window is held, waits for the slowest reader;
    /// one that keeps others waiting for `allowance` in all is cut off.
    pub async fn push(&mut self, bytes: Bytes, allowance: Duration) -> Result<(), Abandoned> {
        loop {
            let slowest = {
                let mut state = self.shared.state.lock();
                let Some(window) = state.window else {
                    state.append(bytes, &self.shared.budget);
                    return Ok(());
                };
                let expected = self.shared.seats.waiting() > 0;
                let slowest = state.slowest();
                if !expected {
                    if slowest.is_none() {
                        return Err(Abandoned);
                    }
                    state.drop_taken(&self.shared.budget);
                }
                if state.held() < window as u64 {
                    state.append(bytes, &self.shared.budget);
                    return Ok(());
                }
                slowest.filter(|_| state.someone_waits_for_more()).map(|(slowest, _)| slowest)
            };
            let room = self.shared.seats.room.notified();
            let Some(slowest) = slowest else {
                room.await;
                continue;
            };
            let left = self.shared.state.lock().readers[slowest]
                .as_ref()
                .map_or(Duration::ZERO, |reader| allowance.saturating_sub(reader.held_up));
            let waiting_since = Instant::now();
            let in_time = tokio::time::timeout(left, room).await.is_ok();
            self.shared.state.lock().blame(slowest, waiting_since.elapsed(), !in_time);
        }
    }

    /// From now on only `window` bytes are held: the body is not going to be
    /// kept. Readers that want to join are turned away once bytes are dropped.
    pub fn keep_only(&mut self, window: usize) {
        self.shared.state.lock().window = Some(window);
    }

    /// Whether the body is still held whole.
    pub fn is_whole(&self) -> bool {
        self.shared.state.lock().window.is_none()
    }

    /// Whether anybody reads it, or is promised a reader.
    pub fn is_read(&self) -> bool {
        self.shared.seats.waiting() > 0 || self.shared.state.lock().readers.iter().any(Option::is_some)
    }

    /// Bytes received so far.
    pub fn len(&self) -> u64 {
        self.shared.state.lock().len
    }

    /// Whether nothing has been received so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The trailer section, handed to readers behind the last byte.
    pub fn trailers(&mut self, trailers: Fields) {
        self.shared.state.lock().trailers = Some(trailers);
    }

    /// What was received, as it is kept: copied into pieces of its own, so that
    /// no buffer of a connection lives on in the store. From here on the readers
    /// read the copy. Only for a body that is held whole, and the last thing before
    /// its end.
    pub async fn compact(&mut self) -> StoredBody {
        let chunks: Vec<Bytes> = {
            let state = self.shared.state.lock();
            debug_assert!(state.window.is_none(), "a window has been compacted");
            state.chunks.iter().map(|(_, bytes)| bytes.clone()).collect()
        };
        let mut pieces = Vec::new();
        for piece in copies(&chunks) {
            pieces.push(piece);
            // A large copy does not hold up the other tasks of its thread.
            if pieces.len().is_multiple_of(4) {
                tokio::task::yield_now().await;
            }
        }
        let body = StoredBody::of_copies(pieces);
        let mut offset = 0;
        let mut copied = VecDeque::new();
        for chunk in body.chunks() {
            copied.push_back((offset, chunk.clone()));
            offset += chunk.len() as u64;
        }
        self.shared.state.lock().chunks = copied;
        body
    }

    /// The store has taken the body: it counts in the budget no more.
    pub fn kept(&mut self) {
        let mut state = self.shared.state.lock();
        if std::mem::take(&mut state.charged) {
            self.shared.budget.0.fetch_sub(state.held(), Ordering::Relaxed);
        }
    }

    /// The body is complete.
    pub fn complete(self) {
        self.shared.end(Phase::Complete);
    }

    /// The body will never be complete.
    pub fn fail(self, why: Broken) {
        self.shared.end(Phase::Failed(why));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.end(Phase::Failed(Broken::CutOff));
    }
}

impl Shared {
    /// Ends the body, once; a later end changes nothing.
    fn end(&self, phase: Phase) {
        let mut state = self.state.lock();
        if state.phase != Phase::Streaming {
            return;
        }
        state.phase = phase;
        state.wake_readers();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.charged {
            self.budget.0.fetch_sub(state.held(), Ordering::Relaxed);
        }
    }
}

impl State {
    /// Offset of the first byte held.
    fn base(&self) -> u64 {
        self.len - self.held()
    }

    fn held(&self) -> u64 {
        self.chunks.front().map_or(0, |(start, _)| self.len - start)
    }

    fn append(&mut self, bytes: Bytes, budget: &Budget) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len() as u64;
        budget.0.fetch_add(len, Ordering::Relaxed);
        self.chunks.push_back((self.len, bytes));
        self.len += len;
        self.wake_readers();
    }

    /// Drops the pieces that every reader has taken.
    fn drop_taken(&mut self, budget: &Budget) {
        let needed = self.slowest().map_or(self.len, |(_, at)| at);
        while let Some((start, bytes)) = self.chunks.front() {
            let len = bytes.len() as u64;
            if start + len > needed {
                break;
            }
            self.chunks.pop_front();
            budget.0.fetch_sub(len, Ordering::Relaxed);
        }
    }

    /// The reader that is furthest behind, and where it is.
    fn slowest(&self) -> Option<(usize, u64)> {
        let reading = self.readers.iter().enumerate();
        reading
            .filter_map(|(id, reader)| reader.as_ref().filter(|r| !r.cut).map(|r| (id, r.at)))
            .min_by_key(|&(_, at)| at)
    }

    fn someone_waits_for_more(&self) -> bool {
        self.readers.iter().flatten().any(|reader| !reader.cut && reader.at >= self.len)
    }

    /// Charges `waited` to the reader that others waited for, and cuts it off
    /// when its allowance is used up.
    fn blame(&mut self, id: usize, waited: Duration, cut: bool) {
        let Some(reader) = self.readers.get_mut(id).and_then(Option::as_mut) else { return };
        reader.held_up += waited;
        if cut {
            reader.cut = true;
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
    }

    fn wake_readers(&mut self) {
        for waker in self.readers.iter_mut().flatten().filter_map(|reader| reader.waker.take()) {
            waker.wake();
        }
    }

    /// The held bytes from `at` on, as far as one piece reaches.
    fn piece_at(&self, at: u64) -> Option<Bytes> {
        let next = self.chunks.partition_point(|(start, _)| *start <= at);
        let (start, bytes) = self.chunks.get(next.checked_sub(1)?)?;
        let skip = usize::try_from(at - start).ok()?;
        (skip < bytes.len()).then(|| bytes.slice(skip..))
    }
}

impl futures_util::Stream for Reader {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut state = this.shared.state.lock();
        let phase = state.phase;
        let cut = state.readers[this.id].as_ref().is_none_or(|reader| reader.cut);
        if cut {
            this.ended = true;
            return Poll::Ready(Some(Err(Broken::ReaderTooSlow)));
        }
        if this.range.is_empty() {
            this.ended = true;
            return Poll::Ready(None);
        }
        if let Some(mut piece) = state.piece_at(this.range.start) {
            let wanted = this.range.end - this.range.start;
            piece.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
            this.range.start += piece.len() as u64;
            if let Some(reader) = &mut state.readers[this.id] {
                reader.at = this.range.start;
            }
            this.shared.seats.room.notify_one();
            return Poll::Ready(Some(Ok(Piece::Bytes(piece))));
        }
        match phase {
            Phase::Streaming => {
                // Bytes before the range are taken unread, so that they can be dropped.
                let len = state.len;
                if let Some(reader) = &mut state.readers[this.id] {
                    reader.at = len.min(this.range.start);
                    reader.waker = Some(cx.waker().clone());
                }
                this.shared.seats.room.notify_one();
                Poll::Pending
            }
            Phase::Complete => {
                this.ended = true;
                let trailers = state.trailers.clone();
                Poll::Ready(trailers.map(|trailers| Ok(Piece::Trailers(trailers))))
            }
            Phase::Failed(why) => {
                this.ended = true;
                Poll::Ready(Some(Err(why)))
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.state.lock().readers[self.id] = None;
        self.shared.seats.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn a_window_that_becomes_narrow_holds_what_it_has_and_takes_no_more() {
        let budget = Budget::default();
        let (filling, mut writer) = filling(&budget, Arc::default());
        let mut reader = filling.reader(0..u64::MAX).expect("a reader");
        writer.keep_only(1000);
        let piece = Bytes::from(vec![b'x'; 100]);
        for _ in 0..5 {
            assert!(writer.push(piece.clone(), Duration::from_secs(1)).await.is_ok());
        }
        assert_eq!(budget.held(), 500);
        writer.keep_only(100);
        {
            let mut push = std::pin::pin!(writer.push(piece.clone(), Duration::from_secs(1)));
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..4 {
                assert!(push.poll_unpin(&mut cx).is_pending(), "{} bytes are held", budget.held());
                assert!(reader.next().await.is_some_and(|piece| piece.is_ok()));
            }
            assert!(push.poll_unpin(&mut cx).is_pending(), "100 bytes are held still");
            assert!(reader.next().await.is_some_and(|piece| piece.is_ok()));
            assert!(push.await.is_ok());
        }
        assert_eq!(budget.held(), 100);
        writer.complete();
        drop((reader, filling));
    }
}
