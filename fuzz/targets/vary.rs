//! Vary: a request selects what was stored for it; white space around commas means nothing.
#![no_main]

use forebay::rfc::fields::Fields;
use forebay::rfc::vary::{SecondaryKey, VaryNames, names};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], Vec<(u8, Vec<u8>)>, bool)| {
    let (vary, lines, sort) = input;
    let mut response = Fields::new();
    if response.push("vary", vary).is_err() {
        return;
    }
    let VaryNames::Names(names) = names(&response) else { return };
    let known = ["accept-encoding", "accept-language", "user-agent", "x"];
    let (mut request, mut spaced) = (Fields::new(), Fields::new());
    for (name, value) in lines {
        let name = known[usize::from(name) % known.len()];
        // White space within quotes does mean something.
        if value.contains(&b'"') || request.push(name, &value).is_err() {
            return;
        }
        let wide: Vec<u8> = value.iter().flat_map(|&b| if b == b',' { b" ,\t".to_vec() } else { vec![b] }).collect();
        let _ = spaced.push(name, &wide);
    }
    let key = SecondaryKey::of(&names, &request, sort);
    assert!(key.matches(&request, sort));
    assert!(key.names().eq(names.iter().map(String::as_str)));
    assert!(key.matches(&spaced, sort), "{request:?} against {spaced:?}");
});
