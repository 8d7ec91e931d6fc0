//! An invalidation by pattern: it cannot be looked up in an index, so each
//! response is tested, when it is next used or when the lurker comes by.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ban::{Ban, Described};
use super::{CacheKey, Head, Selector, StoredResponse, Strength};
use crate::clock::Wall;

/// A pattern that stored responses are tested against.
#[derive(Debug)]
pub struct Pattern {
    /// The number of its invalidation.
    pub number: u64,
    /// It means responses that were asked for before the invalidation of this number:
    /// its own, as a rule.
    pub before: u64,
    /// What becomes of those that match.
    pub strength: Strength,
    /// When it was accepted; ages are as of then.
    pub at: Wall,
    /// What is tested.
    pub test: Test,
    /// How many responses it has hit so far.
    hits: AtomicU64,
}

/// What a pattern looks at.
#[derive(Clone, Debug)]
pub enum Test {
    /// Host, port and the beginning of path and query.
    Prefix {
        /// Lower-case; every host if none is given.
        host: Option<String>,
        /// Every port if none is given.
        port: Option<u16>,
        /// In canonical form.
        prefix: String,
    },
    /// A ban.
    Ban(Ban),
}

impl Pattern {
    /// A pattern that has hit nothing yet.
    pub fn new((number, before): (u64, u64), strength: Strength, at: Wall, test: Test) -> Self {
        Pattern { number, before, strength, at, test, hits: AtomicU64::new(0) }
    }

    /// Whether it means this stored response.
    pub fn matches(&self, key: &str, response: &StoredResponse) -> bool {
        response.head.sequence < self.before && self.test.matches(key, response, self.at)
    }

    /// Notes a hit.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// How many responses it has hit so far.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

impl Test {
    /// Whether it means a stored response, as of `at`.
    pub fn matches(&self, key: &str, response: &StoredResponse, at: Wall) -> bool {
        self.matches_head(key, &response.head, response.last_used(), at)
    }

    /// Whether it means a response with this head that has not been used yet.
    pub fn matches_new(&self, key: &str, head: &Head, at: Wall) -> bool {
        self.matches_head(key, head, head.received.secs(), at)
    }

    /// Whether it may mean a response to a request for this key whose head is not
    /// known yet.
    pub fn may_match(&self, key: &str) -> bool {
        let (host, _, url) = parts(key);
        match self {
            Test::Prefix { .. } => self.is_prefix_of(key),
            Test::Ban(ban) => ban.may_match(host, url),
        }
    }

    fn matches_head(&self, key: &str, head: &Head, last_used: u64, at: Wall) -> bool {
        match self {
            Test::Prefix { .. } => self.is_prefix_of(key),
            Test::Ban(ban) => {
                let (host, _, url) = parts(key);
                ban.matches(&Described {
                    host,
                    url,
                    status: head.status,
                    fields: &head.fields,
                    age: head.age(at),
                    ttl: head.freshness_left_millis(at).div_euclid(1000),
                    last_hit: at.secs().saturating_sub(last_used),
                })
            }
        }
    }

    fn is_prefix_of(&self, key: &str) -> bool {
        let Test::Prefix { host, port, prefix } = self else { return false };
        let (_, name_and_port, url) = parts(key);
        let (name, number) = name_and_port;
        host.as_deref().is_none_or(|host| host == name)
            && port.is_none_or(|port| number.parse() == Ok(port))
            && url.starts_with(prefix.as_str())
    }
}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Test::Ban(ban) => f.write_str(ban.text()),
            Test::Prefix { host, port, prefix } => {
                let (host, port, prefix) = (host.clone(), *port, prefix.clone());
                Selector::Prefix { host, port, prefix }.fmt(f)
            }
        }
    }
}

/// The host as a client writes it (without the scheme's own port), host and port
/// apart, and path and query of a key's text.
fn parts(key: &str) -> (&str, (&str, &str), &str) {
    let url = CacheKey::path_of(key);
    let authority = CacheKey::authority_of(key);
    let (scheme, rest) = authority.split_once("://").unwrap_or_default();
    let (name, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    let own = if scheme == "https" { "443" } else { "80" };
    (if port == own { name } else { rest }, (name, port), url)
}
