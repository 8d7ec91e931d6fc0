//! Each kind of purge hits what it means and nothing else.

use std::time::Duration;

use serde_json::{Value, json};

use super::{OWN, fill, left, post};
use crate::harness::World;

const PLACES: [(&str, &str); 6] = [
    ("www.example.org", "/news/1"),
    ("www.example.org", "/news/2?page=3"),
    ("www.example.org", "/newsletter"),
    ("www.example.org:8080", "/news/1"),
    ("shop.example.org", "/news/1"),
    ("shop.example.org", "/"),
];

async fn hits(body: Value, hit: &[usize]) {
    let world = World::start("").await;
    fill(&world, &PLACES, &[]).await;
    let mut dry = body.clone();
    dry["dry_run"] = json!(true);
    let counted = post(&world, "/v1/purge", &dry).await;
    assert_eq!((&counted["purged"], &counted["sequence"]), (&json!(hit.len()), &Value::Null), "{body}");
    assert_eq!(left(&world, &PLACES).await.len(), PLACES.len(), "{body}: counting purges nothing");
    let mut soft = body.clone();
    soft["soft"] = json!(true);
    assert_eq!(post(&world, "/v1/purge", &soft).await["purged"], json!(hit.len()), "{body} softly");
    let after: Vec<usize> = (0..PLACES.len()).filter(|at| !hit.contains(at)).collect();
    assert_eq!(left(&world, &PLACES).await, after, "{body} softly");
    fill(&world, &PLACES, &[]).await;
    let told = post(&world, "/v1/purge", &body).await;
    assert_eq!((&told["purged"], &told["pending"]), (&json!(hit.len()), &json!(false)), "{body}");
    assert_eq!(left(&world, &PLACES).await, after, "{body}");
    world.until("what is gone to be dropped", |c| c.bans.get() == 0).await;
}

#[tokio::test]
async fn a_url() {
    hits(json!({ "url": "http://www.example.org/news/1" }), &[0]).await;
    hits(json!({ "url": "https://www.example.org/news/2?page=3" }), &[1]).await;
    hits(json!({ "urls": ["http://www.example.org:8080/news/1", "http://shop.example.org"] }), &[3, 5]).await;
    hits(json!({ "url": "/news/1" }), &[0, 3, 4]).await;
}

#[tokio::test]
async fn a_prefix() {
    hits(json!({ "prefix": "http://www.example.org/news/" }), &[0, 1, 3]).await;
    hits(json!({ "prefix": "http://www.example.org:8080/" }), &[3]).await;
    hits(json!({ "prefixes": ["/news/2", "/newsl"] }), &[1, 2]).await;
}

#[tokio::test]
async fn a_host_and_everything() {
    hits(json!({ "host": "www.example.org" }), &[0, 1, 2, 3]).await;
    hits(json!({ "host": "www.example.org:8080" }), &[3]).await;
    hits(json!({ "hosts": ["shop.example.org", "nobody.example.org"] }), &[4, 5]).await;
    hits(json!({ "all": true }), &[0, 1, 2, 3, 4, 5]).await;
}

#[tokio::test]
async fn a_ban() {
    hits(json!({ "ban": "req.url ~ ^/news/" }), &[0, 1, 3, 4]).await;
    hits(json!({ "ban": "req.http.host == shop.example.org && req.url ~ news" }), &[4]).await;
    hits(json!({ "ban": "obj.status == 404" }), &[]).await;
    hits(json!({ "ban": "obj.http.X-Path == \"/newsletter\"" }), &[2]).await;
}

#[tokio::test]
async fn several_kinds_at_once_are_one_invalidation() {
    hits(json!({ "url": "/", "prefix": "/newsl", "host": "www.example.org:8080" }), &[2, 3, 5]).await;
}

#[tokio::test]
async fn a_site_by_its_name() {
    let sites = "[[site]]\nname = \"shop\"\nhosts = [\"shop.example.org\"]\n[[site]]\nname = \"rest\"\nhosts = [\"*\"]";
    let world = World::start(sites).await;
    fill(&world, &PLACES, &[("Surrogate-Key", "a b")]).await;
    assert_eq!(post(&world, "/v1/purge", &json!({ "site": "rest", "tag": "a" })).await["purged"], json!(4));
    assert_eq!(left(&world, &PLACES).await, [4, 5]);
    assert_eq!(post(&world, "/v1/purge", &json!({ "site": "shop" })).await["purged"], json!(2));
    assert_eq!(left(&world, &PLACES).await, [] as [usize; 0]);
    let unknown = post(&world, "/v1/purge", &json!({ "site": "nowhere" })).await;
    assert!(unknown["error"].as_str().is_some_and(|error| error.contains("nowhere")), "{unknown}");
}

#[tokio::test]
async fn a_ban_by_age_means_the_age_at_that_moment() {
    let world = World::start("").await;
    fill(&world, &PLACES[..1], &[]).await;
    world.advance(Duration::from_secs(30));
    fill(&world, &PLACES[4..5], &[]).await;
    let told = post(&world, "/v1/purge", &json!({ "ban": "obj.age > 20s" })).await;
    assert_eq!(told["purged"], json!(1));
    world.advance(Duration::from_secs(25));
    assert_eq!(left(&world, &PLACES).await, [4], "it is older than that now, and was not then");
}

#[tokio::test]
async fn what_was_purged_is_told() {
    let world = World::start("").await;
    fill(&world, &PLACES, &[]).await;
    for path in ["/news/1", "/newsletter"] {
        post(&world, "/v1/purge", &json!({ "url": path })).await;
    }
    let mut operator = world.operator().await;
    let list: Value =
        serde_json::from_slice(&operator.get_with("/v1/purges?count=1", &[OWN]).await.body).expect("JSON");
    let newest = &list["purges"][0];
    assert_eq!(
        (&newest["what"][0]["path_and_query"], &newest["responses"]),
        (&json!("/newsletter"), &json!(1))
    );
    let sequence = newest["sequence"].as_u64().expect("a number");
    let older = operator.get_with(&format!("/v1/purges?before={sequence}"), &[OWN]).await;
    let older: Value = serde_json::from_slice(&older.body).expect("JSON");
    assert_eq!(
        (older["purges"].as_array().map(Vec::len), &older["purges"][0]["responses"]),
        (Some(1), &json!(3))
    );
    assert_eq!(operator.get_with(&format!("/v1/purges/{sequence}"), &[OWN]).await.status, 200);
    assert_eq!(operator.get_with("/v1/purges/999999", &[OWN]).await.status, 404);
    assert_eq!(operator.get_with("/v1/purges?count=x", &[OWN]).await.status, 400);
}
