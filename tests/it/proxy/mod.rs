//! What a proxy passes on, adds and takes away.

mod fields;
mod forwarding;
mod sites;
mod streams;
mod targets;
