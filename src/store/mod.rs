//! Keeping responses: what is stored, under which key, and until when.
//!
//! The store is the only place where a response becomes reusable and the only
//! one that numbers invalidations. So the two can never pass each other: every
//! insertion says which invalidations it is newer than, and the store compares
//! under the key's own lock.

mod fence;
mod lurker;
mod memory;
mod peek;
mod room;
mod table;

pub use fence::{Fence, Invalidation, Meant};
pub use lurker::Lurker;
pub use memory::{Inserted, Invalidated, Rival, Store};
pub use peek::{Peeked, Purged};

use crate::stored::ban::BadBan;

/// Why an invalidation is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The ban is no good.
    #[error(transparent)]
    BadBan(#[from] BadBan),
    /// There are too many patterns that have not been tested against everything.
    #[error("there are {0} bans already that have not been tested against everything")]
    TooManyBans(usize),
    /// More is named than one invalidation takes, which every node of a cluster must read.
    #[error("{things} things of {bytes} bytes are too many at once")]
    TooMuch {
        /// How many things are named.
        things: usize,
        /// About how many bytes that are.
        bytes: usize,
    },
    /// It ended without a word; only a fault of the program does that.
    #[error("the purge was lost")]
    Lost,
}

/// Limits of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Gross memory in bytes: heads, bodies and index together.
    pub memory: u64,
    /// The largest response that is kept, as percent of `memory`.
    pub max_response_percent: u32,
    /// The most variants of one key; the least recently used goes first.
    pub max_variants: usize,
    /// The most patterns (bans and prefixes) that have not been tested against
    /// everything; more are refused.
    pub max_bans: usize,
    /// Whether what is to be stored is always admitted, and the least recently used goes:
    /// what was got for hidden routes is not to be refused, for nobody else would get it.
    pub admit_all: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            memory: 512 * 1024 * 1024,
            max_response_percent: 10,
            max_variants: 32,
            max_bans: 2_000,
            admit_all: false,
        }
    }
}
