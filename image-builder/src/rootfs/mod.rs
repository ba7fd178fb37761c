// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system of the image: a tree in memory, packed into index and data.
//!
//! # Model
//! [`Tree`] maps a path to what is there; what is added later replaces what was there before, so
//! that base, tools, overlays and single files are laid over each other in this order. [`Packed`] is
//! what the archive holds.
//!
//! # Invariants
//! Every parent of an entry is a directory of the tree. The same content packs to the same bytes.

mod base;
pub mod busybox;
mod overlay;

pub use base::PROMPT;
pub use busybox::Busybox;

use crate::config::RootContent;
use abi::image::{RootEntry, RootKind};
use abi::limits::{NAME_BYTES, PAGE_BYTES, PATH_BYTES};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;

/// Modification time of what the tool makes itself: 2026-01-01, so that equal inputs give equal
/// images.
const MTIME_S: i64 = 1_767_225_600;

/// What one path holds.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(String),
}

#[derive(Clone, Debug)]
struct Item {
    mode: u16,
    mtime_s: i64,
    node: Node,
}

/// A file system tree under construction.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    items: BTreeMap<String, Item>,
}

/// A tree as the archive holds it.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Every entry, parents first.
    pub index: Vec<RootEntry>,
    /// The files' bytes, each from a page boundary.
    pub data: Vec<u8>,
}

/// A program of ours and the names it is called by.
pub struct Tools {
    /// The program's bytes.
    pub program: Vec<u8>,
    /// Its applets, each a name in /bin.
    pub applets: &'static [&'static str],
}

/// The root file system: base files, busybox, our tools over it, then what the cluster's
/// configuration lays over both.
///
/// # Errors
/// A file cannot be read, or a path cannot stand in a root file system.
pub fn build(busybox: &Busybox, tools: &Tools, content: &RootContent) -> Result<Tree> {
    let mut tree = Tree::new();
    base::lay(&mut tree)?;
    busybox.lay(&mut tree)?;
    tree.file("bin/cluster-tools", 0o755, tools.program.clone())?;
    for applet in tools.applets {
        tree.remove_name(applet);
        tree.symlink(&format!("bin/{applet}"), "cluster-tools")?;
    }
    for folder in &content.overlays {
        overlay::folder(&mut tree, folder)?;
    }
    for file in &content.files {
        overlay::file(&mut tree, file)?;
    }
    Ok(tree)
}

impl Tree {
    /// A tree that holds its root only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory, and its parents where they are missing; one that is there keeps its
    /// content and gets the mode.
    ///
    /// # Errors
    /// The path is not one that the root file system can hold.
    pub fn directory(&mut self, path: &str, mode: u16) -> Result<()> {
        self.insert(path, mode, MTIME_S, Node::Directory)
    }

    /// Adds a regular file in place of what is there.
    ///
    /// # Errors
    /// The path is not one that the root file system can hold.
    pub fn file(&mut self, path: &str, mode: u16, bytes: Vec<u8>) -> Result<()> {
        self.insert(path, mode, MTIME_S, Node::File(bytes))
    }

    /// Adds a symbolic link in place of what is there.
    ///
    /// # Errors
    /// The path is not one that the root file system can hold.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.insert(path, 0o777, MTIME_S, Node::Symlink(target.to_owned()))
    }

    /// True if `path` is a directory of the tree.
    pub fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || matches!(self.items.get(path), Some(Item { node: Node::Directory, .. }))
    }

    /// Where `path` leads when its directories are symbolic links of the tree, like /lib64; an
    /// overlay's bin/x goes into what bin points to instead of replacing it.
    fn through_links(&self, path: &str) -> String {
        let Some((parent, name)) = path.rsplit_once('/') else { return path.to_owned() };
        let mut parent = self.through_links(parent);
        if let Some(Item { node: Node::Symlink(target), .. }) = self.items.get(&parent) {
            let inside = parent.rsplit_once('/').map_or("", |(above, _)| above);
            parent = match target.strip_prefix('/') {
                Some(full) => full.to_owned(),
                None if inside.is_empty() => target.clone(),
                None => format!("{inside}/{target}"),
            };
        }
        format!("{parent}/{name}")
    }

    fn insert(&mut self, path: &str, mode: u16, mtime_s: i64, node: Node) -> Result<()> {
        check_path(path)?;
        let path = self.through_links(path);
        let mut parent = String::new();
        for part in path.split('/') {
            if !parent.is_empty() && !self.is_directory(&parent) {
                ensure!(
                    !self.items.contains_key(&parent),
                    "/{path} cannot be there: /{parent} is no directory"
                );
                let item = Item { mode: 0o755, mtime_s: MTIME_S, node: Node::Directory };
                self.items.insert(parent.clone(), item);
            }
            parent = if parent.is_empty() { part.to_owned() } else { format!("{parent}/{part}") };
        }
        if node != Node::Directory && self.is_directory(&path) {
            let prefix = format!("{path}/");
            let full = self.items.keys().any(|other| other.starts_with(&prefix));
            ensure!(!full, "/{path} cannot replace a directory that holds files");
        }
        self.items.insert(path, Item { mode: mode & 0o7777, mtime_s, node });
        Ok(())
    }

    /// Removes every file or link of this name from the folders that PATH names.
    fn remove_name(&mut self, name: &str) {
        for folder in base::PATH_FOLDERS {
            self.items.remove(&format!("{folder}/{name}"));
        }
    }

    /// The tree as the archive holds it.
    pub fn pack(&self) -> Packed {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (path, item) in &self.items {
            let kind = match &item.node {
                Node::Directory => RootKind::Directory,
                Node::Symlink(target) => RootKind::Symlink(target.clone()),
                Node::File(bytes) => {
                    data.resize(data.len().next_multiple_of(PAGE_BYTES), 0);
                    let offset = data.len() as u64;
                    data.extend_from_slice(bytes);
                    RootKind::File { offset, len: bytes.len() as u64 }
                }
            };
            let (path, mode, mtime_s) = (path.clone(), item.mode, item.mtime_s);
            index.push(RootEntry { path, mode, mtime_s, kind });
        }
        data.resize(data.len().next_multiple_of(PAGE_BYTES), 0);
        Packed { index, data }
    }
}

fn check_path(path: &str) -> Result<()> {
    ensure!(
        path.len() < PATH_BYTES && !path.contains('\0'),
        "the path /{path} is too long for the cluster: {} bytes at most",
        PATH_BYTES - 1
    );
    for part in path.split('/') {
        ensure!(
            !part.is_empty() && part != "." && part != ".." && part.len() <= NAME_BYTES,
            "/{path} is no full path of names of 1 to {NAME_BYTES} bytes"
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
