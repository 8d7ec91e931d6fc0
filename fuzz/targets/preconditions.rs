//! Preconditions: evaluating is total, and `*` matches whatever is there.
#![no_main]

use forebay::clock::Wall;
use forebay::rfc::fields::Fields;
use forebay::rfc::validator::{EntityTag, Precondition, evaluate, if_range_holds};
use http::{Method, StatusCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(u8, Vec<u8>)>, Vec<(u8, Vec<u8>)>)| {
    let conditions = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];
    let validators = ["etag", "last-modified", "date"];
    let (mut request, mut response) = (Fields::new(), Fields::new());
    for (name, value) in input.0 {
        let _ = request.push(conditions[usize::from(name) % conditions.len()], &value);
    }
    for (name, value) in input.1 {
        let _ = response.push(validators[usize::from(name) % validators.len()], &value);
    }
    let now = Wall::from_secs(1_800_000_000);
    let verdict = evaluate(&Method::GET, &request, StatusCode::OK, &response, now, now);
    if request.is_empty() {
        assert_eq!(verdict, Precondition::Proceed);
    }
    assert_eq!(evaluate(&Method::GET, &request, StatusCode::NOT_FOUND, &response, now, now), Precondition::Proceed);
    let _ = if_range_holds(&request, &response, now);
    if let Some(tag) = response.get("etag").and_then(EntityTag::parse) {
        assert!(tag.matches_weakly(&tag));
        assert_eq!(tag.matches_strongly(&tag), !tag.weak);
    }
    let any: Fields = [("if-none-match", "*")].into_iter().collect();
    let verdict = evaluate(&Method::GET, &any, StatusCode::OK, &response, now, now);
    assert_eq!(verdict, Precondition::NotModified);
});
