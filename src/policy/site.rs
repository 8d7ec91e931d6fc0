//! Sites, routes and the rules that hold for a request.
//!
//! A *site* is chosen by the request's host, a *route* within it by its path;
//! the route's [`Rules`] say everything that an operator may decide about its
//! requests. The first site whose pattern matches best, and within it the first
//! matching route, wins; a request that no site claims has no rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::fallback::Fallback;
use ipnet::IpNet;
use regex::Regex;

use crate::apart::Handles;

/// Which of the configured origins a route asks: an index into the node's list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OriginId(pub usize);

/// All sites of a node; cheap to clone. To find the one of a host takes as long with a
/// thousand sites as with one.
#[derive(Clone, Debug, Default)]
pub struct Sites(Arc<ByHost>);

#[derive(Debug, Default)]
struct ByHost {
    sites: Vec<Site>,
    /// By name; what is below a host stands under that with a dot before it.
    exactly: HashMap<String, usize>,
    below: HashMap<String, usize>,
    any: Option<usize>,
}

/// A set of hosts that share their routes.
#[derive(Clone, Debug)]
pub struct Site {
    /// What the operator calls it.
    pub name: String,
    /// The hosts it answers for.
    pub hosts: Vec<HostPattern>,
    /// Its routes, tried in order. The last one matches every path.
    pub routes: Vec<Route>,
}

/// Which hosts a site answers for. Hosts are lower-case and without port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostPattern {
    /// Every host: `*`.
    Any,
    /// Every host below this one: `*.example.org` is kept as `.example.org`.
    Below(String),
    /// Just this host.
    Exactly(String),
}

/// Which paths a route answers for.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// Every path.
    Any,
    /// Paths that begin with this text.
    Prefix(String),
    /// Paths (without the query) in which this expression finds a match.
    Matches(Regex),
}

/// A part of a site with rules of its own.
#[derive(Clone, Debug)]
pub struct Route {
    /// What the operator calls it.
    pub name: String,
    /// The paths it answers for.
    pub path: PathPattern,
    /// What holds for its requests, all of which take a handle of it.
    pub rules: Handles<Rules>,
}

/// Everything an operator may decide about the requests of a route.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// The site that they belong to.
    pub site: Arc<str>,
    /// Which origin is asked.
    pub origin: OriginId,
    /// Whether responses are cached at all; `false` passes every request.
    pub cache: bool,
    /// The operator's own stale-while-revalidate.
    pub grace: Duration,
    /// The operator's own stale-if-error.
    pub stale_on_error: Duration,
    /// How long past both a response is kept for validation only.
    pub keep: Duration,
    /// How long a client waits for the origin when stale could answer it.
    pub stale_deadline: Duration,
    /// What clients get when nothing else is left.
    pub fallback: Fallback,
    /// Whether they get that in place of the origin's own 5xx as well.
    pub intercept_errors: bool,
    /// Whether answers that forebay makes itself say in `Proxy-Status` what went wrong.
    pub proxy_status: bool,
    /// Whether `Cache-Status` has the cache key.
    pub cache_status_key: bool,
    /// From a request's last byte to the response's head, where the route has its own.
    pub first_byte_timeout: Option<Duration>,
    /// Between two pieces of a body, where the route has its own.
    pub between_bytes_timeout: Option<Duration>,
    /// From the beginning of a request to the end of its response, where the route has its
    /// own.
    pub total_timeout: Option<Duration>,
    /// After a failed refresh the origin is left alone for this long (for this
    /// response); doubles with each further failure up to 32 times as long.
    pub refresh_backoff: Duration,
    /// How long requests are not collapsed after an uncacheable answer.
    pub hit_for_miss: Duration,
    /// Freshness when the response says nothing and has a `Last-Modified`: this
    /// many percent of the time since then (RFC 9111 4.2.2).
    pub heuristic_percent: u32,
    /// The most freshness that the heuristic may give.
    pub heuristic_max: Duration,
    /// What happens to a response with `Set-Cookie`.
    pub set_cookie: SetCookie,
    /// Which `Cache-Control` directives of a request count.
    pub request_directives: HonourRequest,
    /// The fields that stand in for `Cache-Control` and `Expires`, in lower case; the
    /// first valid one does (RFC 9213 2.2).
    pub targeted_fields: FieldNames,
    /// Whether those fields are kept from clients.
    pub strip_targeted: bool,
    /// Whether `Surrogate-Control` stands in for `Cache-Control` and `Expires`.
    pub surrogate_control: bool,
    /// Whether members of `Accept-Language` are sorted for `Vary`.
    pub sort_accept_language: bool,
    /// How many ranges of one request are answered; a request for more gets the
    /// whole response (RFC 9110 14.2).
    pub max_ranges: usize,
    /// What is asked for where a range is missing.
    pub range_miss: RangeMiss,
    /// To multiples of how many bytes a range is widened that the origin is asked for.
    pub range_slice: u64,
    /// The most parts that are kept of one response.
    pub max_parts: usize,
    /// In which fields a response says its tags, in lower case.
    pub tag_fields: FieldNames,
    /// Whether those fields are kept from clients.
    pub strip_tags: bool,
    /// How the client's address is told to the origin.
    pub forwarded: Forwarded,
    /// The `Host` that the origin sees.
    pub origin_host: OriginHost,
    /// What becomes of a miss.
    pub mode: Mode,
    /// Which parameters of a query count.
    pub query: QueryRule,
    /// Hidden: which paths there are, where the operator says so.
    pub allow: Patterns,
    /// Hidden: the request fields by which responses may vary, in lower case.
    pub vary_on: FieldNames,
    /// Hidden: the content codings that are asked for, the best first, in lower case.
    pub encodings: FieldNames,
    /// Hidden: how long a client that missed waits for a fill.
    pub wait: Duration,
    /// Hidden: whether a stale response answers that says itself that it must not.
    pub serve_forbidden_stale: bool,
    /// Hidden: which origin gets requests with unsafe methods.
    pub write_origin: Option<OriginId>,
}

/// What becomes of a miss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The origin is asked while the client waits.
    Proxy,
    /// The client is answered at once, and the cache is filled from behind.
    Hidden,
}

/// Which parameters of a query count; the others are taken away before anything is
/// looked up or asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueryRule {
    /// All of them, as they come.
    All,
    /// These, in this order.
    Only(Vec<String>),
}

/// Regular expressions, of which one has to find a match.
#[derive(Clone, Debug, Default)]
pub struct Patterns(pub Vec<Regex>);

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(Regex::as_str).eq(other.0.iter().map(Regex::as_str))
    }
}

/// Names of fields, in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldNames(pub Arc<[Box<str>]>);

impl FieldNames {
    /// These names.
    fn of(names: &[&str]) -> Self {
        FieldNames(names.iter().copied().map(Box::from).collect())
    }

    /// Where the purge clients that exist have their tags.
    fn tags() -> Self {
        let names = [
            "surrogate-key",
            "xkey",
            "cache-tag",
            "cache-tags",
            "x-cache-tags",
            "edge-cache-tag",
            "x-magento-tags",
        ];
        FieldNames(names.into_iter().map(Box::from).collect())
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

/// What happens to a response with `Set-Cookie`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetCookie {
    /// It is delivered and not stored: one client's cookie is not another's.
    Pass,
    /// It is stored with its cookies, as RFC 9111 7.3 allows.
    Store,
}

/// What is asked for where a range is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeMiss {
    /// The range alone.
    Range,
    /// The whole, from the beginning.
    Whole,
    /// The range, and then the whole in the background.
    Both,
}

/// Which `Cache-Control` directives of a request count (RFC 9111 5.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HonourRequest {
    /// `only-if-cached` alone: no client punches through to the origin.
    OnlyIfCached,
    /// All of them, and `Pragma: no-cache`.
    All,
}

/// How the client's address, scheme and host are told to the origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Standard,
    /// Not at all.
    Off,
}

/// The `Host` that the origin sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OriginHost {
    /// The one that the client asked for.
    Client,
    /// This one.
    Fixed(String),
}

impl Rules {
    /// Whether a hidden route says that there may be something at this path.
    pub fn lists(&self, path: &str) -> bool {
        self.allow.0.is_empty() || self.allow.0.iter().any(|pattern| pattern.is_match(path))
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            site: Arc::from(""),
            origin: OriginId(0),
            cache: true,
            grace: Duration::ZERO,
            stale_on_error: Duration::from_secs(12 * 3600),
            keep: Duration::from_secs(3600),
            stale_deadline: Duration::from_millis(300),
            fallback: Fallback::Page,
            intercept_errors: false,
            proxy_status: true,
            cache_status_key: false,
            first_byte_timeout: None,
            between_bytes_timeout: None,
            total_timeout: None,
            refresh_backoff: Duration::from_secs(1),
            hit_for_miss: Duration::from_secs(120),
            heuristic_percent: 10,
            heuristic_max: Duration::from_secs(24 * 3600),
            set_cookie: SetCookie::Pass,
            request_directives: HonourRequest::OnlyIfCached,
            targeted_fields: FieldNames::of(&["forebay-cache-control", "cdn-cache-control"]),
            strip_targeted: false,
            surrogate_control: false,
            sort_accept_language: false,
            max_ranges: 16,
            range_miss: RangeMiss::Range,
            range_slice: 1024 * 1024,
            max_parts: 1024,
            tag_fields: FieldNames::tags(),
            strip_tags: true,
            forwarded: Forwarded::XForwarded,
            origin_host: OriginHost::Client,
            mode: Mode::Proxy,
            query: QueryRule::All,
            allow: Patterns::default(),
            vary_on: FieldNames::of(&["accept-encoding"]),
            encodings: FieldNames::of(&["gzip"]),
            wait: Duration::ZERO,
            serve_forbidden_stale: false,
            write_origin: None,
        }
    }
}

/// What decides how a request is presented to the cache, whatever its site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presentation {
    /// Proxies whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The longest request target in bytes; longer ones get 414.
    pub max_target_bytes: usize,
    /// The most header bytes of a request; more get 431.
    pub max_header_bytes: usize,
    /// The most header lines of a request; more get 431.
    pub max_header_lines: usize,
}

impl Default for Presentation {
    fn default() -> Self {
        Presentation {
            trusted_proxies: Vec::new(),
            max_target_bytes: 8 * 1024,
            max_header_bytes: 32 * 1024,
            max_header_lines: 100,
        }
    }
}

impl Sites {
    /// These sites, in the operator's order. Where two claim the same, it is the first one's.
    pub fn new(sites: Vec<Site>) -> Self {
        let mut by_host = ByHost::default();
        for (number, site) in sites.iter().enumerate() {
            for pattern in &site.hosts {
                match pattern {
                    HostPattern::Exactly(name) => by_host.exactly.entry(name.clone()).or_insert(number),
                    HostPattern::Below(suffix) => by_host.below.entry(suffix.clone()).or_insert(number),
                    HostPattern::Any => by_host.any.get_or_insert(number),
                };
            }
        }
        Sites(Arc::new(ByHost { sites, ..by_host }))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.0.sites.iter()
    }

    /// The site that answers for `host` (lower-case, no port): an exact pattern
    /// goes before the longest wildcard, and that before `*`.
    pub fn site(&self, host: &str) -> Option<&Site> {
        let ByHost { sites, exactly, below, any } = &*self.0;
        // Most nodes have none of one kind or another, and a hash costs something.
        let named = || if exactly.is_empty() { None } else { exactly.get(host) };
        let longest = || {
            let mut dots = host.match_indices('.').filter(|(at, _)| *at > 0);
            if below.is_empty() { None } else { dots.find_map(|(at, _)| below.get(&host[at..])) }
        };
        sites.get(*named().or_else(longest).or(any.as_ref())?)
    }
}

impl Site {
    /// The first route that answers for `path` (without the query). A site whose
    /// routes leave paths unclaimed has none for them.
    pub fn route(&self, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.path.matches(path))
    }
}

impl PathPattern {
    fn matches(&self, path: &str) -> bool {
        match self {
            PathPattern::Any => true,
            PathPattern::Prefix(prefix) => path.starts_with(prefix.as_str()),
            PathPattern::Matches(expression) => expression.is_match(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str, hosts: &[&str]) -> Site {
        let pattern = |host: &&str| match host.strip_prefix('*') {
            Some("") => HostPattern::Any,
            Some(suffix) => HostPattern::Below(suffix.to_owned()),
            None => HostPattern::Exactly((*host).to_owned()),
        };
        Site { name: name.to_owned(), hosts: hosts.iter().map(pattern).collect(), routes: Vec::new() }
    }

    #[test]
    fn exact_goes_before_the_longest_wildcard_and_that_before_any() {
        let sites = Sites::new(vec![
            site("any", &["*"]),
            site("short", &["*.example.org"]),
            site("long", &["*.shop.example.org", "shop.example.org"]),
            site("exact", &["www.shop.example.org", "[::1]"]),
            site("late", &["*", "*.example.org", "www.shop.example.org"]),
        ]);
        for (host, name) in [
            ("www.shop.example.org", "exact"),
            ("[::1]", "exact"),
            ("shop.example.org", "long"),
            ("a.shop.example.org", "long"),
            ("a.b.shop.example.org", "long"),
            ("a.example.org", "short"),
            ("a.b.example.org", "short"),
            ("example.org", "any"),
            (".example.org", "any"),
            ("badexample.org", "any"),
            ("192.0.2.1", "any"),
            ("", "any"),
        ] {
            assert_eq!(sites.site(host).map(|site| site.name.as_str()), Some(name), "{host}");
        }
        let without = Sites::new(vec![site("one", &["a.example.org"])]);
        assert!(without.site("b.example.org").is_none());
        assert!(Sites::default().site("a").is_none());
    }
}
