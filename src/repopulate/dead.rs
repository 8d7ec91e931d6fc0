//! Miss events that were given up: what is shown of them, and how they are told once
//! more.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::announce;
use super::event::MissEvent;
use super::pacer::View;
use super::token::{Claim, Secrets};
use crate::broker::{Address, Letter, Queues};
use crate::clock::Wall;
use crate::invalidate::Moment;
use crate::rfc::date;

/// How hidden origins stand, as a node shows it.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct QueueView {
    /// Keys that are wanted, or held down because they cannot be filled.
    pub leases: u64,
    /// For how long the key has been wanted that has been wanted for longest, in seconds.
    pub oldest_wanted_seconds: u64,
    /// How long a fill takes as a rule, in milliseconds.
    pub usual_fill_ms: u64,
    /// About how many keys are known to exist.
    pub known_keys: u64,
    /// Miss events that wait to be published.
    pub backlog: u64,
    /// The hidden origins whose pacers are in this process.
    pub origins: Vec<OriginView>,
}

/// How one hidden origin stands.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct OriginView {
    /// Its name.
    pub origin: String,
    /// How it is asked, and what waits.
    #[serde(flatten)]
    pub pace: View,
}

/// A miss event that was given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct DeadLetter {
    /// Its id, by which it is told once more.
    pub id: String,
    /// What was wanted; empty where that cannot be read.
    pub url: String,
    /// When it was told.
    pub time: String,
    /// By how many requests it was missed.
    pub misses: u64,
    /// Why it was given up.
    pub why: String,
}

/// How long it takes to know that nothing more is delivered.
const SILENCE: Duration = Duration::from_millis(500);
/// The most that are looked through at once.
const MOST: u16 = 10_000;

impl DeadLetter {
    fn of(letter: &Letter) -> Self {
        let why = letter.header("reason").unwrap_or("it could not be read or delivered").to_owned();
        match MissEvent::read(&letter.body) {
            Ok(event) => DeadLetter {
                id: letter.id.clone(),
                url: event.wanted.url(),
                time: date::rfc3339(event.time),
                misses: event.misses,
                why,
            },
            Err(bad) => {
                let (url, time) = (String::new(), String::new());
                DeadLetter { id: letter.id.clone(), url, time, misses: 0, why: format!("{why}: {bad}") }
            }
        }
    }
}

/// The events of an origin that were given up, the oldest first.
pub async fn list(queues: &dyn Queues, origin: &str, most: usize) -> Result<Vec<DeadLetter>, String> {
    let letters = queues.look(Address::Dead(origin.to_owned()), most).await;
    Ok(letters.map_err(|error| error.to_string())?.iter().map(DeadLetter::of).collect())
}

/// Tells those of these ids once more, or all that can be read; as if they had been
/// missed now. Returns how many that were.
pub async fn replay(
    queues: &dyn Queues,
    origin: &str,
    ids: &[String],
    (secrets, moment): (&Secrets, Moment),
    (now, ttl): (Wall, Duration),
) -> Result<usize, String> {
    let dead = Address::Dead(origin.to_owned());
    let mut reading = queues.subscribe(dead, MOST).await.map_err(|error| error.to_string())?;
    let (mut told, mut passed) = (0, Vec::new());
    while let Ok(next) = tokio::time::timeout(SILENCE, reading.next()).await {
        let delivery = next.map_err(|error| error.to_string())?;
        let meant = ids.is_empty() || ids.contains(&delivery.letter.id);
        match MissEvent::read(&delivery.letter.body) {
            Ok(event) if meant => {
                let expires = now.plus(ttl);
                let claim = Claim {
                    wanted: event.wanted.clone(),
                    moment: moment.clone(),
                    expires_ms: expires.plus(announce::GRACE).millis(),
                    response: None,
                };
                let token = secrets.sign(&claim);
                let event =
                    MissEvent { attempts: 0, time: now, expires, token, moment: moment.clone(), ..event };
                let letter = announce::letter(&event, now);
                let sent = queues.publish(Address::Misses(origin.to_owned()), letter).await;
                sent.map_err(|unpublished| format!("{unpublished}, after {told} of them"))?;
                // If this is lost it is dead as well as told, which does no harm.
                let _ = delivery.receipt.acknowledge().await;
                told += 1;
            }
            // They go back together at the end, so that none comes twice meanwhile.
            _ => passed.push(delivery.receipt),
        }
        if passed.len() >= usize::from(MOST) {
            break;
        }
    }
    // Each is put before those that wait, so the oldest is to be the last.
    while let Some(receipt) = passed.pop() {
        drop(receipt);
    }
    Ok(told)
}
