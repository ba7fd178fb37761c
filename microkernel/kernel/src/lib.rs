// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the seL4 kernel from the source in the sel4-sys package, with Korrigan's edits (host code).
//!
//! It exists apart from the host tool because the kernel is a program of its own: its configuration, its edits and
//! the checks of the linked image belong together, and nothing else may depend on how they are applied.
//!
//! # Model
//! [`build`] finds the package through `cargo metadata` (so Cargo.lock pins what is built), copies its `seL4/` folder
//! to the output folder, applies every file of `microkernel/kernel/edits` ([`edit`]), writes the configuration
//! ([`config`]), runs seL4's own Makefile, and checks the linked image ([`check`]). A stamp over all inputs makes the
//! second call free.
//!
//! # Failure
//! An edit that no longer fits, a tool that is missing or an image that fails a check ends the build with an error
//! that names it. Nothing is left that a later call would take for a good kernel: the stamp is written last.

pub mod check;
pub mod config;
pub mod edit;
mod make;
pub mod source;
mod stamp;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What to build, where, and whom to tell.
pub struct Options<'a> {
    /// The root of the cargo workspace: where `Cargo.lock` and `microkernel/kernel/edits` are.
    pub workspace: &'a Path,
    /// Where to build, for example `target/kernel`; made if missing. Release and debug have folders of their own in it.
    pub out_dir: &'a Path,
    /// With the kernel's assertions and console output. What ships is built without.
    pub debug: bool,
    /// A python 3 with the modules `six`, `ply` and `tempita`, which the kernel's generators import.
    pub python: &'a Path,
    /// Told what happens, a short line each time.
    pub progress: &'a mut dyn FnMut(&str),
}

/// The built kernel, twice: the same code in two containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelImage {
    /// The linked kernel with its symbols, for boot loaders that read 64-bit ELF, and for `addr2line`.
    pub elf64: PathBuf,
    /// The same in a 32-bit ELF: QEMU's `-kernel` takes no other.
    pub elf32: PathBuf,
}

/// Builds the kernel, or finds it built.
///
/// Blocks for some ten seconds if anything changed (edits, configuration, source package, compiler), and for the time
/// of a `cargo metadata` if nothing did. Safe to call from several processes: the output folder is locked.
///
/// # Errors
/// If the source package, an edit, a tool (make, gcc, binutils, python) or a check of the image fails; the text says which.
pub fn build(o: Options) -> Result<KernelImage> {
    let out = absolute(o.out_dir)?.join(if o.debug { "debug" } else { "release" });
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let _lock = stamp::lock(&out)?;

    let package = source::find(o.workspace)?;
    let edits = edit::load(&o.workspace.join(EDITS_DIR))?;
    let autoconf = config::autoconf(o.debug);
    let inputs =
        stamp::Inputs { package: &package, edits: &edits, autoconf: &autoconf, debug: o.debug };
    let fingerprint = inputs.fingerprint()?;

    let image = KernelImage { elf64: out.join("kernel.elf"), elf32: out.join("kernel32.elf") };
    if stamp::matches(&out, fingerprint) && image.elf64.exists() && image.elf32.exists() {
        return Ok(image);
    }
    stamp::clear(&out)?;

    (o.progress)(&format!(
        "seL4 {} from {}: applying {} edits",
        package.sel4_version,
        package.name,
        edits.len()
    ));
    let tree = out.join("source");
    source::copy(&package, &tree)?;
    edit::apply_all(&edits, &tree)?;
    let place = tree.join(config::AUTOCONF_PATH);
    fs::write(&place, &autoconf).with_context(|| format!("cannot write {}", place.display()))?;

    (o.progress)(if o.debug { "seL4: compiling (debug)" } else { "seL4: compiling" });
    let linked = make::run(&make::Job {
        tree: &tree,
        out: &out,
        debug: o.debug,
        python: &absolute(o.python)?,
    })?;
    check::image(&linked).context("the linked kernel fails a check")?;
    make::publish(&linked, &image)?;
    stamp::write(&out, fingerprint)?;
    (o.progress)("seL4: built");
    Ok(image)
}

/// Where the edits are, in the workspace.
pub const EDITS_DIR: &str = "microkernel/kernel/edits";

/// An absolute path without resolving links: a virtual environment's python must keep its own name.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}
