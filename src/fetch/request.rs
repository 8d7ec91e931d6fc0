//! The request that an origin is sent: built anew from the presented request,
//! never the client's bytes passed through.

use std::sync::Arc;

use http::Method;

use super::Asked;
use crate::message::{READ, RequestHead};
use crate::policy::site::{Forwarded, OriginHost, Rules};
use crate::policy::{Hop, Presented, choice};
use crate::rfc::fields::Fields;
use crate::rfc::{surrogate, validator};
use crate::stored::StoredResponse;

/// What a request is for; it decides which of the client's fields go along.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// For this client alone: its conditions and ranges hold.
    Pass,
    /// For this client alone, over a connection that leaves HTTP.
    Upgrade,
    /// To be stored: the whole response to `GET`, whatever the client has already,
    /// and be it only a `HEAD` that found it stale.
    Store,
    /// To freshen this stored response to `GET`.
    Validate(&'a StoredResponse),
    /// To be stored, unless the origin chooses one of these, whose tags it is told.
    Choose(&'a [Arc<StoredResponse>]),
}

/// The client's conditions and ranges (RFC 9110 13.1, 14.2); a stored response
/// answers them, not the origin.
const CONDITIONS: [&str; 6] =
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

/// The request for `purpose`, as this node sends it.
pub fn request(asked: &Asked, hop: &Hop, purpose: Purpose<'_>) -> RequestHead {
    let Asked { presented, rules, key, .. } = asked;
    let mut fields = Fields::with_capacity(presented.fields.len() + 8, presented.fields.written_len() + 256);
    match &rules.origin_host {
        OriginHost::Client => fields.add("host", presented.authority()),
        OriginHost::Fixed(host) => fields.add("host", host),
    }
    if let Some(id) = presented.fields.get("x-request-id") {
        fields.add("x-request-id", id);
    }
    let received = &presented.fields;
    let whole = matches!(purpose, Purpose::Store | Purpose::Validate(_) | Purpose::Choose(_));
    for (name, value) in received.iter() {
        let own = matches!(
            name,
            "host" | "content-length" | "expect" | "via" | "forwarded" | "x-request-id" | READ
        ) || name.starts_with("x-forwarded-");
        let unwanted = own || (whole && CONDITIONS.contains(&name));
        if !unwanted {
            fields.add(name, value);
        }
    }
    if let Purpose::Validate(stored) = purpose {
        for (name, value) in validator::conditional_fields(&stored.head.fields) {
            fields.add(name, value);
        }
    }
    if let Purpose::Choose(choices) = purpose {
        fields.add("if-none-match", choice::told(choices));
    }
    if let (Purpose::Upgrade, Some(protocol)) = (purpose, &presented.upgrade) {
        fields.add("connection", "upgrade");
        fields.add("upgrade", protocol);
    }
    forward(&mut fields, received, presented, rules);
    if rules.surrogate_control {
        fields.add("surrogate-capability", surrogate::capability());
    }
    let mut via: Vec<u8> = received.get_all("via").collect::<Vec<_>>().join(&b", "[..]);
    if !via.is_empty() {
        via.extend_from_slice(b", ");
    }
    via.extend_from_slice(via_member(presented.version, hop.name()).as_bytes());
    fields.add("via", via);
    // A line of its own: what others have written stays as it is (RFC 8586 2).
    fields.add("cdn-loop", hop.member(key));
    let method = if whole { Method::GET } else { presented.method.clone() };
    RequestHead { method, target: presented.path_and_query.clone(), fields }
}

/// This node's member of `Via` (RFC 9110 7.6.3) for a message received in `version`.
pub fn via_member(version: http::Version, node: &str) -> String {
    let version = if version == http::Version::HTTP_10 { "1.0" } else { "1.1" };
    format!("{version} {node}")
}

/// Tells the origin who asked, for what and how. What the client itself says of
/// this is dropped, unless it is a proxy that is trusted.
fn forward(fields: &mut Fields, received: &Fields, presented: &Presented, rules: &Rules) {
    let trusted = presented.from_trusted_proxy;
    // The peer is the last hop; whoever it speaks for stands in its own fields.
    match rules.forwarded {
        Forwarded::Off => {}
        Forwarded::XForwarded => {
            // What this node asks for by itself it asks for on nobody's behalf.
            if !presented.peer.is_unspecified() {
                let mut told = joined(received, "x-forwarded-for", trusted);
                told.extend_from_slice(presented.peer.to_string().as_bytes());
                fields.add("x-forwarded-for", told);
            }
            fields.add("x-forwarded-proto", presented.scheme);
            let host = received.get("x-forwarded-host").filter(|_| trusted);
            fields.add("x-forwarded-host", host.map_or_else(|| presented.authority().into(), <[u8]>::to_vec));
        }
        Forwarded::Standard => {
            let mut told = joined(received, "forwarded", trusted);
            let address = match presented.peer {
                std::net::IpAddr::V4(v4) => v4.to_string(),
                std::net::IpAddr::V6(v6) => format!("\"[{v6}]\""),
            };
            let whom = if presented.peer.is_unspecified() { "unknown".to_owned() } else { address };
            let member = format!("for={whom};host=\"{}\";proto={}", presented.authority(), presented.scheme);
            told.extend_from_slice(member.as_bytes());
            fields.add("forwarded", told);
        }
    }
}

/// What a trusted proxy has said so far, ready to be appended to.
fn joined(received: &Fields, name: &str, trusted: bool) -> Vec<u8> {
    let mut told = Vec::new();
    for line in received.get_all(name).filter(|_| trusted) {
        told.extend_from_slice(line);
        told.extend_from_slice(b", ");
    }
    told
}
