//! What a reload cannot change.

use super::Config;
use super::settings::SECTIONS;
use super::typed::Shown;

/// Settings whose new value takes effect at a restart only, each as a sentence
/// for the log. What is not named here is in force once the reload is done.
pub fn differences(old: &Config, new: &Config) -> Vec<String> {
    let (mut old, mut new) = (old.clone(), new.clone());
    let mut found = Vec::new();
    for section in SECTIONS {
        for setting in section.settings.iter().filter(|setting| setting.restart) {
            let (before, after) = (setting.shown(&mut old), setting.shown(&mut new));
            if before == after {
                continue;
            }
            found.push(if setting.secret {
                format!("{}.{} changes at the next start", section.name, setting.key)
            } else {
                format!(
                    "{}.{} stays {}; {} takes effect at the next start",
                    section.name,
                    setting.key,
                    print(&before),
                    print(&after)
                )
            });
        }
    }
    found
}

fn print(shown: &Shown) -> String {
    shown.in_toml().unwrap_or_else(|| "unset".to_owned())
}
