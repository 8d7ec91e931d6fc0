//! A complete stored response answers requests for its parts.

use crate::harness::World;
use crate::harness::origin::{Gate, Step, raw, response};
use crate::harness::{Client, Reply};

const CONTENT: &str = "0123456789abcdefghij";
const MODIFIED: &str = "Thu, 14 Jan 2027 08:00:00 GMT";

/// A world in which `/r` is stored, with both validators.
async fn stored(settings: &str, etag: &str) -> World {
    let world = World::start(settings).await;
    let fields = [
        ("Cache-Control", "max-age=60"),
        ("ETag", etag),
        ("Last-Modified", MODIFIED),
        ("Content-Type", "text/plain"),
        ("Date", "Fri, 15 Jan 2027 08:00:00 GMT"),
    ];
    world.origin.always("/r", response("200 OK", &fields, CONTENT));
    world.get("/r").await;
    world.settled().await;
    world
}

async fn range(client: &mut Client, value: &str) -> Reply {
    client.get_with("/r", &[("Range", value)]).await
}

#[tokio::test]
async fn one_range_is_answered_from_the_store() {
    let world = stored("", "\"v1\"").await;
    let mut client = world.client("client").await;
    for (asked, content_range, content) in [
        ("bytes=0-0", "bytes 0-0/20", "0"),
        ("bytes=2-5", "bytes 2-5/20", "2345"),
        ("bytes=15-", "bytes 15-19/20", "fghij"),
        ("bytes=-3", "bytes 17-19/20", "hij"),
        ("bytes=-100", "bytes 0-19/20", CONTENT),
        ("bytes=18-100", "bytes 18-19/20", "ij"),
        ("BYTES=1-2", "bytes 1-2/20", "12"),
        ("bytes=0-3, 2-6", "bytes 0-6/20", "0123456"),
        ("bytes=3-4, 100-200", "bytes 3-4/20", "34"),
    ] {
        let part = range(&mut client, asked).await;
        assert_eq!((part.status, part.text()), (206, content), "{asked}");
        assert_eq!(part.field("content-range"), Some(content_range), "{asked}");
        assert_eq!(part.field("content-length"), Some(content.len().to_string().as_str()));
        assert_eq!((part.cache_status(), part.field("etag")), ("hit; ttl=60", Some("\"v1\"")));
    }
    for whole in ["bytes=5-2", "lines=1-2", "bytes=a-b", "bytes=", "nonsense"] {
        let reply = range(&mut client, whole).await;
        assert_eq!((reply.status, reply.text()), (200, CONTENT), "{whole}");
        assert_eq!(reply.field("content-range"), None);
    }
    assert_eq!(world.origin.count("/r"), 1);
}

#[tokio::test]
async fn several_ranges_come_in_parts() {
    let world = stored("", "\"v1\"").await;
    let reply = world.get_with("/r", &[("Range", "bytes=0-1, 5-6,-2")]).await;
    assert_eq!(reply.status, 206);
    assert_eq!(reply.field("content-range"), None);
    let kind = reply.field("content-type").expect("a type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("parts");
    let part = |range: &str, content: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/20\r\n\r\n{content}"
        )
    };
    let expected =
        [part("0-1", "01"), part("5-6", "56"), part("18-19", "ij"), format!("\r\n--{boundary}--\r\n")]
            .concat();
    assert_eq!(reply.text(), expected);
    assert!(reply.complete);
    assert_eq!(world.origin.count("/r"), 1);
}

#[tokio::test]
async fn too_many_ranges_get_the_whole() {
    let world = stored("[rules]\nmax_ranges = 2", "\"v1\"").await;
    assert_eq!(world.get_with("/r", &[("Range", "bytes=0-0,2-2")]).await.status, 206);
    let whole = world.get_with("/r", &[("Range", "bytes=0-0,2-2,4-4")]).await;
    assert_eq!((whole.status, whole.text()), (200, CONTENT));
}

#[tokio::test]
async fn a_range_outside_gets_416_with_the_length() {
    let world = stored("", "\"v1\"").await;
    for asked in ["bytes=20-", "bytes=100-200", "bytes=-0"] {
        let mut client = world.client("client").await;
        let reply = range(&mut client, asked).await;
        assert_eq!((reply.status, reply.text()), (416, ""), "{asked}");
        assert_eq!(reply.field("content-range"), Some("bytes */20"));
        assert_eq!(reply.field("content-type"), None);
        assert!(client.get("/r").await.is_hit(), "the connection stays");
    }
    assert_eq!(world.origin.count("/r"), 1);
}

#[tokio::test]
async fn if_range_lets_a_part_through_only_for_the_same_content() {
    let world = stored("", "\"v1\"").await;
    for (condition, status) in [
        ("\"v1\"", 206),
        ("\"v2\"", 200),
        ("W/\"v1\"", 200),
        (MODIFIED, 206),
        ("Wed, 13 Jan 2027 08:00:00 GMT", 200),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 200),
        ("nonsense", 200),
    ] {
        let reply = world.get_with("/r", &[("Range", "bytes=0-1"), ("If-Range", condition)]).await;
        assert_eq!((reply.status, reply.is_hit()), (status, true), "{condition}");
        assert_eq!(reply.text(), if status == 206 { "01" } else { CONTENT }, "{condition}");
    }
    let weak = stored("", "W/\"v1\"").await;
    assert_eq!(weak.get_with("/r", &[("Range", "bytes=0-1"), ("If-Range", "W/\"v1\"")]).await.status, 200);
}

#[tokio::test]
async fn a_condition_goes_before_a_range() {
    let world = stored("", "\"v1\"").await;
    let both = [("Range", "bytes=0-1"), ("If-None-Match", "\"v1\"")];
    assert_eq!(world.get_with("/r", &both).await.status, 304);
    assert_eq!(world.origin.count("/r"), 1);
}

#[tokio::test]
async fn a_range_means_nothing_for_head() {
    let world = stored("", "\"v1\"").await;
    let mut client = world.client("client").await;
    let head = client.ask("HEAD", "/r", &[("Range", "bytes=0-1")], b"").await;
    assert_eq!((head.status, head.field("content-range")), (200, None));
    assert_eq!(head.field("content-length"), Some("20"));
    assert!(head.is_hit());
}

#[tokio::test]
async fn a_range_of_what_is_still_arriving_is_answered_as_far_as_it_has_come() {
    let world = World::start("[rules]\nrange_miss = \"whole\"").await;
    let gate = Gate::default();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 20\r\n\r\n0123456789";
    let script = vec![raw(head), Step::Wait(gate.clone()), raw("abcdefghij")];
    world.origin.always("/r", script);
    // The first one begins the fetch; its part is there before the rest.
    let early = world.get_with("/r", &[("Range", "bytes=2-4")]).await;
    assert_eq!((early.status, early.text()), (206, "234"));
    assert_eq!(early.field("content-range"), Some("bytes 2-4/20"));
    gate.reached(1).await;
    let mut late = world.client("late").await;
    late.send(b"GET /r HTTP/1.1\r\nHost: www.example.org\r\nRange: bytes=8-11\r\n\r\n").await;
    let head = late.head().await;
    assert_eq!((head.status, head.field("content-range")), (206, Some("bytes 8-11/20")));
    assert_eq!(late.bytes(2).await, b"89");
    gate.open();
    assert_eq!(late.bytes(2).await, b"ab");
    world.settled().await;
    let whole = world.get("/r").await;
    assert_eq!((whole.text(), whole.is_hit()), (CONTENT, true));
    assert_eq!(world.origin.count("/r"), 1);
    assert_eq!(world.origin.requests()[0].field("range"), None);
    world.settled().await;
    assert_eq!(world.counters().requests_collapsed.get(), 1);
}
