//! Dates (RFC 9110 5.6.7): a strict parser of the three forms, in any letter
//! case; written dates are always the preferred form.
//!
//! What always holds: whatever is not exactly one of the three forms is no date.
//! Arithmetic is in 64 bits.

use crate::clock::Wall;

const MONTHS: [&[u8]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const DAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// The last moment that has four digits for its year.
const LAST: Wall = Wall::from_secs(253_402_300_799);

/// The preferred form of a moment, to the second. Later than the year 9999 is not
/// to be written.
pub fn format(at: Wall) -> String {
    httpdate::fmt_http_date(at.min(LAST).to_system_time())
}

/// Seconds since the Unix epoch, or `None` for what is no date. `now` settles the
/// century of a two-digit year. Dates before the epoch count as the epoch.
pub fn parse(text: &[u8], now: Wall) -> Option<u64> {
    let mut scan = Scan { rest: text };
    let parsed = if text.get(3) == Some(&b',') {
        imf_fixdate(&mut scan)
    } else if text.get(3) == Some(&b' ') {
        asctime(&mut scan)
    } else {
        rfc850(&mut scan, now)
    };
    parsed.filter(|_| scan.rest.is_empty())
}

/// A moment as RFC 3339 writes it, in UTC, to the millisecond.
pub fn rfc3339(at: Wall) -> String {
    String::from_utf8_lossy(&at.min(LAST).rfc3339()).into_owned()
}

/// What [`rfc3339`] and others write: a date and a time, perhaps with a fraction, in
/// UTC or with an offset. Dates before 1970 count as its beginning.
pub fn parse_rfc3339(text: &str) -> Option<Wall> {
    let mut scan = Scan { rest: text.as_bytes() };
    let year = scan.digits(4)?;
    scan.exactly(b"-")?;
    let month = scan.digits(2).filter(|month| (1..=12).contains(month))?;
    scan.exactly(b"-")?;
    let day = scan.digits(2)?;
    scan.exactly(b"t").or_else(|| scan.exactly(b" "))?;
    let seconds = seconds(year, month, day, scan.time()?)?;
    let mut millis = 0;
    if scan.exactly(b".").is_some() {
        let mut weight = 100;
        let first = scan.rest.first()?;
        first.is_ascii_digit().then_some(())?;
        while let Some(digit) = scan.digits(1) {
            millis += digit * weight;
            weight /= 10;
        }
    }
    let at = seconds * 1000 + millis;
    let at = if scan.exactly(b"z").is_some() {
        at
    } else {
        let east = scan.exactly(b"+").is_some();
        if !east {
            scan.exactly(b"-")?;
        }
        let hours = scan.digits(2).filter(|hours| *hours < 24)?;
        scan.exactly(b":")?;
        let minutes = scan.digits(2).filter(|minutes| *minutes < 60)?;
        let offset = (hours * 60 + minutes) * 60_000;
        if east { at.saturating_sub(offset) } else { at + offset }
    };
    scan.rest.is_empty().then(|| Wall::from_millis(at))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(scan: &mut Scan<'_>) -> Option<u64> {
    scan.weekday(true)?;
    scan.exactly(b", ")?;
    let day = scan.digits(2)?;
    scan.exactly(b" ")?;
    let month = scan.month()?;
    scan.exactly(b" ")?;
    let year = scan.digits(4)?;
    scan.exactly(b" ")?;
    let time = scan.time()?;
    scan.exactly(b" gmt")?;
    seconds(year, month, day, time)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(scan: &mut Scan<'_>, now: Wall) -> Option<u64> {
    scan.weekday(false)?;
    scan.exactly(b", ")?;
    let day = scan.digits(2)?;
    scan.exactly(b"-")?;
    let month = scan.month()?;
    scan.exactly(b"-")?;
    let short = scan.digits(2)?;
    scan.exactly(b" ")?;
    let time = scan.time()?;
    scan.exactly(b" gmt")?;
    // More than fifty years ahead, to the second, means the century before.
    let (this_year, this_month, today) = now.date();
    let year = this_year / 100 * 100 + short;
    let limit = (this_year + 50, this_month, today, now.secs() % 86_400);
    let year = if (year, month, day, time) > limit { year - 100 } else { year };
    seconds(year, month, day, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(scan: &mut Scan<'_>) -> Option<u64> {
    scan.weekday(true)?;
    scan.exactly(b" ")?;
    let month = scan.month()?;
    scan.exactly(b" ")?;
    let day = if scan.exactly(b" ").is_some() { scan.digits(1)? } else { scan.digits(2)? };
    scan.exactly(b" ")?;
    let time = scan.time()?;
    scan.exactly(b" ")?;
    let year = scan.digits(4)?;
    seconds(year, month, day, time)
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    /// Takes this text, which is given in lower case.
    fn exactly(&mut self, text: &[u8]) -> Option<()> {
        let (head, rest) = self.rest.split_at_checked(text.len())?;
        head.eq_ignore_ascii_case(text).then(|| self.rest = rest)
    }

    fn digits(&mut self, count: usize) -> Option<u64> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        let number = head.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        })?;
        self.rest = rest;
        Some(number)
    }

    fn weekday(&mut self, short: bool) -> Option<()> {
        DAYS.iter().find_map(|name| self.exactly(if short { &name[..3] } else { name }))
    }

    fn month(&mut self) -> Option<u64> {
        MONTHS.iter().zip(1..).find_map(|(name, number)| self.exactly(name).map(|()| number))
    }

    /// Hours, minutes and seconds as seconds; a leap second counts as the next one.
    fn time(&mut self) -> Option<u64> {
        let hours = self.digits(2)?;
        self.exactly(b":")?;
        let minutes = self.digits(2)?;
        self.exactly(b":")?;
        let seconds = self.digits(2)?;
        (hours < 24 && minutes < 60 && seconds <= 60).then_some(hours * 3600 + minutes * 60 + seconds)
    }
}

fn seconds(year: u64, month: u64, day: u64, time: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > length {
        return None;
    }
    // Days since 0000-03-01, in which a leap day is the last day of its year.
    let (shifted_year, shifted_month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (shifted_month * 153 + 2) / 5
        + day
        - 1;
    // 1970-01-01 is day 719468 of that count.
    Some((days * 86_400 + time).saturating_sub(719_468 * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_reads_back_and_nothing_else_is_read() {
        let at = Wall::from_millis(1_800_000_000_123);
        assert_eq!(rfc3339(at), "2027-01-15T08:00:00.123Z");
        for (text, millis) in [
            ("2027-01-15T08:00:00.123Z", Some(1_800_000_000_123)),
            ("2027-01-15t08:00:00z", Some(1_800_000_000_000)),
            ("2027-01-15 09:30:00.5+01:30", Some(1_800_000_000_500)),
            ("2027-01-15T06:00:00.1234567-02:00", Some(1_800_000_000_123)),
            ("1960-01-01T00:00:00Z", Some(0)),
            ("2027-02-29T00:00:00Z", None),
            ("2027-13-01T00:00:00Z", None),
            ("2027-01-15T08:00:00", None),
            ("2027-01-15T08:00:00.Z", None),
            ("2027-01-15T08:00:00Zx", None),
            ("2027-01-15T08:00:00+1:00", None),
            ("", None),
        ] {
            assert_eq!(parse_rfc3339(text).map(Wall::millis), millis, "{text}");
        }
    }
}
