//! The verdict: what is to be done with a presented request, given what is
//! stored under its key (RFC 9111 section 4, RFC 5861).
//!
//! No I/O and no clock, so that an explanation for a person can ask the same
//! function that serves.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::normalise::Presented;
use super::partial;
use super::site::{HonourRequest, Mode, Rules};
use crate::clock::Wall;
use crate::rfc::cache_control::{MaxStale, RequestDirectives};
use crate::rfc::cache_status::Fwd;
use crate::rfc::lifetime::Source;
use crate::rfc::range::Spec;
use crate::rfc::validator;
use crate::stored::{StoredResponse, Variants};

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Answer with a fresh stored response.
    Deliver(Arc<StoredResponse>),
    /// Answer with a stale one, and refresh it in the background if told so.
    DeliverStale(Arc<StoredResponse>, Stale),
    /// Get a response that may be stored.
    Fetch(Plan),
    /// Ask the origin for this client alone.
    Pass(Pass),
    /// `only-if-cached` and nothing to answer with (RFC 9111 5.2.1.7).
    NotCached,
}

/// Why a stale response may answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stale {
    /// `stale-while-revalidate` or the operator's grace.
    WhileRevalidate,
    /// The client takes it: `max-stale`.
    Accepted,
    /// A refresh has failed not long ago, or is late; the origin is left alone.
    BackOff,
    /// The origin has not answered within `stale_deadline`.
    Deadline,
    /// The origin has failed just now.
    OnError,
    /// The origin is hidden, and has been told.
    Hidden,
    /// The origin is not asked now, for too much is under way or wanted.
    Shed,
}

/// How to get a response that may be stored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Why the origin is asked (RFC 9211 2.2).
    pub fwd: Fwd,
    /// Whether requests for the same response share one.
    pub collapse: bool,
    /// The stored response that this request selects, stale as it is.
    pub stored: Option<Arc<StoredResponse>>,
    /// Whether it has a validator to ask with.
    pub validate: bool,
    /// Whether it may answer when the origin fails or is late.
    pub stale_on_error: bool,
    /// The range that is asked for, where it is not the whole.
    pub part: Option<Spec>,
    /// What the whole that is wanted lacks, where that is one range.
    pub gap: Option<Gap>,
    /// Whether the origin may [choose](super::choice) one of the variants that are stored for
    /// other requests.
    pub choose: bool,
}

/// The one range that an incomplete response lacks (RFC 9111 3.4).
#[derive(Clone, Debug)]
pub struct Gap {
    /// The response.
    pub stored: Arc<StoredResponse>,
    /// What it lacks.
    pub range: Range<u64>,
}

impl Plan {
    /// To refresh a stale response in the background. Whatever goes wrong with
    /// that, the response that is served meanwhile stays.
    pub fn refresh(request: &Presented, response: &Arc<StoredResponse>, rules: &Rules, now: Wall) -> Plan {
        Plan {
            part: part(request, response, rules, now),
            gap: None,
            choose: false,
            fwd: Fwd::Stale,
            collapse: true,
            validate: validator::conditional_fields(&response.head.fields).next().is_some(),
            stored: Some(Arc::clone(response)),
            stale_on_error: true,
        }
    }
}

impl Plan {
    /// To get the whole in the background, where a part has been got.
    pub fn rest() -> Plan {
        Plan {
            fwd: Fwd::Partial,
            collapse: true,
            stored: None,
            validate: false,
            stale_on_error: false,
            part: None,
            gap: None,
            choose: false,
        }
    }
}

/// A request that is passed on, and why.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Why nothing stored can answer it.
    pub why: PassReason,
    /// For `HEAD`: the stored response that the answer updates (RFC 9111 4.3.5).
    pub stored: Option<Arc<StoredResponse>>,
    /// Whether `stored` may answer when the origin fails.
    pub stale_on_error: bool,
}

/// Why a request is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PassReason {
    /// Neither `GET` nor `HEAD`.
    Method,
    /// A `HEAD` for which nothing fresh is stored.
    Head,
    /// A `GET` or `HEAD` with content, whose meaning is undefined.
    Content,
    /// The route does not cache.
    Rule,
    /// It asks for another protocol.
    Upgrade,
    /// It asks for less than the whole of a response that is known not to be kept.
    Less,
    /// It has a condition that only the origin may judge, and that is not sure to hold for
    /// what is stored (RFC 9110 13.1.1, 13.1.4); with what `Cache-Status` says of it.
    Condition(Fwd),
}

impl PassReason {
    /// The `fwd` parameter that says so (RFC 9211 2.2).
    pub fn fwd(self) -> Fwd {
        match self {
            PassReason::Method => Fwd::Method,
            PassReason::Head | PassReason::Less => Fwd::Miss,
            PassReason::Content | PassReason::Upgrade => Fwd::Request,
            PassReason::Condition(fwd) => fwd,
            PassReason::Rule => Fwd::Bypass,
        }
    }
}

impl Stale {
    /// Word for `Cache-Status`'s `detail` and for logs.
    pub fn name(self) -> &'static str {
        match self {
            Stale::WhileRevalidate => "stale-while-revalidate",
            Stale::Accepted => "max-stale",
            Stale::BackOff => "stale-back-off",
            Stale::Deadline => "stale-deadline",
            Stale::OnError => "stale-on-error",
            Stale::Hidden => "stale-hidden",
            Stale::Shed => "stale-shed",
        }
    }
}

/// Decides what is to be done with `request`, for which `found` is stored.
pub fn decide(request: &Presented, found: Option<&Variants>, rules: &Rules, now: Wall) -> Decision {
    let is_head = request.method == Method::HEAD;
    if let Some(why) = always_passed(request, rules, is_head) {
        return Decision::Pass(Pass { why, stored: None, stale_on_error: false });
    }
    let asked = RequestDirectives::read(&request.fields);
    let honour = rules.request_directives == HonourRequest::All;
    let marked = found.is_some_and(|variants| variants.is_marked(now));
    let selected = found.and_then(|variants| {
        let is_kept = |response: &StoredResponse| is_worth_keeping(response, rules, now);
        variants.select_kept(&request.fields, rules.sort_accept_language, is_kept)
    });

    // A cache may ignore such a condition (RFC 9110 13.1.1): on a hidden route nobody is asked, and
    // nobody gets past what is fresh with it, where clients do not get past it at all.
    let for_origin = rules.mode == Mode::Proxy
        && validator::has_origin_condition(&request.fields)
        && (honour || !selected.is_some_and(|response| answers_anybody(response, rules, now)));
    let some_stored =
        || found.is_some_and(|variants| variants.responses.iter().any(|response| !response.is_gone()));
    let miss = || if some_stored() { Fwd::VaryMiss } else { Fwd::UriMiss };
    if for_origin && !selected.is_some_and(|response| meets(request, response, now)) {
        return ask_origin(asked.only_if_cached, selected.map_or_else(miss, |_| Fwd::Request), selected);
    }
    let Some(response) = selected else {
        if asked.only_if_cached {
            return Decision::NotCached;
        }
        if is_head {
            return Decision::Pass(Pass { why: PassReason::Head, stored: None, stale_on_error: false });
        }
        if marked && WISHES.iter().any(|name| request.fields.contains(name)) {
            return Decision::Pass(Pass { why: PassReason::Less, stored: None, stale_on_error: false });
        }
        let fwd = miss();
        return Decision::Fetch(Plan {
            fwd,
            collapse: !marked,
            stored: None,
            validate: false,
            stale_on_error: false,
            part: partial::asks(request, None, rules, now),
            gap: None,
            choose: fwd == Fwd::VaryMiss && rules.mode == Mode::Proxy,
        });
    };
    if !partial::answers(request, response, rules, now) {
        if for_origin {
            return ask_origin(asked.only_if_cached, Fwd::Partial, selected);
        }
        return incomplete(request, response, rules, asked.only_if_cached, marked, now);
    }

    let stale_for = response.stale_for(now);
    let usable = !response.head.always_validate;
    let too_old_for_client = honour && refuses(&asked, response, now);
    if stale_for.is_none() && usable && !too_old_for_client {
        return Decision::Deliver(Arc::clone(response));
    }
    let stale_for = stale_for.unwrap_or_default();
    // A client that may insist on a newer one does not get it when the origin fails.
    let stale_on_error = may_answer_on_error(response, rules, stale_for) && !too_old_for_client;
    if !too_old_for_client {
        if may_answer_while_revalidating(response, rules, stale_for) {
            return Decision::DeliverStale(Arc::clone(response), Stale::WhileRevalidate);
        }
        if honour && accepts(&asked, stale_for) && may_be_stale(response) {
            return Decision::DeliverStale(Arc::clone(response), Stale::Accepted);
        }
    }
    if stale_on_error && !response.may_refresh(now) {
        return Decision::DeliverStale(Arc::clone(response), Stale::BackOff);
    }
    if asked.only_if_cached {
        return Decision::NotCached;
    }
    if is_head {
        let stored = Some(Arc::clone(response));
        return Decision::Pass(Pass { why: PassReason::Head, stored, stale_on_error });
    }
    if for_origin {
        // The conditions hold for it, so it may answer them in the origin's place.
        let why = PassReason::Condition(Fwd::Stale);
        return Decision::Pass(Pass { why, stored: Some(Arc::clone(response)), stale_on_error });
    }
    Decision::Fetch(Plan {
        fwd: if too_old_for_client { Fwd::Request } else { Fwd::Stale },
        collapse: !marked,
        validate: validator::conditional_fields(&response.head.fields).next().is_some(),
        part: part(request, response, rules, now),
        gap: None,
        choose: false,
        stored: Some(Arc::clone(response)),
        stale_on_error,
    })
}

/// Whether a stored response is complete, and answers whoever asks nothing special.
fn answers_anybody(response: &StoredResponse, rules: &Rules, now: Wall) -> bool {
    let may_answer = |stale_for| may_answer_while_revalidating(response, rules, stale_for);
    response.is_complete() && !response.head.always_validate && response.stale_for(now).is_none_or(may_answer)
}

/// Whether the conditions for the origin are sure to hold for a stored response. An error is
/// nothing that they are about.
fn meets(request: &Presented, response: &StoredResponse, now: Wall) -> bool {
    let head = &response.head;
    head.status.is_success() && validator::meets_origin_conditions(&request.fields, &head.fields, now)
}

/// The request goes to the origin with its conditions, for this client alone (RFC 9110 13.2.1).
fn ask_origin(only_if_cached: bool, fwd: Fwd, stored: Option<&Arc<StoredResponse>>) -> Decision {
    if only_if_cached {
        return Decision::NotCached;
    }
    Decision::Pass(Pass { why: PassReason::Condition(fwd), stored: stored.cloned(), stale_on_error: false })
}

/// What is done where the response that the request selects is not complete, and lacks what
/// the request asks for.
fn incomplete(
    request: &Presented,
    response: &Arc<StoredResponse>,
    rules: &Rules,
    only_if_cached: bool,
    marked: bool,
    now: Wall,
) -> Decision {
    if only_if_cached {
        return Decision::NotCached;
    }
    if request.method == Method::HEAD {
        // A response to it may well freshen the parts. Where nobody is asked it is of no use.
        let stored = Some(Arc::clone(response)).filter(|_| rules.mode == Mode::Proxy);
        return Decision::Pass(Pass { why: PassReason::Head, stored, stale_on_error: false });
    }
    let part = partial::asks(request, Some(response), rules, now);
    if part.is_none() && marked && WISHES.iter().any(|name| request.fields.contains(name)) {
        return Decision::Pass(Pass { why: PassReason::Less, stored: None, stale_on_error: false });
    }
    let gap = partial::gap(response, rules).filter(|_| part.is_none());
    let gap = gap.map(|range| Gap { stored: Arc::clone(response), range });
    // The whole may be too large to be shared; its parts are not.
    Decision::Fetch(Plan { collapse: !marked || part.is_some(), part, gap, ..Plan::rest() })
}

/// The range with which a stored response is validated; the whole is with none. That there
/// was nothing says nothing of how large it is now.
fn part(request: &Presented, response: &StoredResponse, rules: &Rules, now: Wall) -> Option<Spec> {
    match response.is_complete() {
        true if response.head.status == StatusCode::OK => None,
        true => partial::asks(request, None, rules, now),
        false => partial::asks(request, Some(response), rules, now),
    }
}

/// Whether a response that came just now may answer others as well: it is fresh,
/// or may be used while it is being refreshed.
pub fn may_answer_others(head: &crate::stored::Head, rules: &Rules, now: Wall) -> bool {
    if head.always_validate {
        return false;
    }
    match head.stale_for(now) {
        None => true,
        Some(stale_for) => {
            !head.terms.forbidden && !is_error(head) && stale_for < Windows::of(head, rules).while_revalidate
        }
    }
}

/// Whether it may answer somebody, fresh or stale.
pub fn is_servable(response: &StoredResponse, rules: &Rules, now: Wall) -> bool {
    if response.is_gone() {
        return false;
    }
    match response.stale_for(now) {
        None if !response.head.always_validate => true,
        stale_for => {
            let stale_for = stale_for.unwrap_or_default();
            may_answer_while_revalidating(response, rules, stale_for)
                || may_answer_on_error(response, rules, stale_for)
        }
    }
}

/// Whether keeping it can be of any use: it will be fresh, can be validated, or
/// may answer when the origin fails.
pub fn is_worth_storing(head: &crate::stored::Head, rules: &Rules, now: Wall) -> bool {
    (head.stale_for(now).is_none() && !head.always_validate)
        || (rules.mode == Mode::Hidden && rules.serve_forbidden_stale && !is_error(head))
        || validator::conditional_fields(&head.fields).next().is_some()
        || (!head.terms.forbidden && !is_error(head))
            && (head.terms.while_revalidate > 0
                || !rules.grace.is_zero()
                || !error_window(head, rules).is_zero())
}

/// With these a client may be content with less than the whole response.
const WISHES: [&str; 3] = ["range", "if-none-match", "if-modified-since"];

fn always_passed(request: &Presented, rules: &Rules, is_head: bool) -> Option<PassReason> {
    if request.method != Method::GET && !is_head {
        Some(PassReason::Method)
    } else if request.upgrade.is_some() {
        Some(PassReason::Upgrade)
    } else if !rules.cache {
        Some(PassReason::Rule)
    } else if request.has_body {
        Some(PassReason::Content)
    } else {
        None
    }
}

/// An error is delivered as long as it is fresh, and never when it is stale.
fn is_error(head: &crate::stored::Head) -> bool {
    head.status.as_u16() >= 400
}

fn may_be_stale(response: &StoredResponse) -> bool {
    !response.head.terms.forbidden && !is_error(&response.head)
}

fn may_answer_while_revalidating(response: &StoredResponse, rules: &Rules, stale_for: Duration) -> bool {
    may_be_stale(response) && stale_for < Windows::of(&response.head, rules).while_revalidate
}

fn may_answer_on_error(response: &StoredResponse, rules: &Rules, stale_for: Duration) -> bool {
    may_be_stale(response) && stale_for < Windows::of(&response.head, rules).on_error
}

/// The origin's own `stale-if-error` goes before the operator's.
fn error_window(head: &crate::stored::Head, rules: &Rules) -> Duration {
    head.terms.if_error.map_or(rules.stale_on_error, |seconds| Duration::from_secs(seconds.into()))
}

/// Whether a response is within its stale windows or its `keep` time.
pub fn is_worth_keeping(response: &StoredResponse, rules: &Rules, now: Wall) -> bool {
    let Some(stale_for) = response.stale_for(now) else { return true };
    stale_for <= Windows::of(&response.head, rules).kept
}

/// For how long after the end of its freshness a response is of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    /// It answers while it is being refreshed.
    pub while_revalidate: Duration,
    /// It answers when the origin fails.
    pub on_error: Duration,
    /// It is validated; after that it is as if it were not there.
    pub kept: Duration,
}

impl Windows {
    /// Those of this response.
    pub fn of(head: &crate::stored::Head, rules: &Rules) -> Self {
        let while_revalidate = Duration::from_secs(head.terms.while_revalidate.into()).max(rules.grace);
        let on_error = error_window(head, rules);
        let kept = while_revalidate.max(on_error).saturating_add(rules.keep);
        Windows { while_revalidate, on_error, kept }
    }
}

/// What a stored response is to a request, as [`decide`] weighs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// For how long it has been stale, by age or by a soft purge; none while it is fresh.
    pub stale_for: Option<Duration>,
    /// Whether it is beyond everything that it is kept for.
    pub is_over: bool,
    /// Whether it may answer nobody once it is stale: it says so itself, or is an error.
    pub never_stale: bool,
    /// Whether the client's directives refuse it, where they count.
    pub is_refused: bool,
    /// Whether the client takes it, stale as it is, where that counts.
    pub is_accepted: bool,
    /// Whether the origin may be asked about it now.
    pub may_refresh: bool,
    /// Whether there is enough of its content for the request.
    pub is_enough: bool,
}

impl Standing {
    /// That of this response to this request.
    pub fn of(request: &Presented, response: &StoredResponse, rules: &Rules, now: Wall) -> Self {
        let asked = RequestDirectives::read(&request.fields);
        let honour = rules.request_directives == HonourRequest::All;
        let stale_for = response.stale_for(now);
        Standing {
            stale_for,
            is_over: !is_worth_keeping(response, rules, now),
            never_stale: !may_be_stale(response),
            is_refused: honour && refuses(&asked, response, now),
            is_accepted: honour && accepts(&asked, stale_for.unwrap_or_default()),
            may_refresh: response.may_refresh(now),
            is_enough: partial::answers(request, response, rules, now),
        }
    }
}

/// Whether the client's directives refuse a response of this age (RFC 9111 5.2.1). What is
/// fresh and says that it does not change is not validated because of its age, which is what a
/// browser's reload asks for; `no-cache` is the sign that it is to be all the same (RFC 8246 2.1).
fn refuses(asked: &RequestDirectives, response: &StoredResponse, now: Wall) -> bool {
    let too_old = |limit: u64| response.head.age_millis(now) > limit.saturating_mul(1000);
    // A lifetime that is only guessed says nothing of that.
    let is_stated = response.head.lifetime.source != Source::Heuristic;
    let stays = || response.head.terms.immutable && is_stated && response.stale_for(now).is_none();
    asked.no_cache
        || asked.max_age.is_some_and(too_old) && !stays()
        || asked.min_fresh.is_some_and(|wanted| {
            let left = response.head.freshness_left_millis(now);
            left < i64::try_from(wanted.saturating_mul(1000)).unwrap_or(i64::MAX)
        })
}

/// Whether the client takes a response that has been stale for so long.
fn accepts(asked: &RequestDirectives, stale_for: Duration) -> bool {
    match asked.max_stale {
        Some(MaxStale::Any) => true,
        Some(MaxStale::Seconds(seconds)) => stale_for <= Duration::from_secs(seconds),
        None => false,
    }
}
