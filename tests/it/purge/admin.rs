//! The operators' port: what it does, and what it refuses with a cure.

use serde_json::Value;

use super::OWN;
use crate::harness::origin::{ok, response};
use crate::harness::{Reply, World};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.text()))
}

#[tokio::test]
async fn a_purge_removes_all_variants_and_counts_them() {
    let world = World::start("").await;
    world.origin.on("/x", |seen, _| {
        let fields = [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")];
        response("200 OK", &fields, seen.field("accept-language").unwrap_or("-"))
    });
    for language in ["en", "de", "fr"] {
        world.get_with("/x", &[("Accept-Language", language)]).await;
        world.settled().await;
    }
    assert_eq!(world.purge("http://www.example.org/x").await, 3);
    assert_eq!(world.purge("http://www.example.org/x").await, 0, "nothing left is no error");
    assert!(!world.get_with("/x", &[("Accept-Language", "en")]).await.is_hit());
    assert_eq!(world.counters().purged_responses.get(), 3);
}

#[tokio::test]
async fn a_path_means_the_only_site_whatever_host_it_was_stored_for() {
    let world = World::start("").await;
    world.origin.always("/x", ok("max-age=60", "x"));
    for host in ["www.example.org", "other.example.org:8080"] {
        world.get_with("/x", &[("Host", host)]).await;
        world.settled().await;
    }
    let own = world.node.admin_address().to_string();
    let reply = world.operator().await.ask("PURGE", "/x", &[("Host", &own)], b"").await;
    assert_eq!((reply.status, json(&reply)["purged"].as_u64()), (200, Some(2)));
    for host in ["www.example.org", "other.example.org:8080"] {
        assert!(!world.get_with("/x", &[("Host", host)]).await.is_hit(), "{host}");
    }
}

#[tokio::test]
async fn with_several_sites_a_path_alone_is_refused_and_a_host_says_which() {
    let sites =
        "[[site]]\nname = \"a\"\nhosts = [\"a.example\"]\n[[site]]\nname = \"b\"\nhosts = [\"b.example\"]\n";
    let world = World::start(sites).await;
    world.origin.always("/x", ok("max-age=60", "x"));
    for host in ["a.example", "b.example"] {
        world.get_with("/x", &[("Host", host)]).await;
        world.settled().await;
    }
    let own = world.node.admin_address().to_string();
    let refused = world.operator().await.ask("PURGE", "/x", &[("Host", &own)], b"").await;
    assert_eq!(refused.status, 400);
    assert!(json(&refused)["cure"].as_str().is_some_and(|cure| cure.contains("Host")), "{}", refused.text());
    let purged = world.operator().await.ask("PURGE", "/x", &[("Host", "a.example")], b"").await;
    assert_eq!(json(&purged)["purged"], 1);
    assert!(world.get_with("/x", &[("Host", "b.example")]).await.is_hit());
    let nowhere = world.operator().await.ask("PURGE", "/x", &[("Host", "c.example")], b"").await;
    assert_eq!(nowhere.status, 400, "a silent nothing would be worse");
}

#[tokio::test]
async fn json_purges_several_and_softly() {
    let world = World::start("").await;
    for path in ["/a", "/b"] {
        world.origin.always(path, ok("max-age=60, stale-while-revalidate=60", path));
        world.get(path).await;
        world.settled().await;
    }
    let call = br#"{"urls": ["http://www.example.org/a", "http://www.example.org/b"], "soft": true}"#;
    let reply = world.operator().await.ask("POST", "/v1/purge", &[JSON, OWN], call).await;
    let answer = json(&reply);
    assert_eq!((answer["purged"].as_u64(), answer["durable"].as_bool()), (Some(2), Some(false)));
    let stale = world.get("/a").await;
    assert!(stale.cache_status().contains("detail=stale-while-revalidate"), "{}", stale.cache_status());
    world.settled().await;
    assert!(world.get("/a").await.is_hit());
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said_with_a_cure() {
    let world = World::start("").await;
    let rows: [(&str, &str, &[(&str, &str)], &[u8], u16); 10] = [
        ("POST", "/v1/purge", &[JSON, OWN], b"{", 400),
        ("POST", "/v1/purge", &[JSON, OWN], b"{}", 400),
        ("POST", "/v1/purge", &[JSON, OWN], br#"{"uri": "http://a/"}"#, 400),
        ("POST", "/v1/purge", &[JSON, OWN], br#"{"url": "ftp://a/"}"#, 400),
        ("POST", "/v1/purge", &[OWN], br#"{"url": "http://a/"}"#, 415),
        (
            "POST",
            "/v1/purge",
            &[JSON, OWN, ("Origin", "http://evil.example")],
            br#"{"url": "http://a/"}"#,
            403,
        ),
        ("GET", "/v1/config", &[("Host", "rebound.example")], b"", 403),
        ("GET", "/v1/config", &[OWN, ("Sec-Fetch-Site", "cross-site")], b"", 403),
        ("GET", "/v1/purge", &[OWN], b"", 405),
        ("GET", "/nowhere", &[OWN], b"", 404),
    ];
    for (method, path, fields, body, status) in rows {
        let reply = world.operator().await.ask(method, path, fields, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        let answer = json(&reply);
        for part in ["error", "cure"] {
            assert!(answer[part].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {answer}");
        }
    }
    assert_eq!(world.counters().admin_refused.get(), 10);
    assert_eq!(world.counters().purges.get(), 0);
}

#[tokio::test]
async fn the_calls_answer() {
    let world = World::start("").await;
    world.origin.always("/a", ok("max-age=60", "a"));
    world.get("/a").await;
    world.settled().await;
    let get = async |path| world.operator().await.get_with(path, &[OWN]).await;
    assert_eq!(json(&get("/livez").await)["live"], true);
    assert_eq!(json(&get("/readyz").await)["ready"], true);
    assert_eq!(json(&get("/v1/stats").await)["forebay_store_keys"], 1);
    assert_eq!(json(&get("/v1/config").await)["store"]["memory"], "512MiB");
    assert!(json(&get("/").await)["calls"].as_array().is_some_and(|calls| calls.len() > 5));
    let metrics = get("/metrics").await;
    assert!(
        metrics.text().lines().any(|line| line == "forebay_requests_total{outcome=\"miss\"} 1"),
        "{}",
        metrics.text()
    );
    let reload = world.operator().await.ask("POST", "/v1/reload", &[JSON, OWN], b"").await;
    assert_eq!(reload.status, 422, "this node was not started from a file");
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere_but_at_livez() {
    let world = World::start("admin.token = \"sesame\"").await;
    let ask =
        async |path, fields: &[(&str, &str)]| world.operator().await.get_with(path, fields).await.status;
    assert_eq!(ask("/livez", &[OWN]).await, 200);
    assert_eq!(ask("/metrics", &[OWN]).await, 401);
    assert_eq!(ask("/metrics", &[OWN, ("Authorization", "Bearer sesam")]).await, 401);
    assert_eq!(ask("/metrics", &[OWN, ("Authorization", "Bearer sesamee")]).await, 401);
    assert_eq!(ask("/metrics", &[OWN, ("Authorization", "Basic sesame")]).await, 401);
    assert_eq!(ask("/metrics", &[OWN, ("Authorization", "bearer sesame")]).await, 200);
    let config =
        world.operator().await.get_with("/v1/config", &[OWN, ("Authorization", "Bearer sesame")]).await;
    assert!(!config.text().contains("sesame"), "{}", config.text());
}
