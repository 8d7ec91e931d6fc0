//! Chunked content (RFC 9112 section 7.1), read strictly.
//!
//! What always holds: every line ends with CRLF, a size is hexadecimal digits and
//! nothing else, and its number fits; extensions and trailers have limits. What is odd
//! is refused, for there the next reader could see another end.
//!
//! Pure: no I/O, no clock.

use std::ops::Range;

use crate::rfc::fields::Fields;

/// The most bytes of one line: of a size with its extensions.
const LONGEST_LINE: usize = 4096;
/// The most bytes of the trailer section.
const LARGEST_TRAILERS: usize = 32 * 1024;
/// The most bytes of framing, beside the content, in excess of half the content.
const MOST_OVERHEAD: u64 = 1024 * 1024;
/// What the framing of a chunk may take without counting, where small chunks are usual.
const USUAL: usize = 18;

/// Reads chunked content piece by piece.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// Of the line that has begun to arrive, what is there.
    line: Vec<u8>,
    trailers: Fields,
    trailer_bytes: usize,
    content: u64,
    overhead: u64,
    /// Whether it is that of a response.
    of_response: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// A line with the size of a chunk.
    #[default]
    Size,
    /// So many bytes of a chunk.
    Content(u64),
    /// The CRLF behind a chunk.
    End,
    /// A line of the trailer section.
    Trailer,
    Done,
    /// Refused: nothing after it is understood.
    Bad,
}

/// What stands next in the bytes given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Content, in this place among them.
    Content(Range<usize>),
    /// Nothing more: they are used up, and more has to come.
    More,
    /// The end; what follows this place is no content.
    Done(usize),
}

/// The content is not framed as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the chunks of the content are none")]
pub struct BadChunk;

impl Decoder {
    /// For the content of a response: servers send a piece whenever they have one, however
    /// small, and for ever, and some fill up their sizes with blanks.
    pub fn of_response() -> Self {
        Decoder { of_response: true, ..Decoder::default() }
    }

    /// Reads on from `at`; the bytes before it have been dealt with. What was refused once
    /// stays so.
    pub fn step(&mut self, bytes: &[u8], at: usize) -> Result<Step, BadChunk> {
        let step = self.read(bytes, at);
        if step.is_err() {
            self.state = State::Bad;
        }
        step
    }

    fn read(&mut self, bytes: &[u8], mut at: usize) -> Result<Step, BadChunk> {
        loop {
            match self.state {
                State::Bad => return Err(BadChunk),
                State::Content(left) => {
                    let here = bytes.len() - at.min(bytes.len());
                    if here == 0 {
                        return Ok(Step::More);
                    }
                    let len = usize::try_from(left).map_or(here, |left| left.min(here));
                    let left = left - len as u64;
                    self.content += len as u64;
                    self.state = if left == 0 { State::End } else { State::Content(left) };
                    return Ok(Step::Content(at..at + len));
                }
                State::Done => return Ok(Step::Done(at)),
                State::Size | State::End | State::Trailer => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let Some(newline) = memchr::memchr(b'\n', rest) else {
                        self.line.extend_from_slice(rest);
                        self.check_overhead(rest.len())?;
                        return if self.line.len() > self.longest() { Err(BadChunk) } else { Ok(Step::More) };
                    };
                    at += newline + 1;
                    self.check_overhead(newline + 1)?;
                    if self.of_response {
                        let usual = (self.line.len() + newline + 1).min(USUAL) as u64;
                        self.overhead = self.overhead.saturating_sub(usual);
                    }
                    let mut begun = std::mem::take(&mut self.line);
                    // Most lines arrive as a whole.
                    let line = if begun.is_empty() {
                        &rest[..newline]
                    } else {
                        begun.extend_from_slice(&rest[..newline]);
                        &begun
                    };
                    let Some(text) = line.strip_suffix(b"\r").filter(|_| line.len() <= self.longest()) else {
                        return Err(BadChunk);
                    };
                    self.state = self.after(text)?;
                }
            }
        }
    }

    /// The trailer section, after the end.
    pub fn trailers(&mut self) -> Option<Fields> {
        let trailers = std::mem::take(&mut self.trailers);
        (!trailers.is_empty()).then_some(trailers)
    }

    /// How long a line may be here.
    fn longest(&self) -> usize {
        match self.state {
            State::End => 1,
            State::Trailer => LARGEST_TRAILERS,
            _ => LONGEST_LINE,
        }
    }

    /// Framing in large amounts around little content is work for nothing.
    fn check_overhead(&mut self, bytes: usize) -> Result<(), BadChunk> {
        self.overhead += bytes as u64;
        if self.overhead > MOST_OVERHEAD + self.content / 2 { Err(BadChunk) } else { Ok(()) }
    }

    /// What follows this line.
    fn after(&mut self, line: &[u8]) -> Result<State, BadChunk> {
        match self.state {
            State::End if line.is_empty() => Ok(State::Size),
            State::End => Err(BadChunk),
            State::Trailer if line.is_empty() => Ok(State::Done),
            State::Trailer => {
                self.trailer_bytes += line.len();
                if self.trailer_bytes > LARGEST_TRAILERS {
                    return Err(BadChunk);
                }
                let colon = memchr::memchr(b':', line).ok_or(BadChunk)?;
                let name = std::str::from_utf8(&line[..colon]).map_err(|_| BadChunk)?;
                self.trailers.push(name, &line[colon + 1..]).map_err(|_| BadChunk)?;
                Ok(State::Trailer)
            }
            _ => match size(line, self.of_response)? {
                0 => Ok(State::Trailer),
                size => Ok(State::Content(size)),
            },
        }
    }
}

/// The size on this line, before an extension, which says nothing to us (RFC 9112 7.1.1).
/// Blanks behind it alone are let pass where it may be filled up.
fn size(line: &[u8], may_be_filled: bool) -> Result<u64, BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    let is_extension = match extension.trim_ascii_start() {
        // White space belongs to an extension, and stands nowhere else.
        [] => extension.is_empty() || (may_be_filled && extension.iter().all(|&byte| byte == b' ')),
        [b';', ..] => extension.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f)),
        _ => false,
    };
    let text = std::str::from_utf8(size).map_err(|_| BadChunk)?;
    // Beyond that many digits some readers wrap around.
    let size = u64::from_str_radix(text, 16).ok().filter(|_| digits <= 16).ok_or(BadChunk)?;
    if is_extension { Ok(size) } else { Err(BadChunk) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The content, what follows it, and the trailer section.
    type Decoded = (Vec<u8>, Vec<u8>, Option<Fields>);

    /// What comes out of these pieces, if they are complete.
    fn decode(pieces: &[&[u8]]) -> Result<Option<Decoded>, BadChunk> {
        let mut decoder = Decoder::default();
        let mut content = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let mut at = 0;
            loop {
                match decoder.step(piece, at)? {
                    Step::Content(range) => {
                        content.extend_from_slice(&piece[range.clone()]);
                        at = range.end;
                    }
                    Step::More => break,
                    Step::Done(end) => {
                        let rest = [&piece[end..], &pieces[n + 1..].concat()].concat();
                        return Ok(Some((content, rest, decoder.trailers())));
                    }
                }
            }
        }
        Ok(None)
    }

    const CHUNKED: &[u8] = b"5\r\nhello\r\n0A;a=\"b\"\r\n, world...\r\n0\r\nX-Sum: 1\r\n\r\nGET /";

    #[test]
    fn content_ends_where_it_says() {
        let (content, rest, trailers) = decode(&[CHUNKED]).expect("valid").expect("complete");
        assert_eq!((&content[..], &rest[..]), (&b"hello, world..."[..], &b"GET /"[..]));
        assert_eq!(trailers.expect("trailers").get("x-sum"), Some(&b"1"[..]));
        let (content, rest, trailers) = decode(&[b"0\r\n\r\n"]).expect("valid").expect("complete");
        assert_eq!((content.len(), rest.len(), trailers), (0, 0, None));
        assert_eq!(decode(&[b"5\r\nhello\r\n0\r\n"]), Ok(None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let rows: [&[u8]; 20] = [
            b"xyz\r\nabc\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"3\n\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabc\r\r\n0\r\n\r\n",
            b"\r\nabc\r\n0\r\n\r\n",
            b"00000000000000003\r\nabc\r\n0\r\n\r\n",
            b"ffffffffffffffffff\r\n",
            b"3;a\rb\r\nabc\r\n0\r\n\r\n",
            b"3;a\0\r\nabc\r\n0\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\nX: y\r\n folded\r\n\r\n",
        ];
        for row in rows {
            assert_eq!(decode(&[row]), Err(BadChunk), "{}", String::from_utf8_lossy(row));
        }
    }

    #[test]
    fn framing_has_limits() {
        let long = [b"3;".to_vec(), vec![b'a'; LONGEST_LINE], b"\r\n".to_vec()].concat();
        assert_eq!(decode(&[&long]), Err(BadChunk));
        assert_eq!(decode(&[b"3;", &vec![b'a'; LONGEST_LINE]]), Err(BadChunk));
        let trailers = [b"0\r\n".to_vec(), b"X: y\r\n".repeat(10_000), b"\r\n".to_vec()].concat();
        assert_eq!(decode(&[&trailers]), Err(BadChunk));
        let mut decoder = Decoder::default();
        let chunk = [b"1;".to_vec(), vec![b'a'; 4000], b"\r\nx\r\n".to_vec()].concat();
        let refused = (0..1000).any(|_| {
            let mut at = 0;
            loop {
                match decoder.step(&chunk, at) {
                    Ok(Step::Content(range)) => at = range.end,
                    Ok(_) => break false,
                    Err(BadChunk) => break true,
                }
            }
        });
        assert!(refused, "mostly framing");
    }

    #[test]
    fn a_response_may_come_in_many_small_chunks_of_filled_sizes() {
        let mut decoder = Decoder::of_response();
        for _ in 0..1_000_000 {
            assert_eq!(decoder.step(b"1  \r\nx\r\n", 0), Ok(Step::Content(5..6)));
            assert_eq!(decoder.step(b"1  \r\nx\r\n", 6), Ok(Step::More));
        }
        let chunk = [b"1;".to_vec(), vec![b'a'; 4000], b"\r\nx\r\n".to_vec()].concat();
        let refused =
            (0..1000).any(|_| decoder.step(&chunk, 0).is_err() || decoder.step(&chunk, 4005).is_err());
        assert!(refused, "mostly framing");
        for bad in [&b"3\t\r\n"[..], b" 3\r\n", b"3 x\r\n", b"-3 \r\n", b"3\n", b" \r\n"] {
            assert_eq!(Decoder::of_response().step(bad, 0), Err(BadChunk), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn content_is_the_same_however_it_arrives(cuts in proptest::collection::vec(0..CHUNKED.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&CHUNKED[from..cut]);
                from = cut;
            }
            pieces.push(&CHUNKED[from..]);
            prop_assert_eq!(decode(&pieces), decode(&[CHUNKED]));
        }

        #[test]
        fn what_is_refused_stays_refused_wherever_it_is_cut(
            bytes in proptest::collection::vec(proptest::sample::select(b"0123af;\r\n\r\nx: ".to_vec()), 0..200),
            cut in 0..200usize,
        ) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let whole = decode(&[&bytes]);
            prop_assert_eq!(decode(&[first, second]), whole.clone());
            if whole.is_err() {
                let mut decoder = Decoder::default();
                let mut refused = false;
                for piece in [first, second, b"\r\n0\r\n\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"] {
                    let mut at = 0;
                    loop {
                        let step = decoder.step(piece, at);
                        prop_assert!(!refused || step.is_err());
                        match step {
                            Ok(Step::Content(range)) => at = range.end,
                            Ok(_) => break,
                            Err(BadChunk) => {
                                refused = true;
                                break;
                            }
                        }
                    }
                }
                prop_assert!(refused);
            }
        }
    }
}
