//! Origins by name, found by a real DNS server: answers that change, vanish and lie.

use crate::cluster::ask;
use crate::harness::dns::Dns;
use crate::harness::origin::ok;
use crate::harness::{Origin, Transcript, World};

/// An origin that says its name, at another address of loopback than others.
async fn named(name: &'static str) -> Origin {
    let origin = Origin::start(Transcript::default()).await;
    origin.otherwise(move |_, _| ok("no-store", name));
    origin
}

/// A node whose origin has this URL.
async fn world(dns: &Dns, origin: &Origin, url: &str) -> World {
    let settings = format!(
        "origin.url = \"{url}\"\norigin.eject_after = 0\norigin.breaker_min_requests = 1000000\norigin.retries = 0\n\
         [dns]\nservers = [\"{}\"]\nmin_ttl = \"50ms\"\nmax_ttl = \"100ms\"\ntimeout = \"500ms\"",
        dns.address()
    );
    World::again(origin.clone(), &settings).await
}

/// Waits until a request is answered with this.
async fn until(world: &World, text: &str) {
    let wait = async { while world.get("/").await.text() != text {} };
    world.transcript.within(text, wait).await;
}

#[tokio::test]
async fn a_name_that_stands_for_another_server_is_followed_and_one_that_vanishes_is_kept() {
    let (one, other) = (named("one").await, named("other").await);
    let mut dns = Dns::start(&[]).await;
    dns.tell("127.0.0.1 app.test");
    let world = world(&dns, &one, &format!("http://app.test:{}", one.address().port())).await;
    assert_eq!(world.get("/").await.text(), "one", "also the first request");
    // Nobody listens there.
    dns.tell("127.0.0.99 app.test");
    let wait = async { while world.get("/").await.status != 502 {} };
    world.transcript.within("the other address", wait).await;
    dns.tell("127.0.0.1 app.test");
    until(&world, "one").await;
    dns.tell("");
    world.until("failures", |counters| counters.dns_failures.get() >= 2).await;
    assert_eq!(world.get("/").await.text(), "one", "the last good answer is kept");
    dns.kill();
    let before = world.counters().dns_failures.get();
    world.until("more failures", |counters| counters.dns_failures.get() > before).await;
    assert_eq!(world.get("/").await.text(), "one");
    assert!(world.counters().dns_kept.get() >= 3);
    let view = ask(&world, "/v1/origins").await;
    assert!(view["origins"][0]["names"][0]["error"].is_string(), "{view}");
    dns.tell("127.0.0.1 app.test");
    dns.restart().await;
    let wait =
        async { while ask(&world, "/v1/origins").await["origins"][0]["names"][0]["error"].is_string() {} };
    world.transcript.within("the name to be answered again", wait).await;
    assert_eq!(world.get("/").await.text(), "one");
    drop(other);
}

#[tokio::test]
async fn a_node_starts_with_a_name_that_nobody_knows_yet() {
    let one = named("one").await;
    let dns = Dns::start(&[]).await;
    let world = world(&dns, &one, &format!("http://app.test:{}", one.address().port())).await;
    let reply = world.get("/").await;
    assert_eq!(reply.status, 502);
    assert!(reply.field("proxy-status").is_some_and(|status| status.ends_with("error=dns_error")));
    dns.tell("127.0.0.1 app.test");
    until(&world, "one").await;
}

#[tokio::test]
async fn all_addresses_of_a_name_are_servers_and_those_that_nobody_can_have_are_not() {
    let one = named("one").await;
    let dns = Dns::start(&[]).await;
    dns.tell("127.0.0.1 app.test\n0.0.0.0 app.test\n224.0.0.1 app.test\n::1 app.test");
    let world = world(&dns, &one, &format!("http://app.test:{}", one.address().port())).await;
    for _ in 0..4 {
        assert_eq!(world.get("/").await.text(), "one");
    }
    assert!(world.counters().dns_bad_addresses.get() >= 2);
    let view = ask(&world, "/v1/origins").await;
    assert_eq!(view["origins"][0]["servers"].as_array().map(Vec::len), Some(1), "{view}");
}

#[tokio::test]
async fn a_service_says_ports_weights_and_priorities() {
    let (one, other, spare) = (named("one").await, named("other").await, named("spare").await);
    let port = |origin: &Origin| origin.address().port();
    let services = [
        format!("_web._tcp.app.test,a.app.test,{},1,3", port(&one)),
        format!("_web._tcp.app.test,a.app.test,{},1,1", port(&other)),
        format!("_web._tcp.app.test,a.app.test,{},2,1", port(&spare)),
        format!("_web._tcp.app.test,gone.app.test,{},1,1", port(&spare)),
    ];
    let dns = Dns::start(&services).await;
    dns.tell("127.0.0.1 a.app.test");
    let world = world(&dns, &one, "srv://_web._tcp.app.test").await;
    let mut counts = [0; 3];
    for _ in 0..8 {
        match world.get("/").await.text() {
            "one" => counts[0] += 1,
            "other" => counts[1] += 1,
            _ => counts[2] += 1,
        }
    }
    assert_eq!(counts, [6, 2, 0], "by weight, and the spare one not at all");
    let view = ask(&world, "/v1/origins").await;
    assert_eq!(view["origins"][0]["servers"].as_array().map(Vec::len), Some(3), "{view}");
}

#[tokio::test]
async fn a_target_of_a_service_that_vanishes_is_kept_until_it_is_elsewhere() {
    let (one, other) = (named("one").await, named("other").await);
    let services = [("a", &one), ("b", &other)]
        .map(|(host, origin)| format!("_web._tcp.app.test,{host}.app.test,{},1,1", origin.address().port()));
    let dns = Dns::start(&services).await;
    dns.tell("127.0.0.1 a.app.test\n127.0.0.1 b.app.test");
    let world = world(&dns, &one, "srv://_web._tcp.app.test").await;
    let mut both = [world.get("/").await.text().to_owned(), world.get("/").await.text().to_owned()];
    both.sort();
    assert_eq!(both, ["one", "other"]);
    dns.tell("127.0.0.1 a.app.test");
    world.until("the other target to be kept", |counters| counters.dns_kept.get() >= 3).await;
    let mut both = [world.get("/").await.text().to_owned(), world.get("/").await.text().to_owned()];
    both.sort();
    assert_eq!(both, ["one", "other"], "the last good answer is kept");
    // Nobody listens there.
    dns.tell("127.0.0.1 a.app.test\n127.0.0.99 b.app.test");
    let wait = async { while world.get("/").await.status != 502 {} };
    world.transcript.within("the other address", wait).await;
}

#[tokio::test]
async fn a_service_that_is_decidedly_not_there_has_no_servers() {
    let one = named("one").await;
    let dns = Dns::start(&["_web._tcp.app.test,.,0,0,0".to_owned()]).await;
    let world = world(&dns, &one, "srv://_web._tcp.app.test").await;
    assert_eq!(world.get("/").await.status, 503);
    assert_eq!(world.counters().origin_refused_no_server.get(), 1);
}
