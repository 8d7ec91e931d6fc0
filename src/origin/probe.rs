//! Active probes: asking every server again and again whether it is well.
//!
//! A probe is a request of its own over a connection of its own: it counts in no bulkhead
//! and in no breaker, and what live traffic says of a server does not stop it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use http::Method;
use regex::Regex;
use tokio::time::Instant;

use super::group::Shared;
use super::health;
use super::pool::{Deadlines, Pool};
use super::resolve::Endpoint;
use crate::clock::monotonic;
use crate::message::{Piece, RequestHead};
use crate::rfc::fields::Fields;

/// What is asked, and what the right answer is.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Path and query.
    pub target: String,
    /// The method: `GET` or `HEAD`.
    pub method: Method,
    /// The `Host`; that of the server if there is none.
    pub host: Option<String>,
    /// The good statuses.
    pub statuses: Vec<u16>,
    /// What a good body has somewhere in its first 64 KiB.
    pub body: Option<Expression>,
    /// Between two probes of a server.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How the answers are judged.
    pub health: health::Settings,
}

/// A regular expression; two are the same if they are written in the same way.
#[derive(Clone, Debug)]
pub struct Expression(pub Regex);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            target: "/".to_owned(),
            method: Method::GET,
            host: None,
            statuses: vec![200],
            body: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            health: health::Settings::default(),
        }
    }
}

/// The most of a body that is looked at.
const MOST_BODY: usize = 64 * 1024;

/// Probes the servers of an origin for as long as there is one.
pub(super) async fn run(shared: Weak<Shared>, settings: Settings) {
    let settings = Arc::new(settings);
    loop {
        let servers = match shared.upgrade() {
            Some(shared) => shared.servers.lock().to_probe(),
            None => return,
        };
        let results = join_all(
            servers
                .into_iter()
                .map(async |(id, endpoint, pool)| (id, once(&pool, &endpoint, &settings).await)),
        )
        .await;
        {
            let Some(shared) = shared.upgrade() else { return };
            let news = {
                let mut servers = shared.servers.lock();
                for (id, result) in results {
                    shared.counters.origin_probes.up();
                    shared.counters.origin_probes_failed.add(u64::from(result.is_err()));
                    servers.probed(id, result, monotonic());
                }
                servers.news()
            };
            shared.tell(news);
        }
        // Many nodes do not probe in step.
        tokio::time::sleep(settings.interval.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
    }
}

/// Probes one server once; what is wrong with its answer, in words.
async fn once(pool: &Pool, endpoint: &Endpoint, settings: &Settings) -> Result<(), String> {
    let mut fields = Fields::new();
    match &settings.host {
        Some(host) => fields.add("host", host),
        None => fields.add("host", endpoint.authority()),
    }
    fields.add("user-agent", "forebay (probe)");
    fields.add("connection", "close");
    let head = RequestHead { method: settings.method.clone(), target: settings.target.clone(), fields };
    let Settings { timeout, .. } = settings;
    let deadlines = Deadlines {
        started: Instant::now(),
        connect: *timeout,
        first_byte: *timeout,
        between_bytes: *timeout,
        total: *timeout,
    };
    let probed = async {
        let answer = pool.exchange_alone(&head, &deadlines).await.map_err(|failure| failure.to_string())?;
        let status = answer.head.status;
        if !settings.statuses.contains(&status.as_u16()) {
            return Err(format!("its probe was answered with {status}"));
        }
        let Some(pattern) = &settings.body else { return Ok(()) };
        let (mut body, mut read) = (answer.body, Vec::new());
        while read.len() < MOST_BODY
            && let Some(piece) = body.next().await
        {
            if let Piece::Bytes(bytes) = piece.map_err(|broken| broken.to_string())? {
                read.extend_from_slice(&bytes);
            }
        }
        read.truncate(MOST_BODY);
        if pattern.0.is_match(&String::from_utf8_lossy(&read)) {
            Ok(())
        } else {
            Err("its probe was answered with another body".to_owned())
        }
    };
    tokio::time::timeout(*timeout, probed)
        .await
        .unwrap_or_else(|_| Err(format!("its probe was not answered within {timeout:?}")))
}
