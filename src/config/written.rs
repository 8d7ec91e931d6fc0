//! A configuration as it was written: a tree of values that know their place.
//!
//! A file gives the tree, flags are laid over it; from there on nobody needs to
//! know which of the two a value came from, except to say where a fault is.
//! Nothing here knows which settings exist.

use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;

/// Where something was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// On this line of the file.
    Line(usize),
    /// With this flag of the command line.
    Flag(String),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// A value as it was written.
#[derive(Clone, Debug)]
pub enum Value {
    /// Quoted text.
    Text(String),
    /// A whole number, unless it is too large for any setting.
    Number(Option<i64>, String),
    /// `true` or `false`.
    Switch(bool),
    /// What no setting takes: a fraction or a date, as text.
    Other(String),
    /// Several values.
    List(Vec<Written>),
    /// A table of its own.
    Table(Table),
    /// What a flag gave: its kind is known only by the setting that reads it.
    Bare(String),
}

impl Value {
    /// The number that it is, if it is one that is not negative.
    pub fn number(&self) -> Option<u64> {
        match self {
            Value::Number(Some(number), _) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// Keys and their values, in the order of the keys.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: Vec<(String, Place, Written)>,
}

/// Parses a file as far as that goes: the tree, and what is no TOML in it.
pub fn parse(source: &str, text: &str) -> (Table, Vec<Fault>) {
    let lines = Lines::of(text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    let faults = errors
        .iter()
        .map(|error| {
            let line = lines.at(error.span().map_or(0, |span| span.start));
            let written = text.lines().nth(line - 1).unwrap_or("").trim();
            // A token must not reach a log because a quote is missing behind it.
            let shown = !written.is_empty() && !written.contains("token");
            Fault {
                source: source.to_owned(),
                line: Some(line),
                setting: String::new(),
                value: shown.then(|| format!("`{}`", shortened(written))),
                problem: format!("not TOML: {}", one_line(error.message())),
                cure: syntax_cure(error.message()).to_owned(),
            }
        })
        .collect();
    (table(tree.get_ref(), &lines), faults)
}

impl Table {
    /// The keys with their places and values.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Place, &Written)> {
        self.entries.iter().map(|(key, place, written)| (key.as_str(), place, written))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Written> {
        self.entries.iter().find(|(name, ..)| name == key).map(|(.., written)| written)
    }

    /// Sets `key`, in place of what it was.
    pub fn put(&mut self, key: &str, written: Written) {
        self.remove(key);
        self.entries.push((key.to_owned(), written.place.clone(), written));
    }

    /// Takes `key` away.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(name, ..)| name != key);
    }

    /// The table `key`, made if it is missing; `None` when it is something else.
    pub fn table_mut(&mut self, key: &str, place: &Place) -> Option<&mut Table> {
        if self.get(key).is_none() {
            self.put(key, Written { place: place.clone(), value: Value::Table(Table::default()) });
        }
        match self.get_mut(key).map(|written| &mut written.value) {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        }
    }

    /// The table at `index` of the list `key`.
    pub fn listed_mut(&mut self, key: &str, index: usize) -> Option<&mut Table> {
        match &mut self.get_mut(key)?.value {
            Value::List(list) => match &mut list.get_mut(index)?.value {
                Value::Table(table) => Some(table),
                _ => None,
            },
            _ => None,
        }
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut Written> {
        self.entries.iter_mut().find(|(name, ..)| name == key).map(|(.., written)| written)
    }
}

impl Written {
    /// The value as its author sees it, cut to a length that suits a message.
    pub fn shown(&self) -> String {
        shortened(&self.value.shown())
    }
}

impl Value {
    fn shown(&self) -> String {
        match self {
            Value::Text(text) | Value::Bare(text) => format!("{text:?}"),
            Value::Number(_, text) | Value::Other(text) => text.clone(),
            Value::Switch(on) => on.to_string(),
            Value::List(list) => {
                let members: Vec<_> = list.iter().map(|member| member.value.shown()).collect();
                format!("[{}]", members.join(", "))
            }
            Value::Table(_) => "{ ... }".to_owned(),
        }
    }

    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) | Value::Bare(_) => "text",
            Value::Number(..) => "a number",
            Value::Switch(_) => "true or false",
            Value::Other(_) => "a fraction or a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Lines(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line, counted from one, of the byte at `offset`.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}

fn table(tree: &DeTable<'_>, lines: &Lines) -> Table {
    let entries = tree.iter().map(|(key, value)| {
        let place = Place::Line(lines.at(key.span().start));
        (key.get_ref().to_string(), place, written(value, lines))
    });
    Table { entries: entries.collect() }
}

fn written(spanned: &Spanned<DeValue<'_>>, lines: &Lines) -> Written {
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            Value::Number(i64::from_str_radix(number.as_str(), number.radix()).ok(), number.to_string())
        }
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(list) => Value::List(list.iter().map(|member| written(member, lines)).collect()),
        DeValue::Table(inner) => Value::Table(table(inner, lines)),
    };
    Written { place: Place::Line(lines.at(spanned.span().start)), value }
}

fn syntax_cure(message: &str) -> &'static str {
    if message.contains("quoted") {
        "Write text in quotes: key = \"text\"."
    } else if message.contains("duplicate key") {
        "Keep one of the two."
    } else if message.contains("table") {
        "Write a section as [name], and an entry of a list as [[origin]]."
    } else if message.contains("string") {
        "Close the text with the quote that opened it, on the same line; write \\\\ for a backslash in \"...\"."
    } else if message.contains("array") {
        "Write a list as [\"one\", \"two\"]."
    } else if message.contains("recursion") {
        "Nest less deeply."
    } else {
        "Write each setting on a line of its own, as key = value, with text in \"quotes\"."
    }
}

fn one_line(message: &str) -> String {
    let mut line = String::new();
    for part in message.lines().map(str::trim).filter(|part| !part.is_empty()) {
        let _ = write!(line, "{}{part}", if line.is_empty() { "" } else { ", " });
    }
    line
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
