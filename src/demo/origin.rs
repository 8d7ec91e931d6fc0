//! The sample origin: a small HTTP server that can be broken on purpose.
//!
//! What always holds: connections are bounded in number and in time, and no body
//! is ever whole in memory.
//!
//! What it never does: know that there is a cache in front of it, apart from
//! where the reader of its index is to type.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{
    ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPIRES,
    HOST, IF_NONE_MATCH, LOCATION, VARY,
};
use http::response::Builder;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::pages::{self, Health, Made, Reached};
use crate::clock::Clock;

/// The most open connections; more wait until one is closed.
const MOST_CONNECTIONS: usize = 512;

/// How long a connection may stay silent; longer than the cache keeps it.
const IDLE: Duration = Duration::from_secs(75);

/// How long to wait when the system refuses a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The lines that the slow page drips.
const SLOW_LINES: u32 = 6;

/// The size of a download that asks for none, and the largest, in MiB.
const DOWNLOAD_MIB: u64 = 64;
const DOWNLOAD_MOST_MIB: u64 = 4096;

/// One piece of a download.
const PIECE: usize = 64 * 1024;
const PIECES_PER_MIB: u64 = (1024 * 1024 / PIECE) as u64;

/// How fast the slow pages are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Before the head of the slow page.
    pub think: Duration,
    /// Before each line of it.
    pub drip: Duration,
    /// How long a request hangs at most.
    pub hang: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            think: Duration::from_secs(2),
            drip: Duration::from_millis(500),
            hang: Duration::from_secs(60),
        }
    }
}

/// The origin, shared by its connections.
pub(super) struct Origin {
    clock: Clock,
    pace: Pace,
    counts: Mutex<Counts>,
    health: Mutex<Health>,
    /// The page of the current minute.
    edition: Mutex<Option<(u64, Bytes)>>,
    /// What all pieces of a download have in common.
    piece: Vec<u8>,
    /// Where the cache's admin port is, once it is known.
    admin: OnceLock<String>,
}

/// How often the origin was asked; one entry for each page that there is.
#[derive(Default)]
struct Counts {
    all: u64,
    pages: BTreeMap<&'static str, u64>,
}

type Body = BoxBody<Bytes, Infallible>;

/// Why a request gets no answer: its connection is to be closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The origin is broken on purpose.
    #[error("closed on purpose")]
    OnPurpose,
    /// The response could not be built.
    #[error("no response: {0}")]
    Built(#[from] http::Error),
}

impl Origin {
    /// An origin that is well.
    pub(super) fn new(clock: Clock, pace: Pace) -> Arc<Self> {
        Arc::new(Origin {
            clock,
            pace,
            counts: Mutex::default(),
            health: Mutex::default(),
            edition: Mutex::default(),
            piece: piece(),
            admin: OnceLock::new(),
        })
    }

    /// Lets the index say how to purge.
    pub(super) fn admin_is_at(&self, address: String) {
        // The first word counts; there is only one.
        let _ = self.admin.set(address);
    }

    /// Serves what connects to `listener`, for ever.
    pub(super) async fn listen(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let origin = Arc::clone(&self);
                    tokio::spawn(async move {
                        origin.converse(stream).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request| {
            let origin = Arc::clone(&self);
            async move { origin.answer(&request).await }
        });
        // A connection that breaks is the client's to notice.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// Answers one request. Its content, if any, means nothing here.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Result<Response<Body>, NoAnswer> {
        let (uri, headers) = (request.uri(), request.headers());
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let posts = request.method() == Method::POST;
        tracing::debug!(target: "forebay::demo", "asked: {} {uri}", request.method());
        match (uri.path(), uri.query()) {
            ("/fragile/break", mode) if posts => self.break_it(mode),
            ("/fragile/mend", _) if posts => self.set_health(Health::Well),
            ("/fragile/break" | "/fragile/mend", _) => self.not_with_this_method("POST"),
            (path, query) => match PATHS.into_iter().find(|known| *known == path) {
                None => self.not_here(path),
                Some(_) if !reads => self.not_with_this_method("GET, HEAD"),
                Some(path) => self.page(path, query, headers).await,
            },
        }
    }

    async fn page(
        &self,
        path: &'static str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, NoAnswer> {
        let made = self.made(path);
        let answer = match path {
            "/style.css" => full(
                lasting("max-age=300").header(CONTENT_TYPE, "text/css; charset=utf-8"),
                Bytes::from_static(pages::STYLE.as_bytes()),
            )?,
            "/max-age" => html(lasting("max-age=30"), pages::listed(path, made))?,
            "/expires-never" => html(ok().header(EXPIRES, "Never"), pages::listed(path, made))?,
            "/swr" => html(lasting("max-age=5, stale-while-revalidate=30"), pages::listed(path, made))?,
            "/etag" => self.edition(headers, made)?,
            "/vary" => {
                let greeting = pages::greeting(text(headers, ACCEPT_LANGUAGE));
                let head = lasting("max-age=60")
                    .header(VARY, "Accept-Language")
                    .header(CONTENT_LANGUAGE, greeting.0);
                html(head, pages::vary(greeting, made))?
            }
            "/image.svg" => full(
                lasting("max-age=3600").header(CONTENT_TYPE, "image/svg+xml"),
                pages::image(made).into(),
            )?,
            "/download" => self.download(query, made)?,
            "/slow" => self.slow(made).await?,
            "/fragile" => self.fragile(made).await?,
            "/control" => {
                let asked = self.counts.lock().pages.get("/fragile").copied().unwrap_or(0);
                html(lasting("no-store"), pages::control(*self.health.lock(), asked, made))?
            }
            _ => {
                let reached = Reached { host: host(headers), admin: self.admin.get().map(String::as_str) };
                html(lasting("max-age=60"), pages::index(made, reached))?
            }
        };
        Ok(answer)
    }

    /// Counts a request for `page`.
    fn made(&self, page: &'static str) -> Made {
        let mut counts = self.counts.lock();
        counts.all += 1;
        let of_all = counts.all;
        let of_page = counts.pages.entry(page).or_default();
        *of_page += 1;
        Made { at: self.clock.now(), of_page: *of_page, of_all }
    }

    /// The page that changes once a minute, or the word that it has not.
    fn edition(&self, headers: &HeaderMap, made: Made) -> Result<Response<Body>, NoAnswer> {
        let minute = made.at.secs() / 60;
        let etag = format!("\"minute-{minute}\"");
        let head = lasting("max-age=5").header(ETAG, &etag);
        if text(headers, IF_NONE_MATCH).split(',').any(|known| known.trim() == etag) {
            return full(head.status(StatusCode::NOT_MODIFIED), Bytes::new());
        }
        let mut edition = self.edition.lock();
        let text = match &*edition {
            Some((of, text)) if *of == minute => text.clone(),
            _ => {
                let text = Bytes::from(pages::listed("/etag", made));
                *edition = Some((minute, text.clone()));
                text
            }
        };
        html(head, text)
    }

    fn download(&self, query: Option<&str>, made: Made) -> Result<Response<Body>, NoAnswer> {
        let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("mib="));
        let mib = match asked.map(str::parse::<u64>) {
            None => DOWNLOAD_MIB,
            Some(Ok(mib @ 1..=DOWNLOAD_MOST_MIB)) => mib,
            Some(_) => {
                let words = format!("Write ?mib=N with a number from 1 to {DOWNLOAD_MOST_MIB}.");
                let page = pages::note("No such size", &words, made);
                return html(lasting("no-store").status(StatusCode::BAD_REQUEST), page);
            }
        };
        let head = lasting("max-age=60")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, mib * PIECES_PER_MIB * PIECE as u64)
            .header(ETAG, format!("\"download-{mib}\""))
            .header("x-made", crate::rfc::date::format(made.at))
            .header("x-origin-requests", made.of_all);
        let piece = self.piece.clone();
        let pieces = stream::iter((0..mib * PIECES_PER_MIB).map(move |number| numbered(&piece, number)));
        streamed(head, pieces)
    }

    async fn slow(&self, made: Made) -> Result<Response<Body>, NoAnswer> {
        tokio::time::sleep(self.pace.think).await;
        let drip = self.pace.drip;
        let lines = stream::unfold(0, move |line| async move {
            if line == 0 {
                return Some((Bytes::from(pages::slow_head(made)), 1));
            }
            if line > SLOW_LINES {
                return None;
            }
            tokio::time::sleep(drip).await;
            Some((Bytes::from(format!("line {line} of {SLOW_LINES}\n")), line + 1))
        });
        streamed(lasting("max-age=30").header(CONTENT_TYPE, "text/plain; charset=utf-8"), lines)
    }

    async fn fragile(&self, made: Made) -> Result<Response<Body>, NoAnswer> {
        let health = *self.health.lock();
        match health {
            Health::Well => html(lasting("max-age=5"), pages::listed("/fragile", made)),
            Health::Says503 => html(
                ok().status(StatusCode::SERVICE_UNAVAILABLE),
                pages::note("503 Service Unavailable", "The origin of this page is broken on purpose.", made),
            ),
            Health::Hangs => {
                tokio::time::sleep(self.pace.hang).await;
                Err(NoAnswer::OnPurpose)
            }
            Health::Closes => Err(NoAnswer::OnPurpose),
        }
    }

    fn break_it(&self, query: Option<&str>) -> Result<Response<Body>, NoAnswer> {
        let mode = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("mode="));
        match mode.and_then(Health::broken_by) {
            Some(health) => self.set_health(health),
            None => {
                let words = "Write ?mode=503, ?mode=hang or ?mode=close.";
                let page = pages::note("No such way to break", words, self.made("other"));
                html(lasting("no-store").status(StatusCode::BAD_REQUEST), page)
            }
        }
    }

    /// Goes back to the control page, and not to the fragile one: a cache forgets
    /// what the answer to a POST names in `Location`, and the copy is to survive.
    fn set_health(&self, health: Health) -> Result<Response<Body>, NoAnswer> {
        *self.health.lock() = health;
        self.made("other");
        let head = lasting("no-store").status(StatusCode::SEE_OTHER).header(LOCATION, "/control");
        full(head, Bytes::new())
    }

    fn not_with_this_method(&self, allowed: &str) -> Result<Response<Body>, NoAnswer> {
        let page = pages::note("Not with this method", &format!("Allowed: {allowed}."), self.made("other"));
        html(lasting("no-store").status(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, allowed), page)
    }

    fn not_here(&self, path: &str) -> Result<Response<Body>, NoAnswer> {
        let page = pages::note("Not here", &format!("There is no page at {path}."), self.made("other"));
        html(lasting("no-store").status(StatusCode::NOT_FOUND), page)
    }
}

/// What can be read.
const PATHS: [&str; 12] = [
    "/",
    "/style.css",
    "/max-age",
    "/etag",
    "/expires-never",
    "/vary",
    "/swr",
    "/image.svg",
    "/download",
    "/slow",
    "/fragile",
    "/control",
];

fn ok() -> Builder {
    Response::builder()
}

fn lasting(cache_control: &str) -> Builder {
    ok().header(CACHE_CONTROL, cache_control)
}

fn html(head: Builder, text: impl Into<Bytes>) -> Result<Response<Body>, NoAnswer> {
    full(head.header(CONTENT_TYPE, "text/html; charset=utf-8"), text.into())
}

fn full(head: Builder, body: Bytes) -> Result<Response<Body>, NoAnswer> {
    Ok(head.body(Full::new(body).boxed())?)
}

fn streamed(
    head: Builder,
    pieces: impl Stream<Item = Bytes> + Send + Sync + 'static,
) -> Result<Response<Body>, NoAnswer> {
    use futures_util::StreamExt;
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    Ok(head.body(BodyExt::boxed(StreamBody::new(frames)))?)
}

/// The bytes of every piece, always the same.
fn piece() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(PIECE);
    while bytes.len() < PIECE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// A piece that begins with its number, so that no two are the same.
fn numbered(piece: &[u8], number: u64) -> Bytes {
    let mut bytes = format!("{number:015x}\n").into_bytes();
    bytes.extend_from_slice(piece.get(bytes.len()..).unwrap_or_default());
    Bytes::from(bytes)
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What the client calls this server.
fn host(headers: &HeaderMap) -> &str {
    match text(headers, HOST) {
        "" => "127.0.0.1:8080",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Pace = Pace { think: Duration::ZERO, drip: Duration::ZERO, hang: Duration::ZERO };

    fn origin() -> Arc<Origin> {
        Origin::new(Clock::System, AT_ONCE)
    }

    async fn ask(origin: &Origin, method: &str, target: &str, fields: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        origin.answer(&request.body(()).unwrap()).await.unwrap()
    }

    fn says<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    async fn body(response: Response<Body>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn every_page_says_of_caching_what_the_index_says_of_it() {
        let origin = origin();
        for (page, name, value) in [
            ("/", "cache-control", "max-age=60"),
            ("/max-age", "cache-control", "max-age=30"),
            ("/etag", "cache-control", "max-age=5"),
            ("/expires-never", "expires", "Never"),
            ("/expires-never", "cache-control", ""),
            ("/vary", "vary", "Accept-Language"),
            ("/swr", "cache-control", "max-age=5, stale-while-revalidate=30"),
            ("/image.svg", "cache-control", "max-age=3600"),
            ("/image.svg", "content-type", "image/svg+xml"),
            ("/download", "cache-control", "max-age=60"),
            ("/slow", "cache-control", "max-age=30"),
            ("/fragile", "cache-control", "max-age=5"),
            ("/control", "cache-control", "no-store"),
            ("/style.css", "content-type", "text/css; charset=utf-8"),
        ] {
            let response = ask(&origin, "GET", page, &[]).await;
            assert_eq!((response.status().as_u16(), says(&response, name)), (200, value), "{page}");
        }
        assert!(pages::LISTED.iter().all(|page| PATHS.contains(&page.path)));
    }

    #[tokio::test]
    async fn the_edition_is_validated_by_its_tag() {
        // The clock stands still, so that no minute passes.
        let clock = Clock::manual(crate::clock::Wall::from_secs(784_111_777));
        let origin = Origin::new(clock.clone(), AT_ONCE);
        let first = ask(&origin, "GET", "/etag", &[]).await;
        let etag = says(&first, "etag").to_owned();
        let again = ask(&origin, "GET", "/etag", &[("if-none-match", &etag)]).await;
        assert_eq!((again.status().as_u16(), says(&again, "etag")), (304, etag.as_str()));
        assert!(body(again).await.is_empty());
        let whole = ask(&origin, "GET", "/etag", &[("if-none-match", "\"other\"")]).await;
        assert_eq!(body(whole).await, body(first).await, "one tag, one page");
        clock.advance(Duration::from_secs(60));
        let next = ask(&origin, "GET", "/etag", &[("if-none-match", &etag)]).await;
        assert_eq!(next.status(), 200);
    }

    #[tokio::test]
    async fn the_greeting_follows_the_language() {
        let response = ask(&origin(), "GET", "/vary", &[("accept-language", "fr-CH")]).await;
        assert_eq!(says(&response, "content-language"), "fr");
        assert!(String::from_utf8_lossy(&body(response).await).contains("Bonjour"));
    }

    #[tokio::test]
    async fn a_download_has_the_size_that_was_asked_for_and_always_the_same_bytes() {
        let origin = origin();
        let first = ask(&origin, "GET", "/download?mib=1", &[]).await;
        assert_eq!(says(&first, "content-length"), "1048576");
        let first = body(first).await;
        assert_eq!(first.len(), 1_048_576);
        assert_eq!(first, body(ask(&origin, "GET", "/download?mib=1", &[]).await).await);
        assert_ne!(first.slice(..PIECE), first.slice(PIECE..2 * PIECE));
        assert_eq!(says(&ask(&origin, "GET", "/download", &[]).await, "content-length"), "67108864");
        for wrong in ["0", "4097", "-1", "x", ""] {
            let refused = ask(&origin, "GET", &format!("/download?mib={wrong}"), &[]).await;
            assert_eq!(refused.status(), 400, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn the_slow_page_drips_all_its_lines() {
        let text = body(ask(&origin(), "GET", "/slow", &[]).await).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("line 1 of 6") && text.ends_with("line 6 of 6\n"), "{text}");
    }

    #[tokio::test]
    async fn the_fragile_page_breaks_and_is_mended() {
        let origin = origin();
        let get = || Request::get("/fragile").body(()).unwrap();
        for (mode, status) in [("503", Some(503)), ("hang", None), ("close", None)] {
            let sent = ask(&origin, "POST", &format!("/fragile/break?mode={mode}"), &[]).await;
            assert_eq!((sent.status().as_u16(), says(&sent, "location")), (303, "/control"), "{mode}");
            let answer = origin.answer(&get()).await.ok().map(|response| response.status().as_u16());
            assert_eq!(answer, status, "{mode}");
        }
        let sent = ask(&origin, "POST", "/fragile/mend", &[]).await;
        assert_eq!((sent.status().as_u16(), says(&sent, "location")), (303, "/control"));
        assert_eq!(ask(&origin, "GET", "/fragile", &[]).await.status(), 200);
        let control = body(ask(&origin, "GET", "/control", &[]).await).await;
        assert!(String::from_utf8_lossy(&control).contains("<dd>4 times</dd>"));
    }

    #[tokio::test]
    async fn what_is_not_meant_is_refused_and_not_stored() {
        let origin = origin();
        for (method, target, status, allow) in [
            ("GET", "/nothing", 404, ""),
            ("POST", "/max-age", 405, "GET, HEAD"),
            ("GET", "/fragile/break?mode=503", 405, "POST"),
            ("POST", "/fragile/break", 400, ""),
            ("POST", "/fragile/break?mode=fire", 400, ""),
        ] {
            let response = ask(&origin, method, target, &[]).await;
            assert_eq!((response.status().as_u16(), says(&response, "allow")), (status, allow), "{target}");
            assert_eq!(says(&response, "cache-control"), "no-store", "{target}");
        }
    }
}
