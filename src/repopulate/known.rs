//! Which keys are known to exist: those that were filled, or warmed. It outlives the
//! cache, so that after a loss the keys that people really ask for go first, and a
//! flood of invented ones delays none of them.
//!
//! A Bloom filter of two generations: when the younger is full the older is
//! forgotten, and whatever is asked for meanwhile moves over.
//!
//! What always holds: a known key is found as long as it was filled or asked for
//! within the last generation; an unknown one is taken for known in about one of ten
//! thousand cases, so that a million invented ones are a hundred that pass for known; the
//! size is fixed.

use std::io::{self, Read, Write};
use std::path::Path;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const MAGIC: &[u8; 8] = b"FOREBAYK";
const VERSION: u32 = 2;
/// Bits for each key, and how many of them are set: about one in ten thousand is wrong.
const BITS: usize = 20;
const HASHES: u64 = 14;

/// The keys that are known.
#[derive(Debug)]
pub struct Known {
    capacity: usize,
    /// Whoever does not know it cannot make keys that look known.
    seed: u64,
    young: Generation,
    old: Generation,
    changed: bool,
}

#[derive(Debug)]
struct Generation {
    bits: Vec<u64>,
    keys: usize,
}

impl Generation {
    fn new(capacity: usize) -> Self {
        Generation { bits: vec![0; (capacity * BITS).div_ceil(64).max(1)], keys: 0 }
    }

    /// Whether it has the key; puts it in if told so.
    fn has(&mut self, hash: u64, add: bool) -> bool {
        let bits = self.bits.len() as u64 * 64;
        let (one, two) = (hash, hash.rotate_left(32) | 1);
        let mut all = true;
        for n in 0..HASHES {
            let bit = one.wrapping_add(two.wrapping_mul(n)) % bits;
            let (word, mask) = (&mut self.bits[(bit / 64) as usize], 1 << (bit % 64));
            all &= *word & mask != 0;
            if add {
                *word |= mask;
            } else if !all {
                return false;
            }
        }
        if add && !all {
            self.keys += 1;
        }
        all
    }
}

impl Known {
    /// None yet, with room for about so many.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let seed = fastrand::u64(..);
        let (young, old) = (Generation::new(capacity), Generation::new(capacity));
        Known { capacity, seed, young, old, changed: false }
    }

    /// What a file has, if it is one of this size. Says what is wrong with it.
    pub fn load(path: &Path, capacity: usize) -> (Self, Option<String>) {
        let none = Self::new(capacity);
        let mut bytes = Vec::new();
        let expected = none.to_bytes().len() as u64;
        match std::fs::File::open(path).and_then(|file| file.take(expected + 1).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (none, None),
            Err(error) => return (none, Some(format!("`{}`: {error}", path.display()))),
        }
        match Self::from_bytes(&bytes, capacity) {
            Some(known) => (known, None),
            None => {
                let why = "is damaged, or of another size; the keys that are known are learnt anew";
                (none, Some(format!("`{}` {why}", path.display())))
            }
        }
    }

    /// Whether a key is known. One that is stays known for another generation.
    pub fn knows(&mut self, key: u128) -> bool {
        let hash = self.hash(key);
        if self.young.has(hash, false) {
            return true;
        }
        let known = self.old.has(hash, false);
        if known {
            self.add_hash(hash);
        }
        known
    }

    /// Whether a key is known, for somebody who only looks: it stays known no longer for that.
    pub fn has(&mut self, key: u128) -> bool {
        let hash = self.hash(key);
        self.young.has(hash, false) || self.old.has(hash, false)
    }

    /// From now on this key is known.
    pub fn learn(&mut self, key: u128) {
        let hash = self.hash(key);
        self.add_hash(hash);
    }

    /// About how many are known.
    pub fn len(&self) -> usize {
        self.young.keys + self.old.keys
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be written, if anything has changed since it last was.
    pub fn take_changes(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.changed).then(|| self.to_bytes())
    }

    fn add_hash(&mut self, hash: u64) {
        if !self.young.has(hash, true) {
            self.changed = true;
        }
        if self.young.keys >= self.capacity {
            self.old = std::mem::replace(&mut self.young, Generation::new(self.capacity));
        }
    }

    fn hash(&self, key: u128) -> u64 {
        xxh3_64_with_seed(&key.to_le_bytes(), self.seed)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.seed.to_le_bytes());
        for generation in [&self.young, &self.old] {
            bytes.extend((generation.keys as u64).to_le_bytes());
            generation.bits.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        }
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8], capacity: usize) -> Option<Self> {
        let (said, sum) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
        if u64::from_le_bytes(sum.try_into().ok()?) != xxh3_64(said) {
            return None;
        }
        let mut known = Self::new(capacity);
        let rest = said.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
        let mut words = rest.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes));
        let mut next = || words.next()?.ok();
        known.seed = next()?;
        for generation in [&mut known.young, &mut known.old] {
            generation.keys = usize::try_from(next()?).ok()?;
            for word in &mut generation.bits {
                *word = next()?;
            }
        }
        (rest.len() % 8 == 0 && next().is_none()).then_some(known)
    }
}

/// Writes it, whole or not at all.
pub fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_known_and_little_else_is() {
        let mut known = Known::new(10_000);
        (0..5_000).for_each(|key| known.learn(key));
        assert!((0..5_000).all(|key| known.knows(key)));
        // As full as it gets, it takes some of a million invented ones for known.
        (5_000..19_999).for_each(|key| known.learn(key));
        let wrong = (1_000_000..2_000_000).filter(|key| known.knows(*key)).count();
        assert!(wrong < 500, "{wrong} of a million");
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten_in_time() {
        let mut known = Known::new(1_000);
        known.learn(1);
        known.learn(2);
        for key in 1_000..8_000 {
            known.learn(key);
            if key % 100 == 0 {
                assert!(known.knows(1), "it is asked for now and then");
            }
        }
        assert!(known.knows(1));
        assert!(known.len() <= 2_100);
        let forgotten = (1_000..2_000).filter(|key| !known.knows(*key)).count();
        assert!(forgotten > 900, "{forgotten}");
    }

    #[test]
    fn a_file_reads_back_and_a_damaged_one_is_told() {
        let path = std::env::temp_dir().join(format!("forebay-known-{}", std::process::id()));
        let mut known = Known::new(100);
        known.learn(7);
        save(&path, &known.take_changes().expect("a change")).expect("saved");
        assert!(known.take_changes().is_none());
        let (mut read, trouble) = Known::load(&path, 100);
        assert!(read.knows(7) && trouble.is_none());
        assert!(Known::load(&path, 10_000).1.is_some(), "another size");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        assert!(Known::load(&path, 100).1.is_some(), "damaged");
        let _ = std::fs::remove_file(&path);
        assert!(Known::load(&path, 100).1.is_none(), "none yet");
    }
}
