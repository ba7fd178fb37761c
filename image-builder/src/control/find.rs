// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the clusters that run, by the control sockets in their folders.

use super::{FOLDER, SOCKET, client};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A cluster that runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// Name of its folder: when it was started, and its tool's process.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What its tool was started with.
    pub command: String,
}

/// All that run below `runs`, the oldest first. Sockets that nobody serves are passed over: their
/// tools were killed.
pub fn all(runs: &Path) -> Vec<Found> {
    let Ok(entries) = fs::read_dir(runs) else { return Vec::new() };
    let mut found: Vec<Found> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| folder.join(FOLDER).join(SOCKET).exists())
        .filter(|folder| client::connect(folder).is_ok())
        .map(|folder| {
            let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Found { command: command(&id), id, folder }
        })
        .collect();
    found.sort();
    found
}

/// The one that is meant: the only one, or that with the ID, or the end of an ID, `wanted`.
///
/// # Errors
/// None is meant, or several are; what to do.
pub fn one(runs: &Path, wanted: Option<&str>) -> Result<Found> {
    choose(all(runs), wanted)
}

fn choose(found: Vec<Found>, wanted: Option<&str>) -> Result<Found> {
    if found.is_empty() {
        bail!(
            "no cluster runs: start one with `./korrigan run` in another terminal, then come back"
        );
    }
    let list = names(&found);
    let fits = |run: &Found| wanted.is_none_or(|wanted| run.id.ends_with(wanted));
    let mut meant: Vec<Found> = found.into_iter().filter(fits).collect();
    match (meant.len(), wanted) {
        (1, _) => meant.pop().context("there is one"),
        (_, None) => bail!("several clusters run; name one with `--run ID`:{list}"),
        (0, Some(wanted)) => bail!("no cluster with the ID {wanted} runs, but:{list}"),
        (_, Some(wanted)) => bail!("`--run {wanted}` may mean several, name more of its ID:{list}"),
    }
}

fn names(found: &[Found]) -> String {
    found.iter().map(|run| format!("\n  {}  {}", run.id, run.command)).collect()
}

/// The words after the program that the run's tool was started with.
fn command(id: &str) -> String {
    let process = id.rsplit_once('-').map_or("", |(_, process)| process);
    let words = fs::read(Path::new("/proc").join(process).join("cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    words.split('\0').skip(1).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ids: &[&str]) -> Vec<Found> {
        let run = |&id: &&str| Found {
            id: id.to_owned(),
            folder: id.into(),
            command: "run --nodes 3".to_owned(),
        };
        ids.iter().map(run).collect()
    }

    fn error(ids: &[&str], wanted: Option<&str>) -> String {
        choose(found(ids), wanted).expect_err("none is meant").to_string()
    }

    #[test]
    fn only_cluster_and_named_cluster_are_meant() {
        assert_eq!(choose(found(&["1-10"]), None).expect("it is").id, "1-10");
        assert_eq!(choose(found(&["1-10", "2-20"]), Some("20")).expect("it is").id, "2-20");
        assert_eq!(choose(found(&["1-10", "2-20"]), Some("1-10")).expect("it is").id, "1-10");
    }

    #[test]
    fn error_says_what_to_do() {
        assert!(error(&[], None).contains("./korrigan run"));
        let several = error(&["1-10", "2-20"], None);
        assert!(several.contains("--run ID") && several.contains("2-20  run --nodes 3"));
        assert!(error(&["1-10"], Some("30")).contains("1-10"));
        assert!(error(&["1-10", "2-20"], Some("0")).contains("several"));
    }
}
