//! A RabbitMQ of one's own: on free ports of loopback, with its name, cookie and
//! data in a temporary directory.
//!
//! What always holds: it ends with the test program, however that ends, for a small
//! shell keeps it and ends when its input does; the machine's own broker, if there
//! is one, is neither used nor seen.
//!
//! The environment variable `FOREBAY_TEST_RABBITMQ` names the directory of another
//! version's `rabbitmq-server` and `rabbitmqctl`, to test against that one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where Debian's package has its programs, without the wrappers that change the user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// How long it may take to start on a busy machine. It only ends what would never end.
const STARTING: Duration = Duration::from_secs(90);

/// Keeps the broker: each part in a process group of its own; all of them, and the
/// data, go when the input ends. The broker's process group is told in a line.
const KEEPER: &str = r#"
set -m
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 < /dev/null > /dev/null 2>&1 &
names=$!
"$SERVER" < /dev/null > "$HOME/out" 2>&1 &
broker=$!
echo "$broker"
exec > /dev/null
gone() { kill -9 -- "-$broker" "-$names" 2> /dev/null; wait; }
if read -r _; then gone; else gone; rm -rf "$HOME"; fi
"#;

/// A broker that a test has for itself, to kill and to start again.
pub struct Rabbit {
    directory: PathBuf,
    port: u16,
    /// For its names, and for the nodes of a cluster that it does not have.
    other_ports: [u16; 2],
    running: Option<Running>,
}

struct Running {
    keeper: Child,
    /// The broker's process group.
    group: String,
}

/// The broker that tests share which do not break it; each takes names of its own.
pub async fn shared() -> SocketAddr {
    static SHARED: OnceLock<Rabbit> = OnceLock::new();
    tokio::task::spawn_blocking(|| SHARED.get_or_init(Rabbit::start_blocking).address())
        .await
        .expect("a broker")
}

/// A name that no other test takes.
pub fn unique(name: &str) -> String {
    format!("{name}-{:08x}", fastrand::u32(..))
}

/// A broker's URL, as it is written in a configuration.
pub fn url(address: SocketAddr) -> String {
    format!("amqp://guest:guest@{address}/%2f")
}

impl Rabbit {
    /// Starts a broker, and returns when it takes connections.
    pub async fn start() -> Rabbit {
        tokio::task::spawn_blocking(Rabbit::start_blocking).await.expect("a broker")
    }

    /// Where it listens, also while it does not run.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Ends it as a crash would: at once, with nothing written down.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.end("KILL");
        }
    }

    /// The same, while others in the task of the caller go on.
    pub async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            let ended = tokio::task::spawn_blocking(move || running.end("KILL"));
            ended.await.expect("the broker ends");
        }
    }

    /// Ends it in good order.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let stopped = tokio::task::spawn_blocking(move || running.end("TERM"));
            stopped.await.expect("the broker ends");
        }
    }

    /// Starts it again, at the same address and with the data that it had.
    pub async fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let (directory, port, other_ports) = (self.directory.clone(), self.port, self.other_ports);
        let started = tokio::task::spawn_blocking(move || run(&directory, port, other_ports));
        self.running = Some(started.await.expect("a broker").unwrap_or_else(|why| panic!("{why}")));
    }

    /// Notes what it has on its disk, while it does not run.
    pub fn remember(&self) {
        self.copy("data", "remembered");
    }

    /// Goes back to what was [remembered](Rabbit::remember), while it does not run: as if
    /// the rest had never reached the disk.
    pub fn forget(&self) {
        self.copy("remembered", "data");
    }

    fn copy(&self, from: &str, to: &str) {
        assert!(self.running.is_none(), "it runs");
        let (from, to) = (self.directory.join(from), self.directory.join(to));
        let _ = fs::remove_dir_all(&to);
        let copied = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.is_ok_and(|status| status.success()), "the broker's data are copied");
    }

    /// Asks its command line tool for something, and returns what it says.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let path = |name: &str| self.directory.join(name);
        let output = tokio::process::Command::new(program("rabbitmqctl"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.directory)
            .env("ERL_EPMD_PORT", self.other_ports[0].to_string())
            .env("RABBITMQ_NODENAME", format!("forebay-{}@localhost", self.port))
            .env("RABBITMQ_CONF_ENV_FILE", path("none"))
            .env(
                "RABBITMQ_CTL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +S 1:1",
            )
            .output();
        let output = output.await.expect("rabbitmqctl");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    fn start_blocking() -> Rabbit {
        let server = program("rabbitmq-server");
        assert!(server.exists(), "{server:?} is missing: install rabbitmq-server, as tests/run does");
        let mut last = String::new();
        // Somebody else may take one of the ports in between.
        for _ in 0..3 {
            let directory = std::env::temp_dir().join(unique("forebay-rabbit"));
            let [port, names, nodes] = free_ports();
            match run(&directory, port, [names, nodes]) {
                Ok(running) => {
                    return Rabbit { directory, port, other_ports: [names, nodes], running: Some(running) };
                }
                Err(why) => last = why,
            }
            let _ = fs::remove_dir_all(&directory);
        }
        panic!("{last}");
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Running {
    fn end(mut self, signal: &str) {
        signal_group(signal, &self.group);
        // Sent to a group that has ended it fails; that is what is waited for.
        let deadline = Instant::now() + STARTING;
        while signal_group("0", &self.group) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // With a line the keeper leaves the data where they are.
        let _ = self.keeper.stdin.take().map(|mut input| input.write_all(b"\n"));
        let _ = self.keeper.wait();
    }
}

/// The path of one of its programs.
fn program(name: &str) -> PathBuf {
    let programs = std::env::var_os("FOREBAY_TEST_RABBITMQ").unwrap_or_else(|| PROGRAMS.into());
    Path::new(&programs).join(name)
}

fn signal_group(signal: &str, group: &str) -> bool {
    let group = format!("-{group}");
    let sent = Command::new("kill").args(["-s", signal, "--", &group]).stderr(Stdio::null()).status();
    sent.is_ok_and(|status| status.success())
}

/// Ports that nobody has, below those that the system gives out by itself: a broker
/// that is started again must find its own free.
fn free_ports() -> [u16; 3] {
    let mut held = Vec::new();
    while held.len() < 3 {
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(15_000..32_000))).ok());
    }
    std::array::from_fn(|at| held[at].local_addr().expect("an address").port())
}

/// Runs the server until it takes connections, or says why it does not.
fn run(directory: &Path, port: u16, [names, nodes]: [u16; 2]) -> Result<Running, String> {
    fs::create_dir_all(directory).expect("a directory");
    let path = |name: &str| directory.join(name);
    let settings = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\nvm_memory_high_watermark.absolute = 512MB\n\
         disk_free_limit.absolute = 1MB\nlog.console = true\nlog.console.level = info\nlog.file = false\n"
    );
    fs::write(path("rabbitmq.conf"), settings).expect("written");
    let mut keeper = Command::new("bash")
        .args(["-c", KEEPER])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LANG", "C.UTF-8")
        .env("SERVER", program("rabbitmq-server"))
        // The cookie is made there.
        .env("HOME", directory)
        .env("ERL_EPMD_PORT", names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("forebay-{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", nodes.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", path("none"))
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
        .env("RABBITMQ_PLUGINS_EXPAND_DIR", path("plugins-expanded"))
        .env("RABBITMQ_MNESIA_BASE", path("data"))
        .env("RABBITMQ_LOG_BASE", path("log"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
        .env("RABBITMQ_FEATURE_FLAGS_FILE", path("features"))
        .env("RABBITMQ_PID_FILE", path("pid"))
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +S 1:1 +sbwt none +A 8",
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash");
    let mut group = String::new();
    BufReader::new(keeper.stdout.take().expect("output")).read_line(&mut group).expect("a line");
    let running = Running { keeper, group: group.trim().to_owned() };
    let deadline = Instant::now() + STARTING;
    while Instant::now() < deadline && signal_group("0", &running.group) {
        if greets(port) {
            return Ok(running);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    running.end("KILL");
    let said = fs::read_to_string(path("out")).unwrap_or_default();
    Err(format!("the broker does not start:\n{said}"))
}

/// Whether a broker answers a client's first bytes.
fn greets(port: u16) -> bool {
    let greeted = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0; 1];
        stream.read_exact(&mut first)?;
        // A frame of a method, which asks who is there.
        Ok(first == [1])
    };
    greeted().unwrap_or(false)
}
