//! One line for each request, written by a thread of its own, which waits a moment for more of
//! them before it writes.
//!
//! What always holds: whoever serves a request only puts its line behind the others of the same
//! thread, after the reply has ended; where too many bytes wait it drops the line and counts
//! that. Lines are written in the order in which they were recorded, whichever threads they are
//! of. None begins within one that a full disk has cut off.
//!
//! What it never does: make a request, or the end of a node, wait for whoever
//! reads the log; write a word that other threads write, but to wake the thread; format a line
//! while others wait.

mod line;

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::counters::Counters;
use crate::apart::{Apart, Handle, Handles, PLACES, place};

pub use line::{Entry, Format};

/// Whether, where and how requests are logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where the lines go.
    pub output: Output,
    /// What they look like.
    pub format: Format,
    /// So many bytes of lines wait at most to be written, of each thread, and one line more; as
    /// many may be on their way to the disk. More threads than there are [places](PLACES) share.
    pub buffer: usize,
}

/// Where the lines go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// Nowhere.
    #[default]
    Off,
    /// To standard output.
    Stdout,
    /// To the end of this file, which is opened again on SIGHUP.
    File(PathBuf),
}

impl Default for Settings {
    fn default() -> Self {
        Settings { output: Output::default(), format: Format::default(), buffer: 4 * 1024 * 1024 }
    }
}

/// The log of a node.
#[derive(Clone)]
pub struct AccessLog {
    open: Option<Handles<Open>>,
}

/// A handle of the log, for one request.
pub struct Log(Handle<Open>);

/// The log as long as somebody could record.
struct Open {
    shared: Arc<Shared>,
    writer: Thread,
}

/// What those who record and the thread have in common.
struct Shared {
    format: Format,
    /// Where so many bytes wait, a line is dropped.
    most: usize,
    /// Where so many wait, the thread does not wait for more.
    many: usize,
    waiting: [Apart<Mutex<Lines>>; PLACES],
    asked: Mutex<Asked>,
    /// Whether the thread waits to be told of the first line; all who record read it.
    sleeps: Apart<AtomicBool>,
    counters: Arc<Counters>,
}

/// Whole lines of a thread.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    /// Of each line when it was recorded, and how long it is.
    marks: Vec<(Instant, usize)>,
}

/// What the thread is asked to do.
#[derive(Default)]
struct Asked {
    /// Open the file again.
    reopen: bool,
    /// Write everything that came before, then answer.
    flush: Vec<oneshot::Sender<()>>,
    /// Write everything and end: nobody is left who could record.
    end: bool,
}

/// Bytes of one thread that are worth a write.
const BATCH: usize = 256 * 1024;
/// What a list keeps of its room while the thread sleeps.
const KEPT: usize = 64 * 1024;
/// What most lines fit.
const LINE: usize = 512;

thread_local! {
    /// Where this thread has written its last line.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How long more lines are waited for before the first one is written. To wake a thread for each
/// of them costs the request more than all else that it does.
const GATHER: Duration = Duration::from_millis(20);
/// How long [`AccessLog::flush`] waits at most: a reader who has stopped reading
/// does not keep a node from ending.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

impl AccessLog {
    /// Opens the log and starts its thread.
    pub fn start(settings: &Settings, counters: Arc<Counters>) -> io::Result<AccessLog> {
        let (path, file) = match &settings.output {
            Output::Off => return Ok(AccessLog { open: None }),
            // The bare descriptor: no lock is held while a reader lets the log wait.
            Output::Stdout => (None, File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Output::File(path) => (Some(path.clone()), append_to(path)?),
        };
        let shared = Arc::new(Shared {
            format: settings.format,
            most: settings.buffer,
            many: BATCH.min(settings.buffer / 2),
            waiting: Default::default(),
            asked: Mutex::default(),
            sleeps: Apart::default(),
            counters: Arc::clone(&counters),
        });
        let writer = Writer { path, file, is_torn: false, is_failing: false, counters };
        let name = "access-log".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, writer)
        })?;
        let open = Open { shared, writer: thread.thread().clone() };
        Ok(AccessLog { open: Some(Handles::new(Arc::new(open))) })
    }

    /// What a request is recorded by, if requests are logged.
    pub fn take(&self) -> Option<Log> {
        self.open.as_ref().map(|open| Log(open.take()))
    }

    /// Begins a new file: the old one has been moved away.
    pub fn reopen(&self) {
        let Some(open) = &self.open else { return };
        open.ask(|asked| asked.reopen = true);
    }

    /// Returns when everything recorded so far has been written, or after five
    /// seconds when whoever takes the log does not take it.
    pub async fn flush(&self) {
        let Some(open) = &self.open else { return };
        let (done, flushed) = oneshot::channel();
        open.ask(|asked| asked.flush.push(done));
        if tokio::time::timeout(FLUSH_PATIENCE, flushed).await.is_err() {
            tracing::warn!(target: "forebay::access_log", "nobody takes the access log; its last lines are lost");
        }
    }
}

impl Log {
    /// Logs an entry, or drops it when too much waits. Waits for nobody who reads or writes
    /// the log.
    pub fn record(&self, entry: &Entry<'_>) {
        let Open { shared, writer } = &*self.0;
        let mut line = SPARE.take();
        line.clear();
        line::push(&mut line, entry, shared.format);
        let is_much = {
            let mut lines = shared.waiting[place()].0.lock();
            let before = lines.bytes();
            if before < shared.most {
                lines.push(&line);
            } else {
                shared.counters.access_log_dropped.up();
            }
            before < shared.many && lines.bytes() >= shared.many
        };
        line.shrink_to(KEPT);
        SPARE.set(line);
        // Who goes to sleep looks at the lines after having said so: either it has seen this one,
        // or this sees that it sleeps.
        if is_much || shared.sleeps.0.load(Ordering::Relaxed) {
            shared.sleeps.0.store(false, Ordering::Relaxed);
            writer.unpark();
        }
    }
}

impl Open {
    fn ask(&self, ask: impl FnOnce(&mut Asked)) {
        ask(&mut self.shared.asked.lock());
        self.writer.unpark();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ask(|asked| asked.end = true);
    }
}

impl Lines {
    fn push(&mut self, line: &[u8]) {
        // Where much waits the room does not double: it has a limit.
        let room = self.text.capacity();
        if room - self.text.len() < line.len() {
            self.text.reserve_exact(line.len().max(room.clamp(LINE, BATCH)));
        }
        let room = self.marks.capacity();
        if room == self.marks.len() {
            self.marks.reserve_exact(room.clamp(1, BATCH / LINE));
        }
        self.text.extend_from_slice(line);
        self.marks.push((Instant::now(), line.len()));
    }

    /// What is held for them.
    fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.marks)
    }

    fn clear(&mut self) {
        self.text.clear();
        self.marks.clear();
    }

    fn shrink(&mut self) {
        self.text.shrink_to(KEPT);
        self.marks.shrink_to(KEPT / LINE);
    }
}

impl Asked {
    fn is_anything(&self) -> bool {
        self.reopen || self.end || !self.flush.is_empty()
    }
}

impl Shared {
    /// Takes all lines there are. Nobody records meanwhile, so none is taken later than one that
    /// was recorded after it.
    fn take(&self, taken: &mut [Lines; PLACES]) {
        let waiting = self.waiting.each_ref().map(|waiting| waiting.0.lock());
        for (mut lines, taken) in waiting.into_iter().zip(taken) {
            if !lines.marks.is_empty() {
                std::mem::swap(&mut *lines, taken);
            }
        }
    }

    /// Whether there are lines. Gives back the room of those that were there.
    fn has_lines(&self) -> bool {
        self.waiting.iter().any(|waiting| {
            let mut lines = waiting.0.lock();
            if lines.marks.is_empty() {
                lines.shrink();
            }
            !lines.marks.is_empty()
        })
    }
}

/// Writes until nobody is left who could record.
fn run(shared: &Shared, mut writer: Writer) {
    let mut taken: [Lines; PLACES] = Default::default();
    let mut merged = Vec::new();
    loop {
        let asked = std::mem::take(&mut *shared.asked.lock());
        if asked.reopen {
            writer.open_again();
        }
        shared.take(&mut taken);
        let mut of_threads = taken.iter_mut().filter(|lines| !lines.marks.is_empty());
        let is_quiet = match (of_threads.next(), of_threads.next()) {
            (None, _) => true,
            (Some(only), None) => {
                writer.write(&only.text, only.marks.len());
                false
            }
            (Some(_), Some(_)) => {
                merge(&taken, &mut merged, |lines, count| writer.write(lines, count));
                false
            }
        };
        taken.iter_mut().for_each(Lines::clear);
        for done in asked.flush {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
        if asked.end {
            return;
        }
        if is_quiet {
            taken.iter_mut().for_each(Lines::shrink);
            merged.shrink_to(KEPT);
            shared.sleeps.0.store(true, Ordering::Relaxed);
            if !shared.has_lines() {
                std::thread::park();
            }
            shared.sleeps.0.store(false, Ordering::Relaxed);
        }
        // Whoever cannot wait ends this.
        if !shared.asked.lock().is_anything() {
            std::thread::park_timeout(GATHER);
        }
    }
}

/// Puts the lines of all threads behind each other in the order in which they were recorded, and
/// lets `write` write so many of them at a time. Nothing is left in `merged`.
fn merge(taken: &[Lines; PLACES], merged: &mut Vec<u8>, mut write: impl FnMut(&[u8], usize)) {
    let mut rests = taken.each_ref().map(|lines| (lines.text.as_slice(), lines.marks.iter().peekable()));
    let mut count = 0;
    loop {
        let next = rests
            .iter_mut()
            .filter_map(|(text, marks)| {
                marks.peek().map(|(ended, _)| *ended).map(|ended| (ended, text, marks))
            })
            .min_by_key(|(ended, ..)| *ended);
        if !merged.is_empty() && (next.is_none() || merged.len() >= BATCH) {
            write(merged, count);
            merged.clear();
            count = 0;
        }
        let Some((_, text, marks)) = next else { return };
        let length = marks.next().map_or(0, |(_, length)| *length);
        let (line, rest) = text.split_at_checked(length).unwrap_or((*text, &[]));
        merged.extend_from_slice(line);
        *text = rest;
        count += 1;
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Where the lines go.
struct Writer {
    /// Where the file is; standard output has none.
    path: Option<PathBuf>,
    file: File,
    /// Whether the file ends within a line.
    is_torn: bool,
    /// Whether the last write failed: each outage is told once.
    is_failing: bool,
    counters: Arc<Counters>,
}

impl Writer {
    /// Writes so many whole lines.
    fn write(&mut self, lines: &[u8], count: usize) {
        let count = count as u64;
        let rest_of_line: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let (written, outcome) = match write_out(&mut self.file, rest_of_line) {
            (_, Ok(())) => {
                self.is_torn = false;
                write_out(&mut self.file, lines)
            }
            (_, failed) => (0, failed),
        };
        let written = lines.get(..written).unwrap_or_default();
        if let Some(last) = written.last() {
            self.is_torn = *last != b'\n';
        }
        let whole = if written.len() == lines.len() {
            count
        } else {
            written.iter().filter(|byte| **byte == b'\n').count() as u64
        };
        self.counters.access_log_lines.add(whole);
        self.counters.access_log_lost.add(count.saturating_sub(whole));
        match &outcome {
            Ok(()) if self.is_failing => {
                tracing::info!(target: "forebay::access_log", "the access log can be written again");
            }
            Err(error) if !self.is_failing => {
                tracing::error!(target: "forebay::access_log", "the access log cannot be written, lines are lost: {error}");
            }
            _ => {}
        }
        self.is_failing = outcome.is_err();
        if self.is_failing {
            self.counters.access_log_errors.up();
        }
    }

    fn open_again(&mut self) {
        let Some(path) = &self.path else { return };
        match append_to(path) {
            Ok(new) => {
                self.file = new;
                self.is_torn = false;
            }
            Err(error) => {
                self.counters.access_log_errors.up();
                tracing::error!(target: "forebay::access_log", "{} cannot be opened again, the old file is kept: {error}", path.display());
            }
        }
    }
}

/// Writes all of `bytes`, or says how many were written before it failed.
fn write_out(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::line::tests::entry;
    use super::*;

    /// A log into a pipe, and the pipe's other end.
    fn into_a_pipe(buffer: usize) -> (AccessLog, io::PipeReader, Arc<Counters>) {
        let (reader, pipe) = io::pipe().expect("a pipe");
        // Opened by name, as an operator's /dev/stdout would be.
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe)));
        let counters = Arc::new(Counters::default());
        let settings = Settings { output: Output::File(path), buffer, ..Settings::default() };
        let log = AccessLog::start(&settings, Arc::clone(&counters)).expect("a log");
        (log, reader, counters)
    }

    fn record(log: &AccessLog, entry: &Entry<'_>) {
        log.take().expect("it is on").record(entry);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_nobody_takes_drops_lines_and_holds_nobody_up() {
        let (log, reader, counters) = into_a_pipe(4 << 20);
        let target = "x".repeat(1024 * 1024);
        let long = Entry { target: &target, ..entry() };
        // The thread takes some lines and is stuck with them; some wait; the rest is dropped.
        let mut recorded = 0;
        while counters.access_log_dropped.get() < 10 {
            record(&log, &long);
            recorded += 1;
        }
        assert!(recorded <= 10 + 2 * 5, "{recorded} were taken, of which 4 MiB may wait");
        log.flush().await;
        assert_eq!(counters.access_log_lines.get(), 0);
        drop(reader);
    }

    #[tokio::test]
    async fn lines_that_cannot_be_written_are_counted() {
        let (log, reader, counters) = into_a_pipe(4 << 20);
        drop(reader);
        record(&log, &entry());
        log.flush().await;
        let counts = [&counters.access_log_lines, &counters.access_log_lost, &counters.access_log_errors];
        assert_eq!(counts.map(|count| count.get()), [0, 1, 1]);
    }

    #[test]
    fn what_is_written_after_an_outage_begins_a_line_of_its_own() {
        let folder = std::env::temp_dir().join(format!("forebay-log-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.join("log");
        std::fs::write(&path, "{\"cut off").expect("a file");
        let mut writer = Writer {
            path: None,
            file: append_to(&path).expect("a file"),
            is_torn: true,
            is_failing: true,
            counters: Arc::default(),
        };
        writer.write(b"{}\n", 1);
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "{\"cut off\n{}\n");
        assert!(!writer.is_torn && !writer.is_failing);
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    /// A log in a file of its own.
    fn into_a_file(buffer: usize) -> (AccessLog, PathBuf, Arc<Counters>) {
        let path = std::env::temp_dir().join(format!("forebay-log-{:x}", fastrand::u64(..)));
        let counters = Arc::new(Counters::default());
        let settings = Settings { output: Output::File(path.clone()), buffer, ..Settings::default() };
        let log = AccessLog::start(&settings, Arc::clone(&counters)).expect("a log");
        (log, path, counters)
    }

    /// The targets that were logged.
    fn targets(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("a file");
        let target = |line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a whole line");
            line["target"].as_str().expect("a text").to_owned()
        };
        text.lines().map(target).collect()
    }

    /// Waits for what comes by itself.
    fn until(is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "it does not come");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn every_line_is_written_once_and_in_order() {
        let (log, path, counters) = into_a_file(4 << 20);
        // Whoever has the word records; so they come in turns, whichever thread they are of.
        let turn = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (log, turn) = (&log, &turn);
                scope.spawn(move || {
                    for n in (thread..400).step_by(4) {
                        until(|| turn.load(Ordering::Acquire) == n);
                        let target = format!("/{n}");
                        record(log, &Entry { target: &target, ..entry() });
                        turn.store(n + 1, Ordering::Release);
                    }
                });
            }
            // Somebody asks for them meanwhile.
            let (log, turn) = (&log, &turn);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                let runtime = runtime.expect("a runtime");
                until(|| {
                    runtime.block_on(log.flush());
                    turn.load(Ordering::Acquire) == 400
                });
            });
        });
        log.flush().await;
        assert_eq!(targets(&path), (0..400).map(|n| format!("/{n}")).collect::<Vec<_>>());
        assert_eq!((counters.access_log_lines.get(), counters.access_log_dropped.get()), (400, 0));
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn lines_of_many_threads_are_merged_in_order() {
        let start = Instant::now();
        let mut taken: [Lines; PLACES] = Default::default();
        let mut expected = Vec::new();
        for n in 0..20_000usize {
            let line = format!("{n} {}\n", "x".repeat(n % 60));
            // Some have none at all, and two at a time were recorded in the same moment.
            let lines = &mut taken[[1, 3, 4, 9][n / 2 % 4]];
            lines.text.extend_from_slice(line.as_bytes());
            lines.marks.push((start + Duration::from_nanos(n as u64 / 2), line.len()));
            expected.extend_from_slice(line.as_bytes());
        }
        let (mut merged, mut written, mut count, mut writes) = (Vec::new(), Vec::new(), 0, 0);
        merge(&taken, &mut merged, |lines, many| {
            assert!(lines.ends_with(b"\n") && lines.len() < BATCH + LINE);
            assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), many);
            written.extend_from_slice(lines);
            (count, writes) = (count + many, writes + 1);
        });
        assert!(written == expected && merged.is_empty());
        assert_eq!((count, writes), (20_000, expected.len().div_ceil(BATCH)));
        let nothing: [Lines; PLACES] = Default::default();
        merge(&nothing, &mut merged, |_, _| panic!("there is nothing"));
    }

    #[test]
    fn what_was_recorded_is_written_when_nobody_is_left() {
        let (log, path, counters) = into_a_file(4096);
        let handle = log.take().expect("it is on");
        drop(log);
        (0..5).for_each(|_| handle.record(&entry()));
        drop(handle);
        until(|| counters.access_log_lines.get() == 5);
        assert_eq!(targets(&path).len(), 5);
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn lines_that_wait_hold_no_more_than_they_may() {
        let most = 1 << 20;
        for length in [100, 330, 700, 5000] {
            let mut lines = Lines::default();
            while lines.bytes() < most {
                lines.push(&vec![b'x'; length]);
            }
            let room = lines.text.capacity() + lines.marks.capacity() * size_of::<(Instant, usize)>();
            assert!(room <= most + 2 * BATCH, "{room} for lines of {length}");
            lines.clear();
            lines.shrink();
            assert!(lines.text.capacity() <= KEPT && lines.marks.capacity() <= KEPT / LINE);
        }
    }

    #[test]
    fn a_line_wakes_the_thread_that_sleeps() {
        let (log, _reader, counters) = into_a_pipe(4 << 20);
        let shared = Arc::clone(&log.open.as_ref().expect("it is on").shared);
        for lines in 1..=5 {
            until(|| shared.sleeps.0.load(Ordering::Relaxed));
            record(&log, &entry());
            // Nobody asks for it.
            until(|| counters.access_log_lines.get() == lines);
        }
    }

    #[tokio::test]
    async fn a_moved_file_is_left_and_a_new_one_begun() {
        let folder = std::env::temp_dir().join(format!("forebay-log-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder");
        let (path, moved) = (folder.join("log"), folder.join("log.1"));
        let settings = Settings { output: Output::File(path.clone()), ..Settings::default() };
        let counters = Arc::new(Counters::default());
        let log = AccessLog::start(&settings, Arc::clone(&counters)).expect("a log");
        record(&log, &entry());
        log.flush().await;
        std::fs::rename(&path, &moved).expect("moved");
        log.reopen();
        log.flush().await;
        assert!(path.exists(), "a new file does not wait for a request");
        record(&log, &entry());
        record(&log, &entry());
        log.flush().await;
        let lines = |path| std::fs::read_to_string(path).expect("a file").lines().count();
        assert_eq!((lines(&moved), lines(&path)), (1, 2));
        assert_eq!(counters.access_log_lines.get(), 3);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
