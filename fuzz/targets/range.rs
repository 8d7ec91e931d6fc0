//! Ranges: within the content, in order, apart, no more than allowed. One range alone, and
//! what it is widened to; `Content-Range`, which reads as it is written.
#![no_main]

use forebay::rfc::content_range::ContentRange;
use forebay::rfc::range::{Multipart, Ranges, Spec, resolve};
use forebay::rfc::spans;
use libfuzzer_sys::fuzz_target;

/// What is asked for in place of one range has all of it, and says it in a way that reads so.
fn one(value: &[u8], len: u64, max: u8) {
    let Some(spec) = Spec::parse(value) else { return };
    assert_eq!(Spec::parse(spec.to_string().as_bytes()), Some(spec.clone()));
    let wanted = spec.within(len);
    for known in [None, Some(len)] {
        let widened = spec.widened(u64::from(max), known).map_or(0..len, |widened| widened.within(len));
        assert!(wanted.is_empty() || widened.start <= wanted.start && wanted.end <= widened.end);
        assert!(spans::cover([widened], &wanted) || wanted.is_empty());
    }
}

/// A part lies in the whole, and reads as it is written.
fn content_range(value: &[u8]) {
    let Some(said) = ContentRange::parse(value) else { return };
    assert_eq!(ContentRange::parse(said.to_string().as_bytes()), Some(said.clone()));
    if let ContentRange::Part { range, complete } = said {
        assert!(range.start < range.end && complete.is_none_or(|complete| range.end <= complete));
    }
}

fuzz_target!(|input: (&[u8], u64, u8)| {
    let (value, len, max) = input;
    one(value, len, max);
    content_range(value);
    let ranges = match resolve(value, len, usize::from(max)) {
        Ranges::None | Ranges::Unsatisfiable => return,
        Ranges::One(range) => vec![range],
        Ranges::Many(ranges) => {
            assert!(ranges.len() > 1);
            ranges
        }
    };
    assert!(ranges.len() <= usize::from(max).max(1));
    let mut end = None;
    for range in &ranges {
        assert!(range.start < range.end && range.end <= len);
        assert!(end.is_none_or(|end| range.start > end), "joined and in order");
        end = Some(range.end);
    }
    if len < 1 << 40 {
        let multipart = Multipart::new("b", Some(b"text/plain"), len);
        let parts: u64 = ranges.iter().map(|r| multipart.head(r).len() as u64 + (r.end - r.start)).sum();
        assert_eq!(multipart.length(&ranges), parts + multipart.end().len() as u64);
    }
});
