//! Paths and queries in canonical form, and references to them (RFC 3986).
//!
//! What always holds: a canonical path begins with `/`, has no dot segments,
//! percent-encodes nothing that need not be, and writes its triplets in upper
//! case. A canonical form is its own canonical form. A query is left as it is
//! but for the case of its triplets: what it means is the origin's to say. A text that has
//! been made a [`segment`] is the [text](text_of) of that segment.

use std::borrow::Cow;

use super::host::parse_authority;

/// The canonical form of path and query (RFC 3986 6.2.2, 6.2.3). Usually the text
/// is canonical already, and one look over it finds nothing to do.
pub fn canonical_path_and_query(text: &str) -> Cow<'_, str> {
    // One look is enough for most: no dot segments, nothing that is encoded, no fragment.
    let mut before = 0;
    let is_plain = text.starts_with('/')
        && text.bytes().all(|byte| {
            let segment_of_dots = byte == b'.' && before == b'/';
            before = byte;
            !segment_of_dots && byte != b'%' && byte != b'#'
        });
    if is_plain {
        return Cow::Borrowed(text);
    }
    let text = text.split('#').next().unwrap_or_default();
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let mut canonical = without_dot_segments(&decoded(path, true));
    if let Some(query) = query {
        canonical.push('?');
        canonical.push_str(&decoded(query, false));
    }
    if canonical == text { Cow::Borrowed(text) } else { Cow::Owned(canonical) }
}

/// Path and query that `reference` names, seen from the target, if it names
/// something on the same origin.
pub fn same_origin(
    scheme: &str,
    host: &str,
    port: u16,
    base_path_and_query: &str,
    reference: &str,
) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let own_port = if scheme == "https" { 443 } else { 80 };
    let end_of_scheme = reference.find(':').filter(|&at| {
        reference[..at].bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && reference.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
    });
    let rest = match end_of_scheme {
        Some(at) if reference[..at].eq_ignore_ascii_case(scheme) => &reference[at + 1..],
        Some(_) => return None,
        None => reference,
    };
    if let Some(rest) = rest.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = parse_authority(&rest.as_bytes()[..end])?;
        let same = authority.host == host && authority.port.unwrap_or(own_port) == port;
        return same.then(|| canonical_path_and_query(&rooted(&rest[end..])).into_owned());
    }
    if end_of_scheme.is_some() {
        return None;
    }
    let base_path = base_path_and_query.split('?').next().unwrap_or("/");
    let joined = if rest.is_empty() {
        base_path_and_query.to_owned()
    } else if rest.starts_with('/') {
        rest.to_owned()
    } else if rest.starts_with('?') {
        format!("{base_path}{rest}")
    } else {
        let directory = base_path.rfind('/').map_or("/", |at| &base_path[..=at]);
        format!("{directory}{rest}")
    };
    Some(canonical_path_and_query(&joined).into_owned())
}

/// This text as one segment of a path (3.3): only unreserved characters stand for themselves.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The text that a segment of a path stands for. A percent sign on its own stands for
/// itself, and what is no UTF-8 for U+FFFD.
pub fn text_of(segment: &str) -> String {
    let mut parts = segment.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        let rest = if byte.is_some() { part.get(2..).unwrap_or_default() } else { part };
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn rooted(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') { Cow::Borrowed(path) } else { Cow::Owned(format!("/{path}")) }
}

/// Triplets in upper case; with `unreserved`, those of characters that need none
/// are decoded (6.2.2.2).
fn decoded(text: &str, unreserved: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let triplet = rest.get(at..at + 3).filter(|t| t.bytes().skip(1).all(|b| b.is_ascii_hexdigit()));
        let Some(triplet) = triplet else {
            // A percent sign on its own stands for itself. In a path it is written as such,
            // lest what is decoded behind it make a triplet of it.
            out.push_str(if unreserved { "%25" } else { "%" });
            rest = &rest[at + 1..];
            continue;
        };
        let byte = u8::from_str_radix(&triplet[1..], 16).unwrap_or_default();
        if unreserved && is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&triplet.to_ascii_uppercase());
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    out
}

/// Removes `.` and `..` (5.2.4). A path never leaves its root.
fn without_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            part => segments.push(part),
        }
    }
    let mut out = String::with_capacity(path.len() + 1);
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Whether this byte may stand anywhere in a target (RFC 3986 2.2, 2.3), but for the mark of
/// a fragment.
pub fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"-._~:/?[]@!$&'()*+,;=%";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stands_for_the_text_that_it_was_made_of() {
        for (text, written) in [
            ("app-1_a.b~c", "app-1_a.b~c"),
            ("a/b c", "a%2Fb%20c"),
            ("50%", "50%25"),
            ("%2F", "%252F"),
            ("caf\u{e9}?#\u{1f30a}", "caf%C3%A9%3F%23%F0%9F%8C%8A"),
            ("", ""),
        ] {
            assert_eq!(segment(text), written);
            assert_eq!(text_of(written), text);
        }
    }

    #[test]
    fn what_is_no_triplet_stands_for_itself() {
        for (written, text) in [
            ("%", "%"),
            ("a%", "a%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%+1", "%+1"),
            ("%%41", "%A"),
            ("%2f", "/"),
        ] {
            assert_eq!(text_of(written), text, "{written}");
        }
        assert_eq!(text_of("a%FFb%\u{e9}"), "a\u{fffd}b%\u{e9}");
    }
}
