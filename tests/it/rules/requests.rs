//! The canonical form of requests: hosts, paths, who asks (RFC 9110 7, RFC 3986 6).

use std::net::IpAddr;

use forebay::policy::normalise::normalise;
use forebay::policy::site::Presentation;
use forebay::policy::{Presented, Received, Refusal};
use forebay::rfc::host::parse_authority;
use forebay::rfc::uri::canonical_path_and_query;
use http::{Method, Version};

use super::fields;

fn received(method: &str, target: &str, lines: &str) -> Received {
    Received {
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        target: target.to_owned(),
        version: Version::HTTP_11,
        fields: fields(lines),
        has_body: false,
        peer: "10.0.0.9".parse().expect("an address"),
        encrypted: false,
    }
}

fn present(target: &str, lines: &str) -> Result<Presented, Refusal> {
    normalise(received("GET", target, lines), &Presentation::default())
}

#[test]
fn which_target_a_request_has() {
    let rows = [
        ("origin form", "/a?b", "host: h.example", "http", "h.example", 80, "/a?b"),
        ("a port", "/", "host: h.example:8080", "http", "h.example", 8080, "/"),
        ("an empty port", "/", "host: h.example:", "http", "h.example", 80, "/"),
        ("letter case of the host", "/A", "host: H.Example", "http", "h.example", 80, "/A"),
        (
            "absolute form goes before Host",
            "http://a.example/x",
            "host: b.example",
            "http",
            "a.example",
            80,
            "/x",
        ),
        ("absolute form without a path", "http://a.example", "host: a.example", "http", "a.example", 80, "/"),
        (
            "absolute form with a query only",
            "http://a.example?q",
            "host: a.example",
            "http",
            "a.example",
            80,
            "/?q",
        ),
        ("IPv6", "/", "host: [::1]:81", "http", "[::1]", 81, "/"),
        ("dot segments", "/a/../b/./c", "host: h", "http", "h", 80, "/b/c"),
        (
            "a client's own scheme is not believed",
            "/",
            "host: h\nx-forwarded-proto: https",
            "http",
            "h",
            80,
            "/",
        ),
    ];
    for (sentence, target, lines, scheme, host, port, path) in rows {
        let presented = present(target, lines).unwrap_or_else(|refusal| panic!("{sentence}: {refusal}"));
        let found = (presented.scheme, &*presented.host, presented.port, &*presented.path_and_query);
        assert_eq!(found, (scheme, host, port, path), "{sentence}");
    }
}

#[test]
fn which_requests_are_refused() {
    let long = format!("/{}", "x".repeat(9000));
    let wide = format!("host: h\nx: {}", "x".repeat(40_000));
    let many = format!("host: h\n{}", "x: y\n".repeat(101));
    let rows = [
        ("/", "", Refusal::NoHost),
        ("/", "host: a\nhost: a", Refusal::TwoHosts),
        ("/", "host: a b", Refusal::BadHost),
        ("/", "host: a@b", Refusal::BadHost),
        ("/", "host: a/b", Refusal::BadHost),
        ("/", "host: a:b", Refusal::BadHost),
        ("/", "host: a:99999", Refusal::BadHost),
        ("/", "host:", Refusal::BadHost),
        ("http://a/", "host: b@c", Refusal::BadHost),
        ("http://u@a/", "host: a", Refusal::BadTarget),
        ("ftp://a/", "host: a", Refusal::BadTarget),
        ("https://a/", "host: a", Refusal::WrongScheme),
        ("http:///x", "host: a", Refusal::BadTarget),
        ("a:80", "host: a", Refusal::BadTarget),
        ("*", "host: a", Refusal::BadTarget),
        (&long, "host: h", Refusal::TargetTooLong),
        ("/", &wide, Refusal::HeaderTooLarge),
        ("/", &many, Refusal::HeaderTooLarge),
        ("/", "host: h\ncontent-length: 1\ncontent-length: 2", Refusal::AmbiguousLength),
        ("/", "host: h\ncontent-length: 1\ntransfer-encoding: chunked", Refusal::AmbiguousLength),
        ("/", "host: h\ntransfer-encoding: chunked\ntransfer-encoding: Chunked", Refusal::AmbiguousLength),
        ("/", "host: h\ntransfer-encoding: gzip, chunked", Refusal::UnknownCoding),
    ];
    for (target, lines, refusal) in rows {
        assert_eq!(present(target, lines).err(), Some(refusal), "{:.40} {lines:.60}", target);
    }
    let connect = normalise(received("CONNECT", "a:80", "host: a"), &Presentation::default());
    assert_eq!(connect.err(), Some(Refusal::Connect));
    let options = normalise(received("OPTIONS", "*", "host: a"), &Presentation::default());
    assert_eq!(options.expect("asterisk form").path_and_query, "*");
}

#[test]
fn who_asks_is_told_by_trusted_proxies_only() {
    let client = |trusted: &str, lines: &str| {
        let trusted_proxies = trusted.split_whitespace().map(|net| net.parse().expect("a network")).collect();
        let presentation = Presentation { trusted_proxies, ..Presentation::default() };
        let presented = normalise(received("GET", "/", &format!("host: h\n{lines}")), &presentation);
        presented.expect("a good request").client
    };
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert_eq!(client("", "x-forwarded-for: 1.1.1.1"), address("10.0.0.9"));
    assert_eq!(client("10.0.0.0/8", "x-forwarded-for: 1.1.1.1"), address("1.1.1.1"));
    assert_eq!(
        client("10.0.0.0/8", "x-forwarded-for: 6.6.6.6, 1.1.1.1, 10.0.0.3"),
        address("1.1.1.1"),
        "no farther than trusted"
    );
    assert_eq!(client("10.0.0.0/8", "x-forwarded-for: garbage"), address("10.0.0.9"));
    assert_eq!(client("10.0.0.0/8", "x-forwarded-for: garbage, 1.1.1.1:99"), address("1.1.1.1"));
    assert_eq!(client("10.0.0.0/8", ""), address("10.0.0.9"));
}

#[test]
fn what_would_override_method_or_target_is_dropped() {
    let lines = "host: h\nX-Original-URL: /admin\nX-Rewrite-Url: /b\nX-HTTP-Method-Override: DELETE\nX-Method-Override: PUT\nX-Http-Method: PUT\nX-Kept: 1";
    let presented = present("/", lines).expect("a good request");
    assert_eq!(presented.fields, fields("host: h\nx-kept: 1"));
}

#[test]
fn what_a_path_is_written_as() {
    for (text, canonical) in [
        ("/a/b?c", "/a/b?c"),
        ("", "/"),
        ("?q", "/?q"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/../../x", "/x"),
        ("/%2e%2E/x", "/x"),
        ("/%7euser/%41", "/~user/A"),
        ("/a%2fb", "/a%2Fb"),
        ("/a//b", "/a//b"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a%", "/a%25"),
        ("/%%62ee", "/%25bee"),
        ("/a?%7e%2f/../", "/a?%7E%2F/../"),
        ("/a#b", "/a"),
    ] {
        assert_eq!(canonical_path_and_query(text), canonical, "{text}");
    }
}

#[test]
fn what_is_a_host() {
    for (text, host) in [
        ("Example.ORG:80", Some(("example.org", Some(80)))),
        ("a", Some(("a", None))),
        ("[::1]", Some(("[::1]", None))),
        ("[::1]x", None),
        ("[::g]", None),
        ("::1", None),
        ("a:", Some(("a", None))),
        (":80", None),
        ("a:-1", None),
        ("a:65536", None),
        ("a b", None),
        ("a\\b", None),
    ] {
        let found = parse_authority(text.as_bytes()).map(|a| (a.host, a.port));
        assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), host, "{text}");
    }
}
