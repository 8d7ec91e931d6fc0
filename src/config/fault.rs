//! What is wrong with a configuration, where, and what cures it.
//!
//! A fault always names its source and its cure. It never shows the value of a
//! secret setting.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The file or the flag that it stands in.
    pub source: String,
    /// The line of the file, counted from one.
    pub line: Option<usize>,
    /// The setting's path, such as `origin[0].url`; empty for what is no setting.
    pub setting: String,
    /// What was written, as it was written.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// What to do, as a sentence.
    pub cure: String,
}

/// Everything that is wrong with a configuration: that of the file in the order
/// of its lines, then that of the flags. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// These faults of `file` and of flags, put in order; `None` when there are none.
    pub(super) fn of(file: &str, mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort_by_key(|fault| (fault.source != file, fault.line.unwrap_or(usize::MAX)));
        faults.dedup();
        (!faults.is_empty()).then_some(Faults(faults))
    }

    /// A single fault that concerns a whole source.
    pub(super) fn of_source(source: &str, problem: String, cure: String) -> Self {
        Faults(vec![Fault {
            source: source.to_owned(),
            line: None,
            setting: String::new(),
            value: None,
            problem,
            cure,
        }])
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.source)?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        write!(out, ": ")?;
        match (self.setting.as_str(), &self.value) {
            ("", None) => {}
            ("", Some(value)) => write!(out, "{value}: ")?,
            (setting, None) => write!(out, "{setting}: ")?,
            (setting, Some(value)) => write!(out, "{setting} = {value}: ")?,
        }
        write!(out, "{}. {}", self.problem, self.cure)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
impl std::error::Error for Faults {}
