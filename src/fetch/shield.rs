//! Fetches from a shield: another node that stands between this one and the application.
//!
//! What always holds: a response of a shield is not newer than what the shield had read of
//! the purges; so what it sends is not kept where it may be from before a purge that holds
//! here. What the two tell each other is seen by nobody else.

use futures_util::future::BoxFuture;

use super::Fetcher;
use crate::message::READ;
use crate::policy::site::Rules;
use crate::rfc::fields::Fields;

/// What a fetch needs to know of the cluster that this node and its shields belong to.
pub trait Shields: Send + Sync {
    /// What a shield is asked with, as the value of a field; nothing where this node has
    /// read nothing that it could have in common with a shield.
    fn asks(&self) -> Option<String>;

    /// The number of the last invalidation here that a response is later than with which a
    /// shield has told this; 0 where that cannot be said.
    fn later_than<'a>(&'a self, told: &'a [u8]) -> BoxFuture<'a, u64>;
}

impl Fetcher {
    /// Whether these rules' origin is a shield.
    pub fn is_shielded(&self, rules: &Rules) -> bool {
        self.origin(rules).settings().shield
    }

    /// Asks a shield to tell how far it has read.
    pub(super) fn ask_shield(&self, rules: &Rules, fields: &mut Fields) {
        if self.is_shielded(rules)
            && let Some(asks) = self.shields().and_then(Shields::asks)
        {
            fields.add(READ, asks);
        }
    }

    /// The number of the last invalidation that a response with these fields is later than:
    /// `own`, the last one before it was asked for, or an earlier one where it comes from a
    /// shield that had not read as far. Takes off what the shield has told.
    pub(super) async fn later_than(&self, rules: &Rules, fields: &mut Fields, own: u64) -> u64 {
        let told = fields.get(READ).map(<[u8]>::to_vec);
        if told.is_some() {
            fields.remove(READ);
        }
        if !self.is_shielded(rules) {
            return own;
        }
        let (Some(told), Some(shields)) = (told, self.shields()) else {
            self.counters().shield_silent.up();
            return 0;
        };
        let number = shields.later_than(&told).await;
        self.counters().shield_behind.add(u64::from(number < own));
        number.min(own)
    }
}
