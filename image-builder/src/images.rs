// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a cluster's boot images: the kernel, and for each node its module.

use crate::archive;
use crate::config::Cluster;
use crate::elf;
use crate::guest::{APPLETS, Guest};
use crate::rootfs::{self, Busybox, Tools};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The boot images of a cluster, on disk.
#[derive(Clone, Debug)]
pub struct Images {
    /// The kernel, as QEMU's `-kernel` takes it.
    pub kernel: PathBuf,
    /// Each node's number and module.
    pub modules: Vec<(u16, PathBuf)>,
}

/// Writes the images into `folder`.
///
/// # Errors
/// The root file system cannot be made, the root program is not one, or the disk is full.
pub fn write(
    workspace: &Workspace,
    cluster: &Cluster,
    guest: &Guest,
    folder: &Path,
) -> Result<Images> {
    let busybox = Busybox::find(workspace)?;
    let tools = Tools { program: guest.tools.clone(), applets: &APPLETS };
    let root = rootfs::build(&busybox, &tools, &cluster.root)
        .context("cannot make the root file system")?
        .pack();
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kernel = folder.join("kernel.elf");
    fs::copy(&guest.kernel.elf32, &kernel)
        .with_context(|| format!("cannot write {}", kernel.display()))?;
    let domain = elf::slim(&guest.domain)?;
    let mut modules = Vec::new();
    for node in &cluster.nodes {
        let archive = archive::encode(&cluster.node_config(node.id), &domain, &root)?;
        let module = elf::append_archive(&guest.root, &archive)
            .context("cannot put the archive into the root program")?;
        let path = folder.join(format!("node-{}.module", node.id));
        fs::write(&path, module).with_context(|| format!("cannot write {}", path.display()))?;
        modules.push((node.id, path));
    }
    Ok(Images { kernel, modules })
}
