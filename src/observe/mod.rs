//! What the outside sees: counters, the access log, the program's own log, and
//! the ids by which a request is found again.
//!
//! Everything here is observation only: nothing in it decides anything, and
//! nothing that serves a request ever waits for it.

pub mod access_log;
pub mod counters;
pub mod render;
pub mod request_id;
pub mod trace;
