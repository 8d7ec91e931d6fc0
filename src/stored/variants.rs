//! What is stored under one cache key: the variants, newest first, and the
//! hit-for-miss marker.
//!
//! A set of variants is immutable; a change makes a new set, which replaces the
//! old one as a whole. So a reader sees all of a change or nothing of it.

use std::sync::Arc;

use super::StoredResponse;
use super::body::allocated;
use crate::clock::Wall;
use crate::rfc::fields::Fields;

/// Everything stored under one cache key.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The cache key as text; two keys whose hashes collide differ here.
    pub key: Arc<str>,
    /// The newest response comes first.
    pub responses: Vec<Arc<StoredResponse>>,
    /// Hit-for-miss: until then requests for this key are not collapsed.
    pub marker: Option<Wall>,
}

impl Variants {
    /// Nothing is stored yet under this key.
    pub fn none(key: Arc<str>) -> Self {
        Variants { key, responses: Vec::new(), marker: None }
    }

    /// The newest response that this request selects (RFC 9111 4.1).
    pub fn select(&self, request: &Fields, sort_accept_language: bool) -> Option<&Arc<StoredResponse>> {
        self.responses.iter().find(|response| {
            !response.is_gone() && response.head.secondary.matches(request, sort_accept_language)
        })
    }

    /// Whether requests for this key are not to be collapsed now.
    pub fn is_marked(&self, now: Wall) -> bool {
        self.marker.is_some_and(|until| now < until)
    }

    /// Gross bytes: everything held, and what the store itself needs for a key.
    pub fn weight(&self) -> usize {
        let responses: usize = self.responses.iter().map(|response| response.heap_bytes()).sum();
        responses
            + allocated(self.responses.capacity() * size_of::<Arc<StoredResponse>>())
            + allocated(16 + self.key.len())
            + allocated(16 + size_of::<Self>())
            + INDEX_BYTES
    }
}

/// What the store's index needs for one key, measured with 100,000 keys.
const INDEX_BYTES: usize = 256;
