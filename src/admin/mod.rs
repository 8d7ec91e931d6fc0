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
