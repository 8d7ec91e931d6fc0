//! One event a key while its lease lives; a renewal carries the misses since; and no
//! more leases than agreed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::broker::{Address, Limits, LocalQueues, Queues};
use forebay::clock::Clock;
use forebay::invalidate::Invalidator;
use forebay::observe::counters::Counters;
use forebay::repopulate::announce::Miss;
use forebay::repopulate::{Announced, Announcer, MissEvent, Reason, Secrets, Settings, Wanted, Wants};
use forebay::store::{self, Store};

use super::{fills, gated, hidden, proxy_status};
use crate::harness::origin::{Gate, ok};
use crate::harness::world::BEGINNING;

#[tokio::test]
async fn many_misses_of_a_key_are_one_event_and_one_request() {
    let world = hidden("", "").await;
    let gate = Gate::default();
    gated(&world, "/a", &gate, "max-age=60");
    let mut client = world.client("client").await;
    // More of them would be told once more, if they took long.
    for _ in 0..8 {
        assert_eq!(client.get("/a").await.status, 503);
    }
    gate.open();
    fills(&world, 1).await;
    let c = world.counters();
    assert_eq!((c.events_published.get(), c.events_deduplicated.get(), c.events_merged.get()), (1, 7, 0));
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn a_lease_that_has_ended_is_renewed_and_the_origin_is_not_asked_twice() {
    let world = hidden("", "[hidden]\nlease = \"20ms\"\n").await;
    let gate = Gate::default();
    gated(&world, "/a", &gate, "max-age=60");
    let mut client = world.client("client").await;
    let renewing = async {
        while world.counters().events_merged.get() < 3 {
            assert_eq!(client.get("/a").await.status, 503);
        }
    };
    world.transcript.within("renewals", renewing).await;
    // None is on its way any more when the fill comes.
    world.until("all to be merged", |c| c.events_published.get() == c.events_merged.get() + 1).await;
    gate.open();
    fills(&world, 1).await;
    assert_eq!(world.origin.requests().len(), 1, "it was under way");
    assert!(world.get("/a").await.is_hit());
}

#[tokio::test]
async fn there_are_no_more_leases_than_agreed_and_a_fill_makes_room() {
    let world = hidden("", "[hidden]\nmax_leases = 3\n").await;
    let gate = Gate::default();
    for path in ["/a", "/b", "/c"] {
        gated(&world, path, &gate, "max-age=60");
        assert_eq!(world.get(path).await.status, 503);
    }
    let full = world.get("/d").await;
    assert_eq!(
        (full.status, proxy_status(&full)),
        (503, "error=destination_unavailable; details=\"not queued\"")
    );
    assert_eq!((world.counters().leases_full.get(), world.origin.count("/d")), (1, 0));
    gate.open();
    fills(&world, 3).await;
    world.origin.always("/d", ok("max-age=60", "d"));
    world.get("/d").await;
    fills(&world, 4).await;
}

#[tokio::test]
async fn one_that_is_held_down_for_long_does_not_keep_the_others() {
    let settings = "[hidden]\nmax_leases = 3\nlease = \"50ms\"\nattempts = 1\nhold_down = \"10m\"\n";
    let world = hidden("", settings).await;
    world.origin.always("/never", ok("no-store", "x"));
    super::until_decided(&world, "/never").await;
    let gate = Gate::default();
    for path in ["/a", "/b"] {
        gated(&world, path, &gate, "max-age=60");
        world.get(path).await;
    }
    gate.reached(2).await;
    gated(&world, "/c", &gate, "max-age=60");
    let waiting = async {
        while world.origin.count("/c") == 0 {
            world.get("/c").await;
        }
    };
    world.transcript.within("leases that are over to make way", waiting).await;
    world.until("an end of what is over", |c| c.leases_expired.get() >= 1).await;
}

/// What is told, read where the pacer reads it.
#[tokio::test]
async fn a_renewal_carries_the_misses_since_and_nothing_of_a_client() {
    let (clock, counters) = (Clock::manual(BEGINNING), Arc::new(Counters::default()));
    let store = Arc::new(Store::new(store::Settings::default(), Arc::clone(&counters)));
    let invalidator = Invalidator::new(store, None, None, clock.clone(), Arc::clone(&counters));
    let mut settings = Settings::default();
    settings.lease.duration = Duration::from_millis(50);
    let wants = Arc::new(Wants::new(&settings, None, Arc::clone(&counters), Instant::now()));
    let queues: Arc<dyn Queues> = Arc::new(LocalQueues::new(Limits::default()));
    let announcer = Announcer::start(
        &settings,
        wants,
        Secrets::random().expect("random bytes"),
        Arc::new(invalidator),
        Arc::clone(&queues),
        ("edge-1".to_owned(), "10.0.0.7:6090".to_owned()),
        (clock, Arc::clone(&counters)),
    );
    let wanted = Wanted {
        scheme: "https".to_owned(),
        host: "www.example.org".to_owned(),
        port: 443,
        target: "/a?b=c".to_owned(),
        vary: vec![("accept-encoding".to_owned(), "gzip".to_owned())],
    };
    let miss = || {
        let client = Some("203.0.113.7".parse().expect("an address"));
        let (stored, traceparent) = (None, None);
        announcer.miss(Miss {
            wanted: wanted.clone(),
            origin: "o",
            reason: Reason::Absent,
            stored,
            client,
            traceparent,
        })
    };
    assert!(matches!(miss(), Announced::Expected(_)));
    let mut more = 0;
    while counters.leases_renewed.get() == 0 {
        miss();
        more += 1;
    }
    let mut reading = queues.subscribe(Address::Misses("o".to_owned()), 10).await.expect("a subscription");
    let (first, second) = (reading.next().await.expect("told"), reading.next().await.expect("told again"));
    let text = String::from_utf8(first.letter.body.to_vec()).expect("JSON");
    assert!(text.contains("https://www.example.org/a?b=c") && !text.contains("203.0.113.7"), "{text}");
    let (first, second) = (
        MissEvent::read(&first.letter.body).expect("an event"),
        MissEvent::read(&second.letter.body).expect("an event"),
    );
    assert_eq!((first.misses, first.wanted.clone()), (1, wanted.clone()));
    assert_eq!(second.misses, more);
    assert_ne!(first.id, second.id);
}
