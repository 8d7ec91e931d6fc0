//! The program's own log: what happened and why, for an operator to read.

use std::io::IsTerminal;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::clock::Wall;

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

/// The most lines of one kind in a second: what fails in an outage, fails for every
/// request, and whoever serves waits until a line is written.
const MOST_LINES: u32 = 10;

/// Keeps lines of one kind from becoming too many.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    second: u64,
    written: u32,
    left_out: u64,
}

impl Seldom {
    /// Has the line written, if there is room for it: `write` is given how many have
    /// been left out since the last one, if any.
    pub fn tell(&self, now: Wall, write: impl FnOnce(Option<u64>)) {
        let left_out = {
            let mut lines = self.0.lock();
            if lines.second != now.secs() {
                lines.second = now.secs();
                lines.written = 0;
            }
            if lines.written >= MOST_LINES {
                lines.left_out += 1;
                return;
            }
            lines.written += 1;
            std::mem::take(&mut lines.left_out)
        };
        write((left_out > 0).then_some(left_out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_most_are_counted_and_told_with_the_next() {
        let seldom = Seldom::default();
        let mut told = Vec::new();
        for (second, count) in [(1, 2), (2, 35), (3, 1), (4, 1)] {
            for _ in 0..count {
                seldom.tell(Wall::from_secs(second), |left_out| told.push((second, left_out)));
            }
        }
        assert_eq!(told.len(), 2 + 10 + 1 + 1);
        assert_eq!(told[11..], [(2, None), (3, Some(25)), (4, None)]);
    }
}
