//! Hidden routes, the whole of them in one process: what clients get, what the origin
//! sees, and how the cache is filled in between.

mod answers;
mod budgets;
mod conditions;
mod fence;
mod leases;
mod lost_cache;
mod mixed;
mod rate;
mod seen;
mod stale;
mod unfillable;
mod variants;

use std::path::Path;

use forebay::repopulate::Wanted;
use forebay::repopulate::known::{self, Known};

use crate::harness::origin::Gate;
use crate::harness::{Reply, World, breathe};
use crate::purge::journal::Directory;

/// A world in which everything is hidden, with these rules and these further settings.
/// The rate is so high that no scenario waits for it.
pub async fn hidden(rules: &str, settings: &str) -> World {
    let agreed = if settings.contains("origin.rate") { "" } else { "origin.rate = \"10000/s\"\n" };
    World::start(&format!("{agreed}{settings}\n[rules]\nmode = \"hidden\"\n{rules}")).await
}

/// Waits until there were so many fills.
async fn fills(world: &World, n: u64) {
    world.until("fills to be kept", |c| c.fills_kept.get() >= n).await;
}

/// Asks for what is not there, waits until it is, and asks again.
async fn filled(world: &World, path: &str) -> Reply {
    let before = world.counters().fills_kept.get();
    let miss = world.get(path).await;
    assert!(miss.status == 503 || miss.status == 504, "{miss:?}");
    fills(world, before + 1).await;
    world.get(path).await
}

/// What `Proxy-Status` says of this node, without its name.
fn proxy_status(reply: &Reply) -> &str {
    let status = reply.field("proxy-status").unwrap_or_else(|| panic!("a Proxy-Status: {reply:?}"));
    status.strip_prefix("forebay; ").unwrap_or_else(|| panic!("this node's: {status}"))
}

/// Asks again and again, until the answer is another one than that it is expected.
async fn until_decided(world: &World, path: &str) -> Reply {
    let asking = async {
        loop {
            let reply = world.get(path).await;
            if reply.status == 200 || !proxy_status(&reply).contains("\"queued") {
                break reply;
            }
            breathe().await;
        }
    };
    world.transcript.within("something to become of it", asking).await
}

/// Makes these paths known to a node that begins with this directory, as if they had
/// been filled before.
fn make_known(directory: &Directory, capacity: usize, paths: &[String]) {
    let mut known = Known::new(capacity);
    for path in paths {
        let wanted = Wanted {
            scheme: "http".to_owned(),
            host: "www.example.org".to_owned(),
            port: 80,
            target: path.clone(),
            vary: Vec::new(),
        };
        known.learn(wanted.known_id());
    }
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let bytes = known.take_changes().expect("keys");
    known::save(&Path::new(&directory.path()).join("known-keys"), &bytes).expect("written");
}

/// Seconds to wait.
fn retry_after(reply: &Reply) -> u64 {
    reply.field("retry-after").and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{reply:?}"))
}

/// Lets every request for `path` wait at the gate before it is answered.
fn gated(world: &World, path: &str, gate: &Gate, cache_control: &'static str) {
    use crate::harness::origin::{Step, ok};
    let gate = gate.clone();
    world.origin.on(path, move |_, n| {
        let mut script = vec![Step::Wait(gate.clone())];
        script.extend(ok(cache_control, &n.to_string()));
        script
    });
}
