// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks paths, and does what stands at their end.

use crate::FsCore;
use crate::inode::{Body, Folder, MAY_EXECUTE, MAY_READ, MAY_WRITE, Meta};
use crate::lower::Lower;
use crate::tree::Kind;
use crate::walk::{Found, NameOp, Spot, Step, Stop, Walk};
use abi::linux::general::{
    O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDONLY, O_TMPFILE, O_TRUNC,
};
use abi::{Errno, InodeId, NodeId};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::name::{Credentials, FileKind, Opened};
use fs_api::peer::{ITSELF, NO_NAME};
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

/// What an open(2)'s access mode needs.
fn wanted(flags: u32) -> u32 {
    match flags & O_ACCMODE {
        _ if flags & O_PATH != 0 => 0,
        O_RDONLY if flags & O_TRUNC != 0 => MAY_READ | MAY_WRITE,
        O_RDONLY => MAY_READ,
        1 => MAY_WRITE,
        _ => MAY_READ | MAY_WRITE,
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
        let is_here = self.tree.is_here(dir);
        if !is_here && !self.next_is_unchanged(walk)? {
            return Err(Stop::Go(self.tree.home(dir)));
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
            Kind::File | Kind::LowerFile(_) | Kind::Device(_) => return Err(Errno::ENOTDIR),
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
        match op {
            NameOp::Open { flags, mode } => {
                self.last_open(cx, node, walk, (*flags, *mode), last, kind)
            }
            NameOp::Stat { .. }
            | NameOp::Change { .. }
            | NameOp::Enter
            | NameOp::Truncate { .. }
            | NameOp::Access { .. }
            | NameOp::ReadLink => self.last_existing(cx, walk, op, last, kind),
            NameOp::MakeDirectory { mode } => {
                let parent = last.dir;
                let body = |_: &Meta| Body::Directory(Folder::new(parent, None));
                self.create(cx, &walk.who, last, *mode, body)?;
                Ok(Found::Unit.into())
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
                let from = Spot { dir: last.dir, name: last.name.clone(), slash: last.slash() };
                turn_to_second_path(walk, op, from);
                Ok(Flow::On)
            }
            NameOp::RenameTo { from, flags } => {
                let to = Spot { dir: last.dir, name: last.name.clone(), slash: last.slash() };
                self.rename(cx, &walk.who, from, &to, *flags)?;
                Ok(Found::Unit.into())
            }
            NameOp::LinkTo { from } => {
                let to = Spot { dir: last.dir, name: last.name.clone(), slash: last.slash() };
                self.hard_link(cx, &walk.who, from, &to)?;
                Ok(Found::Unit.into())
            }
        }
    }

    fn last_open(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &mut Walk,
        (flags, mode): (u32, u32),
        last: &Last,
        kind: Option<Kind>,
    ) -> Result<Flow, Stop> {
        if flags & O_TMPFILE == O_TMPFILE {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let (Some(kind), Some(inode)) = (kind, last.found) else {
            if flags & O_CREAT == 0 {
                return Err(Errno::ENOENT.into());
            }
            if last.slash() {
                return Err(Errno::EISDIR.into());
            }
            self.files.room()?;
            let inode =
                self.create(cx, &walk.who, last, mode, |_| Body::File(Default::default()))?;
            return Ok(self.open_upper(node, inode, flags)?.into());
        };
        if flags & O_CREAT != 0 && flags & O_EXCL != 0 {
            return Err(Errno::EEXIST.into());
        }
        match kind {
            Kind::Link(_) => Err(Errno::ELOOP.into()),
            Kind::Directory | Kind::Elsewhere => {
                walk.enter(inode, String::new());
                Ok(Flow::On)
            }
            Kind::File | Kind::LowerFile(_) | Kind::Device(_) => {
                if last.slash() || flags & O_DIRECTORY != 0 {
                    return Err(Errno::ENOTDIR.into());
                }
                self.open_existing(cx, node, &walk.who, flags, Some(last), inode)
            }
        }
    }

    fn open_existing(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        who: &Credentials,
        flags: u32,
        place: Option<&Last>,
        inode: InodeId,
    ) -> Result<Flow, Stop> {
        self.tree.meta(inode)?.check(who, wanted(flags), false)?;
        let changes = wanted(flags) & MAY_WRITE != 0;
        let truncates = flags & O_TRUNC != 0 && flags & O_PATH == 0;
        match self.tree.kind(inode)? {
            Kind::Device(_) => Ok(Found::OpenThere { inode, kind: FileKind::Device }.into()),
            Kind::LowerFile(_) if !changes => {
                Ok(Found::OpenThere { inode, kind: FileKind::Regular }.into())
            }
            Kind::LowerFile(_) => {
                self.files.room()?;
                let inode = self.copy_up_at(cx, place, inode, !truncates)?;
                Ok(self.open_upper(node, inode, flags)?.into())
            }
            Kind::File => {
                self.files.room()?;
                if truncates {
                    self.truncate(cx, inode, 0)?;
                }
                Ok(self.open_upper(node, inode, flags)?.into())
            }
            Kind::Directory | Kind::Link(_) | Kind::Elsewhere => Err(Errno::EINVAL.into()),
        }
    }

    fn open_upper(&mut self, node: NodeId, inode: InodeId, flags: u32) -> Result<Found, Errno> {
        let file = self.open_here(node, inode, FileKind::Regular, flags)?;
        Ok(Found::Opened(Opened { file, kind: FileKind::Regular }))
    }

    fn copy_up_at(
        &mut self,
        cx: &mut Cx<'_>,
        place: Option<&Last>,
        inode: InodeId,
        with_data: bool,
    ) -> Result<InodeId, Stop> {
        let place = place.ok_or(Errno::ESTALE)?;
        self.writable(place.dir, &place.name)?;
        let copy = self.copy_up(cx, inode, with_data)?;
        let now_ns = self.now_ns(cx);
        self.name_it(place.dir, &place.name, copy, now_ns)?;
        Ok(copy)
    }

    /// Names a new inode, or frees it again.
    pub(crate) fn name_it(
        &mut self,
        dir: InodeId,
        name: &str,
        inode: InodeId,
        now_ns: i64,
    ) -> Result<(), Errno> {
        let named = self.tree.link(dir, name, inode, now_ns);
        if named.is_err() {
            self.tree.free_unused(inode);
        }
        named
    }

    fn last_existing(
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

    fn on_file(
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
            NameOp::Truncate { len } => {
                self.tree.meta(inode)?.check(who, MAY_WRITE, false)?;
                let inode = match self.tree.kind(inode)? {
                    Kind::LowerFile(_) => self.copy_up_at(cx, place, inode, *len > 0)?,
                    Kind::File => inode,
                    Kind::Device(_) | Kind::Directory | Kind::Link(_) | Kind::Elsewhere => {
                        return Err(Errno::EINVAL.into());
                    }
                };
                self.truncate(cx, inode, *len)?;
                Ok(Found::Unit.into())
            }
            NameOp::ReadLink
            | NameOp::Open { .. }
            | NameOp::MakeDirectory { .. }
            | NameOp::Unlink { .. }
            | NameOp::MakeLink { .. }
            | NameOp::RenameFrom { .. }
            | NameOp::RenameTo { .. }
            | NameOp::LinkFrom { .. }
            | NameOp::LinkTo { .. } => Err(Errno::EINVAL.into()),
        }
    }

    /// The path has ended at an inode: a directory, or the file that the caller named by its inode.
    fn at_end(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &mut Walk,
        op: &NameOp,
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
                _ => self.on_file(cx, &who, op, None, inode),
            };
        }
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
                self.writable_place(inode, ITSELF)?;
                self.tree.folder_mut(inode)?;
                self.tree.inode_mut(inode)?.meta.change(&who, attributes, now_ns)?;
                Ok(Found::Unit.into())
            }
            NameOp::Open { flags, .. } => {
                self.tree.meta(inode)?.check(&who, wanted(*flags) & MAY_READ, true)?;
                let refused = match () {
                    () if flags & O_TMPFILE == O_TMPFILE => Some(Errno::EOPNOTSUPP),
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
            NameOp::Truncate { .. } | NameOp::Unlink { directory: false, .. } => {
                Err(Errno::EISDIR.into())
            }
            NameOp::Unlink { directory: true, .. } | NameOp::ReadLink => Err(Errno::EINVAL.into()),
            NameOp::MakeDirectory { .. } | NameOp::MakeLink { .. } | NameOp::LinkTo { .. } => {
                Err(Errno::EEXIST.into())
            }
            NameOp::RenameFrom { .. } | NameOp::RenameTo { .. } => Err(Errno::EBUSY.into()),
            NameOp::LinkFrom { .. } => Err(Errno::EPERM.into()),
        }
    }

    /// Checks that this node may change the name in the directory now.
    pub(crate) fn writable(&mut self, dir: InodeId, name: &str) -> Result<(), Stop> {
        let place = self.tree.place(dir, name);
        self.writable_place(dir, place)
    }

    fn writable_place(&mut self, dir: InodeId, place: u64) -> Result<(), Stop> {
        if !self.tree.is_home(dir) {
            return Err(Stop::Go(self.tree.home(dir)));
        }
        if !Lower::is_lower(dir) || self.tree.is_changed(dir, place) {
            return Ok(());
        }
        if self.tree.others().next().is_some() {
            return Err(Stop::Announce { dir, place });
        }
        Ok(self.tree.overlay(dir, place)?)
    }

    fn create(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        last: &Last,
        mode: u32,
        body: impl FnOnce(&Meta) -> Body,
    ) -> Result<InodeId, Stop> {
        if last.found.is_some() {
            return Err(Errno::EEXIST.into());
        }
        let folder = self.tree.meta(last.dir)?;
        folder.check(who, MAY_WRITE | MAY_EXECUTE, true)?;
        self.writable(last.dir, &last.name)?;
        self.tree.folder_mut(last.dir)?;
        let now_ns = self.now_ns(cx);
        let body = body(&folder);
        let inherits = folder.mode & 0o2000 != 0;
        let is_directory = matches!(body, Body::Directory(_));
        let inherited = if inherits && is_directory { 0o2000 } else { 0 };
        let meta = Meta {
            mode: mode & !who.mask & 0o7777 | inherited,
            uid: who.uid,
            gid: if inherits { folder.gid } else { who.gid },
            atime_ns: now_ns,
            mtime_ns: now_ns,
            ctime_ns: now_ns,
        };
        let inode = self.tree.add(meta, body)?;
        self.name_it(last.dir, &last.name, inode, now_ns)?;
        Ok(inode)
    }

    fn last_unlink(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        directory: bool,
        sealed: Option<InodeId>,
        last: &Last,
    ) -> Result<(), Stop> {
        let inode = last.existing()?;
        let is_directory = self.tree.kind(inode)? == Kind::Directory;
        if !is_directory && (directory || last.slash()) {
            return Err(Errno::ENOTDIR.into());
        }
        if !directory && is_directory {
            return Err(Errno::EISDIR.into());
        }
        self.tree.meta(last.dir)?.check(who, MAY_WRITE | MAY_EXECUTE, true)?;
        self.writable(last.dir, &last.name)?;
        self.tree.check_sticky(last.dir, inode, who)?;
        if is_directory && sealed != Some(inode) {
            if !self.tree.is_home(inode) {
                return Err(Stop::Seal(inode));
            }
            self.seal(inode)?;
        }
        let now_ns = self.now_ns(cx);
        self.tree.unlink(last.dir, &last.name, now_ns)?;
        Ok(())
    }

    /// The directory, whose home is here, is about to lose its name: if it is empty, nothing can be
    /// made in it from now on.
    pub(crate) fn seal(&mut self, dir: InodeId) -> Result<(), Errno> {
        if !self.tree.is_home(dir) {
            return Err(Errno::ESTALE);
        }
        if !self.tree.is_empty(dir)? {
            return Err(Errno::ENOTEMPTY);
        }
        if Lower::is_lower(dir) {
            self.tree.overlay(dir, NO_NAME)?;
            self.tree.folder_mut(dir)?.dead = true;
        }
        Ok(())
    }
}

/// Whether the operation is about what a link at the end points to.
fn follows(op: &NameOp, slash: bool) -> bool {
    match op {
        NameOp::Open { flags, .. } => {
            let exclusive = flags & O_CREAT != 0 && flags & O_EXCL != 0;
            !exclusive && (slash || flags & O_NOFOLLOW == 0)
        }
        NameOp::Stat { follow } | NameOp::Change { follow, .. } => *follow || slash,
        NameOp::LinkFrom { follow, .. } => *follow || slash,
        NameOp::Enter | NameOp::Truncate { .. } | NameOp::Access { .. } => true,
        NameOp::ReadLink => slash,
        NameOp::MakeDirectory { .. }
        | NameOp::MakeLink { .. }
        | NameOp::Unlink { .. }
        | NameOp::RenameFrom { .. }
        | NameOp::RenameTo { .. }
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
