//! Purging: what it hits, who may, and what it does to responses on their way.

mod admin;
mod client_port;
mod clients;
mod fence;
mod hidden;
pub mod journal;
mod kinds;
mod model;
mod tags;
mod varnish_cli;

use serde_json::Value;

use crate::harness::World;
use crate::harness::origin::response;

/// The admin port's own name.
pub const OWN: (&str, &str) = ("Host", "127.0.0.1");

/// Stores a response under each host and path, with these fields.
pub async fn fill(world: &World, places: &[(&str, &str)], more: &'static [(&str, &str)]) {
    for (host, path) in places {
        world.origin.on(path, move |seen, _| {
            let own = [("Cache-Control", "max-age=600"), ("X-Path", seen.target.as_str())];
            response("200 OK", &[&own, more].concat(), "x")
        });
        world.get_with(path, &[("Host", host)]).await;
        world.settled().await;
    }
}

/// Which of them are still answered from the store. Looks without asking the origin.
pub async fn left(world: &World, places: &[(&str, &str)]) -> Vec<usize> {
    let mut left = Vec::new();
    for (at, (host, path)) in places.iter().enumerate() {
        let fields = [("Host", *host), ("Cache-Control", "only-if-cached")];
        if world.get_with(path, &fields).await.status == 200 {
            left.push(at);
        }
    }
    left
}

/// `POST` of JSON to the admin port, and what it answered.
pub async fn post(world: &World, path: &str, body: &Value) -> Value {
    let fields = [OWN, ("Content-Type", "application/json")];
    let reply = world.operator().await.ask("POST", path, &fields, body.to_string().as_bytes()).await;
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.text()))
}
