//! Getting a response from an origin: alone, together, or in the background.

use std::time::Duration;

/// Limits of collapsing and streaming.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The most flights under way at once; a request beyond goes to the origin alone.
    pub max_flights: usize,
    /// The most followers that one flight takes; a request beyond goes alone.
    pub max_followers: usize,
    /// The longest that a follower waits for its flight's head.
    pub follower_wait: Duration,
    /// Bytes of a body too large to keep that are held for its readers.
    pub window: usize,
    /// How long the slowest reader of such a body may hold up the others.
    pub slow_reader: Duration,
    /// Bytes of all bodies that are being filled; beyond, new bodies are streamed and not kept.
    pub max_filling_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_flights: 16_384,
            max_followers: 10_000,
            follower_wait: Duration::from_secs(30),
            window: 1024 * 1024,
            slow_reader: Duration::from_secs(10),
            max_filling_bytes: 256 * 1024 * 1024,
        }
    }
}
