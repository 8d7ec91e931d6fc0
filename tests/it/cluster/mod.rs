//! Several nodes around one RabbitMQ: what one of them is told to purge, all do.

mod spread;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::rabbit::{Rabbit, unique};
use crate::harness::{PATIENCE, World, breathe};
use crate::purge::{OWN, post};

/// The place that a node takes in a cluster.
#[derive(Clone)]
struct Place {
    broker: SocketAddr,
    cluster: String,
}

impl Place {
    /// In a cluster that no other test knows.
    fn new(broker: SocketAddr) -> Place {
        Place { broker, cluster: unique("test") }
    }

    /// The settings of a node of this name there; `more` are further ones of `[cluster]`.
    fn settings(&self, name: &str, more: &str) -> String {
        let (url, cluster) = (Rabbit::url(self.broker), &self.cluster);
        format!(
            "[broker]\nurls = [\"{url}\"]\ntimeout = \"2s\"\n[cluster]\nname = \"{cluster}\"\n{more}\n[node]\nname = \"{name}\"\n"
        )
    }

    /// The first node, with an origin of its own.
    async fn first(&self, name: &str) -> World {
        let world = World::start(&self.settings(name, "")).await;
        in_touch(&world).await;
        world
    }

    /// One more, in front of the same origin.
    async fn beside(&self, world: &World, name: &str) -> World {
        let world = world.beside(&self.settings(name, "")).await;
        in_touch(&world).await;
        world
    }

    /// Three nodes that have heard of each other.
    async fn three(&self) -> [World; 3] {
        let a = self.first("a").await;
        let b = self.beside(&a, "b").await;
        let c = self.beside(&a, "c").await;
        let all = [a, b, c];
        for world in &all {
            world.until("three nodes", |counters| counters.cluster_nodes.get() == 3).await;
        }
        all
    }
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
async fn ask(world: &World, path: &str) -> Value {
    let reply = world.operator().await.get_with(path, &[OWN]).await;
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.text()))
}

/// The names of the nodes on which a purge holds that this node accepted.
async fn reached(world: &World, sequence: u64) -> Vec<String> {
    let shown = ask(world, &format!("/v1/purges/{sequence}")).await;
    let nodes = shown["nodes"].as_array().unwrap_or_else(|| panic!("a list in {shown}"));
    nodes.iter().map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
}

/// Waits until a purge holds on so many nodes, this one among them.
async fn until_reached(world: &World, sequence: u64, nodes: usize) {
    let wait = async {
        while reached(world, sequence).await.len() < nodes {
            breathe().await;
        }
    };
    world.transcript.within(&format!("purge {sequence} on {nodes} nodes"), wait).await;
}

/// Purges by a tag, and returns the number and what was answered.
async fn purge_tag(world: &World, tag: &str) -> (u64, Value) {
    let answer = post(world, "/v1/purge", &json!({ "tag": tag })).await;
    (answer["sequence"].as_u64().unwrap_or_else(|| panic!("a number in {answer}")), answer)
}
