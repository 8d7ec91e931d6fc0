//! robots.txt: which paths of a site a robot may ask for (RFC 9309).
//!
//! What always holds: of all rules that match, the longest decides, and of two as long
//! the one that allows; what no rule matches is allowed, and so is `/robots.txt`. A
//! group that names the robot goes before that of `*`, and several groups of one name
//! are one. Whatever is not understood is passed over.

/// As much of a file as is read (RFC 9309 2.5 asks for 500 KiB at least).
pub const LONGEST: usize = 512 * 1024;

/// What a site allows to one robot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Robots {
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    allow: bool,
    /// In canonical form, without the `$` at its end.
    pattern: String,
    /// Whether it has to match to the end.
    to_the_end: bool,
}

impl Robots {
    /// Everything is allowed: the site says nothing.
    pub fn all() -> Self {
        Robots::default()
    }

    /// Nothing is allowed: what the site says is not known.
    pub fn none() -> Self {
        Robots { rules: vec![Rule { allow: false, pattern: "/".to_owned(), to_the_end: false }] }
    }

    /// What a file allows to the robot of this name, which is in lower case.
    pub fn parse(file: &[u8], product: &str) -> Self {
        let text = String::from_utf8_lossy(&file[..file.len().min(LONGEST)]);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (mut own, mut others): (Option<Vec<Rule>>, Vec<Rule>) = (None, Vec::new());
        // Whom the group is for, and whether it has begun to say what.
        let (mut names_own, mut names_any, mut has_rules) = (false, false, true);
        for line in text.split(['\r', '\n']) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            let allow = match key.as_str() {
                "user-agent" => {
                    if has_rules {
                        (names_own, names_any, has_rules) = (false, false, false);
                    }
                    names_any |= value.starts_with('*');
                    if is_named(value, product) {
                        names_own = true;
                        // A group without rules is a group as well: it allows everything.
                        own.get_or_insert_default();
                    }
                    continue;
                }
                "allow" => true,
                "disallow" => false,
                _ => continue,
            };
            has_rules = true;
            let Some(rule) = Rule::read(allow, value) else { continue };
            if names_any {
                others.push(rule.clone());
            }
            if names_own {
                own.get_or_insert_default().push(rule);
            }
        }
        Robots { rules: own.unwrap_or(others) }
    }

    /// Whether this canonical path, with its query, may be asked for.
    pub fn allow(&self, path_and_query: &str) -> bool {
        if path_and_query == "/robots.txt" {
            return true;
        }
        let path_and_query = canonical(path_and_query);
        let matching = self.rules.iter().filter(|rule| rule.matches(&path_and_query));
        matching.max_by_key(|rule| (rule.length(), rule.allow)).is_none_or(|rule| rule.allow)
    }
}

impl Rule {
    /// A rule; none where it says nothing.
    fn read(allow: bool, value: &str) -> Option<Rule> {
        if value.is_empty() {
            return None;
        }
        let (pattern, to_the_end) = match value.strip_suffix('$') {
            Some(pattern) => (pattern, true),
            None => (value, false),
        };
        // Authors forget the first slash; nothing else can be meant.
        let slash = if pattern.starts_with(['/', '*']) { "" } else { "/" };
        Some(Rule { allow, pattern: canonical(&format!("{slash}{pattern}")), to_the_end })
    }

    fn length(&self) -> usize {
        self.pattern.len() + usize::from(self.to_the_end)
    }

    fn matches(&self, path: &str) -> bool {
        let mut parts = self.pattern.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return !self.to_the_end || rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if self.to_the_end && parts.peek().is_none() {
                return rest.ends_with(part);
            }
            // The leftmost place leaves the most for what comes behind it.
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

/// Whether a `User-agent` names this robot: by its name, in any case, whatever follows.
fn is_named(value: &str, product: &str) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphabetic() || b"-_".contains(byte);
    let end = value.bytes().position(|byte| !is_name(&byte)).unwrap_or(value.len());
    value[..end].eq_ignore_ascii_case(product)
}

/// Triplets in upper case, those of unreserved characters decoded, and what may not
/// stand in a path encoded.
fn canonical(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        let value = |digit: Option<&u8>| digit.and_then(|digit| char::from(*digit).to_digit(16));
        let decoded = match (byte, value(bytes.get(at)), value(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        at += if decoded.is_some() { 2 } else { 0 };
        match decoded {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte.into()),
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            // A percent sign on its own stands for itself.
            None if byte.is_ascii_graphic() && byte != b'%' => out.push(byte.into()),
            None => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rule_decides() {
        // The examples of RFC 9309 2.2.2, 2.2.3 and 5.1 and 5.2 are among them.
        for (rules, path, allowed) in [
            ("", "/x", true),
            ("disallow: /", "/x", false),
            ("disallow:", "/x", true),
            ("disallow: /private", "/private/x", false),
            ("disallow: /private", "/privateer", false),
            ("disallow: /private/", "/private", true),
            ("disallow: /a\nallow: /a/b", "/a/b/c", true),
            ("disallow: /a/b\nallow: /a", "/a/b/c", false),
            ("disallow: /a\nallow: /a", "/a", true),
            ("allow: /example/page/\ndisallow: /example/page/disallowed.gif", "/example/page/x", true),
            (
                "allow: /example/page/\ndisallow: /example/page/disallowed.gif",
                "/example/page/disallowed.gif",
                false,
            ),
            ("disallow: *.gif$", "/a/b.gif", false),
            ("disallow: *.gif$", "/a/b.gif?x", true),
            ("disallow: /*.gif$", "/a.gif.gif", false),
            ("disallow: /a*c", "/abbbc/d", false),
            ("disallow: /a*c*e", "/a/c/d", true),
            ("disallow: /this/*/exactly", "/this/is/not/exactly", false),
            ("disallow: /$", "/", false),
            ("disallow: /$", "/x", true),
            ("disallow: /x$y", "/x$y/z", false),
            ("disallow: /*?", "/a?b", false),
            ("disallow: /*?", "/a", true),
            ("disallow: *", "/a", false),
            ("disallow: /***b", "/aab", false),
            ("disallow: private", "/private", false),
            ("DisAllow : /a # why", "/ab", false),
            ("noindex: /a\ndisallow /a", "/a", true),
            ("disallow: /", "/robots.txt", true),
            // Octets are compared in one form.
            ("disallow: /foo/bar/\u{30c4}", "/foo/bar/%E3%83%84", false),
            ("disallow: /foo/bar/%E3%83%84", "/foo/bar/%e3%83%84", false),
            ("disallow: /foo/bar/%62%61%7A", "/foo/bar/baz", false),
            ("disallow: /100%", "/100%25", false),
        ] {
            let robots = Robots::parse(format!("user-agent: *\n{rules}").as_bytes(), "forebay");
            assert_eq!(robots.allow(path), allowed, "{rules:?} {path}");
        }
    }

    #[test]
    fn the_group_that_names_the_robot_goes_before_all_others() {
        for (file, allowed) in [
            ("user-agent: *\ndisallow: /\n\nuser-agent: forebay\nallow: /", true),
            ("user-agent: forebay\ndisallow: /\n\nuser-agent: *\nallow: /", false),
            ("user-agent: ForeBay/1.0\ndisallow: /", false),
            ("user-agent: forebayer\ndisallow: /", true),
            ("user-agent: other\ndisallow: /", true),
            ("user-agent: other\nuser-agent: forebay\ndisallow: /", false),
            ("user-agent: other\nsitemap: http://a/s\nuser-agent: forebay\ndisallow: /", false),
            ("user-agent: forebay\ndisallow: /y\nuser-agent: forebay\ndisallow: /x", false),
            ("user-agent: forebay\n\nuser-agent: *\ndisallow: /", false),
            ("user-agent: forebay\ndisallow:\nuser-agent: *\ndisallow: /", true),
            ("disallow: /", true),
            ("\u{feff}user-agent: *\r\ndisallow: /\r\n", false),
            ("user-agent: *\rdisallow: /", false),
            ("\0\u{fffd}: :::\n*", true),
        ] {
            assert_eq!(Robots::parse(file.as_bytes(), "forebay").allow("/x"), allowed, "{file:?}");
        }
        assert!(Robots::all().allow("/x") && !Robots::none().allow("/x"));
    }
}
