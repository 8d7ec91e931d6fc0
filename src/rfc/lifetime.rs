//! The freshness lifetime of a response (RFC 9111 4.2.1 and 4.2.2).

use http::StatusCode;

use super::cache_control::{MOST_SECONDS, ResponseDirectives};
use super::date;
use super::fields::Fields;
use crate::clock::Wall;

/// Where a lifetime comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// `Expires`, be it a date or not.
    Expires,
    /// The time since `Last-Modified`.
    Heuristic,
    /// Nothing says anything: it is stale at once.
    None,
}

/// How long a response is fresh, counted from age zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    /// Seconds, as many as can be counted at most (RFC 9111 1.2.2).
    pub seconds: u32,
    /// Where they come from.
    pub source: Source,
}

/// How much freshness the heuristic gives (RFC 9111 4.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heuristic {
    /// So many percent of the time since `Last-Modified`.
    pub percent: u32,
    /// At most so many seconds.
    pub max_seconds: u64,
}

impl Lifetime {
    fn new(seconds: u64, source: Source) -> Self {
        Lifetime { seconds: u32::try_from(seconds).unwrap_or(u32::MAX), source }
    }

    /// Whether the response itself says it.
    pub fn is_explicit(&self) -> bool {
        !matches!(self.source, Source::Heuristic | Source::None)
    }
}

/// The lifetime of a response in a shared cache, received at `received`.
pub fn lifetime(
    status: StatusCode,
    fields: &Fields,
    directives: &ResponseDirectives,
    heuristic: &Heuristic,
    received: Wall,
) -> Lifetime {
    if let Some(seconds) = directives.s_maxage {
        return Lifetime::new(seconds, Source::SMaxage);
    }
    if let Some(seconds) = directives.max_age {
        return Lifetime::new(seconds, Source::MaxAge);
    }
    let date = fields.get("date").and_then(|text| date::parse(text, received)).unwrap_or(received.secs());
    if let Some(seconds) = until_expiry(fields, date, received) {
        return Lifetime::new(seconds, Source::Expires);
    }
    let modified = fields.get("last-modified").and_then(|text| date::parse(text, received));
    match modified {
        Some(modified) if is_heuristically_cacheable(status) || directives.public => {
            let age = date.saturating_sub(modified).min(MOST_SECONDS * 16);
            let seconds = (age * u64::from(heuristic.percent) / 100).min(heuristic.max_seconds);
            Lifetime::new(seconds, Source::Heuristic)
        }
        _ => Lifetime::new(0, Source::None),
    }
}

/// Whether the response itself says how long it is fresh.
pub fn is_explicit(fields: &Fields, directives: &ResponseDirectives) -> bool {
    directives.s_maxage.is_some() || directives.max_age.is_some() || fields.contains("expires")
}

/// Statuses that are cacheable without explicit freshness (RFC 9110 15.1). 206 is
/// among them, but partial content is not stored here.
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Seconds from `date` to `Expires`. An invalid date, or several that differ,
/// mean that the response has expired already (RFC 9111 5.3).
fn until_expiry(fields: &Fields, date: u64, received: Wall) -> Option<u64> {
    let mut lines = fields.get_all("expires");
    let first = lines.next()?;
    if lines.any(|line| line != first) {
        return Some(0);
    }
    let expires = date::parse(first, received).unwrap_or(0);
    Some(expires.saturating_sub(date).min(MOST_SECONDS))
}
