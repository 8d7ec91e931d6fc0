//! What messages must carry on their way through.

use crate::harness::World;
use crate::harness::origin::response;

const PATH: &str = "/m";

#[tokio::test]
async fn directives_are_passed_on_in_both_directions() {
    let world = World::start("").await;
    let said = "max-age=60, unheard-of=1, no-transform";
    world.origin.always(PATH, response("200 OK", &[("Cache-Control", said)], "content"));
    let asked = [("Cache-Control", "no-transform, unheard-of=2")];
    for method in ["GET", "GET", "POST"] {
        let reply = world.client("client").await.ask(method, PATH, &asked, b"").await;
        assert_eq!(reply.all("cache-control"), [said], "{method}");
        world.settled().await;
    }
    let seen = world.origin.requests();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(seen.field("cache-control"), Some(asked[0].1), "{}", seen.method);
    }
}

#[tokio::test]
async fn answers_without_the_whole_have_the_fields_that_the_whole_has() {
    let world = World::start("").await;
    let fields = [
        ("Cache-Control", "max-age=60"),
        ("Content-Location", "/m.txt"),
        ("Date", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("ETag", "\"v1\""),
        ("Expires", "Fri, 15 Jan 2027 08:01:00 GMT"),
        ("Vary", "Accept"),
    ];
    world.origin.always(PATH, response("200 OK", &fields, "content"));
    world.get(PATH).await;
    world.settled().await;
    for (asked, status) in [(("If-None-Match", "\"v1\""), 304), (("Range", "bytes=0-1"), 206)] {
        let reply = world.get_with(PATH, &[asked]).await;
        assert_eq!((reply.status, reply.is_hit()), (status, true));
        for (name, value) in fields {
            assert_eq!(reply.field(&name.to_lowercase()), Some(value), "{status}: {name}");
        }
    }
}
