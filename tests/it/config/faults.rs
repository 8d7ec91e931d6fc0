//! Faulty files and the exact words about them: every fault at once, each with
//! its line, its value and its cure.

use forebay::config::{self, Flags};
use proptest::prelude::*;

use super::{FILE, faults_with, good};

/// What makes a file whole that is about something else.
const ORIGIN: &str = "[[origin]]\nurl = \"http://a:1\"\n";

const TWO_ORIGINS: &str =
    "[[origin]]\nname = \"a\"\nurl = \"http://a:1\"\n[[origin]]\nname = \"b\"\nurl = \"http://b:1\"\n";

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(faults_with(text, &Flags::default()), expected, "\n{text}");
}

/// A fault of one line, in a section that stands behind a good origin: line 4.
#[track_caller]
fn check_line(section: &str, line: &str, expected: &str) {
    check(&format!("{ORIGIN}{section}\n{line}\n"), &[&format!("x.toml:4: {expected}")]);
}

#[test]
fn every_fault_is_told_at_once_with_its_line() {
    check(
        r#"memory = "1GiB"

[store]
memory = "12 parsecs"
max_response_percent = 101
max_varients = 4

[listn]
address = "127.0.0.1:1"

[listen]
idle_timeout = 5

[[origin]]
url = "http://127.0.0.1:3000"
connect_timeout = "0s"

[[site]]
hosts = ["www.example.org"]
origin = "app"
rules.grace = "a while"
"#,
        &[
            "x.toml:1: memory: a setting outside of any section. Write it below [store].",
            "x.toml:4: store.memory = \"12 parsecs\": not a size. Write a number of bytes with a unit, such as \"512MiB\".",
            "x.toml:5: store.max_response_percent = 101: too large. Write at most 100.",
            "x.toml:6: store.max_varients: no such setting. Did you mean `max_variants`?",
            "x.toml:8: listn: no such section. Did you mean [listen]?",
            "x.toml:12: listen.idle_timeout = 5: a time without a unit. Write a whole number with a unit (ms, s, m, h or d), such as \"30s\".",
            "x.toml:16: origin[0].connect_timeout = \"0s\": too small. Write at least \"1ms\".",
            "x.toml:20: site[0].origin = \"app\": no such origin. Add an [[origin]] of this name, or name one of \"origin\".",
            "x.toml:21: site[0].rules.grace = \"a while\": not a time. Write a whole number with a unit (ms, s, m, h or d), such as \"30s\".",
        ],
    );
}

#[test]
fn sizes_times_and_numbers() {
    let size = "Write a number of bytes with a unit, such as \"512MiB\".";
    let time = "Write a whole number with a unit (ms, s, m, h or d), such as \"30s\".";
    for (section, line, expected) in [
        ("[store]", "memory = 1048576", format!("store.memory = 1048576: a size without a unit. {size}")),
        ("[store]", "memory = \"1.5GiB\"", format!("store.memory = \"1.5GiB\": not a size. {size}")),
        ("[store]", "memory = true", format!("store.memory = true: not a size. {size}")),
        (
            "[store]",
            "memory = \"999KiB\"",
            "store.memory = \"999KiB\": too small. Write at least \"1MiB\".".into(),
        ),
        ("[store]", "memory = \"0\"", "store.memory = \"0\": too small. Write at least \"1MiB\".".into()),
        (
            "[store]",
            "max_response_percent = 0",
            "store.max_response_percent = 0: too small. Write at least 1.".into(),
        ),
        ("[store]", "max_variants = 0", "store.max_variants = 0: too small. Write at least 1.".into()),
        (
            "[store]",
            "max_variants = -1",
            "store.max_variants = -1: less than nothing. Write a number from 1 to 10000, without quotes.".into(),
        ),
        (
            "[store]",
            "max_variants = \"32\"",
            "store.max_variants = \"32\": not a whole number. Write a number from 1 to 10000, without quotes."
                .into(),
        ),
        (
            "[store]",
            "max_variants = 99999999999999999999",
            "store.max_variants = 99999999999999999999: not a whole number. Write a number from 1 to 10000, without quotes."
                .into(),
        ),
        (
            "[store]",
            "max_variants = 2.5",
            "store.max_variants = 2.5: not a whole number. Write a number from 1 to 10000, without quotes."
                .into(),
        ),
        ("[node]", "drain = \"soon\"", format!("node.drain = \"soon\": not a time. {time}")),
        ("[node]", "drain = \"-1s\"", format!("node.drain = \"-1s\": not a time. {time}")),
        ("[node]", "drain = 2026-01-01", format!("node.drain = 2026-01-01: not a time. {time}")),
        (
            "[node]",
            "drain = \"9999999d\"",
            "node.drain = \"9999999d\": too large. Write at most \"3650d\".".into(),
        ),
        (
            "[listen]",
            "idle_timeout = \"0s\"",
            "listen.idle_timeout = \"0s\": too small. Write at least \"1ms\".".into(),
        ),
        (
            "[listen]",
            "max_header_bytes = \"1KiB\"",
            "listen.max_header_bytes = \"1KiB\": too small. Write at least \"8KiB\".".into(),
        ),
    ] {
        check_line(section, line, &expected);
    }
}

#[test]
fn words_names_and_addresses() {
    let address =
        "Write an IP address and a port, such as \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::1]:8080\".";
    for (section, line, expected) in [
        (
            "[rules]",
            "set_cookie = \"maybe\"",
            "rules.set_cookie = \"maybe\": not a word that this setting knows. Write \"pass\" or \"store\"."
                .to_owned(),
        ),
        (
            "[rules]",
            "forwarded = true",
            "rules.forwarded = true: true or false where text is wanted. Write \"x-forwarded\", \"forwarded\" or \"off\"."
                .into(),
        ),
        (
            "[rules]",
            "cache = \"yes\"",
            "rules.cache = \"yes\": neither true nor false. Write true or false, without quotes.".into(),
        ),
        (
            "[rules]",
            "origin_host = \"a b\"",
            "rules.origin_host = \"a b\": not a host. Write \"client\", or a host such as \"www.example.org\" or \"app:8080\"."
                .into(),
        ),
        (
            "[rules]",
            "origin = \"a\"",
            "rules.origin: no such setting. Leave it away; `forebay config` lists every setting.".into(),
        ),
        ("[listen]", "address = \"localhost:80\"", format!("listen.address = \"localhost:80\": not an address with a port. {address}")),
        ("[listen]", "address = 8080", format!("listen.address = 8080: a number where text is wanted. {address}")),
        (
            "[listen]",
            "trusted_proxies = [\"10.0.0.0/99\", \"10.0.0.1\", 7]",
            "listen.trusted_proxies = [\"10.0.0.0/99\", \"10.0.0.1\", 7]: not a network: \"10.0.0.0/99\", 7. Write a list of addresses or networks, such as [\"127.0.0.1\", \"10.0.0.0/8\"]."
                .into(),
        ),
        (
            "[listen]",
            "trusted_proxies = \"10.0.0.0/8\"",
            "listen.trusted_proxies = \"10.0.0.0/8\": not a list. Write a list of addresses or networks, such as [\"127.0.0.1\", \"10.0.0.0/8\"]."
                .into(),
        ),
        (
            "[node]",
            "name = \"my node\"",
            "node.name = \"my node\": not a name that a header can carry. Write a letter and then letters, digits, dots, hyphens and underscores."
                .into(),
        ),
        (
            "[access_log]",
            "output = \"stdotu\"",
            "access_log.output = \"stdotu\": neither a word that this setting knows nor a file's path. Write \"off\", \"stdout\", or the path of a file with a slash in it, such as \"/var/log/forebay/access.log\" or \"./access.log\"."
                .into(),
        ),
        (
            "[log]",
            "level = \"inof\"",
            "log.level = \"inof\": not a level. Write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or directives such as \"info,forebay::fetch=debug\"."
                .into(),
        ),
        (
            "[store]",
            "grace = \"1s\"",
            "store.grace: no such setting. It belongs to [rules].".into(),
        ),
        (
            "[store]",
            "disk = \"/tmp\"",
            "store.disk: no such setting. Leave it away; `forebay config` lists every setting.".into(),
        ),
    ] {
        check_line(section, line, &expected);
    }
}

#[test]
fn a_secret_is_never_shown() {
    check_line(
        "[admin]",
        "token = \"hunter2 hunter2\"",
        "admin.token: not a token that a header can carry. Write letters, digits and -._~+/= only, for instance what `openssl rand -hex 32` prints.",
    );
    let unclosed = format!("{ORIGIN}[admin]\ntoken = \"hunter2\n");
    let password = "[[origin]]\nurl = \"http://user:hunter2@a:1\"\n";
    for text in [unclosed.as_str(), password] {
        let faults = faults_with(text, &Flags::default());
        assert!(!faults.concat().contains("hunter2"), "{faults:?}");
    }
}

#[test]
fn origins() {
    let cure =
        "Write http://host or http://host:port, such as \"http://127.0.0.1:3000\", or https:// for TLS.";
    for (url, problem) in [
        ("ftp://a", format!("not an http:// URL. {cure}")),
        ("a:3000", format!("not an http:// URL. {cure}")),
        ("http://", format!("not a host and port. {cure}")),
        ("http://a:0", format!("not a host and port. {cure}")),
        ("http://a:99999", format!("not a host and port. {cure}")),
        ("http://a b", "\"b\" after a server's URL. Only a weight stands there, such as weight=3: 1 to 1000.".to_owned()),
        ("http://[::1", format!("not a host and port. {cure}")),
        (
            "http://a/app",
            "an origin's URL with a path. Leave the path away: the origin is asked for the path that the client asked for."
                .into(),
        ),
    ] {
        check(
            &format!("[[origin]]\nurl = \"{url}\"\n"),
            &[&format!("x.toml:2: origin[0].url = \"{url}\": {problem}")],
        );
    }
    check(
        "[[origin]]\nname = \"a\"\n[[origin]]\nname = \"a\"\nurl = \"http://a\"\n",
        &[
            "x.toml:1: origin[0].url: an origin without a URL. Add its address, such as url = \"http://127.0.0.1:3000\".",
            "x.toml:4: origin[1].name: a second origin of the name \"a\". Give each origin a name of its own.",
            "x.toml: site: several origins, and no site that says which is asked for what. Add a [[site]] with its hosts and its origin for each of them.",
        ],
    );
    let none = "x.toml: origin: no origin is named. Start with --origin http://127.0.0.1:3000, or with --config FILE where FILE has an [[origin]] with its url.";
    check("", &[none]);
    check("origin = []\n", &[none]);
    check(
        "[origin]\nurl = \"http://a\"\n",
        &["x.toml:1: origin: not a list of sections. Write [[origin]], with two brackets."],
    );
}

#[test]
fn ports() {
    check_line(
        "[admin]",
        "address = \"0.0.0.0:6090\"",
        "admin.address = \"0.0.0.0:6090\": an address that others can reach, without a token. Set admin.token (or FOREBAY_ADMIN_TOKEN), or use an address such as \"127.0.0.1:6090\".",
    );
    check_line(
        "[listen]",
        "address = \"0.0.0.0:6090\"",
        "listen.address = \"0.0.0.0:6090\": the clients' port (0.0.0.0:6090) and the operators' port (127.0.0.1:6090) are the same. Give one of them another port.",
    );
    good(&format!("{ORIGIN}[admin]\naddress = \"0.0.0.0:6090\"\ntoken = \"abc\"\n"));
    good(&format!("{ORIGIN}[admin]\naddress = \"127.0.0.1:0\"\n[listen]\naddress = \"127.0.0.1:0\"\n"));
}

#[test]
fn sites() {
    check(
        &format!(
            "{TWO_ORIGINS}[[site]]\nhosts = [\"Example.org\"]\norigin = \"aa\"\n\
             [[site]]\nhosts = [\"example.ORG\"]\n[[site]]\nhosts = [\"http://x\", \"*.x.org:80\"]\n"
        ),
        &[
            "x.toml:9: site[0].origin = \"aa\": no such origin. Did you mean \"a\"?",
            "x.toml:10: site[1].origin: there are several origins, and not every path of this site has one. Name one for the site, such as origin = \"a\".",
            "x.toml:11: site[1].hosts: the host \"example.org\" a second time, after site[0]. Give each host to one site.",
            "x.toml:12: site[2].origin: there are several origins, and not every path of this site has one. Name one for the site, such as origin = \"a\".",
            "x.toml:13: site[2].hosts = [\"http://x\", \"*.x.org:80\"]: not a host: \"http://x\", \"*.x.org:80\". Write host names without scheme, port and path, such as [\"example.org\", \"*.example.org\"], or [\"*\"] for every host.",
        ],
    );
    check(
        &format!(
            "{ORIGIN}[[site]]\nname = \"s\"\nhosts = [\"a\"]\n[[site]]\nname = \"s\"\nhosts = [\"b\"]\ngrace = \"1s\"\n"
        ),
        &[
            "x.toml:7: site[1].name = \"s\": a second site of the name \"s\". Give each site a name of its own.",
            "x.toml:9: site[1].grace: no such setting. Write rules.grace.",
        ],
    );
    check(
        &format!("{ORIGIN}[site]\nhosts = [\"a\"]\n"),
        &["x.toml:3: site: not a list of sections. Write [[site]], with two brackets."],
    );
    check(
        &format!("{ORIGIN}[[site]]\n[site.route]\npath = \"/a\"\n"),
        &["x.toml:4: site[0].route: not a list of sections. Write [[site.route]], with two brackets."],
    );
}

#[test]
fn routes() {
    let routes = r#"[[site]]
[[site.route]]
path = "/img/"
[[site.route]]
path = "/img/big/"
[[site.route]]
match = "("
[[site.route]]
path = "img"
[[site.route]]
path = "/a*"
[[site.route]]
path = "/b"
match = "c"
[[site.route]]
[[site.route]]
name = "last"
match = "\\.png$"
origin = "nobody"
"#;
    check(
        &format!("{ORIGIN}{routes}"),
        &[
            "x.toml:6: site[0].route[1]: a route that is never reached: \"/img/\" before it takes all its paths. Move it up, before that one.",
            "x.toml:9: site[0].route[2].match = \"(\": not a regular expression (unclosed group). Write a regular expression for the path, such as '\\.(png|jpg)$'.",
            "x.toml:11: site[0].route[3].path = \"img\": not a path. Write the beginning of a path, such as \"/img/\"; what stands after `?` does not count.",
            "x.toml:13: site[0].route[4].path = \"/a*\": a path with a wildcard. Give its beginning alone, or use `match`.",
            "x.toml:16: site[0].route[5].match = \"c\": `path` and `match` in one route. Keep one of the two.",
            "x.toml:18: site[0].route[7]: a route that is never reached: \"/\" before it takes all its paths. Move it up, before that one.",
            "x.toml:21: site[0].route[7].origin = \"nobody\": no such origin. Add an [[origin]] of this name, or name one of \"origin\".",
        ],
    );
}

#[test]
fn text_that_is_no_toml() {
    // What the broken lines left out is not blamed on the file a second time.
    check(
        "[store]\nmemory = 12 parsecs\nmax_variants = 0\n[listen\n[node]\nname = \"a\"\nname = \"b\"\n",
        &[
            "x.toml:2: `memory = 12 parsecs`: not TOML: string values must be quoted, expected literal string. Write text in quotes: key = \"text\".",
            "x.toml:3: store.max_variants = 0: too small. Write at least 1.",
            "x.toml:4: `[listen`: not TOML: unclosed table, expected `]`. Write a section as [name], and an entry of a list as [[origin]].",
            "x.toml:7: `name = \"b\"`: not TOML: duplicate key. Keep one of the two.",
        ],
    );
}

/// Lines that nearly make a configuration, in any order.
fn nearly() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "[store]",
        "[[origin]]",
        "[[site]]",
        "[[site.route]]",
        "[site.rules]",
        "[site.route.rules]",
        "[site]",
        "[rules]",
        "[listen]",
        "[admin]",
        "[log]",
        "name = \"a\"",
        "name = \"b\"",
        "url = \"http://a:1\"",
        "url = \"http://[::1]/\"",
        "hosts = [\"*.a.org\", \"b\"]",
        "hosts = []",
        "origin = \"a\"",
        "origin = []",
        "site = [1, {}]",
        "path = \"/\"",
        "path = \"/a\"",
        "match = \"^\"",
        "grace = \"9s\"",
        "rules.grace = 1",
        "rules = { keep = \"1h\" }",
        "memory = \"\"\"",
        "memory = [[[",
        "level = \"a=b=c\"",
        "address = \"[::]:1\"",
        "token = \"é\"",
        "é = 'é",
        "a.b.c.d = 0x_",
        "# \u{0}",
    ]);
    prop::collection::vec(line, 0..24).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn reading_never_panics(text in prop_oneof![any::<String>(), "[\\[\\]a-z.=\"'{}, \n0-9]{0,200}", nearly()]) {
        if let Err(faults) = config::read(FILE, &text, &Flags::default()) {
            prop_assert!(faults.iter().count() > 0);
            let lines = text.split('\n').count();
            for fault in faults.iter() {
                prop_assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "{}", fault);
                prop_assert!(!fault.problem.is_empty() && !fault.cure.is_empty());
            }
        }
    }

    #[test]
    fn setting_never_panics(text in prop_oneof![any::<String>(), "(store|origin\\[0\\]|site|a)[.\\[\\]0-9=a-z]{0,20}"]) {
        let flags = Flags { origin: Some("http://a".to_owned()), set: vec![text], ..Flags::default() };
        let _ = config::read(FILE, "", &flags);
    }
}

#[test]
fn a_shield_has_to_learn_of_the_same_purges() {
    let shield = "[[origin]]\nurl = \"http://a:1\"\nshield = true\n";
    check(
        shield,
        &[
            "x.toml:3: origin.shield = true: a shield, and no broker by which it and this node learn of the same purges. \
           Set broker.urls, the same as at the shield, or leave shield = true away and purge shields before edges.",
        ],
    );
    let broker = "[broker]\nurls = [\"amqp://b\"]\n";
    let hidden = "[rules]\nmode = \"hidden\"\n[hidden]\nsecrets = [\"0123456789abcdef0123456789abcdef\"]\n";
    check(
        &format!("{shield}rate = \"1/s\"\nconcurrency = 1\n{broker}{hidden}"),
        &["x.toml:3: origin.shield = true: a shield as the origin of a hidden route. \
           Leave shield = true away there, or mode = \"hidden\": what workers get is for all edges already."],
    );
    good(&format!("{shield}{broker}"));
}
