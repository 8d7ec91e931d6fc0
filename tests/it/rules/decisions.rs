//! The verdict over a request, from what is stored and what holds (RFC 9111 4, RFC 5861).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::clock::Wall;
use forebay::policy::admit::{Admission, Moments, admit};
use forebay::policy::site::{HonourRequest, Mode, Rules, SetCookie};
use forebay::policy::{Decision, Presented, Received, decide, normalise};
use forebay::rfc::cache_status::{CacheStatus, Fwd};
use forebay::stored::index::{Home, Index};
use forebay::stored::parts::Limits;
use forebay::stored::{Parts, StoredBody, StoredResponse, Variants};
use http::{Method, StatusCode, Version};

use super::{NOW, fields};

fn presented(method: &str, lines: &str, has_body: bool) -> Presented {
    let received = Received {
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        target: "/x".to_owned(),
        version: Version::HTTP_11,
        fields: fields(&format!("host: h\n{lines}")),
        has_body,
        peer: "10.0.0.9".parse().expect("an address"),
        encrypted: false,
    };
    normalise::normalise(received, &Default::default()).expect("a good request")
}

fn stored(status: u16, response: &str, rules: &Rules) -> StoredResponse {
    let moments = Moments { requested: NOW, received: NOW, sequence: 0 };
    let status = StatusCode::from_u16(status).expect("a status");
    match admit(&presented("GET", "x: 1", false), status, fields(response), moments, rules) {
        Admission::Store { head, .. } => {
            StoredResponse::new(Arc::new(head), StoredBody::copied(&[Bytes::from_static(b"x")]), None)
        }
        Admission::Refuse { why, .. } => panic!("not stored: {why:?}"),
    }
}

fn variants(response: StoredResponse, marker: Option<Wall>) -> Variants {
    Variants { key: "http://h:80/x".into(), responses: vec![Arc::new(response)].into(), marker }
}

/// The verdict in a word or two.
fn word(decision: &Decision) -> String {
    match decision {
        Decision::Deliver(_) => "hit".to_owned(),
        Decision::DeliverStale(_, why) => why.name().to_owned(),
        Decision::NotCached => "504".to_owned(),
        Decision::Pass(pass) => format!("pass {}", pass.why.fwd().token()),
        Decision::Fetch(plan) => {
            let validate = if plan.validate { " validate" } else { "" };
            let alone = if plan.collapse { "" } else { " alone" };
            let stale = if plan.stale_on_error { " or stale" } else { "" };
            format!("fetch {}{validate}{alone}{stale}", plan.fwd.token())
        }
    }
}

#[test]
fn what_is_done_with_a_request() {
    let tagged = "cache-control: max-age=60\netag: \"a\"";
    let swr = "cache-control: max-age=60, stale-while-revalidate=30";
    let must = "cache-control: max-age=60, must-revalidate\netag: \"a\"";
    let sie = "cache-control: max-age=60, stale-if-error=5";
    let rows = [
        ("fresh", "GET", "x: 1", 200, tagged, 59, "hit"),
        (
            "fresh to its last moment and no longer",
            "GET",
            "x: 1",
            200,
            tagged,
            60,
            "fetch stale validate or stale",
        ),
        ("fresh for HEAD", "HEAD", "x: 1", 200, tagged, 59, "hit"),
        ("stale for HEAD", "HEAD", "x: 1", 200, tagged, 61, "pass miss"),
        (
            "nothing to validate with",
            "GET",
            "x: 1",
            200,
            "cache-control: max-age=60",
            61,
            "fetch stale or stale",
        ),
        ("while it is refreshed", "GET", "x: 1", 200, swr, 89, "stale-while-revalidate"),
        ("no longer than told", "GET", "x: 1", 200, swr, 90, "fetch stale or stale"),
        ("must-revalidate", "GET", "x: 1", 200, must, 61, "fetch stale validate"),
        (
            "no-cache",
            "GET",
            "x: 1",
            200,
            "cache-control: no-cache, max-age=60\netag: \"a\"",
            0,
            "fetch stale validate",
        ),
        ("the origin's own stale-if-error", "GET", "x: 1", 200, sie, 64, "fetch stale or stale"),
        ("has ended", "GET", "x: 1", 200, sie, 65, "fetch stale"),
        ("the operator's has ended", "GET", "x: 1", 200, tagged, 60 + 12 * 3600, "fetch stale validate"),
        ("past keep it is forgotten", "GET", "x: 1", 200, tagged, 62 + 13 * 3600, "fetch vary-miss"),
        ("another variant", "GET", "x: 2", 200, "vary: x\ncache-control: max-age=60", 0, "fetch vary-miss"),
        ("the same variant", "GET", "x: 1", 200, "vary: x\ncache-control: max-age=60", 0, "hit"),
        ("a fresh error", "GET", "x: 1", 404, swr, 59, "hit"),
        ("a stale error is no material", "GET", "x: 1", 404, swr, 61, "fetch stale"),
        ("an unsafe method", "POST", "", 200, tagged, 0, "pass method"),
        ("an unknown method", "M-SEARCH", "", 200, tagged, 0, "pass method"),
        ("only-if-cached and fresh", "GET", "x: 1\ncache-control: only-if-cached", 200, tagged, 0, "hit"),
        ("only-if-cached and stale", "GET", "x: 1\ncache-control: only-if-cached", 200, tagged, 61, "504"),
        ("no-cache of a client is advice", "GET", "x: 1\ncache-control: no-cache", 200, tagged, 0, "hit"),
        ("Pragma as well", "GET", "x: 1\npragma: no-cache", 200, tagged, 0, "hit"),
        ("If-Match that holds", "GET", "x: 1\nif-match: \"a\"", 200, tagged, 0, "hit"),
        ("If-Match that does not", "GET", "x: 1\nif-match: \"b\"", 200, tagged, 0, "hit"),
        ("for HEAD", "HEAD", "x: 1\nif-match: \"b\"", 200, tagged, 0, "hit"),
        (
            "If-Match that does not, and stale",
            "GET",
            "x: 1\nif-match: \"b\"",
            200,
            tagged,
            61,
            "pass request",
        ),
        ("If-Match and stale", "GET", "x: 1\nif-match: \"a\"", 200, tagged, 61, "pass stale"),
        (
            "If-Match while it is refreshed",
            "GET",
            "x: 1\nif-match: *",
            200,
            swr,
            61,
            "stale-while-revalidate",
        ),
        ("If-Match and an error", "GET", "x: 1\nif-match: *", 404, swr, 0, "hit"),
        (
            "If-Match and another variant",
            "GET",
            "x: 2\nif-match: *",
            200,
            "vary: x\ncache-control: max-age=60",
            0,
            "pass vary-miss",
        ),
        (
            "If-Match and only-if-cached",
            "GET",
            "x: 1\nif-match: \"b\"\ncache-control: only-if-cached",
            200,
            tagged,
            0,
            "hit",
        ),
        (
            "If-Unmodified-Since where nobody knows",
            "GET",
            "x: 1\nif-unmodified-since: Fri, 15 Jan 2027 07:00:00 GMT",
            200,
            tagged,
            0,
            "hit",
        ),
        ("an upgrade", "GET", "connection: upgrade\nupgrade: websocket", 200, tagged, 0, "pass request"),
    ];
    let rules = Rules::default();
    for (sentence, method, lines, status, response, age, verdict) in rows {
        let found = variants(stored(status, response, &rules), None);
        let now = NOW.plus(Duration::from_secs(age));
        let decision = decide(&presented(method, lines, false), Some(&found), &rules, now);
        assert_eq!(word(&decision), verdict, "{sentence}: after {age} s: {response}");
    }
}

#[test]
fn what_is_done_where_there_are_only_parts() {
    let rules = Rules { range_slice: 10, ..Rules::default() };
    let whole = stored(200, "cache-control: max-age=60\netag: \"a\"", &rules);
    let mut parts = Parts::none(100);
    let limits = Limits { parts: 10, bytes: 1000 };
    parts.add(10, &StoredBody::copied(&[Bytes::from_static(b"0123456789")]), limits);
    parts.add(20, &StoredBody::copied(&[Bytes::from_static(b"0123456789")]), limits);
    parts.add(90, &StoredBody::copied(&[Bytes::from_static(b"0123456789")]), limits);
    let found = variants(StoredResponse::of_parts(Arc::new(whole.head), parts), None);
    let rows = [
        ("the whole", "GET", "x: 1", 0, "fetch partial", None),
        ("conditions alone", "GET", "if-none-match: \"a\"", 0, "fetch partial", None),
        ("HEAD", "HEAD", "x: 1", 0, "pass miss", None),
        ("HEAD with a range, which means nothing", "HEAD", "range: bytes=10-19", 0, "pass miss", None),
        ("a range that is there", "GET", "range: bytes=12-27", 0, "hit", None),
        ("the last ones", "GET", "range: bytes=-10", 0, "hit", None),
        ("to the end", "GET", "range: bytes=90-", 0, "hit", None),
        ("several that are there", "GET", "range: bytes=10-11,95-", 0, "hit", None),
        ("behind the end", "GET", "range: bytes=100-", 0, "hit", None),
        (
            "a range that is there partly",
            "GET",
            "range: bytes=25-34",
            0,
            "fetch partial",
            Some("bytes=20-39"),
        ),
        ("the last ones, partly", "GET", "range: bytes=-11", 0, "fetch partial", Some("bytes=80-99")),
        ("from before the last part", "GET", "range: bytes=85-", 0, "fetch partial", Some("bytes=80-99")),
        ("everything", "GET", "range: bytes=0-", 0, "fetch partial", None),
        ("several, one of them missing", "GET", "range: bytes=10-11,50-51", 0, "fetch partial", None),
        ("of the same content", "GET", "range: bytes=10-11\nif-range: \"a\"", 0, "hit", None),
        ("of other content", "GET", "range: bytes=10-11\nif-range: \"b\"", 0, "fetch partial", None),
        ("of what matches", "GET", "range: bytes=10-11\nif-match: \"a\"", 0, "hit", None),
        ("of what does not", "GET", "range: bytes=10-11\nif-match: \"b\"", 0, "pass request", None),
        ("of what matches, missing", "GET", "range: bytes=50-51\nif-match: \"a\"", 0, "pass partial", None),
        ("stale", "GET", "range: bytes=12-14", 61, "fetch stale validate or stale", Some("bytes=10-19")),
        (
            "behind the end, stale",
            "GET",
            "range: bytes=100-",
            61,
            "fetch stale validate or stale",
            Some("bytes=0-9"),
        ),
        ("missing, stale", "GET", "range: bytes=50-51", 61, "fetch partial", Some("bytes=50-59")),
        ("only if cached", "GET", "cache-control: only-if-cached\nrange: bytes=12-14", 0, "hit", None),
        (
            "only if cached, missing",
            "GET",
            "cache-control: only-if-cached\nrange: bytes=50-51",
            0,
            "504",
            None,
        ),
    ];
    for (sentence, method, lines, age, verdict, part) in rows {
        let now = NOW.plus(Duration::from_secs(age));
        let decision = decide(&presented(method, lines, false), Some(&found), &rules, now);
        assert_eq!(word(&decision), verdict, "{sentence}: {lines}");
        let asked = match decision {
            Decision::Fetch(plan) => plan.part.map(|part| part.to_string()),
            _ => None,
        };
        assert_eq!(asked.as_deref(), part, "{sentence}: {lines}");
    }
}

#[test]
fn what_a_client_may_say_where_it_is_honoured() {
    let rules = Rules { request_directives: HonourRequest::All, ..Rules::default() };
    let must = "cache-control: max-age=60, must-revalidate";
    let rows = [
        ("no-cache", "cache-control: max-age=60", 0, "fetch request"),
        ("max-age=5", "cache-control: max-age=60", 5, "hit"),
        ("max-age=5", "cache-control: max-age=60", 6, "fetch request"),
        ("min-fresh=10", "cache-control: max-age=60", 50, "hit"),
        ("min-fresh=10", "cache-control: max-age=60", 51, "fetch request"),
        ("max-stale", "cache-control: max-age=60", 600, "max-stale"),
        ("max-stale=5", "cache-control: max-age=60", 65, "max-stale"),
        ("max-stale=5", "cache-control: max-age=60", 66, "fetch stale or stale"),
        ("max-stale", must, 61, "fetch stale"),
        ("only-if-cached, no-cache", "cache-control: max-age=60", 0, "504"),
        ("max-age=0", "cache-control: max-age=60, immutable", 59, "hit"),
        ("max-age=0", "cache-control: max-age=60, immutable", 60, "fetch request"),
        (
            "max-age=0",
            "cache-control: immutable\nlast-modified: Thu, 01 Jan 2015 00:00:00 GMT",
            59,
            "fetch request validate",
        ),
        ("no-cache", "cache-control: max-age=60, immutable", 0, "fetch request"),
        ("max-age=0, no-cache", "cache-control: max-age=60, immutable=\"x\"", 59, "fetch request"),
        ("max-age=0", "cache-control: max-age=60, immutable=\"x\", immutable", 59, "hit"),
        ("max-age=0, immutable", "cache-control: max-age=60", 59, "fetch request"),
        ("min-fresh=10", "cache-control: max-age=60, immutable", 51, "fetch request"),
    ];
    for (asked, response, age, verdict) in rows {
        let found = variants(stored(200, response, &rules), None);
        let now = NOW.plus(Duration::from_secs(age));
        let request = presented("GET", &format!("cache-control: {asked}"), false);
        assert_eq!(
            word(&decide(&request, Some(&found), &rules, now)),
            verdict,
            "5.2.1: {asked} after {age} s"
        );
    }
}

#[test]
fn where_clients_count_the_origin_judges_what_is_not_sure_to_hold() {
    let rules = Rules { request_directives: HonourRequest::All, ..Rules::default() };
    for (method, condition, verdict) in [
        ("GET", "if-match: \"a\"", "hit"),
        ("GET", "if-match: \"b\"", "pass request"),
        ("HEAD", "if-match: \"b\"", "pass request"),
        ("GET", "if-match: \"b\"\ncache-control: only-if-cached", "504"),
    ] {
        let found = variants(stored(200, "cache-control: max-age=60\netag: \"a\"", &rules), None);
        let decision = decide(&presented(method, condition, false), Some(&found), &rules, NOW);
        assert_eq!(word(&decision), verdict, "{method} {condition}");
    }
}

#[test]
fn what_rules_and_markers_change() {
    let get = presented("GET", "", false);
    let default = Rules::default();
    assert_eq!(word(&decide(&get, None, &default, NOW)), "fetch uri-miss");
    assert_eq!(word(&decide(&presented("HEAD", "", false), None, &default, NOW)), "pass miss");
    assert_eq!(word(&decide(&presented("GET", "", true), None, &default, NOW)), "pass request");
    assert_eq!(
        word(&decide(&presented("GET", "cache-control: only-if-cached", false), None, &default, NOW)),
        "504"
    );
    let off = Rules { cache: false, ..Rules::default() };
    let fresh = || stored(200, "cache-control: max-age=60", &default);
    assert_eq!(word(&decide(&get, Some(&variants(fresh(), None)), &off, NOW)), "pass bypass");
    let grace = Rules { grace: Duration::from_secs(30), ..Rules::default() };
    let later = NOW.plus(Duration::from_secs(80));
    assert_eq!(word(&decide(&get, Some(&variants(fresh(), None)), &grace, later)), "stale-while-revalidate");

    let conditional = presented("GET", "if-match: \"b\"", false);
    assert_eq!(word(&decide(&conditional, None, &default, NOW)), "pass uri-miss");
    let hidden = Rules { mode: Mode::Hidden, ..Rules::default() };
    let found = variants(stored(200, "cache-control: max-age=60\netag: \"a\"", &hidden), None);
    let decision = decide(&conditional, Some(&found), &hidden, NOW);
    assert_eq!(word(&decision), "hit", "where nobody can be asked it is ignored, as a cache may");

    let none = |marker| Variants { key: "http://h:80/x".into(), responses: Default::default(), marker };
    let until = NOW.plus(Duration::from_secs(5));
    assert_eq!(word(&decide(&get, Some(&none(Some(until))), &default, NOW)), "fetch uri-miss alone");
    assert_eq!(word(&decide(&get, Some(&none(Some(until))), &default, until)), "fetch uri-miss");
    let ranged = presented("GET", "range: bytes=0-1", false);
    assert_eq!(word(&decide(&ranged, Some(&none(Some(until))), &default, NOW)), "pass miss");

    let index = Arc::new(Index::default());
    let home = Home { authority: "http://h:80", site: "", sequence: 0, hidden: false };
    let mut purged = fresh();
    purged.settle(index.place(home, &purged.head.names));
    assert!(purged.soft_purge());
    assert_eq!(word(&decide(&get, Some(&variants(purged, None)), &default, NOW)), "fetch stale or stale");
    let failing = stored(200, "cache-control: max-age=1", &default);
    let stale = NOW.plus(Duration::from_secs(2));
    failing.refresh_failed(stale, Duration::from_secs(4));
    let found = variants(failing, None);
    assert_eq!(word(&decide(&get, Some(&found), &default, stale)), "stale-back-off");
    assert_eq!(
        word(&decide(&get, Some(&found), &default, stale.plus(Duration::from_secs(4)))),
        "fetch stale or stale"
    );
}

#[test]
fn what_is_admitted() {
    let verdict = |response: &str, rules: &Rules| {
        let moments = Moments { requested: NOW, received: NOW, sequence: 0 };
        match admit(&presented("GET", "", false), StatusCode::OK, fields(response), moments, rules) {
            Admission::Store { head, withheld } => Ok((head.fields, withheld)),
            Admission::Refuse { why, .. } => Err(why.reason()),
        }
    };
    let default = Rules::default();
    assert_eq!(verdict("cache-control: max-age=1\nset-cookie: a=b", &default).err(), Some("set-cookie"));
    let store = Rules { set_cookie: SetCookie::Store, ..Rules::default() };
    assert!(verdict("cache-control: max-age=1\nset-cookie: a=b", &store).is_ok(), "7.3");
    assert_eq!(verdict("cache-control: max-age=1\nvary: *", &default).err(), Some("vary-star"));
    assert_eq!(verdict("cache-control: no-store", &default).err(), Some("no-store"));
    let strict = Rules { stale_on_error: Duration::ZERO, ..Rules::default() };
    assert_eq!(verdict("cache-control: max-age=0", &strict).err(), Some("no-use"));
    assert!(verdict("cache-control: max-age=0\netag: \"a\"", &strict).is_ok(), "it can be validated");
    assert!(verdict("cache-control: max-age=0", &default).is_ok(), "it may answer when the origin fails");

    let (kept, withheld) = verdict("date: Fri, 15 Jan 2027 08:00:00 GMT\nage: 5\ncontent-length: 9\nx: 1\nset-cookie: a\ncache-control: max-age=9, private=\"Set-Cookie\"", &default).expect("stored");
    assert_eq!(
        kept,
        fields("date: Fri, 15 Jan 2027 08:00:00 GMT\nx: 1\ncache-control: max-age=9, private=\"Set-Cookie\"")
    );
    assert_eq!(withheld, fields("set-cookie: a"), "5.2.2.7");
    let (dated, _) = verdict("cache-control: max-age=9", &default).expect("stored");
    assert_eq!(dated.get_str("date"), Some("Fri, 15 Jan 2027 08:00:00 GMT"), "RFC 9110 6.6.1");
}

#[test]
fn cache_status_is_a_structured_field() {
    let all = CacheStatus {
        cache: "edge one",
        hit: true,
        fwd: Some(Fwd::Stale),
        fwd_status: Some(304),
        ttl: Some(-12),
        stored: true,
        collapsed: true,
        key: Some("http://h/\"x\\\u{7f}"),
        detail: Some("stale-on-error"),
    };
    let text = all.write();
    assert_eq!(
        text,
        "\"edge one\"; hit; fwd=stale; fwd-status=304; ttl=-12; stored; collapsed; key=\"http://h/\\\"x\\\\\"; detail=stale-on-error"
    );
    let plain = CacheStatus { cache: "forebay", hit: true, ttl: Some(i64::MAX), ..CacheStatus::default() };
    for text in [text, plain.write()] {
        let parsed = sfv::Parser::new(&text).parse::<sfv::List>();
        assert_eq!(parsed.unwrap_or_else(|error| panic!("{text}: {error}")).len(), 1);
    }
}
