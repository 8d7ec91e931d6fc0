//! Making stored responses unusable on an operator's word.
//!
//! What always holds: from the moment that an invalidation has returned no
//! response from before it is used again, be it stored or on its way.

use http::Uri;

use crate::policy::Sites;
use crate::rfc::{host, uri};
use crate::store::Store;
use crate::stored::CacheKey;

/// What a purge names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A URL: the response stored under it, with both schemes.
    Url {
        /// Lower-case host.
        host: String,
        /// The port, if the URL names one.
        port: Option<u16>,
        /// In canonical form.
        path_and_query: String,
    },
    /// A path and query on the only site there is, on whatever host.
    Path(String),
}

/// Why a purge was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
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
}

/// What a purge has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Purged {
    /// The number of the invalidation.
    pub sequence: u64,
    /// How many stored responses it hit.
    pub responses: usize,
}

impl Target {
    /// What `text` names: an absolute URL, or a path together with `authority`
    /// (the `Host` of a PURGE). Without an authority a path means the only site.
    pub fn parse(text: &str, authority: Option<&str>, sites: &Sites) -> Result<Target, Refused> {
        let (authority, path) = match text.split_once("://") {
            Some((scheme, rest))
                if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
            {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            _ if text.starts_with('/') => (authority, text),
            _ => return Err(Refused::NotAUrl(text.to_owned())),
        };
        let path = path.split('#').next().unwrap_or_default();
        let with_slash = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // The same parser as for requests: what no request can ask for is not stored.
        let valid = with_slash.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none());
        if !valid {
            return Err(Refused::NotAUrl(text.to_owned()));
        }
        let path_and_query = uri::canonical_path_and_query(&with_slash).into_owned();
        match authority {
            Some(authority) => {
                let parsed = host::parse_authority(authority.as_bytes())
                    .ok_or_else(|| Refused::NotAHost(authority.to_owned()))?;
                if sites.site(&parsed.host).is_none() {
                    return Err(Refused::NoSuchSite(parsed.host));
                }
                Ok(Target::Url { host: parsed.host, port: parsed.port, path_and_query })
            }
            None if sites.iter().count() == 1 => Ok(Target::Path(path_and_query)),
            None => Err(Refused::WhichSite(text.to_owned())),
        }
    }
}

/// Makes what `target` names unusable, or only stale.
pub fn purge(store: &Store, target: &Target, soft: bool) -> Purged {
    match target {
        Target::Path(path_and_query) => {
            let (sequence, responses) = store.invalidate_path(path_and_query, soft);
            Purged { sequence, responses }
        }
        Target::Url { host, port, path_and_query } => {
            // Clients of the admin port seldom know which scheme was asked for.
            let keys = [("http", 80), ("https", 443)]
                .map(|(scheme, own)| CacheKey::new(scheme, host, port.unwrap_or(own), path_and_query));
            keys.iter().fold(Purged::default(), |sum, key| {
                let (sequence, responses) = store.invalidate(key, soft);
                Purged { sequence, responses: sum.responses + responses }
            })
        }
    }
}
