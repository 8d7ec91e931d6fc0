//! Unsafe methods are passed, and invalidate what they change.

use crate::harness::World;
use crate::harness::origin::{ok, response};

/// A world in which each of these paths is stored.
async fn stored(paths: &[&str]) -> World {
    let world = World::start("").await;
    for path in paths {
        world.origin.always(path, ok("max-age=60", path));
        world.get(path).await;
    }
    world.settled().await;
    world
}

#[tokio::test]
async fn success_invalidates_the_target_and_what_the_answer_names() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        let paths = ["/t", "/new", "/there?x=1", "/else"];
        let world = stored(&paths).await;
        let fields = [("Location", "/new"), ("Content-Location", "http://www.example.org/there?x=1")];
        world.origin.always("/t", response("201 Created", &fields, "done"));
        let reply = world.client("client").await.ask(method, "/t", &[], b"content").await;
        assert_eq!((reply.status, reply.text(), reply.cache_status()), (201, "done", "fwd=method"));
        let seen = world.origin.requests().pop().expect("a request");
        assert_eq!((seen.method.as_str(), seen.body.as_slice()), (method, &b"content"[..]));
        world.settled().await;
        assert_eq!(world.counters().invalidated_by_method.get(), 1);
        for (path, hit) in [("/t", false), ("/new", false), ("/there?x=1", false), ("/else", true)] {
            assert_eq!(world.get(path).await.is_hit(), hit, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn failure_and_safe_methods_invalidate_nothing() {
    for (method, status) in [
        ("POST", "500 Internal Server Error"),
        ("PUT", "404 Not Found"),
        ("DELETE", "503 Service Unavailable"),
        ("OPTIONS", "200 OK"),
    ] {
        let world = stored(&["/t", "/new"]).await;
        world.origin.always("/t", response(status, &[("Location", "/new")], "done"));
        assert_eq!(world.client("client").await.ask(method, "/t", &[], b"").await.text(), "done");
        world.settled().await;
        assert_eq!(world.counters().invalidated_by_method.get(), 0);
        for path in ["/t", "/new"] {
            assert!(world.get(path).await.is_hit(), "{method} {status} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_named_elsewhere_is_left_alone() {
    let world = stored(&["/t", "/new"]).await;
    let fields =
        [("Location", "http://other.example/new"), ("Content-Location", "https://www.example.org/new")];
    world.origin.always("/t", response("200 OK", &fields, "done"));
    world.client("client").await.ask("POST", "/t", &[], b"x").await;
    world.settled().await;
    assert!(world.get("/new").await.is_hit());
    assert!(!world.get("/t").await.is_hit());
}

#[tokio::test]
async fn a_post_that_says_so_answers_get() {
    let world = World::start("").await;
    let fields = [("Cache-Control", "max-age=60"), ("Content-Location", "/p")];
    world.origin.always("/p", response("200 OK", &fields, "posted"));
    let post = world.client("client").await.ask("POST", "/p", &[], b"x").await;
    assert_eq!((post.text(), post.cache_status()), ("posted", "fwd=method; ttl=60; stored"));
    world.settled().await;
    let get = world.get("/p").await;
    assert_eq!((get.text(), get.is_hit()), ("posted", true));
    assert_eq!(world.origin.count("/p"), 1);
    // Another POST goes to the origin all the same.
    world.client("client").await.ask("POST", "/p", &[], b"x").await;
    assert_eq!(world.origin.count("/p"), 2);
}

#[tokio::test]
async fn other_posts_are_not_stored() {
    for fields in [
        vec![("Cache-Control", "max-age=60")],
        vec![("Content-Location", "/p")],
        vec![("Cache-Control", "max-age=60"), ("Content-Location", "/other")],
        vec![("Cache-Control", "no-store, max-age=60"), ("Content-Location", "/p")],
    ] {
        let world = World::start("").await;
        world.origin.always("/p", response("200 OK", &fields, "posted"));
        world.client("client").await.ask("POST", "/p", &[], b"x").await;
        world.settled().await;
        assert!(!world.get("/p").await.is_hit(), "{fields:?}");
        assert_eq!(world.origin.count("/p"), 2);
    }
}
