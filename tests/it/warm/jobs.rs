//! Jobs: how far they have come, who goes before them, and how they end.

use serde_json::{Value, json};

use super::{Directory, HIDDEN, begin, call, counts, hits, pages, robots, until, url, warm};
use crate::harness::World;
use crate::harness::origin::{CHANCE, Gate, Step, ok, response};

/// One request at a time, and nothing else takes long.
const ONE_BY_ONE: &str = "origin.rate = \"1000/s\"\norigin.concurrency = 1\n[rules]\nmode = \"hidden\"";

fn behind(gate: &Gate) -> Vec<Step> {
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(ok("max-age=600", "x"));
    script
}

#[tokio::test]
async fn everything_is_counted_and_the_failures_are_listed() {
    let settings =
        HIDDEN.replace("[rules]", "[[site]]\nname = \"www\"\nhosts = [\"www.example.org\"]\n[rules]");
    let world = World::start(&settings).await;
    robots(&world, "User-agent: *\nDisallow: /no");
    pages(&world, &["/a", "/b"]);
    world.origin.always("/broken", response("500 Internal Server Error", &[], ""));
    world.origin.always("/gone", response("404 Not Found", &[], ""));
    world.origin.always("/secret", ok("no-store", "x"));
    let paths = ["/a", "/b", "/a#again", "/broken", "/gone", "/secret", "/no"];
    let mut urls: Vec<String> = paths.iter().map(|path| url(path)).collect();
    urls.push("http://other.example.org/".to_owned());
    let job = warm(&world, &json!({ "urls": urls, "max_urls": 50 })).await;
    let names =
        ["listed", "wanted", "filled", "fresh", "failed", "left", "skipped", "disallowed", "beyond_limit"];
    assert_eq!(counts(&job, names), [7, 5, 2, 0, 3, 0, 1, 1, 0], "{job}");
    let failures = job["failures"].as_array().expect("a list");
    let why = |path: &str| {
        let of = |failure: &&Value| failure["url"] == json!(url(path));
        failures.iter().find(of).and_then(|failure| failure["why"].as_str()).unwrap_or_default().to_owned()
    };
    assert_eq!(why("/broken"), "the origin failed");
    assert_eq!(why("/gone"), "it answered 404 Not Found");
    assert_eq!(why("/secret"), "the response may not be stored: no-store");
    let job = warm(&world, &json!({ "urls": urls, "max_urls": 2 })).await;
    assert_eq!(counts(&job, ["wanted", "fresh", "beyond_limit"]), [2, 2, 4], "{job}");
}

#[tokio::test]
async fn whoever_waits_goes_before() {
    let world = World::start(ONE_BY_ONE).await;
    let gate = Gate::default();
    robots(&world, "");
    let paths = ["/w0", "/w1", "/w2", "/w3"];
    paths.iter().for_each(|path| world.origin.always(path, behind(&gate)));
    pages(&world, &["/urgent"]);
    let id = begin(&world, &json!({ "urls": paths.map(url) })).await;
    gate.reached(1).await;
    world.until("the others to wait", |c| c.pacer_waiting.get() == 3).await;
    // One client wants something else, and another one the last of what is warmed.
    assert_eq!(world.get("/urgent").await.status, 503);
    assert_eq!(world.get("/w3").await.status, 503);
    world.until("both to be told", |c| c.pacer_waiting.get() == 4 && c.events_merged.get() == 1).await;
    gate.open();
    until(&world, &id, "the job to be done", |job| job["state"] == "done").await;
    let order: Vec<String> = world.origin.requests().iter().map(|seen| seen.target.clone()).collect();
    let mut first = [order[2].as_str(), order[3].as_str()];
    first.sort_unstable();
    assert_eq!((order.len(), first), (6, ["/urgent", "/w3"]), "{order:?}");
}

#[tokio::test]
async fn a_cancelled_job_asks_for_nothing_more() {
    let settings = ONE_BY_ONE.replace("1000/s", "1/h");
    let world = World::start(&settings).await;
    let urls: Vec<String> = (0..30).map(|n| url(&format!("/{n}"))).collect();
    let id = begin(&world, &json!({ "urls": urls, "robots": false })).await;
    world.until("the first to be told", |c| c.events_published.get() == 1).await;
    let (status, job) = call(&world, "DELETE", &format!("/v1/warm/{id}"), &Value::Null).await;
    assert_eq!((status, &job["state"]), (200, &json!("cancelled")), "{job}");
    assert_eq!(counts(&job, ["listed", "left", "filled"]), [30, 30, 0], "{job}");
    world.until("it to end", |c| c.warm_jobs.get() == 0).await;
    // There is room for as many as the origin answers within seconds: here for one.
    assert_eq!(world.counters().events_published.get(), 1);
    let (_, list) = call(&world, "GET", "/v1/warm", &Value::Null).await;
    assert_eq!((&list["jobs"][0]["id"], &list["jobs"][1]), (&json!(id), &Value::Null), "{list}");
    assert_eq!(call(&world, "DELETE", "/v1/warm/none", &Value::Null).await.0, 404);
}

#[tokio::test]
async fn what_is_not_understood_begins_nothing() {
    let world = World::start(HIDDEN).await;
    for (spec, status) in [
        (json!({}), 400),
        (json!({ "urls": ["/a"] }), 400),
        (json!({ "urls": "http://a/" }), 400),
        (json!({ "sitemap": "http://a/" }), 400),
    ] {
        let (told, answer) = call(&world, "POST", "/v1/warm", &spec).await;
        assert_eq!((told, answer["cure"].is_string()), (status, true), "{answer}");
    }
    let proxy = World::start("").await;
    assert_eq!(call(&proxy, "POST", "/v1/warm", &json!({ "urls": ["http://a/"] })).await.0, 409);
}

#[tokio::test]
async fn there_are_so_many_jobs_and_no_more() {
    let world = World::start(&ONE_BY_ONE.replace("1000/s", "1/h")).await;
    for n in 0..8 {
        begin(&world, &json!({ "urls": [url(&format!("/{n}"))], "robots": false })).await;
    }
    let (status, answer) = call(&world, "POST", "/v1/warm", &json!({ "urls": [url("/x")] })).await;
    assert_eq!(status, 409, "{answer}");
}

#[tokio::test]
async fn a_job_goes_on_after_a_restart() {
    let directory = Directory::new("restart");
    let settings = format!("{}{ONE_BY_ONE}", directory.settings());
    let world = World::start(&settings).await;
    let gate = Gate::default();
    robots(&world, "");
    pages(&world, &["/a"]);
    world.origin.always("/b", behind(&gate));
    let id = begin(&world, &json!({ "urls": [url("/a"), url("/b"), url("/c")] })).await;
    until(&world, &id, "the first to be filled", |job| job["filled"] == 1).await;
    gate.reached(1).await;
    let transcript = world.transcript.clone();
    world.node.drain().await;
    let free = async {
        let lock = std::fs::File::open(directory.0.join("lock")).expect("a lock");
        while lock.try_lock().is_err() {
            tokio::time::sleep(CHANCE).await;
        }
    };
    transcript.within("the directory to be free", free).await;
    let kept = directory.0.join("warm").join(format!("{id}.json"));
    assert!(kept.exists());
    // The next world has an origin of its own, where everything is there.
    let world = World::start(&settings).await;
    robots(&world, "");
    pages(&world, &["/a", "/b", "/c"]);
    let job = until(&world, &id, "the job to be done", |job| job["state"] == "done").await;
    assert_eq!(counts(&job, ["listed", "left"]), [3, 0], "{job}");
    assert_eq!(hits(&world, &["/b"]).await, [true]);
    world.until("the job to be over", |c| c.warm_jobs.get() == 0).await;
    assert!(!kept.exists());
    world.node.drain().await;
}
