//! What fetches from a shield need of the cluster: how far this node and the shield have
//! read what all nodes read.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::fetch::{OfShield, Shields};
use crate::invalidate::{Answered, Invalidator};

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

    fn later_than(&self, kept: OfShield) -> BoxFuture<'_, u64> {
        let OfShield { told, key, groups, made } = kept;
        async move { self.invalidator.later_than(&Answered { told, key, groups, made }).await }.boxed()
    }
}
