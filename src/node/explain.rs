//! A question about a request, read as the clients' port would read the request.

use std::net::{IpAddr, Ipv4Addr};

use crate::listen::http1::head::{self, Framing, Scan};
use crate::listen::http1::limits;
use crate::policy::{Received, Refusal};
use crate::serve::Server;
use crate::serve::explain::{Explained, Misput, Question, Sent};

/// How the request would be answered now, and why. It counts as one from this machine.
pub(super) fn explain(server: &Server, question: &Question) -> Result<Explained, Misput> {
    let sent = question.sent()?;
    let received = received(server, &sent);
    Ok(server.explain(question, received))
}

fn received(server: &Server, sent: &Sent) -> Result<Received, Refusal> {
    let limits = limits(&server.presentation);
    let (start, end) = Scan::default().find(&sent.head, &limits)?.ok_or(Refusal::BadRequestLine)?;
    let head = head::parse(sent.head.get(start..end).unwrap_or_default(), &limits)?;
    Ok(Received {
        method: head.method,
        target: head.target,
        version: head.version,
        fields: head.fields,
        has_body: head.framing != Framing::None,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        encrypted: sent.encrypted,
    })
}
