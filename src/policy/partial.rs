//! Parts of responses: what is asked for, what is kept, what is answered from them
//! (RFC 9111 3.3, 3.4; RFC 9110 14, 15.3.7).
//!
//! # Where parts live
//!
//! An incomplete response is a [stored response](crate::stored::StoredResponse) like any
//! other, under the same key and beside the same variants: its head is the one that the whole
//! (`200`) would have, and in place of a body it has [parts](crate::stored::parts). So
//! purges, bans, tags, fences, variants, ages and eviction need no second path. There is a
//! cap on its parts (`max_parts`) and on their bytes (what the store takes of one response);
//! beyond, the parts that came first go.
//!
//! # What is asked for
//!
//! With `range_miss = "range"` (the default) a miss asks for the range alone, so that nobody
//! waits for the beginning of a large response, and a client that wants one byte does not
//! make the origin send all. It is widened to multiples of `range_slice`, so that a storm of
//! small ranges becomes one request for each slice: whoever wants the same slice shares
//! [a flight](crate::fetch::Flights), and what is next to it is there already. A response
//! that is no larger than a slice is complete at once. Neither the client's `If-Range` nor
//! its conditions go along: the answer is to be of use to others; what it does not answer
//! (because the content has changed) is asked for whole. Several ranges, and `bytes=0-`, are
//! asked for as the whole from the beginning.
//!
//! The first request for a key that is not known asks for everybody: those who come before
//! its head wait for that, whatever they want of it. So an origin that does not know ranges,
//! or answers with what cannot be shared, is asked once, and not once for each slice.
//!
//! `"whole"` asks for all and answers the range as it comes by: right where everything is
//! small, or wanted whole in the end. `"both"` asks for the range, and then for the whole in
//! the background, where the store would take it.
//!
//! # What is kept
//!
//! A `206` to a range that was asked for here, with a strong validator (8.8), one
//! `Content-Range` with the complete length, and a body as long as that says. What lacks one
//! of these, `multipart/byteranges` among it, is passed on to the client and not kept. What
//! has come of a body that breaks off is kept as a part, too (RFC 9111 3.3), where it is
//! told apart by a strong validator. Parts are combined only under the same strong validator
//! and the same complete length; else the newer one takes the place of the others. When all
//! is there, it is an ordinary `200` from then on.
//!
//! Of a response that is too large to be kept whole its head and length are, with no part yet:
//! so its ranges are asked for slice by slice, and kept.
//!
//! # What is answered
//!
//! A range that is wholly there, and one that lies behind the end (`416`: it needs the length
//! alone). All others ask: for their whole range again where some of it is missing, as that
//! is one request and always right. The whole, where it lacks just one range: with `If-Range`, so
//! that it comes whole if it has changed (RFC 9111 3.4). `HEAD` and conditions without a range ask as well (RFC
//! 9111 3.3 forbids to answer them). A stale part is validated with its range: a `304`
//! freshens all parts, a `206` of other content replaces them. A stale part that covers the
//! range answers where a stale whole would. On hidden routes nothing is asked for, here as
//! elsewhere.

use std::ops::Range;

use http::Method;

use super::admit::NotAdmitted;
use super::normalise::Presented;
use super::site::{Mode, RangeMiss, Rules};
use crate::clock::Wall;
use crate::rfc::content_range::ContentRange;
use crate::rfc::fields::Fields;
use crate::rfc::range::{Ranges, Spec, resolve};
use crate::rfc::{spans, validator};
use crate::stored::{Head, StoredResponse};

/// Where a part belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which bytes of the content it has; not empty.
    pub range: Range<u64>,
    /// The length of the whole content.
    pub complete: u64,
}

impl Place {
    /// Whether it is all of the content.
    pub fn is_whole(&self) -> bool {
        self.range == (0..self.complete)
    }
}

/// Whether what is stored can answer this request, as far as its content goes. A complete
/// response always can.
pub fn answers(request: &Presented, stored: &StoredResponse, rules: &Rules, now: Wall) -> bool {
    let Some(parts) = stored.parts() else { return true };
    match wanted(request, &stored.head, parts.complete_len(), rules, now) {
        Ranges::None => false,
        Ranges::Unsatisfiable => true,
        Ranges::One(range) => parts.cover(&range),
        Ranges::Many(ranges) => ranges.iter().all(|range| parts.cover(range)),
    }
}

/// Whether a part that is on its way can answer this request. It need not have all of the
/// range, but its beginning (RFC 9110 15.3.7).
pub fn serves(request: &Presented, head: &Head, place: &Place, rules: &Rules, now: Wall) -> bool {
    match wanted(request, head, place.complete, rules, now) {
        Ranges::None | Ranges::Many(_) => false,
        Ranges::Unsatisfiable => true,
        Ranges::One(range) => place.range.contains(&range.start),
    }
}

/// Whether the whole, of which so many bytes have arrived, comes to what the request asks
/// for soon enough: within a slice.
pub fn comes_soon(request: &Presented, arrived: u64, length: Option<u64>, rules: &Rules) -> bool {
    let range = request.fields.get("range").and_then(Spec::parse);
    let (Some(spec), Some(length)) = (range, length) else { return false };
    spec.within(length).start <= arrived.saturating_add(rules.range_slice)
}

/// What of the content the request asks for.
fn wanted(request: &Presented, head: &Head, complete: u64, rules: &Rules, now: Wall) -> Ranges {
    let Some(range) = request.fields.get("range").filter(|_| request.method == Method::GET) else {
        return Ranges::None;
    };
    if !validator::may_be_parted(&request.fields, &head.fields, now) {
        return Ranges::None;
    }
    resolve(range, complete, rules.max_ranges)
}

/// The range that the origin is to be asked for, where it is not the whole. `known` is the
/// incomplete response that is stored.
pub fn asks(request: &Presented, known: Option<&StoredResponse>, rules: &Rules, now: Wall) -> Option<Spec> {
    let asks_for_ranges = rules.range_miss != RangeMiss::Whole && rules.mode == Mode::Proxy;
    if request.method != Method::GET || !asks_for_ranges {
        return None;
    }
    let mut ranges = request.fields.get_all("range");
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
    // Whoever has other content than is stored gets the whole.
    let same = |known: &StoredResponse| validator::if_range_holds(&request.fields, &known.head.fields, now);
    if known.is_some_and(|known| !same(known)) {
        return None;
    }
    Spec::parse(range)?.widened(rules.range_slice, known.map(StoredResponse::complete_len))
}

/// The one range that an incomplete response lacks, where there is no other one.
pub fn gap(stored: &StoredResponse, rules: &Rules) -> Option<Range<u64>> {
    let asks_for_ranges = rules.range_miss != RangeMiss::Whole && rules.mode == Mode::Proxy;
    let parts = stored.parts().filter(|parts| asks_for_ranges && parts.bytes() > 0)?;
    let mut gaps = spans::gaps(parts.spans(), &(0..parts.complete_len())).into_iter();
    gaps.next().filter(|_| gaps.next().is_none())
}

/// Where a `206` belongs, if it can be combined with others; `length` is that of its body,
/// where it is told.
pub fn place(response: &Fields, length: Option<u64>, now: Wall) -> Result<Place, NotAdmitted> {
    match ContentRange::of(response) {
        Some(ContentRange::Part { range, complete: Some(complete) })
            if length.is_none_or(|length| length == range.end - range.start)
                && validator::is_strong(response, now) =>
        {
            Ok(Place { range, complete })
        }
        _ => Err(NotAdmitted::Uncombinable),
    }
}

/// What of a `206` for one client alone that client gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// All of it.
    Nothing,
    /// These bytes of its body, which are this part.
    To {
        /// Which bytes of the body.
        of_body: Range<u64>,
        /// What they are of the content.
        part: ContentRange,
    },
    /// None of it: it is not what the client has asked for.
    Unfit,
}

/// Cuts a `206` that was asked for with `asked` to what the client wants of it.
pub fn cut(request: &Presented, asked: &Spec, response: &Fields, length: Option<u64>, now: Wall) -> Cut {
    let Some(wanted) = request.fields.get("range").and_then(Spec::parse) else { return Cut::Unfit };
    if !validator::if_range_holds(&request.fields, response, now) {
        return Cut::Unfit;
    }
    // The client can judge for itself what it has asked for itself.
    let otherwise = if wanted == *asked { Cut::Nothing } else { Cut::Unfit };
    let Some(ContentRange::Part { range, complete }) = ContentRange::of(response) else { return otherwise };
    if length.is_some_and(|length| length != range.end - range.start) {
        return otherwise;
    }
    let wanted = match (&wanted, complete) {
        (Spec::Last(_), None) => return otherwise,
        (wanted, complete) => wanted.within(complete.unwrap_or(u64::MAX)),
    };
    if wanted.is_empty() || !range.contains(&wanted.start) {
        return otherwise;
    }
    let part = wanted.start..wanted.end.min(range.end);
    let of_body = part.start - range.start..part.end - range.start;
    Cut::To { of_body, part: ContentRange::Part { range: part, complete } }
}
