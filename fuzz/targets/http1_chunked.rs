//! Chunked content: however the bytes arrive, the content and its end are the same; what
//! is accepted is what a reader that knows nothing but the grammar finds.
#![no_main]

use forebay::message::chunked::{Decoder, Step};
use libfuzzer_sys::fuzz_target;

/// The content and how many bytes it took, if all of it is there; none if it is refused.
fn decode(bytes: &[u8], step: usize) -> Option<Option<(Vec<u8>, usize)>> {
    let mut decoder = Decoder::default();
    let mut content = Vec::new();
    for (n, piece) in bytes.chunks(step).enumerate() {
        let mut at = 0;
        loop {
            match decoder.step(piece, at).ok()? {
                Step::Content(range) => {
                    assert!(range.start >= at && !range.is_empty() && range.end <= piece.len());
                    content.extend_from_slice(&piece[range.clone()]);
                    at = range.end;
                }
                Step::More => break,
                Step::Done(end) => return Some(Some((content, n * step + end))),
            }
        }
    }
    Some(None)
}

/// The same by the grammar of RFC 9112 7.1 alone.
fn by_grammar(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut at = 0;
    let line = |at: usize| bytes[at..].windows(2).position(|end| end == b"\r\n").map(|len| &bytes[at..at + len]);
    let mut content = Vec::new();
    loop {
        let head = line(at)?;
        at += head.len() + 2;
        let digits = head.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&head[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        content.extend_from_slice(bytes.get(at..at + size)?);
        at += size;
        assert_eq!(bytes.get(at..at + 2)?, b"\r\n");
        at += 2;
    }
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some((content, at));
        }
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(whole, decode(bytes, usize::from(step).max(1)));
    if let Some(Some(found)) = whole {
        assert_eq!(by_grammar(bytes), Some(found));
    }
});
