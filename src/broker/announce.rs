//! Announcements: what is said reaches whoever is there, and nobody else ever.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Consumer, ExchangeKind};

use super::{BrokerError, Link, within};

/// Announcements that wait for a listener at the broker; older ones are dropped.
const WAITING: i32 = 10_000;
/// How long they wait, in milliseconds.
const WAITING_MS: i32 = 30_000;

/// Says something to everybody, the own node among them.
pub struct Announcer {
    channel: Channel,
    exchange: String,
    timeout: Duration,
}

/// Hears what is said.
pub struct Listener {
    consumer: Consumer,
    /// The subscription ends with its channel.
    _channel: Channel,
}

impl Link {
    /// To say and hear what is announced under this name.
    pub async fn announcements(&self, exchange: &str) -> Result<(Announcer, Listener), BrokerError> {
        let timeout = self.timeout;
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let arguments = FieldTable::default();
        let declared = channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, arguments);
        within(timeout, declared).await?;
        let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::exclusive() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(WAITING));
        arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(WAITING_MS));
        let queue = within(timeout, channel.queue_declare("".into(), options, arguments)).await?;
        let name = queue.name().clone();
        let bound = channel.queue_bind(
            name.clone(),
            exchange.into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(timeout, bound).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let consumed = channel.basic_consume(name, "".into(), options, FieldTable::default());
        let consumer = within(timeout, consumed).await?;
        let announcer = Announcer { channel: self.channel().await?, exchange: exchange.to_owned(), timeout };
        Ok((announcer, Listener { consumer, _channel: channel }))
    }
}

impl Announcer {
    /// Says it. Nobody confirms it.
    pub async fn announce(&self, data: &[u8]) -> Result<(), BrokerError> {
        let exchange = self.exchange.as_str().into();
        let options = BasicPublishOptions::default();
        let said = self.channel.basic_publish(exchange, "".into(), options, data, BasicProperties::default());
        within(self.timeout, said).await.map(drop)
    }
}

impl Listener {
    /// The next announcement.
    pub async fn next(&mut self) -> Result<Vec<u8>, BrokerError> {
        match self.consumer.next().await {
            Some(Ok(delivery)) => Ok(delivery.data),
            Some(Err(error)) => Err(BrokerError::Failed(error.to_string())),
            None => Err(BrokerError::Ended),
        }
    }
}
