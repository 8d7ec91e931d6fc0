//! Warming: what it fills, whom it obeys, and that it comes after everybody who waits.

mod crawl;
mod jobs;
mod mirror;
mod program;
mod sitemap;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::origin::{ok, response};
use crate::harness::{World, breathe};

/// Everything is hidden, and nothing takes long.
const HIDDEN: &str =
    "origin.rate = \"1000/s\"\n[hidden]\nattempts = 1\nretry_pause = \"1ms\"\n[rules]\nmode = \"hidden\"";

const JSON: [(&str, &str); 2] = [("Host", "127.0.0.1"), ("Content-Type", "application/json")];

/// An empty directory of this name, that goes when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-it-warm-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    fn settings(&self) -> String {
        format!("[node]\nstate = {:?}\n", self.0.display().to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The URL of a path, as clients ask for it.
fn url(path: &str) -> String {
    format!("http://www.example.org{path}")
}

/// The answer to a call of the admin port.
async fn call(world: &World, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = world.operator().await.ask(method, path, &JSON, body.as_bytes()).await;
    (reply.status, serde_json::from_slice(&reply.body).expect("JSON"))
}

/// Begins a job, and returns its id.
async fn begin(world: &World, spec: &Value) -> String {
    let (status, job) = call(world, "POST", "/v1/warm", spec).await;
    assert_eq!((status, &job["state"]), (202, &json!("running")), "{job}");
    job["id"].as_str().expect("an id").to_owned()
}

/// Waits until a job is as wanted.
async fn until(world: &World, id: &str, why: &str, is: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/warm/{id}");
    let wait = async {
        loop {
            let (status, job) = call(world, "GET", &path, &Value::Null).await;
            assert_eq!(status, 200, "{job}");
            if is(&job) {
                return job;
            }
            breathe().await;
        }
    };
    world.transcript.within(why, wait).await
}

/// Runs a job to its end.
async fn warm(world: &World, spec: &Value) -> Value {
    let id = begin(world, spec).await;
    until(world, &id, "the job to be done", |job| job["state"] == "done").await
}

/// Numbers of a job, by name.
fn counts<const N: usize>(job: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| job[name].as_u64().unwrap_or_else(|| panic!("{name} in {job}")))
}

/// Pages that say nothing, fresh for ten minutes.
fn pages(world: &World, paths: &[&str]) {
    for path in paths {
        world.origin.always(path, ok("max-age=600", "x"));
    }
}

/// A page of HTML, fresh for ten minutes.
fn html(world: &World, path: &str, body: &str) {
    let fields = [("Cache-Control", "max-age=600"), ("Content-Type", "text/html; charset=utf-8")];
    world.origin.always(path, response("200 OK", &fields, body));
}

/// What the host says to robots.
fn robots(world: &World, text: &str) {
    world.origin.always("/robots.txt", ok("max-age=600", text));
}

/// A sitemap of these paths.
fn sitemap(world: &World, path: &str, paths: &[&str]) {
    let entries: String = paths.iter().map(|path| format!("<url><loc>{}</loc></url>", url(path))).collect();
    world
        .origin
        .always(path, ok("max-age=600", &format!("<?xml version=\"1.0\"?><urlset>{entries}</urlset>")));
}

/// Whether each of these paths is answered by a fresh stored response.
async fn hits(world: &World, paths: &[&str]) -> Vec<bool> {
    let mut hits = Vec::new();
    for path in paths {
        hits.push(world.get(path).await.is_hit());
    }
    hits
}
