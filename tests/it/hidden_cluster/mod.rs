//! Edges and workers around one RabbitMQ: a miss is told by an edge, got by a worker, and
//! kept by all edges; and none of them goes down with the broker.

mod broker;
mod fills;
mod process;
mod trust;
mod workers;

use std::net::SocketAddr;

use forebay::clock::Clock;
use forebay::config::{self, Config, Flags};
use forebay::node::Node;
use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::harness::origin::ok;
use crate::harness::rabbit::{self, unique};
use crate::harness::{Origin, Reply, Transcript, World, breathe};

/// Where edges and workers of a test meet.
#[derive(Clone)]
struct Place {
    broker: SocketAddr,
    cluster: String,
    origin: Origin,
    transcript: Transcript,
    more: String,
}

impl Place {
    /// In a cluster that no other test knows, in front of an origin of its own.
    async fn new(broker: SocketAddr) -> Place {
        let transcript = Transcript::default();
        let origin = Origin::start(transcript.clone()).await;
        Place { broker, cluster: unique("hidden"), origin, transcript, more: String::new() }
    }

    /// The same, with the broker at another address.
    fn through(&self, broker: SocketAddr) -> Place {
        Place { broker, ..self.clone() }
    }

    /// With further settings; those of an origin as `origin.NAME`, of the section
    /// `[hidden]` without anything before them.
    fn with(&self, more: &str) -> Place {
        Place { more: format!("{}{more}\n", self.more), ..self.clone() }
    }

    fn text(&self, name: &str) -> String {
        let Place { cluster, more, .. } = self;
        let url = rabbit::url(self.broker);
        let settings = format!(
            "[broker]\nurls = [\"{url}\"]\ntimeout = \"2s\"\n[cluster]\nname = \"{cluster}\"\n\
             [node]\nname = \"{name}\"\n[rules]\nmode = \"hidden\"\n\
             [hidden]\nsecrets = [\"0123456789abcdef0123456789abcdef\"]\nunknown_rate = \"100000/s\"\n\
             client_rate = \"off\"\n{more}\n"
        );
        let rate = if more.contains("origin.rate") {
            ""
        } else {
            "origin.rate = \"1000/s\"\norigin.concurrency = 50\n"
        };
        World::config_text(&self.origin, &format!("{settings}{rate}"))
    }

    fn config(&self, name: &str) -> Config {
        match config::read("test", &self.text(name), &Flags::default()) {
            Ok(config) => config,
            Err(faults) => panic!("{faults}"),
        }
    }

    fn world(&self, node: Node) -> World {
        let (origin, transcript) = (self.origin.clone(), self.transcript.clone());
        World { origin, node, clock: Clock::System, transcript }
    }

    /// An edge that is connected to the broker.
    async fn edge(&self, name: &str) -> World {
        let world = self.world(Node::start(self.config(name), Clock::System).await.expect("an edge"));
        connected(&world).await;
        reads(&world, 1).await;
        world
    }

    /// A worker that is connected to the broker.
    async fn worker(&self, name: &str) -> World {
        let world =
            self.world(Node::start_worker(self.config(name), Clock::System, None).await.expect("a worker"));
        connected(&world).await;
        // Misses, outcomes, work.
        reads(&world, 3).await;
        world
    }

    /// A node on a runtime of its own, to be ended as a crash would.
    async fn mortal(&self, name: &str, is_worker: bool) -> Mortal {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let config = self.config(name);
        let started = runtime.spawn(async move {
            match is_worker {
                true => Node::start_worker(config, Clock::System, None).await,
                false => Node::start(config, Clock::System).await,
            }
        });
        let world = self.world(started.await.expect("no panic").expect("a node"));
        connected(&world).await;
        reads(&world, if is_worker { 3 } else { 1 }).await;
        Mortal { world, runtime: Some(runtime) }
    }

    /// The broker itself.
    async fn channel(&self) -> Channel {
        let url = rabbit::url(self.broker);
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("a broker");
        connection.create_channel().await.expect("a channel")
    }

    fn queue(&self, what: &str) -> String {
        format!("{}.{what}", self.cluster)
    }

    /// How many messages wait in a queue, and how many read it.
    async fn waiting(&self, what: &str) -> (u32, u32) {
        let options = QueueDeclareOptions::durable().passive();
        let channel = self.channel().await;
        let asked = channel.queue_declare(self.queue(what).into(), options, FieldTable::default()).await;
        let queue = asked.unwrap_or_else(|error| panic!("the queue {what}: {error}"));
        (queue.message_count(), queue.consumer_count())
    }

    /// Waits until so many messages wait in a queue.
    async fn until_waiting(&self, what: &str, count: u32) {
        let wait = async {
            while self.waiting(what).await.0 != count {
                breathe().await;
            }
        };
        self.transcript.within(&format!("{count} messages in {what}"), wait).await;
    }

    /// Publishes a message, past all that forebay does.
    async fn publish(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let channel = self.channel().await;
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
        sent.expect("sent").await.expect("published");
        channel.close(200, "done".into()).await.expect("closed");
    }

    /// Takes a message out of a queue.
    async fn take(&self, what: &str) -> Option<lapin::message::BasicGetMessage> {
        let channel = self.channel().await;
        let options = BasicGetOptions { no_ack: true };
        channel.basic_get(self.queue(what).into(), options).await.expect("asked")
    }
}

/// A node that can be killed.
struct Mortal {
    world: World,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Mortal {
    /// Ends it at once, wherever it is.
    fn kill(mut self) {
        self.runtime.take().expect("it lives").shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until a node is connected to the broker, in both of its ways.
async fn connected(world: &World) {
    world
        .until("connected to the broker", |counters| {
            counters.broker_connected.get() == 1 && counters.cluster_connected.get() == 1
        })
        .await;
}

/// Waits until a node reads so many queues.
async fn reads(world: &World, queues: u64) {
    world.until("reading", |counters| counters.broker_reading.get() == queues).await;
}

/// Waits until a node has noticed that it is not.
async fn disconnected(world: &World) {
    world.until("no connection to the broker", |counters| counters.broker_connected.get() == 0).await;
}

/// Asks until there is an answer; until then there is always 503 with a hint.
async fn until_hit(world: &World, path: &str) -> Reply {
    let wait = async {
        loop {
            let reply = world.get(path).await;
            if reply.status != 503 {
                return reply;
            }
            assert!(reply.field("retry-after").is_some(), "{}", reply.text());
            breathe().await;
        }
    };
    world.transcript.within(&format!("an answer to {path}"), wait).await
}

/// `200`, fresh for a long time.
fn fresh(body: &str) -> Vec<crate::harness::origin::Step> {
    ok("max-age=600", body)
}
