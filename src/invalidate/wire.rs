//! What the purge clients that exist say over HTTP, as selectors.
//!
//! Content management systems have spoken to Varnish, nginx and Squid for long,
//! each in its own way: a method, a target, and fields that say what is meant. The
//! fields go before the target, and among them tags before patterns.
//!
//! What always holds: what is not understood is refused with the reason, never
//! taken for something else; a pattern that is really a list of tags becomes these
//! tags, and never more than they.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::target::{self, Authority};
use super::{Accepted, MOST_AT_ONCE, Spread, Unclear, Wanted};
use crate::policy::{Rules, Sites};
use crate::store::Refused;
use crate::stored::Selector;
use crate::stored::ban::{self, Ban, tag_list};

/// The methods that purge.
pub const METHODS: [&str; 6] = ["PURGE", "BAN", "PURGEKEYS", "PURGETAGS", "URIBAN", "REFRESH"];

/// Fields that list tags, apart by commas or spaces.
const TAG_LISTS: [&str; 9] = [
    "xkey-purge",
    "xkey-softpurge",
    "xkey",
    "surrogate-key",
    "cache-tag",
    "edge-cache-tag",
    "cache-tags",
    "x-cache-tags",
    "purge-cache-tags",
];

/// Fields that have a pattern over the tags of a response, and the field of the
/// response that it is about where it is no list of tags.
const TAG_PATTERNS: [(&str, &str); 5] = [
    ("x-cache-tags", "x-cache-tags"),
    ("cache-tags", "cache-tags"),
    ("x-cache-tags-pattern", "x-cache-tags"),
    ("x-magento-tags-pattern", "x-magento-tags"),
    ("apiplatform-ban-regex", "cache-tags"),
];

/// A purge as it was said.
pub struct Spoken<'a> {
    /// One of [`METHODS`].
    pub method: &'a str,
    /// A path and query, or an absolute URL.
    pub target: &'a str,
    /// The site's host, as `Host` has it; none where that is this port's own.
    pub authority: Option<&'a str>,
    /// The value of the first field of this name, in lower case.
    pub field: &'a dyn Fn(&str) -> Option<String>,
}

/// What a purge client is answered.
pub struct Answer {
    /// 200 for all that was accepted, also when nothing matched: clients take
    /// anything else for a failure.
    pub status: StatusCode,
    /// More fields.
    pub fields: Vec<(&'static str, String)>,
    /// The content.
    pub body: Value,
}

/// What a purge is answered with.
#[derive(Serialize, JsonSchema)]
pub struct Told {
    /// How many stored responses were hit, or would be.
    purged: usize,
    /// The number of the purge; none where it was only counted.
    sequence: Option<u64>,
    /// Whether they became stale only.
    soft: bool,
    /// Whether they were only counted.
    dry_run: bool,
    /// Whether more may be hit: what has not been tested yet is before it is used.
    pending: bool,
    /// Whether it is on disk.
    durable: bool,
    /// What was meant, in words; the first hundred.
    what: Vec<String>,
    /// In a cluster: whether the other nodes learn of it for certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<bool>,
    /// Why they do not yet. It holds here, and they learn of it in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Why it is not on disk, where it should be, or why other nodes do not learn of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

/// What a refusal says.
#[derive(Serialize, JsonSchema)]
pub struct Refusal {
    /// What is wrong.
    error: String,
    /// What to do about it.
    cure: String,
}

/// The most selectors that an answer repeats.
const MOST_REPEATED: usize = 100;

/// What is answered to a purge that was understood.
pub fn answer(wanted: &Wanted, done: &Result<Accepted, Refused>) -> Answer {
    let refused = |status, error: String, cure: &str, fields| Answer {
        status,
        fields,
        body: json!(Refusal { error, cure: cure.to_owned() }),
    };
    let done = match done {
        Ok(done) => done,
        Err(why @ Refused::BadBan(_)) => {
            let cure = "The documentation of purging has the grammar.";
            return refused(StatusCode::BAD_REQUEST, why.to_string(), cure, Vec::new());
        }
        Err(why @ Refused::TooManyBans(_)) => {
            let cure = "Come again in a moment, purge by tags, or raise store.max_bans.";
            let later = vec![("retry-after", "1".to_owned())];
            return refused(StatusCode::TOO_MANY_REQUESTS, why.to_string(), cure, later);
        }
        Err(why @ Refused::TooMuch { .. }) => {
            let cure = "Send at most 10,000 with each call, and 1 MiB; a tag counts once for each site of the token.";
            return refused(StatusCode::BAD_REQUEST, why.to_string(), cure, Vec::new());
        }
        Err(why @ Refused::Lost) => {
            let cure = "Look into the log, and report it.";
            return refused(StatusCode::INTERNAL_SERVER_ERROR, why.to_string(), cure, Vec::new());
        }
    };
    let what: Vec<String> = wanted.what.iter().take(MOST_REPEATED).map(Selector::to_string).collect();
    // It holds, and yet its caller must know that a restart would forget it, or that
    // other nodes will not learn of it.
    let (status, error, cure) = match (&done.trouble, &done.spread) {
        (Some(trouble), _) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Some(format!("it holds until this node ends, and is not on disk: {trouble}")),
            Some("Mend the disk of node.state, and purge again.".to_owned()),
        ),
        (None, Spread::Never(why)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Some(format!("it holds on this node, and the others do not learn of it: {why}")),
            Some("Mend the link to the broker, and purge again.".to_owned()),
        ),
        (None, Spread::Later(_)) => (StatusCode::ACCEPTED, None, None),
        (None, Spread::Alone | Spread::Confirmed) => (StatusCode::OK, None, None),
    };
    let reason = match &done.spread {
        Spread::Later(why) => Some(format!("the other nodes learn of it later: {why}")),
        _ => None,
    };
    let told = Told {
        purged: done.responses,
        sequence: done.sequence,
        soft: wanted.soft,
        dry_run: wanted.dry_run,
        pending: done.pending,
        durable: done.durable,
        what,
        published: (done.spread != Spread::Alone).then_some(done.spread == Spread::Confirmed),
        reason,
        error,
        cure,
    };
    let mode = match wanted.what.first() {
        Some(Selector::Tag { .. } | Selector::Group { .. }) => "tags",
        Some(Selector::Ban { .. }) => "ban",
        Some(Selector::Prefix { .. }) => "prefix",
        Some(Selector::Host { .. } | Selector::Site { .. }) => "host",
        Some(Selector::All) => "all",
        _ => "url",
    };
    // What clients look for: Proxy Cache Purge, and scripts.
    let mut fields = vec![
        ("x-purged", done.responses.to_string()),
        ("cache-purge-result", format!("{mode};count={}", done.responses)),
    ];
    fields.extend(done.sequence.map(|sequence| ("forebay-purge-seq", sequence.to_string())));
    Answer { status, fields, body: json!(told) }
}

/// What is answered where it is not clear what is meant.
pub fn unclear(unclear: &Unclear) -> Answer {
    let body = json!(Refusal { error: unclear.to_string(), cure: unclear.cure().to_owned() });
    Answer { status: StatusCode::BAD_REQUEST, fields: Vec::new(), body }
}

/// What is meant.
pub fn understood(spoken: &Spoken<'_>, sites: &Sites) -> Result<Wanted, Unclear> {
    let field = |name: &str| (spoken.field)(name).map(|value| value.trim().to_owned());
    let switch = |name: &str| match field(name).as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(Unclear::Field(name.to_owned(), format!("`{other}` is neither 0 nor 1"))),
    };
    let soft = switch("x-purge-soft")?
        || switch("fastly-soft-purge")?
        || field("xkey-softpurge").is_some()
        || spoken.method == "REFRESH";
    let dry_run = switch("x-purge-dry-run")?;
    let forced = switch("x-purge-hard")?;
    if soft && forced {
        let why = "a soft purge is not a hard one".to_owned();
        return Err(Unclear::Field("x-purge-hard".to_owned(), why));
    }
    let refresh = spoken.method == "REFRESH";
    Ok(Wanted { what: meant(spoken, &field, sites)?, soft, forced, dry_run, refresh })
}

fn meant(
    spoken: &Spoken<'_>,
    field: &dyn Fn(&str) -> Option<String>,
    sites: &Sites,
) -> Result<Vec<Selector>, Unclear> {
    if let Some(tags) = tags(spoken, field)? {
        return Ok(tags);
    }
    if matches!(spoken.method, "PURGEKEYS" | "PURGETAGS") {
        let cure = format!("{} needs one of {}", spoken.method, TAG_LISTS.join(", "));
        return Err(Unclear::Field("tags".to_owned(), cure));
    }
    let here = spoken.authority.map(|text| target::authority(text, sites)).transpose()?;
    if let Some(pattern) = field("x-ban-regex") {
        return Ok(vec![on_host(here.as_ref(), sites, spoken, &[("req.url", "~", &pattern)])?]);
    }
    let by_fields =
        [("x-host", "req.http.host"), ("x-url", "req.url"), ("x-content-type", "obj.http.content-type")];
    if by_fields.iter().any(|(name, _)| field(name).is_some()) {
        let patterns: Vec<(&str, String)> = by_fields
            .iter()
            .filter_map(|(name, of)| Some((*of, field(name)?)))
            .filter(|(_, pattern)| pattern != ".*")
            .collect();
        let conditions: Vec<(&str, &str, &str)> =
            patterns.iter().map(|(of, pattern)| (*of, "~", pattern.as_str())).collect();
        return if conditions.is_empty() { Ok(vec![Selector::All]) } else { Ok(vec![banned(&conditions)?]) };
    }
    if let Some(pattern) = field("x-pool") {
        return Ok(vec![banned(&[("obj.http.x-pool", "~", &pattern)])?]);
    }
    if field("clear-cache").is_some_and(|clear| clear.eq_ignore_ascii_case("true")) {
        return Ok(vec![Selector::All]);
    }
    let text = target_of(spoken);
    let regular = match field("x-purge-method").map(|method| method.to_ascii_lowercase()).as_deref() {
        None | Some("default" | "exact") => spoken.method == "BAN" || spoken.method == "URIBAN",
        Some("regex") => true,
        Some("ban-regex" | "tags") => {
            let cure = "it needs X-Ban-Regex, or X-Cache-Tags-Pattern";
            return Err(Unclear::Field("x-purge-method".to_owned(), cure.to_owned()));
        }
        Some(other) => {
            let why = format!("`{other}` is none of default, exact, regex, ban-regex and tags");
            return Err(Unclear::Field("x-purge-method".to_owned(), why));
        }
    };
    // The whole host, as everybody says it.
    if text == "/.*" || text == "/*" || (text == "/" && spoken.method == "BAN") {
        return whole(here, sites, spoken).map(|selector| vec![selector]);
    }
    if regular {
        // As the configurations that go with these clients do it: the target is a
        // pattern that is found anywhere in a URL.
        return Ok(vec![on_host(here.as_ref(), sites, spoken, &[("req.url", "~", &text)])?]);
    }
    let target = spoken.target;
    if let Some(beginning) = target.strip_suffix(".*").or_else(|| target.strip_suffix('*')) {
        return Ok(vec![target::prefix(beginning, spoken.authority, sites)?]);
    }
    Ok(vec![target::url(spoken.target, spoken.authority, sites)?])
}

/// The tags that the fields name, if they name any.
fn tags(
    spoken: &Spoken<'_>,
    field: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Vec<Selector>>, Unclear> {
    for (name, of) in TAG_PATTERNS {
        let Some(pattern) = field(name) else { continue };
        // A field of one name lists tags for one method and has a pattern for another.
        if TAG_LISTS.contains(&name) && spoken.method != "BAN" {
            continue;
        }
        let patterned = pattern.contains(['|', '(', '^', '$', '\\', '*']);
        if !patterned && pattern.contains([',', ' ']) {
            continue;
        }
        if pattern == ".*" {
            return Ok(Some(vec![Selector::All]));
        }
        return Ok(Some(match tag_list(&pattern) {
            Some(tags) => tags.into_iter().map(tag).collect(),
            None => vec![banned(&[(&format!("obj.http.{of}"), "~", &pattern)])?],
        }));
    }
    let mut found = Vec::new();
    for name in TAG_LISTS {
        if let Some(list) = field(name) {
            let tags = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|tag| !tag.is_empty());
            found.extend(tags.map(|text| tag(text.to_owned())));
            if found.is_empty() {
                return Err(Unclear::Field(name.to_owned(), "it names no tag".to_owned()));
            }
        }
    }
    Ok((!found.is_empty()).then_some(found))
}

fn tag(tag: String) -> Selector {
    Selector::Tag { tag, site: None }
}

/// Everything of the host, or of the only site.
fn whole(here: Option<Authority>, sites: &Sites, spoken: &Spoken<'_>) -> Result<Selector, Unclear> {
    // An absolute target goes before `Host` (RFC 9112 section 3.2.2).
    match authority_of_target(spoken, sites)?.or(here) {
        Some(Authority { host, port }) => Ok(Selector::Host { host, port }),
        None if target::is_only_site(sites) => Ok(Selector::All),
        None => Err(Unclear::WhichSite(spoken.target.to_owned())),
    }
}

/// A ban of these conditions on the host that is meant.
fn on_host(
    here: Option<&Authority>,
    sites: &Sites,
    spoken: &Spoken<'_>,
    conditions: &[(&str, &str, &str)],
) -> Result<Selector, Unclear> {
    let of_target = authority_of_target(spoken, sites)?;
    let host = match of_target.as_ref().or(here) {
        Some(Authority { host, port: None }) => Some(host.clone()),
        Some(Authority { host, port: Some(port) }) if *port == 80 || *port == 443 => Some(host.clone()),
        Some(Authority { host, port: Some(port) }) => Some(format!("{host}:{port}")),
        None if target::is_only_site(sites) => None,
        None => return Err(Unclear::WhichSite(spoken.target.to_owned())),
    };
    let mut all: Vec<(&str, &str, &str)> = Vec::new();
    if let Some(host) = &host {
        all.push(("req.http.host", "==", host));
    }
    all.extend_from_slice(conditions);
    banned(&all)
}

fn banned(conditions: &[(&str, &str, &str)]) -> Result<Selector, Unclear> {
    let written: Vec<String> = conditions
        .iter()
        .map(|(field, operator, argument)| format!("{field} {operator} {}", ban::argument(argument)))
        .collect();
    let ban = read(&written.join(" && "))?;
    Ok(Selector::Ban { expression: ban.text().to_owned() })
}

/// What `POST /v1/purge` takes: everything that is named is purged at once, as one
/// invalidation.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Body {
    /// A URL as clients ask for it, or a path where there is one site.
    url: Option<String>,
    /// More of them.
    urls: Vec<String>,
    /// What every URL that is meant begins with.
    prefix: Option<String>,
    /// More of them.
    prefixes: Vec<String>,
    /// A host, with a port where that matters.
    host: Option<String>,
    /// More of them.
    hosts: Vec<String>,
    /// A site by its name; with tags, the site whose tags are meant.
    site: Option<String>,
    /// A tag.
    tag: Option<String>,
    /// More of them.
    tags: Vec<String>,
    /// An expression in Varnish's grammar.
    ban: Option<String>,
    /// Everything.
    all: bool,
    /// Make stale only.
    soft: bool,
    /// Let go of what is on hidden routes as well, which otherwise becomes stale only.
    hard: bool,
    /// Only count.
    dry_run: bool,
}

/// What a `POST` of JSON wants.
pub fn read_json(body: &[u8], sites: &Sites) -> Result<Wanted, Unclear> {
    let body: Body = serde_json::from_slice(body).map_err(|error| Unclear::Json(error.to_string()))?;
    let (soft, forced, dry_run) = (body.soft, body.hard, body.dry_run);
    if soft && forced {
        return Err(Unclear::Json("`soft` and `hard` exclude each other".to_owned()));
    }
    let what = selectors(body, sites)?;
    if what.is_empty() {
        return Err(Unclear::Nothing);
    }
    if what.len() > MOST_AT_ONCE {
        return Err(Unclear::TooMany(what.len()));
    }
    Ok(Wanted { what, soft, forced, dry_run, refresh: false })
}

fn selectors(body: Body, sites: &Sites) -> Result<Vec<Selector>, Unclear> {
    let mut what = Vec::new();
    for url in body.url.iter().chain(&body.urls) {
        what.push(target::url(url, None, sites)?);
    }
    for prefix in body.prefix.iter().chain(&body.prefixes) {
        what.push(target::prefix(prefix, None, sites)?);
    }
    for host in body.host.iter().chain(&body.hosts) {
        let Authority { host, port } = target::authority(host, sites)?;
        what.push(Selector::Host { host, port });
    }
    let tags = body.tag.into_iter().chain(body.tags);
    if let (Some(site), 0) = (&body.site, tags.size_hint().0) {
        what.push(target::site(site, sites)?);
    } else {
        // With tags a site says whose tags are meant.
        body.site.as_deref().map(|site| target::site(site, sites)).transpose()?;
        what.extend(tags.map(|tag| Selector::Tag { tag, site: body.site.clone() }));
    }
    if let Some(ban) = &body.ban {
        what.extend(selectors_of(ban, sites)?);
    }
    if body.all {
        what.push(Selector::All);
    }
    Ok(what)
}

/// What a ban means: the tags that it lists, or itself; both where its field lists tags on
/// some routes only.
pub fn selectors_of(expression: &str, sites: &Sites) -> Result<Vec<Selector>, Unclear> {
    let ban = read(expression)?;
    let rules = || sites.iter().flat_map(|site| &site.routes).map(|route| &route.rules);
    let has_tags = |rules: &Rules, name: &str| rules.tag_fields.iter().any(|field| field == name);
    let itself = || Selector::Ban { expression: ban.text().to_owned() };
    Ok(match ban.as_tags() {
        Some((name, tags)) if rules().any(|rules| has_tags(rules, name)) => {
            let elsewhere = rules().any(|rules| !has_tags(rules, name));
            tags.into_iter().map(tag).chain(elsewhere.then(itself)).collect()
        }
        _ => vec![itself()],
    })
}

fn read(expression: &str) -> Result<Ban, Unclear> {
    Ban::parse(expression).map_err(|why| Unclear::Field("ban".to_owned(), why.to_string()))
}

/// What stands behind the scheme of an absolute target. A path may have a URL in it.
fn absolute<'a>(spoken: &Spoken<'a>) -> Option<&'a str> {
    let target = spoken.target;
    target.split_once("://").map(|(_, rest)| rest).filter(|_| !target.starts_with('/'))
}

/// Path and query of the target, as they were written.
fn target_of(spoken: &Spoken<'_>) -> String {
    let Some(rest) = absolute(spoken) else { return spoken.target.to_owned() };
    match rest.find(['/', '?']).map(|at| &rest[at..]) {
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(query) => format!("/{query}"),
        None => "/".to_owned(),
    }
}

/// The host that an absolute target names.
fn authority_of_target(spoken: &Spoken<'_>, sites: &Sites) -> Result<Option<Authority>, Unclear> {
    let Some(rest) = absolute(spoken) else { return Ok(None) };
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    target::authority(authority, sites).map(Some)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::apart::Handles;
    use crate::policy::site::{FieldNames, HostPattern, PathPattern, Route, Site};

    #[test]
    fn a_ban_that_lists_tags_stays_a_ban_for_routes_where_its_field_has_none() {
        let without = Rules { tag_fields: FieldNames(Arc::default()), ..Rules::default() };
        let kinds = |all: &[&Rules]| {
            let route = |rules: &&Rules| Route {
                name: String::new(),
                path: PathPattern::Any,
                rules: Handles::new(Arc::new(Rules::clone(rules))),
            };
            let routes = all.iter().map(route).collect();
            let sites =
                Sites::new(vec![Site { name: "s".to_owned(), hosts: vec![HostPattern::Any], routes }]);
            let what = selectors_of("obj.http.xkey ~ (^|,)(a|b)(,|$)", &sites).expect("a good ban");
            let kind = |selector: &Selector| matches!(selector, Selector::Ban { .. });
            what.iter().map(kind).collect::<Vec<bool>>()
        };
        assert_eq!(kinds(&[&Rules::default()]), [false, false]);
        assert_eq!(kinds(&[&Rules::default(), &without]), [false, false, true]);
        assert_eq!(kinds(&[&without]), [true]);
    }
}
