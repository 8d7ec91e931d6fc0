//! The seam between those who tell, those who do, and whatever carries what they
//! say: named queues of letters, and two exchanges that reach everybody.
//!
//! What always holds: a letter is published when it has been confirmed, and not
//! before; one that was delivered stays with its queue until it is acknowledged or
//! refused, and comes again when its reader goes away without either.
//!
//! What it never does: know what a letter means.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::BrokerError;

/// Where a letter goes, or is read. Those of one origin are apart from those of
/// every other: a slow origin fills its own queues only.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// Miss events of an origin; read by one pacer at a time.
    Misses(String),
    /// Work that may be done now, for any worker. What waits for longer than its
    /// time is dropped.
    Work(String),
    /// Miss events that become due again after a pause; they come back as misses.
    Retry(String, Duration),
    /// Miss events that were given up.
    Dead(String),
    /// Fills and refusals, for every edge.
    Fills,
    /// How pieces of work of an origin have ended, for its pacer.
    Outcomes(String),
}

/// What is carried.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Letter {
    /// Its id; the same when it comes again.
    pub id: String,
    /// The media type of its content.
    pub content_type: String,
    /// What stands beside the content, as name and text.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Bytes,
    /// It is of no use after so long.
    pub expires: Option<Duration>,
}

impl Letter {
    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Why a letter was not published.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unpublished {
    /// Its queue has no room.
    #[error("the queue is full")]
    Full,
    /// Nobody has declared where it should go.
    #[error("there is no such queue")]
    Unroutable,
    /// The broker did not confirm it; it may have arrived or not.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Whatever carries letters.
pub trait Queues: Send + Sync + 'static {
    /// Publishes a letter; done when it is confirmed.
    fn publish(&self, to: Address, letter: Letter) -> BoxFuture<'_, Result<(), Unpublished>>;

    /// Reads at an address; `ahead` letters at most are delivered and not yet
    /// acknowledged.
    fn subscribe(&self, to: Address, ahead: u16)
    -> BoxFuture<'_, Result<Box<dyn Subscription>, BrokerError>>;

    /// Looks at the oldest letters at an address, and leaves them where they are.
    fn look(&self, at: Address, most: usize) -> BoxFuture<'_, Result<Vec<Letter>, BrokerError>>;
}

/// Reads letters. Dropping it gives back what was delivered and not acknowledged.
pub trait Subscription: Send {
    /// The next letter, whenever it comes. May be dropped while it waits, and nothing
    /// is lost. After an error it is of no more use.
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>>;
}

/// A letter that was delivered.
pub struct Delivery {
    /// The letter.
    pub letter: Letter,
    /// How often it was delivered before without being acknowledged.
    pub returned: u32,
    /// What its queue is told.
    pub receipt: Box<dyn Receipt>,
}

/// Tells a queue what became of a letter. Dropping it gives the letter back.
pub trait Receipt: Send {
    /// It has been dealt with.
    fn acknowledge(self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>>;
    /// It cannot be dealt with, now or ever: it goes where dead letters go.
    fn refuse(self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>>;
}
