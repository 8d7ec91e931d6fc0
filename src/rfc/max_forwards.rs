//! `Max-Forwards` (RFC 9110 7.6.2): how often `TRACE` and `OPTIONS` may still be passed on.

use http::Method;

use super::fields::Fields;

/// What the field says to this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwards {
    /// Nothing.
    Any,
    /// The request goes no further: it is answered here.
    None,
    /// It may be passed on so often after this once.
    Then(u64),
}

/// Reads it. With other methods it may be ignored, and is; so is one that is no number.
pub fn forwards(method: &Method, fields: &Fields) -> Forwards {
    if *method != Method::OPTIONS && *method != Method::TRACE {
        return Forwards::Any;
    }
    let mut lines = fields.get_all("max-forwards");
    let (Some(line), None) = (lines.next(), lines.next()) else { return Forwards::Any };
    if line.is_empty() || !line.iter().all(u8::is_ascii_digit) {
        return Forwards::Any;
    }
    // What is too large to be told apart is as good as no limit, and counts down all the same.
    let times = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()).unwrap_or(u64::MAX);
    times.checked_sub(1).map_or(Forwards::None, Forwards::Then)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_down_and_what_is_no_number_says_nothing() {
        for (value, said) in [
            ("0", Forwards::None),
            ("00", Forwards::None),
            ("1", Forwards::Then(0)),
            ("10", Forwards::Then(9)),
            ("99999999999999999999999", Forwards::Then(u64::MAX - 1)),
            ("", Forwards::Any),
            ("-1", Forwards::Any),
            ("+1", Forwards::Any),
            ("1, 2", Forwards::Any),
        ] {
            let fields: Fields = [("max-forwards", value)].into_iter().collect();
            for method in [Method::OPTIONS, Method::TRACE] {
                assert_eq!(forwards(&method, &fields), said, "{value}");
            }
            assert_eq!(forwards(&Method::GET, &fields), Forwards::Any);
        }
        let twice: Fields = [("max-forwards", "1"), ("max-forwards", "1")].into_iter().collect();
        assert_eq!(forwards(&Method::TRACE, &twice), Forwards::Any);
        assert_eq!(forwards(&Method::TRACE, &Fields::new()), Forwards::Any);
    }
}
