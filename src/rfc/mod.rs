//! The standard: HTTP semantics and caching as pure functions.
//!
//! Everything here gets what it needs as arguments, `now` included, and returns
//! a verdict with a named reason. Nothing here reads the clock, counts, locks,
//! spawns or does I/O, and nothing here panics on foreign bytes.

pub mod age;
pub mod cache_control;
pub mod cache_status;
pub mod connection;
pub mod content_range;
pub mod date;
pub mod fields;
pub mod freshen;
pub mod groups;
pub mod host;
pub mod lifetime;
pub mod max_forwards;
pub mod proxy_status;
pub mod range;
pub mod reuse;
pub mod robots;
pub mod spans;
pub mod storable;
pub mod surrogate;
pub mod targeted;
pub mod unsafe_method;
pub mod uri;
pub mod validator;
pub mod vary;
