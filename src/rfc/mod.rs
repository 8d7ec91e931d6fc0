//! The standard: HTTP semantics and caching as pure functions.
//!
//! Everything here gets what it needs as arguments, `now` included, and returns
//! a verdict with a named reason. Nothing here reads the clock, counts, locks,
//! spawns or does I/O, and nothing here panics on foreign bytes.

pub mod fields;
