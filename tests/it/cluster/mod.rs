//! Several nodes around one RabbitMQ: what one of them is told to purge, all do.

mod away;
mod broker;
pub mod command;
mod cut;
mod propagation;
mod spread;
mod storm;
mod stream;
mod tiers;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::rabbit::{self, unique};
use crate::harness::{World, breathe};
use crate::purge::{OWN, fill, post};

/// A page that every node of a test stores.
const PAGE: [(&str, &str); 1] = [("www.example.org", "/a")];

/// The place that nodes take in a cluster.
#[derive(Clone)]
struct Place {
    broker: SocketAddr,
    cluster: String,
    more: String,
}

impl Place {
    /// In a cluster that no other test knows.
    fn new(broker: SocketAddr) -> Place {
        Place { broker, cluster: unique("test"), more: String::new() }
    }

    /// The same cluster, with the broker at another address.
    fn through(&self, broker: SocketAddr) -> Place {
        Place { broker, ..self.clone() }
    }

    /// With further settings of `[cluster]`.
    fn with(&self, more: &str) -> Place {
        Place { more: format!("{}{more}\n", self.more), ..self.clone() }
    }

    /// The settings of a node of this name there; its section comes last.
    fn settings(&self, name: &str) -> String {
        let Place { broker, cluster, more } = self;
        let url = rabbit::url(*broker);
        format!(
            "[broker]\nurls = [\"{url}\"]\ntimeout = \"2s\"\n[cluster]\nname = \"{cluster}\"\n{more}\n[node]\nname = \"{name}\"\n"
        )
    }

    /// The first node, with an origin of its own.
    async fn first(&self, name: &str) -> World {
        let world = World::start(&self.settings(name)).await;
        in_touch(&world).await;
        world
    }

    /// One more, in front of the same origin.
    async fn beside(&self, world: &World, name: &str) -> World {
        let world = world.beside(&self.settings(name)).await;
        in_touch(&world).await;
        world
    }

    /// Two nodes that have heard of each other, each with the [`PAGE`].
    async fn two(&self) -> [World; 2] {
        let a = self.first("a").await;
        let b = self.beside(&a, "b").await;
        company([a, b]).await
    }

    /// Three of them.
    async fn three(&self) -> [World; 3] {
        let a = self.first("a").await;
        let b = self.beside(&a, "b").await;
        let c = self.beside(&a, "c").await;
        company([a, b, c]).await
    }
}

/// Waits until the nodes have heard of each other, and stores the [`PAGE`] on each.
async fn company<const N: usize>(nodes: [World; N]) -> [World; N] {
    for world in &nodes {
        world.until("company", |counters| counters.cluster_nodes.get() == N as u64).await;
        fill(world, &PAGE, &[("Surrogate-Key", "news")]).await;
    }
    nodes
}

/// Waits until a node has caught up and is in touch.
async fn in_touch(world: &World) {
    world.until("in touch with the cluster", |counters| counters.cluster_connected.get() == 1).await;
}

/// Waits until a node has noticed that it is not in touch.
async fn out_of_touch(world: &World) {
    world.until("out of touch with the cluster", |counters| counters.cluster_connected.get() == 0).await;
}

/// `GET` of JSON on the admin port.
pub async fn ask(world: &World, path: &str) -> Value {
    let reply = world.operator().await.get_with(path, &[OWN]).await;
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.text()))
}

/// The names of the nodes on which a purge holds that this node accepted.
async fn reached(world: &World, sequence: u64) -> Vec<String> {
    let shown = ask(world, &format!("/v1/purges/{sequence}")).await;
    let nodes = shown["nodes"].as_array().unwrap_or_else(|| panic!("a list in {shown}"));
    nodes.iter().map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
}

/// Waits until a purge holds on so many nodes, the accepting one among them.
async fn until_reached(world: &World, sequence: u64, nodes: usize) {
    let wait = async {
        while reached(world, sequence).await.len() < nodes {
            breathe().await;
        }
    };
    world.transcript.within(&format!("purge {sequence} on {nodes} nodes"), wait).await;
}

/// The tags that this node has purged on behalf of others, oldest first.
async fn foreign_tags(world: &World) -> Vec<String> {
    let list = ask(world, "/v1/purges").await;
    let all = list["purges"].as_array().expect("a list").iter().rev();
    let foreign = all.filter(|purge| purge["own"] == json!(false));
    foreign.map(|purge| purge["what"][0]["tag"].as_str().unwrap_or("none").to_owned()).collect()
}

/// Waits until this node has purged so many things on behalf of others.
async fn until_applied(world: &World, count: u64) {
    world.until("purges of the others", |counters| counters.cluster_applied.get() >= count).await;
}

/// Purges by a tag, and returns the number and what was answered.
async fn purge_tag(world: &World, tag: &str) -> (u64, Value) {
    let answer = post(world, "/v1/purge", &json!({ "tag": tag })).await;
    (answer["sequence"].as_u64().unwrap_or_else(|| panic!("a number in {answer}")), answer)
}
