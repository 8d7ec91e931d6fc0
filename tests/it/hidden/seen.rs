//! What the origin sees of its clients: nothing.

use super::{fills, hidden};
use crate::harness::origin::ok;

/// Fields that browsers, scripts and attackers send.
const CLIENTS: &[(&str, &str)] = &[
    ("User-Agent", "browser/1.0"),
    ("Accept", "text/html"),
    ("Accept-Language", "de"),
    ("Cookie", "session=1"),
    ("Authorization", "Bearer x"),
    ("Range", "bytes=0-1"),
    ("If-None-Match", "\"a\""),
    ("Cache-Control", "no-cache"),
    ("Referer", "http://elsewhere.example/"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Real-IP", "203.0.113.7"),
    ("Forwarded", "for=203.0.113.7"),
    ("Via", "1.1 elsewhere"),
    ("Connection", "x-hop, keep-alive"),
    ("X-Hop", "1"),
    ("X-Poison", "1"),
];

#[tokio::test]
async fn the_origin_sees_the_worker_and_no_client() {
    let world = hidden("", "").await;
    world.origin.always("/a?q=1", ok("max-age=60", "a"));
    assert_eq!(world.get_with("/a?q=1", CLIENTS).await.status, 503);
    fills(&world, 1).await;
    let seen = world.origin.requests().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a?q=1"));
    let mut names: Vec<&str> = seen.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cdn-loop", "host", "via", "x-forwarded-host", "x-forwarded-proto", "x-request-id"]);
    assert_eq!(seen.field("host"), Some("www.example.org"));
    assert_eq!(seen.field("via"), Some("1.1 forebay"));
}

#[tokio::test]
async fn nobody_is_named_in_the_standard_field_either() {
    let world = hidden("forwarded = \"forwarded\"\n", "").await;
    world.origin.always("/a", ok("max-age=60", "a"));
    world.get_with("/a", CLIENTS).await;
    fills(&world, 1).await;
    let seen = world.origin.requests().remove(0);
    assert_eq!(seen.field("forwarded"), Some("for=unknown;host=\"www.example.org\";proto=http"));
    assert!(!format!("{seen:?}").contains("127.0.0.1"), "{seen:?}");
}

#[tokio::test]
async fn a_trace_goes_on_behind_the_queue() {
    let world = hidden("", "").await;
    world.origin.always("/a", ok("max-age=60", "a"));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    world.get_with("/a", &[("traceparent", trace)]).await;
    fills(&world, 1).await;
    assert_eq!(world.origin.requests()[0].field("traceparent"), Some(trace));
    world.origin.always("/b", ok("max-age=60", "b"));
    // What is none is a text of the client's own, be it an attack or its session.
    for (n, text) in ["00-nonsense\u{e9}", "session=1", &format!("{trace}-x")].into_iter().enumerate() {
        let path = format!("/b{n}");
        world.origin.always(&path, ok("max-age=60", "b"));
        world.get_with(&path, &[("traceparent", text)]).await;
        fills(&world, n as u64 + 2).await;
        assert_eq!(world.origin.requests()[n + 1].field("traceparent"), None, "{text}");
    }
}
