// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the package that carries the kernel's source, and copies the source out of it.
//!
//! Never build inside cargo's registry: it is shared, and cargo trusts it to be unchanged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The package that carries the source.
const PACKAGE: &str = "sel4-sys";

/// The source package, as cargo unpacked it.
pub struct Package {
    /// Name and version, for example `sel4-sys 0.0.28`.
    pub name: String,
    /// The kernel's own version, from its `VERSION` file.
    pub sel4_version: String,
    /// The kernel's source tree in cargo's registry; read only.
    pub tree: PathBuf,
}

/// Asks cargo where the source package is; cargo fetches it if need be.
pub fn find(workspace: &Path) -> Result<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--quiet"])
        .current_dir(workspace)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|p| p["name"] == PACKAGE)
        .with_context(|| format!("cargo metadata names no package {PACKAGE}"))?;
    let version =
        package["version"].as_str().context("cargo metadata: a package without a version")?;
    let manifest =
        package["manifest_path"].as_str().context("cargo metadata: a package without a path")?;
    let tree = Path::new(manifest).with_file_name("seL4");
    let sel4_version = fs::read_to_string(tree.join("VERSION")).with_context(|| {
        format!("{PACKAGE} {version} carries no seL4 source in {}", tree.display())
    })?;
    Ok(Package {
        name: format!("{PACKAGE} {version}"),
        sel4_version: sel4_version.trim().to_owned(),
        tree,
    })
}

/// Copies the source to `to`, which is emptied first.
pub fn copy(package: &Package, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot empty {}", to.display()))?;
    }
    copy_tree(&package.tree, to)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
