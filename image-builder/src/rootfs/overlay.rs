// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies folders and files of the host over the tree: modes, times and symbolic links are kept.

use super::{Node, Tree};
use crate::config::ExtraFile;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Lays everything below `folder` over the tree's root.
///
/// # Errors
/// Something cannot be read, is neither file, folder nor link, or has a name that is not UTF-8.
pub fn folder(tree: &mut Tree, folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        bail!("there is no folder {}: --overlay takes one", folder.display());
    }
    copy(tree, folder, "")
}

fn copy(tree: &mut Tree, folder: &Path, inside: &str) -> Result<()> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        names.push(entry.with_context(cannot)?.file_name());
    }
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let Some(name) = name.to_str() else {
            bail!("{} has a name that is not UTF-8: rename it", path.display());
        };
        let target = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
        one(tree, &path, &target)?;
    }
    Ok(())
}

fn one(tree: &mut Tree, path: &Path, target: &str) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    let meta = fs::symlink_metadata(path).with_context(cannot)?;
    let mode = (meta.mode() & 0o7777) as u16;
    let kind = meta.file_type();
    if kind.is_dir() {
        tree.insert(target, mode, meta.mtime(), Node::Directory)?;
        return copy(tree, path, target);
    }
    let node = if kind.is_symlink() {
        let link = fs::read_link(path).with_context(cannot)?;
        match link.to_str() {
            Some(link) => Node::Symlink(link.to_owned()),
            None => bail!("{} points to a name that is not UTF-8", path.display()),
        }
    } else if kind.is_file() {
        Node::File(fs::read(path).with_context(cannot)?)
    } else {
        bail!("{} is neither file, folder nor symbolic link: remove it", path.display());
    };
    tree.insert(target, mode, meta.mtime(), node)
}

/// Lays one file of the configuration over the tree.
///
/// # Errors
/// It cannot be read.
pub fn file(tree: &mut Tree, file: &ExtraFile) -> Result<()> {
    let cannot = || format!("cannot read {}", file.from.display());
    let meta = fs::metadata(&file.from).with_context(cannot)?;
    let mode = file.mode.unwrap_or((meta.mode() & 0o7777) as u16);
    let bytes = fs::read(&file.from).with_context(cannot)?;
    tree.insert(&file.path, mode, meta.mtime(), Node::File(bytes))
}
