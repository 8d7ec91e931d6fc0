//! Parts: what is asked for, and what a part is good for (RFC 9110 14.4, 15.3.7; RFC 9111 3.3).

use forebay::policy::partial::{Cut, Place, asks, cut, place};
use forebay::policy::site::{Mode, RangeMiss, Rules};
use forebay::policy::{Presented, Received, normalise};
use forebay::rfc::content_range::ContentRange;
use forebay::rfc::range::{Ranges, Spec, resolve};
use http::{Method, Version};
use proptest::prelude::*;

use super::{NOW, fields};

const DATE: &str = "date: Thu, 01 Jan 2026 00:00:00 GMT";

fn presented(method: Method, lines: &str) -> Presented {
    let received = Received {
        method,
        target: "/x".to_owned(),
        version: Version::HTTP_11,
        fields: fields(&format!("host: h\n{lines}")),
        has_body: false,
        peer: "10.0.0.9".parse().expect("an address"),
        encrypted: false,
    };
    normalise::normalise(received, &Default::default()).expect("a good request")
}

#[test]
fn what_is_asked_for_where_nothing_is_known() {
    let rules = Rules { range_slice: 100, ..Rules::default() };
    let rows = [
        ("the slice around it", "range: bytes=150-160", Some("bytes=100-199")),
        ("the slices that it touches", "range: bytes=199-200", Some("bytes=100-299")),
        ("a slice is not widened", "range: bytes=100-199", Some("bytes=100-199")),
        ("to the end", "range: bytes=150-", Some("bytes=100-")),
        ("from the first slice to the end is all", "range: bytes=99-", None),
        ("the last slice", "range: bytes=-1", Some("bytes=-100")),
        ("the last slices", "range: bytes=-101", Some("bytes=-200")),
        ("nothing at the end", "range: bytes=-0", Some("bytes=-100")),
        ("empty members are none", "range: bytes=, 5-6 ,", Some("bytes=0-99")),
        (
            "a number beyond counting",
            "range: bytes=99999999999999999999-",
            Some("bytes=18446744073709551600-"),
        ),
        ("several", "range: bytes=0-1,5-6", None),
        ("two lines", "range: bytes=0-1\nrange: bytes=5-6", None),
        ("another unit", "range: lines=1-2", None),
        ("no range", "x: 1", None),
    ];
    for (sentence, lines, spec) in rows {
        let asked = asks(&presented(Method::GET, lines), None, &rules, NOW).map(|spec| spec.to_string());
        assert_eq!(asked.as_deref(), spec, "{sentence}: {lines}");
    }
    let range = presented(Method::GET, "range: bytes=150-160");
    for rules in [
        Rules { range_miss: RangeMiss::Whole, ..rules.clone() },
        Rules { mode: Mode::Hidden, ..rules.clone() },
    ] {
        assert_eq!(asks(&range, None, &rules, NOW), None);
    }
    assert_eq!(asks(&presented(Method::HEAD, "range: bytes=150-160"), None, &rules, NOW), None);
}

#[test]
fn which_parts_can_be_combined() {
    let strong = "etag: \"a\"\ncontent-range: bytes 0-4/10";
    let rows = [
        ("a strong tag", strong.to_owned(), Some(5), true),
        ("no length of the message", strong.to_owned(), None, true),
        ("another length of the message", strong.to_owned(), Some(6), false),
        ("a weak tag", "etag: W/\"a\"\ncontent-range: bytes 0-4/10".to_owned(), Some(5), false),
        ("no tag that could be read", "etag: a\ncontent-range: bytes 0-4/10".to_owned(), Some(5), false),
        ("no validator", "content-range: bytes 0-4/10".to_owned(), Some(5), false),
        (
            "changed a second before",
            format!("{DATE}\nlast-modified: Wed, 31 Dec 2025 23:59:59 GMT\ncontent-range: bytes 0-4/10"),
            Some(5),
            true,
        ),
        (
            "changed in the same second",
            format!("{DATE}\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\ncontent-range: bytes 0-4/10"),
            Some(5),
            false,
        ),
        (
            "a weak tag goes before a date",
            format!(
                "{DATE}\netag: W/\"a\"\nlast-modified: Wed, 31 Dec 2025 23:59:59 GMT\ncontent-range: bytes 0-4/10"
            ),
            Some(5),
            false,
        ),
        ("no complete length", "etag: \"a\"\ncontent-range: bytes 0-4/*".to_owned(), Some(5), false),
        ("no Content-Range", "etag: \"a\"".to_owned(), Some(5), false),
        ("two of them", format!("{strong}\ncontent-range: bytes 0-4/10"), Some(5), false),
        ("one that is not satisfied", "etag: \"a\"\ncontent-range: bytes */10".to_owned(), Some(5), false),
    ];
    for (sentence, lines, length, good) in rows {
        let found = place(&fields(&lines), length, NOW).ok();
        let expected = good.then_some(Place { range: 0..5, complete: 10 });
        assert_eq!(found, expected, "{sentence}: {lines}");
    }
}

#[test]
fn what_of_a_part_for_one_client_it_gets() {
    let asked = Spec::Within(0..100);
    let to = |body: std::ops::Range<u64>, range, complete| Cut::To {
        of_body: body,
        part: ContentRange::Part { range, complete },
    };
    let rows = [
        ("inside", "range: bytes=10-19", "content-range: bytes 0-99/500", to(10..20, 10..20, Some(500))),
        (
            "cut off at its end",
            "range: bytes=90-150",
            "content-range: bytes 0-99/500",
            to(90..100, 90..100, Some(500)),
        ),
        (
            "to the end",
            "range: bytes=450-",
            "content-range: bytes 400-499/500",
            to(50..100, 450..500, Some(500)),
        ),
        (
            "the last ones",
            "range: bytes=-5",
            "content-range: bytes 400-499/500",
            to(95..100, 495..500, Some(500)),
        ),
        ("of unknown length", "range: bytes=10-19", "content-range: bytes 0-99/*", to(10..20, 10..20, None)),
        ("the last ones of unknown length", "range: bytes=-5", "content-range: bytes 0-99/*", Cut::Unfit),
        ("elsewhere", "range: bytes=150-160", "content-range: bytes 0-99/500", Cut::Unfit),
        ("behind the end", "range: bytes=600-", "content-range: bytes 400-499/500", Cut::Unfit),
        ("it does not say which", "range: bytes=10-19", "x: 1", Cut::Unfit),
        ("just what the client asked for, wherever it is", "range: bytes=0-99", "x: 1", Cut::Nothing),
        (
            "in a unit that nobody here knows",
            "range: bytes=0-99",
            "content-range: lines 0-99/500",
            Cut::Nothing,
        ),
        ("it lies of its length", "range: bytes=10-19", "content-range: bytes 0-9/500", Cut::Unfit),
        (
            "other content than the client has",
            "range: bytes=10-19\nif-range: \"b\"",
            "content-range: bytes 0-99/500\netag: \"a\"",
            Cut::Unfit,
        ),
    ];
    for (sentence, request, response, expected) in rows {
        let found = cut(&presented(Method::GET, request), &asked, &fields(response), Some(100), NOW);
        assert_eq!(found, expected, "{sentence}");
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    let near = || prop_oneof![0..2000u64, any::<u64>()];
    prop_oneof![
        near().prop_map(Spec::From),
        near().prop_map(Spec::Last),
        (near(), near()).prop_map(|(one, other)| {
            let (start, end) = (one.min(other), one.max(other).saturating_add(1));
            Spec::Within(start.min(end - 1)..end)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_widened_has_what_was_wanted(
        spec in spec(),
        slice in prop_oneof![1..300u64, any::<u64>()],
        len in prop_oneof![0..3000u64, any::<u64>()],
        is_known in any::<bool>(),
    ) {
        let wanted = spec.within(len);
        // None is the whole.
        let widened = spec.widened(slice, is_known.then_some(len)).map_or(0..len, |widened| widened.within(len));
        if !wanted.is_empty() {
            prop_assert!(widened.start <= wanted.start && wanted.end <= widened.end, "{spec:?}: {wanted:?} in {widened:?}");
            let most = slice.saturating_mul(2).saturating_add(wanted.end - wanted.start);
            let ends = matches!(spec, Spec::From(_));
            prop_assert!(ends || widened.end - widened.start <= most, "{spec:?}: {widened:?} is too much");
        }
    }

    #[test]
    fn one_range_means_the_same_alone_and_among_several(spec in spec(), len in any::<u64>()) {
        let written = spec.to_string();
        prop_assert_eq!(Spec::parse(written.as_bytes()), Some(spec.clone()));
        let meant = match spec.within(len) {
            range if range.is_empty() => Ranges::Unsatisfiable,
            range => Ranges::One(range),
        };
        prop_assert_eq!(resolve(written.as_bytes(), len, 1), meant);
    }

    #[test]
    fn what_is_cut_lies_in_the_part(
        wanted in spec(),
        first in 0..3000u64,
        len in 1..3000u64,
        complete in 0..6000u64,
    ) {
        let request = presented(Method::GET, &format!("range: {wanted}"));
        let response = fields(&format!("content-range: bytes {first}-{}/{complete}", first + len - 1));
        if let Cut::To { of_body, part: ContentRange::Part { range, .. } } =
            cut(&request, &Spec::first(1), &response, Some(len), NOW)
        {
            prop_assert!(of_body.start < of_body.end && of_body.end <= len);
            prop_assert_eq!(range.start, first + of_body.start);
            prop_assert_eq!(range.end, first + of_body.end);
            prop_assert_eq!(range.start, wanted.within(complete).start);
        }
    }
}
