//! What may be stored, and what updates it (RFC 9111 3, 3.2, 3.5, 4.3, 4.4).

use forebay::rfc::cache_control::ResponseDirectives;
use forebay::rfc::freshen::{HeadEffect, freshen, head_updates};
use forebay::rfc::storable::{Exchanged, NotStorable, post_serves_get, storable};
use forebay::rfc::{connection, unsafe_method};
use http::{Method, StatusCode};

use super::fields;

#[test]
fn what_may_be_stored() {
    use NotStorable as No;
    let rows: [(&str, &str, u16, &str, &str, Result<(), No>); 35] = [
        ("explicit freshness", "3", 200, "", "cache-control: max-age=60", Ok(())),
        ("any final status with explicit freshness", "3", 599, "", "cache-control: max-age=60", Ok(())),
        ("so an error", "3", 500, "", "cache-control: max-age=60", Ok(())),
        ("so a redirect", "3", 302, "", "expires: Fri, 15 Jan 2027 09:00:00 GMT", Ok(())),
        ("even an Expires that is no date is explicit", "5.3", 200, "", "expires: Never", Ok(())),
        ("a heuristic status", "4.2.2", 404, "", "", Ok(())),
        ("another status needs more", "3", 302, "", "", Err(No::Unexplicit)),
        ("or public", "5.2.2.9", 302, "", "cache-control: public", Ok(())),
        ("no-store", "5.2.2.5", 200, "", "cache-control: no-store, max-age=60", Err(No::NoStore)),
        ("no-store in any letter case", "5.2", 200, "", "cache-control: nO-StOrE", Err(No::NoStore)),
        (
            "no-store with an argument counts as well",
            "5.2",
            200,
            "",
            "cache-control: no-store=x",
            Err(No::NoStore),
        ),
        (
            "no-store within quotes does not",
            "5.2",
            200,
            "",
            "cache-control: x=\"no-store\", max-age=1",
            Ok(()),
        ),
        ("private", "5.2.2.7", 200, "", "cache-control: private, max-age=60", Err(No::Private)),
        (
            "private for a field leaves the rest",
            "5.2.2.7",
            200,
            "",
            "cache-control: private=\"x\", max-age=60",
            Ok(()),
        ),
        ("no-cache is stored", "5.2.2.4", 200, "", "cache-control: no-cache", Ok(())),
        ("206 is a part", "3.3", 206, "", "cache-control: max-age=60", Err(No::Partial)),
        ("416 answers a range", "3.3", 416, "", "cache-control: max-age=60", Err(No::Partial)),
        ("304 is no response of its own", "3", 304, "", "cache-control: max-age=60", Err(No::Status)),
        ("an interim response never", "3", 103, "", "cache-control: max-age=60", Err(No::Status)),
        (
            "Authorization",
            "3.5",
            200,
            "authorization: x",
            "cache-control: max-age=60",
            Err(No::Authorization),
        ),
        ("with public", "3.5", 200, "authorization: x", "cache-control: max-age=60, public", Ok(())),
        ("with s-maxage", "3.5", 200, "authorization: x", "cache-control: s-maxage=60", Ok(())),
        (
            "with must-revalidate",
            "3.5",
            200,
            "authorization: x",
            "cache-control: max-age=60, must-revalidate",
            Ok(()),
        ),
        (
            "with proxy-revalidate alone not",
            "3.5",
            200,
            "authorization: x",
            "cache-control: max-age=60, proxy-revalidate",
            Err(No::Authorization),
        ),
        (
            "must-understand lifts no-store",
            "5.2.2.3",
            200,
            "",
            "cache-control: must-understand, no-store, max-age=60",
            Ok(()),
        ),
        (
            "for an unknown status it does not",
            "5.2.2.3",
            599,
            "",
            "cache-control: must-understand, no-store, max-age=60",
            Err(No::NotUnderstood),
        ),
        (
            "nor without no-store",
            "5.2.2.3",
            599,
            "",
            "cache-control: must-understand, max-age=60",
            Err(No::NotUnderstood),
        ),
        (
            "a cookie of the request does not matter",
            "7.3",
            200,
            "cookie: a=b",
            "cache-control: max-age=60",
            Ok(()),
        ),
        (
            "Set-Cookie does not forbid it here",
            "7.3",
            200,
            "",
            "cache-control: max-age=60\nset-cookie: a=b",
            Ok(()),
        ),
        ("204 by heuristics", "15.1", 204, "", "", Ok(())),
        ("300 by heuristics", "15.1", 300, "", "", Ok(())),
        ("308 by heuristics", "15.1", 308, "", "", Ok(())),
        ("414 by heuristics", "15.1", 414, "", "", Ok(())),
        ("307 not", "15.1", 307, "", "", Err(No::Unexplicit)),
        ("400 not", "15.1", 400, "", "", Err(No::Unexplicit)),
    ];
    for (sentence, section, status, request, response, verdict) in rows {
        let (request, response) = (fields(request), fields(response));
        let exchanged = Exchanged {
            method: &Method::GET,
            request: &request,
            status: StatusCode::from_u16(status).expect("a status"),
            response: &response,
            directives: &ResponseDirectives::read(&response),
            honour_request_no_store: true,
        };
        assert_eq!(storable(&exchanged), verdict, "{sentence} ({section}): {status} {response:?}");
    }
}

#[test]
fn a_request_may_ask_not_to_be_stored() {
    let (request, response) = (fields("cache-control: no-store"), fields("cache-control: max-age=60"));
    let verdict = |honour, method| {
        let directives = ResponseDirectives::read(&response);
        storable(&Exchanged {
            method,
            request: &request,
            status: StatusCode::OK,
            response: &response,
            directives: &directives,
            honour_request_no_store: honour,
        })
    };
    assert_eq!(verdict(true, &Method::GET), Err(NotStorable::RequestNoStore));
    assert_eq!(verdict(false, &Method::GET), Ok(()));
    assert_eq!(verdict(false, &Method::PUT), Err(NotStorable::Method));
    for (why, only_this) in [
        (NotStorable::RequestNoStore, true),
        (NotStorable::Authorization, true),
        (NotStorable::NoStore, false),
        (NotStorable::Private, false),
        (NotStorable::VaryStar, false),
        (NotStorable::Unexplicit, false),
    ] {
        assert_eq!(why.only_this_request(), only_this, "{why:?}");
    }
}

#[test]
fn when_an_answer_to_post_serves_get() {
    let serves = |status: u16, response: &str| {
        let status = StatusCode::from_u16(status).expect("a status");
        post_serves_get("http", "www.example.org", 80, "/a?b", status, &fields(response))
    };
    assert!(serves(200, "content-location: /a?b\ncache-control: max-age=60"));
    assert!(serves(
        201,
        "content-location: http://www.example.org/a?b\nexpires: Fri, 15 Jan 2027 09:00:00 GMT"
    ));
    assert!(!serves(200, "content-location: /a\ncache-control: max-age=60"), "another resource");
    assert!(
        !serves(200, "content-location: http://other.example/a?b\ncache-control: max-age=60"),
        "another origin"
    );
    assert!(!serves(200, "content-location: /a?b"), "no explicit freshness");
    assert!(!serves(200, "cache-control: max-age=60"), "no Content-Location");
    assert!(!serves(500, "content-location: /a?b\ncache-control: max-age=60"), "an error");
}

#[test]
fn a_304_replaces_what_it_brings_and_leaves_the_rest() {
    let stored =
        fields("etag: \"a\"\nx: old\nx: older\ncontent-type: text/a\ncontent-encoding: gzip\ny: kept");
    let update = fields(
        "x: new\ncontent-length: 10\ncontent-encoding: br\ncontent-type: text/b\ncache-control: max-age=1",
    );
    let fresh = freshen(&stored, &update);
    let expected = fields(
        "etag: \"a\"\ncontent-encoding: gzip\ny: kept\nx: new\ncontent-type: text/b\ncache-control: max-age=1",
    );
    assert_eq!(fresh, expected, "3.2");
}

#[test]
fn what_a_head_does_to_a_stored_get() {
    let stored = fields("etag: \"a\"\nlast-modified: Fri, 15 Jan 2027 07:00:00 GMT");
    for (head, effect) in [
        ("etag: \"a\"", HeadEffect::Freshen),
        ("content-length: 5", HeadEffect::Freshen),
        ("", HeadEffect::Freshen),
        ("etag: \"b\"", HeadEffect::Invalidate),
        ("content-length: 6", HeadEffect::Invalidate),
        ("last-modified: Fri, 15 Jan 2027 07:00:01 GMT", HeadEffect::Invalidate),
    ] {
        assert_eq!(head_updates(&stored, 5, &fields(head)), effect, "4.3.5: {head}");
    }
}

#[test]
fn what_an_unsafe_request_invalidates_beside_its_target() {
    let named =
        |response: &str| unsafe_method::invalidated("http", "a.example", 80, "/d/e?q", &fields(response));
    assert_eq!(named("location: /x\ncontent-location: y"), ["/x", "/d/y"]);
    assert_eq!(named("location: http://A.example:80/x"), ["/x"]);
    assert_eq!(named("location: //a.example/../x"), ["/x"]);
    assert_eq!(named("location: ?z"), ["/d/e?z"]);
    for elsewhere in [
        "http://b.example/x",
        "https://a.example/x",
        "http://a.example:81/x",
        "mailto:x@a.example",
        "//b.example/x",
    ] {
        assert!(named(&format!("location: {elsewhere}")).is_empty(), "4.4: {elsewhere}");
    }
    for (method, safe, idempotent) in [
        ("GET", true, true),
        ("HEAD", true, true),
        ("OPTIONS", true, true),
        ("PUT", false, true),
        ("DELETE", false, true),
        ("POST", false, false),
        ("M-SEARCH", false, false),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        assert_eq!(
            (unsafe_method::is_safe(&method), unsafe_method::is_idempotent(&method)),
            (safe, idempotent),
            "{method}"
        );
    }
}

#[test]
fn what_concerns_one_connection_goes_no_further() {
    let mut message = fields(
        "connection: close, X-Hop\nx-hop: 1\nkeep-alive: 5\nte: trailers\ntransfer-encoding: chunked\nupgrade: h2c\nproxy-connection: x\nx-end: 2\ntrailer: z",
    );
    assert_eq!(connection::upgrade(&message), None, "Connection does not name it");
    connection::strip(&mut message);
    assert_eq!(message, fields("x-end: 2\ntrailer: z"), "RFC 9110 7.6.1");
    let asking = fields("connection: keep-alive, Upgrade\nupgrade: websocket");
    assert_eq!(connection::upgrade(&asking), Some(&b"websocket"[..]));
}
