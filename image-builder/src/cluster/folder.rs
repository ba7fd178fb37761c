// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder of a run: images and logs, kept for a few runs and then removed.

use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs whose folders are kept: enough to look at the last failure, not enough to fill a disk.
const KEPT: usize = 10;

/// Makes a new folder in `runs` and removes the oldest ones.
///
/// # Errors
/// The disk is full or read-only.
pub fn make(runs: &Path) -> Result<PathBuf> {
    fs::create_dir_all(runs).with_context(|| format!("cannot make {}", runs.display()))?;
    prune(runs);
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let folder = runs.join(format!("{}-{}", now.as_millis(), std::process::id()));
        match fs::create_dir(&folder) {
            // Another thread was here in the same millisecond.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                std::thread::sleep(Duration::from_millis(1));
            }
            made => {
                made.with_context(|| format!("cannot make {}", folder.display()))?;
                return Ok(folder);
            }
        }
    }
}

/// Removes the oldest folders whose tool has ended. A folder that cannot be removed stays: the run
/// does not depend on it.
fn prune(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut old: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| !is_running(path)).collect();
    old.sort();
    let surplus = old.len().saturating_sub(KEPT - 1);
    for folder in &old[..surplus] {
        let _ = fs::remove_dir_all(folder);
    }
}

/// True if the tool that made the folder still runs, by the process number in its name.
fn is_running(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    let process = name.and_then(|name| name.rsplit_once('-')).map(|(_, process)| process);
    process.is_some_and(|process| Path::new("/proc").join(process).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_folders_are_removed_and_new_ones_kept() {
        let runs = tempfile::tempdir().expect("a folder");
        // Process numbers end below this one, so that these runs are over.
        for n in 10..30 {
            fs::create_dir(runs.path().join(format!("{n}-4194999"))).expect("a folder");
        }
        make(runs.path()).expect("a folder");
        assert_eq!(fs::read_dir(runs.path()).expect("it is there").count(), KEPT);
        assert!(runs.path().join("29-4194999").is_dir());
        assert!(!runs.path().join("10-4194999").exists());
    }
}
