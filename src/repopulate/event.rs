//! Miss events: what is wanted, how much, and since when, as CloudEvents 1.0 in
//! structured mode (`application/cloudevents+json`).
//!
//! What always holds: an event has nothing of a client in it but the normalised
//! values that its route varies on; whoever reads one takes no address from it but
//! the URL that is wanted, which is looked up in its own configuration.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Wall;
use crate::invalidate::Moment;
use crate::policy::{Presented, Rules};
use crate::rfc::date;
use crate::stored::{CacheKey, StoredResponse};

/// The type of a miss event. A later version has another one.
pub const MISS: &str = "io.forebay.cache.miss.v1";

/// The media type of an event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// The longest event that is read, in bytes.
const LONGEST: usize = 256 * 1024;

/// A response that is wanted: a URL and the values that tell its variants apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Wanted {
    /// `http` or `https`.
    pub scheme: String,
    /// Lower-case, without port.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Canonical path and query.
    pub target: String,
    /// The fields that the route varies on and their normalised values, by name;
    /// those that are absent are left out.
    pub vary: Vec<(String, String)>,
}

/// Why something is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing is stored.
    Absent,
    /// What is stored is stale.
    Stale,
    /// What was stored has been purged.
    Purged,
    /// Somebody wants it to be there before it is asked for.
    Warm,
}

/// How urgent it is; the first goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A client waits for something that is known to exist.
    User,
    /// A client was served something stale.
    Refresh,
    /// A client asks for something of which nothing is known.
    Unknown,
    /// Nobody waits.
    Warm,
}

impl Class {
    /// All of them, the most urgent first.
    pub const ALL: [Class; 4] = [Class::User, Class::Refresh, Class::Unknown, Class::Warm];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Class::User => "user",
            Class::Refresh => "refresh",
            Class::Unknown => "unknown",
            Class::Warm => "warm",
        }
    }
}

/// A miss event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissEvent {
    /// No other event has it.
    pub id: String,
    /// Who tells it: `/forebay/NODE`.
    pub source: String,
    /// When it was told.
    pub time: Wall,
    /// Nobody is to act on it after this.
    pub expires: Wall,
    /// The trace that the client's request belongs to (W3C Trace Context).
    pub traceparent: Option<String>,
    /// What is wanted.
    pub wanted: Wanted,
    /// Why.
    pub reason: Reason,
    /// How urgently.
    pub class: Class,
    /// By how many requests, since it was last told.
    pub misses: u64,
    /// The last invalidation that the teller knows of.
    pub moment: Moment,
    /// The entity tag of what is still stored.
    pub etag: Option<String>,
    /// The `Last-Modified` of what is still stored.
    pub last_modified: Option<String>,
    /// Where it is filled, as host and port of the teller's admin port.
    pub fill: String,
    /// The right to fill it.
    pub token: String,
    /// How often the origin was asked in vain.
    pub attempts: u32,
    /// As work: which release by the pacer this is.
    pub release: Option<String>,
}

/// Why an event is not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is no miss event that this forebay understands: {0}")]
pub struct NotUnderstood(String);

impl Wanted {
    /// What a request on a hidden route wants, once it has been narrowed.
    pub fn of(presented: &Presented, rules: &Rules) -> Self {
        let value = |name: &str| Some((name.to_owned(), presented.fields.get_str(name)?.to_owned()));
        let mut vary: Vec<(String, String)> = rules.vary_on.iter().filter_map(value).collect();
        vary.sort();
        vary.dedup();
        Wanted {
            scheme: presented.scheme.to_owned(),
            host: presented.host.clone(),
            port: presented.port,
            target: presented.path_and_query.clone(),
            vary,
        }
    }

    /// The same, as far as this response that it selects tells variants apart: however
    /// many values clients think of, what they get is one response, and wanted once.
    pub fn narrowed_to(mut self, stored: &StoredResponse) -> Self {
        self.vary.retain(|(name, _)| stored.head.secondary.names().any(|on| on == name));
        self
    }

    /// What tells it apart from everything else, the same everywhere.
    pub fn id(&self) -> u128 {
        self.hash(|_| true)
    }

    /// What tells whether it is known to exist. What is there in one coding is there in
    /// all, of which a route has a few; other values are as many as clients think of.
    pub fn known_id(&self) -> u128 {
        self.hash(|name| name != "accept-encoding")
    }

    fn hash(&self, counts: impl Fn(&str) -> bool) -> u128 {
        let mut hash = Sha256::new();
        hash.update(self.cache_key().text.as_bytes());
        for (name, value) in self.vary.iter().filter(|(name, _)| counts(name)) {
            hash.update([0]);
            hash.update(name);
            hash.update([0]);
            hash.update(value);
        }
        let bytes = hash.finalize();
        let first: [u8; 16] = std::array::from_fn(|at| bytes[at]);
        u128::from_be_bytes(first)
    }

    /// The cache key.
    pub fn cache_key(&self) -> CacheKey {
        CacheKey::new(&self.scheme, &self.host, self.port, &self.target)
    }

    /// The URL, as clients ask for it.
    pub fn url(&self) -> String {
        let default = if self.scheme == "https" { 443 } else { 80 };
        if self.port == default {
            format!("{}://{}{}", self.scheme, self.host, self.target)
        } else {
            format!("{}://{}:{}{}", self.scheme, self.host, self.port, self.target)
        }
    }
}

/// A miss event as CloudEvents 1.0 has it, in structured mode. Whoever reads one takes no
/// address from it but the URL that is wanted, and looks that up in its own configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(title = "MissEvent")]
struct CloudEvent {
    /// The version of CloudEvents.
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// No other event has it. The same when the event comes again.
    id: String,
    /// Who tells it: `/forebay/NODE`.
    source: String,
    /// A later version has another one.
    #[schemars(extend("const" = MISS))]
    #[serde(rename = "type")]
    kind: String,
    /// The URL that is wanted, as clients ask for it.
    subject: String,
    /// When it was told.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// What `data` is.
    #[schemars(extend("const" = "application/json"))]
    datacontenttype: String,
    /// What tells the wanted response apart from all others; the same as `data.key`.
    partitionkey: String,
    /// Nobody is to act on it after this.
    #[schemars(extend("format" = "date-time"))]
    expirytime: String,
    /// The trace that the client's request belongs to (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// What is wanted, and how to fill it.
    data: Data,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Data {
    /// A digest of the URL and of the values of `vary`, as 32 hexadecimal digits.
    key: String,
    /// The method; never another one.
    #[schemars(extend("const" = "GET"))]
    method: String,
    /// How clients ask for it.
    #[schemars(extend("enum" = ["http", "https"]))]
    scheme: String,
    /// Lower-case, without port.
    host: String,
    /// The port that clients ask.
    port: u16,
    /// The canonical path.
    path: String,
    /// The query, if there is one, as far as its parameters count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// The request fields that the route varies on, and their normalised values. Make the
    /// response as if it had been asked for with these and no others.
    vary: BTreeMap<String, String>,
    /// Why it is wanted.
    reason: Reason,
    /// How urgently.
    class: Class,
    /// By how many requests, since it was last told.
    misses: u64,
    /// The last invalidation that the teller knows of. What is made after the event was
    /// read is newer.
    moment: Moment,
    /// The entity tag of what is still stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// The `Last-Modified` of what is still stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    /// How to fill it.
    fill: FillAt,
    /// How often the origin was asked in vain.
    #[serde(default)]
    attempts: u32,
    /// As work: which release by the pacer this is; word of its end says it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct FillAt {
    /// The admin port of the node that wants it, as host and port. Know your edges by your
    /// own configuration rather than by this.
    at: String,
    /// The right to fill it: send it as it is, in `Forebay-Fill-Token`.
    token: String,
}

impl MissEvent {
    /// As it is sent.
    pub fn to_json(&self) -> Vec<u8> {
        let (path, query) = match self.wanted.target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (self.wanted.target.clone(), None),
        };
        let key = format!("{:032x}", self.wanted.id());
        let event = CloudEvent {
            specversion: "1.0".to_owned(),
            id: self.id.clone(),
            source: self.source.clone(),
            kind: MISS.to_owned(),
            subject: self.wanted.url(),
            time: date::rfc3339(self.time),
            datacontenttype: "application/json".to_owned(),
            partitionkey: key.clone(),
            expirytime: date::rfc3339(self.expires),
            traceparent: self.traceparent.clone(),
            data: Data {
                key,
                method: "GET".to_owned(),
                scheme: self.wanted.scheme.clone(),
                host: self.wanted.host.clone(),
                port: self.wanted.port,
                path,
                query,
                vary: self.wanted.vary.iter().cloned().collect(),
                reason: self.reason,
                class: self.class,
                misses: self.misses,
                moment: self.moment.clone(),
                etag: self.etag.clone(),
                last_modified: self.last_modified.clone(),
                fill: FillAt { at: self.fill.clone(), token: self.token.clone() },
                attempts: self.attempts,
                release: self.release.clone(),
            },
        };
        serde_json::to_vec(&event).unwrap_or_default()
    }

    /// What was received.
    pub fn read(bytes: &[u8]) -> Result<MissEvent, NotUnderstood> {
        let no = |why: &str| NotUnderstood(why.to_owned());
        if bytes.len() > LONGEST {
            return Err(no("it is too long"));
        }
        let event: CloudEvent =
            serde_json::from_slice(bytes).map_err(|error| NotUnderstood(error.to_string()))?;
        if event.specversion != "1.0" {
            return Err(no("its specversion is not 1.0"));
        }
        if event.kind != MISS {
            return Err(NotUnderstood(format!("its type is not {MISS}")));
        }
        let data = event.data;
        if data.method != "GET" {
            return Err(no("its method is not GET"));
        }
        if !matches!(data.scheme.as_str(), "http" | "https") {
            return Err(no("its scheme is neither http nor https"));
        }
        if !data.path.starts_with('/') || !data.path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(no("its path is none"));
        }
        let target = match data.query {
            None => data.path,
            Some(query) if query.bytes().all(|b| b.is_ascii_graphic()) => format!("{}?{query}", data.path),
            Some(_) => return Err(no("its query is none")),
        };
        let time = |text: &str| date::parse_rfc3339(text).ok_or_else(|| no("a time is none of RFC 3339"));
        let wanted = Wanted {
            scheme: data.scheme,
            host: data.host,
            port: data.port,
            target,
            vary: data.vary.into_iter().collect(),
        };
        if data.key != format!("{:032x}", wanted.id()) {
            return Err(no("its key is not that of its URL and its values"));
        }
        Ok(MissEvent {
            id: event.id,
            source: event.source,
            time: time(&event.time)?,
            expires: time(&event.expirytime)?,
            traceparent: event.traceparent,
            wanted,
            reason: data.reason,
            class: data.class,
            misses: data.misses,
            moment: data.moment,
            etag: data.etag,
            last_modified: data.last_modified,
            fill: data.fill.at,
            token: data.fill.token,
            attempts: data.attempts,
            release: data.release,
        })
    }

    /// The schema of an event, for those who read them in other languages.
    pub fn schema() -> serde_json::Value {
        schema_of::<CloudEvent>()
    }
}

/// The schema of what is told, in one piece, as AsyncAPI documents take it.
pub(super) fn schema_of<T: JsonSchema>() -> serde_json::Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// An id that no other event has, growing with time: when, and a random part.
pub fn new_id(now: Wall) -> String {
    format!("{:012x}{:016x}", now.millis(), fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event with everything in it.
    fn event() -> MissEvent {
        let wanted = Wanted {
            scheme: "https".into(),
            host: "shop.example".into(),
            port: 443,
            target: "/p/42?size=l".into(),
            vary: vec![("accept-encoding".into(), "br".into())],
        };
        let time = Wall::from_millis(1_800_000_000_123);
        MissEvent {
            id: new_id(time),
            source: "/forebay/edge-a1".into(),
            time,
            expires: time.plus(std::time::Duration::from_secs(120)),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            wanted,
            reason: Reason::Stale,
            class: Class::Refresh,
            misses: 17,
            moment: Moment { node: "edge-a1-1".into(), number: 88_121, ..Moment::default() },
            etag: Some("\"v1\"".into()),
            last_modified: None,
            fill: "10.0.0.7:6090".into(),
            token: "t".into(),
            attempts: 2,
            release: None,
        }
    }

    #[test]
    fn an_event_is_a_cloud_event_and_reads_back() {
        let event = event();
        let json = event.to_json();
        assert_eq!(MissEvent::read(&json).expect("understood"), event);
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(value["subject"], "https://shop.example/p/42?size=l");
        assert_eq!(value["time"], "2027-01-15T08:00:00.123Z");
        assert_eq!(value["data"]["query"], "size=l");
        // Names of attributes are lower-case letters and digits (CloudEvents 1.0).
        let names = value.as_object().expect("an object").keys();
        assert!(names.into_iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn what_is_no_event_is_refused_with_a_reason() {
        let good = String::from_utf8(event().to_json()).expect("text");
        for (from, to) in [
            ("\"1.0\"", "\"0.3\""),
            ("miss.v1", "miss.v2"),
            ("\"GET\"", "\"POST\""),
            ("\"https\"", "\"ftp\""),
            ("\"/p/42\"", "\"p/42\""),
            ("\"/p/42\"", "\"/p/43\""),
            ("\"br\"", "\"gzip\""),
            ("2027-01-15T08:00:00.123Z", "yesterday"),
            ("\"misses\":17", "\"misses\":-1"),
            ("{", "["),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(MissEvent::read(bad.as_bytes()).is_err(), "{to}");
        }
    }
}
