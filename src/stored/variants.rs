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
    pub responses: Responses,
    /// Hit-for-miss: until then requests for this key are not collapsed.
    pub marker: Option<Wall>,
}

/// The responses of a key; there is seldom more than one, which takes no allocation.
#[derive(Clone, Default, Debug)]
pub enum Responses {
    /// None at all.
    #[default]
    None,
    /// A single one.
    One(Arc<StoredResponse>),
    /// Several, a word here: nearly all keys have one.
    Many(Box<Vec<Arc<StoredResponse>>>),
}

impl std::ops::Deref for Responses {
    type Target = [Arc<StoredResponse>];

    fn deref(&self) -> &Self::Target {
        match self {
            Responses::None => &[],
            Responses::One(only) => std::slice::from_ref(only),
            Responses::Many(many) => many,
        }
    }
}

impl From<Vec<Arc<StoredResponse>>> for Responses {
    fn from(mut all: Vec<Arc<StoredResponse>>) -> Self {
        match all.len() {
            0 | 1 => all.pop().map_or(Responses::None, Responses::One),
            _ => Responses::Many(Box::new(all)),
        }
    }
}

impl Responses {
    /// Puts one before all others.
    pub fn put_first(&mut self, response: Arc<StoredResponse>) {
        *self = std::iter::once(response).chain(self.iter().cloned()).collect::<Vec<_>>().into();
    }

    /// Keeps those for which `keep` holds; it is asked once for each, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&Arc<StoredResponse>) -> bool) {
        *self = self.iter().filter(|response| keep(response)).cloned().collect::<Vec<_>>().into();
    }

    /// Heap bytes held, the responses themselves aside.
    fn heap_bytes(&self) -> usize {
        match self {
            Responses::Many(many) => {
                allocated(size_of_val(&**many))
                    + allocated(many.capacity() * size_of::<Arc<StoredResponse>>())
            }
            Responses::None | Responses::One(_) => 0,
        }
    }
}

impl Variants {
    /// Nothing is stored yet under this key.
    pub fn none(key: Arc<str>) -> Self {
        Variants { key, responses: Responses::None, marker: None }
    }

    /// The response that this request selects (RFC 9111 4, 4.1): of several one that has a
    /// `Vary` before one that has none, and of those the one that was made last.
    pub fn select(&self, request: &Fields, sort_accept_language: bool) -> Option<&Arc<StoredResponse>> {
        self.select_kept(request, sort_accept_language, |_| true)
    }

    /// The same among those that are kept, as `is_kept` says.
    pub fn select_kept(
        &self,
        request: &Fields,
        sort_accept_language: bool,
        is_kept: impl Fn(&StoredResponse) -> bool,
    ) -> Option<&Arc<StoredResponse>> {
        let rank =
            |response: &StoredResponse| (!response.head.secondary.is_empty(), response.head.generated());
        let mut best: Option<(_, &Arc<StoredResponse>)> = None;
        for response in self.responses.iter().filter(|response| !response.is_gone()) {
            let rank = rank(response);
            // Of two that were made in the same moment the one that came last stands first. What
            // cannot win is not compared: that takes longer.
            if best.is_none_or(|(best, _)| rank > best)
                && response.head.secondary.matches(request, sort_accept_language)
                && is_kept(response)
            {
                best = Some((rank, response));
            }
        }
        best.map(|(_, response)| response)
    }

    /// Whether requests for this key are not to be collapsed now.
    pub fn is_marked(&self, now: Wall) -> bool {
        self.marker.is_some_and(|until| now < until)
    }

    /// Gross bytes: everything held, and what the store itself needs for a key.
    pub fn weight(&self) -> usize {
        let responses: usize = self.responses.iter().map(|response| response.heap_bytes()).sum();
        responses
            + self.responses.heap_bytes()
            + allocated(16 + self.key.len())
            + allocated(16 + size_of::<Self>())
            + INDEX_BYTES
    }
}

/// What the table of the store and the window's queue need for one key: both double when they
/// are full, so that 25 and 8 bytes for a key become this on average.
const INDEX_BYTES: usize = 56;
