//! The slow-origin story by counts: two origins, one of which hangs. Who needs the other
//! one does not notice.

use futures_util::future::join_all;

use crate::harness::origin::{Gate, Step, ok};
use crate::harness::{Origin, Transcript, World};

/// Clients of the healthy origin, and of the one that hangs.
const HEALTHY: usize = 380;
const HANGING: usize = 20;
/// The hanging one's bulkhead, and the line before it.
const PLACES: usize = 5;
const LINE: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_hangs_costs_the_others_nothing() {
    let transcript = Transcript::default();
    let (healthy, hanging) = (Origin::start(transcript.clone()).await, Origin::start(transcript).await);
    healthy.otherwise(|_, _| ok("no-store", "well"));
    let gate = Gate::default();
    let held = gate.clone();
    hanging.otherwise(move |_, _| vec![Step::Wait(held.clone())]);
    let settings = format!(
        "[[origin]]\nname = \"slow\"\nurl = \"http://{}\"\nmax_requests = {PLACES}\nmax_line = {LINE}\nline_wait = \"200ms\"\n\
         first_byte_timeout = \"2s\"\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"o\"\n[[site.route]]\npath = \"/slow/\"\norigin = \"slow\"",
        hanging.address()
    );
    let world = World::again(healthy.clone(), &settings).await;
    let ask = async |path: String| {
        let began = std::time::Instant::now();
        (world.get(&path).await, began.elapsed())
    };
    let slow = join_all((0..HANGING).map(|n| ask(format!("/slow/{n}"))));
    let fast = async {
        gate.reached(PLACES).await;
        join_all((0..HEALTHY).map(|n| ask(format!("/{n}")))).await
    };
    let (slow, fast) = tokio::join!(slow, fast);
    assert!(fast.iter().all(|(reply, _)| reply.text() == "well"), "everybody is answered");
    assert_eq!(healthy.requests().len(), HEALTHY);
    assert_eq!(hanging.requests().len(), PLACES, "no more than its places");
    let refused: Vec<_> = slow.iter().filter(|(reply, _)| reply.status == 503).collect();
    let late = slow.iter().filter(|(reply, _)| reply.status == 504).count();
    assert_eq!((refused.len(), late), (HANGING - PLACES, PLACES));
    assert!(refused.iter().all(|(reply, _)| reply.field("retry-after").is_some()));
    let counters = world.counters();
    assert_eq!(counters.origin_refused_full.get() as usize, HANGING - PLACES - LINE);
    assert_eq!(counters.origin_refused_overdue.get() as usize, LINE);
    // Whoever was refused was so long before those that were asked for in vain.
    let longest = refused.iter().map(|(_, took)| *took).max();
    let soonest = slow.iter().filter(|(reply, _)| reply.status == 504).map(|(_, took)| *took).min();
    assert!(longest < soonest, "{longest:?} and {soonest:?}");
}
