//! Asking an origin: connections, exchanges and their deadlines.
//!
//! What always holds: a connection is used again only after a response that was
//! complete and followed by nothing; every wait has a deadline; a response's
//! head comes out of here only if it can be understood in one way.
//!
//! What it never does: judge a response, or know which client asked.

mod client;
mod counted;
mod exchange;

use std::time::Duration;

pub use client::{Client, Script};
pub use exchange::{Content, Exchange, Failure, Outgoing};

/// One origin and how it is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What the operator calls it.
    pub name: String,
    /// Host name or address, without port.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How long connecting may take, name resolution included.
    pub connect_timeout: Duration,
    /// From the request's last byte to the response's head.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a body, whichever way it goes.
    pub between_bytes_timeout: Duration,
    /// From the beginning of a request to the end of its response.
    pub total_timeout: Duration,
    /// The most idle connections that are kept.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// The most bytes of a response's header section.
    pub max_header_bytes: usize,
    /// The most lines of a response's header section.
    pub max_header_lines: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: "origin".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 3000,
            connect_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(30),
            between_bytes_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(3600),
            max_idle: 256,
            idle_timeout: Duration::from_secs(30),
            max_header_bytes: 256 * 1024,
            max_header_lines: 256,
        }
    }
}
