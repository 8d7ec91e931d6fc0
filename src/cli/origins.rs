//! The command about origins: how they stand, and their breakers by hand.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::count;
use super::operator::{Node, ask, told};
use super::queue::time;
use crate::rfc::uri::segment;

pub(super) const EXAMPLES: &str = "\
Examples:
  forebay origins                             how the origins and their servers stand, and why
  forebay origins open app --server 10.0.0.7  send nothing to this server of `app` any more: maintenance
  forebay origins auto app --server 10.0.0.7  it is asked again, as it deserves
  forebay origins open app                    send nothing to `app` at all; what is stored answers, stale or not

What was decided by hand holds until `auto`, or until the node ends.";

#[derive(Args, Debug)]
pub(super) struct Origins {
    /// What to do with a breaker; without it all of them are shown
    #[arg(value_enum, requires = "origin")]
    what: Option<What>,
    /// Of which origin
    #[arg(value_name = "ORIGIN")]
    origin: Option<String>,
    /// Of this server alone, by address and port, address or host
    #[arg(long, value_name = "SERVER", requires = "origin")]
    server: Option<String>,
    #[command(flatten)]
    node: Node,
}

/// What can be done with a breaker.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum What {
    /// Nothing is sent
    Open,
    /// Requests are sent, whatever comes back of them
    Close,
    /// It decides by itself
    Auto,
}

pub(super) fn origins(origins: &Origins) -> ExitCode {
    let Origins { what, origin, server, node } = origins;
    let (Some(what), Some(origin)) = (what, origin) else {
        return told(node, ask(node, "GET", "/v1/origins", None), state);
    };
    let wanted = match what {
        What::Open => "open",
        What::Close => "closed",
        What::Auto => "auto",
    };
    let body = json!({ "state": wanted, "server": server });
    let path = format!("/v1/origins/{}/breaker", segment(origin));
    told(node, ask(node, "POST", &path, Some(&body)), |answer| {
        let changed = answer.get("changed")?.as_u64()?;
        Some(format!("{} of {origin} set to {wanted}\n", count(changed, "breaker")))
    })
}

fn state(answer: &Value) -> Option<String> {
    let mut text = String::new();
    for origin in answer.get("origins")?.as_array()? {
        let requests = origin.get("requests")?;
        let of = |name: &str| requests.get(name).and_then(Value::as_u64).unwrap_or_default();
        text.push_str(&format!(
            "origin {}: {}; {} of {} under way, {} of {} waiting\n",
            origin.get("name")?.as_str()?,
            breaker(origin.get("breaker")?)?,
            of("under_way"),
            of("max_requests"),
            of("waiting"),
            of("max_waiting"),
        ));
        for server in origin.get("servers")?.as_array()? {
            text.push_str(&format!("  {}\n", one(server)?));
        }
        for name in origin.get("names").and_then(Value::as_array).into_iter().flatten() {
            if let Some(trouble) = name.get("error").and_then(Value::as_str) {
                text.push_str(&format!("  {}: {trouble}\n", name.get("name")?.as_str()?));
            }
        }
    }
    Some(if text.is_empty() { "this node asks no origin\n".to_owned() } else { text })
}

/// A server in a line.
fn one(server: &Value) -> Option<String> {
    let (address, host) = (server.get("address")?.as_str()?, server.get("host")?.as_str()?);
    let mut text = address.to_owned();
    if !address.contains(host) {
        text.push_str(&format!(" ({host})"));
    }
    let state = server.get("state")?.as_str()?;
    text.push_str(&format!(": {state}, {} under way", server.get("under_way")?.as_u64()?));
    let shown = server.get("breaker")?;
    if shown.get("state")?.as_str()? != "closed" || shown.get("forced")?.as_bool()? {
        text.push_str(&format!("; {}", breaker(shown)?));
    }
    if let Some(left) = server.pointer("/outlier/ejected_ms").and_then(Value::as_u64) {
        text.push_str(&format!("; it failed again and again, and is left alone for {}", time(left)));
    }
    if state == "sick"
        && let Some(why) = server.pointer("/health/last_failure").and_then(Value::as_str)
    {
        let of = |name: &str| {
            server.pointer(&format!("/health/{name}")).and_then(Value::as_u64).unwrap_or_default()
        };
        text.push_str(&format!("; {} of the last {} probes were good: {why}", of("good"), of("window")));
    }
    Some(text)
}

/// A breaker in words.
fn breaker(breaker: &Value) -> Option<String> {
    let of = |name: &str| breaker.get(name).and_then(Value::as_u64);
    let state = breaker.get("state")?.as_str()?;
    let mut text = format!("breaker {state}");
    match breaker.get("cause").and_then(Value::as_str) {
        Some(cause) => text.push_str(&format!(" for {}: {cause}", time(of("for_ms")?))),
        None => {
            text.push_str(&format!(", {} of {} requests failed lately", of("failures")?, of("requests")?))
        }
    }
    if let Some(next) = of("next_trial_ms") {
        text.push_str(&format!("; next trial in {}", time(next)));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_told_in_words() {
        let closed = json!({ "state": "closed", "forced": false, "for_ms": 0, "requests": 9, "failures": 1 });
        let open = json!({
            "state": "open", "forced": false, "for_ms": 1500, "requests": 0, "failures": 0,
            "cause": "12 of 20 requests failed within 10s", "next_trial_ms": 3500,
        });
        let answer = json!({ "origins": [{
            "name": "app", "requests": { "under_way": 2, "max_requests": 256, "waiting": 0, "max_waiting": 512 },
            "breaker": closed,
            "servers": [
                { "address": "10.0.0.1:80", "host": "app.example", "state": "open", "under_way": 0, "breaker": open, "outlier": { "failures": 0 } },
                { "address": "10.0.0.2:80", "host": "10.0.0.2", "state": "sick", "under_way": 2, "breaker": closed, "outlier": { "failures": 0 },
                  "health": { "good": 3, "window": 8, "last_failure": "its probe was answered with 500" } },
            ],
        }]});
        let text = state(&answer).expect("understood");
        for part in [
            "origin app: breaker closed, 1 of 9 requests failed lately; 2 of 256 under way",
            "10.0.0.1:80 (app.example): open, 0 under way; breaker open for 1.5 s: 12 of 20 requests failed within 10s; next trial in 3.5 s",
            "10.0.0.2:80: sick, 2 under way; 3 of the last 8 probes were good: its probe was answered with 500",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(state(&json!({})), None);
    }
}
