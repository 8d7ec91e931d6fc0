//! Whoever may write to the broker may not write to the cache.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::{Place, fresh, until_hit};
use crate::harness::rabbit::shared;

#[tokio::test]
async fn what_nobody_can_read_goes_to_the_dead_letters() {
    let place = Place::new(shared().await).await;
    let worker = place.worker("w").await;
    let poison = b"{ no event";
    place.publish("", &place.queue("misses.o"), BasicProperties::default(), poison).await;
    worker.until("a refusal", |counters| counters.events_refused.get() == 1).await;
    place.until_waiting("dead.o", 1).await;
    let dead = place.take("dead.o").await.expect("a dead letter");
    assert_eq!(dead.delivery.data, poison);
    let headers = dead.delivery.properties.headers().clone().expect("headers");
    let reason = headers.inner().get("x-first-death-reason").and_then(AMQPValue::as_long_string);
    assert_eq!(reason.map(|reason| reason.to_string()), Some("rejected".to_owned()));
    place.publish("", &place.queue("work.o"), BasicProperties::default(), poison).await;
    worker.until("another", |counters| counters.events_refused.get() == 2).await;
    place.until_waiting("dead.o", 1).await;
    // And it has done no harm.
    let edge = place.edge("a").await;
    place.origin.always("/", fresh("good"));
    assert_eq!(until_hit(&edge, "/").await.text(), "good");
}

#[tokio::test]
async fn a_forged_fill_is_refused_and_one_that_comes_again_does_no_harm() {
    let place = Place::new(shared().await).await;
    let (edge, _worker) = (place.edge("a").await, place.worker("w").await);
    // Somebody listens at the broker.
    let channel = place.channel().await;
    let queue = channel.queue_declare("".into(), QueueDeclareOptions::exclusive(), FieldTable::default());
    let queue = queue.await.expect("a queue").name().clone();
    let fills = place.queue("fills");
    let bound = channel.queue_bind(
        queue.clone(),
        fills.as_str().into(),
        "".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.expect("bound");
    place.origin.always("/", fresh("true"));
    assert_eq!(until_hit(&edge, "/").await.text(), "true");
    let heard = async {
        loop {
            let heard =
                channel.basic_get(queue.clone(), BasicGetOptions { no_ack: true }).await.expect("asked");
            if let Some(heard) = heard {
                return heard.delivery;
            }
        }
    };
    let heard = edge.transcript.within("a fill", heard).await;
    assert_eq!(heard.data, b"true");
    let forged = heard.properties.clone();
    place.publish(&fills, "", forged.clone(), b"evil").await;
    edge.until("a refusal", |counters| counters.fills_refused_token.get() == 1).await;
    let bare = BasicProperties::default().with_content_type("application/vnd.forebay.fill".into());
    place.publish(&fills, "", bare, b"evil").await;
    edge.until("another", |counters| counters.fills_refused_token.get() == 2).await;
    let kept = edge.counters().fills_kept.get();
    place.publish(&fills, "", forged, b"true").await;
    edge.until("it again", |counters| {
        counters.fills_kept.get() + counters.fills_refused_older.get() == kept + 1
    })
    .await;
    assert_eq!(edge.get("/").await.text(), "true");
}
