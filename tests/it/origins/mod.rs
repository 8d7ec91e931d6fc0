//! Origins: their servers, what protects them, and what protects everybody else from them.

mod chaos;
mod closing;
mod degrade;
mod faults;
mod groups;
mod names;
mod slow;
mod tiers;
mod tls;
mod uploads;
