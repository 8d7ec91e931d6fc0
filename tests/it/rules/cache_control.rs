//! `Cache-Control`, freshness and age (RFC 9111 4.2, 5.2, 5.3).

use forebay::rfc::age;
use forebay::rfc::cache_control::{FieldNames, MaxStale, RequestDirectives, ResponseDirectives};
use forebay::rfc::lifetime::{Heuristic, Source, lifetime};
use forebay::rfc::reuse::stale_terms;
use http::StatusCode;

use super::{NOW, fields};

#[test]
fn how_long_a_response_is_fresh() {
    use Source::{Expires, Heuristic as Guess, MaxAge, None, SMaxage};
    let rows: [(&str, &str, u16, &str, (u64, Source)); 41] = [
        ("max-age", "5.2.2.1", 200, "cache-control: max-age=60", (60, MaxAge)),
        ("s-maxage goes first", "5.2.2.10", 200, "cache-control: max-age=60, s-maxage=10", (10, SMaxage)),
        (
            "s-maxage goes first, over lines",
            "5.2.2.10",
            200,
            "cache-control: s-maxage=90\ncache-control: max-age=60",
            (90, SMaxage),
        ),
        ("max-age goes before Expires", "5.3", 200, "cache-control: max-age=60\nexpires: 0", (60, MaxAge)),
        ("any letter case", "5.2", 200, "cache-control: MaX-aGe=60", (60, MaxAge)),
        (
            "an unknown directive is ignored",
            "5.2.3",
            200,
            "cache-control: foo, max-age=60, bar=baz",
            (60, MaxAge),
        ),
        ("a quoted number", "5.2", 200, "cache-control: max-age=\"60\"", (60, MaxAge)),
        ("leading zeros", "1.2.2", 200, "cache-control: max-age=0060", (60, MaxAge)),
        ("single quotes are no quotes", "4.2.1", 200, "cache-control: max-age='60'", (0, MaxAge)),
        ("negative is invalid, so stale", "4.2.1", 200, "cache-control: max-age=-1", (0, MaxAge)),
        ("a fraction is invalid, so stale", "4.2.1", 200, "cache-control: max-age=60.5", (0, MaxAge)),
        ("no argument is invalid, so stale", "4.2.1", 200, "cache-control: max-age", (0, MaxAge)),
        ("of two the shorter one", "4.2.1", 200, "cache-control: max-age=60, max-age=10", (10, MaxAge)),
        ("what is quoted is no directive", "5.2", 200, "cache-control: foo=\"a, max-age=60, b\"", (0, None)),
        (
            "a quoted one before the real one",
            "5.2",
            200,
            "cache-control: foo=\"max-age=60\", max-age=1",
            (1, MaxAge),
        ),
        ("space before the sign is no directive", "5.2", 200, "cache-control: max-age =60", (0, None)),
        (
            "too large is clamped",
            "1.2.2",
            200,
            "cache-control: max-age=99999999999999999999",
            (1 << 31, MaxAge),
        ),
        ("2^31 and one", "1.2.2", 200, "cache-control: max-age=2147483649", (1 << 31, MaxAge)),
        (
            "Expires minus Date",
            "4.2.1",
            200,
            "date: Fri, 15 Jan 2027 07:00:00 GMT\nexpires: Fri, 15 Jan 2027 07:01:00 GMT",
            (60, Expires),
        ),
        (
            "Expires before Date",
            "4.2.1",
            200,
            "date: Fri, 15 Jan 2027 07:00:00 GMT\nexpires: Fri, 15 Jan 2027 06:00:00 GMT",
            (0, Expires),
        ),
        (
            "without Date the moment of receipt",
            "4.2.1",
            200,
            "expires: Fri, 15 Jan 2027 08:01:00 GMT",
            (60, Expires),
        ),
        (
            "with a bad Date as well",
            "4.2.1",
            200,
            "date: yesterday\nexpires: Fri, 15 Jan 2027 08:01:00 GMT",
            (60, Expires),
        ),
        ("Never is already stale", "5.3", 200, "expires: Never", (0, Expires)),
        ("0 is already stale", "5.3", 200, "expires: 0", (0, Expires)),
        ("an empty one is already stale", "5.3", 200, "expires:", (0, Expires)),
        (
            "several that differ are already stale",
            "4.2.1",
            200,
            "expires: Fri, 15 Jan 2027 08:01:00 GMT\nexpires: Fri, 15 Jan 2027 09:01:00 GMT",
            (0, Expires),
        ),
        (
            "several that agree are one",
            "4.2.1",
            200,
            "expires: Fri, 15 Jan 2027 08:01:00 GMT\nexpires: Fri, 15 Jan 2027 08:01:00 GMT",
            (60, Expires),
        ),
        (
            "bad Expires is not mended by Last-Modified",
            "5.3",
            200,
            "expires: Never\nlast-modified: Fri, 01 Jan 2027 08:00:00 GMT",
            (0, Expires),
        ),
        (
            "a tenth of the time since the change",
            "4.2.2",
            200,
            "last-modified: Fri, 15 Jan 2027 07:00:00 GMT",
            (360, Guess),
        ),
        ("a day at most", "4.2.2", 200, "last-modified: Thu, 01 Jan 2026 08:00:00 GMT", (86_400, Guess)),
        (
            "a change in the future gives nothing",
            "4.2.2",
            200,
            "last-modified: Fri, 15 Jan 2027 09:00:00 GMT",
            (0, Guess),
        ),
        (
            "404 is cacheable by heuristics",
            "15.1",
            404,
            "last-modified: Fri, 15 Jan 2027 07:00:00 GMT",
            (360, Guess),
        ),
        ("410 is", "15.1", 410, "last-modified: Fri, 15 Jan 2027 07:00:00 GMT", (360, Guess)),
        ("501 is", "15.1", 501, "last-modified: Fri, 15 Jan 2027 07:00:00 GMT", (360, Guess)),
        ("201 is not", "15.1", 201, "last-modified: Fri, 15 Jan 2027 07:00:00 GMT", (0, None)),
        ("302 is not", "15.1", 302, "last-modified: Fri, 15 Jan 2027 07:00:00 GMT", (0, None)),
        ("403 is not", "15.1", 403, "last-modified: Fri, 15 Jan 2027 07:00:00 GMT", (0, None)),
        ("503 is not", "15.1", 503, "last-modified: Fri, 15 Jan 2027 07:00:00 GMT", (0, None)),
        (
            "599 is with public",
            "5.2.2.9",
            599,
            "cache-control: public\nlast-modified: Fri, 15 Jan 2027 07:00:00 GMT",
            (360, Guess),
        ),
        ("nothing at all", "4.2.2", 200, "etag: \"a\"", (0, None)),
        ("public alone says nothing of time", "5.2.2.9", 200, "cache-control: public", (0, None)),
    ];
    let heuristic = Heuristic { percent: 10, max_seconds: 86_400 };
    for (sentence, section, status, text, (seconds, source)) in rows {
        let response = fields(text);
        let directives = ResponseDirectives::read(&response);
        let status = StatusCode::from_u16(status).expect("a status");
        let lifetime = lifetime(status, &response, &directives, &heuristic, NOW);
        assert_eq!(
            (u64::from(lifetime.seconds), lifetime.source),
            (seconds, source),
            "{sentence} ({section}): {text}"
        );
    }
}

#[test]
fn how_old_a_response_is_on_arrival() {
    let rows = [
        ("without anything it is new", "", 0, 0),
        ("Age counts", "age: 30", 0, 30),
        ("the journey is added", "age: 30", 5, 35),
        ("an old Date counts", "date: Fri, 15 Jan 2027 07:59:00 GMT", 0, 60),
        ("the larger of both", "date: Fri, 15 Jan 2027 07:59:00 GMT\nage: 10", 0, 60),
        ("the larger of both, the other way", "date: Fri, 15 Jan 2027 07:59:00 GMT\nage: 100", 0, 100),
        ("a Date in the future is not negative", "date: Fri, 15 Jan 2027 09:00:00 GMT", 0, 0),
        ("a bad Date says nothing", "date: tomorrow", 0, 0),
        ("the first member counts", "age: 7200, 0", 0, 7200),
        ("the first line counts", "age: 0\nage: 7200", 0, 0),
        ("a negative Age is ignored", "age: -7200", 0, 0),
        ("a fraction is ignored", "age: 7200.0", 0, 0),
        ("a word is ignored", "age: abc", 0, 0),
        ("a parameter makes it invalid", "age: 7200;foo=bar", 0, 0),
        ("2^31 is old", "age: 2147483648", 0, 1 << 31),
        ("more is as old", "age: 99999999999999999999", 0, 1 << 31),
    ];
    for (sentence, text, delay, verdict) in rows {
        let requested = forebay::clock::Wall::from_secs(NOW.secs() - delay);
        assert_eq!(
            age::initial_age(&fields(text), requested, NOW),
            verdict,
            "{sentence} (4.2.3, 5.1): {text}"
        );
    }
}

#[test]
fn what_a_response_says_of_fields() {
    let rows = [
        ("private", FieldNames::Absent, FieldNames::All),
        ("no-cache", FieldNames::All, FieldNames::Absent),
        ("No-Cache=\"Set-Cookie\"", FieldNames::Only(vec!["set-cookie".to_owned()]), FieldNames::Absent),
        ("private=\"a, b\"", FieldNames::Absent, FieldNames::Only(vec!["a".to_owned(), "b".to_owned()])),
        ("no-cache=\"Set\\-Cookie\"", FieldNames::Only(vec!["set-cookie".to_owned()]), FieldNames::Absent),
        ("private=x", FieldNames::Absent, FieldNames::Only(vec!["x".to_owned()])),
        ("private=\"\"", FieldNames::Absent, FieldNames::All),
        ("private=\"a\", private", FieldNames::Absent, FieldNames::All),
        (
            "no-cache=\"a\", no-cache=\"b\"",
            FieldNames::Only(vec!["a".to_owned(), "b".to_owned()]),
            FieldNames::Absent,
        ),
    ];
    for (text, no_cache, private) in rows {
        let read = ResponseDirectives::read(&fields(&format!("cache-control: {text}")));
        assert_eq!((read.no_cache, read.private), (no_cache, private), "5.2.2.4, 5.2.2.7: {text}");
    }
}

#[test]
fn what_forbids_stale() {
    for (text, forbidden) in [
        ("max-age=1", false),
        ("max-age=1, must-revalidate", true),
        ("max-age=1, proxy-revalidate", true),
        ("s-maxage=1", true),
        ("no-cache", true),
        ("no-cache=\"x\"", false),
        ("max-age=1, immutable", false),
    ] {
        let read = ResponseDirectives::read(&fields(&format!("cache-control: {text}")));
        assert_eq!(stale_terms(&read).forbidden, forbidden, "4.2.4: {text}");
    }
    let read =
        ResponseDirectives::read(&fields("cache-control: stale-while-revalidate=30, stale-if-error=\"60\""));
    let terms = stale_terms(&read);
    assert_eq!((terms.while_revalidate, terms.if_error), (30, Some(60)), "RFC 5861");
}

#[test]
fn what_a_request_says() {
    let read = |text| RequestDirectives::read(&fields(text));
    assert!(read("pragma: no-cache").no_cache, "5.4");
    assert!(!read("pragma: no-cache\ncache-control: max-age=1").no_cache, "Cache-Control goes first (5.4)");
    assert_eq!(read("cache-control: max-stale").max_stale, Some(MaxStale::Any));
    assert_eq!(read("cache-control: max-stale=5").max_stale, Some(MaxStale::Seconds(5)));
    assert_eq!(read("cache-control: max-stale=x").max_stale, None);
    assert_eq!(read("cache-control: max-age=x").max_age, Some(0));
    assert_eq!(read("cache-control: min-fresh=9").min_fresh, Some(9));
    assert!(read("cache-control: ONLY-IF-CACHED").only_if_cached);
    assert!(read("cache-control: no-store").no_store);
}
