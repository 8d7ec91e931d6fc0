//! A connection that has left HTTP: bytes go both ways until one side closes, or both
//! are silent for too long.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How a tunnel came to its end.
#[derive(Debug)]
pub enum End {
    /// One side closed it.
    Closed,
    /// Neither side sent anything for so long.
    Silent,
    /// It broke.
    Broken(io::Error),
}

/// Joins the two ends. `early` is what the client has sent already.
pub async fn join(
    client: impl AsyncRead + AsyncWrite + Unpin,
    early: &[u8],
    mut origin: impl AsyncRead + AsyncWrite + Unpin,
    patience: Duration,
) -> End {
    let moved = Arc::new(AtomicU64::new(0));
    let mut client = Watched { end: client, moved: Arc::clone(&moved) };
    let joined = async {
        origin.write_all(early).await?;
        tokio::io::copy_bidirectional(&mut client, &mut origin).await
    };
    tokio::select! {
        outcome = joined => match outcome {
            Ok(_) => End::Closed,
            Err(error) => End::Broken(error),
        },
        () = silence(&moved, patience) => End::Silent,
    }
}

/// Completes when nothing has moved for so long.
async fn silence(moved: &AtomicU64, patience: Duration) {
    let mut before = moved.load(Ordering::Relaxed);
    // Looked at often enough that silence is noticed when it has lasted little longer.
    let mut silent = Duration::ZERO;
    let step = (patience / 8).max(Duration::from_millis(1));
    while silent < patience {
        tokio::time::sleep(step).await;
        let now = moved.load(Ordering::Relaxed);
        silent = if now == before { silent + step } else { Duration::ZERO };
        before = now;
    }
}

/// One end, and how often something has moved through it.
struct Watched<T> {
    end: T,
    moved: Arc<AtomicU64>,
}

impl<T> Watched<T> {
    fn moved<R>(&self, outcome: Poll<R>) -> Poll<R> {
        if outcome.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.end).poll_read(cx, buf);
        self.moved(outcome)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.end).poll_write(cx, buf);
        self.moved(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.end).poll_write_vectored(cx, bufs);
        self.moved(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.end.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(cx)
    }
}
