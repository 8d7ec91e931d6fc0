//! Request heads: however the bytes arrive, they give the same head; what is accepted is
//! read in the same way by the parser that most of the field uses.
#![no_main]

use forebay::listen::http1::head::{Framing, Limits, Scan, parse};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { target: 512, fields: 2048, lines: 32 };

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, step) = input;
    let whole = Scan::default().find(bytes, &LIMITS);
    let mut scan = Scan::default();
    let mut piecewise = Ok(None);
    let mut end = 0;
    while end < bytes.len() && piecewise == Ok(None) {
        end = (end + usize::from(step).max(1)).min(bytes.len());
        piecewise = scan.find(&bytes[..end], &LIMITS);
    }
    // What is refused for its size may be refused before something else is found wrong.
    if whole.is_ok() && piecewise.is_ok() {
        assert_eq!(piecewise, whole);
    }
    let Ok(Some((start, end))) = whole else { return };
    let Ok(head) = parse(&bytes[start..end], &LIMITS) else { return };

    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut other = httparse::Request::new(&mut lines);
    match other.parse(&bytes[start..end]) {
        Ok(httparse::Status::Complete(length)) => {
            assert_eq!(length, end - start);
            assert_eq!(other.method, Some(head.method.as_str()));
            assert_eq!(other.path, Some(head.target.as_str()));
            let theirs: Vec<_> = other
                .headers
                .iter()
                .map(|line| (line.name.to_ascii_lowercase(), line.value.trim_ascii().to_vec()))
                .collect();
            let ours: Vec<_> =
                head.fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            assert_eq!(ours, theirs);
        }
        // It knows fewer targets and versions.
        _ => {}
    }
    let lengths = head.fields.get_all("content-length").count();
    let codings = head.fields.get_all("transfer-encoding").count();
    match head.framing {
        Framing::Chunked => assert_eq!((lengths, codings), (0, 1)),
        Framing::Length(_) => assert_eq!((lengths, codings), (1, 0)),
        Framing::None => assert!(lengths <= 1 && codings == 0),
    }
});
