//! A real DNS server on loopback, whose answers a test writes.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::rabbit::unique;

const PROGRAM: &str = "/usr/sbin/dnsmasq";

/// A DNS server that knows what it is told, for a second at a time.
pub struct Dns {
    directory: PathBuf,
    port: u16,
    running: Option<Child>,
}

impl Dns {
    /// Starts one that knows nothing yet, and these services (`dnsmasq --srv-host`).
    pub async fn start(services: &[String]) -> Dns {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: install dnsmasq-base, as tests/run does");
        let directory = std::env::temp_dir().join(unique("forebay-dns"));
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut dns = Dns { directory, port: 0, running: None };
        dns.tell("");
        // Somebody else may take the port in between.
        for _ in 0..5 {
            let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, fastrand::u16(15_000..32_000)));
            let Ok(port) = held.and_then(|held| held.local_addr()).map(|address| address.port()) else {
                continue;
            };
            dns.port = port;
            if dns.run(services).await {
                return dns;
            }
        }
        panic!("dnsmasq does not start");
    }

    async fn run(&mut self, services: &[String]) -> bool {
        let child = Command::new(PROGRAM)
            .args([
                "--keep-in-foreground",
                "--no-resolv",
                "--no-hosts",
                "--conf-file=/dev/null",
                "--local-ttl=1",
            ])
            .args(["--bind-interfaces", "--listen-address=127.0.0.1", "--user=", "--group=", "--pid-file="])
            .arg(format!("--port={}", self.port))
            .arg(format!("--addn-hosts={}", self.directory.join("hosts").display()))
            // What it does not know does not exist.
            .arg("--local=//")
            .args(services.iter().map(|service| format!("--srv-host={service}")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq");
        self.running = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if self.running.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None))) {
                return false;
            }
            if std::net::TcpStream::connect(self.address()).is_ok() {
                return true;
            }
            super::breathe().await;
        }
        false
    }

    /// Where it listens, also while it does not run.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// From now on it knows these hosts, in the form of /etc/hosts.
    pub fn tell(&self, hosts: &str) {
        std::fs::write(self.directory.join("hosts"), hosts).expect("written");
        if let Some(child) = &self.running {
            let told = Command::new("kill").args(["-s", "HUP", &child.id().to_string()]).status();
            assert!(told.is_ok_and(|status| status.success()));
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again at the same address.
    pub async fn restart(&mut self) {
        assert!(self.run(&[]).await, "dnsmasq does not start again");
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
