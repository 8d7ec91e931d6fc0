//! Clients that ask for the same cold response share one origin request.

use crate::harness::World;
use crate::harness::origin::{Gate, Step, raw, response};

const HEAD: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n";

#[tokio::test]
async fn two_hundred_clients_share_one_request_and_read_while_it_arrives() {
    let world = World::start("").await;
    let (head, rest) = (Gate::default(), Gate::default());
    let script =
        vec![Step::Wait(head.clone()), raw(HEAD), raw("first"), Step::Wait(rest.clone()), raw("again")];
    world.origin.always("/slow", script);
    let mut clients = Vec::new();
    for n in 0..200 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(b"GET /slow HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        clients.push(client);
    }
    world.until("199 to follow", |c| c.followers_waiting.get() == 199).await;
    head.open();
    for client in &mut clients {
        assert_eq!(client.head().await.status, 200);
        assert_eq!(client.bytes(5).await, b"first", "before the origin has sent the rest");
    }
    rest.open();
    for client in &mut clients {
        assert_eq!(client.bytes(5).await, b"again");
    }
    world.settled().await;
    assert_eq!(world.origin.count("/slow"), 1);
    let counters = world.counters();
    assert_eq!((counters.requests_miss.get(), counters.requests_collapsed.get()), (1, 199));
    assert!(world.get("/slow").await.is_hit());
}

#[tokio::test]
async fn a_leader_that_leaves_takes_nobody_along() {
    let world = World::start("").await;
    let (head, rest) = (Gate::default(), Gate::default());
    let script =
        vec![Step::Wait(head.clone()), raw(HEAD), raw("first"), Step::Wait(rest.clone()), raw("again")];
    world.origin.always("/slow", script);
    let mut leader = world.client("leader").await;
    leader.send(b"GET /slow HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    head.reached(1).await;
    let mut follower = world.client("follower").await;
    follower.send(b"GET /slow HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    world.until("one to follow", |c| c.followers_waiting.get() == 1).await;
    drop(leader);
    world.until("the leader to be gone", |c| c.client_connections_open.get() == 1).await;
    head.open();
    rest.open();
    assert_eq!(follower.reply(false).await.text(), "firstagain");
    world.settled().await;
    assert_eq!(world.origin.count("/slow"), 1);
}

#[tokio::test]
async fn a_response_that_everybody_left_is_stored_all_the_same() {
    let world = World::start("").await;
    let gate = Gate::default();
    world.origin.always("/slow", vec![Step::Wait(gate.clone()), raw(HEAD), raw("0123456789")]);
    let mut client = world.client("client").await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
    gate.reached(1).await;
    drop(client);
    world.until("everybody to be gone", |c| c.client_connections_open.get() == 0).await;
    gate.open();
    world.settled().await;
    let hit = world.get("/slow").await;
    assert!(hit.is_hit(), "{hit:?}");
    assert_eq!(world.origin.count("/slow"), 1);
}

#[tokio::test]
async fn a_leader_that_fails_fails_its_followers_and_not_one_after_the_other() {
    let world = World::start("").await;
    let gate = Gate::default();
    world.origin.always("/bad", vec![Step::Wait(gate.clone()), Step::Close]);
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(b"GET /bad HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        clients.push(client);
    }
    world.until("nine to follow", |c| c.followers_waiting.get() == 9).await;
    gate.open();
    for mut client in clients {
        assert_eq!(client.reply(false).await.status, 502);
    }
    assert_eq!(world.origin.count("/bad"), 1);
}

#[tokio::test]
async fn those_who_wait_do_not_fall_upon_an_origin_that_fails() {
    let world = World::start("").await;
    let gates = [Gate::default(), Gate::default()];
    let at = gates.clone();
    world.origin.on("/bad", move |_, n| {
        let failure = response("503 Service Unavailable", &[], "overloaded");
        at.get(n - 1).map(|gate| Step::Wait(gate.clone())).into_iter().chain(failure).collect()
    });
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(b"GET /bad HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        clients.push(client);
    }
    for (waiting, gate) in [(9, &gates[0]), (8, &gates[1])] {
        gate.reached(1).await;
        world.until("the others to follow", |c| c.followers_waiting.get() == waiting).await;
        gate.open();
    }
    let mut statuses = Vec::new();
    for mut client in clients {
        statuses.push(client.reply(false).await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [[502; 8].as_slice(), &[503; 2]].concat());
    assert_eq!(world.origin.count("/bad"), 2);
    assert_eq!(world.counters().store_marked.get(), 0);
}

#[tokio::test]
async fn a_failure_of_the_leader_alone_is_not_its_followers_failure() {
    let world = World::start("").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |_, n| match n {
        1 => [vec![Step::Wait(at.clone())], response("500 Oops", &[], "oops")].concat(),
        _ => vec![raw(HEAD), raw("0123456789")],
    });
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = world.client(&format!("client {n}")).await;
        client.send(b"GET /x HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        clients.push(client);
    }
    world.until("nine to follow", |c| c.followers_waiting.get() == 9).await;
    gate.open();
    let mut statuses = Vec::new();
    for mut client in clients {
        statuses.push(client.reply(false).await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [[200; 9].as_slice(), &[500]].concat());
    assert_eq!(world.origin.count("/x"), 2);
}
