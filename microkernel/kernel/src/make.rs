// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the kernel's own Makefile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::KernelImage;

/// What the kernel needs from a compiler younger than itself, each for its reason.
pub const COMPILER_FLAGS: &[&str] = &[
    "-mpopcnt", // __builtin_popcountl is used and there is no libgcc: needs an x86-64-v2 processor
    "-fno-strict-aliasing", // capabilities and page tables are read as words
    "-fno-common",
    "-fwrapv",
    "-fno-delete-null-pointer-checks", // physical address 0 is memory
    "-fno-tree-loop-distribute-patterns", // memset must not become a call of itself
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-mno-red-zone", // interrupts use the stack that they meet
    "-mno-80387",
    "-fno-jump-tables", // no indirect branches: nothing for Spectre v2 to train
];

/// How many lines of a failed build's output an error carries.
const LOG_TAIL_LINES: usize = 25;

/// One run of the Makefile.
pub struct Job<'a> {
    /// The edited and configured source.
    pub tree: &'a Path,
    /// The output folder; the build happens in `build/` under it.
    pub out: &'a Path,
    pub debug: bool,
    /// Absolute.
    pub python: &'a Path,
}

/// Compiles and links; gives the path of the linked kernel. The log stays in `build.log` in the output folder.
pub fn run(job: &Job) -> Result<PathBuf> {
    let build = job.out.join("build");
    if build.exists() {
        fs::remove_dir_all(&build).with_context(|| format!("cannot empty {}", build.display()))?;
    }
    fs::create_dir_all(&build).with_context(|| format!("cannot create {}", build.display()))?;
    let bin = python_dir(job)?;

    // CFLAGS through the environment only: on make's command line they would replace the Makefile's own.
    let mut command = Command::new("make");
    command.arg("-f").arg(job.tree.join("Makefile")).current_dir(&build).env_clear();
    command.env("CFLAGS", COMPILER_FLAGS.join(" ")).env("LDFLAGS", "-no-pie").env("LC_ALL", "C");
    command.env("PATH", search_path(&bin)?);
    command.arg(format!("SOURCE_ROOT={}", job.tree.display()));
    command.args(["ARCH=x86", "PLAT=pc99", "SEL4_ARCH=x86_64", "FASTPATH=1", "SKIP_PATH_CHECKS=1"]);
    command.args([
        "PYTHON=python",
        "XMLLINT_PATH=true",
        "CIRCULAR_INCLUDES=true",
        "WARNINGS=all no-error",
    ]);
    if job.debug {
        command.arg("DEBUG=1");
    }
    let output = command.output().context("cannot run make")?;
    let mut log = output.stdout;
    log.extend_from_slice(&output.stderr);
    let log = String::from_utf8_lossy(&log).into_owned();
    let log_path = job.out.join("build.log");
    fs::write(&log_path, &log).with_context(|| format!("cannot write {}", log_path.display()))?;
    if !output.status.success() {
        bail!("the kernel does not compile (all of it: {}):\n{}", log_path.display(), tail(&log));
    }
    let linked = build.join("kernel.elf");
    if !linked.exists() {
        bail!("make ended well but made no kernel (see {})", log_path.display());
    }
    Ok(linked)
}

/// Puts the linked kernel where it is looked for, in both containers.
pub fn publish(linked: &Path, image: &KernelImage) -> Result<()> {
    fs::copy(linked, &image.elf64)
        .with_context(|| format!("cannot write {}", image.elf64.display()))?;
    let output = Command::new("objcopy")
        .args(["-O", "elf32-i386"])
        .args([linked, &image.elf32])
        .output()
        .context("cannot run objcopy")?;
    if !output.status.success() {
        bail!("objcopy failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A folder in which `python` is the given one: some generators are run by their first line, which names only that.
/// A link would not do, since a virtual environment is found by the path it is called by.
fn python_dir(job: &Job) -> Result<PathBuf> {
    let dir = job.out.join("bin");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let script = dir.join("python");
    let quoted = job.python.display().to_string().replace('\'', r"'\''");
    fs::write(&script, format!("#!/bin/sh\nexec '{quoted}' \"$@\"\n"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let probe = Command::new(&script).args(["-c", "import six, ply, tempita"]).output();
    let probe = probe.with_context(|| format!("cannot run {}", job.python.display()))?;
    if !probe.status.success() {
        let said = String::from_utf8_lossy(&probe.stderr);
        let last = said.lines().last().unwrap_or("no message");
        bail!("{} lacks a module of six, ply, tempita: {last}", job.python.display());
    }
    Ok(dir)
}

fn search_path(first: &Path) -> Result<std::ffi::OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let all = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&inherited));
    std::env::join_paths(all).context("the output folder's name cannot stand in PATH")
}

/// What of a long log says why: the lines that call themselves errors, or else the last ones.
fn tail(log: &str) -> String {
    let errors: Vec<&str> = log.lines().filter(|l| l.to_lowercase().contains("error")).collect();
    let lines = if errors.is_empty() { log.lines().collect() } else { errors };
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
