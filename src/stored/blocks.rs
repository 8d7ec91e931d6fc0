//! Blocks for the bodies of stored responses: a few sizes, shared by all threads.
//!
//! What is stored changes: small bodies take the place of large ones, and large ones that of
//! small ones. An allocator keeps what once was needed for each size, and for each thread; after
//! some hours of churn memory was half as much again as what was stored. So the blocks here go
//! from hand to hand, and have no memory behind them while nobody has them: whatever comes next,
//! of any size, may have that.
//!
//! What always holds: a block that is dropped is given back at once; those that are kept with
//! their memory are no more than an eighth of those in use, and some. The others are addresses
//! alone, and no more than were ever in use at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

/// The sizes that there are, the largest first.
pub const SIZES: [usize; 4] = [256 * 1024, 64 * 1024, 16 * 1024, 4 * 1024];

/// What the system is asked for at once: addresses, which have memory only once they are used.
const REGION: usize = 4 * 1024 * 1024;

/// For so many blocks in use a spare one is kept.
const SPARE: usize = 8;

/// So many bytes of spare blocks of one size are kept in any case.
const LEAST_SPARE: usize = 1024 * 1024;

/// What a block costs beside its bytes: what counts who shares it.
pub const OVERHEAD: usize = 64;

static SHELVES: [Shelf; SIZES.len()] = [const { Shelf::new() }; SIZES.len()];

/// The blocks of one size.
struct Shelf {
    free: Mutex<Free>,
    used: AtomicUsize,
}

/// Those that nobody has.
struct Free {
    /// With memory.
    spare: Vec<BytesMut>,
    /// Without.
    cold: Vec<BytesMut>,
    /// What is left of the last region.
    rest: Option<BytesMut>,
}

/// A full block.
struct Block {
    bytes: BytesMut,
    shelf: &'static Shelf,
}

impl Shelf {
    const fn new() -> Self {
        Shelf {
            free: Mutex::new(Free { spare: Vec::new(), cold: Vec::new(), rest: None }),
            used: AtomicUsize::new(0),
        }
    }

    /// A block of this size, which is that of the shelf; something stands in it.
    fn take(&self, size: usize) -> BytesMut {
        self.used.fetch_add(1, Ordering::Relaxed);
        let mut free = self.free.lock();
        let known = free.spare.pop().or_else(|| free.cold.pop());
        known.unwrap_or_else(|| {
            let mut rest = free.rest.take().filter(|rest| rest.len() >= size).unwrap_or_else(region);
            let block = rest.split_to(size);
            free.rest = Some(rest);
            block
        })
    }

    /// Gives one back.
    fn give(&self, mut block: BytesMut) {
        let used = self.used.fetch_sub(1, Ordering::Relaxed);
        let most = (used / SPARE).max(LEAST_SPARE / block.len().max(1));
        let mut free = self.free.lock();
        if free.spare.len() < most {
            return free.spare.push(block);
        }
        // There were more in use once: one of these goes as well.
        let another = if free.spare.len() > most { free.spare.pop() } else { None };
        drop(free);
        cool(&mut block);
        let another = another.map(|mut another| {
            cool(&mut another);
            another
        });
        self.free.lock().cold.extend(std::iter::once(block).chain(another));
    }
}

/// Addresses for some blocks, whole pages of the system.
fn region() -> BytesMut {
    let page = page_size();
    let mut region = BytesMut::zeroed(REGION + page);
    let unaligned = region.as_ptr().align_offset(page).min(page);
    drop(region.split_to(unaligned));
    region.truncate(REGION);
    region
}

/// Lets the system have the memory behind a block, which reads as zeros afterwards.
fn cool(block: &mut [u8]) {
    let page = page_size();
    let whole_pages = block.as_ptr().align_offset(page) == 0 && block.len().is_multiple_of(page);
    if whole_pages {
        // SAFETY: these are whole pages, so nothing else lies on them; nobody else refers to
        // them, as the block is borrowed exclusively; and whatever the system puts in their
        // place are initialised bytes. A refusal changes nothing.
        let _ = unsafe { madvise(block.as_mut_ptr().cast(), block.len(), Advice::LinuxDontNeed) };
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.shelf.give(std::mem::take(&mut self.bytes));
    }
}

/// A block of one of [`SIZES`], filled by `fill`, which writes all of it; any other number of
/// bytes is allocated.
pub fn filled(size: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
    let Some(shelf) = SIZES.iter().position(|of| *of == size).and_then(|at| SHELVES.get(at)) else {
        let mut bytes = vec![0; size];
        fill(&mut bytes);
        return Bytes::from(bytes);
    };
    let mut block = Block { bytes: shelf.take(size), shelf };
    fill(&mut block.bytes);
    Bytes::from_owner(block)
}

/// Bytes that are kept for whoever needs a block next.
pub fn spare() -> u64 {
    let of = |(shelf, size): (&Shelf, usize)| shelf.free.lock().spare.len() as u64 * size as u64;
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
        let kept = shelf.free.lock().spare.len();
        assert!((1..=5).contains(&kept), "{kept} are kept");
        drop(clone);
        assert_eq!(filled(10, |bytes| bytes.fill(1)), vec![1; 10]);
        assert!(spare() <= 64 << 20);
    }

    #[test]
    fn what_nobody_has_takes_no_memory_and_comes_again() {
        let size = SIZES[2];
        let shelf = &SHELVES[2];
        // Nobody else has blocks of this size here, for long.
        let all: Vec<Bytes> = (0..2000).map(|_| filled(size, |bytes| bytes.fill(7))).collect();
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
            let pages: usize =
                status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
            pages * page_size()
        };
        let before = resident();
        drop(all);
        let after = resident();
        assert!(after + 20 * 1024 * 1024 < before, "{before} before, {after} after");
        let cold = shelf.free.lock().cold.len();
        assert!(cold > 1500, "{cold}");
        let again: Vec<Bytes> = (0..1000).map(|_| filled(size, |bytes| bytes.fill(8))).collect();
        assert!(again.iter().all(|block| block.iter().all(|byte| *byte == 8)));
        assert!(shelf.free.lock().cold.len() < cold);
    }
}
