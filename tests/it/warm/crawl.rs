//! Pages are warmed with what they show and link to, as far as is asked for and allowed.

use serde_json::json;

use super::{HIDDEN, counts, hits, html, pages, robots, url, warm};
use crate::harness::World;
use crate::harness::origin::response;

#[tokio::test]
async fn links_are_followed_as_far_as_the_depth_and_no_further() {
    let world = World::start(HIDDEN).await;
    robots(&world, "");
    html(
        &world,
        "/",
        "<link rel=stylesheet href=/s.css><a href=one>1</a> <a href=/two>2</a> <a href='#x'>0</a>",
    );
    html(&world, "/one", "<a href=/two>2</a><a href=//elsewhere.example/x>x</a><img src=one.png>");
    html(&world, "/two", "<a href=/three?utm=1>3</a><img srcset='two.png, big.png 2x'><a href=/>up</a>");
    html(&world, "/three?utm=1", "<a href=/four>4</a>");
    pages(&world, &["/s.css", "/one.png", "/two.png", "/big.png"]);
    let job = warm(&world, &json!({ "crawl": [url("/")], "depth": 1 })).await;
    assert_eq!(counts(&job, ["listed", "filled", "failed"]), [7, 7, 0], "{job}");
    assert_eq!(
        hits(&world, &["/", "/one", "/two", "/s.css", "/one.png", "/two.png", "/big.png"]).await,
        [true; 7]
    );
    assert_eq!((world.origin.count("/three?utm=1"), world.origin.count("/four")), (0, 0));
    let job = warm(&world, &json!({ "crawl": [url("/")], "depth": 2 })).await;
    assert_eq!(counts(&job, ["listed", "filled", "fresh"]), [8, 1, 7], "{job}");
    assert_eq!((world.origin.count("/three?utm=1"), world.origin.count("/four")), (1, 0));
}

#[tokio::test]
async fn queries_are_narrowed_before_anything_is_asked_for() {
    let world = World::start(&format!("{HIDDEN}\nquery = [\"id\"]")).await;
    robots(&world, "");
    html(&world, "/", "<a href='/p?id=1&amp;utm=2'>1</a> <a href='/p?utm=3&id=1'>1</a>");
    pages(&world, &["/p?id=1"]);
    let job = warm(&world, &json!({ "crawl": [url("/?utm=4")], "depth": 1 })).await;
    assert_eq!(counts(&job, ["listed", "filled", "failed"]), [2, 2, 0], "{job}");
    assert_eq!(world.origin.count("/p?id=1"), 1);
}

#[tokio::test]
async fn what_robots_txt_forbids_is_not_asked_for() {
    let world = World::start(HIDDEN).await;
    robots(
        &world,
        "User-agent: *\nDisallow: /\n\nUser-agent: forebay\nDisallow: /private/\nAllow: /private/open\n",
    );
    html(&world, "/", "<a href=/private/x>x</a> <a href=/private/open>o</a> <a href=/y>y</a>");
    pages(&world, &["/private/x", "/private/open", "/y"]);
    let job = warm(&world, &json!({ "crawl": [url("/")], "depth": 1 })).await;
    let names = ["listed", "wanted", "filled", "disallowed", "failed", "left"];
    assert_eq!(counts(&job, names), [4, 3, 3, 1, 0, 0], "{job}");
    assert_eq!((world.origin.count("/private/x"), world.origin.count("/robots.txt")), (0, 1));
    let spec = json!({ "crawl": [url("/")], "depth": 1, "robots": false });
    assert_eq!(counts(&warm(&world, &spec).await, ["filled", "disallowed"]), [1, 0]);
    assert_eq!(world.origin.count("/private/x"), 1, "unless the operator says so");
}

#[tokio::test]
async fn a_robots_txt_that_cannot_be_had_forbids_everything_and_one_that_is_not_there_nothing() {
    let world = World::start(HIDDEN).await;
    world.origin.always("/robots.txt", response("500 Internal Server Error", &[], ""));
    pages(&world, &["/a"]);
    let job = warm(&world, &json!({ "urls": [url("/a")] })).await;
    assert_eq!(counts(&job, ["failed"]), [1], "{job}");
    assert!(job["failures"][0]["why"].as_str().is_some_and(|why| why.contains("robots.txt")), "{job}");
    assert_eq!(world.origin.count("/a"), 0);
    let world = World::start(HIDDEN).await;
    world.origin.always("/robots.txt", response("404 Not Found", &[], "nothing here"));
    pages(&world, &["/a"]);
    let job = warm(&world, &json!({ "urls": [url("/a")] })).await;
    assert_eq!(counts(&job, ["filled", "failed"]), [1, 0], "{job}");
}
