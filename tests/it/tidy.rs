//! The house rules that a compiler does not know: floors, purity, file heads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// All files below `folder` with this ending, as path from the root and text.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                let name = path.strip_prefix(ROOT).expect("below the root").display().to_string();
                found.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found
}

/// The floor of each module, as the comments between the `mod` lines of
/// `src/lib.rs` say.
fn floors() -> HashMap<String, u32> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).expect("lib.rs");
    let (mut floors, mut floor) = (HashMap::new(), None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("// Floor ") {
            let number: u32 = rest.split(':').next().and_then(|n| n.parse().ok()).expect("a number");
            assert!(floor.is_none_or(|before| number > before), "floors ascend: {line}");
            floor = Some(number);
        } else if let Some(name) = line.strip_prefix("pub mod ") {
            floors.insert(
                name.trim_end_matches(';').to_owned(),
                floor.expect("a floor above the first mod line"),
            );
        }
    }
    floors
}

/// The module that a file of `src` belongs to; `None` for the roots.
fn module_of(path: &str) -> Option<String> {
    let inner = path.strip_prefix("src/")?;
    let first = inner.split('/').next()?.trim_end_matches(".rs");
    (first != "lib" && first != "main").then(|| first.to_owned())
}

/// Code without comments, so that words in prose are not taken for names.
fn code(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{}\n", line.split(" // ").next().unwrap_or_default()))
        .collect()
}

/// The modules named by `crate::name` or within `crate::{...}`.
fn imports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code(text).split("crate::").skip(1) {
        let list = match rest.strip_prefix('{') {
            None => rest,
            Some(inner) => inner.split('}').next().unwrap_or_default(),
        };
        let parts: Vec<&str> = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for part in parts {
            let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(name);
        }
    }
    names
}

#[test]
fn modules_import_from_lower_floors_only() {
    let floors = floors();
    assert!(floors.len() > 10, "{floors:?}");
    let mut wrong = Vec::new();
    for (path, text) in files("src", "rs") {
        let Some(own) = module_of(&path) else { continue };
        let own_floor =
            *floors.get(&own).unwrap_or_else(|| panic!("{path}: {own} has no floor in src/lib.rs"));
        for name in imports(&text) {
            if name != own && floors.get(&name).is_some_and(|floor| *floor >= own_floor) {
                wrong.push(format!("{path} (floor {own_floor}) imports {name} (floor {})", floors[&name]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_standard_and_the_policy_are_pure() {
    let forbidden = [
        "tokio",
        "hyper",
        "SystemTime",
        "Instant",
        "observe::",
        "Mutex",
        "RwLock",
        "spawn",
        "Clock",
        "std::fs",
        "std::net::Tcp",
        "std::io",
    ];
    let mut wrong = Vec::new();
    for (path, text) in files("src/rfc", "rs").into_iter().chain(files("src/policy", "rs")) {
        let code = code(&text);
        wrong.extend(
            forbidden.iter().filter(|word| code.contains(**word)).map(|word| format!("{path}: {word}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_clock_asks_the_system_for_the_time() {
    for (path, text) in files("src", "rs") {
        if path != "src/clock.rs" {
            assert!(!code(&text).contains("SystemTime::now"), "{path}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short_enough_to_read() {
    for (path, text) in
        files("src", "rs").into_iter().chain(files("tests", "rs")).chain(files("benches", "rs"))
    {
        assert!(text.starts_with("//!"), "{path} does not begin with what it is");
        assert!(text.lines().count() <= 900, "{path} is too long");
    }
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // Put together here, so that this file does not name them itself.
    let words: Vec<String> =
        [("to", "do!("), ("unimple", "mented!("), ("d", "bg!("), ("TO", "DO"), ("FIX", "ME"), ("/wo", "rk/")]
            .map(|(a, b)| format!("{a}{b}"))
            .to_vec();
    let all = ["src", "tests", "benches", "fuzz", "conf", ".ci"].into_iter().flat_map(|folder| {
        ["rs", "toml", "sh", "md", "json"].into_iter().flat_map(move |ending| files(folder, ending))
    });
    for (path, text) in all {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{path}: {word}");
        }
    }
}

#[test]
fn every_counter_is_counted_somewhere() {
    let table =
        std::fs::read_to_string(PathBuf::from(ROOT).join("src/observe/counters.rs")).expect("the table");
    let code: String = files("src", "rs").into_iter().map(|(_, text)| text).collect();
    for line in table.lines() {
        let Some((name, rest)) = line.trim().split_once(": ") else { continue };
        if ["Counter \"", "Gauge \"", "Histogram \""].iter().any(|kind| rest.starts_with(kind)) {
            assert!(code.contains(&format!(".{name}")), "{name} is in the table and never counted");
        }
    }
}
