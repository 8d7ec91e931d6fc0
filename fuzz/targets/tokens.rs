//! The file of tokens and what callers show: nothing unknown is taken for known.
#![no_main]

use forebay::admin::auth::{parse, presented};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (file, authorization, secret) = input;
    if let Err(faults) = parse(file) {
        assert!(!faults.is_empty());
    }
    for token in presented(forebay::admin::auth::Shown { authorization: Some(authorization), secret: Some(secret) }) {
        assert!(!token.is_empty());
    }
});
