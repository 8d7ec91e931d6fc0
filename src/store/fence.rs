//! Which invalidations a response is newer than.
//!
//! Every invalidation has a number. A request that goes to an origin notes the
//! last one; before its response is stored, every later invalidation is tested
//! against the response. What has been forgotten counts as if it had meant
//! everything.
//!
//! What always holds: what an invalidation means is noted before it is looked for
//! in the store, in the index or in what is on its way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::Wall;
use crate::stored::ban::{BadBan, Ban};
use crate::stored::names::{NameHash, Names};
use crate::stored::pattern::{Pattern, Test};
use crate::stored::selector::{Selector, Strength};
use crate::stored::{CacheKey, Head};

/// How many things that invalidations meant are remembered. A response whose
/// request is older than all of them is not stored.
const REMEMBERED: usize = 65_536;

/// How many patterns among them; a compiled one takes kilobytes.
const REMEMBERED_PATTERNS: usize = 2_000;

/// The memory of invalidations.
#[derive(Debug, Default)]
pub struct Fence {
    sequence: u64,
    /// Everything up to here has been forgotten.
    horizon: u64,
    last: HashMap<NameHash, Last>,
    /// What is remembered, oldest first.
    recent: VecDeque<(u64, Noted)>,
    /// The patterns among it, oldest first.
    patterns: VecDeque<Arc<Pattern>>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Last {
    forced: u64,
    hard: u64,
    soft: u64,
}

impl Last {
    fn of(&mut self, strength: Strength) -> &mut u64 {
        match strength {
            Strength::Forced => &mut self.forced,
            Strength::Hard => &mut self.hard,
            Strength::Soft => &mut self.soft,
        }
    }
}

#[derive(Debug)]
enum Noted {
    Name(NameHash),
    Pattern,
}

/// What stands between a response and the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalidation {
    /// It was made unusable by the invalidation of this number.
    Hard(u64),
    /// It was made stale by the invalidation of this number.
    Soft(u64),
}

/// What an invalidation means, ready to be noted: exact names, and tests.
#[derive(Clone, Debug, Default)]
pub struct Meant {
    names: Vec<NameHash>,
    tests: Vec<Test>,
}

impl Meant {
    /// What these selectors mean. Only a ban can be no good.
    pub fn by(selectors: &[Selector]) -> Result<Meant, BadBan> {
        let mut meant = Meant::default();
        for selector in selectors {
            match selector {
                Selector::Url { .. } => {
                    meant.names.extend(selector.keys().iter().map(|key| NameHash(key.hash)));
                }
                Selector::Path { path_and_query } => {
                    meant.names.push(NameHash(CacheKey::path_hash(path_and_query)));
                }
                Selector::Host { host, port } => meant.names.push(NameHash::host(host, *port)),
                Selector::Site { site } => meant.names.push(NameHash::site(site)),
                Selector::Tag { tag, site } => {
                    meant.names.push(NameHash::name(&Names::tag(tag), site.as_deref()));
                }
                Selector::Group { authority, group } => {
                    meant.names.push(NameHash::name(&Names::group(authority, group.as_bytes()), None));
                }
                Selector::All => meant.names.push(NameHash::ALL),
                Selector::Prefix { host, port, prefix } => {
                    meant.tests.push(Test::Prefix { host: host.clone(), port: *port, prefix: prefix.clone() })
                }
                Selector::Ban { expression } => meant.tests.push(Test::Ban(Ban::parse(expression)?)),
            }
        }
        Ok(meant)
    }

    /// The tests among it.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }
}

impl Fence {
    /// The number of the last invalidation.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Everything up to this number has been forgotten.
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Begins after an invalidation of this number, of which nothing is known.
    pub fn begin_after(&mut self, sequence: u64) {
        self.skip_to(sequence);
        self.horizon = self.horizon.max(sequence);
        self.last.clear();
        self.recent.clear();
        self.patterns.clear();
    }

    /// Gives out higher numbers than this one.
    pub fn skip_to(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Notes an invalidation and returns its patterns, numbered.
    pub fn note(&mut self, meant: &Meant, strength: Strength, at: Wall) -> (u64, Vec<Arc<Pattern>>) {
        self.note_before(meant, strength, at, u64::MAX)
    }

    /// As [`Fence::note`], of an invalidation that means only what was asked for before
    /// the one of the number `before`.
    pub fn note_before(
        &mut self,
        meant: &Meant,
        strength: Strength,
        at: Wall,
        before: u64,
    ) -> (u64, Vec<Arc<Pattern>>) {
        self.sequence += 1;
        let number = self.sequence;
        let before = before.min(number);
        for name in &meant.names {
            let last = self.last.entry(*name).or_default();
            let last = last.of(strength);
            *last = before.max(*last);
            self.recent.push_back((number, Noted::Name(*name)));
        }
        let patterns: Vec<Arc<Pattern>> = meant
            .tests
            .iter()
            .map(|test| Arc::new(Pattern::new((number, before), strength, at, test.clone())))
            .collect();
        for pattern in &patterns {
            self.patterns.push_back(Arc::clone(pattern));
            self.recent.push_back((number, Noted::Pattern));
        }
        while self.recent.len() > REMEMBERED || self.patterns.len() > REMEMBERED_PATTERNS {
            self.forget_oldest();
        }
        (number, patterns)
    }

    /// Gives out a number that means nothing: what is asked for from now on can be told
    /// from what was asked for before.
    pub fn turn(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Notes a forced invalidation of this key alone, and returns its number.
    pub fn note_key(&mut self, key: &CacheKey) -> u64 {
        let meant = Meant { names: vec![NameHash(key.hash)], tests: Vec::new() };
        self.note(&meant, Strength::Forced, Wall::default()).0
    }

    /// The strongest invalidation later than `sequence` of a response under `key`:
    /// with this head, or with whatever head it will have.
    pub fn since(&self, key: &CacheKey, head: Option<&Head>, sequence: u64) -> Option<Invalidation> {
        if sequence >= self.sequence {
            return None;
        }
        if sequence < self.horizon {
            return Some(Invalidation::Hard(self.horizon));
        }
        let mut latest = Last::default();
        for_each_name(key, head, |name| {
            if let Some(last) = self.last.get(&name) {
                latest.forced = latest.forced.max(last.forced);
                latest.hard = latest.hard.max(last.hard);
                latest.soft = latest.soft.max(last.soft);
            }
        });
        let later = self.patterns.partition_point(|pattern| pattern.number <= sequence);
        for pattern in self.patterns.range(later..) {
            let strongest = latest.of(pattern.strength);
            if pattern.before > (*strongest).max(sequence)
                && match head {
                    Some(head) => pattern.test.matches_new(&key.text, head, pattern.at),
                    None => pattern.test.may_match(&key.text),
                }
            {
                *strongest = pattern.before;
            }
        }
        let Last { forced, hard, soft } = latest;
        // On a hidden route what is not forced only makes stale.
        let spared = head.is_some_and(|head| head.hidden);
        let (hard, soft) = if spared { (forced, soft.max(hard)) } else { (hard.max(forced), soft) };
        if hard > sequence {
            Some(Invalidation::Hard(hard))
        } else if soft > sequence {
            Some(Invalidation::Soft(soft))
        } else {
            None
        }
    }

    /// Whether a response with this head was meant later than `sequence` by something else than
    /// its key: by its site, a tag or a group.
    pub fn names_since(&self, key: &CacheKey, head: &Head, sequence: u64) -> bool {
        let mut is_meant = false;
        for_each_name_of(CacheKey::authority_of(&key.text), head, |name| {
            let last = self.last.get(&name);
            is_meant |= last.is_some_and(|last| last.forced.max(last.hard).max(last.soft) > sequence);
        });
        is_meant
    }

    /// The number of the last forced invalidation of this key alone or of one of these groups
    /// of its origin, as far as it is remembered: those of requests with unsafe methods are
    /// among them. 0 if there is none.
    pub fn last_forced(&self, key: &CacheKey, groups: &[String]) -> u64 {
        let authority = CacheKey::authority_of(&key.text);
        let group = |group: &String| NameHash::name(&Names::group(authority, group.as_bytes()), None);
        let names = groups.iter().map(group).chain([NameHash(key.hash)]);
        names.filter_map(|name| self.last.get(&name)).map(|last| last.forced).max().unwrap_or_default()
    }

    fn forget_oldest(&mut self) {
        let Some((number, noted)) = self.recent.pop_front() else { return };
        self.horizon = number;
        match noted {
            Noted::Pattern => {
                self.patterns.pop_front();
            }
            Noted::Name(name) => {
                if let Some(last) = self.last.get(&name)
                    && last.hard.max(last.soft).max(last.forced) <= number
                {
                    self.last.remove(&name);
                }
            }
        }
    }
}

/// Everything exact that a response can be meant by.
fn for_each_name(key: &CacheKey, head: Option<&Head>, mut each: impl FnMut(NameHash)) {
    let authority = CacheKey::authority_of(&key.text);
    each(NameHash::ALL);
    each(NameHash(key.hash));
    each(NameHash(key.path_hash));
    let (_, rest) = authority.split_once("://").unwrap_or_default();
    if let Some((host, port)) = rest.rsplit_once(':') {
        each(NameHash::host(host, None));
        each(NameHash::host(host, port.parse().ok()));
    }
    if let Some(head) = head {
        for_each_name_of(authority, head, each);
    }
}

/// Everything exact that a response can be meant by beside its key.
fn for_each_name_of(authority: &str, head: &Head, mut each: impl FnMut(NameHash)) {
    each(NameHash::site(&head.site));
    for name in head.names.indexed(authority) {
        each(NameHash::name(&name, None));
        each(NameHash::name(&name, Some(&head.site)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> CacheKey {
        CacheKey::new("http", "a", 80, path)
    }

    fn url(path: &str) -> Meant {
        let path_and_query = path.to_owned();
        Meant::by(&[Selector::Url { scheme: None, host: "a".to_owned(), port: None, path_and_query }])
            .expect("no ban")
    }

    #[test]
    fn a_response_is_fenced_by_later_invalidations_that_mean_it() {
        let mut fence = Fence::default();
        let before = fence.sequence();
        let (hard, _) = fence.note(&url("/1"), Strength::Hard, Wall::default());
        let (soft, _) = fence.note(&url("/2"), Strength::Soft, Wall::default());
        let path = Meant::by(&[Selector::Path { path_and_query: "/3".to_owned() }]).expect("no ban");
        let (by_path, _) = fence.note(&path, Strength::Soft, Wall::default());
        let prefix = Selector::Prefix { host: Some("a".to_owned()), port: None, prefix: "/4".to_owned() };
        let (by_prefix, _) =
            fence.note(&Meant::by(&[prefix]).expect("no ban"), Strength::Hard, Wall::default());
        assert_eq!(fence.since(&key("/1"), None, before), Some(Invalidation::Hard(hard)));
        assert_eq!(fence.since(&key("/2"), None, before), Some(Invalidation::Soft(soft)));
        assert_eq!(fence.since(&key("/3"), None, before), Some(Invalidation::Soft(by_path)));
        assert_eq!(fence.since(&key("/45"), None, before), Some(Invalidation::Hard(by_prefix)));
        assert_eq!(fence.since(&key("/5"), None, before), None);
        assert_eq!(fence.since(&key("/1"), None, hard), None);
        let all = Meant::by(&[Selector::All]).expect("no ban");
        let (all, _) = fence.note(&all, Strength::Hard, Wall::default());
        assert_eq!(fence.since(&key("/2"), None, before), Some(Invalidation::Hard(all)));
    }

    #[test]
    fn a_soft_one_does_not_soften_a_hard_one() {
        let mut fence = Fence::default();
        let (hard, _) = fence.note(&url("/1"), Strength::Hard, Wall::default());
        fence.note(&url("/1"), Strength::Soft, Wall::default());
        assert_eq!(fence.since(&key("/1"), None, 0), Some(Invalidation::Hard(hard)));
    }

    #[test]
    fn one_from_before_means_nothing_that_was_asked_for_since() {
        let mut fence = Fence::default();
        let old = fence.sequence();
        let turn = fence.turn();
        let prefix = Selector::Prefix { host: Some("a".to_owned()), port: None, prefix: "/2".to_owned() };
        let prefix = Meant::by(&[prefix]).expect("no ban");
        fence.note_before(&url("/1"), Strength::Hard, Wall::default(), turn);
        fence.note_before(&prefix, Strength::Hard, Wall::default(), turn);
        for path in ["/1", "/2"] {
            assert_eq!(fence.since(&key(path), None, old), Some(Invalidation::Hard(turn)), "{path}");
            assert_eq!(fence.since(&key(path), None, turn), None, "{path}");
        }
        let (later, _) = fence.note(&url("/1"), Strength::Hard, Wall::default());
        fence.note_before(&url("/1"), Strength::Hard, Wall::default(), turn);
        assert_eq!(fence.since(&key("/1"), None, turn), Some(Invalidation::Hard(later)));
    }

    #[test]
    fn what_has_been_forgotten_counts_as_invalidated() {
        let mut fence = Fence::default();
        let before = fence.sequence();
        for n in 0..REMEMBERED / 2 {
            fence.note(&url(&format!("/{n}")), Strength::Hard, Wall::default());
        }
        assert_eq!(fence.since(&key("/x"), None, before), None);
        fence.note(&url("/one-more"), Strength::Hard, Wall::default());
        assert!(fence.since(&key("/x"), None, before).is_some());
        assert_eq!(fence.since(&key("/x"), None, fence.sequence()), None);
        assert!(fence.last.len() <= REMEMBERED);
    }
}
