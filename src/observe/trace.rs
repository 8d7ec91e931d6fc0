//! The program's own log: what happened and why, for an operator to read.
//!
//! What always holds: whoever has something to tell puts a line into a bounded queue, and a
//! thread of its own writes it; what does not fit is counted, and the log says so.
//!
//! What it never does: make anybody wait for whoever reads the log. A pipe that nobody reads
//! is full after 64 KiB.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock::Wall;

/// So many lines wait at most to be written.
const QUEUE: usize = 4096;

/// How long the end of the program waits for the last of them.
const LAST: Duration = Duration::from_secs(1);

/// Lines that found no room, of all logs of this process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// A log that has been started. When it is dropped, what was told before has been written,
/// unless nobody reads it.
#[must_use = "the last lines are lost without it"]
pub struct Log(Option<SyncSender<Line>>);

enum Line {
    Text(Vec<u8>),
    /// Everything before it is to be written, and this one told.
    Last(SyncSender<()>),
}

/// Puts lines into the queue.
struct Queue(SyncSender<Line>);

/// How many lines found no room so far.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Starts logging to standard error: one line for each event, coloured on a
/// terminal unless `NO_COLOR` is set. `level` is a directive such as `info` or
/// `forebay::origin=debug`; one that cannot be read is told and `info` holds. A
/// second start changes nothing.
pub fn start(level: &str) -> Log {
    // The broker's client tells of its troubles, and so does whoever uses it; for the
    // client a question that is answered with no is one.
    let level = if level.contains("lapin") { level } else { &format!("{level},lapin=off") };
    let (filter, bad) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let (sender, lines) = sync_channel(QUEUE);
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Queue(sender.clone()))
        .with_ansi(coloured)
        .compact()
        .try_init()
        .is_ok();
    if let Some(error) = bad.filter(|_| started) {
        tracing::warn!(target: "forebay", "log.level = {level:?} cannot be read ({error}); `info` is used");
    }
    let writes = || write(lines, io::stderr(), &DROPPED);
    let writer = started.then(|| std::thread::Builder::new().name("log".to_owned()).spawn(writes));
    Log(writer.is_some_and(|thread| thread.is_ok()).then_some(sender))
}

/// Writes lines until nobody can tell any more. Those that are missing are told as soon as
/// one was written: then somebody reads again.
fn write(lines: Receiver<Line>, mut to: impl Write, dropped: &AtomicU64) {
    let mut told = 0;
    for line in lines {
        match line {
            // Where it cannot be written, there is nobody to whom that could be told.
            Line::Text(text) => drop(to.write_all(&text)),
            Line::Last(written) => drop(written.send(())),
        }
        let missing = dropped.load(Ordering::Relaxed) - told;
        if missing > 0 {
            told += missing;
            let _ =
                writeln!(to, "WARN forebay: {missing} lines are missing here: nobody read the log in time");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let Some(sender) = self.0.take() else { return };
        let until = std::time::Instant::now() + LAST;
        let (written, last) = sync_channel(1);
        let mut line = Line::Last(written);
        // A full queue becomes shorter as long as somebody reads.
        while let Err(TrySendError::Full(same)) = sender.try_send(line) {
            if std::time::Instant::now() >= until {
                return;
            }
            line = same;
            std::thread::sleep(LAST / 100);
        }
        let _ = last.recv_timeout(until.saturating_duration_since(std::time::Instant::now()));
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> &'a Queue {
        self
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Line::Text(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    /// Takes nothing until it is told to.
    struct Stuck(std::sync::mpsc::Receiver<()>, std::sync::Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once whoever tells is gone, it takes everything.
            let _ = self.0.recv();
            self.1.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_stuck_holds_up_nobody_and_learns_what_it_missed() {
        let (sender, lines) = sync_channel(2);
        let (go_on, told) = sync_channel(0);
        let written = std::sync::Arc::new(Mutex::new(Vec::new()));
        let (to, before) = (Stuck(told, std::sync::Arc::clone(&written)), dropped());
        let missing = std::sync::Arc::new(AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&missing);
        let writer = std::thread::spawn(move || write(lines, to, &counted));
        let queue = Queue(sender.clone());
        for number in 0..10 {
            (&queue).write_all(format!("line {number}\n").as_bytes()).expect("it never fails");
        }
        // One may be with the writer already.
        missing.store(dropped() - before, Ordering::Relaxed);
        assert!((7..=8).contains(&missing.load(Ordering::Relaxed)));
        drop(go_on);
        drop((queue, Log(Some(sender))));
        writer.join().expect("it ends");
        let written = String::from_utf8(written.lock().clone()).expect("text");
        assert!(written.starts_with("line 0\n"), "{written}");
        assert!(written.contains("lines are missing here"), "{written}");
    }

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
