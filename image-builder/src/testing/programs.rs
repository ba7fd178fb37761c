// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the programs that scenarios run: static, for Linux, from tests/cluster/programs.

use crate::config::ExtraFile;
use crate::process::run;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs are in the cluster.
const FOLDER: &str = "usr/test";

/// Builds each source, unless it is built already; returns where each goes in the cluster.
///
/// # Errors
/// A source is not there, is neither C nor Rust, or does not compile.
pub fn build(workspace: &Workspace, sources: &[String]) -> Result<Vec<ExtraFile>> {
    let from = workspace.root().join("tests/cluster/programs");
    let to = folder(workspace);
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    sources.iter().map(|source| one(&from.join(source), &to)).collect()
}

/// Where the built programs are on this machine.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("programs")
}

fn one(source: &Path, folder: &Path) -> Result<ExtraFile> {
    let (Some(stem), Some(extension)) = (source.file_stem(), source.extension()) else {
        bail!("{} must be called NAME.c or NAME.rs", source.display());
    };
    let program = folder.join(stem);
    if !is_newer(&program, source)? {
        let mut command = match extension.to_str() {
            Some("c") => c(source, &program),
            Some("rs") => rust(source, &program),
            _ => bail!("{} must be called NAME.c or NAME.rs", source.display()),
        };
        run(&mut command).with_context(|| format!("cannot build {}", source.display()))?;
    }
    let path = format!("{FOLDER}/{}", stem.to_string_lossy());
    Ok(ExtraFile { path, from: program, mode: Some(0o755) })
}

fn c(source: &Path, program: &Path) -> Command {
    let mut command = Command::new("gcc");
    command.args(["-O2", "-Wall", "-static", "-pthread", "-o"]).arg(program).arg(source).arg("-lm");
    command
}

fn rust(source: &Path, program: &Path) -> Command {
    let mut command = Command::new("rustc");
    command.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"]);
    command.arg(program).arg(source);
    command
}

/// True if the program was built after every file beside its source was changed: it may include
/// any of them.
fn is_newer(program: &Path, source: &Path) -> Result<bool> {
    let cannot = || format!("there is no {}", source.display());
    let changed = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    let mut newest = changed(source).with_context(cannot)?;
    let folder = source.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder).with_context(cannot)?.flatten() {
        newest = newest.max(changed(&entry.path()).unwrap_or(newest));
    }
    Ok(changed(program).is_ok_and(|built| built > newest))
}
