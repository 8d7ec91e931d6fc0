//! A connection that has left HTTP: bytes go both ways until one side closes, or both
//! are silent for too long.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

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

/// How long the other side may be silent when one has closed.
const HALF: Duration = Duration::from_secs(30);

/// Joins the two ends. `early` is what the client has sent already. When one side closes, the
/// other one may say the rest.
pub async fn join(
    client: impl AsyncRead + AsyncWrite,
    early: &[u8],
    origin: impl AsyncRead + AsyncWrite,
    patience: Duration,
) -> End {
    let moved = Arc::new(AtomicU64::new(0));
    let (from_client, to_client) = tokio::io::split(client);
    let (from_origin, to_origin) = tokio::io::split(origin);
    let up = pin!(copy(from_client, to_origin, early, Arc::clone(&moved)));
    let down = pin!(copy(from_origin, to_client, &[], Arc::clone(&moved)));
    let first = tokio::select! {
        first = select(up, down) => first,
        () = silence(&moved, patience) => return End::Silent,
    };
    let (outcome, rest) = match first {
        Either::Left((outcome, down)) => (outcome, Either::Left(down)),
        Either::Right((outcome, up)) => (outcome, Either::Right(up)),
    };
    if let Err(error) = outcome {
        return End::Broken(error);
    }
    tokio::select! {
        outcome = rest => outcome.map_or_else(End::Broken, |()| End::Closed),
        () = silence(&moved, patience.min(HALF)) => End::Closed,
    }
}

/// Copies what comes from one end to the other, and closes that at the end.
async fn copy(
    from: impl AsyncRead,
    to: impl AsyncWrite,
    early: &[u8],
    moved: Arc<AtomicU64>,
) -> io::Result<()> {
    let (mut from, mut to) = (pin!(from), pin!(to));
    to.write_all(early).await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        moved.fetch_add(1, Ordering::Relaxed);
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        moved.fetch_add(1, Ordering::Relaxed);
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
