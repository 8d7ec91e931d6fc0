//! What a sitemap lists is there before anybody asks.

use serde_json::json;

use super::{HIDDEN, counts, hits, pages, robots, sitemap, url, warm};
use crate::harness::World;
use crate::harness::origin::{Step, ok, response};

#[tokio::test]
async fn what_a_sitemap_lists_is_a_hit_afterwards() {
    let world = World::start(HIDDEN).await;
    let paths: Vec<String> = (0..20).map(|n| format!("/p{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    robots(&world, "");
    sitemap(&world, "/sitemap.xml", &paths);
    pages(&world, &paths);
    let job = warm(&world, &json!({ "sitemaps": [url("/sitemap.xml")] })).await;
    let names = ["listed", "wanted", "filled", "fresh", "failed", "left", "skipped", "disallowed"];
    assert_eq!(counts(&job, names), [21, 21, 21, 0, 0, 0, 0, 0], "{job}");
    assert_eq!(job["failures"], json!([]));
    assert_eq!(hits(&world, &paths).await, [true; 20]);
    assert_eq!(world.origin.requests().len(), 22, "the pages, the sitemap, and robots.txt, once each");
    assert_eq!(world.counters().warm_filled.get(), 21);
    // What is warmed is known to exist.
    assert_eq!(world.counters().fills_kept.get(), 22);
    let job = warm(&world, &json!({ "sitemaps": [url("/sitemap.xml")] })).await;
    assert_eq!(counts(&job, ["listed", "filled", "fresh"]), [21, 0, 21], "{job}");
    assert_eq!(world.origin.requests().len(), 22, "nothing that is fresh is asked for");
}

#[tokio::test]
async fn an_index_leads_to_further_sitemaps_and_no_other_site() {
    let world = World::start(HIDDEN).await;
    robots(&world, "");
    let entries = [url("/s1.xml"), url("/s1.xml"), "http://other.example.org/s.xml".to_owned()];
    let entries = entries.map(|loc| format!("<sitemap><loc>{loc}</loc></sitemap>")).concat();
    world.origin.always("/index.xml", ok("max-age=600", &format!("<sitemapindex>{entries}</sitemapindex>")));
    sitemap(&world, "/s1.xml", &["/a", "/b", "/a"]);
    pages(&world, &["/a", "/b"]);
    let job = warm(&world, &json!({ "sitemaps": [url("/index.xml")] })).await;
    assert_eq!(counts(&job, ["listed", "filled", "failed", "skipped"]), [5, 4, 0, 1], "{job}");
    assert_eq!(hits(&world, &["/a", "/b"]).await, [true; 2]);
    let hosts: Vec<_> =
        world.origin.requests().iter().filter_map(|seen| seen.field("host").map(str::to_owned)).collect();
    assert!(hosts.iter().all(|host| host == "www.example.org"), "{hosts:?}");
}

#[tokio::test]
async fn a_packed_sitemap_is_read_and_a_moved_one_is_found() {
    use std::io::Write;
    let world = World::start(HIDDEN).await;
    robots(&world, "");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed
        .write_all(format!("<urlset><url><loc>{}</loc></url></urlset>", url("/a")).as_bytes())
        .expect("packed");
    let packed = packed.finish().expect("packed");
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {}\r\n\r\n", packed.len())
            .into_bytes();
    bytes.extend(packed);
    world.origin.always("/sitemap.xml.gz", vec![Step::Send(bytes)]);
    let moved = [("Cache-Control", "max-age=600"), ("Location", "/sitemap.xml.gz")];
    world.origin.always("/sitemap.xml", response("301 Moved Permanently", &moved, ""));
    pages(&world, &["/a"]);
    let job = warm(&world, &json!({ "sitemaps": [url("/sitemap.xml")] })).await;
    assert_eq!(counts(&job, ["listed", "filled", "failed"]), [3, 3, 0], "{job}");
    assert_eq!(hits(&world, &["/a"]).await, [true]);
}

#[tokio::test]
async fn what_is_no_sitemap_is_told() {
    let world = World::start(HIDDEN).await;
    robots(&world, "");
    pages(&world, &["/sitemap.xml"]);
    let job = warm(&world, &json!({ "sitemaps": [url("/sitemap.xml")] })).await;
    assert_eq!(counts(&job, ["listed", "failed"]), [1, 1], "{job}");
    let why = job["failures"][0]["why"].as_str().expect("a reason");
    assert!(why.starts_with("it is no sitemap"), "{job}");
}

#[tokio::test]
async fn both_variants_are_warmed_where_they_differ() {
    let world = World::start(HIDDEN).await;
    robots(&world, "");
    world.origin.on("/a", |seen, _| {
        let body = seen.field("accept-encoding").unwrap_or("plain").to_owned();
        response("200 OK", &[("Cache-Control", "max-age=600"), ("Vary", "Accept-Encoding")], &body)
    });
    let job = warm(&world, &json!({ "urls": [url("/a")] })).await;
    assert_eq!(counts(&job, ["listed", "filled"]), [1, 1], "{job}");
    for (coding, body) in [("br, gzip", "gzip"), ("br", "plain")] {
        let reply = world.get_with("/a", &[("Accept-Encoding", coding)]).await;
        assert!(reply.is_hit(), "{coding}");
        assert_eq!(reply.text(), body);
    }
    assert_eq!(world.origin.count("/a"), 2);
}
