//! The program as its user runs it: first line, signals, exit code.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::origin::{Gate, Origin, Step, ok};
use crate::harness::{Client, Transcript};

pub struct Program {
    pub child: Child,
    out: BufReader<tokio::process::ChildStdout>,
    pub address: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    transcript: Transcript,
}

const BINARY: &str = env!("CARGO_BIN_EXE_forebay");

/// Starts `forebay serve` with these arguments, on free ports.
pub async fn serve(transcript: &Transcript, arguments: &[&str]) -> Program {
    start(transcript, Command::new(BINARY), arguments).await
}

/// The same with so many file descriptors at most.
async fn serve_with_descriptors(transcript: &Transcript, most: u32, arguments: &[&str]) -> Program {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\""), BINARY]);
    start(transcript, shell, arguments).await
}

async fn start(transcript: &Transcript, mut command: Command, arguments: &[&str]) -> Program {
    let mut child = command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    transcript.within("the first line", out.read_line(&mut line)).await.expect("a line");
    transcript.note("program", line.as_bytes());
    let addresses: Vec<std::net::SocketAddr> = line
        .split("http://")
        .skip(1)
        .map(|rest| rest.split([',', '\n', ' ']).next().expect("an address").parse().expect("an address"))
        .collect();
    let [address, admin] = addresses[..] else { panic!("two addresses in {line:?}") };
    Program { child, out, address, admin, transcript: transcript.clone() }
}

impl Program {
    async fn client(&self) -> Client {
        Client::connect(self.address, self.transcript.clone(), "client").await
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().expect("still running").to_string();
        let status = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for the end; returns the exit code and all further output.
    async fn end(mut self) -> (Option<i32>, String, String) {
        let status = self.transcript.within("the program to end", self.child.wait()).await.expect("waited");
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).await.expect("output");
        self.child.stderr.take().expect("stderr").read_to_string(&mut err).await.expect("errors");
        (status.code(), out, err)
    }
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way_and_exits_with_zero() {
    let transcript = Transcript::default();
    let origin = Origin::start(transcript.clone()).await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(ok("max-age=60", "late"));
    origin.always("/slow", script);
    let url = format!("http://{}", origin.address());
    let program = serve(&transcript, &["--origin", &url, "--access-log", "stdout"]).await;
    let mut client = program.client().await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    gate.reached(1).await;
    program.signal("TERM");
    while tokio::net::TcpStream::connect(program.address).await.is_ok() {
        crate::harness::breathe().await;
    }
    gate.open();
    assert_eq!(client.reply(false).await.text(), "late");
    let (code, out, _) = program.end().await;
    assert_eq!(code, Some(0));
    let line: serde_json::Value = serde_json::from_str(out.trim()).expect("one line of JSON");
    assert_eq!((line["target"].as_str(), line["status"].as_u64()), (Some("/slow"), Some(200)));
    assert_eq!((line["complete"].as_bool(), line["body_bytes"].as_u64()), (Some(true), Some(4)));
}

#[tokio::test]
async fn sighup_applies_a_good_file_and_refuses_a_bad_one_whole() {
    let transcript = Transcript::default();
    let origin = Origin::start(transcript.clone()).await;
    origin.always("/a", ok("max-age=60", "a"));
    let path: PathBuf = std::env::temp_dir().join(format!("forebay-{:x}.toml", fastrand::u64(..)));
    let good = format!("[[origin]]\nname = \"o\"\nurl = \"http://{}\"\n", origin.address());
    std::fs::write(&path, &good).expect("written");
    let program = serve(&transcript, &["--config", path.to_str().expect("a path")]).await;
    let reloads = async |result: &str| {
        let mut operator = Client::connect(program.admin, transcript.clone(), "operator").await;
        let stats = operator.get_with("/v1/stats", &[("Host", "127.0.0.1")]).await;
        let stats: serde_json::Value = serde_json::from_slice(&stats.body).expect("JSON");
        stats[format!("forebay_reloads_total{{result=\"{result}\"}}")].as_u64().expect("a number")
    };
    let until = async |result: &str| {
        let wait = async {
            while reloads(result).await == 0 {
                crate::harness::breathe().await;
            }
        };
        transcript.within(result, wait).await;
    };
    program.client().await.get("/a").await;
    std::fs::write(&path, "[rules]\ngrce = 1\n").expect("written");
    program.signal("HUP");
    until("refused").await;
    assert!(program.client().await.get("/a").await.is_hit(), "the old configuration stays in force");
    std::fs::write(&path, format!("{good}[rules]\ncache = false\n")).expect("written");
    program.signal("HUP");
    until("applied").await;
    assert_eq!(program.client().await.get("/a").await.cache_status(), "fwd=bypass");
    std::fs::remove_file(&path).expect("removed");
    program.signal("TERM");
    let (code, _, err) = program.end().await;
    assert_eq!(code, Some(0));
    assert!(err.contains("grce") && err.contains("old configuration"), "{err}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_with_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["serve", "--origin", "http://127.0.0.1:1", "--listen", &address, "--admin", "127.0.0.1:0"])
        .output()
        .await
        .expect("the program ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && err.contains(&address) && err.contains("--listen"), "{err}");
}

#[tokio::test]
async fn it_survives_the_end_of_its_file_descriptors() {
    let transcript = Transcript::default();
    let origin = Origin::start(transcript.clone()).await;
    origin.always("/a", ok("max-age=600", "a"));
    let url = format!("http://{}", origin.address());
    let program = serve_with_descriptors(&transcript, 64, &["--origin", &url]).await;
    let mut client = program.client().await;
    client.get("/a").await;
    // Nobody gets in any more later on, operators included.
    let mut operator = Client::connect(program.admin, transcript.clone(), "operator").await;
    let mut counted = async |name: &str| {
        let stats = operator.get_with("/v1/stats", &[("Host", "127.0.0.1")]).await;
        let stats: serde_json::Value = serde_json::from_slice(&stats.body).expect("JSON");
        stats[name].as_u64().expect("a number")
    };
    let mut until_errors = async |least: u64| {
        let wait = async {
            loop {
                let errors = counted("forebay_client_accept_errors_total").await;
                if errors >= least {
                    return errors;
                }
                crate::harness::breathe().await;
            }
        };
        transcript.within("attempts to accept that fail", wait).await
    };

    assert_eq!(until_errors(0).await, 0);
    let mut crowd = Vec::new();
    for _ in 0..150 {
        crowd.push(tokio::net::TcpStream::connect(program.address).await.expect("the system takes it"));
    }
    let before = until_errors(2).await;
    let began = std::time::Instant::now();
    for _ in 0..100 {
        assert!(client.get("/a").await.is_hit(), "who is in is served");
    }
    let after = until_errors(before + 4).await;
    let pauses = began.elapsed().as_millis() as u64 / 50;
    assert!(after - before <= pauses + 2, "{} attempts in {pauses} pauses", after - before);

    drop(crowd);
    assert!(program.client().await.get("/a").await.is_hit(), "new clients are served again");
    program.signal("TERM");
    drop((client, operator));
    let (code, _, err) = program.end().await;
    assert_eq!(code, Some(0));
    assert!(err.contains("64 file descriptors are allowed") && err.contains("accepting failed"), "{err}");
}

#[tokio::test]
async fn it_takes_the_file_descriptors_that_it_may_have() {
    let transcript = Transcript::default();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 64; exec \"$0\" \"$@\"", BINARY]);
    let arguments = ["--origin", "http://127.0.0.1:1", "--set", "listen.max_connections=100"];
    let program = start(&transcript, shell, &arguments).await;
    let id = program.child.id().expect("still running");
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).expect("its limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let soft: u64 = line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number");
    assert_eq!(soft, 2 * 100 + 1024, "{line}");
}

/// A pipe is full after 64 KiB; every purge tells of itself.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nobody() {
    let transcript = Transcript::default();
    let origin = Origin::start(transcript.clone()).await;
    origin.always("/", ok("max-age=60", "content"));
    let url = format!("http://{}", origin.address());
    let program = serve(&transcript, &["--origin", &url]).await;
    let mut operator = Client::connect(program.admin, Transcript::default(), "operator").await;
    let field = [("Host", "localhost"), ("Content-Type", "application/json")];
    for number in 0..1000 {
        let what = format!(r#"{{"url": "http://www.example.org/{number}/{}"}}"#, "x".repeat(100));
        let reply = operator.ask("POST", "/v1/purge", &field, what.as_bytes()).await;
        assert_eq!(reply.status, 200, "purge {number}");
    }
    assert_eq!(program.client().await.get("/").await.status, 200);
    program.signal("TERM");
    let (code, _, err) = program.end().await;
    assert_eq!(code, Some(0));
    assert!(err.lines().count() > 100, "what was read late is there: {err}");
}
