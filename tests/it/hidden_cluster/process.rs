//! The programs as their user runs them, with the file that is shipped.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::origin::Origin;
use crate::harness::rabbit::{self, shared, unique};
use crate::harness::{Client, Transcript, breathe};

use super::fresh;

/// Starts the program; returns it with the addresses that its first line tells.
async fn start(transcript: &Transcript, arguments: &[&str]) -> (Child, Vec<SocketAddr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("output"));
    transcript.within("the first line", out.read_line(&mut line)).await.expect("a line");
    let addresses = line
        .split("http://")
        .skip(1)
        .map(|rest| rest.split([',', '\n', ' ']).next().expect("an address").parse().expect("an address"));
    (child, addresses.collect())
}

#[tokio::test]
async fn the_shipped_example_hides_an_origin_and_outlives_its_worker() {
    let transcript = Transcript::default();
    let origin = Origin::start(transcript.clone()).await;
    let broker = shared().await;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/hide-origin.toml");
    let text = std::fs::read_to_string(example)
        .expect("the example")
        .replace("amqp://guest:guest@127.0.0.1:5672/%2f", &rabbit::url(broker))
        .replace("http://127.0.0.1:3000\"\n", &format!("http://{}\"\n", origin.address()));
    let path = std::env::temp_dir().join(format!("forebay-{:x}.toml", fastrand::u64(..)));
    std::fs::write(&path, text).expect("written");
    let cluster = format!("cluster.name={}", unique("example"));
    let common = ["--config", path.to_str().expect("a path"), "--admin", "127.0.0.1:0", "--set", &cluster];
    let with = |first: &'static [&str]| [first, &common].concat();
    let (_edge, addresses) = start(&transcript, &with(&["serve", "--listen", "127.0.0.1:0"])).await;
    let [clients, _] = addresses[..] else { panic!("two addresses") };
    let ready = async |admin: SocketAddr| {
        let wait = async {
            let get = async || {
                let mut operator = Client::connect(admin, transcript.clone(), "operator").await;
                operator.get_with("/readyz", &[("Host", "127.0.0.1")]).await.status
            };
            while get().await != 200 {
                breathe().await;
            }
        };
        transcript.within("to be ready", wait).await;
    };
    let get = async |path: &str| Client::connect(clients, transcript.clone(), "client").await.get(path).await;
    let until_hit = async |path: &str| {
        let wait = async {
            while get(path).await.status != 200 {
                breathe().await;
            }
        };
        transcript.within(&format!("an answer to {path}"), wait).await;
    };
    for round in 0..2 {
        let page = format!("/{round}");
        origin.always(&page, fresh("page"));
        let (mut worker, addresses) = start(&transcript, &with(&["worker"])).await;
        ready(addresses[0]).await;
        let reply = get(&page).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
        until_hit(&page).await;
        // As by SIGKILL.
        worker.kill().await.expect("killed");
        assert_eq!(get(&page).await.text(), "page");
    }
    assert_eq!(get("/unknown").await.status, 503);
    let _ = std::fs::remove_file(&path);
}

#[tokio::test]
async fn a_worker_with_nothing_to_do_says_so() {
    for (set, said) in
        [("rules.mode=hidden", "broker.urls"), ("broker.urls=amqp://127.0.0.1", "no route is hidden")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["worker", "--origin", "http://127.0.0.1:1", "--admin", "127.0.0.1:0", "--set", set]);
        let output = command.output().await.expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(said), "{error}");
    }
}
