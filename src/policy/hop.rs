//! This node on the way of a request: the marks that it leaves on what it forwards, and
//! how it finds them again.
//!
//! What always holds: a request counts as going round only where it must have been here
//! before. Nodes of the same name are no loop, and neither is a node that is the origin of
//! one of its own sites; both are bounded, however.
//!
//! The mark is one parameter of this node's member of `CDN-Loop` (RFC 8586 2): an id that no
//! other node and no other start of this one has, and the cache key. It is looked for in the
//! bytes of the field, so that nothing malformed beside it can hide it.

use crate::rfc::fields::Fields;
use crate::stored::CacheKey;

/// The name of a node that was given none.
pub const DEFAULT_NAME: &str = "forebay";

/// What a request may pass at one node with another target each time, and how many nodes of
/// the same name one after the other.
const MOST_VISITS: usize = 8;

/// This node, as requests that it forwards name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    name: String,
    id: String,
}

/// How a request is known to go round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loop {
    /// This node has forwarded a request for the same target on its behalf.
    SameTarget,
    /// This node has forwarded so many on its behalf.
    TooOften,
    /// `Via` names this node, and nothing else explains that: a proxy on the way has taken
    /// `CDN-Loop` off.
    Via,
}

impl Hop {
    /// A node of this name; `id` is a token that no other node has, and no other start of
    /// this one.
    pub fn new(name: String, id: String) -> Self {
        Hop { name, id }
    }

    /// Its pseudonym in `Via`, and its name in `Cache-Status` and `Proxy-Status`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes this node's member of `CDN-Loop` in a request under this key (RFC 8586 2).
    pub fn write_member(&self, key: &CacheKey, out: &mut Vec<u8>) {
        out.extend_from_slice(CDN_ID.as_bytes());
        self.write_mark(key, out);
    }

    /// Whether a request with these fields, under this key, would go round if it were
    /// forwarded.
    pub fn finds_itself(&self, fields: &Fields, key: &CacheKey) -> Option<Loop> {
        let (told, passed) = (fields.get_all("cdn-loop"), self.named_in_via(fields));
        if passed == 0 && told.clone().next().is_none() {
            return None;
        }
        let count = |text: &[u8]| told.clone().map(|line| occurrences(line, text)).sum::<usize>();
        let mut mark = Vec::new();
        self.write_mark(key, &mut mark);
        if count(&mark) > 0 {
            return Some(Loop::SameTarget);
        }
        if count(self.id.as_bytes()) >= MOST_VISITS {
            return Some(Loop::TooOften);
        }
        // Whoever of this name has passed the request on has left a member of its own in
        // CDN-Loop; then the rest of Via is what a client may have written. The default name
        // says nothing: there may be any number of them.
        let others = count(CDN_ID.as_bytes());
        let most = if self.name == DEFAULT_NAME || others > 0 { MOST_VISITS - 1 } else { 0 };
        (passed.saturating_sub(others) > most).then_some(Loop::Via)
    }

    /// The hash in a key is seeded, so nobody can read a target from it.
    fn write_mark(&self, key: &CacheKey, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        out.push(b'-');
        let digits = (key.hash as u64).to_be_bytes();
        out.extend(
            digits.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| HEX[usize::from(digit)]),
        );
    }

    /// How many members of `Via` may be this node's: its name as it writes it, without the
    /// comment by which other programs tell what they are (RFC 9110 7.6.3).
    fn named_in_via(&self, fields: &Fields) -> usize {
        let is_own = |member: &&[u8]| {
            let mut words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let name = words.nth(1);
            words.next().is_none() && name.is_some_and(|name| name.eq_ignore_ascii_case(self.name.as_bytes()))
        };
        fields.members("via").filter(is_own).count()
    }
}

/// How each member of `CDN-Loop` begins that any node writes.
const CDN_ID: &str = "forebay;node=";

const HEX: &[u8; 16] = b"0123456789abcdef";

fn occurrences(text: &[u8], wanted: &[u8]) -> usize {
    text.windows(wanted.len().max(1)).filter(|window| *window == wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> CacheKey {
        CacheKey::new("http", "a.example", 80, path)
    }

    fn hop(name: &str, id: &str) -> Hop {
        Hop::new(name.to_owned(), id.to_owned())
    }

    fn member(hop: &Hop, path: &str) -> String {
        let mut member = Vec::new();
        hop.write_member(&key(path), &mut member);
        String::from_utf8(member).expect("text")
    }

    fn told(lines: &[&str]) -> Fields {
        lines.iter().map(|line| ("CDN-Loop", *line)).collect()
    }

    #[test]
    fn only_the_same_node_and_the_same_target_are_a_loop() {
        let (own, other) = (hop("forebay", "0123456789abcdef"), hop("forebay", "fedcba9876543210"));
        let seen = |lines: &[&str]| own.finds_itself(&told(lines), &key("/a"));
        assert_eq!(seen(&[]), None);
        assert_eq!(seen(&["forebay", "forebay;node=x", "other.example;v=1"]), None);
        assert_eq!(seen(&[&member(&other, "/a")]), None, "another node of the same name");
        assert_eq!(seen(&[&member(&own, "/b")]), None, "another target");
        assert_eq!(seen(&[&member(&own, "/a")]), Some(Loop::SameTarget));
        let through_others = format!("{}, cdn.example, {}", member(&own, "/a"), member(&other, "/a"));
        assert_eq!(seen(&[&through_others]), Some(Loop::SameTarget));
    }

    #[test]
    fn another_target_each_time_ends_as_well() {
        let own = hop("forebay", "0123456789abcdef");
        let visits: Vec<String> = (0..8).map(|n| member(&own, &format!("/{n}"))).collect();
        let seen = |count: usize| own.finds_itself(&told(&[&visits[..count].join(", ")]), &key("/a"));
        assert_eq!((seen(7), seen(8)), (None, Some(Loop::TooOften)));
    }

    #[test]
    fn nothing_malformed_hides_a_loop() {
        let own = hop("forebay", "0123456789abcdef");
        let member = member(&own, "/a");
        for before in ["\"", ";;;=", ", ,", "a;b=\"c", "\\", "\u{fc}", "(("] {
            let line = format!("{before}, {member}");
            assert_eq!(own.finds_itself(&told(&[&line]), &key("/a")), Some(Loop::SameTarget), "{line}");
            assert_eq!(own.finds_itself(&told(&[before]), &key("/a")), None, "{before}");
        }
    }

    #[test]
    fn via_alone_is_proof_only_of_a_name_of_its_own_that_nothing_explains() {
        let seen = |name: &str, fields: &[(&str, &str)]| {
            hop(name, "0123456789abcdef").finds_itself(&fields.iter().copied().collect(), &key("/a"))
        };
        assert_eq!(seen("edge-1", &[("Via", "1.1 edge-1")]), Some(Loop::Via));
        assert_eq!(seen("edge-1", &[("Via", "1.0 fred, 1.1 EDGE-1")]), Some(Loop::Via));
        assert_eq!(seen("edge-1", &[("Via", "1.1 edge-1 (Varnish/7.6)")]), None, "another program there");
        assert_eq!(seen("edge-1", &[("Via", "1.1 edge-11")]), None);
        let explained = [("Via", "1.1 edge-1"), ("CDN-Loop", "forebay;node=77-88")];
        assert_eq!(seen("edge-1", &explained), None, "a node of the same name");
        let forged = [("Via", "1.1 edge-1, 1.1 edge-1"), ("CDN-Loop", "forebay;node=77-88")];
        assert_eq!(seen("edge-1", &forged), None, "a client may write what it likes before an edge");
        assert_eq!(seen(DEFAULT_NAME, &[("Via", "1.1 forebay, 1.1 forebay")]), None);
        let many = ["1.1 forebay"; 8].join(", ");
        assert_eq!(seen(DEFAULT_NAME, &[("Via", &many)]), Some(Loop::Via));
    }
}
