//! Whoever invents URLs costs little and delays no key that is known; what is known
//! outlives the cache.

use super::{filled, fills, gated, hidden, make_known, proxy_status, retry_after, until_decided};
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
    let directory = Directory::new("budget");
    make_known(&directory, 1000, &["/known".to_owned()]);
    let settings = format!("{}\n[hidden]\nunknown_rate = \"1/h\"\nknown_keys = 1000\n", directory.settings());
    let world = hidden("", &settings).await;
    for n in 0..20 {
        let reply = world.get(&format!("/invented/{n}")).await;
        // The first one spends it.
        let said = if n == 0 { "\"queued\"" } else { "\"not queued\"" };
        assert!(reply.status == 503 && proxy_status(&reply).ends_with(said), "{n}: {reply:?}");
    }
    assert_eq!(world.counters().hidden_refused_unknown.get(), 19);
    world.origin.always("/known", ok("max-age=60", "known"));
    assert_eq!(filled(&world, "/known").await.text(), "known");
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
async fn what_is_known_in_one_coding_is_known_in_all() {
    let directory = Directory::new("coding");
    let settings = |more: &str| {
        format!("origin.rate = \"10000/s\"\n{}\n{more}[rules]\nmode = \"hidden\"\n", directory.settings())
    };
    let world = World::start(&settings("")).await;
    world.origin.always("/real", ok("max-age=60", "real"));
    filled(&world, "/real").await;
    let origin = world.origin.clone();
    end(world, &directory).await;
    let world = World::again(origin, &settings("[hidden]\nunknown_rate = \"1/h\"\n")).await;
    assert_eq!(world.get("/invented").await.status, 503);
    let miss = world.get_with("/real", &[("Accept-Encoding", "gzip")]).await;
    assert!(proxy_status(&miss).ends_with("\"queued\""), "{miss:?}");
    // The invented one's own, and this.
    world.origin.wait_for("/real", 2).await;
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
async fn known_keys_go_first() {
    let directory = Directory::new("first");
    make_known(&directory, 1000, &["/known".to_owned(), "/too".to_owned()]);
    let settings = format!(
        "{}\norigin.rate = \"10000/s\"\norigin.concurrency = 1\n[hidden]\nknown_keys = 1000\n",
        directory.settings()
    );
    let world = hidden("", &settings).await;
    let gate = Gate::default();
    gated(&world, "/first", &gate, "max-age=60");
    world.get("/first").await;
    gate.reached(1).await;
    for path in ["/invented/1", "/known", "/invented/2", "/too"] {
        world.origin.always(path, ok("max-age=60", "x"));
        world.get(path).await;
    }
    world.until("all of them to be told", |c| c.events_published.get() == 5).await;
    gate.open();
    fills(&world, 5).await;
    let order: Vec<String> = world.origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order, ["/first", "/known", "/too", "/invented/1", "/invented/2"]);
}

#[tokio::test]
async fn a_route_that_cannot_store_it_does_not_know_it() {
    let world = hidden("", "[hidden]\nhold_down = \"1h\"\n").await;
    world.origin.always("/a", ok("no-store", "x"));
    assert_eq!(until_decided(&world, "/a").await.status, 502);
    assert_eq!(world.counters().known_keys.get(), 0);
}
