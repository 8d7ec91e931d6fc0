//! The head of a response (RFC 9112 sections 4 to 6), read strictly, and where its content
//! ends.
//!
//! What always holds: a head is accepted only if every line of it is one, it keeps the limits,
//! and the end of the content can be understood in one way; a line that is none is refused as
//! soon as it is there. However the bytes arrive, the head is the same.
//!
//! Pure: no I/O, no clock.

use http::{StatusCode, Version};

use crate::rfc::fields::{BadField, Fields, number};

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most bytes, all lines together.
    pub bytes: usize,
    /// The most field lines.
    pub lines: usize,
}

/// A head, final or interim.
#[derive(Clone, PartialEq, Debug)]
pub struct Head {
    /// What is answered.
    pub status: StatusCode,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub version: Version,
    /// All fields, as received.
    pub fields: Fields,
}

/// Where the content of a response ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// After so many bytes; after none where a response has no content.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What arrived is no head of a response, or one of two meanings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadHead {
    /// The first line is no status line.
    #[error("its first line is no status line of HTTP/1.1 or HTTP/1.0")]
    StatusLine,
    /// A line is no field, or has a byte that none has.
    #[error("a line of its head is no field")]
    FieldLine,
    /// There are more bytes or lines than may be.
    #[error("its head is too large")]
    TooLarge,
    /// A transfer coding beside `chunked`, or where there is none.
    #[error("a transfer coding that was not asked for")]
    Coding,
    /// `Content-Length` is no number.
    #[error("a Content-Length that is no number")]
    Length,
    /// `Content-Length` says two things.
    #[error("two differing Content-Lengths")]
    Lengths,
    /// Interim responses without end.
    #[error("too many interim responses")]
    Interims,
    /// Two framings at once.
    #[error("both Content-Length and Transfer-Encoding")]
    Both,
}

/// Reads a head line by line, as it arrives.
#[derive(Debug, Default)]
pub struct Reader {
    /// What its first line says, once that is there.
    status: Option<(StatusCode, Version)>,
    fields: Fields,
    /// Where the next line begins, and how far its end was looked for.
    line: usize,
    looked: usize,
}

/// Room for the fields of most heads.
const ROOM: usize = 768;

impl Reader {
    /// Reads on in `bytes`, which begin where the head does. Returns the head and the place
    /// behind it, if it is complete; then, and after an error, the reader is done with.
    pub fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<(Head, usize)>, BadHead> {
        while let Some(len) = memchr::memchr(b'\n', bytes.get(self.looked..).unwrap_or_default()) {
            let end = self.looked + len;
            let line = bytes.get(self.line..end).unwrap_or_default();
            // A recipient may take a line feed alone for the end of a line (RFC 9112 2.2).
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            (self.line, self.looked) = (end + 1, end + 1);
            if self.line > limits.bytes {
                return Err(BadHead::TooLarge);
            }
            match self.status {
                // Empty lines in front of a message are nothing (RFC 9112 2.2).
                None if line.is_empty() => {}
                None => {
                    self.status = Some(status_line(line)?);
                    self.fields = Fields::with_capacity(16, ROOM);
                }
                Some((status, version)) if line.is_empty() => {
                    let fields = std::mem::take(&mut self.fields);
                    return Ok(Some((Head { status, version, fields }, self.line)));
                }
                Some(_) => self.field(line, limits)?,
            }
        }
        self.looked = bytes.len();
        let begun = bytes.get(self.line..).unwrap_or_default();
        if self.status.is_none() && !begun.is_empty() && begun != b"\r" && !may_be_status_line(begun) {
            return Err(BadHead::StatusLine);
        }
        if bytes.len() > limits.bytes { Err(BadHead::TooLarge) } else { Ok(None) }
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), BadHead> {
        if self.fields.len() == limits.lines {
            return Err(BadHead::TooLarge);
        }
        // White space before the colon, and a line that begins with some, are in no name.
        let colon = memchr::memchr(b':', line).ok_or(BadHead::FieldLine)?;
        let (name, value) = line.split_at(colon);
        self.fields.push(name, value.get(1..).unwrap_or_default()).map_err(|bad| match bad {
            BadField::Name | BadField::Value => BadHead::FieldLine,
            BadField::Size => BadHead::TooLarge,
        })
    }
}

/// What every status line begins with.
const PREFIX: &[u8] = b"HTTP/1.";

/// Whether this could become a status line.
fn may_be_status_line(begun: &[u8]) -> bool {
    let len = begun.len().min(PREFIX.len());
    begun.get(..len) == PREFIX.get(..len)
}

/// `HTTP/1.1 200 OK`, with any reason or none (RFC 9112 4).
fn status_line(line: &[u8]) -> Result<(StatusCode, Version), BadHead> {
    let rest = line.strip_prefix(PREFIX).ok_or(BadHead::StatusLine)?;
    let [minor, b' ', a, b, c, reason @ ..] = rest else { return Err(BadHead::StatusLine) };
    let version = match minor {
        b'1' => Version::HTTP_11,
        b'0' => Version::HTTP_10,
        _ => return Err(BadHead::StatusLine),
    };
    let is_text = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
    let is_reason = reason.first().is_none_or(|byte| *byte == b' ') && reason.iter().all(is_text);
    let status = StatusCode::from_bytes(&[*a, *b, *c]).ok().filter(|_| is_reason);
    Ok((status.ok_or(BadHead::StatusLine)?, version))
}

impl Head {
    /// Where the content ends of this response to a request, of `HEAD` or another one
    /// (RFC 9112 6.3).
    pub fn framing(&self, to_head: bool) -> Result<Framing, BadHead> {
        let Head { status, version, fields } = self;
        let is_coded = fields.contains("transfer-encoding");
        let is_long = fields.contains("content-length");
        if is_coded {
            let mut codings = fields.members("transfer-encoding");
            let first = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            // Chunked once, or its end is not known.
            if !first || codings.next().is_some() {
                return Err(BadHead::Coding);
            }
            if is_long {
                return Err(BadHead::Both);
            }
        }
        if is_long {
            let mut lengths = fields.members("content-length");
            if let Some(first) = lengths.next()
                && lengths.any(|other| other != first)
            {
                return Err(BadHead::Lengths);
            }
        }
        let is_empty =
            status.is_informational() || matches!(*status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if to_head || is_empty {
            return Ok(Framing::Length(0));
        }
        match (is_coded, is_long) {
            // HTTP/1.0 does not know it (RFC 9112 6.1).
            (true, _) if *version == Version::HTTP_10 => Err(BadHead::Coding),
            (true, _) => Ok(Framing::Chunked),
            (false, true) => {
                let length = fields.members("content-length").next().and_then(number);
                Ok(Framing::Length(length.ok_or(BadHead::Length)?))
            }
            (false, false) => Ok(Framing::UntilClose),
        }
    }

    /// Whether the connection may be used again once the content has ended. That of an
    /// HTTP/1.0 response is not.
    pub fn keeps(&self) -> bool {
        let mut options = self.fields.members("connection");
        // A 204 or 304 with a framing that it cannot have is followed by nobody knows what.
        let is_clear = match self.status {
            StatusCode::NO_CONTENT => {
                !self.fields.contains("transfer-encoding")
                    && self.fields.members("content-length").all(|length| number(length) == Some(0))
            }
            StatusCode::NOT_MODIFIED => !self.fields.contains("transfer-encoding"),
            _ => true,
        };
        is_clear
            && self.version == Version::HTTP_11
            && !options.any(|option| option.eq_ignore_ascii_case(b"close"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bytes: 256, lines: 8 };

    fn read(text: &[u8]) -> Result<Option<(Head, usize)>, BadHead> {
        Reader::default().read(text, &LIMITS)
    }

    fn framing(lines: &str, to_head: bool) -> Result<Framing, BadHead> {
        let text = format!("{lines}\r\n\r\n");
        let (head, end) = read(text.as_bytes())?.expect("complete");
        assert_eq!(end, text.len());
        head.framing(to_head)
    }

    #[test]
    fn a_head_is_read_as_it_stands() {
        let text = "\r\n\nHTTP/1.1 200 \u{e9} ok\r\nX-Odd:\t \u{e9} \nServer:\r\nx-odd: 2\r\n\r\nhello";
        let (head, end) = read(text.as_bytes()).expect("valid").expect("complete");
        assert_eq!(&text[end..], "hello");
        assert_eq!((head.status, head.version, head.keeps()), (StatusCode::OK, Version::HTTP_11, true));
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(fields, [("x-odd", "\u{e9}".as_bytes()), ("server", b""), ("x-odd", b"2")]);
        for (line, status, keeps) in [
            ("HTTP/1.0 404 Not Found", 404, false),
            ("HTTP/1.1 999", 999, true),
            ("HTTP/1.1 100 ", 100, true),
            ("HTTP/1.1 200 OK\r\nConnection: a, Close", 200, false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive", 200, false),
        ] {
            let text = format!("{line}\r\n\r\n");
            let (head, _) = read(text.as_bytes()).expect(line).expect("complete");
            assert_eq!((head.status.as_u16(), head.keeps()), (status, keeps), "{line}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        use BadHead::{FieldLine, StatusLine};
        for (text, why) in [
            ("garbage", StatusLine),
            ("HTTP/2 200 OK\r\n", StatusLine),
            ("HTTP/1.2 200 OK\r\n", StatusLine),
            ("HTTP/1.10 200 OK\r\n", StatusLine),
            ("http/1.1 200 OK\r\n", StatusLine),
            (" HTTP/1.1 200 OK\r\n", StatusLine),
            ("HTTP/1.1  200 OK\r\n", StatusLine),
            ("HTTP/1.1\t200 OK\r\n", StatusLine),
            ("HTTP/1.1 20 OK\r\n", StatusLine),
            ("HTTP/1.1 2000 OK\r\n", StatusLine),
            ("HTTP/1.1 099 OK\r\n", StatusLine),
            ("HTTP/1.1 +20 OK\r\n", StatusLine),
            ("HTTP/1.1 200OK\r\n", StatusLine),
            ("HTTP/1.1 200 O\rK\r\n", StatusLine),
            ("HTTP/1.1 200 O\0K\r\n", StatusLine),
            ("HTTP/1.1 200 OK\r\r\n", StatusLine),
            ("HTTP/1.1 200 OK\r\n folded: 1\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\na: b\r\n folded\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\na: b\r\n\tfolded\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\na : b\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\n: b\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\nno colon\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\na: b\0\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\na: b\rc: d\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\na: b\r\r\n", FieldLine),
            ("HTTP/1.1 200 OK\r\n\u{e9}: b\r\n", FieldLine),
        ] {
            assert_eq!(read(text.as_bytes()), Err(why), "{text:?}");
        }
    }

    #[test]
    fn the_end_of_the_content_has_one_meaning() {
        use Framing::{Chunked, Length, UntilClose};
        let rows: &[(&str, Result<Framing, BadHead>)] = &[
            ("HTTP/1.1 200 OK", Ok(UntilClose)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", Ok(Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 05, 05", Ok(Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", Ok(Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6", Err(BadHead::Lengths)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6", Err(BadHead::Lengths)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 05", Err(BadHead::Lengths)),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5", Err(BadHead::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: -0", Err(BadHead::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0x5", Err(BadHead::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5 5", Err(BadHead::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length:", Err(BadHead::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: ,", Err(BadHead::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616", Err(BadHead::Length)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", Ok(Chunked)),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", Err(BadHead::Coding)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked", Err(BadHead::Coding)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", Err(BadHead::Coding)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip", Err(BadHead::Coding)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked", Err(BadHead::Coding)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding:", Err(BadHead::Coding)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Err(BadHead::Coding),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", Err(BadHead::Both)),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5", Ok(Length(0))),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5", Ok(Length(0))),
            ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked", Ok(Length(0))),
            ("HTTP/1.1 103 Early Hints", Ok(Length(0))),
        ];
        for (lines, expected) in rows {
            assert_eq!(framing(lines, false), *expected, "{lines:?}");
            let to_head = match expected {
                Err(BadHead::Length) | Ok(_) => Ok(Length(0)),
                Err(BadHead::Coding) if lines.starts_with("HTTP/1.0") => Ok(Length(0)),
                Err(why) => Err(*why),
            };
            assert_eq!(framing(lines, true), to_head, "HEAD: {lines:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_there() {
        let start = "HTTP/1.1 200 OK\r\n";
        for (text, refused) in [
            (format!("{start}a: {}", "b".repeat(236)), false),
            (format!("{start}a: {}", "b".repeat(237)), true),
            (format!("{start}{}\r\n", "a: b\r\n".repeat(8)), false),
            (format!("{start}{}", "a: b\r\n".repeat(9)), true),
            (format!("{start}a: {}\r\n\r\n", "b".repeat(240)), true),
            ("\r\n".repeat(129), true),
        ] {
            let outcome = read(text.as_bytes());
            assert_eq!(outcome == Err(BadHead::TooLarge), refused, "{text:?}: {outcome:?}");
        }
    }

    proptest! {
        #[test]
        fn a_head_is_the_same_however_it_arrives(
            bytes in proptest::collection::vec(proptest::sample::select(b"\r\n\r\n: ab5,".to_vec()), 0..60),
            cuts in proptest::collection::vec(0usize..80, 0..6),
        ) {
            let bytes = [b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat();
            let whole = read(&bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut reader = Reader::default();
            let mut piecewise = Ok(None);
            for cut in cuts {
                piecewise = reader.read(&bytes[..cut], &LIMITS);
                if piecewise != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(piecewise, whole);
        }

        /// What most of the field's readers see is what is seen here.
        #[test]
        fn another_reader_sees_the_same(
            bytes in proptest::collection::vec(proptest::sample::select(b"\r\n\r\n: \tab5,\0\x7f\xe9".to_vec()), 0..60),
        ) {
            let bytes = [b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat();
            let mut lines = [httparse::EMPTY_HEADER; 8];
            let mut other = httparse::Response::new(&mut lines);
            let theirs = other.parse(&bytes);
            match read(&bytes) {
                Ok(Some((head, end))) => {
                    prop_assert_eq!(theirs, Ok(httparse::Status::Complete(end)));
                    let ours: Vec<_> = head.fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
                    let theirs: Vec<_> = other.headers.iter()
                        .map(|line| (line.name.to_ascii_lowercase(), line.value.trim_ascii().to_vec())).collect();
                    prop_assert_eq!(ours, theirs);
                }
                // It tells of a bad line before that is complete.
                Ok(None) => prop_assert!(!matches!(theirs, Ok(httparse::Status::Complete(_)))),
                Err(BadHead::TooLarge) => {}
                Err(_) => prop_assert!(theirs.is_err()),
            }
        }
    }
}
