//! A response's body under the deadlines of its exchange.
//!
//! What always holds: an origin that pauses for too long breaks the body, and time in which
//! nobody reads is the reader's own; but nobody reads for longer than the whole may take, for
//! a body on its way holds a place at its origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, Sleep};

use super::pool::Deadlines;
use crate::message::{Body, Broken, Piece};
use crate::observe::counters::Counters;

/// A body under the deadlines of its exchange.
pub(super) struct Timed {
    body: Body,
    between: Duration,
    total: Duration,
    deadline: Instant,
    /// Ends when the sender has paused for too long, or the exchange took too long.
    pause: Pin<Box<Sleep>>,
    /// Whether the reader is waiting, so that the pause is running. Time in which
    /// nobody asks is the reader's own and not the origin's.
    waiting: bool,
    /// Since when it waits, and for how long it has waited before.
    since: Instant,
    waited: Duration,
    ended: bool,
    counters: Arc<Counters>,
}

impl Timed {
    /// This body, of an exchange with these deadlines.
    pub fn new(body: Body, deadlines: &Deadlines, counters: Arc<Counters>) -> Self {
        let deadline = deadlines.end();
        Timed {
            body,
            between: deadlines.between_bytes,
            total: deadlines.total,
            deadline,
            pause: Box::pin(tokio::time::sleep_until(deadline)),
            waiting: false,
            since: deadlines.started,
            waited: Duration::ZERO,
            ended: false,
            counters,
        }
    }

    /// Whether most of the time was spent waiting for the origin, and not for the reader.
    pub fn is_its_fault(&self) -> bool {
        let now = if self.waiting { self.since.elapsed() } else { Duration::ZERO };
        (self.waited + now) * 2 >= self.total
    }
}

impl futures_util::Stream for Timed {
    type Item = Result<Piece, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match this.body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(_))) if Instant::now() >= this.deadline => {
                this.ended = true;
                this.counters.origin_timeout_total.up();
                Poll::Ready(Some(Err(Broken::Overdue(this.total))))
            }
            Poll::Ready(Some(Ok(piece))) => {
                if this.waiting {
                    this.waiting = false;
                    this.waited += this.since.elapsed();
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(end) => {
                this.ended = true;
                if matches!(end, Some(Err(_))) {
                    this.counters.origin_failed_body.up();
                }
                Poll::Ready(end)
            }
            Poll::Pending => {
                if !this.waiting {
                    (this.waiting, this.since) = (true, Instant::now());
                    this.pause.as_mut().reset((Instant::now() + this.between).min(this.deadline));
                }
                std::task::ready!(this.pause.as_mut().poll(cx));
                this.ended = true;
                let broken = if Instant::now() >= this.deadline {
                    this.counters.origin_timeout_total.up();
                    Broken::Overdue(this.total)
                } else {
                    this.counters.origin_timeout_between_bytes.up();
                    Broken::Paused(this.between)
                };
                Poll::Ready(Some(Err(broken)))
            }
        }
    }
}
