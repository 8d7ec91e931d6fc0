//! The operators' port.

use std::net::{Ipv4Addr, SocketAddr};

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
pub trait Control: Send + Sync + 'static {
    fn purge(
        &self,
        url: &str,
        authority: Option<&str>,
        soft: bool,
    ) -> Result<crate::invalidate::Purged, crate::invalidate::Refused>;
    fn ready(&self) -> Result<(), String>;
    fn config_json(&self) -> serde_json::Value;
    fn stats_json(&self) -> serde_json::Value;
    fn metrics(&self) -> String;
    fn reload(&self) -> Result<Vec<String>, Vec<String>>;
}
pub async fn serve(
    _l: tokio::net::TcpListener,
    _s: Settings,
    _c: std::sync::Arc<dyn Control>,
    _k: std::sync::Arc<crate::observe::counters::Counters>,
    mut d: tokio::sync::watch::Receiver<bool>,
) {
    let _ = d.wait_for(|d| *d).await;
}
