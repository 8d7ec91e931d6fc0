//! A whole world: an origin, a node in front of it, and as many clients as needed.

use std::time::Duration;

use forebay::clock::{Clock, Wall};
use forebay::config::{self, Flags};
use forebay::node::Node;
use forebay::observe::counters::Counters;

use super::{Client, Origin, Reply, Transcript, breathe};

/// An origin and a node in front of it.
pub struct World {
    /// The origin.
    pub origin: Origin,
    /// The node.
    pub node: Node,
    /// Its wall time.
    pub clock: Clock,
    /// Everything that was said.
    pub transcript: Transcript,
}

/// When every world begins: 2027-01-15 08:00:00 UTC.
pub const BEGINNING: Wall = Wall::from_secs(1_800_000_000);

impl World {
    /// A world with the defaults, and `settings` (TOML) on top.
    pub async fn start(settings: &str) -> World {
        let transcript = Transcript::default();
        let origin = Origin::start(transcript.clone()).await;
        Self::with(origin, Clock::manual(BEGINNING), transcript, settings).await
    }

    /// Another node in front of the same origin, with the same wall time.
    pub async fn beside(&self, settings: &str) -> World {
        let (origin, clock, transcript) = (self.origin.clone(), self.clock.clone(), self.transcript.clone());
        Self::with(origin, clock, transcript, settings).await
    }

    /// A node in front of an origin that is there already.
    pub async fn again(origin: Origin, settings: &str) -> World {
        Self::with(origin, Clock::manual(BEGINNING), Transcript::default(), settings).await
    }

    /// A node in front of an origin that is there already, and whose time is the real one.
    pub async fn real(origin: Origin, settings: &str) -> World {
        Self::with(origin, Clock::System, Transcript::default(), settings).await
    }

    async fn with(origin: Origin, clock: Clock, transcript: Transcript, settings: &str) -> World {
        let text = Self::config_text(&origin, settings);
        let config = match config::read("test", &text, &Flags::default()) {
            Ok(config) => config,
            Err(faults) => panic!("{faults}"),
        };
        let node = Node::start(config, clock.clone()).await.expect("the node starts");
        World { origin, node, clock, transcript }
    }

    /// The configuration of such a world. A setting of `[listen]`, `[admin]`
    /// or `[[origin]]` goes into `settings` as `listen.NAME = ...` and so on.
    pub fn config_text(origin: &Origin, settings: &str) -> String {
        let section = |prefix: &str| -> String {
            settings
                .lines()
                .filter_map(|line| line.trim().strip_prefix(prefix))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        let rest: String = settings
            .lines()
            .filter(|line| {
                !["listen.", "admin.", "origin."].iter().any(|prefix| line.trim().starts_with(prefix))
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let own = if section("origin.").contains("url = ") {
            String::new()
        } else {
            format!("url = \"http://{}\"\n", origin.address())
        };
        format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n{}[admin]\naddress = \"127.0.0.1:0\"\n{}[[origin]]\nname = \"o\"\n{own}{}\n{rest}",
            section("listen."),
            section("admin."),
            section("origin."),
        )
    }

    /// A new connection.
    pub async fn client(&self, name: &str) -> Client {
        Client::connect(self.node.address(), self.transcript.clone(), name).await
    }

    /// A connection to the admin port.
    pub async fn operator(&self) -> Client {
        Client::connect(self.node.admin_address(), self.transcript.clone(), "operator").await
    }

    /// `GET` over a connection of its own.
    pub async fn get(&self, path: &str) -> Reply {
        self.client("client").await.get(path).await
    }

    /// `GET` with more fields, over a connection of its own.
    pub async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.client("client").await.get_with(path, fields).await
    }

    /// `PURGE` on the admin port; returns how many responses it hit.
    pub async fn purge(&self, path: &str) -> u64 {
        let reply = self.operator().await.ask("PURGE", path, &[], b"").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        answer["purged"].as_u64().expect("a number")
    }

    /// Lets wall time pass.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Everything that is counted.
    pub fn counters(&self) -> &Counters {
        self.node.counters()
    }

    /// Waits until `condition` holds for the counters.
    pub async fn until(&self, why: &str, condition: impl Fn(&Counters) -> bool) {
        let wait = async {
            while !condition(self.counters()) {
                breathe().await;
            }
        };
        self.transcript.within(why, wait).await;
    }

    /// Waits until nothing is under way.
    pub async fn settled(&self) {
        self.until("nothing to be under way", |c| {
            c.flights_open.get() == 0 && c.requests_under_way.get() == 0
        })
        .await;
    }
}
