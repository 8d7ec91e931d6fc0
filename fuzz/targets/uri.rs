//! Paths and hosts: the canonical form is its own canonical form.
#![no_main]

use forebay::rfc::host::parse_authority;
use forebay::rfc::uri::{canonical_path_and_query, same_origin};
use libfuzzer_sys::fuzz_target;

fn check(canonical: &str) {
    assert!(canonical.starts_with('/'), "{canonical}");
    assert_eq!(canonical_path_and_query(canonical), canonical);
    let path = canonical.split('?').next().unwrap_or_default();
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{canonical}");
}

fuzz_target!(|input: (&str, &str)| {
    let (target, reference) = input;
    let canonical = canonical_path_and_query(target);
    check(&canonical);
    if let Some(named) = same_origin("http", "www.example.org", 80, &canonical, reference) {
        check(&named);
    }
    if let Some(authority) = parse_authority(target.as_bytes()) {
        let written = match authority.port {
            Some(port) => format!("{}:{port}", authority.host),
            None => authority.host.clone(),
        };
        assert_eq!(parse_authority(written.as_bytes()), Some(authority));
    }
});
