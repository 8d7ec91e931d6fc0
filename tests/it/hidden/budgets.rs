//! Whoever invents URLs costs little and delays no key that is known; what is known
//! outlives the cache.

use super::{filled, fills, gated, hidden, proxy_status, retry_after, until_decided};
use crate::harness::World;
use crate::harness::origin::{Gate, ok, response};
use crate::purge::journal::{Directory, end};

#[tokio::test]
async fn a_client_that_asks_for_too_many_new_keys_gets_429_and_its_hits_still_flow() {
    let world = hidden("", "[hidden]\nclient_burst = 3\nclient_rate = \"1/h\"\n").await;
    let gate = Gate::default();
    world.origin.always("/stored", ok("max-age=60", "stored"));
    filled(&world, "/stored").await;
    for path in ["/a", "/b"] {
        gated(&world, path, &gate, "max-age=60");
        assert_eq!(world.get(path).await.status, 503);
    }
    let refused = world.get("/c").await;
    assert_eq!((refused.status, retry_after(&refused)), (429, 3600));
    assert_eq!(proxy_status(&refused), "error=http_request_denied; details=\"too many new URLs\"");
    for _ in 0..5 {
        assert_eq!(world.get("/a").await.status, 503, "keys are counted, not requests");
        assert!(world.get("/stored").await.is_hit());
    }
    let c = world.counters();
    assert_eq!((c.hidden_refused_client.get(), world.origin.count("/c")), (1, 0));
}

#[tokio::test]
async fn unknown_keys_have_a_budget_of_their_own_and_known_ones_are_not_in_it() {
    let world = hidden("", "[hidden]\nunknown_rate = \"1/h\"\n").await;
    world.origin.on("/known", |_, n| ok("max-age=5, must-revalidate", &n.to_string()));
    filled(&world, "/known").await;
    assert_eq!(world.purge("http://www.example.org/known").await, 1);
    for n in 0..20 {
        let reply = world.get(&format!("/invented/{n}")).await;
        assert_eq!((reply.status, proxy_status(&reply).ends_with("\"not queued\"")), (503, true), "{n}");
    }
    assert_eq!(world.counters().hidden_refused_unknown.get(), 20);
    assert_eq!(filled(&world, "/known").await.text(), "2");
    assert_eq!(world.origin.requests().len(), 2);
}

#[tokio::test]
async fn what_is_known_outlives_the_cache() {
    let directory = Directory::new("known");
    let settings = |more: &str| {
        format!("origin.rate = \"10000/s\"\n{}\n{more}[rules]\nmode = \"hidden\"\n", directory.settings())
    };
    let world = World::start(&settings("")).await;
    world.origin.always("/real", ok("max-age=60", "real"));
    filled(&world, "/real").await;
    let origin = world.origin.clone();
    end(world, &directory).await;
    let world = World::again(origin, &settings("[hidden]\nunknown_rate = \"1/h\"\n")).await;
    assert_eq!(world.get("/invented/1").await.status, 503);
    let refused = world.get("/invented/2").await;
    assert!(proxy_status(&refused).ends_with("\"not queued\""), "the budget is spent");
    assert_eq!(filled(&world, "/real").await.text(), "real");
}

#[tokio::test]
async fn whoever_invents_urls_does_not_make_them_known() {
    let world = hidden("", "[hidden]\nunknown_rate = \"1/h\"\nhold_down = \"1ms\"\n").await;
    world.origin.always("/invented", response("404 Not Found", &[], "nothing"));
    assert_eq!(until_decided_status(&world, "/invented").await, 404);
    world.advance(std::time::Duration::from_secs(60));
    let again = world.get("/invented").await;
    assert!(proxy_status(&again).ends_with("\"not queued\""), "it is as unknown as before: {again:?}");
    assert_eq!(world.counters().known_keys.get(), 0);
}

async fn until_decided_status(world: &World, path: &str) -> u16 {
    assert_eq!(world.get(path).await.status, 503);
    fills(world, 1).await;
    world.get(path).await.status
}

#[tokio::test]
async fn known_keys_go_first_and_popular_ones_before_the_others() {
    let world = hidden("", "origin.rate = \"10000/s\"\norigin.concurrency = 1\n").await;
    let gate = Gate::default();
    for path in ["/known", "/popular"] {
        world.origin.always(path, ok("max-age=5, must-revalidate", "x"));
        filled(&world, path).await;
    }
    world.purge("http://www.example.org/known").await;
    world.purge("http://www.example.org/popular").await;
    gated(&world, "/first", &gate, "max-age=60");
    world.get("/first").await;
    gate.reached(1).await;
    for path in ["/invented/1", "/known", "/invented/2", "/invented/2", "/popular"] {
        world.origin.always(path, ok("max-age=60", "x"));
        world.get(path).await;
    }
    // Others ask for it from the next lease on; here the lease is told with one miss.
    world.until("all of them to wait", |c| c.events_published.get() == 7).await;
    gate.open();
    fills(&world, 7).await;
    let order: Vec<String> = world.origin.requests().into_iter().skip(2).map(|seen| seen.target).collect();
    assert_eq!(order[..3], ["/first", "/known", "/popular"], "{order:?}");
}

#[tokio::test]
async fn a_route_that_cannot_store_it_does_not_know_it() {
    let world = hidden("", "[hidden]\nhold_down = \"1h\"\n").await;
    world.origin.always("/a", ok("no-store", "x"));
    assert_eq!(until_decided(&world, "/a").await.status, 502);
    assert_eq!(world.counters().known_keys.get(), 0);
}
