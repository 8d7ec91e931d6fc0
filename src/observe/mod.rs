//! Counting: the one table of counters, and what the outside sees of it.
//!
//! Everything here is observation only: nothing in it decides anything.

pub mod counters;
