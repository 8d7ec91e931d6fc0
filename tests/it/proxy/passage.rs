//! What is between the two ends goes through unchanged and in its order (RFC 9110 5.1, 5.3, 5.5).

use crate::harness::World;
use crate::harness::origin::{Step, ok, raw, response};

#[tokio::test]
async fn unknown_fields_of_a_request_go_on_in_their_order() {
    let world = World::start("").await;
    let fields = [
        ("X-List", "b"),
        ("X-Other", "1"),
        ("X-List", "a, c"),
        ("Authorization", "Basic  dXNlcjpzZWNyZXQ="),
        ("Cache-Control", "max-age=0, x-own=\"1\""),
        ("X-List", ""),
        ("Accept", "text/html;q=0.5, */*"),
    ];
    for method in ["GET", "POST", "PUT"] {
        world.client("client").await.ask(method, "/u", &fields, b"").await;
        let seen = world.origin.requests().pop().expect("a request");
        assert_eq!(seen.method, method);
        assert_eq!(seen.all("x-list"), ["b", "a, c", ""], "{method}");
        for (name, value) in [fields[1], fields[3], fields[4], fields[6]] {
            assert_eq!(seen.all(&name.to_lowercase()), [value], "{method}");
        }
        assert_eq!(seen.field("max-forwards"), None, "{method}");
        world.settled().await;
    }
}

#[tokio::test]
async fn unknown_fields_of_a_response_go_on_in_their_order() {
    let world = World::start("").await;
    let fields = [
        ("Cache-Control", "max-age=60, x-own=1"),
        ("X-List", "b"),
        ("Other-Cache-Control", "no-store"),
        ("X-List", "a, c"),
        ("WWW-Authenticate", "Basic realm=\"x, y\", Own a=b"),
    ];
    world.origin.always("/u", response("200 OK", &fields, "content"));
    for hit in [false, true] {
        let reply = world.get("/u").await;
        assert_eq!(reply.is_hit(), hit);
        assert_eq!(reply.all("x-list"), ["b", "a, c"], "hit: {hit}");
        for (name, value) in [fields[0], fields[2], fields[4]] {
            assert_eq!(reply.all(&name.to_lowercase()), [value], "hit: {hit}");
        }
        world.settled().await;
    }
}

#[tokio::test]
async fn what_other_caches_and_proxies_have_said_stands_before_our_own_word() {
    let world = World::start("").await;
    let fields = [
        ("Cache-Control", "max-age=60"),
        ("Cache-Status", "inner; hit, \"middle\"; fwd=stale"),
        ("Proxy-Status", "inner; received-status=200"),
    ];
    world.origin.always("/s", response("200 OK", &fields, "content"));
    for own in ["forebay; fwd=uri-miss; ttl=60; stored", "forebay; hit; ttl=60"] {
        let reply = world.get("/s").await;
        assert_eq!(reply.all("cache-status").join(", "), format!("inner; hit, \"middle\"; fwd=stale, {own}"));
        assert_eq!(reply.all("proxy-status"), ["inner; received-status=200"]);
        world.settled().await;
    }
}

#[tokio::test]
async fn octets_beyond_ascii_are_left_as_they_are() {
    let world = World::start("").await;
    let head =
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX-Odd: h\u{e9}llo\r\nContent-Length: 2\r\n\r\nok";
    world.origin.always("/o", vec![raw(head)]);
    for hit in [false, true] {
        let reply = world.get_with("/o", &[("X-Odd", "gr\u{fc}n")]).await;
        assert_eq!((reply.field("x-odd"), reply.is_hit()), (Some("h\u{e9}llo"), hit));
        world.settled().await;
    }
    assert_eq!(world.origin.requests()[0].field("x-odd"), Some("gr\u{fc}n"));
}

#[tokio::test]
async fn an_old_client_s_wish_for_another_protocol_is_no_wish() {
    let world = World::start("").await;
    world.origin.otherwise(|_, _| ok("no-store", "content"));
    let mut client = world.client("old").await;
    client
        .send(
            b"GET /u HTTP/1.0\r\nHost: www.example.org\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(client.reply(false).await.text(), "content");
    assert_eq!(world.origin.requests()[0].field("upgrade"), None);
}

#[tokio::test]
async fn a_protocol_is_the_same_in_any_letter_case() {
    let world = World::start("").await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    world.origin.always("/ws", vec![raw(switch), Step::Echo]);
    let mut client = world.client("client").await;
    let reply = client.get_with("/ws", &[("Connection", "UPGRADE"), ("Upgrade", "ECHO")]).await;
    assert_eq!((reply.status, reply.field("upgrade")), (101, Some("echo")));
    client.send(b"ping").await;
    assert_eq!(client.bytes(4).await, b"ping");
}

#[tokio::test]
async fn the_highest_version_is_spoken_whatever_the_other_side_says() {
    let world = World::start("").await;
    world.origin.always("/v", vec![raw("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")]);
    for version in ["1.0", "1.1", "1.7"] {
        let mut client = world.client("client").await;
        client.send(format!("GET /v HTTP/{version}\r\nHost: www.example.org\r\n\r\n").as_bytes()).await;
        assert_eq!(client.bytes(15).await, b"HTTP/1.1 200 OK", "{version}");
    }
    let told =
        world.origin.requests().iter().map(|seen| seen.field("via").map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(told, ["1.0", "1.1", "1.1"].map(|version| Some(format!("{version} forebay"))));
}
