//! What is to be explained, as a person puts it, and the bytes that a client would send.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::rfc::fields::{Fields, is_token};

/// A request that is to be explained.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The URL as clients ask for it: `http://` or `https://`.
    pub url: String,
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// Header lines, each as `Name: value`. A `Host` takes the place of the URL's.
    #[serde(default)]
    pub headers: Vec<String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Why a question is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misput {
    /// It does not begin with a scheme.
    #[error("`{0}` is no absolute URL")]
    Relative(String),
    /// Not one that is answered here.
    #[error("the scheme `{0}` is neither http nor https")]
    Scheme(String),
    /// A name, perhaps with a password, stands before the host.
    #[error("the URL names a user")]
    User,
    /// No client sends it like this.
    #[error("the URL has a space or a control character")]
    Spaces,
    /// It has no host.
    #[error("the URL names no host")]
    NoHost,
    /// It is no token.
    #[error("`{0}` is no method")]
    Method(String),
    /// It is no header line.
    #[error("`{line}` is no header line: {why}")]
    Line {
        /// The line.
        line: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Misput {
    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            Misput::Relative(_) | Misput::NoHost => {
                "Write it as clients ask for it, such as http://www.example.org/news."
            }
            Misput::Scheme(_) => "Write http:// or https://.",
            Misput::User => "Leave it away, and give the header line Authorization if the request has one.",
            Misput::Spaces => "Write it as it goes over the wire: a space is %20.",
            Misput::Method(_) => "Write one such as GET or HEAD.",
            Misput::Line { .. } => "Write `Name: value`.",
        }
    }
}

/// What a client would send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The whole head of the request.
    pub head: Vec<u8>,
    /// Whether that would be over an encrypted connection.
    pub encrypted: bool,
}

impl Question {
    /// What a client would send.
    pub fn sent(&self) -> Result<Sent, Misput> {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return Err(Misput::Relative(self.url.clone()));
        };
        let encrypted = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ if scheme.is_empty() || scheme.contains('/') => return Err(Misput::Relative(self.url.clone())),
            _ => return Err(Misput::Scheme(scheme.to_owned())),
        };
        if self.url.bytes().any(|byte| byte == b' ' || byte.is_ascii_control()) {
            return Err(Misput::Spaces);
        }
        // What stands behind `#` is never sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(Misput::User);
        }
        if authority.is_empty() {
            return Err(Misput::NoHost);
        }
        if !is_token(self.method.as_bytes()) {
            return Err(Misput::Method(self.method.clone()));
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        let mut head = format!("{} {slash}{target} HTTP/1.1\r\n", self.method).into_bytes();
        let fields = self.fields()?;
        if !fields.contains("host") {
            head.extend_from_slice(format!("host: {authority}\r\n").as_bytes());
        }
        fields.write(&mut head);
        head.extend_from_slice(b"\r\n");
        Ok(Sent { head, encrypted })
    }

    fn fields(&self) -> Result<Fields, Misput> {
        let mut fields = Fields::new();
        for line in &self.headers {
            let wrong = |why: String| Misput::Line { line: line.chars().take(100).collect(), why };
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("it has no colon".to_owned()))?;
            fields.push(name, value.as_bytes()).map_err(|bad| wrong(bad.to_string()))?;
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(url: &str, headers: &[&str]) -> Result<String, String> {
        let headers = headers.iter().map(|line| (*line).to_owned()).collect();
        let question = Question { url: url.to_owned(), method: get(), headers };
        match question.sent() {
            Ok(sent) => Ok(String::from_utf8(sent.head).expect("text")),
            Err(misput) => Err(misput.to_string()),
        }
    }

    #[test]
    fn a_question_is_what_a_client_would_send() {
        for (url, headers, head) in [
            ("http://a", &[][..], "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
            ("HTTPS://a:1?b#c", &[], "GET /?b HTTP/1.1\r\nhost: a:1\r\n\r\n"),
            ("http://a/b", &["Host: c", "X:y "], "GET /b HTTP/1.1\r\nhost: c\r\nx: y\r\n\r\n"),
        ] {
            assert_eq!(sent(url, headers).as_deref(), Ok(head), "{url}");
        }
    }

    #[test]
    fn what_is_no_request_says_what_is_wrong() {
        for (url, headers, why) in [
            ("/news", &[][..], "`/news` is no absolute URL"),
            ("www.example.org/x", &[], "`www.example.org/x` is no absolute URL"),
            ("/?u=http://a", &[], "`/?u=http://a` is no absolute URL"),
            ("ftp://a/x", &[], "the scheme `ftp` is neither http nor https"),
            ("http://me:secret@a/x", &[], "the URL names a user"),
            ("http:///x", &[], "the URL names no host"),
            ("http://a/b c", &[], "the URL has a space or a control character"),
            ("http://a/\r\nX: y", &[], "the URL has a space or a control character"),
            ("http://a/", &["Accept"], "`Accept` is no header line: it has no colon"),
            ("http://a/", &["A b: c"], "`A b: c` is no header line: a field name is not a token"),
            (
                "http://a/",
                &["A: b\r\nC: d"],
                "`A: b\r\nC: d` is no header line: a field value has a control character",
            ),
        ] {
            assert_eq!(sent(url, headers), Err(why.to_owned()), "{url}");
        }
        let question = Question { url: "http://a/".to_owned(), method: "GET /".to_owned(), headers: vec![] };
        assert_eq!(question.sent(), Err(Misput::Method("GET /".to_owned())));
    }
}
