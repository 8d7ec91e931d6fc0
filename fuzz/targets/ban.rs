//! Bans: the normal form reads back as itself, and matching never panics.
#![no_main]

use forebay::rfc::fields::Fields;
use forebay::stored::ban::{Ban, Described, anchored_tag_list, tag_list};
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, i64)| {
    let (text, url, ttl) = input;
    if let Some(tags) = anchored_tag_list(text) {
        assert_eq!(tag_list(text), Some(tags));
    }
    let Ok(ban) = Ban::parse(text) else { return };
    assert_eq!(Ban::parse(ban.text()).expect("its own text").text(), ban.text());
    let fields: Fields = [("content-type", "text/html"), ("x-cache-tags", "a,b")].into_iter().collect();
    let described = Described {
        host: "www.example.org",
        url,
        status: StatusCode::OK,
        fields: &fields,
        age: ttl.unsigned_abs(),
        ttl,
        last_hit: 0,
    };
    if ban.matches(&described) {
        assert!(ban.may_match("www.example.org", url));
    }
});
