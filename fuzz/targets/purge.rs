//! Purges over HTTP, by URL, by fields and by JSON: what is accepted names what a
//! request could have stored, and reads back from a record.
#![no_main]

use forebay::invalidate::wire::{METHODS, Spoken, read_json, understood};
use forebay::policy::Sites;
use forebay::policy::site::{HostPattern, Site};
use forebay::rfc::uri::canonical_path_and_query;
use forebay::stored::Selector;
use forebay::stored::ban::Ban;
use libfuzzer_sys::fuzz_target;

const FIELDS: [&str; 8] = [
    "xkey",
    "x-cache-tags",
    "x-magento-tags-pattern",
    "x-purge-method",
    "x-ban-regex",
    "x-url",
    "x-host",
    "fastly-soft-purge",
];

fuzz_target!(|input: (u8, &str, Option<&str>, Vec<(u8, &str)>, &[u8])| {
    let (method, target, authority, said, json) = input;
    let site = Site { name: "any".to_owned(), hosts: vec![HostPattern::Any], routes: Vec::new() };
    let sites = Sites::new(vec![site]);
    let field = |name: &str| {
        let at = FIELDS.iter().position(|field| *field == name)?;
        said.iter().find(|(which, _)| usize::from(*which) % FIELDS.len() == at).map(|(_, value)| (*value).to_owned())
    };
    let method = METHODS[usize::from(method) % METHODS.len()];
    let by_fields = understood(&Spoken { method, target, authority, field: &field }, &sites);
    for wanted in [by_fields, read_json(json, &sites)].into_iter().flatten() {
        for selector in &wanted.what {
            let record = serde_json::to_vec(selector).expect("written");
            assert_eq!(serde_json::from_slice::<Selector>(&record).expect("read"), *selector);
            match selector {
                Selector::Url { path_and_query: path, .. } | Selector::Path { path_and_query: path } => {
                    assert_eq!(canonical_path_and_query(path), *path);
                }
                Selector::Ban { expression } => {
                    assert_eq!(Ban::parse(expression).expect("a good ban").text(), expression);
                }
                _ => {}
            }
        }
    }
});
