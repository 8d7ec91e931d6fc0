//! What the outside sees: counters, the access log, the program's own log, and
//! the ids by which a request is found again; and the handles by which threads share things.
//!
//! Everything here is observation only: nothing in it decides anything, and
//! nothing that serves a request ever waits for it.

pub mod access_log;
pub mod counters;
pub mod handles;
pub mod render;
pub mod request_id;
pub mod trace;
