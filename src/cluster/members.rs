//! Who is in the cluster, and how far each has come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use super::message::Announcement;

/// The most nodes that are remembered.
const MOST: usize = 4096;
/// A node is taken for dead when it was not heard of for so many times of what it said.
const MISSED: u32 = 3;
/// For so long after that it is still shown.
const SHOWN: Duration = Duration::from_secs(600);

/// The nodes that were heard of.
#[derive(Debug, Default)]
pub struct Members {
    heard: HashMap<String, Heard>,
}

#[derive(Debug)]
struct Heard {
    said: Announcement,
    at: Instant,
}

/// A node of the cluster, as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Member {
    /// Its name in the cluster; another one at each start.
    pub node: String,
    /// As its configuration calls it.
    pub name: String,
    /// Its version.
    pub forebay: String,
    /// Its admin port.
    pub admin: String,
    /// Where its cache is filled from outside.
    pub fill: String,
    /// Up to which offset of the stream it has applied everything.
    pub position: u64,
    /// The id of the message there.
    #[serde(skip)]
    pub id: String,
    /// Whether that is the stream which this node reads.
    pub same_stream: bool,
    /// How long ago it was heard of, in milliseconds.
    pub heard_ms: u64,
    /// Whether it is taken to be alive.
    pub live: bool,
    /// Whether it is the node that tells this.
    pub this: bool,
}

impl Members {
    /// Notes what was heard. Says whether it was from a node that was not known.
    pub fn hear(&mut self, said: Announcement, now: Instant) -> bool {
        if said.leaves {
            self.heard.remove(&said.node);
            return false;
        }
        self.heard.retain(|_, heard| now.duration_since(heard.at) < heard.patience() + SHOWN);
        let new = !self.heard.contains_key(&said.node);
        if new && self.heard.len() >= MOST {
            return false;
        }
        self.heard.insert(said.node.clone(), Heard { said, at: now });
        new
    }

    /// What was heard of how far they have read means nothing any more.
    pub fn forget_positions(&mut self) {
        self.heard.values_mut().for_each(|heard| heard.said.position = 0);
    }

    /// How many are alive.
    pub fn live(&self, now: Instant) -> usize {
        self.heard.values().filter(|heard| heard.is_live(now)).count()
    }

    /// The furthest that a live node has read in the stream of this epoch.
    pub fn furthest(&self, epoch: &str, now: Instant) -> u64 {
        let live = self.heard.values().filter(|heard| heard.is_live(now) && heard.said.epoch == epoch);
        live.map(|heard| heard.said.position).max().unwrap_or_default()
    }

    /// Where the live node of this name in the cluster is filled, or one whose
    /// configuration calls it so.
    pub fn fill_of(&self, name: &str, now: Instant) -> Option<String> {
        let filled = |heard: &&Heard| heard.is_live(now) && !heard.said.fill.is_empty();
        let called = |heard: &&Heard| filled(heard) && heard.said.name == name;
        let found = self.heard.get(name).filter(filled);
        found.or_else(|| self.heard.values().find(called)).map(|heard| heard.said.fill.clone())
    }

    /// All of them, by name.
    pub fn shown(&self, this: &str, epoch: &str, now: Instant) -> Vec<Member> {
        let mut shown: Vec<Member> = self
            .heard
            .values()
            .map(|heard| {
                let said = heard.said.clone();
                Member {
                    this: said.node == this,
                    same_stream: said.epoch == epoch,
                    heard_ms: now.duration_since(heard.at).as_millis() as u64,
                    live: heard.is_live(now),
                    node: said.node,
                    name: said.name,
                    forebay: said.forebay,
                    admin: said.admin,
                    fill: said.fill,
                    position: said.position,
                    id: said.id,
                }
            })
            .collect();
        shown.sort_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        shown
    }
}

impl Heard {
    fn patience(&self) -> Duration {
        Duration::from_millis(self.said.next_ms.min(60_000)) * MISSED
    }

    fn is_live(&self, now: Instant) -> bool {
        now.duration_since(self.at) <= self.patience()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(node: &str, position: u64) -> Announcement {
        Announcement {
            id: String::new(),
            version: Announcement::VERSION,
            node: node.to_owned(),
            name: "edge".to_owned(),
            forebay: "1".to_owned(),
            admin: String::new(),
            fill: String::new(),
            epoch: "e".to_owned(),
            position,
            next_ms: 1000,
            leaves: false,
        }
    }

    #[test]
    fn a_node_that_is_silent_is_dead_and_then_forgotten() {
        let (mut members, start) = (Members::default(), Instant::now());
        assert!(members.hear(said("a", 5), start));
        assert!(members.hear(said("b", 9), start));
        assert!(!members.hear(said("a", 6), start + Duration::from_secs(2)));
        let later = start + Duration::from_secs(4);
        assert_eq!((members.live(later), members.furthest("e", later)), (1, 6));
        assert_eq!(members.furthest("another", later), 0);
        let shown = members.shown("a", "e", later);
        assert_eq!(
            shown.iter().map(|member| (member.live, member.this)).collect::<Vec<_>>(),
            [(true, true), (false, false)]
        );
        members.hear(said("a", 7), start + Duration::from_secs(700));
        assert_eq!(members.shown("a", "e", later).len(), 1);
        members.hear(Announcement { leaves: true, ..said("a", 7) }, later);
        assert_eq!(members.live(later), 0);
    }
}
