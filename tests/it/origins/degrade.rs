//! What clients get when nothing else is left.

use std::time::Duration;

use forebay::config::{self, Flags};
use serde_json::Value;

use crate::harness::World;
use crate::harness::origin::{Step, ok, response};
use crate::harness::secure::Directory;

#[tokio::test]
async fn a_page_comes_in_the_form_that_is_wanted_and_says_what_has_happened() {
    let world = World::start("[node]\nname = \"edge\"").await;
    world.origin.otherwise(|_, _| vec![Step::Close]);
    let html = world.get_with("/", &[("Accept", "text/html,*/*;q=0.8")]).await;
    assert_eq!((html.status, html.field("content-type")), (502, Some("text/html; charset=utf-8")));
    assert!(html.text().starts_with("<!doctype html>"), "{}", html.text());
    let json = world.get_with("/", &[("Accept", "application/json")]).await;
    assert_eq!(serde_json::from_slice::<Value>(&json.body).expect("JSON")["status"], 502);
    let text = world.get("/").await;
    assert_eq!(text.field("content-type"), Some("text/plain; charset=utf-8"));
    for reply in [&html, &json, &text] {
        assert_eq!(reply.field("proxy-status"), Some("edge; error=connection_terminated"));
        assert_eq!(reply.field("cache-control"), Some("no-store"));
        assert!(!reply.text().contains("127.0.0.1"), "no origin is named");
    }
}

#[tokio::test]
async fn first_stale_then_a_file_of_the_operators_own() {
    let directory = Directory::new();
    let file = directory.write("sorry.html", "<p>We are sorry.</p>");
    let settings =
        format!("[rules]\nstale_on_error = \"60s\"\nrefresh_backoff = \"0s\"\nfallback = \"file:{file}\"");
    let world = World::start(&settings).await;
    world.origin.on("/x", |_, n| if n == 1 { ok("max-age=5", "good") } else { vec![Step::Close] });
    assert_eq!(world.get("/x").await.text(), "good");
    world.settled().await;
    world.advance(Duration::from_secs(30));
    assert_eq!(world.get("/x").await.text(), "good");
    world.settled().await;
    world.advance(Duration::from_secs(60));
    let reply = world.get_with("/x", &[("Accept", "text/html")]).await;
    assert_eq!((reply.status, reply.text()), (502, "<p>We are sorry.</p>"));
    assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
    let head = world.client("head").await.ask("HEAD", "/x", &[], b"").await;
    assert_eq!((head.status, head.field("content-length"), head.text()), (502, Some("20"), ""));
    let json = world.get_with("/x", &[("Accept", "application/json")]).await;
    assert_eq!(json.field("content-type"), Some("application/json"), "programs get what they understand");

    directory.write("sorry.html", "<p>Another text.</p>");
    let text = World::config_text(&world.origin, &settings);
    world.node.reload(config::read("test", &text, &Flags::default()).expect("a good file"));
    assert_eq!(world.get("/x").await.text(), "<p>Another text.</p>");
}

#[tokio::test]
async fn readers_are_sent_elsewhere_and_writers_are_told() {
    let world = World::start("[rules]\nfallback = \"redirect:https://status.example.org/\"").await;
    world.origin.otherwise(|_, _| vec![Step::Close]);
    let reply = world.get("/").await;
    assert_eq!((reply.status, reply.field("location")), (302, Some("https://status.example.org/")));
    assert_eq!(reply.field("cache-control"), Some("no-store"));
    let reply = world.client("writer").await.ask("POST", "/", &[], b"x").await;
    assert_eq!((reply.status, reply.field("location")), (502, None));
}

#[tokio::test]
async fn the_origin_s_own_errors_are_its_own_unless_they_are_intercepted() {
    for (settings, shown) in
        [("", "a stack trace"), ("[rules]\nintercept_errors = true", "The origin answered")]
    {
        let world = World::start(settings).await;
        world.origin.always("/500", response("500 Oops", &[], "a stack trace"));
        world
            .origin
            .always("/kept", response("500 Oops", &[("Cache-Control", "max-age=60")], "a stack trace"));
        world.origin.always("/404", response("404 Not Found", &[], "nothing here"));
        for path in ["/500", "/kept", "/kept"] {
            let reply = world.get(path).await;
            assert_eq!(reply.status, 500);
            assert!(reply.text().contains(shown), "{path}: {}", reply.text());
        }
        assert_eq!(world.get("/404").await.text(), "nothing here");
        let post = world.client("writer").await.ask("POST", "/500", &[], b"x").await;
        assert_eq!(post.text(), "a stack trace", "writers need to know");
    }
}

#[tokio::test]
async fn on_a_hidden_route_what_comes_in_a_moment_is_no_error() {
    let directory = Directory::new();
    let file = directory.write("sorry.html", "<p>We are sorry.</p>");
    let world = World::start(&format!(
        "origin.rate = \"1000/s\"\n[rules]\nmode = \"hidden\"\nfallback = \"file:{file}\"\n[hidden]\nattempts = 1"
    ))
    .await;
    world.origin.otherwise(|_, _| response("500 Oops", &[], "broken"));
    let first = world.get("/x").await;
    assert_eq!(first.status, 503);
    assert!(first.text().contains("being prepared"), "{}", first.text());
    let wait = async { while world.get("/x").await.text() != "<p>We are sorry.</p>" {} };
    world.transcript.within("it to be given up", wait).await;
}

#[test]
fn a_fallback_that_cannot_be_had_is_a_fault() {
    let read = |fallback: &str| {
        let text = format!("[[origin]]\nurl = \"http://a\"\n[rules]\nfallback = \"{fallback}\"");
        config::read("test", &text, &Flags::default()).expect_err("a fault").to_string()
    };
    for (fallback, part) in [
        ("file:/nowhere/sorry.html", "cannot be read"),
        ("file:/etc/passwd", "of no known kind"),
        ("redirect:somewhere", "no URL"),
        ("sorry", "not a fallback"),
    ] {
        let faults = read(fallback);
        assert!(faults.contains("rules.fallback") && faults.contains(part), "{faults}");
    }
}
