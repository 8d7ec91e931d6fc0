//! The command that says how a request would be answered, and why.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::operator::{Node, ask, told};
use crate::clock::Wall;
use crate::rfc::date;

pub(super) const EXAMPLES: &str = "\
Examples:
  forebay explain http://www.example.org/news
  forebay explain http://www.example.org/news -H 'Accept-Encoding: gzip' -H 'Cookie: session=1'
  forebay explain http://www.example.org/news -H 'Cache-Control: no-cache' --method HEAD
  forebay explain http://127.0.0.1:8080/news -H 'Host: www.example.org'
  forebay explain https://www.example.org/news --json --admin 10.0.0.7:6090 --token \"$TOKEN\"

It says what a request comes to that arrives now, from this machine itself: its canonical form, the site
and the route, the cache key, what is stored under that with ages and lifetimes, and the verdict; each with
its section of the standard. It changes nothing, counts no hit and no miss, and asks no origin.

Write the URL as clients ask for it, with a port that is not 80 or 443, and give the header lines that they
send: by which of them a response is selected stands in the answer.";

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The URL as clients ask for it
    #[arg(value_name = "URL")]
    url: String,
    /// A header line of the request; may be given again
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'")]
    headers: Vec<String>,
    /// The method of the request
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,
    #[command(flatten)]
    node: Node,
}

pub(super) fn explain(explain: &Explain) -> ExitCode {
    let Explain { url, headers, method, node } = explain;
    let body = json!({ "url": url, "headers": headers, "method": method });
    told(node, ask(node, "POST", "/v1/explain", Some(&body)), words)
}

/// The steps, each with its lines, and behind a line in brackets where the standard says so.
fn words(answer: &Value) -> Option<String> {
    let of = |name: &str| answer.get(name).and_then(Value::as_str);
    let at = date::format(Wall::from_millis(answer.get("at_ms")?.as_u64()?));
    let mut text = format!("{} {}\nnode {}, {at}\n", of("method")?, of("url")?, of("node")?);
    for step in answer.get("steps")?.as_array()? {
        let name = step.get("step")?.as_str()?;
        text.push_str(&format!("\n{name}"));
        if name == "verdict" {
            let verdict = answer.get("verdict")?;
            let (does, reason) = (verdict.get("does")?.as_str()?, verdict.get("reason")?.as_str()?);
            text.push_str(&format!(": {does} ({reason})"));
        }
        text.push('\n');
        lines(step.get("says")?, 1, &mut text)?;
    }
    Some(text)
}

fn lines(says: &Value, depth: usize, text: &mut String) -> Option<()> {
    for line in says.as_array()? {
        let indent = "  ".repeat(depth);
        let said = line.get("text")?.as_str()?;
        let rfc = line
            .get("rfc")
            .and_then(Value::as_str)
            .filter(|rfc| !rfc.is_empty())
            .map_or(String::new(), |rfc| format!("  [{rfc}]"));
        text.push_str(&format!("{indent}{said}{rfc}\n"));
        if let Some(more) = line.get("more") {
            lines(more, depth + 1, text)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_told_in_words() {
        let answer = json!({
            "node": "edge", "at_ms": 1_800_000_000_000_u64, "method": "GET", "url": "http://a/x",
            "verdict": { "does": "deliver", "reason": "fresh" },
            "steps": [
                { "step": "stored", "says": [{ "text": "1 response", "rfc": "RFC 9111 4", "more": [{ "text": "age 3 s" }] }] },
                { "step": "verdict", "says": [{ "text": "It answers." }] },
            ],
        });
        assert_eq!(
            words(&answer).as_deref(),
            Some(
                "GET http://a/x\nnode edge, Fri, 15 Jan 2027 08:00:00 GMT\n\n\
                 stored\n  1 response  [RFC 9111 4]\n    age 3 s\n\n\
                 verdict: deliver (fresh)\n  It answers.\n"
            )
        );
        assert_eq!(words(&json!({ "steps": [] })), None);
    }
}
