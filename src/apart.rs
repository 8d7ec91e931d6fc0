//! What threads have apart from each other, so that no two of them write the same word of memory
//! for each request.
//!
//! To take a handle of something shared is to write a count. Where all threads write the same
//! one it goes from processor to processor with each request; here each thread has a count
//! of its own.
//!
//! What always holds: what there is a handle of stays.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places there are for what threads have apart: threads beyond so many share.
pub const PLACES: usize = 16;

/// What one thread writes alone: as large as what processors fetch at once.
#[derive(Default, Debug)]
#[repr(align(128))]
pub struct Apart<T>(pub T);

/// The place of this thread.
pub fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    PLACE.with(|place| *place)
}

/// What handles are taken from.
pub struct Handles<T>([Handle<T>; PLACES]);

/// A handle; cheap to clone.
pub struct Handle<T>(Arc<Counted<T>>);

/// With its counts it is as large as what processors fetch at once.
struct Counted<T> {
    of: Arc<T>,
    _apart: [usize; 13],
}

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

impl<T> Clone for Handles<T> {
    fn clone(&self) -> Self {
        Handles(self.0.clone())
    }
}

impl<T> Deref for Handles<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T: fmt::Debug> fmt::Debug for Handles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> Handle<T> {
    /// A handle with a count of its own.
    pub fn new(of: Arc<T>) -> Self {
        Handle(Arc::new(Counted { of, _apart: [0; 13] }))
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
        &self.0.of
    }
}

impl<T: fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_handles_from_counts_of_their_own() {
        let handles = Handles::new(Arc::new(7));
        let counts = || handles.0.each_ref().map(|handle| Arc::strong_count(&handle.0));
        // However many threads there were before, two that begin one after the other have
        // places beside each other.
        let held: Vec<Handle<i32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..PLACES).map(|_| scope.spawn(|| handles.take())).collect();
            threads.into_iter().map(|thread| thread.join().expect("a handle")).collect()
        });
        assert!(held.iter().all(|handle| **handle == 7));
        assert!(counts().iter().filter(|count| **count > 1).count() > 1, "{:?}", counts());
        drop(held);
        assert_eq!(counts(), [1; PLACES]);
        assert_eq!(format!("{handles:?}"), "7");
    }
}
