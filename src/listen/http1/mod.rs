//! One client's connection over HTTP/1 (RFC 9112): requests in, replies out, in order.
//!
//! The connection is one task. It waits for a head, has it [parsed](head), walks the
//! request, and writes the reply; content of the request is lent to whoever
//! wants it. What the store can answer is answered without an await.
//!
//! What always holds:
//! - what cannot be understood in one way only is answered with an error, and nothing
//!   behind it is read as a request;
//! - a connection that waits has no buffer;
//! - every wait for the client has an end: for a request, for the rest of its head, for
//!   its content, and for the taking of the reply. Time in which nobody waits for the
//!   client is not counted;
//! - no request is read before the reply to the one before it has been written.
//!
//! A client that shuts down its sending side while its request waits for an origin, or for
//! more of a body, counts as one that has left, as with other proxies: it cannot be told from
//! one that closed. What the store answers it gets all the same.
//!
//! Cancel safety: when the client leaves, its walk is dropped at whatever await it stands.

pub mod head;

mod content;
mod out;
mod tunnel;

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use http::{Method, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use self::content::{News, Source, Upload};
use self::head::{Head, Limits, Scan};
use self::out::{Framing, Out};
use super::Settings;
use super::accept::Current;
use super::places::Place;
use crate::message::Piece;
use crate::message::interim::Interims;
use crate::observe::counters::Counters;
use crate::origin::Content;
use crate::policy::site::Presentation;
use crate::policy::{Received, Refusal};
use crate::serve::{Base, Begun, Reply, ReplyBody, Request, Tunnel};

/// How much is read at once.
const READ: usize = 16 * 1024;
/// How much may have arrived behind a request that is being answered.
const AHEAD: usize = 16 * 1024;
/// How long what a client still sends is read after the last reply, so that it gets to
/// read that (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// What a client is told that waits for it (RFC 9110 15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

thread_local! {
    /// What is read is mostly one whole head, which is parsed at once and not kept.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What all connections have in common.
pub(super) struct Terms {
    pub current: Current,
    pub counters: Arc<Counters>,
    pub settings: Settings,
}

/// One connection.
pub(super) struct Conversation<'a> {
    terms: &'a Terms,
    drain: Drain,
    peer: IpAddr,
    place: Place,
    /// Here unless it is lent to content.
    read: Option<OwnedReadHalf>,
    upload: Option<Upload>,
    write: Writer,
    /// What has arrived of what comes next.
    arrived: BytesMut,
    /// What has to be written before the reply.
    interim: Vec<u8>,
    /// Content was left unread, so where the next request begins is not known.
    is_lost: bool,
    timer: Timer,
    limits: Limits,
    _open: Open<'a>,
}

/// Counts as an open connection.
struct Open<'a>(&'a Counters);

/// What becomes of a connection after a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    /// The next request may come.
    GoesOn,
    /// It is closed.
    Close,
}

/// The writing half.
struct Writer {
    /// Here until it is dropped.
    half: Option<OwnedWriteHalf>,
    /// A body is on its way whose end is that of the connection: until it is complete, the
    /// connection can only be reset, for only that tells one that breaks off.
    resets: bool,
}

/// Whether the node closes, as one connection sees it.
pub(super) struct Drain {
    told: watch::Receiver<bool>,
    /// Wakes the connection when it is told. It is looked at once: a task has one waker, and
    /// to look again would take a lock that all connections share.
    wakes: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_registered: bool,
}

/// What follows on a connection.
enum Next {
    Request(Head),
    Refused(Refusal),
    /// Nothing.
    End,
}

/// A head that is waited for.
struct Waiting {
    scan: Scan,
    since: Instant,
    begun: bool,
}

/// A reply that is being written.
struct Sending {
    out: Out,
    body: ReplyBody,
    framing: Framing,
    /// Whether the client reads a trailer section.
    trailers: bool,
    /// Nothing more comes from the body.
    ended: bool,
    /// What is left of the body is written from where it stands in the store.
    held: bool,
    /// It came to an end before what was promised.
    broken: bool,
    /// Since when the client has taken nothing.
    stuck: Option<Instant>,
}

/// A walk that waits for somebody.
struct Going {
    /// On the heap, so that connections that wait do not carry it about.
    walk: Pin<Box<dyn Future<Output = Reply> + Send>>,
    /// What arrives for the client meanwhile.
    interims: Option<Arc<Interims>>,
    /// So many of them were written.
    known: usize,
}

/// What a client can do with a reply.
#[derive(Clone, Copy, Debug)]
struct Reader {
    version: Version,
    /// It has asked with HEAD.
    is_head: bool,
    /// It reads a trailer section.
    trailers: bool,
    /// It takes more replies after this one.
    keeps: bool,
}

/// The client is gone, or as good as.
struct Gone;

impl<'a> Conversation<'a> {
    /// The conversation over this socket, in its place among the connections.
    pub fn new(terms: &'a Terms, drain: Drain, stream: TcpStream, peer: IpAddr, place: Place) -> Self {
        let (read, write) = stream.into_split();
        Conversation {
            terms,
            drain,
            peer,
            place,
            read: Some(read),
            upload: None,
            write: Writer { half: Some(write), resets: false },
            arrived: BytesMut::new(),
            interim: Vec::new(),
            is_lost: false,
            timer: Timer::default(),
            limits: limits(&terms.current.load().presentation),
            _open: Open::new(&terms.counters),
        }
    }

    /// Takes requests and sends replies until one of the two has no more.
    pub async fn run(mut self) {
        loop {
            let after = match self.next_head().await {
                Next::Request(head) => self.answer(head).await,
                Next::Refused(why) => {
                    self.terms.counters.client_malformed.up();
                    let reply = self.terms.current.load().refuse(why, self.peer);
                    let reader =
                        Reader { version: Version::HTTP_11, is_head: false, trailers: false, keeps: false };
                    self.send(reply, reader).await
                }
                Next::End => After::Close,
            };
            if after == After::Close {
                return;
            }
        }
    }

    async fn next_head(&mut self) -> Next {
        let mut waiting =
            Waiting { scan: Scan::default(), since: Instant::now(), begun: !self.arrived.is_empty() };
        std::future::poll_fn(|cx| self.poll_head(cx, &mut waiting)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, waiting: &mut Waiting) -> Poll<Next> {
        if let Some(next) = self.take_arrived(&mut waiting.scan) {
            return Poll::Ready(next);
        }
        loop {
            let Some(read) = &mut self.read else { return Poll::Ready(Next::End) };
            let (arrived, limits) = (&mut self.arrived, &self.limits);
            let polled = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(read).poll_read(cx, &mut buffer))?;
                let bytes = buffer.filled();
                if bytes.is_empty() {
                    return Poll::Ready(Ok(Some(Next::End)));
                }
                if arrived.is_empty() {
                    let (next, used) = take_head(bytes, &mut waiting.scan, limits);
                    arrived.extend_from_slice(bytes.get(used..).unwrap_or_default());
                    return Poll::Ready(Ok(next));
                }
                arrived.extend_from_slice(bytes);
                let (next, used) = take_head(arrived, &mut waiting.scan, limits);
                arrived.advance(used);
                Poll::Ready(Ok::<_, io::Error>(next))
            });
            match polled {
                Poll::Ready(Ok(Some(next))) => return Poll::Ready(next),
                Poll::Ready(Ok(None)) if !waiting.begun => {
                    // The time of a head runs from its first byte to its last.
                    (waiting.begun, waiting.since) = (true, Instant::now());
                }
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(target: "forebay::listen", client = %self.peer, "reading failed: {error}");
                    return Poll::Ready(Next::End);
                }
                Poll::Pending => {
                    if self.arrived.is_empty() {
                        self.arrived = BytesMut::new();
                        // Whatever has arrived by now is answered.
                        if self.drain.poll_told(cx) {
                            return Poll::Ready(Next::End);
                        }
                    }
                    ready!(self.poll_patience(cx, waiting));
                    return Poll::Ready(Next::End);
                }
            }
        }
    }

    /// The head that has arrived behind the last request, if it is complete.
    fn take_arrived(&mut self, scan: &mut Scan) -> Option<Next> {
        if self.arrived.is_empty() {
            return None;
        }
        let (next, used) = take_head(&self.arrived, scan, &self.limits);
        self.arrived.advance(used);
        next
    }

    /// Completes when the client has been silent for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>, waiting: &Waiting) -> Poll<()> {
        let Settings { header_timeout, idle_timeout, .. } = self.terms.settings;
        let counters = &self.terms.counters;
        if waiting.begun {
            ready!(self.timer.poll_until(cx, waiting.since + header_timeout));
            counters.client_timeout_header.up();
            return Poll::Ready(());
        }
        let end = waiting.since + idle_timeout;
        // Whether there is room for it is looked at again and again.
        let step = (idle_timeout / 10).max(Duration::from_millis(1));
        let mut look = (waiting.since + step).min(end);
        loop {
            ready!(self.timer.poll_until(cx, look));
            let now = Instant::now();
            if now >= end {
                counters.client_timeout_idle.up();
                return Poll::Ready(());
            }
            if now >= look && self.place.is_crowded() {
                counters.client_timeout_crowded.up();
                return Poll::Ready(());
            }
            while look <= now {
                look += step;
            }
            look = look.min(end);
        }
    }

    /// Walks a request and sends its reply.
    async fn answer(&mut self, head: Head) -> After {
        let Head { method, target, version, fields, framing, keeps, expects, trailers } = head;
        let content = match (framing, self.read.take()) {
            (head::Framing::None, read) => {
                self.read = read;
                None
            }
            (_, None) => return After::Close,
            (framing, Some(read)) => {
                let rest = std::mem::take(&mut self.arrived);
                let Terms { settings, counters, .. } = self.terms;
                let (upload, body) =
                    content::lend(read, &rest, framing, expects, settings.body_timeout, counters);
                self.upload = Some(upload);
                let length = if let head::Framing::Length(length) = framing { Some(length) } else { None };
                Some(Content { body, length })
            }
        };
        let reader = Reader { version, is_head: method == Method::HEAD, trailers, keeps };
        let received = Received {
            method,
            target,
            version,
            fields,
            has_body: content.is_some(),
            peer: self.peer,
            encrypted: false,
        };
        let reply = match self.begin(Request { received, content }, version) {
            Ok(reply) => reply,
            Err(going) => match self.reply_of(going).await {
                Ok(reply) => reply,
                Err(Gone) => return After::Close,
            },
        };
        self.send(reply, reader).await
    }

    /// The reply, where it can be had at once, or the walk to it.
    fn begin(&mut self, request: Request, version: Version) -> Result<Reply, Going> {
        let server = self.terms.current.load();
        self.limits = limits(&server.presentation);
        match server.begin(request) {
            Begun::Done(reply) => Ok(reply),
            Begun::On(started) => {
                let server = Arc::clone(&server);
                // HTTP/1.0 has none of them (RFC 9110 15.2).
                let interims = (version > Version::HTTP_10).then(Arc::<Interims>::default);
                let told = interims.clone();
                let walk = Box::pin(async move { server.go_on(started, told).await });
                Err(Going { walk, interims, known: 0 })
            }
        }
    }

    /// Waits for a reply for as long as the client does.
    async fn reply_of(&mut self, mut going: Going) -> Result<Reply, Gone> {
        std::future::poll_fn(|cx| {
            let polled = going.walk.as_mut().poll(cx);
            if let Some(interims) = &going.interims {
                for interim in interims.since(&mut going.known) {
                    out::interim(&mut self.interim, &interim);
                    self.terms.counters.interim_forwarded.up();
                }
            }
            if let Poll::Ready(reply) = polled {
                return Poll::Ready(Ok(reply));
            }
            self.poll_client(cx, true).map(Err)
        })
        .await
    }

    /// Sees to the client while something else is waited for. Completes when it has left.
    /// That its content is wanted can be said only before the reply begins.
    fn poll_client(&mut self, cx: &mut Context<'_>, before_reply: bool) -> Poll<Gone> {
        while let Some(upload) = &self.upload
            && let Poll::Ready(news) = upload.poll_news(cx)
        {
            match news {
                News::Continue if before_reply => self.interim.extend_from_slice(CONTINUE),
                News::Continue => {}
                News::Back(source) => self.reclaim(source),
            }
        }
        while !self.interim.is_empty() {
            match self.write.poll_write(cx, &self.interim) {
                Poll::Ready(Ok(written @ 1..)) => drop(self.interim.drain(..written)),
                Poll::Ready(_) => return Poll::Ready(Gone),
                Poll::Pending => break,
            }
        }
        let Some(read) = &mut self.read else { return Poll::Pending };
        while self.arrived.len() < AHEAD {
            let (arrived, read) = (&mut self.arrived, Pin::new(&mut *read));
            let got = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(read.poll_read(cx, &mut buffer))?;
                arrived.extend_from_slice(buffer.filled());
                Poll::Ready(Ok::<_, io::Error>(buffer.filled().len()))
            });
            match ready!(got) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Gone),
            }
        }
        Poll::Pending
    }

    /// Takes the reading half back, with what has arrived behind the content.
    fn reclaim(&mut self, mut source: Source) {
        self.upload = None;
        if source.discard() {
            self.arrived = source.rest;
        } else {
            self.is_lost = true;
        }
        self.read = Some(source.read);
    }

    /// Writes a reply.
    async fn send(&mut self, reply: Reply, reader: Reader) -> After {
        let framing = body_framing(&reply, reader);
        let keeps = reader.keeps && !reply.close && framing != Framing::Close && !self.drain.is_told();
        let mut out = Out::new(&std::mem::take(&mut self.interim));
        write_head(&mut out, &reply, reader.version, framing, keeps);
        let Reply { body, tunnel, status, .. } = reply;
        let ended = matches!(framing, Framing::None | Framing::Length(0));
        let trailers = reader.trailers;
        self.write.resets = framing == Framing::Close;
        let mut sending =
            Sending { out, body, framing, trailers, ended, held: false, broken: false, stuck: None };
        if std::future::poll_fn(|cx| self.poll_send(cx, &mut sending)).await.is_err() {
            return After::Close;
        }
        if sending.broken {
            return After::Close;
        }
        self.write.resets = false;
        sending.body.complete();
        drop(sending);
        if let Some(tunnel) = tunnel {
            // Large, like the next one, and seldom needed.
            Box::pin(self.tunnel(tunnel)).await;
            return After::Close;
        }
        self.end_content();
        // What follows a switch to nothing could be anything.
        let is_lost = self.is_lost || status == StatusCode::SWITCHING_PROTOCOLS;
        if self.upload.is_some() || is_lost || !keeps {
            Box::pin(self.linger()).await;
            return After::Close;
        }
        After::GoesOn
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, sending: &mut Sending) -> Poll<Result<(), Gone>> {
        loop {
            let mut waits = false;
            // While the client takes nothing, nothing is got for it.
            while !sending.ended && !waits && sending.stuck.is_none() && !sending.out.is_full() {
                waits = sending.poll_body(cx).is_pending();
            }
            while sending.held || !sending.out.is_empty() {
                let Some(half) = &mut self.write.half else { return Poll::Ready(Err(Gone)) };
                match sending.poll_write(cx, half) {
                    Poll::Ready(Ok(())) => sending.stuck = None,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Gone)),
                    Poll::Pending => {
                        let stuck = *sending.stuck.get_or_insert_with(Instant::now);
                        ready!(self.timer.poll_until(cx, stuck + self.terms.settings.send_timeout));
                        self.terms.counters.client_timeout_send.up();
                        return Poll::Ready(Err(Gone));
                    }
                }
            }
            if sending.ended {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return self.poll_client(cx, false).map(Err);
            }
        }
    }

    /// Gets at what follows the content of the request, where nobody reads that any more.
    fn end_content(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Some(upload) = &self.upload {
            match upload.poll_news(&mut cx) {
                Poll::Ready(News::Back(source)) => self.reclaim(source),
                // It is too late for that.
                Poll::Ready(News::Continue) => {}
                Poll::Pending => return upload.give_up(),
            }
        }
    }

    /// Closes such that the client gets to read the last reply: as long as it sends, a
    /// socket that is closed answers with a reset, and that may overtake the reply.
    async fn linger(&mut self) {
        if !self.is_lost && self.arrived.is_empty() && self.upload.is_none() && self.is_quiet() {
            return;
        }
        let until_closed = async {
            let Some(write) = &mut self.write.half else { return };
            if write.shutdown().await.is_err() {
                return;
            }
            while let Some(upload) = &self.upload {
                if let News::Back(source) = std::future::poll_fn(|cx| upload.poll_news(cx)).await {
                    self.read = Some(source.read);
                    self.upload = None;
                }
            }
            let Some(read) = &mut self.read else { return };
            let mut buffer = vec![0; READ];
            while matches!(read.read(&mut buffer).await, Ok(1..)) {}
        };
        let _ = tokio::time::timeout(LINGER, until_closed).await;
    }

    /// Whether nothing has arrived that nobody has read.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let Some(read) = &self.read else { return false };
        matches!(read.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Leaves HTTP: bytes go both ways.
    async fn tunnel(&mut self, tunnel: Tunnel) {
        let Some(origin) = tunnel.origin.await else { return };
        let (Some(read), Some(write)) = (self.read.take(), &mut self.write.half) else { return };
        let client = tokio::io::join(read, write);
        match tunnel::join(client, &self.arrived, origin, self.terms.settings.tunnel_timeout).await {
            tunnel::End::Closed => {}
            tunnel::End::Silent => self.terms.counters.client_timeout_tunnel.up(),
            tunnel::End::Broken(error) => {
                tracing::debug!(target: "forebay::listen", client = %self.peer, "tunnel ended: {error}");
            }
        }
    }
}

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.client_connections_open.up();
        Open(counters)
    }
}

impl Drain {
    /// To be told by this; it has not been yet.
    pub fn new(told: watch::Receiver<bool>) -> Self {
        let mut other = told.clone();
        // When nobody is left who could tell, it is time as well.
        let wakes = async move { drop(other.wait_for(|told| *told).await) };
        Drain { told, wakes: Box::pin(wakes), is_registered: false }
    }

    /// Whether the node closes.
    fn is_told(&self) -> bool {
        self.told.has_changed().unwrap_or(true)
    }

    /// The same, and wakes this task when it comes to that.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_registered {
            self.is_registered = true;
            if self.wakes.as_mut().poll(cx).is_ready() {
                return true;
            }
        }
        self.is_told()
    }
}

impl Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.half {
            Some(half) => Pin::new(half).poll_write(cx, bytes),
            None => Poll::Ready(Ok(0)),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(half) = self.half.take()
            && self.resets
        {
            let _ = half.as_ref().set_zero_linger();
            // Without a word of goodbye.
            half.forget();
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.client_connections_open.down();
    }
}

impl Sending {
    /// Writes what the socket takes. An error is the connection's.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if !self.held {
            return self.out.poll_write(cx, socket, std::iter::empty()).map_ok(drop);
        }
        let wrote = ready!(self.out.poll_write(cx, socket, self.body.slices()))?;
        self.body.took(wrote);
        if let Framing::Length(left) = &mut self.framing {
            *left = left.saturating_sub(wrote);
            self.held = *left > 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the body, if there is one.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Framing::Length(left) = &mut self.framing
            && self.body.held() == Some(*left)
            && self.out.is_copied()
        {
            self.ended = true;
            self.held = *left > out::COPIED as u64;
            if !self.held {
                self.body.slices().for_each(|slice| self.out.bytes(slice));
                self.body.took(std::mem::take(left));
            }
            return Poll::Ready(());
        }
        match ready!(self.body.poll_next_unpin(cx)) {
            Some(Ok(Piece::Bytes(bytes))) => {
                self.out.body(&mut self.framing, bytes);
                if self.framing == Framing::Length(0) {
                    // Nobody asks for the end.
                    self.ended = true;
                }
            }
            Some(Ok(Piece::Trailers(trailers))) => {
                self.ended = true;
                match self.framing {
                    Framing::Chunked => self.out.last_chunk(Some(&trailers).filter(|_| self.trailers)),
                    Framing::Length(_) => self.broken = true,
                    Framing::None | Framing::Close => {}
                }
            }
            None => {
                self.ended = true;
                match self.framing {
                    Framing::Chunked => self.out.last_chunk(None),
                    Framing::Length(_) => self.broken = true,
                    Framing::None | Framing::Close => {}
                }
            }
            Some(Err(_)) => (self.ended, self.broken) = (true, true),
        }
        Poll::Ready(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Nothing, where the client has taken it all.
        self.body.unsent(self.out.left() as u64);
    }
}

/// The next request among these bytes, and how many of them belong to it.
fn take_head(bytes: &[u8], scan: &mut Scan, limits: &Limits) -> (Option<Next>, usize) {
    match scan.find(bytes, limits) {
        Ok(None) => (None, 0),
        Ok(Some((start, end))) => {
            let next = match head::parse(bytes.get(start..end).unwrap_or_default(), limits) {
                Ok(head) => Next::Request(head),
                Err(why) => Next::Refused(why),
            };
            *scan = Scan::default();
            (Some(next), end)
        }
        Err(why) => (Some(Next::Refused(why)), 0),
    }
}

/// How large a head may be.
pub fn limits(presentation: &Presentation) -> Limits {
    Limits {
        target: presentation.max_target_bytes,
        fields: presentation.max_header_bytes,
        lines: presentation.max_header_lines,
    }
}

/// How the end of a reply's body is told (RFC 9112 6.3).
fn body_framing(reply: &Reply, reader: Reader) -> Framing {
    let without = reader.is_head
        || reply.status.is_informational()
        || matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match reply.length {
        _ if without => Framing::None,
        Some(length) => Framing::Length(length),
        None if reader.version == Version::HTTP_10 => Framing::Close,
        None => Framing::Chunked,
    }
}

fn write_head(out: &mut Out, reply: &Reply, version: Version, framing: Framing, keeps: bool) {
    let base = match &reply.base {
        Base::None => None,
        Base::Body => reply.body.stored().map(|response| &response.head.fields),
        Base::Head(head) => Some(&head.fields),
    };
    out.head(reply.status, base.into_iter().chain([&reply.fields]));
    if framing == Framing::Chunked {
        out.field("transfer-encoding", b"chunked");
    }
    if let Some(tunnel) = &reply.tunnel {
        out.field("connection", b"upgrade");
        out.field("upgrade", &tunnel.protocol);
    } else if !keeps {
        out.field("connection", b"close");
    } else if version == Version::HTTP_10 {
        out.field("connection", b"keep-alive");
    }
    out.end_of_head();
}

/// One timer for all that a connection waits for, as it waits for one thing at a time.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Completes at this moment. That it goes off early, for an earlier wait, costs less than
    /// setting it anew for every wait.
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline || sleep.is_elapsed() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
