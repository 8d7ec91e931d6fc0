//! The operators' connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::router::{self, Call};
use super::{Control, Settings};
use crate::observe::counters::Counters;

/// The most connections at once.
const MOST_CONNECTIONS: usize = 256;
/// The most bytes of a request's content.
const MOST_BODY: usize = 1024 * 1024;
/// The most bytes of a request's head: purge clients send long lists of tags.
const MOST_HEAD: usize = 256 * 1024;
/// How long a request's head or content may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves operators for as long as it is polled: while a node drains as well, so
/// that it can be watched.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    control: Arc<dyn Control>,
    counters: Arc<Counters>,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let settings = Arc::new(settings);
    let own_port = listener.local_addr().map_or(settings.address.port(), |address| address.port());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(target: "forebay::admin", "accepting failed: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            counters.admin_refused.up();
            continue;
        };
        let (control, counters, settings) =
            (Arc::clone(&control), Arc::clone(&counters), Arc::clone(&settings));
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (control, counters, settings) =
                    (Arc::clone(&control), Arc::clone(&counters), Arc::clone(&settings));
                async move { Ok::<_, Infallible>(answer(request, control, &counters, &settings, own_port).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(MOST_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(target: "forebay::admin", "connection ended: {error}");
            }
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    control: Arc<dyn Control>,
    counters: &Counters,
    settings: &Settings,
    own_port: u16,
) -> Response<Full<Bytes>> {
    counters.admin_requests.up();
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(PATIENCE, Limited::new(body, MOST_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            counters.admin_refused.up();
            return router::refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the content is too large or broke off",
                "Send at most 1 MiB.",
            );
        }
        Err(_) => {
            counters.admin_refused.up();
            return router::refuse(
                StatusCode::REQUEST_TIMEOUT,
                "the content did not arrive in time",
                "Send it at once.",
            );
        }
    };
    let token = settings.token.clone();
    // A purge or a reload may take a moment; other connections must not wait for it.
    let call = move || {
        router::route(&Call { head: &head, body: &body, token: token.as_deref(), own_port }, &*control)
    };
    let response = tokio::task::spawn_blocking(call).await.unwrap_or_else(|_| {
        router::refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the call failed",
            "Look into the log, and report it.",
        )
    });
    if response.status().is_client_error() {
        counters.admin_refused.up();
    }
    response
}
