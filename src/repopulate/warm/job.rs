//! One warm job: what is still to be done, what has been counted, and what of it is kept
//! on disk.
//!
//! What always holds: a URL is listed once a job, however often it is named; what is
//! listed is left, filled, fresh, failed, disallowed, or skipped; of the failures the
//! first [`MOST_FAILURES`] are remembered. Pages are begun level by level, so that each
//! is reached by the shortest way.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::place::Url;
use crate::clock::Wall;
use crate::policy::Sites;

/// How many failures are remembered with their reasons.
pub const MOST_FAILURES: usize = 100;

/// What is to be warmed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Sitemaps: they are warmed, and so is what they list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sitemaps: Vec<String>,
    /// URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Pages: they are warmed, and so is what they show and link to on the same host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crawl: Vec<String>,
    /// How many links away from those pages is the furthest; `warm.depth` says what it is
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// The most URLs of the job; `warm.max_urls` at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_urls: Option<usize>,
    /// Whether robots.txt is obeyed; `warm.robots` says what it is otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robots: Option<bool>,
}

/// What has become of the URLs of a job.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// URLs that were named, by the job itself, by sitemaps or by pages, each once.
    pub listed: u64,
    /// Those of them that this node may warm.
    pub wanted: u64,
    /// Those that were got.
    pub filled: u64,
    /// Those that were stored already, and fresh.
    pub fresh: u64,
    /// Those that could not be got, or are an error.
    pub failed: u64,
    /// Those that are still to be done.
    pub left: u64,
    /// Those of which this node has no hidden route, or that are of another site than
    /// what named them.
    pub skipped: u64,
    /// Those that robots.txt forbids.
    pub disallowed: u64,
    /// Those that were more than the most.
    pub beyond_limit: u64,
}

/// A URL that was not warmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The URL.
    pub url: String,
    /// Why.
    pub why: String,
}

/// How far a job has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// There is something left to be done.
    Running,
    /// Everything has been done.
    Done,
    /// An operator has ended it.
    Cancelled,
}

/// A job, for operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub state: Phase,
    /// Who has asked for it.
    pub by: String,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// What has become of its URLs.
    #[serde(flatten)]
    pub counts: Counts,
    /// The first of those that were not warmed, and why.
    pub failures: Vec<Failure>,
}

/// How a URL is looked at once it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum As {
    /// Not at all.
    Part,
    /// As a sitemap that is listed by one that is listed by one, and so on so often.
    Sitemap(u32),
    /// As a page so many links away.
    Page(u32),
}

/// A URL that is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Todo {
    /// In canonical form.
    pub url: String,
    /// What is done with it then.
    #[serde(rename = "as")]
    pub kind: As,
    /// How many redirections have led to it.
    #[serde(default)]
    pub hops: u32,
}

/// A job.
pub struct Job {
    /// No other job has it.
    pub id: String,
    /// What is to be warmed.
    pub spec: Spec,
    /// Whether it is the node's own, and begins anew with the node.
    pub is_own: bool,
    by: String,
    began: Wall,
    most: u64,
    state: Mutex<State>,
    cancelled: watch::Sender<bool>,
}

struct State {
    phase: Phase,
    ended: Option<Wall>,
    waiting: VecDeque<Todo>,
    under_way: HashMap<u64, Todo>,
    /// How many pages of each level are under way.
    levels: BTreeMap<u32, usize>,
    begun: u64,
    seen: HashSet<u64>,
    counts: Counts,
    failures: Vec<Failure>,
}

/// A job as it is kept on disk.
#[derive(Serialize, Deserialize)]
pub struct Saved {
    id: String,
    spec: Spec,
    by: String,
    began_ms: u64,
    counts: Counts,
    failures: Vec<Failure>,
    todo: Vec<Todo>,
    seen: Vec<u64>,
}

/// How a URL has ended.
pub enum Ended {
    /// It was got.
    Filled,
    /// It was there.
    Fresh,
    /// It may not be asked for.
    Disallowed,
    /// It could not be got.
    Failed(String),
}

impl Job {
    /// A job of which nothing has been done yet.
    pub fn new(id: String, spec: Spec, by: &str, most: usize, is_own: bool, now: Wall) -> Self {
        let saved = Saved {
            id,
            spec,
            by: by.to_owned(),
            began_ms: now.millis(),
            counts: Counts::default(),
            failures: Vec::new(),
            todo: Vec::new(),
            seen: Vec::new(),
        };
        Self::from_saved(saved, most, is_own)
    }

    /// A job that goes on where it was.
    pub fn from_saved(saved: Saved, most: usize, is_own: bool) -> Self {
        let Saved { id, spec, by, began_ms, counts, failures, todo, seen } = saved;
        let most = spec.max_urls.map_or(most, |own| own.min(most)) as u64;
        let state = State {
            phase: Phase::Running,
            ended: None,
            waiting: todo.into(),
            under_way: HashMap::new(),
            levels: BTreeMap::new(),
            begun: 0,
            seen: seen.into_iter().collect(),
            counts,
            failures,
        };
        let (state, cancelled) = (Mutex::new(state), watch::Sender::new(false));
        Job { id, spec, is_own, by, began: Wall::from_millis(began_ms), most, state, cancelled }
    }

    /// Names a URL that is to be warmed. `by` is what names it, if it was not the operator,
    /// and `hops` how many redirections it took to come there.
    pub fn list(&self, text: &str, kind: As, by: Option<&Url>, hops: u32, sites: &Sites) {
        let url = Url::parse(text).filter(|url| by.is_none_or(|by| by.may_name(url, sites)));
        let place = url.and_then(|url| url.place(None, sites));
        let id = place.as_ref().map_or_else(|| xxh3_64(text.as_bytes()), |place| place.wanted.id() as u64);
        let mut state = self.state.lock();
        let State { seen, counts, waiting, .. } = &mut *state;
        // Only so much is remembered of what comes to nothing as of what is done.
        if counts.listed >= self.most * 2 {
            counts.beyond_limit += 1;
            return;
        }
        if !seen.insert(id) {
            return;
        }
        let Some(place) = place else {
            counts.listed += 1;
            counts.skipped += 1;
            return;
        };
        if counts.wanted + counts.disallowed >= self.most {
            counts.beyond_limit += 1;
            return;
        }
        counts.listed += 1;
        counts.wanted += 1;
        counts.left += 1;
        let todo = Todo { url: place.wanted.url(), kind, hops };
        match (kind, waiting.front().map(|front| front.kind)) {
            // What a page was moved to is on its level.
            (As::Page(level), Some(As::Page(front))) if front > level => waiting.push_front(todo),
            _ => waiting.push_back(todo),
        }
    }

    /// The next to be begun, with a number by which its end is told; none while what is
    /// under way has to end before.
    pub fn next(&self) -> Option<(u64, Todo)> {
        let mut state = self.state.lock();
        if let As::Page(level) = state.waiting.front()?.kind {
            if state.levels.first_key_value().is_some_and(|(lowest, _)| *lowest < level) {
                return None;
            }
            *state.levels.entry(level).or_default() += 1;
        }
        let todo = state.waiting.pop_front()?;
        state.begun += 1;
        let number = state.begun;
        state.under_way.insert(number, todo.clone());
        Some((number, todo))
    }

    /// How one that was begun has ended.
    pub fn ended(&self, number: u64, ended: Ended) {
        let mut state = self.state.lock();
        let State { under_way, levels, counts, failures, .. } = &mut *state;
        let Some(todo) = under_way.remove(&number) else { return };
        if let As::Page(level) = todo.kind
            && let Some(pages) = levels.get_mut(&level)
        {
            *pages -= 1;
            if *pages == 0 {
                levels.remove(&level);
            }
        }
        counts.left -= 1;
        match ended {
            Ended::Filled => counts.filled += 1,
            Ended::Fresh => counts.fresh += 1,
            Ended::Disallowed => {
                counts.wanted -= 1;
                counts.disallowed += 1;
            }
            Ended::Failed(why) => {
                counts.failed += 1;
                if failures.len() < MOST_FAILURES {
                    failures.push(Failure { url: todo.url, why });
                }
            }
        }
    }

    /// A failure that is no URL of the job.
    pub fn remark(&self, url: String, why: String) {
        let mut state = self.state.lock();
        if state.failures.len() < MOST_FAILURES {
            state.failures.push(Failure { url, why });
        }
    }

    /// Everything has been done.
    pub fn finish(&self, now: Wall) {
        self.end(Phase::Done, now);
    }

    /// It is to end.
    pub fn cancel(&self, now: Wall) {
        self.end(Phase::Cancelled, now);
        self.cancelled.send_replace(true);
    }

    fn end(&self, phase: Phase, now: Wall) {
        let mut state = self.state.lock();
        if state.phase == Phase::Running {
            (state.phase, state.ended) = (phase, Some(now));
        }
        (state.seen, state.waiting) = Default::default();
    }

    /// Waits until it was cancelled.
    pub async fn cancelled(&self) {
        // The sender lives as long as the job.
        let _ = self.cancelled.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    /// Whether there is something left to be done.
    pub fn is_running(&self) -> bool {
        self.state.lock().phase == Phase::Running
    }

    /// The job as it is now.
    pub fn view(&self) -> View {
        let state = self.state.lock();
        View {
            id: self.id.clone(),
            state: state.phase,
            by: self.by.clone(),
            began_ms: self.began.millis(),
            ended_ms: state.ended.map(Wall::millis),
            counts: state.counts,
            failures: state.failures.clone(),
        }
    }

    /// What is kept of it.
    pub fn saved(&self) -> Saved {
        let state = self.state.lock();
        Saved {
            id: self.id.clone(),
            spec: self.spec.clone(),
            by: self.by.clone(),
            began_ms: self.began.millis(),
            counts: state.counts,
            failures: state.failures.clone(),
            todo: state.under_way.values().chain(&state.waiting).cloned().collect(),
            seen: state.seen.iter().copied().collect(),
        }
    }
}

/// The jobs that are kept in a directory, the oldest first, and what is wrong with others.
pub fn load(folder: &Path) -> (Vec<Saved>, Vec<String>) {
    let (mut jobs, mut wrong): (Vec<Saved>, Vec<String>) = (Vec::new(), Vec::new());
    let Ok(entries) = std::fs::read_dir(folder) else { return (jobs, wrong) };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string())) {
            Ok(saved) => jobs.push(saved),
            Err(why) => wrong.push(format!("`{}`: {why}", path.display())),
        }
    }
    jobs.sort_by_key(|saved| saved.began_ms);
    (jobs, wrong)
}
