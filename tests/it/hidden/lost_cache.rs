//! The lost-cache story, its first seconds: a node that knows thousands of URLs and has
//! none of them stored, many clients who ask, and others who invent URLs. Counts only.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::make_known;
use super::rate::Load;
use crate::harness::origin::ok;
use crate::harness::{World, breathe};
use crate::purge::journal::Directory;

const KNOWN: usize = 3000;
const RATE: usize = 200;
/// The bucket holds what comes in within a tenth of a second.
const BURST: usize = RATE / 10;
const CONCURRENCY: usize = 10;
/// The story ends when so many have been got.
const ENOUGH: usize = 500;
/// At least so many URLs are invented.
const INVENTED: usize = 500;
/// It only ends what would never end.
const LONGEST: Duration = Duration::from_secs(120);
/// What waits on its way to the pacer, at most, while its clients have their answer.
const ON_THE_WAY: usize = 64;

fn path(rank: usize) -> String {
    format!("/page/{rank}")
}

/// The sum of the weights of the ranks below this one: the weight of rank n is 1/(n+1).
fn weight(ranks: impl Iterator<Item = usize>) -> f64 {
    ranks.map(|rank| 1.0 / (rank as f64 + 1.0)).sum()
}

/// Draws ranks with these weights.
struct Zipf {
    sums: Vec<f64>,
    random: fastrand::Rng,
}

impl Zipf {
    fn new(seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (0..KNOWN).map(|rank| {
            sum += 1.0 / (rank as f64 + 1.0);
            sum
        });
        Zipf { sums: sums.collect(), random: fastrand::Rng::with_seed(seed) }
    }

    fn draw(&mut self) -> usize {
        let wanted = self.random.f64() * self.sums[KNOWN - 1];
        self.sums.partition_point(|sum| *sum < wanted).min(KNOWN - 1)
    }
}

/// What all sides have seen.
#[derive(Clone, Default)]
struct Story {
    load: Load,
    /// Ranks in the order in which the origin was asked for them.
    got: Arc<Mutex<Vec<usize>>>,
    /// Known pages that were missed.
    missed: Arc<Mutex<HashSet<usize>>>,
    /// How many known pages waited when the origin was asked for an invented one.
    overtaken: Arc<Mutex<Vec<usize>>>,
    answers: Arc<AtomicUsize>,
    hits: Arc<AtomicUsize>,
    /// Invented URLs that were told.
    queued: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Story {
    fn over(&self) -> bool {
        self.got.lock().expect("got").len() >= ENOUGH
    }

    fn of_the_origin(&self, world: &World) {
        for rank in 0..KNOWN {
            let story = self.clone();
            world.origin.on(&path(rank), move |_, _| {
                story.load.note();
                story.got.lock().expect("got").push(rank);
                ok("max-age=3600", "page")
            });
        }
        let story = self.clone();
        world.origin.otherwise(move |_, _| {
            story.load.note();
            let got = story.got.lock().expect("got").len();
            let missed = story.missed.lock().expect("missed").len();
            story.overtaken.lock().expect("overtaken").push(missed.saturating_sub(got));
            ok("max-age=3600", "invented")
        });
    }

    /// Clients behind one connection, each with an address of its own.
    async fn of_clients(&self, world: &World, seed: u64) {
        let mut zipf = Zipf::new(seed);
        let mut client = world.client("clients").await;
        while !self.over() {
            let rank = zipf.draw();
            let address = format!("10.{}.{}.{}", seed, zipf.random.u8(..), zipf.random.u8(..));
            breathe().await;
            let reply = client.get_with(&path(rank), &[("X-Forwarded-For", &address)]).await;
            self.answers.fetch_add(1, Ordering::Relaxed);
            match reply.status {
                200 => drop(self.hits.fetch_add(1, Ordering::Relaxed)),
                503 => drop(self.missed.lock().expect("missed").insert(rank)),
                other => world.transcript.fail(&format!("a known page gets {other}")),
            }
        }
    }

    /// Five addresses that invent URLs.
    async fn of_attackers(&self, world: &World) {
        let mut client = world.client("attackers").await;
        let mut random = fastrand::Rng::with_seed(99);
        for sent in 0.. {
            if self.over() && sent >= INVENTED {
                return;
            }
            let address = format!("192.0.2.{}", random.u8(1..6));
            let url = format!("/invented/{:x}", random.u64(..));
            breathe().await;
            let reply = client.get_with(&url, &[("X-Forwarded-For", &address)]).await;
            let told = reply.status == 503 && super::proxy_status(&reply).ends_with("\"queued\"");
            let counted = if told { &self.queued } else { &self.refused };
            counted.fetch_add(1, Ordering::Relaxed);
            assert!(matches!(reply.status, 429 | 503), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn when_the_cache_is_lost_the_origin_sees_the_agreed_rate_and_everybody_an_answer() {
    let directory = Directory::new("lost");
    make_known(&directory, KNOWN * 2, &(0..KNOWN).map(path).collect::<Vec<_>>());
    let settings = format!(
        "{}\norigin.rate = \"{RATE}/s\"\norigin.concurrency = {CONCURRENCY}\n\
         listen.trusted_proxies = [\"127.0.0.1\"]\n[hidden]\nknown_keys = {}\n",
        directory.settings(),
        KNOWN * 2
    );
    let world = super::hidden("", &settings).await;
    let story = Story::default();
    story.of_the_origin(&world);
    let began = Instant::now();
    let all = futures_util::future::join_all((0..8).map(|seed| story.of_clients(&world, seed)));
    let everybody = futures_util::future::join(all, story.of_attackers(&world));
    tokio::time::timeout(LONGEST, everybody).await.expect("the story ends");
    let took = began.elapsed();

    // The agreed rate, whatever the span; so many may have been released before it began
    // and arrive within it.
    for (span, most) in [(100, RATE / 10), (500, RATE / 2), (1000, RATE)] {
        let within = story.load.most_within(Duration::from_millis(span));
        assert!(within <= most + BURST + CONCURRENCY, "{within} within {span} ms");
    }
    assert!(took >= Duration::from_secs_f64((ENOUGH - BURST) as f64 / RATE as f64 * 0.98), "{took:?}");

    // Popular pages first: what was got is what most of the load is about.
    let got = story.got.lock().expect("got").clone();
    let share = weight(got.iter().copied()) / weight(0..KNOWN);
    assert!(share > 0.6, "a sixth of the pages is {share:.2} of the load");
    assert!((0..10).all(|rank| got.contains(&rank)), "the ten most popular are among them");
    // One whose renewal was on its way when it was filled is got once more.
    let twice = got.len() - got.iter().collect::<HashSet<_>>().len();
    assert!(twice * 20 <= got.len(), "{twice} were got twice");
    let (answers, hits) = (story.answers.load(Ordering::Relaxed), story.hits.load(Ordering::Relaxed));
    assert!(hits * 4 > answers, "{hits} hits of {answers} answers");

    let c = world.counters();
    // Whoever invents URLs gets no more than the budget, and overtakes nobody.
    let queued = story.queued.load(Ordering::Relaxed);
    assert!(queued <= 20 + 10 * (took.as_secs() as usize + 1), "{queued} were told");
    let refused = story.refused.load(Ordering::Relaxed);
    assert_eq!(refused as u64, c.hidden_refused_client.get() + c.hidden_refused_unknown.get());
    assert!(refused > 0, "{refused} were not");
    let overtaken = story.overtaken.lock().expect("overtaken").clone();
    assert!(overtaken.iter().all(|waited| *waited <= ON_THE_WAY), "{overtaken:?}");
    assert!(c.leases.get() <= (KNOWN + queued) as u64 && c.leases_full.get() == 0);
    assert_eq!((c.events_crowded_out.get(), c.events_dropped.get(), c.worker_failures.get()), (0, 0, 0));
}
