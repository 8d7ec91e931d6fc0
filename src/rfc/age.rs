//! The age of a response (RFC 9111 4.2.3).
//!
//! What always holds: an age is never negative and never overflows; a clock that
//! is set back makes nothing younger than it was on arrival.

use super::cache_control::delta_seconds;
use super::date;
use super::fields::Fields;
use crate::clock::Wall;

/// The corrected initial age in seconds: what the origin's clock, the caches on
/// the way and the journey itself say of it.
pub fn initial_age(fields: &Fields, requested: Wall, received: Wall) -> u64 {
    let date = fields.get("date").and_then(|text| date::parse(text, received));
    let apparent = date.map_or(0, |date| received.secs().saturating_sub(date));
    let response_delay = received.since(requested).as_secs();
    let corrected = given(fields).unwrap_or(0).saturating_add(response_delay);
    apparent.max(corrected)
}

/// The `Age` field in seconds: the first member of the first line, if it is a number
/// (RFC 9111 5.1). None where there is no such number.
pub fn given(fields: &Fields) -> Option<u64> {
    fields.members("age").next().and_then(delta_seconds)
}

/// The current age in milliseconds.
pub fn current_age_millis(initial_seconds: u64, received: Wall, now: Wall) -> u64 {
    let resident = u64::try_from(now.since(received).as_millis()).unwrap_or(u64::MAX);
    initial_seconds.saturating_mul(1000).saturating_add(resident)
}
