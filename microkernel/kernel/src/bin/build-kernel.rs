// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds one kernel by hand: `build-kernel OUT_DIR [--debug] [--python PYTHON]`, run in the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use microkernel_kernel::{Options, build};

const USAGE: &str = "usage: build-kernel OUT_DIR [--debug] [--python PYTHON]";

fn main() -> Result<()> {
    let mut out = None;
    let mut debug = false;
    let mut python = PathBuf::from("python3");
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--debug" => debug = true,
            "--python" => python = args.next().context(USAGE)?.into(),
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ if out.is_none() && !arg.starts_with('-') => out = Some(PathBuf::from(arg)),
            _ => bail!("{USAGE}"),
        }
    }
    let out = out.context(USAGE)?;
    let python = find(&python)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut progress = |line: &str| eprintln!("{line}");
    let image = build(Options {
        workspace: &workspace,
        out_dir: &out,
        debug,
        python: &python,
        progress: &mut progress,
    })?;
    println!("{}\n{}", image.elf64.display(), image.elf32.display());
    Ok(())
}

/// A name without a slash is looked for in PATH, as a shell would.
fn find(python: &Path) -> Result<PathBuf> {
    if python.components().count() > 1 {
        return Ok(python.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(python))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{} is not in PATH", python.display()))
}
