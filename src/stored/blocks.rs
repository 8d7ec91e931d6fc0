//! Blocks for the bodies of stored responses: a few sizes, shared by all threads.
//!
//! What is stored changes: small bodies take the place of large ones, and large ones that of
//! small ones. An allocator keeps what once was needed for each size, and for each thread; after
//! some minutes of churn memory was half as much again as what was stored. So the blocks here go
//! from hand to hand, and have no memory behind them while nobody has them: whatever comes next,
//! of any size, may have that.
//!
//! What always holds: a block that is dropped is given back at once; those that are kept with
//! their memory are no more than an eighth of those in use, and some, where the system takes
//! the memory of the others. Those are addresses alone, in two words each, and no more than were
//! ever in use at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
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
    spare: Vec<Memory>,
    /// Without.
    cold: Vec<Memory>,
    /// What is left of the last region.
    rest: Memory,
}

/// A piece of a region. Regions are never given back, as there is something in use of nearly
/// each of them.
type Memory = &'static mut [u8];

/// A full block.
struct Block {
    bytes: Memory,
    shelf: &'static Shelf,
}

impl Shelf {
    const fn new() -> Self {
        let free = Free { spare: Vec::new(), cold: Vec::new(), rest: &mut [] };
        Shelf { free: Mutex::new(free), used: AtomicUsize::new(0) }
    }

    /// A block of this size, which is that of the shelf; something stands in it. None where the
    /// system has no more addresses.
    fn take(&self, size: usize) -> Option<Memory> {
        let mut free = self.free.lock();
        let known = free.spare.pop().or_else(|| free.cold.pop());
        let block = match known {
            Some(block) => block,
            None => {
                if free.rest.len() < size {
                    free.rest = region()?;
                }
                let (block, rest) = std::mem::take(&mut free.rest).split_at_mut(size);
                free.rest = rest;
                block
            }
        };
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(block)
    }

    /// Gives one back.
    fn give(&self, block: Memory) {
        let used = self.used.fetch_sub(1, Ordering::Relaxed);
        let most = (used / SPARE).max(LEAST_SPARE / block.len().max(1));
        let mut free = self.free.lock();
        if free.spare.len() < most {
            return free.spare.push(block);
        }
        // There were more in use once: one of these goes as well.
        let another = if free.spare.len() > most { free.spare.pop() } else { None };
        drop(free);
        for block in std::iter::once(block).chain(another) {
            let is_cold = cool(block);
            let mut free = self.free.lock();
            // One whose memory the system does not take is as good as any.
            if is_cold { free.cold.push(block) } else { free.spare.push(block) }
        }
    }
}

/// Addresses for some blocks, which have memory once they are written.
fn region() -> Option<Memory> {
    // SAFETY: a new mapping of private memory lies apart from everything else, begins at a page,
    // reads as zeros, and is never unmapped; nobody but the caller knows of it.
    unsafe {
        let flags = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        let begin = mmap_anonymous(std::ptr::null_mut(), REGION, flags.0, flags.1).ok()?;
        Some(std::slice::from_raw_parts_mut(begin.cast(), REGION))
    }
}

/// Lets the system have the memory behind a block, which reads as zeros afterwards. Says whether
/// it did.
fn cool(block: &mut [u8]) -> bool {
    // SAFETY: blocks are whole pages of private mappings of their own, as `filled` sees to, so
    // nothing else lies on them; nobody else refers to this one, as it is borrowed exclusively;
    // and zeros are what may stand there.
    unsafe { madvise(block.as_mut_ptr().cast(), block.len(), Advice::LinuxDontNeed).is_ok() }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.bytes
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
    // Where pages are larger than that a block is none of its own.
    let place = SIZES.iter().position(|of| *of == size && size.is_multiple_of(page_size()));
    let shelf = place.and_then(|at| SHELVES.get(at));
    let Some((shelf, bytes)) = shelf.and_then(|shelf| Some((shelf, shelf.take(size)?))) else {
        let mut bytes = vec![0; size];
        fill(&mut bytes);
        return Bytes::from(bytes);
    };
    let block = Block { bytes, shelf };
    fill(block.bytes);
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
    fn what_nobody_has_has_no_memory_and_comes_again() {
        let size = SIZES[2];
        let free = &SHELVES[2].free;
        // Nobody else has so many of this size here.
        let all: Vec<Bytes> = (0..2000).map(|_| filled(size, |bytes| bytes.fill(7))).collect();
        drop(all);
        assert!(free.lock().cold.len() > 1500);
        let mut empty = 0;
        let again: Vec<Bytes> = (0..2000)
            .map(|_| {
                filled(size, |bytes| {
                    // What the system has had is empty.
                    empty += usize::from(bytes.iter().all(|byte| *byte == 0));
                    bytes.fill(8);
                })
            })
            .collect();
        assert!((1500..2000).contains(&empty), "{empty} were empty");
        assert!(again.iter().all(|block| block.iter().all(|byte| *byte == 8)), "no two are one");
    }
}
