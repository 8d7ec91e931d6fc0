//! Dates: what is read is exactly what the grammar of RFC 9110 5.6.7 allows, and it reads as
//! another, slow reader understands it; what is written reads the same.
#![no_main]

use forebay::clock::Wall;
use forebay::rfc::date;
use libfuzzer_sys::fuzz_target;

const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
const SHORT: &str = "mon tue wed thu fri sat sun";
const LONG: &str = "monday tuesday wednesday thursday friday saturday sunday";

/// A date and a time as they are written.
#[derive(Clone, Copy)]
struct Written {
    year: u64,
    month: u64,
    day: u64,
    time: u64,
    /// Whether the year has two digits only.
    short: bool,
}

/// The grammar, word for word: three forms, each split at what stands between its parts.
fn grammar(text: &str) -> Option<Written> {
    imf_fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))
}

fn imf_fixdate(text: &str) -> Option<Written> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [day_name, day, month, year, time, zone] = parts[..] else { return None };
    number_of(day_name.strip_suffix(',')?, SHORT)?;
    let written = Written {
        year: digits(year, 4)?,
        month: number_of(month, MONTHS)?,
        day: digits(day, 2)?,
        time: time_of_day(time)?,
        short: false,
    };
    (zone == "gmt").then_some(written)
}

fn rfc850(text: &str) -> Option<Written> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [day_name, date, time, zone] = parts[..] else { return None };
    number_of(day_name.strip_suffix(',')?, LONG)?;
    let date: Vec<&str> = date.split('-').collect();
    let [day, month, year] = date[..] else { return None };
    let written = Written {
        year: digits(year, 2)?,
        month: number_of(month, MONTHS)?,
        day: digits(day, 2)?,
        time: time_of_day(time)?,
        short: true,
    };
    (zone == "gmt").then_some(written)
}

fn asctime(text: &str) -> Option<Written> {
    let (head, rest) = (text.get(..8)?, text.get(8..)?);
    let names: Vec<&str> = head.split(' ').collect();
    let [day_name, month, ""] = names[..] else { return None };
    let (day, rest) = (rest.get(..2)?, rest.get(2..)?);
    let day = match day.strip_prefix(' ') {
        Some(one) => digits(one, 1)?,
        None => digits(day, 2)?,
    };
    let parts: Vec<&str> = rest.split(' ').collect();
    let ["", time, year] = parts[..] else { return None };
    number_of(day_name, SHORT)?;
    Some(Written {
        year: digits(year, 4)?,
        month: number_of(month, MONTHS)?,
        day,
        time: time_of_day(time)?,
        short: false,
    })
}

/// Which of these names it is, from one on.
fn number_of(name: &str, names: &str) -> Option<u64> {
    names.split(' ').zip(1..).find(|(known, _)| *known == name).map(|(_, number)| number)
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let all = text.len() == count && text.chars().all(|c| c.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

fn time_of_day(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split(':').collect();
    let [hour, minute, second] = parts[..] else { return None };
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    (hour <= 23 && minute <= 59 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn length(year: u64, month: u64) -> u64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1]
}

/// The year, month and day of a day since 1970, counted one year and one month at a time.
fn calendar(mut days: u64) -> (u64, u64, u64) {
    let (mut year, mut month) = (1970, 1);
    while days >= length(year, month) {
        days -= length(year, month);
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    (year, month, days + 1)
}

/// Seconds since 1970, counted in the same way.
fn seconds(written: Written, now: u64) -> Option<u64> {
    let Written { mut year, month, day, time, short } = written;
    if short {
        let (this_year, this_month, today) = calendar(now / 86_400);
        year += this_year / 100 * 100;
        // More than fifty years in the future is the most recent such year in the past.
        if (year, month, day, time) > (this_year + 50, this_month, today, now % 86_400) {
            year -= 100;
        }
    }
    if day == 0 || day > length(year, month) {
        return None;
    }
    if year < 1970 {
        // The last moment of 1969 may be written as a leap second.
        return Some(u64::from(year == 1969 && month == 12 && day == 31 && time > 86_400));
    }
    let years: u64 = (1970..year).map(|year| (1..=12).map(|month| length(year, month)).sum::<u64>()).sum();
    let months: u64 = (1..month).map(|month| length(year, month)).sum();
    Some((years + months + day - 1) * 86_400 + time)
}

fuzz_target!(|input: (u64, &[u8])| {
    let (now, text) = input;
    let now = Wall::from_secs(now % 253_402_300_800);
    let read = date::parse(text, now);
    let lower = text.to_ascii_lowercase();
    assert_eq!(date::parse(&lower, now), read, "letter case means nothing (RFC 9111 4.2)");
    let understood =
        std::str::from_utf8(&lower).ok().and_then(grammar).and_then(|written| seconds(written, now.secs()));
    assert_eq!(read, understood, "{}", String::from_utf8_lossy(text));
    let Some(seconds) = read else { return };
    assert!(seconds < 253_402_300_800 + 1);
    if seconds < 253_402_300_800 {
        let written = date::format(Wall::from_secs(seconds));
        assert_eq!(date::parse(written.as_bytes(), now), Some(seconds), "{written}");
    }
});
