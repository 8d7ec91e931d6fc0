//! The bulkhead of an origin: how many requests may be under way at it, and a short
//! line of those that wait for one of these places.
//!
//! What always holds: no more places are taken than there are; whoever waits gets a
//! place in the order of coming; the line is bounded in number and in time. Nothing is
//! shared between two bulkheads, so that one slow origin holds up nobody but its own.
//!
//! Cancel safety: dropping a place, or the future that waits for one, gives it up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;

/// How many places there are, and how long the line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The most requests under way.
    pub max_requests: usize,
    /// The most requests that wait for one of these places.
    pub max_waiting: usize,
    /// How long one waits at most.
    pub max_wait: Duration,
    /// So many percent of the places may be held by requests whose content is still on its
    /// way: clients that send slowly are not to hold them all.
    pub uploads_percent: usize,
}

impl Settings {
    /// Those of the places of requests whose content is still on its way.
    pub fn of_uploads(&self) -> Settings {
        let places = self.max_requests.saturating_mul(self.uploads_percent) / 100;
        Settings { max_requests: places.max(1), ..*self }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_requests: 256,
            max_waiting: 512,
            max_wait: Duration::from_millis(500),
            uploads_percent: 50,
        }
    }
}

/// The places of one origin; cheap to clone.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    under_way: usize,
    line: VecDeque<(u64, oneshot::Sender<Place>)>,
    /// Who comes next gets this number.
    next: u64,
}

/// One place; dropping it gives it to whoever waits first.
#[derive(Debug)]
pub struct Place {
    bulkhead: Option<Bulkhead>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Saturated {
    /// So many wait already.
    #[error("{under_way} requests are under way, and {waiting} wait")]
    Full {
        /// Requests under way.
        under_way: usize,
        /// Requests that wait.
        waiting: usize,
    },
    /// None became free in time.
    #[error("{under_way} requests are under way, and none of them ended within {waited:?}")]
    Overdue {
        /// Requests under way.
        under_way: usize,
        /// How long was waited.
        waited: Duration,
    },
}

/// How a bulkhead stands, for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// Requests under way.
    pub under_way: usize,
    /// The most of them.
    pub max_requests: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// The most of them.
    pub max_waiting: usize,
}

impl Bulkhead {
    /// All places are free.
    pub fn new(settings: Settings) -> Self {
        let state = State { settings, under_way: 0, line: VecDeque::new(), next: 0 };
        Bulkhead { state: Arc::new(Mutex::new(state)) }
    }

    /// Other limits from now on. Whoever has a place keeps it.
    pub fn set(&self, settings: Settings) {
        let mut state = self.state.lock();
        state.settings = settings;
        state.move_up(self);
    }

    /// Takes a place if there is one, and nobody waits.
    pub fn try_enter(&self) -> Option<Place> {
        self.state.lock().take().then(|| self.place())
    }

    /// Takes a place, or waits for one in the line.
    pub async fn enter(&self) -> Result<Place, Saturated> {
        self.enter_after(Duration::ZERO).await
    }

    /// The same for a request that has `waited` elsewhere already.
    pub async fn enter_after(&self, waited: Duration) -> Result<Place, Saturated> {
        let (number, waiting, max_wait) = {
            let mut state = self.state.lock();
            if state.take() {
                return Ok(self.place());
            }
            let Settings { max_waiting, max_wait, .. } = state.settings;
            let max_wait = max_wait.saturating_sub(waited);
            if state.line.len() >= max_waiting || max_wait.is_zero() {
                return Err(Saturated::Full { under_way: state.under_way, waiting: state.line.len() });
            }
            let (sender, waiting) = oneshot::channel();
            let number = state.next;
            state.next += 1;
            state.line.push_back((number, sender));
            (number, waiting, max_wait)
        };
        // Whoever leaves the line leaves no trace in it.
        let _leaving = Leaving { bulkhead: self, number };
        match tokio::time::timeout(max_wait, waiting).await {
            Ok(Ok(place)) => Ok(place),
            // The sender stays in the line for as long as somebody waits.
            Ok(Err(_)) | Err(_) => {
                Err(Saturated::Overdue { under_way: self.state.lock().under_way, waited: max_wait })
            }
        }
    }

    /// How it stands.
    pub fn view(&self) -> View {
        let state = self.state.lock();
        let Settings { max_requests, max_waiting, .. } = state.settings;
        View { under_way: state.under_way, max_requests, waiting: state.line.len(), max_waiting }
    }

    fn place(&self) -> Place {
        Place { bulkhead: Some(self.clone()) }
    }
}

impl State {
    /// Takes a place if there is one, and nobody waits.
    fn take(&mut self) -> bool {
        let is_free = self.line.is_empty() && self.under_way < self.settings.max_requests;
        self.under_way += usize::from(is_free);
        is_free
    }

    /// Gives free places to those who wait.
    fn move_up(&mut self, bulkhead: &Bulkhead) {
        while self.under_way < self.settings.max_requests
            && let Some((_, first)) = self.line.pop_front()
        {
            match first.send(bulkhead.place()) {
                Ok(()) => self.under_way += 1,
                // It has just left; what it did not get was no place yet.
                Err(mut place) => drop(place.bulkhead.take()),
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(bulkhead) = self.bulkhead.take() {
            let mut state = bulkhead.state.lock();
            state.under_way -= 1;
            state.move_up(&bulkhead);
        }
    }
}

/// Takes whoever leaves the line out of it.
struct Leaving<'a> {
    bulkhead: &'a Bulkhead,
    number: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.bulkhead.state.lock();
        // Numbers ascend along the line.
        if let Ok(at) = state.line.binary_search_by_key(&self.number, |(number, _)| *number) {
            state.line.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn bulkhead(max_requests: usize, max_waiting: usize) -> Bulkhead {
        Bulkhead::new(Settings { max_requests, max_waiting, max_wait: 500 * MS, ..Settings::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn places_go_to_those_who_wait_in_their_order_and_to_nobody_beyond_the_line() {
        let bulkhead = bulkhead(1, 2);
        let first = bulkhead.enter().await.expect("free");
        let (mut second, mut third) = (Box::pin(bulkhead.enter()), Box::pin(bulkhead.enter()));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        let full = bulkhead.enter().await.expect_err("the line is full");
        assert_eq!(full, Saturated::Full { under_way: 1, waiting: 2 });
        drop(first);
        assert!((&mut third).now_or_never().is_none());
        let second = second.now_or_never().expect("its turn").expect("a place");
        assert_eq!(bulkhead.view(), View { under_way: 1, max_requests: 1, waiting: 1, max_waiting: 2 });
        drop(second);
        third.await.expect("a place");
        assert_eq!(bulkhead.view().under_way, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_is_allowed() {
        let bulkhead = bulkhead(1, 2);
        let _place = bulkhead.enter().await.expect("free");
        let began = tokio::time::Instant::now();
        let overdue = bulkhead.enter().await.expect_err("none is free");
        assert_eq!(overdue, Saturated::Overdue { under_way: 1, waited: 500 * MS });
        assert_eq!(began.elapsed(), 500 * MS);
        assert_eq!(bulkhead.view().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_came_too_late_goes_on_to_the_next() {
        let bulkhead = bulkhead(1, 2);
        let place = bulkhead.enter().await.expect("free");
        let (mut second, mut third) = (Box::pin(bulkhead.enter()), Box::pin(bulkhead.enter()));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(place);
        // It has been given the place, and leaves without having looked.
        drop(second);
        third.now_or_never().expect("its turn").expect("a place");
    }

    #[tokio::test(start_paused = true)]
    async fn other_limits_hold_at_once_and_nobody_is_driven_out() {
        let bulkhead = bulkhead(1, 9);
        let first = bulkhead.enter().await.expect("free");
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(bulkhead.enter())).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        bulkhead.set(Settings { max_requests: 3, max_waiting: 9, max_wait: MS, ..Settings::default() });
        assert_eq!((bulkhead.view().under_way, bulkhead.view().waiting), (3, 2));
        bulkhead.set(Settings { max_requests: 1, max_waiting: 9, max_wait: MS, ..Settings::default() });
        drop(first);
        assert_eq!((bulkhead.view().under_way, bulkhead.view().waiting), (2, 2));
        drop(waiting);
        assert_eq!((bulkhead.view().under_way, bulkhead.view().waiting), (0, 0));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Enter,
        Leave(usize),
        GiveUp(usize),
        Set(usize),
        Pass(u32),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            Just(Act::Enter),
            (0..8usize).prop_map(Act::Leave),
            (0..8usize).prop_map(Act::GiveUp),
            (1..5usize).prop_map(Act::Set),
            (0..400u32).prop_map(Act::Pass),
        ];
        prop::collection::vec(act, 0..80)
    }

    proptest! {
        #[test]
        fn whatever_happens_the_limits_hold_and_no_place_is_lost(acts in acts()) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let bulkhead = bulkhead(3, 4);
                let (mut inside, mut waiting) = (Vec::new(), Vec::new());
                let mut most = 3;
                for act in acts {
                    match act {
                        Act::Enter => waiting.push(Box::pin({
                            let bulkhead = bulkhead.clone();
                            async move { bulkhead.enter().await }
                        })),
                        Act::Leave(at) if at < inside.len() => drop(inside.swap_remove(at)),
                        Act::GiveUp(at) if at < waiting.len() => drop(waiting.remove(at)),
                        Act::Set(max_requests) => {
                            most = max_requests;
                            bulkhead.set(Settings { max_requests, max_waiting: 4, max_wait: 500 * MS, ..Settings::default() });
                        }
                        Act::Pass(ms) => tokio::time::advance(ms * MS).await,
                        Act::Leave(_) | Act::GiveUp(_) => {}
                    }
                    let before = inside.len();
                    let mut still = Vec::new();
                    for mut one in waiting {
                        match (&mut one).now_or_never() {
                            Some(Ok(place)) => inside.push(place),
                            Some(Err(_)) => {}
                            None => still.push(one),
                        }
                    }
                    waiting = still;
                    assert!(inside.len() <= most.max(before), "{} of {most}", inside.len());
                    let view = bulkhead.view();
                    assert_eq!((view.under_way, view.waiting), (inside.len(), waiting.len()));
                    assert!(view.waiting <= 4 && (view.waiting == 0 || view.under_way >= most));
                }
            });
        }
    }
}
