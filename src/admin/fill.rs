//! The door for fills that do not come through the broker: large ones from workers, and
//! those that an origin pushes by itself.
//!
//! Three forms are understood:
//!
//! - a worker's: the head in `Forebay-Fill`, a token for it in `Forebay-Fill-Token`;
//! - a whole response as content of the type `application/http`;
//! - the content alone, with the response's status in `Forebay-Fill-Status` and its
//!   fields in `Forebay-Fill-NAME`.
//!
//! An origin shows the token of the miss event that it answers, which says what is
//! wanted; or it has a bearer token with the scope `fill`, and names the URL.
//!
//! What always holds: no content is read before its right is known; it is taken piece
//! by piece, and no more of it than may be kept.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;

use super::router::{ok, refuse, respond};
use crate::policy::Sites;
use crate::repopulate::event::Wanted;
use crate::repopulate::fill::{self, Fill, FillHead};
use crate::repopulate::keep::{Judged, Keeper, Refused};
use crate::rfc::fields::Fields;
use crate::rfc::host::parse_authority;
use crate::rfc::uri;

/// The path of this door.
pub(super) const PATH: &str = "/v1/fill";
/// The field with a fill's token.
pub(super) const TOKEN: &str = "forebay-fill-token";

/// The most bytes of a head within content of the type `application/http`.
const MOST_HEAD: usize = 256 * 1024;
/// The most lines of such a head.
const MOST_LINES: usize = 256;
/// How long the content may pause.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a fill is not taken.
enum No {
    /// It is not understood, with what to do about it.
    Unclear(String, &'static str),
    /// It is refused.
    Refused(Refused),
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        No::Refused(refused)
    }
}

/// Takes a fill. `may_fill` says whether the caller may fill this host without a token
/// of its own.
pub(super) async fn put(
    head: &Parts,
    body: Incoming,
    keeper: &Keeper,
    sites: &Sites,
    may_fill: impl Fn(&str) -> bool,
) -> Response<Full<Bytes>> {
    match take(head, body, keeper, sites, may_fill).await {
        Ok(()) => ok(&json!({ "filled": true })),
        Err(No::Unclear(error, cure)) => refuse(StatusCode::BAD_REQUEST, &error, cure),
        Err(No::Refused(refused)) => {
            let (status, cure) = match &refused {
                Refused::Token(_) => (
                    StatusCode::FORBIDDEN,
                    "Send the token of the miss event, or a bearer token with the scope `fill`.",
                ),
                Refused::Malformed(_) => (StatusCode::BAD_REQUEST, "The documentation has an example."),
                Refused::Route => (
                    StatusCode::NOT_FOUND,
                    "Write the URL as clients ask for it, of a route with mode = \"hidden\".",
                ),
                Refused::Status(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Send it when there is a response."),
                Refused::NotStorable(_) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "Let the response be storable: give it a lifetime.")
                }
                Refused::Fenced => (StatusCode::CONFLICT, "Make it anew: it was purged meanwhile."),
                Refused::Older => (StatusCode::CONFLICT, "Nothing is to be done."),
                Refused::Broken => (StatusCode::BAD_REQUEST, "Send all of it."),
                Refused::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Come again in a moment."),
            };
            respond(status, &json!({ "filled": false, "error": refused.to_string(), "cure": cure }))
        }
    }
}

async fn take(
    head: &Parts,
    mut body: Incoming,
    keeper: &Keeper,
    sites: &Sites,
    may_fill: impl Fn(&str) -> bool,
) -> Result<(), No> {
    let text = |name: &str| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let token = text(TOKEN);
    if let Some(said) = text(fill::HEADER) {
        let token = token.unwrap_or_default();
        let read = fill::read_announced(keeper.secrets(), &said, &token, keeper.now());
        let judged = keeper.judge(&read.map_err(|bad| keeper.count_bad(bad))?).await?;
        return finish(keeper, judged, Bytes::new(), body, None).await;
    }
    let given = head.uri.query().map(|query| url_of(query, sites)).transpose()?.flatten();
    let (wanted, moment) = match token {
        Some(token) => {
            let claim = keeper.pushed_by(&token)?;
            if given.is_some_and(|given| given.target != claim.wanted.target) {
                let error = "`url` and the token are for different things".to_owned();
                return Err(No::Unclear(error, "Leave `url` away: the token says it."));
            }
            (claim.wanted, claim.moment)
        }
        None => {
            let cure = "Write PUT /v1/fill?url=URL, or send the token of the miss event.";
            let wanted =
                given.ok_or_else(|| No::Unclear("it is not said what is filled".to_owned(), cure))?;
            if !may_fill(&wanted.host) {
                return Err(No::Refused(keeper.no_right()));
            }
            (wanted, keeper.moment())
        }
    };
    let now = keeper.now();
    let kind = text("content-type").unwrap_or_default();
    let whole = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/http");
    let (status, fields, first) = if whole {
        read_head(&mut body).await?
    } else {
        let (status, fields) = told_apart(head)?;
        (status, fields, Bytes::new())
    };
    let length = fields.get_str("content-length").and_then(|length| length.parse().ok());
    let head = FillHead::new(wanted, status, &fields, now, now);
    let judged = keeper.judge(&Fill { head, moment }).await?;
    finish(keeper, judged, first, body, length.filter(|_| whole)).await
}

/// Reads the content to its end, and keeps the response.
async fn finish(
    keeper: &Keeper,
    judged: Judged,
    first: Bytes,
    mut body: Incoming,
    length: Option<u64>,
) -> Result<(), No> {
    let mut taking = keeper.take(judged);
    if !first.is_empty() {
        taking.push(first).await?;
    }
    loop {
        match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    taking.push(bytes).await?;
                }
            }
            Ok(Some(Err(_))) | Err(_) => return Err(taking.broken().into()),
        }
    }
    if length.is_some_and(|length| length != taking.len()) {
        return Err(taking.broken().into());
    }
    taking.keep().await?;
    Ok(())
}

/// What `url=URL`, and `vary=NAME:VALUE` as often as needed, name.
fn url_of(query: &str, sites: &Sites) -> Result<Option<Wanted>, No> {
    let (mut url, mut vary) = (None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value);
        match name {
            "url" => url = Some(value),
            "vary" => {
                let (name, value) = value
                    .split_once(':')
                    .ok_or_else(|| No::Unclear(format!("`{pair}` has no value"), "Write vary=NAME:VALUE."))?;
                vary.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => return Err(No::Unclear(format!("`{name}` is not understood"), "There are url and vary.")),
        }
    }
    let Some(url) = url else { return Ok(None) };
    let no =
        || No::Unclear(format!("`{url}` is no URL"), "Write it as clients ask for it: http://host/path.");
    let (scheme, rest) = url.split_once("://").ok_or_else(no)?;
    let scheme = scheme.to_ascii_lowercase();
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let authority = parse_authority(authority.as_bytes()).ok_or_else(no)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let path = path.split('#').next().unwrap_or_default();
    if !matches!(scheme.as_str(), "http" | "https") || sites.site(&authority.host).is_none() {
        return Err(No::Refused(Refused::Route));
    }
    vary.sort();
    Ok(Some(Wanted {
        port: authority.port.unwrap_or(if scheme == "https" { 443 } else { 80 }),
        scheme,
        host: authority.host,
        target: uri::canonical_path_and_query(path).into_owned(),
        vary,
    }))
}

/// Percent-encoding undone, as far as it is some.
fn decoded(text: &str) -> String {
    let digit = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text.as_bytes()[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Status and fields that stand in the request's own.
fn told_apart(head: &Parts) -> Result<(StatusCode, Fields), No> {
    const PREFIX: &str = "forebay-fill-";
    let cure = "Write the response's status in Forebay-Fill-Status, and its fields in Forebay-Fill-NAME.";
    let status = head.headers.get("forebay-fill-status");
    let status = status.map_or(Ok(StatusCode::OK), |status| StatusCode::from_bytes(status.as_bytes()));
    let status = status.map_err(|_| No::Unclear("`Forebay-Fill-Status` is no status".to_owned(), cure))?;
    let mut fields = Fields::new();
    for (name, value) in &head.headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        if !matches!(name, "status" | "token") {
            let pushed = fields.push(name, value.as_bytes());
            pushed.map_err(|bad| No::Unclear(format!("`Forebay-Fill-{name}`: {bad}"), cure))?;
        }
    }
    if let Some(kind) = head.headers.get("content-type").filter(|_| !fields.contains("content-type")) {
        let pushed = fields.push("content-type", kind.as_bytes());
        pushed.map_err(|bad| No::Unclear(format!("`Content-Type`: {bad}"), cure))?;
    }
    Ok((status, fields))
}

/// Reads the head of a response from the content, and what came with it of the body.
async fn read_head(body: &mut Incoming) -> Result<(StatusCode, Fields, Bytes), No> {
    let mut buffer = BytesMut::new();
    loop {
        if let Some(head) = parse_head(&buffer)? {
            let (status, fields, length) = head;
            let rest = buffer.split_off(length).freeze();
            return Ok((status, fields, rest));
        }
        let broken = || No::Unclear("the content ends within a head".to_owned(), "Send a whole response.");
        if buffer.len() > MOST_HEAD {
            return Err(No::Unclear(
                "the head of the response is too long".to_owned(),
                "Send a shorter one.",
            ));
        }
        match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    buffer.extend_from_slice(&bytes);
                }
            }
            Ok(None | Some(Err(_))) | Err(_) => return Err(broken()),
        }
    }
}

/// The head of a response, and its length; none as long as it is not whole.
fn parse_head(bytes: &[u8]) -> Result<Option<(StatusCode, Fields, usize)>, No> {
    let cure = "Send a response as HTTP/1.1 writes it: a status line, fields, an empty line, the content.";
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let mut response = httparse::Response::new(&mut lines);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) => length,
        Err(error) => return Err(No::Unclear(format!("the content is no response: {error}"), cure)),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| No::Unclear("the content has no status".to_owned(), cure))?;
    let mut fields = Fields::new();
    for line in response.headers.iter() {
        let pushed = fields.push(line.name, line.value);
        pushed.map_err(|bad| No::Unclear(format!("the field `{}`: {bad}", line.name), cure))?;
    }
    if fields.contains("transfer-encoding") {
        let cure = "Send the content as it is, with its length or to the end of the request.";
        return Err(No::Unclear("the content has a transfer coding".to_owned(), cure));
    }
    Ok(Some((status, fields, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_response_is_read_as_far_as_it_is_there() {
        let text = b"HTTP/1.1 404 Not Found\r\nCache-Control: max-age=5\r\n\r\nnothing";
        for cut in 0..50 {
            assert!(matches!(parse_head(&text[..cut]), Ok(None)), "{cut}");
        }
        let Ok(Some((status, fields, length))) = parse_head(text) else { panic!("it is whole") };
        assert_eq!((status.as_u16(), &text[length..]), (404, &b"nothing"[..]));
        assert_eq!(fields.get("cache-control"), Some(&b"max-age=5"[..]));
        for bad in [
            "hello\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        ] {
            assert!(parse_head(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_where_it_is_some() {
        for (text, plain) in [("a%2Fb", "a/b"), ("%", "%"), ("%zz", "%zz"), ("a%3", "a%3"), ("a+b", "a+b")] {
            assert_eq!(decoded(text), plain);
        }
    }
}
