//! Who may call, and which call does what.
//!
//! A browser can be made to send requests here by any page it shows, and a page
//! may bind its own name to this address, so that the browser takes this port for
//! the page's own (DNS rebinding). So:
//!
//! - What says that a page sent it (`Origin` on anything but reading,
//!   `Sec-Fetch-Site` other than `none` and `same-origin`) is refused.
//! - What changes something is no simple request: `PURGE`, `DELETE`, or JSON, for which
//!   browsers first ask for leave, which is never granted. This also stops those
//!   that send no `Origin`.
//! - A `Host` that is neither an address nor `localhost` is refused where no token
//!   is set: that is what a rebound name looks like. `PURGE` alone may name any
//!   host, its site, as long as it is not asked for on this very port.
//! - Where a token is set no page knows it, and the port may have any name.
//!
//! What it never does: read the content of a call before the caller is admitted.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::auth::{Auth, Caller, Denied, Shown};
use super::calls::{self, Does};
use super::{Control, asyncapi, explain, origins, purge, queue, warm};
use crate::invalidate::wire;
use crate::rfc::host::{Authority, parse_authority};
use crate::rfc::uri::text_of;

/// A call as it arrived.
pub(super) struct Call<'a> {
    /// Method, target and fields.
    pub head: &'a request::Parts,
    /// The content.
    pub body: &'a Bytes,
    /// The port that it arrived on.
    pub own_port: u16,
    /// Who calls.
    pub caller: &'a Caller,
}

impl Call<'_> {
    /// The text of the last segment of the path but one: what the call names.
    pub fn named(&self) -> String {
        text_of(self.head.uri.path().rsplit('/').nth(1).unwrap_or_default())
    }
}

/// Whom a port listens to.
pub(super) struct Gate<'a> {
    /// Who may call.
    pub auth: &'a Auth,
    /// Where the call comes from.
    pub peer: IpAddr,
    /// The field that may have a token, beside `Authorization`.
    pub secret_header: Option<&'a str>,
    /// The port that it arrived on.
    pub own_port: u16,
}

/// Whether the caller is admitted, or what it is told. Its content is not needed
/// for that.
pub(super) fn admit(head: &request::Parts, gate: &Gate<'_>) -> Result<Caller, Box<Response<Full<Bytes>>>> {
    let reads = is_reading(&head.method);
    if head.uri.path() == "/livez" && reads {
        return Ok(Caller::new("probe", &[]));
    }
    let headers = &head.headers;
    let elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site != "none" && site != "same-origin");
    if elsewhere || (!reads && headers.contains_key(header::ORIGIN)) {
        let cure = "Use a command line: this port takes nothing from pages in browsers.";
        return Err(Box::new(refuse(StatusCode::FORBIDDEN, "the request comes from a page", cure)));
    }
    let shown = Shown {
        authorization: headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes),
        secret: gate.secret_header.and_then(|name| headers.get(name)).map(HeaderValue::as_bytes),
    };
    let caller = gate.auth.caller(gate.peer, shown).map_err(|denied| Box::new(refuse_denied(&denied)))?;
    // No page knows a token; without one a page's own name must not reach this port.
    match refuse_rebound(head, gate.own_port).filter(|_| !caller.by_token) {
        Some(refusal) => Err(Box::new(refusal)),
        None => Ok(caller),
    }
}

/// What a caller is told who may not.
pub(super) fn refuse_denied(denied: &Denied) -> Response<Full<Bytes>> {
    let (status, cure) = match denied {
        Denied::NoCredentials => (
            StatusCode::UNAUTHORIZED,
            "Send `Authorization: Bearer TOKEN` with the token of `admin.token`, or one of `admin.tokens`.",
        ),
        Denied::BadCredentials => (StatusCode::UNAUTHORIZED, "`forebay token` makes one."),
        Denied::Scope { .. } => (StatusCode::FORBIDDEN, "Use another token, or add the scope to this one."),
        Denied::Site { .. } => {
            (StatusCode::FORBIDDEN, "Name something of these sites, or use another token.")
        }
        Denied::TooManyFailures { .. } => (StatusCode::TOO_MANY_REQUESTS, "Come again later."),
    };
    let mut response = refuse(status, &denied.to_string(), cure);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Denied::TooManyFailures { retry_after } = denied {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
    }
    response
}

/// The refusal of a name that a page may have bound to this address.
fn refuse_rebound(head: &request::Parts, own_port: u16) -> Option<Response<Full<Bytes>>> {
    // Every browser sends one; what sends none is an old probe.
    let host = head.headers.get(header::HOST)?;
    let cure = "Ask for the port by its address or as localhost, or show a token.";
    let Some(authority) = parse_authority(host.as_bytes()) else {
        return Some(refuse(StatusCode::BAD_REQUEST, "`Host` is no host", cure));
    };
    let names_a_site = wire::METHODS.contains(&head.method.as_str()) && authority.port != Some(own_port);
    if names_a_site || authority.host == "localhost" || address_of(&authority).is_some() {
        return None;
    }
    Some(refuse(StatusCode::FORBIDDEN, &format!("`{}` is no name of this port", authority.host), cure))
}

/// Does what the call asks for. Its caller has been [admitted](admit).
pub(super) fn route(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let path = call.head.uri.path();
    let method = &call.head.method;
    if wire::METHODS.contains(&method.as_str()) {
        return purge::by_method(call, control);
    }
    let found = match calls::find(method, path) {
        Ok(found) => found,
        Err(Some(allow)) => return not_allowed(&allow),
        Err(None) => {
            return refuse(
                StatusCode::NOT_FOUND,
                "there is no such call",
                "GET / lists the calls there are.",
            );
        }
    };
    // What a purge needs depends on what it means.
    if let Some(Err(denied)) = found.scope.map(|scope| call.caller.may(scope)) {
        return refuse_denied(&denied);
    }
    if found.method == Method::POST && !is_json(&call.head.headers) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content is not JSON",
            "Send `Content-Type: application/json`, also where there is no content: no page can.",
        );
    }
    match found.does {
        Does::Live => ok(&json!({ "live": true })),
        Does::Ready => match control.ready() {
            Ok(()) => ok(&json!({ "ready": true })),
            Err(why) => respond(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "why": why })),
        },
        Does::Metrics => text("text/plain; version=0.0.4; charset=utf-8", control.metrics()),
        Does::Config => ok(&control.config_json()),
        Does::Stats => ok(&control.stats_json()),
        Does::List => ok(&calls::list()),
        Does::OpenApi => ok(&calls::openapi()),
        Does::AsyncApi => text("application/yaml; charset=utf-8", asyncapi::DOCUMENT.to_owned()),
        Does::Page => text("text/html; charset=utf-8", calls::page()),
        Does::Purge => purge::by_json(call, control),
        Does::Purges => purge::list(call, control),
        Does::PurgeOf => purge::one(path.rsplit('/').next().unwrap_or_default(), control),
        Does::Nodes => purge::nodes(control),
        Does::Bans => purge::bans(control),
        Does::Explain => explain::explain(call, control),
        Does::Origins => origins::show(control),
        Does::Force => origins::force(call, control),
        Does::Queue => queue::show(control),
        Does::Dead => queue::dead(call, control),
        Does::Replay => queue::replay(call, control),
        // Fills are taken piece by piece, before they come here; what does come is none.
        Does::Fill => refuse(StatusCode::BAD_REQUEST, "it is no fill", "Send it with PUT to /v1/fill."),
        Does::Warm => warm::begin(call, control),
        Does::WarmJobs => warm::list(control),
        Does::WarmJob => warm::one(path.rsplit('/').next().unwrap_or_default(), control),
        Does::WarmCancel => warm::cancel(path.rsplit('/').next().unwrap_or_default(), control),
        Does::Reload if !is_nothing(call.body) => {
            refuse(StatusCode::BAD_REQUEST, "a reload takes no content", "Send none, or {}.")
        }
        Does::Reload => match control.reload() {
            Ok(notes) => ok(&json!({ "reloaded": true, "notes": notes })),
            Err(faults) => respond(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({ "reloaded": false, "error": "the configuration has faults; the old one stays in force", "faults": faults }),
            ),
        },
    }
}

/// Whether the content says nothing.
fn is_nothing(body: &[u8]) -> bool {
    let read: Result<serde_json::Map<String, Value>, _> = serde_json::from_slice(body);
    body.is_empty() || read.is_ok_and(|map| map.is_empty())
}

fn text(kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_reading(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Whether a `Host` is this port's own: then it says nothing about a site. No site
/// is reached on this port, so whatever names the port names this one.
pub(super) fn is_own_name(host: &str, own_port: u16) -> bool {
    parse_authority(host.as_bytes()).is_some_and(|authority| {
        let local = authority.host == "localhost"
            || address_of(&authority)
                .is_some_and(|address| address.to_canonical().is_loopback() || address.is_unspecified());
        authority.port == Some(own_port) || (local && authority.port.is_none() && own_port == 80)
    })
}

fn address_of(authority: &Authority) -> Option<IpAddr> {
    authority.host.trim_matches(['[', ']']).parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    })
}

fn not_allowed(allow: &str) -> Response<Full<Bytes>> {
    let mut response =
        refuse(StatusCode::METHOD_NOT_ALLOWED, "not with this method", &format!("Use {allow}."));
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// An answer that says what is wrong and how to mend it.
pub(super) fn refuse(status: StatusCode, error: &str, cure: &str) -> Response<Full<Bytes>> {
    respond(status, &json!({ "error": error, "cure": cure }))
}

pub(super) fn ok(value: &Value) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, value)
}

pub(super) fn respond(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut text = value.to_string();
    text.push('\n');
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::admin::Settings;
    use crate::clock::Clock;

    use http::Request;

    use super::*;
    use crate::cluster::{Reached, View};
    use crate::invalidate::{Accepted, Entry, Wanted};
    use crate::policy::Sites;
    use crate::policy::site::{HostPattern, Site};
    use crate::store::Refused;
    use crate::stored::pattern::Pattern;

    /// One site, `www.example.org`, on which everything is stored once.
    struct OneSite;

    impl Control for OneSite {
        fn sites(&self) -> Sites {
            let hosts = vec![HostPattern::Exactly("www.example.org".to_owned())];
            Sites::new(vec![Site { name: "www".to_owned(), hosts, routes: vec![] }])
        }
        fn purge(&self, wanted: &Wanted, _: &str) -> Result<Accepted, Refused> {
            Ok(Accepted { sequence: Some(17), responses: wanted.what.len(), ..Accepted::default() })
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
            Err("draining".to_owned())
        }
        fn config_json(&self) -> Value {
            json!({})
        }
        fn stats_json(&self) -> Value {
            json!({})
        }
        fn metrics(&self) -> String {
            String::new()
        }
        fn reload(&self) -> Result<Vec<String>, Vec<String>> {
            Ok(vec![])
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn ask(
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &str,
        token: Option<&str>,
    ) -> Response<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let settings = Settings { token: token.map(str::to_owned), ..Settings::default() };
        let auth = Auth::new(&settings, Clock::System, Arc::default()).expect("good settings");
        let peer = IpAddr::from([127, 0, 0, 1]);
        match admit(&head, &Gate { auth: &auth, peer, secret_header: None, own_port: 6090 }) {
            Ok(caller) => {
                let body = Bytes::copy_from_slice(body.as_bytes());
                route(&Call { head: &head, body: &body, own_port: 6090, caller: &caller }, &OneSite)
            }
            Err(refusal) => *refusal,
        }
    }

    async fn told(response: Response<Full<Bytes>>) -> Value {
        use http_body_util::BodyExt;
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn no_page_in_a_browser_can_do_anything() {
        type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], u16);
        let rows: [Row<'_>; 19] = [
            (
                "a form elsewhere, old browser",
                "POST",
                "/v1/reload",
                &[("host", "127.0.0.1:6090"), ("content-type", "application/x-www-form-urlencoded")],
                415,
            ),
            (
                "a form of plain text, old browser",
                "POST",
                "/v1/purge",
                &[("host", "127.0.0.1:6090"), ("content-type", "text/plain")],
                415,
            ),
            (
                "a script without content, old browser",
                "POST",
                "/v1/reload",
                &[("host", "127.0.0.1:6090")],
                415,
            ),
            (
                "a form elsewhere",
                "POST",
                "/v1/reload",
                &[("host", "127.0.0.1:6090"), JSON, ("origin", "null")],
                403,
            ),
            (
                "a script that was given leave by a proxy",
                "PURGE",
                "/x",
                &[("host", "127.0.0.1:6090"), ("origin", "http://evil.example")],
                403,
            ),
            (
                "a preflight",
                "OPTIONS",
                "/v1/purge",
                &[("host", "127.0.0.1:6090"), ("origin", "http://evil.example")],
                403,
            ),
            (
                "an image elsewhere",
                "GET",
                "/v1/stats",
                &[("host", "127.0.0.1:6090"), ("sec-fetch-site", "cross-site")],
                403,
            ),
            (
                "a page on another port",
                "GET",
                "/metrics",
                &[("host", "127.0.0.1:6090"), ("sec-fetch-site", "same-site")],
                403,
            ),
            (
                "a rebound name reads",
                "GET",
                "/v1/config",
                &[("host", "evil.example:6090"), ("sec-fetch-site", "same-origin")],
                403,
            ),
            ("a rebound name reads metrics", "GET", "/metrics", &[("host", "evil.example:6090")], 403),
            (
                "a rebound name sends JSON, old browser",
                "POST",
                "/v1/purge",
                &[("host", "evil.example:6090"), JSON],
                403,
            ),
            ("a rebound name purges, old browser", "PURGE", "/x", &[("host", "evil.example:6090")], 403),
            ("what is no host", "GET", "/v1/config", &[("host", "evil@127.0.0.1")], 400),
            (
                "an operator types the address",
                "GET",
                "/v1/config",
                &[("host", "127.0.0.1:6090"), ("sec-fetch-site", "none")],
                200,
            ),
            (
                "an operator follows a link on the port",
                "GET",
                "/v1/stats",
                &[("host", "localhost:6090"), ("sec-fetch-site", "same-origin")],
                200,
            ),
            ("an operator on IPv6", "GET", "/v1/stats", &[("host", "[::1]:6090")], 200),
            ("a probe without a host", "GET", "/v1/stats", &[], 200),
            ("a probe by whatever name", "GET", "/livez", &[("host", "node-7.cluster")], 200),
            ("an operator reloads", "POST", "/v1/reload", &[("host", "127.0.0.1:6090"), JSON], 200),
        ];
        for (who, method, target, fields, status) in rows {
            assert_eq!(ask(method, target, fields, "{}", None).status(), status, "{who}");
        }
    }

    #[test]
    fn with_a_token_the_port_may_have_any_name() {
        let shown = ("authorization", "Bearer sesame");
        let named = ("host", "cache.internal:6090");
        for (method, target, fields, status) in [
            ("GET", "/metrics", vec![named, shown], 200),
            ("GET", "/metrics", vec![named], 401),
            ("PURGE", "/x", vec![named, shown], 200),
            ("POST", "/v1/reload", vec![named, shown, JSON], 200),
            ("POST", "/v1/reload", vec![named, shown, JSON, ("origin", "http://evil.example")], 403),
            ("GET", "/nowhere", vec![named], 401),
            ("GET", "/livez", vec![named], 200),
        ] {
            let response = ask(method, target, &fields, "", Some("sesame"));
            assert_eq!(response.status(), status, "{method} {target} {fields:?}");
            assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
        }
    }

    #[tokio::test]
    async fn a_host_on_this_port_names_no_site_and_any_other_does() {
        for (target, host, status) in [
            ("/x", "127.0.0.1:6090", 200),
            ("/x", "[::1]:6090", 200),
            ("/x", "localhost:6090", 200),
            ("/x", "10.0.0.7:6090", 200),
            ("/x", "www.example.org", 200),
            ("/x", "other.example.org", 400),
            ("/x", "127.0.0.1", 400),
            ("http://www.example.org/x", "127.0.0.1:6090", 200),
            ("www.example.org", "127.0.0.1:6090", 400),
            ("*", "127.0.0.1:6090", 400),
        ] {
            let response = ask("PURGE", target, &[("host", host)], "", None);
            let (got, answer) = (response.status(), told(response).await);
            assert_eq!(got, status, "{target} on {host}: {answer}");
            assert_eq!(answer["cure"].is_string(), status != 200, "{answer}");
        }
    }

    #[tokio::test]
    async fn several_urls_are_summed_up_and_one_bad_one_is_told() {
        let good = r#"{"url": "http://www.example.org/a", "urls": ["http://www.example.org/b"]}"#;
        let answer = told(ask("POST", "/v1/purge", &[JSON], good, None)).await;
        assert_eq!((&answer["purged"], &answer["sequence"]), (&json!(2), &json!(17)), "{answer}");
        let bad = r#"{"urls": ["http://www.example.org/a", "ftp://x"]}"#;
        let response = ask("POST", "/v1/purge", &[JSON], bad, None);
        assert_eq!(response.status(), 400);
        let answer = told(response).await;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("ftp://x")), "{answer}");
    }

    #[test]
    fn a_soft_purge_is_asked_for_with_1() {
        for (soft, status) in [("0", 200), ("1", 200), ("", 400), ("false", 400), ("yes", 400)] {
            assert_eq!(ask("PURGE", "/x", &[("x-purge-soft", soft)], "", None).status(), status, "{soft:?}");
        }
        let both = [("x-purge-soft", "1"), ("x-purge-hard", "1")];
        assert_eq!(ask("PURGE", "/x", &both, "", None).status(), 400, "one of the two");
    }

    #[test]
    fn what_may_be_done_with_a_path_is_said() {
        for (method, path, status, allow) in [
            ("GET", "/v1/reload", 405, "POST"),
            ("DELETE", "/v1/purge", 405, "POST"),
            ("POST", "/metrics", 405, "GET, HEAD"),
            ("HEAD", "/metrics", 200, ""),
            ("GET", "/readyz", 503, ""),
            ("GET", "/v2/purge", 404, ""),
        ] {
            let response = ask(method, path, &[], "", None);
            let said = response.headers().get("allow").map_or("", |allow| allow.to_str().expect("text"));
            assert_eq!((response.status().as_u16(), said), (status, allow), "{method} {path}");
        }
    }
}
