//! Preconditions and `If-Range` (RFC 9110 8.8, 13; RFC 9111 4.3.2).

use forebay::rfc::validator::{
    Precondition, conditional_fields, evaluate, if_range_holds, may_be_parted, meets_origin_conditions,
};
use http::{Method, StatusCode};

use super::{NOW, fields};

const TAGGED: &str =
    "etag: \"a\"\nlast-modified: Fri, 15 Jan 2027 07:00:00 GMT\ndate: Fri, 15 Jan 2027 08:00:00 GMT";
const WEAK: &str = "etag: W/\"a\"";
const DATED: &str = "last-modified: Fri, 15 Jan 2027 07:00:00 GMT\ndate: Fri, 15 Jan 2027 08:00:00 GMT";
const BARE: &str = "date: Fri, 15 Jan 2027 08:00:00 GMT";

#[test]
fn what_preconditions_make_of_a_request() {
    use Precondition::{NotModified, Proceed};
    let rows = [
        ("none", "", TAGGED, Proceed),
        ("the same tag", "if-none-match: \"a\"", TAGGED, NotModified),
        ("another tag", "if-none-match: \"b\"", TAGGED, Proceed),
        ("one of several", "if-none-match: \"b\", \"a\"", TAGGED, NotModified),
        ("over lines", "if-none-match: \"b\"\nif-none-match: \"a\"", TAGGED, NotModified),
        ("compared weakly", "if-none-match: W/\"a\"", TAGGED, NotModified),
        ("compared weakly, both", "if-none-match: \"a\"", WEAK, NotModified),
        ("any", "if-none-match: *", BARE, NotModified),
        ("a tag with a comma", "if-none-match: \"b,\", \"a\"", TAGGED, NotModified),
        ("a tag with a backslash", "if-none-match: \"b\\\", \"a\"", TAGGED, NotModified),
        ("a tag without quotes is none", "if-none-match: a", TAGGED, Proceed),
        ("nothing to compare", "if-none-match: \"a\"", BARE, Proceed),
        ("not modified since", "if-modified-since: Fri, 15 Jan 2027 07:00:00 GMT", TAGGED, NotModified),
        ("not modified since later", "if-modified-since: Fri, 15 Jan 2027 07:30:00 GMT", TAGGED, NotModified),
        ("modified since", "if-modified-since: Fri, 15 Jan 2027 06:59:59 GMT", TAGGED, Proceed),
        ("a bad date is ignored", "if-modified-since: yesterday", TAGGED, Proceed),
        (
            "without Last-Modified the Date stands in",
            "if-modified-since: Fri, 15 Jan 2027 08:00:00 GMT",
            BARE,
            NotModified,
        ),
        ("and is later", "if-modified-since: Fri, 15 Jan 2027 07:59:59 GMT", BARE, Proceed),
        (
            "If-None-Match goes before the date",
            "if-none-match: \"b\"\nif-modified-since: Fri, 15 Jan 2027 07:30:00 GMT",
            TAGGED,
            Proceed,
        ),
        (
            "several dates are none",
            "if-modified-since: Fri, 15 Jan 2027 07:30:00 GMT\nif-modified-since: Fri, 15 Jan 2027 07:30:00 GMT",
            TAGGED,
            Proceed,
        ),
        ("If-Match is for the origin", "if-match: \"b\"", TAGGED, Proceed),
        ("and stops nothing", "if-match: \"b\"\nif-none-match: \"a\"", TAGGED, NotModified),
        ("so is If-Unmodified-Since", "if-unmodified-since: Fri, 15 Jan 2027 06:00:00 GMT", DATED, Proceed),
    ];
    for (sentence, request, response, verdict) in rows {
        let found = evaluate(&Method::GET, &fields(request), StatusCode::OK, &fields(response), NOW, NOW);
        assert_eq!(found, verdict, "{sentence} (RFC 9110 13.2.2): {request}");
    }
}

#[test]
fn preconditions_count_for_successes_only() {
    let request = fields("if-none-match: \"a\"");
    for status in [StatusCode::NOT_FOUND, StatusCode::MOVED_PERMANENTLY, StatusCode::BAD_GATEWAY] {
        let found = evaluate(&Method::GET, &request, status, &fields(TAGGED), NOW, NOW);
        assert_eq!(found, Precondition::Proceed, "RFC 9110 13.2.1");
    }
    for (method, verdict) in [
        (Method::GET, Precondition::NotModified),
        (Method::HEAD, Precondition::NotModified),
        (Method::POST, Precondition::Proceed),
        (Method::OPTIONS, Precondition::Proceed),
    ] {
        let found = evaluate(&method, &request, StatusCode::OK, &fields(TAGGED), NOW, NOW);
        assert_eq!(found, verdict, "RFC 9110 13.1.3, 13.2.1: {method}");
    }
}

#[test]
fn which_responses_are_sure_to_meet_the_conditions_for_the_origin() {
    let rows = [
        ("none", "", TAGGED, true),
        ("the tag", "if-match: \"a\"", TAGGED, true),
        ("any", "if-match: *", BARE, true),
        ("one of several", "if-match: \"b\", \"a\"", TAGGED, true),
        ("another", "if-match: \"b\"", TAGGED, false),
        ("a weak one", "if-match: W/\"a\"", WEAK, false),
        ("nothing to compare", "if-match: \"a\"", BARE, false),
        ("unmodified since", "if-unmodified-since: Fri, 15 Jan 2027 07:00:00 GMT", DATED, true),
        ("modified since then", "if-unmodified-since: Fri, 15 Jan 2027 06:59:59 GMT", DATED, false),
        ("nobody knows", "if-unmodified-since: Fri, 15 Jan 2027 07:00:00 GMT", BARE, false),
        ("no date says nothing", "if-unmodified-since: x", DATED, true),
        (
            "several dates say nothing",
            "if-unmodified-since: Fri, 15 Jan 2027 06:00:00 GMT, Fri, 15 Jan 2027 06:00:00 GMT",
            DATED,
            true,
        ),
        (
            "If-Match goes before the date",
            "if-match: \"a\"\nif-unmodified-since: Fri, 15 Jan 2027 06:00:00 GMT",
            TAGGED,
            true,
        ),
    ];
    for (sentence, request, response, verdict) in rows {
        let (request, response) = (fields(request), fields(response));
        let meets = meets_origin_conditions(&request, &response, NOW);
        assert_eq!(meets, verdict, "{sentence} (RFC 9110 13.1.1, 13.1.4)");
        assert_eq!(may_be_parted(&request, &response, NOW), verdict, "{sentence}: no part of other content");
    }
    let unlike = fields("if-match: \"a\"\nif-range: \"b\"");
    assert!(!may_be_parted(&unlike, &fields(TAGGED), NOW), "If-Range counts beside it");
}

#[test]
fn when_a_range_may_be_answered() {
    let rows = [
        ("no condition", "", TAGGED, true),
        ("the strong tag", "if-range: \"a\"", TAGGED, true),
        ("another tag", "if-range: \"b\"", TAGGED, false),
        ("a weak tag never", "if-range: W/\"a\"", WEAK, false),
        ("the very date", "if-range: Fri, 15 Jan 2027 07:00:00 GMT", DATED, true),
        ("a later date is another", "if-range: Fri, 15 Jan 2027 07:00:01 GMT", DATED, false),
        (
            "a date that may have been changed twice",
            "if-range: Fri, 15 Jan 2027 08:00:00 GMT",
            "last-modified: Fri, 15 Jan 2027 08:00:00 GMT\ndate: Fri, 15 Jan 2027 08:00:00 GMT",
            false,
        ),
        ("garbage", "if-range: x", TAGGED, false),
    ];
    for (sentence, request, response, verdict) in rows {
        assert_eq!(
            if_range_holds(&fields(request), &fields(response), NOW),
            verdict,
            "{sentence} (RFC 9110 13.1.5)"
        );
    }
}

#[test]
fn validators_are_sent_verbatim() {
    let stored = fields("etag: W/ \"odd\nlast-modified: whenever");
    let sent: Vec<_> = conditional_fields(&stored).collect();
    assert_eq!(
        sent,
        [("if-none-match", &b"W/ \"odd"[..]), ("if-modified-since", b"whenever")],
        "RFC 9111 4.3.1"
    );
}
