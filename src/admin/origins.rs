//! The calls about origins: how they and their servers stand, and their breakers in an
//! operator's hand.

use std::fmt::Write;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Control;
use super::router::{Call, ok, refuse};
use crate::origin::View;
use crate::origin::breaker::Forced;

/// What `GET /v1/origins` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Origins {
    /// In the order of their first request or reload.
    origins: Vec<View>,
}

/// What `POST /v1/origins/ORIGIN/breaker` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Breaker {
    /// `open`: it is not asked; `closed`: it is, whatever it does; `auto`: as it deserves.
    state: Wanted,
    /// That of this server alone, by address and port, address or host; that of all of
    /// them together without.
    #[serde(default)]
    server: Option<String>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Wanted {
    Open,
    Closed,
    Auto,
}

/// What `POST /v1/origins/ORIGIN/breaker` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Changed {
    /// How many breakers were meant.
    changed: usize,
}

/// `GET /v1/origins`.
pub(super) fn show(control: &dyn Control) -> Response<Full<Bytes>> {
    ok(&json!(Origins { origins: control.origins() }))
}

/// `POST /v1/origins/ORIGIN/breaker`.
pub(super) fn force(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let wanted: Breaker = match serde_json::from_slice(call.body) {
        Ok(wanted) => wanted,
        Err(error) => {
            let cure = "Send {\"state\": \"open\"}, \"closed\" or \"auto\", and perhaps {\"server\": \"10.0.0.1:80\"}.";
            return refuse(StatusCode::BAD_REQUEST, &format!("the content is not understood: {error}"), cure);
        }
    };
    let name = call.named();
    let forced = match wanted.state {
        Wanted::Open => Some(Forced::Open),
        Wanted::Closed => Some(Forced::Closed),
        Wanted::Auto => None,
    };
    let cure = "GET /v1/origins shows those that this node asks, and their servers.";
    match control.force(&name, wanted.server.as_deref(), forced) {
        None => refuse(StatusCode::NOT_FOUND, &format!("this node asks no origin `{name}`"), cure),
        Some(0) => refuse(StatusCode::NOT_FOUND, "the origin has no such server", cure),
        Some(changed) => {
            let server = wanted.server.as_deref().unwrap_or("all of them together");
            let state = match forced {
                Some(Forced::Open) => "open",
                Some(Forced::Closed) => "closed",
                None => "auto",
            };
            tracing::info!(target: "forebay::origin", origin = %name, server, state, by = %call.caller.name, "a breaker is decided by hand");
            ok(&json!(Changed { changed }))
        }
    }
}

type Gauge = (&'static str, &'static str, fn(&View) -> usize);

/// The gauges that each origin has: name, help, and the value of a view.
const GAUGES: &[Gauge] = &[
    ("forebay_origin_under_way", "Requests under way at an origin.", |view| view.requests.under_way),
    ("forebay_origin_places", "The most requests that may be under way at an origin.", |view| {
        view.requests.max_requests
    }),
    ("forebay_origin_line", "Requests that wait for a place at an origin.", |view| view.requests.waiting),
    ("forebay_origin_open", "Whether the breaker of an origin is open.", |view| {
        usize::from(view.servers.breaker.state == "open")
    }),
];

/// The states of a server, as [`View`] has them.
const STATES: [&str; 6] = ["up", "slow-start", "half-open", "open", "ejected", "sick"];

/// How the origins stand, in Prometheus' text format.
pub fn metrics(views: &[View]) -> String {
    let mut text = String::new();
    for (name, help, value) in GAUGES {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for view in views {
            let _ = writeln!(text, "{name}{{origin=\"{}\"}} {}", escaped(&view.name), value(view));
        }
    }
    let name = "forebay_origin_servers";
    let _ = writeln!(text, "# HELP {name} Servers of an origin, by their state.\n# TYPE {name} gauge");
    for view in views {
        for state in STATES {
            let count = view.servers.servers.iter().filter(|server| server.state == state).count();
            let _ = writeln!(text, "{name}{{origin=\"{}\",state=\"{state}\"}} {count}", escaped(&view.name));
        }
    }
    text
}

fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
