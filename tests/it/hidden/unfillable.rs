//! What is no fill: responses that may not be stored, failures, and the answers of rate
//! limiters. The key is left alone for a growing time, and somebody is told why.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{filled, fills, gated, hidden, proxy_status, retry_after, until_decided};
use crate::cluster::command::run;
use crate::harness::origin::{Gate, Script, Step, ok, raw, response};
use crate::harness::{World, breathe};
use crate::purge::{OWN, post};

#[tokio::test]
async fn a_response_that_may_not_be_stored_is_502_and_says_why() {
    let world = hidden("", "[store]\nmemory = \"1MiB\"\nmax_response_percent = 10\n").await;
    let large = "x".repeat(150_000);
    let rows: &[(&str, Script)] = &[
        ("no-store", ok("no-store", "x")),
        ("private", ok("private", "x")),
        ("set-cookie", response("200 OK", &[("Cache-Control", "max-age=9"), ("Set-Cookie", "a=b")], "x")),
        ("vary-star", response("200 OK", &[("Cache-Control", "max-age=9"), ("Vary", "*")], "x")),
        ("vary", response("200 OK", &[("Cache-Control", "max-age=9"), ("Vary", "Cookie")], "x")),
        ("too-large", ok("max-age=9", &large)),
        ("no-use", ok("no-cache", "x")),
        ("no-store", response("404 Not Found", &[("Cache-Control", "no-store")], "x")),
    ];
    for (n, (reason, script)) in rows.iter().enumerate() {
        let path = format!("/{n}");
        world.origin.always(&path, script.clone());
        let reply = until_decided(&world, &path).await;
        assert_eq!(reply.status, 502, "{reason}");
        let said = format!("error=proxy_internal_response; details=\"{reason}\"");
        assert_eq!(proxy_status(&reply), said);
        assert!((1..=9).contains(&retry_after(&reply)), "until the key is asked for again");
        assert_eq!(world.origin.count(&path), 1, "{reason}: it is held down");
    }
    let c = world.counters();
    assert_eq!((c.fills_kept.get(), c.store_inserted.get()), (0, 0));
    assert_eq!(c.worker_not_storable.get() + c.fills_refused_not_storable.get(), rows.len() as u64);
    assert_eq!(c.misses_held_down.get(), rows.len() as u64);
}

/// Asks without a pause until the origin was asked `n` times.
async fn asked(world: &World, path: &str, n: usize) {
    let mut client = world.client("impatient").await;
    let asking = async {
        while world.origin.count(path) < n {
            client.get(path).await;
            breathe().await;
        }
    };
    world.transcript.within("the origin to be asked again and again", asking).await;
}

#[tokio::test]
async fn a_key_is_held_down_for_longer_each_time_and_a_fill_forgives() {
    let world = hidden("", "[hidden]\nhold_down = \"100ms\"\n").await;
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    world.origin.on("/a", move |_, n| {
        noted.lock().expect("times").push(Instant::now());
        if n == 4 { ok("max-age=60", "at last") } else { ok("no-store", "x") }
    });
    asked(&world, "/a", 4).await;
    for (n, pair) in times.lock().expect("times").windows(2).enumerate() {
        let pause = Duration::from_millis(100 << n);
        assert!(pair[1] - pair[0] >= pause, "{n}: {:?}", pair[1] - pair[0]);
    }
    fills(&world, 1).await;
    assert_eq!(world.get("/a").await.text(), "at last");
    assert_eq!(world.counters().leases_expired.get(), 0);
}

#[tokio::test]
async fn a_failure_is_tried_again_after_a_pause() {
    let world = hidden("", "").await;
    world.origin.on("/a", |_, n| match n {
        1 => response("500 Oops", &[("Cache-Control", "max-age=60")], "broken"),
        _ => ok("max-age=60", "good"),
    });
    let began = Instant::now();
    assert_eq!(world.get("/a").await.status, 503);
    fills(&world, 1).await;
    assert!(began.elapsed() >= Duration::from_millis(950), "after a second: {:?}", began.elapsed());
    assert_eq!(world.get("/a").await.text(), "good");
    let c = world.counters();
    assert_eq!((c.worker_failures.get(), c.events_retried.get(), c.events_dead.get()), (1, 1, 0));
}

/// Answers that say nothing of the page.
fn failures() -> Vec<(&'static str, Script)> {
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhalf";
    vec![
        ("500", response("500 Oops", &[("Cache-Control", "max-age=60")], "x")),
        ("503", response("503 Busy", &[], "x")),
        ("408", response("408 Timeout", &[("Cache-Control", "max-age=60")], "x")),
        ("429", response("429 Slow Down", &[("Cache-Control", "max-age=60")], "x")),
        ("431", response("431 Large", &[("Cache-Control", "max-age=60")], "x")),
        (
            "partial",
            response("206 Part", &[("Cache-Control", "max-age=60"), ("Content-Range", "bytes 0-0/9")], "x"),
        ),
        ("unasked 304", vec![raw("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n")]),
        ("broken off", vec![raw(head), Step::Close]),
        ("reset", vec![Step::Reset]),
        ("nonsense", vec![raw("SSH-2.0-x\r\n\r\n"), Step::Close]),
        ("silence", vec![Step::Wait(Gate::default())]),
    ]
}

#[tokio::test]
async fn a_failure_is_no_fill_and_in_the_end_a_dead_letter() {
    for (why, script) in failures() {
        let settings = "origin.first_byte_timeout = \"50ms\"\n[hidden]\nattempts = 1\n";
        let world = hidden("", settings).await;
        world.origin.always("/a", script);
        assert_eq!(world.get("/a").await.status, 503, "{why}");
        let reply = until_decided(&world, "/a").await;
        assert_eq!(reply.status, 503, "{why}: {reply:?}");
        assert_eq!(proxy_status(&reply), "error=destination_unavailable; details=\"failed\"", "{why}");
        assert!((1..=9).contains(&retry_after(&reply)), "{why}: until it is tried again");
        let c = world.counters();
        assert_eq!((c.events_dead.get(), c.fills_kept.get(), c.store_inserted.get()), (1, 0, 0), "{why}");
        assert_eq!(world.origin.count("/a"), 1, "{why}: held down");
    }
}

#[tokio::test]
async fn a_failure_leaves_what_is_stored_and_it_is_served_on() {
    let world = hidden("", "[hidden]\nattempts = 1\nhold_down = \"50ms\"\n").await;
    world.origin.on("/a", |_, n| match n {
        1 => ok("max-age=5", "old"),
        2 => response("503 Broken", &[], "broken"),
        _ => ok("max-age=5", "new"),
    });
    filled(&world, "/a").await;
    world.advance(Duration::from_secs(10));
    assert_eq!(world.get("/a").await.text(), "old");
    world.until("the failure", |c| c.events_dead.get() == 1).await;
    let reply = world.get("/a").await;
    assert_eq!((reply.status, reply.text()), (200, "old"));
    asked(&world, "/a", 3).await;
    fills(&world, 2).await;
    assert_eq!(world.get("/a").await.text(), "new");
}

#[tokio::test]
async fn an_origin_that_says_when_is_left_alone_until_then() {
    for status in ["429 Slow Down", "503 Busy"] {
        let world = hidden("", "[hidden]\nattempts = 1\n").await;
        world.origin.always("/a", response(status, &[("Retry-After", "1")], "x"));
        world.origin.always("/b", ok("max-age=60", "b"));
        world.get("/a").await;
        world.until("the origin to have said so", |c| c.events_dead.get() == 1).await;
        let said = Instant::now();
        assert_eq!(world.get("/b").await.status, 503);
        fills(&world, 1).await;
        assert!(said.elapsed() >= Duration::from_millis(900), "{status}: {:?}", said.elapsed());
    }
}

#[tokio::test]
async fn an_origin_that_fails_in_a_row_is_left_alone_and_then_tried() {
    let world = hidden("", "[hidden]\nattempts = 1\n").await;
    world.origin.always("/good", ok("max-age=60", "good"));
    for n in 1..=5 {
        let path = format!("/{n}");
        world.origin.always(&path, response("500 Oops", &[], "x"));
        world.get(&path).await;
        world.until("the failure", |c| c.events_dead.get() == n).await;
    }
    let failed = Instant::now();
    assert_eq!(world.get("/good").await.status, 503);
    fills(&world, 1).await;
    assert!(failed.elapsed() >= Duration::from_millis(900), "{:?}", failed.elapsed());
    assert_eq!(world.get("/good").await.text(), "good");
}

#[tokio::test]
async fn that_there_is_nothing_is_known_for_a_moment() {
    let world = hidden("", "").await;
    world.origin.always("/gone", response("410 Gone", &[], "gone"));
    world.origin.always("/404", response("404 Not Found", &[("Cache-Control", "max-age=60")], "no"));
    let gone = filled(&world, "/gone").await;
    assert_eq!((gone.status, gone.text(), gone.is_hit()), (410, "gone", true));
    assert_eq!(filled(&world, "/404").await.status, 404);
    world.advance(Duration::from_secs(11));
    assert_eq!(world.get("/404").await.status, 404, "as long as the origin says");
    assert_eq!(world.get("/gone").await.status, 503, "and ten seconds where it does not: no stale error");
    fills(&world, 3).await;
}

#[tokio::test]
async fn a_body_beyond_what_goes_through_the_queue_is_kept_as_well() {
    let world = hidden("", "[hidden]\ninline_max = \"1KiB\"\n").await;
    let large = "0123456789".repeat(20_000);
    world.origin.always("/large", ok("max-age=60", &large));
    assert_eq!(filled(&world, "/large").await.body.len(), large.len());
    let gate = Gate::default();
    gated(&world, "/next", &gate, "max-age=60");
    gate.open();
    assert_eq!(filled(&world, "/next").await.text(), "1", "and nothing is stuck behind it");
}

/// The URLs of the letters that were given up, and their ids.
async fn dead(world: &World) -> Vec<(String, String)> {
    let reply = world.operator().await.ask("GET", "/v1/queue/o/dead", &[OWN], b"").await;
    let told: Value = serde_json::from_slice(&reply.body).expect("JSON");
    let text = |letter: &Value, name: &str| letter[name].as_str().expect("a text").to_owned();
    let all = told["dead"].as_array().expect("a list");
    all.iter().map(|letter| (text(letter, "url"), text(letter, "id"))).collect()
}

#[tokio::test]
async fn a_dead_letter_is_told_once_more_and_the_others_stay_in_order() {
    let world = hidden("", "origin.concurrency = 1\n[hidden]\nattempts = 1\n").await;
    let urls: Vec<String> = (0..4).map(|n| format!("http://www.example.org/{n}")).collect();
    for n in 0..4 {
        let path = format!("/{n}");
        world.origin.always(&path, response("500 Oops", &[], "x"));
        assert_eq!(world.get(&path).await.status, 503);
        world.until("it to be given up", |c| c.events_dead.get() == n + 1).await;
    }
    let letters = dead(&world).await;
    assert_eq!(letters.iter().map(|(url, _)| url).collect::<Vec<_>>(), urls.iter().collect::<Vec<_>>());
    world.origin.always("/1", ok("max-age=60", "at last"));
    let told = post(&world, "/v1/queue/o/replay", &json!({ "ids": [letters[1].1] })).await;
    assert_eq!(told["replayed"], 1);
    fills(&world, 1).await;
    assert_eq!(world.get("/1").await.text(), "at last");
    let left: Vec<String> = dead(&world).await.into_iter().map(|(url, _)| url).collect();
    assert_eq!(left, [&urls[0], &urls[2], &urls[3]].map(String::clone));
    for (method, path) in [("GET", "/v1/queue/other/dead"), ("POST", "/v1/queue/other/replay")] {
        let fields = [OWN, ("Content-Type", "application/json")];
        assert_eq!(world.operator().await.ask(method, path, &fields, b"").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_origin_of_any_name_has_a_queue_that_can_be_named() {
    let name = "the app/1 \u{e9} 50%25";
    let second = format!(
        "[[origin]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:9\"\nrate = \"1/s\"\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"{name}\"\n"
    );
    let world = hidden("", &second).await;
    let (code, out, err) = run(&world, &["queue", "--dead", name]).await;
    assert_eq!((code, out.as_str()), (Some(0), "nothing was given up\n"), "{err}");
    let (code, out, err) = run(&world, &["queue", "--replay", name]).await;
    assert_eq!((code, out.as_str()), (Some(0), "told 0 events once more\n"), "{err}");
    let (code, _, err) = run(&world, &["queue", "--dead", "the app"]).await;
    assert!(code == Some(1) && err.contains("`the app`"), "{code:?} {err}");
}
