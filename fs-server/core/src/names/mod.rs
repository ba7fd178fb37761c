// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks paths, and does what stands at their end.

mod change;
mod end;
mod extra;
mod open;
mod rename;

use crate::FsCore;
use crate::inode::{Body, Folder, MAY_EXECUTE, Meta};
use crate::lower::Lower;
use crate::tree::Kind;
use crate::walk::{Found, NameOp, Spot, Step, Stop, Walk};
use abi::linux::general::{O_CREAT, O_EXCL, O_NOFOLLOW};
use abi::{Errno, InodeId, NodeId};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::name::Credentials;
use fs_api::name::Special;
use runtime::Cx;

/// How a walk goes on.
enum Flow {
    /// With the walk's next name.
    On,
    /// Not any further.
    End(Step),
}

impl From<Found> for Flow {
    fn from(found: Found) -> Self {
        Self::End(Step::Found(found))
    }
}

/// The last name of a path.
struct Last {
    dir: InodeId,
    name: String,
    /// The slashes behind it.
    tail: String,
    found: Option<InodeId>,
}

impl Last {
    fn slash(&self) -> bool {
        !self.tail.is_empty()
    }

    fn existing(&self) -> Result<InodeId, Errno> {
        self.found.ok_or(Errno::ENOENT)
    }
}

impl FsCore {
    /// Walks as far as it goes on this node, for a program on `node`. `walk` and `op` are left so
    /// that the walk can go on from a [`Stop`].
    pub(crate) fn walk(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &mut Walk,
        op: &mut NameOp,
    ) -> Result<Step, Stop> {
        loop {
            match self.walk_once(cx, node, walk, op) {
                Ok(Flow::On) => {}
                Ok(Flow::End(step)) => return Ok(step),
                // A directory that is no more: whoever still stands in it finds nothing.
                Err(Stop::Fail(Errno::ESTALE)) => return Err(Errno::ENOENT.into()),
                Err(stop) => return Err(stop),
            }
        }
    }

    fn walk_once(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &mut Walk,
        op: &mut NameOp,
    ) -> Result<Flow, Stop> {
        let dir = walk.at;
        if self.tree.is_lost(dir) {
            return Err(Errno::EIO.into());
        }
        let is_here = self.tree.is_here(dir);
        let about_to_go = self.tree.is_home(dir) && self.is_closed(cx, dir.slot());
        if (!is_here || about_to_go) && !self.next_is_unchanged(walk)? {
            return Err(if about_to_go { Stop::View } else { Stop::Go(dir.slot()) });
        }
        let kind = self.tree.kind(dir)?;
        if kind == Kind::Elsewhere {
            return self.elsewhere(walk);
        }
        let Some(part) = walk.next()? else { return self.at_end(cx, node, walk, op, &kind) };
        if kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        self.tree.meta(dir)?.check(&walk.who, MAY_EXECUTE, true)?;
        let (name, tail, is_last) = (part.name.to_owned(), part.tail.to_owned(), part.last);
        match &*name {
            "." => walk.enter(dir, tail),
            ".." => walk.enter(self.tree.parent(dir)?, tail),
            _ => {
                let found = self.tree.lookup(dir, &name)?;
                let last = Last { dir, name, tail, found };
                if is_last {
                    return self.last(cx, node, walk, op, &last);
                }
                self.through(walk, &last)?;
            }
        }
        Ok(Flow::On)
    }

    /// Whether the next name can be looked up without its directory's home: it is `.` or `..` of a
    /// directory of the image, or a name of the image that nobody has changed.
    fn next_is_unchanged(&self, walk: &Walk) -> Result<bool, Errno> {
        let Some(part) = walk.next()? else { return Ok(false) };
        let dots = Lower::is_lower(walk.at) && (part.name == "." || part.name == "..");
        Ok(dots || self.tree.is_unchanged(walk.at, part.name))
    }

    fn through(&self, walk: &mut Walk, part: &Last) -> Result<(), Errno> {
        let inode = part.existing()?;
        match self.tree.kind(inode)? {
            Kind::Directory | Kind::Elsewhere => walk.enter(inode, part.tail.clone()),
            Kind::Link(target) => walk.follow(&target, &part.tail)?,
            Kind::File | Kind::LowerFile(_) | Kind::Device(_) | Kind::Special(_) => {
                return Err(Errno::ENOTDIR);
            }
        }
        Ok(())
    }

    /// Names below `/proc`: what climbs out again is a file of ours.
    fn elsewhere(&self, walk: &mut Walk) -> Result<Flow, Stop> {
        let number = self.tree.lower.number(walk.at).ok_or(Errno::ESTALE)?;
        let mut names: Vec<&str> = Vec::new();
        let mut rest = walk.rest.as_str();
        loop {
            rest = rest.trim_start_matches('/');
            let (name, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            rest = tail;
            match name {
                "" => break,
                "." => {}
                ".." if names.pop().is_none() => {
                    let (parent, rest) = (self.tree.parent(walk.at)?, rest.to_owned());
                    walk.enter(parent, rest);
                    return Ok(Flow::On);
                }
                ".." => {}
                _ => names.push(name),
            }
        }
        let base = self.tree.lower.path(number);
        let path = names.iter().fold(base, |path, name| path + "/" + name);
        Ok(Flow::End(Step::Elsewhere(path)))
    }

    fn last(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &mut Walk,
        op: &mut NameOp,
        last: &Last,
    ) -> Result<Flow, Stop> {
        let kind = last.found.map(|inode| self.tree.kind(inode)).transpose()?;
        if let (Some(inode), Some(Kind::Elsewhere)) = (last.found, &kind) {
            walk.enter(inode, String::new());
            return Ok(Flow::On);
        }
        if let Some(Kind::Link(target)) = &kind
            && follows(op, last.slash())
        {
            walk.follow(target, &last.tail)?;
            return Ok(Flow::On);
        }
        let spot = || Spot { dir: last.dir, name: last.name.clone(), slash: last.slash() };
        match op {
            NameOp::Open { flags, mode } => {
                self.last_open(cx, node, walk, (*flags, *mode), last, kind)
            }
            NameOp::Stat { .. }
            | NameOp::Change { .. }
            | NameOp::Enter
            | NameOp::Truncate { .. }
            | NameOp::Extra { .. }
            | NameOp::Access { .. }
            | NameOp::FindSocket
            | NameOp::ReadLink => self.last_existing(cx, walk, op, last, kind),
            NameOp::MakeDirectory { mode } => {
                let parent = last.dir;
                let body = |_: &Meta| Body::Directory(Folder::new(parent, None));
                self.create(cx, &walk.who, last, *mode, body)?;
                Ok(Found::Unit.into())
            }
            NameOp::MakeSpecial { special, mode } => {
                self.last_special(cx, &walk.who, last, (*special, *mode))
            }
            NameOp::MakeLink { target } => {
                let target = target.clone();
                if last.slash() && last.found.is_none() {
                    return Err(Errno::ENOENT.into());
                }
                let who = Credentials { mask: 0, ..walk.who };
                self.create(cx, &who, last, 0o777, |_| Body::Link(target))?;
                Ok(Found::Unit.into())
            }
            NameOp::Unlink { directory, sealed } => {
                self.last_unlink(cx, &walk.who, *directory, *sealed, last)?;
                Ok(Found::Unit.into())
            }
            NameOp::RenameFrom { .. } | NameOp::LinkFrom { .. } => {
                last.existing()?;
                turn_to_second_path(walk, op, spot());
                Ok(Flow::On)
            }
            NameOp::RenameTo { from, flags } => {
                self.rename(cx, &walk.who, from, &spot(), *flags)?;
                Ok(Found::Unit.into())
            }
            NameOp::LinkInode { inode } => {
                self.link_inode(cx, &walk.who, *inode, &spot())?;
                Ok(Found::Unit.into())
            }
            NameOp::LinkTo { from } => {
                self.hard_link(cx, &walk.who, from, &spot())?;
                Ok(Found::Unit.into())
            }
        }
    }

    fn last_special(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        last: &Last,
        (special, mode): (Special, u32),
    ) -> Result<Flow, Stop> {
        if last.found.is_some() {
            return Err(taken(special).into());
        }
        if last.slash() {
            return Err(Errno::ENOENT.into());
        }
        let inode = self.create(cx, who, last, mode, |_| Body::Special(special))?;
        Ok(Found::Inode(inode).into())
    }
}

/// What bind(2) and mknod(2) say of a name that is there.
fn taken(special: Special) -> Errno {
    match special {
        Special::Socket => Errno::EADDRINUSE,
        Special::Fifo => Errno::EEXIST,
    }
}

/// Whether the operation is about what a link at the end points to.
fn follows(op: &NameOp, slash: bool) -> bool {
    match op {
        NameOp::Open { flags, .. } => {
            let exclusive = flags & O_CREAT != 0 && flags & O_EXCL != 0;
            !exclusive && (slash || flags & O_NOFOLLOW == 0)
        }
        NameOp::Stat { follow } | NameOp::Change { follow, .. } | NameOp::Extra { follow, .. } => {
            *follow || slash
        }
        NameOp::LinkFrom { follow, .. } => *follow || slash,
        NameOp::Enter | NameOp::Truncate { .. } | NameOp::Access { .. } | NameOp::FindSocket => {
            true
        }
        NameOp::ReadLink => slash,
        NameOp::MakeDirectory { .. }
        | NameOp::MakeSpecial { .. }
        | NameOp::MakeLink { .. }
        | NameOp::Unlink { .. }
        | NameOp::RenameFrom { .. }
        | NameOp::RenameTo { .. }
        | NameOp::LinkInode { .. }
        | NameOp::LinkTo { .. } => false,
    }
}

fn turn_to_second_path(walk: &mut Walk, op: &mut NameOp, from: Spot) {
    let to = match op {
        NameOp::RenameFrom { to, flags } => {
            let (to, flags) = ((**to).clone(), *flags);
            *op = NameOp::RenameTo { from, flags };
            to
        }
        NameOp::LinkFrom { to, .. } => {
            let to = (**to).clone();
            *op = NameOp::LinkTo { from };
            to
        }
        _ => return,
    };
    *walk = to;
}
