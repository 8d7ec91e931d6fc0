//! The body of a stored response: complete, immutable, shared.
//!
//! What always holds: no piece is empty, the pieces are copies of their own (no
//! connection's buffer lives on in the store), and `len` is their sum.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::message::{Broken, Piece};

/// The most bytes of one piece: large enough that pieces cost nothing, small
/// enough that the allocator finds room for them.
const PIECE: usize = 256 * 1024;

/// A complete body; cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct StoredBody {
    pieces: Pieces,
    len: u64,
}

#[derive(Clone, Default, Debug)]
enum Pieces {
    #[default]
    None,
    One(Bytes),
    Many(Arc<[Bytes]>),
}

impl StoredBody {
    /// A copy of these bytes.
    pub fn copied(chunks: &[Bytes]) -> Self {
        StoredBody::of_copies(copies(chunks).collect())
    }

    /// The body of these pieces, which are all that [`copies`] gave.
    pub(super) fn of_copies(mut pieces: Vec<Bytes>) -> Self {
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let pieces = match pieces.len() {
            0 => Pieces::None,
            1 => pieces.pop().map_or(Pieces::None, Pieces::One),
            _ => Pieces::Many(pieces.into()),
        };
        StoredBody { pieces, len }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn chunks(&self) -> &[Bytes] {
        match &self.pieces {
            Pieces::None => &[],
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// Heap bytes held, as the allocator rounds them.
    pub fn heap_bytes(&self) -> usize {
        let pieces: usize = self.chunks().iter().map(|piece| allocated(piece.len()) + PIECE_OVERHEAD).sum();
        match &self.pieces {
            Pieces::Many(many) => pieces + allocated(16 + many.len() * size_of::<Bytes>()),
            _ => pieces,
        }
    }

    /// The piece in which this range of the body begins, and which part of it is meant;
    /// none of an empty range, or past the end.
    pub fn piece(&self, range: &Range<u64>) -> Option<(&Bytes, Range<usize>)> {
        if range.is_empty() {
            return None;
        }
        // Every piece but the last has the same size.
        let index = usize::try_from(range.start / PIECE as u64).ok()?;
        let skip = usize::try_from(range.start % PIECE as u64).ok()?;
        let piece = self.chunks().get(index).filter(|piece| skip < piece.len())?;
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        Some((piece, skip..piece.len().min(skip.saturating_add(wanted))))
    }

    /// A stream of this range of the body; a range past the end gives less.
    pub fn read(&self, range: Range<u64>) -> Read {
        let range = range.start..range.end.min(self.len);
        Read { current: Some((self.clone(), range)), then: Vec::new().into_iter() }
    }

    /// These bodies behind each other; copied only where their pieces do not fit so.
    pub fn joined(bodies: &[StoredBody]) -> StoredBody {
        let pieces: Vec<Bytes> = bodies.iter().flat_map(|body| body.chunks()).cloned().collect();
        let fit =
            pieces.split_last().is_none_or(|(_, others)| others.iter().all(|piece| piece.len() == PIECE));
        if fit { StoredBody::of_copies(pieces) } else { StoredBody::copied(&pieces) }
    }
}

/// Copies these bytes, in pieces of exactly the size they need; each is copied
/// when it is asked for.
pub(super) fn copies(chunks: &[Bytes]) -> impl Iterator<Item = Bytes> {
    let mut left: usize = chunks.iter().map(Bytes::len).sum();
    let mut source = chunks.iter().map(|chunk| &chunk[..]);
    let mut rest: &[u8] = &[];
    std::iter::from_fn(move || {
        let size = left.min(PIECE);
        left -= size;
        let mut piece = Vec::with_capacity(size);
        while piece.len() < size {
            if rest.is_empty() {
                rest = source.next()?;
                continue;
            }
            let (taken, more) = rest.split_at(rest.len().min(size - piece.len()));
            piece.extend_from_slice(taken);
            rest = more;
        }
        (size > 0).then(|| Bytes::from(piece))
    })
}

/// What a shared piece costs beside its bytes: the reference count that `Bytes`
/// allocates when it is first cloned.
const PIECE_OVERHEAD: usize = 32;

/// What the allocator takes for an allocation of `bytes`: it rounds up to 16 and
/// keeps 8 of its own; large ones are mapped in whole pages.
pub fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=131_071 => (bytes + 8).next_multiple_of(16).max(32),
        _ => (bytes + 16).next_multiple_of(4096),
    }
}

/// Reads a range of a stored body, or of several behind each other.
#[derive(Clone, Debug)]
pub struct Read {
    current: Option<(StoredBody, Range<u64>)>,
    then: std::vec::IntoIter<(StoredBody, Range<u64>)>,
}

impl Read {
    /// These ranges of these bodies, one behind the other.
    pub(super) fn of(spans: Vec<(StoredBody, Range<u64>)>) -> Read {
        Read { current: None, then: spans.into_iter() }
    }
}

impl Iterator for Read {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some((body, range)) = &mut self.current
                && let Some((piece, place)) = body.piece(range)
            {
                range.start += place.len() as u64;
                return Some(piece.slice(place));
            }
            self.current = Some(self.then.next()?);
        }
    }
}

impl futures_util::Stream for Read {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next().map(|bytes| Ok(Piece::Bytes(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_reads_as_the_original_over_any_range() {
        let whole: Vec<u8> = (0..600_001u32).map(|i| (i % 251) as u8).collect();
        let chunks: Vec<Bytes> = whole.chunks(1_777).map(Bytes::copy_from_slice).collect();
        let body = StoredBody::copied(&chunks);
        assert_eq!((body.len(), body.chunks().len()), (600_001, 3));
        for range in [0..600_001, 5..5, 262_143..262_145, 1..524_289, 599_999..700_000, 700_000..700_001] {
            let read: Vec<u8> = body.read(range.clone()).flat_map(Vec::from).collect();
            let end = (range.end as usize).min(whole.len());
            assert_eq!(read, whole[(range.start as usize).min(end)..end], "{range:?}");
        }
    }
}
