//! Interim responses (1xx, RFC 9110 15.2) on their way from an origin to whoever waits for
//! its final response.
//!
//! What always holds: they keep their order, and there are no more of them for one request
//! than [`MOST`], nor more bytes than [`MOST_BYTES`]. What they say is never part of the
//! final response.

use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;

use crate::rfc::connection;
use crate::rfc::fields::Fields;

/// So many interim responses to one request are passed on.
pub const MOST: usize = 16;
/// So many bytes of fields they may have together.
pub const MOST_BYTES: usize = 64 * 1024;

/// One interim response.
#[derive(Debug)]
pub struct Interim {
    /// 102, 103 or one that is not known; neither 100 nor 101.
    pub status: StatusCode,
    /// End-to-end fields.
    pub fields: Fields,
}

/// What has arrived of them for one request.
#[derive(Debug, Default)]
pub struct Interims(Mutex<Vec<Arc<Interim>>>);

/// Takes interim responses as they arrive.
pub type Tell = Arc<dyn Fn(Interim) + Send + Sync>;

impl Interim {
    /// What is passed on of an interim response of this status. None of `100`, which is
    /// between this node and whoever it asks, and of `101`, which is no interim one.
    pub fn of(status: StatusCode, mut fields: Fields) -> Option<Interim> {
        if !status.is_informational() || status.as_u16() < 102 {
            return None;
        }
        connection::strip(&mut fields);
        // It has no content that this could be the length of (RFC 9110 8.6).
        fields.remove("content-length");
        Some(Interim { status, fields })
    }
}

impl Interims {
    /// Adds one; whether there was room for it.
    pub fn add(&self, interim: Arc<Interim>) -> bool {
        let mut arrived = self.0.lock();
        let bytes: usize = arrived.iter().map(|interim| interim.fields.bytes().len()).sum();
        let fits = arrived.len() < MOST && bytes + interim.fields.bytes().len() <= MOST_BYTES;
        if fits {
            arrived.push(interim);
        }
        fits
    }

    /// Those that have arrived since so many were `known`, which are known from now on.
    pub fn since(&self, known: &mut usize) -> Vec<Arc<Interim>> {
        let arrived = self.0.lock();
        let new = arrived.get(*known..).unwrap_or_default().to_vec();
        *known = arrived.len();
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(bytes: usize) -> Arc<Interim> {
        let mut fields = Fields::new();
        fields.add("link", "x".repeat(bytes));
        let interim = Interim::of(StatusCode::from_u16(103).unwrap(), fields);
        Arc::new(interim.expect("a 103 is passed on"))
    }

    #[test]
    fn only_interim_ones_that_concern_the_client_are_passed_on() {
        for (status, is_passed_on) in
            [(100, false), (101, false), (102, true), (103, true), (199, true), (200, false)]
        {
            let interim = Interim::of(StatusCode::from_u16(status).unwrap(), Fields::new());
            assert_eq!(interim.is_some(), is_passed_on, "{status}");
        }
    }

    #[test]
    fn framing_and_what_is_for_the_next_hop_are_left_out() {
        let mut fields = Fields::new();
        for (name, value) in [
            ("link", "</a>"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("connection", "x"),
            ("x", "1"),
        ] {
            fields.add(name, value);
        }
        let interim = Interim::of(StatusCode::from_u16(103).unwrap(), fields).unwrap();
        let names: Vec<&str> = interim.fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["link"]);
    }

    #[test]
    fn they_are_had_once_each_and_in_order() {
        let (interims, mut known) = (Interims::default(), 0);
        assert!(interims.since(&mut known).is_empty());
        assert!(interims.add(hint(1)) && interims.add(hint(2)));
        let lengths = |new: Vec<Arc<Interim>>| new.iter().map(|i| i.fields.bytes().len()).collect::<Vec<_>>();
        let both = lengths(interims.since(&mut known));
        assert_eq!(both.len(), 2);
        assert!(both[0] < both[1]);
        assert!(interims.add(hint(3)));
        assert_eq!(interims.since(&mut known).len(), 1);
        assert!(interims.since(&mut known).is_empty());
    }

    #[test]
    fn there_are_only_so_many() {
        let interims = Interims::default();
        assert_eq!((0..100).filter(|_| interims.add(hint(1))).count(), MOST);
        let interims = Interims::default();
        assert!(!interims.add(hint(MOST_BYTES)));
        assert!(interims.add(hint(MOST_BYTES / 2)));
        assert!(!interims.add(hint(MOST_BYTES / 2)));
        assert!(interims.add(hint(1)));
    }
}
