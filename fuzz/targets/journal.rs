//! A segment of the journal: whatever it holds, what is read was written.
#![no_main]

use forebay::invalidate::journal::read_segment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read = read_segment(bytes);
    assert!(read.good <= bytes.len());
    let mut before = read.began.unwrap_or_default();
    for record in &read.records {
        assert!(record.sequence > before);
        before = record.sequence;
    }
    // What is good reads the same without the rest.
    assert_eq!(read_segment(&bytes[..read.good]).records, read.records);
});
