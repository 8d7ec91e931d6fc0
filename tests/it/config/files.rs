//! The files in conf/ are good, and the documented one says what the code says.

use std::path::{Path, PathBuf};

use forebay::config::{self, Flags};
use forebay::origin::balance::Policy;
use forebay::policy::site::{HonourRequest, SetCookie};
use forebay::{admin, fetch, listen, origin, policy, store};

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

fn with_origin() -> Flags {
    Flags { origin: Some("http://127.0.0.1:3000".to_owned()), ..Flags::default() }
}

#[test]
fn the_documented_file_is_the_one_that_is_printed() {
    let kept = std::fs::read_to_string(conf("forebay.toml")).expect("conf/forebay.toml");
    assert!(
        kept == config::documented(),
        "conf/forebay.toml is behind the code: `cargo run -- config > conf/forebay.toml` renews it"
    );
}

#[test]
fn the_documented_file_says_the_defaults() {
    let documented = config::read("documented", &config::documented(), &Flags::default()).expect("good");
    let silent = config::read("nothing", "", &with_origin()).expect("good");
    assert_eq!(format!("{documented:?}"), format!("{silent:?}"));

    assert_eq!(documented.listen, listen::Settings::default());
    assert_eq!(documented.admin, admin::Settings::default());
    assert_eq!(documented.store, store::Settings::default());
    assert_eq!(documented.fetch, fetch::Settings::default());
    assert_eq!(documented.presentation, policy::site::Presentation::default());
    assert_eq!(documented.origins, [origin::Settings::default()]);
    let site = documented.sites.site("any.example").expect("one site for every host");
    let rules = policy::site::Rules { site: "*".into(), ..Default::default() };
    assert_eq!(*site.route("/").expect("one route").rules, rules);
}

#[test]
fn what_is_commented_out_in_the_documented_file_is_good_as_well() {
    let text = config::documented();
    // Of the two ways to say which paths a route takes only one may stand there.
    let lines = text.lines().filter(|line| !line.starts_with("# match = ")).map(|line| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let setting = bare.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        if bare.starts_with('[') && bare.ends_with(']') || setting { bare } else { line }
    });
    let text = lines.collect::<Vec<_>>().join("\n").replace("token = \"...\"", "token = \"abc\"");
    let config = config::read("uncommented", &text, &Flags::default()).expect("good");
    let site = config.sites.iter().next().expect("a site");
    assert_eq!((site.name.as_str(), site.routes.len()), ("shop", 2));
}

#[test]
fn the_other_files_are_good() {
    let minimal = config::load(Some(&conf("minimal.toml")), &Flags::default()).expect("good");
    let documented = config::load(Some(&conf("forebay.toml")), &Flags::default()).expect("good");
    assert_eq!(format!("{minimal:?}"), format!("{documented:?}"));

    let rfc = config::load(Some(&conf("rfc.toml")), &with_origin()).expect("good");
    let site = rfc.sites.site("localhost").expect("a site");
    let rules = &site.route("/").expect("a route").rules;
    assert_eq!(rules.set_cookie, SetCookie::Store);
    assert_eq!(rules.request_directives, HonourRequest::All);
    assert!(rules.sort_accept_language && !rules.stale_on_error.is_zero());
}

#[test]
fn every_example_passes_the_check() {
    let mut checked = 0;
    for entry in std::fs::read_dir(conf(".")).expect("conf/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            // One of them leaves the origin to the command line.
            let flags = if path.ends_with("rfc.toml") { with_origin() } else { Flags::default() };
            if let Err(faults) = config::load(Some(&path), &flags) {
                panic!("{faults}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
    let cluster = config::load(Some(&conf("cluster.toml")), &Flags::default()).expect("good");
    assert_eq!((cluster.broker.urls.len(), cluster.cluster), (1, forebay::cluster::Settings::default()));
    let edge = config::load(Some(&conf("edge.toml")), &Flags::default()).expect("good");
    let shields = &edge.origins[0];
    assert_eq!((shields.servers.len(), shields.balance, shields.shield), (2, Policy::Hash, true));
}

#[test]
fn a_file_that_is_not_there_is_a_fault() {
    let faults = config::load(Some(Path::new("/nowhere/x.toml")), &Flags::default()).expect_err("no file");
    assert_eq!(
        faults.to_string(),
        "/nowhere/x.toml: cannot be read (No such file or directory (os error 2)). Give the path of a configuration file; `forebay config` prints one to begin with."
    );
}

#[test]
fn the_admin_port_is_shown_every_setting_and_no_secret() {
    let flags = Flags { admin_token: Some("hunter2".to_owned()), ..with_origin() };
    let shown = config::read("", "", &flags).expect("good").redacted_json();
    assert_eq!(shown["admin"]["token"], "***");
    assert!(!shown.to_string().contains("hunter2"));
    assert_eq!(shown["store"]["memory"], "512MiB");
    assert_eq!(shown["site"][0]["route"][0]["origin"], "origin");
    // Every setting of the documented file, the names of sections apart, is there.
    let keys = config::documented();
    let keys = keys.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    for key in keys.filter(|key| !key.contains([' ', '#'])) {
        assert!(shown.to_string().contains(&format!("\"{key}\":")), "{key}");
    }
}
