//! Sending a large fill to an edge, over HTTP and piece by piece.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::fill::{FILL, HEADER};
use crate::message::Body;
use crate::message::wire::ToWire;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long it may take in all; the origin's own deadlines are shorter.
const TOTAL: Duration = Duration::from_secs(3600);
/// The most of an answer that is read.
const MOST_ANSWER: usize = 64 * 1024;

/// Why an edge was not filled.
#[derive(Debug)]
pub enum Trouble {
    /// It has judged the fill, and refused it.
    Refused(String),
    /// It could not be reached, or the body broke off.
    Failed(String),
}

/// Sends a fill whose head was [announced](super::fill::announced) to the edge at
/// `place`, host and port of its admin port.
pub async fn push(place: &str, said: &str, token: &str, body: Body) -> Result<(), Trouble> {
    let failed = |why: String| Trouble::Failed(format!("{place}: {why}"));
    let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(place)).await {
        Ok(stream) => stream.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("not connected within {CONNECT:?}"))),
    };
    let handshake = http1::handshake::<_, ToWire>(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    let driven = tokio::spawn(async move {
        // What goes wrong on the connection is told by the request as well.
        let _ = connection.await;
    });
    let request = Request::builder()
        .method("PUT")
        .uri("/v1/fill")
        .header(http::header::HOST, place)
        .header(http::header::CONTENT_TYPE, FILL)
        .header(HEADER, said.as_bytes())
        .header("forebay-fill-token", token)
        .body(ToWire::new(body, None))
        .map_err(|error| failed(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        Ok::<_, String>((status, text.unwrap_or_default()))
    };
    let answer = tokio::time::timeout(TOTAL, answer).await;
    driven.abort();
    match answer {
        Ok(Ok((status, _))) if status.is_success() => Ok(()),
        Ok(Ok((status, text))) if is_judgement(status) => Err(Trouble::Refused(text)),
        Ok(Ok((status, text))) => Err(failed(format!("it answered {status}: {text}"))),
        Ok(Err(why)) => Err(failed(why)),
        Err(_) => Err(failed(format!("no answer within {TOTAL:?}"))),
    }
}

/// Whether an edge will not change its mind.
fn is_judgement(status: StatusCode) -> bool {
    matches!(status, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_FOUND)
}
