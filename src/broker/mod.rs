//! RabbitMQ, as far as a node needs it: streams, which are logs that everybody
//! reads at their own place, and announcements, which reach whoever is there.
//!
//! What always holds: nothing waits for the broker without a deadline; a link that
//! breaks is not mended behind its user's back. Whoever holds it is told, and
//! connects anew, because what has been missed depends on what was being done.
//!
//! What it never does: know what the messages mean.

mod announce;
mod local;
pub mod queue;
mod rabbit;
mod stream;
mod topology;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};

pub use announce::{Announcer, Listener};
pub use local::{Limits, LocalQueues};
pub use queue::{Address, Delivery, Letter, Queues, Subscription, Unpublished};
pub use rabbit::{RabbitQueues, check, declare};
pub use stream::{From, Message, Reader, Stream, StreamSettings};
pub use topology::{Found, Topology};

/// Where the broker is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Its URLs, `amqp` or `amqps`; one for each of its nodes. None: there is no broker.
    pub urls: Vec<String>,
    /// How long it may take to connect, and to answer anything.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { urls: Vec::new(), timeout: Duration::from_secs(5) }
    }
}

/// Heartbeats are sent twice in so many seconds: a broker that has vanished
/// without a word is given up after as many.
const HEARTBEAT: u16 = 10;

/// Why the broker did not do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrokerError {
    /// No connection.
    #[error("{at} cannot be reached: {why}")]
    Connect {
        /// Host and port.
        at: String,
        /// What was said.
        why: String,
    },
    /// It knows nobody of this name and password, or none that may be there.
    #[error(
        "{at} refuses the login as `{user}`; check the user, the password and the virtual host in broker.urls \
         ({why})"
    )]
    Login {
        /// Host and port.
        at: String,
        /// Who.
        user: String,
        /// What was said.
        why: String,
    },
    /// No answer.
    #[error("the broker did not answer within {0:?}")]
    Silent(Duration),
    /// It said no, or the connection broke.
    #[error("the broker: {0}")]
    Failed(String),
    /// It has stopped to deliver.
    #[error("the broker has ended the subscription")]
    Ended,
    /// There is no connection, and was none for a while.
    #[error("there is no connection to the broker: {0}")]
    Away(String),
    /// It is short of memory or disk, and takes no messages.
    #[error("the broker takes no messages for now: {0}")]
    Blocked(String),
    /// Its user may not do this.
    #[error("{what}; {cure}")]
    Forbidden {
        /// What.
        what: String,
        /// What has to be done.
        cure: String,
    },
    /// Something is there, and not as it has to be.
    #[error(
        "`{name}` is there, made otherwise than forebay makes it ({why}); delete it (rabbitmqctl delete_queue \
         {name}), or set another cluster.name"
    )]
    Different {
        /// What.
        name: String,
        /// What is otherwise.
        why: String,
    },
    /// What it delivered is no stream's message.
    #[error("the broker delivered a message without an offset: is the queue a stream?")]
    NoOffset,
}

/// The broker, connected or not.
pub struct Broker {
    settings: Settings,
    name: String,
    /// How often has been tried: each time the next URL.
    tries: AtomicUsize,
}

/// A connection to the broker; dropping it ends it.
pub struct Link {
    connection: Connection,
    timeout: Duration,
}

/// What is good in a broker's URL, or what is wrong with it.
pub fn check_url(url: &str) -> Result<(), String> {
    url.parse::<AMQPUri>().map(drop)
}

impl Broker {
    /// A broker that knows this node by `name`.
    pub fn new(settings: Settings, name: &str) -> Self {
        Broker { settings, name: name.to_owned(), tries: AtomicUsize::new(0) }
    }

    /// Connects to the one of its nodes whose turn it is.
    pub async fn connect(&self) -> Result<Link, BrokerError> {
        self.connect_to(self.tries.fetch_add(1, Ordering::Relaxed)).await
    }

    /// Connects once more to the one that was last connected to.
    async fn again(&self) -> Result<Link, BrokerError> {
        self.connect_to(self.tries.load(Ordering::Relaxed).wrapping_sub(1)).await
    }

    /// Where that one is.
    fn last(&self) -> String {
        let turn = self.tries.load(Ordering::Relaxed).wrapping_sub(1) % self.settings.urls.len().max(1);
        let uri = self.settings.urls.get(turn).and_then(|url| url.parse::<AMQPUri>().ok());
        uri.map_or_else(String::new, |uri| format!("{}:{}", uri.authority.host, uri.authority.port))
    }

    async fn connect_to(&self, turn: usize) -> Result<Link, BrokerError> {
        let urls = &self.settings.urls;
        let turn = turn % urls.len().max(1);
        let url = urls.get(turn).map_or("", String::as_str);
        let connect = |why: String, at: &str| BrokerError::Connect { at: at.to_owned(), why };
        let mut uri: AMQPUri = url.parse().map_err(|why| connect(why, "the broker"))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let at = format!("{}:{}", uri.authority.host, uri.authority.port);
        let user = uri.authority.userinfo.username.clone();
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let timeout = self.settings.timeout;
        match tokio::time::timeout(timeout, Connection::connect_uri(uri, properties)).await {
            Ok(Ok(connection)) => Ok(Link { connection, timeout }),
            Ok(Err(error)) => Err(match error.kind() {
                ErrorKind::ProtocolError(said) if is_refusal(said.kind()) => {
                    BrokerError::Login { at, user, why: said.get_message().to_string() }
                }
                _ => connect(error.to_string(), &at),
            }),
            Err(_) => Err(connect(format!("no answer within {timeout:?}"), &at)),
        }
    }
}

impl Link {
    async fn channel(&self) -> Result<Channel, BrokerError> {
        within(self.timeout, self.connection.create_channel()).await
    }

    /// Says goodbye, where there is time for it.
    pub async fn close(self) {
        // The broker notices without it as well.
        let _ = within(self.timeout, self.connection.close(200, "the node ends".into())).await;
    }
}

/// Whether this says that somebody may not be there.
fn is_refusal(kind: &AMQPErrorKind) -> bool {
    matches!(
        kind,
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
    )
}

/// What the broker answers, if it does.
async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(BrokerError::Failed(error.to_string())),
        Err(_) => Err(BrokerError::Silent(patience)),
    }
}
