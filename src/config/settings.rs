//! Every setting there is, declared once.
//!
//! From these tables come the reading of a file, the faults of unknown keys and
//! bad values, the documented file, the help of the flags, what the admin port
//! shows, and what a reload cannot change. A default is not written here: it is
//! what the part that owns the setting says it is.

mod dns;
mod hidden;
mod origin_group;
mod rules;
mod shed;
mod warm;

use std::time::Duration;

use regex::Regex;

use super::Config;
use super::typed::{
    self, Kind,
    Kind::{Bytes, Count, Plain, Text, Time},
    Typed,
};
use super::units::{KIB, MIB};
use crate::origin::{self, resolve::Name};
use crate::policy::site::HostPattern;
use crate::repopulate::Agreed;

pub use origin_group::{ORIGIN, ORIGIN_TEXT};
pub use rules::{RULES, RULES_TEXT};

/// One setting of a `T`.
pub struct Setting<T: 'static> {
    /// Its key in its section.
    pub key: &'static str,
    /// What its type alone does not say.
    pub kind: Kind,
    /// Where its value is kept.
    pub at: fn(&mut T) -> &mut dyn Typed,
    /// What it means. The first sentence stands for the whole where room is scarce.
    pub text: &'static str,
    /// What the documented file shows where there is no default.
    pub example: Option<&'static str>,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether a reload leaves the old value in force.
    pub restart: bool,
}

/// A part of the file that stands there once.
pub struct Section {
    /// Its name, in brackets in the file.
    pub name: &'static str,
    /// What it is about.
    pub text: &'static str,
    /// What can be set in it.
    pub settings: &'static [Setting<Config>],
}

/// An `[[origin]]` as it is written.
#[derive(Clone, Debug)]
pub struct Origin {
    /// How it is asked, its probes and TLS apart.
    pub settings: origin::Settings,
    /// How servers are spoken to that speak TLS.
    pub tls: origin::tls::Settings,
    /// What its servers are probed for, if they are.
    pub probed: Option<String>,
    /// How.
    pub probe: origin::probe::Settings,
    /// What was agreed with its owner.
    pub agreed: Agreed,
}

/// A `[[site]]` as it is written, its rules and routes apart.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name, when it was given one.
    pub name: Option<String>,
    /// The hosts it answers for.
    pub hosts: Vec<HostPattern>,
    /// The name of the origin that its routes ask.
    pub origin: Option<String>,
    /// The name of the origin that takes unsafe methods on its hidden routes.
    pub write_origin: Option<String>,
}

/// A `[[site.route]]` as it is written, its rules apart.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Its name, when it was given one.
    pub name: Option<String>,
    /// The beginning of the paths it answers for.
    pub path: Option<String>,
    /// An expression that finds a match in the paths it answers for.
    pub matches: Option<Regex>,
    /// The name of the origin that it asks.
    pub origin: Option<String>,
    /// The name of the origin that takes unsafe methods, if it is hidden.
    pub write_origin: Option<String>,
}

impl<T> Setting<T> {
    const fn new(
        key: &'static str,
        kind: Kind,
        at: fn(&mut T) -> &mut dyn Typed,
        text: &'static str,
    ) -> Self {
        Setting { key, kind, at, text, example: None, secret: false, restart: false }
    }

    const fn at_restart(mut self) -> Self {
        self.restart = true;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    /// The value that `part` has for this setting.
    pub fn shown(&self, part: &mut T) -> typed::Shown {
        (self.at)(part).shown(&self.kind)
    }

    /// The first sentence of the text.
    pub fn summary(&self) -> &'static str {
        match self.text.find(". ") {
            Some(stop) => self.text.get(..stop).unwrap_or(self.text),
            None => self.text.trim_end_matches('.'),
        }
    }
}

/// The longest time that any setting takes; sums of such times never overflow.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// A time that may be zero.
const TIME: Kind = Time { least: Duration::ZERO, most: LONGEST };
/// A time within which something has to happen: zero would forbid it.
const DEADLINE: Kind = Time { least: Duration::from_millis(1), most: LONGEST };

/// The sections that stand in a file once, but for `[rules]`.
pub static SECTIONS: &[Section] = &[
    Section { name: "node", text: "This node as a whole.", settings: NODE },
    Section {
        name: "listen",
        text: "The clients' port, what a connection may cost, and what a request may be.",
        settings: LISTEN,
    },
    Section {
        name: "admin",
        text: "The operators' port: purging, metrics, health, and the configuration in force.",
        settings: ADMIN,
    },
    Section {
        name: "purge",
        text: "Purge methods (PURGE, BAN and their like) on the clients' port, for content management systems \
               that send them there. Off unless `allow` names somebody.",
        settings: PURGE,
    },
    Section {
        name: "varnish_cli",
        text: "A port that speaks Varnish's command line protocol, for varnishadm and its like.",
        settings: VARNISH_CLI,
    },
    Section {
        name: "broker",
        text: "The RabbitMQ that the nodes of a cluster meet at. Without one a node works alone.",
        settings: BROKER,
    },
    Section {
        name: "cluster",
        text: "How the nodes around one broker keep together: what one of them is told to purge, all of them do.",
        settings: CLUSTER,
    },
    Section { name: "store", text: "Where responses are kept.", settings: STORE },
    Section {
        name: "collapse",
        text: "Requests that want the same response at the same time share one request to the origin: \
               the first leads, the others follow and get its bytes while they arrive.",
        settings: COLLAPSE,
    },
    Section {
        name: "shed",
        text: "Whom the origins are asked for when there is too much. None of this touches what the cache can \
               answer: hits are always served, and so is what is stale, where it may be, before a client is \
               refused.",
        settings: shed::SHED,
    },
    Section {
        name: "dns",
        text: "How the names of origins are looked up: in the background, again and again.",
        settings: dns::DNS,
    },
    Section {
        name: "hidden",
        text: "Routes with mode = \"hidden\": a miss is never forwarded. It is told as a miss event, and the \
               cache is filled from behind, at the rate that was agreed with the origin's owner (`rate` of \
               [[origin]]).",
        settings: hidden::HIDDEN,
    },
    Section {
        name: "warm",
        text: "Filling hidden routes before anybody asks, and keeping a complete copy of a site: what is named \
               here is asked for in the lowest class and within the agreed rate, again and again. With \
               rules.stale_on_error the copy is served when the origin is gone. In a cluster one node should do it.",
        settings: warm::WARM,
    },
    Section {
        name: "worker",
        text: "`forebay worker`: gets what hidden routes want, and fills the edges. It reads the same file as \
               they do; what is said of clients does not concern it.",
        settings: WORKER,
    },
    Section { name: "access_log", text: "One line for each request.", settings: ACCESS_LOG },
    Section { name: "log", text: "The program's own log, on the standard error output.", settings: LOG },
];

const NODE: &[Setting<Config>] = &[
    Setting::new(
        "name",
        Text(typed::pseudonym),
        |config: &mut Config| &mut config.node.name,
        "The name of this node in `Via` and `Cache-Status`.",
    )
    .at_restart(),
    Setting::new(
        "drain",
        TIME,
        |config: &mut Config| &mut config.node.drain,
        "How long requests under way may take to finish after SIGTERM. What is left then is cut off.",
    ),
    Setting::new(
        "state",
        Plain,
        |config: &mut Config| &mut config.node.state,
        "The directory in which a node keeps what must outlive it: its purges, and of hidden routes what is \
         known to exist and what was given up. Made if it is not there; each node has its own. Without one \
         purges hold until the node ends.",
    )
    .example("/var/lib/forebay")
    .at_restart(),
    Setting::new(
        "threads",
        Count { least: 0, most: 1024 },
        |config: &mut Config| &mut config.node.threads,
        "How many threads serve requests. 0 stands for one per processor core.",
    )
    .at_restart(),
];

const LISTEN: &[Setting<Config>] = &[
    Setting::new(
        "address",
        Plain,
        |config: &mut Config| &mut config.listen.address,
        "Where clients connect: address and port. Port 0 takes a free one; the first line of output \
         says which.",
    )
    .at_restart(),
    Setting::new(
        "max_connections",
        Count { least: 1, most: 10_000_000 },
        |config: &mut Config| &mut config.listen.max_connections,
        "The most open connections. One more is closed at once.",
    )
    .at_restart(),
    Setting::new(
        "max_connections_per_address",
        Count { least: 1, most: 10_000_000 },
        |config: &mut Config| &mut config.listen.max_connections_per_address,
        "The most open connections of one address, or of one IPv6 network of /64. One more is closed at once. \
         The default is half of the default of max_connections: one machine does not take all places, and a \
         balancer that is not named in `trusted_proxies` is not held up at once. Proxies in `trusted_proxies` are not counted. \"off\" sets no limit.",
    )
    .at_restart(),
    Setting::new(
        "idle_timeout",
        DEADLINE,
        |config: &mut Config| &mut config.listen.idle_timeout,
        "How long a connection may stay silent between requests. A tenth of it while more than nine in ten of \
         max_connections are open.",
    )
    .at_restart(),
    Setting::new(
        "header_timeout",
        DEADLINE,
        |config: &mut Config| &mut config.listen.header_timeout,
        "How long a request's head may take, from its first byte.",
    )
    .at_restart(),
    Setting::new(
        "body_timeout",
        DEADLINE,
        |config: &mut Config| &mut config.listen.body_timeout,
        "How long a request's body may pause between two pieces.",
    )
    .at_restart(),
    Setting::new(
        "send_timeout",
        DEADLINE,
        |config: &mut Config| &mut config.listen.send_timeout,
        "How long a client may take no byte of its answer.",
    )
    .at_restart(),
    Setting::new(
        "tunnel_timeout",
        DEADLINE,
        |config: &mut Config| &mut config.listen.tunnel_timeout,
        "How long both sides of a tunnel (a WebSocket, say) may stay silent.",
    )
    .at_restart(),
    Setting::new(
        "trusted_proxies",
        Plain,
        |config: &mut Config| &mut config.presentation.trusted_proxies,
        "Proxies in front of this node whose `X-Forwarded-*` and `Forwarded` fields are believed: \
         addresses and networks, such as [\"10.0.0.0/8\"]. Those of anybody else are overwritten.",
    ),
    Setting::new(
        "max_target_bytes",
        // The http crate's own limit of a target is 65,534 bytes.
        Bytes { least: 64, most: 63 * KIB },
        |config: &mut Config| &mut config.presentation.max_target_bytes,
        "The longest request target, path and query together. A longer one gets 414.",
    ),
    Setting::new(
        "max_header_bytes",
        Bytes { least: 8 * KIB, most: MIB },
        |config: &mut Config| &mut config.presentation.max_header_bytes,
        "The most bytes of a request's header section. More get 431.",
    ),
    Setting::new(
        "max_header_lines",
        Count { least: 1, most: 10_000 },
        |config: &mut Config| &mut config.presentation.max_header_lines,
        "The most lines of a request's header section. More get 431.",
    ),
];

const ADMIN: &[Setting<Config>] = &[
    Setting::new(
        "address",
        Plain,
        |config: &mut Config| &mut config.admin.address,
        "Where operators connect: address and port. An address other than loopback requires a token, `tokens` or `allow`.",
    )
    .at_restart(),
    Setting::new(
        "token",
        Text(typed::bearer_token),
        |config: &mut Config| &mut config.admin.token,
        "What every request on the admin port must show, as `Authorization: Bearer TOKEN`. Better given in \
         the environment, as FOREBAY_ADMIN_TOKEN. Without one, whoever reaches the port may use it.",
    )
    .secret()
    .example("...")
    .at_restart(),
    Setting::new(
        "tokens",
        Plain,
        |config: &mut Config| &mut config.admin.tokens,
        "A file of tokens, each with a name, scopes, and perhaps sites; read again when it changes. \
         `forebay token NAME --scope purge-url` makes a token and its entry.",
    )
    .example("/etc/forebay/tokens.toml")
    .at_restart(),
    Setting::new(
        "allow",
        Plain,
        |config: &mut Config| &mut config.admin.allow,
        "Whoever calls from these addresses and networks needs no token.",
    )
    .at_restart(),
    Setting::new(
        "allow_scopes",
        Plain,
        |config: &mut Config| &mut config.admin.allow_scopes,
        "What they may do: purge-url, purge-tag, purge-all, fill, operate, read.",
    )
    .at_restart(),
    Setting::new(
        "secret_header",
        Text(typed::header_name),
        |config: &mut Config| &mut config.admin.secret_header,
        "A header in which purge clients show their token, beside `Authorization`.",
    )
    .example("X-Invalidate-Token")
    .at_restart(),
];

const PURGE: &[Setting<Config>] = &[
    Setting::new(
        "allow",
        Plain,
        |config: &mut Config| &mut config.purge.allow,
        "The addresses and networks that may purge on the clients' port; behind a trusted proxy, those that \
         it tells. Everybody else gets 405. With none these methods go to the origin like any other.",
    ),
    Setting::new(
        "secret_header",
        Text(typed::header_name),
        |config: &mut Config| &mut config.purge.secret_header,
        "A header that must show `secret` as well.",
    )
    .example("X-Purge-Key"),
    Setting::new(
        "secret",
        Text(typed::bearer_token),
        |config: &mut Config| &mut config.purge.secret,
        "What it must show.",
    )
    .secret()
    .example("..."),
];

const BROKER: &[Setting<Config>] = &[
    Setting::new(
        "urls",
        Text(typed::broker_url),
        |config: &mut Config| &mut config.broker.urls,
        "Its URLs, one for each of the broker's own nodes; they are tried in turn. `amqps` encrypts.",
    )
    .example("amqp://user:password@rabbitmq.example:5672/%2f")
    .secret()
    .at_restart(),
    Setting::new(
        "timeout",
        DEADLINE,
        |config: &mut Config| &mut config.broker.timeout,
        "How long it may take to connect to it, and to answer anything. No client's request waits for it.",
    )
    .at_restart(),
];

const WORKER: &[Setting<Config>] = &[Setting::new(
    "memory",
    Bytes { least: MIB, most: u64::MAX >> 1 },
    |config: &mut Config| &mut config.worker.memory,
    "How much a worker keeps of what it got, while it is fresh: an edge that lost its cache is filled from \
         there, and the origin is not asked again.",
)
.at_restart()];

const CLUSTER: &[Setting<Config>] = &[
    Setting::new(
        "name",
        Text(typed::pseudonym),
        |config: &mut Config| &mut config.cluster.name,
        "The names at the broker begin with it: the stream NAME.purges, the exchange NAME.nodes, and what hidden \
         routes need (`forebay broker check` lists it). Nodes of one name at one broker are a cluster.",
    )
    .at_restart(),
    Setting::new(
        "max_disconnected",
        DEADLINE,
        |config: &mut Config| &mut config.cluster.max_disconnected,
        "How long a node that is cut off from the others trusts what it holds. After that, and again after \
         each such time, everything is stale: asked for anew where the origin answers.",
    )
    .at_restart(),
    Setting::new(
        "catch_up",
        TIME,
        |config: &mut Config| &mut config.cluster.catch_up,
        "How long a node that starts waits for the broker and for what it has missed, before it serves all \
         the same.",
    )
    .at_restart(),
    Setting::new(
        "keep",
        Time { least: Duration::from_secs(1), most: LONGEST },
        |config: &mut Config| &mut config.cluster.keep,
        "How long the stream keeps purges for nodes that are away; for one that is away for longer everything \
         it holds is stale. Counts when forebay makes the stream; an existing one stays as it is.",
    )
    .at_restart(),
    Setting::new(
        "keep_bytes",
        Bytes { least: 64 * KIB, most: u64::MAX >> 1 },
        |config: &mut Config| &mut config.cluster.keep_bytes,
        "How much the stream keeps at most. Counts when forebay makes the stream.",
    )
    .at_restart(),
    Setting::new(
        "admin_address",
        Text(typed::any_text),
        |config: &mut Config| &mut config.advertised_admin,
        "What the other nodes, and whoever asks them, are told to be this node's admin port; what \
         `admin.address` says if it is not set.",
    )
    .example("10.0.0.7:6090")
    .at_restart(),
];

const VARNISH_CLI: &[Setting<Config>] = &[
    Setting::new(
        "address",
        Plain,
        |config: &mut Config| &mut config.varnish_cli.address,
        "Where it listens: address and port. Off unless it is set. What is said on it is not encrypted.",
    )
    .example("127.0.0.1:6082")
    .at_restart(),
    Setting::new(
        "secret_file",
        Plain,
        |config: &mut Config| &mut config.varnish_cli.secret_file,
        "The file with the secret that both sides know (`varnishadm -S`); read for each connection. \
         Required for an address other than loopback.",
    )
    .example("/etc/varnish/secret")
    .at_restart(),
];

const STORE: &[Setting<Config>] = &[
    Setting::new(
        "memory",
        Bytes { least: MIB, most: 1 << 50 },
        |config: &mut Config| &mut config.store.memory,
        "How much memory stored responses may take, with heads, bodies and index.",
    )
    .at_restart(),
    Setting::new(
        "max_response_percent",
        Count { least: 1, most: 100 },
        |config: &mut Config| &mut config.store.max_response_percent,
        "The largest response that is kept, as percent of `memory`. A larger one is streamed and not \
         kept.",
    )
    .at_restart(),
    Setting::new(
        "max_variants",
        Count { least: 1, most: 10_000 },
        |config: &mut Config| &mut config.store.max_variants,
        "The most variants of one URL, as `Vary` tells them apart. The least recently used goes first.",
    )
    .at_restart(),
    Setting::new(
        "max_bans",
        Count { least: 1, most: 100_000 },
        |config: &mut Config| &mut config.store.max_bans,
        "The most bans and prefixes that have not been tested against everything stored. One more is \
         refused with 429.",
    )
    .at_restart(),
];

const COLLAPSE: &[Setting<Config>] = &[
    Setting::new(
        "max_flights",
        Count { least: 1, most: 10_000_000 },
        |config: &mut Config| &mut config.fetch.max_flights,
        "The most shared requests under way. One more gets a stale response or 503.",
    ),
    Setting::new(
        "max_followers",
        Count { least: 1, most: 10_000_000 },
        |config: &mut Config| &mut config.fetch.max_followers,
        "The most followers of one shared request. One more gets a stale response or 503.",
    ),
    Setting::new(
        "follower_wait",
        DEADLINE,
        |config: &mut Config| &mut config.fetch.follower_wait,
        "The longest that a follower waits for the head of the response.",
    ),
    Setting::new(
        "window",
        Bytes { least: 16 * KIB, most: 1 << 40 },
        |config: &mut Config| &mut config.fetch.window,
        "How many bytes are held for the readers of a body that is too large to keep.",
    ),
    Setting::new(
        "slow_reader",
        DEADLINE,
        |config: &mut Config| &mut config.fetch.slow_reader,
        "How long the slowest reader of such a body may hold up the others. Then it is cut off.",
    ),
    Setting::new(
        "max_filling_bytes",
        Bytes { least: MIB, most: 1 << 50 },
        |config: &mut Config| &mut config.fetch.max_filling_bytes,
        "The most bytes of all bodies that are on their way into the store. Beyond, new bodies are \
         streamed and not kept.",
    ),
];

const ACCESS_LOG: &[Setting<Config>] = &[
    Setting::new(
        "output",
        Plain,
        |config: &mut Config| &mut config.access_log.output,
        "Where the access log goes: \"off\", \"stdout\", or the path of a file. A file is opened anew \
         on SIGHUP.",
    )
    .at_restart(),
    Setting::new(
        "format",
        Plain,
        |config: &mut Config| &mut config.access_log.format,
        "How a line looks: \"json\" or \"combined\".",
    )
    .at_restart(),
    Setting::new(
        "buffer",
        Bytes { least: 4 * KIB, most: 256 * MIB },
        |config: &mut Config| &mut config.access_log.buffer,
        "How many bytes of lines may wait to be written, of each of at most 16 threads, and as many \
         may be on their way to the disk. Beyond, lines are dropped and counted.",
    )
    .at_restart(),
];

const LOG: &[Setting<Config>] = &[Setting::new(
    "level",
    Text(typed::log_filter),
    |config: &mut Config| &mut config.log.level,
    "How much the program says of itself: \"error\", \"warn\", \"info\", \"debug\" or \"trace\". \
         Directives such as \"info,forebay::fetch=debug\" tell parts of it apart.",
)
.at_restart()];

/// What `[[site]]` is about.
pub const SITE_TEXT: &str = "A site: hosts that share their routes. An exact host goes before the longest wildcard, and that \
     before \"*\". Without any site, there is one for every host.";

/// The settings of a `[[site]]`, its rules and routes apart.
pub static SITE: &[Setting<Site>] = &[
    Setting::new(
        "name",
        Text(typed::any_text),
        |site: &mut Site| &mut site.name,
        "What forebay calls it where it speaks of it. Its first host when it is left away.",
    )
    .example("shop"),
    Setting::new(
        "hosts",
        Plain,
        |site: &mut Site| &mut site.hosts,
        "The hosts it answers for, without port: \"example.org\", \"*.example.org\" for all below, or \
         \"*\" for all.",
    ),
    Setting::new(
        "origin",
        Text(typed::any_text),
        |site: &mut Site| &mut site.origin,
        "The name of the origin that it asks. May be left away where there is only one.",
    )
    .example("origin"),
    Setting::new(
        "write_origin",
        Text(typed::any_text),
        |site: &mut Site| &mut site.write_origin,
        "The name of the origin that gets requests with unsafe methods (POST and its like) on hidden routes. \
         Without one they are answered with 405.",
    )
    .example("origin"),
];

/// What `[[site.route]]` is about.
pub const ROUTE_TEXT: &str = "A route: a part of the site's paths with rules of its own. The first one that \
     matches wins; paths that no route names follow the site's rules.";

/// The settings of a `[[site.route]]`, its rules apart.
pub static ROUTE: &[Setting<Route>] = &[
    Setting::new(
        "name",
        Text(typed::any_text),
        |route: &mut Route| &mut route.name,
        "What forebay calls it where it speaks of it. Its path or expression when it is left away.",
    )
    .example("images"),
    Setting::new(
        "path",
        Text(typed::path_prefix),
        |route: &mut Route| &mut route.path,
        "The beginning of the paths it answers for.",
    )
    .example("/img/"),
    Setting::new(
        "match",
        Plain,
        |route: &mut Route| &mut route.matches,
        "A regular expression that finds a match in the paths it answers for, in place of `path`. It \
         never sees the query.",
    )
    .example("\\.(png|jpg)$"),
    Setting::new(
        "origin",
        Text(typed::any_text),
        |route: &mut Route| &mut route.origin,
        "The name of the origin that it asks, in place of the site's.",
    )
    .example("origin"),
    Setting::new(
        "write_origin",
        Text(typed::any_text),
        |route: &mut Route| &mut route.write_origin,
        "The name of the origin that gets its requests with unsafe methods, in place of the site's.",
    )
    .example("origin"),
];

/// The setting at a dotted path of a section, such as `store.memory`.
pub fn in_section(path: &str) -> Option<&'static Setting<Config>> {
    let (section, key) = path.split_once('.')?;
    let section = SECTIONS.iter().find(|known| known.name == section)?;
    section.settings.iter().find(|setting| setting.key == key)
}

/// The help of the flag for a setting of a section: the first sentence about it,
/// and its default.
pub fn flag_help(path: &str) -> String {
    let Some(setting) = in_section(path) else { return String::new() };
    match setting.shown(&mut Config::built_in()) {
        typed::Shown::Text(default) => format!("{} [default: {default}]", setting.summary()),
        _ => setting.summary().to_owned(),
    }
}

impl Default for Origin {
    fn default() -> Self {
        Origin::of(origin::Settings::default(), Agreed::default())
    }
}

impl Origin {
    /// What is written for these settings.
    pub fn of(settings: origin::Settings, agreed: Agreed) -> Self {
        let probed = settings.probe.as_ref().map(|probe| probe.target.clone());
        let probe = settings.probe.clone().unwrap_or_default();
        let tls = settings.tls.as_ref().map(|tls| tls.settings().clone()).unwrap_or_default();
        Origin { settings, tls, probed, probe, agreed }
    }

    /// The settings that are written; its files are read.
    pub fn settings(&self) -> Result<origin::Settings, origin::tls::Unusable> {
        let speaks = self.settings.servers.iter().any(|server| server.tls);
        let by_service = |server: &origin::Server| server.tls && matches!(server.name, Name::Service(_));
        if self.settings.servers.iter().any(by_service) && self.tls.name.is_none() && self.tls.ca.is_none() {
            return Err(origin::tls::Unusable {
                setting: "tls_name",
                problem: "a service over TLS whose servers may have any name that DNS says".to_owned(),
                cure: "Set tls_name to the name that they have to prove, or tls_ca to who alone issues their certificates.",
            });
        }
        let tls = speaks.then(|| origin::tls::Tls::new(&self.tls)).transpose()?;
        let probe =
            |target: &String| origin::probe::Settings { target: target.clone(), ..self.probe.clone() };
        Ok(origin::Settings { probe: self.probed.as_ref().map(probe), tls, ..self.settings.clone() })
    }
}

impl Default for Site {
    fn default() -> Self {
        Site { name: None, hosts: vec![HostPattern::Any], origin: None, write_origin: None }
    }
}
