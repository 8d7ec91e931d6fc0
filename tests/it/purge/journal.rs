//! What was purged is remembered across restarts, where there is a place for it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{OWN, fill, post};
use crate::harness::World;
use crate::harness::origin::CHANCE;

/// An empty directory of this name, that goes when the test ends.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-it-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    pub fn settings(&self) -> String {
        format!("[node]\nstate = {:?}", self.path())
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn purges(world: &World) -> Vec<Value> {
    let reply = world.operator().await.get_with("/v1/purges", &[OWN]).await;
    let list: Value = serde_json::from_slice(&reply.body).expect("JSON");
    list["purges"].as_array().expect("a list").clone()
}

/// Ends a world and waits until its journal is free.
pub async fn end(world: World, directory: &Directory) {
    let transcript = world.transcript.clone();
    world.node.drain().await;
    let free = async {
        let lock = std::fs::File::open(directory.0.join("lock")).expect("a lock");
        while lock.try_lock().is_err() {
            tokio::time::sleep(CHANCE).await;
        }
    };
    transcript.within("the journal to be free", free).await;
}

#[tokio::test]
async fn purges_survive_a_restart_and_their_numbers_grow() {
    let directory = Directory::new("restart");
    let world = World::start(&directory.settings()).await;
    fill(&world, &[("www.example.org", "/x")], &[]).await;
    let first = post(&world, "/v1/purge", &json!({ "url": "/x" })).await;
    assert_eq!((&first["durable"], &first["purged"]), (&json!(true), &json!(1)), "{first}");
    let second = post(&world, "/v1/purge", &json!({ "ban": "req.url ~ ^/news/", "soft": true })).await;
    assert_eq!(world.counters().journal_records.get(), 2);
    end(world, &directory).await;

    let world = World::start(&directory.settings()).await;
    let told = purges(&world).await;
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0]["sequence"], &told[0]["soft"]), (&second["sequence"], &json!(true)));
    assert_eq!(told[0]["what"], json!([{ "kind": "ban", "expression": "req.url ~ ^/news/" }]));
    assert_eq!((&told[1]["sequence"], &told[1]["by"]), (&first["sequence"], &json!("operator")));
    let third = post(&world, "/v1/purge", &json!({ "all": true })).await;
    assert!(third["sequence"].as_u64() > second["sequence"].as_u64(), "{third}");
    end(world, &directory).await;
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_reported() {
    let directory = Directory::new("torn");
    let world = World::start(&directory.settings()).await;
    for n in 0..3 {
        post(&world, "/v1/purge", &json!({ "tag": n.to_string() })).await;
    }
    end(world, &directory).await;
    let segment = std::fs::read_dir(&directory.0)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .expect("a segment");
    let bytes = std::fs::read(&segment).expect("a segment");
    std::fs::write(&segment, &bytes[..bytes.len() - 3]).expect("written");
    let world = World::start(&directory.settings()).await;
    assert_eq!(purges(&world).await.len(), 2);
    assert!(world.counters().journal_torn_bytes.get() > 0);
    end(world, &directory).await;
}

#[tokio::test]
async fn without_a_place_a_purge_says_that_it_does_not_last() {
    let world = World::start("").await;
    assert_eq!(post(&world, "/v1/purge", &json!({ "all": true })).await["durable"], json!(false));
}
