//! robots.txt: whatever it holds, it is read, and its answer does not depend on how a
//! path is written.
#![no_main]

use forebay::rfc::robots::Robots;
use forebay::rfc::uri::canonical_path_and_query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (file, path) = input;
    let robots = Robots::parse(file, "forebay");
    let path = canonical_path_and_query(path);
    let once = robots.allow(&path);
    assert_eq!(once, robots.allow(&canonical_path_and_query(&path)));
    assert!(robots.allow("/robots.txt"));
});
