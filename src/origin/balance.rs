//! Which of several servers is asked.
//!
//! Pure: it is given what is random.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How one is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// One after the other, each by its weight.
    RoundRobin,
    /// The less busy one of two that are drawn.
    LeastBusy,
    /// Always the same one for the same hash, unless it is busier than the others.
    Hash,
}

/// A server that may be asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Candidate {
    /// Always the same for the same server.
    pub id: u64,
    /// Its part of the requests.
    pub weight: u32,
    /// Requests under way.
    pub busy: u32,
    /// How much of its part it gets now, from 0 to 1.
    pub share: f64,
}

/// Chooses by a policy, and remembers what that needs.
#[derive(Clone, Debug)]
pub struct Balance {
    policy: Policy,
    /// Of each server how much it is due, for taking turns.
    due: HashMap<u64, f64>,
}

/// No server is busier than the others by more than this factor, for hashing.
const BOUND: f64 = 1.25;
/// The least part that a server gets after it has come back.
const LEAST: f64 = 0.1;

/// How much of its part a server gets that came back then.
pub fn share(returned: Option<Instant>, slow_start: Duration, now: Instant) -> f64 {
    let Some(returned) = returned.filter(|_| !slow_start.is_zero()) else { return 1.0 };
    let passed = now.saturating_duration_since(returned).as_secs_f64() / slow_start.as_secs_f64();
    (LEAST + (1.0 - LEAST) * passed).min(1.0)
}

impl Balance {
    /// Chooses by this policy.
    pub fn new(policy: Policy) -> Self {
        Balance { policy, due: HashMap::new() }
    }

    /// The place of the one that is asked; none if there are none. `random` has two
    /// numbers from 0 to 1.
    pub fn pick(&mut self, candidates: &[Candidate], hash: u64, random: [f64; 2]) -> Option<usize> {
        match (self.policy, candidates) {
            (_, []) => None,
            (_, [_]) => Some(0),
            (Policy::RoundRobin, _) => self.next_in_turn(candidates),
            (Policy::LeastBusy, _) => less_busy(candidates, random),
            (Policy::Hash, _) => owner(candidates, hash),
        }
    }

    /// Everybody is due a little more, by weight; who is due most is next, and pays for
    /// all. So servers of different weights take turns as evenly as can be.
    fn next_in_turn(&mut self, candidates: &[Candidate]) -> Option<usize> {
        if self.due.len() > candidates.len() * 2 {
            self.due.retain(|id, _| candidates.iter().any(|candidate| candidate.id == *id));
        }
        let mut total = 0.0;
        let mut best: Option<(usize, f64)> = None;
        for (place, candidate) in candidates.iter().enumerate() {
            let weight = weight(candidate);
            total += weight;
            let due = self.due.entry(candidate.id).or_default();
            *due += weight;
            if best.is_none_or(|(_, most)| *due > most) {
                best = Some((place, *due));
            }
        }
        let (place, _) = best?;
        *self.due.get_mut(&candidates.get(place)?.id)? -= total;
        Some(place)
    }
}

fn weight(candidate: &Candidate) -> f64 {
    f64::from(candidate.weight.max(1)) * candidate.share.clamp(LEAST, 1.0)
}

/// Draws two by their weights, and takes the one with fewer requests under way for its
/// weight. Looking at two only keeps many nodes from falling upon the same server.
fn less_busy(candidates: &[Candidate], random: [f64; 2]) -> Option<usize> {
    let total: f64 = candidates.iter().map(weight).sum();
    let first = drawn(candidates, None, total, random[0])?;
    let rest = total - weight(candidates.get(first)?);
    let second = drawn(candidates, Some(first), rest, random[1])?;
    let load = |place: usize| {
        let candidate = candidates.get(place);
        candidate
            .map_or(f64::MAX, |candidate| f64::from(candidate.busy.saturating_add(1)) / weight(candidate))
    };
    Some(if load(second) < load(first) { second } else { first })
}

fn drawn(candidates: &[Candidate], without: Option<usize>, total: f64, random: f64) -> Option<usize> {
    let mut left = total * random.clamp(0.0, 1.0);
    let mut last = None;
    for (place, candidate) in candidates.iter().enumerate().filter(|(place, _)| Some(*place) != without) {
        last = Some(place);
        left -= weight(candidate);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The server whose key it is: each draws a number from the hash and its identity, and the
/// one with the highest, by weight, is its owner (rendezvous hashing). So a server that
/// goes moves its own keys only, and one that comes takes its part from all.
///
/// An owner that is busier than the bound allows is passed over for the next, so that one
/// key that everybody wants does not crush a server. A server that has just come back may
/// be less busy only: its keys stay its own.
fn owner(candidates: &[Candidate], hash: u64) -> Option<usize> {
    let busy: u64 = candidates.iter().map(|candidate| u64::from(candidate.busy)).sum();
    let total: f64 = candidates.iter().map(weight).sum();
    let is_bounded = |candidate: &Candidate| {
        let most = BOUND * (busy as f64 + 1.0) * weight(candidate) / total;
        f64::from(candidate.busy) < most.ceil()
    };
    let score = |candidate: &Candidate| {
        let drawn = xxh3_64_with_seed(&candidate.id.to_le_bytes(), hash);
        // From the open interval of 0 and 1.
        let drawn = ((drawn >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        f64::from(candidate.weight.max(1)) / -drawn.ln()
    };
    let best = |allowed: &dyn Fn(&Candidate) -> bool| {
        let scores = candidates.iter().enumerate().filter(|(_, candidate)| allowed(candidate));
        scores.map(|(place, candidate)| (place, score(candidate))).max_by(|a, b| a.1.total_cmp(&b.1))
    };
    best(&is_bounded).or_else(|| best(&|_| true)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn servers(weights: &[u32]) -> Vec<Candidate> {
        let server = |(place, weight): (usize, &u32)| Candidate {
            id: place as u64 * 77 + 5,
            weight: *weight,
            busy: 0,
            share: 1.0,
        };
        weights.iter().enumerate().map(server).collect()
    }

    #[test]
    fn servers_take_turns_by_their_weights_and_as_evenly_as_can_be() {
        let (servers, mut balance) = (servers(&[5, 1, 1]), Balance::new(Policy::RoundRobin));
        let turns: Vec<usize> = (0..7).map(|_| balance.pick(&servers, 0, [0.0; 2]).expect("one")).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn the_less_busy_one_of_two_is_taken() {
        let mut servers = servers(&[1, 1, 2]);
        let mut balance = Balance::new(Policy::LeastBusy);
        servers[0].busy = 5;
        assert_eq!(balance.pick(&servers, 0, [0.0, 0.0]), Some(1));
        servers[2].busy = 12;
        assert_eq!(balance.pick(&servers, 0, [0.0, 0.99]), Some(0), "six for one is less than 13 for two");
    }

    #[test]
    fn a_server_comes_back_by_and_by() {
        let now = Instant::now();
        let share_after =
            |seconds: u64| share(Some(now), Duration::from_secs(10), now + Duration::from_secs(seconds));
        assert_eq!([0, 5, 10, 99].map(share_after), [0.1, 0.55, 1.0, 1.0]);
        assert_eq!(share(None, Duration::from_secs(10), now), 1.0);
        assert_eq!(share(Some(now), Duration::ZERO, now), 1.0);
    }

    #[test]
    fn a_key_that_everybody_wants_does_not_crush_its_server() {
        let mut servers = servers(&[1, 1, 1, 1]);
        let mut balance = Balance::new(Policy::Hash);
        for _ in 0..400 {
            let place = balance.pick(&servers, 42, [0.0; 2]).expect("one");
            servers[place].busy += 1;
        }
        let most = servers.iter().map(|server| server.busy).max();
        assert!(most <= Some(126), "{servers:?}");
    }

    proptest! {
        #[test]
        fn over_a_whole_round_everybody_has_exactly_its_part(weights in prop::collection::vec(1..20u32, 1..9)) {
            let (servers, mut balance) = (servers(&weights), Balance::new(Policy::RoundRobin));
            let mut counts = vec![0u32; weights.len()];
            for _ in 0..weights.iter().sum::<u32>() {
                counts[balance.pick(&servers, 0, [0.0; 2]).expect("one")] += 1;
            }
            prop_assert_eq!(counts, weights);
        }

        #[test]
        fn a_server_that_goes_moves_its_own_keys_only(count in 2..12usize, gone in 0..12usize, keys in prop::collection::vec(any::<u64>(), 200)) {
            let all = servers(&vec![1; count]);
            let gone = gone % count;
            let rest: Vec<Candidate> = all.iter().enumerate().filter(|(place, _)| *place != gone).map(|(_, server)| *server).collect();
            for key in keys {
                let before = all[owner(&all, key).expect("one")].id;
                let after = rest[owner(&rest, key).expect("one")].id;
                prop_assert!(before == after || before == all[gone].id);
            }
        }

        #[test]
        fn keys_fall_to_servers_by_their_weights(seed in any::<u64>()) {
            let all = servers(&[1, 2, 5]);
            let mut counts = [0u32; 3];
            for key in 0..8000u64 {
                counts[owner(&all, seed.wrapping_add(key.wrapping_mul(0x9e37_79b9_7f4a_7c15))).expect("one")] += 1;
            }
            for (count, expected) in counts.into_iter().zip([1000.0, 2000.0, 5000.0]) {
                prop_assert!((f64::from(count) - expected).abs() < expected * 0.2, "{:?}", counts);
            }
        }

        #[test]
        fn whoever_is_picked_is_there(policy in prop::sample::select(vec![Policy::RoundRobin, Policy::LeastBusy, Policy::Hash]), weights in prop::collection::vec(0..9u32, 0..9), hash in any::<u64>(), random in [0.0..=1.0f64, 0.0..=1.0]) {
            let servers = servers(&weights);
            let mut balance = Balance::new(policy);
            let picked = balance.pick(&servers, hash, random);
            prop_assert_eq!(picked.is_some(), !servers.is_empty());
            prop_assert!(picked.is_none_or(|place| place < servers.len()));
        }
    }
}
