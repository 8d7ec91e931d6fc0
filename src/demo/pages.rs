//! What the sample origin says: its pages, in words and nothing else.
//!
//! Pure: everything that changes comes in as an argument.

use std::fmt::Write;

use crate::clock::Wall;
use crate::rfc::date;

/// How a page shows when it was made, so that a reader tells a stored one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Made {
    /// When.
    pub at: Wall,
    /// How many requests for this page the origin had seen by then.
    pub of_page: u64,
    /// How many requests the origin had seen by then.
    pub of_all: u64,
}

/// A page as the index lists it.
pub(super) struct Listed {
    /// Where it is.
    pub path: &'static str,
    /// What its response says of caching.
    pub says: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// What to type after `curl -si` and before the URL.
    pub options: &'static str,
}

/// The pages that are worth a visit, in the order in which they are.
pub(super) const LISTED: [Listed; 9] = [
    Listed {
        path: "/max-age",
        says: "Cache-Control: max-age=30",
        shows: "The plain case. The first request goes to the origin, and for 30 seconds everybody else gets \
                the same copy: the count on it stands still.",
        options: "",
    },
    Listed {
        path: "/etag",
        says: "Cache-Control: max-age=5, and an ETag",
        shows: "Validation. After 5 seconds the origin is asked whether the copy is still right, and answers \
                304 without a body. The page changes once a minute.",
        options: "",
    },
    Listed {
        path: "/expires-never",
        says: "Expires: Never",
        shows: "A date that is none means already expired. Every request goes to the origin.",
        options: "",
    },
    Listed {
        path: "/vary",
        says: "Cache-Control: max-age=60, Vary: Accept-Language",
        shows: "One URL, several variants: English, German, French and Spanish, each stored for itself.",
        options: "-H 'Accept-Language: de'",
    },
    Listed {
        path: "/swr",
        says: "Cache-Control: max-age=5, stale-while-revalidate=30",
        shows: "Nobody waits for a refresh. For 30 seconds after it went stale the old copy is served at \
                once, and the new one is fetched in the background.",
        options: "",
    },
    Listed {
        path: "/image.svg",
        says: "Cache-Control: max-age=3600",
        shows: "An image with the time at which it was drawn. It stays the same for an hour, or until it is \
                purged.",
        options: "",
    },
    Listed {
        path: "/download",
        says: "Cache-Control: max-age=60, 64 MiB",
        shows: "A large body, streamed while it is stored; then ranges of it are cut from the copy. \
                ?mib=N changes its size, up to 4096: one that is too large to keep is only passed through.",
        options: "-r 0-99",
    },
    Listed {
        path: "/slow",
        says: "Cache-Control: max-age=30",
        shows: "The origin thinks for 2 seconds and then sends a line now and then. Ask from several windows \
                at once: the origin is asked once, and all read along.",
        options: "-N",
    },
    Listed {
        path: "/fragile",
        says: "Cache-Control: max-age=5",
        shows: "The page to break. Break its origin with a button: the copy goes on being served, for 12 hours \
                past its 5 seconds.",
        options: "",
    },
];

/// The style of every page.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b2733;--soft:#526272;--paper:#f6f8fa;--card:#fff;--line:#d5dde5;--accent:#0b6796}
@media(prefers-color-scheme:dark){:root{--ink:#e4eaf0;--soft:#a3b1bf;--paper:#11181f;--card:#19232d;--line:#2e3b48;--accent:#6cc3ee}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.6 system-ui,sans-serif}
main{max-width:48rem;margin:0 auto;padding:2rem 1rem 4rem}
h1{line-height:1.2;margin:.2em 0 .5em}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
li h2{margin:0}
a{color:var(--accent)}
a:focus-visible,button:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
ul.pages{list-style:none;padding:0;display:grid;grid-template-columns:minmax(0,1fr);gap:1rem}
ul.pages li,.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.2rem}
.says{color:var(--soft);font-size:.95rem;margin:.1rem 0 .4rem}
p{margin:.5rem 0}
pre{overflow-x:auto;margin:.5rem 0 0;padding:.5rem .8rem;border:1px solid var(--line);border-radius:.4rem;background:var(--paper)}
code,pre{font:.92rem/1.5 ui-monospace,monospace}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:.5rem 0}
dt{color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums}
form{display:inline-block;margin:.3rem .5rem .3rem 0}
button{font:inherit;padding:.5rem 1rem;border:1px solid var(--accent);border-radius:.4rem;background:var(--card);color:var(--accent);cursor:pointer}
button:hover{background:var(--accent);color:var(--card)}
";

/// How the reader reaches the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached<'a> {
    /// Host and port, as the client has asked for them.
    pub host: &'a str,
    /// The admin port, once it is known.
    pub admin: Option<&'a str>,
}

/// The page that explains the others.
pub(super) fn index(made: Made, reached: Reached<'_>) -> String {
    let host = escaped(reached.host);
    let mut list = String::new();
    for Listed { path, says, shows, options } in &LISTED {
        let space = if options.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(
            list,
            "<li><h2><a href=\"{path}\">{path}</a></h2>\n<p class=\"says\">{}</p>\n<p>{}</p>\n\
             <pre tabindex=\"0\" aria-label=\"Command for {path}\">curl -si {}{space}http://{host}{path}</pre></li>\n",
            escaped(says),
            escaped(shows),
            escaped(options),
        );
    }
    let purge = match reached.admin {
        Some(admin) => format!(
            "<h2>Purge</h2>\n<p>Makes the next request go to the origin, whatever is stored:</p>\n\
             <pre tabindex=\"0\" aria-label=\"Command that purges\">curl -X PURGE http://{}/max-age</pre>\n",
            escaped(admin)
        ),
        None => String::new(),
    };
    let body = format!(
        "<p>These pages come from a small origin, and forebay stands in front of it. Each shows when the origin \
         made it: while the time and the count stay as they are, the page came from the cache.</p>\n\
         <p>Look at <code>Cache-Status</code>, <code>Age</code> and the time. A browser has a cache of its own; \
         its reload button, or <code>curl</code>, asks forebay.</p>\n\
         <ul class=\"pages\">\n{list}</ul>\n\
         <h2>Break the origin</h2>\n<p>Load <a href=\"/fragile\">/fragile</a> once, so that there is a copy. \
         Then break its origin, and load it again and again.</p>\n{BUTTONS}\
         <p>The <a href=\"/control\">control page</a> shows how it is.</p>\n{purge}"
    );
    page("forebay demo", &body, made)
}

/// A page of its own for one that the index lists.
pub(super) fn listed(path: &str, made: Made) -> String {
    let (says, shows) =
        LISTED.iter().find(|page| page.path == path).map_or(("", ""), |page| (page.says, page.shows));
    let buttons = if path == "/fragile" { BUTTONS } else { "" };
    let body = format!(
        "<p class=\"says\">{}</p>\n<p>{}</p>\n{buttons}<p><a href=\"/\">All pages</a></p>\n",
        escaped(says),
        escaped(shows)
    );
    page(path, &body, made)
}

/// The languages of the page with variants, with their greetings.
pub(super) const GREETINGS: [(&str, &str); 4] =
    [("en", "Good day"), ("de", "Guten Tag"), ("fr", "Bonjour"), ("es", "Buenos días")];

/// The first language of `accepted` that there is a greeting in.
pub(super) fn greeting(accepted: &str) -> (&'static str, &'static str) {
    accepted
        .split(',')
        .filter_map(|member| member.split([';', '-']).next())
        .find_map(|wanted| {
            let wanted = wanted.trim();
            GREETINGS.into_iter().find(|(language, _)| language.eq_ignore_ascii_case(wanted))
        })
        .unwrap_or(GREETINGS[0])
}

/// The page that has a variant for each language.
pub(super) fn vary(greeting: (&str, &str), made: Made) -> String {
    let (language, words) = greeting;
    let body = format!(
        "<p lang=\"{language}\"><strong>{words}!</strong></p>\n\
         <p>This is the variant for <code>{language}</code>.</p>\n<p><a href=\"/\">All pages</a></p>\n"
    );
    page("/vary", &body, made)
}

/// The image.
pub(super) fn image(made: Made) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"240\" viewBox=\"0 0 640 240\" role=\"img\" \
         aria-labelledby=\"t\">\n<title id=\"t\">Water behind a dam, drawn {at}</title>\n\
         <rect width=\"640\" height=\"240\" fill=\"#dcecf5\"/>\n\
         <path d=\"M0 90q40-16 80 0t80 0 80 0 80 0 80 0V240H0z\" fill=\"#3d8fc0\"/>\n\
         <path d=\"M400 60h36l44 180h-80z\" fill=\"#74808c\"/>\n\
         <g font-family=\"system-ui,sans-serif\" font-size=\"18\" fill=\"#10202c\">\n\
         <text x=\"20\" y=\"34\">Drawn {at}</text>\n\
         <text x=\"20\" y=\"60\">Request {of_page} for this image, {of_all} in all</text>\n</g>\n</svg>\n",
        at = date::format(made.at),
        of_page = made.of_page,
        of_all = made.of_all,
    )
}

/// The first line of the slow page; the others drip.
pub(super) fn slow_head(made: Made) -> String {
    format!(
        "made by the origin: {}\nrequests for this page: {}, for all pages: {}\n",
        date::format(made.at),
        made.of_page,
        made.of_all
    )
}

/// How the fragile page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Health {
    /// It answers.
    #[default]
    Well,
    /// It answers 503.
    Says503,
    /// It does not answer.
    Hangs,
    /// It closes the connection in place of an answer.
    Closes,
}

impl Health {
    /// What `mode` makes of it.
    pub(super) fn broken_by(mode: &str) -> Option<Self> {
        match mode {
            "503" => Some(Health::Says503),
            "hang" => Some(Health::Hangs),
            "close" => Some(Health::Closes),
            _ => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Health::Well => "well: it answers",
            Health::Says503 => "broken: it answers 503 Service Unavailable",
            Health::Hangs => "broken: it takes requests and never answers",
            Health::Closes => "broken: it closes the connection without an answer",
        }
    }
}

/// What breaks the fragile page and mends it. They say nothing of how it is, so
/// that they may stand on pages that are stored.
const BUTTONS: &str = "\
<form method=\"post\" action=\"/fragile/break?mode=503\"><button>Let it answer 503</button></form>
<form method=\"post\" action=\"/fragile/break?mode=hang\"><button>Let it hang</button></form>
<form method=\"post\" action=\"/fragile/break?mode=close\"><button>Let it close</button></form>
<form method=\"post\" action=\"/fragile/mend\"><button>Mend it</button></form>
";

/// The page that shows how the fragile one is. `asked` is how often the fragile page was asked for.
pub(super) fn control(health: Health, asked: u64, made: Made) -> String {
    let body = format!(
        "<div class=\"card\" role=\"status\"><dl>\n<dt>Origin of <a href=\"/fragile\">/fragile</a></dt>\
         <dd><strong>{}</strong></dd>\n<dt>It was asked</dt><dd>{asked} times</dd>\n</dl></div>\n\
         {BUTTONS}\
         <p>Load <a href=\"/fragile\">/fragile</a> once while it is well, so that there is a copy. Then break it \
         and wait 5 seconds: the copy goes on being served, with a negative <code>ttl</code> in \
         <code>Cache-Status</code> and the reason in <code>detail</code>. Between two attempts the origin is \
         left alone, each time a little longer. Mend it, and the next attempt makes the page fresh again.</p>\n\
         <p>This page is never stored (<code>no-store</code>). <a href=\"/\">All pages</a></p>\n",
        health.words()
    );
    page("Break the origin", &body, made)
}

/// A page that says only what is the matter.
pub(super) fn note(title: &str, text: &str, made: Made) -> String {
    page(title, &format!("<p>{}</p>\n<p><a href=\"/\">All pages</a></p>\n", escaped(text)), made)
}

/// What every page has in common.
fn page(title: &str, body: &str, made: Made) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n\
         </head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <dl>\n<dt>Made by the origin</dt><dd>{}</dd>\n<dt>Requests for this page</dt><dd>{}</dd>\n\
         <dt>Requests for all pages</dt><dd>{}</dd>\n</dl>\n{body}</main>\n</body>\n</html>\n",
        date::format(made.at),
        made.of_page,
        made.of_all
    )
}

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Made = Made { at: Wall::from_secs(784_111_777), of_page: 3, of_all: 17 };

    #[test]
    fn every_page_shows_when_it_was_made_and_how_often_the_origin_was_asked() {
        let reached = Reached { host: "127.0.0.1:8080", admin: None };
        for text in [
            index(MADE, reached),
            listed("/max-age", MADE),
            vary(GREETINGS[1], MADE),
            image(MADE),
            slow_head(MADE),
            control(Health::Hangs, 5, MADE),
            note("Not here", "nothing", MADE),
        ] {
            assert!(text.contains("Sun, 06 Nov 1994 08:49:37 GMT"), "{text}");
            assert!(text.contains('3') && text.contains("17"), "{text}");
        }
    }

    #[test]
    fn the_index_links_every_page_and_lets_no_host_write_markup() {
        let text = index(MADE, Reached { host: "<b>\"x\"", admin: Some("127.0.0.1:6090") });
        for page in &LISTED {
            assert!(text.contains(&format!("href=\"{}\"", page.path)), "{}", page.path);
        }
        assert!(text.contains("&lt;b&gt;&quot;x&quot;") && !text.contains("<b>"), "{text}");
        assert!(text.contains("-X PURGE http://127.0.0.1:6090/max-age"), "{text}");
        assert!(!text.contains("https://"), "nothing from elsewhere: {text}");
    }

    #[test]
    fn the_fragile_page_is_broken_by_a_click_where_it_is_shown() {
        let reached = Reached { host: "127.0.0.1:8080", admin: None };
        for text in [index(MADE, reached), listed("/fragile", MADE), control(Health::Well, 5, MADE)] {
            for action in ["break?mode=503", "break?mode=hang", "break?mode=close", "mend"] {
                let form = format!("<form method=\"post\" action=\"/fragile/{action}\">");
                assert_eq!(text.matches(&form).count(), 1, "{action} in {text}");
            }
        }
        assert!(!listed("/max-age", MADE).contains("<form"));
    }

    #[test]
    fn the_greeting_is_in_the_first_language_that_there_is() {
        for (accepted, language) in [
            ("", "en"),
            ("de", "de"),
            ("de-AT, en;q=0.5", "de"),
            ("xx, FR;q=0.9", "fr"),
            ("*", "en"),
            (",,;;--", "en"),
        ] {
            assert_eq!(greeting(accepted).0, language, "{accepted:?}");
        }
    }
}
