//! The walk of a request on a hidden route: what is stored answers, or nobody does.
//!
//! What always holds: nothing here can reach an origin, for there is nothing here that
//! knows one; only a request with an unsafe method is passed on, and only where the
//! route names an origin for writing. Whoever misses is answered at once, or after the
//! short wait that the route allows.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::{First, Outcome, Reply, Upstreams, Walk, purge, synth};
use crate::apart::Handle;
use crate::fetch::{Asked, Fetcher};
use crate::invalidate;
use crate::origin::Content;
use crate::policy::Decision;
use crate::policy::decide::{Pass, PassReason, Stale};
use crate::policy::site::{OriginId, Rules};
use crate::repopulate::announce::Miss;
use crate::repopulate::{Announced, Announcer, Reason, Unfillable, Wanted};
use crate::rfc::unsafe_method;
use crate::shed::Errand;
use crate::stored::{Selector, StoredResponse, Variants};

/// What a hidden route has instead of an origin.
pub(super) struct Hidden<'a> {
    /// Tells what is missed.
    pub announcer: &'a Announcer,
    /// The names of the origins, for the events alone.
    pub names: &'a [String],
    /// Who gets requests with unsafe methods.
    pub writes: Option<(&'a Fetcher, OriginId)>,
}

impl Upstreams {
    /// What this route has of its origin.
    pub(super) fn hidden<'a>(&'a self, rules: &Rules) -> Option<Hidden<'a>> {
        let writes = rules.write_origin.and_then(|origin| Some((self.direct.as_ref()?, origin)));
        Some(Hidden { announcer: self.announcer.as_ref()?, names: &self.names, writes })
    }
}

/// How a client is answered for whom nothing is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unserved {
    /// It is expected after about so long.
    Expected(Duration),
    /// The origin failed, and is not asked for so long.
    Failed(Duration),
    /// The response may not be stored, so nobody can be served with it.
    NotStorable(Arc<str>, Duration),
    /// What is stored is stale and forbids its use.
    Forbidden(Duration),
    /// The client has asked for too many new things.
    TooManyNew(Duration),
    /// There is no room to ask for it now.
    NotNow(Duration),
    /// There is nothing at this path.
    NotListed,
}

/// Answers a request on a hidden route.
pub(super) async fn serve(
    mut walk: Walk<'_>,
    hidden: Hidden<'_>,
    content: Option<Content>,
    mut first: Option<First>,
) -> Reply {
    match aside(&walk.asked) {
        Some(Aside::Writes) => {
            return match hidden.writes {
                Some(writes) => write(walk, hidden.announcer, writes, content).await,
                None => synth::read_only(walk),
            };
        }
        Some(Aside::WithContent) => return synth::with_content(walk),
        None => {}
    }
    let mut waited = walk.asked.rules.wait.is_zero();
    loop {
        let (found, decision) = first.take().unwrap_or_else(|| walk.look());
        let stored = match course(&walk.asked, decision) {
            Course::Deliver(response) => return walk.hit(response),
            Course::Stale(response, why) => {
                announce(&walk, &hidden, Reason::Stale, Some(&response));
                return stale(walk, response, why);
            }
            Course::NotCached => return synth::not_cached(walk),
            Course::NotListed => return synth::unserved(walk, &Unserved::NotListed),
            Course::Want(stored) => stored,
        };
        let (reason, once) = reason(&walk.asked, found.as_ref(), stored.as_ref());
        let (announced, key) = announce(&walk, &hidden, reason, once.map(|once| &**once));
        if !waited && matches!(announced, Announced::Expected(_)) {
            waited = true;
            // Whoever waits is under way; where too many are, nobody else does.
            if let Ok(place) = walk.server.door.place(Errand::Pass) {
                walk.record.place = Some(Arc::new(place));
                hidden.announcer.wants().wait(key, walk.asked.rules.wait).await;
                walk.record.place = None;
                walk.now = walk.server.clock.now();
                continue;
            }
        }
        return synth::unserved(walk, &unserved(announced, stored.as_deref()));
    }
}

/// A request that is none to read what is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aside {
    /// It is for the origin that takes unsafe methods, if there is one.
    Writes,
    /// It has content that nobody could pass on.
    WithContent,
}

/// Whether a request is none to read what is stored.
pub(super) fn aside(asked: &Asked) -> Option<Aside> {
    match asked.presented.method {
        Method::GET | Method::HEAD => asked.presented.has_body.then_some(Aside::WithContent),
        _ => Some(Aside::Writes),
    }
}

/// What a decision comes to where no origin is asked.
pub(super) enum Course {
    /// What is fresh answers.
    Deliver(Arc<StoredResponse>),
    /// What is stale answers, and it is told that it is.
    Stale(Arc<StoredResponse>, Stale),
    /// Nothing may be waited for.
    NotCached,
    /// There is nothing at this path.
    NotListed,
    /// Nothing answers, and it is told that it is wanted; with what is stored and may not be
    /// used.
    Want(Option<Arc<StoredResponse>>),
}

/// What a decision comes to where no origin is asked.
pub(super) fn course(asked: &Asked, decision: Decision) -> Course {
    let (stored, may_be_stale) = match decision {
        Decision::Deliver(response) => return Course::Deliver(response),
        Decision::DeliverStale(response, why) => return Course::Stale(response, why),
        Decision::NotCached => return Course::NotCached,
        Decision::Fetch(plan) => (plan.stored, plan.stale_on_error),
        Decision::Pass(pass) => (pass.stored, pass.stale_on_error),
    };
    if let Some(response) = &stored {
        let is_error = response.head.status.as_u16() >= 400;
        if may_be_stale || (asked.rules.serve_forbidden_stale && !is_error) {
            return Course::Stale(Arc::clone(response), Stale::Hidden);
        }
    }
    if asked.rules.lists(asked.presented.path()) { Course::Want(stored) } else { Course::NotListed }
}

/// Serves what is stale; it has been told that it is.
fn stale(walk: Walk<'_>, response: Arc<StoredResponse>, why: Stale) -> Reply {
    walk.used(&response);
    walk.stored(response, Outcome::Stale, Some(why.name()))
}

/// Why it is wanted, and what shows that it was there.
pub(super) fn reason<'a>(
    asked: &Asked,
    found: Option<&'a Arc<Variants>>,
    stored: Option<&'a Arc<StoredResponse>>,
) -> (Reason, Option<&'a Arc<StoredResponse>>) {
    let Asked { presented, rules, .. } = asked;
    // What was there for others, who get another variant, says nothing of this one.
    let meant = |response: &&Arc<StoredResponse>| {
        response.is_gone() && response.head.secondary.matches(&presented.fields, rules.sort_accept_language)
    };
    let purged = || found.and_then(|variants| variants.responses.iter().find(meant));
    // That there was nothing once makes nobody want it less anew.
    let exists = |response: &&Arc<StoredResponse>| response.head.status.as_u16() < 400;
    match stored {
        Some(stored) if exists(&stored) => (Reason::Stale, Some(stored)),
        Some(stored) => (Reason::Absent, Some(stored)),
        None => match purged().filter(exists) {
            Some(purged) => (Reason::Purged, Some(purged)),
            None => (Reason::Absent, None),
        },
    }
}

/// What is wanted, by what is stored of it.
pub(super) fn wanted(asked: &Asked, stored: Option<&StoredResponse>) -> Wanted {
    let wanted = Wanted::of(&asked.presented, &asked.rules);
    match stored {
        Some(stored) => wanted.narrowed_to(stored),
        None => wanted,
    }
}

/// Tells that this was missed, or is stale.
fn announce(
    walk: &Walk<'_>,
    hidden: &Hidden<'_>,
    reason: Reason,
    stored: Option<&StoredResponse>,
) -> (Announced, u128) {
    let presented = &walk.asked.presented;
    let wanted = wanted(&walk.asked, stored);
    let key = wanted.id();
    let origin = hidden.names.get(walk.asked.rules.origin.0).map_or("", String::as_str);
    let client = Some(presented.client);
    let traceparent = presented.fields.get_str("traceparent");
    let traceparent = traceparent.filter(|text| is_traceparent(text)).map(str::to_owned);
    let miss = Miss { wanted, origin, reason, stored, client, traceparent };
    (hidden.announcer.miss(miss), key)
}

/// How a client is answered, by what came of telling.
pub(super) fn unserved(announced: Announced, stored: Option<&StoredResponse>) -> Unserved {
    let says_so = |stored: &StoredResponse| stored.head.terms.forbidden || stored.head.always_validate;
    let forbidden = stored.is_some_and(|stored| stored.head.status.as_u16() < 400 && says_so(stored));
    match announced {
        Announced::Expected(after) if forbidden => Unserved::Forbidden(after),
        Announced::Expected(after) => Unserved::Expected(after),
        Announced::HeldDown(Unfillable::Failed, left) => Unserved::Failed(left),
        Announced::HeldDown(Unfillable::NotStorable(reason), left) => Unserved::NotStorable(reason, left),
        Announced::TooManyNew(wait) => Unserved::TooManyNew(wait),
        Announced::NotNow(wait) => Unserved::NotNow(wait),
    }
}

/// Passes a request with an unsafe method to the origin that takes them. What is stored
/// and was changed by it is asked for again at once; nothing else is, for nobody knows
/// whether anybody wants it.
async fn write<'a>(
    walk: Walk<'a>,
    announcer: &Announcer,
    (fetcher, origin): (&Fetcher, OriginId),
    content: Option<Content>,
) -> Reply {
    let Walk { server, asked, now, record, charged, edge } = walk;
    let Asked { presented, rules, key, interims } = match Arc::try_unwrap(asked) {
        Ok(asked) => asked,
        // Nobody else has it yet.
        Err(asked) => return synth::lost(Walk { server, asked, now, record, charged, edge }),
    };
    let writing = Handle::new(Arc::new(Rules { origin, ..Rules::clone(&rules) }));
    let wanted = Wanted::of(&presented, &rules);
    let changes = !unsafe_method::is_safe(&presented.method);
    let again = if changes { server.hidden_under(&key) } else { Vec::new() };
    let asked = Arc::new(Asked { presented, rules: writing, key, interims });
    let invalidator = Arc::clone(&server.purging.invalidator);
    let changed = invalidate::Wanted { what: vec![selector(&wanted)], ..invalidate::Wanted::default() };
    let mut walk = Walk { server, asked, now, record, charged, edge };
    if let Err(why) = walk.enter(Errand::Pass, false) {
        return walk.shed(why, None);
    }
    let pass = Pass { why: PassReason::Method, stored: None, stale_on_error: false };
    let reply = walk.pass(fetcher, pass, content).await;
    if is_change(reply.status) {
        let announcer = announcer.clone();
        if !changes || invalidator.outbox().is_none() {
            purge::want(&announcer, again);
        } else {
            // The other nodes have it as well, and workers may. First of all it is purged,
            // for what is got from then on is good everywhere.
            tokio::task::spawn_blocking(move || {
                // It holds here in any case.
                let _ = invalidator.invalidate(&changed, "a request with an unsafe method");
                purge::want(&announcer, again);
            });
        }
    }
    reply
}

fn selector(wanted: &Wanted) -> Selector {
    Selector::Url {
        scheme: Some(wanted.scheme.clone()),
        host: wanted.host.clone(),
        port: Some(wanted.port),
        path_and_query: wanted.target.clone(),
    }
}

/// Whether this is a `traceparent` of version 00 (W3C Trace Context 3.2.2). What has
/// another form is a client's own text, and no business of the origin's.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let lengths = text.split('-').map(str::len);
    text.starts_with("00-")
        && lengths.eq([2, 32, 16, 2])
        && text.bytes().all(|byte| byte == b'-' || is_hex(byte))
}

/// Whether an answer says that something was done (RFC 9111 4.4).
fn is_change(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_has_one_form() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good));
        for bad in [
            "",
            "00",
            "session=4bf92f",
            &good[1..],
            &format!("{good}-x"),
            &good.to_uppercase(),
            &good.replacen("00-", "01-", 1),
            &good.replace("4b", "4-"),
            &good.replace("4b", "g0"),
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
