//! Decisions: which rules hold for a request, and what is to be done with it.
//!
//! Pure like the standard below it: `now` and everything else are arguments,
//! every verdict carries a named reason, and nothing here reads the clock,
//! counts, locks, spawns or does I/O.

pub mod admit;
pub mod choice;
pub mod decide;
pub mod fallback;
pub mod hop;
pub mod narrow;
pub mod normalise;
pub mod partial;
pub mod site;
pub mod tags;

pub use decide::{Decision, decide};
pub use hop::{Hop, Loop};
pub use normalise::{Presented, Received, Refusal};
pub use site::{Rules, Sites};
