//! Whatever happens to parts, no answer ever mixes two contents, nor is from before a purge
//! that it came after.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::ranged;
use crate::harness::origin::{Script, Seen, Step};
use crate::harness::{Client, World};

const LENGTH: usize = 300;

/// The content of this version: no two have a byte in common at one place.
fn content(version: usize) -> String {
    (0..LENGTH).map(|at| char::from(b'!' + ((at + version * 7) % 90) as u8)).collect()
}

/// An origin that does everything wrong now and then, but for one thing: what it sends is of
/// the version that it says.
fn odd(seen: &Seen, version: usize) -> Script {
    let etag = format!("\"{version}\"");
    let content = content(version);
    let fields = [("Cache-Control", "max-age=60"), ("ETag", etag.as_str())];
    let mut seen = seen.clone();
    match fastrand::u8(..60) {
        // It ignores the range.
        0 => seen.fields.retain(|(name, _)| name != "range"),
        // It answers another one.
        1..4 => {
            for (name, value) in &mut seen.fields {
                if name == "range" {
                    let start = fastrand::usize(..LENGTH - 10);
                    *value = format!("bytes={start}-{}", start + fastrand::usize(..10));
                }
            }
        }
        _ => {}
    }
    if seen.field("if-none-match") == Some(&etag) {
        return crate::harness::origin::response("304 Not Modified", &fields, "");
    }
    let mut script = ranged(&seen, &content, &fields);
    // It breaks off.
    if fastrand::u8(..10) == 0
        && let Some(Step::Send(bytes)) = script.last_mut()
    {
        let body = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        let arrived = fastrand::usize(body..=bytes.len());
        if arrived < bytes.len() {
            bytes.truncate(arrived);
            script.push(Step::Close);
        }
    }
    script
}

/// A request for something of it.
fn wish() -> Vec<(&'static str, String)> {
    let start = fastrand::usize(..LENGTH + 2);
    let range = match fastrand::u8(..80) {
        0 => return Vec::new(),
        1 => format!("bytes={}-", start.max(16)),
        2..10 => format!("bytes=-{}", fastrand::usize(..40)),
        10..20 => format!("bytes={}-{}", start / 2, start),
        _ => format!("bytes={start}-{}", start + fastrand::usize(..30)),
    };
    let mut fields = vec![("Range", range)];
    if fastrand::u8(..60) == 0 {
        fields.push(("If-Range", format!("\"{}\"", fastrand::usize(..12))));
    }
    fields
}

/// Asks for something, and holds the answer to what it says of itself. Returns its version.
async fn ask(client: &mut Client) -> Option<usize> {
    let wish = wish();
    let fields: Vec<(&str, &str)> = wish.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = client.get_with("/r", &fields).await;
    if reply.status == 416 {
        assert_eq!(reply.field("content-range"), Some(format!("bytes */{LENGTH}").as_str()), "{wish:?}");
        return None;
    }
    let version: usize = reply.field("etag")?.trim_matches('"').parse().expect("a version");
    let place = reply.field("content-range").map_or("0-299/300", |range| range.trim_start_matches("bytes "));
    assert_eq!(reply.status == 206, reply.field("content-range").is_some(), "{wish:?}");
    assert!(reply.status == 200 || !wish.is_empty(), "a part, and none was asked for");
    let (range, length) = place.split_once('/').expect("a length");
    let (first, last) = range.split_once('-').expect("a range");
    let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
    assert_eq!(length, "300");
    let told = &content(version)[first..=last];
    if reply.complete {
        assert_eq!(reply.text(), told, "{wish:?}: {:?}", reply.fields);
    } else {
        assert!(told.starts_with(reply.text()), "{wish:?}: {:?}", reply.fields);
    }
    Some(version)
}

#[tokio::test]
async fn no_answer_mixes_contents_and_no_purged_part_comes_back() {
    for seed in 0..12 {
        fastrand::seed(seed);
        let both = if seed % 3 == 0 { "range_miss = \"both\"\n" } else { "" };
        let world = World::start(&format!("[rules]\nrange_slice = \"16B\"\nmax_parts = 12\n{both}")).await;
        let version = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&version);
        world.origin.on("/r", move |seen, _| odd(seen, now.load(Ordering::SeqCst)));
        let mut least = 0;
        for _ in 0..60 {
            match fastrand::u8(..12) {
                0 => drop(version.fetch_add(1, Ordering::SeqCst)),
                1 => world.advance(Duration::from_secs(70)),
                2 => {
                    world.purge("http://www.example.org/r").await;
                    least = version.load(Ordering::SeqCst);
                }
                _ => {}
            }
            let clients = (0..4).map(|_| async {
                // One that breaks off takes the connection with it.
                let mut client = world.client("client").await;
                ask(&mut client).await
            });
            let versions = futures_util::future::join_all(clients).await;
            assert!(versions.iter().flatten().all(|version| *version >= least), "seed {seed}: {versions:?}");
            if fastrand::bool() {
                world.settled().await;
            }
        }
        world.settled().await;
        let counters = world.counters();
        assert!(counters.parts_stored.get() > 0 && counters.requests_hit.get() > 0, "seed {seed}");
    }
}
