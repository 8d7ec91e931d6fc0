//! Keeping responses: what is stored, under which key, and until when.

/// Limits of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Gross memory in bytes: heads, bodies and index together.
    pub memory: u64,
    /// The largest response that is kept, as percent of `memory`.
    pub max_response_percent: u32,
    /// The most variants of one key; the least recently used goes first.
    pub max_variants: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { memory: 512 * 1024 * 1024, max_response_percent: 10, max_variants: 32 }
    }
}
