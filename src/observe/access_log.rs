//! One line for each request, written by a thread of its own.
//!
//! What always holds: whoever serves a request only puts an entry into a bounded
//! queue; a full queue drops the entry and counts it. Lines are whole: no byte of
//! a request can end one or begin another.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use http::{Method, Version};
use serde_json::json;

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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To the end of this file, which is opened again on SIGHUP.
    File(PathBuf),
}

/// What the lines look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// An object on each line.
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { output: Output::Off, format: Format::Json, queue: 8192 }
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
    /// The reply's status.
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
    open: Option<Open>,
}

#[derive(Clone)]
struct Open {
    queue: SyncSender<Message>,
    reopen: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

enum Message {
    Entry(Box<Entry>),
    /// Write everything that came before, then answer.
    Flush(tokio::sync::oneshot::Sender<()>),
}

/// Bytes that are gathered before they are written while more entries wait.
const BATCH: usize = 64 * 1024;

impl AccessLog {
    /// Opens the log and starts its thread.
    pub fn start(settings: &Settings, counters: Arc<Counters>) -> io::Result<AccessLog> {
        let file = match &settings.output {
            Output::Off => return Ok(AccessLog { open: None }),
            Output::Stdout => None,
            Output::File(path) => Some((path.clone(), append_to(path)?)),
        };
        let (queue, entries) = sync_channel(settings.queue);
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            file,
            format: settings.format,
            text: String::new(),
            reopen: Arc::clone(&reopen),
            counters: Arc::clone(&counters),
        };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&entries))?;
        Ok(AccessLog { open: Some(Open { queue, reopen, counters }) })
    }

    /// Whether entries are worth making.
    pub fn is_on(&self) -> bool {
        self.open.is_some()
    }

    /// Logs an entry, or drops it when too many wait. Never blocks.
    pub fn record(&self, entry: Entry) {
        let Some(open) = &self.open else { return };
        match open.queue.try_send(Message::Entry(Box::new(entry))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                open.counters.access_log_dropped.up()
            }
        }
    }

    /// Opens the file anew with the next entry: the old one has been moved away.
    pub fn reopen(&self) {
        if let Some(open) = &self.open {
            open.reopen.store(true, Ordering::Release);
        }
    }

    /// Returns when everything recorded so far has been written.
    pub async fn flush(&self) {
        let Some(open) = &self.open else { return };
        let (done, flushed) = tokio::sync::oneshot::channel();
        let queue = open.queue.clone();
        // The queue may be full; waiting for room is the blocking pool's business.
        let sent = tokio::task::spawn_blocking(move || queue.send(Message::Flush(done)).is_ok()).await;
        if sent.unwrap_or(false) {
            // An error means that the thread has ended, and nothing is left to wait for.
            let _ = flushed.await;
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

struct Writer {
    file: Option<(PathBuf, File)>,
    format: Format,
    text: String,
    reopen: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

impl Writer {
    /// Writes until nobody is left who could record.
    fn run(mut self, entries: &Receiver<Message>) {
        while let Ok(mut message) = entries.recv() {
            loop {
                match message {
                    Message::Entry(entry) => {
                        push_line(&mut self.text, &entry, self.format);
                        self.counters.access_log_lines.up();
                    }
                    Message::Flush(done) => {
                        self.write();
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                    }
                }
                if self.text.len() >= BATCH {
                    self.write();
                }
                match entries.try_recv() {
                    Ok(next) => message = next,
                    Err(_) => break,
                }
            }
            self.write();
        }
    }

    fn write(&mut self) {
        if self.reopen.swap(false, Ordering::AcqRel)
            && let Some((path, file)) = &mut self.file
        {
            match append_to(path) {
                Ok(new) => *file = new,
                Err(error) => {
                    tracing::error!(target: "forebay::access_log", "{} cannot be opened again, the old file is kept: {error}", path.display());
                }
            }
        }
        if self.text.is_empty() {
            return;
        }
        let written = match &mut self.file {
            Some((_, file)) => file.write_all(self.text.as_bytes()),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(self.text.as_bytes()).and_then(|()| out.flush())
            }
        };
        if written.is_err() {
            self.counters.access_log_errors.up();
        }
        self.text.clear();
    }
}

fn push_line(text: &mut String, entry: &Entry, format: Format) {
    match format {
        Format::Json => {
            let line = json!({
                "time": timestamp(entry.at),
                "client": entry.client,
                "method": entry.method.as_str(),
                "host": entry.host,
                "target": entry.target,
                "protocol": protocol(entry.version),
                "status": entry.status,
                "body_bytes": entry.body_bytes,
                "seconds": entry.took.as_secs_f64(),
                "seconds_to_head": entry.time_to_head.as_secs_f64(),
                "cache_status": entry.cache_status,
                "request_id": entry.request_id,
                "referer": entry.referer,
                "user_agent": entry.user_agent,
                "complete": entry.complete,
                "detail": entry.detail,
            });
            let _ = writeln!(text, "{line}");
        }
        Format::Combined => {
            let _ = writeln!(
                text,
                "{} - - [{}] \"{} {} {}\" {} {} \"{}\" \"{}\" \"{}\"",
                entry.client,
                common_time(entry.at),
                escaped(entry.method.as_str()),
                escaped(&entry.target),
                protocol(entry.version),
                entry.status,
                entry.body_bytes,
                escaped(entry.referer.as_deref().unwrap_or("-")),
                escaped(entry.user_agent.as_deref().unwrap_or("-")),
                escaped(&entry.cache_status),
            );
        }
    }
}

fn protocol(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }
}

/// What could end a quoted string or a line, written as `\xHH`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '"' || c == '\\' || c.is_control() {
            let _ = write!(out, "\\x{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// `2026-11-23T18:05:48.123Z`
fn timestamp(at: Wall) -> String {
    let (year, month, day) = at.date();
    let (hour, minute, second) = (at.secs() / 3600 % 24, at.secs() / 60 % 60, at.secs() % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", at.millis() % 1000)
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

    #[test]
    fn no_request_can_forge_a_line() {
        for format in [Format::Json, Format::Combined] {
            let mut text = String::new();
            push_line(&mut text, &entry(), format);
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        let mut text = String::new();
        push_line(&mut text, &entry(), Format::Combined);
        assert_eq!(
            text,
            "127.0.0.1 - - [23/Nov/2026:18:05:48 +0000] \"GET /a\\x22b\\x0Ac HTTP/1.1\" 200 5 \"-\" \
             \"agent \\x22x\\x22\" \"forebay; hit\"\n"
        );
        let mut text = String::new();
        push_line(&mut text, &entry(), Format::Json);
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["time"], "2026-11-23T18:05:48.123Z");
        assert_eq!(line["target"], "/a\"b\nc");
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
        log.record(entry());
        log.record(entry());
        log.flush().await;
        let lines = |path| std::fs::read_to_string(path).expect("a file").lines().count();
        assert_eq!((lines(&moved), lines(&path)), (1, 2));
        assert_eq!(counters.access_log_lines.get(), 3);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
