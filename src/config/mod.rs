//! The configuration: the only place that knows the file's format.
//!
//! What was *written*, in a file and with flags, is a tree of values that know
//! their place (`written`); what is *usable* is a [`Config`], built from the
//! settings that each part owns. Between the two stands one set of tables
//! (`settings`) in which every setting is declared once.
//!
//! A `Config` is always whole and sound: [`read`] gives either that or every
//! fault there is, never the first one alone. No part of forebay reads a file
//! or a flag itself, and nothing here opens a socket or asks an origin.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::observe::access_log;
use crate::origin::resolve;
use crate::policy::hop::DEFAULT_NAME;
use crate::policy::site::{Presentation, Rules, Sites};
use crate::repopulate::{self, Agreed};
use crate::{admin, broker, cluster, fetch, listen, origin, serve, shed, store};

mod check;
mod fault;
mod flags;
mod nearest;
mod origins;
pub mod reload;
mod render;
mod settings;
mod typed;
pub mod units;
mod written;

pub use fault::{Fault, Faults};
pub use flags::Flags;
pub use render::documented;

/// Everything that a node is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The clients' port.
    pub listen: listen::Settings,
    /// The operators' port.
    pub admin: admin::Settings,
    /// Purging on the clients' port.
    pub purge: serve::PurgeSettings,
    /// The port that speaks as Varnish's does.
    pub varnish_cli: admin::VarnishCliSettings,
    /// Where responses are kept.
    pub store: store::Settings,
    /// Collapsing and streaming.
    pub fetch: fetch::Settings,
    /// What is turned away when there is too much.
    pub shed: shed::Settings,
    /// How requests are presented to the cache.
    pub presentation: Presentation,
    /// The sites, each with a last route that takes every path.
    pub sites: Sites,
    /// How the names of origins are looked up.
    pub dns: resolve::Settings,
    /// The origins; an `OriginId` counts in this list.
    pub origins: Vec<origin::Settings>,
    /// What was agreed with the owners of the origins, in the same order.
    pub agreed: Vec<Agreed>,
    /// Hidden routes.
    pub hidden: repopulate::Settings,
    /// What is warmed, and how often.
    pub warm: repopulate::warm::Settings,
    /// Workers of hidden routes.
    pub worker: WorkerSettings,
    /// One line for each request.
    pub access_log: access_log::Settings,
    /// The program's own log.
    pub log: Log,
    /// The node as a whole.
    pub node: NodeSettings,
    /// The broker that nodes meet at.
    pub broker: broker::Settings,
    /// How they keep together.
    pub cluster: cluster::Settings,
    /// What the others are told to be this node's admin port.
    pub advertised_admin: Option<String>,
}

/// The program's own log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// What is logged, as a directive of `tracing`'s `EnvFilter`.
    pub level: String,
}

/// A worker of hidden routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerSettings {
    /// The most bytes of what it keeps.
    pub memory: u64,
}

/// The node as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSettings {
    /// Its pseudonym in `Via` and `Cache-Status`.
    pub name: String,
    /// How long requests under way may take to finish after SIGTERM.
    pub drain: Duration,
    /// Where it keeps what must outlive it.
    pub state: Option<PathBuf>,
    /// How many threads serve requests; 0 stands for one per core.
    pub threads: usize,
}

/// Reads a configuration: `text` stands in `source_name`, and `flags` win over it.
pub fn read(source_name: &str, text: &str, flags: &Flags) -> Result<Config, Faults> {
    check::check(source_name, text, flags)
}

/// Reads the configuration of a file, or of the flags alone.
pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Config, Faults> {
    let Some(path) = file else {
        return read("forebay", "", flags);
    };
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| {
        Faults::of_source(
            &name,
            format!("cannot be read ({error})"),
            "Give the path of a configuration file; `forebay config` prints one to begin with.".to_owned(),
        )
    })?;
    let text = String::from_utf8(text).map_err(|_| {
        Faults::of_source(&name, "not UTF-8 text".to_owned(), "Save the file as UTF-8.".to_owned())
    })?;
    read(&name, &text, flags)
}

impl Config {
    /// The settings in force for the admin port, as JSON, secrets as `***`.
    pub fn redacted_json(&self) -> serde_json::Value {
        render::json(self)
    }

    /// All rules of all routes.
    pub fn rules(&self) -> impl Iterator<Item = &Rules> {
        self.sites.iter().flat_map(|site| &site.routes).map(|route| &*route.rules)
    }

    /// What holds where nothing is said: no origin, no site.
    fn built_in() -> Self {
        Config {
            listen: listen::Settings::default(),
            admin: admin::Settings::default(),
            purge: Default::default(),
            varnish_cli: Default::default(),
            store: store::Settings::default(),
            fetch: fetch::Settings::default(),
            shed: shed::Settings::default(),
            presentation: Presentation::default(),
            sites: Sites::default(),
            dns: resolve::Settings::default(),
            origins: Vec::new(),
            agreed: Vec::new(),
            hidden: repopulate::Settings::default(),
            warm: repopulate::warm::Settings::default(),
            worker: WorkerSettings { memory: 256 * 1024 * 1024 },
            access_log: access_log::Settings {
                output: access_log::Output::Off,
                format: access_log::Format::Json,
                buffer: 4 * 1024 * 1024,
            },
            log: Log { level: "info".to_owned() },
            node: NodeSettings {
                name: DEFAULT_NAME.to_owned(),
                drain: Duration::from_secs(30),
                state: None,
                threads: 0,
            },
            broker: broker::Settings::default(),
            cluster: cluster::Settings::default(),
            advertised_admin: None,
        }
    }
}
