//! The calls about hidden origins: how they stand, and what was given up.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Control;
use super::router::{Call, ok, refuse};
use crate::repopulate::DeadLetter;

/// The most dead letters that are listed.
const MOST: usize = 1000;

/// What `GET /v1/queue/ORIGIN/dead` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Dead {
    /// The oldest first; a thousand at most.
    dead: Vec<DeadLetter>,
}

/// What `POST /v1/queue/ORIGIN/replay` takes.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Replay {
    /// Those of these ids; all where there are none.
    ids: Vec<String>,
}

/// What `POST /v1/queue/ORIGIN/replay` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Replayed {
    /// How many were told once more.
    replayed: usize,
}

/// `GET /v1/queue`.
pub(super) fn show(control: &dyn Control) -> Response<Full<Bytes>> {
    control.queue().map_or_else(nothing_hidden, |view| ok(&json!(view)))
}

/// `GET /v1/queue/ORIGIN/dead`.
pub(super) fn dead(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    if let Some(refusal) = refused(call, control) {
        return refusal;
    }
    match control.dead(&call.named(), MOST) {
        Ok(dead) => ok(&json!(Dead { dead })),
        Err(error) => no_answer(&error),
    }
}

/// `POST /v1/queue/ORIGIN/replay`.
pub(super) fn replay(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    if let Some(refusal) = refused(call, control) {
        return refusal;
    }
    let body: &[u8] = if call.body.is_empty() { b"{}" } else { call.body };
    let wanted: Replay = match serde_json::from_slice(body) {
        Ok(wanted) => wanted,
        Err(error) => {
            let cure = "Send {\"ids\": [...]}, or {} for all.";
            return refuse(StatusCode::BAD_REQUEST, &format!("the content is not understood: {error}"), cure);
        }
    };
    match control.replay(&call.named(), &wanted.ids) {
        Ok(replayed) => ok(&json!(Replayed { replayed })),
        Err(error) => no_answer(&error),
    }
}

/// The refusal where there is no such queue: none is made for a slip of the pen.
fn refused(call: &Call<'_>, control: &dyn Control) -> Option<Response<Full<Bytes>>> {
    if control.queue().is_none() {
        return Some(nothing_hidden());
    }
    let name = call.named();
    let cure = "Write the name of an origin of the configuration, as in [[origin]] name = \"...\".";
    let unknown = || refuse(StatusCode::NOT_FOUND, &format!("there is no origin `{name}`"), cure);
    (!control.has_origin(&name)).then(unknown)
}

fn nothing_hidden() -> Response<Full<Bytes>> {
    refuse(StatusCode::NOT_FOUND, "no route of this node is hidden", "Set mode = \"hidden\" for a route.")
}

fn no_answer(error: &str) -> Response<Full<Bytes>> {
    refuse(StatusCode::BAD_GATEWAY, error, "Look whether the broker is well, and come again.")
}
