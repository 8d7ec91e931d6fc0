//! How each type of a setting is read from what was written, and shown again.
//!
//! A type knows its own words and its own cure. What is shown is what would be
//! written in a file: reading it back gives the same value.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use regex::Regex;

use super::units;
use super::written::Value;
use crate::admin::Scope;
use crate::observe::access_log;
use crate::policy::site::{
    FieldNames, Forwarded, HonourRequest, HostPattern, Mode, OriginHost, Patterns, QueryRule, RangeMiss,
    SetCookie,
};
use crate::shed::PerSecond;

/// A value that can stand in a configuration.
pub trait Typed {
    /// Takes what was written, or says what is wrong with it and changes nothing.
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong>;
    /// What would be written for this value.
    fn shown(&self, kind: &Kind) -> Shown;
}

/// What the type alone does not say: the unit, the range, the form of a text.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A size in bytes.
    Bytes { least: u64, most: u64 },
    /// A plain number.
    Count { least: u64, most: u64 },
    /// A time.
    Time { least: Duration, most: Duration },
    /// A text that passes this test.
    Text(fn(&str) -> Result<(), Wrong>),
    /// All that the type says.
    Plain,
}

/// Why a value is refused.
#[derive(Debug)]
pub struct Wrong {
    /// What is wrong, without a full stop.
    pub problem: String,
    /// What to do, as a sentence.
    pub cure: String,
    /// Whether the value has something in it that nobody else should read.
    pub secret: bool,
}

/// A value as it would be written.
#[derive(Clone, PartialEq, Debug)]
pub enum Shown {
    /// It is not set, and nothing stands for that.
    Unset,
    /// Quoted text.
    Text(String),
    /// A number.
    Number(u64),
    /// `true` or `false`.
    Switch(bool),
    /// Several texts.
    List(Vec<String>),
    /// Several numbers.
    Numbers(Vec<u64>),
}

/// A type whose values are a few words.
pub trait Words: Copy + PartialEq + 'static {
    /// Each word and what it stands for.
    const WORDS: &'static [(&'static str, Self)];
}

impl Words for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[("proxy", Mode::Proxy), ("hidden", Mode::Hidden)];
}

impl Words for SetCookie {
    const WORDS: &'static [(&'static str, Self)] = &[("pass", SetCookie::Pass), ("store", SetCookie::Store)];
}

impl Words for RangeMiss {
    const WORDS: &'static [(&'static str, Self)] =
        &[("range", RangeMiss::Range), ("whole", RangeMiss::Whole), ("both", RangeMiss::Both)];
}

impl Words for HonourRequest {
    const WORDS: &'static [(&'static str, Self)] =
        &[("only-if-cached", HonourRequest::OnlyIfCached), ("all", HonourRequest::All)];
}

impl Words for Forwarded {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("x-forwarded", Forwarded::XForwarded),
        ("forwarded", Forwarded::Standard),
        ("off", Forwarded::Off),
    ];
}

impl Words for access_log::Format {
    const WORDS: &'static [(&'static str, Self)] =
        &[("json", access_log::Format::Json), ("combined", access_log::Format::Combined)];
}

impl<W: Words> Typed for W {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let names = || W::WORDS.iter().map(|(name, _)| *name);
        let cure = || {
            let quoted: Vec<_> = names().map(|name| format!("\"{name}\"")).collect();
            format!("Write {}.", one_of(&quoted))
        };
        let word = text(value, cure)?;
        match W::WORDS.iter().find(|(name, _)| *name == word) {
            Some((_, meant)) => *self = *meant,
            None => return Err(wrong("not a word that this setting knows", cure())),
        }
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        let word = W::WORDS.iter().find(|(_, meant)| meant == self);
        word.map_or(Shown::Unset, |(name, _)| Shown::Text((*name).to_owned()))
    }
}

impl Typed for bool {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        *self = match value {
            Value::Switch(on) => *on,
            Value::Bare(text) if text == "true" => true,
            Value::Bare(text) if text == "false" => false,
            _ => return Err(wrong("neither true nor false", "Write true or false, without quotes.")),
        };
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Switch(*self)
    }
}

/// Numbers differ only in their width; the range of their kind keeps within it.
macro_rules! number {
    ($($width:ty),*) => {$(
        impl Typed for $width {
            fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
                *self = <$width>::try_from(number(value, kind)?)
                    .map_err(|_| wrong("too large", format!("Write at most {}.", <$width>::MAX)))?;
                Ok(())
            }

            fn shown(&self, kind: &Kind) -> Shown {
                let value = *self as u64;
                match kind {
                    Kind::Bytes { .. } => Shown::Text(units::print_size(value)),
                    _ => Shown::Number(value),
                }
            }
        }
    )*};
}
number!(u32, u64, usize);

fn number(value: &Value, kind: &Kind) -> Result<u64, Wrong> {
    match *kind {
        Kind::Bytes { least, most } => {
            let bytes = match value {
                Value::Text(text) | Value::Bare(text) => units::size(text),
                Value::Number(Some(0), _) => Some(0),
                Value::Number(..) => return Err(wrong("a size without a unit", units::SIZE_CURE)),
                _ => None,
            };
            let bytes = bytes.ok_or_else(|| wrong("not a size", units::SIZE_CURE))?;
            within(bytes, least, most, |bytes| format!("\"{}\"", units::print_size(bytes)))
        }
        Kind::Count { least, most } => {
            let count = match value {
                Value::Number(number, _) => *number,
                Value::Bare(text) => text.parse().ok(),
                _ => None,
            };
            let cure = || match most {
                u64::MAX => format!("Write a number from {least} up, without quotes."),
                most => format!("Write a number from {least} to {most}, without quotes."),
            };
            let count = count.ok_or_else(|| wrong("not a whole number", cure()))?;
            let count = u64::try_from(count).map_err(|_| wrong("less than nothing", cure()))?;
            within(count, least, most, |count| count.to_string())
        }
        // A row that gives a number another kind has no range.
        _ => Err(wrong("not a number", "Leave it away.")),
    }
}

impl Typed for Duration {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        let time = match value {
            Value::Text(text) | Value::Bare(text) => units::time(text),
            Value::Number(Some(0), _) => Some(Duration::ZERO),
            Value::Number(..) => return Err(wrong("a time without a unit", units::TIME_CURE)),
            _ => None,
        };
        let time = time.ok_or_else(|| wrong("not a time", units::TIME_CURE))?;
        let (least, most) = match *kind {
            Kind::Time { least, most } => (least, most),
            _ => (Duration::ZERO, Duration::MAX),
        };
        *self = within(time, least, most, |time| format!("\"{}\"", units::print_time(time)))?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(units::print_time(*self))
    }
}

impl Typed for Option<Duration> {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        if matches!(value, Value::Text(text) | Value::Bare(text) if text == "off") {
            *self = None;
            return Ok(());
        }
        let mut time = Duration::ZERO;
        time.read(value, kind)?;
        *self = Some(time);
        Ok(())
    }

    fn shown(&self, kind: &Kind) -> Shown {
        self.map_or_else(|| Shown::Text("off".to_owned()), |time| time.shown(kind))
    }
}

impl Typed for String {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        *self = checked_text(value, kind)?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(self.clone())
    }
}

impl Typed for Option<String> {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        *self = Some(checked_text(value, kind)?);
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        self.clone().map_or(Shown::Unset, Shown::Text)
    }
}

impl Typed for SocketAddr {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || {
            "Write an IP address and a port, such as \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::1]:8080\"."
                .to_owned()
        };
        let text = text(value, cure)?;
        *self = text.parse().map_err(|_| wrong("not an address with a port", cure()))?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(self.to_string())
    }
}

impl Typed for Option<SocketAddr> {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        let mut address = SocketAddr::from(([0, 0, 0, 0], 0));
        address.read(value, kind)?;
        *self = Some(address);
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        self.map_or(Shown::Unset, |address| Shown::Text(address.to_string()))
    }
}

impl Typed for Vec<String> {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        let cure = "Write a list of texts in quotes.";
        let list = members(value, cure, "not a text", |text| Some(text.to_owned()))?;
        if let Kind::Text(check) = kind {
            list.iter().try_for_each(|text| check(text))?;
        }
        *self = list;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::List(self.clone())
    }
}

impl Typed for Vec<IpNet> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = "Write a list of addresses or networks, such as [\"127.0.0.1\", \"10.0.0.0/8\"].";
        *self = members(value, cure, "not a network", |text| {
            text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        })?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::List(self.iter().map(IpNet::to_string).collect())
    }
}

impl Typed for FieldNames {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        let cure = "Write a list of header names, such as [\"surrogate-key\", \"cache-tag\"].";
        let names = members(value, cure, "not the name of a header", |text| {
            http::HeaderName::try_from(text).ok().map(|name| Box::from(name.as_str()))
        })?;
        if let Kind::Text(check) = kind {
            names.iter().try_for_each(|name| check(name))?;
        }
        *self = FieldNames(names.into());
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::List(self.iter().map(str::to_owned).collect())
    }
}

impl Typed for Patterns {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = "Write a list of regular expressions for paths, such as [\"^/p/[0-9]+$\", \"^/img/\"].";
        *self = Patterns(members(value, cure, "not a regular expression", |text| Regex::new(text).ok())?);
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::List(self.0.iter().map(|pattern| pattern.as_str().to_owned()).collect())
    }
}

impl Typed for QueryRule {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = "Write \"all\", or a list of parameters, such as [\"id\", \"page\"].";
        *self = match value {
            Value::Text(text) | Value::Bare(text) if text == "all" => QueryRule::All,
            _ => QueryRule::Only(members(value, cure, "not the name of a parameter", |text| {
                let plain = !text.is_empty() && !text.contains(['&', '=', '#']) && !text.contains(' ');
                plain.then(|| text.to_owned())
            })?),
        };
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        match self {
            QueryRule::All => Shown::Text("all".to_owned()),
            QueryRule::Only(names) => Shown::List(names.clone()),
        }
    }
}

impl Typed for PerSecond {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || "Write a rate, such as \"50/s\", \"30/m\" or \"1000/h\".".to_owned();
        let text = text(value, cure)?;
        *self = units::rate(text).map(PerSecond).ok_or_else(|| wrong("not a rate", cure()))?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(units::print_rate(self.0))
    }
}

impl Typed for Option<PerSecond> {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        if matches!(value, Value::Text(text) | Value::Bare(text) if text == "off") {
            *self = None;
            return Ok(());
        }
        let mut rate = PerSecond(0.0);
        rate.read(value, kind)?;
        *self = Some(rate);
        Ok(())
    }

    fn shown(&self, kind: &Kind) -> Shown {
        self.map_or_else(|| Shown::Text("off".to_owned()), |rate| rate.shown(kind))
    }
}

impl Typed for Option<usize> {
    fn read(&mut self, value: &Value, kind: &Kind) -> Result<(), Wrong> {
        if matches!(value, Value::Text(text) | Value::Bare(text) if text == "off") {
            *self = None;
            return Ok(());
        }
        let mut number = 0usize;
        number.read(value, kind)?;
        *self = Some(number);
        Ok(())
    }

    fn shown(&self, kind: &Kind) -> Shown {
        self.map_or_else(|| Shown::Text("off".to_owned()), |number| number.shown(kind))
    }
}

impl Typed for Vec<Scope> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let all: Vec<String> = Scope::names().map(|name| format!("\"{name}\"")).collect();
        let cure = format!("Write a list of {}.", all.join(", "));
        *self = members(value, &cure, "not a scope", Scope::from_name)?;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::List(self.iter().map(|scope| scope.name().to_owned()).collect())
    }
}

impl Typed for Vec<HostPattern> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = "Write host names without scheme, port and path, such as \
                    [\"example.org\", \"*.example.org\"], or [\"*\"] for every host.";
        let patterns = members(value, cure, "not a host", host_pattern)?;
        if patterns.is_empty() {
            return Err(wrong("no host at all", cure));
        }
        *self = patterns;
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::List(self.iter().map(print_host_pattern).collect())
    }
}

impl Typed for access_log::Output {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || {
            "Write \"off\", \"stdout\", or the path of a file with a slash in it, such as \
             \"/var/log/forebay/access.log\" or \"./access.log\"."
                .to_owned()
        };
        *self = match text(value, cure)? {
            "off" => access_log::Output::Off,
            "stdout" => access_log::Output::Stdout,
            // Without this a mistyped word would silently become a file's name.
            path if path.contains('/') && !path.ends_with('/') && !path.contains('\0') => {
                access_log::Output::File(PathBuf::from(path))
            }
            _ => return Err(wrong("neither a word that this setting knows nor a file's path", cure())),
        };
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(match self {
            access_log::Output::Off => "off".to_owned(),
            access_log::Output::Stdout => "stdout".to_owned(),
            access_log::Output::File(path) => path.display().to_string(),
        })
    }
}

impl Typed for Option<PathBuf> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || "Write a path, such as \"/var/lib/forebay\".".to_owned();
        let path = text(value, cure)?;
        if path.is_empty() || path.contains('\0') {
            return Err(wrong("not a path", cure()));
        }
        *self = Some(PathBuf::from(path));
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        self.as_ref().map_or(Shown::Unset, |path| Shown::Text(path.display().to_string()))
    }
}

impl Typed for OriginHost {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || "Write \"client\", or a host such as \"www.example.org\" or \"app:8080\".".to_owned();
        *self = match text(value, cure)? {
            "client" => OriginHost::Client,
            written => match host_and_port(written) {
                Some(_) => OriginHost::Fixed(written.to_ascii_lowercase()),
                None => return Err(wrong("not a host", cure())),
            },
        };
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        Shown::Text(match self {
            OriginHost::Client => "client".to_owned(),
            OriginHost::Fixed(host) => host.clone(),
        })
    }
}

impl Typed for Option<Regex> {
    fn read(&mut self, value: &Value, _: &Kind) -> Result<(), Wrong> {
        let cure = || "Write a regular expression for the path, such as '\\.(png|jpg)$'.".to_owned();
        let text = text(value, cure)?;
        *self = Some(Regex::new(text).map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            wrong(format!("not a regular expression ({})", reason.trim_end_matches('.')), cure())
        })?);
        Ok(())
    }

    fn shown(&self, _: &Kind) -> Shown {
        self.as_ref().map_or(Shown::Unset, |expression| Shown::Text(expression.as_str().to_owned()))
    }
}

/// A secret that is long enough not to be guessed.
pub fn shared_secret(text: &str) -> Result<(), Wrong> {
    if text.len() >= 16 {
        return Ok(());
    }
    let mut wrong =
        wrong("a secret of less than 16 bytes", "Write a longer one; `openssl rand -hex 32` makes one.");
    wrong.secret = true;
    Err(wrong)
}

/// A field that responses of hidden routes may vary on: nothing that is a client's own.
pub fn vary_field(name: &str) -> Result<(), Wrong> {
    const PERSONAL: [&str; 5] = ["cookie", "authorization", "proxy-authorization", "host", "x-request-id"];
    if PERSONAL.contains(&name) {
        let cure = "Leave it away: what is kept for everybody cannot depend on who asks.";
        return Err(wrong(format!("`{name}` is a client's own"), cure));
    }
    Ok(())
}

/// Any text that is not empty and has no control characters.
pub fn any_text(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(wrong("not a name", "Write some letters."));
    }
    Ok(())
}

/// A name that can stand in `Via` and `Cache-Status`.
pub fn pseudonym(text: &str) -> Result<(), Wrong> {
    let mut bytes = text.bytes();
    // An sf-token (RFC 9651 3.3.4) that is also a token without colon and slash,
    // so that `Via` cannot take it for a host and port.
    let good = bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !good {
        return Err(wrong(
            "not a name that a header can carry",
            "Write a letter and then letters, digits, dots, hyphens and underscores.",
        ));
    }
    Ok(())
}

/// A secret that an `Authorization` field can carry.
pub fn bearer_token(text: &str) -> Result<(), Wrong> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if text.is_empty() || !text.bytes().all(good) {
        return Err(wrong(
            "not a token that a header can carry",
            "Write letters, digits and -._~+/= only, for instance what `openssl rand -hex 32` prints.",
        ));
    }
    Ok(())
}

/// Where a broker listens, and how to log in.
pub fn broker_url(text: &str) -> Result<(), Wrong> {
    let cure = "Write amqp://user:password@host:port/vhost, or amqps://...; `%2f` is the vhost `/`.";
    // What is wrong with it may have the password in it.
    let refused = |_| Wrong { secret: true, ..wrong("not the URL of an AMQP broker", cure) };
    crate::broker::check_url(text).map_err(refused)
}

/// A URL as clients ask for it.
pub fn http_url(text: &str) -> Result<(), Wrong> {
    if crate::repopulate::warm::Url::parse(text).is_some() {
        return Ok(());
    }
    let cure = "Write URLs as clients ask for them, such as \"https://www.example.org/sitemap.xml\".";
    Err(wrong(format!("{text:?} is no URL"), cure))
}

/// The name of a header.
pub fn header_name(text: &str) -> Result<(), Wrong> {
    match http::HeaderName::try_from(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(wrong("not the name of a header", "Write one, such as \"X-Invalidate-Token\".")),
    }
}

/// A directive for the program's own log.
pub fn log_filter(text: &str) -> Result<(), Wrong> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // The filter itself would take a mistyped level for the name of a module.
    let named = |directive: &str| {
        directive.contains('=') || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive.trim()))
    };
    if !text.split(',').all(named) || tracing_subscriber::EnvFilter::try_new(text).is_err() {
        return Err(wrong(
            "not a level",
            "Write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or directives such as \
             \"info,forebay::fetch=debug\".",
        ));
    }
    Ok(())
}

/// The beginning of a path.
pub fn path_prefix(text: &str) -> Result<(), Wrong> {
    let cure = "Write the beginning of a path, such as \"/img/\"; what stands after `?` does not count.";
    if !text.starts_with('/') {
        return Err(wrong("not a path", cure));
    }
    if text.contains(['?', '#']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("a path with characters that stand in no request's path", cure));
    }
    if text.contains('*') {
        return Err(wrong("a path with a wildcard", "Give its beginning alone, or use `match`."));
    }
    Ok(())
}

/// A host pattern as it is written in a file.
pub fn print_host_pattern(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Below(suffix) => format!("*{suffix}"),
        HostPattern::Exactly(host) => host.clone(),
    }
}

/// A refusal.
pub fn wrong(problem: impl Into<String>, cure: impl Into<String>) -> Wrong {
    Wrong { problem: problem.into(), cure: cure.into(), secret: false }
}

pub(super) fn text(value: &Value, cure: impl FnOnce() -> String) -> Result<&str, Wrong> {
    match value {
        Value::Text(text) | Value::Bare(text) => Ok(text),
        other => Err(wrong(format!("{} where text is wanted", other.kind()), cure())),
    }
}

fn checked_text(value: &Value, kind: &Kind) -> Result<String, Wrong> {
    let text = text(value, || "Write text in quotes.".to_owned())?;
    if let Kind::Text(check) = kind {
        check(text)?;
    }
    Ok(text.to_owned())
}

fn within<N: PartialOrd>(value: N, least: N, most: N, print: impl Fn(N) -> String) -> Result<N, Wrong> {
    if value < least {
        return Err(wrong("too small", format!("Write at least {}.", print(least))));
    }
    if value > most {
        return Err(wrong("too large", format!("Write at most {}.", print(most))));
    }
    Ok(value)
}

/// Reads each member of a list; all the bad ones are named together.
pub(super) fn members<T>(
    value: &Value,
    cure: &str,
    problem: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Wrong> {
    let texts: Vec<Result<&str, String>> = match value {
        Value::Bare(list) => list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(Ok).collect(),
        Value::List(list) => list
            .iter()
            .map(|member| match &member.value {
                Value::Text(text) => Ok(text.as_str()),
                _ => Err(member.shown()),
            })
            .collect(),
        _ => return Err(wrong("not a list", cure)),
    };
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for text in texts {
        match text.and_then(|text| read(text).ok_or_else(|| format!("{text:?}"))) {
            Ok(member) => good.push(member),
            Err(shown) => bad.push(shown),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(wrong(format!("{problem}: {}", bad.join(", ")), cure)) }
}

fn host_pattern(text: &str) -> Option<HostPattern> {
    let text = text.to_ascii_lowercase();
    if text == "*" {
        return Some(HostPattern::Any);
    }
    if let Some(below) = text.strip_prefix("*.") {
        return (is_host(below) && !below.starts_with('[')).then(|| HostPattern::Below(format!(".{below}")));
    }
    is_host(&text).then_some(HostPattern::Exactly(text))
}

/// A host with or without a port. The port of a host is never zero.
pub(super) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text.get(after_brackets..)?.find(':') {
        None => is_host(text).then_some((text, None)),
        Some(colon) => {
            let (host, port) = text.split_at_checked(after_brackets + colon)?;
            let digits = port.strip_prefix(':')?;
            let port: u16 = digits.parse().ok().filter(|port| *port != 0 && !digits.starts_with('+'))?;
            is_host(host).then_some((host, Some(port)))
        }
    }
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
