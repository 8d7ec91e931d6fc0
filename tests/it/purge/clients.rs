//! The bytes of purge clients, as they are sent, and what they must do.

use serde_json::{Value, json};

use super::{fill, left};
use crate::harness::World;

const PLACES: [(&str, &str); 5] = [
    ("www.example.org", "/"),
    ("www.example.org", "/news/1"),
    ("www.example.org", "/news/2"),
    ("www.example.org", "/img/a.png"),
    ("other.example.org", "/news/1"),
];

/// What a client says, and which of [`PLACES`] it hits. All responses have the tags
/// `t1` and `t2`, that at 3 none.
async fn said(lines: &str, hit: &[usize]) -> Value {
    let world = World::start("").await;
    fill(&world, &PLACES[..3], &[("Cache-Tags", "t1, t2,cat_p_1"), ("X-Cache-Tags", "x1")]).await;
    fill(&world, &PLACES[3..4], &[("Content-Type", "image/png")]).await;
    fill(&world, &PLACES[4..], &[("xkey", "t1 o<p")]).await;
    let mut client = world.operator().await;
    client.send(format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).as_bytes()).await;
    let reply = client.reply(false).await;
    assert_eq!(reply.status, 200, "{lines}\n{}", reply.text());
    let after: Vec<usize> = (0..PLACES.len()).filter(|at| !hit.contains(at)).collect();
    assert_eq!(left(&world, &PLACES).await, after, "{lines}\n{}", reply.text());
    assert_eq!(reply.field("x-purged"), Some(hit.len().to_string().as_str()), "{lines}");
    serde_json::from_slice(&reply.body).expect("JSON")
}

#[tokio::test]
async fn foshttpcache() {
    said("PURGE /news/1 HTTP/1.1\nHost: www.example.org\nConnection: Close", &[1]).await;
    said("BAN / HTTP/1.1\nHost: www.example.org\nX-Host: ^www\\.example\\.org$\nX-Url: ^/news/.*\nX-Content-Type: .*", &[1, 2]).await;
    said("BAN / HTTP/1.1\nHost: www.example.org\nX-Host: .*\nX-Url: .*\nX-Content-Type: image/", &[3]).await;
    said("BAN / HTTP/1.1\nHost: www.example.org\nX-Host: .*\nX-Url: .*\nX-Content-Type: .*\nX-Cache-Tags: (^|,)(t1|zz)(,|$)", &[0, 1, 2, 4]).await;
    said("PURGEKEYS / HTTP/1.1\nHost: www.example.org\nxkey-purge: o<p nothing", &[4]).await;
    said("PURGETAGS / HTTP/1.1\nHost: www.example.org\nX-Cache-Tags: o<p,x1", &[0, 1, 2, 4]).await;
    said("PURGE / HTTP/1.1\nHost: www.example.org\nClear-Cache: true", &[0, 1, 2, 3, 4]).await;
    let soft = said("PURGEKEYS / HTTP/1.1\nHost: www.example.org\nxkey-softpurge: cat_p_1", &[0, 1, 2]).await;
    assert_eq!(soft["soft"], json!(true));
}

#[tokio::test]
async fn a_refresh_asks_the_origin_at_once() {
    let world = World::start("[rules]\ngrace = \"1h\"\n[purge]\nallow = [\"127.0.0.1\"]").await;
    fill(&world, &PLACES[1..2], &[]).await;
    for (n, mut asking) in [world.operator().await, world.client("cms").await].into_iter().enumerate() {
        assert_eq!(asking.ask("REFRESH", "/news/1", &[], b"").await.status, 200);
        world.origin.wait_for("/news/1", n + 2).await;
        world.settled().await;
        assert!(world.get("/news/1").await.is_hit(), "it is fresh again");
        assert_eq!(world.origin.count("/news/1"), n + 2);
    }
}

#[tokio::test]
async fn drupal() {
    said("BAN / HTTP/1.1\nHost: www.example.org:80\nUser-Agent: varnish_purger module for Drupal 8.\nCache-Tags: t1|t2", &[0, 1, 2, 4]).await;
    said("BAN / HTTP/1.1\nHost: www.example.org:80\nCache-Tags: cat_p_1", &[0, 1, 2]).await;
    said("URIBAN /img/a.png HTTP/1.1\nHost: www.example.org", &[3]).await;
}

#[tokio::test]
async fn wordpress() {
    said("PURGE /news/2 HTTP/1.1\nHost: www.example.org\nX-Purge-Method: default", &[2]).await;
    said("PURGE /.* HTTP/1.1\nHost: www.example.org\nX-Purge-Method: regex", &[0, 1, 2, 3]).await;
    said("PURGE /news/.* HTTP/1.1\nHost: www.example.org\nX-Purge-Method: regex", &[1, 2]).await;
    said("PURGE / HTTP/1.1\nHost: www.example.org\nX-Purge-Method: ban-regex\nX-Ban-Regex: ^/img/", &[3])
        .await;
    let tags =
        "PURGE / HTTP/1.1\nHost: www.example.org\nX-Purge-Method: tags\nX-Cache-Tags-Pattern: o\\<p|zz";
    assert_eq!(said(tags, &[4]).await["what"], json!(["tag o<p", "tag zz"]));
    // W3 Total Cache
    said(
        "PURGE /news/1 HTTP/1.1\nHost: www.example.org\nUser-Agent: W3 Total Cache\nConnection: close",
        &[1],
    )
    .await;
    said(
        "PURGE /.* HTTP/1.1\nHost: www.example.org\nUser-Agent: W3 Total Cache\nConnection: close",
        &[0, 1, 2, 3],
    )
    .await;
}

#[tokio::test]
async fn magento() {
    // Its Host is the cache's own name, or any other.
    said(
        "PURGE / HTTP/1.1\nHost: 127.0.0.1\nX-Magento-Tags-Pattern: ((^|,)cat_p_1(,|$))|((^|,)cat_p_2(,|$))",
        &[0, 1, 2],
    )
    .await;
    said("PURGE / HTTP/1.1\nHost: 127.0.0.1\nX-Magento-Tags-Pattern: .*", &[0, 1, 2, 3, 4]).await;
}

#[tokio::test]
async fn mediawiki_squid_and_plone() {
    said(
        "PURGE http://www.example.org/news/1 HTTP/1.1\nHost: www.example.org\nProxy-Connection: Keep-Alive",
        &[1],
    )
    .await;
    said("PURGE http://other.example.org/news/1 HTTP/1.1\nHost: 127.0.0.1", &[4]).await;
}

#[tokio::test]
async fn an_absolute_target_goes_before_the_host_and_a_url_in_a_query_is_none() {
    said("PURGE http://other.example.org/news/* HTTP/1.1\nHost: 127.0.0.1", &[4]).await;
    said("PURGE http://other.example.org/.* HTTP/1.1\nHost: www.example.org", &[4]).await;
    said("PURGE /fetch?u=http://www.example.org/* HTTP/1.1\nHost: www.example.org", &[]).await;
    said("BAN /fetch?u=http://www.example.org HTTP/1.1\nHost: www.example.org", &[]).await;
}

#[tokio::test]
async fn api_platform_shopware_souin_and_fastly() {
    said("BAN / HTTP/1.1\nHost: www.example.org\nApiPlatform-Ban-Regex: (t2|/nothing)($|\\,)", &[0, 1, 2])
        .await;
    said("PURGE / HTTP/1.1\nHost: www.example.org\nxkey: t2 zz", &[0, 1, 2]).await;
    said("BAN / HTTP/1.1\nHost: www.example.org", &[0, 1, 2, 3]).await;
    said("PURGE / HTTP/1.1\nHost: www.example.org\nSurrogate-Key: zz, t2", &[0, 1, 2]).await;
    let soft = said("PURGE /news/1 HTTP/1.1\nHost: www.example.org\nFastly-Soft-Purge: 1", &[1]).await;
    assert_eq!(soft["soft"], json!(true));
}

#[tokio::test]
async fn prefixes_as_nginx_has_them_and_patterns_that_are_really_patterns() {
    said("PURGE /news/* HTTP/1.1\nHost: www.example.org", &[1, 2]).await;
    let pattern = "BAN / HTTP/1.1\nHost: www.example.org\nX-Host: .*\nX-Url: .*\nX-Content-Type: .*\nX-Cache-Tags: x[0-9]";
    assert_eq!(said(pattern, &[0, 1, 2]).await["what"], json!(["ban obj.http.x-cache-tags ~ x[0-9]"]));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_the_reason() {
    let world = World::start("").await;
    for (lines, why) in [
        ("PURGE / HTTP/1.1\nHost: www.example.org\nX-Purge-Method: everything", "x-purge-method"),
        ("PURGEKEYS / HTTP/1.1\nHost: www.example.org", "PURGEKEYS needs"),
        ("BAN / HTTP/1.1\nHost: www.example.org\nX-Url: (?=x)", "look-ahead"),
        ("BAN / HTTP/1.1\nHost: www.example.org\nX-Url: (a", "unclosed group"),
        ("PURGE / HTTP/1.1\nHost: www.example.org\nxkey: ,", "names no tag"),
        ("PURGE / HTTP/1.1\nHost: www.example.org\nFastly-Soft-Purge: maybe", "neither 0 nor 1"),
    ] {
        let mut client = world.operator().await;
        client.send(format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).as_bytes()).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.status, 400, "{lines}\n{}", reply.text());
        assert!(reply.text().contains(why), "{lines}\n{}", reply.text());
    }
}
