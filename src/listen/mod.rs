//! The clients' port: connections in, replies out.
//!
//! What always holds: connections are bounded in number, in all and of each address; one is bounded in header size, and in the
//! time it may stay silent, in every state it can be in.
//!
//! One task accepts, from one socket: whoever comes wakes that one alone, and a node that
//! is full closes what it accepts, so that no queue of the dead builds up in the system.
//!
//! What it never does: look at what a request means.

pub mod http1;

mod accept;
mod places;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use accept::{Current, listen};

/// The clients' port and what a connection may cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The most open connections; one more is closed at once.
    pub max_connections: usize,
    /// The most of one address, of one network of 64 bits with IPv6; one more is closed at
    /// once. None where all may be one address's. Trusted proxies are not counted.
    pub max_connections_per_address: Option<usize>,
    /// How long a connection may stay silent between requests; a tenth of it while more
    /// than nine in ten places are taken.
    pub idle_timeout: Duration,
    /// From a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// Between two pieces of a request's body.
    pub body_timeout: Duration,
    /// How long a client may take no bytes of its answer.
    pub send_timeout: Duration,
    /// How long both sides of a tunnel (WebSocket) may stay silent.
    pub tunnel_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            max_connections: 10_000,
            // Half: no single machine takes all places, and a balancer that is not named among
            // the trusted proxies is not held up at once.
            max_connections_per_address: Some(5000),
            idle_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
            tunnel_timeout: Duration::from_secs(3600),
        }
    }
}
