//! How long a purge takes to hold on three nodes. Ignored: it measures.
//!
//! `cargo test --release --test it propagation -- --ignored --nocapture` shows the figures.

use std::time::{Duration, Instant};

use super::{OWN, Place, purge_tag};
use crate::harness::rabbit::shared;

const PURGES: usize = 1000;

fn show(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what:<44} p50 {:>8.2?}  p99 {:>8.2?}  most {:>8.2?}", at(0.5), at(0.99), at(1.0));
    at(0.99)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and takes a while"]
async fn a_purge_holds_on_three_nodes_within_50_ms() {
    let nodes = Place::new(shared().await).three().await;
    let (mut answered, mut holds, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    let mut watching = nodes[0].operator().await;
    for n in 0..PURGES {
        // Purges come at any moment of the others' round.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..20_000))).await;
        let before: Vec<u64> = nodes.iter().map(|world| world.counters().cluster_applied.get()).collect();
        let began = Instant::now();
        let (sequence, _) = purge_tag(&nodes[0], &n.to_string()).await;
        answered.push(began.elapsed());
        while (1..3).any(|node| nodes[node].counters().cluster_applied.get() == before[node]) {
            tokio::task::yield_now().await;
        }
        holds.push(began.elapsed());
        loop {
            let reply = watching.get_with(&format!("/v1/purges/{sequence}"), &[OWN]).await;
            let shown: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
            if shown["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{shown}");
        }
        listed.push(began.elapsed());
    }
    println!();
    show("from asking to the answer", answered);
    let holds = show("from asking until it holds on three nodes", holds);
    let listed = show("from asking until all three are listed", listed);
    assert!(holds < Duration::from_millis(50) && listed < Duration::from_millis(50));
}
