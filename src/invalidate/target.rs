//! What a text in an operator's hand names: a URL, a path, a host.

use http::Uri;

use crate::policy::Sites;
use crate::rfc::{host, uri};
use crate::stored::Selector;

/// Why it is not clear what is meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unclear {
    /// What was given is no URL.
    #[error("`{0}` is no absolute http or https URL and no path")]
    NotAUrl(String),
    /// The host is not one.
    #[error("`{0}` is no host")]
    NotAHost(String),
    /// A path alone does not say which of several sites is meant.
    #[error("there are several sites, and `{0}` does not say which one is meant")]
    WhichSite(String),
    /// No site answers for the host.
    #[error("no site answers for `{0}`")]
    NoSuchSite(String),
    /// There is no site of this name.
    #[error("there is no site named `{0}`")]
    NoSuchName(String),
    /// Nothing was named.
    #[error("nothing says what is to be purged")]
    Nothing,
    /// The content is not the JSON that is expected.
    #[error("the content is not understood: {0}")]
    Json(String),
    /// More is named than one purge takes.
    #[error("{0} things at once are too many")]
    TooMany(usize),
    /// A field does not say what it should.
    #[error("`{0}`: {1}")]
    Field(String, String),
}

impl Unclear {
    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            Unclear::NotAUrl(_) => "Give an absolute URL, such as http://www.example.org/path.",
            Unclear::NotAHost(_) => {
                "Give the host as the clients do, such as www.example.org or www.example.org:8080."
            }
            Unclear::WhichSite(_) => {
                "Add the site: `Host: www.example.org`, or the whole URL http://www.example.org/path."
            }
            Unclear::NoSuchSite(_) => {
                "Name a host that one of the sites answers for; GET /v1/config shows them."
            }
            Unclear::NoSuchName(_) => "GET /v1/config shows the names of the sites.",
            Unclear::Nothing | Unclear::Json(_) => {
                "Send one or more of \"url\", \"urls\", \"prefix\", \"prefixes\", \"host\", \"hosts\", \"site\", \
                 \"tag\", \"tags\", \"ban\", \"all\": true; with \"soft\": true to make stale only, \
                 \"dry_run\": true to count only."
            }
            Unclear::TooMany(_) => "Send at most 10,000 with each call.",
            Unclear::Field(..) => "The documentation of purging says what each field takes.",
        }
    }
}

/// A host and port out of the configuration's sites.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    /// Lower-case.
    pub host: String,
    /// If one was given.
    pub port: Option<u16>,
}

/// The URL that `text` names: absolute, or a path together with `authority` (the
/// `Host` of a purge). Without an authority a path means the only site.
pub fn url(text: &str, authority: Option<&str>, sites: &Sites) -> Result<Selector, Unclear> {
    let (authority, path_and_query) = parts(text, authority, sites)?;
    Ok(match authority {
        None => Selector::Path { path_and_query },
        // Whoever purges seldom knows by which scheme it was asked for.
        Some(Authority { host, port }) => Selector::Url { scheme: None, host, port, path_and_query },
    })
}

/// Everything that begins as `text` does.
pub fn prefix(text: &str, authority: Option<&str>, sites: &Sites) -> Result<Selector, Unclear> {
    let (authority, path_and_query) = parts(text, authority, sites)?;
    let (host, port) = authority.map_or((None, None), |authority| (Some(authority.host), authority.port));
    Ok(Selector::Prefix { host, port, prefix: path_and_query })
}

/// A host that one of the sites answers for.
pub fn authority(text: &str, sites: &Sites) -> Result<Authority, Unclear> {
    let parsed = host::parse_authority(text.as_bytes()).ok_or_else(|| Unclear::NotAHost(text.to_owned()))?;
    if sites.site(&parsed.host).is_none() {
        return Err(Unclear::NoSuchSite(parsed.host));
    }
    Ok(Authority { host: parsed.host, port: parsed.port })
}

/// A site by its name.
pub fn site(name: &str, sites: &Sites) -> Result<Selector, Unclear> {
    if sites.iter().any(|site| site.name == name) {
        Ok(Selector::Site { site: name.to_owned() })
    } else {
        Err(Unclear::NoSuchName(name.to_owned()))
    }
}

/// Whether one site answers for everything.
pub fn is_only_site(sites: &Sites) -> bool {
    sites.iter().count() == 1
}

/// The authority, and path and query in canonical form.
fn parts(text: &str, given: Option<&str>, sites: &Sites) -> Result<(Option<Authority>, String), Unclear> {
    let (given, path) = match text.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        _ if text.starts_with('/') => (given, text),
        _ => return Err(Unclear::NotAUrl(text.to_owned())),
    };
    let path = path.split('#').next().unwrap_or_default();
    let with_slash = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    // The same parser as for requests: what no request can ask for is not stored.
    if !with_slash.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none()) {
        return Err(Unclear::NotAUrl(text.to_owned()));
    }
    let path_and_query = uri::canonical_path_and_query(&with_slash).into_owned();
    let authority = given.map(|given| authority(given, sites)).transpose()?;
    if authority.is_none() && !is_only_site(sites) {
        return Err(Unclear::WhichSite(text.to_owned()));
    }
    Ok((authority, path_and_query))
}
