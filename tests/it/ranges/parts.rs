//! A range that is missing is asked for alone; parts answer ranges, and make the whole.

use super::{CONTENT, asked, ranged, tagged};
use crate::harness::origin::{Step, raw};
use crate::harness::{Reply, World};

const EXACT: &str = "[rules]\nrange_slice = \"1B\"";
const BY_EIGHT: &str = "[rules]\nrange_slice = \"8B\"";

async fn world(settings: &str) -> World {
    let world = World::start(settings).await;
    world.origin.on("/r", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    world
}

/// Asks for a range, and waits until what that has begun is done.
async fn range(world: &World, value: &str) -> Reply {
    let reply = world.get_with("/r", &[("Range", value)]).await;
    world.settled().await;
    reply
}

#[tokio::test]
async fn a_missing_range_is_asked_for_and_answers_what_lies_in_it() {
    let world = world(EXACT).await;
    let miss = range(&world, "bytes=4-7").await;
    assert_eq!((miss.status, miss.text()), (206, "4567"));
    assert_eq!(miss.field("content-range"), Some("bytes 4-7/20"));
    assert_eq!(miss.field("content-type"), Some("text/plain"));
    assert_eq!(miss.cache_status(), "fwd=uri-miss; fwd-status=206; ttl=60; stored");
    for (asked, content) in
        [("bytes=4-7", "4567"), ("bytes=5-6", "56"), ("bytes=7-7", "7"), ("bytes=4-4, 5-5", "45")]
    {
        let hit = range(&world, asked).await;
        assert_eq!((hit.status, hit.text(), hit.cache_status()), (206, content, "hit; ttl=60"), "{asked}");
        assert_eq!(hit.field("etag"), Some("\"v1\""));
    }
    let partly = range(&world, "bytes=6-9").await;
    assert_eq!(
        (partly.text(), partly.cache_status()),
        ("6789", "fwd=partial; fwd-status=206; ttl=60; stored")
    );
    assert_eq!(range(&world, "bytes=4-9").await.text(), "456789");
    let several = range(&world, "bytes=4-5,8-9").await;
    assert_eq!((several.status, several.is_hit()), (206, true));
    assert!(several.text().contains("\r\nContent-Range: bytes 8-9/20\r\n\r\n89\r\n"), "{}", several.text());
    let behind = range(&world, "bytes=20-30").await;
    assert_eq!(
        (behind.status, behind.field("content-range"), behind.is_hit()),
        (416, Some("bytes */20"), true)
    );
    assert_eq!(asked(&world), ["bytes=4-7", "bytes=6-9"]);
    assert_eq!(world.counters().parts_stored.get(), 2);
}

#[tokio::test]
async fn parts_that_are_all_there_are_the_whole() {
    let world = world(EXACT).await;
    for part in ["bytes=8-15", "bytes=-6", "bytes=0-9"] {
        assert_eq!(range(&world, part).await.status, 206, "{part}");
    }
    let whole = world.get("/r").await;
    assert_eq!((whole.status, whole.text(), whole.cache_status()), (200, CONTENT, "hit; ttl=60"));
    assert_eq!((whole.field("content-length"), whole.field("content-range")), (Some("20"), None));
    assert_eq!(whole.field("content-type"), Some("text/plain"));
    let head = world.client("client").await.ask("HEAD", "/r", &[], b"").await;
    assert_eq!((head.field("content-length"), head.is_hit()), (Some("20"), true));
    assert!(range(&world, "bytes=3-17").await.is_hit());
    assert_eq!(asked(&world), ["bytes=8-15", "bytes=14-19", "bytes=0-9"], "the length is known");
    assert_eq!(world.counters().parts_completed.get(), 1);
}

#[tokio::test]
async fn what_is_asked_for_is_widened_to_slices() {
    let world = world(BY_EIGHT).await;
    for (value, content) in [
        ("bytes=1-1", "1"),
        ("bytes=0-7", "01234567"),
        ("bytes=9-9", "9"),
        ("bytes=14-", "efghij"),
        ("bytes=-1", "j"),
        ("bytes=16-18", "ghi"),
    ] {
        let reply = range(&world, value).await;
        assert_eq!((reply.status, reply.text()), (206, content), "{value}");
    }
    assert_eq!(asked(&world), ["bytes=0-7", "bytes=8-15", "bytes=8-19"]);
    assert_eq!(world.get("/r").await.text(), CONTENT);
    world.origin.on("/s", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    assert_eq!(world.get_with("/s", &[("Range", "bytes=-3")]).await.text(), "hij");
    world.settled().await;
    assert_eq!(world.get_with("/s", &[("Range", "bytes=13-14")]).await.text(), "de");
    assert_eq!(asked(&world).get(3..), Some(&["bytes=-8".to_owned()][..]));
}

#[tokio::test]
async fn what_is_no_larger_than_a_slice_is_complete_at_once() {
    let world = world("").await;
    let part = range(&world, "bytes=3-4").await;
    assert_eq!((part.status, part.text(), part.field("content-range")), (206, "34", Some("bytes 3-4/20")));
    let whole = world.get("/r").await;
    assert_eq!((whole.status, whole.text(), whole.is_hit()), (200, CONTENT, true));
    assert_eq!(asked(&world), ["bytes=0-1048575"]);
}

#[tokio::test]
async fn one_byte_of_a_huge_response_costs_the_origin_a_slice() {
    let world = World::start("").await;
    const MIB: usize = 1024 * 1024;
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"v\"\r\nContent-Length: {MIB}\r\nContent-Range: bytes "
    );
    world.origin.on("/x", move |seen, _| {
        let range = seen.field("range").and_then(|range| range.strip_prefix("bytes=")).expect("a range");
        vec![raw(&format!("{head}{range}/10737418240\r\n\r\n")), Step::Repeat(vec![b'x'; MIB], 1)]
    });
    let first = world.get_with("/x", &[("Range", "bytes=0-0")]).await;
    assert_eq!((first.status, first.text()), (206, "x"));
    assert_eq!(first.field("content-range"), Some("bytes 0-0/10737418240"));
    world.settled().await;
    for value in ["bytes=1048575-1048575", "bytes=77-99", "bytes=10737418240-"] {
        assert!(world.get_with("/x", &[("Range", value)]).await.is_hit(), "{value}");
    }
    let far = world.get_with("/x", &[("Range", "bytes=5000000000-5000000000")]).await;
    assert_eq!(far.field("content-range"), Some("bytes 5000000000-5000000000/10737418240"));
    assert_eq!(asked(&world), ["bytes=0-1048575", "bytes=4999610368-5000658943"]);
}

#[tokio::test]
async fn what_is_wanted_whole_or_from_its_beginning_is_asked_for_so() {
    for value in ["bytes=0-", "bytes=0-1,5-6", "lines=1-2"] {
        let world = world(BY_EIGHT).await;
        range(&world, value).await;
        assert_eq!(asked(&world), ["whole"], "{value}");
        assert!(world.get("/r").await.is_hit(), "{value}");
    }
}

#[tokio::test]
async fn parts_answer_nothing_but_ranges() {
    let world = world(BY_EIGHT).await;
    range(&world, "bytes=0-3").await;
    let mut client = world.client("client").await;
    let head = client.ask("HEAD", "/r", &[], b"").await;
    assert_eq!((head.status, head.field("content-length"), head.is_hit()), (200, Some("20"), false));
    assert_eq!(world.origin.requests()[1].method, "HEAD");
    assert!(range(&world, "bytes=0-3").await.is_hit(), "it has freshened them");
    let only = client.get_with("/r", &[("Cache-Control", "only-if-cached"), ("Range", "bytes=8-9")]).await;
    assert_eq!(only.status, 504);
    let condition = client.get_with("/r", &[("If-None-Match", "\"v1\"")]).await;
    assert_eq!((condition.status, condition.cache_status()), (304, "fwd=partial; ttl=60; stored"));
    world.settled().await;
    assert!(client.get("/r").await.is_hit());
    assert_eq!(asked(&world), ["bytes=0-7", "whole", "bytes=8-19"], "all that was lacking");
}

#[tokio::test]
async fn if_range_of_a_client_is_held_to_the_parts() {
    let world = world(BY_EIGHT).await;
    range(&world, "bytes=0-3").await;
    let mut client = world.client("client").await;
    let same = client.get_with("/r", &[("Range", "bytes=0-1"), ("If-Range", "\"v1\"")]).await;
    assert_eq!((same.status, same.text(), same.is_hit()), (206, "01", true));
    let more = client.get_with("/r", &[("Range", "bytes=8-9"), ("If-Range", "\"v1\"")]).await;
    assert_eq!((more.status, more.text()), (206, "89"));
    world.settled().await;
    let other = client.get_with("/r", &[("Range", "bytes=0-1"), ("If-Range", "\"v0\"")]).await;
    assert_eq!((other.status, other.text()), (200, CONTENT));
    // The origin is asked on the condition of what is stored, and not on the client's.
    let conditions: Vec<_> =
        world.origin.requests().iter().map(|seen| seen.field("if-range").map(str::to_owned)).collect();
    assert_eq!(conditions, [None, None, Some("\"v1\"".to_owned())]);
    assert_eq!(asked(&world), ["bytes=0-7", "bytes=8-15", "bytes=16-19"]);
    world.settled().await;
    // Nothing is known: that the content is another one shows with the part.
    world.origin.on("/c", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    let cold = client.get_with("/c", &[("Range", "bytes=0-1"), ("If-Range", "\"v0\"")]).await;
    assert_eq!((cold.status, cold.text()), (200, CONTENT));
    assert_eq!(asked(&world).get(3..), Some(&["bytes=0-7".to_owned(), "whole".to_owned()][..]));
    assert_eq!(world.counters().parts_unfit.get(), 1);
}

#[tokio::test]
async fn the_date_of_a_change_is_a_validator_where_it_is_old_enough() {
    let world = World::start(BY_EIGHT).await;
    const DATE: (&str, &str) = ("Date", "Fri, 15 Jan 2027 08:00:00 GMT");
    let fields = |modified| [("Cache-Control", "max-age=60"), ("Last-Modified", modified), DATE];
    world.origin.on("/old", move |seen, _| ranged(seen, CONTENT, &fields("Fri, 15 Jan 2027 07:59:59 GMT")));
    world.origin.on("/new", move |seen, _| ranged(seen, CONTENT, &fields("Fri, 15 Jan 2027 08:00:00 GMT")));
    for (path, hits) in [("/old", true), ("/new", false)] {
        for again in [false, true] {
            let reply = world.get_with(path, &[("Range", "bytes=1-2")]).await;
            assert_eq!((reply.status, reply.text(), reply.is_hit()), (206, "12", hits && again), "{path}");
            world.settled().await;
        }
    }
}

#[tokio::test]
async fn the_digest_of_a_message_is_not_told_of_another_one() {
    let world = World::start(BY_EIGHT).await;
    const FIELDS: [(&str, &str); 4] = [
        ("Cache-Control", "max-age=60"),
        ("ETag", "\"v1\""),
        ("Content-Digest", "sha-256=:AAAA:"),
        ("Repr-Digest", "sha-256=:BBBB:"),
    ];
    world.origin.on("/r", |seen, _| ranged(seen, CONTENT, &FIELDS));
    for value in ["bytes=1-2", "bytes=1-2", "bytes=0-", "bytes=4-5", "bytes=4-5,8-9"] {
        let reply = range(&world, value).await;
        assert_eq!((reply.status, reply.field("content-digest")), (206, None), "{value}");
        assert_eq!(reply.field("repr-digest"), Some("sha-256=:BBBB:"), "{value}");
    }
    assert_eq!(world.get("/r").await.field("content-digest"), None, "this is made of parts");
    world.settled().await;
    world.purge("http://www.example.org/r").await;
    assert_eq!(world.get("/r").await.field("content-digest"), Some("sha-256=:AAAA:"), "this is not");
}

#[tokio::test]
async fn variants_have_parts_of_their_own() {
    let world = World::start(BY_EIGHT).await;
    world.origin.on("/v", |seen, _| {
        let (content, etag) = match seen.field("x") {
            Some("a") => (CONTENT, "\"a\""),
            _ => ("ABCDEFGHIJKLMNOPQRST", "\"b\""),
        };
        ranged(seen, content, &[("Cache-Control", "max-age=60"), ("Vary", "X"), ("ETag", etag)])
    });
    for (x, value, content, hit) in [
        ("a", "bytes=0-1", "01", false),
        ("b", "bytes=0-1", "AB", false),
        ("a", "bytes=8-9", "89", false),
        ("a", "bytes=6-9", "6789", true),
        ("b", "bytes=6-7", "GH", true),
        ("b", "bytes=8-9", "IJ", false),
    ] {
        let reply = world.get_with("/v", &[("X", x), ("Range", value)]).await;
        assert_eq!((reply.text(), reply.is_hit()), (content, hit), "{x} {value}");
        world.settled().await;
    }
    assert_eq!(world.origin.count("/v"), 4);
}

#[tokio::test]
async fn there_are_only_so_many_parts() {
    let world = world("[rules]\nrange_slice = \"1B\"\nmax_parts = 2").await;
    for value in ["bytes=0-1", "bytes=5-6", "bytes=10-11"] {
        range(&world, value).await;
    }
    assert!(range(&world, "bytes=5-6").await.is_hit() && range(&world, "bytes=10-11").await.is_hit());
    assert_eq!(world.counters().parts_dropped.get(), 1);
    assert!(!range(&world, "bytes=0-1").await.is_hit());
}
