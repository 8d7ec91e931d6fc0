//! Requests: what is accepted is canonical and cannot be understood in two ways.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use forebay::policy::normalise::normalise;
use forebay::policy::{Received, decide};
use forebay::rfc::fields::Fields;
use forebay::rfc::host::parse_authority;
use http::{Method, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str, Vec<(String, Vec<u8>)>, bool)| {
    let (method, target, lines, has_body) = input;
    let Ok(method) = Method::from_bytes(method) else { return };
    let mut fields = Fields::new();
    for (name, value) in lines {
        let _ = fields.push(&name, &value);
    }
    let received = Received {
        method,
        target: target.to_owned(),
        version: Version::HTTP_11,
        fields,
        has_body,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        encrypted: false,
    };
    let mut presentation = forebay::policy::site::Presentation::default();
    presentation.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let Ok(presented) = normalise(received, &presentation) else { return };
    let mut authority = Vec::new();
    presented.write_authority(&mut authority);
    assert!(parse_authority(&authority).is_some());
    assert!(presented.path_and_query.starts_with('/') || presented.path_and_query == "*");
    assert!(presented.fields.get_all("host").count() <= 1);
    assert!(!presented.fields.contains("x-original-url"));
    let _ = decide(&presented, None, &Default::default(), forebay::clock::Wall::from_secs(1_800_000_000));
});
