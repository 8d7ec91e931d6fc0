//! Sizes and times as operators write them: `512MiB`, `300ms`, `12h`.
//!
//! What is printed always reads back as the same value, in the largest unit
//! that says it exactly. A number without a unit is never guessed at, with one
//! exception: a zero is a zero in any unit.

use std::time::Duration;

/// A kibibyte in bytes.
pub const KIB: u64 = 1 << 10;
/// A mebibyte in bytes.
pub const MIB: u64 = 1 << 20;

/// What a good size looks like, for messages.
pub const SIZE_CURE: &str = "Write a number of bytes with a unit, such as \"512MiB\".";
/// What a good time looks like, for messages.
pub const TIME_CURE: &str = "Write a whole number with a unit (ms, s, m, h or d), such as \"30s\".";

/// Units that are read, with their worth in bytes.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", KIB),
    ("MB", 1_000_000),
    ("MiB", MIB),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Units that are printed, the largest first: the powers of two, as memory is counted.
const PRINTED_SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// Units of time with their worth in milliseconds, the largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of rates with their length in seconds.
const RATES: [(&str, f64); 3] = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Reads a size such as `512MiB`, in any letter case; `None` when it is none.
pub fn size(text: &str) -> Option<u64> {
    in_units(text, &SIZES)
}

/// Reads a time such as `300ms`, in any letter case; `None` when it is none.
pub fn time(text: &str) -> Option<Duration> {
    in_units(text, &TIMES).map(Duration::from_millis)
}

/// Reads a rate such as `50/s`, `30/m` or `1000/h` as a number a second; `None` when it
/// is none, or nothing.
pub fn rate(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once('/')?;
    let number: u64 = number.trim().parse().ok().filter(|number| (1..=1_000_000_000).contains(number))?;
    let (_, seconds) = RATES.into_iter().find(|(name, _)| unit.trim().eq_ignore_ascii_case(name))?;
    Some(number as f64 / seconds)
}

/// Prints a rate so that [`rate`] reads the same one.
pub fn print_rate(per_second: f64) -> String {
    let whole = |(unit, seconds): (&str, f64)| {
        let number = per_second * seconds;
        ((number - number.round()).abs() < 1e-6 && number >= 0.5)
            .then(|| format!("{}/{unit}", number.round()))
    };
    RATES.into_iter().find_map(whole).unwrap_or_else(|| format!("{per_second}/s"))
}

/// Prints a size so that [`size`] reads the same one.
pub fn print_size(bytes: u64) -> String {
    print(bytes, &PRINTED_SIZES, "B")
}

/// Prints a time so that [`time`] reads the same one. Times that were read are
/// whole milliseconds; what a finer one has beyond that is cut off.
pub fn print_time(time: Duration) -> String {
    print(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), &TIMES, "s")
}

fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start_matches(' ');
    if unit.is_empty() {
        return (number == 0).then_some(0);
    }
    let (_, worth) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*worth)
}

fn print(number: u64, units: &[(&str, u64)], unit_of_zero: &str) -> String {
    match units.iter().find(|(_, worth)| number != 0 && number.is_multiple_of(*worth)) {
        Some((unit, worth)) => format!("{}{unit}", number / worth),
        None => format!("0{unit_of_zero}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_read_in_any_letter_case() {
        for (text, bytes) in [
            ("512MiB", Some(512 * MIB)),
            ("512 mib", Some(512 * MIB)),
            ("1kb", Some(1000)),
            ("1KiB", Some(1024)),
            ("7B", Some(7)),
            ("0", Some(0)),
            ("7", None),
            ("12 parsecs", None),
            ("1.5GiB", None),
            ("-1B", None),
            ("MiB", None),
            ("", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
        for (text, milliseconds) in [
            ("300ms", Some(300)),
            ("5s", Some(5000)),
            ("0s", Some(0)),
            ("12h", Some(43_200_000)),
            ("2M", Some(120_000)),
            ("1d", Some(86_400_000)),
            ("5", None),
            ("5 minutes", None),
            ("é", None),
        ] {
            assert_eq!(time(text), milliseconds.map(Duration::from_millis), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(number in any::<u64>(), shift in 0u32..64) {
            let bytes = (number >> shift) << (shift / 2);
            prop_assert_eq!(size(&print_size(bytes)), Some(bytes));
            let span = Duration::from_millis(bytes);
            prop_assert_eq!(time(&print_time(span)), Some(span));
        }

        #[test]
        fn reading_never_panics(text in any::<String>()) {
            let _ = (size(&text), time(&text));
        }
    }
}
