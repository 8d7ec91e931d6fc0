//! From the request as received to the *presented request*: one canonical form
//! that the cache key, the rules and the request to the origin are all made of.
//!
//! What always holds: a presented request has a valid host, a canonical path and
//! no field that would let two readers understand it differently. What the cache
//! looks at is what the origin is sent.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Method, Version};

use super::site::Presentation;
use crate::rfc::fields::{Fields, write_number};
use crate::rfc::{connection, host, uri};

/// A request as a connection received it.
#[derive(Debug)]
pub struct Received {
    /// Any token.
    pub method: Method,
    /// In any of the four forms of RFC 9112 3.2.
    pub target: String,
    /// The protocol version.
    pub version: Version,
    /// As received.
    pub fields: Fields,
    /// Whether content follows, be it empty or not.
    pub has_body: bool,
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// A request in canonical form.
#[derive(Debug)]
pub struct Presented {
    /// Any token but `CONNECT`.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Lower-case, without port.
    pub host: String,
    /// As given, or the scheme's own.
    pub port: u16,
    /// Canonical; `*` for `OPTIONS *`.
    pub path_and_query: String,
    /// The protocol version.
    pub version: Version,
    /// End-to-end fields, without those that would override method or target, and
    /// without what a client that is no trusted proxy says of who asks.
    pub fields: Fields,
    /// The protocol that the client wants to switch to, if it is one to be tunnelled.
    pub upgrade: Option<Vec<u8>>,
    /// Whether content follows.
    pub has_body: bool,
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Who asks: the peer, or whom a trusted proxy names.
    pub client: IpAddr,
    /// Whether the peer is a proxy whose forwarding fields are believed.
    pub from_trusted_proxy: bool,
}

/// Why a request was refused before anything was looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// RFC 9110 4.1.
    #[error("the request target is longer than allowed")]
    TargetTooLong,
    /// RFC 6585 5.
    #[error("the header section is larger than allowed")]
    HeaderTooLarge,
    /// RFC 9112 3.
    #[error("the request line is no request line of HTTP/1")]
    BadRequestLine,
    /// RFC 9110 15.6.6.
    #[error("the version of HTTP is neither 1.0 nor 1.1")]
    UnknownVersion,
    /// RFC 9112 2.2: other readers may see no end of a line there.
    #[error("a line ends with a line feed alone")]
    BareLineFeed,
    /// RFC 9112 5.
    #[error("a line of the header section is no field")]
    BadFieldLine,
    /// RFC 9112 3.2.
    #[error("the request target is in no form that HTTP knows")]
    BadTarget,
    /// RFC 9112 3.2: every HTTP/1.1 request has a Host.
    #[error("the request has no Host")]
    NoHost,
    /// RFC 9112 3.2.
    #[error("the request has more than one Host")]
    TwoHosts,
    /// RFC 9110 7.2.
    #[error("the Host is not a host")]
    BadHost,
    /// RFC 9112 6.3.
    #[error("the request has more than one Content-Length, or is framed in more than one way")]
    AmbiguousLength,
    /// RFC 9110 8.6.
    #[error("the Content-Length is no number")]
    BadLength,
    /// RFC 9112 6.1: the origin is not told of a coding, as it holds for one hop only.
    #[error("the request has a transfer coding other than chunked")]
    UnknownCoding,
    /// RFC 9110 7.4: `https` asked for over a connection that is not encrypted, or
    /// the other way round.
    #[error("the target's scheme is not that of the connection")]
    WrongScheme,
    /// A gateway to origins is no tunnel to anywhere.
    #[error("CONNECT is not supported")]
    Connect,
}

/// Fields that some origins let override the method or the target: a cache that
/// passed them on would store one resource under the name of another.
const OVERRIDES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];

/// The canonical form of a request, or why it has none.
pub fn normalise(received: Received, presentation: &Presentation) -> Result<Presented, Refusal> {
    let Received { method, target, version, mut fields, has_body, peer, encrypted } = received;
    if target.len() > presentation.max_target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    if fields.len() > presentation.max_header_lines || fields.written_len() > presentation.max_header_bytes {
        return Err(Refusal::HeaderTooLarge);
    }
    if method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if fields.members("transfer-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
        return Err(Refusal::UnknownCoding);
    }
    let framings = ["content-length", "transfer-encoding"].map(|name| fields.members(name).count());
    if framings.iter().sum::<usize>() > 1 {
        return Err(Refusal::AmbiguousLength);
    }
    // From here on the cache looks at nothing that the origin will not be sent.
    // HTTP/1.0 knows no other protocols (RFC 9110 7.8), and where content ends that belongs to
    // neither of the two would be a matter of opinion.
    let may_upgrade = version >= Version::HTTP_11 && !has_body;
    let upgrade = connection::upgrade(&fields).filter(|_| may_upgrade).map(<[u8]>::to_vec);
    connection::strip(&mut fields);
    let from_trusted_proxy = is_trusted(peer, presentation);
    if !from_trusted_proxy {
        fields.retain(|name, _| name != b"forwarded" && !name.starts_with(b"x-forwarded-"));
    }
    let mut scheme = if encrypted { "https" } else { "http" };
    if from_trusted_proxy && let Some(told) = fields.get("x-forwarded-proto") {
        scheme = if told.eq_ignore_ascii_case(b"https") { "https" } else { "http" };
    }
    let (told_scheme, told_authority, path) = split_target(&target, &method)?;
    if told_scheme.is_some_and(|told| !told.eq_ignore_ascii_case(scheme)) {
        return Err(Refusal::WrongScheme);
    }
    let host_field = fields.get("host");
    if fields.get_all("host").count() > 1 {
        return Err(Refusal::TwoHosts);
    }
    if host_field.is_none() && version >= Version::HTTP_11 {
        return Err(Refusal::NoHost);
    }
    // In absolute form the target's authority goes before Host (RFC 9112 3.2.2),
    // which has to be valid all the same.
    let from_field =
        host_field.map(|field| host::parse_authority(field).ok_or(Refusal::BadHost)).transpose()?;
    let from_target = told_authority
        .map(|text| host::parse_authority(text.as_bytes()).ok_or(Refusal::BadTarget))
        .transpose()?;
    let authority = from_target.or(from_field).ok_or(Refusal::NoHost)?;
    let port = authority.port.unwrap_or(if scheme == "https" { 443 } else { 80 });
    let canonical = match path {
        "*" => None,
        path => match uri::canonical_path_and_query(path) {
            Cow::Borrowed(same) if same.len() == target.len() => None,
            canonical => Some(canonical.into_owned()),
        },
    };
    // Mostly the target is canonical as it stands.
    let path_and_query = canonical.unwrap_or(target);
    let client = client_of(peer, &fields, presentation);
    if OVERRIDES.iter().any(|name| fields.contains(name)) {
        fields.retain(|name, _| !OVERRIDES.iter().any(|other| other.as_bytes() == name));
    }
    Ok(Presented {
        method,
        scheme,
        host: authority.host,
        port,
        path_and_query,
        version,
        fields,
        upgrade,
        has_body,
        peer,
        client,
        from_trusted_proxy,
    })
}

impl Presented {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }

    /// Whether the port is the scheme's own.
    pub fn has_default_port(&self) -> bool {
        self.port == if self.scheme == "https" { 443 } else { 80 }
    }

    /// Writes the `Host` that this request asks for.
    pub fn write_authority(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.host.as_bytes());
        if !self.has_default_port() {
            out.push(b':');
            write_number(self.port.into(), out);
        }
    }
}

/// The scheme and authority that the target itself names, and its path and query.
fn split_target<'a>(
    target: &'a str,
    method: &Method,
) -> Result<(Option<&'a str>, Option<&'a str>, &'a str), Refusal> {
    if target.starts_with('/') {
        return Ok((None, None, target));
    }
    if target == "*" && *method == Method::OPTIONS {
        return Ok((None, None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::BadTarget)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::BadTarget);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err(Refusal::BadTarget);
    }
    Ok((Some(scheme), Some(authority), path))
}

/// Who asks: the other end of the connection or, where that is a trusted proxy,
/// whom it tells.
pub fn client_of(peer: IpAddr, fields: &Fields, presentation: &Presentation) -> IpAddr {
    let told = || told_client(fields, presentation);
    if is_trusted(peer, presentation) { told().unwrap_or(peer) } else { peer }
}

/// The last address that no trusted proxy vouches for: each proxy appends whom
/// it saw, so the list is believed from its end on, as far as it is trusted and
/// can be read.
fn told_client(fields: &Fields, presentation: &Presentation) -> Option<IpAddr> {
    let mut members: Vec<&[u8]> = fields.members("x-forwarded-for").collect();
    if members.is_empty() {
        members = fields.members("forwarded").filter_map(forwarded_for).collect();
    }
    let mut told = None;
    for member in members.into_iter().rev() {
        let Some(address) = std::str::from_utf8(member).ok().and_then(address_of) else { break };
        told = Some(address);
        if !is_trusted(address, presentation) {
            break;
        }
    }
    told
}

/// The value of `for` in a member of `Forwarded`, without quotes (RFC 7239 4).
fn forwarded_for(member: &[u8]) -> Option<&[u8]> {
    let pair = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).find_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })?;
    Some(pair.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(pair))
}

/// An address, with a port or without; of IPv6 perhaps in brackets.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
}

/// Whether the forwarding fields of this address are believed.
pub fn is_trusted(address: IpAddr, presentation: &Presentation) -> bool {
    let address = address.to_canonical();
    presentation.trusted_proxies.iter().any(|network| network.contains(&address))
}
