//! The port that speaks Varnish's command line protocol, for `varnishadm` and the
//! libraries that speak it.
//!
//! A command is a line of words; an answer is a line of 13 bytes with status and
//! length, then so many bytes, then a line end that does not count. Whoever
//! connects has to show that it knows the secret of the file before anything but
//! `auth`, `help`, `ping` and `quit` is done.
//!
//! What always holds: connections, lines and answers are bounded, and so is the time
//! that somebody takes who is not known, or is silent; the secret itself never goes over the wire.
//!
//! What it never does: pretend. A command that means nothing here is answered with
//! 102, not implemented.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Control;
use crate::clock::Clock;
use crate::invalidate::{Accepted, Spread, Wanted, wire};
use crate::observe::counters::Counters;
use crate::observe::trace::Seldom;
use crate::stored::ban;

/// The port.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Settings {
    /// Where it listens; off if nothing is set.
    pub address: Option<SocketAddr>,
    /// The file with the secret.
    pub secret_file: Option<PathBuf>,
}

/// The most connections at once.
const MOST_CONNECTIONS: usize = 64;
/// The longest line of somebody who is not known yet, and of somebody who is.
const MOST_LINE: [usize; 2] = [80, 256 * 1024];
/// The longest answer; a longer one is cut, with status 201.
const MOST_ANSWER: usize = 64 * 1024;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(600);
/// How long somebody who is not known may take.
const INTRODUCTION: Duration = Duration::from_secs(10);

const SYNTAX: u16 = 100;
const UNKNOWN: u16 = 101;
const UNIMPLEMENTED: u16 = 102;
const TOO_FEW: u16 = 104;
const TOO_MANY: u16 = 105;
const PARAMETER: u16 = 106;
const AUTH: u16 = 107;
const OK: u16 = 200;
const TRUNCATED: u16 = 201;
const CLOSE: u16 = 500;

const BANNER: &str = "-----------------------------\nforebay CLI 1.0\n-----------------------------\n\
                      Type 'help' for command list.\nType 'quit' to close CLI session.\n";

/// Commands, and how many words follow each.
const COMMANDS: [(&str, usize, usize, &str); 10] = [
    ("help", 0, 1, "help [<command>]"),
    ("ping", 0, 1, "ping [<timestamp>]"),
    ("auth", 1, 1, "auth <response>"),
    ("quit", 0, 0, "quit"),
    ("banner", 0, 0, "banner"),
    ("status", 0, 0, "status"),
    ("pid", 0, 1, "pid [-j]"),
    ("ban", 3, usize::MAX, "ban <field> <operator> <arg> [&& <field> <oper> <arg> ...]"),
    ("ban.list", 0, 1, "ban.list [-j]"),
    ("vcl.list", 0, 1, "vcl.list [-j]"),
];

/// Commands of Varnish that mean nothing here.
const ELSEWHERE: [&str; 21] = [
    "backend.list",
    "backend.set_health",
    "debug.health",
    "panic.clear",
    "panic.show",
    "param.reset",
    "param.set",
    "param.show",
    "start",
    "stop",
    "storage.list",
    "vcl.deps",
    "vcl.discard",
    "vcl.inline",
    "vcl.label",
    "vcl.load",
    "vcl.show",
    "vcl.state",
    "vcl.use",
    "tls.cert.list",
    "pgroup",
];

/// Serves for as long as it is polled.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    control: Arc<dyn Control>,
    counters: Arc<Counters>,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let failures = Seldom::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                failures.tell(Clock::System.now(), |left_out| {
                    tracing::warn!(target: "forebay::admin", left_out, "accepting failed: {error}");
                });
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            counters.admin_refused.up();
            continue;
        };
        let session = Session {
            settings: settings.clone(),
            control: Arc::clone(&control),
            counters: Arc::clone(&counters),
            peer,
            challenge: (0..32).map(|_| char::from(fastrand::u8(b'a'..=b'z'))).collect(),
            known: settings.secret_file.is_none(),
        };
        tokio::spawn(async move {
            // Whoever breaks off does not want an answer.
            let _ = session.run(stream).await;
            drop(place);
        });
    }
}

struct Session {
    settings: Settings,
    control: Arc<dyn Control>,
    counters: Arc<Counters>,
    peer: SocketAddr,
    challenge: String,
    /// Whether it has shown that it knows the secret, or there is none.
    known: bool,
}

/// A status and a text.
type Answer = (u16, String);

impl Session {
    async fn run(mut self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let introduction = Instant::now() + INTRODUCTION;
        let welcome = if self.known { (OK, BANNER.to_owned()) } else { (AUTH, self.asking()) };
        stream.write_all(&framed(welcome)).await?;
        let mut buffer = Vec::new();
        loop {
            // However much is said: whoever is not known by then has to go.
            let until = if self.known { Instant::now() + SILENCE } else { introduction };
            let line = tokio::time::timeout_at(until, self.line(&mut stream, &mut buffer)).await;
            let Ok(Some(line)) = line? else { return Ok(()) };
            if line.trim().is_empty() {
                continue;
            }
            self.counters.admin_requests.up();
            let answer = self.answer(&line).await;
            let ends = answer.0 == CLOSE || (!self.known && answer.0 != OK && answer.0 != AUTH);
            let answer = framed(answer);
            let writing = stream.write_all(&answer);
            tokio::time::timeout(INTRODUCTION, writing).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
            if ends {
                return Ok(());
            }
        }
    }

    /// The next line, a here-document included; none at the end, or when it is too
    /// long.
    async fn line(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<Option<String>> {
        let most = MOST_LINE[usize::from(self.known)];
        loop {
            if let Some(end) = end_of_command(buffer) {
                let line: Vec<u8> = buffer.drain(..end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if buffer.len() > most || stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn asking(&self) -> String {
        format!("{}\n\nAuthentication required.\n", self.challenge)
    }

    async fn answer(&mut self, line: &str) -> Answer {
        let Some(words) = words(line) else {
            return (SYNTAX, "Syntax error: a quote is not closed, or an escape is none.\n".to_owned());
        };
        let Some((command, arguments)) = words.split_first() else { return (OK, String::new()) };
        if !self.known && !matches!(command.as_str(), "auth" | "help" | "ping" | "quit") {
            return (AUTH, self.asking());
        }
        let Some((_, least, most, usage)) = COMMANDS.iter().find(|(name, ..)| name == command) else {
            return if ELSEWHERE.contains(&command.as_str()) {
                (UNIMPLEMENTED, "This is forebay, which has no such thing.\n".to_owned())
            } else {
                (UNKNOWN, "Unknown request.\nType 'help' for more info.\n".to_owned())
            };
        };
        if arguments.len() < *least {
            return (TOO_FEW, format!("Too few parameters\nUsage: {usage}\n"));
        }
        if arguments.len() > *most {
            return (TOO_MANY, format!("Too many parameters\nUsage: {usage}\n"));
        }
        let json = arguments.first().is_some_and(|first| first == "-j");
        match command.as_str() {
            "ping" => (OK, format!("PONG {} 1.0", now())),
            "auth" => self.auth(&arguments[0]),
            "quit" => (CLOSE, "Closing CLI connection".to_owned()),
            "banner" => (OK, BANNER.to_owned()),
            "status" => (OK, "Child in state running".to_owned()),
            "pid" if json => {
                (OK, in_json(command, &format!("{{\"master\": {0}, \"worker\": {0}}}", std::process::id())))
            }
            "pid" => (OK, format!("Master: {0}\nWorker: {0}\n", std::process::id())),
            "ban" => self.ban(&words[1..]).await,
            "ban.list" => self.ban_list(json),
            "vcl.list" if json => (OK, in_json(command, "{\"status\": \"active\", \"name\": \"forebay\"}")),
            "vcl.list" => (OK, "active      auto    warm         0    forebay\n".to_owned()),
            _ => (OK, help(arguments.first())),
        }
    }

    /// SHA-256 over the challenge, the secret file and the challenge.
    fn auth(&mut self, response: &str) -> Answer {
        let Some(path) = &self.settings.secret_file else { return (OK, BANNER.to_owned()) };
        let secret = match std::fs::read(path) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::error!(target: "forebay::admin", "varnish_cli.secret_file: {}: {error}", path.display());
                return (CLOSE, "Cannot open secret file".to_owned());
            }
        };
        let mut hash = Sha256::new();
        hash.update(self.challenge.as_bytes());
        hash.update(b"\n");
        hash.update(&secret);
        hash.update(self.challenge.as_bytes());
        hash.update(b"\n");
        let wanted: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if bool::from(wanted.as_bytes().ct_eq(response.to_ascii_lowercase().as_bytes())) {
            self.known = true;
            return (OK, BANNER.to_owned());
        }
        self.counters.auth_failures.up();
        tracing::warn!(target: "forebay::admin", peer = %self.peer, "a wrong answer to the challenge");
        (CLOSE, "Authentication failed".to_owned())
    }

    async fn ban(&self, words: &[String]) -> Answer {
        if words.len() % 4 != 3 {
            return (PARAMETER, "Wrong number of arguments".to_owned());
        }
        let written: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(at, word)| if at % 4 == 2 { ban::argument(word) } else { word.clone() })
            .collect();
        let expression = written.join(" ");
        let (control, by) = (Arc::clone(&self.control), format!("varnish-cli {}", self.peer.ip()));
        let banned = tokio::task::spawn_blocking(move || {
            let what = wire::selectors_of(&expression, &control.sites()).map_err(|why| why.to_string())?;
            let wanted = Wanted { what, ..Wanted::default() };
            control.purge(&wanted, &by).map_err(|why| why.to_string())
        });
        match banned.await {
            Ok(Ok(done)) => told(done),
            Ok(Err(why)) => (PARAMETER, why),
            Err(_) => (300, "The ban was lost".to_owned()),
        }
    }

    fn ban_list(&self, json: bool) -> Answer {
        let bans = self.control.bans();
        if json {
            let each: Vec<String> = bans
                .iter()
                .rev()
                .map(|ban| {
                    let seconds = ban.at.millis() as f64 / 1000.0;
                    let spec = serde_json::Value::from(ban.test.to_string());
                    format!("{{\"time\": {seconds:.6}, \"refs\": {}, \"completed\": false, \"req_tests\": true, \"tests\": [{spec}]}}", ban.hits())
                })
                .collect();
            return (OK, in_json("ban.list", &each.join(",\n")));
        }
        let mut text = "Present bans:\n".to_owned();
        for ban in bans.iter().rev() {
            let seconds = ban.at.millis() as f64 / 1000.0;
            text.push_str(&format!("{seconds:10.6} {:5} -  {}\n", ban.hits(), ban.test));
        }
        (OK, text)
    }
}

/// What a ban is answered with. One that is not as safe as it should be is no success:
/// its caller has to say it again.
fn told(done: Accepted) -> Answer {
    match (done.trouble, done.spread) {
        (Some(trouble), _) => (300, format!("It holds until this node ends, and is not on disk: {trouble}")),
        (None, Spread::Never(why)) => {
            (300, format!("It holds on this node, and the others do not learn of it: {why}"))
        }
        (None, Spread::Alone | Spread::Confirmed | Spread::Later(_)) => (OK, String::new()),
    }
}

fn help(about: Option<&String>) -> String {
    let wanted = COMMANDS.iter().filter(|(name, ..)| about.is_none_or(|about| about == name));
    wanted.map(|(.., usage)| format!("{usage}\n")).collect()
}

fn now() -> u64 {
    crate::clock::Clock::System.now().secs()
}

/// What `-j` gives: a list of version, command, time and content.
fn in_json(command: &str, content: &str) -> String {
    format!("[ 2, [\"{command}\", \"-j\"], {}.000,\n  {content}\n]\n", now())
}

/// An answer on the wire.
fn framed((mut status, mut text): Answer) -> Vec<u8> {
    if text.len() > MOST_ANSWER {
        let end = (0..=MOST_ANSWER).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        status = TRUNCATED;
    }
    format!("{status:<3} {:<8}\n{text}\n", text.len()).into_bytes()
}

/// Where a command ends in what has arrived: behind its line end, or behind the
/// here-document that it opens.
pub fn end_of_command(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let line = String::from_utf8_lossy(&bytes[..end]);
    let mut last = line.split_whitespace().rev();
    let (Some(token), Some("<<")) = (last.next(), last.next()) else { return Some(end) };
    let closing = format!("{token}\n");
    let rest = &bytes[end..];
    let mut start = 0;
    while let Some(length) = rest[start..].iter().position(|&byte| byte == b'\n') {
        let next = start + length + 1;
        if rest[start..next] == *closing.as_bytes() {
            return Some(end + next);
        }
        start = next;
    }
    None
}

/// The words of a command; the first in lower case, without the hyphen that means
/// "go on if it fails". None where it is not well formed.
pub fn words(command: &str) -> Option<Vec<String>> {
    let (line, document) = match command.split_once('\n') {
        Some((line, rest)) if !rest.is_empty() => {
            let (opening, token) = line.rsplit_once("<<")?;
            (opening, rest.strip_suffix(&format!("{}\n", token.trim())))
        }
        _ => (command, None),
    };
    let mut words = Vec::new();
    let mut chars = line.trim().chars().peekable();
    while chars.peek().is_some() {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'"').is_some();
        let mut word = String::new();
        loop {
            match chars.next() {
                None if quoted => return None,
                None => break,
                Some('"') if quoted => {
                    if chars.peek().is_some_and(|next| !next.is_whitespace()) {
                        return None;
                    }
                    break;
                }
                Some(c) if c.is_whitespace() && !quoted => break,
                Some('\\') => match chars.next()? {
                    'n' => word.push('\n'),
                    'r' => word.push('\r'),
                    't' => word.push('\t'),
                    same @ ('"' | '\\') => word.push(same),
                    'x' => {
                        let digits: String = [chars.next()?, chars.next()?].iter().collect();
                        word.push(char::from(u8::from_str_radix(&digits, 16).ok()?));
                    }
                    first @ '0'..='7' => {
                        let digits: String = [first, chars.next()?, chars.next()?].iter().collect();
                        word.push(char::from(u8::from_str_radix(&digits, 8).ok()?));
                    }
                    _ => return None,
                },
                Some(c) => word.push(c),
            }
        }
        words.push(word);
    }
    words.extend(document.map(str::to_owned));
    if let Some(first) = words.first_mut() {
        *first = first.trim_start_matches('-').to_ascii_lowercase();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::port::tests::Empty;

    #[test]
    fn the_answer_to_the_challenge_is_varnishs_own() {
        // The example of Varnish's documentation.
        let mut hash = Sha256::new();
        hash.update(b"ixslvvxrgkjptxmcgnnsdxsvdmvfympg\nfoo\nixslvvxrgkjptxmcgnnsdxsvdmvfympg\n");
        let text: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "455ce847f0073c7ab3b1465f74507b75d3dc064c1e7de3b71e00de9092fdc89a");
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_talks_and_never_shows_the_secret_has_to_go() {
        let session = Session {
            settings: Settings { secret_file: Some(PathBuf::from("secret")), ..Settings::default() },
            control: Arc::new(Empty),
            counters: Arc::default(),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            challenge: String::new(),
            known: false,
        };
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let began = Instant::now();
        let talk = async {
            while theirs.write_all(b"ping\n").await.is_ok() {
                tokio::time::sleep(INTRODUCTION / 4).await;
                assert!(began.elapsed() < INTRODUCTION * 2, "it may still talk");
            }
        };
        let (ended, ()) = tokio::join!(session.run(ours), talk);
        assert!(ended.is_err() && began.elapsed() >= INTRODUCTION);
    }

    #[test]
    fn a_ban_that_the_other_nodes_never_hear_of_is_no_success() {
        let status = |spread| told(Accepted { spread, ..Accepted::default() }).0;
        assert_eq!([Spread::Alone, Spread::Confirmed, Spread::Later("down".to_owned())].map(status), [OK; 3]);
        assert_eq!(status(Spread::Never("full".to_owned())), 300);
    }

    #[test]
    fn an_answer_has_its_length_in_thirteen_bytes() {
        assert_eq!(framed((OK, "PONG 1613397488 1.0".to_owned())), b"200 19      \nPONG 1613397488 1.0\n");
        let long = framed((OK, "x".repeat(MOST_ANSWER + 5)));
        assert!(long.starts_with(b"201 65536   \n") && long.len() == 13 + MOST_ANSWER + 1);
    }

    #[test]
    fn words_are_told_apart_as_varnish_does() {
        for (line, wanted) in [
            ("PING\n", vec!["ping"]),
            ("-ban req.url ~ \"a b\"\n", vec!["ban", "req.url", "~", "a b"]),
            ("ban \"\\x41\\102\\n\"\n", vec!["ban", "AB\n"]),
            ("vcl.inline a << EOF\none\ntwo\nEOF\n", vec!["vcl.inline", "a", "one\ntwo\n"]),
        ] {
            assert_eq!(words(line).expect(line), wanted, "{line}");
            assert_eq!(end_of_command(line.as_bytes()), Some(line.len()), "{line}");
        }
        for bad in ["ban \"a", "ban \"a\"b", "ban \\q"] {
            assert_eq!(words(bad), None, "{bad}");
        }
        assert_eq!(end_of_command(b"vcl.inline a << EOF\nEO"), None);
    }
}
