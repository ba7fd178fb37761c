// SPDX-License-Identifier: MIT OR Apache-2.0
//! open(2) at the end of a path.

use super::{Flow, Last};
use crate::FsCore;
use crate::inode::{Body, FileBody, MAY_EXECUTE, MAY_READ, MAY_WRITE};
use crate::tree::Kind;
use crate::walk::{Found, Stop, Walk};
use abi::linux::general::{
    O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_PATH, O_RDONLY, O_TMPFILE, O_TRUNC,
};
use abi::{Errno, FileId, InodeId, NodeId};
use alloc::string::String;
use fs_api::name::Special;
use fs_api::name::{Credentials, FileKind, Opened};
use runtime::{Cx, Mutant};

impl FsCore {
    pub(super) fn last_open(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        walk: &mut Walk,
        (flags, mode): (u32, u32),
        last: &Last,
        kind: Option<Kind>,
    ) -> Result<Flow, Stop> {
        let (Some(kind), Some(inode)) = (kind, last.found) else {
            if flags & O_CREAT == 0 || flags & O_TMPFILE == O_TMPFILE {
                return Err(Errno::ENOENT.into());
            }
            if last.slash() {
                return Err(Errno::EISDIR.into());
            }
            self.files.room()?;
            let inode =
                self.create(cx, &walk.who, last, mode, |_| Body::File(Default::default()))?;
            return Ok(self.open_upper(cx, node, inode, flags)?.into());
        };
        let exclusive = flags & O_EXCL != 0 && !Mutant::ExclusiveIsIgnored.is_on();
        if flags & O_CREAT != 0 && exclusive {
            return Err(Errno::EEXIST.into());
        }
        match kind {
            Kind::Link(_) => Err(Errno::ELOOP.into()),
            Kind::Directory | Kind::Elsewhere => {
                walk.enter(inode, String::new());
                Ok(Flow::On)
            }
            Kind::File | Kind::LowerFile(_) | Kind::Device(_) | Kind::Special(_) => {
                if last.slash() || flags & O_DIRECTORY != 0 {
                    return Err(Errno::ENOTDIR.into());
                }
                self.open_existing(cx, node, &walk.who, flags, Some(last), inode)
            }
        }
    }

    pub(super) fn open_existing(
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
                Ok(self.open_upper(cx, node, inode, flags)?.into())
            }
            Kind::File => {
                self.files.room()?;
                if truncates {
                    self.truncate(cx, inode, 0)?;
                }
                Ok(self.open_upper(cx, node, inode, flags)?.into())
            }
            Kind::Special(Special::Fifo) if flags & O_PATH == 0 => {
                // The ipc server opens it.
                let file = FileId::from_raw(inode.raw());
                Ok(Found::Opened(Opened { file, kind: FileKind::Pipe }).into())
            }
            Kind::Special(_) => Err(Errno::ENXIO.into()),
            Kind::Directory | Kind::Link(_) | Kind::Elsewhere => Err(Errno::EINVAL.into()),
        }
    }

    /// A new file without a name, in the slot of a directory: O_TMPFILE.
    pub(super) fn open_nameless(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        who: &Credentials,
        (flags, mode): (u32, u32),
        dir: InodeId,
    ) -> Result<Found, Stop> {
        if wanted(flags) & MAY_WRITE == 0 || flags & O_CREAT != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.tree.meta(dir)?.check(who, MAY_WRITE | MAY_EXECUTE, true)?;
        if !self.tree.is_home(dir) {
            return Err(Stop::Go(dir.slot()));
        }
        if self.is_closed(cx, dir.slot()) {
            return Err(Stop::View);
        }
        self.files.room()?;
        let linkable = flags & O_EXCL == 0;
        let body = Body::File(FileBody { linkable, ..FileBody::default() });
        let meta = self.new_meta(cx, who, dir, (mode, false))?;
        let inode = self.tree.add(dir.slot(), meta, body)?;
        let opened = self.open_upper(cx, node, inode, flags & !(O_TMPFILE & !O_DIRECTORY));
        if opened.is_err() {
            self.tree.free_unused(inode);
        }
        Ok(opened?)
    }

    pub(super) fn open_upper(
        &mut self,
        cx: &Cx<'_>,
        node: NodeId,
        inode: InodeId,
        flags: u32,
    ) -> Result<Found, Errno> {
        let file = self.open_here(cx, node, inode, FileKind::Regular, flags)?;
        Ok(Found::Opened(Opened { file, kind: FileKind::Regular }))
    }
}

/// What an open(2)'s access mode needs.
pub(super) fn wanted(flags: u32) -> u32 {
    match flags & O_ACCMODE {
        _ if flags & O_PATH != 0 => 0,
        O_RDONLY if flags & O_TRUNC != 0 => MAY_READ | MAY_WRITE,
        O_RDONLY => MAY_READ,
        1 => MAY_WRITE,
        _ => MAY_READ | MAY_WRITE,
    }
}
