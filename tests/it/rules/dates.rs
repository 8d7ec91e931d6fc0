//! Dates: three forms, and nothing that only looks like one (RFC 9110 5.6.7).

use forebay::clock::Wall;
use forebay::rfc::date;

use super::NOW;

#[test]
fn what_is_a_date_and_what_is_not() {
    let rows: [(&str, &str, Option<u64>); 40] = [
        ("the preferred form", "Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
        ("RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
        ("asctime", "Sun Nov  6 08:49:37 1994", Some(784_111_777)),
        ("asctime, two digits", "Sun Nov 16 08:49:37 1994", Some(784_975_777)),
        ("weekday in capitals", "SUN, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
        ("month in small letters", "Sun, 06 nov 1994 08:49:37 GMT", Some(784_111_777)),
        ("zone in small letters", "Sun, 06 Nov 1994 08:49:37 gmt", Some(784_111_777)),
        ("RFC 850 in capitals", "SUNDAY, 06-NOV-94 08:49:37 GMT", Some(784_111_777)),
        ("the weekday is not checked against the date", "Mon, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
        ("the epoch", "Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ("before the epoch", "Wed, 31 Dec 1969 23:59:59 GMT", Some(0)),
        ("past 32 bits", "Sun, 01 Jan 2286 00:00:00 GMT", Some(9_972_028_800)),
        ("a leap day", "Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
        ("a leap day in a century that has one", "Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
        ("a leap second", "Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
        ("fifty years ahead is ahead", "Sunday, 01-Jan-77 00:00:00 GMT", Some(3_376_684_800)),
        ("to the very second", "Friday, 15-Jan-77 08:00:00 GMT", Some(3_377_923_200)),
        ("and no second longer", "Saturday, 15-Jan-77 08:00:01 GMT", Some(222_163_201)),
        ("more than fifty is the century before", "Sunday, 01-Jan-78 00:00:00 GMT", Some(252_460_800)),
        ("no leap day", "Wed, 29 Feb 2023 00:00:00 GMT", None),
        ("no leap day in 1900", "Thu, 29 Feb 1900 00:00:00 GMT", None),
        ("no 31st of April", "Thu, 31 Apr 2026 00:00:00 GMT", None),
        ("no day 0", "Thu, 00 Apr 2026 00:00:00 GMT", None),
        ("no hour 24", "Sun, 06 Nov 1994 24:00:00 GMT", None),
        ("no minute 60", "Sun, 06 Nov 1994 08:60:00 GMT", None),
        ("UTC is not GMT", "Sun, 06 Nov 1994 08:49:37 UTC", None),
        ("nor is AEST", "Sun, 06 Nov 1994 08:49:37 AEST", None),
        ("two-digit year", "Sun, 06 Nov 94 08:49:37 GMT", None),
        ("no comma", "Sun 06 Nov 1994 08:49:37 GMT", None),
        ("two spaces", "Sun, 06 Nov 1994  08:49:37 GMT", None),
        ("two spaces before the zone", "Sun, 06 Nov 1994 08:49:37  GMT", None),
        ("dashes", "Sun, 06-Nov-1994 08:49:37 GMT", None),
        ("dots for colons", "Sun, 06 Nov 1994 08.49.37 GMT", None),
        ("one-digit hour", "Sun, 06 Nov 1994 8:49:37 GMT", None),
        ("one-digit day", "Sun, 6 Nov 1994 08:49:37 GMT", None),
        ("no zone", "Sun, 06 Nov 1994 08:49:37", None),
        ("more behind it", "Sun, 06 Nov 1994 08:49:37 GMT;", None),
        ("a number", "0", None),
        ("a word", "Never", None),
        ("nothing", "", None),
    ];
    for (sentence, text, verdict) in rows {
        assert_eq!(date::parse(text.as_bytes(), NOW), verdict, "{sentence}: {text:?}");
    }
}

#[test]
fn dates_are_written_in_the_preferred_form() {
    assert_eq!(date::format(Wall::from_secs(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(date::format(Wall::from_millis(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
}
