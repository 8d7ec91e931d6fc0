//! `forebay warm`: begins a job at a running node, and shows how far it has come.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::operator::{self, ANSWER_TIMEOUT, Node};
use super::{count, failed, print};
use crate::repopulate::warm::{listed, read_list};

pub(super) const EXAMPLES: &str = "\
Examples:
  forebay warm --sitemap https://www.example.org/sitemap.xml
  forebay warm --urls popular.txt
  forebay warm --crawl https://www.example.org/ --depth 2
  mysql shop -Ne 'select url from pages' | forebay warm --urls -

URLs are written as clients ask for them. The node gets them through its hidden routes, in the lowest class and
within the rate that was agreed with the origin's owner; robots.txt is obeyed. Ctrl-C ends the job.

Exit codes: 0 all of it was warmed, 1 some of it was not, 2 the command line is wrong.";

/// Between two questions how far it has come.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two lines where nobody looks at a terminal.
const LINE: Duration = Duration::from_secs(5);
/// The most bytes of URLs in one job: the admin port takes a mebibyte at once.
const MOST_BYTES: usize = 512 * 1024;
/// The most failures that are shown.
const MOST_SHOWN: usize = 20;
/// The width of the bar.
const BAR: usize = 24;

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("warmed").required(true).multiple(true))]
pub(super) struct Warm {
    /// A sitemap, or an index of sitemaps; may be given again
    #[arg(long, value_name = "URL", group = "warmed")]
    sitemap: Vec<String>,
    /// A file with a URL on each line, or - for the standard input
    #[arg(long, value_name = "FILE", group = "warmed")]
    urls: Option<PathBuf>,
    /// A page, with what it shows and what it links to on the same host; may be given again
    #[arg(long, value_name = "URL", group = "warmed")]
    crawl: Vec<String>,
    /// How many links away from those pages is the furthest [default: warm.depth of the node]
    #[arg(long, value_name = "N", requires = "crawl")]
    depth: Option<u32>,
    /// Do not ask what robots.txt says
    #[arg(long)]
    ignore_robots: bool,
    #[command(flatten)]
    node: Node,
}

pub(super) fn warm(warm: &Warm) -> ExitCode {
    let urls = match &warm.urls {
        Some(file) => match read(file) {
            Ok(urls) => urls,
            Err(problem) => return failed(&format!("forebay: {problem}")),
        },
        None => Vec::new(),
    };
    let jobs = jobs(warm, &urls);
    if jobs.is_empty() {
        return failed(&"forebay: there is no URL in it");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(&warm.node, &jobs)),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match done {
        Ok(sum) if warm.node.json => {
            let code = print(&format!("{}\n", sum.answer()));
            if sum.is_good() { code } else { ExitCode::FAILURE }
        }
        Ok(sum) => {
            let code = print(&sum.words());
            if sum.is_good() { code } else { ExitCode::FAILURE }
        }
        Err(problem) => failed(&format!("forebay: {problem}")),
    }
}

fn read(file: &Path) -> Result<Vec<String>, String> {
    if file.as_os_str() != "-" {
        return read_list(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| format!("the standard input: {error}"))?;
    Ok(listed(&text))
}

/// What the node is asked to do, one after the other.
fn jobs(warm: &Warm, urls: &[String]) -> Vec<Value> {
    let mut common = json!({});
    if warm.ignore_robots {
        common["robots"] = json!(false);
    }
    let mut jobs = Vec::new();
    if !warm.sitemap.is_empty() || !warm.crawl.is_empty() {
        let mut job = common.clone();
        (job["sitemaps"], job["crawl"]) = (json!(warm.sitemap), json!(warm.crawl));
        if let Some(depth) = warm.depth {
            job["depth"] = json!(depth);
        }
        jobs.push(job);
    }
    let (mut part, mut bytes) = (Vec::new(), 0);
    let mut rest = urls.iter().peekable();
    while let Some(url) = rest.next() {
        bytes += url.len() + 4;
        part.push(url);
        if rest.peek().is_none_or(|next| bytes + next.len() > MOST_BYTES) {
            let mut job = common.clone();
            job["urls"] = json!(part);
            jobs.push(job);
            (part, bytes) = (Vec::new(), 0);
        }
    }
    jobs
}

/// Runs these jobs, and sums up what has come of them.
async fn run(node: &Node, jobs: &[Value]) -> Result<Sum, String> {
    let mut sum = Sum { jobs: Vec::new(), all: jobs.len() };
    let mut show = Show::new(node.json);
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    for job in jobs {
        let answer = ask(node, "POST", "/v1/warm", Some(job)).await?;
        let id = answer["id"]
            .as_str()
            .ok_or_else(|| format!("{} answered something else: {answer}", node.admin))?;
        let path = format!("/v1/warm/{id}");
        sum.jobs.push(answer.clone());
        while sum.last("state") == "running" {
            show.progress(&sum);
            let told = tokio::select! {
                () = tokio::time::sleep(PAUSE) => ask(node, "GET", &path, None).await?,
                _ = interrupted.recv() => ask(node, "DELETE", &path, None).await?,
            };
            sum.jobs.pop();
            sum.jobs.push(told);
        }
        if sum.last("state") != "done" {
            break;
        }
    }
    show.end(&sum);
    Ok(sum)
}

async fn ask(node: &Node, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, operator::exchange(node, method, path, body)).await;
    answer.unwrap_or_else(|_| Err(format!("{} did not answer within {ANSWER_TIMEOUT:?}", node.admin)))
}

/// The jobs so far, as the node has told them.
struct Sum {
    jobs: Vec<Value>,
    all: usize,
}

impl Sum {
    fn count(&self, name: &str) -> u64 {
        self.jobs.iter().filter_map(|job| job[name].as_u64()).sum()
    }

    fn last(&self, name: &str) -> &str {
        self.jobs.last().and_then(|job| job[name].as_str()).unwrap_or_default()
    }

    fn failures(&self) -> impl Iterator<Item = &Value> {
        self.jobs.iter().filter_map(|job| job["failures"].as_array()).flatten()
    }

    /// Whether everything was warmed that was wanted.
    fn is_good(&self) -> bool {
        let whole = self.jobs.len() == self.all && self.jobs.iter().all(|job| job["state"] == "done");
        whole && self.failures().next().is_none() && self.count("failed") + self.count("beyond_limit") == 0
    }

    fn answer(&self) -> Value {
        match &self.jobs[..] {
            [only] => only.clone(),
            jobs => json!({ "jobs": jobs }),
        }
    }

    fn words(&self) -> String {
        let mut text = match self.last("state") {
            "done" => String::new(),
            state => format!("{state}, {} left\n", self.count("left")),
        };
        text.push_str(&format!(
            "warmed {} of {}: {} filled, {} were there already, {} failed\n",
            self.count("filled") + self.count("fresh"),
            count(self.count("wanted"), "URL"),
            self.count("filled"),
            self.count("fresh"),
            self.count("failed"),
        ));
        for (name, why) in [
            ("skipped", "not of a hidden route of this node, or of another site than what names them"),
            ("disallowed", "forbidden by robots.txt"),
            ("beyond_limit", "beyond warm.max_urls"),
        ] {
            match self.count(name) {
                0 => {}
                number => text.push_str(&format!("{} left out: {why}\n", count(number, "URL"))),
            }
        }
        for failure in self.failures().take(MOST_SHOWN) {
            let part = |name: &str| failure[name].as_str().unwrap_or_default();
            text.push_str(&format!("  {}  {}\n", part("url"), part("why")));
        }
        let failures = self.count("failed").max(self.failures().count() as u64);
        if failures > MOST_SHOWN as u64 {
            text.push_str(&format!(
                "  and {} more; --json shows the first hundred\n",
                failures - MOST_SHOWN as u64
            ));
        }
        text
    }
}

/// Shows how far it has come, on the standard error output: a bar on a terminal, and a
/// line now and then elsewhere.
struct Show {
    is_silent: bool,
    is_terminal: bool,
    began: Instant,
    line_at: Instant,
}

impl Show {
    fn new(is_silent: bool) -> Self {
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        Show { is_silent, is_terminal, began: now, line_at: now + LINE }
    }

    fn progress(&mut self, sum: &Sum) {
        if self.is_silent {
            return;
        }
        let done = sum.count("filled") + sum.count("fresh") + sum.count("failed");
        let line = line(done, sum.count("wanted"), sum.count("failed"), self.began.elapsed());
        // Nobody is left to be told when this fails.
        let mut out = std::io::stderr().lock();
        if self.is_terminal {
            let _ = write!(out, "\r\x1b[K{} {line}", bar(done, sum.count("wanted")));
            let _ = out.flush();
        } else if Instant::now() >= self.line_at {
            self.line_at = Instant::now() + LINE;
            let _ = writeln!(out, "{line}");
        }
    }

    fn end(&mut self, sum: &Sum) {
        self.progress(sum);
        if self.is_terminal && !self.is_silent {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn bar(done: u64, wanted: u64) -> String {
    let full = (done.min(wanted) * BAR as u64).checked_div(wanted).unwrap_or(BAR as u64) as usize;
    format!("[{}{}]", "#".repeat(full), " ".repeat(BAR - full))
}

fn line(done: u64, wanted: u64, failed: u64, passed: Duration) -> String {
    let mut line = format!("{done} of {wanted}");
    if failed > 0 {
        line.push_str(&format!(", {failed} failed"));
    }
    let rate = done as f64 / passed.as_secs_f64().max(0.001);
    if done > 0 && passed >= Duration::from_secs(2) {
        line.push_str(&format!(", {rate:.1}/s"));
        let left = Duration::from_secs_f64((wanted.saturating_sub(done)) as f64 / rate);
        if !left.is_zero() {
            line.push_str(&format!(", {}:{:02} left", left.as_secs() / 60, left.as_secs() % 60));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_from_left_to_right() {
        assert_eq!(bar(0, 10), format!("[{}]", " ".repeat(BAR)));
        assert_eq!(bar(5, 10).matches('#').count(), BAR / 2);
        assert_eq!(bar(12, 10), bar(0, 0));
        assert_eq!(line(10, 100, 2, Duration::from_secs(5)), "10 of 100, 2 failed, 2.0/s, 0:45 left");
        assert_eq!(line(0, 100, 0, Duration::from_secs(5)), "0 of 100");
    }

    #[test]
    fn a_long_list_becomes_several_jobs() {
        let urls: Vec<String> = (0..20_000).map(|n| format!("http://www.example.org/{n:060}")).collect();
        let node = Node { admin: String::new(), token: None, json: false };
        let (sitemap, crawl) = (vec!["http://a/s".to_owned()], Vec::new());
        let warm = Warm { sitemap, urls: None, crawl, depth: None, ignore_robots: true, node };
        let jobs = jobs(&warm, &urls);
        assert!(jobs.len() > 3 && jobs.iter().all(|job| job.to_string().len() < 1024 * 1024));
        assert_eq!(jobs.iter().filter_map(|job| job["urls"].as_array()).map(Vec::len).sum::<usize>(), 20_000);
        assert!(jobs.iter().all(|job| job["robots"] == json!(false)));
    }
}
