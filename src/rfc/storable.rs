//! Whether a shared cache may store a response (RFC 9111 section 3).

use http::{Method, StatusCode};

use super::cache_control::{RequestDirectives, ResponseDirectives};
use super::fields::Fields;
use super::lifetime::{is_explicit, is_heuristically_cacheable};
use super::uri;

/// A request and its response, as far as storing is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Exchanged<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's fields.
    pub request: &'a Fields,
    /// The response's status.
    pub status: StatusCode,
    /// The response's fields.
    pub response: &'a Fields,
    /// The response's directives.
    pub directives: &'a ResponseDirectives,
    /// Whether a request's own `no-store` counts.
    pub honour_request_no_store: bool,
}

/// Why a response must not be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotStorable {
    /// The method's response cannot answer a later request.
    Method,
    /// The status is not final, or only means something to this one request.
    Status,
    /// `no-store`.
    NoStore,
    /// The request's `no-store`.
    RequestNoStore,
    /// `private`.
    Private,
    /// The request had `Authorization`, and nothing allows sharing (3.5).
    Authorization,
    /// `must-understand`, and the status is not understood (5.2.2.3).
    NotUnderstood,
    /// Nothing says that it may be reused.
    Unexplicit,
    /// A part of a representation.
    Partial,
    /// `Vary: *`: no later request selects it.
    VaryStar,
}

impl NotStorable {
    /// Word for `Cache-Status`'s `detail` and for logs.
    pub fn reason(self) -> &'static str {
        match self {
            NotStorable::Method => "method",
            NotStorable::Status => "status",
            NotStorable::NoStore => "no-store",
            NotStorable::RequestNoStore => "request-no-store",
            NotStorable::Private => "private",
            NotStorable::Authorization => "authorization",
            NotStorable::NotUnderstood => "must-understand",
            NotStorable::Unexplicit => "no-freshness",
            NotStorable::Partial => "partial",
            NotStorable::VaryStar => "vary-star",
        }
    }

    /// Whether the reason lies in the request alone, so that the response to
    /// another one may well be storable.
    pub fn only_this_request(self) -> bool {
        matches!(
            self,
            NotStorable::Authorization
                | NotStorable::RequestNoStore
                | NotStorable::Method
                | NotStorable::Partial
        )
    }
}

/// Whether the response may be stored. `GET` alone; what `POST` may leave behind
/// is [`post_serves_get`]'s to say.
pub fn storable(exchanged: &Exchanged<'_>) -> Result<(), NotStorable> {
    let Exchanged { method, request, status, response, directives, honour_request_no_store } = *exchanged;
    if method != Method::GET && method != Method::POST {
        return Err(NotStorable::Method);
    }
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err(NotStorable::Status);
    }
    if status == StatusCode::PARTIAL_CONTENT || status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Err(NotStorable::Partial);
    }
    // `no-store` gives way to `must-understand` only where the status is understood.
    if directives.must_understand {
        if !is_understood(status) {
            return Err(NotStorable::NotUnderstood);
        }
    } else if directives.no_store {
        return Err(NotStorable::NoStore);
    }
    if directives.private.is_all() {
        return Err(NotStorable::Private);
    }
    if honour_request_no_store && RequestDirectives::read(request).no_store {
        return Err(NotStorable::RequestNoStore);
    }
    if request.contains("authorization")
        && !(directives.public || directives.must_revalidate || directives.s_maxage.is_some())
    {
        return Err(NotStorable::Authorization);
    }
    if !(is_explicit(response, directives) || directives.public || is_heuristically_cacheable(status)) {
        return Err(NotStorable::Unexplicit);
    }
    Ok(())
}

/// Fields that must not be stored with the response: those that `no-cache` and
/// `private` name (RFC 9111 5.2.2.4, 5.2.2.7).
pub fn fields_not_to_store(directives: &ResponseDirectives) -> impl Iterator<Item = &str> {
    directives.no_cache.only().iter().chain(directives.private.only()).map(String::as_str)
}

/// Whether the response to a `POST` says that it answers `GET` on the same target
/// as well: success, explicit freshness, and a `Content-Location` that is the
/// target itself (RFC 9110 9.3.3).
pub fn post_serves_get(
    scheme: &str,
    host: &str,
    port: u16,
    path_and_query: &str,
    status: StatusCode,
    response: &Fields,
) -> bool {
    let directives = ResponseDirectives::read(response);
    let mut locations = response.get_all("content-location");
    let (Some(location), None) = (locations.next(), locations.next()) else { return false };
    status.is_success()
        && is_explicit(response, &directives)
        && std::str::from_utf8(location)
            .ok()
            .and_then(|location| uri::same_origin(scheme, host, port, path_and_query, location))
            .is_some_and(|location| location == path_and_query)
}

/// The final statuses whose caching rules are known here: those of RFC 9110 and
/// the registered ones that add nothing to them.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 207 | 208 | 226 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421..=426 | 428 | 429 | 431 | 451
            | 500..=508 | 511
    )
}
