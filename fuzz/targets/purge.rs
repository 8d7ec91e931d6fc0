//! Purge targets: what is accepted names what a request could have stored.
#![no_main]

use forebay::invalidate::Target;
use forebay::policy::Sites;
use forebay::policy::site::{HostPattern, Site};
use forebay::rfc::uri::canonical_path_and_query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Option<&str>)| {
    let (text, authority) = input;
    let site = Site { name: "any".to_owned(), hosts: vec![HostPattern::Any], routes: Vec::new() };
    let Ok(target) = Target::parse(text, authority, &Sites::new(vec![site])) else { return };
    let (Target::Path(path) | Target::Url { path_and_query: path, .. }) = target;
    assert_eq!(canonical_path_and_query(&path), path);
});
