//! The content of a response of which only parts are stored (RFC 9111 3.3, 3.4).
//!
//! Such a response has the head that the whole would have had, its status among it, and in
//! place of a body the parts that have come, each where it belongs. Whatever is done with
//! stored responses (purges, bans, tags, variants, ages, eviction) is done with it in the
//! same way, for it is one.
//!
//! What always holds: parts are not empty, do not overlap, lie within the complete length
//! and stand in ascending order; they are all of one representation, which whoever combines
//! them has seen by its strong validator; a response whose parts are all there is none of
//! these any more, but a complete one.

use std::ops::Range;
use std::sync::Arc;

use super::body::{Read, allocated};
use super::response::Extra;
use super::{Head, StoredBody, StoredResponse};
use crate::rfc::spans;

/// What there is of a content; cheap to clone, but for the list itself.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The length of the whole.
    complete: u64,
    parts: Vec<Part>,
    /// The number of the next part that is added.
    next: u64,
}

#[derive(Clone, Debug)]
struct Part {
    start: u64,
    body: StoredBody,
    added: u64,
}

/// How much may be kept of one response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most parts.
    pub parts: usize,
    /// The most bytes of all of them.
    pub bytes: u64,
}

impl Part {
    fn range(&self) -> Range<u64> {
        self.start..self.start + self.body.len()
    }
}

impl Parts {
    /// Nothing yet of so many bytes.
    pub fn none(complete: u64) -> Self {
        Parts { complete, parts: Vec::new(), next: 0 }
    }

    /// The length of the whole.
    pub fn complete_len(&self) -> u64 {
        self.complete
    }

    /// Where the parts are.
    pub fn spans(&self) -> impl Iterator<Item = Range<u64>> {
        self.parts.iter().map(Part::range)
    }

    /// Whether all of this range is there.
    pub fn cover(&self, range: &Range<u64>) -> bool {
        spans::cover(self.spans(), range)
    }

    /// Adds these bytes, which begin at `start` of the whole. What lies within them makes
    /// way, what they overlap at their ends stays. Where that is more than may be kept, the
    /// parts that came first go. Returns how many these were.
    pub fn add(&mut self, start: u64, body: &StoredBody, limits: Limits) -> usize {
        let end = start.saturating_add(body.len()).min(self.complete);
        let new = start.min(end)..end;
        if self.cover(&new) {
            return 0;
        }
        self.parts.retain(|part| part.start < new.start || part.range().end > new.end);
        let mut gap = new.clone();
        for part in &mut self.parts {
            let range = part.range();
            if range.start <= new.start && range.end > new.start {
                (gap.start, part.added) = (range.end, self.next);
            } else if range.start < new.end && range.end >= new.end {
                (gap.end, part.added) = (range.start, self.next);
            }
        }
        let body = if gap.end - gap.start == body.len() {
            body.clone()
        } else {
            let missing: Vec<_> = body.read(gap.start - start..gap.end - start).collect();
            StoredBody::copied(&missing)
        };
        self.parts.push(Part { start: gap.start, body, added: self.next });
        self.parts.sort_unstable_by_key(|part| part.start);
        let mut dropped = 0;
        while self.parts.len() > limits.parts.max(1) || self.bytes() > limits.bytes {
            let older = self.parts.iter().enumerate().filter(|(_, part)| part.added < self.next);
            let Some((oldest, _)) = older.min_by_key(|(_, part)| part.added) else { break };
            self.parts.remove(oldest);
            dropped += 1;
        }
        self.next += 1;
        dropped
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.body.len()).sum()
    }

    /// The whole, if it is there.
    pub fn whole(&self) -> Option<StoredBody> {
        if !self.cover(&(0..self.complete)) {
            return None;
        }
        let bodies: Vec<StoredBody> = self.parts.iter().map(|part| part.body.clone()).collect();
        Some(StoredBody::joined(&bodies))
    }

    /// A stream of this range; nothing where it is not all there.
    pub fn read(&self, range: &Range<u64>) -> Read {
        if !self.cover(range) {
            return Read::of(Vec::new());
        }
        let meant = self.parts.iter().filter(|part| part.start < range.end && range.start < part.range().end);
        let spans = meant.map(|part| {
            let (start, end) = (range.start.max(part.start), range.end.min(part.range().end));
            (part.body.clone(), start - part.start..end - part.start)
        });
        Read::of(spans.collect())
    }

    /// Heap bytes held, its own aside.
    pub fn heap_bytes(&self) -> usize {
        let bodies: usize = self.parts.iter().map(|part| part.body.heap_bytes()).sum();
        allocated(self.parts.capacity() * size_of::<Part>()) + bodies
    }
}

impl StoredResponse {
    /// A response of which there are these parts; a complete one where they are all there.
    pub fn of_parts(head: Arc<Head>, mut parts: Parts) -> Self {
        match parts.whole() {
            Some(body) => StoredResponse::new(head, body, None),
            None => {
                parts.parts.shrink_to_fit();
                let mut response = StoredResponse::new(head, StoredBody::default(), None);
                response.extra = Some(Box::new(Extra { trailers: None, parts: Some(parts) }));
                response
            }
        }
    }

    /// The same content under another head.
    pub fn with_head(&self, head: Arc<Head>) -> Self {
        let mut response = StoredResponse::new(head, self.body.clone(), None);
        response.extra = self.extra.clone();
        response
    }

    /// What there is of the content; none where all of it is.
    pub fn parts(&self) -> Option<&Parts> {
        self.extra.as_ref().and_then(|extra| extra.parts.as_ref())
    }

    /// Whether all of the content is there.
    pub fn is_complete(&self) -> bool {
        self.parts().is_none()
    }

    /// The length of the whole content, be it all there or not.
    pub fn complete_len(&self) -> u64 {
        self.parts().map_or(self.body.len(), Parts::complete_len)
    }

    /// Whether all of this range is there.
    pub fn covers(&self, range: &Range<u64>) -> bool {
        match self.parts() {
            Some(parts) => parts.cover(range),
            None => range.end <= self.body.len(),
        }
    }

    /// A stream of this range of the content, which is to be there.
    pub fn read(&self, range: Range<u64>) -> Read {
        match self.parts() {
            Some(parts) => parts.read(&range),
            None => self.body.read(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const ROOMY: Limits = Limits { parts: 1000, bytes: u64::MAX };

    fn body(bytes: &[u8]) -> StoredBody {
        StoredBody::copied(&[Bytes::copy_from_slice(bytes)])
    }

    fn bytes(read: Read) -> Vec<u8> {
        read.flat_map(Vec::from).collect()
    }

    #[test]
    fn what_came_first_goes_first_and_what_has_just_come_stays() {
        let mut parts = Parts::none(100);
        let limits = Limits { parts: 3, bytes: 25 };
        assert_eq!(parts.add(50, &body(&[5; 10]), limits), 0);
        assert_eq!(parts.add(0, &body(&[0; 10]), limits), 0);
        assert_eq!(parts.add(90, &body(&[9; 10]), limits), 1);
        assert_eq!(parts.spans().collect::<Vec<_>>(), [0..10, 90..100]);
        assert_eq!(parts.add(20, &body(&[2; 30]), limits), 2, "more than all may be: it alone stays");
        assert_eq!((parts.spans().count(), parts.spans().last()), (1, Some(20..50)));
        assert_eq!(parts.add(95, &body(&[1; 10]), ROOMY), 0);
        assert_eq!(parts.spans().last(), Some(95..100), "nothing lies behind the end");
    }

    #[test]
    fn parts_of_any_size_make_the_whole() {
        let content: Vec<u8> = (0..900_000u32).map(|n| (n % 251) as u8).collect();
        for size in [256 * 1024, 512 * 1024, 100_000, 899_999] {
            let mut parts = Parts::none(content.len() as u64);
            for (n, chunk) in content.chunks(size).enumerate().collect::<Vec<_>>().into_iter().rev() {
                assert!(parts.whole().is_none());
                parts.add((n * size) as u64, &body(chunk), ROOMY);
            }
            let whole = parts.whole().expect("all of it");
            assert!(bytes(whole.read(0..u64::MAX)) == content, "in parts of {size}");
            assert!(bytes(whole.read(262_100..600_000)) == content[262_100..600_000], "in parts of {size}");
        }
        assert!(Parts::none(0).whole().is_some_and(|whole| whole.is_empty()));
    }

    proptest! {
        #[test]
        fn whatever_is_added_reads_as_the_content(
            added in proptest::collection::vec((0..200u64, 1..60u64), 1..20),
            wanted in (0..200u64, 0..200u64),
            most in 1..20usize,
        ) {
            let content: Vec<u8> = (0..200u8).collect();
            let mut parts = Parts::none(200);
            for (start, len) in added {
                let end = (start + len).min(200);
                let limits = Limits { parts: most, bytes: 150 };
                parts.add(start, &body(&content[start as usize..end as usize]), limits);
                prop_assert!(parts.cover(&(start..end)), "what has just come is there");
                let spans: Vec<_> = parts.spans().collect();
                prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
                prop_assert_eq!(parts.bytes(), spans.iter().map(|span| span.end - span.start).sum::<u64>());
            }
            let wanted = wanted.0..wanted.1;
            let read = bytes(parts.read(&wanted));
            if parts.cover(&wanted) && !wanted.is_empty() {
                prop_assert_eq!(&read[..], &content[wanted.start as usize..wanted.end as usize]);
            } else {
                prop_assert!(read.is_empty());
            }
        }
    }
}
