//! A moment in the order of invalidations, as one process tells it to another.
//!
//! Whoever gets a response for somebody else notes the moment just before the origin
//! is asked; whoever keeps the response compares it with what was invalidated since.
//!
//! Numbers are a node's own. What two nodes of a cluster have in common is the stream
//! that both read: a [`Course`] remembers where in it the invalidations of this node
//! stand, and so gives the number here of a moment there. It errs to one side only: an
//! invalidation that the moment may not have known of counts as later than it. The end of
//! a stream can be lost with a broker, and others then stand where messages were that
//! somebody has read: so a place is an offset and the id of the message there, and means
//! something only to a node that has read the same message there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::monotonic;

/// A moment: what had been invalidated by then is older than the response.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// Who counts: a node, by a name that no other start of it has.
    pub node: String,
    /// The number of the last invalidation there.
    pub number: u64,
    /// In a cluster: how far that node had read what all of them read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadTo>,
    /// Whether what it is about was invalidated there by something that others cannot
    /// have read by then: whoever keeps it from before must not answer with that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// Whether the response is an older one that was kept: then it was not asked for after
    /// what the node had read, but only with nothing against it that it had read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// A moment of another node that was before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// A place in the stream of invalidations that all nodes of a cluster read.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadTo {
    /// Which stream it is: the id of its first message.
    pub epoch: String,
    /// The offset of the last message that was applied.
    pub offset: u64,
    /// The id of that message.
    #[serde(default)]
    pub id: String,
}

/// A moment of another node that was heard of: its number there.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// The node.
    pub node: String,
    /// The number of the last invalidation there.
    pub number: u64,
}

impl Moment {
    /// This moment, of one who has been told of `other` before it.
    pub fn after(self, other: &Moment) -> Moment {
        Moment { heard: Some(Heard { node: other.node.clone(), number: other.number }), ..self }
    }
}

/// How many invalidations are remembered with their places. To somebody who is behind
/// by more, everything counts as not read.
const REMEMBERED: usize = 16_384;
/// How many messages are remembered with their ids.
const TRAIL: usize = 16_384;
/// By then everybody has been told again of what stood in the end of a stream that was lost.
const TOLD_AGAIN: Duration = Duration::from_secs(600);
/// Of what nobody is told nobody ever hears; what was kept from before has lived its life then.
const NEVER_TOLD: Duration = Duration::from_secs(86_400);
/// So many messages arrive within a moment.
const FEW: u64 = 64;

/// Where the invalidations of this node stand in the stream.
#[derive(Debug, Default)]
pub(super) struct Course {
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    read: Option<ReadTo>,
    /// The offsets of the last messages that were read, in order, and hashes of their ids.
    trail: VecDeque<(u64, u64)>,
    /// Whether everything was read that there was when this node linked up.
    caught_up: bool,
    noted: VecDeque<Noted>,
    /// How many of them are own ones that were not read back.
    own: usize,
    /// Whether there may be others without a place.
    open: bool,
    /// What was forgotten had been read by whoever has read up to here.
    forgotten: u64,
}

#[derive(Debug)]
struct Noted {
    /// Its number here.
    number: u64,
    /// It means what was asked for before the invalidation of this number.
    before: u64,
    place: Place,
    /// Until when it need not stand in the stream at all: whoever has read that far knows that
    /// it was before, and may not know what it means.
    displaced: Option<Instant>,
}

/// What is known of an invalidation's place in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It stands at this offset, or what it stands for does: whoever has read that far
    /// knew of it.
    At(u64),
    /// This node accepted it, and has not read it back.
    Own,
    /// This node accepted it, and nobody is told.
    Untold,
    /// It is this node's guess at what it may have missed: what stands in the stream
    /// before the place where this node is in touch again.
    Guess,
}

impl Course {
    /// An invalidation of this number, of what was asked for before the one of the number
    /// `before`.
    pub fn note(&self, number: u64, before: u64, place: Place) {
        let mut followed = self.followed.lock();
        followed.note(Noted { number, before: before.min(number), place, displaced: None });
        while followed.noted.len() > REMEMBERED
            && let Some(Place::At(offset)) = followed.noted.front().map(|noted| noted.place)
        {
            followed.noted.pop_front();
            followed.forgotten = followed.forgotten.max(offset);
        }
    }

    /// Nobody will be told of the own one of this number.
    pub fn untold(&self, number: u64) {
        let mut followed = self.followed.lock();
        let is_it = |noted: &Noted| noted.number == number && noted.place == Place::Own;
        let found = followed.noted.iter().rposition(is_it).and_then(|at| followed.noted.remove(at));
        if let Some(noted) = found {
            followed.own -= 1;
            followed.note(Noted { place: Place::Untold, ..noted });
        }
    }

    /// This node links up with the stream of this epoch. What stands there and it has
    /// missed means what was asked for before the number `turn` or a later one. If it has `lost` its
    /// place, no offset means what it did.
    pub fn link(&self, epoch: &str, turn: u64, lost: bool) {
        let mut followed = self.followed.lock();
        let same = followed.read.as_ref().is_some_and(|read| read.epoch == epoch);
        if lost || !same {
            followed.read = None;
            followed.trail.clear();
            // What was accepted somewhere before now will have been by whoever reads what
            // this node writes now.
            let followed = &mut *followed;
            for noted in &mut followed.noted {
                if matches!(noted.place, Place::At(_)) {
                    (noted.place, noted.displaced) = (Place::Guess, Some(monotonic() + TOLD_AGAIN));
                    followed.open = true;
                }
            }
            followed.forgotten = 0;
        }
        followed.caught_up = false;
        // Until all of it has been read nobody knows what it is.
        followed.note(Noted { number: turn, before: turn, place: Place::Guess, displaced: None });
    }

    /// This node has applied everything up to this place. `here` is the number that it
    /// linked up with, where it has written what stands there itself, then.
    pub fn read_to(&self, read: ReadTo, here: Option<u64>) {
        let mut followed = self.followed.lock();
        let offset = read.offset;
        followed.trail.push_back((offset, hash(&read.id)));
        if followed.trail.len() > TRAIL {
            followed.trail.pop_front();
        }
        followed.read = Some(read);
        followed.caught_up |= here.is_some();
        if followed.caught_up && followed.open {
            followed.open = false;
            let followed = &mut *followed;
            for noted in &mut followed.noted {
                let placed = match noted.place {
                    // All that it may have missed stands before this, or was read.
                    Place::Guess => true,
                    // Accepted before this was written.
                    Place::Untold => here.is_some_and(|turn| noted.number < turn),
                    Place::At(_) | Place::Own => false,
                };
                if placed {
                    if noted.place == Place::Untold {
                        noted.displaced = Some(monotonic() + NEVER_TOLD);
                    }
                    noted.place = Place::At(offset);
                }
                followed.open |= noted.place == Place::Untold;
            }
        }
    }

    /// This node's own one of this number, and those before it, stand at this offset.
    pub fn read_back(&self, number: u64, offset: u64) {
        let mut followed = self.followed.lock();
        let Followed { noted, own, .. } = &mut *followed;
        // They are among the last ones as a rule.
        let mut all = noted.iter_mut().rev().filter(|noted| noted.place == Place::Own);
        while *own > 0
            && let Some(noted) = all.next()
        {
            if noted.number <= number {
                noted.place = Place::At(offset);
                *own -= 1;
            }
        }
    }

    /// Whether an invalidation of this number stands in the stream, or will, or was
    /// forgotten. Those of requests with unsafe methods do not.
    pub fn knows(&self, number: u64) -> bool {
        let followed = self.followed.lock();
        let oldest = followed.noted.front().map_or(u64::MAX, |noted| noted.number);
        number < oldest || followed.noted.iter().any(|noted| noted.number == number || noted.before == number)
    }

    /// Whether an invalidation of this number is remembered as one that stands in the stream,
    /// or will.
    pub fn remembers(&self, number: u64) -> bool {
        let followed = self.followed.lock();
        followed.noted.iter().any(|noted| noted.number == number || noted.before == number)
    }

    /// The link is broken: nothing arrives.
    pub fn unlink(&self) {
        self.followed.lock().caught_up = false;
    }

    /// Whether this node is behind somebody who has read so far, in the same stream, by a
    /// few messages that are on their way.
    pub fn is_a_little_behind(&self, other: &ReadTo) -> bool {
        let followed = self.followed.lock();
        followed.caught_up
            && followed.read.as_ref().is_some_and(|read| {
                read.epoch == other.epoch && read.offset < other.offset && other.offset - read.offset <= FEW
            })
    }

    /// Whether this node has read this message in this place, and still knows.
    pub fn has_read(&self, read: &ReadTo) -> bool {
        let followed = self.followed.lock();
        followed.read.as_ref().is_some_and(|own| own.epoch == read.epoch) && followed.has_read(read)
    }

    /// How far this node has read.
    pub fn read(&self) -> Option<ReadTo> {
        self.followed.lock().read.clone()
    }

    /// The highest number here such that whoever had read so far knew of every
    /// invalidation up to it; `sequence` is the last one, taken before this is called.
    /// None where the two do not read the same stream. What was `kept` there is later only
    /// than what stands in the stream itself.
    ///
    /// An invalidation that means only what was asked for before an earlier number
    /// counts with that one: a response that passes for later would not be tested
    /// against it.
    pub fn covered(&self, read: &ReadTo, kept: bool, sequence: u64) -> Option<u64> {
        let followed = self.followed.lock();
        if followed.read.as_ref().is_none_or(|own| own.epoch != read.epoch) {
            return None;
        }
        if read.offset < followed.forgotten || !followed.has_read(read) {
            return Some(0);
        }
        let unread = followed.noted.iter().filter(|noted| match noted.place {
            Place::At(offset) => {
                offset > read.offset || (kept && noted.displaced.is_some_and(|until| monotonic() < until))
            }
            Place::Own | Place::Untold | Place::Guess => true,
        });
        let first = unread.map(|noted| noted.before).min();
        Some(first.map_or(sequence, |first| first.saturating_sub(1).min(sequence)))
    }
}

impl Followed {
    /// Whether this node has read the message that stands there, and still knows.
    fn has_read(&self, read: &ReadTo) -> bool {
        let found = self.trail.binary_search_by_key(&read.offset, |(offset, _)| *offset);
        let id = found.ok().and_then(|at| self.trail.get(at)).map(|(_, id)| *id);
        id == Some(hash(&read.id))
    }

    fn note(&mut self, noted: Noted) {
        match noted.place {
            Place::At(_) => {}
            Place::Own => self.own += 1,
            Place::Untold => {
                self.open = true;
                // There may be any number of them; together they get the place of the newest,
                // and mean what the oldest does.
                if let Some(old) = self.noted.iter_mut().find(|old| old.place == Place::Untold) {
                    old.number = noted.number.max(old.number);
                    old.before = noted.before.min(old.before);
                    return;
                }
            }
            Place::Guess => {
                // All guesses get the same place, and an older one means more.
                let older = |old: &Noted| old.place == Place::Guess && old.before <= noted.before;
                if self.noted.iter().any(older) {
                    return;
                }
                self.open = true;
            }
        }
        self.noted.push_back(noted);
    }
}

fn hash(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A course that is linked up and has read its own first message, at this offset.
    fn linked(offset: u64) -> Course {
        let course = Course::default();
        course.link("e", 1, false);
        course.read_to(read(offset), Some(1));
        course
    }

    fn read(offset: u64) -> ReadTo {
        ReadTo { epoch: "e".to_owned(), offset, id: format!("m{offset}") }
    }

    /// As far as this node is, nobody is further.
    fn furthest(course: &Course) -> ReadTo {
        course.read().expect("it has read")
    }

    #[test]
    fn whoever_has_read_an_invalidation_is_later_than_it() {
        let course = linked(5);
        course.note(2, u64::MAX, Place::At(7));
        course.note(3, u64::MAX, Place::At(9));
        (6..=9).for_each(|offset| course.read_to(read(offset), None));
        for (offset, number) in [(4, 0), (5, 1), (6, 1), (7, 2), (8, 2), (9, 3), (12, 0)] {
            assert_eq!(course.covered(&read(offset), false, 3), Some(number), "{offset}");
        }
        let other = ReadTo { epoch: "f".to_owned(), ..read(9) };
        assert_eq!(course.covered(&other, false, 3), None, "another stream");
        assert_eq!(Course::default().covered(&read(9), false, 3), None, "not linked");
    }

    #[test]
    fn an_own_one_is_later_than_everything_until_it_was_read_back() {
        let course = linked(5);
        course.note(2, u64::MAX, Place::Own);
        course.note(3, u64::MAX, Place::At(6));
        course.note(4, u64::MAX, Place::Own);
        course.read_to(read(6), None);
        assert_eq!(course.covered(&furthest(&course), false, 4), Some(1));
        course.read_back(2, 7);
        course.read_to(read(7), None);
        assert_eq!(course.covered(&furthest(&course), false, 4), Some(3));
        // It stands after the one that has a higher number.
        assert_eq!(course.covered(&read(6), false, 4), Some(1));
        course.read_back(4, 8);
        course.read_to(read(8), None);
        assert_eq!(course.covered(&read(7), false, 4), Some(3));
        assert_eq!(course.covered(&read(8), false, 4), Some(4));
    }

    #[test]
    fn what_was_missed_is_later_than_everything_until_this_node_has_caught_up() {
        let course = linked(5);
        course.note(2, u64::MAX, Place::Guess);
        assert_eq!(course.covered(&furthest(&course), false, 2), Some(1), "it was cut off");
        course.link("e", 3, false);
        // Read while it catches up: these mean what was asked for before it linked up.
        course.note(4, 3, Place::At(8));
        course.read_to(read(8), None);
        assert_eq!(course.covered(&furthest(&course), false, 4), Some(1));
        course.note(5, 3, Place::At(9));
        course.read_to(read(9), None);
        course.read_to(read(10), None);
        course.read_to(read(11), Some(3));
        assert_eq!(course.covered(&read(11), false, 5), Some(5));
        // Somebody who has not read number 5 is not later than what it means.
        assert_eq!(course.covered(&read(8), false, 5), Some(1));
        assert_eq!(course.covered(&read(10), false, 5), Some(1));
        course.note(6, u64::MAX, Place::Guess);
        assert_eq!(course.covered(&furthest(&course), false, 6), Some(5), "a message was not understood");
        course.read_to(read(12), None);
        assert_eq!(course.covered(&read(12), false, 6), Some(6));
    }

    #[test]
    fn places_of_a_stream_that_was_lost_mean_nothing_any_more() {
        let course = linked(5);
        course.note(2, u64::MAX, Place::At(7));
        course.read_to(read(7), None);
        course.note(3, u64::MAX, Place::Untold);
        course.link("e", 4, true);
        course.read_to(read(6), None);
        assert_eq!(course.covered(&furthest(&course), false, 4), Some(0));
        course.read_to(read(8), Some(4));
        assert_eq!(course.covered(&read(7), false, 4), Some(0));
        assert_eq!(course.covered(&read(8), false, 4), Some(4));
        // Whoever has read that far may still keep what it means.
        assert_eq!(course.covered(&read(8), true, 4), Some(0));
        course.note(5, u64::MAX, Place::Untold);
        course.read_to(read(9), None);
        assert_eq!(course.covered(&furthest(&course), false, 5), Some(4), "nobody is told, and nobody knows");
    }

    #[test]
    fn an_offset_says_nothing_where_the_end_of_the_stream_was_lost_and_written_anew() {
        let course = linked(5);
        // Others had read up to 9 when the broker lost all from 7 on; this node had not, and
        // does not notice.
        course.read_to(read(6), None);
        let before: Vec<ReadTo> = (7..10).map(read).collect();
        for offset in 7..10 {
            course.note(offset, u64::MAX, Place::At(offset));
            course.read_to(ReadTo { id: format!("anew {offset}"), ..read(offset) }, None);
            for lost in &before {
                assert_eq!(course.covered(lost, false, offset), Some(0), "{lost:?} at {offset}");
            }
            assert_eq!(course.covered(&furthest(&course), false, offset), Some(offset));
        }
        assert_eq!(course.covered(&read(6), false, 9), Some(6), "what was not lost means what it did");
    }

    #[test]
    fn any_number_that_nobody_is_told_of_takes_the_room_of_one() {
        let course = linked(5);
        for number in 2..100 {
            course.note(number, u64::MAX, Place::Own);
            course.untold(number);
        }
        assert_eq!(course.followed.lock().noted.len(), 2);
        assert_eq!(course.covered(&furthest(&course), false, 99), Some(1));
        course.link("e", 50, false);
        course.read_to(read(6), Some(50));
        (7..9).for_each(|offset| course.read_to(read(offset), None));
        assert_eq!(
            course.covered(&furthest(&course), false, 99),
            Some(1),
            "some came after this was written"
        );
        course.link("e", 100, false);
        course.read_to(read(9), Some(100));
        assert_eq!(
            (course.covered(&read(8), false, 99), course.covered(&read(9), false, 99)),
            (Some(1), Some(99))
        );
    }

    #[test]
    fn memory_is_bounded_and_what_was_forgotten_counts_as_not_read() {
        let course = linked(5);
        let many = REMEMBERED as u64 + 100;
        (2..many).for_each(|number| course.note(number, u64::MAX, Place::At(number + 10)));
        (6..=many + 10).for_each(|offset| course.read_to(read(offset), None));
        assert!(course.followed.lock().noted.len() <= REMEMBERED);
        assert!(course.followed.lock().trail.len() <= TRAIL);
        assert_eq!(course.covered(&read(20), false, many), Some(0));
        assert_eq!(course.covered(&read(many + 5), false, many), Some(many - 5));
    }

    #[test]
    fn a_node_that_links_up_again_and_again_remembers_one_guess() {
        let course = linked(5);
        for turn in 2..100 {
            course.link("e", turn, false);
        }
        assert_eq!(course.followed.lock().noted.len(), 2);
        assert_eq!(course.covered(&furthest(&course), false, 100), Some(1));
        course.read_to(read(9), Some(99));
        assert_eq!(course.covered(&read(9), false, 100), Some(100));
    }

    #[test]
    fn what_stood_in_a_stream_that_was_lost_has_a_place_again_once_this_node_has_caught_up() {
        let course = linked(500);
        course.link("e", 2, true);
        assert_eq!(course.covered(&read(600), false, 2), None, "not yet");
        course.read_to(read(101), Some(2));
        course.note(3, u64::MAX, Place::At(102));
        course.read_to(read(102), None);
        assert_eq!(course.covered(&read(101), false, 3), Some(2));
        assert_eq!(course.covered(&read(102), false, 3), Some(3));
    }
}
