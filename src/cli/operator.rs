//! The commands that speak to a running node, over its admin port.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{count, failed, print};
use crate::clock::Wall;
use crate::config::units;
use crate::stored::Selector;

pub(super) const PURGE_EXAMPLES: &str = "\
Examples:
  forebay purge http://www.example.org/news
  forebay purge --soft http://www.example.org/news http://www.example.org/
  forebay purge --tag product-17 --tag category-3
  forebay purge --prefix http://www.example.org/news/
  forebay purge --host www.example.org --dry-run
  forebay purge --ban 'req.url ~ ^/img/ && obj.http.content-type == image/png'
  forebay purge --all
  forebay purge --wait --timeout 5s --tag product-17
  forebay purge --admin 10.0.0.7:6090 --token \"$TOKEN\" http://www.example.org/news

Exit codes: 0 purged (also when nothing matched; with --wait, on all live nodes), 1 not purged, or not as
safely as it should be, 2 the command line is wrong, 3 purged on the node that was asked, and with --wait
not known to hold on all live nodes within the timeout.";

/// Where a node's admin port is unless it was told otherwise.
const DEFAULT_ADMIN: &str = "127.0.0.1:6090";

/// How long a node may take to answer a command.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The exit code when something holds here, and is not known to hold everywhere.
const NOT_EVERYWHERE: u8 = 3;

/// How often a node is asked how far a purge has come.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Which node is asked, and how.
#[derive(Args, Debug)]
pub(super) struct Node {
    /// The node's admin port, as host:port or http://host:port
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADMIN)]
    pub(super) admin: String,
    /// The node's admin token
    #[arg(long, value_name = "TOKEN", env = "FOREBAY_ADMIN_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Print what the node answered, as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct Purge {
    /// URLs as clients ask for them
    #[arg(value_name = "URL", group = "what")]
    urls: Vec<String>,
    /// Every response with this tag (surrogate key); may be given again
    #[arg(long, value_name = "TAG", group = "what")]
    tag: Vec<String>,
    /// Every URL that begins so; may be given again
    #[arg(long, value_name = "URL", group = "what")]
    prefix: Vec<String>,
    /// Everything of a host; may be given again
    #[arg(long, value_name = "HOST", group = "what")]
    host: Vec<String>,
    /// Everything of a site, by its name; with --tag, the tags of this site alone
    #[arg(long, value_name = "NAME", group = "what")]
    site: Option<String>,
    /// Everything that an expression in Varnish's grammar matches
    #[arg(long, value_name = "EXPRESSION", group = "what")]
    ban: Option<String>,
    /// Everything
    #[arg(long, group = "what")]
    all: bool,
    /// Make the responses stale in place of unusable: they still answer when the origin fails
    #[arg(long)]
    soft: bool,
    /// Let go of responses on hidden routes as well, which otherwise become stale and are asked for anew
    #[arg(long, conflicts_with = "soft")]
    hard: bool,
    /// Only count what would be purged
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Return when it holds on all live nodes of the cluster
    #[arg(long)]
    wait: bool,
    /// How long to wait for that
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "wait", value_parser = time)]
    timeout: Duration,
    #[command(flatten)]
    node: Node,
}

#[derive(Args, Debug)]
pub(super) struct Purges {
    /// How many are shown, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    count: u16,
    #[command(flatten)]
    node: Node,
}

#[derive(Args, Debug)]
pub(super) struct Nodes {
    #[command(flatten)]
    node: Node,
}

#[derive(Args, Debug)]
pub(super) struct Bans {
    #[command(flatten)]
    node: Node,
}

pub(super) fn purge(purge: &Purge) -> ExitCode {
    let mut body = json!({ "soft": purge.soft, "hard": purge.hard, "dry_run": purge.dry_run });
    for (name, values) in
        [("urls", &purge.urls), ("tags", &purge.tag), ("prefixes", &purge.prefix), ("hosts", &purge.host)]
    {
        if !values.is_empty() {
            body[name] = json!(values);
        }
    }
    if let Some(site) = &purge.site {
        body["site"] = json!(site);
    }
    if let Some(ban) = &purge.ban {
        body["ban"] = json!(ban);
    }
    if purge.all {
        body["all"] = json!(true);
    }
    let mut answer = ask(&purge.node, "POST", "/v1/purge", Some(&body));
    let mut behind = None;
    if let (true, Ok(answer)) = (purge.wait, &mut answer) {
        behind = wait(purge, answer).err();
    }
    let outcome = told(&purge.node, answer, |answer| {
        let number = answer.get("purged")?.as_u64()?;
        let verb = match (purge.dry_run, purge.soft) {
            (true, _) => "would purge",
            (false, true) => "made stale",
            (false, false) => "purged",
        };
        let more = if answer["pending"] == json!(true) { " so far; the rest before it is used" } else { "" };
        let alone = body.as_object().is_some_and(|body| body.len() == 4);
        let of = match &purge.urls[..] {
            [url] if alone => format!(" of {url}"),
            _ => String::new(),
        };
        let elsewhere = match (answer.get("nodes").and_then(Value::as_array), answer["reason"].as_str()) {
            (Some(nodes), _) => format!("\nholds on {}", names(nodes)),
            (None, Some(reason)) => format!("; {reason}"),
            (None, None) => String::new(),
        };
        Some(format!("{verb} {}{of}{more}{elsewhere}\n", count(number, "response")))
    });
    match behind {
        Some(why) if outcome == ExitCode::SUCCESS => {
            let _ = failed(&format!("forebay: {why}"));
            ExitCode::from(NOT_EVERYWHERE)
        }
        _ => outcome,
    }
}

/// Waits until a purge holds on all live nodes, and adds to what was answered where it
/// does. Says why it gave up.
fn wait(purge: &Purge, answer: &mut Value) -> Result<(), String> {
    let Some(sequence) = answer["sequence"].as_u64() else { return Ok(()) };
    let deadline = Instant::now() + purge.timeout;
    loop {
        let shown = ask(&purge.node, "GET", &format!("/v1/purges/{sequence}"), None)?;
        answer["nodes"] = shown["nodes"].clone();
        answer["waiting_for"] = shown["waiting_for"].clone();
        let waiting = shown["waiting_for"].as_array().map_or(&[][..], Vec::as_slice);
        // Before it has a place in the order of the cluster nobody else can have it.
        let placed = shown.get("identity").is_none() || shown.get("offset").is_some();
        if placed && waiting.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let of = if placed { names(waiting) } else { "the broker".to_owned() };
            let timeout = units::print_time(purge.timeout);
            return Err(format!(
                "after {timeout} still waiting for {of}; the purge goes on without this command"
            ));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The names of nodes, as they are told.
fn names(nodes: &[Value]) -> String {
    let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    names.join(", ")
}

pub(super) fn nodes(nodes: &Nodes) -> ExitCode {
    told(&nodes.node, ask(&nodes.node, "GET", "/v1/nodes", None), |answer| {
        let mut text = String::new();
        for node in answer.get("nodes")?.as_array()? {
            let state = match (&node["this"], &node["live"], &node["same_stream"]) {
                (Value::Bool(true), _, _) => "this node",
                (_, Value::Bool(true), Value::Bool(true)) => "live",
                (_, Value::Bool(true), _) => "live, in another stream",
                _ => "silent",
            };
            let heard = units::print_time(Duration::from_millis(node["heard_ms"].as_u64()? / 100 * 100));
            text.push_str(&format!(
                "{}  {}  admin {}  position {}  heard of {heard} ago  {state}\n",
                node["name"].as_str()?,
                node["node"].as_str()?,
                node["admin"].as_str()?,
                node["position"]
            ));
        }
        if let Some(trouble) = answer["trouble"].as_str() {
            text.push_str(&format!("this node is not in touch with the others: {trouble}\n"));
        }
        Some(text)
    })
}

fn time(text: &str) -> Result<Duration, String> {
    units::time(text).ok_or_else(|| "write a time such as 500ms, 10s or 2m".to_owned())
}

pub(super) fn purges(purges: &Purges) -> ExitCode {
    let answer = ask(&purges.node, "GET", &format!("/v1/purges?count={}", purges.count), None);
    told(&purges.node, answer, |answer| {
        let mut text = String::new();
        for purge in answer.get("purges")?.as_array()? {
            let when = http_date(purge["at_ms"].as_u64().unwrap_or_default());
            let kind = if purge["soft"] == json!(true) { "soft" } else { "hard" };
            let hit = purge["responses"].as_u64().map_or_else(|| "-".to_owned(), |hit| hit.to_string());
            let what: Vec<Selector> = serde_json::from_value(purge["what"].clone()).ok()?;
            let what: Vec<String> = what.iter().map(Selector::to_string).collect();
            let by = purge["by"].as_str().unwrap_or_default();
            text.push_str(&format!(
                "{}  {when}  {kind}  {hit:>7}  {by}  {}\n",
                purge["sequence"],
                what.join(", ")
            ));
        }
        Some(if text.is_empty() { "no purges\n".to_owned() } else { text })
    })
}

pub(super) fn bans(bans: &Bans) -> ExitCode {
    told(&bans.node, ask(&bans.node, "GET", "/v1/bans", None), |answer| {
        let mut text = String::new();
        for ban in answer.get("bans")?.as_array()? {
            let when = http_date(ban["at_ms"].as_u64().unwrap_or_default());
            let (hit, ban_text) = (&ban["responses"], ban["ban"].as_str().unwrap_or_default());
            text.push_str(&format!("{}  {when}  {hit:>7}  {ban_text}\n", ban["sequence"]));
        }
        Some(if text.is_empty() { "no bans: everything stored has been tested\n".to_owned() } else { text })
    })
}

fn http_date(millis: u64) -> String {
    crate::rfc::date::format(Wall::from_millis(millis))
}

/// Prints what a node answered: as it is, or in words.
pub(super) fn told(
    node: &Node,
    answer: Result<Value, String>,
    words: impl Fn(&Value) -> Option<String>,
) -> ExitCode {
    match answer {
        Ok(answer) if node.json => print(&format!("{answer}\n")),
        Ok(answer) => match words(&answer) {
            Some(text) => print(&text),
            None => failed(&format!("forebay: {} answered something else: {answer}", node.admin)),
        },
        Err(problem) => failed(&format!("forebay: {problem}")),
    }
}

pub(super) fn ask(node: &Node, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        tokio::time::timeout(ANSWER_TIMEOUT, exchange(node, method, path, body)).await.unwrap_or_else(|_| {
            Err(format!("{} did not answer within {} s", node.admin, ANSWER_TIMEOUT.as_secs()))
        })
    })
}

/// One call to the admin port.
pub(super) async fn exchange(
    node: &Node,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let address = admin_address(&node.admin)?;
    let stream = TcpStream::connect(&address).await.map_err(|error| {
        format!(
            "no admin port at {address} ({error}). Is the node running? Say --admin ADDRESS if its admin \
             port is elsewhere."
        )
    })?;
    let lost = |error: hyper::Error| format!("{address} did not answer as an admin port does ({error})");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(async move {
        // What goes wrong on the connection is told by the request as well.
        let _ = connection.await;
    });
    let mut request = http::Request::builder().method(method).uri(path).header(http::header::HOST, &address);
    if let Some(token) = &node.token {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header(http::header::CONTENT_TYPE, "application/json");
    }
    let content = body.map(Value::to_string).unwrap_or_default();
    let request =
        request.body(Full::new(Bytes::from(content))).map_err(|error| format!("cannot ask: {error}"))?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), 16 * 1024 * 1024);
    let body = body.collect().await.map_err(|error| format!("{address} broke off ({error})"))?.to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() && answer.is_object() {
        Ok(answer)
    } else {
        Err(refusal(&address, status, &answer, &body))
    }
}

/// What a node that did not do it said, with what to do about it where that is known.
fn refusal(address: &str, status: http::StatusCode, answer: &Value, body: &[u8]) -> String {
    let said = match answer.get("error").and_then(Value::as_str) {
        Some(error) => error.to_owned(),
        None => String::from_utf8_lossy(body).trim().chars().take(300).collect(),
    };
    let cure = match (status, answer.get("cure").and_then(Value::as_str)) {
        (http::StatusCode::UNAUTHORIZED, _) => ". Give its token with --token, or in FOREBAY_ADMIN_TOKEN.",
        (_, Some(cure)) => &format!(". {cure}"),
        (http::StatusCode::FORBIDDEN, None) => ". Give its token with --token, or in FOREBAY_ADMIN_TOKEN.",
        _ => "",
    };
    format!("{address} answered {status}: {}{cure}", said.trim_end_matches('.'))
}

/// Host and port of the admin port, from either or from a URL.
fn admin_address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    match bare.parse::<http::uri::Authority>() {
        Ok(authority) if authority.port_u16().is_some() && !bare.contains('@') => Ok(bare.to_owned()),
        Ok(_) if !bare.contains([':', '@', '/']) => Ok(format!("{bare}:6090")),
        _ => Err(format!("{text:?} is no admin port. Write host:port, such as {DEFAULT_ADMIN}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_is_an_address_or_a_url() {
        for (text, address) in [
            ("127.0.0.1:6090", Some("127.0.0.1:6090")),
            ("http://cache.example:7000/", Some("cache.example:7000")),
            ("cache.example", Some("cache.example:6090")),
            ("[::1]:6090", Some("[::1]:6090")),
            ("https://cache.example:7000", None),
            ("user@cache.example:7000", None),
            ("", None),
        ] {
            assert_eq!(admin_address(text).ok().as_deref(), address, "{text:?}");
        }
    }
}
