//! Flags win over the file, and their faults name the flag.

use std::time::Duration;

use forebay::config::Flags;
use forebay::policy::site::HostPattern;

use super::{faults_with, good_with, server};

const SITES: &str = r#"
[store]
memory = "64MiB"
max_variants = 4
[rules]
grace = "10s"
[[origin]]
name = "a"
url = "http://a:1"
[[origin]]
name = "b"
url = "http://b:1"
[[site]]
hosts = ["a.example"]
origin = "a"
[[site]]
hosts = ["b.example"]
origin = "b"
[[site.route]]
path = "/img/"
"#;

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_flag_wins_and_leaves_the_rest_of_the_file() {
    let flags = Flags {
        listen: some("127.0.0.1:0"),
        admin: some("[::1]:7000"),
        memory: some("1GiB"),
        access_log: some("./log"),
        name: some("edge"),
        log_level: some("debug"),
        ..Flags::default()
    };
    let config = good_with(SITES, &flags);
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:0");
    assert_eq!(config.admin.address.to_string(), "[::1]:7000");
    assert_eq!(config.store.memory, 1 << 30);
    assert_eq!(config.store.max_variants, 4);
    assert_eq!(config.node.name, "edge");
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.redacted_json()["access_log"]["output"], "./log");
    assert_eq!(config.sites.iter().count(), 2);
}

#[test]
fn an_origin_flag_replaces_origins_and_sites_and_keeps_the_rules() {
    let flags = Flags { origin: some("http://127.0.0.1:3000"), ..Flags::default() };
    let config = good_with(SITES, &flags);
    let [origin] = config.origins.as_slice() else { panic!("{:?}", config.origins) };
    assert_eq!(origin.servers, [server("127.0.0.1", 3000)]);
    let sites: Vec<_> = config.sites.iter().collect();
    let [site] = sites.as_slice() else { panic!("{sites:?}") };
    assert_eq!(site.hosts, [HostPattern::Any]);
    let [route] = site.routes.as_slice() else { panic!("{:?}", site.routes) };
    assert_eq!(route.rules.grace, Duration::from_secs(10));
}

#[test]
fn any_setting_can_be_set_by_its_path() {
    let set = [
        "rules.grace=5s",
        "rules.cache=false",
        "rules.max_ranges=3",
        "listen.trusted_proxies=10.0.0.0/8, 127.0.0.1",
        "origin[1].connect_timeout=1s",
        "site[1].route[0].rules.set_cookie=store",
        "site[0].hosts=c.example,d.example",
    ];
    let config =
        good_with(SITES, &Flags { set: set.map(str::to_owned).to_vec(), ..Flags::default() }).redacted_json();
    let route = &config["site"][1]["route"][0]["rules"];
    assert_eq!(route["grace"], "5s");
    assert_eq!(route["cache"], false);
    assert_eq!(route["max_ranges"], 3);
    assert_eq!(route["set_cookie"], "store");
    assert_eq!(config["site"][1]["route"][1]["rules"]["set_cookie"], "pass");
    assert_eq!(config["listen"]["trusted_proxies"], serde_json::json!(["10.0.0.0/8", "127.0.0.1/32"]));
    assert_eq!(config["origin"][1]["connect_timeout"], "1s");
    assert_eq!(config["site"][0]["hosts"], serde_json::json!(["c.example", "d.example"]));
}

#[test]
fn a_faulty_flag_is_named() {
    let set = ["rules.grase=5s", "rules.grace=5", "memory=1GiB", "store.memory", "origin[9].url=http://a"];
    let flags = Flags {
        origin: some("ftp://a"),
        memory: some("12 parsecs"),
        admin: some("0.0.0.0:6090"),
        admin_token: some("a b"),
        set: set.map(str::to_owned).to_vec(),
        ..Flags::default()
    };
    let expected = [
        "x.toml:3: store.max_variants = 0: too small. Write at least 1.",
        "--set: memory: a setting without its section. Write the setting's path and its value, such as store.memory=1GiB, rules.grace=60s or origin[0].connect_timeout=1s.",
        "--set: store.memory: a setting without `=` and a value. Write the setting's path and its value, such as store.memory=1GiB, rules.grace=60s or origin[0].connect_timeout=1s.",
        "--set: origin[9].url: there is no origin[9] to set it in. Count from 0, as in origin[0].",
        "--admin-token (FOREBAY_ADMIN_TOKEN): admin.token: not a token that a header can carry. Write letters, digits and -._~+/= only, for instance what `openssl rand -hex 32` prints.",
        "--memory: store.memory = \"12 parsecs\": not a size. Write a number of bytes with a unit, such as \"512MiB\".",
        "--set: rules.grase: no such setting. Did you mean `grace`?",
        "--set: rules.grace = \"5\": not a time. Write a whole number with a unit (ms, s, m, h or d), such as \"30s\".",
        "--admin: admin.address = \"0.0.0.0:6090\": an address that others can reach, without a token. Set admin.token (or FOREBAY_ADMIN_TOKEN), or use an address such as \"127.0.0.1:6090\".",
        "--origin: origin[0].url = \"ftp://a\": not an http:// URL. Write http://host or http://host:port, such as \"http://127.0.0.1:3000\", or https:// for TLS.",
    ];
    let faults = faults_with("\n[store]\nmax_variants = 0\n", &flags);
    assert_eq!(faults, expected, "{faults:#?}");
}
