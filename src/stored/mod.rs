//! The nouns of a cache: a stored response, the variants of a key, and bodies,
//! complete or being filled.
//!
//! Everything here is immutable once it is shared, but for a few atomics whose
//! meaning stands beside them. Nothing here decides anything.

pub mod body;
pub mod filling;
pub mod key;
pub mod response;
pub mod variants;

pub use body::StoredBody;
pub use key::CacheKey;
pub use response::{Head, StoredResponse};
pub use variants::Variants;
