//! What fetches from a shield need of the cluster: how far this node and the shield have
//! read what all nodes read.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::fetch::Shields;
use crate::invalidate::Invalidator;

/// The shields of a node, for its fetches.
pub struct Tiers {
    invalidator: Arc<Invalidator>,
}

impl Tiers {
    /// Of the node with these invalidations.
    pub fn new(invalidator: Arc<Invalidator>) -> Self {
        Tiers { invalidator }
    }
}

impl Shields for Tiers {
    fn asks(&self) -> Option<String> {
        self.invalidator.asks_shield()
    }

    fn later_than<'a>(&'a self, told: &'a [u8]) -> BoxFuture<'a, u64> {
        self.invalidator.later_than(told).boxed()
    }
}
