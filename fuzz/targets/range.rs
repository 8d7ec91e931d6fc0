//! Ranges: within the content, in order, apart, no more than allowed.
#![no_main]

use forebay::rfc::range::{Multipart, Ranges, resolve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u64, u8)| {
    let (value, len, max) = input;
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
