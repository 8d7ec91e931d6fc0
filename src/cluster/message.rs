//! What the nodes of a cluster say to each other, as JSON.

use serde::{Deserialize, Serialize};

use crate::invalidate::{Entry, Identity, MOST_AT_ONCE};
use crate::stored::Selector;

/// The version of what is said. A higher one is not understood.
const VERSION: u32 = 1;

/// The longest message that is looked at, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// A message in the stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The version of what is said.
    pub version: u32,
    /// No two messages have the same.
    pub id: String,
    /// The id of the stream's first message; none if that is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub says: Says,
}

/// What a message in the stream says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "says")]
pub enum Says {
    /// This stream is new.
    Founded,
    /// A node reads from here on, and has everything when it reads this.
    Here,
    /// Somebody purged.
    Purges {
        /// In the order in which they were accepted.
        purges: Vec<Purge>,
    },
}

/// An invalidation, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Purge {
    /// The node that accepted it.
    pub node: String,
    /// Its number there.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who wanted it.
    pub by: String,
    /// What it means.
    pub what: Vec<Selector>,
    /// Whether it makes stale only.
    pub soft: bool,
    /// Whether what is on hidden routes is gone as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

/// What a node says of itself, to everybody who is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// The version of what is said.
    pub version: u32,
    /// Its name in the cluster; another one at each start.
    pub node: String,
    /// As its configuration calls it.
    pub name: String,
    /// What it is.
    pub forebay: String,
    /// Its admin port.
    pub admin: String,
    /// Where the cache is filled from outside.
    pub fill: String,
    /// The id of the first message of the stream that it reads.
    pub epoch: String,
    /// Up to which offset it has applied everything, that one included.
    pub position: u64,
    /// The id of the message there.
    #[serde(default)]
    pub id: String,
    /// It will be heard of again within so many milliseconds.
    pub next_ms: u64,
    /// Whether it is about to end.
    pub leaves: bool,
}

/// Why a message is not understood.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Another program, or another version.
    #[error("it is no message of a forebay that this one understands: {0}")]
    NotUnderstood(String),
}

impl Message {
    /// A message with an id of its own.
    pub fn new(epoch: Option<&str>, says: Says) -> Message {
        Message { version: VERSION, id: new_id(), epoch: epoch.map(str::to_owned), says }
    }

    /// As it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was received.
    pub fn read(bytes: &[u8]) -> Result<Message, Unread> {
        let message: Message = parse(bytes)?;
        check_version(message.version)?;
        if let Says::Purges { purges } = &message.says
            && purges.iter().any(|purge| purge.what.len() > MOST_AT_ONCE)
        {
            return Err(Unread::NotUnderstood(format!("a purge of more than {MOST_AT_ONCE} things")));
        }
        Ok(message)
    }

    /// The id of the stream's first message, as far as this message tells.
    pub fn epoch(&self) -> &str {
        self.epoch.as_deref().unwrap_or(&self.id)
    }
}

impl Purge {
    /// What is told of an invalidation, if it is one of the cluster's.
    pub fn of(entry: &Entry) -> Option<Purge> {
        let Identity { node, number } = entry.identity.clone()?;
        let Entry { at_ms, by, what, soft, forced, .. } = entry.clone();
        Some(Purge { node, number, at_ms, by, what, soft, forced })
    }

    /// The invalidation, for the one who is told.
    pub fn into_entry(self) -> Entry {
        let Purge { node, number, at_ms, by, what, soft, forced } = self;
        let identity = Some(Identity { node, number });
        Entry { at_ms, by, what, soft, forced, identity, own: false, ..Entry::default() }
    }
}

impl Announcement {
    /// The version of those that are said here.
    pub const VERSION: u32 = VERSION;

    /// As it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was received.
    pub fn read(bytes: &[u8]) -> Result<Announcement, Unread> {
        let announcement: Announcement = parse(bytes)?;
        check_version(announcement.version)?;
        Ok(announcement)
    }
}

/// A name that nobody else has.
pub fn new_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Unread> {
    if bytes.len() > LONGEST {
        return Err(Unread::NotUnderstood(format!("{} bytes are too long", bytes.len())));
    }
    serde_json::from_slice(bytes).map_err(|error| Unread::NotUnderstood(error.to_string()))
}

fn check_version(version: u32) -> Result<(), Unread> {
    if version > VERSION {
        return Err(Unread::NotUnderstood(format!("version {version} is later than {VERSION}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_nothing_else_is() {
        let entry = Entry {
            what: vec![Selector::All],
            identity: Some(Identity { node: "a".to_owned(), number: 7 }),
            ..Entry::default()
        };
        let purges = vec![Purge::of(&entry).expect("it has an identity")];
        let message = Message::new(Some("e"), Says::Purges { purges });
        assert_eq!(Message::read(&message.to_bytes()).expect("understood"), message);
        let founded = Message::new(None, Says::Founded);
        assert_eq!(Message::read(&founded.to_bytes()).expect("understood").epoch(), founded.id);
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"version":1,"id":"x","says":"dance"}"#,
            r#"{"version":2,"id":"x","says":"here"}"#,
        ] {
            assert!(Message::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = Purge { what: vec![Selector::All; MOST_AT_ONCE + 1], ..Purge::of(&entry).expect("one") };
        let message = Message::new(Some("e"), Says::Purges { purges: vec![many] });
        assert!(Message::read(&message.to_bytes()).is_err());
    }
}
