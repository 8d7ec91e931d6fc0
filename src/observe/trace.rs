//! The program's own log: what happened and why, for an operator to read.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error: one line for each event, coloured on a
/// terminal unless `NO_COLOR` is set. `level` is a directive such as `info` or
/// `forebay::origin=debug`; one that cannot be read is told and `info` holds. A
/// second start changes nothing.
pub fn start(level: &str) {
    // The broker's client tells of its troubles, and so does whoever uses it; for the
    // client a question that is answered with no is one.
    let level = if level.contains("lapin") { level } else { &format!("{level},lapin=off") };
    let (filter, bad) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
        )
        .compact()
        .try_init()
        .is_ok();
    if let Some(error) = bad.filter(|_| started) {
        tracing::warn!(target: "forebay", "log.level = {level:?} cannot be read ({error}); `info` is used");
    }
}
