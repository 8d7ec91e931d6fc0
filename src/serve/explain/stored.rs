//! What is stored under the key of a request, and how each response there stands to it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::verdict::Deciding;
use super::{Said, by, named, says, shown, span};
use crate::policy::admit::spoken_by;
use crate::policy::decide::{Standing, Windows, is_worth_keeping};
use crate::rfc::lifetime::Source;
use crate::rfc::validator;
use crate::rfc::vary::normalised;
use crate::store::{Invalidation, Purged};
use crate::stored::StoredResponse;

/// The most variants that are shown; a key may have as many as `store.max_variants`.
const MOST_VARIANTS: usize = 100;
/// The most parts of a response, and the most tags, that are shown.
const MOST_SHOWN: usize = 32;

/// A stored response, as it stands to the request.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Variant {
    /// Whether the request selects it: of those that match, and that no purge has ended, one with
    /// a `Vary` before one without, and then the newest.
    pub selected: bool,
    /// The status.
    pub status: u16,
    /// The length of the whole content in bytes.
    pub bytes: u64,
    /// What it takes in memory, in bytes.
    pub memory: usize,
    /// Whether all of the content is there.
    pub complete: bool,
    /// Which parts of the content are there, where that is not all: `FIRST-LAST`, in bytes.
    pub parts: Vec<String>,
    /// The request fields by which it is selected.
    pub varies_on: Vec<Varies>,
    /// Its age in seconds.
    pub age_s: u64,
    /// How long it is fresh, in seconds, counted from age zero.
    pub lifetime_s: u64,
    /// Where that comes from: `s-maxage`, `max-age`, `expires`, `heuristic` or `none`.
    pub lifetime_from: &'static str,
    /// The field that says so in place of `Cache-Control`, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spoken_by: Option<String>,
    /// For how many seconds it has been stale, by age or by a soft purge; none while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_for_s: Option<u64>,
    /// For how many seconds past its freshness it answers while it is refreshed.
    pub while_revalidate_s: u64,
    /// For how many seconds past its freshness it answers when the origin fails.
    pub on_error_s: u64,
    /// For how many seconds past its freshness it is validated.
    pub kept_s: u64,
    /// Whether each use of it needs a validation: `no-cache`.
    pub always_validate: bool,
    /// Whether it must never answer once it is stale.
    pub never_stale: bool,
    /// Its `Date`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Its entity tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Tags by which it can be purged.
    pub tags: Vec<String>,
    /// That it has been purged, or would be at the next look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged: Option<PurgeShown>,
}

/// A request field by which a response is selected (RFC 9111 4.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Varies {
    /// Its name.
    pub name: String,
    /// What the request had that the response answered; none where it had no such field.
    pub stored: Option<String>,
    /// What this request has.
    pub asked: Option<String>,
    /// Whether that is the same.
    pub same: bool,
}

/// That a response has been purged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct PurgeShown {
    /// Whether it only made stale.
    pub soft: bool,
    /// The number of the purge, as long as it is remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The ban or prefix that means it, where it has not been tested against that yet; it will be
    /// before it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// Parts of names of fields that may tell who somebody is.
const PERSONAL: [&str; 8] = ["auth", "token", "session", "secret", "key", "user", "cookie", "pass"];

/// What another client has sent, unless that might be what it proves itself by.
fn shown_of_others(name: &str, value: &[u8]) -> String {
    if PERSONAL.iter().any(|part| name.contains(part)) && name != "user-agent" {
        return "(not shown)".to_owned();
    }
    shown(name, value)
}

impl Deciding<'_> {
    /// What is stored, as it is and in words.
    pub(super) fn stored(&self) -> (Vec<Variant>, Vec<Said>) {
        let Some(found) = &self.found.variants else {
            return (Vec::new(), self.around(by("RFC 9111 4", "nothing is stored under this key")));
        };
        let mut variants = Vec::new();
        let of = found.responses.len();
        let mut lines = self.around(by(
            "RFC 9111 4",
            match of {
                0 => "no response is stored under this key".to_owned(),
                1 => "1 response is stored under this key".to_owned(),
                of => format!("{of} responses are stored under this key, the newest first"),
            },
        ));
        for (at, response) in found.responses.iter().enumerate().take(MOST_VARIANTS) {
            let purged = self.found.purged.get(at).and_then(Option::as_ref);
            let variant = self.variant(response, purged);
            lines.push(self.of_variant((at + 1, of), response, &variant));
            variants.push(variant);
        }
        if of > MOST_VARIANTS {
            lines.push(says(format!("{} more are not shown", of - MOST_VARIANTS)));
        }
        (variants, lines)
    }

    /// What holds for the key, whatever is stored under it.
    fn around(&self, first: Said) -> Vec<Said> {
        let mut lines = vec![first];
        if let Some(last) = self.found.last {
            let (number, how) = match last {
                Invalidation::Hard(number) => (number, "purged"),
                Invalidation::Soft(number) => (number, "made stale by a soft purge"),
            };
            lines.push(says(format!("the URL was {how} last by {}", self.purge_text(Some(number)))));
        }
        let marker = self.found.variants.as_ref().and_then(|found| found.marker);
        if let Some(until) = marker.filter(|until| self.now < *until) {
            let left = span(until.since(self.now).as_secs());
            lines.push(says(format!(
                "what came last was not to be shared, so for another {left} each request asks for itself \
                 (rules.hit_for_miss)"
            )));
        }
        let under_way =
            self.server.upstreams.direct.as_ref().map_or(0, |fetcher| fetcher.under_way(&self.asked.key));
        match under_way {
            0 => {}
            1 => lines.push(says("1 fetch for it is under way")),
            n => lines.push(says(format!("{n} fetches for it are under way"))),
        }
        lines
    }

    /// A purge by its number, with what is remembered of it.
    fn purge_text(&self, number: Option<u64>) -> String {
        let Some(number) = number else { return "a purge that is not remembered any more".to_owned() };
        let Some(entry) = self.server.purging.invalidator.entry(number) else {
            return format!("purge {number}");
        };
        let what = named(entry.what.iter().map(ToString::to_string));
        let when = self.now.since(crate::clock::Wall::from_millis(entry.at_ms)).as_secs();
        format!("purge {number} ({what}), {} ago, by {}", span(when), entry.by)
    }

    /// Whether the request selects this one of the copies.
    pub(super) fn selects(&self, response: &Arc<StoredResponse>) -> bool {
        let (request, rules) = (&self.asked.presented, &self.asked.rules);
        let found = self.found.variants.as_ref();
        let is_kept = |response: &StoredResponse| is_worth_keeping(response, rules, self.now);
        let selected =
            found.and_then(|found| found.select_kept(&request.fields, rules.sort_accept_language, is_kept));
        selected.is_some_and(|selected| Arc::ptr_eq(selected, response))
    }

    fn variant(&self, response: &Arc<StoredResponse>, purged: Option<&Purged>) -> Variant {
        let (request, rules) = (&self.asked.presented, &self.asked.rules);
        let head = &response.head;
        let windows = Windows::of(head, rules);
        let standing = Standing::of(request, response, rules, self.now);
        let text = |name: &str| head.fields.get(name).map(|value| shown(name, value));
        let vary = head.secondary.entries().map(|(name, stored)| {
            let asked = normalised(name, &request.fields, rules.sort_accept_language);
            Varies {
                name: name.to_owned(),
                stored: stored.map(|value| shown_of_others(name, value)),
                asked: asked.as_deref().map(|value| shown(name, value)),
                same: asked.as_deref() == stored,
            }
        });
        let parts = response.parts().into_iter().flat_map(|parts| parts.spans());
        Variant {
            selected: self.selects(response),
            status: head.status.as_u16(),
            bytes: response.complete_len(),
            memory: response.heap_bytes(),
            complete: response.is_complete(),
            parts: parts.take(MOST_SHOWN).map(|span| format!("{}-{}", span.start, span.end - 1)).collect(),
            varies_on: vary.collect(),
            age_s: head.age(self.now),
            lifetime_s: head.lifetime.seconds.into(),
            lifetime_from: match head.lifetime.source {
                Source::SMaxage => "s-maxage",
                Source::MaxAge => "max-age",
                Source::Expires => "expires",
                Source::Heuristic => "heuristic",
                Source::None => "none",
            },
            spoken_by: spoken_by(&head.fields, rules).map(str::to_owned),
            stale_for_s: standing.stale_for.map(|stale| stale.as_secs()),
            while_revalidate_s: windows.while_revalidate.as_secs(),
            on_error_s: windows.on_error.as_secs(),
            kept_s: windows.kept.as_secs(),
            always_validate: head.always_validate,
            never_stale: standing.never_stale,
            date: text("date"),
            etag: text("etag"),
            last_modified: text("last-modified"),
            tags: head.names.tags().take(MOST_SHOWN).map(|tag| shown("", tag)).collect(),
            purged: purged.map(|purged| PurgeShown {
                soft: !response.is_gone(),
                sequence: purged.sequence,
                pattern: purged.pattern.clone(),
            }),
        }
    }

    fn of_variant(
        &self,
        (number, of): (usize, usize),
        response: &Arc<StoredResponse>,
        variant: &Variant,
    ) -> Said {
        let kind = response
            .head
            .fields
            .get("content-type")
            .map_or(String::new(), |kind| format!(", {}", shown("content-type", kind)));
        let called = if of == 1 { "it".to_owned() } else { format!("response {number}") };
        let (rfc, why) = self.selected_or_why(response, variant);
        let text = format!("{called} is {why}: {}{kind}, {} bytes", variant.status, variant.bytes);
        let mut more = Vec::new();
        more.extend(variant.purged.as_ref().map(|purged| self.of_purge(response, purged)));
        more.extend(of_vary(variant));
        more.extend(of_age(response, variant));
        more.extend(self.of_staleness(response, variant));
        let validators: Vec<String> = validator::conditional_fields(&response.head.fields)
            .map(|(name, value)| format!("{name}: {}", shown(name, value)))
            .collect();
        more.push(by(
            "RFC 9111 4.3.1",
            match validators.is_empty() {
                true => "it has no validator: once stale it is got anew".to_owned(),
                false => format!("it is validated with {}", validators.join(", ")),
            },
        ));
        if !variant.complete {
            let parts =
                if variant.parts.is_empty() { "none yet".to_owned() } else { variant.parts.join(", ") };
            more.push(by("RFC 9111 3.3", format!("of its content these bytes are there: {parts}")));
        }
        if !variant.tags.is_empty() {
            more.push(says(format!("tags: {}", variant.tags.join(" "))));
        }
        Said { more, ..by(rfc, text) }
    }

    /// Whether the request selects it, or what stands against that.
    fn selected_or_why(&self, response: &Arc<StoredResponse>, variant: &Variant) -> (&'static str, String) {
        let differs: Vec<&str> =
            variant.varies_on.iter().filter(|vary| !vary.same).map(|vary| vary.name.as_str()).collect();
        let standing = Standing::of(&self.asked.presented, response, &self.asked.rules, self.now);
        if response.is_gone() {
            return ("", "purged".to_owned());
        }
        if !differs.is_empty() {
            return ("RFC 9111 4.1", format!("for other requests ({} differs)", differs.join(", ")));
        }
        if !variant.selected {
            return ("RFC 9111 4.1", "behind another one that the request selects".to_owned());
        }
        if standing.is_over {
            return ("RFC 9111 4.2.4", "what the request selects, and too old to be of use".to_owned());
        }
        ("RFC 9111 4.1", "what the request selects".to_owned())
    }

    fn of_purge(&self, response: &StoredResponse, purged: &PurgeShown) -> Said {
        let how = if response.is_gone() { "must not be used" } else { "is stale" };
        let by_what = self.purge_text(purged.sequence);
        says(match &purged.pattern {
            Some(pattern) => {
                format!("it {how} from the next look on, by {by_what}, which waits for it: {pattern}")
            }
            None => format!("it {how} by {by_what}"),
        })
    }

    /// What becomes of it once it is stale.
    fn of_staleness(&self, response: &StoredResponse, variant: &Variant) -> Vec<Said> {
        let rules = &self.asked.rules;
        let mut lines = Vec::new();
        if variant.always_validate {
            lines.push(by("RFC 9111 5.2.2.4", "no-cache: each use needs a validation"));
        }
        if variant.never_stale {
            let why = match response.head.terms.forbidden {
                true => {
                    "it forbids its use when stale (must-revalidate, proxy-revalidate, s-maxage or no-cache)"
                }
                false => "an error never answers when it is stale",
            };
            lines.push(by("RFC 9111 4.2.4", why));
        } else {
            let terms = &response.head.terms;
            let whose = |own: bool| if own { "the response's own" } else { "the operator's" };
            if variant.while_revalidate_s > 0 {
                let own = u64::from(terms.while_revalidate) >= rules.grace.as_secs();
                lines.push(by(
                    "RFC 5861 3",
                    format!(
                        "up to {} past that it answers while it is refreshed ({} {})",
                        span(variant.while_revalidate_s),
                        whose(own),
                        if own { "stale-while-revalidate" } else { "grace" }
                    ),
                ));
            }
            if variant.on_error_s > 0 {
                let own = terms.if_error.is_some();
                lines.push(by(
                    "RFC 5861 4",
                    format!(
                        "up to {} past that it answers when the origin fails ({} {})",
                        span(variant.on_error_s),
                        whose(own),
                        if own { "stale-if-error" } else { "stale_on_error" }
                    ),
                ));
            }
        }
        if variant.stale_for_s.is_some() && !response.may_refresh(self.now) {
            let times = response.failed_refreshes();
            lines.push(says(match times {
                0 => "its refresh is late, and nobody waits for it".to_owned(),
                1 => "its refresh has failed, and the origin is left alone for a while".to_owned(),
                times => {
                    format!("its refresh has failed {times} times, and the origin is left alone for a while")
                }
            }));
        }
        lines
    }
}

/// By which request fields it is selected.
fn of_vary(variant: &Variant) -> Vec<Said> {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
    if variant.varies_on.is_empty() {
        return vec![by("RFC 9111 4.1", "it has no Vary: it answers whatever the request's fields are")];
    }
    let line = |vary: &Varies| {
        let stored = shown(&vary.stored);
        by(
            "RFC 9111 4.1",
            match vary.same {
                true => format!("Vary: {} is {stored}, as in the request", vary.name),
                false => format!("Vary: {} is {stored}, in the request {}", vary.name, shown(&vary.asked)),
            },
        )
    };
    variant.varies_on.iter().map(line).collect()
}

/// Its age, its lifetime, and what that comes to.
fn of_age(response: &StoredResponse, variant: &Variant) -> Vec<Said> {
    let head = &response.head;
    let initial = u64::from(head.initial_age);
    let here = variant.age_s.saturating_sub(initial);
    let age = match initial {
        0 => format!("age {}", span(variant.age_s)),
        _ => format!("age {}: {} on arrival, {} here", span(variant.age_s), span(initial), span(here)),
    };
    let date = variant.date.as_ref().map_or(String::new(), |date| format!(" (Date: {date})"));
    let lifetime = span(variant.lifetime_s);
    let (rfc, from) = match head.lifetime.source {
        Source::SMaxage => ("RFC 9111 4.2.1, 5.2.2.10", format!("fresh for {lifetime} by s-maxage")),
        Source::MaxAge => ("RFC 9111 4.2.1, 5.2.2.1", format!("fresh for {lifetime} by max-age")),
        Source::Expires => ("RFC 9111 4.2.1, 5.3", format!("fresh for {lifetime} by Expires")),
        Source::Heuristic => (
            "RFC 9111 4.2.2",
            format!("fresh for {lifetime} by heuristic, from Last-Modified (rules.heuristic_percent)"),
        ),
        Source::None => ("RFC 9111 4.2.2", "stale at once: it says nothing of its freshness".to_owned()),
    };
    let left = variant.lifetime_s.saturating_sub(variant.age_s);
    let over = variant.age_s.saturating_sub(variant.lifetime_s);
    let so = match (variant.stale_for_s, head.lifetime.source) {
        (_, Source::None) => String::new(),
        (None, _) => format!(": {} left", span(left)),
        // By age it would be fresh; a soft purge has ended that.
        (Some(_), _) if variant.age_s < variant.lifetime_s => ", which a purge has ended".to_owned(),
        (Some(_), _) => format!(": stale for {}", span(over)),
    };
    let mut lines = vec![by("RFC 9111 4.2.3", format!("{age}{date}")), by(rfc, format!("{from}{so}"))];
    if let Some(field) = &variant.spoken_by {
        lines.push(by("RFC 9213 2.2", format!("{field} says so, in place of Cache-Control and Expires")));
    }
    lines
}
