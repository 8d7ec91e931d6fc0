//! The command line, asked of a node in a cluster.

use serde_json::{Value, json};
use tokio::process::Command;

use super::{PAGE, Place, out_of_touch};
use crate::harness::rabbit::shared;
use crate::harness::{Wire, World};
use crate::purge::left;

/// Runs a command against a node: the exit code, the output and what went wrong.
pub async fn run(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    let admin = world.node.admin_address().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(arguments).args(["--admin", &admin]).env_remove("FOREBAY_ADMIN_TOKEN");
    let output = world.transcript.within("the command to end", command.output()).await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_purge_that_waits_returns_when_it_holds_everywhere() {
    let nodes = Place::new(shared().await).three().await;
    let (code, out, err) = run(&nodes[1], &["purge", "--wait", "--tag", "news"]).await;
    assert_eq!(code, Some(0), "{err}");
    for world in &nodes {
        assert!(left(world, &PAGE).await.is_empty());
    }
    let (_, names) = out.trim_end().split_once("\nholds on ").expect("names");
    let mut names: Vec<&str> = names.split(", ").collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"], "{out}");
    let (code, out, _) = run(&nodes[1], &["purge", "--wait", "--json", "--all"]).await;
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, answer["nodes"].as_array().map(Vec::len)), (Some(0), Some(3)), "{out}");
    assert_eq!(answer["waiting_for"], json!([]));
}

#[tokio::test]
async fn one_that_waits_in_vain_says_for_whom_and_exits_with_three() {
    let place = Place::new(shared().await);
    let wire = Wire::to(place.broker).await;
    let a = place.through(wire.address()).first("a").await;
    wire.cut();
    out_of_touch(&a).await;
    let (code, out, err) = run(&a, &["purge", "--tag", "news"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("the other nodes learn of it later"), "{out}");
    let (code, out, err) = run(&a, &["purge", "--wait", "--timeout", "50ms", "--tag", "news"]).await;
    assert_eq!(code, Some(3), "{out}");
    assert!(err.contains("still waiting for the broker"), "{err}");
    let (code, _, err) = run(&a, &["purge", "--wait", "--timeout", "soon", "--tag", "news"]).await;
    assert_eq!(code, Some(2), "{err}");
    let (code, out, _) = run(&a, &["nodes"]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("this node is not in touch with the others"), "{out}");
}

#[tokio::test]
async fn nodes_are_shown_with_their_places() {
    let [a, b] = Place::new(shared().await).two().await;
    let (code, out, err) = run(&a, &["nodes"]).await;
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("a ") && lines[0].ends_with("this node"), "{out}");
    let admin = format!("admin {}", b.node.admin_address());
    assert!(lines[1].starts_with("b ") && lines[1].ends_with("live") && lines[1].contains(&admin), "{out}");
    let (code, out, _) = run(&a, &["nodes", "--json"]).await;
    let view: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &view["connected"]), (Some(0), &json!(true)));
}

#[tokio::test]
async fn without_a_cluster_a_purge_that_waits_has_nobody_to_wait_for() {
    let world = World::start("").await;
    let (code, out, err) = run(&world, &["purge", "--wait", "--all"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\nholds on "), "{out}");
    let (code, _, err) = run(&world, &["nodes"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("belongs to no cluster"), "{err}");
    for command in ["purges", "bans"] {
        assert_eq!(run(&world, &[command, "--json"]).await.0, Some(0), "{command}");
    }
}
