//! URLs that are to be warmed, and what they mean to this node.
//!
//! What always holds: a [`Url`] is in canonical form and can stand in a request; a
//! [`Place`] is on a hidden route, and its request is the one in which a client's would
//! end once it has been narrowed.

use std::borrow::Cow;
use std::fmt;

use super::super::event::Wanted;
use super::super::keep;
use crate::fetch::Asked;
use crate::policy::site::{HostPattern, Site};
use crate::policy::{Sites, narrow};
use crate::rfc::fields::Fields;
use crate::rfc::{host, uri};

/// The longest path and query that is warmed.
const LONGEST: usize = 8 * 1024;

/// An absolute URL in canonical form, without fragment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Url {
    scheme: &'static str,
    host: String,
    port: u16,
    target: String,
}

/// A URL on a hidden route, in one of its variants.
pub struct Place {
    /// What is wanted.
    pub wanted: Wanted,
    /// The request for it.
    pub asked: Asked,
}

impl Url {
    /// The URL that is written so, if it is one of HTTP.
    pub fn parse(text: &str) -> Option<Url> {
        let text = cleaned(text);
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("http") => "http",
            s if s.eq_ignore_ascii_case("https") => "https",
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let authority = host::parse_authority(authority.as_bytes())?;
        let port = authority.port.unwrap_or(default_port(scheme));
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = uri::canonical_path_and_query(&format!("{slash}{target}")).into_owned();
        (target.len() <= LONGEST).then_some(Url { scheme, host: authority.host, port, target })
    }

    /// What a reference on the page at this URL means, if it is on the same scheme, host
    /// and port.
    pub fn join(&self, reference: &str) -> Option<Url> {
        let reference = cleaned(reference);
        let target = uri::same_origin(self.scheme, &self.host, self.port, &self.target, &reference)?;
        (target.len() <= LONGEST).then_some(Url { target, ..self.clone() })
    }

    /// Another path of the same host.
    pub fn at(&self, target: &str) -> Url {
        Url { target: target.to_owned(), ..self.clone() }
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether both have the same scheme, host and port.
    pub fn is_beside(&self, other: &Url) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// Whether what this URL names may itself name the other: they are of one site of the
    /// node, and on one host where the site takes any.
    pub fn may_name(&self, other: &Url, sites: &Sites) -> bool {
        let of_site = |site: &Site| sites.site(&other.host).is_some_and(|theirs| theirs.name == site.name);
        self.is_beside(other)
            || sites.site(&self.host).is_some_and(|site| of_site(site) && names(site, &other.host))
    }

    /// What it means to this node, in the variant of clients that take this coding, or
    /// none; nothing where no hidden route answers for it.
    pub fn place(&self, coding: Option<&str>, sites: &Sites) -> Option<Place> {
        let path = self.target.split('?').next().unwrap_or_default();
        let rules = &sites.site(&self.host)?.route(path)?.rules;
        let fields: Fields = coding.map(|coding| ("accept-encoding", coding)).into_iter().collect();
        let mut presented = keep::plain_get(self.scheme, &self.host, self.port, &self.target, fields);
        narrow::query(&mut presented, rules);
        narrow::variant(&mut presented.fields, rules);
        let wanted = Wanted::of(&presented, rules);
        let asked = keep::asked(&wanted, sites)?;
        Some(Place { wanted, asked })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port != default_port(self.scheme) {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.target)
    }
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// Whether a site names this host, and does not merely take any.
fn names(site: &Site, host: &str) -> bool {
    site.hosts.iter().any(|pattern| match pattern {
        HostPattern::Any => false,
        HostPattern::Below(suffix) => host.ends_with(suffix.as_str()),
        HostPattern::Exactly(name) => host == name,
    })
}

/// A reference as browsers take it: without white space around it and line breaks in it,
/// without its fragment, and with what may not stand in a request encoded.
fn cleaned(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let text = text.split('#').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte);
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let query = text.find('?').unwrap_or(text.len());
    let mut out = String::with_capacity(text.len() + 16);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\t' | b'\n' | b'\r' => {}
            b'\\' if at < query => out.push('/'),
            byte if is_plain(byte) => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::apart::Handles;
    use crate::policy::Rules;
    use crate::policy::site::{Mode, PathPattern, QueryRule, Route};

    #[test]
    fn a_url_is_read_as_browsers_do() {
        for (text, url) in [
            ("http://Example.org", Some("http://example.org/")),
            (" HTTP://example.org:80/a/../b?x#y\n", Some("http://example.org/b?x")),
            ("https://example.org:8443?x", Some("https://example.org:8443/?x")),
            ("http://example.org/\u{e9} x?\u{e9}|", Some("http://example.org/%C3%A9%20x?%C3%A9%7C")),
            ("http:\\\\example.org\\a", Some("http://example.org/a")),
            ("http://[::1]:8080/", Some("http://[::1]:8080/")),
            ("ftp://example.org/", None),
            ("http://user@example.org/", None),
            ("http:///x", None),
            ("/x", None),
            ("", None),
        ] {
            assert_eq!(Url::parse(text).map(|url| url.to_string()).as_deref(), url, "{text:?}");
        }
        assert_eq!(Url::parse(&format!("http://a/{}", "x".repeat(LONGEST))), None);
    }

    #[test]
    fn a_reference_stays_on_its_host() {
        let base = Url::parse("http://a.example:81/d/e?q").expect("a URL");
        for (reference, target) in [
            ("f", Some("/d/f")),
            (" ../f#g ", Some("/f")),
            ("?r", Some("/d/e?r")),
            ("", Some("/d/e?q")),
            ("//a.example:81/x", Some("/x")),
            ("http://a.example:81/x", Some("/x")),
            ("http://a.example/x", None),
            ("https://a.example:81/x", None),
            ("//b.example/x", None),
            ("mailto:x@a.example", None),
            ("javascript:void(0)", None),
            ("data:,x", None),
        ] {
            let joined = base.join(reference);
            assert_eq!(joined.as_ref().map(Url::target), target, "{reference:?}");
        }
    }

    #[test]
    fn a_place_is_on_a_hidden_route_and_narrow() {
        let route = |path: &str, rules: Rules| Route {
            name: path.to_owned(),
            path: PathPattern::Prefix(path.to_owned()),
            rules: Handles::new(Arc::new(rules)),
        };
        let query = QueryRule::Only(vec!["id".to_owned()]);
        let hidden = Rules { mode: Mode::Hidden, query, ..Rules::default() };
        let site = |name: &str, hosts: Vec<HostPattern>| Site {
            name: name.to_owned(),
            hosts,
            routes: vec![route("/proxy", Rules::default()), route("/", hidden.clone())],
        };
        let named = vec![HostPattern::Exactly("a".to_owned()), HostPattern::Below(".a".to_owned())];
        let sites = Sites::new(vec![site("named", named), site("any", vec![HostPattern::Any])]);
        let place = |url: &str, coding| Url::parse(url).and_then(|url| url.place(coding, &sites));
        assert!(place("http://a/proxy/x", None).is_none());
        let plain = place("http://a/x?utm=1&id=2", None).expect("a place");
        assert_eq!((plain.wanted.target.as_str(), plain.wanted.vary.len()), ("/x?id=2", 0));
        let coded = place("http://a/x?id=2", Some("gzip")).expect("a place");
        assert_eq!(coded.wanted.vary, [("accept-encoding".to_owned(), "gzip".to_owned())]);
        assert_eq!(coded.asked.key, plain.asked.key);
        for (one, other, may) in [
            ("http://a/", "http://a/x", true),
            ("http://a/", "https://www.a/x", true),
            ("http://a/", "http://b/x", false),
            ("http://b/", "http://b/x", true),
            ("http://b/", "http://c/x", false),
            ("http://b/", "http://a/x", false),
        ] {
            let (one_url, other_url) = (Url::parse(one).expect("a URL"), Url::parse(other).expect("a URL"));
            assert_eq!(one_url.may_name(&other_url, &sites), may, "{one} {other}");
        }
    }
}
