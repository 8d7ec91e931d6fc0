//! Origins: their servers, what protects them, and what protects everybody else from them.

mod degrade;
mod groups;
mod names;
mod slow;
mod tiers;
mod tls;
