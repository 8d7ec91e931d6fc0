//! What memory the process has of its own, so that what is stored can be held to what it may
//! take, holes of the allocator included.
//!
//! What it never does: tell anything of a process that has more than one node.

use crate::fetch::Common;

/// What the process had before there was anything to store.
pub(super) struct Memory {
    before: u64,
}

impl Memory {
    /// As it is now; none where the system does not tell.
    pub fn now() -> Option<Self> {
        anonymous().map(|before| Memory { before })
    }

    /// Tells the store what is taken for it: all that has been added since, but for bodies
    /// under way.
    pub fn tell(&self, common: &Common) {
        if let Some(now) = anonymous() {
            common.store.takes(now.saturating_sub(self.before).saturating_sub(common.budget.held()));
        }
    }
}

/// Resident bytes that are no file's.
fn anonymous() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_seen() {
        let before = anonymous().expect("Linux tells");
        let block = vec![1u8; 64 << 20];
        let after = anonymous().expect("Linux tells");
        assert!(after >= before + (48 << 20), "{before} before, {after} after {} bytes", block.len());
    }
}
