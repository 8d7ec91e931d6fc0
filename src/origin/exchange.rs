//! One exchange with an origin: what goes out, what comes back, and the ways in
//! which it fails.

use std::time::Duration;

use crate::message::{Body, RequestHead, ResponseHead, Switched};

/// What is sent to an origin.
pub struct Outgoing {
    /// Method, target and fields, complete but for the framing.
    pub head: RequestHead,
    /// The content, if there is any.
    pub body: Option<Content>,
    /// Whether the connection is to leave HTTP if the origin agrees.
    pub upgrade: bool,
}

/// A request's content.
pub struct Content {
    /// The pieces.
    pub body: Body,
    /// Its length in bytes, when the client has told it.
    pub length: Option<u64>,
}

/// What came back.
pub struct Exchange {
    /// The final status and the fields, hop-by-hop ones included.
    pub head: ResponseHead,
    /// The content, with the deadlines of the exchange still upon it.
    pub body: Body,
    /// The other side of the tunnel, after a `101`.
    pub switched: Option<Switched>,
}

/// Why there is no response.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The name of the origin has no address.
    #[error("the origin's name does not resolve: {0}")]
    Unresolved(String),
    /// No connection could be made.
    #[error("connecting failed: {0}")]
    Connect(String),
    /// No connection was made in time.
    #[error("not connected within {0:?}")]
    ConnectTimeout(Duration),
    /// The head did not arrive in time.
    #[error("no response head within {0:?}")]
    FirstByteTimeout(Duration),
    /// The origin stopped taking the request.
    #[error("nothing more of the request taken within {0:?}")]
    NotTaken(Duration),
    /// The connection was closed or reset before the head was complete.
    #[error("the connection was closed before a response")]
    Closed,
    /// What arrived is no HTTP response, or an ambiguous or endless one.
    #[error("the response cannot be understood: {0}")]
    Malformed(String),
    /// The client's content broke off, so that there is no complete request.
    #[error("the request's content broke off")]
    RequestBroken,
}
