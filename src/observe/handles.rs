//! Handles of what every request needs for a while.
//!
//! To take a handle is to write a count. Where all threads write the same one it goes from
//! processor to processor with each request; here each thread has a count of its own.
//!
//! What always holds: what there is a handle of stays.

use std::ops::Deref;
use std::sync::Arc;

use super::counters::{Apart, PLACES, place};

/// What handles are taken from.
#[derive(Clone, Debug)]
pub struct Handles<T>([Handle<T>; PLACES]);

/// A handle; cheap to clone.
#[derive(Debug)]
pub struct Handle<T>(Arc<Apart<Arc<T>>>);

impl<T> Handles<T> {
    /// Handles of this.
    pub fn new(of: Arc<T>) -> Self {
        Handles(std::array::from_fn(|_| Handle::new(Arc::clone(&of))))
    }

    /// A handle from this thread's count.
    pub fn take(&self) -> Handle<T> {
        self.0[place()].clone()
    }
}

impl<T> Deref for Handles<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T> Handle<T> {
    /// A handle with a count of its own.
    pub fn new(of: Arc<T>) -> Self {
        Handle(Arc::new(Apart(of)))
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Handle(Arc::clone(&self.0))
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let Apart(of) = &*self.0;
        of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_handles_from_counts_of_their_own() {
        let handles = Handles::new(Arc::new(7));
        let held = std::thread::scope(|scope| {
            let take = || scope.spawn(|| handles.take());
            [take(), take()].map(|thread| thread.join().expect("a handle"))
        });
        assert!(held.iter().all(|handle| **handle == 7));
        assert!(!Arc::ptr_eq(&held[0].0, &held[1].0));
        assert_eq!(Arc::strong_count(&held[0].0), 2);
    }
}
