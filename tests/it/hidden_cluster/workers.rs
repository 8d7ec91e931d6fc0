//! Workers and edges that end in the middle of it.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Place, fresh, until_hit};
use crate::harness::breathe;
use crate::harness::origin::{Gate, Step};
use crate::harness::rabbit::shared;

#[tokio::test]
async fn a_worker_that_ends_before_it_acknowledges_has_its_work_done_by_another() {
    let place = Place::new(shared().await).await;
    let edge = place.edge("a").await;
    let first = place.mortal("v", true).await;
    let gate = Gate::default();
    let held = gate.clone();
    place.origin.on("/", move |_, count| match count {
        1 => vec![Step::Wait(held.clone())],
        _ => fresh("from the other"),
    });
    assert_eq!(edge.get("/").await.status, 503);
    gate.reached(1).await;
    let second = place.worker("w").await;
    // It was the pacer as well.
    first.kill();
    edge.until("the fill", |counters| counters.fills_kept.get() == 1).await;
    assert_eq!(edge.get("/").await.text(), "from the other");
    assert_eq!(place.origin.count("/"), 2);
    assert_eq!(second.counters().events_returned.get(), 1, "it was paced once more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_pacer_ends_another_takes_over_and_the_rate_holds() {
    const RATE: f64 = 40.0;
    let place = Place::new(shared().await).await;
    let place = place.with("origin.rate = \"40/s\"\norigin.concurrency = 20");
    let edge = place.edge("a").await;
    let first = place.mortal("v", true).await;
    let second = place.worker("w").await;
    let arrivals: Arc<Mutex<Vec<Instant>>> = Arc::default();
    for n in 0..120 {
        let arrivals = Arc::clone(&arrivals);
        place.origin.on(&format!("/{n}"), move |_, _| {
            arrivals.lock().expect("arrivals").push(Instant::now());
            fresh("page")
        });
    }
    let began = Instant::now();
    for n in 0..120 {
        assert_eq!(edge.get(&format!("/{n}")).await.status, 503);
    }
    let so_far = || arrivals.lock().expect("arrivals").len();
    let wait = async {
        while so_far() < 30 {
            breathe().await;
        }
    };
    edge.transcript.within("30 requests", wait).await;
    assert!(first.world.counters().events_released.get() > 0, "the first reader is the pacer");
    first.kill();
    let (killed, before) = (Instant::now(), so_far());
    edge.until("all of them", |counters| counters.fills_kept.get() >= 120).await;
    assert!(second.counters().events_released.get() > 0);
    // Counted from a moment before the first, a request that is late proves nothing wrong.
    // A tenth of a second may come at once, and what was under way at the end of the first.
    let arrivals = arrivals.lock().expect("arrivals");
    for (index, at) in arrivals.iter().enumerate() {
        let most = RATE * (*at - began).as_secs_f64() + RATE / 10.0 + 1.0;
        assert!(index as f64 <= most, "request {index} after {:?}", *at - began);
    }
    for (index, at) in arrivals.iter().skip(before).enumerate() {
        let most = RATE * (*at - killed).as_secs_f64() + RATE / 10.0 + 5.0;
        assert!(index as f64 <= most, "request {index} {:?} after the takeover", *at - killed);
    }
}

#[tokio::test]
async fn an_edge_that_ends_while_fills_arrive_is_filled_when_it_is_back() {
    let place = Place::new(shared().await).await;
    let _worker = place.worker("w").await;
    for n in 0..100 {
        place.origin.always(&format!("/{n}"), fresh("page"));
    }
    let edge = place.mortal("a", false).await;
    for n in 0..100 {
        assert_eq!(edge.world.get(&format!("/{n}")).await.status, 503);
    }
    edge.world.until("the first fills", |counters| counters.fills_kept.get() > 0).await;
    edge.kill();
    let back = place.edge("a").await;
    for n in 0..100 {
        assert_eq!(until_hit(&back, &format!("/{n}")).await.text(), "page");
    }
    assert!(place.origin.requests().len() <= 101, "{} requests", place.origin.requests().len());
}
