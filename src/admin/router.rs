//! Which call does what.
//!
//! A browser can be made to send requests here by any page it shows. So: a
//! request that says it comes from a page elsewhere (`Origin`, `Sec-Fetch-Site`)
//! changes nothing; `PURGE` and JSON need a preflight, which is never granted;
//! and since a page may bind its own name to this address, reading needs a `Host`
//! that is an address or `localhost`.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Control;
use crate::invalidate::Refused;
use crate::rfc::host::parse_authority;

/// The most URLs of one purge.
const MOST_URLS: usize = 1000;

/// A call as it arrived.
pub(super) struct Call<'a> {
    /// Method, target and fields.
    pub head: &'a request::Parts,
    /// The content.
    pub body: &'a Bytes,
    /// The token that it must show, if one is set.
    pub token: Option<&'a str>,
    /// The port that it arrived on.
    pub own_port: u16,
}

/// The calls there are, for whoever asks at `/`.
const CALLS: [(&str, &str); 9] = [
    ("PURGE <path or URL>", "purge one URL; Host names the site; X-Purge-Soft: 1 only makes it stale"),
    ("POST /v1/purge", "purge: {\"url\": \"...\", \"soft\": false} or {\"urls\": [\"...\"]}"),
    ("POST /v1/reload", "read the configuration again"),
    ("GET /v1/config", "the configuration in force, without secrets"),
    ("GET /v1/stats", "all counters as JSON"),
    ("GET /metrics", "all counters for Prometheus"),
    ("GET /livez", "200 as long as the process runs"),
    ("GET /readyz", "200 when requests are welcome"),
    ("GET /", "this list"),
];

/// Does what the call asks for.
pub(super) fn route(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let path = call.head.uri.path();
    let method = &call.head.method;
    let reads = *method == Method::GET || *method == Method::HEAD;
    if path == "/livez" && reads {
        return ok(&json!({ "live": true }));
    }
    if let Some(refusal) = refuse_browsers(call, reads) {
        return refusal;
    }
    if !is_authorised(call) {
        let mut response = refuse(
            StatusCode::UNAUTHORIZED,
            "this port needs its token",
            "Send `Authorization: Bearer TOKEN` with the token of `admin.token`.",
        );
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    if method.as_str() == "PURGE" {
        return purge_method(call, control);
    }
    match (path, reads) {
        ("/readyz", true) => match control.ready() {
            Ok(()) => ok(&json!({ "ready": true })),
            Err(why) => respond(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "why": why })),
        },
        ("/metrics", true) => {
            let mut response = Response::new(Full::from(control.metrics()));
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        ("/v1/config", true) => ok(&control.config_json()),
        ("/v1/stats", true) => ok(&control.stats_json()),
        ("/", true) => {
            let calls: Vec<Value> =
                CALLS.iter().map(|(call, what)| json!({ "call": call, "what": what })).collect();
            ok(&json!({ "forebay": env!("CARGO_PKG_VERSION"), "calls": calls }))
        }
        ("/v1/purge", _) if *method == Method::POST => purge_json(call, control),
        ("/v1/reload", _) if *method == Method::POST => match control.reload() {
            Ok(notes) => ok(&json!({ "reloaded": true, "notes": notes })),
            Err(faults) => respond(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({ "reloaded": false, "error": "the configuration has faults; the old one stays in force", "faults": faults }),
            ),
        },
        ("/v1/purge" | "/v1/reload", _) => not_allowed("POST"),
        ("/livez" | "/readyz" | "/metrics" | "/v1/config" | "/v1/stats" | "/", _) => not_allowed("GET, HEAD"),
        _ => refuse(StatusCode::NOT_FOUND, "there is no such call", "GET / lists the calls there are."),
    }
}

/// `PURGE /path` or `PURGE http://host/path`.
fn purge_method(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let uri = &call.head.uri;
    let host = call.head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // The port's own name says nothing about which site is meant.
    let site = host.filter(|host| !is_own_name(host, call.own_port));
    let soft = call.head.headers.get("x-purge-soft").is_some_and(|soft| soft != "0");
    let target = match uri.scheme() {
        Some(_) => uri.to_string(),
        None => uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
    };
    purge(control, &[target], site, soft)
}

/// What `POST /v1/purge` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeCall {
    url: Option<String>,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    soft: bool,
}

fn purge_json(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let cure = "Send {\"url\": \"http://host/path\"} or {\"urls\": [...]}, with \"soft\": true to make it stale only.";
    if !is_json(call) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content is not JSON",
            "Send `Content-Type: application/json`.",
        );
    }
    let asked: PurgeCall = match serde_json::from_slice(call.body) {
        Ok(asked) => asked,
        Err(error) => {
            return refuse(StatusCode::BAD_REQUEST, &format!("the content is not understood: {error}"), cure);
        }
    };
    let urls: Vec<String> = asked.url.into_iter().chain(asked.urls).collect();
    if urls.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "nothing is named that could be purged", cure);
    }
    if urls.len() > MOST_URLS {
        return refuse(StatusCode::BAD_REQUEST, "too many URLs at once", "Send at most 1000 with each call.");
    }
    purge(control, &urls, None, asked.soft)
}

fn purge(control: &dyn Control, urls: &[String], site: Option<&str>, soft: bool) -> Response<Full<Bytes>> {
    let all = match control.purge(urls, site, soft) {
        Ok(all) => all,
        Err(refused) => return refuse_purge(&refused),
    };
    let total: usize = all.iter().map(|purged| purged.responses).sum();
    let sequence = all.last().map_or(0, |purged| purged.sequence);
    let each: Vec<Value> = urls
        .iter()
        .zip(&all)
        .map(|(url, purged)| json!({ "url": url, "purged": purged.responses }))
        .collect();
    ok(&json!({ "purged": total, "soft": soft, "sequence": sequence, "durable": false, "urls": each }))
}

fn refuse_purge(refused: &Refused) -> Response<Full<Bytes>> {
    let cure = match refused {
        Refused::NotAUrl(_) => "Give an absolute URL, such as http://www.example.org/path.",
        Refused::NotAHost(_) => {
            "Give the host as the clients do, such as www.example.org or www.example.org:8080."
        }
        Refused::WhichSite(_) => {
            "Add the site: `Host: www.example.org`, or the whole URL http://www.example.org/path."
        }
        Refused::NoSuchSite(_) => "Name a host that one of the sites answers for; GET /v1/config shows them.",
    };
    refuse(StatusCode::BAD_REQUEST, &refused.to_string(), cure)
}

/// The refusal of what a page in a browser may have sent.
fn refuse_browsers(call: &Call<'_>, reads: bool) -> Option<Response<Full<Bytes>>> {
    let headers = &call.head.headers;
    let elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site != "none" && site != "same-origin");
    if elsewhere || (!reads && headers.contains_key(header::ORIGIN)) {
        let cure = "Use a command line: this port takes nothing from pages in browsers.";
        return Some(refuse(StatusCode::FORBIDDEN, "the request comes from a page", cure));
    }
    let host = headers.get(header::HOST).and_then(|host| parse_authority(host.as_bytes()))?;
    let is_address = host.host.starts_with('[') || host.host.parse::<std::net::Ipv4Addr>().is_ok();
    let known = is_address || host.host == "localhost" || call.token.is_some();
    if call.head.method.as_str() == "PURGE" || known {
        return None;
    }
    let cure = "Ask for the port by its address or as localhost, or set admin.token.";
    Some(refuse(StatusCode::FORBIDDEN, &format!("`{}` is no name of this port", host.host), cure))
}

fn is_authorised(call: &Call<'_>) -> bool {
    let Some(token) = call.token else { return true };
    let shown = call.head.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let shown = match shown.split_at_checked(7) {
        Some((scheme, shown)) if scheme.eq_ignore_ascii_case(b"bearer ") => shown.trim_ascii(),
        _ => return false,
    };
    same_in_constant_time(shown, token.as_bytes())
}

/// Compares without telling by its time how much was right.
fn same_in_constant_time(shown: &[u8], token: &[u8]) -> bool {
    let differing = shown.iter().zip(token.iter()).fold(0, |differing, (a, b)| differing | (a ^ b));
    std::hint::black_box(differing) == 0 && shown.len() == token.len()
}

fn is_own_name(host: &str, own_port: u16) -> bool {
    parse_authority(host.as_bytes()).is_some_and(|authority| {
        let name = authority.host.trim_matches(['[', ']']);
        let local = name == "localhost"
            || name
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback() || address.is_unspecified());
        // Whatever was asked for on this very port is this port.
        authority.port == Some(own_port) && (local || name.parse::<std::net::IpAddr>().is_ok())
    })
}

fn is_json(call: &Call<'_>) -> bool {
    call.head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    })
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response =
        refuse(StatusCode::METHOD_NOT_ALLOWED, "not with this method", &format!("Use {allow}."));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// An answer that says what is wrong and how to mend it.
pub(super) fn refuse(status: StatusCode, error: &str, cure: &str) -> Response<Full<Bytes>> {
    respond(status, &json!({ "error": error, "cure": cure }))
}

fn ok(value: &Value) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, value)
}

fn respond(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut text = value.to_string();
    text.push('\n');
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
