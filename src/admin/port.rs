//! The operators' connections.
//!
//! What always holds: they are bounded in number, and each in time, whatever its
//! client does or leaves undone; no content is read from a caller who may not
//! call.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::auth::{Auth, Caller, Scope};
use super::fill;
use super::router::{self, Call, Gate};
use super::{Control, Settings};
use crate::clock::Clock;
use crate::observe::counters::Counters;
use crate::observe::trace::Seldom;

/// The most connections at once.
const MOST_CONNECTIONS: usize = 256;
/// The most bytes of a request's content.
const MOST_BODY: usize = 1024 * 1024;
/// The most bytes of a request's head: purge clients send long lists of tags.
const MOST_HEAD: usize = 256 * 1024;
/// How long a request's head or content may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection lasts. Then its answer is finished, for which there is
/// `PATIENCE`: a client that takes none of it holds no place for ever.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long a fill may take beyond that, whose origin may be slow and whose body large.
const LONGEST_FILL: Duration = Duration::from_secs(3600);

/// Serves operators for as long as it is polled: while a node drains as well, so
/// that it can be watched.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    auth: Arc<Auth>,
    control: Arc<dyn Control>,
    counters: Arc<Counters>,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let failures = Seldom::default();
    let settings = Arc::new(settings);
    let own_port = listener.local_addr().map_or(settings.address.port(), |address| address.port());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer.ip()),
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
        let port = Port {
            auth: Arc::clone(&auth),
            control: Arc::clone(&control),
            counters: Arc::clone(&counters),
            settings: Arc::clone(&settings),
            peer,
            own_port,
            is_filling: AtomicBool::new(false),
        };
        tokio::spawn(async move {
            let port = Arc::new(port);
            let service = service_fn(|request| {
                let port = Arc::clone(&port);
                async move { Ok::<_, Infallible>(port.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(MOST_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = tokio::time::sleep(LIFETIME) => {
                    connection.as_mut().graceful_shutdown();
                    let latest = Instant::now() + LONGEST_FILL;
                    loop {
                        match tokio::time::timeout(PATIENCE, connection.as_mut()).await {
                            Ok(ended) => break Some(ended),
                            Err(_) if port.is_filling.load(Ordering::Relaxed) && Instant::now() < latest => {}
                            Err(_) => break None,
                        }
                    }
                }
            };
            match ended {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(target: "forebay::admin", "connection ended: {error}"),
                None => {
                    tracing::debug!(target: "forebay::admin", "connection closed: its client took nothing")
                }
            }
            drop(place);
        });
    }
}

/// The port, as one connection sees it.
struct Port {
    auth: Arc<Auth>,
    control: Arc<dyn Control>,
    counters: Arc<Counters>,
    settings: Arc<Settings>,
    peer: IpAddr,
    own_port: u16,
    /// Whether a fill is being taken, by somebody who may.
    is_filling: AtomicBool,
}

/// That a fill is being taken.
struct Filling<'a>(&'a AtomicBool);

impl<'a> Filling<'a> {
    fn of(port: &'a Port) -> Self {
        port.is_filling.store(true, Ordering::Relaxed);
        Filling(&port.is_filling)
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Port {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.counters.admin_requests.up();
        let response = if request.method() == Method::PUT && request.uri().path() == fill::PATH {
            self.fill(request).await
        } else {
            self.do_call(request).await
        };
        if response.status().is_client_error() {
            self.counters.admin_refused.up();
        }
        response
    }

    /// A fill, whose content is taken piece by piece.
    async fn fill(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Some(keeper) = self.control.keeper() else {
            let cure = "Set mode = \"hidden\" for a route.";
            return router::refuse(StatusCode::NOT_FOUND, "no route of this node is hidden", cure);
        };
        let sites = self.control.sites();
        // What shows a fill's own token needs no other one.
        if head.headers.contains_key(fill::TOKEN) {
            let _filling = Filling::of(self);
            return fill::put(&head, body, &keeper, &sites, |_| false).await;
        }
        let caller = match router::admit(&head, &self.gate()) {
            Ok(caller) => caller,
            Err(refusal) => return *refusal,
        };
        if let Err(denied) = caller.may(Scope::Fill) {
            return router::refuse_denied(&denied);
        }
        let _filling = Filling::of(self);
        let may = |host: &str| sites.site(host).is_some_and(|site| caller.may_on(&site.name));
        fill::put(&head, body, &keeper, &sites, may).await
    }

    /// Every other call.
    async fn do_call(self: &Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.admitted(request).await {
            Ok((head, body, caller)) => {
                // A purge or a reload may take a moment; other connections must not wait for it.
                let port = Arc::clone(self);
                let call = move || {
                    let call = Call { head: &head, body: &body, own_port: port.own_port, caller: &caller };
                    router::route(&call, &*port.control)
                };
                tokio::task::spawn_blocking(call).await.unwrap_or_else(|_| {
                    router::refuse(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "the call failed",
                        "Look into the log, and report it.",
                    )
                })
            }
            Err(refusal) => *refusal,
        }
    }

    fn gate(&self) -> Gate<'_> {
        Gate {
            auth: &self.auth,
            peer: self.peer,
            secret_header: self.settings.secret_header.as_deref(),
            own_port: self.own_port,
        }
    }

    /// The whole request of a caller who may call, or the refusal.
    async fn admitted(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Parts, Bytes, Caller), Box<Response<Full<Bytes>>>> {
        let (head, body) = request.into_parts();
        let caller = router::admit(&head, &self.gate())?;
        let refuse = |status, error, cure| Err(Box::new(router::refuse(status, error, cure)));
        let too_large =
            || refuse(StatusCode::PAYLOAD_TOO_LARGE, "the content is too large", "Send at most 1 MiB.");
        if body.size_hint().lower() > MOST_BODY as u64 {
            return too_large();
        }
        match tokio::time::timeout(PATIENCE, Limited::new(body, MOST_BODY).collect()).await {
            Ok(Ok(body)) => Ok((head, body.to_bytes(), caller)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(),
            Ok(Err(_)) => refuse(StatusCode::BAD_REQUEST, "the content broke off", "Send all of it."),
            Err(_) => {
                refuse(StatusCode::REQUEST_TIMEOUT, "the content did not arrive in time", "Send it at once.")
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::apart::Handles;
    use crate::cluster::{Reached, View};
    use crate::fetch::{Common, Flights};
    use crate::invalidate::{Accepted, Entry, Invalidator, Wanted};
    use crate::policy::site::{HostPattern, Mode, PathPattern, Route, Site};
    use crate::policy::{Rules, Sites};
    use crate::repopulate::token::Claim;
    use crate::repopulate::{self, Keeper, Secrets, Wants};
    use crate::store::{self, Refused, Store};
    use crate::stored::filling::Budget;
    use crate::stored::pattern::Pattern;

    /// A node on which nothing is stored.
    pub(in crate::admin) struct Empty;

    impl Control for Empty {
        fn sites(&self) -> Sites {
            Sites::default()
        }
        fn purge(&self, _: &Wanted, _: &str) -> Result<Accepted, Refused> {
            Ok(Accepted::default())
        }
        fn purges(&self, _: Option<u64>, _: usize) -> Vec<Entry> {
            vec![]
        }
        fn purge_of(&self, _: u64) -> Option<(Entry, Reached)> {
            None
        }
        fn cluster(&self) -> Option<View> {
            None
        }
        fn bans(&self) -> Vec<Arc<Pattern>> {
            vec![]
        }
        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
        fn config_json(&self) -> serde_json::Value {
            serde_json::Value::Null
        }
        fn stats_json(&self) -> serde_json::Value {
            serde_json::Value::Null
        }
        fn metrics(&self) -> String {
            String::new()
        }
        fn reload(&self) -> Result<Vec<String>, Vec<String>> {
            Ok(vec![])
        }
    }

    async fn start(token: Option<&str>) -> (SocketAddr, Arc<Counters>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let counters = Arc::new(Counters::default());
        let settings = Settings { token: token.map(str::to_owned), ..Settings::default() };
        let auth = Auth::new(&settings, Clock::System, Arc::clone(&counters)).expect("good settings");
        tokio::spawn(serve(listener, settings, Arc::new(auth), Arc::new(Empty), Arc::clone(&counters)));
        (address, counters)
    }

    /// What comes back until `enough` has come or the connection ends.
    async fn reply(stream: &mut TcpStream, enough: &str) -> String {
        let (mut text, mut piece) = (String::new(), [0; 1024]);
        while !text.contains(enough) {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(n) => text.push_str(&String::from_utf8_lossy(&piece[..n])),
            }
        }
        text
    }

    #[tokio::test]
    async fn a_caller_without_the_token_is_not_listened_to() {
        let (address, _) = start(Some("sesame")).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = "POST /v1/purge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Not a byte of the content was sent, and the answer is there.
        let told = reply(&mut stream, "cure").await;
        assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    }

    #[tokio::test]
    async fn content_is_bounded() {
        let (address, counters) = start(None).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = "POST /v1/purge HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Told by its length alone; nobody has to send a mebibyte to hear that.
        let told = reply(&mut stream, "cure").await;
        assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
        assert_eq!(counters.admin_refused.get(), 1);
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_counted() {
        let (address, counters) = start(None).await;
        let mut open = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
            assert!(reply(&mut stream, "true").await.starts_with("HTTP/1.1 200 "));
            open.push(stream);
        }
        let mut stream = TcpStream::connect(address).await.expect("connected");
        assert_eq!(reply(&mut stream, "HTTP").await, "");
        assert_eq!(counters.admin_refused.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_does_not_last() {
        let (address, _) = start(None).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        assert_eq!(reply(&mut stream, "HTTP/1.1 200").await, "");
    }

    /// A node whose every route is hidden.
    struct Hiding {
        keeper: Keeper,
        sites: Sites,
    }

    impl Control for Hiding {
        fn sites(&self) -> Sites {
            self.sites.clone()
        }
        fn keeper(&self) -> Option<Keeper> {
            Some(self.keeper.clone())
        }
        fn purge(&self, _: &Wanted, _: &str) -> Result<Accepted, Refused> {
            Ok(Accepted::default())
        }
        fn purges(&self, _: Option<u64>, _: usize) -> Vec<Entry> {
            vec![]
        }
        fn purge_of(&self, _: u64) -> Option<(Entry, Reached)> {
            None
        }
        fn cluster(&self) -> Option<View> {
            None
        }
        fn bans(&self) -> Vec<Arc<Pattern>> {
            vec![]
        }
        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
        fn config_json(&self) -> serde_json::Value {
            serde_json::Value::Null
        }
        fn stats_json(&self) -> serde_json::Value {
            serde_json::Value::Null
        }
        fn metrics(&self) -> String {
            String::new()
        }
        fn reload(&self) -> Result<Vec<String>, Vec<String>> {
            Ok(vec![])
        }
    }

    /// A node that hides, and the right to fill `/x` there.
    fn hiding() -> (Hiding, String) {
        let counters = Arc::new(Counters::default());
        let store = Arc::new(Store::new(store::Settings::default(), Arc::clone(&counters)));
        let common = Common {
            store: Arc::clone(&store),
            flights: Flights::new(Arc::clone(&counters)),
            budget: Budget::default(),
            origins: Arc::new(crate::origin::Origins::by_system(Arc::clone(&counters)).expect("a resolver")),
            clock: Clock::System,
            counters: Arc::clone(&counters),
            id: "n".into(),
        };
        let rules = Handles::new(Arc::new(Rules { mode: Mode::Hidden, ..Rules::default() }));
        let (name, path) = ("all".to_owned(), PathPattern::Prefix("/".to_owned()));
        let routes = vec![Route { name: name.clone(), path, rules }];
        let sites = Sites::new(vec![Site { name, hosts: vec![HostPattern::Any], routes }]);
        let settings = repopulate::Settings::default();
        let wants = Arc::new(Wants::new(&settings, None, Arc::clone(&counters), std::time::Instant::now()));
        let secrets = Secrets::random().expect("random bytes");
        let invalidator = Arc::new(Invalidator::new(store, None, None, Clock::System, counters));
        let keeper = Keeper::new(&common, 1 << 20, sites.clone(), wants, secrets.clone(), invalidator);
        let (scheme, host, target) = ("http".to_owned(), "a".to_owned(), "/x".to_owned());
        let wanted = repopulate::Wanted { scheme, host, port: 80, target, vary: vec![] };
        let moment = keeper.moment();
        let token = secrets.sign(&Claim { wanted, moment, expires_ms: u64::MAX, response: None });
        (Hiding { keeper, sites }, token)
    }

    #[tokio::test(start_paused = true)]
    async fn a_fill_may_take_longer_than_other_calls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let counters = Arc::new(Counters::default());
        let auth =
            Auth::new(&Settings::default(), Clock::System, Arc::clone(&counters)).expect("good settings");
        let (hiding, token) = hiding();
        tokio::spawn(serve(listener, Settings::default(), Arc::new(auth), Arc::new(hiding), counters));
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!(
            "PUT /v1/fill HTTP/1.1\r\nHost: a\r\nForebay-Fill-Token: {token}\r\nForebay-Fill-Cache-Control: max-age=60\r\nContent-Length: 100\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // It pauses, and never for too long.
        for _ in 0..100 {
            tokio::time::sleep(PATIENCE / 2).await;
            stream.write_all(b"x").await.expect("sent");
        }
        let told = reply(&mut stream, "true").await;
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    }
}
