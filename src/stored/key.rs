//! The cache key: what a request must have in common with a stored response to
//! be answered by it, `Vary` aside (RFC 9111 section 2).

use std::cell::RefCell;
use std::hash::Hasher;
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A cache key: scheme, host, port, path and query of the target.
///
/// What always holds: two keys are the same if and only if their texts are. The
/// hash only finds the place; whoever looks up compares the text as well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheKey {
    /// The key as an absolute URI with an explicit port.
    pub text: Arc<str>,
    /// The text's hash, seeded anew in each process.
    pub hash: u128,
    /// The hash of path and query alone: what a purge that names no host names.
    pub path_hash: u128,
}

impl CacheKey {
    /// The key of a target. `host` is lower-case, `path_and_query` canonical.
    pub fn new(scheme: &str, host: &str, port: u16, path_and_query: &str) -> Self {
        let text: Arc<str> = SCRATCH.with_borrow_mut(|text| {
            text.clear();
            text.push_str(scheme);
            text.push_str("://");
            text.push_str(host);
            text.push(':');
            push_decimal(text, port);
            text.push_str(path_and_query);
            Arc::from(text.as_str())
        });
        let hash = xxh3_128_with_seed(text.as_bytes(), *SEED);
        CacheKey { text, hash, path_hash: Self::path_hash(path_and_query) }
    }

    /// What [`CacheKey::path_hash`] is for this path and query.
    pub fn path_hash(path_and_query: &str) -> u128 {
        xxh3_128_with_seed(path_and_query.as_bytes(), *SEED)
    }

    /// The key with this text.
    pub fn from_text(text: &Arc<str>) -> Self {
        let hash = xxh3_128_with_seed(text.as_bytes(), *SEED);
        CacheKey { text: Arc::clone(text), hash, path_hash: Self::path_hash(Self::path_of(text)) }
    }

    /// The hash's low half, by which the store finds what it holds.
    pub fn short(&self) -> u64 {
        self.hash as u64
    }

    /// What [`CacheKey::short`] is for the key of this text.
    pub fn short_of(text: &str) -> u64 {
        xxh3_128_with_seed(text.as_bytes(), *SEED) as u64
    }

    /// Path and query of a key's text.
    pub fn path_of(text: &str) -> &str {
        &text[Self::authority_of(text).len()..]
    }

    /// Scheme, host and port of a key's text.
    pub fn authority_of(text: &str) -> &str {
        let host = text.find("://").map_or(0, |at| at + 3);
        text[host..].find('/').map_or(text, |at| &text[..host + at])
    }
}

thread_local! {
    /// Where texts are put together before they are shared. Never longer than the longest
    /// target that is let in.
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// For tables whose keys are hashes already; hashing them again would only cost.
#[derive(Default)]
pub struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }
}

pub(super) static SEED: LazyLock<u64> = LazyLock::new(|| fastrand::u64(..));

fn push_decimal(text: &mut String, number: u16) {
    let mut divisor = 10_000;
    while divisor > 1 && number / divisor == 0 {
        divisor /= 10;
    }
    while divisor > 0 {
        text.push(char::from(b'0' + (number / divisor % 10) as u8));
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_text() {
        for (port, text) in [(80, "http://a:80/x?y"), (8080, "http://a:8080/x?y"), (0, "http://a:0/x?y")] {
            let key = CacheKey::new("http", "a", port, "/x?y");
            assert_eq!(&*key.text, text);
            assert_eq!(key, CacheKey::new("http", "a", port, "/x?y"));
        }
        assert_ne!(CacheKey::new("http", "a", 80, "/x"), CacheKey::new("https", "a", 80, "/x"));
    }
}
