//! Ranges of bytes (RFC 9110 section 14, 15.3.7).
//!
//! What always holds: a range that comes out of here lies within the content and
//! is not empty; several do not overlap and stand in ascending order.

use std::fmt::{self, Write};
use std::ops::Range;

use super::fields::Fields;

/// What a `Range` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ranges {
    /// Nothing that is answered: the whole content is.
    None,
    /// Nothing that the content has: 416.
    Unsatisfiable,
    /// One range.
    One(Range<u64>),
    /// Several.
    Many(Vec<Range<u64>>),
}

/// One range that is asked for, before the length of the content is known.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Spec {
    /// From this byte to the end.
    From(u64),
    /// These bytes, as far as they are there; not empty.
    Within(Range<u64>),
    /// So many bytes at the end.
    Last(u64),
}

impl Spec {
    /// What a `Range` asks for, where that is one range of bytes.
    pub fn parse(value: &[u8]) -> Option<Spec> {
        let mut specs = specs(value)?.filter(|spec| !spec.is_empty());
        let (Some(spec), None) = (specs.next(), specs.next()) else { return None };
        Spec::read(spec)
    }

    fn read(spec: &[u8]) -> Option<Spec> {
        let dash = spec.iter().position(|&b| b == b'-')?;
        match (&spec[..dash], &spec[dash + 1..]) {
            ([], last) => Some(Spec::Last(number(last)?)),
            (first, []) => Some(Spec::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                match first <= last {
                    false => None,
                    // No content is so long that there is this byte.
                    true if first == u64::MAX => Some(Spec::From(first)),
                    true => Some(Spec::Within(first..last.saturating_add(1))),
                }
            }
        }
    }

    /// What it means of `len` bytes; empty when it lies outside.
    pub fn within(&self, len: u64) -> Range<u64> {
        match *self {
            Spec::Last(suffix) => len.saturating_sub(suffix)..len,
            Spec::From(first) => first.min(len)..len,
            Spec::Within(Range { start, end }) => start.min(len)..end.min(len),
        }
    }

    /// The first bytes.
    pub fn first(slice: u64) -> Spec {
        Spec::Within(0..slice.max(1))
    }

    /// The same bytes and those beside them, to the next multiples of `slice` (the length of
    /// the whole, where it is known, is one as well). None where that is simply everything.
    pub fn widened(&self, slice: u64, len: Option<u64>) -> Option<Spec> {
        let slice = slice.max(1);
        let spec = match (self, len) {
            (Spec::Last(suffix), Some(len)) => Spec::Within(len.saturating_sub(*suffix)..len),
            (Spec::From(first), Some(len)) => Spec::Within(*first..len),
            (spec, _) => spec.clone(),
        };
        let down = |at: u64| at - at % slice;
        let up = |at: u64| at.checked_next_multiple_of(slice).unwrap_or(u64::MAX);
        match spec {
            Spec::From(first) if down(first) == 0 => None,
            Spec::From(first) => Some(Spec::From(down(first))),
            Spec::Last(suffix) => Some(Spec::Last(up(suffix.max(1)))),
            Spec::Within(range) => {
                let range = down(range.start)..up(range.end).min(len.unwrap_or(u64::MAX));
                let everything = len.is_some_and(|len| range.start == 0 && range.end >= len);
                match range.is_empty() {
                    true => Some(Spec::first(slice)),
                    false if everything => None,
                    false => Some(Spec::Within(range)),
                }
            }
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::From(first) => write!(out, "bytes={first}-"),
            Spec::Within(range) => write!(out, "bytes={}-{}", range.start, range.end.saturating_sub(1)),
            Spec::Last(suffix) => write!(out, "bytes=-{suffix}"),
        }
    }
}

/// The members of a `Range` in bytes.
fn specs(value: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let end = value.iter().position(|&b| b == b'=')?;
    let (unit, list) = value.split_at(end);
    let is_bytes = unit.trim_ascii().eq_ignore_ascii_case(b"bytes");
    is_bytes.then(|| list[1..].split(|&b| b == b',').map(<[u8]>::trim_ascii))
}

/// Resolves a `Range` against content of `len` bytes. More than `max` ranges are
/// not answered, nor is what is no range of bytes at all. Ranges that overlap or
/// touch are joined (15.3.7.2).
pub fn resolve(value: &[u8], len: u64, max: usize) -> Ranges {
    let Some(specs) = specs(value) else { return Ranges::None };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut count = 0;
    for spec in specs {
        if spec.is_empty() {
            continue;
        }
        count += 1;
        match Spec::read(spec).map(|spec| spec.within(len)) {
            None => return Ranges::None,
            Some(range) if range.is_empty() => {}
            Some(range) => ranges.push(range),
        }
    }
    if count == 0 || count > max.max(1) {
        return Ranges::None;
    }
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    match joined.len() {
        0 => Ranges::Unsatisfiable,
        1 => joined.pop().map_or(Ranges::Unsatisfiable, Ranges::One),
        _ => Ranges::Many(joined),
    }
}

/// Digits only; too large a number is clamped.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
}

/// Removes what is said of the bytes of one message, and not of those that another one has
/// of the same content (RFC 9530 2).
pub fn remove_digests(fields: &mut Fields) {
    fields.remove("content-digest");
    fields.remove("content-md5");
}

/// `Content-Range` of a range of `len` bytes.
pub fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end.saturating_sub(1))
}

/// `Content-Range` of a 416.
pub fn unsatisfied(len: u64) -> String {
    format!("bytes */{len}")
}

/// The frame around several ranges: `multipart/byteranges` (RFC 9110 14.6).
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    content_type: Option<Vec<u8>>,
    len: u64,
}

impl Multipart {
    /// The frame around ranges of `len` bytes of this type.
    pub fn new(boundary: &str, content_type: Option<&[u8]>, len: u64) -> Self {
        Multipart { boundary: boundary.to_owned(), content_type: content_type.map(<[u8]>::to_vec), len }
    }

    /// The reply's own `Content-Type`.
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// What stands before a range.
    pub fn head(&self, range: &Range<u64>) -> Vec<u8> {
        let mut head = format!("\r\n--{}\r\n", self.boundary).into_bytes();
        if let Some(content_type) = &self.content_type {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type);
            head.extend_from_slice(b"\r\n");
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "Content-Range: {}\r\n\r\n", content_range(range, self.len));
        head.extend_from_slice(text.as_bytes());
        head
    }

    /// What stands behind the last range.
    pub fn end(&self) -> Vec<u8> {
        format!("\r\n--{}--\r\n", self.boundary).into_bytes()
    }

    /// The length of the whole.
    pub fn length(&self, ranges: &[Range<u64>]) -> u64 {
        let parts: u64 =
            ranges.iter().map(|range| self.head(range).len() as u64 + (range.end - range.start)).sum();
        parts + self.end().len() as u64
    }
}
