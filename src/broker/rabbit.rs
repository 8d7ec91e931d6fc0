//! Queues at a RabbitMQ. What stands there is told in [`topology`](super::topology).
//!
//! One task keeps two connections, one for publishing and one for reading: a broker that
//! is short of memory stops to read what publishers send, acknowledgements included. When
//! either breaks, both are made anew, after a pause that grows and is never the same
//! twice, and everything is declared again.
//!
//! What always holds: nothing waits for the broker without a deadline. A letter that was
//! not confirmed is an error, and whoever published it does so again: it may arrive
//! twice. A subscription ends with its connection, and whoever reads subscribes again.
//! What is wrong is logged when it changes, and not at each attempt.
//!
//! What it never does: hold a letter back, or keep one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, Consumer, Event};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::queue::{Address, Delivery, Letter, Queues, Receipt, Subscription, Unpublished};
use super::topology::{Found, Part, Topology, no_right};
use super::{Broker, BrokerError, Link, Settings, within};
use crate::observe::counters::Counters;

/// Between two attempts to connect, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A link that lived for so long was a good one: the next attempt comes soon.
const GOOD: Duration = Duration::from_secs(10);
/// How often it is asked whether the link still lives, beside what the broker says.
const LOOK: Duration = Duration::from_secs(1);
/// What stands beside a letter's content must fit into one frame of 128 KiB.
const MOST_BESIDE: usize = 96 * 1024;

/// Queues at a broker; cheap to clone. The last one that is dropped ends the connections.
#[derive(Clone)]
pub struct RabbitQueues {
    shared: Arc<Shared>,
    _keeping: Arc<Keeping>,
}

struct Shared {
    broker: Broker,
    timeout: Duration,
    topology: Mutex<Arc<Topology>>,
    link: watch::Sender<Option<Arc<Linked>>>,
    /// Told with the reason when somebody finds that the link is of no more use.
    broken: Notify,
    said: Mutex<Said>,
    counters: Arc<Counters>,
}

/// What has been told in the log, so that it is told once.
#[derive(Default)]
struct Said {
    /// Why there is no link.
    trouble: Option<String>,
    /// The number of the link that is there, or was there last.
    link: u64,
    /// Why it is of no more use.
    broken: Option<String>,
    /// The queues that had no room when something was last published there.
    full: HashSet<String>,
    /// Why something could not be read.
    unread: HashMap<String, String>,
}

impl Said {
    /// Another link is there, of which nothing is known yet. Returns its number.
    fn links(&mut self) -> u64 {
        self.link += 1;
        self.broken = None;
        self.link
    }

    /// The link of this number is of no more use. Says whether that is the one that is
    /// there: what was published before comes to its end only when that one is made.
    fn breaks(&mut self, link: u64, why: String) -> bool {
        if link == self.link {
            self.broken.get_or_insert(why);
        }
        link == self.link
    }
}

/// The connections, while they are good.
struct Linked {
    number: u64,
    publishing: Connection,
    reading: Connection,
    lane: Channel,
    blocked: watch::Receiver<Option<String>>,
    over: watch::Sender<bool>,
}

struct Keeping(JoinHandle<()>);

impl Drop for Keeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RabbitQueues {
    /// Begins to connect, in the name of a node.
    pub fn start(settings: Settings, node: &str, topology: Topology, counters: Arc<Counters>) -> Self {
        let shared = Arc::new(Shared {
            timeout: settings.timeout,
            broker: Broker::new(settings, &format!("forebay {node} hidden")),
            topology: Mutex::new(Arc::new(topology)),
            link: watch::Sender::new(None),
            broken: Notify::new(),
            said: Mutex::new(Said { trouble: Some("not connected yet".to_owned()), ..Said::default() }),
            counters,
        });
        let keeping = tokio::spawn(Arc::clone(&shared).keep_linked());
        RabbitQueues { shared, _keeping: Arc::new(Keeping(keeping)) }
    }

    /// Other origins are hidden from now on; what they need is declared.
    pub fn set_origins(&self, origins: Vec<String>) {
        let mut topology = self.shared.topology.lock();
        if topology.origins != origins {
            *topology = Arc::new(Topology { origins, ..Topology::clone(&topology) });
            drop(topology);
            let link = self.shared.said.lock().link;
            self.shared.break_link(link, "other origins are hidden now".to_owned());
        }
    }

    /// Waits until there is a link.
    pub async fn linked(&self) {
        let _ = self.shared.link.subscribe().wait_for(Option::is_some).await;
    }

    async fn send(&self, to: Address, letter: Letter) -> Result<(), Unpublished> {
        let shared = &*self.shared;
        let linked = shared.linked().await?;
        if let Some(why) = linked.blocked.borrow().clone() {
            return Err(BrokerError::Blocked(why).into());
        }
        let (exchange, key) = shared.topology().route(&to);
        let properties = properties(&to, &letter)?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = async {
            let (exchange, key) = (exchange.as_str().into(), key.as_str().into());
            linked.lane.basic_publish(exchange, key, options, &letter.body, properties).await?.await
        };
        match tokio::time::timeout(shared.timeout, sent).await {
            Ok(Ok(Confirmation::Ack(None))) => {
                shared.had_room(&to, true);
                Ok(())
            }
            Ok(Ok(Confirmation::Ack(Some(_)))) => {
                if !matches!(to, Address::Fills | Address::Outcomes(_)) {
                    shared.break_link(linked.number, format!("the queue `{key}` is gone"));
                }
                Err(Unpublished::Unroutable)
            }
            Ok(Ok(Confirmation::Nack(_) | Confirmation::NotRequested)) => {
                shared.had_room(&to, false);
                Err(Unpublished::Full)
            }
            Ok(Err(error)) => {
                let error = no_right(&shared.topology().name, &error)
                    .unwrap_or_else(|| BrokerError::Failed(error.to_string()));
                shared.break_link(linked.number, error.to_string());
                Err(error.into())
            }
            Err(_) => {
                let blocked = linked.blocked.borrow().clone();
                let error = blocked.map_or(BrokerError::Silent(shared.timeout), BrokerError::Blocked);
                if !matches!(error, BrokerError::Blocked(_)) {
                    shared.break_link(linked.number, error.to_string());
                }
                Err(error.into())
            }
        }
    }

    async fn read(&self, from: Address, ahead: u16) -> Result<Box<dyn Subscription>, BrokerError> {
        let shared = &*self.shared;
        let linked = shared.linked().await?;
        let name = shared.topology().queue(&from);
        let opened = self.open(&linked, &from, ahead).await;
        let mut said = shared.said.lock();
        match opened {
            Ok((channel, consumer)) => {
                if said.unread.remove(&name).is_some() {
                    tracing::info!(target: "forebay::broker", "{name} is read again");
                }
                let over = linked.over.subscribe();
                let queues = self.clone();
                shared.counters.broker_reading.up();
                Ok(Box::new(Reading { consumer, _channel: channel, over, from, queues }))
            }
            Err(error) => {
                let why = error.to_string();
                if said.unread.get(&name) != Some(&why) {
                    tracing::error!(target: "forebay::broker", "{name} cannot be read: {why}");
                    said.unread.insert(name, why);
                }
                Err(error)
            }
        }
    }

    async fn open(
        &self,
        linked: &Linked,
        from: &Address,
        ahead: u16,
    ) -> Result<(Channel, Consumer), BrokerError> {
        let Shared { timeout, .. } = *self.shared;
        let topology = self.shared.topology();
        let channel = within(timeout, linked.reading.create_channel()).await?;
        // For each consumer of its own, and not for the channel.
        within(timeout, channel.basic_qos(ahead.max(1), BasicQosOptions::default())).await?;
        let queue = match from {
            Address::Fills | Address::Outcomes(_) => topology.bind_own(&channel, from, timeout).await?,
            Address::Misses(_) | Address::Work(_) | Address::Retry(..) | Address::Dead(_) => {
                topology.queue(from)
            }
        };
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumed = channel.basic_consume(queue.as_str().into(), "".into(), options, arguments);
        match tokio::time::timeout(timeout, consumed).await {
            Ok(Ok(consumer)) => Ok((channel, consumer)),
            Ok(Err(error)) => {
                Err(no_right(&topology.name, &error)
                    .unwrap_or_else(|| BrokerError::Failed(error.to_string())))
            }
            Err(_) => Err(BrokerError::Silent(timeout)),
        }
    }
}

impl Shared {
    fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.lock())
    }

    /// The link; waits for it for a moment.
    async fn linked(&self) -> Result<Arc<Linked>, BrokerError> {
        let mut link = self.link.subscribe();
        let wait = link.wait_for(Option::is_some);
        let linked = match tokio::time::timeout(self.timeout, wait).await {
            Ok(Ok(linked)) => linked.clone(),
            _ => None,
        };
        let trouble = || self.said.lock().trouble.clone().unwrap_or_else(|| "not connected".to_owned());
        linked.ok_or_else(|| BrokerError::Away(trouble()))
    }

    fn break_link(&self, link: u64, why: String) {
        if self.said.lock().breaks(link, why) {
            self.broken.notify_one();
        }
    }

    /// Whether a queue had room for a letter.
    fn had_room(&self, to: &Address, room: bool) {
        let full = &mut self.said.lock().full;
        if room && full.is_empty() {
            return;
        }
        let name = self.topology.lock().queue(to);
        if room && full.remove(&name) {
            tracing::info!(target: "forebay::broker", "{name} has room again");
        } else if !room && full.insert(name.clone()) {
            tracing::warn!(target: "forebay::broker", "{name} is full: what is published there is refused");
        }
    }

    /// Connects, and again whenever the link breaks.
    async fn keep_linked(self: Arc<Self>) {
        let mut pause = RETRY.0;
        loop {
            let number = self.said.lock().links();
            let began = Instant::now();
            let why = match self.connect(number).await {
                Ok((linked, blocked)) => {
                    self.counters.broker_connected.set(1);
                    if self.said.lock().trouble.take().is_some() {
                        tracing::info!(target: "forebay::broker", "connected to the broker at {}", self.broker.last());
                    }
                    let linked = Arc::new(linked);
                    self.link.send_replace(Some(Arc::clone(&linked)));
                    let why = self.watch(&linked, blocked).await;
                    self.link.send_replace(None);
                    self.counters.broker_connected.set(0);
                    self.counters.broker_blocked.set(0);
                    self.counters.broker_links_lost.up();
                    linked.over.send_replace(true);
                    // A connection on which nothing arrives any more is not waited for.
                    tokio::spawn(async move { linked.close().await });
                    if began.elapsed() > GOOD {
                        pause = RETRY.0;
                    }
                    why
                }
                Err(error) => error.to_string(),
            };
            {
                let mut said = self.said.lock();
                if said.trouble.as_ref() != Some(&why) {
                    tracing::warn!(target: "forebay::broker", "not connected to the broker: {why}");
                    said.trouble = Some(why);
                }
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    async fn connect(&self, number: u64) -> Result<(Linked, watch::Sender<Option<String>>), BrokerError> {
        let Link { connection: publishing, .. } = self.broker.connect().await?;
        let Link { connection: reading, .. } = self.broker.again().await?;
        let topology = self.topology();
        let taken = topology.declare(&publishing, self.timeout).await?;
        if taken > 0 {
            tracing::debug!(target: "forebay::broker", "{taken} queues and exchanges are taken as they are");
        }
        let lane = within(self.timeout, publishing.create_channel()).await?;
        within(self.timeout, lane.confirm_select(ConfirmSelectOptions::default())).await?;
        let (tell, blocked) = watch::channel(None);
        Ok((Linked { number, publishing, reading, lane, blocked, over: watch::Sender::new(false) }, tell))
    }

    /// Returns why the link is of no more use, as soon as it is.
    async fn watch(&self, linked: &Linked, tell: watch::Sender<Option<String>>) -> String {
        let mut publishing = std::pin::pin!(linked.publishing.events_listener());
        let mut reading = std::pin::pin!(linked.reading.events_listener());
        let mut ticker = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = self.broken.notified() => {
                    if let Some(why) = self.said.lock().broken.take() {
                        return why;
                    }
                }
                event = publishing.next() => match event {
                    Some(Event::ConnectionBlocked(why)) => {
                        tracing::warn!(target: "forebay::broker", "the broker takes no messages for now: {why}");
                        self.counters.broker_blocked.set(1);
                        tell.send_replace(Some(why));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!(target: "forebay::broker", "the broker takes messages again");
                        self.counters.broker_blocked.set(0);
                        tell.send_replace(None);
                    }
                    Some(Event::Error(error)) => return error.to_string(),
                    Some(_) => {}
                    None => return "the connection has ended".to_owned(),
                },
                event = reading.next() => match event {
                    Some(Event::Error(error)) => return error.to_string(),
                    Some(_) => {}
                    None => return "the connection has ended".to_owned(),
                },
                _ = ticker.tick() => {
                    let connected = linked.publishing.status().connected() && linked.reading.status().connected();
                    if !connected || !linked.lane.status().connected() {
                        return "the connection has ended".to_owned();
                    }
                }
            }
        }
    }
}

impl Linked {
    async fn close(&self) {
        for connection in [&self.publishing, &self.reading] {
            let closed = connection.close(200, "made anew".into());
            let _ = tokio::time::timeout(Duration::from_secs(1), closed).await;
        }
    }
}

impl Queues for RabbitQueues {
    fn publish(&self, to: Address, letter: Letter) -> BoxFuture<'_, Result<(), Unpublished>> {
        self.send(to, letter).boxed()
    }

    fn subscribe(
        &self,
        to: Address,
        ahead: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BrokerError>> {
        self.read(to, ahead).boxed()
    }

    fn look(&self, at: Address, most: usize) -> BoxFuture<'_, Result<Vec<Letter>, BrokerError>> {
        async move {
            let shared = &*self.shared;
            let linked = shared.linked().await?;
            let queue = shared.topology().queue(&at);
            let channel = within(shared.timeout, linked.reading.create_channel()).await?;
            let mut letters = Vec::new();
            while letters.len() < most {
                let got = channel.basic_get(queue.as_str().into(), BasicGetOptions::default());
                let Some(got) = within(shared.timeout, got).await? else { break };
                letters.push(letter(got.delivery).0);
            }
            // They go back to their places with the channel.
            within(shared.timeout, channel.close(200, "looked".into())).await?;
            Ok(letters)
        }
        .boxed()
    }
}

/// What stands beside the content of a letter.
fn properties(to: &Address, letter: &Letter) -> Result<BasicProperties, BrokerError> {
    let beside: usize = letter.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    if beside > MOST_BESIDE {
        return Err(BrokerError::Failed(format!("{beside} bytes of head are too many to go through it")));
    }
    let mut headers = FieldTable::default();
    for (name, value) in &letter.headers {
        headers.insert(name.as_str().into(), AMQPValue::LongString(value.as_str().into()));
    }
    let mut properties = BasicProperties::default()
        .with_message_id(letter.id.as_str().into())
        .with_content_type(letter.content_type.as_str().into())
        .with_app_id("forebay".into())
        // Durable.
        .with_delivery_mode(2)
        .with_headers(headers);
    // What expires among misses would be a dead letter; the queues of retries have their
    // own time; dead letters are kept.
    let expires = matches!(to, Address::Work(_) | Address::Fills | Address::Outcomes(_));
    if let Some(time) = letter.expires.filter(|_| expires) {
        properties = properties.with_expiration(time.as_millis().to_string().into());
    }
    Ok(properties)
}

/// Reads for as long as the link lives.
struct Reading {
    consumer: Consumer,
    /// The subscription ends with its channel.
    _channel: Channel,
    over: watch::Receiver<bool>,
    from: Address,
    queues: RabbitQueues,
}

impl Subscription for Reading {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>> {
        async move {
            let delivery = tokio::select! {
                biased;
                delivery = self.consumer.next() => delivery,
                _ = self.over.wait_for(|over| *over) => None,
            };
            match delivery {
                Some(Ok(delivery)) => Ok(self.deliver(delivery)),
                Some(Err(error)) => Err(BrokerError::Failed(error.to_string())),
                None => Err(BrokerError::Ended),
            }
        }
        .boxed()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.queues.shared.counters.broker_reading.down();
    }
}

impl Reading {
    fn deliver(&self, delivery: lapin::message::Delivery) -> Delivery {
        let acker = delivery.acker.clone();
        let (letter, returned) = letter(delivery);
        // Work that nobody takes is dropped, so that queue has no way to the dead letters.
        let buried = match &self.from {
            Address::Work(origin) => {
                Some((self.queues.clone(), Address::Dead(origin.clone()), letter.clone()))
            }
            _ => None,
        };
        let receipt = RabbitReceipt { acker: Some(acker), buried, timeout: self.queues.shared.timeout };
        Delivery { letter, returned, receipt: Box::new(receipt) }
    }
}

/// What was delivered, and how often before.
fn letter(delivery: lapin::message::Delivery) -> (Letter, u32) {
    let text = |text: &Option<lapin::types::ShortString>| {
        text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
    };
    let properties = &delivery.properties;
    let mut headers = Vec::new();
    let mut returned = u32::from(delivery.redelivered);
    for (name, value) in properties.headers().iter().flat_map(|headers| headers.inner()) {
        match (name.as_str(), value) {
            ("x-delivery-count", value) => returned = returned.max(count(value)),
            (name, AMQPValue::LongString(value)) => {
                headers.push((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
            }
            (name, AMQPValue::ShortString(value)) => {
                headers.push((name.to_owned(), value.as_str().to_owned()));
            }
            _ => {}
        }
    }
    let letter = Letter {
        id: text(properties.message_id()),
        content_type: text(properties.content_type()),
        headers,
        body: delivery.data.into(),
        expires: None,
    };
    (letter, returned)
}

fn count(value: &AMQPValue) -> u32 {
    let count = match value {
        AMQPValue::LongLongInt(count) => *count,
        AMQPValue::LongInt(count) => i64::from(*count),
        AMQPValue::LongUInt(count) => i64::from(*count),
        AMQPValue::ShortInt(count) => i64::from(*count),
        AMQPValue::ShortUInt(count) => i64::from(*count),
        AMQPValue::ShortShortInt(count) => i64::from(*count),
        AMQPValue::ShortShortUInt(count) => i64::from(*count),
        _ => 0,
    };
    u32::try_from(count).unwrap_or_default()
}

struct RabbitReceipt {
    /// None when it was settled.
    acker: Option<Acker>,
    /// Where it goes when it is refused, if the queue itself does not know.
    buried: Option<(RabbitQueues, Address, Letter)>,
    timeout: Duration,
}

impl Receipt for RabbitReceipt {
    fn acknowledge(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>> {
        let (acker, timeout) = (self.acker.take(), self.timeout);
        async move {
            let Some(acker) = acker else { return Ok(()) };
            match within(timeout, acker.ack(BasicAckOptions::default())).await? {
                true => Ok(()),
                false => Err(BrokerError::Ended),
            }
        }
        .boxed()
    }

    fn refuse(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BrokerError>> {
        async move {
            if let Some((queues, dead, letter)) = self.buried.take() {
                // Otherwise it is given back, and refused again.
                if let Err(unpublished) = queues.publish(dead, letter).await {
                    return Err(BrokerError::Failed(unpublished.to_string()));
                }
                return self.acknowledge().await;
            }
            let Some(acker) = self.acker.take() else { return Ok(()) };
            let options = BasicNackOptions { requeue: false, ..BasicNackOptions::default() };
            within(self.timeout, acker.nack(options)).await.map(drop)
        }
        .boxed()
    }
}

impl Drop for RabbitReceipt {
    fn drop(&mut self) {
        let Some(acker) = self.acker.take() else { return };
        // When its channel has ended the broker knows already.
        if acker.usable()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let timeout = self.timeout;
            runtime.spawn(async move {
                let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                let _ = within(timeout, acker.nack(options)).await;
            });
        }
    }
}

/// Declares everything at the broker. Says how much of it was taken as it is, because
/// this user may not declare it.
pub async fn declare(settings: Settings, topology: &Topology) -> Result<usize, BrokerError> {
    let timeout = settings.timeout;
    let link = Broker::new(settings, "forebay broker declare").connect().await?;
    let declared = topology.declare(&link.connection, timeout).await;
    link.close().await;
    declared
}

/// Says how everything stands at the broker, and makes nothing.
pub async fn check(settings: Settings, topology: &Topology) -> Result<Vec<(Part, Found)>, BrokerError> {
    let timeout = settings.timeout;
    let link = Broker::new(settings, "forebay broker check").connect().await?;
    let found = topology.check(&link.connection, timeout).await;
    link.close().await;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_on_a_link_that_is_over_does_not_break_the_next_one() {
        let mut said = Said::default();
        let first = said.links();
        assert!(said.breaks(first, "silent".to_owned()));
        assert!(said.breaks(first, "silent once more".to_owned()));
        assert_eq!(said.broken.as_deref(), Some("silent"));
        let next = said.links();
        assert!(!said.breaks(first, "silent".to_owned()));
        assert_eq!(said.broken, None);
        assert!(said.breaks(next, "silent".to_owned()));
    }
}
