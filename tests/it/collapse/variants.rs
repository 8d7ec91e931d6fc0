//! Followers whose response turns out to be another variant regroup.

use crate::harness::World;
use crate::harness::origin::{Gate, Step, response};

#[tokio::test]
async fn each_variant_is_fetched_once() {
    let world = World::start("").await;
    let gate = Gate::default();
    let at = gate.clone();
    world.origin.on("/x", move |seen, n| {
        let mut script = if n == 1 { vec![Step::Wait(at.clone())] } else { Vec::new() };
        let fields = [("Cache-Control", "max-age=60"), ("Vary", "X-Colour")];
        script.extend(response("200 OK", &fields, seen.field("x-colour").unwrap_or("none")));
        script
    });
    let colours = ["red", "green", "blue"];
    let mut clients = Vec::new();
    for n in 0..30 {
        let mut client = world.client(&format!("client {n}")).await;
        let colour = colours[n % 3];
        let request = format!("GET /x HTTP/1.1\r\nHost: www.example.org\r\nX-Colour: {colour}\r\n\r\n");
        client.send(request.as_bytes()).await;
        clients.push((colour, client));
    }
    world.until("29 to follow", |c| c.followers_waiting.get() == 29).await;
    gate.open();
    for (colour, client) in &mut clients {
        assert_eq!(client.reply(false).await.text(), *colour);
    }
    world.settled().await;
    assert_eq!(world.origin.count("/x"), 3);
}
