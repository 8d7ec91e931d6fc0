//! What is explained of a request is what then becomes of it, and explaining it changes nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::origin::{ok, response};
use crate::hidden::hidden;
use crate::purge::{OWN, post};

const HOST: &str = "www.example.org";

type Header<'a> = (&'a str, &'a str);

/// How the node explains a request of this method for a path of [`HOST`].
async fn explained(world: &World, method: &str, path: &str, fields: &[Header<'_>]) -> Value {
    let headers: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let question = json!({ "method": method, "url": format!("http://{HOST}{path}"), "headers": headers });
    post(world, "/v1/explain", &question).await
}

/// What is counted of requests and of what is done for them. (Gauges follow a ticker.)
async fn counted(world: &World) -> Vec<String> {
    let metrics = world.operator().await.get_with("/metrics", &[OWN]).await.text().to_owned();
    let begins = [
        "forebay_requests",
        "forebay_origin_requests",
        "forebay_collapsed",
        "forebay_ban_tests",
        "forebay_fills",
    ];
    let lines = metrics.lines().filter(|line| begins.iter().any(|begin| line.starts_with(begin)));
    lines.map(str::to_owned).collect()
}

/// Explains a request twice, sees that nothing has changed by that, and takes it in earnest: what
/// was said of status and `Cache-Status` is so. Returns what would be done and why, and all of it.
async fn foretold(world: &World, path: &str, fields: &[Header<'_>]) -> (String, Value) {
    world.settled().await;
    let before = (counted(world).await, world.origin.requests().len());
    explained(world, "GET", path, fields).await;
    let told = explained(world, "GET", path, fields).await;
    assert_eq!((counted(world).await, world.origin.requests().len()), before, "{told:#}");

    let reply = world.get_with(path, fields).await;
    let verdict = &told["verdict"];
    if let Some(status) = verdict["status"].as_u64() {
        assert_eq!(u64::from(reply.status), status, "{told:#}");
    }
    if let Some(begins) = verdict["cache_status"].as_str() {
        let field = reply.field("cache-status").unwrap_or_default();
        assert!(field.starts_with(begins), "{field}: {told:#}");
    }
    let text = |name: &str| verdict[name].as_str().unwrap_or_else(|| panic!("{name} in {told:#}")).to_owned();
    (format!("{} {}", text("does"), text("reason")), told)
}

#[tokio::test]
async fn what_is_explained_is_what_becomes_of_a_request() {
    let settings = "[rules]\nrequest_directives = \"all\"\n[[site]]\nhosts = [\"www.example.org\"]\norigin = \"o\"\n\
                    [[site.route]]\npath = \"/raw/\"\nrules.cache = false\n";
    let world = World::start(settings).await;
    world.origin.always(
        "/a",
        response(
            "200 OK",
            &[("Cache-Control", "max-age=60, stale-while-revalidate=10"), ("ETag", "\"v1\"")],
            "0123456789",
        ),
    );
    world.origin.always("/raw/a", ok("max-age=60", "raw"));
    world.origin.always("/private", ok("private", "mine"));
    let directive = |value| [("Cache-Control", value)];

    assert_eq!(foretold(&world, "/a", &directive("only-if-cached")).await.0, "not-cached only-if-cached");
    let (does, told) = foretold(&world, "/a", &[]).await;
    assert_eq!((does.as_str(), &told["variants"]), ("fetch uri-miss", &json!([])));
    let (does, told) = foretold(&world, "/a", &[]).await;
    assert_eq!((does.as_str(), &told["verdict"]["status"]), ("deliver fresh", &json!(200)));
    let stored = &told["variants"][0];
    assert_eq!(
        (
            &stored["selected"],
            &stored["lifetime_s"],
            &stored["lifetime_from"],
            &stored["etag"],
            &stored["bytes"]
        ),
        (&json!(true), &json!(60), &json!("max-age"), &json!("\"v1\""), &json!(10))
    );
    for (fields, status) in [
        (("If-None-Match", "\"v1\""), 304),
        (("Range", "bytes=2-3"), 206),
        (("Range", "bytes=20-"), 416),
        (("If-None-Match", "\"v2\""), 200),
    ] {
        let (does, told) = foretold(&world, "/a", &[fields]).await;
        assert_eq!(
            (does.as_str(), &told["verdict"]["status"]),
            ("deliver fresh", &json!(status)),
            "{fields:?}"
        );
    }
    assert_eq!(foretold(&world, "/a", &directive("no-cache")).await.0, "validate request");
    assert_eq!(foretold(&world, "/raw/a", &[]).await.0, "pass bypass");
    assert_eq!(foretold(&world, "/private", &[]).await.0, "fetch uri-miss");
    let (_, told) = foretold(&world, "/private", &[]).await;
    assert!(told.to_string().contains("not to be shared"), "{told:#}");

    world.advance(Duration::from_secs(65));
    assert_eq!(foretold(&world, "/a", &[]).await.0, "deliver-stale stale-while-revalidate");
    world.settled().await;
    world.advance(Duration::from_secs(600));
    let (does, told) = foretold(&world, "/a", &[]).await;
    assert_eq!(does, "validate stale");
    assert_eq!(told["verdict"]["conditions"], json!(["if-none-match: \"v1\""]));
}

#[tokio::test]
async fn what_differs_from_a_stored_variant_is_named() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("Vary", "X-Kind")];
    world.origin.always("/v", response("200 OK", &fields, "x"));
    world.get_with("/v", &[("X-Kind", "a")]).await;
    let (does, told) = foretold(&world, "/v", &[("X-Kind", "b")]).await;
    assert_eq!(does, "fetch vary-miss");
    let stored = &told["variants"][0];
    assert_eq!(
        (&stored["selected"], &stored["varies_on"]),
        (&json!(false), &json!([{ "name": "x-kind", "stored": "a", "asked": "b", "same": false }]))
    );
    let (does, told) = foretold(&world, "/v", &[("X-Kind", "a")]).await;
    assert_eq!((does.as_str(), told["variants"].as_array().map(Vec::len)), ("deliver fresh", Some(2)));
}

#[tokio::test]
async fn what_another_client_proves_itself_by_is_not_shown() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("Vary", "X-Auth-Token")];
    world.origin.always("/s", response("200 OK", &fields, "x"));
    world.get_with("/s", &[("X-Auth-Token", "hunter2")]).await;
    world.settled().await;
    let told = explained(&world, "GET", "/s", &[]).await;
    assert_eq!(told["variants"][0]["varies_on"][0]["same"], json!(false));
    assert!(!told.to_string().contains("hunter2"), "{told:#}");
}

#[tokio::test]
async fn what_has_been_purged_is_shown_with_the_purge() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("Surrogate-Key", "news"), ("ETag", "\"v1\"")];
    world.origin.always("/p", response("200 OK", &fields, "x"));
    world.get("/p").await;
    let soft = post(&world, "/v1/purge", &json!({ "tag": "news", "soft": true })).await;
    let (does, told) = foretold(&world, "/p", &[]).await;
    assert_eq!(does, "validate stale");
    assert_eq!(
        (&told["variants"][0]["purged"]["soft"], &told["variants"][0]["purged"]["sequence"]),
        (&json!(true), &soft["sequence"])
    );
    assert_eq!(told["variants"][0]["tags"], json!(["news"]));

    world.settled().await;
    post(&world, "/v1/purge", &json!({ "url": format!("http://{HOST}/p") })).await;
    let (does, told) = foretold(&world, "/p", &[]).await;
    assert_eq!(does, "fetch uri-miss");
    assert!(told.to_string().contains("purged last by"), "{told:#}");
}

#[tokio::test]
async fn on_a_hidden_route_it_is_said_what_would_be_told_and_nothing_is() {
    let world = hidden("", "").await;
    world.origin.always("/h", ok("max-age=60", "x"));
    let told = explained(&world, "GET", "/h", &[]).await;
    assert_eq!(
        (&told["verdict"]["does"], &told["verdict"]["status"]),
        (&json!("queue"), &json!(503)),
        "{told:#}"
    );
    assert!(told.to_string().contains("miss event"), "{told:#}");
    let (events, asked) = (world.counters().fills_kept.get(), world.origin.requests().len());
    assert_eq!((events, asked), (0, 0), "nobody was told");
    let miss = world.get("/h").await;
    assert_eq!(Some(u64::from(miss.status)), told["verdict"]["status"].as_u64());
    world.until("the fill", |counters| counters.fills_kept.get() == 1).await;
    assert_eq!(foretold(&world, "/h", &[]).await.0, "deliver fresh");
    let told = explained(&world, "POST", "/h", &[]).await;
    assert_eq!((&told["verdict"]["does"], &told["verdict"]["status"]), (&json!("refuse"), &json!(405)));
}

#[tokio::test]
async fn what_would_be_refused_or_is_nobodys_is_explained_as_well() {
    let settings = "[[site]]\nhosts = [\"www.example.org\"]\norigin = \"o\"";
    let world = World::start(settings).await;
    for (url, headers, does, status) in [
        ("http://other.example/a", vec![], "refuse", 421),
        ("http://www.example.org/a", vec!["Content-Length: 1", "Content-Length: 2"], "refuse", 400),
    ] {
        let told = post(&world, "/v1/explain", &json!({ "url": url, "headers": headers })).await;
        let verdict = (told["verdict"]["does"].as_str(), told["verdict"]["status"].as_u64());
        assert_eq!(verdict, (Some(does), Some(status)), "{told:#}");
    }
    let other = world.get_with("/a", &[("Host", "other.example")]).await;
    assert_eq!(other.status, 421);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_with_a_reason() {
    let world = World::start("").await;
    for (question, word) in [
        (json!({ "url": "/a" }), "absolute URL"),
        (json!({ "url": "ftp://www.example.org/a" }), "http"),
        (json!({ "url": "http://www.example.org/a", "headers": ["X"] }), "colon"),
        (json!({ "url": "http://www.example.org/a", "method": "G ET" }), "method"),
        (json!({ "adress": "http://www.example.org/a" }), "adress"),
    ] {
        let fields = [OWN, ("Content-Type", "application/json")];
        let reply =
            world.operator().await.ask("POST", "/v1/explain", &fields, question.to_string().as_bytes()).await;
        assert!(
            reply.status == 400 && reply.text().contains(word),
            "{question}: {} {}",
            reply.status,
            reply.text()
        );
    }
    assert_eq!(world.origin.requests().len(), 0);
}
