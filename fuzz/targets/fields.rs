//! Fields: what is accepted is written back unchanged; lists split outside quotes only.
#![no_main]

use forebay::rfc::fields::{Fields, members_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: Vec<(String, Vec<u8>)>| {
    let mut fields = Fields::new();
    let mut accepted = Vec::new();
    for (name, value) in &lines {
        if fields.push(name, value).is_ok() {
            accepted.push((name.to_ascii_lowercase(), value.trim_ascii().to_vec()));
        }
        for member in members_of(value) {
            assert!(!member.is_empty() && member == member.trim_ascii());
        }
    }
    let read: Vec<_> = fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    assert_eq!(read, accepted);
    let before = fields.clone();
    fields.compact();
    assert_eq!(fields, before);
    assert_eq!(fields.bytes().len(), fields.written_len());
    let text = fields.bytes();
    assert_eq!(text.split(|&b| b == b'\n').count(), fields.len() + 1, "a value ends a line");
});
