//! Answers that forebay makes itself. The only place that turns an error into a
//! status.
//!
//! What it never does: name an origin, or claim to come from the cache
//! (RFC 9211 section 2: no `Cache-Status`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::hidden::Unserved;
use super::outcome::{Outcome, Record};
use super::reply::{Base, Reply, ReplyBody, ReplyContent};
use super::{Server, Walk};
use crate::fetch::Failed;
use crate::origin::Failure;
use crate::origin::tls::Trouble;
use crate::policy::fallback::Fallback;
use crate::policy::{Presented, Refusal};
use crate::rfc::date;
use crate::rfc::fields::Fields;
use crate::rfc::proxy_status::ProxyStatus;
use crate::shed::Shed;

/// When to come again where nobody knows when the origin will be there.
const UNKNOWN: Duration = Duration::from_secs(10);
/// When to come again where too much is under way.
const OVERLOADED: Duration = Duration::from_secs(3);

/// A request that is not acceptable. The connection ends with the answer: what
/// follows on it may not be what it seems.
pub(super) fn refused(server: &Server, refusal: Refusal, mut record: Record) -> Reply {
    let status = refusal_status(refusal);
    record.failure = Some(refusal.to_string());
    let mut reply = page(server, status, &format!("{refusal}."), Outcome::Refused, false, record);
    if refusal == Refusal::Connect {
        reply.fields.add("allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    }
    reply.close = true;
    reply
}

/// The status for a request that is not acceptable.
pub(super) fn refusal_status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::TargetTooLong => StatusCode::URI_TOO_LONG,
        Refusal::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::Connect => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::WrongScheme => StatusCode::MISDIRECTED_REQUEST,
        Refusal::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
        Refusal::UnknownVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Refusal::BadRequestLine
        | Refusal::BareLineFeed
        | Refusal::BadFieldLine
        | Refusal::BadLength
        | Refusal::BadTarget
        | Refusal::NoHost
        | Refusal::TwoHosts
        | Refusal::BadHost
        | Refusal::AmbiguousLength => StatusCode::BAD_REQUEST,
    }
}

/// The status for a request that no site or route answers for (RFC 9110 15.5.20).
pub(super) const NO_SITE: StatusCode = StatusCode::MISDIRECTED_REQUEST;
/// The status for `only-if-cached` with nothing to answer (RFC 9111 5.2.1.7).
pub(super) const NOT_CACHED: StatusCode = StatusCode::GATEWAY_TIMEOUT;
/// The status for an unsafe method on a hidden route that takes none.
pub(super) const READ_ONLY: StatusCode = StatusCode::METHOD_NOT_ALLOWED;
/// The status for content that nobody here could pass on.
pub(super) const WITH_CONTENT: StatusCode = StatusCode::BAD_REQUEST;
/// The status for a request that goes round (RFC 5842 7.2).
pub(super) const LOOPED: StatusCode = StatusCode::LOOP_DETECTED;

/// No site or no route answers for the request (RFC 9110 15.5.20).
pub(super) fn no_site(server: &Server, mut record: Record) -> Reply {
    record.failure = Some("no site or route answers for it".to_owned());
    page(server, NO_SITE, "No site here answers for this host and path.", Outcome::Refused, false, record)
}

/// `only-if-cached`, and nothing to answer with (RFC 9111 5.2.1.7).
pub(super) fn not_cached(walk: Walk<'_>) -> Reply {
    let text = "Nothing that is stored can answer this request.";
    of_walk(walk, NOT_CACHED, text, "only-if-cached and nothing stored".to_owned())
}

/// There is no response, and nothing stored may answer.
pub(super) fn failed(walk: Walk<'_>, why: &Failed) -> Reply {
    let (status, text) = match why {
        Failed::Origin(
            Failure::ConnectTimeout(_)
            | Failure::FirstByteTimeout(_)
            | Failure::ContentOverdue(_)
            | Failure::NotTaken(_),
        )
        | Failed::Waited(_) => (StatusCode::GATEWAY_TIMEOUT, "The origin did not answer in time."),
        Failed::Origin(
            Failure::Unresolved(_) | Failure::Connect(_) | Failure::Tls { .. } | Failure::Closed,
        ) => (StatusCode::BAD_GATEWAY, "The origin could not be reached."),
        Failed::Origin(Failure::Malformed(_)) | Failed::Unasked304 => {
            (StatusCode::BAD_GATEWAY, "The origin sent no valid response.")
        }
        Failed::Origin(Failure::RequestBroken) => {
            (StatusCode::BAD_REQUEST, "The request's content broke off.")
        }
        Failed::Status(_) => (StatusCode::BAD_GATEWAY, "The origin answered with an error."),
        Failed::Origin(Failure::Open { .. } | Failure::NoServer { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, "The origin is not available; try again later.")
        }
        Failed::Origin(Failure::Saturated(_) | Failure::Uploads(_)) | Failed::Full | Failed::Lost => {
            (StatusCode::SERVICE_UNAVAILABLE, "Too much is under way; try again in a moment.")
        }
    };
    let after = match why {
        Failed::Origin(Failure::Open { retry_after, .. } | Failure::NoServer { retry_after, .. }) => {
            Some(retry_after.unwrap_or(UNKNOWN))
        }
        _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(Duration::from_secs(1)),
        _ => None,
    };
    let proxy_status = match proxy_error(why) {
        Ok(error) => proxy_status(&walk, Some(error), None, None),
        Err(received) => proxy_status(&walk, None, Some(received), None),
    };
    let mut reply = last_resort(walk, status, text, after, why.to_string());
    add_proxy_status(&mut reply, proxy_status);
    // Where the content that broke off ends, nobody knows.
    reply.close = matches!(why, Failed::Origin(Failure::RequestBroken));
    reply
}

/// A request that goes round (RFC 8586, RFC 9209 2.3). Nothing that is stored answers,
/// and no other page: whoever has sent it on is to see that there is no answer.
pub(super) fn looped(walk: Walk<'_>) -> Reply {
    let proxy_status = proxy_status(&walk, Some("proxy_loop_detected"), None, None);
    let text = "The request goes round: it has been here before.";
    let mut reply = of_walk(walk, LOOPED, text, "a loop".to_owned());
    add_proxy_status(&mut reply, proxy_status);
    reply
}

/// An answer of the origin that clients do not get to see.
pub(super) fn intercepted(walk: Walk<'_>, status: StatusCode) -> Reply {
    let proxy_status = proxy_status(&walk, None, Some(status), None);
    let text = "The origin answered with an error.";
    let mut reply = last_resort(walk, status, text, None, Failed::Status(status).to_string());
    add_proxy_status(&mut reply, proxy_status);
    reply
}

/// What has gone wrong, in the words of RFC 9209 2.3. None of them names an origin.
/// Where nothing has, the status that the origin answered with.
fn proxy_error(why: &Failed) -> Result<&'static str, StatusCode> {
    Ok(match why {
        Failed::Origin(failure) => match failure {
            Failure::Unresolved(_) => "dns_error",
            Failure::Connect(_) => "connection_refused",
            Failure::ConnectTimeout(_) => "connection_timeout",
            Failure::Tls { trouble: Trouble::Certificate, .. } => "tls_certificate_error",
            Failure::Tls { trouble: Trouble::Alert, .. } => "tls_alert_received",
            Failure::Tls { trouble: Trouble::Protocol, .. } => "tls_protocol_error",
            Failure::FirstByteTimeout(_) => "http_response_timeout",
            Failure::NotTaken(_) => "connection_write_timeout",
            Failure::Closed => "connection_terminated",
            Failure::Malformed(_) => "http_protocol_error",
            Failure::RequestBroken | Failure::ContentOverdue(_) => "http_request_error",
            Failure::Open { .. } | Failure::NoServer { .. } => "destination_unavailable",
            Failure::Saturated(_) | Failure::Uploads(_) => "connection_limit_reached",
        },
        Failed::Status(status) => return Err(*status),
        Failed::Unasked304 => "http_protocol_error",
        Failed::Waited(_) => "http_response_timeout",
        Failed::Full => "connection_limit_reached",
        Failed::Lost => "proxy_internal_error",
    })
}

/// What `Proxy-Status` says, where the route has it.
fn proxy_status(
    walk: &Walk<'_>,
    error: Option<&str>,
    received: Option<StatusCode>,
    details: Option<&str>,
) -> Option<String> {
    let received_status = received.map(|status| status.as_u16());
    let status = ProxyStatus { proxy: &walk.server.node, error, received_status, details };
    walk.asked.rules.proxy_status.then(|| status.write())
}

fn add_proxy_status(reply: &mut Reply, status: Option<String>) {
    if let Some(status) = status {
        reply.fields.add("proxy-status", status);
    }
}

/// What the route has for clients when nothing else is left.
fn last_resort(
    mut walk: Walk<'_>,
    status: StatusCode,
    text: &str,
    after: Option<Duration>,
    failure: String,
) -> Reply {
    walk.record.failure = Some(failure);
    let page = Page {
        status,
        text,
        outcome: Outcome::Failed,
        is_head: walk.asked.presented.method == Method::HEAD,
        retry_after: after.map(jittered),
        may_reload: walk.asked.presented.method == Method::GET,
    };
    if status.is_client_error() {
        let form = Form::wanted(walk.asked.presented.fields.members("accept"));
        return page.reply(walk.server, form, walk.record);
    }
    page.or_fallback(walk)
}

/// A request with an unsafe method on a hidden route that takes none.
pub(super) fn read_only(walk: Walk<'_>) -> Reply {
    let text = "Here only GET and HEAD are answered.";
    let why = "an unsafe method on a hidden route".to_owned();
    let mut reply = of_walk(walk, READ_ONLY, text, why);
    reply.fields.add("allow", "GET, HEAD");
    reply
}

/// Content has no meaning in a request to read, and nobody here could pass it on.
pub(super) fn with_content(walk: Walk<'_>) -> Reply {
    let mut reply = of_walk(
        walk,
        WITH_CONTENT,
        "GET and HEAD are answered here without content only.",
        "content in a request to read".to_owned(),
    );
    reply.close = true;
    reply
}

/// Status, error and details for `Proxy-Status` (RFC 9209), and when to come again, of an answer
/// on a hidden route that nothing stored can give.
pub(super) fn unserved_by(why: &Unserved) -> (StatusCode, &'static str, &str, Option<Duration>) {
    match why {
        Unserved::Expected(after) => {
            (StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable", "queued", Some(*after))
        }
        Unserved::NotNow(after) => {
            (StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable", "not queued", Some(*after))
        }
        Unserved::Failed(after) => {
            (StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable", "failed", Some(*after))
        }
        Unserved::Forbidden(after) => {
            (StatusCode::GATEWAY_TIMEOUT, "destination_unavailable", "queued, stale", Some(*after))
        }
        Unserved::NotStorable(reason, after) => {
            (StatusCode::BAD_GATEWAY, "proxy_internal_response", &**reason, Some(*after))
        }
        Unserved::TooManyNew(after) => {
            (StatusCode::TOO_MANY_REQUESTS, "http_request_denied", "too many new URLs", Some(*after))
        }
        Unserved::NotListed => (StatusCode::NOT_FOUND, "http_request_denied", "not listed", None),
    }
}

/// On a hidden route nothing stored may answer.
pub(super) fn unserved(mut walk: Walk<'_>, why: &Unserved) -> Reply {
    let (status, error, details, after) = unserved_by(why);
    let text = match why {
        Unserved::Expected(_) | Unserved::Forbidden(_) => {
            "This page is being prepared; try again in a moment."
        }
        Unserved::NotNow(_) => "Too much is asked for at the moment; try again later.",
        Unserved::Failed(_) => "This page cannot be had at the moment; try again later.",
        Unserved::NotStorable(..) => "This page cannot be served from here.",
        Unserved::TooManyNew(_) => "You have asked for too many different pages; try again later.",
        Unserved::NotListed => "There is nothing here.",
    };
    let outcome = match why {
        Unserved::Expected(_) | Unserved::Forbidden(_) => Outcome::Queued,
        Unserved::TooManyNew(_) | Unserved::NotListed => Outcome::Refused,
        Unserved::NotNow(_) | Unserved::Failed(_) | Unserved::NotStorable(..) => Outcome::Failed,
    };
    walk.record.failure = Some(format!("hidden: {details}"));
    let seconds = after.map(jittered);
    let is_head = walk.asked.presented.method == Method::HEAD;
    let may_reload = walk.asked.presented.method == Method::GET;
    let page = Page { status, text, outcome, is_head, retry_after: seconds, may_reload };
    let proxy_status = proxy_status(&walk, Some(error), None, Some(details));
    let mut reply = if outcome == Outcome::Failed || matches!(why, Unserved::Forbidden(_)) {
        page.or_fallback(walk)
    } else {
        // It comes in a moment, or the client has no right to it.
        let form = Form::wanted(walk.asked.presented.fields.members("accept"));
        page.reply(walk.server, form, walk.record)
    };
    add_proxy_status(&mut reply, proxy_status);
    reply
}

/// The origin is not asked for this client now (RFC 6585 4, RFC 9110 15.6.4).
pub(super) fn shed(walk: Walk<'_>, why: Shed) -> Reply {
    let (status, error, text, after) = match why {
        Shed::Rate(after) => (
            StatusCode::TOO_MANY_REQUESTS,
            "http_request_denied",
            "You have asked for too many pages that are not at hand; try again later.",
            after,
        ),
        Shed::Requests | Shed::Bytes => (
            StatusCode::SERVICE_UNAVAILABLE,
            "connection_limit_reached",
            "Too much is under way; try again in a moment.",
            OVERLOADED,
        ),
    };
    let proxy_status = proxy_status(&walk, Some(error), None, Some(why.name()));
    let is_head = walk.asked.presented.method == Method::HEAD;
    let page = Page {
        status,
        text,
        outcome: Outcome::Shed,
        is_head,
        retry_after: Some(jittered(after)),
        may_reload: !is_head,
    };
    let mut reply = if status == StatusCode::TOO_MANY_REQUESTS {
        // The client has no right to it, so nothing is put in its place.
        let form = Form::wanted(walk.asked.presented.fields.members("accept"));
        page.reply(walk.server, form, walk.record)
    } else {
        page.or_fallback(walk)
    };
    add_proxy_status(&mut reply, proxy_status);
    reply
}

/// Seconds to wait, spread so that those who were told together do not come back
/// together.
fn jittered(after: Duration) -> u64 {
    let spread = after.as_secs_f64() * (1.0 + fastrand::f64() / 2.0) + fastrand::f64();
    (spread.ceil() as u64).clamp(1, 3600)
}

/// The walk found no end; only a fault of the program brings it here.
pub(super) fn lost(walk: Walk<'_>) -> Reply {
    failed(walk, &Failed::Lost)
}

fn of_walk(mut walk: Walk<'_>, status: StatusCode, text: &str, failure: String) -> Reply {
    walk.record.failure = Some(failure);
    let is_head = walk.asked.presented.method == Method::HEAD;
    page(walk.server, status, text, Outcome::Failed, is_head, walk.record)
}

/// A short page in plain text.
fn page(
    server: &Server,
    status: StatusCode,
    text: &str,
    outcome: Outcome,
    is_head: bool,
    record: Record,
) -> Reply {
    let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
    Page { status, text, outcome, is_head, retry_after, may_reload: false }.reply(server, Form::Text, record)
}

/// In which form a page is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Text,
    Html,
    Json,
}

impl Form {
    /// The first form that the client names.
    fn wanted<'a>(accepted: impl Iterator<Item = &'a [u8]>) -> Form {
        let named = accepted.filter_map(|member| {
            let kind = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            if kind.eq_ignore_ascii_case(b"text/html") {
                Some(Form::Html)
            } else if kind.eq_ignore_ascii_case(b"application/json") || kind.ends_with(b"+json") {
                Some(Form::Json)
            } else {
                None
            }
        });
        named.into_iter().next().unwrap_or(Form::Text)
    }
}

/// A page that forebay makes itself.
struct Page<'a> {
    status: StatusCode,
    text: &'a str,
    outcome: Outcome,
    is_head: bool,
    /// When to come again, in seconds.
    retry_after: Option<u64>,
    /// Whether a page for people does so by itself.
    may_reload: bool,
}

impl Page<'_> {
    /// What the route has in place of the page, or the page in the form that is wanted.
    fn or_fallback(self, walk: Walk<'_>) -> Reply {
        let (asked, server) = (Arc::clone(&walk.asked), walk.server);
        let form = Form::wanted(asked.presented.fields.members("accept"));
        match &asked.rules.fallback {
            Fallback::File(file) if form != Form::Json || file.is_json() => {
                let content = file.content.clone();
                self.with(server, file.kind, content, walk.record)
            }
            Fallback::Redirect(to) if matches!(asked.presented.method, Method::GET | Method::HEAD) => {
                let page = Page {
                    status: StatusCode::FOUND,
                    text: "This page is elsewhere at the moment.",
                    retry_after: None,
                    ..self
                };
                let mut reply = page.reply(server, form, walk.record);
                reply.fields.add("location", to);
                reply
            }
            Fallback::Page | Fallback::File(_) | Fallback::Redirect(_) => {
                self.reply(server, form, walk.record)
            }
        }
    }

    fn reply(self, server: &Server, form: Form, record: Record) -> Reply {
        let Page { status, text, retry_after, may_reload, .. } = self;
        let reason = status.canonical_reason().unwrap_or_default();
        let id = record.request_id.clone();
        let number = status.as_u16();
        let (kind, body) = match form {
            Form::Text => {
                let request = if id.is_empty() { String::new() } else { format!("Request {id}\n") };
                ("text/plain; charset=utf-8", format!("{number} {reason}\n\n{text}\n{request}"))
            }
            Form::Json => {
                let body = serde_json::json!({ "status": number, "error": text, "retry_after": retry_after, "request": id });
                ("application/json", format!("{body}\n"))
            }
            Form::Html => {
                let again =
                    status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::GATEWAY_TIMEOUT;
                // A form that was sent is not sent again as a question.
                let reload =
                    retry_after.filter(|_| again && may_reload).map_or_else(String::new, |seconds| {
                        format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">")
                    });
                ("text/html; charset=utf-8", html(number, reason, text, &reload, &id))
            }
        };
        self.with(server, kind, body.into(), record)
    }

    /// This content, with all that such an answer says.
    fn with(self, server: &Server, kind: &str, body: Bytes, mut record: Record) -> Reply {
        let Page { status, outcome, is_head, retry_after, .. } = self;
        let id = record.request_id.clone();
        let mut fields = Fields::new();
        fields.add("date", date::format(server.clock.now()));
        fields.add("content-type", kind);
        fields.add("cache-control", "no-store");
        if let Some(seconds) = retry_after {
            fields.add("retry-after", seconds.to_string());
        }
        if !id.is_empty() {
            fields.add("x-request-id", &id);
        }
        fields.add("content-length", body.len().to_string());
        record.head(outcome, status, b"");
        let length = Some(body.len() as u64);
        let content = if is_head { ReplyContent::Empty } else { ReplyContent::Made(body) };
        let body = ReplyBody::new(content, record);
        Reply { status, base: Base::None, fields, body, length, close: false, tunnel: None }
    }
}

/// What `TRACE` does not send back: what lets somebody in, and where the request has come by
/// (RFC 9110 9.3.8).
pub(super) const UNTOLD: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "cookie2",
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-api-key",
];

/// The answer to a `TRACE` or an `OPTIONS` that goes no further (RFC 9110 7.6.2, 9.3.7, 9.3.8).
pub(super) fn last(server: &Server, presented: &Presented, mut record: Record) -> Reply {
    let mut fields = Fields::new();
    fields.add("date", date::format(server.clock.now()));
    let mut content = Vec::new();
    if presented.method == Method::TRACE {
        fields.add("content-type", "message/http");
        content.extend_from_slice(format!("TRACE {} HTTP/1.1\r\n", presented.path_and_query).as_bytes());
        let mut received = presented.fields.clone();
        UNTOLD.iter().for_each(|name| received.remove(name));
        received.write(&mut content);
        content.extend_from_slice(b"\r\n");
    } else {
        fields.add("allow", "GET, HEAD, OPTIONS, TRACE");
    }
    fields.add("cache-control", "no-store");
    if !record.request_id.is_empty() {
        fields.add("x-request-id", &record.request_id);
    }
    fields.add("content-length", content.len().to_string());
    record.head(Outcome::Own, StatusCode::OK, b"");
    let length = Some(content.len() as u64);
    let body = ReplyBody::new(ReplyContent::Made(content.into()), record);
    Reply { status: StatusCode::OK, base: Base::None, fields, body, length, close: false, tunnel: None }
}

/// A page for people. Whatever comes from outside into it is a request id, of which
/// every character is harmless.
fn html(number: u16, reason: &str, text: &str, reload: &str, id: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{reload}\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{number} {reason}</title>\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem}}\
         small{{color:#666}}</style></head>\n<body><h1>{reason}</h1><p>{text}</p>\
         <p><small>Request {id}</small></p></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_named_is_taken() {
        for (accept, form) in [
            (&[][..], Form::Text),
            (&["*/*"], Form::Text),
            (&["text/html", "application/xhtml+xml", "*/*;q=0.8"], Form::Html),
            (&["application/json"], Form::Json),
            (&["application/problem+json;q=0.9", "text/html"], Form::Json),
        ] {
            assert_eq!(Form::wanted(accept.iter().map(|member| member.as_bytes())), form, "{accept:?}");
        }
    }
}
