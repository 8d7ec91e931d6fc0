//! forebay: a caching HTTP accelerator.

// Floor 0: the ground.
pub mod clock;
pub mod observe;
// Floor 1: the standard.
pub mod rfc;
// Floor 3: decisions, storage, exchanges.
pub mod origin;
pub mod policy;
pub mod store;
// Floor 4: acts.
pub mod fetch;
// Floor 7: the edges.
pub mod admin;
pub mod listen;
