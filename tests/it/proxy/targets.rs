//! One resource has one name, however its request is written.

use crate::harness::World;
use crate::harness::origin::ok;

#[tokio::test]
async fn the_absolute_form_goes_before_host() {
    let world = World::start("").await;
    world.origin.always("/a?b", ok("max-age=60", "content"));
    let mut client = world.client("client").await;
    client.send(b"GET http://WWW.example.org:80/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    assert_eq!(client.reply(false).await.text(), "content");
    world.settled().await;
    let seen = &world.origin.requests()[0];
    assert_eq!((seen.target.as_str(), seen.all("host")), ("/a?b", vec!["www.example.org"]));
    assert!(client.get("/a?b").await.is_hit());
}

#[tokio::test]
async fn dot_segments_and_needless_triplets_go() {
    let world = World::start("").await;
    world.origin.always("/a/b", ok("max-age=60", "content"));
    world.get("/a/b").await;
    world.settled().await;
    for same in ["/a/./b", "/x/../a/b", "/a/%62", "/%61/c/%2E%2e/b", "/../a/b"] {
        assert!(world.get(same).await.is_hit(), "{same}");
    }
    assert_eq!(world.origin.requests().len(), 1);
    for (asked, told) in [("/a/../../c", "/c"), ("/a%2fb", "/a%2Fb"), ("/A/b", "/A/b"), ("/a/b/", "/a/b/")] {
        world.get(asked).await;
        assert_eq!(world.origin.requests().pop().expect("a request").target, told);
    }
}

#[tokio::test]
async fn the_host_is_compared_without_case_and_own_port() {
    let world = World::start("").await;
    world.origin.always("/h", ok("max-age=60", "content"));
    for (host, count) in [
        ("www.example.org", 1),
        ("WWW.Example.Org", 1),
        ("www.example.org:80", 1),
        ("www.example.org:8080", 2),
        ("example.org", 3),
    ] {
        world.get_with("/h", &[("Host", host)]).await;
        world.settled().await;
        assert_eq!(world.origin.count("/h"), count, "{host}");
    }
    assert_eq!(world.origin.requests()[1].field("host"), Some("www.example.org:8080"));
}
