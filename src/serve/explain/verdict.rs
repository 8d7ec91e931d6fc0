//! What would be done with a request, and what its client would see of that.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Said, by, says, shown, span};
use crate::clock::Wall;
use crate::fetch::{Asked, Fetcher};
use crate::policy::decide::{Pass, PassReason, Plan, Stale};
use crate::policy::site::Mode;
use crate::policy::{Decision, choice};
use crate::repopulate::{Announced, Class, Reason, Unfillable};
use crate::rfc::cache_status::{CacheStatus, Fwd};
use crate::rfc::proxy_status::ProxyStatus;
use crate::rfc::validator;
use crate::serve::hidden::{self, Aside, Course, Hidden};
use crate::serve::{Server, deliver, intercepts, refreshes, synth};
use crate::store::Peeked;
use crate::stored::StoredResponse;

/// What would be done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, JsonSchema)]
pub struct Verdict {
    /// In a word: `deliver`, `deliver-stale`, `validate`, `fetch`, `pass`, `not-cached`, `refuse`, `queue`
    /// (on a hidden route: tell that it is wanted, and say so), `unserved` (there, that it cannot be
    /// had), `own`, `purge` or `loop`.
    pub does: &'static str,
    /// The named reason.
    pub reason: String,
    /// The status that the client gets, where the origin has no say in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// This node's member of `Cache-Status`, if there is one; where the origin is asked, how it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_status: Option<String>,
    /// The same of `Proxy-Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_status: Option<String>,
    /// The conditions that the origin is asked on.
    pub conditions: Vec<String>,
    /// In words, with what else happens.
    #[serde(skip)]
    pub(super) said: Vec<Said>,
}

impl Verdict {
    pub(super) fn of(does: &'static str, reason: &str) -> Self {
        Verdict { does, reason: reason.to_owned(), ..Verdict::default() }
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Verdict { status: Some(status), ..self }
    }

    pub(super) fn because(mut self, said: Said) -> Self {
        self.said.push(said);
        self
    }

    fn and(mut self, said: Option<Said>) -> Self {
        self.said.extend(said);
        self
    }

    fn with_cache_status(mut self, status: &CacheStatus<'_>, begins: bool) -> Self {
        let text = status.write();
        let said = if begins { "Cache-Status begins" } else { "Cache-Status" };
        self.said.push(by("RFC 9211 2", format!("{said}: {text}")));
        self.cache_status = Some(text);
        self
    }

    fn with_proxy_status(mut self, asked: &Asked, status: &ProxyStatus<'_>) -> Self {
        if !asked.rules.proxy_status {
            return self;
        }
        let text = status.write();
        self.said.push(by("RFC 9209 2", format!("Proxy-Status: {text}")));
        self.proxy_status = Some(text);
        self
    }
}

/// A request that has come as far as to be decided.
pub(super) struct Deciding<'a> {
    pub server: &'a Server,
    pub asked: &'a Asked,
    pub found: &'a Peeked,
    pub now: Wall,
}

impl Deciding<'_> {
    /// What a decision comes to.
    pub(super) fn verdict(&self, decision: Decision) -> Verdict {
        let upstreams = &self.server.upstreams;
        match (self.asked.rules.mode, &upstreams.direct) {
            (Mode::Hidden, _) => match upstreams.hidden(&self.asked.rules) {
                Some(hidden) => self.hidden(&hidden, decision),
                None => lost(),
            },
            (Mode::Proxy, Some(fetcher)) => self.direct(fetcher, decision),
            (Mode::Proxy, None) => lost(),
        }
    }

    fn direct(&self, fetcher: &Fetcher, decision: Decision) -> Verdict {
        match decision {
            Decision::Deliver(response) => self.deliver(&response),
            Decision::DeliverStale(response, why) => {
                let refreshed = self.refreshed(fetcher, &response, why);
                self.stale(&response, why).and(Some(refreshed))
            }
            Decision::NotCached => not_cached(),
            Decision::Pass(pass) => self.pass(fetcher, &pass),
            Decision::Fetch(plan) => self.fetch(fetcher, &plan),
        }
    }

    /// A fresh stored response answers.
    fn deliver(&self, response: &Arc<StoredResponse>) -> Verdict {
        let why = by("RFC 9111 4", format!("{} is fresh, and answers.", self.called(response)));
        self.answered(Verdict::of("deliver", "fresh").because(why), response, None)
    }

    /// A stale one does.
    fn stale(&self, response: &Arc<StoredResponse>, why: Stale) -> Verdict {
        let (rfc, text) = match why {
            Stale::WhileRevalidate => {
                ("RFC 9111 4.2.4, RFC 5861 3", "is stale, and may answer while it is refreshed")
            }
            Stale::Accepted => {
                ("RFC 9111 4.2.4, 5.2.1.2", "is stale, and the client takes it so (max-stale)")
            }
            Stale::BackOff => (
                "RFC 9111 4.2.4, RFC 5861 4",
                "is stale, and answers: its refresh has failed or is late, and the origin is left alone for a while",
            ),
            Stale::Hidden => ("RFC 9111 4.2.4", "is stale, and answers, for the origin is hidden"),
            Stale::Deadline | Stale::OnError | Stale::Shed => {
                ("RFC 9111 4.2.4, RFC 5861 4", "is stale, and answers in the origin's place")
            }
        };
        let said = by(rfc, format!("{} {text}.", self.called(response)));
        let verdict = Verdict::of("deliver-stale", why.name()).because(said);
        self.answered(verdict, response, Some(why))
    }

    /// Status and `Cache-Status` of what a stored response answers.
    fn answered(&self, verdict: Verdict, response: &Arc<StoredResponse>, why: Option<Stale>) -> Verdict {
        let status = response.head.status;
        if intercepts(self.asked, status) {
            let text = format!(
                "It is the origin's {status}, which clients do not get to see: they get the page of rules.fallback \
                 (rules.intercept_errors)."
            );
            return Verdict { status: Some(status.as_u16()), ..verdict }
                .because(says(text))
                .with_proxy_status(
                    self.asked,
                    &ProxyStatus { received_status: Some(status.as_u16()), ..self.proxy() },
                );
        }
        let answer = deliver::status_of(self.asked, response, self.now);
        let said = match answer {
            StatusCode::NOT_MODIFIED => {
                by("RFC 9110 13.2.2, RFC 9111 4.3.2", "304: the client has it already.")
            }
            StatusCode::PARTIAL_CONTENT => by("RFC 9110 14.2, 15.3.7", "206: the range that is asked for."),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                by("RFC 9110 14.2, 15.5.17", "416: the range lies behind its end.")
            }
            status => by("", format!("The client gets {}.", status.as_u16())),
        };
        let ttl = deliver::ttl(&response.head, self.now);
        let detail = why.map(Stale::name);
        let member = CacheStatus { hit: true, ttl: Some(ttl), detail, ..self.cache() };
        verdict.with_status(answer.as_u16()).because(said).with_cache_status(&member, false)
    }

    /// What a background refresh comes to, where a stale response answers.
    fn refreshed(&self, fetcher: &Fetcher, response: &Arc<StoredResponse>, why: Stale) -> Said {
        if why != Stale::WhileRevalidate {
            return says("The origin is not asked.");
        }
        if !refreshes(why, response, self.now) {
            return says(
                "It is not refreshed now: a refresh has failed or is late, and the origin is left alone.",
            );
        }
        if fetcher.goes_round(self.asked).is_some() {
            return says("It is not refreshed: the request goes round.");
        }
        let plan = Plan::refresh(&self.asked.presented, response, &self.asked.rules, self.now);
        if fetcher.would_follow(self.asked, &plan, self.found.variants.as_ref()) {
            return says("A refresh of it is under way already.");
        }
        let with = self.conditions(&plan);
        let how = if with.is_empty() { "anew".to_owned() } else { format!("with {}", with.join(", ")) };
        by("RFC 5861 3, RFC 9111 4.3", format!("It is asked for in the background, {how}."))
    }

    fn pass(&self, fetcher: &Fetcher, pass: &Pass) -> Verdict {
        if let Some(verdict) = self.looped(fetcher) {
            return verdict;
        }
        let (rfc, why) = match pass.why {
            PassReason::Method => ("RFC 9111 4, RFC 9110 9.2", "the method is neither GET nor HEAD"),
            PassReason::Head => ("RFC 9111 4.3.5", "it is a HEAD for which nothing usable is stored"),
            PassReason::Content => {
                ("RFC 9110 9.3.1", "it has content, whose meaning with this method nobody knows")
            }
            PassReason::Rule => ("", "the route does not cache (rules.cache)"),
            PassReason::Upgrade => ("RFC 9110 7.8", "it asks for another protocol"),
            PassReason::Less => {
                ("", "it may be content with less than the whole, and what came last was not to be shared")
            }
            PassReason::Condition(_) => (
                "RFC 9111 4.3.2, RFC 9110 13.1",
                "its If-Match or If-Unmodified-Since is for the origin to judge, and is not sure to hold for what is stored",
            ),
        };
        let member = CacheStatus { fwd: Some(pass.why.fwd()), ..self.cache() };
        Verdict::of("pass", pass.why.fwd().token())
            .because(by(rfc, format!("The origin is asked for this client alone: {why}.")))
            .and(self.fallback(pass.stored.as_ref().filter(|_| pass.stale_on_error)))
            .and(self.origin(fetcher))
            .with_cache_status(&member, false)
    }

    fn fetch(&self, fetcher: &Fetcher, plan: &Plan) -> Verdict {
        if let Some(verdict) = self.looped(fetcher) {
            return verdict;
        }
        let conditions = self.conditions(plan);
        let (rfc, why) = match plan.fwd {
            Fwd::UriMiss => ("RFC 9111 4", "nothing is stored that may answer".to_owned()),
            Fwd::VaryMiss => ("RFC 9111 4.1", "what is stored is for other requests".to_owned()),
            Fwd::Request => {
                ("RFC 9111 5.2.1", "the request's Cache-Control does not take what is stored".to_owned())
            }
            Fwd::Partial => ("RFC 9111 3.3", "of the content too little is there".to_owned()),
            Fwd::Stale => self.why_not_stale(plan),
            Fwd::Bypass | Fwd::Method | Fwd::Miss => ("RFC 9111 4", "nothing suitable is stored".to_owned()),
        };
        let does = if conditions.is_empty() { "fetch" } else { "validate" };
        let how = match (conditions.is_empty(), &plan.part) {
            (false, _) => format!("asked whether it is still right, with {}", conditions.join(", ")),
            (true, Some(_)) => "asked for the range (rules.range_miss)".to_owned(),
            (true, None) if plan.gap.is_some() => "asked for what is lacking".to_owned(),
            (true, None) => "asked for it".to_owned(),
        };
        let shares = if !plan.collapse {
            says("It asks for itself (rules.hit_for_miss).")
        } else if fetcher.would_follow(self.asked, plan, self.found.variants.as_ref()) {
            says("It shares the fetch that is under way.")
        } else {
            says("Others who come meanwhile share its fetch.")
        };
        let validated = (!conditions.is_empty()).then(|| {
            by(
                "RFC 9111 4.3.3",
                if plan.choose && !plan.validate {
                    "A 304 says which of them answers."
                } else {
                    "A 304 makes it fresh again."
                },
            )
        });
        let member = CacheStatus { fwd: Some(plan.fwd), key: None, ..self.cache() };
        let verdict = Verdict { conditions, ..Verdict::of(does, plan.fwd.token()) };
        verdict
            .because(by(rfc, format!("The origin is {how}: {why}.")))
            .and(validated)
            .and(Some(shares))
            .and(self.fallback(plan.stored.as_ref().filter(|_| plan.stale_on_error)))
            .and(self.origin(fetcher))
            .with_cache_status(&member, true)
    }

    /// The conditions that a plan asks on.
    fn conditions(&self, plan: &Plan) -> Vec<String> {
        let stored = plan.stored.as_ref().filter(|_| plan.validate);
        let choices = self.found.variants.as_ref().filter(|_| plan.choose).map_or_else(Vec::new, |found| {
            choice::choices(&self.asked.presented, found, &self.asked.rules, self.now)
        });
        if stored.is_none() && !choices.is_empty() {
            return vec![format!("if-none-match: {}", shown("if-none-match", &choice::told(&choices)))];
        }
        let fields = stored.into_iter().flat_map(|stored| validator::conditional_fields(&stored.head.fields));
        fields.map(|(name, value)| format!("{name}: {}", shown(name, value))).collect()
    }

    /// Why a stale response does not answer.
    fn why_not_stale(&self, plan: &Plan) -> (&'static str, String) {
        let Some(stored) = &plan.stored else {
            return ("RFC 9111 4.2", "what is stored is stale".to_owned());
        };
        let called = self.called(stored).to_lowercase();
        if stored.stale_for(self.now).is_none() {
            return ("RFC 9111 5.2.2.4", format!("{called} is fresh, and says no-cache"));
        }
        if stored.is_soft_purged() && stored.head.stale_for(self.now).is_none() {
            return ("RFC 9111 4.3", format!("{called} has been made stale by a soft purge"));
        }
        ("RFC 9111 4.2, 4.3", format!("{called} is stale"))
    }

    /// That a stale response answers when the origin does not.
    fn fallback(&self, stored: Option<&Arc<StoredResponse>>) -> Option<Said> {
        let stored = stored?;
        let deadline = self.asked.rules.stale_deadline;
        Some(by(
            "RFC 9111 4.2.4, RFC 5861 4",
            format!(
                "If the origin fails, or has not answered within {} ms (rules.stale_deadline), {} answers.",
                deadline.as_millis(),
                self.called(stored).to_lowercase()
            ),
        ))
    }

    /// That the origin is in no state to be asked.
    fn origin(&self, fetcher: &Fetcher) -> Option<Said> {
        let view = fetcher.origin_of(&self.asked.rules);
        let breaker = &view.servers.breaker;
        (breaker.state != "closed").then(|| {
            let cause = breaker.cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"));
            says(format!("The breaker of the origin `{}` is {}{cause}.", view.name, breaker.state))
        })
    }

    fn looped(&self, fetcher: &Fetcher) -> Option<Verdict> {
        let why = fetcher.goes_round(self.asked)?;
        let status = synth::LOOPED.as_u16();
        let said = by(
            "RFC 8586, RFC 5842 7.2",
            format!("The request goes round and is answered with {status}: {why}."),
        );
        let verdict = Verdict::of("loop", "loop").with_status(status).because(said);
        Some(verdict.with_proxy_status(
            self.asked,
            &ProxyStatus { error: Some("proxy_loop_detected"), ..self.proxy() },
        ))
    }

    /// What every `Cache-Status` of this request has.
    fn cache(&self) -> CacheStatus<'_> {
        CacheStatus {
            cache: &self.server.node,
            key: deliver::shown_key(self.asked),
            ..CacheStatus::default()
        }
    }

    /// What every `Proxy-Status` of this node has.
    fn proxy(&self) -> ProxyStatus<'_> {
        ProxyStatus { proxy: &self.server.node, ..ProxyStatus::default() }
    }

    /// What a stored response is called, among those that are shown.
    fn called(&self, response: &Arc<StoredResponse>) -> String {
        let all = self.found.variants.as_ref().map_or(&[][..], |found| &*found.responses);
        match all.iter().position(|one| Arc::ptr_eq(one, response)) {
            Some(at) if all.len() > 1 => format!("Response {}", at + 1),
            _ => "What is stored".to_owned(),
        }
    }

    fn hidden(&self, hidden: &Hidden<'_>, decision: Decision) -> Verdict {
        match hidden::aside(self.asked) {
            Some(Aside::Writes) => return self.written(hidden),
            Some(Aside::WithContent) => {
                let status = synth::WITH_CONTENT.as_u16();
                let text = format!(
                    "It is answered with {status}: content in a request to read is passed on to nobody."
                );
                return Verdict::of("refuse", "content")
                    .with_status(status)
                    .because(by("RFC 9110 9.3.1", text));
            }
            None => {}
        }
        match hidden::course(self.asked, decision) {
            Course::Deliver(response) => self.deliver(&response),
            Course::Stale(response, why) => {
                let (told, _) = self.told(hidden, Reason::Stale, Some(&response));
                self.stale(&response, why).and(Some(told))
            }
            Course::NotCached => not_cached(),
            Course::NotListed => self
                .unserved(&hidden::Unserved::NotListed)
                .because(says("There is nothing at this path (rules.allow), and nobody is told.")),
            Course::Want(stored) => {
                let (reason, once) =
                    hidden::reason(self.asked, self.found.variants.as_ref(), stored.as_ref());
                let once = once.map(|once| &**once);
                let (told, announced) = self.told(hidden, reason, once);
                let wait = self.asked.rules.wait;
                let waits = (!wait.is_zero()).then(|| {
                    says(format!("The client waits up to {} ms for it first (rules.wait).", wait.as_millis()))
                });
                self.unserved(&hidden::unserved(announced, stored.as_deref())).because(told).and(waits)
            }
        }
    }

    /// What is told of something that is wanted, in words and as it would come out.
    fn told(
        &self,
        hidden: &Hidden<'_>,
        reason: Reason,
        stored: Option<&StoredResponse>,
    ) -> (Said, Announced) {
        let wanted = hidden::wanted(self.asked, stored);
        let (announced, class) = hidden.announcer.would(&wanted, reason);
        let origin = hidden.names.get(self.asked.rules.origin.0).map_or("", String::as_str);
        let text = match (class, &announced) {
            (Some(Class::Unknown), _) => format!(
                "A miss event of the class `unknown` is told for the origin `{origin}`, as long as this client and \
                 all together have not asked for too many new URLs (hidden.client_rate, hidden.unknown_rate)."
            ),
            (Some(class), _) => {
                format!("A miss event of the class `{}` is told for the origin `{origin}`.", class.name())
            }
            (None, Announced::HeldDown(Unfillable::NotStorable(why), left)) => format!(
                "The origin `{origin}` is not asked for it for another {}: what came last may not be stored ({why}).",
                span(left.as_secs())
            ),
            (None, Announced::HeldDown(Unfillable::Failed, left)) => format!(
                "The origin `{origin}` is not asked for it for another {}: it failed.",
                span(left.as_secs())
            ),
            (None, Announced::Expected(_)) => {
                format!("It has been told for the origin `{origin}` already, and is expected.")
            }
            (None, Announced::TooManyNew(_) | Announced::NotNow(_)) => {
                format!("No event is told for the origin `{origin}` now, for lack of room.")
            }
        };
        (says(text), announced)
    }

    /// A client on a hidden route for whom nothing is stored.
    fn unserved(&self, why: &hidden::Unserved) -> Verdict {
        let (status, error, details, after) = synth::unserved_by(why);
        let does = match why {
            hidden::Unserved::Expected(_) | hidden::Unserved::Forbidden(_) => "queue",
            _ => "unserved",
        };
        let again = after.map_or(String::new(), |after| {
            format!(", and may come again after about {}", span(after.as_secs().max(1)))
        });
        let text = format!("Nothing that is stored may answer. The client gets {}{again}.", status.as_u16());
        Verdict::of(does, details)
            .with_status(status.as_u16())
            .because(by("RFC 9110 15.6.4, 10.2.3", text))
            .with_proxy_status(
                self.asked,
                &ProxyStatus { error: Some(error), details: Some(details), ..self.proxy() },
            )
    }

    /// A request on a hidden route that is none to read.
    fn written(&self, hidden: &Hidden<'_>) -> Verdict {
        match hidden.writes {
            Some((_, origin)) => {
                let name = hidden.names.get(origin.0).map_or("", String::as_str);
                let text = format!("It is passed on to the origin `{name}` (rules.write_origin).");
                Verdict::of("pass", "method").because(by("RFC 9110 9.2", text))
            }
            None => {
                let status = synth::READ_ONLY.as_u16();
                let text = format!(
                    "It is answered with {status}: a hidden route takes GET and HEAD alone (rules.write_origin)."
                );
                Verdict::of("refuse", "method").with_status(status).because(by("RFC 9110 15.5.6", text))
            }
        }
    }
}

fn not_cached() -> Verdict {
    let status = synth::NOT_CACHED.as_u16();
    let text = format!("The request says only-if-cached, and nothing that is stored may answer: {status}.");
    Verdict::of("not-cached", "only-if-cached").with_status(status).because(by("RFC 9111 5.2.1.7", text))
}

/// Only a fault of the program brings a request here.
fn lost() -> Verdict {
    Verdict::of("unserved", "lost").with_status(503).because(says("Nobody is there to get it: 503."))
}
