//! How an origin's servers, probes and choices are written, and what takes its place.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use http::Method;
use regex::Regex;

use super::typed::{Kind, Shown, Typed, Words, Wrong, host_and_port, members, text, wrong};
use super::written::Value;
use crate::origin::balance::Policy;
use crate::origin::probe::Expression;
use crate::origin::resolve::{Family, Name};
use crate::origin::{HashOn, Server};
use crate::policy::fallback::{Fallback, MOST_FILE, StaticFile};

/// How many servers one origin may be written with.
const MOST_SERVERS: usize = 64;
/// The weights that a server may have.
const WEIGHTS: RangeInclusive<u32> = 1..=1000;

impl Words for Policy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("round-robin", Policy::RoundRobin), ("least-busy", Policy::LeastBusy), ("hash", Policy::Hash)];
}

impl Words for Family {
    const WORDS: &'static [(&'static str, Self)] =
        &[("v4", Family::V4), ("v6", Family::V6), ("both", Family::Both)];
}

impl Typed for Vec<SocketAddr> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = "Write addresses in brackets, such as [\"127.0.0.1:8600\"]; without a port it is 53.";
        let read = |text: &str| {
            let of_ip = |ip| SocketAddr::new(ip, 53);
            text.parse().ok().or_else(|| text.parse().ok().map(of_ip))
        };
        *self = members(value, cure, "not addresses", read)?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::List(self.iter().map(SocketAddr::to_string).collect())
    }
}

impl Typed for Vec<Server> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || {
            "Write a URL such as \"http://127.0.0.1:3000\", or a list of them, such as \
             [\"http://a:8080\", \"http://b:8080 weight=2\"]."
                .to_owned()
        };
        let servers: Vec<Server> = match value {
            Value::List(values) => values
                .iter()
                .map(|member| text(&member.value, cure).and_then(server))
                .collect::<Result<_, Wrong>>()?,
            Value::Bare(list) => list.split(',').map(server).collect::<Result<_, Wrong>>()?,
            value => vec![server(text(value, cure)?)?],
        };
        if servers.is_empty() {
            return Err(wrong("an origin without a server", cure()));
        }
        if servers.len() > MOST_SERVERS {
            let problem =
                format!("{} servers in one origin, and at most {MOST_SERVERS} may be", servers.len());
            return Err(wrong(problem, "Give them one name that all of them are found by."));
        }
        for (at, server) in servers.iter().enumerate() {
            if servers.iter().take(at).any(|other| other.name == server.name) {
                return Err(wrong(
                    format!("the server {} twice", shown_url(server)),
                    "Keep one of the two; a weight gives it a larger part.",
                ));
            }
        }
        *self = servers;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        let shown = |server: &Server| match server.weight {
            1 => shown_url(server),
            weight => format!("{} weight={weight}", shown_url(server)),
        };
        match &self[..] {
            [only] => Shown::Text(shown(only)),
            all => Shown::List(all.iter().map(shown).collect()),
        }
    }
}

fn shown_url(server: &Server) -> String {
    let scheme = if server.tls { "https" } else { "http" };
    match &server.name {
        Name::Host { host, port } if host.contains(':') => format!("{scheme}://[{host}]:{port}"),
        Name::Host { host, port } => format!("{scheme}://{host}:{port}"),
        Name::Service(name) if server.tls => format!("srv+https://{name}"),
        Name::Service(name) => format!("srv://{name}"),
    }
}

/// A server as it is written: a URL, and perhaps its weight.
fn server(written: &str) -> Result<Server, Wrong> {
    let mut words = written.split_ascii_whitespace();
    let (name, tls) = name(words.next().unwrap_or_default())?;
    let mut weight = 1;
    for word in words {
        let number = word.strip_prefix("weight=").and_then(|number| number.parse().ok());
        weight = number.filter(|number| WEIGHTS.contains(number)).ok_or_else(|| {
            wrong(
                format!("{word:?} after a server's URL"),
                "Only a weight stands there, such as weight=3: 1 to 1000.",
            )
        })?;
    }
    Ok(Server { name, tls, weight })
}

/// Where a server is, and whether it speaks TLS.
fn name(written: &str) -> Result<(Name, bool), Wrong> {
    let cure =
        "Write http://host or http://host:port, such as \"http://127.0.0.1:3000\", or https:// for TLS.";
    let lower = written.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").ok_or_else(|| wrong("not an http:// URL", cure))?;
    let tls = scheme == "https" || scheme == "srv+https";
    if scheme == "srv" || scheme == "srv+https" {
        let service = rest.trim_end_matches(['/', '.']);
        return match host_and_port(service) {
            Some((name, None)) if name.contains('.') => Ok((Name::Service(name.to_owned()), tls)),
            _ => Err(wrong(
                "not the name of a service",
                "Write srv:// and its name, without a port: \"srv://_web._tcp.example.org\" or \"srv://web.service.consul\".",
            )),
        };
    }
    if scheme != "http" && scheme != "https" {
        return Err(wrong("not an http:// URL", cure));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(Wrong { secret: true, ..wrong("a user name or password in a URL", cure) });
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong(
            "an origin's URL with a path",
            "Leave the path away: the origin is asked for the path that the client asked for.",
        ));
    }
    let (host, port) = host_and_port(authority).ok_or_else(|| wrong("not a host and port", cure))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((Name::Host { host, port: port.unwrap_or(if tls { 443 } else { 80 }) }, tls))
}

impl Typed for HashOn {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || "Write \"key\", \"path\", or \"header:NAME\", such as \"header:X-User\".".to_owned();
        *self = match text(value, cure)? {
            "key" => HashOn::Key,
            "path" => HashOn::Path,
            written => match written.strip_prefix("header:").map(http::HeaderName::try_from) {
                Some(Ok(name)) => HashOn::Header(name.as_str().to_owned()),
                _ => return Err(wrong("nothing that a request is told apart by", cure())),
            },
        };
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(match self {
            HashOn::Key => "key".to_owned(),
            HashOn::Path => "path".to_owned(),
            HashOn::Header(name) => format!("header:{name}"),
        })
    }
}

/// Statuses.
impl Typed for Vec<u16> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || "Write statuses in brackets, such as [200, 204].".to_owned();
        let numbers: Vec<Option<u64>> = match value {
            Value::List(members) => members.iter().map(|member| member.value.number()).collect(),
            Value::Bare(list) => list.split(',').map(|number| number.trim().parse().ok()).collect(),
            _ => return Err(wrong("not a list of statuses", cure())),
        };
        let status = |number: Option<u64>| {
            let number = number.and_then(|number| u16::try_from(number).ok());
            number.filter(|number| (100..=599).contains(number)).ok_or_else(|| wrong("not a status", cure()))
        };
        *self = numbers.into_iter().map(status).collect::<Result<_, Wrong>>()?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Numbers(self.iter().map(|status| u64::from(*status)).collect())
    }
}

impl Typed for Method {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || "Write \"GET\" or \"HEAD\".".to_owned();
        *self = match text(value, cure)? {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            _ => return Err(wrong("not a method that a probe may have", cure())),
        };
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(self.as_str().to_owned())
    }
}

impl Typed for Option<Expression> {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        let mut expression: Option<Regex> = None;
        expression.read(value, kind)?;
        *self = expression.map(Expression);
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        self.as_ref().map_or(Shown::Unset, |expression| Shown::Text(expression.0.as_str().to_owned()))
    }
}

impl Typed for Fallback {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || {
            "Write \"page\", \"file:/path/to/page.html\", or \"redirect:https://status.example.org/\"."
                .to_owned()
        };
        let written = text(value, cure)?;
        *self = if written == "page" {
            Fallback::Page
        } else if let Some(path) = written.strip_prefix("file:") {
            Fallback::File(static_file(path)?)
        } else if let Some(to) = written.strip_prefix("redirect:") {
            let is_url = to.starts_with('/') || to.starts_with("http://") || to.starts_with("https://");
            if !is_url || !to.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("a redirect to what is no URL", cure()));
            }
            Fallback::Redirect(to.to_owned())
        } else {
            return Err(wrong("not a fallback", cure()));
        };
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(match self {
            Fallback::Page => "page".to_owned(),
            Fallback::File(file) => format!("file:{}", file.path),
            Fallback::Redirect(to) => format!("redirect:{to}"),
        })
    }
}

/// A file that is there, small enough, and of a known kind.
fn static_file(path: &str) -> Result<StaticFile, Wrong> {
    let kind = StaticFile::kind_of(path).ok_or_else(|| {
        let endings: Vec<_> = StaticFile::endings().map(|ending| format!(".{ending}")).collect();
        wrong(
            format!("{path} is of no known kind"),
            format!("Let its name end in one of {}.", endings.join(", ")),
        )
    })?;
    let unread = |error: std::io::Error| {
        wrong(format!("{path} cannot be read: {error}"), "Give a file that forebay may read.")
    };
    if std::fs::metadata(path).map_err(unread)?.len() > MOST_FILE {
        return Err(wrong(
            format!("{path} is larger than 1 MiB"),
            "Give a small page: it is kept in memory.",
        ));
    }
    let content = std::fs::read(path).map_err(unread)?.into();
    Ok(StaticFile { path: path.to_owned(), kind, content })
}
