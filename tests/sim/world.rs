//! The processes of a simulated world: edges, workers and pacers, of the real parts.
//!
//! All of them apply the purges in one order, each at its own pace, so that the numbers
//! of one can be compared with those of another. How a node of a cluster comes to know
//! that is not simulated here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use forebay::apart::Handles;
use forebay::broker::Queues;
use forebay::clock::{Clock, Wall, monotonic};
use forebay::fetch;
use forebay::invalidate::{Entry, Identity, Invalidator};
use forebay::message::Piece;
use forebay::observe::access_log::{self, AccessLog};
use forebay::observe::counters::Counters;
use forebay::origin::{self, Group};
use forebay::policy::site::{
    FieldNames, HostPattern, Mode, OriginId, PathPattern, Presentation, Route, Rules, Site, Sites,
};
use forebay::policy::{Hop, Received};
use forebay::repopulate::pace::Pace;
use forebay::repopulate::worker::{Behind, Parts, Worker};
use forebay::repopulate::{Agreed, Announcer, Keeper, Secrets, Settings, Wants, budget, lease};
use forebay::serve::{Purging, Request, Server, Upstreams};
use forebay::shed::{self, Door, PerSecond};
use forebay::store::{self, Store};
use forebay::stored::{CacheKey, StoredResponse};
use futures_util::{FutureExt, StreamExt};
use http::{Method, StatusCode, Version};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::broker::Broker;
use crate::shadow::{Content, Shadow, Thing};

/// The name that all count purges by.
const ORDER: &str = "sim";
const ORIGIN: &str = "o";
const BEGINNING: Wall = Wall::from_secs(1_800_000_000);

/// How long a key is held down at most.
pub const MAX_HOLD_DOWN: Duration = Duration::from_secs(15);
/// How long a lease lives.
pub const LEASE: Duration = Duration::from_secs(5);

/// What all processes have in common.
pub struct Common {
    pub shadow: Arc<Shadow>,
    pub broker: Broker,
    pub sites: Sites,
    pub settings: Settings,
    pub agreed: Agreed,
    began: std::time::Instant,
    /// How long purges are on their way at most, in milliseconds.
    pub lag: AtomicUsize,
    /// What all workers count, and all pacers.
    pub worked: Arc<Counters>,
    pub paced: Arc<Counters>,
}

/// Tasks that end with their process.
#[derive(Default)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

pub struct Edge {
    pub name: String,
    pub counters: Arc<Counters>,
    server: Arc<Server>,
    store: Arc<Store>,
    wants: Arc<Wants>,
    applied: Arc<AtomicUsize>,
    /// What was found stored last.
    last: HashMap<Thing, Arc<StoredResponse>>,
    kept: u64,
    _tasks: Tasks,
}

/// A process without clients.
pub struct Background {
    _tasks: Tasks,
}

/// What a client got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Got {
    Something,
    Nothing(StatusCode),
}

impl Common {
    pub fn new(random: &mut Rng, paths: usize) -> Arc<Self> {
        let rate = [4.0, 20.0, 100.0][random.usize(..3)];
        let concurrency = random.usize(1..8);
        let max_waiting = [4, 50, 1000][random.usize(..3)];
        let agreed = Agreed { rate: PerSecond(rate), concurrency, slow: Duration::from_secs(1), max_waiting };
        let settings = Settings {
            lease: lease::Settings {
                duration: LEASE,
                renew_after: Duration::from_secs(1),
                max: [4, 1000][random.usize(..2)],
                hold_down: Duration::from_secs(1),
                max_hold_down: MAX_HOLD_DOWN,
            },
            budget: budget::Settings {
                unknown: PerSecond(1e6),
                per_client: None,
                ..budget::Settings::default()
            },
            known_keys: 1000,
            event_ttl: Duration::from_secs([8, 30][random.usize(..2)]),
            ..Settings::default()
        };
        let stale_on_error = Duration::from_secs([0, 5, 3600][random.usize(..3)]);
        let wait = Duration::from_millis([0, 200][random.usize(..2)]);
        let shadow = Shadow::new(random.fork(), paths, rate, concurrency);
        Arc::new(Common {
            shadow,
            broker: Broker::new(random.fork()),
            sites: sites(stale_on_error, wait),
            settings,
            agreed,
            began: monotonic(),
            lag: AtomicUsize::new(100),
            worked: Arc::default(),
            paced: Arc::default(),
        })
    }

    /// The clocks of machines differ a little.
    fn clock(&self, random: &mut Rng) -> Clock {
        Clock::Paced(BEGINNING.plus(Duration::from_millis(random.u64(..300))), self.began)
    }

    fn queues(&self) -> Arc<dyn Queues> {
        Arc::new(self.broker.clone())
    }

    /// A store, its invalidations, and the reader of the purges that all apply.
    fn store(
        self: &Arc<Self>,
        clock: &Clock,
        counters: &Arc<Counters>,
        mut random: Rng,
    ) -> (Arc<Store>, Arc<Invalidator>, Arc<AtomicUsize>, JoinHandle<()>) {
        let settings =
            store::Settings { memory: 16 * 1024 * 1024, admit_all: true, ..store::Settings::default() };
        let store = Arc::new(Store::new(settings, Arc::clone(counters)));
        // Nothing is known of what came before.
        let begun = self.shadow.state.lock().purges.len();
        store.begin_after(begun as u64);
        let order = Some((ORDER.to_owned(), 0));
        let invalidator =
            Invalidator::new(Arc::clone(&store), None, order, clock.clone(), Arc::clone(counters));
        let invalidator = Arc::new(invalidator);
        let applied = Arc::new(AtomicUsize::new(begun));
        let reading = {
            let (common, invalidator, applied) =
                (Arc::clone(self), Arc::clone(&invalidator), Arc::clone(&applied));
            async move {
                loop {
                    let at = applied.load(Ordering::Relaxed);
                    let told = common.shadow.purged.notified();
                    let next = common.shadow.state.lock().purges.get(at).cloned();
                    let Some(purge) = next else {
                        told.await;
                        continue;
                    };
                    let lag = common.lag.load(Ordering::Relaxed) as u64;
                    sleep(Duration::from_millis(random.u64(0..lag))).await;
                    let identity = Identity { node: "stream".to_owned(), number: at as u64 + 1 };
                    let entry = Entry {
                        what: vec![purge.what],
                        soft: purge.soft,
                        forced: !purge.soft,
                        identity: Some(identity),
                        ..Entry::default()
                    };
                    // It may come twice.
                    for _ in 0..random.usize(1..3) {
                        invalidator.apply(entry.clone(), at as u64, u64::MAX).expect("a good purge");
                    }
                    assert_eq!(invalidator.moment().number, at as u64 + 1);
                    applied.store(at + 1, Ordering::Relaxed);
                }
            }
        };
        (store, invalidator, applied, tokio::spawn(reading))
    }

    fn secrets(&self) -> Secrets {
        Secrets::shared(&["a secret".to_owned()]).expect("one")
    }

    /// Starts an edge without anything stored.
    pub fn edge(self: &Arc<Self>, name: &str, random: &mut Rng) -> Edge {
        let counters: Arc<Counters> = Arc::default();
        let clock = self.clock(random);
        let (store, invalidator, applied, reading) = self.store(&clock, &counters, random.fork());
        let wants = Arc::new(Wants::new(&self.settings, None, Arc::clone(&counters), monotonic()));
        let kit = (clock.clone(), Arc::clone(&counters));
        let shared = fetch::Common {
            store: Arc::clone(&store),
            flights: fetch::Flights::new(Arc::clone(&counters)),
            budget: Default::default(),
            origins: Arc::new(origin::Origins::by_system(Arc::clone(&counters)).expect("a resolver")),
            clock: clock.clone(),
            counters: Arc::clone(&counters),
            id: name.into(),
        };
        let (sites, wanted) = (self.sites.clone(), Arc::clone(&wants));
        let keeper =
            Keeper::new(&shared, 1024 * 1024, sites, wanted, self.secrets(), Arc::clone(&invalidator));
        let announcer = Announcer::start(
            &self.settings,
            Arc::clone(&wants),
            self.secrets(),
            Arc::clone(&invalidator),
            self.queues(),
            (name.to_owned(), "nowhere:1".to_owned()),
            kit,
        );
        let off = access_log::Settings {
            output: access_log::Output::Off,
            format: access_log::Format::Json,
            buffer: 4096,
        };
        let server = Arc::new(Server {
            sites: self.sites.clone(),
            presentation: Presentation::default(),
            upstreams: Upstreams {
                direct: None,
                announcer: Some(announcer),
                names: vec![ORIGIN.to_owned()].into(),
            },
            store: Arc::clone(&store),
            door: Door::new(shed::Settings::default(), shared.budget.clone(), Arc::clone(&counters)),
            purging: Purging { settings: Default::default(), invalidator },
            node: name.to_owned(),
            via: format!("1.1 {name}"),
            clock,
            counters: Handles::new(Arc::clone(&counters)),
            access_log: AccessLog::start(&off, Arc::clone(&counters)).expect("no log"),
        });
        let ticking = Arc::clone(&wants);
        let ticker = tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(500)).await;
                ticking.tick(monotonic());
            }
        });
        let keeping = tokio::spawn(keeper.run(self.queues()));
        Edge {
            name: name.to_owned(),
            counters,
            server,
            store,
            wants,
            applied,
            last: HashMap::new(),
            kept: 0,
            _tasks: Tasks(vec![reading, ticker, keeping]),
        }
    }

    pub fn worker(self: &Arc<Self>, random: &mut Rng) -> Background {
        let counters = Arc::clone(&self.worked);
        let clock = self.clock(random);
        let (store, invalidator, _, reading) = self.store(&clock, &counters, random.fork());
        let shadow = Arc::clone(&self.shadow);
        let script: origin::Script = Box::new(move |outgoing| Arc::clone(&shadow).answer(outgoing).boxed());
        let client = Group::scripted(Default::default(), Arc::clone(&counters), script);
        let behind = Behind {
            sites: self.sites.clone(),
            names: vec![ORIGIN.to_owned()],
            origins: HashMap::from([(ORIGIN.to_owned(), client)]),
        };
        let worker = Worker::new(Parts {
            behind,
            store: random.bool().then_some(store),
            secrets: self.secrets(),
            invalidator,
            queues: self.queues(),
            places: Arc::new(|_| None),
            hop: Hop::new("worker".to_owned(), "w".to_owned()),
            settings: self.settings.clone(),
            clock,
            counters,
        });
        let at_once = self.agreed.concurrency as u16 * 2;
        let working = tokio::spawn(worker.run(ORIGIN.to_owned(), at_once));
        Background { _tasks: Tasks(vec![reading, working]) }
    }

    pub fn pacer(self: &Arc<Self>, random: &mut Rng) -> Background {
        let kit = (self.clock(random), Arc::clone(&self.paced));
        let pace = Pace::new(ORIGIN.to_owned(), &self.agreed, self.queues(), kit);
        Background { _tasks: Tasks(vec![tokio::spawn(pace.run())]) }
    }
}

fn sites(stale_on_error: Duration, wait: Duration) -> Sites {
    let rules = Rules {
        site: "s".into(),
        origin: OriginId(0),
        mode: Mode::Hidden,
        stale_on_error,
        wait,
        vary_on: FieldNames(vec![Box::from("x-v")].into()),
        ..Rules::default()
    };
    let route = Route { name: "r".to_owned(), path: PathPattern::Any, rules: Handles::new(Arc::new(rules)) };
    Sites::new(vec![Site { name: "s".to_owned(), hosts: vec![HostPattern::Any], routes: vec![route] }])
}

impl Edge {
    /// A client asks; what it got is checked. The client need not be waited for.
    pub fn ask(&self, thing: Thing, shadow: &Arc<Shadow>) -> impl Future<Output = Got> + Send + 'static {
        let (server, applied) = (Arc::clone(&self.server), Arc::clone(&self.applied));
        let (name, shadow) = (self.name.clone(), Arc::clone(shadow));
        async move {
            let applied = applied.load(Ordering::Relaxed);
            let mut reply = server.serve(Request { received: request(thing), content: None }).await;
            if !matches!(reply.status, StatusCode::OK | StatusCode::NOT_FOUND) {
                return Got::Nothing(reply.status);
            }
            let said = reply.fields.get_str("cache-status").unwrap_or_default().to_owned();
            let mut bytes = Vec::new();
            while let Some(Ok(piece)) = reply.body.next().await {
                if let Piece::Bytes(piece) = piece {
                    bytes.extend_from_slice(&piece);
                }
            }
            match Content::read(&bytes) {
                Some(content) => shadow.served(&name, content, thing, !said.contains("detail="), applied),
                None => shadow.wrong(format!("{name} served {bytes:?} for {thing:?}")),
            }
            Got::Something
        }
    }

    /// Whether what is stored has only become newer since this was last asked.
    pub fn check(&mut self, things: &[Thing], shadow: &Shadow) {
        let kept = self.counters.fills_kept.get();
        if self.kept == kept {
            return;
        }
        self.kept = kept;
        for thing in things {
            let key = CacheKey::new("http", "h", 80, &thing.target());
            let found = self.store.find_in_memory(&key);
            let fields = request(*thing).fields;
            let response = found.as_deref().and_then(|variants| variants.select(&fields, false));
            let Some(response) = response else { continue };
            if let Some(last) = self.last.insert(*thing, Arc::clone(response))
                && last.head.requested > response.head.requested
                && !last.is_gone()
            {
                shadow.wrong(format!(
                    "{}: {thing:?} of {:?} in place of one of {:?}",
                    self.name, response.head.requested, last.head.requested
                ));
            }
        }
    }

    /// How many leases there are.
    pub fn leases(&self) -> u64 {
        self.wants.tick(monotonic());
        self.counters.leases.get()
    }

    /// Whether it has applied all purges.
    pub fn is_up_to_date(&self, shadow: &Shadow) -> bool {
        self.applied.load(Ordering::Relaxed) == shadow.state.lock().purges.len()
    }
}

fn request(thing: Thing) -> Received {
    Received {
        method: Method::GET,
        target: thing.target(),
        version: Version::HTTP_11,
        fields: [("host", "h"), ("x-v", ["0", "1"][thing.variant])].into_iter().collect(),
        has_body: false,
        peer: [127, 0, 0, 1].into(),
        encrypted: false,
    }
}
