//! Blocks for the bodies of stored responses: a few sizes, shared by all threads.
//!
//! The allocator keeps what each thread has got for that thread. Where stored responses come
//! and go on several threads, each of them holds what it once needed at most, and memory was
//! half as much again as what was stored. So whole blocks go from hand to hand here.
//!
//! What always holds: a block that is dropped is given back at once; those that nobody uses
//! are no more than an eighth of those in use, and some.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

/// The sizes that there are, the largest first.
pub const SIZES: [usize; 4] = [256 * 1024, 64 * 1024, 16 * 1024, 4 * 1024];

/// For so many blocks in use a spare one is kept.
const SPARE: usize = 8;

/// So many bytes of spare blocks of one size are kept in any case.
const LEAST_SPARE: usize = 1024 * 1024;

/// What a block costs beside its bytes: what counts who shares it.
pub const OVERHEAD: usize = 64;

static SHELVES: [Shelf; SIZES.len()] = [const { Shelf::new() }; SIZES.len()];

/// The blocks of one size.
struct Shelf {
    spare: Mutex<Vec<Box<[u8]>>>,
    used: AtomicUsize,
}

/// A full block.
struct Block {
    bytes: Box<[u8]>,
    shelf: &'static Shelf,
}

impl Shelf {
    const fn new() -> Self {
        Shelf { spare: Mutex::new(Vec::new()), used: AtomicUsize::new(0) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let used = self.shelf.used.fetch_sub(1, Ordering::Relaxed);
        let most = (used / SPARE).max(LEAST_SPARE / self.bytes.len().max(1));
        // What is not kept goes when the lock has gone.
        let _too_many = {
            let mut spare = self.shelf.spare.lock();
            if spare.len() < most {
                spare.push(std::mem::take(&mut self.bytes));
                None
            } else if spare.len() > most {
                spare.pop()
            } else {
                None
            }
        };
    }
}

/// A block of one of [`SIZES`], filled by `fill`; any other number of bytes is allocated.
pub fn filled(size: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
    let Some(shelf) = SIZES.iter().position(|of| *of == size).and_then(|at| SHELVES.get(at)) else {
        let mut bytes = vec![0; size];
        fill(&mut bytes);
        return Bytes::from(bytes);
    };
    shelf.used.fetch_add(1, Ordering::Relaxed);
    let spare = shelf.spare.lock().pop();
    let bytes = spare.unwrap_or_else(|| vec![0; size].into_boxed_slice());
    let mut block = Block { bytes, shelf };
    fill(&mut block.bytes);
    Bytes::from_owner(block)
}

/// Bytes that are kept for whoever needs a block next.
pub fn spare() -> u64 {
    let of = |(shelf, size): (&Shelf, usize)| shelf.spare.lock().len() as u64 * size as u64;
    SHELVES.iter().zip(SIZES).map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_from_hand_to_hand_and_only_some_are_kept() {
        let size = SIZES[0];
        let shelf = &SHELVES[0];
        let block = |byte: u8| filled(size, |bytes| bytes.fill(byte));
        let all: Vec<Bytes> = (0..100).map(block).collect();
        for (byte, block) in all.iter().enumerate() {
            assert!(block.len() == size && block.iter().all(|of| usize::from(*of) == byte));
        }
        let clone = all[7].clone();
        drop(all);
        assert_eq!(clone[0], 7, "whoever shares it has it still");
        let kept = shelf.spare.lock().len();
        assert!((1..=5).contains(&kept), "{kept} are kept");
        drop(clone);
        assert_eq!(filled(10, |bytes| bytes.fill(1)), vec![1; 10]);
        assert!(spare() <= 64 << 20);
    }
}
