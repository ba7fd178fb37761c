// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds what runs in the cluster: kernel, root, the domain program, and the Linux tools.

use crate::process::run;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use microkernel_kernel::{KernelImage, Options};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The names that our multi-call Linux program answers to.
pub const APPLETS: [&str; 14] = [
    "nodes", "node", "ps", "onnode", "migrate", "mem", "net", "disks", "ipcs", "ipcrm", "klog",
    "halt", "reboot", "crash",
];

/// What runs in the cluster, built.
pub struct Guest {
    /// The kernel.
    pub kernel: KernelImage,
    /// The root program's ELF file.
    pub root: Vec<u8>,
    /// The domain program's ELF file.
    pub domain: Vec<u8>,
    /// The Linux tools' ELF file.
    pub tools: Vec<u8>,
}

/// Builds all of it, or finds it built; `say` is told what goes on.
///
/// # Errors
/// A part does not build; its own message has been printed.
pub fn build(workspace: &Workspace, debug: bool, say: &mut dyn FnMut(&str)) -> Result<Guest> {
    let kernel = kernel(workspace, debug, say)?;
    say("servers");
    let servers = for_sel4(workspace, &["root", "domain"]).context("cannot build the servers")?;
    say("tools");
    let tools = cargo(
        workspace,
        "tools",
        "tools",
        "-C target-feature=+crt-static -C relocation-model=static -C strip=symbols",
        &["cluster-tools"],
    )
    .context("cannot build the cluster's Linux tools")?;
    let read =
        |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Guest {
        kernel,
        root: read(servers.join("root"))?,
        domain: read(servers.join("domain"))?,
        tools: read(tools.join("cluster-tools"))?,
    })
}

/// Builds the kernel, or finds it built.
///
/// # Errors
/// It does not build; a part of its own messages is in the error.
pub fn kernel(
    workspace: &Workspace,
    debug: bool,
    say: &mut dyn FnMut(&str),
) -> Result<KernelImage> {
    say("kernel");
    microkernel_kernel::build(Options {
        workspace: workspace.root(),
        out_dir: &workspace.target().join("kernel"),
        debug,
        python: &workspace.python(),
        progress: &mut |line| say(&format!("kernel: {line}")),
    })
    .context("cannot build the kernel")
}

/// Builds programs that run on seL4; returns the folder they are in.
///
/// # Errors
/// One does not build; cargo has said why.
pub fn for_sel4(workspace: &Workspace, packages: &[&str]) -> Result<PathBuf> {
    cargo(workspace, "guest", "guest", "-C relocation-model=static", packages)
}

/// Builds packages with flags of their own; returns the folder of their programs.
///
/// Each set of flags has a target folder of its own, as cargo would otherwise build everything
/// again whenever they change. The triple is named so that the flags spare build scripts.
fn cargo(
    workspace: &Workspace,
    folder: &str,
    profile: &str,
    flags: &str,
    packages: &[&str],
) -> Result<PathBuf> {
    let target = workspace.target().join(folder);
    let mut command = Command::new("cargo");
    command.current_dir(workspace.root()).env("RUSTFLAGS", flags);
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    command.args(["build", "--quiet", "--target", TRIPLE, "--profile", profile]);
    command.arg("--target-dir").arg(&target);
    for package in packages {
        command.args(["-p", package]);
    }
    run(&mut command)?;
    Ok(target.join(TRIPLE).join(profile))
}
