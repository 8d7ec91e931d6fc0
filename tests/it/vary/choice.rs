//! Where a request selects none of the variants that are stored, the origin may choose one of
//! them by its entity tag (RFC 9111 4.1, 4.3.1).

use std::time::Duration;

use crate::harness::World;
use crate::harness::origin::{Gate, Seen, Step, raw, response};

/// Which content is for this kind.
fn tag_of(kind: &str) -> &'static str {
    match kind {
        "a" | "a2" => "\"one\"",
        "b" | "b2" => "\"two\"",
        "weak" => "W/\"weak\"",
        _ => "\"other\"",
    }
}

/// Answers 304 to whoever has the content for its kind.
fn choosing(seen: &Seen, _: usize) -> Vec<Step> {
    let kind = seen.field("x-kind").unwrap_or_default().to_owned();
    let tag = tag_of(&kind);
    if seen.field("if-none-match").is_some_and(|tags| tags.contains(tag)) {
        return vec![raw(&format!(
            "HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nCache-Control: max-age=90\r\nVary: X-Kind\r\nX-For: {kind}\r\n\r\n"
        ))];
    }
    let fields = [("Cache-Control", "max-age=60"), ("ETag", tag), ("Vary", "X-Kind"), ("X-For", &kind)];
    response("200 OK", &fields, tag)
}

async fn world(kinds: &[&str]) -> World {
    let world = World::start("").await;
    world.origin.on("/v", choosing);
    for kind in kinds {
        ask(&world, kind).await;
    }
    world
}

async fn ask(world: &World, kind: &str) -> crate::harness::Reply {
    let reply = world.get_with("/v", &[("X-Kind", kind)]).await;
    world.settled().await;
    reply
}

fn told(world: &World) -> Option<String> {
    world.origin.requests().last().and_then(|seen| seen.field("if-none-match")).map(str::to_owned)
}

#[tokio::test]
async fn the_origin_chooses_among_all_that_are_stored() {
    let world = world(&["a", "b", "weak"]).await;
    world.advance(Duration::from_secs(10));
    let chosen = ask(&world, "a2").await;
    assert_eq!(told(&world).as_deref(), Some("\"two\", \"one\""), "the newest first, and none that is weak");
    assert_eq!((chosen.status, chosen.text()), (200, "\"one\""));
    assert_eq!(chosen.cache_status(), "fwd=vary-miss; fwd-status=304; ttl=90; stored");
    assert_eq!((chosen.field("x-for"), chosen.field("age")), (Some("a2"), Some("0")));
    // It is stored for this request as well, and what it was chosen from stays as it was.
    for (kind, content, age) in [("a2", "\"one\"", "0"), ("a", "\"one\"", "10"), ("b", "\"two\"", "10")] {
        let hit = ask(&world, kind).await;
        assert_eq!((hit.is_hit(), hit.text(), hit.field("age")), (true, content, Some(age)), "{kind}");
        assert_eq!(hit.field("x-for"), Some(kind));
    }
    assert_eq!(world.origin.count("/v"), 4);
    assert_eq!(world.counters().variants_chosen.get(), 1);
}

#[tokio::test]
async fn content_that_is_none_of_them_comes_as_a_whole() {
    let world = world(&["a", "b"]).await;
    let new = ask(&world, "c").await;
    assert_eq!((new.status, new.text()), (200, "\"other\""));
    assert_eq!(new.cache_status(), "fwd=vary-miss; ttl=60; stored");
    assert_eq!(told(&world).as_deref(), Some("\"two\", \"one\""));
}

#[tokio::test]
async fn a_client_that_has_it_is_told_so_and_one_that_has_another_gets_it() {
    for (own, status) in [("\"one\"", 304), ("\"two\"", 200)] {
        let world = world(&["a"]).await;
        let fields = [("X-Kind", "a2"), ("If-None-Match", own)];
        let reply = world.get_with("/v", &fields).await;
        assert_eq!((reply.status, reply.field("etag")), (status, Some("\"one\"")), "{own}");
        assert_eq!(told(&world).as_deref(), Some("\"one\""), "the client's own are compared here");
    }
}

#[tokio::test]
async fn a_304_that_names_none_of_them_is_asked_about_again_without_tags() {
    let date = "Last-Modified: Thu, 14 Jan 2027 08:00:00 GMT";
    for (kinds, said) in [
        (&["a"][..], "ETag: \"three\""),
        (&["a"], "ETag: W/\"one\""),
        (&["a"], date),
        (&["a", "b"], "X-No: tag"),
    ] {
        let world = World::start("").await;
        let not_modified =
            format!("HTTP/1.1 304 Not Modified\r\n{said}\r\nCache-Control: max-age=60\r\n\r\n");
        let before = kinds.len();
        world.origin.on("/v", move |seen, n| match n == before + 1 {
            true => vec![raw(&not_modified)],
            false => match seen.field("if-none-match") {
                // Those who come before are to be stored, each by its own content.
                Some(_) if n <= before => response(
                    "200 OK",
                    &[("Cache-Control", "max-age=60"), ("ETag", "\"two\""), ("Vary", "X-Kind")],
                    "\"two\"",
                ),
                _ => choosing(seen, n),
            },
        });
        for kind in kinds {
            ask(&world, kind).await;
        }
        assert_eq!(ask(&world, "a2").await.text(), "\"one\"", "{said}");
        assert_eq!((world.origin.count("/v"), told(&world)), (before + 2, None), "{said}");
    }
}

#[tokio::test]
async fn a_304_without_a_word_means_the_only_one_that_was_told() {
    let world = World::start("").await;
    world.origin.on("/v", move |seen, n| match n {
        2 => vec![raw("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n")],
        _ => choosing(seen, n),
    });
    ask(&world, "a").await;
    let chosen = ask(&world, "a2").await;
    assert_eq!(
        (chosen.text(), chosen.cache_status()),
        ("\"one\"", "fwd=vary-miss; fwd-status=304; ttl=60; stored")
    );
    assert_eq!(world.origin.count("/v"), 2);
}

#[tokio::test]
async fn what_is_purged_is_not_told_and_what_is_purged_meanwhile_is_not_stored_again() {
    let world = world(&["a"]).await;
    world.purge("http://www.example.org/v").await;
    assert_eq!(ask(&world, "a2").await.cache_status(), "fwd=uri-miss; ttl=60; stored");
    assert_eq!(told(&world), None);

    let gate = Gate::default();
    let held = gate.clone();
    world.origin.on("/v", move |seen, n| {
        let mut script = choosing(seen, n);
        if seen.field("if-none-match").is_some() {
            script.insert(0, Step::Wait(held.clone()));
        }
        script
    });
    let mut before = world.client("before").await;
    before.send(b"GET /v HTTP/1.1\r\nHost: www.example.org\r\nX-Kind: a\r\n\r\n").await;
    gate.reached(1).await;
    world.purge("http://www.example.org/v").await;
    gate.open();
    assert_eq!(before.reply(false).await.text(), "\"one\"", "it asked before the purge");
    world.settled().await;
    let after = ask(&world, "a").await;
    assert_eq!(after.cache_status(), "fwd=uri-miss; ttl=60; stored");
    assert_eq!(told(&world), None);
}

#[tokio::test]
async fn a_coding_that_the_client_does_not_take_is_never_chosen() {
    let world = World::start("").await;
    // An origin that tells one tag of both codings.
    world.origin.on("/z", |seen, _| {
        if seen.field("if-none-match").is_some() {
            return vec![raw("HTTP/1.1 304 Not Modified\r\nETag: \"same\"\r\n\r\n")];
        }
        let coding = seen.field("accept-encoding").unwrap_or("identity").to_owned();
        let mut fields =
            vec![("Cache-Control", "max-age=60"), ("ETag", "\"same\""), ("Vary", "Accept-Encoding")];
        if coding == "gzip" {
            fields.push(("Content-Encoding", "gzip"));
        }
        response("200 OK", &fields, &coding)
    });
    for (accept, content) in [("gzip", "gzip"), ("br, gzip;q=0", "br, gzip;q=0"), ("br", "br")] {
        let reply = world.get_with("/z", &[("Accept-Encoding", accept)]).await;
        assert!(reply.text() == content || reply.text() == "br, gzip;q=0", "{accept}: {}", reply.text());
        world.settled().await;
    }
    let tags: Vec<_> =
        world.origin.requests().iter().map(|seen| seen.field("if-none-match").map(str::to_owned)).collect();
    assert_eq!(tags, [None, None, None], "nor what is in none, where the client takes some");
}

#[tokio::test]
async fn there_is_a_limit_to_how_many_are_told() {
    let world = World::start("[store]\nmax_variants = 20").await;
    world.origin.on("/n", |seen, n| {
        let tag = format!("\"{n}\"");
        let fields = [("Cache-Control", "max-age=60"), ("ETag", tag.as_str()), ("Vary", "X-Kind")];
        response("200 OK", &fields, seen.field("x-kind").unwrap_or_default())
    });
    for kind in 1..=12 {
        world.get_with("/n", &[("X-Kind", &kind.to_string())]).await;
        world.settled().await;
    }
    let tags = told(&world).expect("tags");
    assert_eq!(tags.split(", ").count(), 8, "{tags}");
    assert!(tags.starts_with("\"11\", \"10\""), "{tags}");
}

#[tokio::test]
async fn the_tag_of_what_is_stored_in_part_is_not_told() {
    let world = World::start("[rules]\nrange_slice = \"1KiB\"").await;
    world.origin.on("/p", |seen, _| {
        let part = seen.field("range").is_some();
        let mut fields = vec![("Cache-Control", "max-age=60"), ("ETag", "\"one\""), ("Vary", "X-Kind")];
        if part {
            fields.push(("Content-Range", "bytes 0-3/100000"));
        }
        response(if part { "206 Partial Content" } else { "200 OK" }, &fields, "0123")
    });
    let part = world.get_with("/p", &[("X-Kind", "a"), ("Range", "bytes=0-3")]).await;
    assert_eq!((part.status, part.text()), (206, "0123"));
    world.settled().await;
    assert_eq!(
        world.get_with("/p", &[("X-Kind", "b")]).await.cache_status(),
        "fwd=vary-miss; ttl=60; stored"
    );
    assert_eq!(told(&world), None);
}

#[tokio::test]
async fn a_range_of_what_was_chosen_is_answered_from_it() {
    let world = world(&["a"]).await;
    let part = world.get_with("/v", &[("X-Kind", "a2"), ("Range", "bytes=1-3")]).await;
    assert_eq!((part.status, part.text(), part.field("content-range")), (206, "one", Some("bytes 1-3/5")));
    assert_eq!(part.cache_status(), "fwd=vary-miss; fwd-status=304; ttl=90; stored");
    assert_eq!(world.origin.count("/v"), 2);
}

#[tokio::test]
async fn what_was_chosen_for_one_client_alone_is_told_to_no_other() {
    for secret in ["Set-Cookie: id=first", "Cache-Control: private\r\nX-Secret: s"] {
        let world = World::start("").await;
        let head = format!("HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nVary: X-Kind\r\n{secret}\r\n\r\n");
        world.origin.on("/v", move |seen, n| if n == 2 { vec![raw(&head)] } else { choosing(seen, n) });
        ask(&world, "a").await;
        let own = ask(&world, "a2").await;
        assert_eq!((own.status, own.text()), (200, "\"one\""), "{secret}");
        assert!(own.field("set-cookie").or(own.field("x-secret")).is_some(), "{secret}");
        assert!(!own.cache_status().contains("stored"), "{}", own.cache_status());
        let next = ask(&world, "a2").await;
        assert_eq!((next.field("set-cookie"), next.field("x-secret")), (None, None), "{secret}");
        assert_eq!(world.origin.count("/v"), 3, "{secret}");
        assert!(ask(&world, "a").await.is_hit(), "what it was chosen from stays");
    }
}

#[tokio::test]
async fn plain_content_is_not_offered_for_a_client_that_takes_codings() {
    let world = World::start("").await;
    // It has one tag for both forms, as servers have that compress behind their conditions.
    world.origin.on("/v", |seen, _| {
        let fields = [("Cache-Control", "max-age=60"), ("ETag", "\"one\""), ("Vary", "Accept-Encoding")];
        match (seen.field("if-none-match"), seen.field("accept-encoding")) {
            (Some(_), _) => {
                vec![raw("HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nVary: Accept-Encoding\r\n\r\n")]
            }
            (None, Some(_)) => {
                response("200 OK", &[&fields[..], &[("Content-Encoding", "gzip")]].concat(), "small")
            }
            (None, None) => response("200 OK", &fields, "plain"),
        }
    });
    world.get("/v").await;
    world.settled().await;
    let reply = world.get_with("/v", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((told(&world), reply.text()), (None, "small"));
}

#[tokio::test]
async fn long_tags_do_not_make_the_request_too_long() {
    let world = World::start("").await;
    world.origin.on("/v", |seen, _| {
        let tag = format!("\"{}\"", seen.field("x-kind").unwrap_or_default().repeat(400));
        response("200 OK", &[("Cache-Control", "max-age=60"), ("ETag", &tag), ("Vary", "X-Kind")], "x")
    });
    for kind in ["a", "b", "c", "d"] {
        ask(&world, kind).await;
    }
    let told = told(&world).expect("some tags");
    assert!(told.starts_with("\"ccc") && told.contains("bbb") && !told.contains("aaa"), "{told}");
    assert!(told.len() <= 1024, "{} bytes", told.len());
}
