//! A moment in the order of invalidations, as one process tells it to another.
//!
//! Whoever gets a response for somebody else notes the moment just before the origin
//! is asked; whoever keeps the response compares it with what was invalidated since.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment: what had been invalidated by then is older than the response.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// Who counts: a node, by a name that no other start of it has.
    pub node: String,
    /// The number of the last invalidation there.
    pub number: u64,
    /// In a cluster: how far that node had read what all of them read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadTo>,
}

/// A place in the stream of invalidations that all nodes of a cluster read.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadTo {
    /// Which stream it is: the id of its first message.
    pub epoch: String,
    /// The offset of the last message that was applied.
    pub offset: u64,
}
