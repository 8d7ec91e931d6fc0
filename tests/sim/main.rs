//! A world of edges, workers and pacers in virtual time, with queues that do all that
//! queues may do, and an origin that changes, fails and is purged: whatever happens, what
//! forebay promises holds.
//!
//! All parts are the real ones; the queues, the origin and time are not. A seed decides
//! everything: `FOREBAY_SIM_SEED=n cargo test --test sim` runs that world again. First
//! there is trouble of some kind, then there is none, and what was asked for has to
//! become servable; then nobody asks, and nothing may be left.

mod broker;
mod shadow;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};

use broker::Faults;
use shadow::{Mood, Shadow, Thing};
use world::{Background, Common, Edge, Got, LEASE, MAX_HOLD_DOWN};

/// After so long without trouble everything that is asked for is served: what is lost
/// counts as lost after a minute and a half, and a failing origin is left alone for up to
/// a minute.
const SERVABLE: Duration = Duration::from_secs(200);
/// After so long without clients nothing waits anywhere.
const QUIET: Duration = Duration::from_secs(200);

/// What goes wrong in a world.
#[derive(Clone, Copy, Default, Debug)]
struct Trouble {
    faults: Faults,
    /// In thousandths for each tenth of a second.
    breaks: u32,
    edge_crashes: u32,
    worker_crashes: u32,
    pacer_crashes: u32,
    moods: u32,
    purges: u32,
    /// How long purges take, in milliseconds.
    lag: usize,
}

impl Trouble {
    fn of(random: &mut Rng) -> Trouble {
        let mut some = |of: &[u32]| of[random.usize(..of.len())];
        match some(&[0, 1, 2, 3]) {
            // Nothing but the origin.
            0 => Trouble { moods: some(&[0, 20]), purges: some(&[0, 40]), lag: 300, ..Trouble::default() },
            _ => Trouble {
                faults: Faults {
                    unpublished: some(&[0, 0, 20, 200]),
                    unsure: some(&[0, 0, 20, 200]),
                    full: some(&[0, 0, 50]),
                    twice: some(&[0, 100, 500]),
                    lost: some(&[0, 20, 200]),
                    late: some(&[0, 20, 200]),
                },
                breaks: some(&[0, 0, 5, 50]),
                edge_crashes: some(&[0, 0, 5]),
                worker_crashes: some(&[0, 0, 5, 30]),
                pacer_crashes: some(&[0, 0, 5, 20]),
                moods: some(&[0, 10, 40]),
                purges: some(&[0, 20, 100]),
                lag: some(&[50, 500, 5000]) as usize,
            },
        }
    }

    /// Whether no letter can be lost or come twice.
    fn is_orderly(&self) -> bool {
        let Faults { unpublished, unsure, full, twice, lost, .. } = self.faults;
        let crashes = self.edge_crashes + self.worker_crashes + self.pacer_crashes + self.breaks;
        unpublished + unsure + full + twice + lost + crashes == 0
    }
}

struct World {
    random: Rng,
    common: Arc<Common>,
    shadow: Arc<Shadow>,
    things: Vec<Thing>,
    edges: Vec<Edge>,
    workers: Vec<Background>,
    pacers: Vec<Background>,
    /// Counts starts of edges.
    starts: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Rng::with_seed(seed);
        let paths = [2, 8, 60][random.usize(..3)];
        let paths = random.usize(1..=paths);
        let common = Common::new(&mut random, paths);
        let things = (0..paths).flat_map(|path| {
            let variants = if path % 3 == 0 { 2 } else { 1 };
            (0..variants).map(move |variant| Thing { path, variant })
        });
        let things = things.collect();
        let shadow = Arc::clone(&common.shadow);
        let mut world = World {
            common,
            shadow,
            things,
            edges: Vec::new(),
            workers: Vec::new(),
            pacers: Vec::new(),
            starts: 0,
            random,
        };
        for _ in 0..world.random.usize(1..4) {
            let edge = world.new_edge();
            world.edges.push(edge);
        }
        for _ in 0..world.random.usize(1..4) {
            let worker = world.common.worker(&mut world.random);
            world.workers.push(worker);
        }
        for _ in 0..world.random.usize(1..3) {
            let pacer = world.common.pacer(&mut world.random);
            world.pacers.push(pacer);
        }
        world
    }

    fn new_edge(&mut self) -> Edge {
        self.starts += 1;
        self.common.edge(&format!("edge-{}", self.starts), &mut self.random)
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.random.u32(..1000) < of_thousand
    }

    /// A tenth of a second in which whatever may go wrong does.
    fn stir(&mut self, trouble: &Trouble) {
        // Some things are asked for more than others.
        for _ in 0..self.random.usize(..8) {
            let most = self.random.usize(..self.things.len()) + 1;
            let thing = self.things[self.random.usize(..most)];
            let edge = self.random.usize(..self.edges.len());
            drop(tokio::spawn(self.edges[edge].ask(thing, &self.shadow)));
        }
        if self.chance(100) {
            self.shadow.change(self.things[self.random.usize(..self.things.len())].path);
        }
        if self.chance(trouble.purges) {
            // A purge mostly follows a change.
            self.shadow.change(self.things[self.random.usize(..self.things.len())].path);
            self.shadow.purge();
        }
        if self.chance(trouble.moods) {
            let moods = [
                Mood::Well,
                Mood::Well,
                Mood::Moody,
                Mood::Broken,
                Mood::Strained,
                Mood::Slow,
                Mood::Hanging,
            ];
            let mood = moods[self.random.usize(..moods.len())];
            self.shadow.state.lock().mood = mood;
        }
        if self.chance(trouble.breaks) {
            self.common.broker.break_one();
        }
        if self.chance(trouble.edge_crashes) {
            let edge = self.random.usize(..self.edges.len());
            self.edges[edge] = self.new_edge();
        }
        if self.chance(trouble.worker_crashes) {
            let worker = self.random.usize(..self.workers.len());
            self.workers[worker] = self.common.worker(&mut self.random);
        }
        if self.chance(trouble.pacer_crashes) {
            let pacer = self.random.usize(..self.pacers.len());
            self.pacers[pacer] = self.common.pacer(&mut self.random);
        }
    }

    /// What must hold at any time.
    fn check(&mut self) -> Result<(), String> {
        let takeovers = self.common.broker.tally(|tally| tally.takeovers.clone());
        self.shadow.state.lock().takeovers = takeovers;
        for edge in &mut self.edges {
            edge.check(&self.things, &self.shadow);
        }
        let wrong = std::mem::take(&mut self.shadow.state.lock().wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Everything that is asked for is served in the end.
    async fn recover(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let all: Vec<(usize, Thing)> = (0..self.edges.len())
            .flat_map(|edge| self.things.iter().map(move |thing| (edge, *thing)))
            .collect();
        let mut left = all;
        loop {
            let mut still = Vec::new();
            for (edge, thing) in left {
                let got = self.edges[edge].ask(thing, &self.shadow).await;
                if let Got::Nothing(status) = got {
                    still.push((edge, thing, status));
                }
            }
            self.check()?;
            if still.is_empty() {
                return Ok(());
            }
            if began.elapsed() > SERVABLE {
                return Err(format!("not servable {SERVABLE:?} after all trouble: {still:?}"));
            }
            left = still.into_iter().map(|(edge, thing, _)| (edge, thing)).collect();
            sleep(Duration::from_millis(self.random.u64(500..1500))).await;
        }
    }

    /// Nothing is left of what nobody asks for any more.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while self.common.broker.unsettled() > 0 {
            if began.elapsed() > QUIET {
                return Err(format!("{} letters wait after {QUIET:?}", self.common.broker.unsettled()));
            }
            sleep(Duration::from_secs(1)).await;
            self.check()?;
        }
        // The last word may just be on its way; it holds a key down, and is remembered.
        sleep(Duration::from_secs(40) + LEASE + 2 * MAX_HOLD_DOWN).await;
        self.check()?;
        for edge in &self.edges {
            let leases = edge.leases();
            if leases > 0 {
                return Err(format!("{} has {leases} leases that nobody wants", edge.name));
            }
            if !edge.is_up_to_date(&self.shadow) {
                return Err(format!("{} has not applied all purges", edge.name));
            }
        }
        Ok(())
    }

    /// The origin was never asked for more than was agreed.
    fn check_rate(&self) -> Result<(), String> {
        let (rate, concurrency) = (self.shadow.rate, self.shadow.concurrency as f64);
        let burst = (rate / 10.0).max(1.0) + 1e-6;
        let releases = self.common.broker.tally(|tally| tally.releases.clone());
        for (n, (from, _)) in releases.iter().enumerate() {
            let mut released = 0.0;
            for (to, one) in &releases[n..] {
                released += f64::from(*one);
                let due = rate * (*to - *from).as_secs_f64() + burst;
                if released > due {
                    let took = *to - *from;
                    return Err(format!("{released} releases in {took:?}, not {due}"));
                }
            }
        }
        // What was released and has not arrived yet arrives on top of it.
        let state = self.shadow.state.lock();
        let (mut level, mut last) = (0.0f64, None);
        for at in &state.asked {
            let passed = last.map_or(Duration::ZERO, |last| *at - last).as_secs_f64();
            last = Some(*at);
            level = (level - passed * rate).max(0.0) + 1.0;
            let lately =
                |takeover: &&Instant| *at >= **takeover && *at - **takeover < Duration::from_secs(60);
            let takeovers = state.takeovers.iter().filter(lately).count() as f64;
            let most = burst + concurrency * (1.0 + takeovers);
            if level > most {
                return Err(format!("the origin was asked {level} times more than is due, not {most}"));
            }
        }
        Ok(())
    }

    /// Every event has come to an end that has a name.
    fn check_ends(&self, trouble: &Trouble) -> Result<(), String> {
        let (paced, worked) = (&*self.common.paced, &*self.common.worked);
        let ends = [
            paced.events_merged.get(),
            paced.events_crowded_out.get(),
            paced.events_released.get(),
            paced.events_expired.get(),
        ];
        let work_ends = [
            worked.worker_from_store.get(),
            worked.worker_fills.get(),
            worked.worker_not_storable.get(),
            worked.events_retried.get(),
            worked.events_dead.get(),
            worked.events_expired.get(),
            worked.events_returned.get(),
        ];
        self.common.broker.tally(|tally| {
            if tally.misses_done > ends.iter().sum() {
                return Err(format!("{} events ended, of which are known: {ends:?}", tally.misses_done));
            }
            if tally.work_done > work_ends.iter().sum() {
                return Err(format!("{} works ended, of which are known: {work_ends:?}", tally.work_done));
            }
            let dropped = paced.events_crowded_out.get() + paced.events_expired.get();
            if tally.misses_dropped > dropped {
                let dropped = tally.misses_dropped - dropped;
                return Err(format!("{dropped} events ended for nothing, of which {ends:?}"));
            }
            if tally.poison > 0 {
                return Err(format!("{} letters came again too often", tally.poison));
            }
            if !trouble.is_orderly() {
                return Ok(());
            }
            let told: u64 = self.edges.iter().map(|edge| edge.counters.events_published.get()).sum();
            let came = tally.misses_done;
            if told + worked.events_retried.get() != came {
                return Err(format!("{told} events were told, {came} ended, of which {ends:?}"));
            }
            let released = paced.events_released.get();
            if released != tally.work_done + tally.work_expired {
                return Err(format!("{released} were released, {tally:?}"));
            }
            if tally.dead.len() as u64 != worked.events_dead.get() {
                return Err(format!("{:?} are dead, {work_ends:?}", tally.dead));
            }
            Ok(())
        })
    }

    async fn run(&mut self, trouble: &Trouble) -> Result<(), String> {
        self.common.broker.set_faults(trouble.faults);
        self.common.lag.store(trouble.lag, Ordering::Relaxed);
        for _ in 0..self.random.usize(100..500) {
            self.stir(trouble);
            sleep(Duration::from_millis(self.random.u64(50..150))).await;
            self.check()?;
        }
        self.common.broker.set_faults(Faults::default());
        self.common.lag.store(50, Ordering::Relaxed);
        self.shadow.state.lock().mood = Mood::Well;
        self.recover().await?;
        self.come_to_rest().await?;
        self.check_rate()?;
        self.check_ends(trouble)
    }
}

/// Runs a world, and says what went wrong in it.
fn run(seed: u64) {
    // The seed of all keys is drawn before anything is drawn from this one.
    drop(forebay::stored::CacheKey::new("http", "h", 80, "/"));
    fastrand::seed(seed);
    let trouble = Trouble::of(&mut Rng::with_seed(!seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let outcome = runtime.expect("a runtime").block_on(async {
        let mut world = World::new(seed);
        world.run(&trouble).await
    });
    if let Err(wrong) = outcome {
        panic!("seed {seed}: {wrong}\nagain with FOREBAY_SIM_SEED={seed}; {trouble:?}");
    }
}

/// Runs many worlds, on as many threads as there are processors.
fn run_all(seeds: std::ops::Range<u64>) {
    if let Ok(seed) = std::env::var("FOREBAY_SIM_SEED") {
        return run(seed.parse().expect("FOREBAY_SIM_SEED is a number"));
    }
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    run(seed);
                }
            });
        }
    });
}

#[test]
fn what_is_promised_holds_in_every_world() {
    run_all(0..24);
}

#[test]
#[ignore = "takes minutes; tests/run --long"]
fn what_is_promised_holds_in_very_many_worlds() {
    run_all(1_000..1_600);
}
