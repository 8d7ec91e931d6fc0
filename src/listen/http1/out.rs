//! A reply on its way into a client's socket: the head, and the body as it comes.
//!
//! What always holds: a body is framed as its head says (RFC 9112 section 6); one that
//! breaks off, or is shorter than promised, never looks complete. Head and small bodies
//! leave in one write, large pieces of a body are never copied; what stands in the store
//! is written from there, with no handle of its bytes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use tokio::io::AsyncWrite;

use crate::message::interim::Interim;
use crate::rfc::connection;
use crate::rfc::fields::Fields;

/// Up to so many bytes are copied behind the head, which costs less than a second slice.
pub const COPIED: usize = 16 * 1024;
/// So many bytes are gathered for one write, where nobody else would hold them.
const GATHERED: usize = 64 * 1024;
/// So many, where the store holds them anyhow.
const STORED: usize = 512 * 1024;
/// So many slices one write has at most.
const SLICES: usize = 16;
/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// The buffer of the last reply that this thread has sent.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How the end of a body is told (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes are to come.
    Length(u64),
    /// By a last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// What is to be written, in order.
pub struct Out {
    buffer: Vec<u8>,
    at: usize,
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    waiting: usize,
}

impl Out {
    /// Nothing yet; `before` goes ahead of it all.
    pub fn new(before: &[u8]) -> Self {
        let mut buffer = SPARE.take();
        buffer.clear();
        buffer.extend_from_slice(before);
        Out { buffer, at: 0, pieces: VecDeque::new(), waiting: 0 }
    }

    /// The head of a reply, up to its last field.
    pub fn head<'a>(&mut self, status: StatusCode, fields: impl Iterator<Item = &'a Fields>) {
        status_line(&mut self.buffer, status);
        for fields in fields {
            fields.write(&mut self.buffer);
        }
    }

    /// One more field.
    pub fn field(&mut self, name: &str, value: &[u8]) {
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b": ");
        self.buffer.extend_from_slice(value);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// The end of a head.
    pub fn end_of_head(&mut self) {
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// A piece of a body that is framed so.
    pub fn body(&mut self, framing: &mut Framing, mut piece: Bytes) {
        if piece.is_empty() {
            // It would be the last chunk.
            return;
        }
        match framing {
            Framing::None => {}
            Framing::Close => self.push(piece),
            Framing::Length(left) => {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
                self.push(piece);
            }
            Framing::Chunked => {
                let mut size = [0; 18];
                let mut rest = &mut size[..];
                let _ = write!(rest, "{:x}\r\n", piece.len());
                let left = rest.len();
                self.bytes(&size[..18 - left]);
                self.push(piece);
                self.bytes(b"\r\n");
            }
        }
    }

    /// Whether there is nothing yet but what has been copied.
    pub fn is_copied(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The last chunk, and the trailer section behind it.
    pub fn last_chunk(&mut self, trailers: Option<&Fields>) {
        self.bytes(b"0\r\n");
        if let Some(trailers) = trailers {
            let mut trailers = trailers.clone();
            trailers.retain(|name, _| std::str::from_utf8(name).is_ok_and(connection::may_be_trailer));
            let mut written = Vec::with_capacity(trailers.written_len());
            trailers.write(&mut written);
            self.bytes(&written);
        }
        self.bytes(b"\r\n");
    }

    /// Some bytes, which are copied.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.pieces.is_empty() {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.waiting += bytes.len();
            self.pieces.push_back(Bytes::copy_from_slice(bytes));
        }
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if self.pieces.is_empty() && piece.len() + (self.buffer.len() - self.at) <= COPIED {
            self.buffer.extend_from_slice(&piece);
        } else {
            self.waiting += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// How many bytes are still to be written.
    pub fn left(&self) -> usize {
        self.waiting + self.buffer.len() - self.at
    }

    /// Whether so much waits to be written that nothing is to be added.
    pub fn is_full(&self) -> bool {
        self.left() >= GATHERED || self.pieces.len() >= SLICES - 4
    }

    /// Writes what the socket takes of this, and of `more` behind it. Returns how many bytes of
    /// `more` it took; an error is the connection's.
    pub fn poll_write<'a>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut (impl AsyncWrite + Unpin),
        mut more: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<u64>> {
        let head = self.buffer.get(self.at..).unwrap_or_default();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut used, mut bytes) = (0, 0);
        let own = std::iter::once(head).chain(self.pieces.iter().map(|piece| &piece[..]));
        let parts = own.filter(|part| !part.is_empty()).chain(std::iter::from_fn(move || more.next()));
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            used += 1;
            bytes += part.len();
            if bytes >= STORED {
                break;
            }
        }
        let socket = Pin::new(socket);
        let wrote = match slices.get(..used).unwrap_or_default() {
            [only] => socket.poll_write(cx, only),
            slices => socket.poll_write_vectored(cx, slices),
        };
        match std::task::ready!(wrote)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            wrote => Poll::Ready(Ok(self.wrote(wrote) as u64)),
        }
    }

    /// So many bytes have been written; how many of them are none of this.
    fn wrote(&mut self, mut wrote: usize) -> usize {
        let of_buffer = wrote.min(self.buffer.len() - self.at);
        self.at += of_buffer;
        wrote -= of_buffer;
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        } else if self.at > COPIED {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        while wrote > 0
            && let Some(first) = self.pieces.front_mut()
        {
            let of_piece = wrote.min(first.len());
            wrote -= of_piece;
            self.waiting -= of_piece;
            if of_piece == first.len() {
                self.pieces.pop_front();
            } else {
                bytes::Buf::advance(first, of_piece);
            }
        }
        wrote
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if self.buffer.capacity() <= KEPT {
            SPARE.set(std::mem::take(&mut self.buffer));
        }
    }
}

/// Writes an interim response whole.
pub fn interim(buffer: &mut Vec<u8>, interim: &Interim) {
    status_line(buffer, interim.status);
    interim.fields.write(buffer);
    buffer.extend_from_slice(b"\r\n");
}

fn status_line(buffer: &mut Vec<u8>, status: StatusCode) {
    // The version is ours, whatever the client's is (RFC 9110 2.5).
    buffer.extend_from_slice(b"HTTP/1.1 ");
    buffer.extend_from_slice(status.as_str().as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    buffer.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes at a time.
    struct Slow(Vec<u8>, usize);

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut left = self.1;
            for slice in slices {
                let taken = slice.get(..left).unwrap_or(slice);
                self.0.extend_from_slice(taken);
                left -= taken.len();
            }
            Poll::Ready(Ok(self.1 - left))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn wherever_a_write_is_cut_off_the_next_one_goes_on_there() {
        let more: Vec<u8> = (0..10_000u32).flat_map(u32::to_be_bytes).collect();
        let pieces: [&[u8]; 3] = [b"piece, and ", &[b'x'; COPIED], b" another one"];
        let mut expected = b"head".to_vec();
        expected.extend(pieces.concat());
        let own = expected.len();
        expected.extend_from_slice(&more);
        for at_a_time in [1, 3, 7, 4096, 20_000, 1 << 20] {
            let mut out = Out::new(b"head");
            let mut framing = Framing::Length(u64::MAX);
            for piece in pieces {
                out.body(&mut framing, Bytes::copy_from_slice(piece));
            }
            assert_eq!(out.left(), own);
            let mut socket = Slow(Vec::new(), at_a_time);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut beyond = 0;
            while !out.is_empty() || beyond < more.len() {
                // In pieces of no particular size, as the store has them.
                let rest = more[beyond..].chunks(3011);
                let Poll::Ready(Ok(wrote)) = out.poll_write(&mut cx, &mut socket, rest) else {
                    panic!("it takes everything");
                };
                assert!(out.is_empty() || wrote == 0, "more goes behind what is there");
                beyond += wrote as usize;
            }
            assert!(socket.0 == expected, "{at_a_time} at a time");
        }
    }
}
