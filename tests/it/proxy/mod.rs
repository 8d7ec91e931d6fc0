//! What a proxy passes on, adds and takes away.

mod fields;
mod forwarding;
mod http1;
mod interim;
mod passage;
mod sites;
mod streams;
mod targets;
