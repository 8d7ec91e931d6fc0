//! What an invalidation names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CacheKey;

/// How far an invalidation goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Strength {
    /// What it means becomes stale.
    Soft,
    /// What it means is gone; where nobody could get it anew for the client who asks, as
    /// on a hidden route, it becomes stale.
    #[default]
    Hard,
    /// What it means is gone, wherever it is.
    Forced,
}

impl Strength {
    /// What was asked for.
    pub fn of(soft: bool, forced: bool) -> Self {
        match (soft, forced) {
            (true, _) => Strength::Soft,
            (false, true) => Strength::Forced,
            (false, false) => Strength::Hard,
        }
    }
}

/// What an invalidation names. A response is meant if it is meant by one of the
/// selectors of an invalidation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", tag = "kind")]
pub enum Selector {
    /// A URL, all its variants.
    Url {
        /// `http` or `https`; both if none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scheme: Option<String>,
        /// Lower-case.
        host: String,
        /// The scheme's own if none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// In canonical form.
        path_and_query: String,
    },
    /// A path and query, on whatever host.
    Path {
        /// In canonical form.
        path_and_query: String,
    },
    /// All whose path and query begin so.
    Prefix {
        /// Lower-case; every host if none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Every port if none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// In canonical form.
        prefix: String,
    },
    /// All of a host.
    Host {
        /// Lower-case.
        host: String,
        /// Every port if none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// All of a site.
    Site {
        /// As the configuration calls it.
        site: String,
    },
    /// All that carry a tag.
    Tag {
        /// Exactly as the response says it.
        tag: String,
        /// Only those of this site.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<String>,
    },
    /// All of an origin's cache group (RFC 9875).
    Group {
        /// Scheme, host and port, as in a key.
        authority: String,
        /// Its name.
        group: String,
    },
    /// All that a ban matches.
    Ban {
        /// In Varnish's grammar.
        expression: String,
    },
    /// Everything.
    All,
}

impl Selector {
    /// The keys that it names, if it names keys.
    pub fn keys(&self) -> Vec<CacheKey> {
        let Selector::Url { scheme, host, port, path_and_query } = self else { return Vec::new() };
        [("http", 80), ("https", 443)]
            .into_iter()
            .filter(|(own, _)| scheme.as_deref().is_none_or(|scheme| scheme == *own))
            .map(|(scheme, own)| CacheKey::new(scheme, host, port.unwrap_or(own), path_and_query))
            .collect()
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let with_port = |host: &str, port: &Option<u16>| match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        match self {
            Selector::Url { scheme, host, port, path_and_query } => {
                let scheme = scheme.as_deref().unwrap_or("*");
                write!(f, "url {scheme}://{}{path_and_query}", with_port(host, port))
            }
            Selector::Path { path_and_query } => write!(f, "path {path_and_query}"),
            Selector::Prefix { host, port, prefix } => {
                let host = host.as_deref().map_or_else(|| "*".to_owned(), |host| with_port(host, port));
                write!(f, "prefix *://{host}{prefix}")
            }
            Selector::Host { host, port } => write!(f, "host {}", with_port(host, port)),
            Selector::Site { site } => write!(f, "site {site}"),
            Selector::Tag { tag, site: None } => write!(f, "tag {tag}"),
            Selector::Tag { tag, site: Some(site) } => write!(f, "tag {tag} on site {site}"),
            Selector::Group { authority, group } => write!(f, "group {group} of {authority}"),
            Selector::Ban { expression } => write!(f, "ban {expression}"),
            Selector::All => f.write_str("everything"),
        }
    }
}
