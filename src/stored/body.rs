//! The body of a stored response: complete, immutable, shared.
//!
//! What always holds: no piece is empty, the pieces are copies of their own (no
//! connection's buffer lives on in the store), and `len` is their sum. But for the last
//! one they have only a few [sizes](blocks::SIZES): what one body leaves fits the next one, so that
//! memory has no holes after bodies of all lengths have come and gone.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::blocks::{self, SIZES};
use crate::message::{Broken, Piece};

/// The size of the next piece where so much is `left`: as large as it may be, and what is left
/// below the smallest block is the last piece. Measured with bodies of up to 64 KiB, a random
/// one of which goes when another one comes: 33 % more memory than bytes where each body is
/// one piece, 11 % so.
fn step(left: usize) -> usize {
    SIZES.into_iter().find(|step| *step <= left).unwrap_or(left)
}

/// A complete body; cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct StoredBody {
    pieces: Pieces,
}

/// No larger than one piece: every response of a few bytes has it.
#[derive(Clone, Debug)]
enum Pieces {
    /// An empty one where there is no content.
    One(Bytes),
    Many(Arc<Many>),
}

#[derive(Debug)]
struct Many {
    len: u64,
    pieces: Box<[Bytes]>,
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces::One(Bytes::new())
    }
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
            0 | 1 => pieces.pop().map(Pieces::One).unwrap_or_default(),
            _ => Pieces::Many(Arc::new(Many { len, pieces: pieces.into() })),
        };
        StoredBody { pieces }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.pieces {
            Pieces::One(piece) => piece.len() as u64,
            Pieces::Many(many) => many.len,
        }
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order.
    pub fn chunks(&self) -> &[Bytes] {
        match &self.pieces {
            Pieces::One(piece) if piece.is_empty() => &[],
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(many) => &many.pieces,
        }
    }

    /// Heap bytes held, as the allocator rounds them.
    pub fn heap_bytes(&self) -> usize {
        let pieces: usize = self.chunks().iter().map(|piece| allocated(piece.len()) + blocks::OVERHEAD).sum();
        match &self.pieces {
            Pieces::One(_) => pieces,
            Pieces::Many(many) => {
                pieces + allocated(16 + size_of::<Many>()) + allocated(many.pieces.len() * size_of::<Bytes>())
            }
        }
    }

    /// The piece in which this range of the body begins, and which part of it is meant;
    /// none of an empty range, or past the end.
    pub fn piece(&self, range: &Range<u64>) -> Option<(&Bytes, Range<usize>)> {
        if range.is_empty() {
            return None;
        }
        let (index, skip) = self.find(usize::try_from(range.start).ok()?);
        let piece = self.chunks().get(index).filter(|piece| skip < piece.len())?;
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        Some((piece, skip..piece.len().min(skip.saturating_add(wanted))))
    }

    /// Which piece has this byte, and where in it.
    fn find(&self, offset: usize) -> (usize, usize) {
        let (mut index, mut skip) = (0, offset);
        let mut left = usize::try_from(self.len()).unwrap_or(usize::MAX);
        for step in SIZES {
            let pieces = left / step;
            if skip < pieces * step {
                return (index + skip / step, skip % step);
            }
            (index, skip, left) = (index + pieces, skip - pieces * step, left % step);
        }
        (index, skip)
    }

    /// A stream of this range of the body; a range past the end gives less.
    pub fn read(&self, range: Range<u64>) -> Read {
        let range = range.start..range.end.min(self.len());
        Read { current: Some((self.clone(), range)), then: Vec::new().into_iter() }
    }

    /// These bodies behind each other; copied only where their pieces do not fit so.
    pub fn joined(bodies: &[StoredBody]) -> StoredBody {
        let pieces: Vec<Bytes> = bodies.iter().flat_map(|body| body.chunks()).cloned().collect();
        let mut left: usize = pieces.iter().map(Bytes::len).sum();
        let fit = pieces.iter().all(|piece| {
            let fits = piece.len() == step(left);
            left -= piece.len();
            fits
        });
        if fit { StoredBody::of_copies(pieces) } else { StoredBody::copied(&pieces) }
    }
}

/// Copies these bytes, in pieces of the sizes that bodies are stored in; each is copied when
/// it is asked for.
pub(super) fn copies(chunks: &[Bytes]) -> impl Iterator<Item = Bytes> {
    let mut left: usize = chunks.iter().map(Bytes::len).sum();
    let mut source = chunks.iter().map(|chunk| &chunk[..]);
    let mut rest: &[u8] = &[];
    std::iter::from_fn(move || {
        let size = step(left);
        left -= size;
        if size == 0 {
            return None;
        }
        Some(blocks::filled(size, |mut piece| {
            while !piece.is_empty() {
                if rest.is_empty() {
                    // There are as many bytes as were counted.
                    let Some(next) = source.next() else { return };
                    rest = next;
                }
                let (taken, more) = rest.split_at(rest.len().min(piece.len()));
                let (filled, open) = piece.split_at_mut(taken.len());
                filled.copy_from_slice(taken);
                (rest, piece) = (more, open);
            }
        }))
    })
}

/// What the allocator takes for an allocation of `bytes`: it has four sizes to each doubling,
/// and maps what is large in whole pages.
pub fn allocated(bytes: usize) -> usize {
    let words = bytes.div_ceil(8);
    match words {
        0..=1 => words * 8,
        2..=8 => words.next_multiple_of(2) * 8,
        9..=16_384 => words.next_multiple_of(1 << ((words - 1).ilog2() - 2)) * 8,
        _ => bytes.next_multiple_of(4096),
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
        let whole: Vec<u8> = (0..700_001u32).map(|i| (i % 251) as u8).collect();
        let lengths =
            [0, 1, 4095, 4096, 4097, 16_384, 16_385, 60_000, 65_536, 262_143, 262_144, 600_001, 700_001];
        for length in lengths {
            let whole = &whole[..length];
            let chunks: Vec<Bytes> = whole.chunks(1_777).map(Bytes::copy_from_slice).collect();
            let body = StoredBody::copied(&chunks);
            assert_eq!(body.len(), length as u64);
            let mut edges: Vec<u64> = vec![0, 1, length as u64, length as u64 + 1, length as u64 / 2];
            let mut edge = 0;
            for piece in body.chunks() {
                assert!(!piece.is_empty() && piece.len() <= SIZES[0]);
                edge += piece.len() as u64;
                edges.extend([edge - 1, edge, edge + 1]);
            }
            for &start in &edges {
                for &end in edges.iter().filter(|end| **end >= start) {
                    let read: Vec<u8> = body.read(start..end).flat_map(Vec::from).collect();
                    let end = (end as usize).min(length);
                    assert_eq!(read, whole[(start as usize).min(end)..end], "{start}-{end} of {length}");
                }
            }
        }
    }

    #[test]
    fn the_allocator_rounds_up() {
        let sizes = [0, 1, 8, 9, 24, 64, 65, 81, 128, 129, 1024, 1025, 4096, 4097, 65_536, 131_072, 131_073];
        assert_eq!(
            sizes.map(allocated),
            [0, 8, 8, 16, 32, 64, 80, 96, 128, 160, 1024, 1280, 4096, 5120, 65_536, 131_072, 135_168]
        );
    }

    #[test]
    fn pieces_have_few_sizes() {
        let sizes = |length: usize| {
            let body = StoredBody::copied(&[Bytes::from(vec![0; length])]);
            body.chunks().iter().map(Bytes::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(4096), [4096]);
        assert_eq!(sizes(5000), [4096, 904]);
        assert_eq!(sizes(102_400), [65_536, 16_384, 16_384, 4096]);
        assert_eq!(sizes(1 << 20), [262_144; 4]);
    }
}
