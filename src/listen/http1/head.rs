//! The head of a request on the wire (RFC 9112 sections 2 to 6), read strictly.
//!
//! What always holds: a head that comes out of here can be understood in one way only,
//! and so can where it ends and how long the content behind it is. Lines end with CRLF;
//! a bare LF or CR, a folded line, white space before a colon, a length that is no
//! number, and two framings at once are refused, for there the next reader could see
//! another request (RFC 9112 11.2).
//!
//! Pure: no I/O, no clock. The same bytes give the same head, however they arrive.

use http::uri::PathAndQuery;
use http::{Method, Uri, Version};

use crate::policy::Refusal;
use crate::rfc::fields::{BadField, Fields, number};
use crate::rfc::uri::is_plain;

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the request target.
    pub target: usize,
    /// Bytes of the field lines.
    pub fields: usize,
    /// Number of field lines.
    pub lines: usize,
}

/// A request's head.
#[derive(Debug)]
pub struct Head {
    /// Any token.
    pub method: Method,
    /// The target as it stands on the request line.
    pub target: String,
    /// `HTTP/1.0` or `HTTP/1.1`; a later minor version counts as `HTTP/1.1`.
    pub version: Version,
    /// All fields.
    pub fields: Fields,
    /// What follows.
    pub framing: Framing,
    /// Whether the client keeps the connection after this request (RFC 9112 9.3).
    pub keeps: bool,
    /// Whether the client waits for `100 Continue` before it sends the content
    /// (RFC 9110 10.1.1).
    pub expects: bool,
    /// Whether the client reads a trailer section (RFC 9110 10.1.4).
    pub trailers: bool,
}

/// Where the content of a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes; more than none.
    Length(u64),
    /// After the last chunk and the trailer section.
    Chunked,
}

/// How many empty lines before a request are passed over (RFC 9112 2.2).
const EMPTY_LINES: usize = 4;

/// Finds the end of a head in bytes that arrive piece by piece; none is looked at twice.
#[derive(Default, Debug)]
pub struct Scan {
    /// Up to here it has been looked at.
    at: usize,
    /// Where the line begins that stands there.
    line: usize,
    /// Where the head begins, after empty lines.
    start: usize,
}

impl Scan {
    /// Looks at what has arrived, all of it so far. Returns where the head begins and
    /// where it ends, with its empty line, once it is complete.
    pub fn find(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<(usize, usize)>, Refusal> {
        while let Some(newline) = memchr::memchr(b'\n', bytes.get(self.at..).unwrap_or_default()) {
            let newline = self.at + newline;
            if newline == self.line || bytes.get(newline - 1) != Some(&b'\r') {
                return Err(Refusal::BareLineFeed);
            }
            let is_empty = newline - 1 == self.line;
            self.at = newline + 1;
            if is_empty && self.line == self.start {
                if self.start >= 2 * EMPTY_LINES {
                    return Err(Refusal::BadRequestLine);
                }
                self.start = self.at;
            } else if is_empty {
                return Ok(Some((self.start, self.at)));
            }
            self.line = self.at;
        }
        self.at = bytes.len();
        let room = limits.target + limits.fields + REQUEST_LINE;
        match bytes.len() - self.start {
            len if len > limits.target + REQUEST_LINE && self.line == self.start => {
                Err(Refusal::TargetTooLong)
            }
            len if len > room => Err(Refusal::HeaderTooLarge),
            _ => Ok(None),
        }
    }
}

/// Room for what a request line has beside its target, and for the head's last line.
const REQUEST_LINE: usize = 256;

/// At least so many bytes are kept for the fields, as those of the reply are put in the same
/// place afterwards.
const ROOM: usize = 384;

/// Reads a head that [`Scan`] has found: its lines, each with its CRLF, and the empty one.
pub fn parse(head: &[u8], limits: &Limits) -> Result<Head, Refusal> {
    let mut lines = Lines { rest: head };
    let (method, target, version) = request_line(lines.next().unwrap_or_default(), limits)?;
    if lines.rest.len() > limits.fields + 2 {
        return Err(Refusal::HeaderTooLarge);
    }
    let mut fields = Fields::with_capacity(16, lines.rest.len().max(ROOM));
    for line in lines {
        if line.is_empty() {
            break;
        }
        if fields.len() == limits.lines {
            return Err(Refusal::HeaderTooLarge);
        }
        // White space before the colon, and a line that begins with some, are in no name.
        let colon = memchr::memchr(b':', line).ok_or(Refusal::BadFieldLine)?;
        fields.push(&line[..colon], &line[colon + 1..]).map_err(|bad| match bad {
            BadField::Name | BadField::Value => Refusal::BadFieldLine,
            BadField::Size => Refusal::HeaderTooLarge,
        })?;
    }
    let framing = framing(&fields, version)?;
    let keeps = keeps(&fields, version);
    let expects = framing != Framing::None
        && version == Version::HTTP_11
        && fields.members("expect").any(|member| member.eq_ignore_ascii_case(b"100-continue"));
    let trailers = fields.members("te").any(|member| member.eq_ignore_ascii_case(b"trailers"));
    Ok(Head { method, target, version, fields, framing, keeps, expects, trailers })
}

/// Lines without their CRLF.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        line.get(..end.checked_sub(1)?)
    }
}

fn request_line(line: &[u8], limits: &Limits) -> Result<(Method, String, Version), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::BadRequestLine);
    };
    let method = Method::from_bytes(method).map_err(|_| Refusal::BadRequestLine)?;
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => Version::HTTP_11,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::UnknownVersion);
        }
        _ => return Err(Refusal::BadRequestLine),
    };
    if target.len() > limits.target {
        return Err(Refusal::TargetTooLong);
    }
    let text = std::str::from_utf8(target).map_err(|_| Refusal::BadTarget)?;
    if text.is_empty() || !(text.bytes().all(is_plain) || is_uri(text)) {
        return Err(Refusal::BadTarget);
    }
    Ok((method, text.to_owned(), version))
}

/// Whether this target with other bytes in it can be sent on to an origin.
fn is_uri(target: &str) -> bool {
    // What stands behind a `#` goes nowhere, and is not looked at there.
    if target.bytes().any(|byte| byte.is_ascii_control()) {
        return false;
    }
    match target.strip_prefix('/') {
        Some(_) => PathAndQuery::try_from(target).is_ok(),
        None => Uri::try_from(target).is_ok(),
    }
}

/// Where the content ends (RFC 9112 6.3), where that can be understood in one way only.
fn framing(fields: &Fields, version: Version) -> Result<Framing, Refusal> {
    let mut codings = fields.members("transfer-encoding");
    if let Some(first) = codings.next() {
        if fields.contains("content-length") {
            return Err(Refusal::AmbiguousLength);
        }
        // Whoever knows HTTP/1.0 only would see another end (RFC 9112 6.1).
        if version == Version::HTTP_10 {
            return Err(Refusal::AmbiguousLength);
        }
        let last = codings.last();
        return match (first.eq_ignore_ascii_case(b"chunked"), last) {
            (true, None) => Ok(Framing::Chunked),
            // Chunked once, at the end, or the end is not known (RFC 9112 6.3).
            (false, Some(last)) if last.eq_ignore_ascii_case(b"chunked") => Err(Refusal::UnknownCoding),
            _ => Err(Refusal::AmbiguousLength),
        };
    }
    if fields.contains("transfer-encoding") {
        return Err(Refusal::AmbiguousLength);
    }
    let mut lengths = fields.get_all("content-length");
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(Refusal::AmbiguousLength),
        (Some(length), None) => match number(length) {
            None if length.contains(&b',') => Err(Refusal::AmbiguousLength),
            None => Err(Refusal::BadLength),
            Some(0) => Ok(Framing::None),
            Some(length) => Ok(Framing::Length(length)),
        },
    }
}

fn keeps(fields: &Fields, version: Version) -> bool {
    let has = |option: &[u8]| fields.members("connection").any(|member| member.eq_ignore_ascii_case(option));
    if version == Version::HTTP_10 { has(b"keep-alive") && !has(b"close") } else { !has(b"close") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { target: 64, fields: 256, lines: 8 };

    fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        let Some((start, end)) = Scan::default().find(bytes, &LIMITS)? else { return Ok(None) };
        parse(&bytes[start..end], &LIMITS).map(|head| Some((head, end)))
    }

    /// The known ways to have two readers see two different requests.
    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        use Refusal::*;
        let rows: &[(&str, Refusal)] = &[
            // Two framings, or one that is none.
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", AmbiguousLength),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", AmbiguousLength),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", AmbiguousLength),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", AmbiguousLength),
            ("Content-Length: 5, 5\r\n", AmbiguousLength),
            ("Content-Length: +5\r\n", BadLength),
            ("Content-Length: -0\r\n", BadLength),
            ("Content-Length: 5 \x0b\r\n", BadFieldLine),
            ("Content-Length: 0x5\r\n", BadLength),
            ("Content-Length: 5;\r\n", BadLength),
            ("Content-Length: 1e1\r\n", BadLength),
            ("Content-Length: 18446744073709551616\r\n", BadLength),
            ("Content-Length:\r\n", BadLength),
            // Codings that one reader knows and another one does not.
            ("Transfer-Encoding: xchunked\r\n", AmbiguousLength),
            ("Transfer-Encoding: chunked, identity\r\n", AmbiguousLength),
            ("Transfer-Encoding: identity, chunked\r\n", UnknownCoding),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", UnknownCoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", AmbiguousLength),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", AmbiguousLength),
            ("Transfer-Encoding: \"chunked\"\r\n", AmbiguousLength),
            ("Transfer-Encoding: chunked;q=1\r\n", AmbiguousLength),
            ("Transfer-Encoding:\r\n", AmbiguousLength),
            ("Transfer-Encoding: ,\r\n", AmbiguousLength),
            // Names and lines that one reader sees and another one does not.
            ("Transfer-Encoding : chunked\r\n", BadFieldLine),
            ("Transfer-Encoding\t: chunked\r\n", BadFieldLine),
            (" Transfer-Encoding: chunked\r\n", BadFieldLine),
            ("X: y\r\n Transfer-Encoding: chunked\r\n", BadFieldLine),
            ("X: y\r\n\tfolded\r\n", BadFieldLine),
            ("X: y\nTransfer-Encoding: chunked\r\n", BareLineFeed),
            ("X: y\rTransfer-Encoding: chunked\r\n", BadFieldLine),
            ("X: y\r\r\nTransfer-Encoding: chunked\r\n", BadFieldLine),
            ("X: y\0\r\n", BadFieldLine),
            ("X\0: y\r\n", BadFieldLine),
            ("Transfer_Encoding\x7f: chunked\r\n", BadFieldLine),
            (": y\r\n", BadFieldLine),
            ("no colon\r\n", BadFieldLine),
            ("X\u{e9}: y\r\n", BadFieldLine),
        ];
        for (lines, why) in rows {
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            assert_eq!(read(request.as_bytes()).expect_err(lines), *why, "{lines:?}");
        }
        for (line, why) in [
            ("POST / HTTP/1.1 ", BadRequestLine),
            ("POST  / HTTP/1.1", BadRequestLine),
            (" POST / HTTP/1.1", BadRequestLine),
            ("POST /\tHTTP/1.1", BadRequestLine),
            ("POST / HTTP/1.1\r", BadRequestLine),
            ("POST /", BadRequestLine),
            ("POST / http/1.1", BadRequestLine),
            ("POST / HTTP/1.10", BadRequestLine),
            ("POST / HTTP/2.0", UnknownVersion),
            ("PO(ST / HTTP/1.1", BadRequestLine),
            ("POST /\u{1} HTTP/1.1", BadTarget),
            ("POST /<a> HTTP/1.1", BadTarget),
            ("POST /#\u{1} HTTP/1.1", BadTarget),
            ("POST  HTTP/1.1", BadTarget),
        ] {
            let request = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(read(request.as_bytes()).expect_err(line), why, "{line:?}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(old.as_bytes()).expect_err("no such thing"), AmbiguousLength);
        assert_eq!(read(b"\nGET / HTTP/1.1\r\n\r\n").expect_err("a bare line feed"), BareLineFeed);
    }

    #[test]
    fn a_head_is_read_as_it_stands() {
        let request = "\r\nPOST /a?b HTTP/1.1\r\nHost: A\r\nX-Odd:\t \u{e9} \r\nExpect: 100-Continue\r\n\
                       Content-Length: 05\r\nConnection: a, Close\r\n\r\nhello";
        let (head, end) = read(request.as_bytes()).expect("valid").expect("complete");
        assert_eq!(&request[end..], "hello");
        assert_eq!(
            (head.method, head.target.as_str(), head.version),
            (Method::POST, "/a?b", Version::HTTP_11)
        );
        assert_eq!(head.fields.get("x-odd"), Some("\u{e9}".as_bytes()));
        assert_eq!((head.framing, head.keeps, head.expects), (Framing::Length(5), false, true));
        for (line, version, keeps) in [
            ("GET / HTTP/1.0\r\n", Version::HTTP_10, false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", Version::HTTP_10, true),
            ("GET * HTTP/1.1\r\n", Version::HTTP_11, true),
            ("GET http://a/{b}\u{e9} HTTP/1.7\r\n", Version::HTTP_11, true),
        ] {
            let (head, _) = read(format!("{line}\r\n").as_bytes()).expect(line).expect("complete");
            assert_eq!((head.version, head.keeps, head.framing), (version, keeps, Framing::None), "{line}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_there() {
        let mut scan = Scan::default();
        assert_eq!(scan.find(&[b'a'; 64 + 256], &LIMITS), Ok(None));
        assert_eq!(scan.find(&[b'a'; 64 + 257], &LIMITS), Err(Refusal::TargetTooLong));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64));
        assert_eq!(read(long.as_bytes()).expect_err("too long"), Refusal::TargetTooLong);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(9));
        assert_eq!(read(many.as_bytes()).expect_err("too many"), Refusal::HeaderTooLarge);
        let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(252));
        assert_eq!(read(large.as_bytes()).expect_err("too large"), Refusal::HeaderTooLarge);
        let endless = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(1000));
        assert_eq!(read(endless.as_bytes()).expect_err("too large"), Refusal::HeaderTooLarge);
        assert_eq!(read("\r\n".repeat(5).as_bytes()).expect_err("nothing"), Refusal::BadRequestLine);
    }

    proptest! {
        #[test]
        fn a_head_is_the_same_however_it_arrives(
            bytes in proptest::collection::vec(proptest::sample::select(b"GET / HTTP/1.1\r\nab: ,5\r\n\r\n".to_vec()), 0..80),
            cuts in proptest::collection::vec(0usize..80, 0..6),
        ) {
            let whole = Scan::default().find(&bytes, &LIMITS);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut scan = Scan::default();
            let mut piecewise = Ok(None);
            for cut in cuts {
                piecewise = scan.find(&bytes[..cut], &LIMITS);
                if piecewise != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(piecewise, whole);
        }
    }
}
