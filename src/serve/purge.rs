//! Purge methods on the clients' port: many content management systems send them
//! to the address that their visitors use.
//!
//! What always holds: they are taken from the addresses of the list alone, and
//! with the secret where there is one; where they are off, they are methods like
//! any other.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use ipnet::IpNet;
use serde_json::json;
use subtle::ConstantTimeEq;

use super::Server;
use super::outcome::{Outcome, Record};
use super::reply::{Base, Reply, ReplyBody, ReplyContent};
use crate::clock::monotonic;
use crate::fetch::Asked;
use crate::invalidate::wire::{self, Answer, Spoken};
use crate::invalidate::{Accepted, Invalidator, Unclear, Wanted};
use crate::policy::decide::Plan;
use crate::policy::site::Mode;
use crate::policy::{Received, normalise};
use crate::repopulate::announce::Miss;
use crate::repopulate::{self, Announcer, Reason};
use crate::rfc::date;
use crate::rfc::fields::Fields;
use crate::rfc::range::Spec;
use crate::shed::Errand;
use crate::store::Refused;
use crate::stored::{CacheKey, Selector};

/// Who may purge on the clients' port.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Settings {
    /// From these addresses; from nowhere if there are none.
    pub allow: Vec<IpNet>,
    /// The field that must show the secret.
    pub secret_header: Option<String>,
    /// The secret.
    pub secret: Option<String>,
}

/// Purging on the clients' port, where it is on.
pub struct Purging {
    /// Who may.
    pub settings: Settings,
    /// Who does it.
    pub invalidator: Arc<Invalidator>,
}

impl Purging {
    /// Whether this request is one to purge.
    pub(super) fn is_meant(&self, received: &Received) -> bool {
        !self.settings.allow.is_empty() && wire::METHODS.contains(&received.method.as_str())
    }

    fn may(&self, client: IpAddr, fields: &Fields) -> bool {
        let secret = match (&self.settings.secret_header, &self.settings.secret) {
            (Some(name), Some(secret)) => {
                fields.get(name).is_some_and(|shown| bool::from(shown.ct_eq(secret.as_bytes())))
            }
            _ => true,
        };
        secret && self.settings.allow.iter().any(|network| network.contains(&client.to_canonical()))
    }
}

/// Purges what the request says.
pub(super) async fn purge(server: &Server, received: Received, mut record: Record) -> Reply {
    let purging = &server.purging;
    let client = normalise::client_of(received.peer, &received.fields, &server.presentation);
    record.client = client;
    if !purging.may(client, &received.fields) {
        server.counters.purges_denied.up();
        record.failure = Some("may not purge".to_owned());
        let answer = Answer {
            status: StatusCode::METHOD_NOT_ALLOWED,
            fields: vec![("allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH".to_owned())],
            body: json!({ "error": "purging is not allowed from here", "cure": "Add the address to purge.allow, and send the secret if there is one." }),
        };
        return reply(server, answer, record);
    }
    let answer = match understood(server, &received) {
        Err(unclear) => wire::unclear(&unclear),
        Ok(wanted) => {
            let by = format!("client {client}");
            let again = server.hidden_by(&wanted);
            let done = invalidate(Arc::clone(&purging.invalidator), wanted.clone(), by).await;
            server.want(again);
            if wanted.refresh {
                server.refresh(&wanted.what);
            }
            wire::answer(&wanted, &done)
        }
    };
    if !answer.status.is_success() {
        record.failure = Some(answer.body["error"].as_str().unwrap_or_default().to_owned());
    }
    reply(server, answer, record)
}

fn understood(server: &Server, received: &Received) -> Result<Wanted, Unclear> {
    let field =
        |name: &str| received.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let host = field("host");
    let spoken = Spoken {
        method: received.method.as_str(),
        target: &received.target,
        authority: host.as_deref(),
        field: &field,
    };
    wire::understood(&spoken, &server.sites)
}

impl Server {
    /// Asks the origin anew, in the background, for what is stored under these URLs
    /// and answers a request without special wishes.
    pub fn refresh(&self, what: &[Selector]) {
        for key in what.iter().flat_map(Selector::keys) {
            let Some(found) = self.store.find_in_memory(&key) else { continue };
            let (scheme, rest) = key.text.split_once("://").unwrap_or_default();
            let authority = &rest[..rest.len() - CacheKey::path_of(&key.text).len()];
            let received = Received {
                method: Method::GET,
                target: CacheKey::path_of(&key.text).to_owned(),
                version: Version::HTTP_11,
                fields: [("host", authority)].into_iter().collect(),
                has_body: false,
                peer: IpAddr::from([127, 0, 0, 1]),
                encrypted: scheme == "https",
            };
            let Ok(presented) = normalise::normalise(received, &self.presentation) else { continue };
            let route = self.sites.site(&presented.host).and_then(|site| site.route(presented.path()));
            let Some(rules) = route.map(|route| route.rules.take()) else { continue };
            if rules.mode == Mode::Hidden {
                // As with every purge of it, it has been told that it is wanted.
                continue;
            }
            let selected = found.select(&presented.fields, rules.sort_accept_language).cloned();
            let (Some(response), Some(fetcher)) = (selected, &self.upstreams.direct) else { continue };
            let asked = Arc::new(Asked { presented, rules, key, interims: None });
            // Where there is no room, whoever asks next gets it refreshed.
            if let Ok(place) = self.door.place(Errand::Refresh) {
                let mut plan = Plan::refresh(&asked.presented, &response, &asked.rules, self.clock.now());
                // Where there are only parts nobody has wanted the whole.
                plan.part = (!response.is_complete()).then(|| Spec::first(asked.rules.range_slice));
                fetcher.refresh(&asked, plan, Some(&found), place);
            }
        }
    }
}

/// Something on a hidden route that is to be got anew.
pub struct Again {
    wanted: repopulate::Wanted,
    /// The name of the origin that has it.
    origin: String,
}

impl Server {
    /// What is stored on hidden routes under the URLs that a purge names: nobody who
    /// asks for it afterwards gets it for them. What could not be filled is not held down
    /// any longer: who purges it has mended something.
    pub fn hidden_by(&self, wanted: &Wanted) -> Vec<Again> {
        let keys = wanted.what.iter().flat_map(Selector::keys).filter(|_| !wanted.dry_run);
        keys.flat_map(|key| {
            if let Some(announcer) = &self.upstreams.announcer {
                for form in repopulate::forms(&key, &self.sites) {
                    announcer.wants().lift(form.id(), monotonic());
                }
            }
            self.hidden_under(&key)
        })
        .collect()
    }

    /// What is stored on a hidden route under this key.
    pub(super) fn hidden_under(&self, key: &CacheKey) -> Vec<Again> {
        let Some(found) = self.store.find_in_memory(key) else { return Vec::new() };
        let hidden = found.responses.iter().filter(|response| response.head.hidden);
        let again = hidden.filter_map(|response| {
            let (wanted, origin) = repopulate::again(key, &response.head.secondary, &self.sites)?;
            let origin = self.upstreams.names.get(origin.0).cloned().unwrap_or_default();
            Some(Again { wanted, origin })
        });
        again.collect()
    }

    /// Tells that these are wanted.
    pub fn want(&self, again: Vec<Again>) {
        if let Some(announcer) = &self.upstreams.announcer {
            want(announcer, again);
        }
    }
}

/// Tells that these are wanted.
pub(super) fn want(announcer: &Announcer, again: Vec<Again>) {
    for Again { wanted, origin } in again {
        let (reason, stored, client, traceparent) = (Reason::Purged, None, None, None);
        announcer.miss(Miss { wanted, origin: &origin, reason, stored, client, traceparent });
    }
}

async fn invalidate(invalidator: Arc<Invalidator>, wanted: Wanted, by: String) -> Result<Accepted, Refused> {
    // It waits for the disk and for the lurker; the connection's thread does not.
    let work = tokio::task::spawn_blocking(move || invalidator.invalidate(&wanted, &by));
    work.await.unwrap_or(Err(Refused::Lost))
}

fn reply(server: &Server, answer: Answer, mut record: Record) -> Reply {
    let body = format!("{}\n", answer.body);
    let mut fields = Fields::new();
    fields.add("date", date::format(server.clock.now()));
    fields.add("content-type", "application/json");
    fields.add("cache-control", "no-store");
    for (name, value) in answer.fields {
        fields.add(name, value);
    }
    fields.add("content-length", body.len().to_string());
    record.head(Outcome::Purge, answer.status, b"");
    let length = Some(body.len() as u64);
    let content = ReplyContent::Made(Bytes::from(body.into_bytes()));
    Reply {
        status: answer.status,
        base: Base::None,
        fields,
        body: ReplyBody::new(content, record),
        length,
        close: false,
        tunnel: None,
    }
}
