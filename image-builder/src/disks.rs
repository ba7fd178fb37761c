// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes' disks: images that are made once, checked, and never written over.
//!
//! # Model
//! `node-N.disk` in a folder holds a disk's bytes. It is sparse: it takes the room of what was written to
//! it. A new one has a superblock and nothing else (`disk_api::superblock`).
//!
//! # Failure
//! An image that is there and is not what the configuration wants is an error that says what to do. It is
//! neither replaced nor stretched or cut.

use crate::config::Cluster;
use abi::NodeId;
use abi::image::NodeEntry;
use anyhow::{Context, Result, bail, ensure};
use disk_api::limits::SECTOR_BYTES;
use disk_api::superblock::Superblock;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Sectors of a MiB.
const MIB_SECTORS: u64 = (1 << 20) / SECTOR_BYTES as u64;

/// What to say of an image that another QEMU has.
pub const LOCKED: &str = "another QEMU uses it. Is the cluster running already? End that one, or give \
                          this one disks of its own with --disks DIR";

/// Whether a QEMU that said this ended because another one has its disk.
pub fn is_locked(said: &str) -> bool {
    said.contains("Failed to get") && said.contains("lock")
}

/// The disks of the cluster's nodes in `folder`, in the nodes' order; those that are missing are made.
///
/// # Errors
/// A disk cannot be made or read, or is not the one that the node should have.
pub fn prepare(folder: &Path, cluster: &Cluster) -> Result<Vec<Option<PathBuf>>> {
    let disk = |node: &NodeEntry| match node.disk_mib {
        0 => Ok(None),
        _ => node_disk(folder, cluster, node).map(Some),
    };
    cluster.nodes.iter().map(disk).collect()
}

fn node_disk(folder: &Path, cluster: &Cluster, node: &NodeEntry) -> Result<PathBuf> {
    let path = folder.join(format!("node-{}.disk", node.id));
    let id = NodeId::new(node.id).context("a node has a number")?;
    let sectors = u64::from(node.disk_mib) * MIB_SECTORS;
    let superblock = Superblock::new(&cluster.name, id, sectors)
        .context("the configuration's names and sizes are checked")?;
    if !path.exists() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        make(&path, &superblock).with_context(|| format!("cannot make {}", path.display()))?;
    }
    check(&path, &superblock)?;
    // QEMU runs elsewhere, and is to find it.
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}

/// Makes an image; if another process does so at the same time, one of them is kept.
fn make(path: &Path, superblock: &Superblock) -> Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&draft)?;
    let made = file
        .write_all(&superblock.encode())
        .and_then(|()| file.set_len(superblock.sectors * SECTOR_BYTES as u64))
        .and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Checks that an image is the disk that the superblock describes.
fn check(path: &Path, wanted: &Superblock) -> Result<()> {
    let name = path.display();
    let away = "move it away to have an empty one made, or give another folder with --disks DIR";
    let mut file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let bytes = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
    let mut sector = [0; SECTOR_BYTES];
    match file.read_exact(&mut sector) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            bail!("{name} is no disk of Korrigan's: {away}");
        }
        read => read.with_context(|| format!("cannot read {name}"))?,
    }
    let sectors = bytes / SECTOR_BYTES as u64;
    let found = Superblock::decode(&sector).and_then(|found| {
        found.check(&wanted.cluster, wanted.node, sectors)?;
        Ok(found)
    });
    let found = match found {
        Ok(found) => found,
        Err(refusal) => bail!("{name} cannot be node {}'s disk: {refusal}; {away}", wanted.node),
    };
    let (has, wants) = (found.sectors / MIB_SECTORS, wanted.sectors / MIB_SECTORS);
    ensure!(
        found.sectors == wanted.sectors,
        "{name} has {has} MiB, and node {} is to have {wants}: write `disk = {has}` in its [[node]] table, \
         or {away}",
        wanted.node
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn cluster(name: &str, disk_mib: u32) -> Cluster {
        let mut cluster = Cluster::standard();
        cluster.name = name.to_owned();
        cluster.nodes.iter_mut().for_each(|node| node.disk_mib = disk_mib);
        cluster
    }

    fn refused(folder: &Path, cluster: &Cluster) -> String {
        prepare(folder, cluster).expect_err("refused").to_string()
    }

    #[test]
    fn disks_are_made_once_sparse_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("disks/here");
        let disks = prepare(&place, &cluster("c", 64)).expect("they can be made");
        let first = disks[0].clone().expect("node 1 has one");
        let meta = fs::metadata(&first).expect("a file");
        assert_eq!((meta.len(), meta.blocks() < 64), (64 << 20, true), "sparse");
        let mut bytes = fs::read(&first).expect("ours");
        bytes[9000] = 7;
        fs::write(&first, &bytes).expect("ours");
        assert_eq!(prepare(&place, &cluster("c", 64)).expect("they are right"), disks);
        assert_eq!(fs::read(&first).expect("ours"), bytes, "it is as it was");
        assert_eq!(fs::read_dir(&place).expect("a folder").count(), 3, "no drafts are left");
    }

    #[test]
    fn node_that_is_to_have_no_disk_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("disks");
        assert_eq!(prepare(&place, &cluster("c", 0)).expect("nothing to do"), [None, None, None]);
        assert!(!place.exists());
    }

    #[test]
    fn disk_that_is_another_one_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path();
        prepare(place, &cluster("c", 64)).expect("they can be made");
        for (other, says) in [
            (cluster("other", 64), "it belongs to the cluster c"),
            (cluster("c", 128), "write `disk = 64`"),
            (cluster("c", 8), "write `disk = 64`"),
        ] {
            let error = refused(place, &other);
            assert!(error.contains(says) && error.contains("move it away"), "{error}");
        }
        fs::rename(place.join("node-2.disk"), place.join("node-1.disk")).expect("ours");
        assert!(refused(place, &cluster("c", 64)).contains("it belongs to node 2"));
        for (bytes, says) in
            [(vec![], "no disk of Korrigan's"), (vec![1; 4096], "something else's")]
        {
            fs::write(place.join("node-1.disk"), &bytes).expect("ours");
            let error = refused(place, &cluster("c", 64));
            assert!(error.contains(says), "{error}");
            assert_eq!(fs::read(place.join("node-1.disk")).expect("ours"), bytes);
        }
    }

    #[test]
    fn disk_that_was_cut_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let disks = prepare(folder.path(), &cluster("c", 64)).expect("they can be made");
        let first = disks[0].clone().expect("node 1 has one");
        let file = OpenOptions::new().write(true).open(first).expect("ours");
        file.set_len(32 << 20).expect("ours");
        assert!(refused(folder.path(), &cluster("c", 64)).contains("smaller than it was"));
    }
}
