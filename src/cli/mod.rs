//! The command line: what can be asked of the program, and its help.
//!
//! Each command ends in an exit code: 0 when what was asked for is done, 1 when
//! it could not be done, 2 when the command line itself is wrong, and 3 when it was
//! done here and is not known to be done everywhere yet. Results go to
//! the standard output, everything else to the standard error output. Settings
//! are not judged here, and neither their flags nor the help of those are
//! declared here: both belong to the configuration.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::admin::{self, Scope};
use crate::config::{self, Config, Flags};

mod broker;
mod explain;
mod operator;
mod origins;
mod queue;
mod warm;

const EXAMPLES: &str = "\
Examples:
  forebay demo                                        a sample origin and a cache in front of it
  forebay serve --origin http://127.0.0.1:3000        a cache in front of your own origin
  forebay serve --origin http://127.0.0.1:3000 --hidden   the same, and no client's request reaches it
  forebay config > forebay.toml                       a file with every setting, to begin with
  forebay check forebay.toml                          is it good?
  forebay serve --config forebay.toml --memory 2GiB   with a file; flags win over it
  forebay purge http://127.0.0.1:8080/news            the next request asks the origin
  forebay explain http://127.0.0.1:8080/news          why is it a hit, or a miss?
  forebay warm --crawl http://127.0.0.1:8080/         a hidden route has it before anybody asks

Try `forebay COMMAND --help` for what a command takes.";

const SERVE_EXAMPLES: &str = "\
Examples:
  forebay serve --origin http://127.0.0.1:3000
  forebay serve --origin http://127.0.0.1:3000 --listen 0.0.0.0:80 --memory 2GiB --access-log stdout
  forebay serve --origin http://127.0.0.1:3000 --set rules.grace=60s --set rules.stale_on_error=1d
  forebay serve --origin http://127.0.0.1:3000 --hidden --rate 50/s
  forebay serve --config forebay.toml

Signals:
  SIGTERM, SIGINT   stop accepting, finish what is under way, exit
  SIGHUP            read the file again; a bad one is refused whole, and the old one stays in force";

const CHECK_EXAMPLES: &str = "\
Examples:
  forebay check forebay.toml
  forebay check conf/rfc.toml --origin http://127.0.0.1:3000";

const WORKER_EXAMPLES: &str = "\
Examples:
  forebay worker --config conf/hide-origin.toml       with the file that the edges have, too
  forebay worker --config hide-origin.toml --admin 127.0.0.1:6091

As many may run as are wanted, anywhere: one of them paces each origin, all of them work, and when
one ends another one takes over. What is agreed with the origin's owner holds for all of them together.";

const BROKER_EXAMPLES: &str = "\
Examples:
  forebay broker declare --config hide-origin.toml    as a user who may
  forebay broker check --config hide-origin.toml";

const DEMO_EXAMPLES: &str = "\
Examples:
  forebay demo
  forebay demo --listen 127.0.0.1:9000 --admin 127.0.0.1:0
  forebay demo --origin-only      the sample origin alone, on port 3000, for a cache that you start yourself";

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
    /// Get what hidden routes want, and fill the edges; needs a broker
    #[command(after_help = WORKER_EXAMPLES)]
    Worker(Serve),
    /// Declare or check the queues of hidden routes at the broker
    #[command(after_help = BROKER_EXAMPLES)]
    Broker(Broker),
    /// Start a sample origin and a cache in front of it, to try
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Say whether a configuration file is good, or everything that is wrong with it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Make a running node forget responses: by URL, tag, prefix, host, ban, or all of them
    #[command(after_help = operator::PURGE_EXAMPLES)]
    Purge(operator::Purge),
    /// Show the last purges of a running node: when, what, by whom, how many
    Purges(operator::Purges),
    /// Show the bans and prefixes that a running node still tests its responses against
    Bans(operator::Bans),
    /// Say how a running node would answer a request now, and why, step by step
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Explain),
    /// Show how hidden origins stand; list what was given up, and tell it once more
    #[command(after_help = queue::EXAMPLES)]
    Queue(queue::Queue),
    /// Show how the origins and their servers stand; open or close their breakers by hand
    #[command(after_help = origins::EXAMPLES)]
    Origins(origins::Origins),
    /// Show the nodes of the cluster that a running node belongs to
    Nodes(operator::Nodes),
    /// Fill the hidden routes of a running node before anybody asks, within the agreed rate
    #[command(after_help = warm::EXAMPLES)]
    Warm(warm::Warm),
    /// Make a token for the admin port, and its entry for `admin.tokens`
    Token(Token),
    /// Print what a shell needs to complete the command line
    Completions(Completions),
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
struct Broker {
    /// What to do
    what: Topic,
    #[command(flatten)]
    with: Serve,
}

/// What can be done at a broker.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Topic {
    /// Make what is not there yet; nodes do so by themselves where their user may
    Declare,
    /// Say whether everything is there, and as it should be; makes nothing
    Check,
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
    /// Where the sample origin listens; port 0 takes a free one [default: 127.0.0.1:0, or port 3000 with
    /// --origin-only]
    #[arg(long, value_name = "ADDRESS")]
    origin_listen: Option<SocketAddr>,
    /// Start the sample origin alone, without a cache; it prints every request that it gets
    #[arg(long, conflicts_with_all = ["listen", "admin"])]
    origin_only: bool,
}

#[derive(Args, Debug)]
struct Token {
    /// Its name, for the records
    #[arg(value_name = "NAME")]
    name: String,
    /// What it may do: purge-url, purge-tag, purge-all, fill, operate or read; may be given again
    #[arg(long, value_name = "SCOPE", required = true, value_parser = scope)]
    scope: Vec<Scope>,
    /// The only sites that it may do it on; may be given again
    #[arg(long, value_name = "NAME")]
    site: Vec<String>,
}

#[derive(Args, Debug)]
struct Completions {
    /// The shell that they are for
    shell: clap_complete::Shell,
}

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => run_serve(serve),
        Command::Worker(worker) => run_worker(worker),
        Command::Broker(broker) => run_broker(&broker),
        Command::Demo(demo) => run_demo(&demo),
        Command::Check(check) => run_check(&check),
        Command::Purge(purge) => operator::purge(&purge),
        Command::Purges(purges) => operator::purges(&purges),
        Command::Bans(bans) => operator::bans(&bans),
        Command::Explain(explain) => explain::explain(&explain),
        Command::Queue(queue) => queue::queue(&queue),
        Command::Origins(origins) => origins::origins(&origins),
        Command::Nodes(nodes) => operator::nodes(&nodes),
        Command::Warm(warm) => warm::warm(&warm),
        Command::Token(token) => run_token(&token),
        Command::Completions(completions) => run_completions(&completions),
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

fn run_worker(Serve { config: file, flags }: Serve) -> ExitCode {
    match config::load(file.as_deref(), &flags) {
        Ok(config) => {
            let reread = move || config::load(file.as_deref(), &flags);
            ended(crate::node::run_worker(config, reread))
        }
        Err(faults) => failed(&faults),
    }
}

fn run_broker(Broker { what, with: Serve { config: file, flags } }: &Broker) -> ExitCode {
    match config::load(file.as_deref(), flags) {
        Ok(config) => match what {
            Topic::Declare => broker::declare(&config),
            Topic::Check => broker::check(&config),
        },
        Err(faults) => failed(&faults),
    }
}

fn run_demo(demo: &Demo) -> ExitCode {
    let port = if demo.origin_only { 3000 } else { 0 };
    let origin_listen = demo.origin_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)));
    if demo.origin_only {
        return ended(crate::demo::run_origin(origin_listen));
    }
    let Demo { listen, admin, .. } = *demo;
    ended(crate::demo::run(crate::demo::DemoOptions { listen, admin, origin_listen }))
}

fn run_check(check: &Check) -> ExitCode {
    match config::load(Some(&check.file), &check.flags) {
        Ok(config) => print(&format!("{}: good: {}\n", check.file.display(), extent(&config))),
        Err(faults) => failed(&faults),
    }
}

/// A token goes to the standard output, and what stays at the node to the file.
fn run_token(token: &Token) -> ExitCode {
    match admin::new_token(&token.name, &token.scope, &token.site) {
        Ok((token, entry)) => print(&format!(
            "# The token, which is not shown again:\n# {token}\n# Add this to the file of admin.tokens:\n{entry}"
        )),
        Err(error) => failed(&format!("forebay: no random numbers: {error}")),
    }
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::from_name(name)
        .ok_or_else(|| format!("there are {}", Scope::names().collect::<Vec<_>>().join(", ")))
}

/// What a shell has to read to complete the command line.
fn run_completions(completions: &Completions) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "forebay", &mut text);
    print(&String::from_utf8_lossy(&text))
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

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
