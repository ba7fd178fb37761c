// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes' disks: images that are made once, checked, and never written over.
//!
//! # Model
//! `node-N.disk` in a folder holds a disk's bytes. It is sparse: it takes the room of what was written to
//! it. A new one has a superblock and nothing else (`disk_api::superblock`).
//!
//! Nodes remember on their disks who votes in the cluster. So a cluster with fewer nodes must not begin with
//! disks of one with more: those who vote would be missing for ever. Each set of nodes has a folder of its
//! own ([`own_folder`]), and a folder with a disk of a node that there is not is refused.
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

/// Longest name of a folder that says which nodes there are.
const NAME_BYTES_MAX: usize = 100;

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
    refuse_others(folder, cluster)?;
    cluster.nodes.iter().map(disk).collect()
}

/// The folder in `all` that keeps the disks of a cluster of this name with just these nodes.
pub fn own_folder(all: &Path, cluster: &Cluster) -> PathBuf {
    let mut ids: Vec<u16> = cluster.nodes.iter().map(|node| node.id).collect();
    ids.sort_unstable();
    let runs = ids.chunk_by(|a, b| a + 1 == *b);
    let name = |run: &[u16]| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    let runs: Vec<String> = runs.map(name).collect();
    let mut name = format!("nodes-{}", runs.join("+"));
    if name.len() > NAME_BYTES_MAX {
        // FNV-1a (RFC 9923): which nodes they are.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
        name = format!("nodes-{}-in-all-{hash:016x}", ids.len());
    }
    all.join(&cluster.name).join(name)
}

/// Deletes the disks of the cluster's nodes in `folder`: only images that the tool made for just these.
///
/// # Errors
/// An image is another one's, or cannot be read or deleted. Those before it are gone.
pub fn remove(folder: &Path, cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        let path = path(folder, node.id);
        if !path.exists() {
            continue;
        }
        let name = path.display();
        let mut sector = [0; SECTOR_BYTES];
        let read = File::open(&path).and_then(|mut file| file.read_exact(&mut sector));
        let found = read.ok().and_then(|()| Superblock::decode(&sector).ok());
        let is_its = found.is_some_and(|it| it.cluster == cluster.name && it.node.get() == node.id);
        ensure!(is_its, "{name} is not node {}'s disk: it is left alone. Move it away", node.id);
        fs::remove_file(&path).with_context(|| format!("cannot delete {name}"))?;
    }
    Ok(())
}

fn path(folder: &Path, node: u16) -> PathBuf {
    folder.join(format!("node-{node}.disk"))
}

/// Refuses a folder that has disks of other nodes.
fn refuse_others(folder: &Path, cluster: &Cluster) -> Result<()> {
    // A folder that is not there has none.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let name = entry.with_context(|| format!("cannot read {}", folder.display()))?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix("node-").and_then(|name| name.strip_suffix(".disk"));
        let Some(id) = number.and_then(|number| number.parse::<u16>().ok()) else { continue };
        ensure!(
            cluster.nodes.iter().any(|node| node.id == id),
            "{} has a disk of node {id}, which this cluster does not have: without it the others may have \
             no majority for ever. Give another folder with --disks DIR, or move {name} away if node {id} \
             left the cluster before",
            folder.display()
        );
    }
    Ok(())
}

fn node_disk(folder: &Path, cluster: &Cluster, node: &NodeEntry) -> Result<PathBuf> {
    let path = path(folder, node.id);
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
    fn each_set_of_nodes_has_its_own_folder() {
        let name = |ids: &[u16]| {
            let mut cluster = cluster("c", 8);
            let node = cluster.nodes[0].clone();
            cluster.nodes = ids.iter().map(|id| NodeEntry { id: *id, ..node.clone() }).collect();
            own_folder(Path::new("disks"), &cluster).to_string_lossy().into_owned()
        };
        assert_eq!(name(&[1, 2, 3]), "disks/c/nodes-1-3");
        assert_eq!(name(&[3, 2, 1]), "disks/c/nodes-1-3");
        assert_eq!(name(&[1]), "disks/c/nodes-1");
        assert_eq!(name(&[1, 3, 4, 9]), "disks/c/nodes-1+3-4+9");
        let odd: Vec<u16> = (0..512).map(|at| at * 2 + 1).collect();
        let other: Vec<u16> = (0..512).map(|at| at * 2 + 2).collect();
        assert!(name(&odd).len() < 120 && name(&odd) != name(&other));
    }

    #[test]
    fn folder_with_a_disk_of_another_node_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut cluster = cluster("c", 8);
        prepare(folder.path(), &cluster).expect("they can be made");
        cluster.nodes.pop();
        let error = refused(folder.path(), &cluster);
        assert!(error.contains("has a disk of node 3"), "{error}");
    }

    #[test]
    fn disks_are_deleted_if_they_are_the_clusters_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, ours) = (folder.path(), cluster("c", 8));
        prepare(place, &ours).expect("they can be made");
        assert!(remove(place, &cluster("other", 8)).is_err());
        assert_eq!(fs::read_dir(place).expect("a folder").count(), 3);
        fs::write(place.join("notes"), "mine").expect("ours");
        remove(place, &ours).expect("they are ours");
        remove(place, &ours).expect("there are none");
        assert_eq!(fs::read_dir(place).expect("a folder").count(), 1);
        fs::write(place.join("node-2.disk"), "mine").expect("ours");
        assert!(remove(place, &ours).is_err());
        assert_eq!(fs::read(place.join("node-2.disk")).expect("ours"), b"mine");
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
