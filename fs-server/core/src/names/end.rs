// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is asked and changed of a file that a path leads to.

use super::open::wanted;
use super::taken;
use super::{Flow, Last};
use crate::FsCore;
use crate::inode::{MAY_EXECUTE, MAY_READ, MAY_WRITE};
use crate::lower::Lower;
use crate::tree::Kind;
use crate::walk::{Found, NameOp, Step, Stop, Walk};
use abi::linux::general::{O_CREAT, O_EXCL, O_TMPFILE};
use abi::{Errno, InodeId, NodeId};
use alloc::string::String;
use fs_api::name::Special;
use fs_api::name::{Credentials, FileKind};
use fs_api::peer::ITSELF;
use runtime::Cx;

impl FsCore {
    pub(super) fn last_existing(
        &mut self,
        cx: &mut Cx<'_>,
        walk: &mut Walk,
        op: &NameOp,
        last: &Last,
        kind: Option<Kind>,
    ) -> Result<Flow, Stop> {
        let inode = last.existing()?;
        match kind {
            Some(Kind::Directory) => {
                walk.enter(inode, String::new());
                Ok(Flow::On)
            }
            Some(Kind::Link(target)) if *op == NameOp::ReadLink => {
                Ok(Flow::End(Step::Text(target)))
            }
            Some(_) | None if last.slash() => Err(Errno::ENOTDIR.into()),
            Some(_) | None => self.on_file(cx, &walk.who, op, Some(last), inode),
        }
    }

    pub(super) fn on_file(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        op: &NameOp,
        place: Option<&Last>,
        inode: InodeId,
    ) -> Result<Flow, Stop> {
        match op {
            NameOp::Stat { .. } => Ok(Found::Stat(self.tree.stat(inode)?).into()),
            NameOp::Enter => Err(Errno::ENOTDIR.into()),
            NameOp::Access { mode } => {
                self.tree.meta(inode)?.check(who, mode & 7, false)?;
                Ok(Found::Unit.into())
            }
            NameOp::Change { attributes, .. } => {
                let now_ns = self.now_ns(cx);
                self.tree.meta(inode)?.change(who, attributes, now_ns)?;
                let mut inode = inode;
                if Lower::is_lower(inode) {
                    inode = self.copy_up_at(cx, place, inode, true)?;
                }
                self.tree.inode_mut(inode)?.meta.change(who, attributes, now_ns)?;
                Ok(Found::Unit.into())
            }
            NameOp::Extra { op, .. } => self.extra(cx, who, op, (place, inode)),
            NameOp::Truncate { len } => {
                self.tree.meta(inode)?.check(who, MAY_WRITE, false)?;
                let inode = match self.tree.kind(inode)? {
                    Kind::LowerFile(_) => self.copy_up_at(cx, place, inode, *len > 0)?,
                    Kind::File => inode,
                    Kind::Device(_)
                    | Kind::Directory
                    | Kind::Link(_)
                    | Kind::Special(_)
                    | Kind::Elsewhere => {
                        return Err(Errno::EINVAL.into());
                    }
                };
                self.truncate(cx, inode, *len)?;
                Ok(Found::Unit.into())
            }
            NameOp::FindSocket => {
                self.tree.meta(inode)?.check(who, MAY_WRITE, false)?;
                if self.tree.kind(inode)? != Kind::Special(Special::Socket) {
                    return Err(Errno::ECONNREFUSED.into());
                }
                Ok(Found::Inode(inode).into())
            }
            NameOp::ReadLink
            | NameOp::MakeSpecial { .. }
            | NameOp::Open { .. }
            | NameOp::MakeDirectory { .. }
            | NameOp::Unlink { .. }
            | NameOp::MakeLink { .. }
            | NameOp::RenameFrom { .. }
            | NameOp::RenameTo { .. }
            | NameOp::LinkFrom { .. }
            | NameOp::LinkInode { .. }
            | NameOp::LinkTo { .. } => Err(Errno::EINVAL.into()),
        }
    }

    /// The path has ended at an inode: a directory, or the file that the caller named by its inode.
    pub(super) fn at_end(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &mut Walk,
        op: &mut NameOp,
        kind: &Kind,
    ) -> Result<Flow, Stop> {
        let inode = walk.at;
        let who = walk.who;
        if *kind != Kind::Directory {
            if let Some(number) = self.tree.lower.number(inode) {
                // By its name, so that it can be copied up; it has one, as it is the image's.
                let node = self.tree.lower.node(number);
                let (name, parent) = (String::from(&*node.name), Lower::id(node.parent));
                if self.tree.is_here(parent) && self.tree.lookup(parent, &name)? != Some(inode) {
                    return self.on_file(cx, &who, op, None, inode);
                }
                walk.enter(parent, name);
                return Ok(Flow::On);
            }
            return match op {
                NameOp::Open { flags, .. } => {
                    self.open_existing(cx, node, &who, *flags, None, inode)
                }
                NameOp::LinkFrom { to, .. } => {
                    *walk = (**to).clone();
                    *op = NameOp::LinkInode { inode };
                    Ok(Flow::On)
                }
                _ => self.on_file(cx, &who, op, None, inode),
            };
        }
        self.at_directory(cx, node, walk, op)
    }

    /// The path has ended at a directory.
    fn at_directory(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &Walk,
        op: &NameOp,
    ) -> Result<Flow, Stop> {
        let (inode, who) = (walk.at, walk.who);
        match op {
            NameOp::Stat { .. } => Ok(Found::Stat(self.tree.stat(inode)?).into()),
            NameOp::Enter => {
                self.tree.meta(inode)?.check(&who, MAY_EXECUTE, true)?;
                Ok(Found::Inode(inode).into())
            }
            NameOp::Access { mode } => {
                self.tree.meta(inode)?.check(&who, mode & 7, true)?;
                Ok(Found::Unit.into())
            }
            NameOp::Change { attributes, .. } => {
                let now_ns = self.now_ns(cx);
                self.tree.meta(inode)?.change(&who, attributes, now_ns)?;
                self.writable_place(cx, inode, ITSELF)?;
                self.tree.folder_mut(inode)?;
                self.tree.inode_mut(inode)?.meta.change(&who, attributes, now_ns)?;
                Ok(Found::Unit.into())
            }
            NameOp::Open { flags, mode } if flags & O_TMPFILE == O_TMPFILE => {
                Ok(self.open_nameless(cx, node, &who, (*flags, *mode), inode)?.into())
            }
            NameOp::Open { flags, .. } => {
                self.tree.meta(inode)?.check(&who, wanted(*flags) & MAY_READ, true)?;
                let refused = match () {
                    () if flags & O_CREAT != 0 && flags & O_EXCL != 0 => Some(Errno::EEXIST),
                    () if flags & O_CREAT != 0 => Some(Errno::EISDIR),
                    () if wanted(*flags) & MAY_WRITE != 0 => Some(Errno::EISDIR),
                    () => None,
                };
                match refused {
                    Some(errno) => Err(errno.into()),
                    None => Ok(Found::OpenThere { inode, kind: FileKind::Directory }.into()),
                }
            }
            NameOp::Extra { op, .. } => self.extra(cx, &who, op, (None, inode)),
            NameOp::Truncate { .. } | NameOp::Unlink { directory: false, .. } => {
                Err(Errno::EISDIR.into())
            }
            NameOp::Unlink { directory: true, .. } | NameOp::ReadLink => Err(Errno::EINVAL.into()),
            NameOp::MakeSpecial { special, .. } => Err(taken(*special).into()),
            NameOp::FindSocket => Err(Errno::ECONNREFUSED.into()),
            NameOp::MakeDirectory { .. }
            | NameOp::MakeLink { .. }
            | NameOp::LinkInode { .. }
            | NameOp::LinkTo { .. } => Err(Errno::EEXIST.into()),
            NameOp::RenameFrom { .. } | NameOp::RenameTo { .. } => Err(Errno::EBUSY.into()),
            NameOp::LinkFrom { .. } => Err(Errno::EPERM.into()),
        }
    }
}
