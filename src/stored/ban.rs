//! Bans: invalidation by an expression over what a stored response is, in
//! Varnish's grammar.
//!
//! `req.url ~ ^/news/ && obj.http.content-type == text/html`: conditions joined by
//! `&&`, each a field, an operator and an argument, bare or in double quotes.
//!
//! What always holds: a ban's text is its normal form and reads back as the same
//! ban; expressions run in time linear in what they look at, and are bounded in
//! size; a ban only asks for what is kept with a stored response.
//!
//! What it never does: read a pattern in another way than the client that wrote it
//! means it. What cannot be done is refused, with the reason.

use std::sync::Arc;

use http::StatusCode;
use regex::{Regex, RegexBuilder};

use crate::rfc::fields::Fields;

/// The most conditions of one ban.
const MOST_CONDITIONS: usize = 64;
/// The longest pattern, in bytes: purge clients send long lists of tags.
const MOST_PATTERN: usize = 64 * 1024;
/// The most bytes of a compiled pattern.
const MOST_COMPILED: usize = 1024 * 1024;

/// What a stored response is, as far as a ban can ask.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// Lower-case; with its port where that is not the scheme's own.
    pub host: &'a str,
    /// Path and query.
    pub url: &'a str,
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: &'a Fields,
    /// Its age in seconds.
    pub age: u64,
    /// Seconds of freshness left; negative when it is stale.
    pub ttl: i64,
    /// Seconds since it was last used.
    pub last_hit: u64,
}

/// A ban; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ban {
    text: Arc<str>,
    conditions: Arc<[Condition]>,
}

/// Why a ban is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadBan {
    /// There is nothing.
    #[error("an empty ban; say what is to go, such as `req.url ~ ^/news/`")]
    Empty,
    /// A condition is cut short.
    #[error("condition {0} is not complete; write `field operator argument`, joined by `&&`")]
    Incomplete(usize),
    /// Something stands between two conditions.
    #[error(
        "`{1}` after condition {0}; conditions are joined by `&&`, and an argument with spaces stands in double quotes"
    )]
    NotJoined(usize, String),
    /// A quoted argument does not end, or has an escape that does not exist.
    #[error(
        "condition {0}: the quoted argument is not well formed; `\\\"`, `\\\\`, `\\n`, `\\r`, `\\t`, `\\nnn` and `\\xnn` are the escapes"
    )]
    Quoting(usize),
    /// There is no such field.
    #[error(
        "condition {0}: there is no field `{1}`; there are req.url, req.http.host, obj.status, obj.http.NAME, obj.age, obj.ttl and obj.last_hit"
    )]
    NoSuchField(usize, String),
    /// The field is not kept.
    #[error(
        "condition {0}: `{1}` is not kept with a stored response, so nothing could be tested in the background; of a request there are req.url and req.http.host alone"
    )]
    NotKept(usize, String),
    /// The operator does not go with the field.
    #[error("condition {0}: `{1}` cannot be asked with `{2}`; use {3}")]
    Operator(usize, String, String, &'static str),
    /// The argument is not of the field's type.
    #[error("condition {0}: `{1}` is not {2}")]
    Argument(usize, String, &'static str),
    /// The pattern cannot be run in linear time, or is too large.
    #[error("condition {0}: the pattern `{1}` cannot be used: {2}")]
    Pattern(usize, String, String),
    /// There are too many conditions.
    #[error("more than {MOST_CONDITIONS} conditions; split the ban")]
    TooLong,
}

#[derive(Clone, Debug)]
struct Condition {
    field: Field,
    compare: Compare,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Field {
    Url,
    Host,
    Status,
    Header(String),
    Age,
    Ttl,
    LastHit,
}

#[derive(Clone, Debug)]
enum Compare {
    /// The text is this one, or is not.
    Is(String, bool),
    /// The pattern is found, or is not.
    Finds(Regex, bool),
    /// Milliseconds or a status compare so.
    Number(i64, fn(i64, i64) -> bool),
}

impl Ban {
    /// Reads a ban.
    pub fn parse(text: &str) -> Result<Ban, BadBan> {
        let words = words(text)?;
        if words.is_empty() {
            return Err(BadBan::Empty);
        }
        let mut conditions = Vec::new();
        let mut normal = String::new();
        for (index, words) in words.chunks(4).enumerate() {
            let number = index + 1;
            if number > MOST_CONDITIONS {
                return Err(BadBan::TooLong);
            }
            let [field, operator, argument, rest @ ..] = words else {
                return Err(BadBan::Incomplete(number));
            };
            if let Some(joint) = rest.first().filter(|joint| *joint != "&&") {
                return Err(BadBan::NotJoined(number, joint.clone()));
            }
            if index > 0 {
                normal.push_str(" && ");
            }
            let (condition, field) = condition(number, field, operator, argument)?;
            normal.push_str(&format!("{field} {operator} {}", quoted(argument)));
            conditions.push(condition);
        }
        // A joint at the end joins nothing.
        if words.len() % 4 == 0 {
            return Err(BadBan::Incomplete(words.len() / 4 + 1));
        }
        Ok(Ban { text: normal.into(), conditions: conditions.into() })
    }

    /// Its normal form.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it means this response.
    pub fn matches(&self, response: &Described<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(response))
    }

    /// Whether it may mean a response to a request for this, whatever it is like.
    pub fn may_match(&self, host: &str, url: &str) -> bool {
        self.conditions.iter().all(|condition| match &condition.field {
            Field::Url => condition.compare.text(url),
            Field::Host => condition.compare.text(host),
            _ => true,
        })
    }

    /// Whether its answer depends on when it is asked.
    pub fn asks_age(&self) -> bool {
        self.conditions.iter().any(|one| matches!(one.field, Field::Age | Field::Ttl | Field::LastHit))
    }

    /// The tags that it is about, when it is nothing but a list of tags in a field,
    /// each between commas: the field's name and the tags.
    pub fn as_tags(&self) -> Option<(&str, Vec<String>)> {
        let [Condition { field: Field::Header(name), compare: Compare::Finds(pattern, true) }] =
            &self.conditions[..]
        else {
            return None;
        };
        Some((name, anchored_tag_list(pattern.as_str())?))
    }
}

impl Condition {
    fn holds(&self, response: &Described<'_>) -> bool {
        match &self.field {
            Field::Url => self.compare.text(response.url),
            Field::Host => self.compare.text(response.host),
            Field::Header(name) => {
                let mut lines = response.fields.get_all(name);
                let (first, second) = (lines.next(), lines.next());
                match (first, second) {
                    (None, _) => self.compare.missing(),
                    (Some(line), None) => self.compare.text(&String::from_utf8_lossy(line)),
                    (Some(_), Some(_)) => {
                        let all: Vec<&[u8]> = response.fields.get_all(name).collect();
                        self.compare.text(&String::from_utf8_lossy(&all.join(&b", "[..])))
                    }
                }
            }
            Field::Status => self.compare.number(i64::from(response.status.as_u16())),
            Field::Age => self.compare.seconds(response.age),
            Field::LastHit => self.compare.seconds(response.last_hit),
            Field::Ttl => self.compare.number(response.ttl.saturating_mul(1000)),
        }
    }
}

impl Compare {
    fn text(&self, text: &str) -> bool {
        match self {
            Compare::Is(wanted, yes) => (wanted == text) == *yes,
            Compare::Finds(pattern, yes) => pattern.is_match(text) == *yes,
            Compare::Number(..) => false,
        }
    }

    /// What is not there is not equal to anything, and nothing is found in it.
    fn missing(&self) -> bool {
        matches!(self, Compare::Is(_, false) | Compare::Finds(_, false))
    }

    fn number(&self, number: i64) -> bool {
        matches!(self, Compare::Number(wanted, holds) if holds(number, *wanted))
    }

    fn seconds(&self, seconds: u64) -> bool {
        self.number(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))
    }
}

/// One condition, and its field's normal name.
fn condition(
    number: usize,
    field: &str,
    operator: &str,
    argument: &str,
) -> Result<(Condition, String), BadBan> {
    let lower = field.to_ascii_lowercase();
    let kind = match lower.as_str() {
        "req.url" => Field::Url,
        "req.http.host" => Field::Host,
        "obj.status" => Field::Status,
        "obj.age" => Field::Age,
        "obj.ttl" => Field::Ttl,
        "obj.last_hit" => Field::LastHit,
        "obj.grace" | "obj.keep" => return Err(BadBan::NotKept(number, lower)),
        other => match other.strip_prefix("obj.http.") {
            Some(name) if !name.is_empty() => Field::Header(name.to_owned()),
            _ if other.starts_with("req.http.") => return Err(BadBan::NotKept(number, lower)),
            _ => return Err(BadBan::NoSuchField(number, field.to_owned())),
        },
    };
    let refuse = |operators| BadBan::Operator(number, lower.clone(), operator.to_owned(), operators);
    let compare = match &kind {
        Field::Url | Field::Host | Field::Header(_) => match operator {
            "==" | "!=" => {
                let wanted =
                    if kind == Field::Host { argument.to_ascii_lowercase() } else { argument.to_owned() };
                Compare::Is(wanted, operator == "==")
            }
            "~" | "!~" => {
                let pattern = expression(argument)
                    .map_err(|why| BadBan::Pattern(number, argument.chars().take(200).collect(), why))?;
                Compare::Finds(pattern, operator == "~")
            }
            _ => return Err(refuse("==, !=, ~ or !~")),
        },
        Field::Status | Field::Age | Field::Ttl | Field::LastHit => {
            let holds = match operator {
                "==" => |a: i64, b: i64| a == b,
                "!=" => |a, b| a != b,
                ">" => |a, b| a > b,
                ">=" => |a, b| a >= b,
                "<" => |a, b| a < b,
                "<=" => |a, b| a <= b,
                _ => return Err(refuse("==, !=, >, >=, < or <=")),
            };
            let wanted = if kind == Field::Status {
                let status = argument.parse::<u16>().ok().filter(|status| (100..=999).contains(status));
                let bad = || BadBan::Argument(number, argument.to_owned(), "a status, such as 404");
                status.map(i64::from).ok_or_else(bad)?
            } else {
                let bad =
                    || BadBan::Argument(number, argument.to_owned(), "a time, such as 90s, 5m, 1h or 2d");
                millis(argument).ok_or_else(bad)?
            };
            Compare::Number(wanted, holds)
        }
    };
    Ok((Condition { field: kind, compare }, lower))
}

/// A time in milliseconds, as Varnish writes it; a bare number is seconds.
fn millis(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: f64 = match unit {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        "d" => 86_400e3,
        "w" => 604_800e3,
        "y" => 31_536_000e3,
        _ => return None,
    };
    let millis = number.parse::<f64>().ok()? * unit;
    // Casting saturates; what is no number was refused.
    millis.is_finite().then_some(millis as i64)
}

/// The words of a ban: bare ones end at white space, quoted ones at their quote.
fn words(text: &str) -> Result<Vec<String>, BadBan> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let number = words.len() / 4 + 1;
        if let Some(quoted) = rest.strip_prefix('"') {
            let (word, after) = unquoted(quoted).ok_or(BadBan::Quoting(number))?;
            if !after.is_empty() && !after.starts_with(char::is_whitespace) {
                return Err(BadBan::Quoting(number));
            }
            words.push(word);
            rest = after.trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = rest[end..].trim_start();
        }
        if words.len() > 4 * MOST_CONDITIONS {
            return Err(BadBan::TooLong);
        }
    }
    Ok(words)
}

/// What stands before the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut word: Vec<u8> = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((String::from_utf8(word).ok()?, &text[at + 1..])),
            b'\\' => match bytes.next()?.1 {
                b'n' => word.push(b'\n'),
                b'r' => word.push(b'\r'),
                b't' => word.push(b'\t'),
                same @ (b'"' | b'\\') => word.push(same),
                b'x' => {
                    let digits = [bytes.next()?.1, bytes.next()?.1];
                    word.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                }
                first @ b'0'..=b'7' => {
                    let digits = [first, bytes.next()?.1, bytes.next()?.1];
                    word.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()?);
                }
                _ => return None,
            },
            byte => word.push(byte),
        }
    }
    None
}

/// An argument as it would be written: bare where it can be.
fn quoted(word: &str) -> String {
    let bare = !word.is_empty()
        && word != "&&"
        && !word.starts_with('"')
        && !word.chars().any(|c| c.is_whitespace() || c.is_control());
    if bare {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A pattern for words in an expression, quoted where it has to be.
pub fn argument(text: &str) -> String {
    quoted(text)
}

/// A pattern that clients write for PCRE, as it is run here; says why where that
/// cannot be done.
///
/// What PHP's `preg_quote` escapes is meant literally, also `\<` and `\>`, which
/// the library reads as the edges of words.
pub fn expression(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MOST_PATTERN {
        return Err(format!("it is longer than {MOST_PATTERN} bytes"));
    }
    if let Some(what) = beyond_linear_time(pattern) {
        return Err(format!("{what} cannot be run in linear time; say it without"));
    }
    let pattern = pattern.replace("\\<", "<").replace("\\>", ">");
    RegexBuilder::new(&pattern)
        .size_limit(MOST_COMPILED)
        .dfa_size_limit(MOST_COMPILED)
        .nest_limit(100)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
            // The library draws a picture over several lines; its last line says it.
            other => other.to_string().lines().last().unwrap_or_default().trim().to_owned(),
        })
}

/// What a pattern has that only a backtracking engine can do.
fn beyond_linear_time(pattern: &str) -> Option<&'static str> {
    let mut bytes = pattern.bytes().enumerate();
    let mut class = false;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                let (_, escaped) = bytes.next()?;
                if !class && matches!(escaped, b'1'..=b'9' | b'k' | b'g') {
                    return Some("a back-reference");
                }
            }
            b'[' => class = true,
            b']' => class = false,
            b'(' if !class => {
                let rest = &pattern[at + 1..];
                if rest.starts_with("?=") || rest.starts_with("?!") {
                    return Some("look-ahead");
                } else if rest.starts_with("?<=") || rest.starts_with("?<!") {
                    return Some("look-behind");
                } else if rest.starts_with("?>") {
                    return Some("an atomic group");
                }
            }
            _ => {}
        }
    }
    None
}

/// The tags that a pattern lists, when it is nothing but a list of tags:
/// `(^|,)(a|b)(,|$)`, `((^|,)a(,|$))|((^|,)b(,|$))`, `(a|b)($|\,)`, `a|b`. Their
/// characters are unquoted. `None` for a pattern that is really one.
pub fn tag_list(pattern: &str) -> Option<Vec<String>> {
    tags_of(pattern, false)
}

/// As [`tag_list`], where each tag stands between commas or at an end: `foo` alone
/// is then a pattern, which is found in `foobar` as well.
pub fn anchored_tag_list(pattern: &str) -> Option<Vec<String>> {
    tags_of(pattern, true)
}

fn tags_of(pattern: &str, anchored: bool) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    for part in split_outside_groups(pattern)? {
        let part = without_group(part);
        let start = ["(^|,)", "(,|^)"].iter().find_map(|start| part.strip_prefix(start));
        let inner = start.unwrap_or(part);
        let end = ["(,|$)", "($|,)", "(\\,|$)", "($|\\,)"].iter().find_map(|end| inner.strip_suffix(end));
        if anchored && (start.is_none() || end.is_none()) {
            return None;
        }
        let inner = end.unwrap_or(inner);
        for tag in split_outside_groups(without_group(inner))? {
            tags.push(literal(without_group(tag))?);
        }
    }
    Some(tags)
}

/// The alternatives of a pattern, at its outermost level.
fn split_outside_groups(pattern: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut start, mut escaped) = (Vec::new(), 0usize, 0, false);
    for (at, byte) in pattern.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b'|' if depth == 0 => {
                parts.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&pattern[start..]);
    (depth == 0).then_some(parts)
}

/// What stands in a group, when the whole is one.
fn without_group(pattern: &str) -> &str {
    let Some(inner) = pattern.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else {
        return pattern;
    };
    let (mut depth, mut escaped) = (0usize, false);
    for byte in inner.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return pattern,
            },
            _ => {}
        }
    }
    if escaped || inner.starts_with('?') { pattern } else { inner }
}

/// The text that a pattern means literally, if it has no other meaning.
fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next()?;
                if escaped.is_alphanumeric() {
                    return None;
                }
                text.push(escaped);
            }
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' | '|' => return None,
            c => text.push(c),
        }
    }
    (!text.is_empty() && !text.contains([',', ' '])).then_some(text)
}
