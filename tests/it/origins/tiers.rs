//! A node in front of a node: what both leave on a request, what goes round and what does
//! not, and which of several shields is asked.

use forebay::policy::hop::DEFAULT_NAME;

use crate::harness::origin::ok;
use crate::harness::{Origin, Reply, Transcript, Wire, World};

/// A node in front of these nodes.
async fn in_front_of(shields: &[&World], settings: &str) -> World {
    let urls: Vec<String> =
        shields.iter().map(|shield| format!("\"http://{}\"", shield.node.address())).collect();
    let settings = format!("origin.url = [{}]\norigin.slow_start = \"0s\"\n{settings}", urls.join(", "));
    World::again(shields[0].origin.clone(), &settings).await
}

/// Two nodes each of which is the origin of the other one.
async fn ring(settings: [&str; 2]) -> [World; 2] {
    // Nobody knows where a node is before it is there.
    let nowhere = Origin::start(Transcript::default()).await;
    let back = Wire::to_later().await;
    let one =
        World::again(nowhere, &format!("origin.url = \"http://{}\"\n{}", back.address(), settings[0])).await;
    let other = in_front_of(&[&one], settings[1]).await;
    back.lead_to(other.node.address());
    [one, other]
}

fn is_loop(reply: &Reply) -> bool {
    let proxy_status = reply.all("proxy-status").join(", ");
    reply.status == 508 && proxy_status.contains("; error=proxy_loop_detected")
}

/// How often requests went on from these nodes.
fn forwarded(worlds: &[World]) -> u64 {
    worlds.iter().map(|world| world.counters().origin_requests.get()).sum()
}

#[tokio::test]
async fn two_nodes_that_lead_to_each_other_end_it_at_once() {
    let nodes = ring(["", ""]).await;
    for path in ["/a", "/b"] {
        let reply = nodes[0].get(path).await;
        assert!(is_loop(&reply), "{} {:?}", reply.status, reply.fields);
    }
    assert_eq!(forwarded(&nodes), 4, "each node asks once for each");
    assert_eq!((nodes[0].counters().loops.get(), nodes[1].counters().loops.get()), (2, 0));
    // What is passed goes round no less.
    let mut client = nodes[1].client("writer").await;
    assert!(is_loop(&client.ask("POST", "/a", &[], b"once").await));
    assert_eq!(nodes[1].counters().loops.get(), 1);
}

#[tokio::test]
async fn nobody_hides_a_loop() {
    let nodes = ring(["", ""]).await;
    for fields in [
        &[("CDN-Loop", "\"")][..],
        &[("CDN-Loop", ", ;=, a;b=\"c")],
        &[("Connection", "cdn-loop, via")],
        &[("CDN-Loop", "cdn.example"), ("CDN-Loop", "forebay; node=0")],
    ] {
        let before = forwarded(&nodes);
        let reply = nodes[0].get_with("/a", fields).await;
        assert!(is_loop(&reply), "{fields:?}: {} {:?}", reply.status, reply.fields);
        assert_eq!(forwarded(&nodes), before + 2, "{fields:?}");
    }
}

#[tokio::test]
async fn an_edge_and_a_shield_of_the_same_name_are_no_loop() {
    for name in ["", "[node]\nname = \"cache\""] {
        let shield = World::start(name).await;
        shield.origin.on("/a", |_, _| ok("max-age=600", "a"));
        let edge = in_front_of(&[&shield], name).await;
        let name = if name.is_empty() { DEFAULT_NAME } else { "cache" };
        let reply = edge.get_with("/a", &[("CDN-Loop", "cdn.example;v=1"), ("CDN-Loop", "\"")]).await;
        assert_eq!((reply.status, reply.text()), (200, "a"), "{:?}", reply.fields);
        let said = reply.all("cache-status").join(", ");
        let members: Vec<&str> = said.split(", ").collect();
        assert_eq!(members.len(), 2, "{said}");
        assert!(members.iter().all(|member| member.starts_with(&format!("{name}; fwd=uri-miss"))), "{said}");
        let seen = shield.origin.requests();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].field("via"), Some(format!("1.1 {name}, 1.1 {name}").as_str()));
        let told = seen[0].all("cdn-loop");
        assert_eq!((told.len(), &told[..2]), (4, &["cdn.example;v=1", "\""][..]), "nothing is altered");
        assert!(
            told[2..].iter().all(|line| line.starts_with("forebay;node=")) && told[2] != told[3],
            "{told:?}"
        );
        // The edge counts on from the age that the shield tells.
        shield.settled().await;
        shield.advance(std::time::Duration::from_secs(100));
        let other = in_front_of(&[&shield], "").await;
        let reply = other.get("/a").await;
        assert_eq!((reply.field("age"), shield.origin.requests().len()), (Some("100"), 1));
        assert!(reply.all("cache-status").join(", ").contains("; hit"), "{:?}", reply.fields);
    }
}

#[tokio::test]
async fn a_site_whose_origin_is_another_site_of_the_same_node_works_and_ends() {
    let back = Wire::to_later().await;
    let application = Origin::start(Transcript::default()).await;
    application.otherwise(|seen, _| ok("max-age=600", seen.field("host").unwrap_or_default()));
    let settings = format!(
        "[[origin]]\nname = \"self\"\nurl = \"http://{}\"\n\
         [[site]]\nhosts = [\"outer.example\"]\norigin = \"self\"\n\
         [site.rules]\norigin_host = \"inner.example\"\n\
         [[site]]\nhosts = [\"round.example\"]\norigin = \"self\"\n\
         [[site]]\nhosts = [\"inner.example\"]\norigin = \"o\"\n",
        back.address()
    );
    let world = World::again(application, &settings).await;
    back.lead_to(world.node.address());
    let reply = world.get_with("/a", &[("Host", "outer.example")]).await;
    assert_eq!((reply.status, reply.text()), (200, "inner.example"), "{:?}", reply.fields);
    assert_eq!(world.counters().loops.get(), 0);
    assert!(is_loop(&world.get_with("/a", &[("Host", "round.example")]).await));
    assert_eq!(world.counters().loops.get(), 1);
}

#[tokio::test]
async fn what_is_stored_answers_whoever_has_been_here() {
    let world = World::start("[node]\nname = \"edge-1\"").await;
    world.origin.on("/a", |_, _| ok("max-age=600", "a"));
    assert_eq!(world.get("/a").await.status, 200);
    world.settled().await;
    let own = [("Via", "1.1 edge-1")];
    assert!(world.get_with("/a", &own).await.is_hit());
    let reply = world.get_with("/b", &own).await;
    assert!(is_loop(&reply), "its name, and no other node says that it has it: {:?}", reply.fields);
    assert_eq!((world.origin.count("/a"), world.origin.count("/b")), (1, 0));
}

#[tokio::test]
async fn each_key_is_asked_of_one_shield() {
    let origin = Origin::start(Transcript::default()).await;
    origin.otherwise(|_, _| ok("max-age=600", "x"));
    let shields = [World::again(origin.clone(), "").await, World::again(origin.clone(), "").await];
    let both = [&shields[0], &shields[1]];
    let edges = [
        in_front_of(&both, "origin.balance = \"hash\"").await,
        in_front_of(&both, "origin.balance = \"hash\"").await,
    ];
    for edge in &edges {
        for n in 0..20 {
            let reply = edge.get_with(&format!("/{n}"), &[("Host", "www.example.org")]).await;
            assert_eq!(reply.status, 200);
            shields[0].settled().await;
            shields[1].settled().await;
        }
    }
    let misses = shields.each_ref().map(|shield| shield.counters().requests_miss.get());
    let hits = shields.each_ref().map(|shield| shield.counters().requests_hit.get());
    assert_eq!(
        (misses[0] + misses[1], hits),
        (20, misses),
        "what one edge has asked for the other one finds"
    );
    assert!(misses.iter().all(|count| *count > 0), "{misses:?}");
    assert_eq!(origin.requests().len(), 20);
}
