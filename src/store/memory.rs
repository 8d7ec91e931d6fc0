//! The memory tier: the variants of each key, by weight in bytes.
//!
//! What always holds: all variants of a key change together; a change happens
//! under the lock of that key's shard, and so does the look at the fence that goes
//! before it, and an invalidation is numbered before it takes that lock. So
//! either the insertion sees the number, or the invalidation sees the response.
//!
//! What it never does: use moka's own expiry (freshness is decided above), or
//! hold a lock when a function returns.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::fence::{Fence, Invalidation, Meant};
use super::lurker::{Patterns, Tested};
use super::room::Room;
use super::table::Table;
use super::{Refused, Settings};
use crate::clock::Wall;
use crate::observe::counters::Counters;
use crate::stored::blocks;
use crate::stored::index::{Home, Index, Mark, Which};
use crate::stored::pattern::Pattern;
use crate::stored::{CacheKey, Head, Names, Selector, StoredResponse, Strength, Variants};

/// The store of a node.
pub struct Store {
    pub(super) table: Arc<Table>,
    room: Room,
    index: Arc<Index>,
    pub(super) fence: Mutex<Fence>,
    pub(super) patterns: Patterns,
    settings: Settings,
    pub(super) counters: Arc<Counters>,
}

/// What an invalidation has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Invalidated {
    /// Its number.
    pub sequence: u64,
    /// How many stored responses it has hit.
    pub responses: usize,
    /// Whether there are responses that have not been tested yet; they are, before
    /// they are used.
    pub pending: bool,
}

/// How long an invalidation by pattern waits to tell how much it has hit.
const PATIENCE: Duration = Duration::from_millis(200);

/// What became of a response that was to be stored.
#[derive(Clone, Debug)]
pub enum Inserted {
    /// It is reusable from now on.
    Stored(Arc<StoredResponse>),
    /// An invalidation of this number came after its request.
    Fenced(u64),
    /// The response that it was to freshen is there no more.
    Gone,
    /// What is stored is better than this.
    Outdone,
}

/// How a stored response stands to one that is to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rival {
    /// It answers other requests.
    Other,
    /// It makes way.
    Yields,
    /// It is better, and the newcomer is not stored.
    Stays,
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings, counters: Arc<Counters>) -> Self {
        let table = Arc::new(Table::new());
        Store {
            room: Room::new(&settings, Arc::clone(&counters), Arc::clone(&table)),
            table,
            index: Arc::default(),
            fence: Mutex::default(),
            patterns: Patterns::default(),
            settings,
            counters,
        }
    }

    /// What is stored under this key, tested against every pattern. Takes no lock
    /// that outlives the call.
    pub fn find_in_memory(&self, key: &CacheKey) -> Option<Arc<Variants>> {
        self.look(key, |found| found.cloned())
    }

    /// Shows `look` what is stored under this key, tested against every pattern; no handle of it is
    /// taken where nothing was to be tested. Changes of this key and its neighbours wait meanwhile:
    /// `look` is to be short, and must not use the store.
    pub fn look<R>(&self, key: &CacheKey, look: impl FnOnce(Option<&Arc<Variants>>) -> R) -> R {
        self.room.looked_for(key);
        let looked = self.table.look(key, |found| match found {
            // Patterns take their time.
            Some(found) if self.patterns.are_new_to(found) => Err((Arc::clone(found), look)),
            found => Ok(look(found)),
        });
        looked.unwrap_or_else(|(found, look)| {
            found.responses.iter().for_each(|response| self.test(&key.text, response));
            look(Some(&found))
        })
    }

    /// Notes that a response that was found under this key has been chosen.
    pub fn used(&self, key: &CacheKey, response: &StoredResponse, now: Wall) {
        if response.used(now) {
            self.room.used(key);
        }
    }

    /// Tests a response against every pattern that is new to it.
    fn test(&self, key: &Arc<str>, response: &StoredResponse) {
        match self.patterns.test(key, response) {
            Tested::Before => return,
            Tested::Now => {}
            // The lurker does not see what becomes visible while it passes.
            Tested::Missed => drop(self.fence_off(&CacheKey::from_text(key), response)),
        }
        self.counters.ban_tests.up();
    }

    /// The number of the last invalidation; to be noted before an origin is asked.
    pub fn sequence(&self) -> u64 {
        self.fence.lock().sequence()
    }

    /// Whether an invalidation that came after `sequence` means a response under
    /// this key: one with this head, or with whatever head it will have.
    pub fn invalidated_since(
        &self,
        key: &CacheKey,
        head: Option<&Head>,
        sequence: u64,
    ) -> Option<Invalidation> {
        self.fence.lock().since(key, head, sequence)
    }

    /// Whether a response with this head, that was asked for at `sequence`, has been invalidated
    /// since by its site, a tag or a group. Where that is not known, it has been.
    pub fn names_invalidated_since(&self, key: &CacheKey, head: &Head, sequence: u64) -> bool {
        let fence = self.fence.lock();
        sequence < fence.horizon() || fence.names_since(key, head, sequence)
    }

    /// The number of the last forced invalidation of this key, or of one of these groups of its
    /// origin; 0 if none is remembered.
    pub fn last_forced(&self, key: &CacheKey, groups: &[String]) -> u64 {
        self.fence.lock().last_forced(key, groups)
    }

    /// Whether a response that was found under this key may still be used: nothing
    /// has purged it hard since it was found, when `since` was the last invalidation.
    /// What came before that has marked it, be it still remembered or not.
    pub fn may_use(&self, key: &CacheKey, found: &StoredResponse, since: u64) -> bool {
        self.test(&key.text, found);
        let invalidated = self.invalidated_since(key, Some(&found.head), since);
        !found.is_gone() && !matches!(invalidated, Some(Invalidation::Hard(_)))
    }

    /// The largest response that is kept, in bytes of body.
    pub fn max_response(&self) -> u64 {
        let allowed =
            (self.settings.memory / 100).saturating_mul(u64::from(self.settings.max_response_percent));
        allowed.min(self.room.largest())
    }

    /// Stores a response in place of the stored ones that yield to it, unless one
    /// of them stays; sets or clears the key's hit-for-miss marker with it.
    pub fn insert(
        &self,
        key: &CacheKey,
        response: StoredResponse,
        rival: impl Fn(&StoredResponse) -> Rival,
        marker: Option<Wall>,
    ) -> Inserted {
        self.put(key, response, None, rival, marker)
    }

    /// Stores `response`, which shares the body of `old`, in its place. If `old`
    /// is gone (it was purged, or evicted), its body does not come back.
    pub fn freshen(
        &self,
        key: &CacheKey,
        old: &Arc<StoredResponse>,
        response: StoredResponse,
        marker: Option<Wall>,
    ) -> Inserted {
        self.put(key, response, Some(old), |_| Rival::Other, marker)
    }

    fn put(
        &self,
        key: &CacheKey,
        mut response: StoredResponse,
        old: Option<&Arc<StoredResponse>>,
        rival: impl Fn(&StoredResponse) -> Rival,
        marker: Option<Wall>,
    ) -> Inserted {
        // It is in the index before the fence is looked at: so either an invalidation
        // finds it there, or it finds the invalidation here.
        let home = Home {
            authority: CacheKey::authority_of(&key.text),
            site: &response.head.site,
            sequence: response.head.sequence,
            hidden: response.head.hidden,
        };
        response.settle(self.index.place(home, &response.head.names));
        let response = Arc::new(response);
        let mut refused = None;
        self.change(key, |variants| {
            if let Some(number) = self.fence_off(key, &response) {
                refused = Some(Inserted::Fenced(number));
                return false;
            }
            let is_old = |stored: &Arc<StoredResponse>| old.is_some_and(|old| Arc::ptr_eq(stored, old));
            // What was purged is marked, or will be when it is tested, before anybody
            // takes it out.
            let is_gone = old.is_some_and(|old| {
                self.test(&key.text, old);
                old.is_gone()
            });
            if is_gone || old.is_some() && !variants.responses.iter().any(is_old) {
                refused = Some(Inserted::Gone);
                return false;
            }
            let rivals: Vec<Rival> = variants.responses.iter().map(|stored| rival(stored)).collect();
            if rivals.contains(&Rival::Stays) {
                refused = Some(Inserted::Outdone);
                return false;
            }
            let mut rivals = rivals.into_iter();
            variants.responses.retain(|stored| {
                let stays = rivals.next() == Some(Rival::Other) && !is_old(stored);
                if !stays {
                    stored.leave();
                }
                stays
            });
            variants.responses.put_first(Arc::clone(&response));
            self.limit(variants);
            variants.marker = marker;
            true
        });
        match refused {
            None => self.counters.store_inserted.up(),
            Some(Inserted::Fenced(_)) => self.counters.store_fenced.up(),
            Some(Inserted::Outdone) => self.counters.store_outdone.up(),
            Some(Inserted::Gone | Inserted::Stored(_)) => {}
        }
        refused.unwrap_or(Inserted::Stored(response))
    }

    /// Leaves a hit-for-miss marker: until then requests are not collapsed.
    pub fn mark(&self, key: &CacheKey, until: Wall) {
        self.counters.store_marked.up();
        self.change(key, |variants| {
            variants.marker = Some(until);
            true
        });
    }

    /// Marks a response by what came after its request. Returns the number of the
    /// invalidation that it must not be used after.
    fn fence_off(&self, key: &CacheKey, response: &StoredResponse) -> Option<u64> {
        let (sequence, since) = {
            let fence = self.fence.lock();
            (fence.sequence(), fence.since(key, Some(&response.head), response.head.sequence))
        };
        let fenced = match since {
            Some(Invalidation::Hard(number)) => {
                response.purge(Strength::Forced);
                Some(number)
            }
            Some(Invalidation::Soft(_)) => {
                response.soft_purge();
                None
            }
            None => None,
        };
        // Whoever finds it in the meantime tests it, too.
        response.set_tested(sequence);
        fenced
    }

    /// Makes everything that is meant unusable, or only stale: from the moment that
    /// this returns nothing from before is used as if it were not. `noted` is given
    /// the number before anything is looked for, in the order of the numbers.
    ///
    /// Where there is a pattern it waits for a moment, to tell how much it has hit.
    pub fn invalidate(
        &self,
        selectors: &[Selector],
        strength: Strength,
        at: Wall,
        noted: impl FnOnce(u64),
    ) -> Result<Invalidated, Refused> {
        let (mut done, patterns) = self.begin(selectors, strength, at, u64::MAX, noted)?;
        if !patterns.is_empty() {
            done.pending = !self.patterns.wait(done.sequence, PATIENCE);
            done.responses += patterns.iter().map(|pattern| pattern.hits()).sum::<u64>() as usize;
        }
        Ok(done)
    }

    /// As [`Store::invalidate`], of what was asked for before the invalidation of the
    /// number `before`, and waits for nothing. Returns what was hit so far, and the
    /// patterns that everything is being tested against.
    pub fn begin(
        &self,
        selectors: &[Selector],
        strength: Strength,
        at: Wall,
        before: u64,
        noted: impl FnOnce(u64),
    ) -> Result<(Invalidated, Vec<Arc<Pattern>>), Refused> {
        let meant = Meant::by(selectors)?;
        if !meant.tests().is_empty() && self.patterns.len() >= self.settings.max_bans {
            self.counters.bans_refused.up();
            return Err(Refused::TooManyBans(self.settings.max_bans));
        }
        let (sequence, patterns) = {
            let mut fence = self.fence.lock();
            let (sequence, patterns) = fence.note_before(&meant, strength, at, before);
            self.patterns.add(&patterns, || self.counters.bans_merged.up());
            noted(sequence);
            (sequence, patterns)
        };
        let mark = match strength {
            Strength::Soft => Mark::Stale,
            Strength::Hard => Mark::Gone,
            Strength::Forced => Mark::Forced,
        };
        let before = before.min(sequence);
        let responses: usize = selectors.iter().map(|selector| self.reach(selector, mark, before)).sum();
        if strength != Strength::Soft && responses > 0 {
            self.patterns.sweep();
        }
        Ok((Invalidated { sequence, responses, pending: !patterns.is_empty() }, patterns))
    }

    /// How many responses an invalidation would hit. Looks at every response where
    /// there is a pattern.
    pub fn count(&self, selectors: &[Selector], at: Wall) -> Result<usize, Refused> {
        let meant = Meant::by(selectors)?;
        let exact: usize = selectors.iter().map(|selector| self.reach(selector, Mark::None, u64::MAX)).sum();
        if meant.tests().is_empty() {
            return Ok(exact);
        }
        let mut count = exact;
        for variants in self.table.all() {
            let alive = variants.responses.iter().filter(|response| !response.is_gone());
            count += alive
                .filter(|response| meant.tests().iter().any(|test| test.matches(&variants.key, response, at)))
                .count();
        }
        Ok(count)
    }

    /// Begins after invalidations of which nothing is known, up to this number.
    pub fn begin_after(&self, horizon: u64) {
        self.fence.lock().begin_after(horizon);
    }

    /// Notes an invalidation from before the start by its number, so that what was
    /// asked for before it is still fenced. Nothing is looked for.
    pub fn remember(
        &self,
        sequence: u64,
        selectors: &[Selector],
        strength: Strength,
        at: Wall,
    ) -> Result<(), Refused> {
        let meant = Meant::by(selectors)?;
        let mut fence = self.fence.lock();
        fence.skip_to(sequence.saturating_sub(1));
        fence.note(&meant, strength, at);
        Ok(())
    }

    /// A number for now: what was asked for before has a lower one, and nothing else.
    pub fn turn(&self) -> u64 {
        self.fence.lock().turn()
    }

    /// Gives out higher numbers than this one.
    pub fn skip_to(&self, sequence: u64) {
        self.fence.lock().skip_to(sequence);
    }

    /// Everything up to this number is not remembered.
    pub fn horizon(&self) -> u64 {
        self.fence.lock().horizon()
    }

    /// The patterns that have not been tested against everything yet.
    pub fn bans(&self) -> Vec<Arc<Pattern>> {
        self.patterns.all()
    }

    /// Makes everything stored under this key unusable on account of a response that
    /// was asked for at `since`. Returns the invalidation's number, unless another
    /// one came in between: then that response is outdated as well.
    pub fn invalidate_for(&self, key: &CacheKey, since: u64) -> Option<u64> {
        let (number, latest) = {
            let mut fence = self.fence.lock();
            let latest = fence.since(key, None, since).is_none();
            (fence.note_key(key), latest)
        };
        self.end(key.short(), &key.text, Mark::Forced, number);
        latest.then_some(number)
    }

    /// Marks what one selector means, patterns aside, and was asked for before the
    /// invalidation of this number.
    fn reach(&self, selector: &Selector, mark: Mark, number: u64) -> usize {
        let end = |key: &CacheKey| self.end(key.short(), &key.text, mark, number);
        match selector {
            Selector::Url { .. } => selector.keys().iter().map(end).sum(),
            Selector::Path { path_and_query } => {
                let authorities = self.index.authorities();
                let keys = authorities.iter().map(|authority| {
                    CacheKey::from_text(&Arc::from(format!("{authority}{path_and_query}").as_str()))
                });
                keys.map(|key| end(&key)).sum()
            }
            Selector::Host { host, port } => self.index.mark(Which::Host(host, *port), mark, number),
            Selector::Site { site } => self.index.mark(Which::Site(site), mark, number),
            Selector::Tag { tag, site } => {
                self.index.mark(Which::Named(&Names::tag(tag), site.as_deref()), mark, number)
            }
            Selector::Group { authority, group } => {
                let name = Names::group(authority, group.as_bytes());
                self.index.mark(Which::Named(&name, None), mark, number)
            }
            Selector::All => self.index.mark(Which::All, mark, number),
            Selector::Prefix { .. } | Selector::Ban { .. } => 0,
        }
    }

    /// Ends the use of everything stored under a key that was asked for before the
    /// invalidation of this number, or its freshness.
    fn end(&self, hash: u64, text: &Arc<str>, mark: Mark, number: u64) -> usize {
        let mut count = 0;
        self.change_at(hash, text, |variants| {
            let meant = |response: &&Arc<StoredResponse>| response.head.sequence < number;
            let responses = variants.responses.iter().filter(meant);
            match mark {
                Mark::None => count = responses.filter(|response| !response.is_gone()).count(),
                Mark::Stale => count = responses.filter(|response| response.soft_purge()).count(),
                Mark::Gone | Mark::Forced => {
                    let strength = if mark == Mark::Forced { Strength::Forced } else { Strength::Hard };
                    count = responses.filter(|response| response.purge(strength)).count();
                    variants.responses.retain(|response| !response.is_gone());
                    variants.marker = None;
                    return true;
                }
            }
            false
        });
        count
    }

    /// Tests everything stored against all patterns, and drops what must not be used
    /// any more. `pause` is called now and then.
    pub(super) fn pass(&self, mut pause: impl FnMut() -> bool) -> bool {
        for variants in self.table.all() {
            variants.responses.iter().for_each(|response| self.test(&variants.key, response));
            if variants.responses.iter().any(|response| response.is_gone()) {
                self.change_at(CacheKey::short_of(&variants.key), &variants.key, |variants| {
                    variants.responses.retain(|response| !response.is_gone());
                    true
                });
            }
            if !pause() {
                return false;
            }
        }
        true
    }

    /// Removes one response that was found to be no longer right, if it is still
    /// there.
    pub fn remove(&self, key: &CacheKey, response: &Arc<StoredResponse>) {
        self.change(key, |variants| {
            let before = variants.responses.len();
            variants.responses.retain(|stored| !Arc::ptr_eq(stored, response));
            response.leave();
            variants.responses.len() != before
        });
    }

    /// Lets moka do what it has put off (eviction, above all), and brings the
    /// gauges up to date. To be called from a ticker.
    pub fn tick(&self) {
        self.room.tick();
        self.counters.store_keys.set(self.table.len() as u64);
        self.counters.store_bytes.set(self.room.bytes());
        self.counters.store_limit_bytes.set(self.settings.memory);
        self.counters.store_spare.set(blocks::spare());
        self.counters.store_tags.set(self.index.names() as u64);
        self.counters.bans.set(self.patterns.len() as u64);
    }

    /// It takes what is usual, until somebody tells [what it takes](Store::takes).
    pub fn expect_holes(&self) {
        self.room.expect_holes();
    }

    /// Notes how many bytes the process takes for what is stored, holes included.
    pub fn takes(&self, bytes: u64) {
        self.room.takes(bytes);
        self.counters.store_overhead.set(self.room.overhead());
    }

    /// How often [`Store::tick`] wants to be called.
    pub const TICK: Duration = Duration::from_millis(500);

    /// Changes the variants of a key as a whole. `change` says whether it did.
    fn change(&self, key: &CacheKey, change: impl FnOnce(&mut Variants) -> bool) {
        self.change_at(key.short(), &key.text, change);
    }

    fn change_at(&self, hash: u64, text: &Arc<str>, change: impl FnOnce(&mut Variants) -> bool) {
        self.room.change(hash, text, |stored| {
            let mut variants =
                stored.map_or_else(|| Variants::none(Arc::clone(text)), |stored| Variants::clone(stored));
            if !change(&mut variants) {
                return None;
            }
            if variants.responses.is_empty() && variants.marker.is_none() {
                return Some(None);
            }
            Some(Some(variants))
        });
    }

    /// Drops the least recently used variants above the limit. The first one is
    /// the newcomer and stays.
    fn limit(&self, variants: &mut Variants) {
        while variants.responses.len() > self.settings.max_variants.max(1) {
            let others = variants.responses.iter().enumerate().skip(1);
            // `min_by_key` takes the first of equals; the last one is the oldest.
            let Some((oldest, _)) = others.rev().min_by_key(|(_, response)| response.last_used()) else {
                break;
            };
            variants.responses[oldest].leave();
            let mut at = 0..;
            variants.responses.retain(|_| at.next() != Some(oldest));
            self.counters.store_variants_dropped.up();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::rfc::lifetime::{Lifetime, Source};
    use crate::stored::StoredBody;

    fn response(sequence: u64) -> StoredResponse {
        let head = Head {
            status: StatusCode::OK,
            fields: [("content-type", "image/png")].into_iter().collect(),
            secondary: Default::default(),
            requested: Wall::default(),
            received: Wall::default(),
            initial_age: 0,
            lifetime: Lifetime { seconds: 1000, source: Source::MaxAge },
            terms: Default::default(),
            always_validate: false,
            sequence,
            names: Names::default(),
            site: "s".into(),
            hidden: false,
        };
        StoredResponse::new(Arc::new(head), StoredBody::default(), None)
    }

    #[test]
    fn a_look_without_a_trace_sees_what_waits_to_be_tested_and_marks_nothing() {
        let store = Store::new(Settings::default(), Arc::default());
        let key = CacheKey::new("http", "a", 80, "/x");
        store.insert(&key, response(store.sequence()), |_| Rival::Other, None);
        let ban = Selector::Ban { expression: "obj.http.content-type ~ ^image/".to_owned() };
        let begun = store.begin(&[ban], Strength::Hard, Wall::default(), u64::MAX, |_| {});
        let (done, _) = begun.expect("a good ban");

        let stored = Arc::clone(&store.table.find(&key).expect("it is stored").responses[0]);
        let before = (stored.tested(), stored.last_used());
        let peeked = store.peek(&key);
        let purged = peeked.purged[0].as_ref().expect("it would be found to be gone");
        assert_eq!(purged.sequence, Some(done.sequence));
        assert!(purged.pattern.as_ref().is_some_and(|pattern| pattern.contains("^image/")));
        assert!(peeked.variants.is_some_and(|variants| variants.responses[0].is_gone()));
        assert!(!stored.is_gone() && (stored.tested(), stored.last_used()) == before);
        assert_eq!(store.counters.ban_tests.get(), 0);

        assert!(store.find_in_memory(&key).expect("it is stored").responses[0].is_gone());
        assert_eq!(store.counters.ban_tests.get(), 1);
    }

    #[test]
    fn a_look_takes_no_handle_and_one_that_waits_to_be_tested_is_tested_before() {
        let store = Store::new(Settings::default(), Arc::default());
        let key = CacheKey::new("http", "a", 80, "/x");
        store.insert(&key, response(store.sequence()), |_| Rival::Other, None);
        let handles = |found: Option<&Arc<Variants>>| {
            let found = found.expect("it is stored");
            (Arc::strong_count(found), Arc::strong_count(&found.responses[0]))
        };
        assert_eq!(store.look(&key, handles), (1, 1));
        let kept = store.look(&key, |found| Arc::clone(&found.expect("it is stored").responses[0]));
        assert_eq!(store.look(&key, handles), (1, 2));
        let ban = Selector::Ban { expression: "obj.http.content-type ~ ^image/".to_owned() };
        store.begin(&[ban], Strength::Hard, Wall::default(), u64::MAX, |_| {}).expect("a good ban");
        assert!(!kept.is_gone(), "nobody has looked since then");
        assert!(store.look(&key, |found| found.expect("it is stored").responses[0].is_gone()));
    }

    #[test]
    fn what_becomes_visible_behind_the_lurkers_back_is_tested_when_it_is_found() {
        let store = Store::new(Settings::default(), Arc::default());
        let key = CacheKey::new("http", "a", 80, "/x");
        let mut late = response(store.sequence());
        late.settle(store.index.place(
            Home { authority: "http://a:80", site: "s", sequence: 0, hidden: false },
            &Names::default(),
        ));
        let late = Arc::new(late);
        // As whoever stores it does: it looks at the fence, and is held up then.
        assert_eq!(store.fence_off(&key, &late), None);
        let ban = Selector::Ban { expression: "obj.http.content-type ~ ^image/".to_owned() };
        let begun = store.begin(&[ban], Strength::Hard, Wall::default(), u64::MAX, |_| {});
        let (done, _) = begun.expect("a good ban");
        assert!(store.pass(|| true));
        store.patterns.done(done.sequence);
        assert_eq!(store.bans().len(), 0);
        store.change(&key, |variants| {
            variants.responses.put_first(Arc::clone(&late));
            true
        });
        let found = store.find_in_memory(&key).expect("it is stored");
        assert!(found.select(&Default::default(), false).is_none(), "it was banned");
        // What was asked for since then is right.
        store.insert(&key, response(store.sequence()), |_| Rival::Yields, None);
        let found = store.find_in_memory(&key).expect("it is stored");
        assert!(found.select(&Default::default(), false).is_some());
    }
}
