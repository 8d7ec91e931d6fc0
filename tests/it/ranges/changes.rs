//! Parts grow old, are purged, change, and break off: no two contents are ever mixed.

use std::time::Duration;

use super::{CONTENT, asked, ranged, tagged};
use crate::harness::World;
use crate::harness::origin::{Gate, Step, raw, response};

const BY_FOUR: &str = "[rules]\nrange_slice = \"4B\"";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const OTHER: &str = "ABCDEFGHIJKLMNOPQRST";

async fn range(world: &World, value: &str) -> (u16, String, bool) {
    let reply = world.get_with("/r", &[("Range", value)]).await;
    world.settled().await;
    (reply.status, reply.text().to_owned(), reply.is_hit())
}

fn got(content: &str, hit: bool) -> (u16, String, bool) {
    (206, content.to_owned(), hit)
}

#[tokio::test]
async fn stale_parts_are_validated_together() {
    let world = World::start(BY_FOUR).await;
    world.origin.on("/r", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    range(&world, "bytes=0-3").await;
    range(&world, "bytes=8-11").await;
    world.advance(Duration::from_secs(70));
    let reply = world.get_with("/r", &[("Range", "bytes=9-10")]).await;
    assert_eq!((reply.status, reply.text()), (206, "9a"));
    assert_eq!(reply.cache_status(), "fwd=stale; fwd-status=304; ttl=60; stored");
    assert_eq!(world.origin.requests()[2].field("if-none-match"), Some("\"v1\""));
    world.settled().await;
    assert_eq!(range(&world, "bytes=0-3").await, got("0123", true));
    assert_eq!(asked(&world), ["bytes=0-3", "bytes=8-11", "bytes=8-11"]);
}

#[tokio::test]
async fn a_missing_part_of_stale_ones_freshens_them() {
    let world = World::start(BY_FOUR).await;
    world.origin.on("/r", |seen, _| tagged(seen, CONTENT, "\"v1\""));
    range(&world, "bytes=0-3").await;
    world.advance(Duration::from_secs(70));
    assert_eq!(range(&world, "bytes=4-7").await, got("4567", false));
    assert_eq!(range(&world, "bytes=0-7").await, got("01234567", true));
    assert_eq!(world.origin.count("/r"), 2);
}

#[tokio::test]
async fn parts_of_other_content_take_the_place_of_all() {
    for (seconds, condition) in [(0, None), (70, Some("\"v1\""))] {
        let world = World::start(BY_FOUR).await;
        world.origin.on("/r", |seen, n| match n {
            1 | 2 => tagged(seen, CONTENT, "\"v1\""),
            _ => tagged(seen, OTHER, "\"v2\""),
        });
        range(&world, "bytes=0-3").await;
        range(&world, "bytes=4-7").await;
        world.advance(Duration::from_secs(seconds));
        // Fresh parts say nothing of the one that is missing; stale ones are asked about.
        let (value, content) = if seconds == 0 { ("bytes=8-9", "IJ") } else { ("bytes=4-5", "EF") };
        assert_eq!(range(&world, value).await, got(content, false));
        assert_eq!(world.origin.requests()[2].field("if-none-match"), condition);
        assert_eq!(range(&world, value).await, got(content, true));
        assert_eq!(range(&world, "bytes=0-3").await, got("ABCD", false));
        world.origin.on("/r", |seen, _| tagged(seen, OTHER, "\"v2\""));
        range(&world, "bytes=0-19").await;
        assert_eq!(world.get("/r").await.text(), OTHER);
    }
}

#[tokio::test]
async fn the_same_tag_for_another_length_is_other_content() {
    let world = World::start(BY_FOUR).await;
    world.origin.on("/r", |seen, n| match n {
        1 => tagged(seen, "01234567", "\"v1\""),
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    range(&world, "bytes=0-3").await;
    assert_eq!(range(&world, "bytes=4-7").await, got("4567", false));
    assert_eq!(range(&world, "bytes=0-3").await, got("0123", false));
    assert_eq!(range(&world, "bytes=16-").await, got("ghij", false));
    assert_eq!(world.origin.count("/r"), 4);
}

#[tokio::test]
async fn purged_parts_are_gone_and_do_not_come_back_with_others() {
    let world = World::start(BY_FOUR).await;
    let gate = Gate::default();
    let held = gate.clone();
    world.origin.on("/r", move |seen, n| match n {
        2 => [vec![Step::Wait(held.clone())], tagged(seen, CONTENT, "\"v1\"")].concat(),
        1 => tagged(seen, CONTENT, "\"v1\""),
        _ => tagged(seen, OTHER, "\"v1\""),
    });
    range(&world, "bytes=0-3").await;
    let mut client = world.client("client").await;
    client.send(b"GET /r HTTP/1.1\r\nHost: www.example.org\r\nRange: bytes=4-7\r\n\r\n").await;
    gate.reached(1).await;
    assert_eq!(world.purge("http://www.example.org/r").await, 1);
    gate.open();
    assert_eq!(client.reply(false).await.text(), "4567", "whoever asked before the purge has it");
    world.settled().await;
    assert_eq!(world.counters().store_fenced.get(), 1);
    // Though the tag is the same, neither of the two is used or put to what comes now.
    assert_eq!(range(&world, "bytes=4-7").await, got("EFGH", false));
    assert_eq!(range(&world, "bytes=0-3").await, got("ABCD", false));
    assert_eq!(range(&world, "bytes=0-7").await, got("ABCDEFGH", true));
}

#[tokio::test]
async fn parts_are_purged_by_tag_and_by_ban_and_softly() {
    let tagged_as = |tag| [("Cache-Control", "max-age=60"), ("ETag", "\"v1\""), ("Surrogate-Key", tag)];
    for (body, hits) in [
        (r#"{"tags": ["films"]}"#, false),
        (r#"{"ban": "obj.http.surrogate-key ~ film"}"#, false),
        (r#"{"tags": ["music"]}"#, true),
        (r#"{"tags": ["films"], "soft": true}"#, false),
    ] {
        let world = World::start(BY_FOUR).await;
        world.origin.on("/r", move |seen, _| ranged(seen, CONTENT, &tagged_as("films")));
        range(&world, "bytes=0-3").await;
        let purged = world
            .operator()
            .await
            .ask("POST", "/v1/purge", &[JSON, ("Host", "127.0.0.1")], body.as_bytes())
            .await;
        assert_eq!(purged.status, 200, "{body}: {}", purged.text());
        assert_eq!(range(&world, "bytes=0-3").await, got("0123", hits), "{body}");
    }
}

/// A part need not repeat what was said of the whole (RFC 9110 15.3.7): its tags stay.
#[tokio::test]
async fn what_was_put_together_has_the_tags_of_all_its_parts() {
    for asked_whole in [false, true] {
        let world = World::start(BY_FOUR).await;
        world.origin.on("/r", |seen, n| {
            let fields = [("Cache-Control", "max-age=60"), ("ETag", "\"v1\""), ("Surrogate-Key", "films")];
            ranged(seen, CONTENT, if n == 1 { &fields } else { &fields[..2] })
        });
        range(&world, "bytes=0-3").await;
        if asked_whole {
            let whole = world.get("/r").await;
            assert_eq!((whole.text(), whole.field("surrogate-key")), (CONTENT, None));
            world.settled().await;
        } else {
            range(&world, "bytes=4-7").await;
        }
        let hit = world.get_with("/r", &[("Range", "bytes=0-7")]).await;
        assert_eq!((hit.text(), hit.is_hit(), hit.field("surrogate-key")), ("01234567", true, None));
        let body = br#"{"tags": ["films"]}"#;
        let purged =
            world.operator().await.ask("POST", "/v1/purge", &[JSON, ("Host", "127.0.0.1")], body).await;
        assert_eq!(purged.field("x-purged"), Some("1"), "{}", purged.text());
        assert_eq!(range(&world, "bytes=0-3").await, got("0123", false));
    }
}

#[tokio::test]
async fn what_has_come_of_a_part_that_breaks_off_is_kept() {
    let world = World::start(BY_FOUR).await;
    world.origin.on("/r", |seen, n| match n {
        1 => vec![
            raw("HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Type: text/plain\r\n"),
            raw("Content-Range: bytes 4-11/20\r\nContent-Length: 8\r\n\r\n45678"),
            Step::Close,
        ],
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    let broken = world.get_with("/r", &[("Range", "bytes=4-11")]).await;
    assert_eq!((broken.status, broken.text(), broken.complete), (206, "45678", false));
    world.settled().await;
    assert_eq!(range(&world, "bytes=4-8").await, got("45678", true));
    assert_eq!(range(&world, "bytes=8-11").await, got("89ab", false));
    assert_eq!(range(&world, "bytes=4-11").await, got("456789ab", true));
    assert_eq!(asked(&world), ["bytes=4-11", "bytes=8-11"]);
}

#[tokio::test]
async fn what_has_come_of_a_whole_that_breaks_off_is_kept_as_a_part() {
    for (etag, kept) in [("\"v1\"", true), ("W/\"v1\"", false)] {
        let world = World::start(BY_FOUR).await;
        world.origin.on("/r", move |seen, n| match n {
            1 => vec![
                raw(&format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: {etag}\r\nContent-Length: 20\r\n\r\n0123456789")),
                Step::Close,
            ],
            _ => tagged(seen, CONTENT, etag),
        });
        let broken = world.get("/r").await;
        assert_eq!((broken.text(), broken.complete), ("0123456789", false));
        world.settled().await;
        assert_eq!(range(&world, "bytes=2-9").await, got("23456789", kept), "{etag}");
        let whole = world.get("/r").await;
        assert_eq!((whole.status, whole.text(), whole.is_hit()), (200, CONTENT, false));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_takes_nothing_from_a_whole_that_is_stored() {
    let world = World::start("[rules]\nstale_on_error = \"1h\"").await;
    world.origin.on("/r", |seen, n| match n {
        1 => tagged(seen, CONTENT, "\"v1\""),
        _ => vec![
            raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v2\"\r\nContent-Length: 20\r\n\r\nABCDE"),
            Step::Close,
        ],
    });
    world.get("/r").await;
    world.settled().await;
    world.advance(Duration::from_secs(70));
    assert_eq!(world.get("/r").await.text(), "ABCDE");
    world.settled().await;
    let stale = world.get("/r").await;
    assert_eq!((stale.text(), stale.complete), (CONTENT, true));
}

#[tokio::test]
async fn a_stale_part_answers_where_the_origin_fails() {
    let world = World::start(BY_FOUR).await;
    world.origin.on("/r", |seen, n| match n {
        1 => tagged(seen, CONTENT, "\"v1\""),
        _ => response("503 Service Unavailable", &[], "no"),
    });
    range(&world, "bytes=0-3").await;
    world.advance(Duration::from_secs(70));
    let stale = world.get_with("/r", &[("Range", "bytes=1-2")]).await;
    assert_eq!((stale.status, stale.text()), (206, "12"));
    assert!(stale.cache_status().contains("detail=stale-on-error"), "{}", stale.cache_status());
    let missing = world.get_with("/r", &[("Range", "bytes=8-9")]).await;
    assert_eq!((missing.status, missing.text()), (503, "no"));
    assert_eq!(world.get("/r").await.status, 503);
    world.settled().await;
    assert_eq!(world.get_with("/r", &[("Range", "bytes=1-2")]).await.text(), "12", "they are there still");
}

#[tokio::test]
async fn a_part_is_refreshed_in_the_background_as_a_whole_is() {
    let world = World::start("[rules]\nrange_slice = \"4B\"\ngrace = \"1m\"").await;
    world.origin.on("/r", |seen, n| match n {
        1 => tagged(seen, CONTENT, "\"v1\""),
        _ => tagged(seen, OTHER, "\"v2\""),
    });
    range(&world, "bytes=4-7").await;
    world.advance(Duration::from_secs(70));
    let stale = world.get_with("/r", &[("Range", "bytes=5-6")]).await;
    assert_eq!((stale.status, stale.text()), (206, "56"));
    world.until("the refresh to come", |c| c.parts_stored.get() == 2).await;
    world.settled().await;
    assert_eq!(range(&world, "bytes=5-6").await, got("FG", true));
    assert_eq!(asked(&world), ["bytes=4-7", "bytes=4-7"]);
}

#[tokio::test]
async fn head_shows_that_parts_are_of_content_that_is_no_more() {
    let world = World::start(BY_FOUR).await;
    world.origin.on("/r", |seen, n| match n {
        1 => tagged(seen, CONTENT, "\"v1\""),
        _ => tagged(seen, OTHER, "\"v2\""),
    });
    range(&world, "bytes=0-3").await;
    let head = world.client("client").await.ask("HEAD", "/r", &[], b"").await;
    assert_eq!(head.field("etag"), Some("\"v2\""));
    assert_eq!(range(&world, "bytes=0-3").await, got("ABCD", false));
    assert_eq!(range(&world, "bytes=0-3").await, got("ABCD", true));
}

#[tokio::test]
async fn the_whole_is_made_by_what_it_lacks() {
    for (parts, lacking) in [
        (&["bytes=0-3", "bytes=4-11"][..], "bytes=12-19"),
        (&["bytes=-8"], "bytes=0-11"),
        (&["bytes=0-7", "bytes=12-19"], "bytes=8-11"),
    ] {
        let world = World::start(BY_FOUR).await;
        world.origin.on("/r", |seen, _| tagged(seen, CONTENT, "\"v1\""));
        for part in parts {
            range(&world, part).await;
        }
        let whole = world.get("/r").await;
        assert_eq!((whole.status, whole.text()), (200, CONTENT), "{lacking}");
        assert_eq!(
            (whole.field("content-length"), whole.field("content-type")),
            (Some("20"), Some("text/plain"))
        );
        assert_eq!(asked(&world).last().map(String::as_str), Some(lacking));
        assert_eq!(world.origin.requests().last().and_then(|seen| seen.field("if-range")), Some("\"v1\""));
        world.settled().await;
        let again = world.get("/r").await;
        assert_eq!((again.text(), again.is_hit()), (CONTENT, true));
    }
}

#[tokio::test]
async fn what_a_download_that_broke_off_lacks_is_all_that_is_asked_for() {
    let world = World::start("").await;
    world.origin.on("/r", |seen, n| match n {
        1 => vec![
            raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Length: 20\r\n\r\n01234567"),
            Step::Close,
        ],
        // What goes with an If-Range need not say all again (RFC 9110 15.3.7).
        2 => response(
            "206 Partial Content",
            &[("Cache-Control", "max-age=60"), ("ETag", "\"v1\""), ("Content-Range", "bytes 8-19/20")],
            "89abcdefghi",
        ),
        _ => tagged(seen, CONTENT, "\"v1\""),
    });
    assert!(!world.get("/r").await.complete);
    world.settled().await;
    // One that contradicts itself is not put to anything.
    let whole = world.get("/r").await;
    assert_eq!((whole.status, whole.text(), whole.complete), (200, CONTENT, true));
    assert_eq!(asked(&world), ["whole", "bytes=8-19", "whole"]);
}

#[tokio::test]
async fn what_has_changed_or_was_purged_is_not_filled_up() {
    for purge in [false, true] {
        let world = World::start(BY_FOUR).await;
        let gate = Gate::default();
        let held = gate.clone();
        world.origin.on("/r", move |seen, n| match n {
            1 => tagged(seen, CONTENT, "\"v1\""),
            // The origin does not know that it was purged; or it ignores If-Range.
            2 => {
                [vec![Step::Wait(held.clone())], tagged(seen, OTHER, if purge { "\"v1\"" } else { "\"v2\"" })]
                    .concat()
            }
            _ => tagged(seen, OTHER, "\"v2\""),
        });
        range(&world, "bytes=0-11").await;
        let mut client = world.client("client").await;
        client.send(b"GET /r HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        gate.reached(1).await;
        if purge {
            assert_eq!(world.purge("http://www.example.org/r").await, 1);
        }
        gate.open();
        let whole = client.reply(false).await;
        assert_eq!((whole.status, whole.text()), (200, OTHER), "purged: {purge}");
        assert_eq!(asked(&world), ["bytes=0-11", "bytes=12-19", "whole"]);
    }
}
