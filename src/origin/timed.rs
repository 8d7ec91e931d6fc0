//! A response's body under the deadlines of its exchange.
//!
//! What always holds: an origin that pauses for too long breaks the body, and time in which
//! nobody reads is the reader's own; but nobody reads for longer than the whole may take, for
//! a body on its way holds a place at its origin. A body that broke has closed its connection
//! before its reader learns of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::connection::Flow;
use super::pool::Deadlines;
use crate::message::{Broken, Piece};
use crate::observe::counters::Counters;

/// A body under the deadlines of its exchange.
pub(super) struct Timed {
    flow: Flow,
    between: Duration,
    total: Duration,
    deadline: Instant,
    /// Ends when the sender has paused for too long, or the exchange took too long.
    /// Made when the sender pauses for the first time; most never do.
    pause: Option<Pin<Box<Sleep>>>,
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
    pub fn new(flow: Flow, deadlines: &Deadlines, counters: Arc<Counters>) -> Self {
        Timed {
            flow,
            between: deadlines.between_bytes,
            total: deadlines.total,
            deadline: deadlines.end(),
            pause: None,
            waiting: false,
            since: deadlines.started,
            waited: Duration::ZERO,
            ended: false,
            counters,
        }
    }

    /// Nobody wants the rest of it: when this returns, its connection is closed, or idle.
    pub fn close(&mut self) {
        self.ended = true;
        self.flow.close();
    }

    /// Drops `kept` when nothing more of the exchange goes on: what is still sent of the
    /// request holds its place as well.
    pub fn keep_until_sent(&mut self, kept: impl Send + 'static) {
        self.flow.keep_until_sent(kept);
    }

    /// Whether its last byte has been read.
    pub fn is_whole(&self) -> bool {
        self.flow.is_whole()
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
        match this.flow.poll_piece(cx) {
            Poll::Ready(Some(Ok(_))) if Instant::now() >= this.deadline => {
                this.close();
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
                let pause =
                    this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(this.deadline)));
                if !this.waiting {
                    (this.waiting, this.since) = (true, Instant::now());
                    pause.as_mut().reset((this.since + this.between).min(this.deadline));
                }
                std::task::ready!(pause.as_mut().poll(cx));
                this.close();
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
