// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes' key pairs: made once for a cluster, kept in a folder, and read again.
//!
//! # Model
//! Two files for a node: `node-N.key` with its private key, which only the owner may read, and
//! `node-N.pub` with the public one; each is a line of hexadecimal digits. If only `node-N.pub` is
//! there, the private key is elsewhere, and the node's image holds none. Who removes both gives the
//! node another key at its next image, and refuses the old one wherever that image runs; [`renew`] keeps the
//! old ones, as `node-N.key.1` and so on, because a cluster that runs needs them a while longer.
//!
//! # Failure
//! A key that others can read, or a file that holds none, is an error and is never replaced.

use crate::config::Cluster;
use crate::workspace::Workspace;
use abi::image::{KEY_BYTES, NodeEntry};
use anyhow::{Context, Result, bail, ensure};
use net_core::Secret;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A node's keys.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKey {
    /// The public one.
    pub public: [u8; KEY_BYTES],
    private: Option<[u8; KEY_BYTES]>,
}

impl NodeKey {
    /// The private one, if it is kept here.
    pub fn private(&self) -> Option<[u8; KEY_BYTES]> {
        self.private
    }
}

/// Old key pairs of a node that are kept.
const KEPT_MAX: u32 = 1000;

/// The folder of a cluster's keys.
pub fn folder(workspace: &Workspace, cluster: &Cluster) -> PathBuf {
    let own = || workspace.target().join("keys").join(&cluster.name);
    cluster.keys.clone().unwrap_or_else(own)
}

/// A new key pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renewed {
    /// The public key.
    pub public: [u8; KEY_BYTES],
    /// The file of the private one.
    pub private: PathBuf,
    /// The file of the private key before, or of the public one if that is all there was.
    pub before: PathBuf,
}

/// Makes a new key pair for a node that has one, and keeps that one.
///
/// # Errors
/// The node has no keys in the folder, or they cannot be used or moved.
pub fn renew(folder: &Path, node: u16) -> Result<Renewed> {
    let path = |kind: &str| folder.join(format!("node-{node}.{kind}"));
    let (private, public) = (path("key"), path("pub"));
    ensure!(
        private.exists() || public.exists(),
        "node {node} has no keys in {} yet: the first image makes them",
        folder.display()
    );
    node_key(folder, node)?;
    let kept = |number: u32| ["key", "pub"].map(|kind| path(&format!("{kind}.{number}")));
    let free = (1..=KEPT_MAX).map(kept).find(|files| files.iter().all(|file| !file.exists()));
    let Some([old_private, old_public]) = free else {
        bail!("{} holds too many old keys of node {node}: remove some", folder.display());
    };
    let keep = |from: &Path, to: &Path| {
        fs::rename(from, to).with_context(|| format!("cannot rename {}", from.display()))
    };
    // The public one first: without it the private one still says what it is.
    keep(&public, &old_public)?;
    let before = if private.exists() {
        keep(&private, &old_private)?;
        old_private
    } else {
        old_public
    };
    let key = node_key(folder, node)?;
    Ok(Renewed { public: key.public, private, before })
}

/// The keys of these nodes, by number; those that are missing are made.
///
/// # Errors
/// The folder cannot be read or written, or a key in it cannot be used.
pub fn load(folder: &Path, nodes: &[NodeEntry]) -> Result<BTreeMap<u16, NodeKey>> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    nodes.iter().map(|node| Ok((node.id, node_key(folder, node.id)?))).collect()
}

fn node_key(folder: &Path, node: u16) -> Result<NodeKey> {
    let path = |kind| folder.join(format!("node-{node}.{kind}"));
    let (private, public) = (path("key"), path("pub"));
    if !private.exists() && public.exists() {
        return Ok(NodeKey { public: read(&public)?, private: None });
    }
    if !private.exists() {
        make(&private)?;
    }
    check_mode(&private)?;
    let secret = read(&private)?;
    let key = NodeKey { public: Secret::new(secret).public().0, private: Some(secret) };
    if public.exists() {
        let other = read(&public)?;
        ensure!(
            other == key.public,
            "{} is not the public key of {}: remove the one that is wrong, or both",
            public.display(),
            private.display()
        );
    } else {
        fs::write(&public, hex(&key.public))
            .with_context(|| format!("cannot write {}", public.display()))?;
    }
    Ok(key)
}

/// Writes a new private key; if another process does so at the same time, one of them is kept.
fn make(path: &Path) -> Result<()> {
    let mut secret = [0; KEY_BYTES];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut secret));
    random.context("cannot read random bytes from /dev/urandom")?;
    let draft: PathBuf = path.with_extension(format!("draft-{}", std::process::id()));
    let cannot = || format!("cannot write {}", draft.display());
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&draft);
    let written = file.as_mut().map_err(|error| std::io::Error::from(error.kind()));
    written.and_then(|file| file.write_all(hex(&secret).as_bytes())).with_context(cannot)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).with_context(cannot)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn check_mode(path: &Path) -> Result<()> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        meta.mode() & 0o077 == 0,
        "{} can be read by others: `chmod 600` it, or remove it and {} to have a new key made",
        path.display(),
        path.with_extension("pub").display()
    );
    Ok(())
}

/// A key as people read and type it.
pub fn digits(key: &[u8; KEY_BYTES]) -> String {
    key.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What an administrator says on a node that votes, so that the cluster takes in a node which the others' images
/// do not name.
pub fn line_to_add(node: &NodeEntry, key: &NodeKey) -> String {
    let mac = node.mac.map(|byte| format!("{byte:02x}")).join(":");
    format!("node add {} --key {} --mac {mac}", node.id, digits(&key.public))
}

fn hex(key: &[u8; KEY_BYTES]) -> String {
    digits(key) + "\n"
}

fn read(path: &Path) -> Result<[u8; KEY_BYTES]> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(key) = from_hex(text.trim()) else {
        bail!("{} holds no key: it must be {} hexadecimal digits", path.display(), 2 * KEY_BYTES);
    };
    Ok(key)
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect();
    (digits.len() == 2 * KEY_BYTES).then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn nodes(count: u16) -> Vec<NodeEntry> {
        let entry = |id| NodeEntry { id, cores: 1, memory_mib: 64, disk_mib: 0, mac: [0; 6] };
        (1..=count).map(entry).collect()
    }

    #[test]
    fn keys_are_made_once_differ_and_stay_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("keys/here");
        let first = load(&place, &nodes(2)).expect("they can be made");
        let again = load(&place, &nodes(3)).expect("they can be read");
        assert!(first[&1] == again[&1] && first[&2] == again[&2]);
        assert!(again[&1].public != again[&3].public);
        let secret = again[&1].private().expect("it is here");
        assert_eq!(Secret::new(secret).public().0, again[&1].public);
        let mode = fs::metadata(place.join("node-1.key")).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&place).expect("a folder").mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&place).expect("a folder").count(), 6, "no drafts are left");
    }

    #[test]
    fn line_to_add_names_the_public_key_and_the_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let node = NodeEntry { mac: [0x52, 0x54, 0, 0x4b, 1, 4], ..nodes(4)[3].clone() };
        let key = &load(folder.path(), std::slice::from_ref(&node)).expect("made")[&4];
        let line = line_to_add(&node, key);
        let public = digits(&key.public);
        assert_eq!(line, format!("node add 4 --key {public} --mac 52:54:00:4b:01:04"));
    }

    #[test]
    fn key_that_was_removed_is_replaced_by_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = load(folder.path(), &nodes(1)).expect("made");
        for kind in ["key", "pub"] {
            fs::remove_file(folder.path().join(format!("node-1.{kind}"))).expect("it was there");
        }
        let new = load(folder.path(), &nodes(1)).expect("made");
        assert!(old[&1].public != new[&1].public);
    }

    #[test]
    fn key_that_is_renewed_keeps_those_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = renew(folder.path(), 1).expect_err("it has none").to_string();
        assert!(error.contains("has no keys"), "{error}");
        let first = load(folder.path(), &nodes(1)).expect("made");
        let second = renew(folder.path(), 1).expect("made");
        let third = renew(folder.path(), 1).expect("made");
        let now = load(folder.path(), &nodes(1)).expect("read");
        assert_eq!(now[&1].public, third.public);
        assert_eq!(read(&second.before).ok(), first[&1].private());
        assert_eq!(third.before, folder.path().join("node-1.key.2"));
        assert_eq!(read(&folder.path().join("node-1.pub.2")).ok(), Some(second.public));
        assert_eq!(fs::metadata(&third.private).expect("a file").mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&third.before).expect("a file").mode() & 0o777, 0o600);
        // Only the public one is here.
        fs::remove_file(&third.private).expect("it was there");
        let fourth = renew(folder.path(), 1).expect("made");
        assert_eq!(read(&fourth.before).ok(), Some(third.public));
    }

    #[test]
    fn node_whose_private_key_is_elsewhere_has_its_public_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let both = load(folder.path(), &nodes(1)).expect("made");
        fs::remove_file(folder.path().join("node-1.key")).expect("it was there");
        let one = load(folder.path(), &nodes(1)).expect("read");
        assert!(one[&1].private().is_none() && one[&1].public == both[&1].public);
    }

    #[test]
    fn key_that_others_can_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        load(folder.path(), &nodes(1)).expect("made");
        let path = folder.path().join("node-1.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        let error = load(folder.path(), &nodes(1)).err().expect("refused").to_string();
        assert!(error.contains("can be read by others"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        for wrong in ["", "12", &"g".repeat(64), &"1".repeat(65)] {
            fs::write(&path, wrong).expect("ours");
            let error = load(folder.path(), &nodes(1)).err().expect("refused").to_string();
            assert!(error.contains("holds no key"), "{error}");
        }
        fs::write(&path, "1".repeat(64)).expect("ours");
        let error = load(folder.path(), &nodes(1)).err().expect("refused").to_string();
        assert!(error.contains("is not the public key"), "{error}");
    }
}
