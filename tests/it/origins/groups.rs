//! An origin of several servers: whom it asks, whom it leaves alone, and what clients get
//! meanwhile.

use serde_json::Value;

use crate::cluster::ask;
use crate::cluster::command::run;
use crate::harness::origin::{Gate, Step, ok, response};
use crate::harness::{Origin, Transcript, World};
use crate::purge::post;

/// Two servers that say who they are, uncacheably, and an origin of both.
async fn two(settings: &str) -> (World, [Origin; 2]) {
    let servers = [Origin::start(Transcript::default()).await, Origin::start(Transcript::default()).await];
    for (name, server) in ["a", "b"].into_iter().zip(&servers) {
        server.otherwise(move |_, _| ok("no-store", name));
    }
    let urls: Vec<String> = servers.iter().map(|server| format!("\"http://{}\"", server.address())).collect();
    let settings = format!("origin.url = [{}]\norigin.slow_start = \"0s\"\n{settings}", urls.join(", "));
    (World::again(servers[0].clone(), &settings).await, servers)
}

/// Who has answered each of so many requests.
async fn answers(world: &World, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for n in 0..count {
        let reply = world.get(&format!("/{n}")).await;
        all.push(if reply.status == 200 { reply.text().to_owned() } else { reply.status.to_string() });
    }
    all
}

async fn view(world: &World) -> Value {
    ask(world, "/v1/origins").await["origins"][0].clone()
}

#[tokio::test]
async fn servers_take_turns() {
    let (world, servers) = two("").await;
    assert_eq!(answers(&world, 4).await, ["a", "b", "a", "b"]);
    assert_eq!(servers.each_ref().map(|server| server.requests().len()), [2, 2]);
}

#[tokio::test]
async fn a_hash_sends_the_same_path_to_the_same_server() {
    let (world, _) = two("origin.balance = \"hash\"").await;
    let first = answers(&world, 20).await;
    assert_eq!(answers(&world, 20).await, first);
    assert!(first.contains(&"a".to_owned()) && first.contains(&"b".to_owned()), "{first:?}");
    let (world, _) = two("origin.balance = \"hash\"\norigin.hash_on = \"header:X-User\"").await;
    let mut by_user = Vec::new();
    for n in 0..10 {
        by_user.push(world.get_with(&format!("/{n}"), &[("X-User", "anna")]).await.text().to_owned());
    }
    assert!(by_user.iter().all(|server| *server == by_user[0]), "{by_user:?}");
}

#[tokio::test]
async fn what_fails_at_one_server_is_asked_of_another_and_only_what_may_be() {
    let (world, servers) = two("origin.eject_after = 0").await;
    servers[0].otherwise(|_, _| vec![Step::Reset]);
    assert_eq!(answers(&world, 4).await, ["b"; 4]);
    assert_eq!(world.counters().origin_retries_other.get(), 2);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(world.client("writer").await.ask("POST", "/", &[], b"once").await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502], "content is never sent twice");
    servers[0].otherwise(|_, _| response("503 Service Unavailable", &[], "broken"));
    assert_eq!(answers(&world, 2).await, ["b"; 2]);
    servers[1].otherwise(|_, _| vec![Step::Reset]);
    let mut both = Vec::new();
    for n in 0..2 {
        let reply = world.get(&format!("/both/{n}")).await;
        both.push((reply.status, reply.text().to_owned()));
    }
    assert!(both.contains(&(503, "broken".to_owned())), "a server's own error is better than none: {both:?}");
    servers[1].otherwise(|_, _| ok("no-store", "b"));
    servers[0].otherwise(|_, _| response("500 Oops", &[("Cache-Control", "no-store")], "ours"));
    assert_eq!(answers(&world, 2).await.iter().filter(|one| *one == "500").count(), 1, "500 is an answer");
}

#[tokio::test]
async fn further_attempts_do_not_multiply_an_outage() {
    let (world, servers) = two("origin.eject_after = 0\norigin.breaker_min_requests = 1000000").await;
    for server in &servers {
        server.otherwise(|_, _| vec![Step::Reset]);
    }
    for n in 0..100 {
        assert_eq!(world.get(&format!("/{n}")).await.status, 502);
    }
    let sent: usize = servers.iter().map(|server| server.requests().len()).sum();
    // A tenth, and a few that time has brought.
    assert!((105..=120).contains(&sent), "{sent}");
    assert_eq!(world.counters().origin_retries_other.get() as usize, sent - 100);
    assert!(world.counters().origin_retries_refused.get() >= 80);
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_left_alone() {
    let (world, servers) = two("origin.eject_after = 3\norigin.retries = 0").await;
    servers[0].otherwise(|_, _| vec![Step::Reset]);
    let seen = answers(&world, 20).await;
    assert_eq!(seen.iter().filter(|one| *one == "502").count(), 3, "{seen:?}");
    assert_eq!((servers[0].requests().len(), world.counters().origin_ejected.get()), (3, 1));
    let view = view(&world).await;
    assert_eq!(view["servers"][0]["state"], "ejected", "{view}");
    assert_eq!(view["servers"][1]["state"], "up", "{view}");
    // The last one is never left alone, and where it is gone the other one is asked again.
    servers[1].otherwise(|_, _| vec![Step::Reset]);
    assert_eq!(answers(&world, 10).await, ["502"; 10]);
    assert_eq!(world.counters().origin_ejected.get(), 1);
    let server = servers[1].address().to_string();
    post(&world, "/v1/origins/o/breaker", &serde_json::json!({ "state": "open", "server": server })).await;
    servers[0].otherwise(|_, _| ok("no-store", "a"));
    assert_eq!(answers(&world, 2).await, ["a"; 2]);
}

#[tokio::test]
async fn a_breaker_opens_and_closes_by_itself_and_clients_get_stale_or_503_at_once() {
    let world = World::start(
        "origin.breaker_min_requests = 5\norigin.breaker_open = \"300ms\"\norigin.breaker_trials = 1\n\
         [rules]\nrefresh_backoff = \"0s\"",
    )
    .await;
    world.origin.on("/kept", |_, _| ok("max-age=1", "kept"));
    assert_eq!(world.get("/kept").await.text(), "kept");
    world.settled().await;
    world.advance(std::time::Duration::from_secs(5));
    world.origin.otherwise(|_, _| vec![Step::Reset]);
    world.origin.on("/kept", |_, _| vec![Step::Reset]);
    let mut statuses = Vec::new();
    for n in 0..10 {
        statuses.push(world.get(&format!("/{n}")).await.status);
    }
    assert_eq!(statuses, [502, 502, 502, 502, 503, 503, 503, 503, 503, 503]);
    assert_eq!(world.origin.requests().len(), 6, "with the one that fails first of all");
    let reply = world.get("/gone").await;
    assert!(reply.field("retry-after").is_some(), "{:?}", reply.field("retry-after"));
    assert_eq!(world.get("/kept").await.text(), "kept");
    assert!(
        world.counters().origin_refused_open.get() + world.counters().origin_refused_no_server.get() >= 5
    );
    assert!(
        view(&world).await["breaker"]["cause"].as_str().is_some_and(|why| why.contains("requests failed"))
    );
    world.origin.otherwise(|_, _| ok("no-store", "well"));
    let wait = async { while world.get("/again").await.status != 200 {} };
    world.transcript.within("it to close", wait).await;
    world.until("closed", |counters| counters.origin_breaker_closed.get() >= 1).await;
}

#[tokio::test]
async fn an_origin_of_any_name_can_be_named_on_the_command_line() {
    let name = "the app/1 \u{e9} 50%25";
    let world = World::start("").await;
    let settings = format!(
        "[[origin]]\nname = \"{name}\"\nurl = \"http://{}\"\n[[site]]\nhosts = [\"*\"]\norigin = \"{name}\"",
        world.origin.address()
    );
    let world = world.beside(&settings).await;
    world.origin.otherwise(|_, _| ok("no-store", "app"));
    let (code, out, err) = run(&world, &["origins", "open", name]).await;
    assert_eq!((code, out), (Some(0), format!("1 breaker of {name} set to open\n")), "{err}");
    assert_eq!(answers(&world, 1).await, ["503"]);
    let path = "/v1/origins/the%20app%2f1%20%c3%a9%2050%2525/breaker";
    assert_eq!(post(&world, path, &serde_json::json!({ "state": "auto" })).await["changed"], 1);
    assert_eq!(answers(&world, 1).await, ["app"]);
    let nobody = post(&world, "/v1/origins/the%20app/breaker", &serde_json::json!({ "state": "open" })).await;
    assert!(nobody["error"].as_str().is_some_and(|error| error.contains("`the app`")), "{nobody}");
}

#[tokio::test]
async fn an_operator_opens_a_server_for_maintenance_and_closes_it_again() {
    let (world, servers) = two("").await;
    let server = servers[0].address().to_string();
    let answer =
        post(&world, "/v1/origins/o/breaker", &serde_json::json!({ "state": "open", "server": server }))
            .await;
    assert_eq!(answer["changed"], 1, "{answer}");
    assert_eq!(answers(&world, 4).await, ["b"; 4]);
    assert_eq!(view(&world).await["servers"][0]["breaker"]["cause"], "it was opened by hand");
    post(&world, "/v1/origins/o/breaker", &serde_json::json!({ "state": "auto", "server": server })).await;
    assert_eq!(answers(&world, 4).await.iter().filter(|one| *one == "a").count(), 2);
    post(&world, "/v1/origins/o/breaker", &serde_json::json!({ "state": "open" })).await;
    assert_eq!(answers(&world, 2).await, ["503"; 2]);
    let nobody = post(&world, "/v1/origins/nobody/breaker", &serde_json::json!({ "state": "open" })).await;
    assert!(nobody["error"].as_str().is_some_and(|error| error.contains("nobody")), "{nobody}");
}

#[tokio::test]
async fn a_server_whose_probes_fail_is_not_asked_until_they_are_answered_again() {
    let (world, servers) =
        two("origin.probe = \"/health\"\norigin.probe_interval = \"20ms\"\norigin.probe_window = 3\n\
         origin.probe_threshold = 2\norigin.probe_body = \"^fine$\"")
        .await;
    for server in &servers {
        server.always("/health", ok("no-store", "fine"));
    }
    world.until("probes", |counters| counters.origin_probes.get() >= 8).await;
    assert_eq!(answers(&world, 4).await, ["a", "b", "a", "b"]);
    servers[0].always("/health", ok("no-store", "not so fine"));
    world.until("a sick one", |counters| counters.origin_sick.get() >= 1).await;
    let state = async { while view(&world).await["servers"][0]["state"] != "sick" {} };
    world.transcript.within("the first to be sick", state).await;
    assert_eq!(answers(&world, 4).await, ["b"; 4]);
    servers[0].always("/health", ok("no-store", "fine"));
    let state = async { while view(&world).await["servers"][0]["state"] != "up" {} };
    world.transcript.within("the first to be well", state).await;
    assert!(answers(&world, 4).await.contains(&"a".to_owned()));
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_and_counts_what_is_under_way() {
    let settings = "origin.max_requests = 2\norigin.max_line = 0";
    let world = World::start(settings).await;
    let gate = Gate::default();
    let held = gate.clone();
    world.origin.otherwise(move |_, _| {
        let mut script = vec![Step::Wait(held.clone())];
        script.extend(ok("no-store", "late"));
        script
    });
    let mut clients = Vec::new();
    for n in 0..2 {
        let mut client = world.client("waiting").await;
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: www.example.org\r\n\r\n").as_bytes()).await;
        clients.push(client);
    }
    gate.reached(2).await;
    let text = World::config_text(&world.origin, &format!("{settings}\norigin.first_byte_timeout = \"29s\""));
    let config = forebay::config::read("test", &text, &forebay::config::Flags::default());
    world.node.reload(config.unwrap_or_else(|faults| panic!("{faults}")));
    assert_eq!(world.get("/third").await.status, 503, "two are under way still");
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply(false).await.text(), "late");
    }
    assert_eq!(world.get("/third").await.text(), "late");
}

/// No server opens by itself where the traffic is spread over many; together they have failed.
#[tokio::test]
async fn where_all_servers_hang_the_origin_is_left_alone() {
    let settings = "first_byte_timeout = \"100ms\"\nbreaker_min_requests = 8\nretries = 0";
    let (world, origins) = two(settings).await;
    for origin in &origins {
        origin.otherwise(|_, _| vec![Step::Wait(Gate::default())]);
    }
    let mut asked = 0;
    while world.get("/").await.status == 504 {
        asked += 1;
        assert!(asked <= 9, "it goes on and on");
    }
    assert_eq!(world.get("/").await.status, 503);
    let view = view(&world).await;
    assert_eq!(view["breaker"]["state"], "open", "{view}");
}
