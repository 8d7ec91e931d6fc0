//! The operators' port: purge, look, reload, over HTTP/1.1.
//!
//! What always holds: an answer is JSON (metrics aside) and says what was done or
//! what to mend; nothing changes without the token where one is set; no page in
//! a browser can change anything here.
//!
//! What it never does: touch a part directly. All it can do stands in [`Control`].

mod asyncapi;
pub mod auth;
mod calls;
mod explain;
mod fill;
mod origins;
mod port;
mod purge;
mod queue;
mod router;
pub mod varnish_cli;
mod warm;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

pub use auth::{Auth, Scope, new_token};
pub use origins::metrics as origin_metrics;
pub use port::serve;
pub use varnish_cli::{Settings as VarnishCliSettings, serve as serve_varnish_cli};

use crate::cluster::{Reached, View};
use crate::invalidate::{Accepted, Entry, Wanted};
use crate::origin;
use crate::origin::breaker::Forced;
use crate::policy::Sites;
use crate::repopulate::{DeadLetter, Keeper, QueueView, Warmer};
use crate::serve::explain::{Explained, Misput, Question};
use crate::store::Refused;
use crate::stored::pattern::Pattern;

/// The operators' port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where operators connect.
    pub address: SocketAddr,
    /// A token for everything.
    pub token: Option<String>,
    /// A file of more tokens, each with its scopes.
    pub tokens: Option<PathBuf>,
    /// Whoever calls from here needs no token.
    pub allow: Vec<IpNet>,
    /// What they may do.
    pub allow_scopes: Vec<Scope>,
    /// A field in which purge clients show their token.
    pub secret_header: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 6090)),
            token: None,
            tokens: None,
            allow: Vec::new(),
            allow_scopes: vec![Scope::PurgeUrl, Scope::PurgeTag, Scope::Read],
            secret_header: None,
        }
    }
}

/// What an operator can make a node do.
pub trait Control: Send + Sync + 'static {
    /// The sites that it serves.
    fn sites(&self) -> Sites;
    /// Purges what is wanted, in the name of `by`.
    fn purge(&self, wanted: &Wanted, by: &str) -> Result<Accepted, Refused>;
    /// The last purges, newest first.
    fn purges(&self, before: Option<u64>, count: usize) -> Vec<Entry>;
    /// The purge of this number, and how far it has come.
    fn purge_of(&self, sequence: u64) -> Option<(Entry, Reached)>;
    /// The cluster as this node sees it, if there is one.
    fn cluster(&self) -> Option<View>;
    /// The bans and prefixes that have not been tested against everything.
    fn bans(&self) -> Vec<Arc<Pattern>>;
    /// Who keeps fills, where routes are hidden.
    fn keeper(&self) -> Option<Keeper> {
        None
    }
    /// How hidden origins stand, where routes are hidden.
    fn queue(&self) -> Option<QueueView> {
        None
    }
    /// How the origins stand that this node asks.
    fn origins(&self) -> Vec<origin::View> {
        Vec::new()
    }
    /// Opens or closes breakers of an origin by hand, or gives them back: that of a
    /// server, or that of all of them together. How many were meant; none if there is no
    /// such origin.
    fn force(&self, _origin: &str, _server: Option<&str>, _forced: Option<Forced>) -> Option<usize> {
        None
    }
    /// Whether there is an origin of this name.
    fn has_origin(&self, _name: &str) -> bool {
        true
    }
    /// The miss events of an origin that were given up, the oldest first.
    fn dead(&self, _origin: &str, _most: usize) -> Result<Vec<DeadLetter>, String> {
        Ok(Vec::new())
    }
    /// Tells those of these ids once more, or all of them. Returns how many that were.
    fn replay(&self, _origin: &str, _ids: &[String]) -> Result<usize, String> {
        Ok(0)
    }
    /// How a request would be answered now, and why; nothing where there are no clients.
    fn explain(&self, _question: &Question) -> Result<Option<Explained>, Misput> {
        Ok(None)
    }
    /// Whether requests are welcome, or why not.
    fn ready(&self) -> Result<(), String>;
    /// The configuration in force, without secrets.
    fn config_json(&self) -> serde_json::Value;
    /// The counters as JSON.
    fn stats_json(&self) -> serde_json::Value;
    /// The counters in Prometheus' text format.
    fn metrics(&self) -> String;
    /// Reads the configuration again. Returns what waits for a restart, or the
    /// faults that it was refused for.
    fn reload(&self) -> Result<Vec<String>, Vec<String>>;
    /// Who warms, if there are hidden routes.
    fn warmer(&self) -> Option<Warmer> {
        None
    }
}
