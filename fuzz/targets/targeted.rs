//! Structured fields that others write: targeted cache control (RFC 9213) and cache groups
//! (RFC 9875). What is no structured field counts as absent; what governs can be written.
#![no_main]

use forebay::rfc::cache_control::{MOST_SECONDS, ResponseDirectives};
use forebay::rfc::fields::Fields;
use forebay::rfc::{groups, targeted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(bool, Vec<u8>)>, Vec<u8>)| {
    let (lines, list) = input;
    let targets = ["forebay-cache-control", "cdn-cache-control"].map(Box::from);
    let mut fields: Fields =
        [("cache-control", "no-store"), ("expires", "0"), ("x", "1")].into_iter().collect();
    for (own, value) in lines {
        let _ = fields.push(if own { "forebay-cache-control" } else { "cdn-cache-control" }, &value);
    }
    if let Some(governing) = targeted::governing(&fields, &targets) {
        assert!(targets.iter().any(|target| fields.contains(target)), "nothing governs that is not there");
        assert!(!governing.contains("expires") && governing.get("x") == Some(b"1"));
        assert_eq!(governing.get_all("cache-control").count(), 1);
        let read = ResponseDirectives::read(&governing);
        for seconds in [read.max_age, read.s_maxage, read.stale_while_revalidate, read.stale_if_error] {
            assert!(seconds.unwrap_or(0) <= MOST_SECONDS);
        }
        // The same fields govern in the same way.
        assert_eq!(targeted::governing(&fields, &targets), Some(governing));
        // With the first target alone it is that one, or none.
        if let Some(first) = targeted::governing(&fields, &targets[..1]) {
            assert_eq!(targeted::governing(&fields, &targets), Some(first));
        }
    }

    let mut grouped = Fields::new();
    if grouped.push("cache-groups", &list).is_err() {
        return;
    }
    let groups = groups::groups(&grouped);
    let quoted = |group: &String| format!("\"{}\"", group.replace('\\', "\\\\").replace('"', "\\\""));
    let written = groups.iter().map(quoted).collect::<Vec<_>>().join(", ");
    let again: Fields = [("cache-groups", written.as_str())].into_iter().collect();
    assert_eq!(groups::groups(&again), groups, "groups read as they are written");
});
