//! The request that an origin is sent: built anew from the presented request,
//! never the client's bytes passed through.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use super::Asked;
use crate::message::{READ, RequestHead};
use crate::policy::site::{Forwarded, OriginHost, Rules};
use crate::policy::{Hop, Presented, choice};
use crate::rfc::fields::{Fields, write_number};
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

/// The request for `purpose`, as this node sends it.
pub fn request(asked: &Asked, hop: &Hop, purpose: Purpose<'_>) -> RequestHead {
    let Asked { presented, rules, key, .. } = asked;
    let received = &presented.fields;
    let mut fields = Fields::with_capacity(received.len() + 8, received.written_len() + 256);
    match &rules.origin_host {
        OriginHost::Client => {
            fields.add_with("host", |value| presented.write_authority(value));
        }
        OriginHost::Fixed(host) => fields.add("host", host),
    }
    if let Some(id) = received.get("x-request-id") {
        fields.add("x-request-id", id);
    }
    let whole = matches!(purpose, Purpose::Store | Purpose::Validate(_) | Purpose::Choose(_));
    fields.extend_from(received, |name| !(is_own(name) || whole && is_condition(name)));
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
    forward(&mut fields, presented, rules);
    if rules.surrogate_control {
        fields.add("surrogate-capability", surrogate::capability());
    }
    fields.add_with("via", |value| {
        write_said(received, "via", value);
        value.extend_from_slice(version_of(presented.version).as_bytes());
        value.extend_from_slice(hop.name().as_bytes());
    });
    // A line of its own: what others have written stays as it is (RFC 8586 2).
    fields.add_with("cdn-loop", |value| hop.write_member(key, value));
    let method = if whole { Method::GET } else { presented.method.clone() };
    RequestHead { method, target: presented.path_and_query.clone(), fields }
}

/// Whether this node says it itself, or not at all.
fn is_own(name: &[u8]) -> bool {
    match name.first() {
        Some(b'h') => name == b"host",
        Some(b'c') => name == b"content-length",
        Some(b'e') => name == b"expect",
        Some(b'v') => name == b"via",
        Some(b'x') => name == b"x-request-id" || name.starts_with(b"x-forwarded-"),
        Some(b'f') => name == b"forwarded" || name == READ.as_bytes(),
        _ => false,
    }
}

/// Whether it is one of the client's conditions, or asks for a range (RFC 9110 13.1, 14.2); a
/// stored response answers them, not the origin.
fn is_condition(name: &[u8]) -> bool {
    match name.first() {
        Some(b'i') => matches!(
            name,
            b"if-match" | b"if-none-match" | b"if-modified-since" | b"if-unmodified-since" | b"if-range"
        ),
        Some(b'r') => name == b"range",
        _ => false,
    }
}

/// This node's member of `Via` (RFC 9110 7.6.3) for a message received in `version`.
pub fn via_member(version: http::Version, node: &str) -> String {
    format!("{}{node}", version_of(version))
}

/// How a member of `Via` begins.
fn version_of(version: http::Version) -> &'static str {
    if version == http::Version::HTTP_10 { "1.0 " } else { "1.1 " }
}

/// Tells the origin who asked, for what and how. What the client itself says of
/// this is dropped, unless it is a proxy that is trusted.
fn forward(fields: &mut Fields, presented: &Presented, rules: &Rules) {
    let received = &presented.fields;
    let trusted = presented.from_trusted_proxy;
    // The peer is the last hop; whoever it speaks for stands in its own fields.
    match rules.forwarded {
        Forwarded::Off => {}
        Forwarded::XForwarded => {
            // What this node asks for by itself it asks for on nobody's behalf.
            if !presented.peer.is_unspecified() {
                fields.add_with("x-forwarded-for", |value| {
                    if trusted {
                        write_said(received, "x-forwarded-for", value);
                    }
                    write_address(presented.peer, value);
                });
            }
            fields
                .add_with("x-forwarded-proto", |value| value.extend_from_slice(presented.scheme.as_bytes()));
            let host = received.get("x-forwarded-host").filter(|_| trusted);
            fields.add_with("x-forwarded-host", |value| match host {
                Some(host) => value.extend_from_slice(host),
                None => presented.write_authority(value),
            });
        }
        Forwarded::Standard => {
            fields.add_with("forwarded", |value| {
                if trusted {
                    write_said(received, "forwarded", value);
                }
                value.extend_from_slice(b"for=");
                match presented.peer {
                    peer if peer.is_unspecified() => value.extend_from_slice(b"unknown"),
                    peer @ IpAddr::V4(_) => write_address(peer, value),
                    peer @ IpAddr::V6(_) => {
                        value.extend_from_slice(b"\"[");
                        write_address(peer, value);
                        value.extend_from_slice(b"]\"");
                    }
                }
                value.extend_from_slice(b";host=\"");
                presented.write_authority(value);
                value.extend_from_slice(b"\";proto=");
                value.extend_from_slice(presented.scheme.as_bytes());
            });
        }
    }
}

/// Writes what others on the way have said so far, ready to be appended to.
fn write_said(received: &Fields, name: &str, out: &mut Vec<u8>) {
    // Nobody sends empty members (RFC 9110 5.6.1.1).
    for line in received.get_all(name).filter(|line| !line.is_empty()) {
        out.extend_from_slice(line);
        out.extend_from_slice(b", ");
    }
}

fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write_number(octet.into(), out);
            }
        }
        IpAddr::V6(v6) => out.extend_from_slice(v6.to_string().as_bytes()),
    }
}
