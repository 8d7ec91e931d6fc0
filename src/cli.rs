//! The command line: what can be asked of the program, and its help.
//!
//! Each command ends in an exit code: 0 when what was asked for is done, 1 when
//! it could not be done, 2 when the command line itself is wrong. Results go to
//! the standard output, everything else to the standard error output. Settings
//! are not judged here, and neither their flags nor the help of those are
//! declared here: both belong to the configuration.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::config::{self, Config, Flags};

const EXAMPLES: &str = "\
Examples:
  forebay demo                                        a sample origin and a cache in front of it
  forebay serve --origin http://127.0.0.1:3000        a cache in front of your own origin
  forebay config > forebay.toml                       a file with every setting, to begin with
  forebay check forebay.toml                          is it good?
  forebay serve --config forebay.toml --memory 2GiB   with a file; flags win over it
  forebay purge http://127.0.0.1:8080/news            the next request asks the origin

Try `forebay COMMAND --help` for what a command takes.";

const SERVE_EXAMPLES: &str = "\
Examples:
  forebay serve --origin http://127.0.0.1:3000
  forebay serve --origin http://127.0.0.1:3000 --listen 0.0.0.0:80 --memory 2GiB --access-log stdout
  forebay serve --origin http://127.0.0.1:3000 --set rules.grace=60s --set rules.stale_on_error=1d
  forebay serve --config forebay.toml

Signals:
  SIGTERM, SIGINT   stop accepting, finish what is under way, exit
  SIGHUP            read the file again; a bad one is refused whole, and the old one stays in force";

const CHECK_EXAMPLES: &str = "\
Examples:
  forebay check forebay.toml
  forebay check conf/rfc.toml --origin http://127.0.0.1:3000";

const DEMO_EXAMPLES: &str = "\
Examples:
  forebay demo
  forebay demo --listen 127.0.0.1:9000 --admin 127.0.0.1:0";

const PURGE_EXAMPLES: &str = "\
Examples:
  forebay purge http://www.example.org/news
  forebay purge --soft http://www.example.org/news
  forebay purge --admin 10.0.0.7:6090 --token \"$TOKEN\" http://www.example.org/news";

/// forebay: a caching HTTP accelerator that keeps serving when the origin fails
#[derive(Parser, Debug)]
#[command(name = "forebay", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Cache in front of an origin
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Start a sample origin and a cache in front of it, to try
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Say whether a configuration file is good, or everything that is wrong with it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Make a running node forget the responses of a URL
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(Purge),
    /// Print a configuration file with every setting, documented and at its default
    Config,
}

#[derive(Args, Debug)]
struct Serve {
    /// The configuration file; without one, --origin is needed
    #[arg(long, value_name = "FILE", env = "FOREBAY_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Debug)]
struct Check {
    /// The configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Debug)]
struct Demo {
    /// Where clients connect; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where operators connect; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6090")]
    admin: SocketAddr,
    /// Where the sample origin listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    origin_listen: SocketAddr,
}

#[derive(Args, Debug)]
struct Purge {
    /// The URL as clients ask for it
    #[arg(value_name = "URL")]
    url: String,
    /// The node's admin port, as host:port or http://host:port
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADMIN)]
    admin: String,
    /// The node's admin token
    #[arg(long, value_name = "TOKEN", env = "FOREBAY_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Make the responses stale in place of unusable: they still answer when the origin fails
    #[arg(long)]
    soft: bool,
}

/// Where a node's admin port is unless it was told otherwise.
const DEFAULT_ADMIN: &str = "127.0.0.1:6090";

/// How long a node may take to answer a command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => run_serve(serve),
        Command::Demo(demo) => run_demo(&demo),
        Command::Check(check) => run_check(&check),
        Command::Purge(purge) => run_purge(&purge),
        Command::Config => print(&config::documented()),
    }
}

fn run_serve(Serve { config: file, flags }: Serve) -> ExitCode {
    match config::load(file.as_deref(), &flags) {
        Ok(config) => {
            let reread = move || config::load(file.as_deref(), &flags);
            ended(crate::node::run(config, reread))
        }
        Err(faults) => failed(&faults),
    }
}

fn run_demo(demo: &Demo) -> ExitCode {
    ended(crate::demo::run(crate::demo::DemoOptions {
        listen: demo.listen,
        admin: demo.admin,
        origin_listen: demo.origin_listen,
    }))
}

fn run_check(check: &Check) -> ExitCode {
    match config::load(Some(&check.file), &check.flags) {
        Ok(config) => print(&format!("{}: good: {}\n", check.file.display(), extent(&config))),
        Err(faults) => failed(&faults),
    }
}

fn run_purge(purge: &Purge) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("forebay: cannot start: {error}")),
    };
    let answer = runtime.block_on(async {
        tokio::time::timeout(ANSWER_TIMEOUT, ask_to_purge(purge)).await.unwrap_or_else(|_| {
            Err(format!("{} did not answer within {} s", purge.admin, ANSWER_TIMEOUT.as_secs()))
        })
    });
    match answer {
        Ok(number) => print(&format!("purged {} of {}\n", count(number, "response"), purge.url)),
        Err(problem) => failed(&format!("forebay: {problem}")),
    }
}

/// Sends the purge to the admin port and reads how many responses it met.
async fn ask_to_purge(purge: &Purge) -> Result<u64, String> {
    let address = admin_address(&purge.admin)?;
    let stream = TcpStream::connect(&address).await.map_err(|error| {
        format!(
            "no admin port at {address} ({error}). Is the node running? Say --admin ADDRESS if its admin \
             port is elsewhere."
        )
    })?;
    let lost = |error: hyper::Error| format!("{address} did not answer as an admin port does ({error})");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(async move {
        // What goes wrong on the connection is told by the request as well.
        let _ = connection.await;
    });
    let mut request = http::Request::post("/v1/purge")
        .header(http::header::HOST, &address)
        .header(http::header::CONTENT_TYPE, "application/json");
    if let Some(token) = &purge.token {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = json!({ "url": purge.url, "soft": purge.soft }).to_string();
    let request =
        request.body(Full::new(Bytes::from(body))).map_err(|error| format!("cannot ask: {error}"))?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), 64 * 1024);
    let body = body.collect().await.map_err(|error| format!("{address} broke off ({error})"))?.to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    match answer.get("purged").and_then(Value::as_u64) {
        Some(number) if status.is_success() => Ok(number),
        _ => Err(refusal(&address, status, &answer, &body)),
    }
}

/// What a node that did not purge said, with what to do about it where that is known.
fn refusal(address: &str, status: http::StatusCode, answer: &Value, body: &[u8]) -> String {
    let said = match answer.get("error").and_then(Value::as_str) {
        Some(error) => error.to_owned(),
        None => String::from_utf8_lossy(body).trim().chars().take(300).collect(),
    };
    let cure = match status {
        http::StatusCode::UNAUTHORIZED | http::StatusCode::FORBIDDEN => {
            ". Give its token with --token, or in FOREBAY_ADMIN_TOKEN."
        }
        _ => "",
    };
    format!("{address} answered {status}: {}{cure}", said.trim_end_matches('.'))
}

/// Host and port of the admin port, from either or from a URL.
fn admin_address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    match bare.parse::<http::uri::Authority>() {
        Ok(authority) if authority.port_u16().is_some() && !bare.contains('@') => Ok(bare.to_owned()),
        Ok(_) if !bare.contains([':', '@', '/']) => Ok(format!("{bare}:6090")),
        _ => Err(format!("{text:?} is no admin port. Write host:port, such as {DEFAULT_ADMIN}.")),
    }
}

/// How much a configuration holds.
fn extent(config: &Config) -> String {
    let sites = config.sites.iter().count();
    let routes: usize = config.sites.iter().map(|site| site.routes.len()).sum();
    format!(
        "{}, {}, {}",
        count(sites as u64, "site"),
        count(routes as u64, "route"),
        count(config.origins.len() as u64, "origin")
    )
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn ended<E: Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("forebay: {error}")),
    }
}

fn failed(problem: &impl Display) -> ExitCode {
    // Nobody is left to be told when this fails.
    let _ = writeln!(std::io::stderr(), "{problem}");
    ExitCode::FAILURE
}

fn print(text: &str) -> ExitCode {
    // A reader that has seen enough (`| head`) is no reason to panic.
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_admin_port_is_an_address_or_a_url() {
        for (text, address) in [
            ("127.0.0.1:6090", Some("127.0.0.1:6090")),
            ("http://cache.example:7000/", Some("cache.example:7000")),
            ("cache.example", Some("cache.example:6090")),
            ("[::1]:6090", Some("[::1]:6090")),
            ("https://cache.example:7000", None),
            ("user@cache.example:7000", None),
            ("", None),
        ] {
            assert_eq!(admin_address(text).ok().as_deref(), address, "{text:?}");
        }
    }
}
