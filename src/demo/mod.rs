//! A sample origin with a cache in front of it, to try things on.
//!
//! What always holds: the cache is the same node that `serve` runs, and the
//! origin is an ordinary HTTP server; neither knows the other but by its address.

mod origin;
mod pages;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{self, Config, Faults, Flags};
use crate::node::{self, Node, Signals, StartError};
use crate::observe::trace;
use origin::{Origin, Pace};

/// Where the three ports of the demo are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DemoOptions {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// Where the sample origin listens.
    pub origin_listen: SocketAddr,
}

/// Why the demo did not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The sample origin has no port.
    #[error(
        "the sample origin cannot listen on {address}: {source}. Stop whatever listens there, or give another \
         address with --origin-listen."
    )]
    Origin {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The addresses make no usable configuration.
    #[error(
        "the demo cannot run like this:\n{}\nThe demo knows no token; its addresses are those of --listen, --admin \
         and --origin-listen.",
        .0.to_string().trim_end()
    )]
    Config(#[from] Faults),
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Runs the demo until SIGTERM or SIGINT. Blocks.
pub fn run(options: DemoOptions) -> Result<(), DemoError> {
    // All of it but the origin's port, which is not known yet.
    let preview = configure(&options, options.origin_listen)?;
    let _log = trace::start(&preview.log.level);
    node::runtime(&preview)?.block_on(async {
        let signals = Signals::new().map_err(StartError::Runtime)?;
        let drain = preview.node.drain;
        let demo = Demo::start(&options, Pace::default()).await?;
        node::announce(&demo.banner());
        let serving = demo.serving;
        node::serve_until_told(demo.node, signals, drain).await;
        serving.abort();
        Ok(())
    })
}

/// Runs the sample origin alone until SIGTERM or SIGINT. Blocks.
pub fn run_origin(address: SocketAddr) -> Result<(), DemoError> {
    let _log = trace::start("info,forebay::demo=debug");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(StartError::Runtime)?.block_on(async {
        let mut signals = Signals::new().map_err(StartError::Runtime)?;
        let (listener, address) = bind(address).await?;
        node::announce(&format!("sample origin listening on http://{address}\n"));
        let origin = Origin::new(Clock::System, Pace::default());
        tokio::select! {
            () = origin.listen(listener) => {}
            () = signals.stop() => {}
        }
        Ok(())
    })
}

/// The port of the sample origin, and the address by which it is reached.
async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), DemoError> {
    let no_origin = |source| DemoError::Origin { address, source };
    let listener = TcpListener::bind(address).await.map_err(no_origin)?;
    let reached = reachable(listener.local_addr().map_err(no_origin)?);
    Ok((listener, reached))
}

/// A running demo.
struct Demo {
    node: Node,
    origin_address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Demo {
    async fn start(options: &DemoOptions, pace: Pace) -> Result<Self, DemoError> {
        let (listener, origin_address) = bind(options.origin_listen).await?;
        let config = configure(options, origin_address)?;
        let node = Node::start_with(config, Clock::System, None).await?;
        let origin = Origin::new(Clock::System, pace);
        origin.admin_is_at(reachable(node.admin_address()).to_string());
        let serving = tokio::spawn(origin.listen(listener));
        Ok(Demo { node, origin_address, serving })
    }

    fn banner(&self) -> String {
        let (listen, admin) = (self.node.address(), self.node.admin_address());
        banner(listen, admin, self.origin_address, &program())
    }
}

/// The configuration of the cache.
fn configure(options: &DemoOptions, origin: SocketAddr) -> Result<Config, Faults> {
    let DemoOptions { listen, admin, .. } = options;
    // No origin has port 0; while its port is not known, any other may stand for it.
    let origin = if origin.port() == 0 { SocketAddr::new(origin.ip(), 1) } else { origin };
    let text = format!(
        r#"
[node]
drain = "5s"

[listen]
address = "{listen}"

[admin]
address = "{admin}"

[store]
# So that the download of 64 MiB is kept.
max_response_percent = 20

[access_log]
output = "stdout"
format = "combined"

[rules]
stale_on_error = "12h"

[[origin]]
name = "demo"
url = "http://{origin}"
# So that a hanging origin is seen to fail soon.
first_byte_timeout = "5s"
"#
    );
    config::read("demo", &text, &Flags::default())
}

/// The address by which a port is reached that listens on all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        ip if ip.is_ipv4() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        _ => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
    }
}

/// What to type to run this program again.
fn program() -> String {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    match (here, program) {
        (Some(here), Some(program)) => typed(&here, &program),
        _ => "forebay".to_owned(),
    }
}

fn typed(here: &Path, program: &Path) -> String {
    match program.strip_prefix(here) {
        Ok(below) if below.components().count() > 1 => below.display().to_string(),
        Ok(below) => format!("./{}", below.display()),
        Err(_) => "forebay".to_owned(),
    }
}

/// What the reader is told to begin with.
fn banner(listen: SocketAddr, admin: SocketAddr, origin: SocketAddr, program: &str) -> String {
    let (cache, operators) = (reachable(listen), reachable(admin));
    let other_admin = match operators.to_string() {
        usual if usual == "127.0.0.1:6090" => String::new(),
        other => format!("--admin {other} "),
    };
    format!(
        "\
forebay listening on http://{listen}, admin on http://{admin}

  Open     http://{cache}/          every page, and what it shows
  Break    http://{cache}/control   the origin of /fragile
  Metrics  http://{operators}/metrics
  Origin   http://{origin}/          the same pages without the cache

Try, each line twice, and again after 5 s:
  curl -si http://{cache}/max-age | grep -iE 'cache-status|^age|made'
  curl -si http://{cache}/etag | grep -iE 'cache-status|^age|made'
  (for i in 1 2 3; do curl -sN http://{cache}/slow & done; wait)   # one request to the origin

Look at Cache-Status:
  hit; ttl=25                              from the cache, fresh for 25 s more
  fwd=uri-miss; ttl=30; stored             nothing was stored; now it is
  fwd=stale; fwd-status=304; ttl=5; stored the origin said that the copy is still right
  hit; ttl=-12; detail=stale-on-error      the origin failed, and the old copy answers

Load /fragile, break its origin (mode 503, hang or close), and load it again after 5 s.
The old copy goes on being served until the origin is mended, for 12 hours at most:
  curl -si http://{cache}/fragile | grep -iE 'http/|cache-status|made'
  curl -X POST 'http://{cache}/fragile/break?mode=503'
  curl -X POST http://{cache}/fragile/mend

Purge, so that the next request goes to the origin:
  {program} purge {other_admin}http://{cache}/max-age

The access log follows. Ctrl-C ends.
"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpStream;

    use super::*;

    const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const OPTIONS: DemoOptions = DemoOptions { listen: FREE, admin: FREE, origin_listen: FREE };
    const AT_ONCE: Pace = Pace { think: Duration::ZERO, drip: Duration::ZERO, hang: Duration::ZERO };

    async fn ask(address: SocketAddr, method: &str, path: &str) -> Response<Bytes> {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string())
            .body(Empty::<Bytes>::new())
            .unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    fn cache_status(response: &Response<Bytes>) -> &str {
        response.headers().get("cache-status").map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn the_second_request_is_a_hit_and_sees_the_same_page() {
        let demo = Demo::start(&OPTIONS, AT_ONCE).await.unwrap();
        let address = demo.node.address();
        let first = ask(address, "GET", "/max-age").await;
        let second = ask(address, "GET", "/max-age").await;
        assert!(cache_status(&first).contains("fwd=uri-miss"), "{}", cache_status(&first));
        assert!(cache_status(&second).contains("; hit"), "{}", cache_status(&second));
        assert_eq!(first.body(), second.body());
        let third = ask(address, "GET", "/expires-never").await;
        let fourth = ask(address, "GET", "/expires-never").await;
        assert_ne!(third.body(), fourth.body());
    }

    #[tokio::test]
    async fn breaking_the_origin_leaves_the_copy_of_the_fragile_page() {
        let demo = Demo::start(&OPTIONS, AT_ONCE).await.unwrap();
        let address = demo.node.address();
        let copy = ask(address, "GET", "/fragile").await;
        assert_eq!(copy.status(), 200);
        let broken = ask(address, "POST", "/fragile/break?mode=close").await;
        assert_eq!(
            (broken.status().as_u16(), &broken.headers()["location"]),
            (303, &"/control".parse().unwrap())
        );
        assert_eq!(ask(demo.origin_address, "GET", "/control").await.status(), 200);
        let still = ask(address, "GET", "/fragile").await;
        assert_eq!(still.body(), copy.body());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_with_the_flag_that_changes_it() {
        let taken = TcpListener::bind(FREE).await.unwrap();
        let taken = taken.local_addr().map(|address| (address, taken)).unwrap();
        for (options, flag) in [
            (DemoOptions { listen: taken.0, ..OPTIONS }, "--listen."),
            (DemoOptions { admin: taken.0, ..OPTIONS }, "--admin."),
            (DemoOptions { origin_listen: taken.0, ..OPTIONS }, "--origin-listen."),
        ] {
            let told = Demo::start(&options, AT_ONCE).await.err().map(|error| error.to_string());
            let told = told.unwrap_or_default();
            assert!(told.contains(flag) && told.contains(&taken.0.to_string()), "{flag}: {told}");
        }
    }

    #[test]
    fn an_admin_port_for_everybody_is_refused_for_want_of_a_token() {
        let everywhere = "0.0.0.0:6090".parse().unwrap();
        let faults = configure(&DemoOptions { admin: everywhere, ..OPTIONS }, FREE).err().unwrap();
        assert!(faults.to_string().contains("token"), "{faults}");
    }

    #[test]
    fn the_banner_names_the_ports_and_the_admin_port_only_where_it_is_not_the_usual_one() {
        let port = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let usual = banner(port(8080), port(6090), port(4000), "target/release/forebay");
        assert!(
            usual.starts_with("forebay listening on http://127.0.0.1:8080, admin on http://127.0.0.1:6090\n")
        );
        assert!(usual.contains("target/release/forebay purge http://127.0.0.1:8080/max-age\n"), "{usual}");
        let other = banner("0.0.0.0:80".parse().unwrap(), port(7000), port(4000), "forebay");
        assert!(other.contains("purge --admin 127.0.0.1:7000 http://127.0.0.1:80/max-age\n"), "{other}");
    }

    #[test]
    fn a_program_below_here_is_typed_with_its_path() {
        let here = Path::new("/home/a/forebay");
        for (program, words) in [
            ("/home/a/forebay/target/release/forebay", "target/release/forebay"),
            ("/home/a/forebay/forebay", "./forebay"),
            ("/usr/bin/forebay", "forebay"),
        ] {
            assert_eq!(typed(here, Path::new(program)), words);
        }
    }
}
