//! What stands at the broker for hidden routes, and how it is declared.
//!
//! ```text
//!  NAME.misses.O ──▶ pacer ──▶ NAME.work.O ──▶ workers ──▶ NAME.fills (to every edge)
//!     ▲    │                                      │  └────▶ NAME.outcomes (to the pacers of O)
//!     │    └─ refused ─▶ NAME.dead ─▶ NAME.dead.O ◀─ given up
//!     └─ after its pause ── NAME.retry.O.PAUSE ◀──┘
//! ```
//!
//! | name | what | why so |
//! |---|---|---|
//! | `NAME.misses.O` | quorum queue, single active consumer, bounded, `reject-publish`, delivery limit, dead letters at least once | one pacer at a time; a full one says no, and loses nothing that it has; no message TTL, for an expired event is no dead letter, and the pacer drops it |
//! | `NAME.work.O` | quorum queue, message TTL of seconds, bounded, `reject-publish` | what is not done now is not to be done later on top of what is released then; expired work is dropped, so it has no dead-letter exchange, and what a worker refuses it puts among the dead letters itself |
//! | `NAME.retry.O.PAUSE` | quorum queue, message TTL, dead letters to `NAME.misses.O` at least once | one pause each: a queue gives up what is at its front only |
//! | `NAME.dead`, `NAME.dead.O` | direct exchange and quorum queue, bounded, weeks | the oldest dead letter goes first: one that said no would let those wait in `NAME.misses.O` |
//! | `NAME.fills` | fan-out exchange, and an exclusive queue for each edge, bounded by number, bytes and time | an edge that does not keep up misses the oldest, and holds up nobody |
//! | `NAME.outcomes` | direct exchange by origin, and an exclusive queue for each pacer | as above |
//!
//! All of it is durable but the exclusive queues, which end with their connections. It
//! works with RabbitMQ 3.10 to 4: no prefetch for a whole channel, no queue modes, no
//! transient queue that others may use.
//!
//! What is there already must be as it would be made: a queue of misses that several
//! may read at once would break what was agreed with the origin's owner. Operators who
//! want less room set a policy, which leaves the arguments as they are. Whoever may not
//! declare takes what is there.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::BrokerError;
use super::queue::Address;

/// The most letters of a queue of misses, and bytes.
const MISSES: (i64, i64) = (50_000, 256 * MIB);
/// The most letters of a queue of work: no more than can be under way.
const WORK: i64 = 10_000;
/// The most letters that wait for a further attempt, for each pause.
const RETRIES: i64 = 10_000;
/// The most dead letters of an origin, and how long they are kept.
const DEAD: (i64, Duration) = (10_000, Duration::from_secs(14 * 86_400));
/// The most fills that wait for an edge, bytes of them, and for how long.
const FILLS: (i64, i64, Duration) = (10_000, 256 * MIB, Duration::from_secs(600));
/// The same of outcomes for a pacer.
const OUTCOMES: (i64, i64, Duration) = (10_000, 16 * MIB, Duration::from_secs(60));
/// How often dead letters may be looked at, which counts as deliveries; without a limit
/// RabbitMQ 4 has its own.
const LOOKS: i64 = 1_000_000;
/// How often a letter may come back before it counts as one that ends its readers.
const DELIVERIES: i64 = 20;

const MIB: i64 = 1024 * 1024;

/// What is to stand at the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// All names begin with it.
    pub name: String,
    /// The hidden origins.
    pub origins: Vec<String>,
    /// The pauses before further attempts.
    pub pauses: Vec<Duration>,
    /// How long work waits for a worker.
    pub work_ttl: Duration,
}

/// Something that stands at the broker.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    is: Is,
}

#[derive(Clone, PartialEq, Debug)]
enum Is {
    Exchange(ExchangeKind),
    Queue {
        arguments: FieldTable,
        /// An exchange that it is bound to, and the key.
        bound: Option<(String, String)>,
    },
}

/// How a part was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// It is there as it should be.
    Good,
    /// It is there; whether it is as it should be this user may not ask.
    Unverified,
    /// It is not there.
    Missing,
    /// It is there, and is not as it should be.
    Different(String),
}

impl Topology {
    /// The exchange and the routing key by which an address is reached. The empty
    /// exchange reaches a queue by its name.
    pub fn route(&self, to: &Address) -> (String, String) {
        match to {
            Address::Fills => (self.exchange("fills"), String::new()),
            Address::Outcomes(origin) => (self.exchange("outcomes"), origin.clone()),
            queue => (String::new(), self.queue(queue)),
        }
    }

    /// The name of the queue at an address; of those that end with their connections
    /// the beginning.
    pub fn queue(&self, at: &Address) -> String {
        let name = &self.name;
        match at {
            Address::Misses(origin) => format!("{name}.misses.{origin}"),
            Address::Work(origin) => format!("{name}.work.{origin}"),
            Address::Retry(origin, pause) => format!("{name}.retry.{origin}.{}s", pause.as_secs()),
            Address::Dead(origin) => format!("{name}.dead.{origin}"),
            Address::Fills => format!("{name}.fills"),
            Address::Outcomes(origin) => format!("{name}.outcomes.{origin}"),
        }
    }

    fn exchange(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    /// All that is to stand there, in the order in which it can be made.
    pub fn parts(&self) -> Vec<Part> {
        let exchange = |what, kind| Part { name: self.exchange(what), is: Is::Exchange(kind) };
        let mut parts = vec![
            exchange("fills", ExchangeKind::Fanout),
            exchange("outcomes", ExchangeKind::Direct),
            exchange("dead", ExchangeKind::Direct),
        ];
        for origin in &self.origins {
            let queue = |at: Address, arguments, bound| Part {
                name: self.queue(&at),
                is: Is::Queue { arguments, bound },
            };
            let misses = self.queue(&Address::Misses(origin.clone()));
            let dead = (self.exchange("dead"), origin.clone());
            parts.push(queue(
                Address::Dead(origin.clone()),
                quorum(&[
                    ("x-max-length", number(DEAD.0)),
                    ("x-message-ttl", milliseconds(DEAD.1)),
                    ("x-delivery-limit", number(LOOKS)),
                ]),
                Some(dead.clone()),
            ));
            parts.push(queue(
                Address::Misses(origin.clone()),
                quorum(&[
                    ("x-single-active-consumer", AMQPValue::Boolean(true)),
                    ("x-max-length", number(MISSES.0)),
                    ("x-max-length-bytes", number(MISSES.1)),
                    ("x-overflow", text("reject-publish")),
                    ("x-delivery-limit", number(DELIVERIES)),
                    ("x-dead-letter-strategy", text("at-least-once")),
                    ("x-dead-letter-exchange", text(&dead.0)),
                    ("x-dead-letter-routing-key", text(&dead.1)),
                ]),
                None,
            ));
            parts.push(queue(
                Address::Work(origin.clone()),
                quorum(&[
                    ("x-message-ttl", milliseconds(self.work_ttl)),
                    ("x-max-length", number(WORK)),
                    ("x-overflow", text("reject-publish")),
                    ("x-delivery-limit", number(DELIVERIES)),
                ]),
                None,
            ));
            for pause in &self.pauses {
                parts.push(queue(
                    Address::Retry(origin.clone(), *pause),
                    quorum(&[
                        ("x-message-ttl", milliseconds(*pause)),
                        ("x-max-length", number(RETRIES)),
                        ("x-overflow", text("reject-publish")),
                        ("x-dead-letter-strategy", text("at-least-once")),
                        ("x-dead-letter-exchange", text("")),
                        ("x-dead-letter-routing-key", text(&misses)),
                    ]),
                    None,
                ));
            }
        }
        parts
    }

    /// Declares all of it, in vain never twice. What this user may not declare is taken
    /// as it is, if it is there. Says how much of it that was.
    pub(super) async fn declare(
        &self,
        connection: &Connection,
        patience: Duration,
    ) -> Result<usize, BrokerError> {
        let mut asking = Asking { connection, channel: None, patience };
        let mut taken = 0;
        for part in self.parts() {
            match asking.declare(&part, false).await? {
                Ok(()) => {}
                Err(No::Different(why)) => return Err(different(&part, why)),
                Err(No::Forbidden(why)) => match asking.declare(&part, true).await? {
                    Ok(()) => taken += 1,
                    Err(_) => return Err(forbidden(&self.name, &part, why)),
                },
                Err(No::Missing(why)) => return Err(BrokerError::Failed(why)),
            }
        }
        Ok(taken)
    }

    /// How everything was found, without making anything.
    pub(super) async fn check(
        &self,
        connection: &Connection,
        patience: Duration,
    ) -> Result<Vec<(Part, Found)>, BrokerError> {
        let mut asking = Asking { connection, channel: None, patience };
        let mut found = Vec::new();
        for part in self.parts() {
            let is = match asking.declare(&part, true).await? {
                Err(No::Missing(_)) => Found::Missing,
                Err(No::Forbidden(why) | No::Different(why)) => Found::Different(why),
                Ok(()) => match asking.declare(&part, false).await? {
                    Ok(()) => Found::Good,
                    Err(No::Forbidden(_)) => Found::Unverified,
                    Err(No::Missing(why) | No::Different(why)) => Found::Different(why),
                },
            };
            found.push((part, is));
        }
        Ok(found)
    }

    /// A queue for whoever reads here as long as it is connected, bound to its exchange.
    pub(super) async fn bind_own(
        &self,
        channel: &Channel,
        at: &Address,
        patience: Duration,
    ) -> Result<String, BrokerError> {
        let name = format!("{}.{:016x}", self.queue(at), fastrand::u64(..));
        let (exchange, key) = self.route(at);
        let (letters, bytes, time) = if *at == Address::Fills { FILLS } else { OUTCOMES };
        let arguments = table(&[
            // Whatever the virtual host makes by default.
            ("x-queue-type", text("classic")),
            ("x-max-length", number(letters)),
            ("x-max-length-bytes", number(bytes)),
            ("x-message-ttl", milliseconds(time)),
        ]);
        let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::exclusive() };
        let bound = async {
            channel.queue_declare(name.as_str().into(), options, arguments).await?;
            let (queue, exchange, key) =
                (name.as_str().into(), exchange.as_str().into(), key.as_str().into());
            channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        };
        match tokio::time::timeout(patience, bound).await {
            Err(_) => Err(BrokerError::Silent(patience)),
            Ok(Ok(())) => Ok(name),
            Ok(Err(error)) => match no(&error) {
                Some(No::Forbidden(why)) => {
                    let part = Part {
                        name: format!("{}.*", self.queue(at)),
                        is: Is::Exchange(ExchangeKind::Fanout),
                    };
                    Err(forbidden(&self.name, &part, why))
                }
                _ => Err(BrokerError::Failed(error.to_string())),
            },
        }
    }
}

/// What the broker has against a part.
enum No {
    Forbidden(String),
    Different(String),
    Missing(String),
}

/// What the broker has against what it was asked for, where it is that and not a
/// trouble of the connection.
fn no(error: &lapin::Error) -> Option<No> {
    let ErrorKind::ProtocolError(said) = error.kind() else { return None };
    let why = said.get_message().to_string();
    match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Some(No::Forbidden(why)),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::RESOURCELOCKED) => {
            Some(No::Different(why))
        }
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Some(No::Missing(why)),
        _ => None,
    }
}

/// What is wrong where the user of the connection may not do something.
pub(super) fn no_right(name: &str, error: &lapin::Error) -> Option<BrokerError> {
    match no(error) {
        Some(No::Forbidden(why)) => Some(BrokerError::Forbidden { what: why, cure: rights(name) }),
        _ => None,
    }
}

fn rights(name: &str) -> String {
    let name = name.replace('.', "\\.");
    format!(
        "rabbitmqctl set_permissions -p VHOST USER '^({name}\\.|amq\\.gen)' '^({name}\\.|amq\\.(gen|default))' \
         '^({name}\\.|amq\\.gen)' gives a user all that forebay needs"
    )
}

fn forbidden(name: &str, part: &Part, why: String) -> BrokerError {
    let what = format!("`{}` is not there, and this user lacks the right to configure it ({why})", part.name);
    let cure = format!("let a user who has it run `forebay broker declare`, or grant it: {}", rights(name));
    BrokerError::Forbidden { what, cure }
}

fn different(part: &Part, why: String) -> BrokerError {
    BrokerError::Different { name: part.name.clone(), why }
}

/// Asks the broker for one thing after the other; it closes a channel when it says no.
struct Asking<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
    patience: Duration,
}

impl Asking<'_> {
    async fn declare(&mut self, part: &Part, passive: bool) -> Result<Result<(), No>, BrokerError> {
        let patience = self.patience;
        let asked = tokio::time::timeout(patience, self.ask(part, passive)).await;
        match asked.map_err(|_| BrokerError::Silent(patience))? {
            Ok(()) => Ok(Ok(())),
            Err(error) => {
                self.channel = None;
                match no(&error) {
                    Some(no) => Ok(Err(no)),
                    None => Err(BrokerError::Failed(error.to_string())),
                }
            }
        }
    }

    async fn ask(&mut self, part: &Part, passive: bool) -> lapin::Result<()> {
        let channel = match &self.channel {
            Some(channel) => channel,
            None => self.channel.insert(self.connection.create_channel().await?),
        };
        let name = part.name.as_str();
        match &part.is {
            Is::Exchange(kind) => {
                let options =
                    ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(name.into(), kind.clone(), options, FieldTable::default()).await
            }
            Is::Queue { arguments, bound } => {
                let options = QueueDeclareOptions { passive, ..QueueDeclareOptions::durable() };
                channel.queue_declare(name.into(), options, arguments.clone()).await?;
                if let (Some((exchange, key)), false) = (bound, passive) {
                    let (exchange, key) = (exchange.as_str().into(), key.as_str().into());
                    let options = QueueBindOptions::default();
                    channel.queue_bind(name.into(), exchange, key, options, FieldTable::default()).await?;
                }
                Ok(())
            }
        }
    }
}

fn quorum(more: &[(&str, AMQPValue)]) -> FieldTable {
    let mut arguments = table(more);
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

fn table(arguments: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn number(number: i64) -> AMQPValue {
    AMQPValue::LongLongInt(number)
}

fn milliseconds(time: Duration) -> AMQPValue {
    number(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_an_origin_has_a_queue_and_every_name_its_beginning() {
        let pause = Duration::from_secs(4);
        let topology = Topology {
            name: "shop".to_owned(),
            origins: vec!["o".to_owned()],
            pauses: vec![pause],
            work_ttl: Duration::from_secs(5),
        };
        let names: Vec<String> = topology.parts().into_iter().map(|part| part.name).collect();
        assert!(names.iter().all(|name| name.starts_with("shop.")), "{names:?}");
        let o = || "o".to_owned();
        for at in [Address::Misses(o()), Address::Work(o()), Address::Retry(o(), pause), Address::Dead(o())] {
            assert_eq!(topology.route(&at), (String::new(), topology.queue(&at)));
            assert!(names.contains(&topology.queue(&at)), "{at:?} in {names:?}");
        }
        for at in [Address::Fills, Address::Outcomes(o())] {
            assert!(names.contains(&topology.route(&at).0), "{at:?} in {names:?}");
        }
    }
}
