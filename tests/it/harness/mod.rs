//! A scripted origin, a node in front of it, clients that send exact bytes, and a
//! broker.
//!
//! What always holds: ports are free ones on loopback; whoever waits, waits for a
//! condition, and panics with the whole transcript when it does not come true;
//! wall time stands still until a scenario advances it.

pub mod client;
pub mod dns;
pub mod origin;
pub mod rabbit;
pub mod secure;
pub mod wire;
pub mod world;

pub use client::{Client, Reply};
pub use origin::Origin;
pub use rabbit::Rabbit;
pub use wire::Wire;
pub use world::World;

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The longest that anything is waited for. It only ends what would never end.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that was said on all sides, in order.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<Vec<String>>>);

impl Transcript {
    /// Notes what somebody said.
    pub fn note(&self, who: &str, bytes: &[u8]) {
        let shown = if bytes.len() > 2000 { &bytes[..2000] } else { bytes };
        let text = String::from_utf8_lossy(shown).replace("\r\n", "\n      ");
        self.0.lock().expect("transcript").push(format!("{who}: {text}"));
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.0.lock().expect("transcript").join("\n")
    }

    /// Ends the test with all of it.
    pub fn fail(&self, why: &str) -> ! {
        panic!("{why}\n--- transcript ---\n{}", self.text());
    }

    /// Waits for `what` to come to its end.
    pub async fn within<T>(&self, why: &str, what: impl Future<Output = T>) -> T {
        match tokio::time::timeout(PATIENCE, what).await {
            Ok(value) => value,
            Err(_) => self.fail(&format!("in vain: {why}")),
        }
    }
}

/// Lets other tasks go on; for loops that look at a condition.
pub async fn breathe() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}
