//! The call that says how a request would be answered, and why.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::Control;
use super::router::{Call, ok, refuse};
use crate::serve::explain::Question;

/// `POST /v1/explain`.
pub(super) fn explain(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let question: Question = match serde_json::from_slice(call.body) {
        Ok(question) => question,
        Err(error) => {
            let cure = "Send {\"url\": \"http://www.example.org/news\"}, and perhaps \"method\" and \"headers\", a list of `Name: value`.";
            return refuse(StatusCode::BAD_REQUEST, &format!("the content is not understood: {error}"), cure);
        }
    };
    match control.explain(&question) {
        Err(misput) => refuse(StatusCode::BAD_REQUEST, &misput.to_string(), misput.cure()),
        Ok(None) => {
            let cure = "Ask one that serves them.";
            refuse(StatusCode::NOT_FOUND, "this node is a worker, and has no clients", cure)
        }
        // What is stored of a site is no business of who may act on others only, nor which sites
        // there are.
        Ok(Some(explained)) if !call.caller.may_on(explained.site.as_deref().unwrap_or_default()) => {
            let cure = "Ask for a URL of its sites, or use another token.";
            refuse(StatusCode::FORBIDDEN, "this token is for other sites", cure)
        }
        Ok(Some(explained)) => ok(&json!(explained)),
    }
}
