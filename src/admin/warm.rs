//! The calls that warm.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::Control;
use super::router::{Call, ok, refuse, respond};
use crate::repopulate::Warmer;
use crate::repopulate::warm::{NotBegun, Spec, View};

/// What `GET /v1/warm` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Jobs {
    /// The newest first.
    jobs: Vec<View>,
}

/// `POST /v1/warm`.
pub(super) fn begin(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let spec: Spec = match serde_json::from_slice(call.body) {
        Ok(spec) => spec,
        Err(error) => {
            let cure = "Send an object with `sitemaps`, `urls` or `crawl`, each a list of URLs.";
            return refuse(StatusCode::BAD_REQUEST, &error.to_string(), cure);
        }
    };
    let Some(warmer) = control.warmer() else {
        return refuse(
            StatusCode::CONFLICT,
            "this node has no hidden route",
            "Warming fills hidden routes: give a route mode = \"hidden\", or start with --hidden.",
        );
    };
    match warmer.begin(spec, &call.caller.name) {
        Ok(view) => respond(StatusCode::ACCEPTED, &json!(view)),
        Err(why) => {
            let (status, cure) = match &why {
                NotBegun::Nothing => {
                    (StatusCode::BAD_REQUEST, "Name something in `sitemaps`, `urls` or `crawl`.")
                }
                NotBegun::NoUrl(_) => {
                    (StatusCode::BAD_REQUEST, "Write URLs as clients ask for them, with http:// or https://.")
                }
                NotBegun::TooMany => {
                    (StatusCode::CONFLICT, "Wait for one of them; GET /v1/warm lists them, DELETE ends one.")
                }
            };
            refuse(status, &why.to_string(), cure)
        }
    }
}

/// `GET /v1/warm`.
pub(super) fn list(control: &dyn Control) -> Response<Full<Bytes>> {
    let jobs = control.warmer().map(|warmer| warmer.views()).unwrap_or_default();
    ok(&json!(Jobs { jobs }))
}

/// `GET /v1/warm/ID`.
pub(super) fn one(id: &str, control: &dyn Control) -> Response<Full<Bytes>> {
    shown(id, control, Warmer::view)
}

/// `DELETE /v1/warm/ID`.
pub(super) fn cancel(id: &str, control: &dyn Control) -> Response<Full<Bytes>> {
    shown(id, control, Warmer::cancel)
}

fn shown(
    id: &str,
    control: &dyn Control,
    of: impl Fn(&Warmer, &str) -> Option<View>,
) -> Response<Full<Bytes>> {
    match control.warmer().and_then(|warmer| of(&warmer, id)) {
        Some(view) => ok(&json!(view)),
        None => refuse(
            StatusCode::NOT_FOUND,
            &format!("no warm job of the id `{id}` is remembered"),
            "GET /v1/warm lists those that are.",
        ),
    }
}
