//! The broker in trouble: clients never notice, and all goes on by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::{Place, connected, disconnected, fresh, reads, until_hit};
use crate::harness::rabbit::{self, shared};
use crate::harness::{Rabbit, Wire, World, breathe};

/// A client is answered within this time, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How many pages there are.
const PAGES: usize = 200;

/// Asks for one page after the other until it is told to stop; returns the longest that
/// an answer took.
async fn load(world: &World, name: &str, stop: Arc<AtomicBool>, asked: Arc<AtomicUsize>) -> Duration {
    let mut client = world.client(name).await;
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let n = asked.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let reply = client.get(&format!("/load/{}", n % PAGES)).await;
        longest = longest.max(began.elapsed());
        assert!([200, 503].contains(&reply.status), "{}", reply.text());
        breathe().await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_killed_under_load_and_publishing_reading_and_filling_go_on() {
    let mut rabbit = Rabbit::start().await;
    let place = Place::new(rabbit.address()).await;
    let (a, b) = (place.edge("a").await, place.edge("b").await);
    let worker = place.worker("w").await;
    for path in ["/before", "/during", "/after"] {
        place.origin.always(path, fresh(path));
    }
    for n in 0..PAGES {
        place.origin.always(&format!("/load/{n}"), fresh("page"));
    }
    until_hit(&a, "/before").await;
    b.until("the first fill", |counters| counters.fills_kept.get() == 1).await;
    let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let loading = load(&a, "load", Arc::clone(&stop), Arc::clone(&asked));
    let killing = async {
        while asked.load(Ordering::Relaxed) < 20 {
            breathe().await;
        }
        rabbit.crash().await;
        for world in [&a, &b, &worker] {
            disconnected(world).await;
        }
        assert_eq!(a.get("/during").await.status, 503);
        assert_eq!(a.get("/before").await.status, 200);
        let more = asked.load(Ordering::Relaxed) + 20;
        while asked.load(Ordering::Relaxed) < more {
            breathe().await;
        }
        rabbit.restart().await;
        let back = Instant::now();
        for world in [&a, &b, &worker] {
            connected(world).await;
        }
        reads(&worker, 3).await;
        reads(&a, 1).await;
        reads(&b, 1).await;
        // It was asked for while there was no broker, and nobody asks again.
        place.origin.wait_for("/during", 1).await;
        stop.store(true, Ordering::Relaxed);
        back.elapsed()
    };
    let (longest, back) = tokio::join!(loading, killing);
    assert!(longest < AT_ONCE, "a client waited for {longest:?}");
    println!("back {back:?} after the broker was; clients waited for {longest:?} at most");
    assert_eq!(until_hit(&a, "/after").await.text(), "/after");
    assert_eq!(until_hit(&b, "/after").await.text(), "/after");
    assert_eq!(until_hit(&b, "/during").await.text(), "/during");
}

#[tokio::test]
async fn the_network_is_cut_and_later_swallows_everything() {
    let place = Place::new(shared().await).await;
    let wire = Wire::to(place.broker).await;
    let edge = place.through(wire.address()).edge("a").await;
    let _worker = place.worker("w").await;
    for (round, break_it) in [Wire::cut as fn(&Wire), Wire::swallow].into_iter().enumerate() {
        let (during, after) = (format!("/during/{round}"), format!("/after/{round}"));
        place.origin.always(&during, fresh("during"));
        place.origin.always(&after, fresh("after"));
        break_it(&wire);
        let began = Instant::now();
        assert_eq!(edge.get(&during).await.status, 503);
        assert!(began.elapsed() < AT_ONCE);
        disconnected(&edge).await;
        wire.mend();
        connected(&edge).await;
        reads(&edge, 1).await;
        assert_eq!(until_hit(&edge, &during).await.text(), "during");
        assert_eq!(until_hit(&edge, &after).await.text(), "after");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_events_and_clients_are_answered() {
    let rabbit = Rabbit::start().await;
    let place = Place::new(rabbit.address()).await;
    let edge = place.edge("a").await;
    // Operators may make it smaller by a policy.
    rabbit.ctl(&["set_policy", "small", "misses", r#"{"max-length":2}"#, "--apply-to", "queues"]).await;
    let mut n = 0;
    let wait = async {
        while edge.counters().events_nacked.get() < 5 {
            let reply = edge.get(&format!("/{n}")).await;
            assert_eq!(reply.status, 503, "{}", reply.text());
            n += 1;
        }
    };
    edge.transcript.within("a full queue", wait).await;
    rabbit.ctl(&["clear_policy", "small"]).await;
    let _worker = place.worker("w").await;
    place.origin.always("/", fresh("room again"));
    assert_eq!(until_hit(&edge, "/").await.text(), "room again");
}

#[tokio::test]
async fn it_is_short_of_memory_and_takes_nothing_for_a_while() {
    let rabbit = Rabbit::start().await;
    let place = Place::new(rabbit.address()).await;
    let edge = place.edge("a").await;
    let _worker = place.worker("w").await;
    place.origin.always("/before", fresh("before"));
    place.origin.always("/", fresh("after"));
    until_hit(&edge, "/before").await;
    rabbit.ctl(&["set_vm_memory_high_watermark", "absolute", "1000000"]).await;
    let began = Instant::now();
    assert_eq!(edge.get("/").await.status, 503);
    assert!(began.elapsed() < AT_ONCE);
    edge.until("to be blocked", |counters| counters.broker_blocked.get() == 1).await;
    assert_eq!(edge.get("/before").await.status, 200);
    assert_eq!(edge.counters().broker_links_lost.get(), 0, "a link that is blocked is not a broken one");
    rabbit.ctl(&["set_vm_memory_high_watermark", "absolute", "512MB"]).await;
    assert_eq!(until_hit(&edge, "/").await.text(), "after");
    assert_eq!(edge.counters().broker_blocked.get(), 0);
}

/// Runs `forebay broker` with the configuration of an edge.
async fn command(place: &Place, what: &str, url: Option<String>) -> (Option<i32>, String) {
    let path = std::env::temp_dir().join(format!("forebay-{:x}.toml", fastrand::u64(..)));
    let text = place
        .text("a")
        .replace(&rabbit::url(place.broker), &url.unwrap_or_else(|| rabbit::url(place.broker)));
    std::fs::write(&path, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    let command = command.args(["broker", what, "--config"]).arg(&path);
    let output = place.transcript.within("the command", command.output()).await.expect("it runs");
    let _ = std::fs::remove_file(&path);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn a_user_without_a_right_is_told_which_and_may_use_what_others_have_declared() {
    let rabbit = Rabbit::start().await;
    let place = Place::new(rabbit.address()).await;
    let (code, said) = command(&place, "check", None).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("missing"), "{said}");
    rabbit.ctl(&["add_user", "poor", "poor"]).await;
    let name = &place.cluster;
    // The queues that end with their node, and no others.
    let own = format!(r"^({name}\.(fills|outcomes|nodes|purges)|amq\.gen)");
    let all = format!(r"^({name}\.|amq\.(gen|default))");
    rabbit.ctl(&["set_permissions", "poor", &own, &all, &all]).await;
    let poor = |password: &str| Some(format!("amqp://poor:{password}@{}/%2f", place.broker));
    let (code, said) = command(&place, "declare", poor("wrong")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the login") && said.contains("broker.urls"), "{said}");
    let (code, said) = command(&place, "declare", poor("poor")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("right to configure") && said.contains("set_permissions"), "{said}");
    let (code, said) = command(&place, "declare", None).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = command(&place, "check", None).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = command(&place, "check", poor("poor")).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("this user may not ask"), "{said}");
}

#[tokio::test]
async fn a_queue_that_is_otherwise_than_it_has_to_be_is_named() {
    use lapin::options::QueueDeclareOptions;
    use lapin::types::FieldTable;
    let place = Place::new(shared().await).await;
    let name = place.queue("misses.o");
    let options = QueueDeclareOptions::durable();
    let channel = place.channel().await;
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.expect("declared");
    let (code, said) = command(&place, "declare", None).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&name) && said.contains("inequivalent arg") && said.contains("delete"), "{said}");
    let (code, said) = command(&place, "check", None).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not as it should be"), "{said}");
}
