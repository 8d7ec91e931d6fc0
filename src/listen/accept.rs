//! Accepting connections: each is a task of its own.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Settings;
use super::http1::{Conversation, Drain, Terms};
use super::places::{Full, Place, Places};
use crate::observe::counters::Counters;
use crate::observe::trace::Seldom;
use crate::policy::normalise;
use crate::serve::Server;

/// The generation of configuration in force, which a reload replaces.
pub type Current = Arc<ArcSwap<Server>>;

/// How long nobody is accepted after an attempt that failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `drain` turns true, then lets those that are open
/// finish what is under way. Returns when the last one has ended or
/// `drain_deadline` has passed.
pub async fn listen(
    listener: TcpListener,
    settings: Settings,
    current: Current,
    counters: Arc<Counters>,
    mut drain: watch::Receiver<bool>,
    drain_deadline: Duration,
) {
    let gate = Gate::new(&settings, &current, &counters);
    let terms = Arc::new(Terms { current, counters, settings });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = told(&mut drain) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                gate.failed(&error).await;
                continue;
            }
        };
        let Some(place) = gate.place(peer.ip()) else { continue };
        terms.counters.client_connections.up();
        let peer = peer.ip().to_canonical();
        connections.spawn(converse(Arc::clone(&terms), stream, peer, place, Drain::new(drain.clone())));
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain_deadline, rest).await.is_err() {
        tracing::warn!(target: "forebay::listen", "{} connections cut off at the drain deadline", connections.len());
        // What is to be recorded of them is when they have ended.
        connections.shutdown().await;
    }
}

/// Who gets in, and what is said of those who do not.
struct Gate {
    places: Arc<Places>,
    current: Current,
    counters: Arc<Counters>,
    failures: Seldom,
    refusals: Seldom,
}

impl Gate {
    fn new(settings: &Settings, current: &Current, counters: &Arc<Counters>) -> Self {
        Gate {
            places: Places::new(settings.max_connections, settings.max_connections_per_address),
            current: Arc::clone(current),
            counters: Arc::clone(counters),
            failures: Seldom::default(),
            refusals: Seldom::default(),
        }
    }

    /// A place for a connection from this address. A proxy's connections are those of many
    /// clients, and not counted for its address.
    fn place(&self, peer: IpAddr) -> Option<Place> {
        let server = self.current.load();
        let counted = (!normalise::is_trusted(peer, &server.presentation)).then_some(peer);
        let (setting, count) = match self.places.take(counted) {
            Ok(place) => return Some(place),
            Err(Full::All) => ("listen.max_connections", &self.counters.client_connections_refused),
            Err(Full::Address) => {
                ("listen.max_connections_per_address", &self.counters.client_connections_refused_address)
            }
        };
        count.up();
        self.refusals.tell(server.clock.now(), |left_out| {
            tracing::warn!(target: "forebay::listen", client = %peer, left_out, "a connection was closed at once: {setting} is reached");
        });
        None
    }

    /// Waits a moment where the next attempt to accept would fail as well.
    async fn failed(&self, error: &io::Error) {
        self.counters.client_accept_errors.up();
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            // It was about this connection alone, and that is gone.
            return;
        }
        self.failures.tell(self.current.load().clock.now(), |left_out| {
            tracing::warn!(target: "forebay::listen", left_out, "accepting failed: {error}");
        });
        // Out of file descriptors, mostly: connections have to end before another try
        // makes sense, and those that are open are served meanwhile.
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Completes when draining begins, or when nobody is left who could begin it.
async fn told(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}

/// One connection from its first byte to its last.
async fn converse(terms: Arc<Terms>, stream: TcpStream, peer: IpAddr, place: Place, drain: Drain) {
    // Replies are written whole; waiting to join small writes only adds delay.
    let _ = stream.set_nodelay(true);
    Conversation::new(&terms, drain, stream, peer, place).run().await;
}
