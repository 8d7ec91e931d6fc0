//! `Content-Range`: which part of a representation a message has (RFC 9110 14.4).
//!
//! What always holds: a part that comes out of here is not empty, lies within the
//! complete length where that is told, and ends at `u64::MAX` at most.

use std::fmt;
use std::ops::Range;

use super::fields::{Fields, number};

/// What a `Content-Range` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContentRange {
    /// This part of the representation.
    Part {
        /// From its first byte to behind its last one.
        range: Range<u64>,
        /// The length of the whole; none where the origin does not know it.
        complete: Option<u64>,
    },
    /// Nothing of it: what was asked for lies outside of so many bytes.
    Unsatisfied {
        /// The length of the whole.
        complete: u64,
    },
}

impl ContentRange {
    /// Reads a value. One that is invalid (14.4), of another unit than bytes, or beyond what
    /// can be counted here, is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?.trim_ascii();
        let (unit, rest) = text.split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, complete) = rest.split_once('/')?;
        if range == "*" {
            return Some(ContentRange::Unsatisfied { complete: number(complete.as_bytes())? });
        }
        let (first, last) = range.split_once('-')?;
        let range = number(first.as_bytes())?..number(last.as_bytes())?.checked_add(1)?;
        let complete = if complete == "*" { None } else { Some(number(complete.as_bytes())?) };
        let valid = !range.is_empty() && complete.is_none_or(|complete| range.end <= complete);
        valid.then_some(ContentRange::Part { range, complete })
    }

    /// What these fields say, where they say it once.
    pub fn of(fields: &Fields) -> Option<Self> {
        let mut lines = fields.get_all("content-range");
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        ContentRange::parse(line)
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentRange::Part { range, complete } => {
                write!(out, "bytes {}-{}/", range.start, range.end.saturating_sub(1))?;
                match complete {
                    Some(complete) => write!(out, "{complete}"),
                    None => out.write_str("*"),
                }
            }
            ContentRange::Unsatisfied { complete } => write!(out, "bytes */{complete}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(range: Range<u64>, complete: Option<u64>) -> Option<ContentRange> {
        Some(ContentRange::Part { range, complete })
    }

    #[test]
    fn what_a_content_range_says() {
        let whole = u64::MAX.to_string();
        for (value, said) in [
            ("bytes 0-4/10", part(0..5, Some(10))),
            ("BYTES 5-9/10", part(5..10, Some(10))),
            ("bytes 9-9/*", part(9..10, None)),
            ("bytes */10", Some(ContentRange::Unsatisfied { complete: 10 })),
            (&format!("bytes 0-{}/{whole}", u64::MAX - 1), part(0..u64::MAX, Some(u64::MAX))),
            (&format!("bytes 0-{whole}/*"), None),
            ("bytes 0-99999999999999999999/*", None),
            ("bytes 5-4/10", None),
            ("bytes 0-10/10", None),
            ("bytes */*", None),
            ("bytes 0-4", None),
            ("bytes -4/10", None),
            ("bytes 0-+4/10", None),
            ("bytes=0-4/10", None),
            ("lines 0-4/10", None),
            ("bytes 0-4/10, bytes 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(value.as_bytes()), said, "{value}");
        }
        let twice = [("content-range", "bytes 0-4/10"), ("content-range", "bytes 5-9/10")];
        assert_eq!(ContentRange::of(&twice.into_iter().collect()), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(first in any::<u64>(), more in any::<u64>(), rest in any::<Option<u64>>()) {
            let end = first.saturating_add(more).max(1);
            let range = first.min(end - 1)..end;
            let said = ContentRange::Part { complete: rest.map(|rest| end.saturating_add(rest)), range };
            prop_assert_eq!(ContentRange::parse(said.to_string().as_bytes()), Some(said));
        }

        #[test]
        fn whatever_is_read_holds_together(value in "bytes [0-9]{1,21}-[0-9]{1,21}/([0-9]{1,21}|\\*)") {
            if let Some(ContentRange::Part { range, complete }) = ContentRange::parse(value.as_bytes()) {
                prop_assert!(range.start < range.end && complete.is_none_or(|complete| range.end <= complete));
            }
        }
    }
}
