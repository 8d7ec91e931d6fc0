//! Streams: logs at the broker that everybody reads at their own place.
//!
//! A message's place is its offset. The broker tells it with the delivery, never
//! with the confirmation; and a confirmed message has reached the broker, which
//! does not mean its disk.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, Consumer};

use super::{BrokerError, Link, within};

/// A stream as it is made where there is none yet. One that is there is taken as it
/// is: the operator may have made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamSettings {
    /// Its name.
    pub name: String,
    /// How long a message is kept at least as a rule.
    pub keep: Duration,
    /// How many bytes of messages are kept.
    pub keep_bytes: u64,
}

/// A stream to append to and to read.
pub struct Stream {
    publisher: Channel,
    name: String,
    timeout: Duration,
}

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// With the oldest message that there is.
    First,
    /// With the next one to come.
    Next,
    /// With the message at this offset.
    Offset(u64),
}

/// A message of a stream.
#[derive(Debug)]
pub struct Message {
    /// Its place.
    pub offset: u64,
    /// Its content.
    pub data: Vec<u8>,
}

/// Reads a stream.
pub struct Reader {
    channel: Channel,
    consumer: Consumer,
    unacknowledged: u16,
    timeout: Duration,
}

/// How many messages the broker sends ahead.
const AHEAD: u16 = 256;
/// After how many it is told to send more.
const MORE: u16 = 64;
/// The broker forgets whole segments; so there are several.
const SEGMENTS: u64 = 8;
/// The largest segment.
const MOST_SEGMENT: u64 = 100 * 1024 * 1024;

impl Link {
    /// The stream of this name, made if there is none.
    pub async fn stream(&self, settings: &StreamSettings) -> Result<Stream, BrokerError> {
        if !self.has_queue(&settings.name).await? {
            let mut arguments = FieldTable::default();
            let number = |number: u64| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
            let text = |text: String| AMQPValue::LongString(LongString::from(text));
            arguments.insert("x-queue-type".into(), text("stream".to_owned()));
            arguments.insert("x-max-age".into(), text(format!("{}s", settings.keep.as_secs().max(1))));
            arguments.insert("x-max-length-bytes".into(), number(settings.keep_bytes));
            let segment = (settings.keep_bytes / SEGMENTS).clamp(1, MOST_SEGMENT);
            arguments.insert("x-stream-max-segment-size-bytes".into(), number(segment));
            let name = settings.name.as_str().into();
            let channel = self.channel().await?;
            let declared = channel.queue_declare(name, QueueDeclareOptions::durable(), arguments);
            within(self.timeout, declared).await?;
        }
        let publisher = self.channel().await?;
        within(self.timeout, publisher.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Stream { publisher, name: settings.name.clone(), timeout: self.timeout })
    }

    async fn has_queue(&self, name: &str) -> Result<bool, BrokerError> {
        // Where there is none the broker closes the channel.
        let channel = self.channel().await?;
        let options = QueueDeclareOptions::durable().passive();
        let asked = channel.queue_declare(name.into(), options, FieldTable::default());
        match within(self.timeout, asked).await {
            Ok(_) => Ok(true),
            Err(BrokerError::Failed(why)) if why.contains("NOT_FOUND") || why.contains("NOT-FOUND") => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Stream {
    /// Appends a message, and returns when the broker has confirmed it. Without a
    /// confirmation it may be there or not.
    pub async fn append(&self, data: &[u8]) -> Result<(), BrokerError> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            // Durable.
            .with_delivery_mode(2);
        let sent = async {
            let name = self.name.as_str().into();
            self.publisher.basic_publish("".into(), name, options, data, properties).await?.await
        };
        match within(self.timeout, sent).await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(BrokerError::Failed("there is no such stream".to_owned())),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(BrokerError::Failed("it did not take the message".to_owned()))
            }
        }
    }

    /// Begins to read. What is appended after this returns is delivered.
    pub async fn read(&self, link: &Link, from: From) -> Result<Reader, BrokerError> {
        let channel = link.channel().await?;
        within(self.timeout, channel.basic_qos(AHEAD, BasicQosOptions::default())).await?;
        let mut arguments = FieldTable::default();
        let place = match from {
            From::First => AMQPValue::LongString("first".into()),
            From::Next => AMQPValue::LongString("next".into()),
            From::Offset(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
        };
        arguments.insert("x-stream-offset".into(), place);
        let name = self.name.as_str().into();
        let consumed = channel.basic_consume(name, "".into(), BasicConsumeOptions::default(), arguments);
        let consumer = within(self.timeout, consumed).await?;
        Ok(Reader { channel, consumer, unacknowledged: 0, timeout: self.timeout })
    }
}

impl Reader {
    /// The next message, whenever it comes. Nothing is lost when this is dropped
    /// while it waits.
    pub async fn next(&mut self) -> Result<Message, BrokerError> {
        if self.unacknowledged >= MORE {
            let options = BasicAckOptions { multiple: true };
            // Zero: all that have been delivered.
            within(self.timeout, self.channel.basic_ack(0, options)).await?;
            self.unacknowledged = 0;
        }
        let delivery = match self.consumer.next().await {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return Err(BrokerError::Failed(error.to_string())),
            None => return Err(BrokerError::Ended),
        };
        self.unacknowledged += 1;
        let headers = delivery.properties.headers().as_ref();
        let offset = headers.and_then(|headers| headers.inner().get("x-stream-offset"));
        match offset.and_then(AMQPValue::as_long_long_int).map(u64::try_from) {
            Some(Ok(offset)) => Ok(Message { offset, data: delivery.data }),
            _ => Err(BrokerError::NoOffset),
        }
    }
}
