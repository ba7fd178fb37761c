// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a cluster's boot images: the kernel, and for each node its module.

use crate::archive;
use crate::config::Cluster;
use crate::elf;
use crate::guest::{APPLETS, Guest};
use crate::keys::{self, NodeKey};
use crate::rootfs::{self, Busybox, Tools};
use crate::workspace::Workspace;
use abi::image::MemberKey;
use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The boot images of a cluster, on disk.
#[derive(Clone, Debug)]
pub struct Images {
    /// The kernel, as QEMU's `-kernel` takes it.
    pub kernel: PathBuf,
    /// Each node's number and module.
    pub modules: Vec<(u16, PathBuf)>,
}

/// Whether the images hold their nodes' private keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrivateKeys {
    /// Each image holds its own node's.
    Included,
    /// None does: for images that travel over a network.
    LeftOut,
}

/// Writes the images into `folder`; keys are made where there are none.
///
/// # Errors
/// The root file system cannot be made, the root program is not one, a key cannot be used, or the disk
/// is full.
pub fn write(
    workspace: &Workspace,
    cluster: &Cluster,
    guest: &Guest,
    folder: &Path,
    private: PrivateKeys,
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
    let keys = keys::load(&keys::folder(workspace, cluster), &cluster.nodes)?;
    let public: Vec<_> =
        keys.iter().map(|(&node, key)| MemberKey { node, key: key.public }).collect();
    let mut modules = Vec::new();
    for node in &cluster.nodes {
        let key = keys.get(&node.id).and_then(NodeKey::private);
        let key = key.filter(|_| private == PrivateKeys::Included);
        let config = cluster.node_config(node.id, public.clone());
        let link_key = key.as_ref().map_or(&[][..], |key| key);
        let archive = archive::encode(&config, &domain, &root, link_key)?;
        let module = elf::append_archive(&guest.root, &archive)
            .context("cannot put the archive into the root program")?;
        let path = folder.join(format!("node-{}.module", node.id));
        write_private(&path, &module)
            .with_context(|| format!("cannot write {}", path.display()))?;
        modules.push((node.id, path));
    }
    Ok(Images { kernel, modules })
}

/// Writes a file that only its owner can read: a module may hold a private key.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}
