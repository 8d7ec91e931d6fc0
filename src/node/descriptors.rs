//! How many file descriptors the process may have: each connection takes one.
//!
//! What it never does: lower a limit, or go beyond what whoever started the process
//! allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is needed besides connections of clients and of origins: logs, ports, the broker.
const OWN: u64 = 1024;

/// Raises what may be open to what so many connections of clients need, as far as the
/// system lets it, and tells the operator where that is not enough.
pub(super) fn raise(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    // As many again for the connections to origins, and for files.
    let wanted = (max_connections as u64).saturating_mul(2).saturating_add(OWN);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let Some(mut current) = limit.current else { return };
    let raised = wanted.min(most);
    if raised > current {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
            Ok(()) => current = raised,
            Err(error) => {
                tracing::warn!(target: "forebay::node", "the limit of file descriptors stays {current}: {error}");
            }
        }
    }
    if current < (max_connections as u64).saturating_add(OWN) {
        tracing::warn!(
            target: "forebay::node",
            "{current} file descriptors are allowed, which is too few for listen.max_connections = {max_connections} and the origins: \
             raise the limit (ulimit -n, or LimitNOFILE of systemd), or lower max_connections to half of it"
        );
    }
}
