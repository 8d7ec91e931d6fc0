//! What a method means to a cache (RFC 9110 9.2, RFC 9111 4.4).

use http::Method;

use super::fields::Fields;
use super::uri;

/// Whether the method only reads. An unknown one does not.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Whether the request may be sent once more. An unknown method's may not.
pub fn is_idempotent(method: &Method) -> bool {
    is_safe(method) || matches!(*method, Method::PUT | Method::DELETE)
}

/// Path and query of what `Location` and `Content-Location` name on the origin of
/// the target; what they name elsewhere is not this request's to invalidate.
pub fn invalidated(
    scheme: &str,
    host: &str,
    port: u16,
    path_and_query: &str,
    response: &Fields,
) -> Vec<String> {
    ["location", "content-location"]
        .into_iter()
        .filter_map(|name| std::str::from_utf8(response.get(name)?).ok())
        .filter_map(|location| uri::same_origin(scheme, host, port, path_and_query, location))
        .collect()
}
