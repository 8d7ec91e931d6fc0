//! What a route answers with when nothing else is left.

use bytes::Bytes;

/// What clients get who would get an error of ours.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Fallback {
    /// A page that forebay makes: HTML, JSON or text, as the client wants it.
    #[default]
    Page,
    /// A file that the operator has written.
    File(StaticFile),
    /// Another place, to which `GET` and `HEAD` are sent.
    Redirect(String),
}

/// A file as it was when the configuration was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticFile {
    /// Where it was.
    pub path: String,
    /// What it is, by its name.
    pub kind: &'static str,
    /// Its content.
    pub content: Bytes,
}

/// The largest file, in bytes.
pub const MOST_FILE: u64 = 1024 * 1024;

/// Endings of file names, and what they stand for.
const KINDS: [(&str, &str); 7] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("json", "application/json"),
    ("txt", "text/plain; charset=utf-8"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
];

impl StaticFile {
    /// The kind of a file of this name, if it is known.
    pub fn kind_of(path: &str) -> Option<&'static str> {
        let (_, ending) = path.rsplit_once('.')?;
        KINDS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
    }

    /// The endings that are known.
    pub fn endings() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(ending, _)| *ending)
    }

    /// Whether it is JSON.
    pub fn is_json(&self) -> bool {
        self.kind == "application/json"
    }
}
