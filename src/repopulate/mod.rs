//! Hiding the origin: a miss is never forwarded. It is told as a *miss event*; a
//! worker, or the origin itself, sends the response as a *fill*.
//!
//! ```text
//!  serve ── miss ──▶ Announcer ── event ──▶ misses ──▶ Pacer ──▶ work ──▶ Worker ──▶ origin
//!    ▲                  │ lease                                             │
//!  store ◀── keep ── Keeper ◀────────────────── fills ◀────────────────────┘
//! ```
//!
//! Between them stand the queues of a broker, in the process or outside; each part
//! knows the queues alone. There is one pacer an origin at a time, so that the rate
//! which was agreed with the origin's owner holds however many ask.
//!
//! What always holds: no client waits for any of this, but for as long as its route
//! says; every event ends: filled, refused, expired or dead; a fill is kept only with
//! a good token, and only if nothing that it does not know of was invalidated since.
//!
//! What it never does: let a client's request reach an origin.

pub mod announce;
pub mod budget;
pub mod dead;
pub mod event;
pub mod fill;
pub mod keep;
pub mod known;
pub mod lease;
pub mod pace;
pub mod pacer;
mod push;
mod rate;
pub mod token;
pub mod wants;
pub mod warm;
pub mod worker;

use std::time::Duration;

use crate::shed::PerSecond;

pub use announce::{Announced, Announcer};
pub use dead::{DeadLetter, OriginView, QueueView};
pub use event::{Class, MissEvent, Reason, Wanted};
pub use keep::{Keeper, Refused, again, forms};
pub use lease::Unfillable;
pub use token::Secrets;
pub use wants::Wants;
pub use warm::Warmer;
pub use worker::Worker;

/// Limits and times of repopulation.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Leases.
    pub lease: lease::Settings,
    /// What may be asked for that is not known.
    pub budget: budget::Settings,
    /// About how many keys are known to exist.
    pub known_keys: usize,
    /// How long an event is of use.
    pub event_ttl: Duration,
    /// Events that wait for the broker.
    pub backlog: usize,
    /// How often the origin is asked for a key before it is given up.
    pub attempts: u32,
    /// The pause before it is asked again; four times as long with each failure.
    pub retry_pause: Duration,
    /// Larger bodies do not go through the broker.
    pub inline_max: u64,
    /// The secrets that edges and workers share; the first signs.
    pub secrets: Vec<String>,
}

/// What was agreed with the owner of an origin.
#[derive(Clone, PartialEq, Debug)]
pub struct Agreed {
    /// Requests a second.
    pub rate: PerSecond,
    /// Requests under way.
    pub concurrency: usize,
    /// An answer that takes longer is a sign of strain.
    pub slow: Duration,
    /// Keys that wait for their turn.
    pub max_waiting: usize,
}

impl Default for Agreed {
    fn default() -> Self {
        Agreed { rate: PerSecond(50.0), concurrency: 10, slow: Duration::from_secs(2), max_waiting: 50_000 }
    }
}
