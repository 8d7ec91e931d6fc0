//! What the access log has of a request, and how that is written.
//!
//! What always holds: lines are whole: no byte of a request can end one or begin another.
//! Every byte is printable ASCII or the end of a line, so that nothing in a log acts upon a
//! terminal.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use http::{Method, Version};
use serde::Serialize;

use crate::clock::Wall;

/// What the lines look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// An object on each line.
    #[default]
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
}

/// What is told of a request.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When its head had arrived.
    pub at: Wall,
    /// Who asked.
    pub client: IpAddr,
    /// The method.
    pub method: &'a Method,
    /// The `Host` as given.
    pub host: &'a str,
    /// The target as given.
    pub target: &'a str,
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
    pub cache_status: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The `Referer`, if any.
    pub referer: Option<&'a str>,
    /// The `User-Agent`, if any.
    pub user_agent: Option<&'a str>,
    /// Whether the reply came to its end.
    pub complete: bool,
    /// What stood in the way of a better answer.
    pub detail: Option<&'a str>,
}

/// Writes an entry's line behind what is there.
pub fn push(out: &mut Vec<u8>, entry: &Entry<'_>, format: Format) {
    // Writing to a vector does not fail.
    match format {
        Format::Json => {
            out.extend_from_slice(b"{\"time\":\"");
            out.extend_from_slice(&entry.at.rfc3339());
            let _ = write!(out, "\",\"client\":\"{}\"", entry.client);
            push_text(out, b",\"method\":", Some(entry.method.as_str()));
            push_text(out, b",\"host\":", Some(entry.host));
            push_text(out, b",\"target\":", Some(entry.target));
            push_text(out, b",\"protocol\":", Some(protocol(entry.version)));
            push_bare(out, b",\"status\":", &entry.status);
            push_bare(out, b",\"body_bytes\":", &entry.body_bytes);
            push_bare(out, b",\"seconds\":", &entry.took.as_secs_f64());
            push_bare(out, b",\"seconds_to_head\":", &entry.time_to_head.as_secs_f64());
            push_text(out, b",\"cache_status\":", Some(entry.cache_status));
            push_text(out, b",\"request_id\":", Some(entry.request_id));
            push_text(out, b",\"referer\":", entry.referer);
            push_text(out, b",\"user_agent\":", entry.user_agent);
            push_bare(out, b",\"complete\":", &entry.complete);
            push_text(out, b",\"detail\":", entry.detail);
            out.push(b'}');
        }
        Format::Combined => {
            let _ = write!(out, "{} - - [", entry.client);
            push_common_time(out, entry.at);
            out.extend_from_slice(b"] \"");
            push_escaped(out, entry.method.as_str());
            out.push(b' ');
            push_escaped(out, entry.target);
            let _ = write!(out, " {}\" {} {}", protocol(entry.version), entry.status, entry.body_bytes);
            for quoted in [entry.referer.unwrap_or("-"), entry.user_agent.unwrap_or("-"), entry.cache_status]
            {
                out.extend_from_slice(b" \"");
                push_escaped(out, quoted);
                out.push(b'"');
            }
        }
    }
    out.push(b'\n');
}

/// A member of a JSON object, behind its name.
fn push_text(out: &mut Vec<u8>, name: &[u8], text: Option<&str>) {
    out.extend_from_slice(name);
    let Some(text) = text else { return out.extend_from_slice(b"null") };
    // Nearly all texts are written as they are, and this looks at many bytes at a time.
    let is_plain = |plain, byte| plain & matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let _ = text.serialize(&mut serde_json::Serializer::with_formatter(out, Printable));
    }
}

/// The same of what is written without quotes.
fn push_bare(out: &mut Vec<u8>, name: &[u8], value: &impl Serialize) {
    out.extend_from_slice(name);
    let _ = serde_json::to_writer(out, value);
}

/// JSON with `\u` for everything that is not printable ASCII.
struct Printable;

impl serde_json::ser::Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
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

/// Writes `23/Nov/2026:18:05:48 +0000`.
fn push_common_time(out: &mut Vec<u8>, at: Wall) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = at.date();
    let month = MONTHS[(month as usize + 11) % 12];
    let (hour, minute, second) = (at.secs() / 3600 % 24, at.secs() / 60 % 60, at.secs() % 60);
    let _ = write!(out, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    pub fn entry() -> Entry<'static> {
        Entry {
            at: Wall::from_millis(1_795_457_148_123),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: &Method::GET,
            host: "h",
            target: "/a\"b\nc",
            version: Version::HTTP_11,
            status: 200,
            body_bytes: 5,
            took: Duration::from_millis(2),
            time_to_head: Duration::from_millis(1),
            cache_status: "forebay; hit",
            request_id: "id",
            referer: None,
            user_agent: Some("agent \"x\""),
            complete: true,
            detail: None,
        }
    }

    fn line(entry: &Entry<'_>, format: Format) -> String {
        let mut out = Vec::new();
        push(&mut out, entry, format);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn no_request_can_forge_a_line_or_speak_to_a_terminal() {
        // Every control character, C1 ones and those that turn the direction of
        // writing included, and one beyond the first plane.
        let hostile: String = ('\0'..='\u{a0}').chain("\u{2028}\u{202e}é😀".chars()).collect();
        let entry = Entry {
            host: &hostile,
            target: &hostile,
            referer: Some(&hostile),
            user_agent: Some(&hostile),
            cache_status: &hostile,
            request_id: &hostile,
            detail: Some(&hostile),
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
}
