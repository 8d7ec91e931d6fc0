//! The port that speaks as Varnish's does.

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{OWN, fill, left};
use crate::harness::World;

const PLACES: [(&str, &str); 3] =
    [("www.example.org", "/a/1"), ("www.example.org", "/a/2"), ("www.example.org", "/b")];

const SETTINGS: &str = "[varnish_cli]\naddress = \"127.0.0.1:0\"\n";

struct Session<'a> {
    stream: TcpStream,
    world: &'a World,
}

impl<'a> Session<'a> {
    async fn begin(world: &'a World) -> (Session<'a>, (u16, String)) {
        let address = world.node.cli_address().expect("a port");
        let stream = TcpStream::connect(address).await.expect("connected");
        let mut session = Session { stream, world };
        let welcome = session.answer().await.expect("a welcome");
        (session, welcome)
    }

    /// One answer, read strictly: 13 bytes, the text, one line end.
    async fn answer(&mut self) -> Option<(u16, String)> {
        let transcript = self.world.transcript.clone();
        let read = async {
            let mut head = [0; 13];
            self.stream.read_exact(&mut head).await.ok()?;
            let head = String::from_utf8_lossy(&head).into_owned();
            assert!(head.ends_with('\n'), "{head:?}");
            let length: usize = head[4..].trim().parse().expect("a length");
            let mut text = vec![0; length + 1];
            self.stream.read_exact(&mut text).await.ok()?;
            assert_eq!(text.pop(), Some(b'\n'));
            Some((head[..3].parse().expect("a status"), String::from_utf8(text).expect("text")))
        };
        transcript.within("an answer", read).await
    }

    async fn say(&mut self, line: &str) -> Option<(u16, String)> {
        self.stream.write_all(format!("{line}\n").as_bytes()).await.expect("sent");
        self.answer().await
    }

    async fn status(&mut self, line: &str) -> u16 {
        self.say(line).await.map_or(0, |(status, _)| status)
    }
}

#[tokio::test]
async fn bans_are_done_and_listed() {
    let world = World::start(SETTINGS).await;
    fill(&world, &PLACES, &[]).await;
    let (mut session, (status, banner)) = Session::begin(&world).await;
    assert_eq!(status, 200, "{banner}");
    assert!(
        session.say("ping").await.is_some_and(|(status, text)| status == 200 && text.starts_with("PONG "))
    );
    assert_eq!(
        session.say("ban req.http.host == www.example.org && req.url ~ ^/a/").await,
        Some((200, String::new()))
    );
    assert_eq!(left(&world, &PLACES).await, [2]);
    assert_eq!(session.status("ban \"req.url\" ~ \"^/b$\"").await, 200);
    assert_eq!(left(&world, &PLACES).await, [] as [usize; 0]);
    let (status, list) = session.say("ban.list").await.expect("a list");
    assert!(status == 200 && list.starts_with("Present bans:\n"), "{list}");
    let told = world.operator().await.get_with("/v1/purges", &[OWN]).await;
    assert!(told.text().contains("varnish-cli 127.0.0.1"), "{}", told.text());
}

#[tokio::test]
async fn what_is_wrong_is_told_by_varnishs_numbers() {
    let world = World::start(SETTINGS).await;
    let (mut session, _) = Session::begin(&world).await;
    for (line, status) in [
        ("nonsense", 101),
        ("param.show", 102),
        ("ban req.url", 104),
        ("ping 1 2", 105),
        ("ban req.url ~ a b c", 106),
        ("ban req.http.cookie ~ a", 106),
        ("ban req.url ~ (?=a)", 106),
        ("ban \"req.url", 100),
        ("help", 200),
        ("status", 200),
        ("pid", 200),
        ("vcl.list -j", 200),
        ("ban.list -j", 200),
    ] {
        assert_eq!(session.status(line).await, status, "{line}");
    }
    assert_eq!(session.status("quit").await, 500);
    assert_eq!(session.answer().await, None, "it is closed");
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_not_listened_to() {
    let path = std::env::temp_dir().join(format!("forebay-secret-{}", std::process::id()));
    std::fs::write(&path, "foo\n").expect("written");
    let world = World::start(&format!("{SETTINGS}secret_file = {}", json!(path.display().to_string()))).await;
    let (mut session, (status, text)) = Session::begin(&world).await;
    let challenge = text.lines().next().expect("a challenge").to_owned();
    assert_eq!((status, challenge.len()), (107, 32), "{text}");
    assert_eq!(session.status("ping").await, 200, "this is allowed before");
    assert_eq!(session.status("ban req.url ~ .").await, 107);
    let answer = |secret: &str| {
        let hash = Sha256::digest(format!("{challenge}\n{secret}{challenge}\n"));
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(session.status(&format!("auth {}", answer("foo\n").to_uppercase())).await, 200);
    assert_eq!(session.status("ban req.url ~ .").await, 200);
    let (mut wrong, _) = Session::begin(&world).await;
    assert_eq!(wrong.status(&format!("auth {}", answer("bar\n"))).await, 500);
    assert_eq!(wrong.answer().await, None, "it is closed");
    let (mut long, _) = Session::begin(&world).await;
    let _ = long.stream.write_all(&[b'a'; 4096]).await;
    assert_eq!(long.answer().await, None, "a long line of a stranger ends it");
    assert_eq!(world.counters().auth_failures.get(), 1);
    let _ = std::fs::remove_file(&path);
}
