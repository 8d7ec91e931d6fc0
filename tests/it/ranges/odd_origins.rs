//! Origins that answer a range in ways of their own.

use super::{CONTENT, asked, ranged, tagged};
use crate::harness::World;
use crate::harness::origin::{Gate, Script, Step, raw, response};

const BY_EIGHT: &str = "[rules]\nrange_slice = \"8B\"";
const EXACT: &str = "[rules]\nrange_slice = \"1B\"";

fn part(place: &str, fields: &[(&str, &str)], body: &str) -> Script {
    response("206 Partial Content", &[fields, &[("Content-Range", place)]].concat(), body)
}

const KEPT: &[(&str, &str)] = &[("Cache-Control", "max-age=60"), ("ETag", "\"v1\"")];

#[tokio::test]
async fn one_that_ignores_ranges_is_asked_once() {
    let world = World::start(BY_EIGHT).await;
    let (head, rest) = (Gate::default(), Gate::default());
    let script = vec![
        Step::Wait(head.clone()),
        raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 20\r\n\r\n01234567"),
        Step::Wait(rest.clone()),
        raw("89abcdefghij"),
    ];
    world.origin.always("/r", script);
    let mut clients = Vec::new();
    for start in [0, 3, 9, 17] {
        let mut client = world.client(&format!("client {start}")).await;
        let range =
            format!("GET /r HTTP/1.1\r\nHost: www.example.org\r\nRange: bytes={start}-{}\r\n\r\n", start + 1);
        client.send(range.as_bytes()).await;
        clients.push((start, client));
    }
    head.reached(1).await;
    world.until("three to follow", |c| c.followers_waiting.get() == 3).await;
    head.open();
    for (start, client) in &mut clients {
        let head = client.head().await;
        assert_eq!((head.status, head.field("content-length")), (206, Some("2")), "{start}");
    }
    rest.open();
    for (start, client) in &mut clients {
        assert_eq!(client.bytes(2).await, CONTENT.as_bytes()[*start..*start + 2]);
    }
    world.settled().await;
    assert_eq!(world.origin.count("/r"), 1);
    assert_eq!(world.get("/r").await.text(), CONTENT);
    assert_eq!(world.origin.count("/r"), 1);
}

#[tokio::test]
async fn another_range_than_asked_for_is_kept_and_the_whole_is_got() {
    let world = World::start(BY_EIGHT).await;
    world.origin.on("/r", |seen, n| match n {
        1 => part("bytes 0-3/20", KEPT, "0123"),
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    let reply = world.get_with("/r", &[("Range", "bytes=9-10")]).await;
    assert_eq!((reply.status, reply.text()), (206, "9a"));
    assert_eq!(reply.field("content-range"), Some("bytes 9-10/20"));
    assert_eq!(asked(&world), ["bytes=8-15", "whole"]);
    world.settled().await;
    assert!(world.get("/r").await.is_hit());
    assert_eq!((world.counters().parts_unfit.get(), world.counters().parts_stored.get()), (1, 1));
}

#[tokio::test]
async fn less_than_asked_for_is_what_there_is_for_now() {
    let world = World::start(BY_EIGHT).await;
    world.origin.on("/r", |seen, n| match n {
        1 => part("bytes 8-10/20", KEPT, "89a"),
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    let reply = world.get_with("/r", &[("Range", "bytes=9-12")]).await;
    assert_eq!(
        (reply.status, reply.text(), reply.field("content-range")),
        (206, "9a", Some("bytes 9-10/20"))
    );
    world.settled().await;
    let again = world.get_with("/r", &[("Range", "bytes=9-12")]).await;
    assert_eq!((again.text(), again.field("content-range")), ("9abc", Some("bytes 9-12/20")));
    assert_eq!(asked(&world), ["bytes=8-15", "bytes=8-15"]);
}

#[tokio::test]
async fn a_part_that_contradicts_itself_is_passed_on_and_never_kept() {
    for place in ["bytes 4-9/20", "bytes 4-7/6", "bytes 7-4/20", "nonsense", "bytes 4-7/*"] {
        let world = World::start(EXACT).await;
        world.origin.always("/r", part(place, KEPT, "4567"));
        for n in 1..=2 {
            let reply = world.get_with("/r", &[("Range", "bytes=4-7")]).await;
            assert_eq!(
                (reply.status, reply.text(), reply.field("content-range")),
                (206, "4567", Some(place))
            );
            world.settled().await;
            assert_eq!(world.origin.count("/r"), n, "{place}");
        }
        assert_eq!(world.counters().store_inserted.get(), 0);
        assert_eq!(world.counters().parts_refused.get(), 1);
    }
}

#[tokio::test]
async fn where_it_cannot_be_told_which_part_it_is_the_whole_is_asked_for() {
    let world = World::start(BY_EIGHT).await;
    world.origin.on("/r", |seen, n| match n {
        1 => part("bytes 0-9/20", KEPT, "01234567"),
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    let reply = world.get_with("/r", &[("Range", "bytes=2-3")]).await;
    assert_eq!((reply.status, reply.text()), (206, "23"));
    assert_eq!(asked(&world), ["bytes=0-7", "whole"]);
}

#[tokio::test]
async fn chunks_that_are_not_as_long_as_they_say_are_not_kept() {
    for (chunks, complete) in [("4\r\n4567\r\n0\r\n\r\n", false), ("a\r\n456789abcd\r\n0\r\n\r\n", true)] {
        let world = World::start(EXACT).await;
        let head = "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Range: bytes 4-9/20\r\nTransfer-Encoding: chunked\r\n\r\n";
        world.origin.always("/r", vec![raw(head), raw(chunks)]);
        let reply = world.get_with("/r", &[("Range", "bytes=4-9")]).await;
        assert_eq!((reply.status, reply.complete), (206, complete), "{chunks:?}");
        world.settled().await;
        assert_eq!(world.counters().store_inserted.get(), 0);
        assert_eq!(world.counters().parts_refused.get(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_cut_to_what_the_client_has_asked_for() {
    for fields in [
        &[("Cache-Control", "no-store"), ("ETag", "\"v1\"")][..],
        &[("Cache-Control", "max-age=60"), ("ETag", "\"v1\""), ("Set-Cookie", "a=b")],
        &[("Cache-Control", "max-age=60"), ("ETag", "W/\"v1\"")],
        &[("Cache-Control", "max-age=60")],
    ] {
        let world = World::start(BY_EIGHT).await;
        world.origin.on("/r", |seen, _| ranged(seen, CONTENT, fields));
        let first = world.get_with("/r", &[("Range", "bytes=10-11")]).await;
        assert_eq!(
            (first.status, first.text(), first.field("content-range")),
            (206, "ab", Some("bytes 10-11/20"))
        );
        assert_eq!(first.field("content-length"), Some("2"));
        world.settled().await;
        // It is known not to be kept: from now on the client's own range goes along.
        let second = world.get_with("/r", &[("Range", "bytes=10-11")]).await;
        assert_eq!((second.status, second.text()), (206, "ab"));
        assert_eq!(asked(&world), ["bytes=8-15", "bytes=10-11"], "{fields:?}");
        assert_eq!(world.counters().store_inserted.get(), 0);
    }
}

#[tokio::test]
async fn a_range_behind_the_end_brings_the_beginning_and_with_it_the_length() {
    let world = World::start(BY_EIGHT).await;
    world.origin.on("/r", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    for n in 0..3 {
        let reply = world.get_with("/r", &[("Range", "bytes=100-")]).await;
        assert_eq!((reply.status, reply.field("content-range")), (416, Some("bytes */20")));
        assert_eq!((reply.text(), reply.is_hit()), ("", n > 0));
        world.settled().await;
    }
    assert_eq!(asked(&world), ["bytes=96-", "bytes=0-7"]);
    world.origin.on("/empty", |seen, _| tagged(seen, "", "\"v1\""));
    for _ in 0..2 {
        let reply = world.get_with("/empty", &[("Range", "bytes=9-9")]).await;
        assert_eq!((reply.status, reply.field("content-range")), (416, Some("bytes */0")));
        world.settled().await;
    }
    assert_eq!(asked(&world).get(2..), Some(&["bytes=8-15", "bytes=0-7", "whole"].map(str::to_owned)[..]));
}

#[tokio::test]
async fn several_parts_in_one_message_are_not_kept() {
    let world = World::start(EXACT).await;
    let kind = ("Content-Type", "multipart/byteranges; boundary=x");
    let body = "--x\r\nContent-Range: bytes 4-5/20\r\n\r\n45\r\n--x--\r\n";
    world.origin.always("/r", response("206 Partial Content", &[KEPT, &[kind]].concat(), body));
    let reply = world.get_with("/r", &[("Range", "bytes=4-5")]).await;
    assert_eq!((reply.status, reply.text(), reply.field("content-type")), (206, body, Some(kind.1)));
    world.settled().await;
    assert_eq!(world.counters().store_inserted.get(), 0);
}

#[tokio::test]
async fn a_part_that_nobody_has_asked_for_is_not_kept() {
    let world = World::start("").await;
    world.origin.always("/r", part("bytes 0-3/20", KEPT, "0123"));
    let reply = world.get("/r").await;
    assert_eq!(
        (reply.status, reply.text(), reply.field("content-range")),
        (206, "0123", Some("bytes 0-3/20"))
    );
    world.settled().await;
    assert_eq!(world.counters().store_inserted.get(), 0);
}

#[tokio::test]
async fn an_error_in_answer_to_a_range_is_an_error() {
    let world = World::start(BY_EIGHT).await;
    world.origin.on("/r", |seen, n| match n {
        1 => response("404 Not Found", &[("Cache-Control", "max-age=60")], "nothing"),
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    for hit in [false, true] {
        let reply = world.get_with("/r", &[("Range", "bytes=9-9")]).await;
        assert_eq!((reply.status, reply.text(), reply.is_hit()), (404, "nothing", hit));
        world.settled().await;
    }
    world.advance(std::time::Duration::from_secs(70));
    assert_eq!(world.get_with("/r", &[("Range", "bytes=9-9")]).await.text(), "9");
    world.settled().await;
    assert!(world.get_with("/r", &[("Range", "bytes=9-9")]).await.is_hit());
    assert_eq!(asked(&world), ["bytes=8-15", "bytes=8-15"]);
}
