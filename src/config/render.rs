//! The configuration as others see it: the documented file, and JSON for the
//! admin port. Both come from the tables, so they name every setting there is,
//! and neither shows a secret.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Config;
use super::check::print_path;
use super::settings::{self, Origin, Route, SECTIONS, Setting, Site};
use super::typed::{Kind, Shown, print_host_pattern};
use super::units::print_size;
use crate::policy::site::{PathPattern, Rules};

/// The widest line of a comment.
const WIDTH: usize = 90;

/// The file with every setting, documented and at its default.
pub fn documented() -> String {
    let mut out = String::new();
    comment(
        &mut out,
        "The configuration of forebay: every setting at its default, with one origin to begin with. What \
         is left away keeps its default. Flags win over this file.",
    );
    out.push_str("#\n");
    comment(&mut out, "Try a file with `forebay check FILE`; start with `forebay serve --config FILE`.");
    comment(
        &mut out,
        "A running node reads it again on SIGHUP or `POST /v1/reload` (as JSON); settings marked (restart) change at \
         the next start only.",
    );
    out.push_str("#\n");
    comment(
        &mut out,
        "Sizes have a unit (\"512MiB\", \"8KiB\", \"100MB\"), and so have times (\"300ms\", \"30s\", \"5m\", \
         \"12h\", \"7d\").",
    );
    let mut config = Config::built_in();
    for section in SECTIONS {
        heading(&mut out, section.text, &format!("[{}]", section.name), "");
        settings_of(&mut out, section.settings, &mut config, "");
    }
    heading(&mut out, settings::RULES_TEXT, "[rules]", "");
    settings_of(&mut out, settings::RULES, &mut Rules::default(), "");
    heading(&mut out, settings::ORIGIN_TEXT, "[[origin]]", "");
    settings_of(&mut out, settings::ORIGIN, &mut Origin::default(), "");
    heading(&mut out, settings::SITE_TEXT, "[[site]]", "# ");
    settings_of(&mut out, settings::SITE, &mut Site::default(), "# ");
    out.push_str("\n# [site.rules]\n# grace = \"10s\"\n");
    heading(&mut out, settings::ROUTE_TEXT, "[[site.route]]", "# ");
    settings_of(&mut out, settings::ROUTE, &mut Route::default(), "# ");
    out.push_str("\n# [site.route.rules]\n# grace = \"1h\"\n");
    out
}

/// Every setting in force. Sites are shown with all that holds for each route.
pub fn json(config: &Config) -> Value {
    let mut root = Map::new();
    let mut config = config.clone();
    for section in SECTIONS {
        root.insert(section.name.to_owned(), object(section.settings, &mut config));
    }
    let origins = config.origins.iter().zip(&config.agreed).map(|(settings, agreed)| {
        object(settings::ORIGIN, &mut Origin::of(settings.clone(), agreed.clone()))
    });
    root.insert("origin".to_owned(), origins.collect());
    let sites = config.sites.iter().map(|site| {
        let routes = site.routes.iter().map(|route| {
            let key = if matches!(route.path, PathPattern::Matches(_)) { "match" } else { "path" };
            let origin = config.origins.get(route.rules.origin.0).map(|origin| origin.name.as_str());
            json!({
                "name": route.name,
                key: print_path(&route.path),
                "origin": origin,
                "rules": object(settings::RULES, &mut Rules::clone(&route.rules)),
            })
        });
        json!({
            "name": site.name,
            "hosts": site.hosts.iter().map(print_host_pattern).collect::<Vec<_>>(),
            "route": routes.collect::<Vec<_>>(),
        })
    });
    root.insert("site".to_owned(), sites.collect());
    Value::Object(root)
}

impl Shown {
    /// As it would be written in a file; `None` when there is nothing to write.
    pub fn in_toml(&self) -> Option<String> {
        Some(match self {
            Shown::Unset => return None,
            Shown::Text(text) => quoted(text),
            Shown::Number(number) => number.to_string(),
            Shown::Switch(on) => on.to_string(),
            Shown::List(members) => {
                let members: Vec<_> = members.iter().map(|member| quoted(member)).collect();
                format!("[{}]", members.join(", "))
            }
            Shown::Numbers(members) => {
                let members: Vec<_> = members.iter().map(u64::to_string).collect();
                format!("[{}]", members.join(", "))
            }
        })
    }

    fn in_json(&self) -> Value {
        match self {
            Shown::Unset => Value::Null,
            Shown::Text(text) => json!(text),
            Shown::Number(number) => json!(number),
            Shown::Switch(on) => json!(on),
            Shown::List(members) => json!(members),
            Shown::Numbers(members) => json!(members),
        }
    }
}

fn object<T>(settings: &[Setting<T>], part: &mut T) -> Value {
    let members = settings.iter().map(|setting| {
        let value = match setting.shown(part) {
            Shown::Unset => Value::Null,
            _ if setting.secret => json!("***"),
            shown => shown.in_json(),
        };
        (setting.key.to_owned(), value)
    });
    Value::Object(members.collect())
}

fn heading(out: &mut String, text: &str, name: &str, mark: &str) {
    out.push_str("\n\n");
    comment(out, text);
    let _ = writeln!(out, "{mark}{name}");
}

fn settings_of<T>(out: &mut String, settings: &[Setting<T>], part: &mut T, mark: &str) {
    for setting in settings {
        let mut text = setting.text.to_owned();
        if let Some(range) = range(&setting.kind) {
            let _ = write!(text, " {range}");
        }
        if setting.restart {
            text.push_str(" (restart)");
        }
        out.push('\n');
        comment(out, &text);
        let _ = match (setting.shown(part).in_toml(), setting.example) {
            (Some(value), _) => writeln!(out, "{mark}{} = {value}", setting.key),
            (None, example) => {
                writeln!(out, "# {} = {}", setting.key, quoted(example.unwrap_or_default()))
            }
        };
    }
}

/// The range of a setting, as a sentence, where it is one that somebody may come near.
fn range(kind: &Kind) -> Option<String> {
    const OUT_OF_REACH: u64 = 1 << 20;
    match *kind {
        Kind::Count { least, most } if most < OUT_OF_REACH => Some(format!("From {least} to {most}.")),
        Kind::Bytes { least, most } if most <= 16 * OUT_OF_REACH => {
            Some(format!("From {} to {}.", print_size(least), print_size(most)))
        }
        Kind::Bytes { least, .. } => Some(format!("At least {}.", print_size(least))),
        _ => None,
    }
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

/// A TOML string: without escapes where that can be, which suits expressions.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| !c.is_control());
    if text.contains('\\') && plain && !text.contains('\'') {
        return format!("'{text}'");
    }
    toml::Value::String(text.to_owned()).to_string()
}
