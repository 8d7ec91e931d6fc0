//! What a response says of its use when stale (RFC 9111 4.2.4, RFC 5861), and of its
//! validation while it is fresh (RFC 8246).

use super::cache_control::ResponseDirectives;

/// The origin's terms for use when stale, and for validation before that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StaleTerms {
    /// `stale-while-revalidate` in seconds; zero when absent.
    pub while_revalidate: u32,
    /// `stale-if-error` in seconds, if the origin says anything of it.
    pub if_error: Option<u32>,
    /// Never to be used stale: `must-revalidate`, `proxy-revalidate`, `s-maxage`
    /// or `no-cache` forbid it to a shared cache.
    pub forbidden: bool,
    /// It does not change while it is fresh: `immutable` (RFC 8246).
    pub immutable: bool,
}

/// The terms that these directives set.
pub fn stale_terms(directives: &ResponseDirectives) -> StaleTerms {
    StaleTerms {
        while_revalidate: short(directives.stale_while_revalidate.unwrap_or(0)),
        if_error: directives.stale_if_error.map(short),
        forbidden: directives.must_revalidate
            || directives.proxy_revalidate
            || directives.s_maxage.is_some()
            || directives.no_cache.is_all(),
        immutable: directives.immutable,
    }
}

/// No directive says more than 2^31 seconds (RFC 9111 1.2.2).
fn short(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Whether each use needs a validation first: `no-cache` for the whole response
/// (RFC 9111 5.2.2.4).
pub fn always_validate(directives: &ResponseDirectives) -> bool {
    directives.no_cache.is_all()
}
