//! Ranges of bytes (RFC 9110 section 14, 15.3.7).
//!
//! What always holds: a range that comes out of here lies within the content and
//! is not empty; several do not overlap and stand in ascending order.

use std::fmt::Write;
use std::ops::Range;

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

/// Resolves a `Range` against content of `len` bytes. More than `max` ranges are
/// not answered, nor is what is no range of bytes at all. Ranges that overlap or
/// touch are joined (15.3.7.2).
pub fn resolve(value: &[u8], len: u64, max: usize) -> Ranges {
    let Some(end) = value.iter().position(|&b| b == b'=') else { return Ranges::None };
    let (unit, list) = value.split_at(end);
    if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return Ranges::None;
    }
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut count = 0;
    for spec in list[1..].split(|&b| b == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue;
        }
        count += 1;
        match one(spec, len) {
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

/// One range within `len` bytes; empty when it lies outside, `None` when it is
/// not a range.
fn one(spec: &[u8], len: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|&b| b == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    match (first, last) {
        ([], last) => {
            let suffix = number(last)?;
            Some(len.saturating_sub(suffix)..len)
        }
        (first, []) => {
            let first = number(first)?;
            Some(first.min(len)..len)
        }
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(len)..last.saturating_add(1).min(len))
        }
    }
}

/// Digits only; too large a number is clamped.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
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
