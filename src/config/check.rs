//! From what was written to what is usable.
//!
//! Every fault is collected before anything is refused; a [`Config`] comes out
//! only when there is none. A fault that only follows from another one is not
//! told: a broken file is not also blamed for what its broken lines left out.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use super::fault::{Fault, Faults};
use super::nearest::nearest;
use super::settings::{self, Origin, Route, SECTIONS, Setting, Site};
use super::typed::{Wrong, print_host_pattern, wrong};
use super::written::{self, Place, Table, Value, Written};
use super::{Config, Flags};
use crate::apart::Handles;
use crate::origin::tls::Unusable;
use crate::policy::site::{self, HonourRequest, Mode, OriginId, PathPattern, Rules, Sites};

/// What may stand in a file beside the sections.
const LISTS: [&str; 3] = ["rules", "origin", "site"];

/// Reads `text` and `flags`, and gives a sound configuration or all faults.
pub fn check(source: &str, text: &str, flags: &Flags) -> Result<Config, Faults> {
    let (mut tree, mut faults) = written::parse(source, text);
    let whole = faults.is_empty();
    let broken_lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
    flags.lay_over(&mut tree, &mut faults);

    let mut checker = Checker { source, whole, faults: Vec::new() };
    let mut config = Config::built_in();
    let mut rules = Rules::default();
    checker.names(&tree);
    for section in SECTIONS {
        if let Some(table) = checker.table(&tree, "", section.name) {
            checker.part(section.name, table, section.settings, &[], &mut config);
        }
    }
    if let Some(table) = checker.table(&tree, "", "rules") {
        checker.part("rules", table, settings::RULES, &[], &mut rules);
    }
    checker.ports(&config, &tree);
    let origins = checker.origins(&tree);
    config.sites = Sites::new(checker.sites(&tree, &rules, &origins));
    config.agreed = origins.iter().map(|origin| origin.agreed.clone()).collect();
    config.origins = origins.into_iter().map(|origin| origin.settings).collect();
    checker.hidden(&config, &tree);
    checker.shields(&config, &tree);
    let hides = config.rules().any(|rules| rules.mode == Mode::Hidden);
    config.store.admit_all = hides;

    // What is left of a broken line is not worth another word.
    checker.faults.retain(|fault| fault.line.is_none() || !broken_lines.contains(&fault.line));
    faults.append(&mut checker.faults);
    match Faults::of(source, faults) {
        None => Ok(config),
        Some(faults) => Err(faults),
    }
}

/// Collects faults.
struct Checker<'a> {
    source: &'a str,
    /// Whether the file is TOML from end to end: only then can anything be missing.
    whole: bool,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    /// The names of the sections.
    fn names(&mut self, tree: &Table) {
        let known = || SECTIONS.iter().map(|section| section.name).chain(LISTS);
        for (key, place, written) in tree.entries() {
            if known().any(|name| name == key) {
                continue;
            }
            let (problem, home) = match written.value {
                Value::Table(_) | Value::List(_) => ("no such section", None),
                _ => ("a setting outside of any section", home_of(key)),
            };
            let cure = match (home, nearest(key, known())) {
                (Some(section), _) => format!("Write it below [{section}]."),
                (None, Some(name)) => format!("Did you mean [{name}]?"),
                (None, None) => format!("The sections are {}.", known().collect::<Vec<_>>().join(", ")),
            };
            self.fault(Some(place), key, None, wrong(problem, cure));
        }
    }

    /// The table `key` of `tree`, if it is there and is one.
    fn table<'t>(&mut self, tree: &'t Table, path: &str, key: &str) -> Option<&'t Table> {
        let written = tree.get(key)?;
        match &written.value {
            Value::Table(table) => Some(table),
            Value::List(_) => {
                let refusal = wrong("a list where a section is wanted", format!("Write [{key}]."));
                self.fault(Some(&written.place), &join(path, key), None, refusal);
                None
            }
            _ => {
                let refusal = wrong("not a section", format!("Write [{key}] on a line of its own."));
                self.fault(Some(&written.place), &join(path, key), Some(written.shown()), refusal);
                None
            }
        }
    }

    /// The tables of the list `key` of `tree`, with their paths and places.
    fn tables<'t>(&mut self, tree: &'t Table, path: &str, key: &str) -> Vec<(String, &'t Place, &'t Table)> {
        let brackets = if path.is_empty() { format!("[[{key}]]") } else { format!("[[site.{key}]]") };
        let refusal = || wrong("not a list of sections", format!("Write {brackets}, with two brackets."));
        let Some(written) = tree.get(key) else { return Vec::new() };
        let path = join(path, key);
        let Value::List(list) = &written.value else {
            self.fault(Some(&written.place), &path, None, refusal());
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, member) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match &member.value {
                Value::Table(table) => tables.push((path, &member.place, table)),
                _ => self.fault(Some(&member.place), &path, Some(member.shown()), refusal()),
            }
        }
        tables
    }

    /// The settings of one part; `beside` are keys that somebody else reads.
    fn part<T>(&mut self, path: &str, table: &Table, settings: &[Setting<T>], beside: &[&str], part: &mut T) {
        for (key, place, written) in table.entries() {
            let path = join(path, key);
            let Some(setting) = settings.iter().find(|setting| setting.key == key) else {
                if !beside.contains(&key) {
                    let known = settings.iter().map(|setting| setting.key).chain(beside.iter().copied());
                    let refusal = wrong("no such setting", cure_of_unknown(key, known, beside));
                    self.fault(Some(place), &path, None, refusal);
                }
                continue;
            };
            if let Err(refusal) = (setting.at)(part).read(&written.value, &setting.kind) {
                let value = (!setting.secret && !refusal.secret).then(|| written.shown());
                self.fault(Some(&written.place), &path, value, refusal);
            }
        }
    }

    /// What holds between the two ports.
    fn ports(&mut self, config: &Config, tree: &Table) {
        let (listen, admin) = (config.listen.address, config.admin.address);
        let at = |section| value_at(tree, section, "address");
        let open =
            config.admin.token.is_none() && config.admin.tokens.is_none() && config.admin.allow.is_empty();
        if !admin.ip().is_loopback() && open {
            let refusal = wrong(
                "an address that others can reach, without a token",
                "Set admin.token (or FOREBAY_ADMIN_TOKEN), or use an address such as \"127.0.0.1:6090\".",
            );
            self.fault_at(at("admin"), "admin.address", refusal);
        }
        if let (Some(address), None) = (config.varnish_cli.address, &config.varnish_cli.secret_file)
            && !address.ip().is_loopback()
        {
            let refusal = wrong(
                "an address that others can reach, without a secret",
                "Set varnish_cli.secret_file, or use an address such as \"127.0.0.1:6082\".",
            );
            self.fault_at(at("varnish_cli"), "varnish_cli.address", refusal);
        }
        if config.purge.secret_header.is_some() != config.purge.secret.is_some() {
            let (given, missing) = if config.purge.secret.is_some() {
                ("secret", "secret_header")
            } else {
                ("secret_header", "secret")
            };
            let refusal = wrong(
                format!("purge.{given} without purge.{missing}"),
                format!("Set purge.{missing} as well."),
            );
            self.fault_at(value_at(tree, "purge", given), &format!("purge.{given}"), refusal);
        }
        let overlap = listen.ip() == admin.ip()
            || (listen.is_ipv4() == admin.is_ipv4()
                && (listen.ip().is_unspecified() || admin.ip().is_unspecified()));
        if overlap && listen.port() == admin.port() && listen.port() != 0 {
            let refusal = wrong(
                format!("the clients' port ({listen}) and the operators' port ({admin}) are the same"),
                "Give one of them another port.",
            );
            match at("admin") {
                None => self.fault_at(at("listen"), "listen.address", refusal),
                written => self.fault_at(written, "admin.address", refusal),
            }
        }
    }

    /// What holds of hidden routes.
    fn hidden(&mut self, config: &Config, tree: &Table) {
        for rules in config.rules().filter(|rules| rules.mode == Mode::Hidden && !rules.cache) {
            let refusal = wrong(
                format!("a hidden route of the site {:?} that does not cache", rules.site),
                "Leave away cache = false, or mode = \"hidden\": what is not cached cannot be served.",
            );
            let written = value_at(tree, "rules", "cache");
            self.fault_at(written, "rules.cache", refusal);
        }
        let punches = |rules: &&Rules| rules.request_directives == HonourRequest::All;
        if let Some(rules) = config.rules().filter(|rules| rules.mode == Mode::Hidden).find(punches) {
            let refusal = wrong(
                format!("a hidden route of the site {:?} whose clients may insist on the origin", rules.site),
                "Leave away request_directives = \"all\" there: nobody asks a hidden origin for a client.",
            );
            self.fault_at(value_at(tree, "rules", "request_directives"), "rules.request_directives", refusal);
        }
        let hides = config.rules().any(|rules| rules.mode == Mode::Hidden);
        if hides && !config.broker.urls.is_empty() && config.hidden.secrets.is_empty() {
            let refusal = wrong(
                "hidden routes and a broker, and no secret that edges and workers share",
                "Set hidden.secrets; `openssl rand -hex 32` makes one.",
            );
            self.fault_at(value_at(tree, "hidden", "secrets"), "hidden.secrets", refusal);
        }
        let warm = &config.warm;
        if warm.every.is_some() && warm.sitemaps.is_empty() && warm.crawl.is_empty() && warm.urls.is_none() {
            let refusal = wrong(
                "a time, and nothing that is to be warmed",
                "Set warm.sitemaps, warm.urls or warm.crawl as well.",
            );
            self.fault_at(value_at(tree, "warm", "every"), "warm.every", refusal);
        }
        if warm.every.is_some() && !hides && self.whole {
            let refusal = wrong(
                "warming, and no hidden route that it could fill",
                "Give a route mode = \"hidden\", or leave warm.every away.",
            );
            self.fault_at(value_at(tree, "warm", "every"), "warm.every", refusal);
        }
    }

    /// What holds of shields.
    fn shields(&mut self, config: &Config, tree: &Table) {
        let mut hidden = config.rules().filter(|rules| rules.mode == Mode::Hidden);
        let is_shield =
            |rules: &Rules| config.origins.get(rules.origin.0).is_some_and(|origin| origin.shield);
        let refusal = if config.broker.urls.is_empty() && self.whole {
            wrong(
                "a shield, and no broker by which it and this node learn of the same purges",
                "Set broker.urls, the same as at the shield, or leave shield = true away and purge shields before edges.",
            )
        } else if hidden.any(is_shield) {
            wrong(
                "a shield as the origin of a hidden route",
                "Leave shield = true away there, or mode = \"hidden\": what workers get is for all edges already.",
            )
        } else {
            return;
        };
        let written = tree.get("origin").into_iter().flat_map(|written| match &written.value {
            Value::List(list) => list.as_slice(),
            _ => &[],
        });
        let mut settings = written.filter_map(|member| match &member.value {
            Value::Table(table) => table.get("shield"),
            _ => None,
        });
        if config.origins.iter().any(|origin| origin.shield) {
            self.fault_at(settings.next(), "origin.shield", refusal);
        }
    }

    fn origins(&mut self, tree: &Table) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for (path, place, table) in self.tables(tree, "", "origin") {
            let mut origin = Origin::default();
            self.part(&path, table, settings::ORIGIN, &[], &mut origin);
            if self.whole && table.get("url").is_none() {
                let refusal = wrong(
                    "an origin without a URL",
                    "Add its address, such as url = \"http://127.0.0.1:3000\".",
                );
                self.fault(Some(place), &join(&path, "url"), None, refusal);
            }
            match origin.settings() {
                Ok(settings) => origin.settings = settings,
                Err(Unusable { setting, problem, cure }) => {
                    let written = table.get(setting).or_else(|| table.get("url"));
                    self.fault_at(written, &join(&path, setting), wrong(problem, cure));
                }
            }
            let name = origin.settings.name.as_str();
            if origins.iter().any(|other| other.settings.name == name) {
                let refusal = wrong(
                    format!("a second origin of the name {name:?}"),
                    "Give each origin a name of its own.",
                );
                let place = table.get("name").map_or(place, |written| &written.place);
                self.fault(Some(place), &join(&path, "name"), None, refusal);
            }
            origins.push(origin);
        }
        if self.whole && is_missing(tree, "origin") {
            let refusal = wrong(
                "no origin is named",
                "Start with --origin http://127.0.0.1:3000, or with --config FILE where FILE has an \
                 [[origin]] with its url.",
            );
            self.fault(None, "origin", None, refusal);
        }
        origins
    }

    fn sites(&mut self, tree: &Table, rules: &Rules, origins: &[Origin]) -> Vec<site::Site> {
        let mut sites: Vec<site::Site> = Vec::new();
        let mut owners: HashMap<String, String> = HashMap::new();
        let mut written = self.tables(tree, "", "site");
        let nothing = (Table::default(), Place::Flag(String::new()));
        if is_missing(tree, "site") && !origins.is_empty() {
            written.push(("site[0]".to_owned(), &nothing.1, &nothing.0));
            if origins.len() > 1 {
                if self.whole {
                    let refusal = wrong(
                        "several origins, and no site that says which is asked for what",
                        "Add a [[site]] with its hosts and its origin for each of them.",
                    );
                    self.fault(None, "site", None, refusal);
                }
                return sites;
            }
        }
        for (path, place, table) in written {
            let mut draft = Site::default();
            self.part(&path, table, settings::SITE, &["rules", "route"], &mut draft);
            for host in draft.hosts.iter().map(print_host_pattern) {
                let first = owners.get(&host).cloned();
                if let Some(first) = first {
                    let refusal = wrong(
                        format!("the host {host:?} a second time, after {first}"),
                        "Give each host to one site.",
                    );
                    let place = table.get("hosts").map_or(place, |hosts| &hosts.place);
                    self.fault(Some(place), &join(&path, "hosts"), None, refusal);
                } else {
                    owners.insert(host, path.clone());
                }
            }
            let name = draft
                .name
                .clone()
                .or_else(|| draft.hosts.first().map(print_host_pattern))
                .unwrap_or_default();
            if draft.name.is_some() && sites.iter().any(|other| other.name == name) {
                let refusal =
                    wrong(format!("a second site of the name {name:?}"), "Give each site a name of its own.");
                self.fault_at(table.get("name"), &join(&path, "name"), refusal);
            }
            let mut rules = Rules { site: Arc::from(name.as_str()), ..rules.clone() };
            if let Some(table) = self.table(table, &path, "rules") {
                self.part(&join(&path, "rules"), table, settings::RULES, &[], &mut rules);
            }
            let origin = self.origin(table, &path, "origin", draft.origin.as_deref(), origins);
            rules.write_origin = self.write_origin(table, &path, draft.write_origin.as_deref(), origins);
            let routes = self.routes(table, &path, place, &rules, origin, origins);
            sites.push(site::Site { name, hosts: draft.hosts, routes });
        }
        sites
    }

    /// The routes of a site, the last of which takes every path.
    fn routes(
        &mut self,
        site: &Table,
        path: &str,
        place: &Place,
        rules: &Rules,
        origin: Option<OriginId>,
        origins: &[Origin],
    ) -> Vec<site::Route> {
        let mut routes: Vec<site::Route> = Vec::new();
        let mut undecided = false;
        for (path, place, table) in self.tables(site, path, "route") {
            let mut draft = Route::default();
            self.part(&path, table, settings::ROUTE, &["rules"], &mut draft);
            let written_name = draft.name.take();
            // What a route names and cannot have is a fault of its own; nothing is open then.
            let origin = match table.get("origin") {
                Some(_) => Some(
                    self.origin(table, &path, "origin", draft.origin.as_deref(), origins)
                        .unwrap_or(OriginId(0)),
                ),
                None => origin,
            };
            undecided |= origin.is_none();
            if let (Some(_), Some(written)) = (&draft.path, table.get("match")) {
                let refusal = wrong("`path` and `match` in one route", "Keep one of the two.");
                self.fault_at(Some(written), &join(&path, "match"), refusal);
            }
            let pattern = match (draft.path, draft.matches) {
                // What could not be read is a fault already and hides no other route.
                (None, None) if table.get("path").is_some() || table.get("match").is_some() => continue,
                (None, None) => PathPattern::Any,
                (Some(prefix), _) if prefix == "/" => PathPattern::Any,
                (Some(prefix), _) => PathPattern::Prefix(prefix),
                (None, Some(expression)) => PathPattern::Matches(expression),
            };
            let name = written_name.clone().unwrap_or_else(|| print_path(&pattern));
            if let Some(before) = routes.iter().find(|before| covers(&before.path, &pattern)) {
                let refusal = wrong(
                    format!("a route that is never reached: {:?} before it takes all its paths", before.name),
                    "Move it up, before that one.",
                );
                self.fault(Some(place), &path, None, refusal);
            } else if written_name.is_some() && routes.iter().any(|other| other.name == name) {
                let refusal = wrong(
                    format!("a second route of the name {name:?} in this site"),
                    "Give each route a name of its own.",
                );
                self.fault_at(table.get("name"), &join(&path, "name"), refusal);
            }
            let mut rules = rules.clone();
            if let Some(table) = self.table(table, &path, "rules") {
                self.part(&join(&path, "rules"), table, settings::RULES, &[], &mut rules);
            }
            rules.origin = origin.unwrap_or(OriginId(0));
            if draft.write_origin.is_some() {
                rules.write_origin = self.write_origin(table, &path, draft.write_origin.as_deref(), origins);
            }
            routes.push(site::Route { name, path: pattern, rules: Handles::new(Arc::new(rules)) });
        }
        if !routes.iter().any(|route| covers(&route.path, &PathPattern::Any)) {
            undecided |= origin.is_none();
            let rules = Rules { origin: origin.unwrap_or(OriginId(0)), ..rules.clone() };
            routes.push(site::Route {
                name: print_path(&PathPattern::Any),
                path: PathPattern::Any,
                rules: Handles::new(Arc::new(rules)),
            });
        }
        if self.whole && undecided && !origins.is_empty() && site.get("origin").is_none() {
            let first = origins.first().map_or("", |origin| &origin.settings.name);
            let refusal = wrong(
                "there are several origins, and not every path of this site has one",
                format!("Name one for the site, such as origin = {first:?}."),
            );
            self.fault(Some(place), &join(path, "origin"), None, refusal);
        }
        routes
    }

    /// The origin that `table` names for writing, if it does.
    fn write_origin(
        &mut self,
        table: &Table,
        path: &str,
        name: Option<&str>,
        origins: &[Origin],
    ) -> Option<OriginId> {
        name.and_then(|name| self.origin(table, path, "write_origin", Some(name), origins))
    }

    /// The origin that `table` names under this key, or the only one; `None` when that
    /// is open.
    fn origin(
        &mut self,
        table: &Table,
        path: &str,
        key: &str,
        name: Option<&str>,
        origins: &[Origin],
    ) -> Option<OriginId> {
        let names = || origins.iter().map(|origin| origin.settings.name.as_str());
        let Some(name) = name else {
            return (origins.len() == 1).then_some(OriginId(0));
        };
        let found = names().position(|known| known == name).map(OriginId);
        if found.is_none() && self.whole {
            let quoted: Vec<_> = names().map(|name| format!("{name:?}")).collect();
            let cure = match nearest(name, names()) {
                Some(meant) => format!("Did you mean {meant:?}?"),
                None if quoted.is_empty() => "Add an [[origin]] of this name.".to_owned(),
                None => format!("Add an [[origin]] of this name, or name one of {}.", quoted.join(", ")),
            };
            let refusal = wrong("no such origin", cure);
            let written = table.get(key);
            self.fault(
                written.map(|written| &written.place),
                &join(path, key),
                written.map(Written::shown),
                refusal,
            );
        }
        found
    }

    fn fault_at(&mut self, written: Option<&Written>, setting: &str, refusal: Wrong) {
        self.fault(written.map(|written| &written.place), setting, written.map(Written::shown), refusal);
    }

    fn fault(&mut self, place: Option<&Place>, setting: &str, value: Option<String>, refusal: Wrong) {
        let (source, line) = match place {
            None => (self.source, None),
            Some(Place::Line(line)) => (self.source, Some(*line)),
            Some(Place::Flag(flag)) => (flag.as_str(), None),
        };
        self.faults.push(Fault {
            source: source.to_owned(),
            line,
            setting: setting.to_owned(),
            value,
            problem: refusal.problem,
            cure: refusal.cure,
        });
    }
}

/// A path pattern as it is written in a file.
pub fn print_path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Any => "/".to_owned(),
        PathPattern::Prefix(prefix) => prefix.clone(),
        PathPattern::Matches(expression) => expression.as_str().to_owned(),
    }
}

/// Whether `first` takes every path that `second` would take. Of expressions
/// only those that plainly match everything are known to.
fn covers(first: &PathPattern, second: &PathPattern) -> bool {
    let everything = |expression: &Regex| matches!(expression.as_str(), "" | "^" | ".*" | "^.*" | "^.*$");
    match (first, second) {
        (PathPattern::Any, _) => true,
        (PathPattern::Matches(expression), _) if everything(expression) => true,
        (PathPattern::Prefix(first), PathPattern::Prefix(second)) => second.starts_with(first.as_str()),
        _ => false,
    }
}

fn cure_of_unknown<'k>(key: &str, known: impl Iterator<Item = &'k str>, beside: &[&str]) -> String {
    if let Some(meant) = nearest(key, known) {
        return format!("Did you mean `{meant}`?");
    }
    if beside.contains(&"rules") && settings::RULES.iter().any(|setting| setting.key == key) {
        return format!("Write rules.{key}.");
    }
    match home_of(key) {
        Some(section) => format!("It belongs to [{section}]."),
        None => "Leave it away; `forebay config` lists every setting.".to_owned(),
    }
}

/// The section that has the setting `key`.
fn home_of(key: &str) -> Option<&'static str> {
    if settings::RULES.iter().any(|setting| setting.key == key) {
        return Some("rules");
    }
    let section = SECTIONS.iter().find(|section| section.settings.iter().any(|setting| setting.key == key));
    section.map(|section| section.name)
}

/// Whether the list `key` has no member at all.
fn is_missing(tree: &Table, key: &str) -> bool {
    match tree.get(key).map(|written| &written.value) {
        None => true,
        Some(Value::List(list)) => list.is_empty(),
        Some(_) => false,
    }
}

fn value_at<'t>(tree: &'t Table, section: &str, key: &str) -> Option<&'t Written> {
    match &tree.get(section)?.value {
        Value::Table(table) => table.get(key),
        _ => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
