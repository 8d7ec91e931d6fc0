//! The program as it is typed: what it prints where, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

fn forebay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("FOREBAY_CONFIG")
        .env_remove("FOREBAY_ADMIN_TOKEN")
        .output()
        .expect("the program starts")
}

#[track_caller]
fn check(arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = forebay(arguments);
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr);
    assert_eq!(output.status.code(), Some(code));
}

#[test]
fn check_says_good_or_everything_that_is_wrong() {
    let good = "conf/minimal.toml: good: 1 site, 1 route, 1 origin\n";
    check(&["check", "conf/minimal.toml"], 0, good, "");
    check(
        &["check", "conf/rfc.toml", "--memory", "1", "--set", "rules.grace=x"],
        1,
        "",
        "conf/rfc.toml: origin: no origin is named. Start with --origin http://127.0.0.1:3000, or with --config FILE where FILE has an [[origin]] with its url.\n\
         --memory: store.memory = \"1\": not a size. Write a number of bytes with a unit, such as \"512MiB\".\n\
         --set: rules.grace = \"x\": not a time. Write a whole number with a unit (ms, s, m, h or d), such as \"30s\".\n",
    );
}

#[test]
fn serve_with_neither_file_nor_origin_says_both_ways() {
    check(
        &["serve"],
        1,
        "",
        "forebay: origin: no origin is named. Start with --origin http://127.0.0.1:3000, or with --config FILE where FILE has an [[origin]] with its url.\n",
    );
}

#[test]
fn the_help_names_what_there_is() {
    let help = forebay(&["--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in ["serve", "demo", "check", "purge", "config", "Examples:", "--version"] {
        assert!(help.contains(word), "{word}:\n{help}");
    }
    let help = forebay(&["serve", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in ["--origin", "--config", "[default: 512MiB]", "FOREBAY_ADMIN_TOKEN", "SIGHUP"] {
        assert!(help.contains(word), "{word}:\n{help}");
    }
}

#[test]
fn the_sample_origin_starts_alone_and_tells_what_it_is_asked() {
    let mut origin = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["demo", "--origin-only", "--origin-listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(origin.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("sample origin listening on http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(b"GET /max-age HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("max-age=30"), "{answer}");
    let told = Command::new("kill").args(["-TERM", &origin.id().to_string()]).status();
    assert!(told.expect("kill").success());
    let output = origin.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("asked: GET /max-age"), "{told}");
}

#[test]
fn the_printed_file_is_the_documented_one() {
    check(&["config"], 0, &forebay::config::documented(), "");
}

#[test]
fn a_purge_asks_the_admin_port_and_says_how_many() {
    let (request, output) = purge_answered_by("200 OK", r#"{"purged": 2}"#, &["--soft", "--token", "abc"]);
    assert!(request.starts_with("POST /v1/purge HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer abc\r\n"), "{request}");
    assert!(
        request.ends_with(r#"{"dry_run":false,"hard":false,"soft":true,"urls":["http://a.example/x"]}"#),
        "{request}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "made stale 2 responses of http://a.example/x\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_refused_purge_says_why() {
    let (_, output) = purge_answered_by("401 Unauthorized", r#"{"error": "no token"}"#, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.ends_with(
            "answered 401 Unauthorized: no token. Give its token with --token, or in FOREBAY_ADMIN_TOKEN.\n"
        ),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_purge_without_a_node_says_which_address() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    check(
        &["purge", "http://a.example/x", "--admin", &address],
        1,
        "",
        &format!(
            "forebay: no admin port at {address} (Connection refused (os error 111)). Is the node running? Say --admin ADDRESS if its admin port is elsewhere.\n"
        ),
    );
}

/// Runs a purge against an admin port that reads the request and gives this answer.
fn purge_answered_by(status: &str, body: &str, flags: &[&str]) -> (String, Output) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let port = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.ends_with(b"}") {
            let length = stream.read(&mut piece).expect("a request");
            assert!(length > 0, "broken off: {}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&piece[..length]);
        }
        stream.write_all(answer.as_bytes()).expect("an answer");
        String::from_utf8_lossy(&request).into_owned()
    });
    let mut arguments = vec!["purge", "http://a.example/x", "--admin", &address];
    arguments.extend(flags);
    let output = forebay(&arguments);
    (port.join().expect("the port's thread"), output)
}
