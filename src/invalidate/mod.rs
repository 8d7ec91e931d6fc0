//! Making stored responses unusable, or stale, on somebody's word.
//!
//! What always holds: from the moment that an invalidation has returned no
//! response from before it is used as if it had not been, be it stored or on its
//! way; invalidations are numbered, and what is told of them is in that order.

pub mod history;
pub mod journal;
mod moment;
pub mod outbox;
mod shield;
pub mod target;
pub mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Wall};
use crate::observe::counters::Counters;
use crate::store::{self, Invalidation, Refused, Store};
use crate::stored::{CacheKey, Selector, Strength};

pub use history::{Entry, History, Identity};
use journal::{Appending, Record};
pub use journal::{Journal, JournalError, Recovered};
use moment::{Course, Place};
pub use moment::{Heard, Moment, ReadTo};
pub use outbox::Outbox;
use shield::Turns;
pub use shield::{Answered, told};
pub use target::Unclear;

/// What somebody wants to be invalidated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// All that is meant.
    pub what: Vec<Selector>,
    /// Whether it becomes stale only.
    pub soft: bool,
    /// Whether it is gone on hidden routes as well, and not stale only.
    pub forced: bool,
    /// Whether it is only counted.
    pub dry_run: bool,
    /// Whether URLs among it are fetched anew at once.
    pub refresh: bool,
}

/// What an invalidation has done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// Its number; none for one that only counted.
    pub sequence: Option<u64>,
    /// How many stored responses it has hit so far.
    pub responses: usize,
    /// Whether more may be hit: some have not been tested yet, and are before they
    /// are used.
    pub pending: bool,
    /// Whether it outlives the node: it is in the journal.
    pub durable: bool,
    /// Why it is not in the journal, where it should be. It holds all the same.
    pub trouble: Option<String>,
    /// Whether the other nodes learn of it.
    pub spread: Spread,
}

/// Whether the other nodes of a cluster learn of an invalidation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// There are none.
    #[default]
    Alone,
    /// They do: the broker has confirmed it.
    Confirmed,
    /// They will, in order, as soon as this is over.
    Later(String),
    /// They do not, and have to be told again.
    Never(String),
}

/// The invalidations of a node.
pub struct Invalidator {
    /// This start of this node; its name in the cluster, if there is one.
    name: String,
    store: Arc<Store>,
    history: Mutex<History>,
    journal: Option<Journal>,
    cluster: Option<Membership>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// What an invalidator knows of a cluster that its node belongs to.
struct Membership {
    /// The node's name in it.
    node: String,
    outbox: Outbox,
    applied: Mutex<Applied>,
    /// Where its invalidations stand in what all nodes read.
    course: Course,
    /// Those of other nodes that the journal was given, where nobody has waited for the
    /// disk yet. An error stays: then the journal lacks something.
    unwritten: Mutex<Result<Vec<Appending>, JournalError>>,
    /// When which number was the last one, as answers of shields came.
    turns: Mutex<Turns>,
    /// Held by whoever waits for the disk, so that nobody takes for written what another
    /// one still waits for.
    writing: Mutex<()>,
}

/// Up to which number the invalidations of each node have been applied: they arrive
/// in their order, and again.
#[derive(Default)]
struct Applied {
    last: HashMap<String, (u64, u64)>,
    /// Counts, so that the node can be found that was not heard of for longest.
    turn: u64,
}

/// By how much the numbers jump at a start, so that none is given out twice: those
/// of requests with unsafe methods are not in the journal.
const JUMP: u64 = 1 << 32;

/// The most that one invalidation names.
pub const MOST_AT_ONCE: usize = 10_000;

/// The most bytes of that: as it is written down and told it takes some times more.
pub const MOST_BYTES_AT_ONCE: usize = 2 * 1024 * 1024;

/// How long an answer waits for the broker: there are clients that give up after a second.
const SPREAD: Duration = Duration::from_millis(500);

/// So many of other nodes may be on their way to the disk; the journal's queue is longer.
const MOST_UNWRITTEN: usize = 1024;

/// How many nodes' numbers are remembered; each start of a node makes a new one.
const REMEMBERED_NODES: usize = 10_000;

/// How long is waited for what somebody else has read already, and how often one looks.
const CATCH_UP: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

impl Applied {
    fn knows(&self, identity: &Identity) -> bool {
        self.last.get(&identity.node).is_some_and(|(last, _)| identity.number <= *last)
    }

    fn note(&mut self, identity: &Identity) {
        self.turn += 1;
        if self.last.len() >= REMEMBERED_NODES && !self.last.contains_key(&identity.node) {
            let oldest = self.last.iter().min_by_key(|(_, (_, heard))| *heard).map(|(node, _)| node.clone());
            self.last.remove(&oldest.unwrap_or_default());
        }
        let (last, heard) = self.last.entry(identity.node.clone()).or_default();
        (*last, *heard) = (identity.number.max(*last), self.turn);
    }
}

impl Invalidator {
    /// For what is stored there; with a journal, and what it remembers, if there is
    /// a place for one; as the node of this name if there is a cluster. Those that
    /// the journal has, this node accepted, and the others have not been told of
    /// for certain are those after the number `told`.
    pub fn new(
        store: Arc<Store>,
        journal: Option<(Journal, Recovered)>,
        cluster: Option<(String, u64)>,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Self {
        let mut history = History::default();
        let name = match &cluster {
            Some((node, _)) => node.clone(),
            None => format!("{:032x}", fastrand::u128(..)),
        };
        let told = cluster.as_ref().map_or(u64::MAX, |(_, told)| *told);
        let cluster = cluster.map(|(node, _)| {
            let outbox = Outbox::new(Arc::clone(&counters));
            Membership {
                node,
                outbox,
                applied: Mutex::default(),
                course: Course::default(),
                turns: Mutex::default(),
                unwritten: Mutex::new(Ok(Vec::new())),
                writing: Mutex::default(),
            }
        });
        let journal = journal.map(|(journal, recovered)| {
            store.begin_after(recovered.horizon);
            for record in &recovered.records {
                let read: Result<Entry, _> = serde_json::from_slice(&record.payload);
                let noted = read.map_err(|error| error.to_string()).and_then(|entry| {
                    let at = Wall::from_millis(entry.at_ms);
                    store
                        .remember(record.sequence, &entry.what, entry.strength(), at)
                        .map_err(|refused| refused.to_string())?;
                    if let (Some(cluster), Some(identity)) = (&cluster, &entry.identity) {
                        cluster.applied.lock().note(identity);
                        if entry.own && entry.sequence > told {
                            cluster.course.note(entry.sequence, u64::MAX, Place::Own);
                            if !cluster.outbox.push(entry.clone(), entry.size()) {
                                cluster.course.untold(entry.sequence);
                                tracing::error!(target: "forebay::cluster", "purge {} will not reach the others: too many wait", entry.sequence);
                            }
                        }
                    }
                    if let Some(cluster) = &cluster {
                        // Where the others stand is known when this node is in touch again.
                        cluster.course.note(record.sequence, u64::MAX, Place::Guess);
                    }
                    history.add(entry);
                    Ok(())
                });
                if let Err(error) = noted {
                    // What it meant is not known, so it counts as if it had meant everything.
                    store.begin_after(record.sequence);
                    tracing::error!(target: "forebay::journal", "purge {} is not understood: {error}", record.sequence);
                }
            }
            if recovered.sequence > 0 {
                store.skip_to(recovered.sequence.saturating_add(JUMP));
            }
            journal
        });
        Invalidator { name, store, history: Mutex::new(history), journal, cluster, clock, counters }
    }

    /// Invalidates what is wanted in the name of `by`. May take a moment: not to be
    /// called where others wait.
    pub fn invalidate(&self, wanted: &Wanted, by: &str) -> Result<Accepted, Refused> {
        let at = self.clock.now();
        let (things, bytes) = (wanted.what.len(), history::size_of_all(&wanted.what));
        if things > MOST_AT_ONCE || bytes > MOST_BYTES_AT_ONCE {
            return Err(Refused::TooMuch { things, bytes });
        }
        if wanted.dry_run {
            let responses = self.store.count(&wanted.what, at)?;
            return Ok(Accepted { responses, ..Accepted::default() });
        }
        let mut noted = None;
        let done = self.store.invalidate(
            &wanted.what,
            Strength::of(wanted.soft, wanted.forced),
            at,
            |sequence| {
                let (by, what) = (by.to_owned(), wanted.what.clone());
                let identity = self
                    .cluster
                    .as_ref()
                    .map(|cluster| Identity { node: cluster.node.clone(), number: sequence });
                let (soft, forced) = (wanted.soft, wanted.forced);
                let at_ms = at.millis();
                let entry = Entry { at_ms, by, what, soft, forced, identity, own: true, ..Entry::default() };
                noted = Some(self.note(sequence, u64::MAX, entry));
            },
        )?;
        self.history.lock().told(done.sequence, done.responses);
        let (appending, sent) = noted.unwrap_or_default();
        let written = appending.map(|appending| appending.and_then(Appending::wait));
        self.counters.purges.up();
        self.counters.purged_responses.add(done.responses as u64);
        log(&wanted.what, by, wanted.soft, &done);
        Ok(Accepted {
            sequence: Some(done.sequence),
            responses: done.responses,
            pending: done.pending,
            durable: written == Some(Ok(())),
            trouble: written.and_then(Result::err).map(|error| error.to_string()),
            spread: self.spread(done.sequence, sent),
        })
    }

    /// Notes what has been given this number, and means what was asked for before the one
    /// of the number `before`: in the order of the numbers, because the next one is not
    /// given out before.
    fn note(
        &self,
        sequence: u64,
        before: u64,
        entry: Entry,
    ) -> (Option<Result<Appending, JournalError>>, bool) {
        let entry = Entry { sequence, ..entry };
        let appending = self.journal.as_ref().map(|journal| {
            let payload = serde_json::to_vec(&entry).unwrap_or_default();
            journal.append(Record { sequence, payload })
        });
        let spreads = entry.own && entry.identity.is_some();
        let sent = match &self.cluster {
            Some(cluster) if spreads => {
                // Before it can be read back.
                cluster.course.note(sequence, before, Place::Own);
                let sent = cluster.outbox.push(entry.clone(), entry.size());
                if !sent {
                    cluster.course.untold(sequence);
                }
                sent
            }
            Some(cluster) => {
                cluster.course.note(sequence, before, entry.offset.map_or(Place::Guess, Place::At));
                false
            }
            None => false,
        };
        self.history.lock().add(entry);
        (appending, sent)
    }

    /// Notes one of another node. Whoever reads it at its source has it: nobody waits for
    /// the disk but who tells up to where it was read.
    fn note_foreign(&self, cluster: &Membership, (sequence, before): (u64, u64), entry: Entry) {
        let Some(appending) = self.note(sequence, before, entry).0 else { return };
        let mut unwritten = cluster.unwritten.lock();
        match (&mut *unwritten, appending) {
            (Ok(all), Ok(appending)) => all.push(appending),
            (Ok(_), Err(error)) => *unwritten = Err(error),
            (Err(_), _) => {}
        }
    }

    /// Waits until what was applied so far is on disk, if there is a journal. Says whether
    /// all of it is.
    pub fn is_written(&self) -> bool {
        let Some(cluster) = &self.cluster else { return true };
        let _writing = cluster.writing.lock();
        let unwritten = match &mut *cluster.unwritten.lock() {
            Ok(all) => std::mem::take(all),
            Err(_) => return false,
        };
        let Err(error) = unwritten.into_iter().try_for_each(Appending::wait) else { return true };
        tracing::error!(target: "forebay::journal", "a purge of another node is not on disk; the next start reads from before it: {error}");
        *cluster.unwritten.lock() = Err(error);
        false
    }

    fn spread(&self, sequence: u64, sent: bool) -> Spread {
        let Some(cluster) = &self.cluster else { return Spread::Alone };
        if !sent {
            return Spread::Never("too many purges wait for the broker".to_owned());
        }
        cluster.outbox.wait(sequence, SPREAD).map_or_else(Spread::Later, |()| Spread::Confirmed)
    }

    /// Applies an invalidation that a node of the cluster accepted, at this place of
    /// their order; the same one may come again. It means what was asked for before the
    /// number `before`. From the moment that this returns it holds here. It is refused
    /// where there is no room for its bans yet. Says whether this node had accepted it.
    pub fn apply(&self, entry: Entry, offset: u64, before: u64) -> Result<bool, Refused> {
        let (Some(cluster), Some(identity)) = (&self.cluster, entry.identity.clone()) else {
            return Ok(false);
        };
        let own = cluster.outbox.read_back(&identity) || identity.node == cluster.node;
        // What this node accepts it applies at once.
        if own || cluster.applied.lock().knows(&identity) {
            self.history.lock().placed(&identity, offset);
            if own {
                cluster.course.read_back(identity.number, offset);
            }
            self.counters.cluster_duplicates.add(u64::from(!own));
            return Ok(own);
        }
        // Whoever makes up for much is no faster than the disk: what the journal has no room
        // for would have to be read again at each start.
        if cluster.unwritten.lock().as_ref().is_ok_and(|all| all.len() >= MOST_UNWRITTEN) {
            self.is_written();
        }
        let now = self.clock.now();
        let at = Wall::from_millis(entry.at_ms.min(now.millis()));
        let (what, soft, by) = (entry.what.clone(), entry.soft, entry.by.clone());
        let strength = entry.strength();
        let entry = Entry { own: false, offset: Some(offset), responses: None, ..entry };
        let begun = self.store.begin(&what, strength, at, before, |sequence| {
            self.note_foreign(cluster, (sequence, before), entry.clone());
        });
        let done = match begun {
            Ok((done, _)) => done,
            Err(Refused::BadBan(why)) => {
                tracing::error!(target: "forebay::cluster", by, "a ban of another node is not understood, so it means everything: {why}");
                let all = [Selector::All];
                self.store
                    .begin(&all, strength, at, before, |sequence| {
                        self.note_foreign(cluster, (sequence, before), entry)
                    })?
                    .0
            }
            Err(refused) => return Err(refused),
        };
        cluster.applied.lock().note(&identity);
        self.history.lock().told(done.sequence, done.responses);
        self.counters.cluster_applied.up();
        self.counters.purged_responses.add(done.responses as u64);
        log(&what, &by, soft, &done);
        Ok(false)
    }

    /// Makes everything stale that was asked for before now: it is not known what the
    /// other nodes have invalidated. Returns its number, and how many responses that are.
    pub fn distrust_all(&self, why: &str) -> (u64, usize) {
        let now = self.clock.now();
        let by = format!("forebay: {why}");
        let entry = Entry {
            at_ms: now.millis(),
            by: by.clone(),
            what: vec![Selector::All],
            soft: true,
            own: true,
            ..Entry::default()
        };
        let begun = self.store.begin(&[Selector::All], Strength::Soft, now, u64::MAX, |sequence| {
            drop(self.note(sequence, u64::MAX, entry))
        });
        let done = begun.map(|(done, _)| done).unwrap_or_default();
        self.history.lock().told(done.sequence, done.responses);
        self.counters.cluster_distrusted.up();
        log(&[Selector::All], &by, true, &done);
        (done.sequence, done.responses)
    }

    /// A number for now: what was asked for before has a lower one, and nothing else.
    pub fn turn(&self) -> u64 {
        self.store.turn()
    }

    /// The order in which the nodes of the cluster apply is another one than it was:
    /// the others are told once more of what this node accepted lately.
    pub fn tell_again(&self, lately: Duration) {
        let Some(cluster) = &self.cluster else { return };
        let since = self.clock.now().millis().saturating_sub(lately.as_millis() as u64);
        let mut history = self.history.lock();
        history.displaced();
        let own = history.own_since(since);
        drop(history);
        cluster.outbox.put_back(own);
    }

    /// This node links up with the stream of this epoch; what it has missed there means
    /// what was asked for before a [turn](Invalidator::turn) that it takes after this.
    /// `lost` says that it has lost its place.
    pub fn links(&self, epoch: &str, lost: bool) {
        if let Some(cluster) = &self.cluster {
            cluster.course.link(epoch, self.store.sequence() + 1, lost);
        }
    }

    /// The link to the stream is broken.
    pub fn unlinks(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.course.unlink();
        }
    }

    /// This node has applied all that stands in the stream up to this place; `here` says
    /// that it has read what it had written itself when it linked up, and gives its turn.
    pub fn has_read(&self, read: ReadTo, here: Option<u64>) {
        if let Some(cluster) = &self.cluster {
            cluster.course.read_to(read, here);
        }
    }

    /// How far this node has read what all nodes of its cluster read.
    pub fn read_to(&self) -> Option<ReadTo> {
        self.cluster.as_ref().and_then(|cluster| cluster.course.read())
    }

    /// Waits until this node has read as far as somebody else has, where that is a few
    /// messages away, and no longer than a moment.
    pub async fn reads_as_far_as(&self, wanted: &ReadTo) {
        let Some(cluster) = &self.cluster else { return };
        let deadline = tokio::time::Instant::now() + CATCH_UP;
        while cluster.course.is_a_little_behind(wanted) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether this node has read this message in this place, and still knows.
    pub fn knows_place(&self, read: &ReadTo) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.course.has_read(read))
    }

    /// This moment, for a response that is asked for now.
    pub fn moment(&self) -> Moment {
        // How far was read is taken first: what is applied between the two counts as later.
        let read = self.read_to();
        let (node, number) = (self.name.clone(), self.store.sequence());
        Moment { node, number, read, unread: false, kept: false, heard: None }
    }

    /// This moment, for a response under this key that others are to be asked for.
    pub fn moment_for(&self, key: &CacheKey) -> Moment {
        let moment = self.moment();
        let unread = self.cluster.is_some() && {
            // What others have kept would not do either.
            let covered = moment.read.as_ref().and_then(|read| self.covered(read, true)).unwrap_or_default();
            // What a request with an unsafe method has changed nobody reads of.
            let last = self.store.invalidated_since(key, None, self.store.horizon());
            let alone = matches!((last, &self.cluster), (Some(Invalidation::Hard(last)), Some(cluster))
                if !cluster.course.knows(last));
            alone || self.store.invalidated_since(key, None, covered).is_some()
        };
        Moment { unread, ..moment }
    }

    /// The number of the last invalidation here that a moment is known to be later
    /// than: of all that come before it, too, it is. None where that cannot be said.
    ///
    /// A moment of this node has its number. One of another node is later than what that
    /// node had read by then, and than the moment here that it had been told of. So a
    /// response is always good where it was asked for, however far behind whoever got it
    /// is, and at the other nodes as soon as they and that one have read the same.
    ///
    /// Invalidations by requests with unsafe methods have no place in the stream, and do
    /// not count here, or nothing that others got would ever be good again. On hidden
    /// routes, which alone are filled by others, what such a request has changed is purged
    /// on all nodes, and what its node wants after that is not answered from a worker's
    /// store (see [`Moment::unread`]).
    pub fn number_of(&self, moment: &Moment) -> Option<u64> {
        let own = (moment.node == self.name).then_some(moment.number);
        let heard = moment.heard.as_ref().filter(|heard| heard.node == self.name).map(|heard| heard.number);
        let read = moment.read.as_ref().and_then(|read| self.covered(read, moment.kept));
        own.or(heard.max(read))
    }

    /// Whether a moment is one of this node, or was told one.
    pub fn knows(&self, moment: &Moment) -> bool {
        let heard = moment.heard.as_ref().map(|heard| heard.node.as_str());
        [Some(moment.node.as_str()), heard].contains(&Some(self.name.as_str()))
    }

    fn covered(&self, read: &ReadTo, kept: bool) -> Option<u64> {
        // What is given a number after this is later anyhow; what was given one is noted.
        let sequence = self.store.sequence();
        self.cluster.as_ref()?.course.covered(read, kept, sequence)
    }

    /// What the other nodes of a cluster are to be told, if there is a cluster.
    pub fn outbox(&self) -> Option<&Outbox> {
        self.cluster.as_ref().map(|cluster| &cluster.outbox)
    }

    /// The last invalidations, newest first: at most `count` of those before the
    /// number `before`.
    pub fn history(&self, before: Option<u64>, count: usize) -> Vec<Entry> {
        self.history.lock().newest(before, count)
    }

    /// One invalidation, as long as it is remembered.
    pub fn entry(&self, sequence: u64) -> Option<Entry> {
        self.history.lock().find(sequence)
    }
}

fn log(what: &[Selector], by: &str, soft: bool, done: &store::Invalidated) {
    for selector in what {
        tracing::info!(
            target: "forebay::purge",
            by,
            soft,
            sequence = done.sequence,
            responses = done.responses,
            "purged {selector}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    fn tags(count: usize, length: usize) -> Vec<Selector> {
        let text = "t".repeat(length);
        (0..count).map(|n| Selector::Tag { tag: format!("{text}{n}"), site: None }).collect()
    }

    #[test]
    fn no_more_is_taken_at_once_than_every_node_reads() {
        let store = Arc::new(Store::new(store::Settings::default(), Arc::default()));
        let invalidator = Invalidator::new(store, None, None, Clock::System, Arc::default());
        let purge = |what| invalidator.invalidate(&Wanted { what, ..Wanted::default() }, "test");
        assert!(purge(tags(MOST_AT_ONCE, 1)).is_ok());
        for what in [tags(MOST_AT_ONCE + 1, 1), tags(3, MOST_BYTES_AT_ONCE / 2)] {
            assert!(matches!(purge(what), Err(Refused::TooMuch { .. })));
        }
    }

    #[test]
    fn what_others_purged_waits_for_the_disk_in_bounded_number() {
        let state = std::env::temp_dir().join(format!("forebay-unwritten-{}", std::process::id()));
        let store = Arc::new(Store::new(store::Settings::default(), Arc::default()));
        let journal = Journal::open(&state, Arc::default()).expect("a journal");
        let cluster = Some(("a".to_owned(), 0));
        let invalidator = Invalidator::new(store, Some(journal), cluster, Clock::System, Arc::default());
        for number in 1..=3 * MOST_UNWRITTEN as u64 {
            let identity = Some(Identity { node: "b".to_owned(), number });
            let entry = Entry { what: tags(1, 1), identity, ..Entry::default() };
            assert_eq!(invalidator.apply(entry, number, u64::MAX), Ok(false));
            let cluster = invalidator.cluster.as_ref().expect("it is in one");
            assert!(cluster.unwritten.lock().as_ref().is_ok_and(|all| all.len() <= MOST_UNWRITTEN));
        }
        assert!(invalidator.is_written());
        drop(invalidator);
        let _ = std::fs::remove_dir_all(&state);
    }

    fn read(offset: u64) -> ReadTo {
        ReadTo { epoch: "e".to_owned(), offset, id: format!("m{offset}") }
    }

    /// A node that has caught up with a stream of two messages.
    fn node(name: &str) -> (Arc<Store>, Invalidator) {
        let counters: Arc<Counters> = Arc::default();
        let store = Arc::new(Store::new(store::Settings::default(), Arc::clone(&counters)));
        let cluster = Some((name.to_owned(), 0));
        let node = Invalidator::new(Arc::clone(&store), None, cluster, Clock::System, counters);
        node.links("e", false);
        let turn = node.turn();
        node.has_read(read(2), Some(turn));
        (store, node)
    }

    fn key(path: &str) -> CacheKey {
        CacheKey::new("http", "a", 80, path)
    }

    fn purge(path: &str) -> Wanted {
        let path_and_query = path.to_owned();
        let url = Selector::Url { scheme: None, host: "a".to_owned(), port: None, path_and_query };
        Wanted { what: vec![url], ..Wanted::default() }
    }

    #[test]
    fn another_node_is_later_than_a_purge_when_it_has_read_it_or_was_told() {
        let (_, edge) = node("edge");
        let (_, worker) = node("worker");
        let before = edge.moment();
        let number = edge.invalidate(&purge("/x"), "somebody").expect("room").sequence.expect("a number");
        assert_eq!(edge.number_of(&worker.moment()), Some(number - 1), "it has not read it");
        assert_eq!(edge.number_of(&worker.moment().after(&before)), Some(number - 1));
        assert_eq!(edge.number_of(&worker.moment().after(&edge.moment())), Some(number), "it was told");
        assert!(edge.moment_for(&key("/x")).unread && !edge.moment_for(&key("/y")).unread);

        let entry = edge.entry(number).expect("remembered");
        assert_eq!(worker.apply(Entry { own: false, ..entry.clone() }, 3, u64::MAX), Ok(false));
        worker.has_read(read(3), None);
        assert_eq!(edge.number_of(&worker.moment()), Some(0), "the edge has not read that place");
        assert_eq!(edge.apply(entry, 3, u64::MAX), Ok(true));
        edge.has_read(read(3), None);
        assert_eq!(edge.number_of(&worker.moment()), Some(edge.moment().number));
        assert!(!edge.moment_for(&key("/x")).unread);

        let stranger = Moment { read: None, ..worker.moment() };
        assert_eq!(edge.number_of(&stranger), None);
        assert_eq!(edge.number_of(&before), Some(before.number), "its own");
    }

    #[test]
    fn a_guess_counts_until_the_node_is_in_touch_again() {
        let (_, edge) = node("edge");
        let (_, worker) = node("worker");
        let (number, _) = edge.distrust_all("it was cut off");
        assert_eq!(edge.number_of(&worker.moment()), Some(number - 1));
        edge.links("e", false);
        let turn = edge.turn();
        edge.has_read(read(5), Some(turn));
        assert_eq!(edge.number_of(&worker.moment()), Some(number - 1), "the worker is behind");
        worker.has_read(read(5), None);
        assert_eq!(edge.number_of(&worker.moment()), Some(edge.moment().number));
    }

    #[test]
    fn what_a_write_has_changed_is_not_answered_from_what_others_keep() {
        let (store, edge) = node("edge");
        store.invalidate_for(&key("/x"), store.sequence());
        assert!(edge.moment_for(&key("/x")).unread && !edge.moment_for(&key("/y")).unread);
    }

    #[tokio::test]
    async fn what_a_shield_has_kept_is_later_than_a_write_only_if_its_age_says_so() {
        let (store, edge) = node("edge");
        let answered = |key: &CacheKey, kept| Answered {
            told: told(&read(2), kept).into_bytes(),
            key: key.clone(),
            groups: Vec::new(),
            made: None,
        };
        let (x, y) = (key("/x"), key("/y"));
        let number = store.invalidate_for(&x, store.sequence()).expect("the latest");
        assert_eq!(edge.later_than(&answered(&x, true)).await, number - 1);
        assert_eq!(edge.later_than(&answered(&y, true)).await, number);
        assert_eq!(edge.later_than(&answered(&x, false)).await, number, "it was asked for after that");
        let made = Some(monotonic());
        assert_eq!(edge.later_than(&Answered { made, ..answered(&x, true) }).await, number);
        let made = made.and_then(|made| made.checked_sub(Duration::from_secs(60)));
        assert_eq!(edge.later_than(&Answered { made, ..answered(&x, true) }).await, number - 1);

        let group = Selector::Group { authority: "http://a:80".to_owned(), group: "g".to_owned() };
        let done = store.invalidate(&[group], Strength::Forced, Wall::default(), |_| {}).expect("a name");
        let in_group = Answered { groups: vec!["g".to_owned()], ..answered(&y, true) };
        assert_eq!(edge.later_than(&in_group).await, done.sequence - 1);
        assert_eq!(edge.later_than(&answered(&y, true)).await, done.sequence);
    }
}
