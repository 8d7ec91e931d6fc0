//! One line for each request, written by a thread of its own, which waits a moment for more of
//! them before it writes.
//!
//! What always holds: whoever serves a request only puts an entry into a bounded
//! queue; a full queue drops the entry and counts it. Lines are whole: no byte of
//! a request can end one or begin another, and none begins within one that a full
//! disk has cut off. Every byte is printable ASCII or the end of a line, so that
//! nothing in a log acts upon a terminal.
//!
//! What it never does: make a request, or the end of a node, wait for whoever
//! reads the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use http::{Method, Version};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::counters::Counters;
use crate::clock::Wall;

/// Whether, where and how requests are logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where the lines go.
    pub output: Output,
    /// What they look like.
    pub format: Format,
    /// How many entries wait at most to be written.
    pub queue: usize,
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

/// What the lines look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// An object on each line.
    #[default]
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { output: Output::default(), format: Format::default(), queue: 8192 }
    }
}

/// What is told of a request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When its head had arrived.
    pub at: Wall,
    /// Who asked.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// The `Host` as given.
    pub host: String,
    /// The target as given.
    pub target: String,
    /// The protocol version.
    pub version: Version,
    /// The reply's status; 499 where the client left before there was a reply.
    pub status: u16,
    /// Bytes of content that the connection took.
    pub body_bytes: u64,
    /// From the request's head to the reply's last byte.
    pub took: Duration,
    /// From the request's head to the reply's.
    pub time_to_head: Duration,
    /// This node's `Cache-Status`; empty on answers made here.
    pub cache_status: String,
    /// The request's id.
    pub request_id: String,
    /// The `Referer`, if any.
    pub referer: Option<String>,
    /// The `User-Agent`, if any.
    pub user_agent: Option<String>,
    /// Whether the reply came to its end.
    pub complete: bool,
    /// What stood in the way of a better answer.
    pub detail: Option<String>,
}

/// The log; cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    open: Option<Arc<Open>>,
}

struct Open {
    queue: Sender<Message>,
    /// Where so little room is left the thread does not wait for more.
    half: usize,
    writer: Thread,
    reopen: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

enum Message {
    Entry(Box<Entry>),
    /// Write everything that came before, then answer.
    Flush(oneshot::Sender<()>),
    /// Look whether the file is to be opened anew.
    Wake,
}

/// Bytes that are gathered before they are written while more entries wait.
const BATCH: usize = 64 * 1024;
/// How long more entries are waited for before the first one is written. To wake a thread for each
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
        let (queue, entries) = channel(settings.queue.max(1));
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path,
            file,
            format: settings.format,
            gathered: Vec::new(),
            lines: 0,
            is_torn: false,
            is_failing: false,
            reopen: Arc::clone(&reopen),
            counters: Arc::clone(&counters),
        };
        let name = "access-log".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || writer.run(entries))?;
        let (half, writer) = (settings.queue / 2, thread.thread().clone());
        Ok(AccessLog { open: Some(Arc::new(Open { queue, half, writer, reopen, counters })) })
    }

    /// Whether entries are worth making.
    pub fn is_on(&self) -> bool {
        self.open.is_some()
    }

    /// Logs an entry, or drops it when too many wait. Never blocks.
    pub fn record(&self, entry: Entry) {
        let Some(open) = &self.open else { return };
        if open.queue.try_send(Message::Entry(Box::new(entry))).is_err() {
            open.counters.access_log_dropped.up();
        }
        if open.queue.capacity() <= open.half {
            open.writer.unpark();
        }
    }

    /// Begins a new file: the old one has been moved away.
    pub fn reopen(&self) {
        let Some(open) = &self.open else { return };
        open.reopen.store(true, Ordering::Release);
        // Where the queue is full the thread is at work and will see the mark.
        let _ = open.queue.try_send(Message::Wake);
        open.writer.unpark();
    }

    /// Returns when everything recorded so far has been written, or after five
    /// seconds when whoever takes the log does not take it.
    pub async fn flush(&self) {
        let Some(open) = &self.open else { return };
        let (done, flushed) = oneshot::channel();
        let written = async {
            if open.queue.send(Message::Flush(done)).await.is_ok() {
                open.writer.unpark();
                // An error means that the thread has ended, and nothing is left to wait for.
                let _ = flushed.await;
            }
        };
        if tokio::time::timeout(FLUSH_PATIENCE, written).await.is_err() {
            tracing::warn!(target: "forebay::access_log", "nobody takes the access log; its last lines are lost");
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nothing more comes that could be waited for.
        self.writer.unpark();
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

struct Writer {
    /// Where the file is; standard output has none.
    path: Option<PathBuf>,
    file: File,
    format: Format,
    gathered: Vec<u8>,
    /// How many lines are gathered.
    lines: u64,
    /// Whether the file ends within a line.
    is_torn: bool,
    /// Whether the last write failed: each outage is told once.
    is_failing: bool,
    reopen: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

impl Writer {
    /// Writes until nobody is left who could record.
    fn run(mut self, mut entries: Receiver<Message>) {
        while let Some(first) = entries.blocking_recv() {
            let waits = matches!(first, Message::Entry(_));
            self.take(first);
            if waits {
                // Whoever cannot wait ends this.
                std::thread::park_timeout(GATHER);
            }
            while let Ok(next) = entries.try_recv() {
                self.take(next);
            }
            self.write();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Entry(entry) => {
                push_line(&mut self.gathered, &entry, self.format);
                self.lines += 1;
                if self.gathered.len() >= BATCH {
                    self.write();
                }
            }
            Message::Flush(done) => {
                self.write();
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
            Message::Wake => {}
        }
    }

    fn write(&mut self) {
        if self.reopen.swap(false, Ordering::AcqRel) {
            self.open_again();
        }
        if self.gathered.is_empty() {
            return;
        }
        let rest_of_line: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let (written, outcome) = match write_out(&mut self.file, rest_of_line) {
            (_, Ok(())) => {
                self.is_torn = false;
                write_out(&mut self.file, &self.gathered)
            }
            (_, failed) => (0, failed),
        };
        let written = self.gathered.get(..written).unwrap_or_default();
        if let Some(last) = written.last() {
            self.is_torn = *last != b'\n';
        }
        let whole = written.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.counters.access_log_lines.add(whole);
        self.counters.access_log_lost.add(self.lines.saturating_sub(whole));
        self.gathered.clear();
        self.lines = 0;
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

/// A line of the JSON form, in the order in which it is read.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    target: &'a str,
    protocol: &'a str,
    status: u16,
    body_bytes: u64,
    seconds: f64,
    seconds_to_head: f64,
    cache_status: &'a str,
    request_id: &'a str,
    referer: Option<&'a str>,
    user_agent: Option<&'a str>,
    complete: bool,
    detail: Option<&'a str>,
}

fn push_line(out: &mut Vec<u8>, entry: &Entry, format: Format) {
    // Writing to a vector does not fail.
    match format {
        Format::Json => {
            let line = Line {
                time: &timestamp(entry.at),
                client: entry.client,
                method: entry.method.as_str(),
                host: &entry.host,
                target: &entry.target,
                protocol: protocol(entry.version),
                status: entry.status,
                body_bytes: entry.body_bytes,
                seconds: entry.took.as_secs_f64(),
                seconds_to_head: entry.time_to_head.as_secs_f64(),
                cache_status: &entry.cache_status,
                request_id: &entry.request_id,
                referer: entry.referer.as_deref(),
                user_agent: entry.user_agent.as_deref(),
                complete: entry.complete,
                detail: entry.detail.as_deref(),
            };
            let _ = line.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, Printable));
        }
        Format::Combined => {
            let _ = write!(out, "{} - - [{}] \"", entry.client, common_time(entry.at));
            push_escaped(out, entry.method.as_str());
            out.push(b' ');
            push_escaped(out, &entry.target);
            let _ = write!(out, " {}\" {} {}", protocol(entry.version), entry.status, entry.body_bytes);
            let (referer, agent) = (entry.referer.as_deref(), entry.user_agent.as_deref());
            for quoted in [referer.unwrap_or("-"), agent.unwrap_or("-"), &entry.cache_status] {
                out.extend_from_slice(b" \"");
                push_escaped(out, quoted);
                out.push(b'"');
            }
        }
    }
    out.push(b'\n');
}

/// JSON with `\u` for everything that is not printable ASCII.
struct Printable;

impl serde_json::ser::Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // Nearly all of it is, and this is one quick look.
        if rest.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return out.write_all(rest.as_bytes());
        }
        while let Some(at) = rest.find(|c: char| !c.is_ascii() || c.is_ascii_control()) {
            let (printable, from) = rest.split_at(at);
            out.write_all(printable.as_bytes())?;
            let mut chars = from.chars();
            for unit in chars.next().into_iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

fn protocol(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }
}

/// Bytes that could end a quoted string or a line, or that act upon a terminal,
/// are written as `\xHH`, as nginx and Apache do.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                let _ = write!(out, "\\x{byte:02X}");
            }
            _ => out.push(byte),
        }
    }
}

/// `2026-11-23T18:05:48.123Z`
fn timestamp(at: Wall) -> String {
    let (year, month, day) = at.date();
    let (hour, minute, second) = (at.secs() / 3600 % 24, at.secs() / 60 % 60, at.secs() % 60);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let numbers = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, hour),
        (14..16, minute),
        (17..19, second),
        (20..23, at.millis() % 1000),
    ];
    for (place, number) in numbers {
        let mut rest = number;
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// `23/Nov/2026:18:05:48 +0000`
fn common_time(at: Wall) -> String {
    // "Mon, 23 Nov 2026 18:05:48 GMT": the library knows the months' names.
    let date = httpdate::fmt_http_date(at.to_system_time());
    let mut words = date.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, time) = (word(), word(), word(), word());
    format!("{day}/{month}/{year}:{time} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn entry() -> Entry {
        Entry {
            at: Wall::from_millis(1_795_457_148_123),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: Method::GET,
            host: "h".to_owned(),
            target: "/a\"b\nc".to_owned(),
            version: Version::HTTP_11,
            status: 200,
            body_bytes: 5,
            took: Duration::from_millis(2),
            time_to_head: Duration::from_millis(1),
            cache_status: "forebay; hit".to_owned(),
            request_id: "id".to_owned(),
            referer: None,
            user_agent: Some("agent \"x\"".to_owned()),
            complete: true,
            detail: None,
        }
    }

    fn line(entry: &Entry, format: Format) -> String {
        let mut out = Vec::new();
        push_line(&mut out, entry, format);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn no_request_can_forge_a_line_or_speak_to_a_terminal() {
        // Every control character, C1 ones and those that turn the direction of
        // writing included, and one beyond the first plane.
        let hostile: String = ('\0'..='\u{a0}').chain("\u{2028}\u{202e}é😀".chars()).collect();
        let entry = Entry {
            host: hostile.clone(),
            target: hostile.clone(),
            referer: Some(hostile.clone()),
            user_agent: Some(hostile.clone()),
            cache_status: hostile.clone(),
            request_id: hostile.clone(),
            detail: Some(hostile.clone()),
            ..entry()
        };
        for format in [Format::Json, Format::Combined] {
            let text = line(&entry, format);
            let inner = text.strip_suffix('\n').expect("a line");
            assert!(inner.bytes().all(|b| (b' '..0x7f).contains(&b)), "{inner}");
        }
        let read: serde_json::Value = serde_json::from_str(&line(&entry, Format::Json)).expect("JSON");
        for name in ["host", "target", "referer", "user_agent", "cache_status", "request_id", "detail"] {
            assert_eq!(read[name], hostile.as_str(), "{name}");
        }
    }

    #[test]
    fn lines_look_as_documented() {
        assert_eq!(
            line(&entry(), Format::Combined),
            "127.0.0.1 - - [23/Nov/2026:18:05:48 +0000] \"GET /a\\x22b\\x0Ac HTTP/1.1\" 200 5 \"-\" \
             \"agent \\x22x\\x22\" \"forebay; hit\"\n"
        );
        assert_eq!(
            line(&entry(), Format::Json),
            concat!(
                r#"{"time":"2026-11-23T18:05:48.123Z","client":"127.0.0.1","method":"GET","host":"h","#,
                r#""target":"/a\"b\nc","protocol":"HTTP/1.1","status":200,"body_bytes":5,"seconds":0.002,"#,
                r#""seconds_to_head":0.001,"cache_status":"forebay; hit","request_id":"id","referer":null,"#,
                r#""user_agent":"agent \"x\"","complete":true,"detail":null}"#,
                "\n"
            )
        );
    }

    /// A log into a pipe, and the pipe's other end.
    fn into_a_pipe(queue: usize) -> (AccessLog, io::PipeReader, Arc<Counters>) {
        let (reader, pipe) = io::pipe().expect("a pipe");
        // Opened by name, as an operator's /dev/stdout would be.
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe)));
        let counters = Arc::new(Counters::default());
        let settings = Settings { output: Output::File(path), queue, ..Settings::default() };
        let log = AccessLog::start(&settings, Arc::clone(&counters)).expect("a log");
        (log, reader, counters)
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_nobody_takes_drops_lines_and_holds_nobody_up() {
        let (log, reader, counters) = into_a_pipe(4);
        let long = Entry { target: "x".repeat(1024 * 1024), ..entry() };
        // The thread takes one line and is stuck with it; four wait; the rest is dropped.
        while counters.access_log_dropped.get() < 10 {
            log.record(long.clone());
        }
        log.flush().await;
        assert_eq!(counters.access_log_lines.get(), 0);
        drop(reader);
    }

    #[tokio::test]
    async fn lines_that_cannot_be_written_are_counted() {
        let (log, reader, counters) = into_a_pipe(4);
        drop(reader);
        log.record(entry());
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
            format: Format::Json,
            gathered: b"{}\n".to_vec(),
            lines: 1,
            is_torn: true,
            is_failing: true,
            reopen: Arc::default(),
            counters: Arc::default(),
        };
        writer.write();
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "{\"cut off\n{}\n");
        assert!(!writer.is_torn && !writer.is_failing);
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[tokio::test]
    async fn a_moved_file_is_left_and_a_new_one_begun() {
        let folder = std::env::temp_dir().join(format!("forebay-log-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder");
        let (path, moved) = (folder.join("log"), folder.join("log.1"));
        let settings = Settings { output: Output::File(path.clone()), ..Settings::default() };
        let counters = Arc::new(Counters::default());
        let log = AccessLog::start(&settings, Arc::clone(&counters)).expect("a log");
        log.record(entry());
        log.flush().await;
        std::fs::rename(&path, &moved).expect("moved");
        log.reopen();
        log.flush().await;
        assert!(path.exists(), "a new file does not wait for a request");
        log.record(entry());
        log.record(entry());
        log.flush().await;
        let lines = |path| std::fs::read_to_string(path).expect("a file").lines().count();
        assert_eq!((lines(&moved), lines(&path)), (1, 2));
        assert_eq!(counters.access_log_lines.get(), 3);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
