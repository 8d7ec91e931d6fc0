//! Configuration files: good, or every fault with a cure.
#![no_main]

use forebay::config::{Flags, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(faults) = read("fuzz", text, &Flags::default()) {
        assert!(faults.iter().count() > 0);
        for fault in faults.iter() {
            assert!(!fault.problem.is_empty() && !fault.cure.is_empty(), "{fault}");
        }
    }
});
