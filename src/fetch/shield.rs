//! Fetches from a shield: another node that stands between this one and the application.
//!
//! What always holds: a response of a shield is not newer than what the shield had read of
//! the purges; so what it sends is not kept where it may be from before a purge that holds
//! here. What the two tell each other is seen by nobody else.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::fetcher::{Asked, Fetcher};
use crate::clock::{Wall, monotonic};
use crate::message::READ;
use crate::policy::site::Rules;
use crate::rfc::fields::Fields;
use crate::rfc::{age, groups};
use crate::stored::CacheKey;

/// What a fetch needs to know of the cluster that this node and its shields belong to.
pub trait Shields: Send + Sync {
    /// What a shield is asked with, as the value of a field; nothing where this node has
    /// read nothing that it could have in common with a shield.
    fn asks(&self) -> Option<String>;

    /// The number of the last invalidation here that this response is later than; 0 where
    /// that cannot be said.
    fn later_than(&self, response: OfShield) -> BoxFuture<'_, u64>;
}

/// A response of a shield, as far as it says what it is later than.
#[derive(Clone, Debug)]
pub struct OfShield {
    /// What the shield has told with it.
    pub told: Vec<u8>,
    /// The key that it was asked for under.
    pub key: CacheKey,
    /// The groups that it belongs to (RFC 9875).
    pub groups: Vec<String>,
    /// The application made it, or confirmed it, at this time or later. None where that is
    /// not known.
    pub made: Option<Instant>,
}

/// By how much an `Age` may be too low: each of two caches has left a fraction of a second
/// away.
const ROUNDED: Duration = Duration::from_secs(2);

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
    pub(super) async fn later_than(
        &self,
        asked: &Asked,
        fields: &mut Fields,
        requested: Wall,
        own: u64,
    ) -> u64 {
        let told = fields.get(READ).map(<[u8]>::to_vec);
        if told.is_some() {
            fields.remove(READ);
        }
        if !self.is_shielded(&asked.rules) {
            return own;
        }
        let (Some(told), Some(shields)) = (told, self.shields()) else {
            self.counters().shield_silent.up();
            return 0;
        };
        let response = OfShield {
            told,
            key: asked.key.clone(),
            groups: groups::groups(fields),
            made: self.made(fields, requested),
        };
        let number = shields.later_than(response).await;
        self.counters().shield_behind.add(u64::from(number < own));
        number.min(own)
    }

    /// Since when at the earliest a response is what the application says, by its `Age`.
    fn made(&self, fields: &Fields, requested: Wall) -> Option<Instant> {
        let age = Duration::from_secs(age::given(fields)?);
        let under_way = self.clock().now().since(requested);
        monotonic().checked_sub(age.checked_add(under_way)?.checked_add(ROUNDED)?)
    }
}
