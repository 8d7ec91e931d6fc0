//! The standard as tables: a sentence, its section, an input, a verdict.

mod bans;
mod cache_control;
mod dates;
mod decisions;
mod partial;
mod properties;
mod ranges;
mod requests;
mod storing;
mod totals;
mod validators;
mod vary;

use forebay::clock::Wall;
use forebay::rfc::fields::Fields;

/// When every table is read: 2027-01-15 08:00:00 UTC.
pub const NOW: Wall = Wall::from_secs(1_800_000_000);

/// Fields from lines such as `name: value`, one on each line of `text`.
pub fn fields(text: &str) -> Fields {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no field line: {line}")))
        .collect()
}
