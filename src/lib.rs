//! forebay: a caching HTTP accelerator.

// Floor 0: the ground.
pub mod clock;
pub mod observe;
// Floor 1: the standard.
pub mod rfc;
// Floor 2: messages under way.
pub mod message;
// Floor 3: the nouns.
pub mod stored;
// Floor 4: fetches, decides, keeps.
pub mod origin;
pub mod policy;
pub mod store;
// Floor 5: acts.
pub mod fetch;
pub mod invalidate;
// Floor 6: the walk of one request.
pub mod serve;
// Floor 7: the edges.
pub mod admin;
pub mod listen;
// Floor 8: the file format.
pub mod config;
// Floor 9: assembly.
pub mod node;
