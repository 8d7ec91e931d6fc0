//! A body too large to keep streams through a window that its readers share.

use std::time::Duration;

use crate::harness::origin::{Gate, Step, ok, raw};
use crate::harness::{World, breathe};

const SMALL_STORE: &str =
    "[store]\nmemory = \"1MiB\"\nmax_response_percent = 10\n[collapse]\nwindow = \"64KiB\"\n";
const MIB: usize = 1024 * 1024;

/// A response of `mib` MiB, by length or in chunks.
fn large(mib: usize, chunked: bool) -> Vec<Step> {
    if chunked {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend(vec![b'z'; 0x10000]);
        chunk.extend(b"\r\n");
        vec![raw(head), Step::Repeat(chunk, mib * 16), raw("0\r\n\r\n")]
    } else {
        let length = mib * MIB;
        let head =
            format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {length}\r\n\r\n");
        vec![raw(&head), Step::Repeat(vec![b'z'; MIB], mib)]
    }
}

#[tokio::test]
async fn what_is_too_large_passes_through_and_is_not_kept() {
    let world = World::start(SMALL_STORE).await;
    for (path, chunked) in [("/length", false), ("/chunked", true)] {
        world.origin.always(path, large(8, chunked));
        for _ in 0..2 {
            let reply = world.get(path).await;
            assert!(reply.complete, "{path}");
            assert_eq!(reply.body.len(), 8 * MIB, "{path}");
            world.settled().await;
        }
        assert_eq!(world.origin.count(path), 2, "{path}");
    }
    assert_eq!(world.counters().store_inserted.get(), 0);
    assert_eq!(world.counters().store_too_large.get(), 4);
}

#[tokio::test]
async fn readers_of_different_speed_share_one_request_in_bounded_memory() {
    let world = World::start(SMALL_STORE).await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(large(32, false));
    world.origin.always("/x", script);
    let request = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    let (mut fast, mut slow) = (world.client("fast").await, world.client("slow").await);
    fast.send(request).await;
    gate.reached(1).await;
    slow.send(request).await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    gate.open();
    let reading = tokio::spawn(async move {
        fast.head().await;
        fast.bytes(32 * MIB).await.len()
    });
    slow.head().await;
    let mut most = 0;
    for _ in 0..32 {
        assert_eq!(slow.bytes(MIB).await.len(), MIB);
        breathe().await;
        most = most.max(world.counters().filling_bytes.get());
    }
    assert_eq!(reading.await.expect("the fast one"), 32 * MIB);
    assert!(most <= 2 * MIB as u64, "{most} bytes were held at once");
    assert_eq!(world.origin.count("/x"), 1);
}

#[tokio::test]
async fn a_reader_that_holds_up_others_is_cut_off_and_one_alone_is_not() {
    let world = World::start(&format!("{SMALL_STORE}slow_reader = \"50ms\"")).await;
    let gate = Gate::default();
    let mut script = vec![Step::Wait(gate.clone())];
    script.extend(large(64, false));
    world.origin.always("/x", script);
    let request = b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    let (mut fast, mut stuck) = (world.client("fast").await, world.client("stuck").await);
    fast.send(request).await;
    gate.reached(1).await;
    stuck.send(request).await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    gate.open();
    assert_eq!(stuck.head().await.status, 200);
    fast.head().await;
    assert_eq!(fast.bytes(64 * MIB).await.len(), 64 * MIB, "not held up for ever");
    assert!(stuck.bytes(64 * MIB).await.len() < 64 * MIB);
    world.until("the stuck one to be cut off", |c| c.replies_broken.get() == 1).await;

    let mut alone = world.client("alone").await;
    alone.send(request).await;
    alone.head().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(alone.bytes(64 * MIB).await.len(), 64 * MIB, "slow, and alone");
}

#[tokio::test]
async fn a_fetch_that_nobody_reads_any_more_ends() {
    let world = World::start(SMALL_STORE).await;
    world.origin.always("/x", large(64, false));
    let mut client = world.client("client").await;
    client.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    client.head().await;
    drop(client);
    world.until("the fetch to be given up", |c| c.fetches_abandoned.get() == 1).await;
    world.settled().await;
    world.until("the origin's connection to close", |c| c.origin_connections_open.get() == 0).await;
    world.until("nothing to be held", |c| c.filling_bytes.get() == 0).await;
}

#[tokio::test]
async fn what_is_stored_arrives_byte_by_byte_however_it_is_read() {
    let path = std::env::temp_dir().join(format!("forebay-large-{:x}.log", fastrand::u64(..)));
    let world = World::start(&format!("[access_log]\noutput = {:?}", path.display().to_string())).await;
    // No two pieces of it are alike.
    let body: Vec<u8> = (0..800_000u32).flat_map(u32::to_be_bytes).chain(*b"end").collect();
    let head = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"x\"\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    world.origin.always("/x", vec![raw(&head), Step::Send(body.clone())]);
    assert_eq!(world.get("/x").await.body.len(), body.len());
    world.settled().await;
    // All at once, and each reply is read in other pieces.
    let ranges = [(0, body.len()), (70_001, 1_234_567), (17, 17 + 16 * 1024 + 1), (5, 6), (0, body.len())];
    let mut client = world.client("client").await;
    for (start, end) in ranges {
        let range =
            if end == body.len() { String::new() } else { format!("Range: bytes={start}-{}\r\n", end - 1) };
        client.send(format!("GET /x HTTP/1.1\r\nHost: www.example.org\r\n{range}\r\n").as_bytes()).await;
    }
    for ((start, end), piece) in ranges.into_iter().zip([100_003, 9_973, 65_536, 1, 300_007]) {
        client.head().await;
        let mut got = Vec::new();
        while got.len() < end - start {
            got.extend(client.bytes(piece.min(end - start - got.len())).await);
            breathe().await;
        }
        assert!(got == body[start..end], "{start} to {end}");
    }
    assert_eq!(world.origin.count("/x"), 1);
    // A client that leaves within a body that no socket holds.
    world.origin.always("/larger", large(32, false));
    assert_eq!(world.get("/larger").await.body.len(), 32 * MIB);
    world.settled().await;
    let mut leaving = world.client("leaving").await;
    leaving.send(b"GET /larger HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    leaving.head().await;
    drop(leaving);
    world.until("all lines", |c| c.access_log_lines.get() == 8).await;
    let text = std::fs::read_to_string(&path).expect("the log");
    std::fs::remove_file(&path).expect("removed");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let sent = |n: usize| (lines[n]["body_bytes"].as_u64().expect("a number"), &lines[n]["complete"]);
    for (n, (start, end)) in ranges.into_iter().enumerate() {
        assert_eq!(sent(n + 1), ((end - start) as u64, &true.into()), "{start} to {end}");
    }
    let (bytes, complete) = sent(7);
    assert!(bytes < 32 * MIB as u64 && complete == false, "{bytes} {complete}");
    let all: u64 = (0..8).map(|n| sent(n).0).sum();
    assert_eq!(world.counters().reply_body_bytes.get(), all);
}

#[tokio::test]
async fn a_slow_client_does_not_hold_the_fetch_of_what_is_kept() {
    let world = World::start("").await;
    let head =
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n", 16 * MIB);
    world.origin.always("/x", vec![raw(&head), Step::Repeat(vec![b'k'; MIB], 16)]);
    let mut slow = world.client("slow").await;
    slow.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    slow.head().await;
    world.until("the fetch to end before the client has read it", |c| c.store_inserted.get() == 1).await;
    let hit = world.get("/x").await;
    assert!(hit.is_hit() && hit.body.len() == 16 * MIB);
    assert_eq!(slow.bytes(16 * MIB).await.len(), 16 * MIB);
}

#[tokio::test]
async fn a_body_that_the_store_has_taken_is_on_its_way_no_more() {
    let world = World::start("[store]\nmemory = \"100MiB\"\n[collapse]\nmax_filling_bytes = \"9MiB\"").await;
    let mut dawdling = Vec::new();
    for n in 1..=3 {
        let path = format!("/{n}");
        world.origin.always(&path, large(8, n == 2));
        let mut client = world.client(&path).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: www.example.org\r\n\r\n").as_bytes()).await;
        client.head().await;
        dawdling.push(client);
        world.until("it to be stored", |c| c.store_inserted.get() == n).await;
    }
    assert_eq!((world.counters().store_no_room.get(), world.counters().store_too_large.get()), (0, 0));
}

#[tokio::test]
async fn a_body_that_the_store_refuses_is_held_by_its_readers_alone_and_counts() {
    let world = World::start("[store]\nmemory = \"100MiB\"\n[collapse]\nmax_filling_bytes = \"9MiB\"").await;
    let gate = Gate::default();
    world.origin.always("/1", [vec![Step::Wait(gate.clone())], large(8, false)].concat());
    world.origin.always("/2", large(8, false));
    let mut dawdling = world.client("dawdling").await;
    dawdling.send(b"GET /1 HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    gate.reached(1).await;
    world.purge("http://www.example.org/1").await;
    gate.open();
    dawdling.head().await;
    world.until("it to be refused", |c| c.store_fenced.get() == 1 && c.flights_open.get() == 0).await;
    assert_eq!(world.get("/2").await.body.len(), 8 * MIB);
    world.until("the next one not to be kept", |c| c.store_no_room.get() == 1).await;
    assert_eq!(dawdling.bytes(8 * MIB).await.len(), 8 * MIB);
    world.settled().await;
    assert_eq!(world.get("/2").await.body.len(), 8 * MIB);
    world.until("there to be room again", |c| c.store_inserted.get() == 1).await;
}

#[tokio::test]
async fn want_of_room_is_no_reason_not_to_collapse() {
    let world = World::start("[store]\nmemory = \"100MiB\"\n[collapse]\nmax_filling_bytes = \"1MiB\"").await;
    world.origin.always("/x", large(2, false));
    assert_eq!(world.get("/x").await.body.len(), 2 * MIB);
    world.settled().await;
    let counters = world.counters();
    assert_eq!((counters.store_no_room.get(), counters.store_marked.get()), (1, 0));
}

#[tokio::test]
async fn what_has_become_too_large_takes_the_place_of_what_was_kept() {
    for chunked in [false, true] {
        let world = World::start(SMALL_STORE).await;
        world.origin.on("/x", move |_, n| match n {
            1 => ok("max-age=5, stale-while-revalidate=60", "small"),
            _ => large(1, chunked),
        });
        world.get("/x").await;
        world.settled().await;
        world.advance(Duration::from_secs(10));
        assert_eq!(world.get("/x").await.text(), "small");
        world.until("the refresh to be given up", |c| c.fetches_abandoned.get() == 1).await;
        world.settled().await;
        assert_eq!(world.get("/x").await.body.len(), MIB);
        assert_eq!(world.origin.count("/x"), 3);
    }
}
