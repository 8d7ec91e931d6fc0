//! The nouns of a cache: a stored response, the variants of a key, and bodies,
//! complete or being filled.
//!
//! Everything here is immutable once it is shared, but for a few atomics whose
//! meaning stands beside them. Nothing here decides anything.

pub mod ban;
pub mod blocks;
pub mod body;
pub mod filling;
pub mod index;
pub mod key;
pub mod names;
pub mod parts;
pub mod pattern;
pub mod response;
pub mod selector;
pub mod variants;

pub use body::StoredBody;
pub use key::CacheKey;
pub use names::Names;
pub use parts::Parts;
pub use response::{Head, StoredResponse};
pub use selector::{Selector, Strength};
pub use variants::Variants;
