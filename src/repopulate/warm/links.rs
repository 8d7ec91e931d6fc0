//! What a page of HTML refers to: the pages that it links to, and the parts that it is
//! shown with.
//!
//! What always holds: any text is read to its end, in time that grows with its length
//! alone; what is no tag is passed over, as browsers do; there are never more
//! references than were asked for. References are as they are written, with entities
//! resolved; nothing is known of where they lead.

use super::sitemap::entity;

/// What a page refers to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Links {
    /// What references are relative to, if the page says so.
    pub base: Option<String>,
    /// Other pages.
    pub pages: Vec<String>,
    /// Images, styles, scripts and the like.
    pub parts: Vec<String>,
}

/// Elements whose content is text, whatever it looks like.
const TEXTS: [&str; 7] = ["script", "style", "textarea", "title", "xmp", "iframe", "noframes"];

/// What a page refers to, up to so many references.
pub fn read(html: &str, most: usize) -> Links {
    let mut links = Links::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let tag = &rest[at + 1..];
        if let Some(comment) = tag.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
        } else if tag.starts_with(['!', '?', '/']) {
            rest = tag.find('>').map_or("", |end| &tag[end + 1..]);
        } else if tag.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let (name, attributes, behind) = start(tag);
            links.take(&name, &attributes, most);
            rest = if TEXTS.contains(&name.as_str()) { after_text(behind, &name) } else { behind };
        } else {
            rest = tag;
        }
    }
    links
}

impl Links {
    fn take(&mut self, name: &str, attributes: &[(String, String)], most: usize) {
        let value = |wanted: &str| {
            attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.trim().to_owned())
        };
        let (mut pages, mut parts) = (Vec::new(), Vec::new());
        match name {
            "base" => self.base = self.base.take().or_else(|| value("href")),
            "a" | "area" => pages.extend(value("href")),
            "frame" => pages.extend(value("src")),
            "iframe" => pages.extend(value("src")),
            "link" => {
                let relations = value("rel").unwrap_or_default().to_ascii_lowercase();
                let is = |wanted: &[&str]| relations.split_ascii_whitespace().any(|r| wanted.contains(&r));
                if is(&["alternate", "canonical", "next", "prev", "search", "help", "author", "license"])
                    && !is(&["stylesheet"])
                {
                    pages.extend(value("href"));
                } else if !is(&["preconnect", "dns-prefetch"]) {
                    parts.extend(value("href"));
                }
            }
            "img" | "source" | "script" | "audio" | "video" | "track" | "embed" | "input" => {
                parts.extend(value("src"));
                parts.extend(value("poster"));
                parts.extend(candidates(&value("srcset").unwrap_or_default()));
            }
            _ => {}
        }
        for (list, found) in [(&mut self.pages, pages), (&mut self.parts, parts)] {
            let room = most.saturating_sub(list.len());
            list.extend(found.into_iter().filter(|reference| !reference.is_empty()).take(room));
        }
    }
}

/// The URLs of a `srcset`: each is followed by what it suits, and a comma.
fn candidates(srcset: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = srcset;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return found;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let url = &rest[..end];
        rest = &rest[end..];
        match url.strip_suffix(',') {
            Some(url) => found.push(url.trim_end_matches(',').to_owned()),
            None => {
                found.push(url.to_owned());
                rest = rest.find(',').map_or("", |comma| &rest[comma + 1..]);
            }
        }
    }
}

/// The name of a start tag in lower case, its attributes, and what stands behind it.
fn start(tag: &str) -> (String, Vec<(String, String)>, &str) {
    let is_end = |c: char| c.is_ascii_whitespace() || c == '/' || c == '>';
    let end = tag.find(is_end).unwrap_or(tag.len());
    let name = tag[..end].to_ascii_lowercase();
    let mut attributes = Vec::new();
    let mut rest = &tag[end..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (name, attributes, rest);
        }
        if let Some(behind) = rest.strip_prefix('>') {
            return (name, attributes, behind);
        }
        // An equals sign at its beginning belongs to a name.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find(|c: char| is_end(c) || c == '=').map_or(rest.len(), |at| first + at);
        let key = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            rest = behind.trim_start();
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
            let end = match quote {
                Some(quote) => {
                    rest = &rest[1..];
                    rest.find(quote)
                }
                None => rest.find(|c: char| c.is_ascii_whitespace() || c == '>'),
            };
            value = &rest[..end.unwrap_or(rest.len())];
            rest = &rest[value.len()..];
            rest = if quote.is_some() { rest.get(1..).unwrap_or_default() } else { rest };
        }
        if WANTED.contains(&key.as_str()) {
            attributes.push((key, unescaped(value)));
        }
    }
}

/// The attributes that are looked at.
const WANTED: [&str; 5] = ["href", "src", "srcset", "rel", "poster"];

/// What stands behind the end of an element whose content is text.
fn after_text<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        if rest.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name)) {
            return rest.find('>').map_or("", |end| &rest[end + 1..]);
        }
    }
    ""
}

/// Text with its entities resolved, as far as they can stand in a URL; others stay.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let end = behind.bytes().take(10).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(&behind[..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &behind[end + 1..];
            }
            None => {
                out.push('&');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_parts_are_found_and_nothing_else() {
        for (html, pages, parts) in [
            ("<a href=/x>x</a>", &["/x"][..], &[][..]),
            ("<A class='b' HREF = \"/x?a=1&amp;b=2\">", &["/x?a=1&b=2"], &[]),
            ("<a href='/x?a=1&b=2&copy=3'>", &["/x?a=1&b=2&copy=3"], &[]),
            ("<a\nhref\n=\n' /x '>", &["/x"], &[]),
            ("<a title='>' href=/x/>", &["/x/"], &[]),
            ("<a href>", &[], &[]),
            ("<area href=/x><iframe src=/y></iframe>", &["/x", "/y"], &[]),
            (
                "<img src=a.png srcset='b.png 2x, c.png, d.png 300w,e.png'>",
                &[],
                &["a.png", "b.png", "c.png", "d.png", "e.png"],
            ),
            ("<picture><source srcset=\"a.webp, b.webp 2x\"></picture>", &[], &["a.webp", "b.webp"]),
            ("<video poster=p.jpg src=v.mp4><track src=t.vtt>", &[], &["v.mp4", "p.jpg", "t.vtt"]),
            (
                "<link rel=stylesheet href=s.css><link rel='shortcut icon' href=f.ico>",
                &[],
                &["s.css", "f.ico"],
            ),
            ("<link rel=canonical href=/c><link rel=preconnect href=//cdn>", &["/c"], &[]),
            ("<script src=a.js>'<a href=/no>'</script ><a href=/x>", &["/x"], &["a.js"]),
            ("<script>a</scr</SCRIPT><a href=/x>", &["/x"], &[]),
            ("<style><a href=/no></style><!-- <a href=/no> --><a href=/x>", &["/x"], &[]),
            ("<!-- <a href=/no>", &[], &[]),
            ("1 < 2 <a href=/x>", &["/x"], &[]),
            ("<a href='/x", &["/x"], &[]),
            ("<a href=\"/x\"href2=/no>", &["/x"], &[]),
            ("<a data-href=/no href=/x>", &["/x"], &[]),
            ("<div href=/no><p src=/no>", &[], &[]),
            ("<a =href=/no \u{e9}=1 href=/\u{e9}>", &["/\u{e9}"], &[]),
            ("<", &[], &[]),
        ] {
            let links = read(html, 100);
            assert_eq!((&links.pages[..], &links.parts[..]), (&own(pages)[..], &own(parts)[..]), "{html}");
        }
    }

    fn own(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_first_base_counts_and_lists_are_bounded() {
        let links = read("<base href=/a/><base href=/b/>", 9);
        assert_eq!(links.base.as_deref(), Some("/a/"));
        let links = read(&"<a href=/x><img src=/y>".repeat(50), 7);
        assert_eq!((links.pages.len(), links.parts.len()), (7, 7));
    }
}
