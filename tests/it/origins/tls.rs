//! TLS towards origins: a server proves who it is before it is sent anything.

use forebay::config::{self, Flags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::origin::{Step, ok, raw};
use crate::harness::secure::{Authority, Directory, Issued, Secure};
use crate::harness::{Origin, Transcript, World};

/// What a world of TLS consists of.
struct Place {
    origin: Origin,
    directory: Directory,
    authority: Authority,
}

impl Place {
    async fn new() -> Place {
        let origin = Origin::start(Transcript::default()).await;
        origin.always("/", ok("max-age=60", "secret"));
        Place { origin, directory: Directory::new(), authority: Authority::new() }
    }

    /// A node in front of this server, which trusts the authority.
    async fn world(&self, secure: &Secure, host: &str, settings: &str) -> World {
        let ca = self.directory.write("ca.pem", &self.authority.pem);
        let url = format!("https://{host}:{}", secure.address.port());
        let text = format!("origin.url = \"{url}\"\norigin.tls_ca = \"{ca}\"\n{settings}");
        World::again(self.origin.clone(), &text).await
    }

    async fn secure(&self, issued: &Issued) -> Secure {
        Secure::start(&self.origin, issued, None, false).await
    }
}

/// Asserts that nobody was asked, and why.
async fn refused(world: &World) {
    let reply = world.get("/").await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(world.counters().origin_failed_tls.get(), 1);
    assert_eq!(world.origin.requests().len(), 0, "nothing was sent");
}

#[tokio::test]
async fn a_server_that_proves_its_name_is_asked_over_one_connection() {
    let place = Place::new().await;
    let secure = place.secure(&place.authority.issue("localhost")).await;
    let world = place.world(&secure, "localhost", "").await;
    assert_eq!(world.get("/").await.text(), "secret");
    for n in 0..3 {
        place.origin.always(&format!("/{n}"), ok("no-store", "more"));
        assert_eq!(world.get(&format!("/{n}")).await.text(), "more");
    }
    assert_eq!((secure.handshakes(), place.origin.requests().len()), (1, 4));
}

#[tokio::test]
async fn an_address_is_proved_like_a_name() {
    let place = Place::new().await;
    let secure = place.secure(&place.authority.issue("127.0.0.1")).await;
    let world = place.world(&secure, "127.0.0.1", "").await;
    assert_eq!(world.get("/").await.text(), "secret");
}

#[tokio::test]
async fn another_name_is_good_only_where_it_is_said() {
    let place = Place::new().await;
    let secure = place.secure(&place.authority.issue("origin.example")).await;
    refused(&place.world(&secure, "localhost", "").await).await;
    let world = place.world(&secure, "localhost", "origin.tls_name = \"origin.example\"").await;
    assert_eq!(world.get("/").await.text(), "secret");
}

#[tokio::test]
async fn nobody_else_s_and_no_old_certificate_is_taken() {
    let place = Place::new().await;
    let secure = place.secure(&Authority::new().issue("localhost")).await;
    refused(&place.world(&secure, "localhost", "").await).await;
    let secure = place.secure(&place.authority.issue_until("localhost", 2001)).await;
    refused(&place.world(&secure, "localhost", "").await).await;
}

#[tokio::test]
async fn where_nobody_is_verified_anybody_is_taken() {
    let place = Place::new().await;
    let secure = place.secure(&Authority::new().issue("somebody.else")).await;
    let url = format!("https://localhost:{}", secure.address.port());
    let settings = format!("origin.url = \"{url}\"\norigin.tls_verify = false");
    let world = World::again(place.origin.clone(), &settings).await;
    assert_eq!(world.get("/").await.text(), "secret");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_it() {
    let place = Place::new().await;
    let issued = place.authority.issue("localhost");
    let clients = Authority::new();
    let secure = Secure::start(&place.origin, &issued, Some(&clients), false).await;
    let without = place.world(&secure, "localhost", "").await;
    assert_eq!(without.get("/").await.status, 502);
    assert_eq!((without.counters().origin_failed_tls.get(), place.origin.requests().len()), (1, 0));
    let own = clients.issue("forebay");
    let certificate = place.directory.write("own.pem", &own.certificate);
    let key = place.directory.write("own.key", &own.key);
    let settings = format!("origin.tls_certificate = \"{certificate}\"\norigin.tls_key = \"{key}\"");
    let with = place.world(&secure, "localhost", &settings).await;
    assert_eq!(with.get("/").await.text(), "secret");
}

#[tokio::test]
async fn a_response_that_ends_without_a_word_has_broken_off() {
    let place = Place::new().await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n";
    place.origin.on("/cut", move |_, _| vec![raw(head), raw("half of it"), Step::Close]);
    let issued = place.authority.issue("localhost");
    for (cut, stored) in [(true, false), (false, true)] {
        let secure = Secure::start(&place.origin, &issued, None, cut).await;
        let world = place.world(&secure, "localhost", "").await;
        let mut client = world.client("reader").await;
        client.send(b"GET /cut HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        world
            .until("the response to end", |counters| {
                counters.origin_failed_body.get() == u64::from(cut)
                    && counters.flights_open.get() == 0
                    && counters.origin_requests.get() == 1
            })
            .await;
        let before = place.origin.count("/cut");
        let mut again = world.client("again").await;
        again.send(b"GET /cut HTTP/1.1\r\nHost: www.example.org\r\n\r\n").await;
        again.head().await;
        assert_eq!(place.origin.count("/cut") == before, stored, "cut: {cut}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_or_says_nothing_is_an_origin_that_fails() {
    let place = Place::new().await;
    let ca = place.directory.write("ca.pem", &place.authority.pem);
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}", plain.local_addr().expect("an address").port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let world =
        World::again(place.origin.clone(), &format!("origin.url = \"{url}\"\norigin.tls_ca = \"{ca}\""))
            .await;
    assert_eq!(world.get("/").await.status, 502);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}", silent.local_addr().expect("an address").port());
    let settings =
        format!("origin.url = \"{url}\"\norigin.tls_ca = \"{ca}\"\norigin.connect_timeout = \"100ms\"");
    let world = World::again(place.origin.clone(), &settings).await;
    assert_eq!(world.get("/").await.status, 504);
    assert_eq!(world.counters().origin_timeout_connect.get(), 1);
}

#[tokio::test]
async fn a_tunnel_goes_through_tls() {
    let place = Place::new().await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    place.origin.on("/echo", move |_, _| vec![raw(switch), Step::Echo]);
    let secure = place.secure(&place.authority.issue("localhost")).await;
    let world = place.world(&secure, "localhost", "").await;
    let mut client = world.client("socket").await;
    client
        .send(b"GET /echo HTTP/1.1\r\nHost: www.example.org\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status, 101);
    client.send(b"to and fro").await;
    assert_eq!(client.bytes(10).await, b"to and fro");
}

#[tokio::test]
async fn a_reload_takes_certificates_that_have_changed_and_refuses_bad_ones() {
    let place = Place::new().await;
    let other = Authority::new();
    let secure = place.secure(&other.issue("localhost")).await;
    let world = place.world(&secure, "localhost", "").await;
    refused(&world).await;
    let ca = place.directory.write("ca.pem", &other.pem);
    let url = format!("https://localhost:{}", secure.address.port());
    let settings = format!("origin.url = \"{url}\"\norigin.tls_ca = \"{ca}\"");
    let read = || config::read("test", &World::config_text(&place.origin, &settings), &Flags::default());
    world.node.reload(read().expect("a good configuration"));
    assert_eq!(world.get("/").await.text(), "secret");
    place.directory.write("ca.pem", "no certificate at all");
    let faults = read().expect_err("a bad one").to_string();
    assert!(faults.contains("origin[0].tls_ca") && faults.contains("no certificate in"), "{faults}");
}
