//! Response heads: however the bytes arrive, they give the same head; it is the one that the
//! parser sees that most of the field uses; and its content has one end.
#![no_main]

use forebay::message::response::{Framing, Head, Limits, Reader};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { bytes: 2048, lines: 32 };

fn lines(head: &Head) -> Vec<(String, Vec<u8>)> {
    head.fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, step) = input;
    let whole = Reader::default().read(bytes, &LIMITS);
    let mut reader = Reader::default();
    let mut piecewise = Ok(None);
    let mut end = 0;
    while end < bytes.len() && piecewise == Ok(None) {
        end = (end + usize::from(step).max(1)).min(bytes.len());
        piecewise = reader.read(&bytes[..end], &LIMITS);
    }
    assert_eq!(piecewise.is_ok(), whole.is_ok());
    if whole.is_ok() {
        assert_eq!(piecewise, whole);
    }

    let mut room = [httparse::EMPTY_HEADER; 32];
    let mut other = httparse::Response::new(&mut room);
    let theirs = other.parse(bytes);
    let Ok(Some((head, end))) = whole else {
        if bytes.len() < LIMITS.bytes && matches!(whole, Ok(None)) {
            assert!(!matches!(theirs, Ok(httparse::Status::Complete(_))));
        }
        return;
    };
    assert_eq!(theirs, Ok(httparse::Status::Complete(end)));
    assert_eq!(other.code, Some(head.status.as_u16()));
    let seen: Vec<_> = other
        .headers
        .iter()
        .map(|line| (line.name.to_ascii_lowercase(), trim(line.value).to_vec()))
        .collect();
    assert_eq!(lines(&head), seen);

    let lengths = head.fields.get_all("content-length").count();
    let codings = head.fields.get_all("transfer-encoding").count();
    match head.framing(false) {
        Ok(Framing::Chunked) => assert_eq!((lengths, codings), (0, 1)),
        Ok(Framing::UntilClose) => assert_eq!((lengths, codings), (0, 0)),
        Ok(Framing::Length(length)) => assert!(length == 0 || (lengths > 0 && codings == 0)),
        Err(_) => assert!(lengths + codings > 0),
    }
});

fn trim(value: &[u8]) -> &[u8] {
    let is_other = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(is_other) else { return &[] };
    let end = value.iter().rposition(is_other).map_or(start, |last| last + 1);
    &value[start..end]
}
