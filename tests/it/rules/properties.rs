//! What holds for any input: arithmetic, canonical forms, total functions.

use std::time::Duration;

use forebay::clock::Wall;
use forebay::rfc::cache_control::ResponseDirectives;
use forebay::rfc::fields::Fields;
use forebay::rfc::lifetime::{Heuristic, lifetime};
use forebay::rfc::range::{Ranges, resolve};
use forebay::rfc::vary::SecondaryKey;
use forebay::rfc::{age, date, uri};
use http::StatusCode;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_date_that_is_written_reads_the_same(seconds in 0..253_402_300_800u64, now in 0..253_402_300_800u64) {
        let written = date::format(Wall::from_secs(seconds));
        prop_assert_eq!(date::parse(written.as_bytes(), Wall::from_secs(now)), Some(seconds));
    }

    #[test]
    fn ages_and_lifetimes_never_overflow_and_only_grow(
        lines in proptest::collection::vec(("age|date|expires|last-modified|cache-control", "[ -~]{0,40}"), 0..6),
        times in any::<[u64; 3]>(),
        later in any::<u64>(),
    ) {
        let mut fields = Fields::new();
        for (name, value) in &lines {
            let _ = fields.push(name, value.as_bytes());
        }
        let [requested, received, now] = times.map(Wall::from_millis);
        let directives = ResponseDirectives::read(&fields);
        let heuristic = Heuristic { percent: 100, max_seconds: u64::MAX };
        lifetime(StatusCode::OK, &fields, &directives, &heuristic, received);
        let initial = age::initial_age(&fields, requested, received);
        let first = age::current_age_millis(initial, received, now);
        let second = age::current_age_millis(initial, received, now.plus(Duration::from_millis(later)));
        prop_assert!(first >= initial.saturating_mul(1000) && second >= first);
    }

    #[test]
    fn a_canonical_path_is_its_own_canonical_form(text in "[/.%a-fA-F0-9?#~ -]{0,40}") {
        let once = uri::canonical_path_and_query(&text).into_owned();
        prop_assert!(once.starts_with('/'));
        prop_assert_eq!(uri::canonical_path_and_query(&once), once.as_str());
    }

    #[test]
    fn ranges_lie_within_the_content(value in "bytes=[0-9,-]{0,30}", len in any::<u64>(), max in 0..10usize) {
        let ranges = match resolve(value.as_bytes(), len, max) {
            Ranges::None | Ranges::Unsatisfiable => Vec::new(),
            Ranges::One(range) => vec![range],
            Ranges::Many(ranges) => ranges,
        };
        prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len));
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
    }

    #[test]
    fn a_request_selects_what_was_stored_for_it(value in "[a-zA-Z0-9 ,;=.*-]{0,30}", sort in any::<bool>()) {
        let names = ["accept-encoding", "accept-language", "x", "y"].map(str::to_owned);
        let mut request = Fields::new();
        for name in &names[..3] {
            let _ = request.push(name, value.as_bytes());
        }
        let key = SecondaryKey::of(&names, &request, sort);
        prop_assert!(key.matches(&request, sort));
        request.add("y", "1");
        prop_assert!(!key.matches(&request, sort));
    }
}
