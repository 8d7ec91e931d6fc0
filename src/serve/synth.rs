//! Answers that forebay makes itself. The only place that turns an error into a
//! status.
//!
//! What it never does: name an origin, or claim to come from the cache
//! (RFC 9211 section 2: no `Cache-Status`).

use bytes::Bytes;
use http::{Method, StatusCode};

use super::outcome::{Outcome, Record};
use super::reply::{Reply, ReplyBody, ReplyContent};
use super::{Server, Walk};
use crate::fetch::Failed;
use crate::origin::Failure;
use crate::policy::Refusal;
use crate::rfc::date;
use crate::rfc::fields::Fields;

/// A request that is not acceptable. The connection ends with the answer: what
/// follows on it may not be what it seems.
pub(super) fn refused(server: &Server, refusal: Refusal, mut record: Record) -> Reply {
    let status = match refusal {
        Refusal::TargetTooLong => StatusCode::URI_TOO_LONG,
        Refusal::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::Connect => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::WrongScheme => StatusCode::MISDIRECTED_REQUEST,
        Refusal::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
        Refusal::BadTarget
        | Refusal::NoHost
        | Refusal::TwoHosts
        | Refusal::BadHost
        | Refusal::AmbiguousLength => StatusCode::BAD_REQUEST,
    };
    record.failure = Some(refusal.to_string());
    let mut reply = page(server, status, &format!("{refusal}."), Outcome::Refused, false, record);
    if refusal == Refusal::Connect {
        reply.fields.add("allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    }
    reply.close = true;
    reply
}

/// No site or no route answers for the request (RFC 9110 15.5.20).
pub(super) fn no_site(server: &Server, mut record: Record) -> Reply {
    record.failure = Some("no site or route answers for it".to_owned());
    let status = StatusCode::MISDIRECTED_REQUEST;
    page(server, status, "No site here answers for this host and path.", Outcome::Refused, false, record)
}

/// `only-if-cached`, and nothing to answer with (RFC 9111 5.2.1.7).
pub(super) fn not_cached(walk: Walk<'_>) -> Reply {
    let text = "Nothing that is stored can answer this request.";
    of_walk(walk, StatusCode::GATEWAY_TIMEOUT, text, "only-if-cached and nothing stored".to_owned())
}

/// There is no response, and nothing stored may answer.
pub(super) fn failed(walk: Walk<'_>, why: &Failed) -> Reply {
    let (status, text) = match why {
        Failed::Origin(Failure::ConnectTimeout(_) | Failure::FirstByteTimeout(_) | Failure::NotTaken(_))
        | Failed::Waited(_) => (StatusCode::GATEWAY_TIMEOUT, "The origin did not answer in time."),
        Failed::Origin(Failure::Unresolved(_) | Failure::Connect(_) | Failure::Closed) => {
            (StatusCode::BAD_GATEWAY, "The origin could not be reached.")
        }
        Failed::Origin(Failure::Malformed(_)) | Failed::Unasked304 => {
            (StatusCode::BAD_GATEWAY, "The origin sent no valid response.")
        }
        Failed::Origin(Failure::RequestBroken) => {
            (StatusCode::BAD_REQUEST, "The request's content broke off.")
        }
        Failed::Status(_) => (StatusCode::BAD_GATEWAY, "The origin answered with an error."),
        Failed::Full | Failed::Lost => {
            (StatusCode::SERVICE_UNAVAILABLE, "Too much is under way; try again in a moment.")
        }
    };
    of_walk(walk, status, text, why.to_string())
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
    mut record: Record,
) -> Reply {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut body = format!("{} {reason}\n\n{text}\n", status.as_u16());
    let mut fields = Fields::new();
    fields.add("date", date::format(server.clock.now()));
    fields.add("content-type", "text/plain; charset=utf-8");
    fields.add("cache-control", "no-store");
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.add("retry-after", "1");
    }
    if !record.request_id.is_empty() {
        fields.add("x-request-id", &record.request_id);
        body.push_str(&format!("Request {}\n", record.request_id));
    }
    fields.add("content-length", body.len().to_string());
    record.head(outcome, status, "");
    let length = Some(body.len() as u64);
    let content =
        if is_head { ReplyContent::Empty } else { ReplyContent::Made(Bytes::from(body.into_bytes())) };
    Reply { status, fields, body: ReplyBody::new(content, record), length, close: false, tunnel: None }
}
