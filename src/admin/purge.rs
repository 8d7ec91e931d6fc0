//! The calls that invalidate, and those that show what has been invalidated.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::Control;
use super::router::{Call, is_own_name, ok, refuse, refuse_denied, respond};
use crate::cluster::Reached;
use crate::invalidate::wire::{self, Answer, Spoken};
use crate::invalidate::{Entry, Wanted};
use crate::stored::Strength;

/// The most entries that one call lists.
const MOST_LISTED: usize = 1000;

/// What `GET /v1/purges` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Purges {
    /// The newest first.
    purges: Vec<Entry>,
}

/// What `GET /v1/purges/SEQUENCE` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct PurgeShown {
    #[serde(flatten)]
    entry: Entry,
    #[serde(flatten)]
    reached: Reached,
}

/// What `GET /v1/bans` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Bans {
    /// The oldest first.
    bans: Vec<BanShown>,
}

/// A ban or a prefix that has not been tested against everything stored.
#[derive(Serialize, JsonSchema)]
struct BanShown {
    /// The number of its purge.
    sequence: u64,
    /// When, in milliseconds since 1970.
    at_ms: u64,
    /// Whether it makes stale only.
    soft: bool,
    /// What it says.
    ban: String,
    /// How many responses it has hit so far.
    responses: u64,
}

/// `PURGE`, `BAN` and the other methods of purge clients.
pub(super) fn by_method(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let uri = &call.head.uri;
    let host = call.head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // A target without a path (`PURGE www.example.org`) says less than it seems to.
    let target = match (uri.scheme(), uri.path_and_query()) {
        (None, Some(path_and_query)) => path_and_query.to_string(),
        _ => uri.to_string(),
    };
    let field = |name: &str| {
        call.head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let spoken = Spoken {
        method: call.head.method.as_str(),
        target: &target,
        // The port's own name says nothing about which site is meant.
        authority: host.filter(|host| !is_own_name(host, call.own_port)),
        field: &field,
    };
    match wire::understood(&spoken, &control.sites()) {
        Ok(wanted) => purge(control, wanted, call),
        Err(unclear) => respond_with(wire::unclear(&unclear)),
    }
}

/// `POST /v1/purge`.
pub(super) fn by_json(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    match wire::read_json(call.body, &control.sites()) {
        Ok(wanted) => purge(control, wanted, call),
        Err(unclear) => respond_with(wire::unclear(&unclear)),
    }
}

/// `GET /v1/purges?before=SEQUENCE&count=N`, newest first.
pub(super) fn list(call: &Call<'_>, control: &dyn Control) -> Response<Full<Bytes>> {
    let (mut before, mut count) = (None, 100);
    for pair in call.head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value.parse::<u64>()) {
            ("before", Ok(number)) => before = Some(number),
            ("count", Ok(number)) if number <= MOST_LISTED as u64 => {
                count = usize::try_from(number).unwrap_or(MOST_LISTED);
            }
            _ => {
                let error = format!("`{pair}` is not understood");
                return refuse(
                    StatusCode::BAD_REQUEST,
                    &error,
                    "There are before=NUMBER and count=NUMBER, 1000 at most.",
                );
            }
        }
    }
    let entries = control.purges(before, count);
    ok(&json!(Purges { purges: entries }))
}

/// `GET /v1/purges/SEQUENCE`.
pub(super) fn one(number: &str, control: &dyn Control) -> Response<Full<Bytes>> {
    match number.parse().ok().and_then(|number| control.purge_of(number)) {
        Some((entry, reached)) => ok(&json!(PurgeShown { entry, reached })),
        None => refuse(
            StatusCode::NOT_FOUND,
            &format!("no purge of the number `{number}` is remembered"),
            "GET /v1/purges lists those that are.",
        ),
    }
}

/// `GET /v1/nodes`.
pub(super) fn nodes(control: &dyn Control) -> Response<Full<Bytes>> {
    match control.cluster() {
        Some(view) => ok(&json!(view)),
        None => refuse(
            StatusCode::NOT_FOUND,
            "this node belongs to no cluster",
            "Give it a broker with broker.urls.",
        ),
    }
}

/// `GET /v1/bans`.
pub(super) fn bans(control: &dyn Control) -> Response<Full<Bytes>> {
    let bans = control
        .bans()
        .iter()
        .map(|ban| BanShown {
            sequence: ban.number,
            at_ms: ban.at.millis(),
            soft: ban.strength == Strength::Soft,
            ban: ban.test.to_string(),
            responses: ban.hits(),
        })
        .collect();
    ok(&json!(Bans { bans }))
}

fn purge(control: &dyn Control, mut wanted: Wanted, call: &Call<'_>) -> Response<Full<Bytes>> {
    let sites = control.sites();
    let site_of = |host: &str| sites.site(host).map(|site| site.name.clone());
    wanted.what = match call.caller.may_purge(wanted.what, site_of) {
        Ok(what) => what,
        Err(denied) => return refuse_denied(&denied),
    };
    let done = control.purge(&wanted, &call.caller.name);
    respond_with(wire::answer(&wanted, &done))
}

fn respond_with(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = respond(answer.status, &answer.body);
    for (name, value) in answer.fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
