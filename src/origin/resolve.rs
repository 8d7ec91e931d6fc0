//! Finding the servers of an origin by their names: A, AAAA and SRV records.
//!
//! Every name is looked up in the background, again when its answer has lived its life. A
//! request never waits for that, but for the first answer after a start.
//!
//! What always holds: the last good answer is kept for as long as there is no other, also that
//! of each target of a service; a name
//! that was never answered has no servers, and the node runs; addresses that nobody can
//! have are left out. An answer that says that there is no server (SRV's target `.`) is
//! an answer.
//!
//! What it never does: ask for what is an address already.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::clock::monotonic;
use crate::observe::counters::Counters;

/// What is looked up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Name {
    /// A host, or an address, and a port.
    Host {
        /// Without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A service, whose SRV records say hosts, ports, weights and priorities (RFC 2782).
    Service(String),
}

/// A place where a server listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Endpoint {
    /// Lower ones are asked first.
    pub priority: u16,
    /// Address and port.
    pub address: SocketAddr,
    /// Its part among those of its priority; at least one.
    pub weight: u32,
    /// The name by which it was found: what it has to prove in TLS.
    pub host: String,
}

/// Which addresses of a name are taken that has both kinds. A server that can be reached
/// in two ways is still one server; so one kind is taken, and the other one only where
/// there is none of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Both, as if they were different servers.
    Both,
}

/// Whom is asked, and how long answers live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The DNS servers; those of the system if there are none.
    pub servers: Vec<SocketAddr>,
    /// Which addresses are taken.
    pub prefer: Family,
    /// How long one of them may take to answer.
    pub timeout: Duration,
    /// No answer lives for less.
    pub min_ttl: Duration,
    /// No answer lives for longer.
    pub max_ttl: Duration,
    /// The most servers that one name stands for.
    pub max_endpoints: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            servers: Vec::new(),
            prefer: Family::V4,
            timeout: Duration::from_secs(2),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(3600),
            max_endpoints: 64,
        }
    }
}

/// Looks names up; cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    dns: TokioResolver,
    settings: Settings,
    /// Look-ups under way.
    places: Semaphore,
    counters: Arc<Counters>,
}

/// Follows a name for as long as it lives.
pub struct Watch {
    viewer: Viewer,
    last: Arc<[Endpoint]>,
    task: Option<AbortHandle>,
}

/// Sees what a [`Watch`] knows.
#[derive(Clone)]
pub struct Viewer {
    name: Arc<str>,
    known: watch::Receiver<Known>,
}

/// What is known of a name.
#[derive(Clone, Default)]
struct Known {
    endpoints: Arc<[Endpoint]>,
    /// Whether it was looked up at all.
    looked_up: bool,
    /// When there was a good answer last.
    good: Option<Instant>,
    /// When it is looked up again.
    next: Option<Instant>,
    /// Why there is no newer answer.
    trouble: Option<String>,
}

/// The same, for operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// As it is configured.
    pub name: String,
    /// How many servers it stands for.
    pub servers: usize,
    /// How old the last good answer is, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// When it is looked up again, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// Why there is no newer answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    endpoints: Vec<Endpoint>,
    lives: Duration,
}

/// Addresses, and how long they live.
type Addresses = (Vec<IpAddr>, Duration);

/// The last good answers for the targets of a service, by host and port.
type Targets = HashMap<(String, u16), Vec<Endpoint>>;

/// The most look-ups that are under way at once.
const AT_ONCE: usize = 16;
/// After a look-up that failed: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often a DNS server is asked before a look-up has failed.
const ATTEMPTS: u32 = 2;

impl Endpoint {
    /// Host and port, as `Host` has them.
    pub fn authority(&self) -> String {
        let port = self.address.port();
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

impl Resolver {
    /// A resolver that asks these servers, or those of the system.
    pub fn new(settings: Settings, counters: Arc<Counters>) -> Result<Resolver, String> {
        let local = IpAddr::from([127, 0, 0, 1]);
        let of_servers = |servers: &[SocketAddr]| {
            let server = |server: &SocketAddr| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = server.port());
                NameServerConfig::new(server.ip(), true, connections)
            };
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let mut builder = match &settings.servers[..] {
            [] => match TokioResolver::builder_tokio() {
                Ok(builder) => builder,
                // Without a word from the system it is this machine, as everywhere.
                Err(_) => of_servers(&[SocketAddr::new(local, 53)]),
            },
            servers => of_servers(servers),
        };
        let options = builder.options_mut();
        options.timeout = settings.timeout;
        options.attempts = ATTEMPTS as usize;
        // What lives for how long is decided here.
        options.cache_size = 0;
        options.use_hosts_file =
            if settings.servers.is_empty() { ResolveHosts::Always } else { ResolveHosts::Never };
        let dns = builder.build().map_err(|error| error.to_string())?;
        let places = Semaphore::new(AT_ONCE);
        Ok(Resolver { inner: Arc::new(Inner { dns, settings, places, counters }) })
    }

    /// Looks a name up from now on, in the background.
    pub fn watch(&self, name: Name) -> Watch {
        let text = match &name {
            Name::Host { host, port } => Arc::from(format!("{host}:{port}")),
            Name::Service(name) => Arc::from(name.as_str()),
        };
        if let Some(endpoint) = literal(&name) {
            let endpoints: Arc<[Endpoint]> = Arc::from([endpoint]);
            let known = Known { endpoints: Arc::clone(&endpoints), looked_up: true, ..Known::default() };
            // Nothing is ever told again, and the receiver keeps what was.
            let (_, known) = watch::channel(known);
            return Watch { viewer: Viewer { name: text, known }, last: endpoints, task: None };
        }
        let (told, known) = watch::channel(Known::default());
        let task = tokio::spawn(follow(Arc::clone(&self.inner), name, told)).abort_handle();
        Watch { viewer: Viewer { name: text, known }, last: Arc::default(), task: Some(task) }
    }
}

impl Watch {
    /// Where the servers are, as far as is known.
    pub fn endpoints(&self) -> Arc<[Endpoint]> {
        Arc::clone(&self.viewer.known.borrow().endpoints)
    }

    /// Completes when they are elsewhere than when this completed last.
    pub async fn changed(&mut self) {
        loop {
            if self.viewer.known.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let now = self.endpoints();
            if now != self.last {
                self.last = now;
                return;
            }
        }
    }

    /// Completes when it was looked up once, with what success ever.
    pub async fn first(&mut self) {
        let looked_up = self.viewer.known.wait_for(|known| known.looked_up).await.is_ok();
        if looked_up {
            self.last = self.endpoints();
        }
    }

    /// Whether there was ever an answer, be it of none.
    pub fn is_answered(&self) -> bool {
        let known = self.viewer.known.borrow();
        known.good.is_some() || !known.endpoints.is_empty()
    }

    /// Who sees what is known.
    pub fn viewer(&self) -> Viewer {
        self.viewer.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

impl Viewer {
    /// Why there is no answer, or none newer.
    pub fn trouble(&self) -> Option<String> {
        self.known.borrow().trouble.clone()
    }

    /// What is known.
    pub fn view(&self) -> View {
        let (known, now) = (self.known.borrow(), monotonic());
        let millis = |time: Duration| time.as_millis() as u64;
        View {
            name: self.name.to_string(),
            servers: known.endpoints.len(),
            age_ms: known.good.map(|good| millis(now.saturating_duration_since(good))),
            next_ms: known.next.map(|next| millis(next.saturating_duration_since(now))),
            error: known.trouble.clone(),
        }
    }
}

/// The endpoint that is meant without a look-up.
fn literal(name: &Name) -> Option<Endpoint> {
    let Name::Host { host, port } = name else { return None };
    let ip: IpAddr = host.parse().ok()?;
    Some(Endpoint { address: SocketAddr::new(ip, *port), weight: 1, priority: 0, host: host.clone() })
}

/// Looks a name up again and again.
async fn follow(inner: Arc<Inner>, name: Name, told: watch::Sender<Known>) {
    let mut failures = 0u32;
    let mut targets = Targets::new();
    loop {
        let found = inner.look_up(&name, &mut targets).await;
        let now = monotonic();
        let pause = match &found {
            Ok(found) => {
                failures = 0;
                // A little early: many nodes do not ask in step, and nothing is ever overdue.
                found.lives.mul_f64(0.9 + fastrand::f64() / 10.0).max(inner.settings.min_ttl)
            }
            Err(_) => {
                let longer = PAUSES.0.saturating_mul(2u32.saturating_pow(failures.min(10)));
                failures = failures.saturating_add(1);
                longer.min(PAUSES.1).mul_f64(0.75 + fastrand::f64() / 4.0)
            }
        };
        told.send_modify(|known| {
            known.looked_up = true;
            known.next = Some(now + pause);
            inner.learn(&name, known, found, now);
        });
        tokio::time::sleep(pause).await;
    }
}

impl Inner {
    /// Notes what a look-up has brought, and tells the operator what is new in it.
    fn learn(&self, name: &Name, known: &mut Known, found: Result<Found, String>, now: Instant) {
        match found {
            Ok(found) => {
                if known.trouble.take().is_some() {
                    tracing::info!(target: "forebay::origin", ?name, servers = found.endpoints.len(), "the name is answered again");
                }
                known.good = Some(now);
                if *known.endpoints != *found.endpoints {
                    tracing::debug!(target: "forebay::origin", ?name, ?found.endpoints, "the name stands for others");
                    known.endpoints = found.endpoints.into();
                }
            }
            Err(why) => {
                self.counters.dns_failures.up();
                self.counters.dns_kept.add(u64::from(known.good.is_some()));
                if known.trouble.is_none() {
                    let kept = known.endpoints.len();
                    tracing::warn!(target: "forebay::origin", ?name, kept, "the name is not answered: {why}");
                }
                known.trouble = Some(why);
            }
        }
    }

    async fn look_up(&self, name: &Name, targets: &mut Targets) -> Result<Found, String> {
        // It is never closed.
        let _place = self.places.acquire().await;
        self.counters.dns_lookups.up();
        let looking = async {
            match name {
                Name::Host { host, port } => self.host(host, *port).await,
                Name::Service(service) => self.service(service, targets).await,
            }
        };
        let patience = self.settings.timeout * (ATTEMPTS * 3);
        let found = tokio::time::timeout(patience, looking)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {patience:?}")))?;
        Ok(self.trimmed(found))
    }

    /// The addresses of a host.
    async fn host(&self, host: &str, port: u16) -> Result<Found, String> {
        let (first, second) = match self.settings.prefer {
            Family::V4 | Family::Both => (RecordType::A, RecordType::AAAA),
            Family::V6 => (RecordType::AAAA, RecordType::A),
        };
        let mut answers = vec![self.addresses(host, first).await?];
        let is_enough =
            |answer: &Option<Addresses>| answer.as_ref().is_some_and(|(found, _)| !found.is_empty());
        if self.settings.prefer == Family::Both || !answers.iter().any(is_enough) {
            answers.push(self.addresses(host, second).await?);
        }
        let host = host.trim_end_matches('.').to_owned();
        let endpoint = |ip: &IpAddr| Endpoint {
            address: SocketAddr::new(*ip, port),
            weight: 1,
            priority: 0,
            host: host.clone(),
        };
        let found = answers.iter().flatten();
        let endpoints: Vec<Endpoint> = found.clone().flat_map(|(found, _)| found).map(endpoint).collect();
        if endpoints.is_empty() {
            return Err("it has no address that a server could have".to_owned());
        }
        let lives = found.filter(|(found, _)| !found.is_empty()).map(|(_, lives)| *lives).min();
        Ok(Found { endpoints, lives: lives.unwrap_or_default() })
    }

    /// The addresses of one kind that a host has, and how long they live; none if it is
    /// known to have none.
    async fn addresses(&self, host: &str, kind: RecordType) -> Result<Option<Addresses>, String> {
        let answer = match self.dns.lookup(host, kind).await {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let lives = until(answer.valid_until());
        let addresses = answer.answers().iter().filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        });
        Ok(Some((self.good(addresses), lives)))
    }

    /// The servers of a service. Targets whose names are not answered stand for what they
    /// did `before`, as long as others are answered; those that never were are left out.
    async fn service(&self, service: &str, before: &mut Targets) -> Result<Found, String> {
        let answer = self.dns.lookup(service, RecordType::SRV).await.map_err(|error| error.to_string())?;
        let mut lives = until(answer.valid_until());
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        });
        // The root stands for: decidedly no such service here (RFC 2782).
        let mut records: Vec<_> = records.collect();
        if records.iter().all(|srv| srv.target.is_root()) {
            return Ok(Found { endpoints: Vec::new(), lives });
        }
        records.retain(|srv| srv.port != 0 && !srv.target.is_root());
        records.sort_by_key(|srv| (srv.priority, srv.target.to_ascii(), srv.port));
        if records.len() > self.settings.max_endpoints {
            self.counters.dns_too_many.up();
            records.truncate(self.settings.max_endpoints);
        }
        let patience = self.settings.timeout * ATTEMPTS;
        let hosts = join_all(records.iter().map(async |srv| {
            let host = srv.target.to_ascii();
            let found = tokio::time::timeout(patience, self.host(&host, srv.port)).await;
            (srv, found.unwrap_or_else(|_| Err(format!("no answer within {patience:?}"))))
        }))
        .await;
        let (mut targets, mut endpoints) = (Targets::new(), Vec::new());
        let mut trouble = "no server of it has a port".to_owned();
        let (mut answered, mut kept) = (0, 0);
        for (srv, found) in hosts {
            let target = (srv.target.to_ascii(), srv.port);
            let servers = match found {
                Ok(found) => {
                    answered += 1;
                    lives = lives.min(found.lives);
                    found.endpoints
                }
                Err(why) => {
                    trouble = format!("{}: {why}", srv.target);
                    // However long the others live: it is asked for again soon.
                    lives = lives.min(PAUSES.1);
                    let servers = before.get(&target).cloned().unwrap_or_default();
                    kept += u64::from(!servers.is_empty());
                    servers
                }
            };
            let (weight, priority) = (u32::from(srv.weight).max(1), srv.priority);
            endpoints.extend(servers.iter().map(|server| Endpoint { weight, priority, ..server.clone() }));
            targets.insert(target, servers);
        }
        if answered == 0 {
            return Err(trouble);
        }
        self.counters.dns_failures.add(records.len() as u64 - answered);
        self.counters.dns_kept.add(kept);
        *before = targets;
        Ok(Found { endpoints, lives })
    }

    /// Those addresses that a server can have.
    fn good(&self, addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.map(|ip| ip.to_canonical()).partition(is_of_a_server);
        self.counters.dns_bad_addresses.add(bad.len() as u64);
        good
    }

    /// In order, each once, not too many, and with a life that is neither too short nor
    /// too long.
    fn trimmed(&self, mut found: Found) -> Found {
        found.endpoints.sort();
        // The one that goes before the others is the one that stays.
        let mut seen = HashSet::new();
        found.endpoints.retain(|endpoint| seen.insert(endpoint.address));
        if found.endpoints.len() > self.settings.max_endpoints {
            self.counters.dns_too_many.up();
            found.endpoints.truncate(self.settings.max_endpoints);
        }
        let Settings { min_ttl, max_ttl, .. } = self.settings;
        found.lives = found.lives.max(min_ttl).min(max_ttl);
        found
    }
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Whether a server can have this address: some that liars tell nobody has.
fn is_of_a_server(ip: &IpAddr) -> bool {
    let everybody = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !everybody
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(settings: Settings) -> Arc<Inner> {
        Resolver::new(settings, Arc::default()).expect("a resolver").inner
    }

    fn endpoint(address: &str, priority: u16) -> Endpoint {
        Endpoint { address: address.parse().expect("an address"), weight: 1, priority, host: "a".to_owned() }
    }

    #[test]
    fn addresses_are_names_that_need_no_look_up() {
        let host = |host: &str| literal(&Name::Host { host: host.to_owned(), port: 80 });
        assert_eq!(host("127.0.0.1").map(|found| found.address.to_string()), Some("127.0.0.1:80".to_owned()));
        assert_eq!(host("::1").map(|found| found.authority()), Some("[::1]:80".to_owned()));
        assert_eq!(host("localhost"), None);
        assert_eq!(literal(&Name::Service("127.0.0.1".to_owned())), None);
    }

    #[test]
    fn what_no_server_can_have_is_left_out() {
        let all = [
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
            "10.0.0.1",
            "fd00::1",
            "::ffff:10.0.0.2",
        ];
        let inner = inner(Settings::default());
        let good = inner.good(all.iter().map(|ip| ip.parse().expect("an address")));
        assert_eq!(
            good.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            ["10.0.0.1", "fd00::1", "10.0.0.2"]
        );
        assert_eq!(inner.counters.dns_bad_addresses.get(), 5);
    }

    #[test]
    fn answers_are_in_order_and_within_limits() {
        let inner = inner(Settings { max_endpoints: 2, ..Settings::default() });
        let endpoints = vec![
            endpoint("10.0.0.9:1", 0),
            endpoint("10.0.0.1:1", 5),
            endpoint("10.0.0.9:1", 0),
            endpoint("10.0.0.2:1", 1),
        ];
        let found = inner.trimmed(Found { endpoints, lives: Duration::ZERO });
        assert_eq!(found.endpoints, [endpoint("10.0.0.9:1", 0), endpoint("10.0.0.2:1", 1)]);
        assert_eq!(found.lives, Duration::from_secs(1));
        assert_eq!(inner.counters.dns_too_many.get(), 1);
        let found =
            inner.trimmed(Found { endpoints: vec![], lives: Duration::from_secs(u64::from(u32::MAX)) });
        assert_eq!(found.lives, Duration::from_secs(3600));
    }

    #[test]
    fn the_last_good_answer_is_kept_and_an_answer_of_none_is_an_answer() {
        let inner = inner(Settings::default());
        let (name, now) = (Name::Service("s".to_owned()), monotonic());
        let mut known = Known::default();
        let found = |endpoints| Ok(Found { endpoints, lives: Duration::ZERO });
        inner.learn(&name, &mut known, Err("nobody is there".to_owned()), now);
        assert_eq!((known.endpoints.len(), inner.counters.dns_kept.get()), (0, 0));
        inner.learn(&name, &mut known, found(vec![endpoint("10.0.0.1:1", 0)]), now);
        assert_eq!((known.endpoints.len(), &known.trouble), (1, &None));
        inner.learn(&name, &mut known, Err("nobody is there".to_owned()), now);
        assert_eq!((known.endpoints.len(), known.trouble.as_deref()), (1, Some("nobody is there")));
        assert_eq!(inner.counters.dns_kept.get(), 1);
        inner.learn(&name, &mut known, found(vec![]), now);
        assert_eq!(known.endpoints.len(), 0);
    }
}
