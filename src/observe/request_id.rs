//! The ids by which a request is found again: its own, the client's where that is
//! harmless, and the trace that it belongs to.

/// The longest id that is taken over, in bytes.
const LONGEST: usize = 128;

/// The id that a request came with, if it is short and of safe characters, or a
/// new one of 128 random bits. It is a name and not a secret.
pub fn accept_or_new(told: Option<&[u8]>) -> String {
    let safe = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b);
    match told.and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) if !id.is_empty() && id.len() <= LONGEST && id.as_bytes().iter().all(safe) => id.to_owned(),
        _ => format!("{:032x}", fastrand::u128(..)),
    }
}

/// Whether `told` is a `traceparent` as W3C Trace Context has it, of any version
/// there may be: with a trace and a parent that are not all zero. One that is may go
/// to the origin as it is.
pub fn is_traceparent(told: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let named = |part: &[u8]| hex(part) && part.iter().any(|b| *b != b'0');
    let Some((known, more)) = told.split_at_checked(55) else { return false };
    let mut parts = known.split(|b| *b == b'-');
    let mut next = |length| parts.next().filter(|part| part.len() == length);
    let (Some(version), Some(trace), Some(parent), Some(flags)) = (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    // Version 00 ends here; a later one may say more.
    let ends_well = more.is_empty() || (version != b"00" && more.starts_with(b"-") && told.len() <= LONGEST);
    ends_well && hex(version) && version != b"ff" && named(trace) && named(parent) && hex(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_four_numbers_of_which_two_are_not_zero() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let later = good.replacen("00", "cc", 1);
        for (told, is_one) in [
            (good.to_owned(), true),
            (later.clone(), true),
            (format!("{later}-what-the-future-brings"), true),
            (format!("{later}.x"), false),
            (format!("{later}-{}", "x".repeat(LONGEST)), false),
            (format!("{good}-x"), false),
            (good.replacen("00", "ff", 1), false),
            (good.to_uppercase(), false),
            (good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)), false),
            (good.replace("b7ad6b7169203331", &"0".repeat(16)), false),
            (good.replace("-01", "-0g"), false),
            (good.replace("-01", "--1"), false),
            (good[..54].to_owned(), false),
            ("-".repeat(55), false),
            (String::new(), false),
        ] {
            assert_eq!(is_traceparent(told.as_bytes()), is_one, "{told}");
        }
    }

    #[test]
    fn only_harmless_ids_are_taken_over() {
        assert_eq!(accept_or_new(Some(b"abc-123")), "abc-123");
        for bad in [None, Some(&b""[..]), Some(b"a b"), Some(b"a\"b"), Some(&[b'a'; 129])] {
            let new = accept_or_new(bad);
            assert_eq!(new.len(), 32, "{bad:?}");
            assert_ne!(new, accept_or_new(bad));
        }
    }
}
