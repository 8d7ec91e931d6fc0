//! What an edge and its shield tell each other of how far they have read the stream that
//! all nodes of a cluster read.
//!
//! The edge says how far it has read; the shield, where it is a few messages behind, waits a
//! moment for them, and says with its answer up to where nothing means it. What the edge
//! has invalidated after that counts as later than the answer.
//!
//! What requests with unsafe methods have invalidated does not stand in the stream, and
//! another shield than the one that such a request went by may have kept what was before.
//! So what a shield had kept is later than that only where its age says so.
//!
//! What always holds: only whoever knows the id of the stream's first message, which the
//! nodes of the cluster alone do, is told anything.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Invalidator, ReadTo};
use crate::clock::monotonic;
use crate::stored::CacheKey;

/// How long one of them waits for what the other one has read already. With a broker in
/// reach it is there within milliseconds; without one nobody is to wait for it.
const MOMENT: Duration = Duration::from_millis(250);

/// What a shield tells with an answer.
#[derive(Serialize, Deserialize)]
struct Told {
    #[serde(flatten)]
    read: ReadTo,
    /// See [`Moment::kept`](super::Moment::kept).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    kept: bool,
}

/// An answer of a shield, as far as it says what invalidations it is later than.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the shield has told with it.
    pub told: Vec<u8>,
    /// What it answers.
    pub key: CacheKey,
    /// The groups that it belongs to (RFC 9875).
    pub groups: Vec<String>,
    /// The application made it, or confirmed it, at this time or later. None where that is
    /// not known.
    pub made: Option<Instant>,
}

/// So many turns are remembered; the oldest go first.
const TURNS: usize = 4096;
/// Ages are whole seconds.
const APART: Duration = Duration::from_secs(1);

/// When which number was the last one of all invalidations here.
#[derive(Debug, Default)]
pub(super) struct Turns {
    seen: VecDeque<(Instant, u64)>,
}

impl Turns {
    /// Now this number is the last one.
    fn note(&mut self, now: Instant, number: u64) {
        if let Some((at, last)) = self.seen.back()
            && (*last == number || now.saturating_duration_since(*at) < APART)
        {
            return;
        }
        if self.seen.len() >= TURNS {
            self.seen.pop_front();
        }
        self.seen.push_back((now, number));
    }

    /// A number that had been given out at that time, and all before it; 0 if none is known.
    fn at(&self, time: Instant) -> u64 {
        let later = self.seen.partition_point(|(at, _)| *at <= time);
        later.checked_sub(1).and_then(|last| self.seen.get(last)).map_or(0, |(_, number)| *number)
    }
}

/// What an edge is told with an answer that nothing means up to this place, in the form
/// of a field. `kept` says that it may be from before what stands there.
pub fn told(read: &ReadTo, kept: bool) -> String {
    ascii(&serde_json::to_string(&Told { read: read.clone(), kept }).unwrap_or_default())
}

impl Invalidator {
    /// What this node asks a shield with; nothing as long as it has read nothing.
    pub fn asks_shield(&self) -> Option<String> {
        self.read_to().map(|read| ascii(&serde_json::to_string(&read).unwrap_or_default()))
    }

    /// How far this node has read, for an edge that asks with this. It is taken before
    /// anything is looked up. None for who is not of this cluster.
    pub async fn asked_by_edge(&self, asked: &[u8]) -> Option<ReadTo> {
        self.cluster.as_ref()?;
        let edge: ReadTo = serde_json::from_slice(asked).ok()?;
        self.read_to().filter(|own| own.epoch == edge.epoch)?;
        self.wait_for(&edge).await;
        self.read_to()
    }

    /// The number of the last invalidation here that this answer of a shield is later than:
    /// of all that come before it, too, it is. 0 where that cannot be said.
    pub async fn later_than(&self, answered: &Answered) -> u64 {
        let Ok(Told { read, kept }) = serde_json::from_slice(&answered.told) else { return 0 };
        self.wait_for(&read).await;
        let covered = self.covered(&read, kept).unwrap_or_default();
        if !kept {
            // It was asked for after this node had asked.
            return covered;
        }
        self.alone_after(answered).map_or(covered, |alone| covered.min(alone.saturating_sub(1)))
    }

    /// The number of the last invalidation that means what was answered, does not stand in
    /// the stream, and may have been after it.
    fn alone_after(&self, answered: &Answered) -> Option<u64> {
        let cluster = self.cluster.as_ref()?;
        let turn = {
            let mut turns = cluster.turns.lock();
            turns.note(monotonic(), self.store.sequence());
            answered.made.map_or(0, |made| turns.at(made))
        };
        let last = self.store.last_forced(&answered.key, &answered.groups);
        (last > turn && !cluster.course.remembers(last)).then_some(last)
    }

    async fn wait_for(&self, read: &ReadTo) {
        // Whoever has not read as far by then is known to be behind.
        let _ = tokio::time::timeout(MOMENT, self.reads_as_far_as(read)).await;
    }
}

/// The same JSON in ASCII, as the value of a field has to be.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit).ok().filter(u8::is_ascii) {
            // A control character is escaped in JSON as it is.
            Some(byte) if byte != 0x7f => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_known_from_when_it_was_seen_first_and_the_oldest_are_forgotten() {
        let (start, mut turns) = (monotonic(), Turns::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        for (seconds, number) in [(10, 3), (10, 4), (12, 4), (20, 4), (30, 9)] {
            turns.note(after(seconds), number);
        }
        for (seconds, number) in [(0, 0), (9, 0), (10, 3), (11, 3), (12, 4), (29, 4), (30, 9), (99, 9)] {
            assert_eq!(turns.at(after(seconds)), number, "{seconds}");
        }
        let many = TURNS as u64 + 10;
        (0..many).for_each(|turn| turns.note(after(100 + turn), 100 + turn));
        assert_eq!(
            (turns.seen.len(), turns.at(after(30)), turns.at(after(100 + many))),
            (TURNS, 0, 99 + many)
        );
    }

    #[test]
    fn what_is_told_is_a_field_value_and_is_read_again() {
        let read = ReadTo { epoch: "\u{e9}\u{1f30a}\u{7f}\"\n".to_owned(), offset: 7, id: "m7".to_owned() };
        let text = told(&read, true);
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text}");
        let again: Told = serde_json::from_str(&text).expect("readable");
        assert_eq!((again.read, again.kept), (read, true));
    }
}
