//! What holds of the pacer whatever happens: the same things are told to it and to a
//! simple model of what it is meant to do, and what comes back is compared.

use proptest::collection::vec;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::tests::{BAD, MS, OK, Run, SECOND, settings};
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Offer { key: u128, class: usize, misses: u64, life: u64 },
    Next,
    Ended { key: u128, ended: Ended },
    Expire,
    Pass(u64),
    Back(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let ended = prop_oneof![
        6 => (0..300u64).prop_map(|ms| Ended::Answered { latency: ms as u32 * MS }),
        1 => (0..20u64).prop_map(|s| Ended::TooMany {
            retry_after: (s < 5).then_some(s as u32 * SECOND),
            latency: MS
        }),
        3 => Just(BAD),
        3 => Just(Ended::NotAsked),
    ];
    prop_oneof![
        4 => (0..12u128, 0..4usize, 0..4u64, 0..20_000u64)
            .prop_map(|(key, class, misses, life)| Op::Offer { key, class, misses, life }),
        6 => Just(Op::Next),
        4 => (0..12u128, ended).prop_map(|(key, ended)| Op::Ended { key, ended }),
        1 => Just(Op::Expire),
        2 => (0..3_000_000_000u64).prop_map(Op::Pass),
        2 => (0..30_000_000u64).prop_map(Op::Pass),
        1 => (0..3_000_000_000u64).prop_map(Op::Back),
    ]
}

/// The pacer as it is meant, without regard to how long it takes.
#[derive(Default)]
struct Model {
    waiting: Vec<Offer<u64>>,
    over: Vec<u64>,
    under_way: Vec<(u128, Instant)>,
}

impl Model {
    fn pass_to(&mut self, now: Instant, lost_after: Duration) {
        self.under_way.retain(|(_, released)| *released + lost_after > now);
        self.over
            .extend(self.waiting.extract_if(.., |offer| offer.expires <= now).map(|offer| offer.payload));
    }

    /// The place of the most wanted; the oldest stand first.
    fn best(&self) -> Option<usize> {
        (0..self.waiting.len()).min_by_key(|n| (self.waiting[*n].class, Reverse(self.waiting[*n].misses)))
    }

    fn least(&self) -> Option<usize> {
        (0..self.waiting.len()).max_by_key(|n| (self.waiting[*n].class, Reverse(self.waiting[*n].misses), *n))
    }
}

/// Whether no span of time has seen more tokens than its due. Those that are given back
/// are below zero.
fn within_its_due(rate: f64, tokens: &[(Instant, f64)]) -> bool {
    let burst = (rate / 10.0).max(1.0);
    tokens.iter().enumerate().all(|(n, (from, _))| {
        let mut taken = 0.0;
        tokens[n..].iter().all(|(to, token)| {
            taken += token;
            taken <= rate * (*to - *from).as_secs_f64() + burst + 1e-6
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn it_is_as_it_is_meant_whatever_happens(
        rate in prop_oneof![Just(0.2), Just(3.0), Just(50.0), Just(500.0), 0.05..1000.0f64],
        concurrency in 1..5usize,
        max_waiting in 0..9usize,
        lost_after in 1..10u32,
        ops in vec(op(), 1..250),
    ) {
        let lost_after = lost_after * SECOND;
        let settings = Settings { lost_after, ..settings(rate, concurrency, max_waiting) };
        let start = Instant::now();
        let mut pacer = Pacer::new(settings, start);
        let mut model = Model::default();
        let (mut now, mut latest, mut offered) = (start, start, 0u64);
        // What came back, and the tokens that were taken or given back.
        let (mut back, mut tokens) = (Vec::new(), Vec::new());
        for op in ops {
            if !matches!(op, Op::Pass(_) | Op::Back(_)) {
                latest = latest.max(now);
                model.pass_to(latest, lost_after);
            }
            match op {
                Op::Pass(ns) => now += Duration::from_nanos(ns),
                Op::Back(ns) => now = now.checked_sub(Duration::from_nanos(ns)).unwrap_or(now),
                Op::Expire => {
                    let over = pacer.expire(now);
                    back.extend(&over);
                    prop_assert_eq!(
                        over.iter().copied().collect::<BTreeSet<u64>>(),
                        std::mem::take(&mut model.over).into_iter().collect::<BTreeSet<u64>>()
                    );
                }
                Op::Ended { key, ended } => {
                    pacer.ended(key, ended, now);
                    let before = model.under_way.len();
                    model.under_way.retain(|(other, _)| *other != key);
                    if ended == Ended::NotAsked && model.under_way.len() < before {
                        tokens.push((latest, -1.0));
                    }
                }
                Op::Offer { key, class, misses, life } => {
                    let expires = now + life as u32 * MS;
                    let offer = Offer { key, class: Class::ALL[class], misses, expires, payload: offered };
                    offered += 1;
                    let result = pacer.offer(offer.clone(), now);
                    let full = model.waiting.len() + model.over.len() >= max_waiting;
                    if model.under_way.iter().any(|(other, _)| *other == key) {
                        prop_assert_eq!(&result, &Offered::Merged(offer.payload));
                    } else if let Some(waits) = model.waiting.iter_mut().find(|waits| waits.key == key) {
                        waits.misses += misses;
                        waits.class = waits.class.min(offer.class);
                        let mut other = offer.payload;
                        if expires > waits.expires {
                            std::mem::swap(&mut waits.payload, &mut other);
                            waits.expires = expires;
                        }
                        prop_assert_eq!(&result, &Offered::Merged(other));
                    } else if let Offered::Dropped(payload) = result {
                        prop_assert!(full);
                        // What is over goes first, but for a newcomer that is over itself.
                        let over = model.over.iter().position(|over| *over == payload);
                        if let Some(over) = over {
                            model.over.remove(over);
                            model.waiting.push(offer);
                        } else if expires <= latest {
                            prop_assert_eq!(payload, offer.payload);
                        } else {
                            prop_assert!(model.over.is_empty());
                            model.waiting.push(offer);
                            let least = model.waiting.remove(model.least().expect("one"));
                            prop_assert_eq!(payload, least.payload);
                        }
                    } else {
                        prop_assert!(!full && result == Offered::Held);
                        if expires <= latest {
                            model.over.push(offer.payload);
                        } else {
                            model.waiting.push(offer);
                        }
                    }
                    back.extend(match result {
                        Offered::Held => None,
                        Offered::Merged(payload) | Offered::Dropped(payload) => Some(payload),
                    });
                }
                Op::Next => match pacer.next(now) {
                    Next::Idle => prop_assert!(model.waiting.is_empty()),
                    Next::Wait(at) => prop_assert!(at > latest && !model.waiting.is_empty()),
                    Next::Release { key, misses, class, payload, waited } => {
                        let best = model.waiting.remove(model.best().expect("one"));
                        prop_assert_eq!((key, misses, class), (best.key, best.misses, best.class));
                        prop_assert!(payload == best.payload && waited <= latest - start);
                        model.under_way.push((key, latest));
                        prop_assert!(model.under_way.len() <= concurrency);
                        tokens.push((latest, 1.0));
                        back.push(payload);
                    }
                },
            }
            let view = pacer.view(now);
            prop_assert!(view.rate <= rate + 1e-9 && view.rate > 0.0);
            let waiting = view.waiting;
            let waiting = waiting.user + waiting.refresh + waiting.unknown + waiting.warm;
            prop_assert_eq!((waiting, view.under_way), (model.waiting.len(), model.under_way.len()));
        }
        // No payload is lost or comes back twice.
        back.extend(pacer.expire(latest + 3600 * SECOND));
        back.sort_unstable();
        prop_assert_eq!(back, (0..offered).collect::<Vec<u64>>());
        prop_assert!(within_its_due(rate, &tokens));
        prop_assert!(tokens.first().is_none_or(|(at, _)| (*at - start).as_secs_f64() * rate > 0.999_999));
    }

    #[test]
    fn no_span_of_time_sees_more_than_its_due(
        rate in prop_oneof![0.2..20.0, 20.0..300.0f64],
        steps in vec((0..200_000_000u64, 0..8usize, 0..6u8), 1..25),
    ) {
        let mut run = Run::new(settings(rate, 2000, 2000));
        run.flood(0..1600);
        let (mut tokens, mut under_way) = (Vec::new(), Vec::new());
        for (passed, ends, how) in steps {
            run.now += Duration::from_nanos(passed);
            while let Next::Release { key, .. } = run.pacer.next(run.now) {
                tokens.push((run.now, 1.0));
                under_way.push(key);
            }
            for key in under_way.drain(..ends.min(under_way.len())) {
                let ended = match how {
                    0 => Ended::NotAsked,
                    1 => BAD,
                    2 => Ended::TooMany { retry_after: None, latency: MS },
                    _ => OK,
                };
                run.pacer.ended(key, ended, run.now);
                if ended == Ended::NotAsked {
                    tokens.push((run.now, -1.0));
                }
            }
        }
        prop_assert!(within_its_due(rate, &tokens));
    }

    #[test]
    fn what_is_agreed_is_used_up_however_often_it_asks(
        rate in prop_oneof![0.05..1.0, 1.0..300.0f64],
        early in vec(0..1000u32, 1..9),
    ) {
        let mut run = Run::new(settings(rate, 1, 9999));
        run.flood(0..500);
        for n in 1..=500u32 {
            if let Next::Wait(at) = run.pacer.next(run.now) {
                // Asking again before the time brings nothing and costs nothing.
                let part = early[n as usize % early.len()];
                let again = run.pacer.next(run.now + (at - run.now) * part / 1000);
                prop_assert_eq!(again, Next::Wait(at));
            }
            run.one_ends(OK);
            let due = f64::from(n) / rate;
            prop_assert!((run.passed().as_secs_f64() - due).abs() < due * 1e-6 + 1e-6);
        }
    }
}
