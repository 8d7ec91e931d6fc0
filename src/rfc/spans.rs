//! Which parts of a representation there are, and which are missing (RFC 9110 15.3.7.3).
//!
//! Spans are ranges of bytes in ascending order that do not overlap and are not empty;
//! they may touch.

use std::ops::Range;

/// What of `wanted` lies in none of these spans, in order. An empty `wanted` misses nothing.
pub fn gaps(spans: impl IntoIterator<Item = Range<u64>>, wanted: &Range<u64>) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = wanted.start;
    for span in spans {
        if span.end <= at {
            continue;
        }
        if span.start >= wanted.end || at >= wanted.end {
            break;
        }
        if span.start > at {
            gaps.push(at..span.start);
        }
        at = span.end;
    }
    if at < wanted.end {
        gaps.push(at..wanted.end);
    }
    gaps
}

/// Whether all of `wanted` lies in these spans.
pub fn cover(spans: impl IntoIterator<Item = Range<u64>>, wanted: &Range<u64>) -> bool {
    gaps(spans, wanted).is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the numbers of the tests begin: at zero, and at the largest ones.
    const BASES: [u64; 2] = [0, u64::MAX - 64];

    proptest! {
        #[test]
        fn gaps_and_spans_make_the_whole(
            base in proptest::sample::select(&BASES[..]),
            added in proptest::collection::vec((0..64u64, 1..20u64), 0..12),
            wanted in (0..64u64, 0..64u64),
        ) {
            // Each one fills what it misses, as parts are combined.
            let mut spans: Vec<Range<u64>> = Vec::new();
            let mut model = [false; 64];
            for (start, len) in added {
                let end = (start + len).min(64);
                spans.extend(gaps(spans.clone(), &(base + start..base + end)));
                spans.sort_unstable_by_key(|span| span.start);
                model[start as usize..end as usize].fill(true);
            }
            for pair in spans.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start, "{spans:?} overlap");
            }
            for (at, there) in model.iter().enumerate() {
                let at = base + at as u64;
                prop_assert_eq!(spans.iter().any(|span| span.contains(&at)), *there);
            }
            let wanted = base + wanted.0..base + wanted.1;
            let missing = gaps(spans.clone(), &wanted);
            for at in wanted.clone() {
                let is_missing = missing.iter().any(|gap| gap.contains(&at));
                prop_assert_eq!(is_missing, !model[(at - base) as usize]);
            }
            prop_assert!(missing.iter().all(|gap| gap.start < gap.end && gap.start >= wanted.start && gap.end <= wanted.end));
            prop_assert_eq!(cover(spans, &wanted), missing.is_empty());
        }
    }
}
