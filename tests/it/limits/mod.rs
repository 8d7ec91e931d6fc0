//! Everything that is waited for has an end, connections are used again, and too much
//! is turned away at the door.

mod connections;
mod door;
mod memory;
mod rate;
mod shedding;
mod timeouts;
