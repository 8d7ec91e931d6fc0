//! Sitemaps: lists of URLs, and lists of such lists, as sitemaps.org describes them, in
//! XML or one URL a line.
//!
//! What always holds: only the `loc` of a `url` or a `sitemap` right below the root
//! counts, whatever else with that name stands deeper; what is no well-formed XML as
//! far as it is looked at is refused as a whole; there are never more URLs than were
//! asked for. Documents with a type declaration are refused, so entities cannot grow.

use std::borrow::Cow;

/// What a sitemap lists.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listed {
    /// Pages.
    pub urls: Vec<String>,
    /// Further sitemaps.
    pub sitemaps: Vec<String>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// Why something is no sitemap.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is no sitemap: {0}")]
pub struct NoSitemap(&'static str);

/// The longest URL that is taken, as in the format's own limit.
const LONGEST: usize = 2048;
/// Elements within each other.
const DEEPEST: usize = 32;

/// What a sitemap lists, up to so many URLs.
pub fn read(bytes: &[u8], most: usize) -> Result<Listed, NoSitemap> {
    let text = std::str::from_utf8(bytes).map_err(|_| NoSitemap("it is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.starts_with('<') { read_xml(text, most) } else { read_lines(text, most) }
}

fn read_lines(text: &str, most: usize) -> Result<Listed, NoSitemap> {
    let mut listed = Listed::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !line.starts_with("http://") && !line.starts_with("https://") {
            return Err(NoSitemap("neither XML nor a list of URLs"));
        }
        listed.add(false, line, most);
    }
    Ok(listed)
}

fn read_xml(text: &str, most: usize) -> Result<Listed, NoSitemap> {
    let mut listed = Listed::default();
    let mut open: Vec<&str> = Vec::new();
    let mut loc = String::new();
    let mut is_root_seen = false;
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        if is_loc(&open) {
            loc.push_str(&unescaped(text)?);
        }
        if let Some(comment) = tag.strip_prefix("<!--") {
            rest = after(comment, "-->")?;
        } else if let Some(characters) = tag.strip_prefix("<![CDATA[") {
            rest = after(characters, "]]>")?;
            if is_loc(&open) {
                loc.push_str(&characters[..characters.len() - rest.len() - 3]);
            }
        } else if let Some(instruction) = tag.strip_prefix("<?") {
            rest = after(instruction, "?>")?;
        } else if tag.starts_with("<!") {
            return Err(NoSitemap("it has a document type declaration"));
        } else if let Some(end) = tag.strip_prefix("</") {
            rest = after(end, ">")?;
            let name = end[..end.len() - rest.len() - 1].trim_end();
            if is_loc(&open) {
                listed.add(local(open[1]) == "sitemap", loc.trim(), most);
                loc.clear();
            }
            if open.pop() != Some(name) {
                return Err(NoSitemap("an element is closed that is not open"));
            }
        } else {
            let (name, is_empty, behind) = start(&tag[1..])?;
            rest = behind;
            if open.is_empty() {
                if is_root_seen || !matches!(local(name), "urlset" | "sitemapindex") {
                    return Err(NoSitemap("it begins with neither urlset nor sitemapindex"));
                }
                is_root_seen = true;
            }
            if !is_empty {
                if open.len() == DEEPEST {
                    return Err(NoSitemap("its elements are nested too deeply"));
                }
                open.push(name);
            }
        }
        if loc.len() > LONGEST * 4 {
            return Err(NoSitemap("a URL in it is endless"));
        }
    }
    if !open.is_empty() || !is_root_seen { Err(NoSitemap("it is not whole")) } else { Ok(listed) }
}

impl Listed {
    fn add(&mut self, is_sitemap: bool, url: &str, most: usize) {
        if url.is_empty() || url.len() > LONGEST {
            return;
        }
        if self.urls.len() + self.sitemaps.len() >= most {
            self.more = true;
            return;
        }
        let list = if is_sitemap { &mut self.sitemaps } else { &mut self.urls };
        list.push(url.to_owned());
    }
}

/// Whether these elements are those around the address of a page or of a sitemap.
fn is_loc(open: &[&str]) -> bool {
    match open {
        [root, entry, loc] => {
            local(loc) == "loc"
                && matches!((local(root), local(entry)), ("urlset", "url") | ("sitemapindex", "sitemap"))
        }
        _ => false,
    }
}

/// A name without the prefix of its namespace.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or_default()
}

fn after<'a>(text: &'a str, end: &str) -> Result<&'a str, NoSitemap> {
    text.split_once(end).map(|(_, rest)| rest).ok_or(NoSitemap("it breaks off"))
}

/// The name of a start tag, whether it is empty, and what stands behind it.
fn start(tag: &str) -> Result<(&str, bool, &str), NoSitemap> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'<') => break,
            (None, b'>') => {
                let inner = &tag[..at];
                let is_empty = inner.ends_with('/');
                let name = inner.trim_end_matches('/').split_ascii_whitespace().next().unwrap_or_default();
                if name.is_empty() || !inner.starts_with(name) {
                    return Err(NoSitemap("an element has no name"));
                }
                return Ok((name, is_empty, &tag[at + 1..]));
            }
            (None, _) => {}
        }
    }
    Err(NoSitemap("it breaks off"))
}

/// Text with its entities resolved: the five of XML, and numbers.
fn unescaped(text: &str) -> Result<Cow<'_, str>, NoSitemap> {
    if !text.contains('&') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let (name, behind) = behind.split_once(';').ok_or(NoSitemap("an entity does not end"))?;
        out.push(entity(name).ok_or(NoSitemap("an entity is not known"))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// The character that an entity of XML, or a number, stands for.
pub(super) fn entity(name: &str) -> Option<char> {
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix('#')?.strip_prefix(['x', 'X']) {
            Some(hex) => number(hex, 16),
            None => number(&name[1..], 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(urls: &[&str], sitemaps: &[&str]) -> Listed {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Listed { urls: own(urls), sitemaps: own(sitemaps), more: false }
    }

    #[test]
    fn pages_and_further_sitemaps_are_listed() {
        for (text, expected) in [
            ("<urlset/>", listed(&[], &[])),
            ("<urlset><url><loc> http://a/x </loc></url></urlset>", listed(&["http://a/x"], &[])),
            (
                "\u{feff}<?xml version='1.0'?><!-- > --><urlset xmlns=\"http://x/>\"><url ><lastmod>1</lastmod>\
                 <loc>http://a/x?a=1&amp;b=%20&#x26;&#38;</loc ></url></urlset>",
                listed(&["http://a/x?a=1&b=%20&&"], &[]),
            ),
            (
                "<urlset><url><loc>http://a/x</loc><image:image><image:loc>http://a/i</image:loc></image:image>\
                 <xhtml:link rel='alternate' href='http://a/y'/></url></urlset>",
                listed(&["http://a/x"], &[]),
            ),
            (
                "<s:sitemapindex><s:sitemap><s:loc><![CDATA[http://a/s?x&y]]></s:loc></s:sitemap></s:sitemapindex>",
                listed(&[], &["http://a/s?x&y"]),
            ),
            ("<urlset><loc>http://a/x</loc></urlset>", listed(&[], &[])),
            ("http://a/x\r\nhttps://a/y\n\n", listed(&["http://a/x", "https://a/y"], &[])),
            ("", listed(&[], &[])),
        ] {
            assert_eq!(read(text.as_bytes(), 10), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_sitemap_is_refused_as_a_whole() {
        for text in [
            "<html><body>Not found</body></html>",
            "<urlset><url><loc>http://a/x</loc></url>",
            "<urlset><url><loc>http://a/x</url></loc></urlset>",
            "<urlset><url><loc>http://a/x&evil;</loc></url></urlset>",
            "<urlset><url><loc>http://a/x & y</loc></url></urlset>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><urlset/>",
            "<urlset/><urlset/>",
            "<urlset a=\"></urlset>",
            "< ><urlset/>",
            "<urlset><!-- </urlset>",
            "Not found",
        ] {
            assert!(read(text.as_bytes(), 10).is_err(), "{text}");
        }
        assert!(read(b"<urlset>\xff</urlset>", 10).is_err());
        assert!(read("<urlset>".repeat(100).as_bytes(), 10).is_err(), "nested");
    }

    #[test]
    fn a_list_is_bounded() {
        let entry = "<url><loc>http://a/x</loc></url>";
        let read = read(format!("<urlset>{}</urlset>", entry.repeat(20)).as_bytes(), 7).expect("a sitemap");
        assert_eq!((read.urls.len(), read.more), (7, true));
    }
}
