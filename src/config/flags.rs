//! The flags that change a configuration, and how they are laid over a file.
//!
//! A flag wins over the file. What it sets is read by the same table as the
//! file's settings; the help of a flag is the text of its setting.

use super::fault::Fault;
use super::settings::flag_help;
use super::written::{Place, Table, Value, Written};

/// Settings given on the command line.
#[derive(Clone, PartialEq, Eq, Default, Debug, clap::Args)]
pub struct Flags {
    /// The one origin for every host, in place of all origins and sites of the file
    #[arg(long, value_name = "URL")]
    pub origin: Option<String>,

    /// Never forward a miss: answer at once, and fill the cache from behind at the agreed --rate
    #[arg(long)]
    pub hidden: bool,

    /// How many requests the origin agreed to, with --hidden [default: 50/s]
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,

    #[arg(long, value_name = "ADDRESS", help = flag_help("listen.address"))]
    #[allow(missing_docs)]
    pub listen: Option<String>,

    #[arg(long, value_name = "ADDRESS", help = flag_help("admin.address"))]
    #[allow(missing_docs)]
    pub admin: Option<String>,

    #[arg(long, value_name = "TOKEN", env = "FOREBAY_ADMIN_TOKEN", hide_env_values = true,
          help = flag_help("admin.token"))]
    #[allow(missing_docs)]
    pub admin_token: Option<String>,

    #[arg(long, value_name = "SIZE", help = flag_help("store.memory"))]
    #[allow(missing_docs)]
    pub memory: Option<String>,

    #[arg(long, value_name = "off|stdout|FILE", help = flag_help("access_log.output"))]
    #[allow(missing_docs)]
    pub access_log: Option<String>,

    #[arg(long, value_name = "NAME", help = flag_help("node.name"))]
    #[allow(missing_docs)]
    pub name: Option<String>,

    #[arg(long, value_name = "DIR", help = flag_help("node.state"))]
    #[allow(missing_docs)]
    pub state: Option<String>,

    #[arg(long, value_name = "LEVEL", help = flag_help("log.level"))]
    #[allow(missing_docs)]
    pub log_level: Option<String>,

    /// Any other setting by its path in the file, such as rules.grace=60s; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Flags {
    /// Lays these flags over what a file says.
    pub(super) fn lay_over(&self, tree: &mut Table, faults: &mut Vec<Fault>) {
        if let Some(url) = &self.origin {
            let place = Place::Flag("--origin".to_owned());
            let mut origin = Table::default();
            origin.put("url", bare(&place, url));
            let origin = Written { place: place.clone(), value: Value::Table(origin) };
            tree.put("origin", Written { place, value: Value::List(vec![origin]) });
            tree.remove("site");
        }
        if self.hidden {
            let place = Place::Flag("--hidden".to_owned());
            if let Some(rules) = tree.table_mut("rules", &place) {
                rules.put("mode", bare(&place, "hidden"));
            }
        }
        if let Some(rate) = &self.rate {
            let place = Place::Flag("--rate".to_owned());
            let mut index = 0;
            while let Some(origin) = tree.listed_mut("origin", index) {
                origin.put("rate", bare(&place, rate));
                index += 1;
            }
        }
        for text in &self.set {
            if let Err((problem, cure)) = set(tree, text) {
                faults.push(Fault {
                    source: "--set".to_owned(),
                    line: None,
                    setting: text.split('=').next().unwrap_or_default().to_owned(),
                    value: None,
                    problem,
                    cure,
                });
            }
        }
        for (flag, value, section, key) in [
            ("--listen", &self.listen, "listen", "address"),
            ("--admin", &self.admin, "admin", "address"),
            ("--admin-token (FOREBAY_ADMIN_TOKEN)", &self.admin_token, "admin", "token"),
            ("--memory", &self.memory, "store", "memory"),
            ("--access-log", &self.access_log, "access_log", "output"),
            ("--name", &self.name, "node", "name"),
            ("--state", &self.state, "node", "state"),
            ("--log-level", &self.log_level, "log", "level"),
        ] {
            let place = Place::Flag(flag.to_owned());
            // A section that is no table is a fault of the file and is told there.
            if let Some(value) = value
                && let Some(table) = tree.table_mut(section, &place)
            {
                table.put(key, bare(&place, value));
            }
        }
    }
}

/// Sets one `KEY=VALUE`, or says what is wrong and how to cure it.
fn set(tree: &mut Table, text: &str) -> Result<(), (String, String)> {
    let cure = || {
        "Write the setting's path and its value, such as store.memory=1GiB, rules.grace=60s or \
         origin[0].connect_timeout=1s."
            .to_owned()
    };
    let Some((path, value)) = text.split_once('=') else {
        return Err(("a setting without `=` and a value".to_owned(), cure()));
    };
    let Some((sections, key)) = path.rsplit_once('.') else {
        return Err(("a setting without its section".to_owned(), cure()));
    };
    let place = Place::Flag("--set".to_owned());
    let mut table = tree;
    for section in sections.split('.') {
        let inner = match section.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
            None => table.table_mut(section, &place),
            Some((list, index)) => {
                let index = index.parse().map_err(|_| (format!("{section} has no number"), cure()))?;
                table.listed_mut(list, index)
            }
        };
        table = inner.ok_or_else(|| {
            (format!("there is no {section} to set it in"), "Count from 0, as in origin[0].".to_owned())
        })?;
    }
    table.put(key, bare(&place, value));
    Ok(())
}

fn bare(place: &Place, value: &str) -> Written {
    Written { place: place.clone(), value: Value::Bare(value.to_owned()) }
}
