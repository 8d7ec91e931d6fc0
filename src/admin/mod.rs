//! The operators' port: purge, look, reload, over HTTP/1.1.
//!
//! What always holds: an answer is JSON (metrics aside) and says what was done or
//! what to mend; nothing changes without the token where one is set; no page in
//! a browser can change anything here.
//!
//! What it never does: touch a part directly. All it can do stands in [`Control`].

mod port;
mod router;

use std::net::{Ipv4Addr, SocketAddr};

pub use port::serve;

use crate::invalidate::{Purged, Refused};

/// The operators' port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where operators connect.
    pub address: SocketAddr,
    /// What every request must show as `Authorization: Bearer ...`. Required for
    /// an address other than loopback.
    pub token: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 6090)), token: None }
    }
}

/// What an operator can make a node do.
pub trait Control: Send + Sync + 'static {
    /// Purges URLs, or paths on the site that `authority` names: all of them or, if
    /// one is refused, none. Without an authority a path means the only site.
    fn purge(&self, urls: &[String], authority: Option<&str>, soft: bool) -> Result<Vec<Purged>, Refused>;
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
}
