//! A node: the parts, built from a configuration in floor order, wired, run, and
//! drained. Starting and reloading take the same path.
//!
//! What always holds: what a reload replaces is one value ([`Server`]), swapped
//! whole; the store, the flights and the counters live as long as the node; a
//! configuration that cannot be used changes nothing.

mod descriptors;
mod explain;
pub(crate) mod hidden;
mod memory;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Version;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{self, Auth, Control};
use crate::apart::Handles;
use crate::clock::Clock;
use crate::cluster::{Cluster, Me, NodeName, Reached, Tiers, View, message, position};
use crate::config::{Config, Faults, NodeSettings, reload};
use crate::fetch::{self, Common, Fetcher, Flights};
use crate::invalidate::{Accepted, Entry, Invalidator, Journal, JournalError, Recovered, Wanted};
use crate::listen::{self, Current};
use crate::observe::access_log::AccessLog;
use crate::observe::counters::Counters;
use crate::observe::{render, trace};
use crate::origin::resolve::Resolver;
use crate::origin::{self, Group, Origins, breaker::Forced};
use crate::policy::Sites;
use crate::repopulate::{DeadLetter, Keeper, QueueView, Warmer};
use crate::serve::explain::{Explained, Misput, Question};
use crate::serve::{Purging, Server, Upstreams};
use crate::shed::Door;
use crate::store::{self, Lurker, Refused, Store};
use crate::stored::filling::Budget;
use crate::stored::pattern::Pattern;

use hidden::{Hidden, Working};
use memory::Memory;

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 4096;

/// How a node reads its configuration again.
pub type Reread = Box<dyn Fn() -> Result<Config, Faults> + Send + Sync>;

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    /// None: it is a worker, which has no clients.
    address: Option<SocketAddr>,
    admin_address: SocketAddr,
    cli_address: Option<SocketAddr>,
    drain: watch::Sender<bool>,
    listening: JoinHandle<()>,
    administering: JoinHandle<()>,
    commanding: Option<JoinHandle<()>>,
    ticking: JoinHandle<()>,
}

/// What the admin port and the signals act upon.
struct Shared {
    current: Current,
    config: Mutex<Config>,
    common: Common,
    invalidator: Arc<Invalidator>,
    cluster: Option<Cluster>,
    /// What hidden routes need, if there are any.
    hidden: Mutex<Option<Arc<Hidden>>>,
    /// What a worker has.
    working: Option<Working>,
    admin: String,
    access_log: AccessLog,
    draining: watch::Receiver<bool>,
    /// Whether the clients' port takes requests.
    serving: watch::Sender<bool>,
    reread: Option<Reread>,
    /// Where the process is this node's alone: what it had before.
    memory: OnceLock<Memory>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be had.
    #[error(
        "{what} cannot listen on {address}: {source}. Stop whatever listens there, or give another address with {flag}."
    )]
    Listen {
        /// Which port.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The access log could not be opened.
    #[error("the access log cannot be opened: {0}. Check `access_log.output`.")]
    AccessLog(io::Error),
    /// The file of tokens is no good.
    #[error("{0}")]
    Tokens(String),
    /// A worker would have nothing to do.
    #[error("{0}")]
    Idle(&'static str),
    /// The journal could not be opened.
    #[error("the journal of purges cannot be opened: {0}")]
    Journal(JournalError),
    /// The system refused threads or signals.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl Node {
    /// Starts a node that keeps its configuration.
    pub async fn start(config: Config, clock: Clock) -> Result<Node, StartError> {
        Self::start_with(config, clock, None).await
    }

    /// Starts a node that can read its configuration again.
    pub async fn start_with(
        config: Config,
        clock: Clock,
        reread: Option<Reread>,
    ) -> Result<Node, StartError> {
        let listener = bind("the clients' port", config.listen.address, "--listen")?;
        Self::start_as(config, clock, reread, Some(listener)).await
    }

    /// Starts a worker: it has no clients, does the work of hidden routes, and keeps what
    /// it gets in a store of its own.
    pub async fn start_worker(
        config: Config,
        clock: Clock,
        reread: Option<Reread>,
    ) -> Result<Node, StartError> {
        if config.broker.urls.is_empty() {
            return Err(StartError::Idle(
                "a worker gets its work from a broker; set broker.urls, the same as at the edges. \
                 `forebay serve --hidden` does without one, on one machine.",
            ));
        }
        if !hidden::hides(&config) {
            return Err(StartError::Idle(
                "no route is hidden, so there is no work; set mode = \"hidden\" below [rules].",
            ));
        }
        Self::start_as(config, clock, reread, None).await
    }

    /// Starts a node: an edge where there is a port for clients, a worker otherwise.
    async fn start_as(
        config: Config,
        clock: Clock,
        reread: Option<Reread>,
        listener: Option<TcpListener>,
    ) -> Result<Node, StartError> {
        let is_worker = listener.is_none();
        // A worker begins with nothing, so there is nothing that must outlive it; and it may
        // read the file of an edge on the same machine.
        let state = config.node.state.clone().filter(|_| !is_worker);
        let config = Config { node: NodeSettings { state, ..config.node.clone() }, ..config };
        let admin_listener = bind("the admin port", config.admin.address, "--admin")?;
        let cli_settings = config.varnish_cli.clone();
        let cli_listener = cli_settings
            .address
            .filter(|_| !is_worker)
            .map(|address| bind("the port of varnish_cli", address, "--set varnish_cli.address=..."))
            .transpose()?;
        let cli_address = cli_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let address =
            listener.as_ref().map(|listener| listener.local_addr().unwrap_or(config.listen.address));
        let admin_address = admin_listener.local_addr().unwrap_or(config.admin.address);

        let counters = Arc::new(Counters::default());
        let access_log =
            AccessLog::start(&config.access_log, Arc::clone(&counters)).map_err(StartError::AccessLog)?;
        let resolver = Resolver::new(config.dns.clone(), Arc::clone(&counters))
            .map_err(|why| StartError::Runtime(io::Error::other(why)))?;
        let common = Common {
            store: Arc::new(Store::new(store_settings(&config, is_worker), Arc::clone(&counters))),
            flights: Flights::new(Arc::clone(&counters)),
            budget: Budget::default(),
            origins: Arc::new(Origins::new(resolver, Arc::clone(&counters))),
            clock,
            counters: Arc::clone(&counters),
            id: message::new_id().into(),
        };
        Lurker::start(&common.store).map_err(StartError::Runtime)?;
        let journal = config.node.state.as_deref().map(|state| Journal::open(state, Arc::clone(&counters)));
        let journal = journal.transpose().map_err(StartError::Journal)?;
        let admin = config.advertised_admin.clone().unwrap_or_else(|| admin_address.to_string());
        let fill = if is_worker { "" } else { admin.as_str() };
        let (invalidator, cluster) = join(&config, &common, journal, (&admin, fill));
        let working = cluster
            .as_ref()
            .filter(|_| is_worker)
            .map(|cluster| Working::start(&config, &common, &invalidator, cluster))
            .transpose()
            .map_err(|error| StartError::Runtime(io::Error::other(error.to_string())))?;
        let hidden = (hidden::hides(&config) && !is_worker)
            .then(|| Hidden::start(&config, &common, &invalidator, &admin).map(Arc::new))
            .transpose()
            .map_err(|error| StartError::Runtime(io::Error::other(error.to_string())))?;
        let door = Door::new(config.shed.clone(), common.budget.clone(), Arc::clone(&counters));
        let server = build(&config, &common, &invalidator, hidden.as_deref(), &access_log, door, is_worker);
        let current: Current = Arc::new(ArcSwap::from_pointee(server));
        let (drain, draining) = watch::channel(false);
        let listening = listener.map(|listener| {
            listen::listen(
                listener,
                config.listen.clone(),
                Arc::clone(&current),
                Arc::clone(&counters),
                draining.clone(),
                config.node.drain,
            )
        });
        let admin_settings = config.admin.clone();
        let auth = Auth::new(&admin_settings, common.clock.clone(), Arc::clone(&counters));
        let auth = Arc::new(auth.map_err(|faults| StartError::Tokens(faults.join("\n")))?);
        let shared = Arc::new(Shared {
            current,
            config: Mutex::new(config),
            common,
            invalidator,
            cluster,
            hidden: Mutex::new(hidden),
            working,
            admin,
            access_log,
            draining,
            serving: watch::Sender::new(false),
            reread,
            memory: OnceLock::new(),
        });
        let ticking = tokio::spawn(tick(Arc::clone(&shared)));
        let waiting = Arc::clone(&shared);
        let listening = tokio::spawn(async move {
            waiting.catch_up().await;
            match listening {
                Some(listening) => listening.await,
                None => drop(waiting.draining.clone().wait_for(|draining| *draining).await),
            }
        });
        let control: Arc<dyn Control> = Arc::clone(&shared) as _;
        let administering =
            tokio::spawn(admin::serve(admin_listener, admin_settings, auth, control, Arc::clone(&counters)));
        let commanding = cli_listener.map(|listener| {
            let control: Arc<dyn Control> = Arc::clone(&shared) as _;
            tokio::spawn(admin::serve_varnish_cli(listener, cli_settings, control, Arc::clone(&counters)))
        });
        Ok(Node {
            shared,
            address,
            admin_address,
            cli_address,
            drain,
            listening,
            administering,
            commanding,
            ticking,
        })
    }

    /// Where clients connect; nowhere at a worker.
    pub fn address(&self) -> SocketAddr {
        self.address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Where operators connect.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where `varnishadm` connects, if it may.
    pub fn cli_address(&self) -> Option<SocketAddr> {
        self.cli_address
    }

    /// Everything that is counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.common.counters
    }

    /// Replaces the configuration; the cache and the requests under way stay.
    /// Returns what takes effect at the next start only.
    pub fn reload(&self, config: Config) -> Vec<String> {
        self.shared.apply(config)
    }

    /// Reads the configuration again. A faulty one changes nothing.
    pub fn reread(&self) -> Result<Vec<String>, Vec<String>> {
        self.shared.reread()
    }

    /// Begins a new access log file, after the old one was moved away.
    pub fn reopen_logs(&self) {
        self.shared.access_log.reopen();
    }

    /// Stops accepting, finishes what is under way, and returns when that is done
    /// or the drain deadline has passed.
    pub async fn drain(self) {
        self.drain.send_replace(true);
        let _ = self.listening.await;
        self.ticking.abort();
        self.administering.abort();
        self.commanding.iter().for_each(JoinHandle::abort);
        let hidden = self.shared.hidden.lock().clone();
        if let Some(hidden) = hidden {
            hidden.end().await;
        }
        if let Some(working) = &self.shared.working {
            working.end();
        }
        if let Some(cluster) = &self.shared.cluster {
            cluster.leave().await;
        }
        self.shared.access_log.flush().await;
    }
}

/// The part that a reload replaces.
fn build(
    config: &Config,
    common: &Common,
    invalidator: &Arc<Invalidator>,
    hidden: Option<&Hidden>,
    access_log: &AccessLog,
    door: Door,
    is_worker: bool,
) -> Server {
    // Where nothing is passed on, there is nobody who could.
    let direct = (hidden::asked_directly(config).next().is_some() && !is_worker).then(|| {
        let origins: Vec<Group> =
            config.origins.iter().map(|settings| common.origins.get(settings)).collect();
        for origin in hidden::asked_directly(config) {
            origins.iter().skip(origin.0).take(1).for_each(Group::wake);
        }
        let shields = Arc::new(Tiers::new(Arc::clone(invalidator)));
        let name = config.node.name.clone();
        Fetcher::new(origins, config.fetch.clone(), name, door.clone(), common.clone(), Some(shields))
    });
    let announcer = hidden.map(|hidden| hidden.announcer.clone());
    Server {
        sites: config.sites.clone(),
        presentation: config.presentation.clone(),
        upstreams: Upstreams { direct, announcer, names: hidden::names(config).into() },
        store: Arc::clone(&common.store),
        door,
        purging: Purging { settings: config.purge.clone(), invalidator: Arc::clone(invalidator) },
        node: config.node.name.clone(),
        via: fetch::via_member(Version::HTTP_11, &config.node.name),
        clock: common.clock.clone(),
        counters: Handles::new(Arc::clone(&common.counters)),
        access_log: access_log.clone(),
    }
}

/// The invalidations of a node, and its part in the cluster where there is a broker.
fn join(
    config: &Config,
    common: &Common,
    journal: Option<(Journal, Recovered)>,
    (admin, fill): (&str, &str),
) -> (Arc<Invalidator>, Option<Cluster>) {
    let (store, clock, counters) =
        (Arc::clone(&common.store), common.clock.clone(), Arc::clone(&common.counters));
    let invalidator = |cluster| Invalidator::new(store, journal, cluster, clock, Arc::clone(&counters));
    if config.broker.urls.is_empty() {
        return (Arc::new(invalidator(None)), None);
    }
    let (kept, damage) = config.node.state.as_deref().map(position::load).unwrap_or_default();
    if let Some(damage) = damage {
        tracing::error!(target: "forebay::cluster", "how far this node had read the purges of the others is not known: {damage}");
    }
    let node = format!("{}-{}", config.node.name, message::new_id());
    let invalidator = Arc::new(invalidator(Some((node.clone(), kept.told))));
    // Filling is a call of the admin port.
    let me = Me { node, name: config.node.name.clone(), admin: admin.to_owned(), fill: fill.to_owned() };
    let cluster = Cluster::start(
        config.cluster.clone(),
        config.broker.clone(),
        me,
        Arc::clone(&invalidator),
        (config.node.state.clone(), kept),
        Arc::clone(&counters),
    );
    (invalidator, Some(cluster))
}

/// Where responses are kept; a worker has its own limit.
fn store_settings(config: &Config, is_worker: bool) -> store::Settings {
    let memory = if is_worker { config.worker.memory } else { config.store.memory };
    store::Settings { memory, ..config.store.clone() }
}

fn bind(what: &'static str, address: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    let listener = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the old connections' last packets.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listener().map_err(|source| StartError::Listen { what, address, flag, source })
}

/// What has to be done from time to time.
async fn tick(shared: Arc<Shared>) {
    let mut ticker = tokio::time::interval(Store::TICK);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticker.tick().await;
        let common = &shared.common;
        common.store.tick();
        if let Some(memory) = shared.memory.get() {
            memory.tell(common);
        }
        if let Some(fetcher) = &shared.current.load().upstreams.direct {
            fetcher.tick();
        }
        if let Some(hidden) = &*shared.hidden.lock() {
            hidden.tick();
        }
        if let Some(working) = &shared.working {
            working.tick();
        }
        common.counters.filling_bytes.set(common.budget.held());
        common.counters.log_dropped.set(trace::dropped());
    }
}

impl Shared {
    /// Waits until what was purged while this node was away is known here, if it can
    /// be had in time.
    async fn catch_up(&self) {
        if let Some(cluster) = &self.cluster {
            let mut draining = self.draining.clone();
            let caught_up = tokio::select! {
                caught_up = cluster.caught_up() => caught_up,
                _ = draining.wait_for(|draining| *draining) => true,
            };
            if !caught_up {
                let why = cluster.trouble().unwrap_or_default();
                tracing::warn!(target: "forebay::cluster", "serving without having caught up with the cluster: {why}");
            }
        }
        self.serving.send_replace(true);
    }

    fn apply(&self, config: Config) -> Vec<String> {
        let mut old = self.config.lock();
        let mut notes = reload::differences(&old, &config);
        let hidden = {
            let mut hidden = self.hidden.lock();
            match &*hidden {
                Some(hidden) => hidden.apply(&config),
                None if hidden::hides(&config) && self.working.is_none() => {
                    match Hidden::start(&config, &self.common, &self.invalidator, &self.admin) {
                        Ok(new) => *hidden = Some(Arc::new(new)),
                        Err(error) => notes.push(format!("hidden routes cannot be served: {error}")),
                    }
                }
                None => {}
            }
            hidden.clone()
        };
        if let Some(working) = &self.working {
            working.apply(&config);
        }
        let is_worker = self.working.is_some();
        let (common, invalidator) = (&self.common, &self.invalidator);
        let door = self.current.load().door.with(config.shed.clone());
        let server =
            build(&config, common, invalidator, hidden.as_deref(), &self.access_log, door, is_worker);
        self.current.store(Arc::new(server));
        let is_there = |name: &str| config.origins.iter().any(|origin| origin.name == name);
        self.common.origins.retain(is_there);
        *old = config;
        self.common.counters.reloads.up();
        notes
    }

    fn reread(&self) -> Result<Vec<String>, Vec<String>> {
        let Some(reread) = &self.reread else {
            return Err(vec!["this node was started without a configuration to read again".to_owned()]);
        };
        match reread() {
            Ok(config) => {
                let notes = self.apply(config);
                tracing::info!(target: "forebay", "configuration reloaded");
                for note in &notes {
                    tracing::warn!(target: "forebay", "{note}");
                }
                Ok(notes)
            }
            Err(faults) => {
                self.common.counters.reloads_refused.up();
                tracing::error!(target: "forebay", "reload refused, the old configuration stays in force:\n{faults}");
                Err(faults.iter().map(ToString::to_string).collect())
            }
        }
    }
}

impl Control for Shared {
    fn sites(&self) -> Sites {
        self.current.load().sites.clone()
    }

    fn purge(&self, wanted: &Wanted, by: &str) -> Result<Accepted, Refused> {
        let again = self.current.load().hidden_by(wanted);
        let done = self.invalidator.invalidate(wanted, by);
        self.current.load().want(again);
        if wanted.refresh {
            // Fetches run on the runtime, which this thread belongs to.
            self.current.load().refresh(&wanted.what);
        }
        done
    }

    fn purges(&self, before: Option<u64>, count: usize) -> Vec<Entry> {
        self.invalidator.history(before, count)
    }

    fn purge_of(&self, sequence: u64) -> Option<(Entry, Reached)> {
        let entry = self.invalidator.entry(sequence)?;
        let reached = match &self.cluster {
            Some(cluster) => cluster.reached(&entry),
            None => {
                let name = self.config.lock().node.name.clone();
                Reached { nodes: vec![NodeName { node: name.clone(), name }], waiting_for: Vec::new() }
            }
        };
        Some((entry, reached))
    }

    fn cluster(&self) -> Option<View> {
        self.cluster.as_ref().map(Cluster::view)
    }

    fn keeper(&self) -> Option<Keeper> {
        self.hidden.lock().as_ref().map(|hidden| hidden.keeper.clone())
    }

    fn queue(&self) -> Option<QueueView> {
        let backlog = self.common.counters.events_backlog.get();
        if let Some(working) = &self.working {
            return Some(working.view());
        }
        self.hidden.lock().as_ref().map(|hidden| hidden.view(backlog))
    }

    fn origins(&self) -> Vec<origin::View> {
        self.common.origins.all().iter().filter(|group| group.is_awake()).map(Group::view).collect()
    }

    fn force(&self, origin: &str, server: Option<&str>, forced: Option<Forced>) -> Option<usize> {
        let all = self.common.origins.all();
        let group = all.iter().find(|group| group.is_awake() && group.settings().name == origin)?;
        Some(group.force(server, forced))
    }

    fn has_origin(&self, name: &str) -> bool {
        self.config.lock().origins.iter().any(|origin| origin.name == name)
    }

    fn dead(&self, origin: &str, most: usize) -> Result<Vec<DeadLetter>, String> {
        if let Some(working) = &self.working {
            return working.dead(origin, most);
        }
        let hidden = self.hidden.lock().clone();
        hidden.map_or_else(|| Ok(Vec::new()), |hidden| hidden.dead(origin, most))
    }

    fn replay(&self, origin: &str, ids: &[String]) -> Result<usize, String> {
        let (hidden, ttl) = (self.hidden.lock().clone(), self.config.lock().hidden.event_ttl);
        if let Some(working) = &self.working {
            return working.replay(origin, ids, ttl);
        }
        hidden.map_or(Ok(0), |hidden| hidden.replay(origin, ids, ttl))
    }

    fn bans(&self) -> Vec<Arc<Pattern>> {
        self.common.store.bans()
    }

    fn explain(&self, question: &Question) -> Result<Option<Explained>, Misput> {
        match &self.working {
            Some(_) => Ok(None),
            None => explain::explain(&self.current.load(), question).map(Some),
        }
    }

    fn ready(&self) -> Result<(), String> {
        if *self.draining.borrow() {
            return Err("draining".to_owned());
        }
        if !*self.serving.borrow() {
            return Err("catching up with the cluster".to_owned());
        }
        Ok(())
    }

    fn config_json(&self) -> serde_json::Value {
        self.config.lock().redacted_json()
    }

    fn stats_json(&self) -> serde_json::Value {
        self.common.store.tick();
        render::json(&self.common.counters)
    }

    fn metrics(&self) -> String {
        self.common.store.tick();
        render::prometheus(&self.common.counters) + &admin::origin_metrics(&self.origins())
    }

    fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        self.reread()
    }

    fn warmer(&self) -> Option<Warmer> {
        self.hidden.lock().as_ref().map(|hidden| hidden.warmer.clone())
    }
}

/// Runs a node until SIGTERM or SIGINT, reloading on SIGHUP. Blocks. The first
/// line of output says where it listens.
pub fn run(
    config: Config,
    reread: impl Fn() -> Result<Config, Faults> + Send + Sync + 'static,
) -> Result<(), StartError> {
    let _log = trace::start(&config.log.level);
    descriptors::raise(config.listen.max_connections);
    runtime(&config)?.block_on(async {
        let signals = Signals::new().map_err(StartError::Runtime)?;
        let drain = config.node.drain;
        let memory = Memory::now();
        let node = Node::start_with(config, Clock::System, Some(Box::new(reread))).await?;
        node.shared.common.store.expect_holes();
        if let Some(memory) = memory {
            let _ = node.shared.memory.set(memory);
        }
        announce(&format!(
            "forebay listening on http://{}, admin on http://{}\n",
            node.address(),
            node.admin_address()
        ));
        serve_until_told(node, signals, drain).await;
        Ok(())
    })
}

/// Runs a worker, likewise.
pub fn run_worker(
    config: Config,
    reread: impl Fn() -> Result<Config, Faults> + Send + Sync + 'static,
) -> Result<(), StartError> {
    let _log = trace::start(&config.log.level);
    runtime(&config)?.block_on(async {
        let signals = Signals::new().map_err(StartError::Runtime)?;
        let drain = config.node.drain;
        let node = Node::start_worker(config, Clock::System, Some(Box::new(reread))).await?;
        announce(&format!("forebay working, admin on http://{}\n", node.admin_address()));
        serve_until_told(node, signals, drain).await;
        Ok(())
    })
}

/// The runtime that a configuration asks for.
pub fn runtime(config: &Config) -> Result<Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.node.threads > 0 {
        builder.worker_threads(config.node.threads);
    }
    builder.enable_all().build().map_err(StartError::Runtime)
}

/// Writes to standard output, and goes on if nobody is there to read it.
pub fn announce(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The signals that a node obeys.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on these signals do not end the process.
    pub fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the word to stop.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Lets a node serve until it is told to stop, then drains it. A second word
/// ends it at once.
pub async fn serve_until_told(node: Node, mut signals: Signals, drain: Duration) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => {
                node.reopen_logs();
                // Faults have been logged; the old configuration stays in force.
                let _ = node.reread();
            }
        }
    }
    tracing::info!(target: "forebay", "draining for at most {drain:?}; a second signal ends at once");
    tokio::select! {
        () = node.drain() => {}
        () = signals.stop() => {}
    }
}
