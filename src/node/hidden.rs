//! What a node has for its hidden routes: who tells what is wanted, who keeps the
//! fills, and, where there is no broker, the pacer and the worker as well.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::broker::{Limits, LocalQueues, Queues, RabbitQueues, Topology};
use crate::clock::monotonic;
use crate::cluster::Cluster;
use crate::config::{Config, units};
use crate::fetch::Common;
use crate::invalidate::Invalidator;
use crate::observe::counters::Counters;
use crate::policy::Hop;
use crate::policy::site::{Mode, OriginId};
use crate::repopulate::pace::{Pace, WORK_TTL};
use crate::repopulate::warm::{self, Sources};
use crate::repopulate::worker::{Behind, PAUSES, Parts, Places, Worker};
use crate::repopulate::{Announcer, DeadLetter, Keeper, OriginView, QueueView, Secrets, Wants, Warmer, dead};
use crate::store::Store;

/// How often known keys and dead letters are written down, if they have changed.
const WRITE_DOWN: Duration = Duration::from_secs(5);
/// Known keys are written down one time in so many: they are large.
const KNOWN_EVERY: u64 = 12;

/// How much work is taken at once. The pacer keeps to what was agreed, be that changed;
/// here is only room for it.
const AT_ONCE: u16 = 20_000;

/// The name of the file with the dead letters.
const DEAD_FILE: &str = "dead-letters.json";

/// What a node has for its hidden routes.
pub(super) struct Hidden {
    pub announcer: Announcer,
    pub keeper: Keeper,
    pub warmer: Warmer,
    queues: Arc<dyn Queues>,
    wants: Arc<Wants>,
    /// Where the queues are in this process.
    inside: Option<Inside>,
    local: Option<LocalQueues>,
    /// Where they are at a broker.
    rabbit: Option<RabbitQueues>,
    tasks: Vec<JoinHandle<()>>,
}

/// What a worker has that is a process of its own.
pub(super) struct Working {
    inside: Inside,
    rabbit: RabbitQueues,
    secrets: Secrets,
    invalidator: Arc<Invalidator>,
}

/// The origin's side, reached through the queues alone: in the same process, or in a
/// worker's.
struct Inside {
    queues: Arc<dyn Queues>,
    worker: Worker,
    paces: Mutex<Vec<Pace>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    common: Common,
}

/// Whether any route is hidden.
pub(super) fn hides(config: &Config) -> bool {
    config.rules().any(|rules| rules.mode == Mode::Hidden)
}

/// The origins that requests are passed on to.
pub(super) fn asked_directly(config: &Config) -> impl Iterator<Item = OriginId> {
    config.rules().flat_map(|rules| {
        let proxied = (rules.mode == Mode::Proxy).then_some(rules.origin);
        [proxied, rules.write_origin].into_iter().flatten()
    })
}

impl Hidden {
    /// Starts what hidden routes need; `admin` is where this node is filled.
    pub fn start(
        config: &Config,
        common: &Common,
        invalidator: &Arc<Invalidator>,
        admin: &str,
    ) -> Result<Self, getrandom::Error> {
        let (clock, counters) = (common.clock.clone(), Arc::clone(&common.counters));
        let settings = &config.hidden;
        let state: Option<&Path> = config.node.state.as_deref();
        let wants = Arc::new(Wants::new(settings, state, Arc::clone(&counters), monotonic()));
        let secrets = secrets(config)?;
        let keeper = Keeper::new(
            common,
            config.fetch.max_filling_bytes,
            config.sites.clone(),
            Arc::clone(&wants),
            secrets.clone(),
            Arc::clone(invalidator),
        );
        let rabbit = (!config.broker.urls.is_empty()).then(|| rabbit(config, &counters));
        let local = rabbit.is_none().then(|| LocalQueues::new(Limits::default()));
        if let (Some(local), Some(state)) = (&local, state)
            && let Some(trouble) = local.read_from(state.join(DEAD_FILE))
        {
            tracing::error!(target: "forebay::repopulate", "{trouble}");
        }
        let queues: Arc<dyn Queues> = match (&rabbit, &local) {
            (Some(rabbit), _) => Arc::new(rabbit.clone()),
            (None, local) => Arc::new(local.clone().unwrap_or_else(|| LocalQueues::new(Limits::default()))),
        };
        let name = config.node.name.clone();
        let announcer = Announcer::start(
            settings,
            Arc::clone(&wants),
            secrets.clone(),
            Arc::clone(invalidator),
            Arc::clone(&queues),
            (name.clone(), admin.to_owned()),
            (clock.clone(), Arc::clone(&counters)),
        );
        let inside = rabbit.is_none().then(|| {
            let place = admin.to_owned();
            let places: Places = Arc::new(move |edge| (edge == name).then(|| place.clone()));
            let parts = (Arc::clone(invalidator), Arc::clone(&queues), places, secrets);
            // What it would keep is in the store of this very node.
            Inside::start(config, common, None, parts)
        });
        let unknown = units::print_rate(settings.budget.unknown.0);
        let per_client = settings.budget.per_client.map_or("no".to_owned(), |rate| units::print_rate(rate.0));
        for (origin, agreed) in hidden_origins(config) {
            tracing::info!(
                target: "forebay::repopulate",
                "origin {} is hidden: asked {} at most, {} at once; for URLs that nothing is known of {unknown} (hidden.unknown_rate), for each client {per_client} (hidden.client_rate)",
                config.origins[origin].name, units::print_rate(agreed.rate.0), agreed.concurrency,
            );
        }
        let parts = warm::Parts {
            announcer: announcer.clone(),
            store: Arc::clone(&common.store),
            event_ttl: settings.event_ttl,
            state: config.node.state.clone(),
            clock: common.clock.clone(),
            counters: Arc::clone(&common.counters),
        };
        let warmer = Warmer::start(parts, sources(config));
        let tasks = vec![
            tokio::spawn(keeper.clone().run(Arc::clone(&queues))),
            tokio::spawn(write_down(Arc::clone(&wants), local.clone())),
        ];
        Ok(Hidden { announcer, keeper, warmer, queues, wants, inside, local, rabbit, tasks })
    }

    /// Another configuration from now on.
    pub fn apply(&self, config: &Config) {
        self.keeper.set_sites(config.sites.clone());
        self.wants.set(&config.hidden);
        if let Some(inside) = &self.inside {
            inside.apply(config);
        }
        self.warmer.set(sources(config));
        if let Some(rabbit) = &self.rabbit {
            rabbit.set_origins(topology(config).origins);
        }
    }

    /// What is to be done from time to time.
    pub fn tick(&self) {
        self.wants.tick(monotonic());
        if let Some(inside) = &self.inside {
            inside.worker.tick();
        }
    }

    /// How it all stands.
    pub fn view(&self, backlog: u64) -> QueueView {
        let (leases, known_keys, oldest) = self.wants.extent(monotonic());
        QueueView {
            leases: leases as u64,
            oldest_wanted_seconds: oldest.as_secs(),
            usual_fill_ms: self.wants.usual().as_millis() as u64,
            known_keys: known_keys as u64,
            backlog,
            origins: self.inside.as_ref().map(Inside::views).unwrap_or_default(),
        }
    }

    /// The events of an origin that were given up. Blocks.
    pub fn dead(&self, origin: &str, most: usize) -> Result<Vec<DeadLetter>, String> {
        Handle::current().block_on(dead::list(&*self.queues, origin, most))
    }

    /// Tells some of them once more. Blocks.
    pub fn replay(&self, origin: &str, ids: &[String], ttl: Duration) -> Result<usize, String> {
        let right = (self.keeper.secrets(), self.keeper.moment());
        let time = (self.keeper.now(), ttl);
        Handle::current().block_on(dead::replay(&*self.queues, origin, ids, right, time))
    }

    /// Ends, and writes down what outlives the node.
    pub async fn end(&self) {
        self.warmer.end().await;
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(inside) = &self.inside {
            inside.end();
        }
        write_down_once(Some(&self.wants), self.local.as_ref()).await;
    }
}

impl Working {
    /// Paces and works for every hidden origin, keeping what it gets there, in touch
    /// with the cluster.
    pub fn start(
        config: &Config,
        common: &Common,
        invalidator: &Arc<Invalidator>,
        cluster: &Cluster,
    ) -> Result<Self, getrandom::Error> {
        let rabbit = rabbit(config, &common.counters);
        let parts = (
            Arc::clone(invalidator),
            Arc::new(rabbit.clone()) as Arc<dyn Queues>,
            cluster.places(),
            secrets(config)?,
        );
        let inside = Inside::start(config, common, Some(Arc::clone(&common.store)), parts);
        Ok(Working { inside, rabbit, secrets: secrets(config)?, invalidator: Arc::clone(invalidator) })
    }

    /// Another configuration from now on.
    pub fn apply(&self, config: &Config) {
        self.rabbit.set_origins(topology(config).origins);
        self.inside.apply(config);
    }

    /// What is to be done from time to time.
    pub fn tick(&self) {
        self.inside.worker.tick();
    }

    /// How it all stands, as far as a worker knows.
    pub fn view(&self) -> QueueView {
        QueueView {
            leases: 0,
            oldest_wanted_seconds: 0,
            usual_fill_ms: 0,
            known_keys: 0,
            backlog: 0,
            origins: self.inside.views(),
        }
    }

    /// The events of an origin that were given up. Blocks.
    pub fn dead(&self, origin: &str, most: usize) -> Result<Vec<DeadLetter>, String> {
        Handle::current().block_on(dead::list(&self.rabbit, origin, most))
    }

    /// Tells some of them once more. Blocks.
    pub fn replay(&self, origin: &str, ids: &[String], ttl: Duration) -> Result<usize, String> {
        let right = (&self.secrets, self.invalidator.moment());
        let time = (self.inside.common.clock.now(), ttl);
        Handle::current().block_on(dead::replay(&self.rabbit, origin, ids, right, time))
    }

    /// Ends; what was under way goes back to its queue.
    pub fn end(&self) {
        self.inside.end();
    }
}

impl Inside {
    fn start(
        config: &Config,
        common: &Common,
        store: Option<Arc<Store>>,
        (invalidator, queues, places, secrets): (Arc<Invalidator>, Arc<dyn Queues>, Places, Secrets),
    ) -> Self {
        let worker = Worker::new(Parts {
            behind: behind(config, common),
            store,
            secrets,
            invalidator,
            queues: Arc::clone(&queues),
            places,
            hop: Hop::new(config.node.name.clone(), common.id.as_ref().to_owned()),
            settings: config.hidden.clone(),
            clock: common.clock.clone(),
            counters: Arc::clone(&common.counters),
        });
        let (paces, tasks) = Default::default();
        let inside = Inside { queues, worker, paces, tasks, common: common.clone() };
        inside.apply(config);
        inside
    }

    /// How the origins stand whose pacers are here.
    fn views(&self) -> Vec<OriginView> {
        let view = |pace: &Pace| OriginView { origin: pace.origin().to_owned(), pace: pace.view() };
        self.paces.lock().iter().map(view).collect()
    }

    fn end(&self) {
        self.tasks.lock().iter().for_each(JoinHandle::abort);
    }

    /// Paces and works for every hidden origin; those that do already go on as is now
    /// agreed.
    fn apply(&self, config: &Config) {
        self.worker.set(behind(config, &self.common));
        let mut paces = self.paces.lock();
        for (origin, agreed) in hidden_origins(config) {
            let name = &config.origins[origin].name;
            let agreed = agreed.clone();
            if let Some(pace) = paces.iter().find(|pace| pace.origin() == name) {
                pace.set(&agreed);
                continue;
            }
            let kit = (self.common.clock.clone(), Arc::clone(&self.common.counters));
            let pace = Pace::new(name.clone(), &agreed, Arc::clone(&self.queues), kit);
            paces.push(pace.clone());
            let working = self.worker.clone().run(name.clone(), AT_ONCE);
            self.tasks.lock().extend([tokio::spawn(pace.run()), tokio::spawn(working)]);
        }
    }
}

/// What stands at the broker for the hidden routes of a configuration.
pub(crate) fn topology(config: &Config) -> Topology {
    let origins = hidden_origins(config).into_iter().map(|(origin, _)| config.origins[origin].name.clone());
    Topology {
        name: config.cluster.name.clone(),
        origins: origins.collect(),
        pauses: PAUSES.to_vec(),
        work_ttl: WORK_TTL,
    }
}

fn rabbit(config: &Config, counters: &Arc<Counters>) -> RabbitQueues {
    let (settings, node) = (config.broker.clone(), &config.node.name);
    RabbitQueues::start(settings, node, topology(config), Arc::clone(counters))
}

/// What fills are signed with.
fn secrets(config: &Config) -> Result<Secrets, getrandom::Error> {
    let is_guessed = |secret: &String| secret.bytes().collect::<HashSet<u8>>().len() < 4;
    if config.hidden.secrets.iter().any(is_guessed) {
        tracing::warn!(
            target: "forebay::repopulate",
            "a secret of hidden.secrets is that of the example, or as easily guessed: whoever may write to the broker may fill the caches. `openssl rand -hex 32` makes one."
        );
    }
    Secrets::shared(&config.hidden.secrets).map_or_else(Secrets::random, Ok)
}

/// The origins of hidden routes, and what was agreed with their owners.
fn hidden_origins(config: &Config) -> Vec<(usize, &crate::repopulate::Agreed)> {
    let hides =
        |origin: usize| config.rules().any(|rules| rules.mode == Mode::Hidden && rules.origin.0 == origin);
    config.agreed.iter().enumerate().filter(|(origin, _)| hides(*origin)).collect()
}

/// What is hidden, and where it is got.
fn behind(config: &Config, common: &Common) -> Behind {
    let group = |origin: usize| {
        let group = common.origins.get(&config.origins[origin]);
        group.wake();
        (group.settings().name.clone(), group)
    };
    let origins = hidden_origins(config).into_iter().map(|(origin, _)| group(origin)).collect();
    Behind { sites: config.sites.clone(), names: names(config), origins }
}

/// Where what is warmed comes from.
fn sources(config: &Config) -> Sources {
    let origins = names(config).into_iter().zip(&config.agreed);
    // Whatever clients miss needs room as well.
    let most = config.hidden.backlog.min(config.hidden.lease.max) / 4;
    Sources::new(config.sites.clone(), origins, most, config.warm.clone())
}

pub(super) fn names(config: &Config) -> Vec<String> {
    config.origins.iter().map(|origin| origin.name.clone()).collect()
}

async fn write_down(wants: Arc<Wants>, local: Option<LocalQueues>) {
    let mut ticker = tokio::time::interval(WRITE_DOWN);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 1_u64.. {
        ticker.tick().await;
        let known = tick.is_multiple_of(KNOWN_EVERY).then_some(&wants);
        write_down_once(known, local.as_ref()).await;
    }
}

async fn write_down_once(wants: Option<&Arc<Wants>>, local: Option<&LocalQueues>) {
    let (wants, local) = (wants.cloned(), local.cloned());
    let work = tokio::task::spawn_blocking(move || {
        if let Some(wants) = wants {
            wants.write_down();
        }
        if let Some(Err(error)) = local.map(|local| local.write_down()) {
            tracing::error!(target: "forebay::repopulate", "dead letters are not on disk: {error}");
        }
    });
    let _ = work.await;
}
