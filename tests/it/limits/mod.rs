//! Everything that is waited for has an end, and connections are used again.

mod connections;
mod timeouts;
