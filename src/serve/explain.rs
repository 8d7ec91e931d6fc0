//! Why a request is answered as it is: the walk, taken for a person in place of a client.
//!
//! What always holds: every verdict here comes from the function that serves, and what it is
//! given is what the walk would give it now; so the two say the same, but for the limits of the
//! door and of clients' budgets, which depend on who else comes, and are not looked at here.
//!
//! What it never does: change anything. No origin is asked, nothing is told, nothing is marked,
//! counted or noted as used; what is stored is looked at through [copies](crate::store::Peeked).

mod question;
mod stored;
mod verdict;

use schemars::JsonSchema;
use serde::Serialize;

pub use question::{Misput, Question, Sent};
pub use stored::{PurgeShown, Variant, Varies};
pub use verdict::Verdict;

use super::{Server, asked, synth};
use crate::fetch::Asked;
use crate::policy::site::{HonourRequest, HostPattern, Mode, PathPattern, QueryRule, Route, SetCookie, Site};
use crate::policy::{Presented, Received, Refusal, decide, normalise};
use crate::rfc::fields::Fields;
use crate::rfc::max_forwards::{self, Forwards};
use verdict::Deciding;

/// The longest value of a field that is shown, in bytes.
const LONGEST: usize = 200;
/// The most hosts of a site, or sites, that are named.
const MOST_NAMED: usize = 8;

/// How a request would be answered now, and why.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Explained {
    /// The node that would answer, by its name.
    pub node: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The method.
    pub method: String,
    /// The URL as it was given.
    pub url: String,
    /// The site that answers for the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The route that answers for the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The cache key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is stored under the key, the newest first.
    pub variants: Vec<Variant>,
    /// What would be done.
    pub verdict: Verdict,
    /// All of it in words, step by step: `request`, `route`, `key`, `stored` and `verdict`, as far as
    /// the request comes.
    pub steps: Vec<Step>,
}

/// A step of the walk in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Step {
    /// Which one.
    pub step: &'static str,
    /// What there is to say.
    pub says: Vec<Said>,
}

/// A line of what is said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Said {
    /// The line.
    pub text: String,
    /// Where the standard says so.
    pub rfc: &'static str,
    /// What belongs to it.
    pub more: Vec<Said>,
}

/// A line that rests on this section.
fn by(rfc: &'static str, text: impl Into<String>) -> Said {
    Said { text: text.into(), rfc, more: Vec::new() }
}

/// A line that rests on the operator's word, or says what is the case.
fn says(text: impl Into<String>) -> Said {
    by("", text)
}

impl Server {
    /// How a request would be answered now. `received` is what the clients' port makes of it, or
    /// why it takes no such request.
    pub fn explain(&self, question: &Question, received: Result<Received, Refusal>) -> Explained {
        let mut explained = Explained {
            node: self.node.clone(),
            at_ms: self.clock.now().millis(),
            method: question.method.clone(),
            url: question.url.clone(),
            site: None,
            route: None,
            key: None,
            variants: Vec::new(),
            verdict: Verdict::default(),
            steps: Vec::new(),
        };
        explained.verdict = self.walk_for(&mut explained, received);
        let says = explained.verdict.said.clone();
        explained.steps.push(Step { step: "verdict", says });
        explained
    }

    /// Takes the steps, notes them, and returns what they come to.
    fn walk_for(&self, explained: &mut Explained, received: Result<Received, Refusal>) -> Verdict {
        let received = match received {
            Ok(received) => received,
            Err(refusal) => return refused(refusal),
        };
        if self.purging.is_meant(&received) {
            return Verdict::of("purge", received.method.as_str()).because(says(
                "It is no request for a response, but one to purge (purge.allow), and is judged by who sends it.",
            ));
        }
        let (target, before) = (received.target.clone(), received.fields.clone());
        let presented = match normalise::normalise(received, &self.presentation) {
            Ok(presented) => presented,
            Err(refusal) => return refused(refusal),
        };
        let says_request = of_request(&presented, &target, &before);
        explained.steps.push(Step { step: "request", says: says_request });
        if max_forwards::forwards(&presented.method, &presented.fields) == Forwards::None {
            return Verdict::of("own", "max-forwards").with_status(200).because(by(
                "RFC 9110 7.6.2",
                "Max-Forwards is 0: the request goes no further, and this node answers it itself with 200.",
            ));
        }
        let (site, route) = match self.place(&presented) {
            Ok(found) => found,
            Err(site) => return self.homeless(explained, &presented, site),
        };
        explained.site = Some(site.name.clone());
        explained.route = Some(route.name.clone());
        let before = (presented.path_and_query.clone(), presented.fields.clone());
        let asked = asked(presented, route.rules.take());
        let says_route = self.of_route(site, route, &asked, &before);
        explained.steps.push(Step { step: "route", says: says_route });
        explained.key = Some(asked.key.text.to_string());
        let key = by("RFC 9111 2", asked.key.text.to_string());
        explained.steps.push(Step { step: "key", says: vec![key] });

        let now = self.clock.now();
        let found = self.store.peek(&asked.key);
        let decision = decide(&asked.presented, found.variants.as_deref(), &asked.rules, now);
        let deciding = Deciding { server: self, asked: &asked, found: &found, now };
        let (variants, says) = deciding.stored();
        explained.variants = variants;
        explained.steps.push(Step { step: "stored", says });
        deciding.verdict(decision)
    }

    /// No site or no route answers.
    fn homeless(&self, explained: &mut Explained, presented: &Presented, site: Option<&Site>) -> Verdict {
        let text = match site {
            Some(site) => {
                explained.site = Some(site.name.clone());
                format!("site `{}` answers for the host, and no route of it for the path", site.name)
            }
            None => {
                let known = named(self.sites.iter().flat_map(|site| site.hosts.iter().map(host_text)));
                format!("no site answers for the host `{}`; there are {known}", presented.host)
            }
        };
        explained.steps.push(Step { step: "route", says: vec![by("RFC 9110 7.4", text)] });
        let status = synth::NO_SITE.as_u16();
        Verdict::of("refuse", "no-site").with_status(status).because(by(
            "RFC 9110 15.5.20",
            format!("The request is answered with {status}: it is for nobody here."),
        ))
    }

    /// The site, the route, and the rules that matter.
    fn of_route(&self, site: &Site, route: &Route, asked: &Asked, before: &(String, Fields)) -> Vec<Said> {
        let rules = &asked.rules;
        let origin = self.upstreams.names.get(rules.origin.0).map_or("", String::as_str);
        let path = match &route.path {
            PathPattern::Any => "every path".to_owned(),
            PathPattern::Prefix(prefix) => format!("paths that begin with `{prefix}`"),
            PathPattern::Matches(expression) => format!("paths that match `{expression}`"),
        };
        let hosts = named(site.hosts.iter().map(host_text));
        let mut lines =
            vec![says(format!("site `{}` ({hosts}), route `{}` ({path})", site.name, route.name))];
        lines.push(says(match (rules.mode, rules.cache) {
            (Mode::Hidden, _) => format!("hidden: no client's request reaches the origin `{origin}`"),
            (Mode::Proxy, true) => format!("cached, in front of the origin `{origin}`"),
            (Mode::Proxy, false) => format!("not cached (cache = false), in front of the origin `{origin}`"),
        }));
        if asked.presented.path_and_query != before.0
            && let QueryRule::Only(names) = &rules.query
        {
            let only = if names.is_empty() { "nothing".to_owned() } else { named(names.iter().cloned()) };
            lines.push(says(format!(
                "of the query {only} counts (rules.query): {}",
                asked.presented.path_and_query
            )));
        }
        for name in rules.vary_on.iter().filter(|_| rules.mode == Mode::Hidden) {
            let (was, is) = (before.1.get(name), asked.presented.fields.get(name));
            if was != is {
                let is = is.map_or("absent".to_owned(), |value| shown(name, value));
                lines.push(by(
                    "RFC 9111 4.1",
                    format!("{name} counts as {is} (rules.vary_on, rules.encodings)"),
                ));
            }
        }
        lines.push(by(
            "RFC 9111 4.2.4",
            format!(
                "once stale: grace {}, stale_on_error {}, keep {}, unless the response says otherwise",
                span(rules.grace.as_secs()),
                span(rules.stale_on_error.as_secs()),
                span(rules.keep.as_secs())
            ),
        ));
        if asked.presented.fields.contains("cache-control") || asked.presented.fields.contains("pragma") {
            lines.push(by(
                "RFC 9111 5.2.1",
                match rules.request_directives {
                    HonourRequest::All => "all directives of the request count (rules.request_directives)",
                    HonourRequest::OnlyIfCached => {
                        "of the request's directives only-if-cached alone counts (rules.request_directives)"
                    }
                },
            ));
        }
        if asked.presented.fields.contains("authorization") && rules.cache {
            lines.push(by(
                "RFC 9111 3.5",
                "the request has Authorization: a response to it is stored only where it says public, s-maxage or must-revalidate",
            ));
        }
        if rules.set_cookie == SetCookie::Store {
            lines.push(by("RFC 9111 7.3", "responses with Set-Cookie are stored (rules.set_cookie)"));
        }
        lines
    }
}

/// The canonical form, and what it leaves out.
fn of_request(presented: &Presented, target: &str, before: &Fields) -> Vec<Said> {
    let mut authority = Vec::new();
    presented.write_authority(&mut authority);
    let url = format!("{}://{}", presented.scheme, String::from_utf8_lossy(&authority));
    let mut lines = vec![by(
        "RFC 9110 4.2.3, RFC 9112 3.3",
        format!("{} {url}{}", presented.method, presented.path_and_query),
    )];
    if presented.path_and_query != target {
        lines.push(by("RFC 3986 6.2.2", format!("{target} is written so, which means the same")));
    }
    for (name, value) in presented.fields.iter().filter(|(name, _)| *name != "host") {
        lines.push(says(format!("{name}: {}", shown(name, value))));
    }
    let mut gone: Vec<&str> = Vec::new();
    for (name, _) in before.iter() {
        if !presented.fields.contains(name) && !gone.contains(&name) {
            gone.push(name);
        }
    }
    if !gone.is_empty() {
        lines.push(by(
            "RFC 9110 7.6.1",
            format!(
                "left out: {}; such fields are for one hop alone, would override method or target, or are \
                 believed of trusted proxies only",
                gone.join(", ")
            ),
        ));
    }
    if let Some(protocol) = &presented.upgrade {
        let protocol = String::from_utf8_lossy(protocol).into_owned();
        lines.push(by("RFC 9110 7.8", format!("asks for another protocol: {protocol}")));
    }
    if presented.has_body {
        lines.push(says("has content"));
    }
    lines
}

/// The clients' port does not take such a request.
fn refused(refusal: Refusal) -> Verdict {
    let rfc = match refusal {
        Refusal::TargetTooLong => "RFC 9110 4.1, 15.5.15",
        Refusal::HeaderTooLarge => "RFC 6585 5",
        Refusal::BadRequestLine => "RFC 9112 3",
        Refusal::UnknownVersion => "RFC 9110 15.6.6",
        Refusal::BareLineFeed => "RFC 9112 2.2",
        Refusal::BadFieldLine => "RFC 9112 5",
        Refusal::BadTarget | Refusal::NoHost | Refusal::TwoHosts => "RFC 9112 3.2",
        Refusal::BadHost => "RFC 9110 7.2",
        Refusal::AmbiguousLength => "RFC 9112 6.3",
        Refusal::BadLength => "RFC 9110 8.6",
        Refusal::UnknownCoding => "RFC 9112 6.1",
        Refusal::WrongScheme => "RFC 9110 7.4",
        Refusal::Connect => "RFC 9110 9.3.6",
    };
    let status = synth::refusal_status(refusal).as_u16();
    Verdict::of("refuse", "request")
        .with_status(status)
        .because(by(rfc, format!("The request is refused with {status}: {refusal}.")))
}

/// A host pattern as it is configured.
fn host_text(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Below(suffix) => format!("*{suffix}"),
        HostPattern::Exactly(name) => name.clone(),
    }
}

/// The first of these names, and how many more there are.
fn named(names: impl Iterator<Item = String>) -> String {
    let (mut first, mut more) = (Vec::new(), 0);
    for name in names {
        if first.len() < MOST_NAMED { first.push(name) } else { more += 1 }
    }
    let text = first.join(", ");
    if more == 0 { text } else { format!("{text} and {more} more") }
}

/// The value of a field, as far as it is anybody's business.
fn shown(name: &str, value: &[u8]) -> String {
    if synth::UNTOLD.contains(&name) {
        return format!("({} bytes, not shown)", value.len());
    }
    let cut = value.len() > LONGEST;
    let text = String::from_utf8_lossy(value.get(..LONGEST).unwrap_or(value));
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if cut { format!("{text}... ({} bytes)", value.len()) } else { text }
}

/// A time in words, in its two largest units.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units {
        let number = rest / size;
        rest %= size;
        if number > 0 {
            parts.push(format!("{number} {unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_600, "1 h"),
            (3_601, "1 h"),
            (3_660, "1 h 1 min"),
            (43_200, "12 h"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn what_lets_somebody_in_is_not_shown_and_what_is_long_is_cut() {
        assert_eq!(shown("cookie", b"session=1"), "(9 bytes, not shown)");
        assert_eq!(shown("x", b"a\tb"), "a b");
        let long = shown("x", &[b'a'; 300]);
        assert!(long.starts_with(&"a".repeat(LONGEST)) && long.ends_with("... (300 bytes)"), "{long}");
    }
}
