//! Asking origins: where their servers are, which one is asked, over which connection, and
//! when it is better not to ask.
//!
//! What always holds: a connection is used again only after a response that was
//! complete and followed by nothing; every wait has a deadline; a response's
//! head comes out of here only if it can be understood in one way; what one origin does
//! costs no other one a place, a connection or a moment.
//!
//! What it never does: judge a response, or know which client asked.

pub mod balance;
pub mod breaker;
pub mod bulkhead;
mod connection;
mod counted;
mod exchange;
mod group;
pub mod health;
pub mod outlier;
mod pool;
pub mod probe;
pub mod resolve;
pub mod retry_budget;
mod sending;
mod servers;
mod timed;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use exchange::{Content, Exchange, Failure, Limits, Outgoing};
pub use group::{Group, Script, View};
use resolve::{Name, Resolver};

use crate::observe::counters::Counters;

/// An origin and how it is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// What the operator calls it.
    pub name: String,
    /// Its servers.
    pub servers: Vec<Server>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// From the request's last byte to the response's head.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a body, whichever way it goes.
    pub between_bytes_timeout: Duration,
    /// From the beginning of a request to the end of its response.
    pub total_timeout: Duration,
    /// The most idle connections to one server that are kept.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// The most bytes of a response's header section.
    pub max_header_bytes: usize,
    /// The most lines of a response's header section.
    pub max_header_lines: usize,
    /// How many requests may be under way, and how many wait.
    pub bulkhead: bulkhead::Settings,
    /// When a server, or all of them together, are left alone.
    pub breaker: breaker::Settings,
    /// When a server is left alone that fails again and again.
    pub outlier: outlier::Settings,
    /// The statuses that count as failures of a server.
    pub failure_statuses: Vec<u16>,
    /// How many further attempts a request may have.
    pub retries: usize,
    /// How many all of them together may have.
    pub retry_budget: retry_budget::Settings,
    /// How one of several servers is chosen.
    pub balance: balance::Policy,
    /// What a hash is made of where one chooses.
    pub hash_on: HashOn,
    /// How long a server that has come back gets less than its part.
    pub slow_start: Duration,
    /// How servers are probed, if they are.
    pub probe: Option<probe::Settings>,
    /// What those that speak TLS need.
    pub tls: Option<tls::Tls>,
    /// Whether its servers are nodes of the same cluster, in front of the application.
    pub shield: bool,
}

/// A server as it is configured. Its name may stand for several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Where it is.
    pub name: Name,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its part of the requests.
    pub weight: u32,
}

/// What a hash is made of that chooses a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashOn {
    /// The cache key.
    Key,
    /// The path without the query.
    Path,
    /// This field of the request, in lower case.
    Header(String),
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: "origin".to_owned(),
            servers: vec![Server {
                name: Name::Host { host: "127.0.0.1".to_owned(), port: 3000 },
                tls: false,
                weight: 1,
            }],
            connect_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(30),
            between_bytes_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(3600),
            max_idle: 256,
            idle_timeout: Duration::from_secs(30),
            max_header_bytes: 256 * 1024,
            max_header_lines: 256,
            bulkhead: bulkhead::Settings::default(),
            breaker: breaker::Settings::default(),
            outlier: outlier::Settings::default(),
            failure_statuses: vec![502, 503, 504],
            retries: 1,
            retry_budget: retry_budget::Settings::default(),
            balance: balance::Policy::RoundRobin,
            hash_on: HashOn::Key,
            slow_start: Duration::from_secs(10),
            probe: None,
            tls: None,
            shield: false,
        }
    }
}

/// The origins of a node, through every reload.
pub struct Origins {
    resolver: Resolver,
    counters: Arc<Counters>,
    groups: Mutex<Vec<Group>>,
}

impl Origins {
    /// None yet.
    pub fn new(resolver: Resolver, counters: Arc<Counters>) -> Self {
        Origins { resolver, counters, groups: Mutex::default() }
    }

    /// None yet, and their names are looked up as this machine does it.
    pub fn by_system(counters: Arc<Counters>) -> Result<Self, String> {
        let resolver = Resolver::new(resolve::Settings::default(), Arc::clone(&counters))?;
        Ok(Self::new(resolver, counters))
    }

    /// The origin with these settings; the one that there is, with all that is known of
    /// it, if nothing has changed.
    pub fn get(&self, settings: &Settings) -> Group {
        let mut groups = self.groups.lock();
        let same_name = |group: &&mut Group| group.settings().name == settings.name;
        match groups.iter_mut().find(same_name) {
            Some(group) => {
                if group.settings() != settings {
                    warn_of(settings);
                    *group = group.succeeded_by(settings.clone());
                }
                group.clone()
            }
            None => {
                warn_of(settings);
                let group = Group::new(settings.clone(), self.resolver.clone(), Arc::clone(&self.counters));
                groups.push(group.clone());
                group
            }
        }
    }

    /// Forgets all but those of these names.
    pub fn retain(&self, is_wanted: impl Fn(&str) -> bool) {
        self.groups.lock().retain(|group| is_wanted(&group.settings().name));
    }

    /// All there are.
    pub fn all(&self) -> Vec<Group> {
        self.groups.lock().clone()
    }
}

/// Says what an operator has to know who lets anybody be the origin.
fn warn_of(settings: &Settings) {
    if settings.tls.as_ref().is_some_and(|tls| !tls.settings().verify) {
        tracing::warn!(
            target: "forebay::origin",
            origin = %settings.name,
            "its servers are not verified (tls_verify = false): whoever is on the way to them can read and change everything"
        );
    }
}
