//! Fills: responses that somebody got for the edges, and word of those that could not
//! be had, as letters.
//!
//! What always holds: a letter says what it is for and carries a token that covers all
//! of it, so that whoever may write to the broker may not write to the cache.

use bytes::Bytes;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{Wanted, schema_of};
use super::token::{BadToken, Claim, Secrets, digest};
use crate::broker::Letter;
use crate::clock::Wall;
use crate::invalidate::Moment;
use crate::rfc::fields::Fields;

/// The media type of a fill: the content is the response's own, its head stands in
/// the header [`HEADER`].
pub const FILL: &str = "application/vnd.forebay.fill";
/// The media type of word of a key that was not filled.
pub const NOTICE: &str = "application/vnd.forebay.notice+json";
/// Where the head of a fill stands, or the token of a notice.
pub const HEADER: &str = "forebay-fill";

/// How long a fill may be on its way, in milliseconds.
const ON_ITS_WAY: u64 = 600_000;

/// The head of a response that somebody got, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FillHead {
    /// What it answers.
    pub wanted: Wanted,
    /// Its status.
    pub status: u16,
    /// Its fields; each byte of a value is one character.
    pub fields: Vec<(String, String)>,
    /// When the origin was asked, in milliseconds since 1970.
    pub requested_ms: u64,
    /// When the head arrived.
    pub received_ms: u64,
}

/// A fill as it is read: what it says, and the moment that it knows of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fill {
    /// Its head.
    pub head: FillHead,
    /// What was invalidated after it is later than the response.
    pub moment: Moment,
}

/// What is told of a key that was not filled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Word {
    /// The origin was asked in vain, and will be asked again.
    Postponed {
        /// After so many milliseconds.
        pause_ms: u64,
    },
    /// The origin was asked in vain as often as that is done.
    Failed,
    /// The response may not be stored.
    NotStorable {
        /// Why.
        reason: String,
    },
}

/// Word of a key that was not filled.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Notice {
    /// What was wanted.
    wanted: Wanted,
    /// What became of it.
    word: Word,
}

/// How a piece of work has ended, for the pacer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Which key.
    pub key: String,
    /// Which release of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// How.
    pub ended: EndedAs,
    /// How long the origin took, in milliseconds.
    pub took_ms: u64,
    /// When the origin wants to be asked again, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// How a piece of work stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndedAs {
    /// It has not; a worker has begun with it.
    Begun,
    /// The origin answers; the rest of a large response is still on its way.
    Answering,
    /// The origin answered.
    Answered,
    /// The origin said that it was asked too much.
    TooMany,
    /// The origin failed.
    Failed,
    /// The origin did not have to be asked.
    NotAsked,
}

/// The schemas of what is told beside miss events: the head of a fill, word of a key that
/// was not filled, and how a piece of work has ended.
pub fn schemas() -> [(&'static str, serde_json::Value); 3] {
    [
        ("FillHead", schema_of::<FillHead>()),
        ("Notice", schema_of::<Notice>()),
        ("Outcome", schema_of::<Outcome>()),
    ]
}

/// A head or a letter that is no fill.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFill {
    /// It cannot be understood.
    #[error("the fill cannot be understood: {0}")]
    Malformed(String),
    /// It has no right to be kept.
    #[error(transparent)]
    Token(#[from] BadToken),
}

impl FillHead {
    /// The head of a response with these fields.
    pub fn new(wanted: Wanted, status: StatusCode, fields: &Fields, requested: Wall, received: Wall) -> Self {
        let text = |value: &[u8]| value.iter().map(|byte| char::from(*byte)).collect::<String>();
        FillHead {
            wanted,
            status: status.as_u16(),
            fields: fields.iter().map(|(name, value)| (name.to_owned(), text(value))).collect(),
            requested_ms: requested.millis(),
            received_ms: received.millis(),
        }
    }

    /// Its fields, if they can be written.
    pub fn fields(&self) -> Result<Fields, BadFill> {
        let mut fields = Fields::new();
        for (name, value) in &self.fields {
            let bytes: Result<Vec<u8>, _> = value.chars().map(u8::try_from).collect();
            let bytes = bytes.map_err(|_| BadFill::Malformed(format!("the value of `{name}`")))?;
            fields.push(name, &bytes).map_err(|bad| BadFill::Malformed(bad.to_string()))?;
        }
        Ok(fields)
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The letter of a response that was got after `moment`.
pub fn letter(secrets: &Secrets, head: &FillHead, body: Bytes, moment: Moment, now: Wall) -> Letter {
    let said = head.to_json();
    let response = digest([said.as_bytes(), &body]);
    let token = sign(secrets, head.wanted.clone(), moment, now, response);
    Letter {
        id: super::event::new_id(now),
        content_type: FILL.to_owned(),
        headers: vec![(HEADER.to_owned(), said), ("forebay-fill-token".to_owned(), token)],
        body,
        expires: Some(std::time::Duration::from_millis(ON_ITS_WAY)),
    }
}

/// What is said over HTTP of a response whose body follows: its head, and a token for
/// that.
pub fn announced(secrets: &Secrets, head: &FillHead, moment: Moment, now: Wall) -> (String, String) {
    let said = head.to_json();
    let token = sign(secrets, head.wanted.clone(), moment, now, digest([said.as_bytes()]));
    (said, token)
}

/// The head of a fill whose body follows, as it was [announced].
pub fn read_announced(secrets: &Secrets, said: &str, token: &str, now: Wall) -> Result<Fill, BadFill> {
    read_head(secrets, said, token, digest([said.as_bytes()]), now)
}

/// The letter that tells of a key that was not filled.
pub fn notice(secrets: &Secrets, wanted: Wanted, word: Word, now: Wall) -> Letter {
    let said = serde_json::to_vec(&Notice { wanted: wanted.clone(), word }).unwrap_or_default();
    let token = sign(secrets, wanted, Moment::default(), now, digest([&said[..]]));
    Letter {
        id: super::event::new_id(now),
        content_type: NOTICE.to_owned(),
        headers: vec![("forebay-fill-token".to_owned(), token)],
        body: said.into(),
        expires: Some(std::time::Duration::from_millis(ON_ITS_WAY)),
    }
}

/// What a letter says.
pub enum Read {
    /// A response.
    Fill(Fill, Bytes),
    /// Word of a key that was not filled.
    Word(Wanted, Word),
}

/// What a letter says, if it may.
pub fn read(secrets: &Secrets, letter: &Letter, now: Wall) -> Result<Read, BadFill> {
    let token = letter.header("forebay-fill-token").ok_or(BadToken::Forged)?;
    match letter.content_type.as_str() {
        FILL => {
            let said = letter.header(HEADER).ok_or_else(|| BadFill::Malformed("no head".to_owned()))?;
            let response = digest([said.as_bytes(), &letter.body]);
            Ok(Read::Fill(read_head(secrets, said, token, response, now)?, letter.body.clone()))
        }
        NOTICE => {
            let claim = secrets.verify(token, now)?;
            let notice: Notice = parse(&letter.body)?;
            if claim.response != Some(digest([&letter.body[..]])) || claim.wanted != notice.wanted {
                return Err(BadToken::Other.into());
            }
            Ok(Read::Word(notice.wanted, notice.word))
        }
        other => Err(BadFill::Malformed(format!("content of the type `{other}`"))),
    }
}

fn read_head(
    secrets: &Secrets,
    said: &str,
    token: &str,
    response: String,
    now: Wall,
) -> Result<Fill, BadFill> {
    let claim = secrets.verify(token, now)?;
    let head: FillHead = parse(said.as_bytes())?;
    if claim.response.as_ref() != Some(&response) || claim.wanted != head.wanted {
        return Err(BadToken::Other.into());
    }
    Ok(Fill { head, moment: claim.moment })
}

fn sign(secrets: &Secrets, wanted: Wanted, moment: Moment, now: Wall, response: String) -> String {
    let expires_ms = now.millis().saturating_add(ON_ITS_WAY);
    secrets.sign(&Claim { wanted, moment, expires_ms, response: Some(response) })
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadFill> {
    serde_json::from_slice(bytes).map_err(|error| BadFill::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> FillHead {
        let wanted =
            Wanted { scheme: "http".into(), host: "a".into(), port: 80, target: "/x".into(), vary: vec![] };
        let fields: Fields =
            [("content-type", &b"text/plain"[..]), ("x-latin", b"\xe4")].into_iter().collect();
        FillHead::new(wanted, StatusCode::OK, &fields, Wall::from_millis(1), Wall::from_millis(2))
    }

    #[test]
    fn a_fill_reads_back_and_no_part_of_it_can_be_changed() {
        let secrets = Secrets::shared(&["s".to_owned()]).expect("one");
        let now = Wall::from_millis(5);
        let moment = Moment { node: "n".into(), number: 7, ..Moment::default() };
        let good = letter(&secrets, &head(), "body".into(), moment.clone(), now);
        let Ok(Read::Fill(fill, body)) = read(&secrets, &good, now) else { panic!("it is good") };
        assert_eq!((&fill.head, &fill.moment, &body[..]), (&head(), &moment, &b"body"[..]));
        assert_eq!(fill.head.fields().expect("fields").get("x-latin"), Some(&b"\xe4"[..]));
        let mut other = good.clone();
        other.body = "bodi".into();
        assert!(read(&secrets, &other, now).is_err(), "another body");
        let mut other = good.clone();
        other.headers[0].1 = good.headers[0].1.replace("200", "404");
        assert!(read(&secrets, &other, now).is_err(), "another head");
        let word = notice(&secrets, head().wanted, Word::Failed, now);
        assert!(matches!(read(&secrets, &word, now), Ok(Read::Word(_, Word::Failed))));
        let mut other = good.clone();
        other.headers[1].1 = word.headers[0].1.clone();
        assert!(read(&secrets, &other, now).is_err(), "another token");
        assert!(read(&secrets, &good, Wall::from_millis(5 + ON_ITS_WAY)).is_err(), "too late");
        let stranger = Secrets::shared(&["t".to_owned()]).expect("one");
        assert!(read(&stranger, &good, now).is_err(), "another secret");
    }

    #[test]
    fn what_is_announced_over_http_covers_the_head() {
        let secrets = Secrets::shared(&["s".to_owned()]).expect("one");
        let now = Wall::from_millis(5);
        let (said, token) = announced(&secrets, &head(), Moment::default(), now);
        assert!(read_announced(&secrets, &said, &token, now).is_ok());
        assert!(read_announced(&secrets, &said.replace("200", "201"), &token, now).is_err());
        let good = letter(&secrets, &head(), Bytes::new(), Moment::default(), now);
        assert!(read_announced(&secrets, &said, &good.headers[1].1, now).is_err());
    }
}
