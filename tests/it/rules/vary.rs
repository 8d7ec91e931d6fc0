//! `Vary` and which stored response a request selects (RFC 9111 4.1).

use forebay::rfc::vary::{SecondaryKey, VaryNames, names};

use super::fields;

#[test]
fn what_a_response_varies_on() {
    for (text, verdict) in [
        ("", Some(vec![])),
        ("vary: Foo", Some(vec!["foo"])),
        ("vary: Foo, bar\nvary: FOO", Some(vec!["bar", "foo"])),
        ("vary: , Foo,,", Some(vec!["foo"])),
        ("vary: *", None),
        ("vary: Foo, *", None),
        ("vary: Foo\nvary: , *", None),
    ] {
        let found = match names(&fields(text)) {
            VaryNames::Star => None,
            VaryNames::Names(names) => Some(names),
        };
        let verdict = verdict.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(found, verdict, "{text}");
    }
}

#[test]
fn which_requests_select_the_same() {
    let rows = [
        ("the same", "x: 1", "x: 1", true),
        ("another", "x: 1", "x: 2", false),
        ("missing is not empty", "x:", "", false),
        ("missing selects missing", "", "", true),
        ("missing is not there", "", "x: 1", false),
        ("white space around commas", "x: 1, 2", "x: 1 ,2", true),
        ("lines are combined", "x: 1, 2", "x: 1\nx: 2", true),
        ("order matters in what is unknown", "x: 1, 2", "x: 2, 1", false),
        ("case matters in what is unknown", "x: a", "x: A", false),
        ("other fields do not matter", "x: 1\ny: 1", "x: 1\ny: 2", true),
        ("encodings in any case", "accept-encoding: gzip", "accept-encoding: GZIP", true),
        ("encodings in any order", "accept-encoding: gzip, br", "accept-encoding: br,gzip", true),
        ("a weight of one is none", "accept-encoding: gzip;q=1.0", "accept-encoding: gzip", true),
        ("another weight is", "accept-encoding: gzip;q=0.5", "accept-encoding: gzip", false),
        ("spaces around a weight", "accept-encoding: gzip ; q=0.5", "accept-encoding: gzip;q=0.5", true),
        ("languages in any case", "accept-language: en-GB", "accept-language: EN-gb", true),
        ("languages in order, unless told", "accept-language: en, de", "accept-language: de, en", false),
    ];
    let vary = ["accept-encoding", "accept-language", "x"].map(str::to_owned);
    for (sentence, stored, asked, verdict) in rows {
        let key = SecondaryKey::of(&vary, &fields(stored), false);
        assert_eq!(key.matches(&fields(asked), false), verdict, "{sentence}: {stored} / {asked}");
        let other = SecondaryKey::of(&vary, &fields(asked), false);
        assert_eq!(key == other, verdict, "{sentence}, as keys: {stored} / {asked}");
    }
    let sorted = SecondaryKey::of(&vary, &fields("accept-language: en, de"), true);
    assert!(sorted.matches(&fields("accept-language: de, en"), true));
}
