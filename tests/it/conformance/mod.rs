//! What the standards ask of a cache, rule by rule, and how forebay stands to each.
//!
//! The tables are the source of `docs/conformance.md`. A rule that holds names its tests,
//! and they exist; every other rule says why. The tables say nothing that no test shows.

mod others;
mod rfc9110;
mod rfc9110_answers;
mod rfc9111;

use std::fmt::Write as _;
use std::path::PathBuf;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DOCUMENT: &str = "docs/conformance.md";

/// A requirement of a standard.
struct Rule {
    /// Such as `4.2.4`.
    section: &'static str,
    level: Level,
    sentence: &'static str,
    standing: Standing,
}

/// How strongly it is required (RFC 2119).
#[derive(Clone, Copy)]
enum Level {
    Must,
    MustNot,
    Should,
    ShouldNot,
}

use Level::{Must, MustNot, Should, ShouldNot};

/// How forebay stands to it.
enum Standing {
    /// These tests show that it holds: `area::file::test` below `tests/it`, or
    /// `src/path.rs::test`.
    Holds(&'static [&'static str]),
    /// What is done, and why that is allowed.
    Choice(&'static str),
    /// Why it does not apply.
    NotApplicable(&'static str),
}

const fn holds(
    section: &'static str,
    level: Level,
    sentence: &'static str,
    tests: &'static [&'static str],
) -> Rule {
    Rule { section, level, sentence, standing: Standing::Holds(tests) }
}

const fn choice(section: &'static str, level: Level, sentence: &'static str, why: &'static str) -> Rule {
    Rule { section, level, sentence, standing: Standing::Choice(why) }
}

const fn none(section: &'static str, level: Level, sentence: &'static str, why: &'static str) -> Rule {
    Rule { section, level, sentence, standing: Standing::NotApplicable(why) }
}

/// The number of an RFC, its title, and its rules; those of a long one are in several pieces.
type Table = (u32, &'static str, &'static [&'static [Rule]]);

/// The tables.
const TABLES: [Table; 9] = [
    (9111, "HTTP Caching", &[rfc9111::RULES]),
    (
        9110,
        "HTTP Semantics",
        &[rfc9110::MESSAGES, rfc9110::CONTENT, rfc9110_answers::CONDITIONS, rfc9110_answers::STATUS],
    ),
    (5861, "HTTP Cache-Control Extensions for Stale Content", &[others::STALE]),
    (8246, "HTTP Immutable Responses", &[others::IMMUTABLE]),
    (8586, "Loop Detection in Content Delivery Networks", &[others::LOOP]),
    (9209, "The Proxy-Status HTTP Response Header Field", &[others::PROXY]),
    (9211, "The Cache-Status HTTP Response Header Field", &[others::STATUS]),
    (9213, "Targeted HTTP Cache Control", &[others::TARGETED]),
    (9875, "HTTP Cache Groups", &[others::GROUPS]),
];

impl Level {
    fn word(self) -> &'static str {
        match self {
            Must => "MUST",
            MustNot => "MUST NOT",
            Should => "SHOULD",
            ShouldNot => "SHOULD NOT",
        }
    }
}

/// How many rules hold, are answered by choice, and do not apply.
fn counts(rules: &[&[Rule]]) -> [usize; 3] {
    let mut counts = [0; 3];
    for rule in rules.iter().copied().flatten() {
        let place = match rule.standing {
            Standing::Holds(_) => 0,
            Standing::Choice(_) => 1,
            Standing::NotApplicable(_) => 2,
        };
        counts[place] += 1;
    }
    counts
}

fn document() -> String {
    let mut text = String::from(
        "# Conformance\n\n\
         What the standards ask of a cache or gateway, in our own words, and how forebay stands to it. \
         To check a row, follow its section to the standard, and read the tests that it names: \
         `area::file::test` is the function `test` in `tests/it/area/file.rs`, and \
         `cargo test --test it area::file::test` runs it. *By choice* says what forebay does and why \
         the standard leaves that open; *not applicable* why the rule is for somebody else. There is a \
         row for each MUST, MUST NOT, SHOULD and SHOULD NOT that binds a shared cache or a gateway: \
         of all of RFC 9111 and of the smaller standards, and of RFC 9110 in parts 5 to 9 and 13 to 15, \
         with what parts 10 to 12 ask of who forwards. Rules for user agents and origin servers alone \
         have a row only where one may wonder.\n\n\
         This file is written from `tests/it/conformance`: \
         `FOREBAY_RENEW=1 cargo test --test it conformance` renews it.\n\n\
         | RFC | Holds | By choice | Not applicable |\n|---|---|---|---|\n",
    );
    for (number, title, rules) in TABLES {
        let [holds, choice, none] = counts(rules);
        let _ = writeln!(text, "| [{number}](#rfc-{number}) {title} | {holds} | {choice} | {none} |");
    }
    for (number, title, rules) in TABLES {
        let _ = write!(text, "\n## RFC {number}\n\n{title}.\n");
        let mut section = "";
        for rule in rules.iter().copied().flatten() {
            if rule.section != section {
                section = rule.section;
                let link = format!("https://www.rfc-editor.org/rfc/rfc{number}#section-{section}");
                let _ =
                    write!(text, "\n### [{section}]({link})\n\n| Level | Rule | Standing |\n|---|---|---|\n");
            }
            let standing = match rule.standing {
                Standing::Holds(tests) => format!("holds: `{}`", tests.join("`, `")),
                Standing::Choice(why) => format!("by choice: {why}"),
                Standing::NotApplicable(why) => format!("not applicable: {why}"),
            };
            let _ = writeln!(text, "| {} | {} | {standing} |", rule.level.word(), rule.sentence);
        }
    }
    text
}

#[test]
fn the_document_says_what_the_tables_say() {
    let file = PathBuf::from(ROOT).join(DOCUMENT);
    if std::env::var_os("FOREBAY_RENEW").is_some() {
        std::fs::write(&file, document()).expect("written");
        return;
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let behind = "is behind: `FOREBAY_RENEW=1 cargo test --test it conformance` renews it";
    assert!(written == document(), "{DOCUMENT} {behind}");
}

/// Whether this is the name of a function behind a test's attribute.
fn exists(name: &str) -> bool {
    let Some((place, function)) = name.rsplit_once("::") else { return false };
    let path = match place.starts_with("src/") {
        true => place.to_owned(),
        false => format!("tests/it/{}.rs", place.replace("::", "/")),
    };
    let Ok(text) = std::fs::read_to_string(PathBuf::from(ROOT).join(path)) else { return false };
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.contains("fn ") {
            let named = line.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            if marked && named == Some(function) {
                return true;
            }
            marked = false;
        }
    }
    false
}

#[test]
fn every_rule_names_tests_that_exist_or_a_reason() {
    let mut wrong = Vec::new();
    for (number, _, rules) in TABLES {
        for rule in rules.iter().copied().flatten() {
            let at = format!("RFC {number}, {}: {}", rule.section, rule.sentence);
            if rule.sentence.is_empty() || rule.sentence.contains('|') {
                wrong.push(format!("{at}: no sentence for a table"));
            }
            match rule.standing {
                Standing::Holds([]) => wrong.push(format!("{at}: no test")),
                Standing::Holds(tests) => wrong.extend(
                    tests.iter().filter(|name| !exists(name)).map(|name| format!("{at}: no test {name}")),
                ),
                Standing::Choice(why) | Standing::NotApplicable(why) => {
                    if why.is_empty() || why.contains('|') {
                        wrong.push(format!("{at}: no reason"));
                    }
                    // What stands between backticks and is a path is a test.
                    let named = why.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
                    wrong.extend(
                        named.filter(|name| !exists(name)).map(|name| format!("{at}: no test {name}")),
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_test_that_is_none_is_noticed() {
    assert!(exists("conformance::mod::a_test_that_is_none_is_noticed"));
    assert!(exists("src/rfc/targeted.rs::the_first_valid_field_of_the_list_governs_alone"));
    for name in ["conformance::mod::exists", "conformance::mod::missing", "nowhere::file::missing", "x"] {
        assert!(!exists(name), "{name}");
    }
}

#[test]
fn sections_are_in_order() {
    for (number, _, rules) in TABLES {
        let sections = rules.iter().copied().flatten().map(|rule| {
            let parts = rule.section.split('.').map(|part| part.parse::<u32>().expect("a number"));
            parts.collect::<Vec<_>>()
        });
        assert!(sections.is_sorted(), "RFC {number}");
    }
}
