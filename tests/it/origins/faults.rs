//! Every fault that a server can have, alone and beside one that is well.

use crate::harness::origin::{Gate, Script, Step, ok, raw, response};
use crate::harness::{Origin, Transcript, World};

/// What clients see of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// This status.
    Status(u16),
    /// A response that begins, and breaks off.
    BrokenOff,
}

/// The faults of a server that listens, with what it does and what is seen of it alone.
fn faults() -> Vec<(&'static str, Script, Seen)> {
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10000\r\n\r\n";
    let hangs = || Step::Wait(Gate::default());
    let drips = |count: usize| {
        let mut script = vec![raw(head)];
        for _ in 0..count {
            script.extend([raw("x"), Step::Pause(std::time::Duration::from_millis(60))]);
        }
        script
    };
    vec![
        ("hangs before the head", vec![hangs()], Seen::Status(504)),
        ("hangs in the head", vec![raw("HTTP/1.1 200 OK\r\nContent-"), hangs()], Seen::Status(504)),
        ("hangs in the body", vec![raw(head), raw("some"), hangs()], Seen::BrokenOff),
        ("drips", drips(100), Seen::BrokenOff),
        ("resets", vec![Step::Reset], Seen::Status(502)),
        ("closes", vec![Step::Close], Seen::Status(502)),
        ("truncates", vec![raw(head), raw("some"), Step::Close], Seen::BrokenOff),
        ("says garbage", vec![raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Step::Close], Seen::Status(502)),
        ("fails", response("503 Service Unavailable", &[], "broken"), Seen::Status(503)),
    ]
}

/// Short times, so that nobody waits for long.
const TIMES: &str = "origin.connect_timeout = \"300ms\"\norigin.first_byte_timeout = \"300ms\"\n\
                     origin.between_bytes_timeout = \"300ms\"\norigin.total_timeout = \"1s\"\norigin.slow_start = \"0s\"\n";

async fn seen(world: &World, path: &str) -> (Seen, String) {
    match world.client("client").await.try_get(path).await {
        Some(reply) => (Seen::Status(reply.status), reply.text().to_owned()),
        None => (Seen::BrokenOff, String::new()),
    }
}

#[tokio::test]
async fn alone_each_fault_is_told_and_nothing_of_it_is_kept() {
    for (what, script, expected) in faults() {
        let world = World::real(Origin::start(Transcript::default()).await, TIMES).await;
        world.origin.always("/x", script);
        assert_eq!(seen(&world, "/x").await.0, expected, "{what}");
        world.settled().await;
        world.origin.always("/x", ok("max-age=60", "well"));
        assert_eq!(seen(&world, "/x").await, (Seen::Status(200), "well".to_owned()), "{what}, then recovers");
    }
}

#[tokio::test]
async fn beside_a_server_that_is_well_a_fault_is_seen_at_most_until_its_server_is_left_alone() {
    for (what, script, expected) in faults() {
        let servers =
            [Origin::start(Transcript::default()).await, Origin::start(Transcript::default()).await];
        servers[0].otherwise(move |_, _| script.clone());
        servers[1].otherwise(|_, _| ok("no-store", "well"));
        let settings = format!(
            "{TIMES}origin.url = [\"http://{}\", \"http://{}\"]\norigin.eject_after = 2\norigin.breaker_min_requests = 2\n",
            servers[0].address(),
            servers[1].address()
        );
        let world = World::real(servers[1].clone(), &settings).await;
        let mut bad = 0;
        for n in 0..12 {
            let (seen, text) = seen(&world, &format!("/{n}")).await;
            if (seen, text.as_str()) != (Seen::Status(200), "well") {
                assert_eq!(seen, expected, "{what}");
                bad += 1;
            }
        }
        // A response that has begun cannot be had from another one.
        let most = if expected == Seen::BrokenOff { 2 } else { 0 };
        assert!(bad <= most, "{what}: {bad} of 12");
        assert!(servers[0].requests().len() <= 3, "{what}: it is left alone");
    }
}

#[tokio::test]
async fn a_server_that_nobody_can_reach_or_that_refuses_is_passed_over() {
    let well = Origin::start(Transcript::default()).await;
    well.otherwise(|_, _| ok("no-store", "well"));
    let refusing = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    // 192.0.2.0/24 is nobody's (RFC 5737).
    for gone in [refusing, "192.0.2.1:80".to_owned()] {
        let alone = World::real(well.clone(), &format!("{TIMES}origin.url = \"http://{gone}\"")).await;
        let (seen_alone, _) = seen(&alone, "/").await;
        assert!([Seen::Status(502), Seen::Status(504)].contains(&seen_alone), "{gone}: {seen_alone:?}");
        let settings = format!("{TIMES}origin.url = [\"http://{gone}\", \"http://{}\"]", well.address());
        let world = World::real(well.clone(), &settings).await;
        for n in 0..6 {
            assert_eq!(seen(&world, &format!("/{n}")).await.1, "well", "{gone}");
        }
    }
}

#[tokio::test]
async fn a_server_that_flaps_costs_nobody_a_page() {
    let servers = [Origin::start(Transcript::default()).await, Origin::start(Transcript::default()).await];
    let count = std::sync::atomic::AtomicUsize::new(0);
    servers[0].otherwise(move |_, _| {
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2) {
            true => vec![Step::Reset],
            false => ok("no-store", "well"),
        }
    });
    servers[1].otherwise(|_, _| ok("no-store", "well"));
    let settings = format!(
        "{TIMES}origin.url = [\"http://{}\", \"http://{}\"]\norigin.retry_percent = 100\n",
        servers[0].address(),
        servers[1].address()
    );
    let world = World::real(servers[1].clone(), &settings).await;
    for n in 0..40 {
        assert_eq!(seen(&world, &format!("/{n}")).await.1, "well");
    }
    assert!(world.counters().origin_retries_other.get() >= 1);
}
