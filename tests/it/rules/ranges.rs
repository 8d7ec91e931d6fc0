//! `Range` (RFC 9110 14.1, 14.2, 15.3.7, 15.5.17).

use forebay::rfc::range::{Ranges, content_range, resolve, unsatisfied};

#[test]
fn what_a_range_asks_for() {
    use Ranges::{Many, None, One, Unsatisfiable};
    let rows = [
        ("the beginning", "bytes=0-4", One(0..5)),
        ("to the end", "bytes=5-", One(5..10)),
        ("the last bytes", "bytes=-3", One(7..10)),
        ("more than there is at the end", "bytes=5-99", One(5..10)),
        ("a suffix longer than all", "bytes=-99", One(0..10)),
        ("any letter case", "Bytes=0-0", One(0..1)),
        ("white space", "bytes= 0-1 , 4-5 ", Many(vec![0..2, 4..6])),
        ("empty members", "bytes=,0-1,,", One(0..2)),
        ("several", "bytes=0-1,4-5,8-", Many(vec![0..2, 4..6, 8..10])),
        ("overlapping ones are joined", "bytes=0-5,3-7", One(0..8)),
        ("touching ones are joined", "bytes=0-1,2-3", One(0..4)),
        ("out of order they are sorted", "bytes=8-,0-1", Many(vec![0..2, 8..10])),
        ("one outside leaves the others", "bytes=0-1,50-60", One(0..2)),
        ("all outside", "bytes=10-", Unsatisfiable),
        ("a suffix of nothing", "bytes=-0", Unsatisfiable),
        ("far outside", "bytes=99999999999999999999-", Unsatisfiable),
        (
            "as far outside as can be counted",
            "bytes=18446744073709551615-18446744073709551615",
            Unsatisfiable,
        ),
        ("the wrong way round", "bytes=5-3", None),
        ("no numbers", "bytes=a-b", None),
        ("no dash", "bytes=5", None),
        ("only a dash", "bytes=-", None),
        ("nothing", "bytes=", None),
        ("another unit", "lines=1-2", None),
        ("no unit", "0-1", None),
        ("one bad spoils all", "bytes=0-1,x", None),
        ("more than allowed", "bytes=0-0,2-2,4-4,6-6", None),
    ];
    for (sentence, value, verdict) in rows {
        assert_eq!(resolve(value.as_bytes(), 10, 3), verdict, "{sentence}: {value}");
    }
    assert_eq!(resolve(b"bytes=0-", 0, 3), Unsatisfiable, "nothing has no part");
    assert_eq!(
        (content_range(&(2..5), 10), unsatisfied(10)),
        ("bytes 2-4/10".to_owned(), "bytes */10".to_owned())
    );
}
