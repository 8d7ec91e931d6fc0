//! Which fields go with which answer (RFC 9110 8.6, 9.3.2, 15.3.7, 15.4.5).

use crate::harness::World;
use crate::harness::origin::{raw, response};

const DATE: &str = "Fri, 15 Jan 2027 08:00:00 GMT";
const MODIFIED: &str = "Thu, 14 Jan 2027 08:00:00 GMT";

/// What every answer from the store has to tell.
const TOLD: [(&str, &str); 6] = [
    ("Cache-Control", "max-age=60"),
    ("Content-Location", "/f.en"),
    ("Date", DATE),
    ("ETag", "\"v1\""),
    ("Expires", "Fri, 15 Jan 2027 09:00:00 GMT"),
    ("Vary", "Accept-Language"),
];

/// What describes the content.
const CONTENT: [(&str, &str); 4] = [
    ("Content-Encoding", "x-own"),
    ("Content-Language", "en"),
    ("Content-Type", "text/plain"),
    ("Last-Modified", MODIFIED),
];

/// A world in which `/f` is stored.
async fn stored() -> World {
    let world = World::start("").await;
    let fields = [&TOLD[..], &CONTENT].concat();
    world.origin.always("/f", response("200 OK", &fields, "0123456789"));
    world.get("/f").await;
    world.settled().await;
    world
}

#[tokio::test]
async fn a_304_has_what_a_200_would_tell_a_cache_and_nothing_of_the_content() {
    let world = stored().await;
    let reply = world.get_with("/f", &[("If-None-Match", "\"v1\"")]).await;
    assert_eq!((reply.status, reply.text()), (304, ""));
    for (name, value) in TOLD {
        assert_eq!(reply.field(&name.to_lowercase()), Some(value), "{name}");
    }
    for name in ["content-encoding", "content-language", "content-type", "content-length"] {
        assert_eq!(reply.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_206_has_all_fields_of_a_200_and_the_length_of_the_part() {
    let world = stored().await;
    for condition in [None, Some("\"v1\"")] {
        let mut asked = vec![("Range", "bytes=2-4")];
        asked.extend(condition.map(|tag| ("If-Range", tag)));
        let reply = world.get_with("/f", &asked).await;
        assert_eq!((reply.status, reply.text()), (206, "234"));
        for (name, value) in TOLD.into_iter().chain(CONTENT) {
            assert_eq!(reply.field(&name.to_lowercase()), Some(value), "{name}");
        }
        assert_eq!(reply.field("content-length"), Some("3"));
        assert_eq!(reply.field("content-range"), Some("bytes 2-4/10"));
    }
}

#[tokio::test]
async fn head_has_the_fields_of_get() {
    let world = stored().await;
    let mut client = world.client("client").await;
    let get = client.get("/f").await;
    let head = client.ask("HEAD", "/f", &[], b"").await;
    for (name, _) in TOLD.into_iter().chain(CONTENT) {
        let name = name.to_lowercase();
        assert_eq!((head.field(&name), head.field(&name).is_some()), (get.field(&name), true), "{name}");
    }
    assert_eq!((head.field("content-length"), head.text()), (Some("10"), ""));
    assert!(client.get("/f").await.is_hit(), "the connection stays");
}

#[tokio::test]
async fn a_204_has_no_length() {
    let world = World::start("").await;
    world.origin.always(
        "/n",
        vec![raw("HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n")],
    );
    let mut client = world.client("client").await;
    for hit in [false, true] {
        let reply = client.get("/n").await;
        assert_eq!((reply.status, reply.field("content-length"), reply.is_hit()), (204, None, hit));
        world.settled().await;
    }
    assert_eq!(client.ask("POST", "/n", &[], b"x").await.field("content-length"), None);
}

#[tokio::test]
async fn what_has_no_date_is_dated_when_it_is_received() {
    let world = World::start("").await;
    world.origin.always(
        "/d",
        vec![raw("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok")],
    );
    let miss = world.get("/d").await;
    let date = miss.field("date").expect("a date").to_owned();
    world.settled().await;
    world.advance(std::time::Duration::from_secs(5));
    let hit = world.get("/d").await;
    assert_eq!((hit.field("date"), hit.field("age")), (Some(date.as_str()), Some("5")));
    assert!(world.client("client").await.ask("POST", "/d", &[], b"").await.field("date").is_some());
}
