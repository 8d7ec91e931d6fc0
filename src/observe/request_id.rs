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
        _ => hexadecimal(fastrand::u128(..)),
    }
}

fn hexadecimal(number: u128) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (124 - 4 * at)) as usize & 15];
    }
    std::str::from_utf8(&digits).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_written() {
        for number in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            assert_eq!(hexadecimal(number), format!("{number:032x}"));
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
