//! Varnish's command line protocol: commands end where they end, and no line panics.
#![no_main]

use forebay::admin::varnish_cli::{end_of_command, words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = end_of_command(bytes) else { return };
    assert!(end <= bytes.len() && bytes[end - 1] == b'\n');
    let command = String::from_utf8_lossy(&bytes[..end]);
    if let Some(words) = words(&command) {
        assert!(words.first().is_none_or(|first| *first == first.to_ascii_lowercase()));
    }
});
