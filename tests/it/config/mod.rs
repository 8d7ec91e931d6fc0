//! The configuration: what is read, what is refused and with which words, and
//! what others are shown of it.

mod cli;
mod faults;
mod files;
mod flags;
mod inheritance;
mod reload;

use forebay::config::{self, Config, Flags};
use forebay::origin::{self, resolve::Name};

/// The name under which the tests' files are read.
const FILE: &str = "x.toml";

/// Reads a good file.
fn good(text: &str) -> Config {
    good_with(text, &Flags::default())
}

/// Reads a good file with flags.
fn good_with(text: &str, flags: &Flags) -> Config {
    config::read(FILE, text, flags).unwrap_or_else(|faults| panic!("refused:\n{faults}\n---\n{text}"))
}

/// A server of an origin.
fn server(host: &str, port: u16) -> origin::Server {
    origin::Server { name: Name::Host { host: host.to_owned(), port }, tls: false, weight: 1 }
}

/// Reads a bad file with flags: its faults, each as it is printed.
fn faults_with(text: &str, flags: &Flags) -> Vec<String> {
    match config::read(FILE, text, flags) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}
