//! What each method means to the cache.

mod head;
mod others;
mod post;
