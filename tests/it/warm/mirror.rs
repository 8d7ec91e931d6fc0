//! The static mirror: a complete copy, kept by the node itself, that outlives the origin.

use std::time::Duration;

use serde_json::json;

use super::{HIDDEN, counts, html, pages, robots, sitemap, url, warm};
use crate::harness::World;
use crate::harness::origin::Step;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_node_keeps_a_copy_by_itself_and_asks_for_what_is_stale() {
    let settings = format!("{HIDDEN}\n[warm]\nevery = \"1s\"\nsitemaps = [\"{}\"]", url("/sitemap.xml"));
    let world = World::start(&settings).await;
    // The first run may have found none of this yet; then the next one does.
    robots(&world, "");
    sitemap(&world, "/sitemap.xml", &["/a", "/b"]);
    pages(&world, &["/a", "/b"]);
    world.advance(HOUR);
    world.origin.wait_for("/b", 1).await;
    world.origin.wait_for("/a", 1).await;
    world.until("both to be stored", |c| c.warm_filled.get() >= 3).await;
    assert!(world.get("/a").await.is_hit());
    world.advance(HOUR);
    world.origin.wait_for("/a", 2).await;
    world.origin.wait_for("/b", 2).await;
}

#[tokio::test]
async fn when_the_origin_is_gone_everything_is_served_all_the_same() {
    let world = World::start(&format!("{HIDDEN}\nstale_on_error = \"7d\"")).await;
    robots(&world, "");
    html(&world, "/", "<a href=/a>a</a><img src=/i.png>");
    html(&world, "/a", "<a href=/b>b</a>");
    pages(&world, &["/b", "/i.png"]);
    let job = warm(&world, &json!({ "crawl": [url("/")], "depth": 2 })).await;
    assert_eq!(counts(&job, ["filled", "failed"]), [4, 0], "{job}");
    let paths = ["/", "/a", "/b", "/i.png"];
    for path in ["/robots.txt"].iter().chain(&paths) {
        world.origin.always(path, vec![Step::Reset]);
    }
    world.advance(HOUR * 24 * 6);
    for path in paths {
        let reply = world.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.is_hit() && reply.cache_status().starts_with("hit"), "{}", reply.cache_status());
    }
    // Warming in vain changes nothing of that.
    let job = warm(&world, &json!({ "crawl": [url("/")], "robots": false })).await;
    assert_eq!(counts(&job, ["filled", "failed"]), [0, 1], "{job}");
    assert_eq!(world.get("/").await.status, 200);
}
