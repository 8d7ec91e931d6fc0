//! Dates: whatever is read is written in a form that reads the same.
#![no_main]

use forebay::clock::Wall;
use forebay::rfc::date;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (now, text) = input;
    let now = Wall::from_secs(now % 253_402_300_800);
    let Some(seconds) = date::parse(text, now) else { return };
    assert!((24..=33).contains(&text.len()), "{}", String::from_utf8_lossy(text));
    assert!(seconds < 253_402_300_800 + 1);
    if seconds < 253_402_300_800 {
        let written = date::format(Wall::from_secs(seconds));
        assert_eq!(date::parse(written.as_bytes(), now), Some(seconds), "{written}");
    }
    assert_eq!(date::parse(&text.to_ascii_lowercase(), now), Some(seconds));
});
