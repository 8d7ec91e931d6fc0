//! A request on its way out: its head in one buffer, and its content behind it (RFC 9112 3,
//! 6, 7.1).
//!
//! What always holds: a request is framed once, as its content says, whatever its fields say;
//! a target or a field goes out only if it can be read in one way; content that has broken
//! off, or is shorter than was promised, never looks like a whole one.
//!
//! Cancel safety: it may be dropped at any time; the connection is to be closed then, unless
//! all was sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http::{Method, Uri};
use tokio::io::AsyncWrite;

use super::exchange::Content;
use crate::message::{Body, Piece, RequestHead};
use crate::rfc::connection;
use crate::rfc::fields::{Fields, write_number};
use crate::rfc::uri::is_plain;

/// A request on its way out.
pub(super) struct Sending {
    /// The head, or the framing of content, and how much of it is written.
    before: Vec<u8>,
    written: usize,
    /// Content, behind it.
    piece: Bytes,
    /// The framing behind that.
    after: &'static [u8],
    /// What is still to be taken.
    content: Option<Taking>,
}

/// Content from which pieces are taken.
struct Taking {
    body: Body,
    framing: Framing,
}

enum Framing {
    /// So many bytes are still promised.
    Length(u64),
    /// In chunks; fields of these names may follow them.
    Chunked { announced: Vec<String> },
}

/// Why a request was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    /// Its content has broken off.
    Content,
    /// The connection has failed.
    Io(io::Error),
}

/// The request's target cannot be sent.
#[derive(Debug)]
pub(super) struct BadTarget;

impl Sending {
    /// The whole request.
    pub fn new(head: &RequestHead, content: Option<Content>) -> Result<Self, BadTarget> {
        let content = content.filter(|content| content.length != Some(0));
        let mut before = Vec::with_capacity(head.target.len() + head.fields.written_len() + 128);
        before.extend_from_slice(head.method.as_str().as_bytes());
        before.push(b' ');
        write_target(&head.target, &mut before)?;
        before.extend_from_slice(b" HTTP/1.1\r\n");
        let is_framing = |name: &[u8]| name == b"content-length" || name == b"transfer-encoding";
        if head.fields.contains("content-length") || head.fields.contains("transfer-encoding") {
            head.fields.only(|name| !is_framing(name)).write(&mut before);
        } else {
            head.fields.write(&mut before);
        }
        let content = content.map(|Content { body, length }| {
            let framing = match length {
                Some(length) => {
                    before.extend_from_slice(b"content-length: ");
                    write_number(length, &mut before);
                    before.extend_from_slice(b"\r\n");
                    Framing::Length(length)
                }
                None => {
                    before.extend_from_slice(b"transfer-encoding: chunked\r\n");
                    Framing::Chunked { announced: announced(&head.fields) }
                }
            };
            Taking { body, framing }
        });
        // These say so where they have none (RFC 9110 8.6).
        if content.is_none() && [Method::POST, Method::PUT, Method::PATCH].contains(&head.method) {
            before.extend_from_slice(b"content-length: 0\r\n");
        }
        before.extend_from_slice(b"\r\n");
        Ok(Sending { before, written: 0, piece: Bytes::new(), after: b"", content })
    }

    /// Whether there is content still to be taken.
    pub fn has_content(&self) -> bool {
        self.content.is_some()
    }

    /// Moves on what can be moved; ready when all of it is sent.
    pub fn poll(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NotSent>> {
        loop {
            // A head and the content that is there already go together.
            while self.piece.is_empty()
                && self.after.is_empty()
                && let Some(content) = &mut self.content
            {
                let Poll::Ready(piece) = content.body.poll_next_unpin(cx) else { break };
                self.take(piece.transpose().map_err(|_| NotSent::Content)?)?;
            }
            if !self.is_written() {
                ready!(self.poll_write(io, cx)).map_err(NotSent::Io)?;
                continue;
            }
            // TLS holds back what it was given until then.
            ready!(Pin::new(&mut *io).poll_flush(cx)).map_err(NotSent::Io)?;
            return if self.content.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
    }

    fn is_written(&self) -> bool {
        self.written == self.before.len() && self.piece.is_empty() && self.after.is_empty()
    }

    /// Frames what comes next of the content.
    fn take(&mut self, piece: Option<Piece>) -> Result<(), NotSent> {
        let Some(Taking { framing, .. }) = &mut self.content else { return Ok(()) };
        match (framing, piece) {
            (_, Some(Piece::Bytes(bytes))) if bytes.is_empty() => {}
            (Framing::Length(left), Some(Piece::Bytes(mut bytes))) => {
                // What nobody was promised would be another request.
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                if *left == 0 {
                    self.content = None;
                }
                self.piece = bytes;
            }
            (Framing::Length(_), Some(Piece::Trailers(_)) | None) => return Err(NotSent::Content),
            (Framing::Chunked { .. }, Some(Piece::Bytes(bytes))) => {
                self.before.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                (self.piece, self.after) = (bytes, b"\r\n");
            }
            (Framing::Chunked { announced }, end) => {
                self.before.extend_from_slice(b"0\r\n");
                if let Some(Piece::Trailers(trailers)) = end {
                    let may_go = |name: &str| announced.iter().any(|other| other == name) && may_follow(name);
                    trailers.only(|name| std::str::from_utf8(name).is_ok_and(may_go)).write(&mut self.before);
                }
                self.before.extend_from_slice(b"\r\n");
                self.content = None;
            }
        }
        Ok(())
    }

    /// Writes some of what is there.
    fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let before = self.before.get(self.written..).unwrap_or_default();
        let io = Pin::new(io);
        let mut wrote = if self.piece.is_empty() && self.after.is_empty() {
            ready!(io.poll_write(cx, before))?
        } else {
            let slices = [IoSlice::new(before), IoSlice::new(&self.piece), IoSlice::new(self.after)];
            ready!(io.poll_write_vectored(cx, &slices))?
        };
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let here = wrote.min(before.len());
        (self.written, wrote) = (self.written + here, wrote - here);
        if self.written == self.before.len() {
            self.before.clear();
            self.written = 0;
        }
        let here = wrote.min(self.piece.len());
        self.piece.advance(here);
        self.after = self.after.get(wrote - here..).unwrap_or_default();
        Poll::Ready(Ok(()))
    }
}

/// Writes a target in origin form, or `*`.
fn write_target(target: &str, out: &mut Vec<u8>) -> Result<(), BadTarget> {
    if target == "*" || (target.starts_with('/') && target.bytes().all(is_plain)) {
        out.extend_from_slice(target.as_bytes());
        return Ok(());
    }
    let target = Uri::try_from(target).map_err(|_| BadTarget)?.to_string();
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(BadTarget);
    }
    out.extend_from_slice(target.as_bytes());
    Ok(())
}

/// The names of the fields that the head says follow the content.
fn announced(fields: &Fields) -> Vec<String> {
    let names = fields.members("trailer").filter_map(|name| std::str::from_utf8(name).ok());
    names.map(str::to_ascii_lowercase).collect()
}

/// Whether a field may follow the content (RFC 9110 6.5.1).
fn may_follow(name: &str) -> bool {
    connection::may_be_trailer(name) && !matches!(name, "authorization" | "max-forwards")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Broken;
    use futures_util::stream;
    use http::Method;
    use std::task::Waker;

    /// Takes so much at a time.
    struct Slow(Vec<u8>, usize);

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let len = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let len = all.len().min(self.1);
            self.0.extend_from_slice(&all[..len]);
            Poll::Ready(Ok(len))
        }
    }

    fn head(target: &str, lines: &[(&str, &str)]) -> RequestHead {
        let fields = lines.iter().copied().collect();
        RequestHead { method: Method::POST, target: target.to_owned(), fields }
    }

    /// What is written of it, and whether it was sent.
    fn sent(
        head: &RequestHead,
        pieces: Vec<Result<Piece, Broken>>,
        length: Option<u64>,
    ) -> (String, Option<bool>) {
        let mut written = Vec::new();
        for at_a_time in [1, 7, 10_000] {
            let content = Content { body: Box::pin(stream::iter(pieces.clone())), length };
            let mut sending = Sending::new(head, Some(content)).expect("a target");
            let mut io = Slow(Vec::new(), at_a_time);
            let outcome = sending.poll(&mut io, &mut Context::from_waker(Waker::noop()));
            let whole = match outcome {
                Poll::Pending => None,
                Poll::Ready(outcome) => Some(outcome.is_ok()),
            };
            written.push((String::from_utf8(io.0).expect("text"), whole));
        }
        // What has broken off may have come further where more is taken at a time.
        if written.iter().all(|(_, whole)| *whole == Some(true)) {
            assert!(written.iter().all(|other| *other == written[0]), "{written:?}");
        }
        written.pop().expect("three")
    }

    fn bytes(text: &'static str) -> Result<Piece, Broken> {
        Ok(Piece::Bytes(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn content_is_framed_as_it_says_whatever_the_fields_say() {
        let lines = [("host", "a"), ("content-length", "9"), ("transfer-encoding", "chunked"), ("x", "y")];
        let head = head("/a?b", &lines);
        assert_eq!(
            sent(&head, vec![bytes("he"), bytes(""), bytes("llo")], Some(5)),
            (
                "POST /a?b HTTP/1.1\r\nhost: a\r\nx: y\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
                Some(true)
            )
        );
        assert_eq!(
            sent(&head, vec![bytes("he"), bytes(""), bytes("llo, world, hello")], None),
            (
                "POST /a?b HTTP/1.1\r\nhost: a\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n\
                 2\r\nhe\r\n11\r\nllo, world, hello\r\n0\r\n\r\n"
                    .to_owned(),
                Some(true)
            )
        );
        assert_eq!(
            sent(&head, vec![bytes("hello")], Some(0)),
            ("POST /a?b HTTP/1.1\r\nhost: a\r\nx: y\r\ncontent-length: 0\r\n\r\n".to_owned(), Some(true))
        );
        let head = RequestHead { method: Method::GET, ..head };
        assert_eq!(
            sent(&head, vec![bytes("hello")], Some(0)),
            ("GET /a?b HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n".to_owned(), Some(true))
        );
    }

    #[test]
    fn content_that_is_not_what_was_promised_is_no_whole_request_nor_more_than_one() {
        let head = head("/", &[]);
        let (text, whole) = sent(&head, vec![bytes("helloGET /"), bytes("x")], Some(5));
        assert_eq!((text.ends_with("\r\n\r\nhello"), whole), (true, Some(true)));
        for (pieces, length) in [
            (vec![bytes("hell")], Some(5)),
            (vec![bytes("hell"), Err(Broken::CutOff)], Some(5)),
            (vec![bytes("hell"), Err(Broken::CutOff)], None),
        ] {
            let (text, whole) = sent(&head, pieces, length);
            assert_eq!((text.contains("0\r\n\r\n"), whole), (false, Some(false)), "{text}");
        }
    }

    #[test]
    fn only_announced_trailers_go_on() {
        let head = head("/", &[("trailer", "X-Sum, Host")]);
        let trailers: Fields = [("x-sum", "1"), ("x-other", "2"), ("host", "b")].into_iter().collect();
        let (text, whole) = sent(&head, vec![bytes("a"), Ok(Piece::Trailers(trailers))], None);
        assert_eq!((text.ends_with("1\r\na\r\n0\r\nx-sum: 1\r\n\r\n"), whole), (true, Some(true)), "{text}");
    }

    #[test]
    fn a_target_is_sent_only_if_it_is_one() {
        for target in ["/", "*", "/a%20b?c={d}", "/\u{e9}", "http://a/b"] {
            let sending = Sending::new(&head(target, &[]), None);
            assert!(sending.is_ok(), "{target}");
        }
        for target in ["", "/ HTTP/1.1", "/a b", "/a\r\nx: y", "/\0", "/a\tb"] {
            assert!(Sending::new(&head(target, &[]), None).is_err(), "{target:?}");
        }
    }
}
