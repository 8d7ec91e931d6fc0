//! What an edge and its shield tell each other of how far they have read the stream that
//! all nodes of a cluster read.
//!
//! The edge says how far it has read; the shield, where it is a few messages behind, waits a
//! moment for them, and says with its answer up to where nothing means it. What the edge
//! has invalidated after that counts as later than the answer.
//!
//! What always holds: only whoever knows the id of the stream's first message, which the
//! nodes of the cluster alone do, is told anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Invalidator, ReadTo};

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

    /// The number of the last invalidation here that an answer is later than with which a
    /// shield has told this: of all that come before it, too, it is. 0 where that cannot be
    /// said.
    pub async fn later_than(&self, told: &[u8]) -> u64 {
        let Ok(Told { read, kept }) = serde_json::from_slice(told) else { return 0 };
        self.wait_for(&read).await;
        self.covered(&read, kept).unwrap_or_default()
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
    fn what_is_told_is_a_field_value_and_is_read_again() {
        let read = ReadTo { epoch: "\u{e9}\u{1f30a}\u{7f}\"\n".to_owned(), offset: 7, id: "m7".to_owned() };
        let text = told(&read, true);
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text}");
        let again: Told = serde_json::from_str(&text).expect("readable");
        assert_eq!((again.read, again.kept), (read, true));
    }
}
