//! Getting a response from an origin: together, alone, or in the background.
//!
//! What always holds: a fetch that may be shared goes on when the client that has begun it
//! leaves; a response is put into the store
//! before its flight ends, so that no second request slips through between the
//! two; the invalidations that a response is newer than are noted before the
//! origin is asked.
//!
//! What it never does: decide whether a response may be stored or reused.

mod fetcher;
mod flights;
mod fly;
mod part;
mod request;
mod shield;

use std::time::Duration;

pub use fetcher::{Asked, Common, Failed, Fetched, Fetcher, Passed, Private};
pub use flights::{Flights, Follower, Joined, Lane, Limits};
pub use fly::Flowing;
pub use request::{Purpose, request as origin_request, via_member};
pub use shield::{OfShield, Shields};

/// Limits of collapsing and streaming.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The most fetches of cacheable responses under way at once, shared or not; a
    /// request beyond is answered with stale or 503.
    pub max_flights: usize,
    /// The most clients that wait for one of them; a request beyond is answered
    /// with stale or 503.
    pub max_followers: usize,
    /// The longest that a client waits for the head of a fetch that another one began.
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
