//! The places among the open connections: in all, and of each address.
//!
//! What always holds: a place is given up when it is dropped; only addresses that have a
//! connection open are remembered, so there are never more of them than places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::shed::Prefixes;

/// Whom places are given to.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_per_address: Option<usize>,
    open: AtomicUsize,
    /// Open connections by address; by network, for IPv6.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection's place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    /// Where it counts among those of an address.
    address: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// All are taken.
    All,
    /// Those of the address are.
    Address,
}

impl Places {
    /// So many places, and so many for each address.
    pub fn new(most: usize, most_per_address: Option<usize>) -> Arc<Self> {
        Arc::new(Places { most, most_per_address, open: AtomicUsize::new(0), by_address: Mutex::default() })
    }

    /// A place for a connection from this address; `None` stands for one that may have all.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Full> {
        let one_more = |open: usize| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).map_err(|_| Full::All)?;
        let mut place = Place { places: Arc::clone(self), address: None };
        if let (Some(address), Some(most)) = (address, self.most_per_address) {
            let address = Prefixes::default().of(address);
            let mut by_address = self.by_address.lock();
            let open = by_address.entry(address).or_default();
            if *open >= most {
                // At least one is open, so this entry was there before.
                drop(by_address);
                return Err(Full::Address);
            }
            *open += 1;
            place.address = Some(address);
        }
        Ok(place)
    }
}

impl Place {
    /// Whether nearly all places are taken: more than nine in ten.
    pub fn is_crowded(&self) -> bool {
        let open = self.places.open.load(Ordering::Relaxed);
        open.saturating_mul(10) > self.places.most.saturating_mul(9)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut by_address = self.places.by_address.lock();
            if let Some(open) = by_address.get_mut(&address) {
                *open -= 1;
                if *open == 0 {
                    by_address.remove(&address);
                }
            }
        }
        self.places.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn each_address_has_its_own_and_all_together_have_an_end() {
        let places = Places::new(4, Some(2));
        let one =
            [address("192.0.2.1"), address("192.0.2.1")].map(|from| places.take(from).expect("a place"));
        assert_eq!(places.take(address("::ffff:192.0.2.1")).err(), Some(Full::Address));
        let other = places.take(address("192.0.2.2"));
        let trusted = places.take(None);
        assert!(other.is_ok() && trusted.is_ok());
        assert_eq!(places.take(None).err(), Some(Full::All));
        drop(one);
        assert!(places.take(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let places = Places::new(10, Some(1));
        let _held = places.take(address("2001:db8::1")).expect("a place");
        assert_eq!(places.take(address("2001:db8::2")).err(), Some(Full::Address));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let places = Places::new(2000, Some(3));
        let held: Vec<Place> =
            (0..1000u32).filter_map(|n| places.take(Some(IpAddr::V4(n.into()))).ok()).collect();
        assert_eq!((held.len(), places.by_address.lock().len()), (1000, 1000));
        for _ in 0..5 {
            let _ = places.take(Some(IpAddr::V4(1.into())));
        }
        drop(held);
        assert!(places.by_address.lock().is_empty());
        assert_eq!(places.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn it_is_crowded_above_nine_in_ten() {
        let places = Places::new(10, None);
        let mut held: Vec<Place> = (0..9).filter_map(|_| places.take(None).ok()).collect();
        assert!(!held[0].is_crowded());
        held.push(places.take(None).expect("the last one"));
        assert!(held[0].is_crowded());
    }
}
