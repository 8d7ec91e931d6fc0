//! Cache-Control: numbers are clamped, letter case of names means nothing.
#![no_main]

use forebay::rfc::cache_control::{MOST_SECONDS, RequestDirectives, ResponseDirectives};
use forebay::rfc::fields::Fields;
use forebay::rfc::reuse::{always_validate, stale_terms};
use libfuzzer_sys::fuzz_target;

fn fields(value: &[u8]) -> Option<Fields> {
    let mut fields = Fields::new();
    fields.push("cache-control", value).ok()?;
    Some(fields)
}

fuzz_target!(|value: &[u8]| {
    let Some(line) = fields(value) else { return };
    let read = ResponseDirectives::read(&line);
    for seconds in [read.max_age, read.s_maxage, read.stale_while_revalidate, read.stale_if_error] {
        assert!(seconds.unwrap_or(0) <= MOST_SECONDS);
    }
    assert!(!always_validate(&read) || stale_terms(&read).forbidden);
    let asked = RequestDirectives::read(&line);
    assert!(asked.max_age.unwrap_or(0) <= MOST_SECONDS);
    if let Some(upper) = fields(&value.to_ascii_uppercase()) {
        assert_eq!(ResponseDirectives::read(&upper), read);
        assert_eq!(RequestDirectives::read(&upper), asked);
    }
});
