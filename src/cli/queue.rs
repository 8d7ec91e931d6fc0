//! The commands about hidden origins: how they stand, and what was given up.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::count;
use super::operator::{Node, ask, told};
use crate::rfc::uri::segment;

pub(super) const EXAMPLES: &str = "\
Examples:
  forebay queue                    what is wanted, what waits, how fast the origins are asked
  forebay queue --dead origin      the events of an origin that were given up
  forebay queue --replay origin    tell all of them once more";

#[derive(Args, Debug)]
pub(super) struct Queue {
    /// Show the miss events of this origin that were given up
    #[arg(long, value_name = "ORIGIN", conflicts_with = "replay")]
    dead: Option<String>,
    /// Tell the events of this origin that were given up once more
    #[arg(long, value_name = "ORIGIN")]
    replay: Option<String>,
    /// Only the event of this id; may be given again
    #[arg(long, value_name = "ID", requires = "replay")]
    id: Vec<String>,
    #[command(flatten)]
    node: Node,
}

pub(super) fn queue(queue: &Queue) -> ExitCode {
    let Queue { dead: of_dead, replay, id, node } = queue;
    if let Some(origin) = of_dead {
        let path = format!("/v1/queue/{}/dead", segment(origin));
        return told(node, ask(node, "GET", &path, None), dead);
    }
    let Some(origin) = replay else {
        return told(node, ask(node, "GET", "/v1/queue", None), state);
    };
    let body = json!({ "ids": id });
    let path = format!("/v1/queue/{}/replay", segment(origin));
    told(node, ask(node, "POST", &path, Some(&body)), |answer| {
        let replayed = answer.get("replayed")?.as_u64()?;
        Some(format!("told {} once more\n", count(replayed, "event")))
    })
}

fn state(answer: &Value) -> Option<String> {
    let number = |name: &str| answer.get(name)?.as_u64();
    let mut text = format!(
        "{} wanted or held down, the oldest for {}; a fill takes {} as a rule; {} known\n",
        count(number("leases")?, "key"),
        time(number("oldest_wanted_seconds")? * 1000),
        time(number("usual_fill_ms")?),
        count(number("known_keys")?, "key"),
    );
    if number("backlog")? > 0 {
        text.push_str(&format!("{} wait for the broker\n", count(number("backlog")?, "event")));
    }
    for origin in answer.get("origins")?.as_array()? {
        let of = |name: &str| origin.get(name).and_then(Value::as_u64).unwrap_or_default();
        let rate = |name: &str| origin.get(name).and_then(Value::as_f64).unwrap_or_default();
        let waiting = origin.get("waiting")?.as_object()?;
        let waiting: Vec<String> = ["user", "refresh", "unknown", "warm"]
            .into_iter()
            .filter_map(|class| Some((class, waiting.get(class)?.as_u64()?)))
            .filter(|(_, number)| *number > 0)
            .map(|(class, number)| format!("{number} {class}"))
            .collect();
        text.push_str(&format!(
            "origin {}: asked {:.1} times a second at most, of {:.1} agreed; {} of {} under way; it answers in {}; waiting: {}\n",
            origin.get("origin")?.as_str()?,
            rate("rate"),
            rate("agreed_rate"),
            of("under_way"),
            of("concurrency"),
            time(of("latency_ms")),
            if waiting.is_empty() { "nothing".to_owned() } else { waiting.join(", ") },
        ));
        if let Some(paused) = origin.get("paused").filter(|paused| paused.is_object()) {
            let why = match paused["why"].as_str() {
                Some("retry-after") => "it asked to be left alone",
                _ => "it fails",
            };
            let left = paused["for_ms"].as_u64().unwrap_or_default();
            let next = if left == 0 {
                "a trial is under way".to_owned()
            } else {
                format!("the next trial is in {}", time(left))
            };
            text.push_str(&format!("  paused: {why}; {next}\n"));
        }
    }
    Some(text)
}

fn dead(answer: &Value) -> Option<String> {
    let mut text = String::new();
    for letter in answer.get("dead")?.as_array()? {
        let of = |name: &str| letter.get(name).and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("{}  {}  {}  {}\n", of("id"), of("time"), of("url"), of("why")));
    }
    Some(if text.is_empty() { "nothing was given up\n".to_owned() } else { text })
}

/// A time as people say it.
pub(super) fn time(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{:.1} s", millis as f64 / 1000.0),
        _ => format!("{} min", millis / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_told_in_words() {
        let answer = json!({
            "leases": 12, "oldest_wanted_seconds": 3, "usual_fill_ms": 250, "known_keys": 1, "backlog": 0,
            "origins": [{
                "origin": "app", "rate": 12.5, "agreed_rate": 50.0, "under_way": 3, "concurrency": 10,
                "latency_ms": 80, "waiting": { "user": 4, "refresh": 0, "unknown": 2, "warm": 0 },
                "paused": { "why": "failing", "for_ms": 4000 },
            }],
        });
        let text = state(&answer).expect("understood");
        for part in
            ["12 keys wanted", "for 3.0 s", "1 key known", "12.5 times", "4 user, 2 unknown", "in 4.0 s"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(state(&json!({})), None);
    }
}
