//! Warming: filling the cache before anybody asks, and keeping a complete copy of a site
//! to serve when its origin is gone.
//!
//! A job has URLs, sitemaps, and pages whose links are followed. Each of them is told as
//! a miss is, in the lowest class, and comes back as a fill; sitemaps, pages and
//! robots.txt as well, which are then read in the store. So the rate that was agreed with
//! the origin's owner covers all of it, and whatever a client waits for goes before.
//!
//! What always holds: only what a hidden route of this node answers for is asked for, and
//! nothing that robots.txt forbids, unless the operator says so; what a sitemap or a page
//! names is of its own site; jobs, their URLs, their failures, and the keys of one origin
//! that are under way are bounded in number; a job that has not ended goes on after a
//! restart where there is a state directory.
//!
//! What it never does: open a connection.

mod get;
mod job;
pub mod links;
mod place;
pub mod sitemap;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio::task::JoinHandle;

pub use job::{Counts, Failure, Phase, Spec, View};
pub use place::Url;

use super::announce::Announcer;
use super::{Agreed, known};
use crate::clock::Clock;
use crate::observe::counters::Counters;
use crate::policy::Sites;
use crate::rfc::robots::{self, Robots};
use crate::store::Store;
use crate::stored::StoredResponse;
use get::{Getter, Got};
use job::{As, Ended, Job, Todo};

/// The name by which robots.txt is asked.
const ROBOT: &str = "forebay";
/// The name of the folder with the jobs that have not ended.
const FOLDER: &str = "warm";
/// The most jobs at once.
const MOST_RUNNING: usize = 8;
/// The most jobs that are remembered.
const MOST_JOBS: usize = 100;
/// The most URLs of a job that are under way, be it waiting for room.
const MOST_UNDER_WAY: usize = 2_000;
/// The most keys of one origin that are asked for at once.
const MOST_ROOM: usize = 1_000;
/// What is asked for at once is what the origin answers within so many seconds.
const AHEAD: f64 = 20.0;
/// Redirections, and sitemaps that lead to each other.
const MOST_HOPS: u32 = 5;
/// The largest page whose links are read.
const MOST_PAGE: u64 = 8 * 1024 * 1024;
/// The most references that are taken from a page.
const MOST_LINKS: usize = 10_000;
/// The most documents that are read at once.
const MOST_READERS: usize = 2;
/// How often a job is written down.
const WRITE_DOWN: Duration = Duration::from_secs(10);
/// The largest file of URLs.
const MOST_FILE: u64 = 256 * 1024 * 1024;

/// What is warmed, and how much of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How often the node warms what is named below; never, if it is not set.
    pub every: Option<Duration>,
    /// Sitemaps.
    pub sitemaps: Vec<String>,
    /// A file of URLs.
    pub urls: Option<PathBuf>,
    /// Pages whose links are followed.
    pub crawl: Vec<String>,
    /// How far.
    pub depth: u32,
    /// The most URLs of one job.
    pub max_urls: usize,
    /// Whether robots.txt is obeyed.
    pub robots: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            every: None,
            sitemaps: Vec::new(),
            urls: None,
            crawl: Vec::new(),
            depth: 3,
            max_urls: 100_000,
            robots: true,
        }
    }
}

/// Where what is warmed comes from.
pub struct Sources {
    /// The sites of the node.
    pub sites: Sites,
    /// The names of the origins.
    pub names: Vec<String>,
    /// How many keys of each origin may be asked for at once.
    room: Vec<Semaphore>,
    settings: Settings,
}

impl Sources {
    /// These sites, and these origins with what was agreed with the owner of each.
    /// There is room for `most` keys of each in the backlog and among the leases.
    pub fn new<'a>(
        sites: Sites,
        origins: impl Iterator<Item = (String, &'a Agreed)>,
        most: usize,
        settings: Settings,
    ) -> Self {
        let (names, room) = origins.map(|(name, agreed)| (name, Semaphore::new(room(agreed, most)))).unzip();
        Sources { sites, names, room, settings }
    }
}

/// How many keys of an origin are asked for at once: as many as keep it busy, and no more
/// than fit beside what clients miss.
fn room(agreed: &Agreed, most: usize) -> usize {
    let busy = (agreed.rate.0 * AHEAD) as usize;
    busy.max(agreed.concurrency).min(agreed.max_waiting / 2).min(most).clamp(1, MOST_ROOM)
}

/// Why a job does not begin.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotBegun {
    /// Nothing is to be warmed.
    #[error("nothing is named that could be warmed")]
    Nothing,
    /// One of them is none.
    #[error("`{0}` is no URL")]
    NoUrl(String),
    /// There are enough.
    #[error("there are {MOST_RUNNING} jobs already")]
    TooMany,
}

/// What a warmer works with.
pub struct Parts {
    /// Tells what is wanted.
    pub announcer: Announcer,
    /// Where it arrives.
    pub store: Arc<Store>,
    /// How long a miss event is of use.
    pub event_ttl: Duration,
    /// Where jobs are kept, if they are.
    pub state: Option<PathBuf>,
    /// Wall time.
    pub clock: Clock,
    /// Everything that is counted.
    pub counters: Arc<Counters>,
}

/// Warms; cheap to clone.
#[derive(Clone)]
pub struct Warmer {
    inner: Arc<Inner>,
}

struct Inner {
    getter: Getter,
    /// Documents are large once they are unpacked.
    readers: Semaphore,
    sources: ArcSwap<Sources>,
    /// Wakes what waits for other settings.
    changed: Notify,
    /// The oldest first.
    jobs: Mutex<Vec<(Arc<Job>, JoinHandle<()>)>>,
    own: Mutex<Option<JoinHandle<()>>>,
    folder: Option<PathBuf>,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Warmer {
    /// Goes on with what was not ended, and begins what the settings say.
    pub fn start(parts: Parts, sources: Sources) -> Self {
        let Parts { announcer, store, event_ttl, state, clock, counters } = parts;
        let getter = Getter { announcer, store, clock: clock.clone(), event_ttl };
        let inner = Arc::new(Inner {
            getter,
            readers: Semaphore::new(MOST_READERS),
            sources: ArcSwap::from_pointee(sources),
            changed: Notify::new(),
            jobs: Mutex::default(),
            own: Mutex::default(),
            folder: state.map(|state| state.join(FOLDER)),
            clock,
            counters,
        });
        let warmer = Warmer { inner };
        warmer.go_on();
        let own = tokio::spawn(warmer.clone().repeat());
        *warmer.inner.own.lock() = Some(own);
        warmer
    }

    /// Other sites and settings from now on.
    pub fn set(&self, sources: Sources) {
        self.inner.sources.store(Arc::new(sources));
        self.inner.changed.notify_one();
    }

    /// Begins a job in the name of `by`.
    pub fn begin(&self, spec: Spec, by: &str) -> Result<View, NotBegun> {
        let named = || [&spec.sitemaps, &spec.crawl, &spec.urls].into_iter().flatten();
        if named().next().is_none() {
            return Err(NotBegun::Nothing);
        }
        if let Some(wrong) = named().find(|text| Url::parse(text).is_none()) {
            return Err(NotBegun::NoUrl(wrong.chars().take(200).collect()));
        }
        self.add(spec, by, false)
    }

    /// All jobs that are remembered, the newest first.
    pub fn views(&self) -> Vec<View> {
        self.inner.jobs.lock().iter().rev().map(|(job, _)| job.view()).collect()
    }

    /// The job of this id.
    pub fn view(&self, id: &str) -> Option<View> {
        self.inner.job(id).map(|job| job.view())
    }

    /// Ends the job of this id.
    pub fn cancel(&self, id: &str) -> Option<View> {
        let job = self.inner.job(id)?;
        job.cancel(self.inner.clock.now());
        Some(job.view())
    }

    /// Ends, and writes down what has not been done.
    pub async fn end(&self) {
        if let Some(own) = self.inner.own.lock().take() {
            own.abort();
        }
        let jobs = std::mem::take(&mut *self.inner.jobs.lock());
        for (job, task) in jobs {
            task.abort();
            let _ = task.await;
            if job.is_running() {
                self.inner.write_down(&job).await;
            }
        }
    }

    fn add(&self, mut spec: Spec, by: &str, is_own: bool) -> Result<View, NotBegun> {
        let inner = &self.inner;
        let sources = inner.sources.load_full();
        let Spec { sitemaps, urls, crawl, .. } = spec.clone();
        // What is listed need not be kept twice.
        (spec.sitemaps, spec.urls, spec.crawl) = Default::default();
        let id = format!("{:08x}", fastrand::u32(..));
        let (most, now) = (sources.settings.max_urls, inner.clock.now());
        let job = Arc::new(Job::new(id, spec, by, most, is_own, now));
        for (list, kind) in [(&sitemaps, As::Sitemap(0)), (&crawl, As::Page(0)), (&urls, As::Part)] {
            list.iter().for_each(|url| job.list(url, kind, None, 0, &sources.sites));
        }
        let view = job.view();
        self.launch(job)?;
        Ok(view)
    }

    fn launch(&self, job: Arc<Job>) -> Result<(), NotBegun> {
        let inner = &self.inner;
        let mut jobs = inner.jobs.lock();
        let running = jobs.iter().filter(|(job, _)| job.is_running()).count();
        if running >= MOST_RUNNING {
            return Err(NotBegun::TooMany);
        }
        if jobs.len() >= MOST_JOBS
            && let Some(at) = jobs.iter().position(|(job, _)| !job.is_running())
        {
            jobs.remove(at);
        }
        let task = tokio::spawn(Arc::clone(inner).run(Arc::clone(&job)));
        jobs.push((job, task));
        Ok(())
    }

    /// Goes on with the jobs that are on disk.
    fn go_on(&self) {
        let Some(folder) = &self.inner.folder else { return };
        let (jobs, wrong) = job::load(folder);
        for why in wrong {
            tracing::warn!(target: "forebay::warm", "a warm job is lost: {why}");
        }
        let most = self.inner.sources.load().settings.max_urls;
        for saved in jobs {
            // There are no more of them than ran at once.
            let _ = self.launch(Arc::new(Job::from_saved(saved, most, false)));
        }
    }

    /// Warms what the settings name, as often as they say.
    async fn repeat(self) {
        loop {
            let settings = self.inner.sources.load().settings.clone();
            let pause = match settings.every {
                Some(every) => {
                    self.begin_own(&settings).await;
                    tokio::time::sleep(every)
                }
                // A reload may name a time.
                None => tokio::time::sleep(Duration::from_secs(365 * 86_400)),
            };
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.inner.changed.notified() => {
                        if self.inner.sources.load().settings != settings {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Begins the node's own job, unless the last one still runs.
    async fn begin_own(&self, settings: &Settings) {
        if self.inner.jobs.lock().iter().any(|(job, _)| job.is_own && job.is_running()) {
            tracing::warn!(target: "forebay::warm", "the node's own job still runs; warm.every is too short for it");
            return;
        }
        let (sitemaps, crawl, file) =
            (settings.sitemaps.clone(), settings.crawl.clone(), settings.urls.clone());
        let warmer = self.clone();
        let begin = move || {
            let mut spec = Spec { sitemaps, crawl, ..Spec::default() };
            match file.as_deref().map(read_list) {
                Some(Ok(urls)) => spec.urls = urls,
                Some(Err(why)) => {
                    tracing::error!(target: "forebay::warm", "warm.urls cannot be read: {why}");
                }
                None => {}
            }
            if let Err(why) = warmer.add(spec, "warm.every", true) {
                tracing::warn!(target: "forebay::warm", "the node's own job does not begin: {why}");
            }
        };
        // To look at many URLs takes a while.
        let _ = tokio::task::spawn_blocking(begin).await;
    }
}

/// The URLs of a file: one a line; empty lines and those that begin with `#` count for
/// nothing.
pub fn read_list(file: &Path) -> Result<Vec<String>, String> {
    let told = |why: String| format!("`{}`: {why}", file.display());
    let length = std::fs::metadata(file).map_err(|error| told(error.to_string()))?.len();
    if length > MOST_FILE {
        return Err(told(format!("it is larger than {MOST_FILE} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
    Ok(listed(&text))
}

/// The URLs of a list.
pub fn listed(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// What is known of robots.txt, by the host; each is asked for once a job.
type Asked = Mutex<HashMap<String, Arc<OnceCell<Result<Robots, String>>>>>;

impl Inner {
    fn job(&self, id: &str) -> Option<Arc<Job>> {
        self.jobs.lock().iter().find(|(job, _)| job.id == id).map(|(job, _)| Arc::clone(job))
    }

    /// Does a job, or as much of it as is done before it is cancelled.
    async fn run(self: Arc<Self>, job: Arc<Job>) {
        let _running = self.counters.warm_jobs.hold();
        tokio::select! {
            () = self.work(&job) => job.finish(self.clock.now()),
            () = job.cancelled() => {}
        }
        if let Some(file) = self.file(&job) {
            let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
        }
        let Counts { listed, filled, fresh, failed, .. } = job.view().counts;
        tracing::info!(target: "forebay::warm", job = job.id, listed, filled, fresh, failed, "a warm job has ended");
    }

    async fn work(&self, job: &Arc<Job>) {
        let asked = Asked::default();
        let mut under_way = FuturesUnordered::new();
        let mut write_at = Instant::now();
        loop {
            while under_way.len() < MOST_UNDER_WAY
                && let Some((number, todo)) = job.next()
            {
                under_way.push(self.one(job, number, todo, &asked));
            }
            if self.folder.is_some() && !job.is_own && write_at <= Instant::now() {
                let began = Instant::now();
                self.write_down(job).await;
                // What takes long is done less often.
                write_at = Instant::now() + WRITE_DOWN.max(began.elapsed() * 20);
            }
            if under_way.next().await.is_none() {
                return;
            }
        }
    }

    /// Warms one URL, and takes from it what else is to be warmed.
    async fn one(&self, job: &Arc<Job>, number: u64, todo: Todo, asked: &Asked) {
        let sources = self.sources.load_full();
        let ended = match Url::parse(&todo.url) {
            Some(url) => self.warm(job, url, &todo, asked, &sources).await,
            None => Ended::Failed("it is no URL".to_owned()),
        };
        let counter = match &ended {
            Ended::Filled => &self.counters.warm_filled,
            Ended::Fresh => &self.counters.warm_fresh,
            Ended::Disallowed => &self.counters.warm_disallowed,
            Ended::Failed(_) => &self.counters.warm_failed,
        };
        counter.up();
        job.ended(number, ended);
    }

    async fn warm(
        &self,
        job: &Arc<Job>,
        url: Url,
        todo: &Todo,
        asked: &Asked,
        sources: &Arc<Sources>,
    ) -> Ended {
        if job.spec.robots.unwrap_or(sources.settings.robots) {
            match self.robots(&url, asked, sources).await {
                Ok(robots) if !robots.allow(url.target()) => return Ended::Disallowed,
                Ok(_) => {}
                Err(why) => return Ended::Failed(format!("its robots.txt is not known: {why}")),
            }
        }
        let Got { response, was_fresh } = match self.getter.get(&url, sources).await {
            Ok(got) => got,
            Err(why) => return Ended::Failed(why),
        };
        let status = response.head.status;
        if status.as_u16() >= 400 {
            return Ended::Failed(format!("it answered {status}"));
        }
        match self.follow(job, url, todo, response, sources).await {
            Ok(()) if was_fresh => Ended::Fresh,
            Ok(()) => Ended::Filled,
            Err(why) => Ended::Failed(why),
        }
    }

    /// Lists what a response refers to.
    async fn follow(
        &self,
        job: &Arc<Job>,
        url: Url,
        todo: &Todo,
        response: Arc<StoredResponse>,
        sources: &Arc<Sources>,
    ) -> Result<(), String> {
        if let Some(location) = location(&response, &url) {
            if todo.hops >= MOST_HOPS {
                return Err("it is moved again and again".to_owned());
            }
            job.list(&location, todo.kind, Some(&url), todo.hops + 1, &sources.sites);
            return Ok(());
        }
        let kind = todo.kind;
        if kind == As::Part || (matches!(kind, As::Page(_)) && !is_page(&response)) {
            return Ok(());
        }
        let _seat = self.readers.acquire().await;
        let (job, sources) = (Arc::clone(job), Arc::clone(sources));
        let read = move || match kind {
            As::Part => Ok(()),
            As::Sitemap(level) => list_sitemap(&job, &url, &response, level, &sources),
            As::Page(level) => list_links(&job, &url, &response, level, &sources),
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    /// What the host of a URL says to robots.
    async fn robots(&self, url: &Url, asked: &Asked, sources: &Sources) -> Result<Robots, String> {
        let robots = url.at("/robots.txt");
        let cell = Arc::clone(asked.lock().entry(robots.to_string()).or_default());
        cell.get_or_init(|| self.read_robots(robots, sources)).await.clone()
    }

    async fn read_robots(&self, mut url: Url, sources: &Sources) -> Result<Robots, String> {
        for _ in 0..=MOST_HOPS {
            let Got { response, .. } = self.getter.get(&url, sources).await?;
            if let Some(location) = location(&response, &url) {
                match Url::parse(&location).filter(|to| url.may_name(to, &sources.sites)) {
                    Some(to) => url = to,
                    None => return Err(format!("it is at {location}")),
                }
                continue;
            }
            // RFC 9309 2.3.1.3: what is not there forbids nothing.
            return Ok(match response.head.status.as_u16() {
                200..=299 => Robots::parse(&get::content(&response, robots::LONGEST as u64)?, ROBOT),
                _ => Robots::all(),
            });
        }
        Ok(Robots::all())
    }

    fn file(&self, job: &Job) -> Option<PathBuf> {
        let folder = self.folder.as_ref().filter(|_| !job.is_own)?;
        let is_name = job.id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_name.then(|| folder.join(format!("{}.json", job.id)))
    }

    /// Writes down what is left of a job.
    async fn write_down(&self, job: &Arc<Job>) {
        let Some(file) = self.file(job) else { return };
        let writing = Arc::clone(job);
        let write = move || {
            std::fs::create_dir_all(file.parent().unwrap_or(&file))?;
            known::save(&file, &serde_json::to_vec(&writing.saved()).unwrap_or_default())
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::error!(target: "forebay::warm", job = job.id, "a warm job is not on disk: {error}");
        }
    }
}

/// Lists what a sitemap lists. Takes a while.
fn list_sitemap(
    job: &Job,
    url: &Url,
    response: &StoredResponse,
    level: u32,
    sources: &Sources,
) -> Result<(), String> {
    let most = sources.settings.max_urls;
    let content = get::content(response, u64::MAX)?;
    let listed = sitemap::read(&content, most).map_err(|wrong| wrong.to_string())?;
    for page in &listed.urls {
        job.list(page, As::Part, Some(url), 0, &sources.sites);
    }
    if level >= MOST_HOPS && !listed.sitemaps.is_empty() {
        return Err("its sitemaps lead to each other without end".to_owned());
    }
    for further in &listed.sitemaps {
        job.list(further, As::Sitemap(level + 1), Some(url), 0, &sources.sites);
    }
    if listed.more {
        job.remark(url.to_string(), format!("it lists more than {most} URLs"));
    }
    Ok(())
}

/// Lists what a page shows and links to. Takes a while.
fn list_links(
    job: &Job,
    url: &Url,
    response: &StoredResponse,
    level: u32,
    sources: &Sources,
) -> Result<(), String> {
    let content = get::content(response, MOST_PAGE)?;
    let links = links::read(&String::from_utf8_lossy(&content), MOST_LINKS);
    let base = match &links.base {
        // Relative to another host, nothing is of this one.
        Some(base) => url.join(base),
        None => Some(url.clone()),
    };
    let list = |reference: &str, kind: As| {
        let absolute = reference.contains("://").then(|| url.join(reference)).flatten();
        if let Some(found) = absolute.or_else(|| base.as_ref()?.join(reference)) {
            job.list(&found.to_string(), kind, Some(url), 0, &sources.sites);
        }
    };
    if level < job.spec.depth.unwrap_or(sources.settings.depth) {
        links.pages.iter().for_each(|page| list(page, As::Page(level + 1)));
    }
    links.parts.iter().for_each(|part| list(part, As::Part));
    Ok(())
}

/// Where a response sends whoever asks, if it does.
fn location(response: &StoredResponse, url: &Url) -> Option<String> {
    if !matches!(response.head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.head.fields.get_str("location")?;
    Some(url.join(location).map_or_else(|| location.to_owned(), |url| url.to_string()))
}

/// Whether a response is a page of HTML.
fn is_page(response: &StoredResponse) -> bool {
    let kind = response.head.fields.get_str("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|html| kind.eq_ignore_ascii_case(html))
}
