//! How a pacer stands, as operators see it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::repopulate::event::Class;

/// The state of a pacer, for operators.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// Requests a second at the moment.
    pub rate: f64,
    /// Requests a second as agreed.
    pub agreed_rate: f64,
    /// Requests under way.
    pub under_way: usize,
    /// The most requests under way.
    pub concurrency: usize,
    /// The keys that wait.
    pub waiting: ByClass,
    /// The most keys that wait.
    pub max_waiting: usize,
    /// How long the oldest has waited, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// The mean latency, in milliseconds; no answer counts more than twice what is slow.
    pub latency_ms: u64,
    /// Why nothing is released, or single trials only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// Numbers of keys.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, JsonSchema)]
pub struct ByClass {
    /// That clients wait for.
    pub user: usize,
    /// Of which clients got something stale.
    pub refresh: usize,
    /// Of which nothing is known.
    pub unknown: usize,
    /// That nobody waits for.
    pub warm: usize,
}

/// That the origin is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Paused {
    /// The reason.
    pub why: Why,
    /// For how much longer, in milliseconds; zero while a trial is due or under way.
    pub for_ms: u64,
}

/// Why the origin is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It asked for it.
    RetryAfter,
    /// It failed several times in a row.
    Failing,
}

impl ByClass {
    pub(super) fn of(&mut self, class: Class) -> &mut usize {
        match class {
            Class::User => &mut self.user,
            Class::Refresh => &mut self.refresh,
            Class::Unknown => &mut self.unknown,
            Class::Warm => &mut self.warm,
        }
    }
}
