//! Operators purge, and no purge is undone.

mod admin;
mod fence;
