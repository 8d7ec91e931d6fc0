//! The servers of an origin, and which of them is asked next: what their breakers, their
//! probes and live traffic say of them.
//!
//! What always holds: a server that is sick, or whose breaker refuses, is not picked, and
//! one that is ejected only where there is no other; of those that remain the ones of the lowest priority number are; what is told
//! of a server that is gone, or of an attempt from before its breaker changed, changes
//! nothing; a server is there for as long as one of the configured names stands for it.
//!
//! What it never does: wait, or do I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::Settings;
use super::balance::{self, Balance, Candidate};
use super::breaker::{self, Breaker, Change, Forced, Outcome, Pass, Verdict};
use super::exchange::Failure;
use super::health::{self, Health};
use super::outlier::{self, Outlier};
use super::pool::Pool;
use super::resolve::Endpoint;
use super::retry_budget::RetryBudget;

/// The servers of one origin.
pub(super) struct Servers {
    settings: Arc<Settings>,
    all: Vec<Server>,
    /// What the configured ones stand for, by their numbers.
    found: BTreeMap<usize, Vec<Endpoint>>,
    /// The breaker of all of them together.
    breaker: Breaker,
    budget: RetryBudget,
    balance: Balance,
    news: Vec<News>,
    /// What was opened or closed by hand, by address: also what is not found at the moment.
    forced: BTreeMap<SocketAddr, Forced>,
    /// The next server that comes in has this number.
    next: u64,
    /// What is chosen from; kept for its room.
    candidates: Vec<Candidate>,
}

struct Server {
    id: u64,
    /// No other one has had it: one that went and came again is another one.
    number: u64,
    /// Which of the configured ones it belongs to.
    source: usize,
    endpoint: Endpoint,
    weight: u32,
    pool: Pool,
    breaker: Breaker,
    outlier: Outlier,
    health: Option<Health>,
    /// Requests under way.
    busy: u32,
    /// When it came back, or came in.
    returned: Option<Instant>,
}

/// A server that is to be asked.
pub(super) struct Picked {
    /// Its number.
    pub number: u64,
    /// Its connections.
    pub pool: Pool,
    /// What its breaker wants back.
    pub pass: Pass,
}

/// Something that operators want to know at once.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum News {
    /// A breaker has opened.
    Opened {
        /// The server; none: that of all of them.
        server: Option<String>,
        why: String,
        next_trial: Duration,
    },
    /// A breaker has closed.
    Closed { server: Option<String> },
    /// A server is left alone for a while.
    Ejected { server: String, time: Duration },
    /// A server's probes fail.
    Sick { server: String, why: String },
    /// They are answered again.
    Healthy { server: String },
}

/// How an origin's servers stand, for operators.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// The breaker of all of them together.
    pub breaker: breaker::View,
    /// Each of them.
    pub servers: Vec<ServerView>,
}

/// How a server stands.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ServerView {
    /// Address and port.
    pub address: String,
    /// Under which name it was found.
    pub host: String,
    /// In a word: `up`, `slow-start`, `half-open`, `open`, `ejected` or `sick`.
    pub state: &'static str,
    /// Its part among those of its priority.
    pub weight: u32,
    /// Lower ones are asked first; higher ones where none of those is up.
    pub priority: u16,
    /// Requests under way.
    pub under_way: u32,
    /// Idle connections.
    pub idle_connections: usize,
    /// Its breaker.
    pub breaker: breaker::View,
    /// What live traffic says.
    pub outlier: outlier::View,
    /// What probes say, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<health::View>,
}

impl Servers {
    /// None yet.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Servers {
            all: Vec::new(),
            found: BTreeMap::new(),
            breaker: Breaker::new(settings.breaker),
            budget: RetryBudget::new(settings.retry_budget, now),
            balance: Balance::new(settings.balance),
            news: Vec::new(),
            forced: BTreeMap::new(),
            next: 0,
            candidates: Vec::new(),
            settings,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a request is refused at once, and why.
    pub fn refuses(&self, now: Instant) -> Option<Failure> {
        let until = self.breaker.refuses(now)?;
        Some(self.open(until, now))
    }

    /// A request begins.
    pub fn begin(&mut self, now: Instant) -> Result<Pass, Failure> {
        match self.breaker.may(now) {
            Verdict::Go(pass) => {
                self.budget.deposit();
                Ok(pass)
            }
            Verdict::Refused { until } => Err(self.open(until, now)),
        }
    }

    /// A request has ended like this, all attempts together.
    pub fn end(&mut self, pass: Pass, outcome: Outcome, now: Instant) {
        let change = self.breaker.ended(pass, outcome, now, fastrand::f64());
        self.tell(change, None, now);
    }

    /// The server that is to be asked, one that was not `tried`.
    pub fn pick(&mut self, tried: &[u64], hash: u64, now: Instant) -> Result<Picked, Failure> {
        let untried = |server: &Server| !tried.contains(&server.number);
        let place = self
            .choose(|server| untried(server) && server.is_available(now), hash, now)
            // One that fails is better than none.
            .or_else(|| self.choose(|server| untried(server) && server.may_be_asked(now), hash, now));
        let Some(server) = place.and_then(|place| self.all.get_mut(place)) else {
            return Err(self.nobody(now));
        };
        match server.breaker.may(now) {
            Verdict::Go(pass) => {
                server.busy += 1;
                Ok(Picked { number: server.number, pool: server.pool.clone(), pass })
            }
            Verdict::Refused { until } => Err(self.open(until, now)),
        }
    }

    /// An attempt at a server was answered, failed, or was given up.
    pub fn answered(&mut self, number: u64, pass: Pass, outcome: Outcome, now: Instant) {
        // How the others stand matters only to one that fails.
        let (out, all) = if outcome == Outcome::Failure { self.out(now) } else { (0, 0) };
        let Some(server) = self.all.iter_mut().find(|server| server.number == number) else { return };
        let change = server.breaker.ended(pass, outcome, now, fastrand::f64());
        if change == Some(Change::Closed) {
            server.returned = Some(now);
        }
        match outcome {
            Outcome::Success => server.outlier.success(),
            Outcome::Failure => {
                // Only a server that is asked like any other is judged by its failures in a row.
                if server.outlier.failure(now) && outlier::may_eject(out, all, &self.settings.outlier) {
                    server.outlier.eject(now);
                    let until = server.outlier.ejected_until(now).unwrap_or(now);
                    let time = until.saturating_duration_since(now);
                    self.news.push(News::Ejected { server: server.name(), time });
                }
            }
            Outcome::Unjudged => {}
        }
        self.tell(change, Some(number), now);
    }

    /// The response to an attempt that was answered broke off.
    pub fn broke_off(&mut self, number: u64, pass: Pass, whole: Pass, now: Instant) {
        let Some(server) = self.all.iter_mut().find(|server| server.number == number) else { return };
        let change = server.breaker.fault(pass, now, fastrand::f64());
        self.tell(change, Some(number), now);
        // What another server would have done better says nothing of all of them together.
        if !self.has_good(&[], number, now) {
            let change = self.breaker.fault(whole, now, fastrand::f64());
            self.tell(change, None, now);
        }
    }

    /// An attempt at a server is over, its response included.
    pub fn left(&mut self, number: u64) {
        if let Some(server) = self.all.iter_mut().find(|server| server.number == number) {
            server.busy = server.busy.saturating_sub(1);
        }
    }

    /// Whether there is a server for one more attempt. Asking the same one again would
    /// double the work of one that is slow.
    pub fn has_another(&self, tried: &[u64], last: u64, now: Instant) -> bool {
        self.all.iter().any(|server| {
            server.number != last && !tried.contains(&server.number) && server.may_be_asked(now)
        })
    }

    /// Whether there is another server that may be asked, and of late has not failed only.
    pub fn has_good(&self, tried: &[u64], last: u64, now: Instant) -> bool {
        self.all.iter().any(|server| {
            server.number != last
                && !tried.contains(&server.number)
                && server.may_be_asked(now)
                && !server.breaker.only_fails(now)
        })
    }

    /// Whether one more attempt is within the budget; it is spent then.
    pub fn may_retry(&mut self, now: Instant) -> bool {
        self.budget.withdraw(now)
    }

    /// The configured server of this number is to be found here now. Those that are
    /// known already go on as they are.
    pub fn found(
        &mut self,
        source: usize,
        endpoints: &[Endpoint],
        now: Instant,
        pool: impl Fn(&Endpoint) -> Pool,
    ) {
        let before = self.found.insert(source, endpoints.to_vec());
        let first = before.is_none_or(|before| before.is_empty());
        self.hand_over();
        for endpoint in endpoints {
            let id = identity(endpoint);
            let weight = weight(&self.settings, source, endpoint);
            if let Some(server) = self.all.iter_mut().find(|server| server.id == id) {
                // Of two configured names that stand for the same server the first one counts.
                if server.source == source {
                    (server.weight, server.endpoint) = (weight, endpoint.clone());
                }
                continue;
            }
            let mut breaker = Breaker::new(self.settings.breaker);
            breaker.force(self.forced.get(&endpoint.address).copied(), now);
            let number = self.next;
            self.next += 1;
            self.all.push(Server {
                id,
                number,
                source,
                endpoint: endpoint.clone(),
                weight,
                pool: pool(endpoint),
                breaker,
                outlier: Outlier::new(self.settings.outlier),
                health: self.settings.probe.as_ref().map(|probe| Health::new(probe.health)),
                busy: 0,
                // Whoever is there from the beginning has nobody to be spared for.
                returned: (!first).then_some(now),
            });
        }
    }

    /// A server that its name does not stand for any more goes on as one of another name that
    /// does, and is spoken to in the same way; where there is none, it is gone.
    fn hand_over(&mut self) {
        let Servers { all, found, settings, .. } = self;
        let speaks_tls = |source: usize| settings.servers.get(source).is_some_and(|server| server.tls);
        all.retain_mut(|server| {
            let (id, own) = (server.id, server.source);
            let of = |endpoints: &[Endpoint]| endpoints.iter().find(|it| identity(it) == id).cloned();
            if found.get(&own).is_some_and(|endpoints| of(endpoints).is_some()) {
                return true;
            }
            let mut others = found.iter().filter(|(source, _)| speaks_tls(**source) == speaks_tls(own));
            let next = others.find_map(|(source, endpoints)| Some((*source, of(endpoints)?)));
            let Some((source, endpoint)) = next else { return false };
            server.weight = weight(settings, source, &endpoint);
            (server.source, server.endpoint) = (source, endpoint);
            true
        });
    }

    /// Those that are to be probed.
    pub fn to_probe(&self) -> Vec<(u64, Endpoint, Pool)> {
        self.all.iter().map(|server| (server.number, server.endpoint.clone(), server.pool.clone())).collect()
    }

    /// A server's probe has ended like this.
    pub fn probed(&mut self, number: u64, result: Result<(), String>, now: Instant) {
        let Some(server) = self.all.iter_mut().find(|server| server.number == number) else { return };
        let Some(health) = &mut server.health else { return };
        let why = result.as_ref().err().cloned().unwrap_or_default();
        let change = health.probed(result, now);
        let name = server.name();
        match change {
            Some(health::Change::Sick) => self.news.push(News::Sick { server: name, why }),
            Some(health::Change::Healthy) => {
                server.returned = Some(now);
                self.news.push(News::Healthy { server: name });
            }
            None => {}
        }
    }

    /// Opens or closes a breaker by hand, or gives it back to itself: that of a server,
    /// named by address or host, or that of all of them together. Returns how many.
    pub fn force(&mut self, server: Option<&str>, forced: Option<Forced>, now: Instant) -> usize {
        let Some(wanted) = server else {
            self.breaker.force(forced, now);
            return 1;
        };
        let is_named =
            |address: &SocketAddr| address.to_string() == wanted || address.ip().to_string() == wanted;
        let mut meant = 0;
        for server in &mut self.all {
            if is_named(&server.endpoint.address) || server.endpoint.host == wanted {
                server.breaker.force(forced, now);
                meant += 1;
                match forced {
                    Some(forced) => self.forced.insert(server.endpoint.address, forced),
                    None => self.forced.remove(&server.endpoint.address),
                };
            }
        }
        if forced.is_none() {
            // Also one that is not there at the moment.
            let before = self.forced.len();
            self.forced.retain(|address, _| !is_named(address));
            meant += before - self.forced.len();
        }
        meant
    }

    /// What was opened or closed by hand: of all of them together, and of which servers.
    pub fn forced(&self) -> (Option<Forced>, BTreeMap<SocketAddr, Forced>) {
        (self.breaker.forced(), self.forced.clone())
    }

    /// So it is from now on.
    pub fn set_forced(
        &mut self,
        (all, servers): (Option<Forced>, BTreeMap<SocketAddr, Forced>),
        now: Instant,
    ) {
        self.breaker.force(all, now);
        for server in &mut self.all {
            server.breaker.force(servers.get(&server.endpoint.address).copied(), now);
        }
        self.forced = servers;
    }

    /// Where the configured server of this number is.
    pub fn endpoints(&self, source: usize) -> Vec<Endpoint> {
        self.found.get(&source).cloned().unwrap_or_default()
    }

    /// What has happened since this was asked last.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Closes connections that have been idle for too long.
    pub fn close_expired(&self) {
        self.all.iter().for_each(|server| server.pool.close_expired());
    }

    /// How they stand.
    pub fn view(&self, now: Instant) -> View {
        let server = |server: &Server| ServerView {
            address: server.name(),
            host: server.endpoint.host.clone(),
            state: server.state(&self.settings, now),
            weight: server.weight,
            priority: server.endpoint.priority,
            under_way: server.busy,
            idle_connections: server.pool.idle(),
            breaker: server.breaker.view(now),
            outlier: server.outlier.view(now),
            health: server.health.as_ref().map(|health| health.view(now)),
        };
        View { breaker: self.breaker.view(now), servers: self.all.iter().map(server).collect() }
    }

    /// The place of a server among those that qualify.
    fn choose(&mut self, qualifies: impl Fn(&Server) -> bool, hash: u64, now: Instant) -> Option<usize> {
        let qualified = || self.all.iter().enumerate().filter(|(_, server)| qualifies(server));
        let priority = qualified().map(|(_, server)| server.endpoint.priority).min()?;
        let slow_start = self.settings.slow_start;
        self.candidates.clear();
        self.candidates.extend(qualified().filter(|(_, server)| server.endpoint.priority == priority).map(
            |(_, server)| Candidate {
                id: server.id,
                weight: server.weight,
                busy: server.busy,
                share: balance::share(server.returned_at(), slow_start, now),
            },
        ));
        let chosen = match &self.candidates[..] {
            [only] => only.id,
            all => {
                let place = self.balance.pick(all, hash, [fastrand::f64(), fastrand::f64()])?;
                all.get(place)?.id
            }
        };
        self.all.iter().position(|server| server.id == chosen)
    }

    /// How many servers are not asked at the moment, and how many there are.
    fn out(&self, now: Instant) -> (usize, usize) {
        let out = self.all.iter().filter(|server| !server.is_available(now));
        (out.count(), self.all.len())
    }

    /// Why there is no server to be asked.
    fn nobody(&self, now: Instant) -> Failure {
        let soonest = self.all.iter().filter_map(|server| {
            // Whether one that is sick is well again its probes will tell.
            server.breaker.refuses(now).flatten()
        });
        let retry_after = soonest.min().map(|until| until.saturating_duration_since(now));
        let words: Vec<String> = self
            .all
            .iter()
            .map(|server| format!("{} is {}", server.name(), server.state(&self.settings, now)))
            .collect();
        let why = if words.is_empty() { "it has none".to_owned() } else { words.join(", ") };
        Failure::NoServer { why, retry_after }
    }

    fn open(&self, until: Option<Instant>, now: Instant) -> Failure {
        let why = self.breaker.view(now).cause.unwrap_or_else(|| "trials are under way".to_owned());
        Failure::Open { why, retry_after: until.map(|until| until.saturating_duration_since(now)) }
    }

    fn tell(&mut self, change: Option<Change>, number: Option<u64>, now: Instant) {
        let Some(change) = change else { return };
        let server = number.map(|number| self.all.iter().find(|server| server.number == number));
        let breaker = match server {
            None => &self.breaker,
            Some(Some(server)) => &server.breaker,
            Some(None) => return,
        };
        let name = server.flatten().map(Server::name);
        let view = breaker.view(now);
        self.news.push(match change {
            Change::Opened => News::Opened {
                server: name,
                why: view.cause.unwrap_or_default(),
                next_trial: Duration::from_millis(view.next_trial_ms.unwrap_or_default()),
            },
            Change::Closed => News::Closed { server: name },
        });
    }
}

impl Server {
    fn name(&self) -> String {
        self.endpoint.address.to_string()
    }

    /// Whether it is asked like any other.
    fn is_available(&self, now: Instant) -> bool {
        self.may_be_asked(now) && self.outlier.ejected_until(now).is_none()
    }

    /// Whether it is asked where there is no other.
    fn may_be_asked(&self, now: Instant) -> bool {
        self.health.as_ref().is_none_or(Health::is_healthy) && self.breaker.refuses(now).is_none()
    }

    fn returned_at(&self) -> Option<Instant> {
        self.returned.max(self.outlier.returned_at())
    }

    fn state(&self, settings: &Settings, now: Instant) -> &'static str {
        if self.health.as_ref().is_some_and(|health| !health.is_healthy()) {
            return "sick";
        }
        match self.breaker.view(now).state {
            "closed" => {}
            state => return state,
        }
        if self.outlier.ejected_until(now).is_some() {
            "ejected"
        } else if balance::share(self.returned_at(), settings.slow_start, now) < 1.0 {
            "slow-start"
        } else {
            "up"
        }
    }
}

/// What the configured server of this number and its record say together.
fn weight(settings: &Settings, source: usize, endpoint: &Endpoint) -> u32 {
    let configured = settings.servers.get(source).map_or(1, |server| server.weight);
    configured.saturating_mul(endpoint.weight).max(1)
}

/// The same at every node and start, so that all of them agree whose a key is.
fn identity(endpoint: &Endpoint) -> u64 {
    xxh3_64(format!("{} {}", endpoint.address, endpoint.host).as_bytes())
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = |server: &Option<String>| match server {
            Some(server) => format!("the breaker of {server}"),
            None => "its breaker".to_owned(),
        };
        match self {
            News::Opened { server, why, next_trial } => {
                write!(f, "{} has opened: {why}; next trial in {next_trial:?}", whose(server))
            }
            News::Closed { server } => write!(f, "{} has closed: trials were answered", whose(server)),
            News::Ejected { server, time } => {
                write!(f, "{server} is left alone for {time:?}: it failed several times in a row")
            }
            News::Sick { server, why } => write!(f, "{server} is sick: {why}"),
            News::Healthy { server } => write!(f, "{server} is healthy again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolve::Name;
    use super::*;
    use crate::clock::monotonic;
    use crate::observe::counters::Counters;

    /// The servers of two names, of which the second has double weight.
    fn of_two_names() -> (Arc<Settings>, Servers) {
        let server = |name: &str, weight| super::super::Server {
            name: Name::Service(name.to_owned()),
            tls: false,
            weight,
        };
        let servers = vec![server("one", 1), server("two", 2)];
        let settings = Arc::new(Settings { servers, ..Settings::default() });
        (Arc::clone(&settings), Servers::new(settings, monotonic()))
    }

    #[test]
    fn a_server_of_two_names_is_there_until_neither_stands_for_it() {
        let (settings, mut servers) = of_two_names();
        let endpoint = |address: &str| Endpoint {
            priority: 0,
            address: address.parse().expect("an address"),
            weight: 1,
            host: "a".to_owned(),
        };
        let pool = |endpoint: &Endpoint| {
            Pool::new(endpoint.clone(), None, Arc::clone(&settings), Arc::<Counters>::default())
        };
        let (shared, own) = (endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80"));
        let now = monotonic();
        let of = |servers: &Servers| -> Vec<(u64, usize, u32)> {
            servers.all.iter().map(|server| (server.number, server.source, server.weight)).collect()
        };
        servers.found(0, &[shared.clone(), own.clone()], now, pool);
        servers.found(1, std::slice::from_ref(&shared), now, pool);
        assert_eq!(of(&servers), [(0, 0, 1), (1, 0, 1)], "it is one server");
        assert_eq!(servers.endpoints(1), std::slice::from_ref(&shared));
        servers.found(0, std::slice::from_ref(&own), now, pool);
        assert_eq!(of(&servers), [(0, 1, 2), (1, 0, 1)], "the same one, of the second name");
        servers.found(0, &[shared.clone(), own.clone()], now, pool);
        assert_eq!(of(&servers), [(0, 1, 2), (1, 0, 1)], "it stays with whom it is");
        servers.found(1, &[], now, pool);
        assert_eq!(of(&servers), [(0, 0, 1), (1, 0, 1)]);
        servers.found(0, std::slice::from_ref(&own), now, pool);
        assert_eq!(of(&servers), [(1, 0, 1)]);
    }
}
