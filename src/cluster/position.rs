//! How far a node has read in the stream, kept in its state directory.
//!
//! It may be behind what was applied, never ahead of it: what is read again is
//! known to have been applied.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The last message that was applied.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The id of the stream's first message.
    pub epoch: String,
    /// Its offset.
    pub offset: u64,
    /// Its id: another message may have come to stand at this offset.
    pub id: String,
}

/// What is kept.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// How far the stream was read.
    #[serde(default)]
    pub position: Option<Position>,
    /// The number of the last own purge that was read back.
    #[serde(default)]
    pub told: u64,
}

const NAME: &str = "cluster.json";

/// What is kept in this state directory; nothing where that is damaged, which is
/// told in the second part.
pub fn load(state: &Path) -> (Kept, Option<String>) {
    let path = state.join(NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Kept::default(), None),
        Err(error) => return (Kept::default(), Some(format!("`{}`: {error}", path.display()))),
    };
    match serde_json::from_slice(&bytes) {
        Ok(kept) => (kept, None),
        Err(error) => (Kept::default(), Some(format!("`{}` is damaged: {error}", path.display()))),
    }
}

/// Keeps it, whole or not at all.
pub fn save(state: &Path, kept: &Kept) -> Result<(), String> {
    let (path, fresh): (PathBuf, PathBuf) = (state.join(NAME), state.join("cluster.json.new"));
    let write = || {
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(kept).unwrap_or_default())?;
        file.sync_data()?;
        std::fs::rename(&fresh, &path)
    };
    write().map_err(|error| format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_again_and_damage_is_told() {
        let state = std::env::temp_dir().join(format!("forebay-position-{}", std::process::id()));
        std::fs::create_dir_all(&state).expect("a directory");
        assert_eq!(load(&state), (Kept::default(), None));
        let position = Position { epoch: "e".to_owned(), offset: 7, id: "i".to_owned() };
        let kept = Kept { position: Some(position), told: 3 };
        save(&state, &kept).expect("saved");
        assert_eq!(load(&state), (kept, None));
        std::fs::write(state.join(NAME), "{").expect("written");
        let (kept, trouble) = load(&state);
        assert_eq!(kept, Kept::default());
        assert!(trouble.is_some_and(|trouble| trouble.contains("damaged")));
        let _ = std::fs::remove_dir_all(&state);
    }
}
