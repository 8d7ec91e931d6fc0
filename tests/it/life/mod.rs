//! A node's life: started, reloaded, drained.

mod process;
mod reload;
mod soak;
