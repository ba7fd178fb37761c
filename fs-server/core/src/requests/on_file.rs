// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests about open files.

use super::local_only;
use crate::FsCore;
use crate::data::{Sink, Source};
use crate::job::{Reply, Shape, Waiting, Work};
use crate::tree::Kind;
use crate::walk::{NameOp, Walk};
use abi::linux::general::O_PATH;
use abi::{Errno, FileId, NodeId};
use alloc::vec::Vec;
use fs_api::file::{self, FileObject};
use fs_api::name::Credentials;
use fs_api::peer::{self, AT_POSITION, BehindFile, LISTING};
use mem_api::{Access, CopyIn, ObjectHold, Prepare};
use runtime::{Answer, Bulk, Client, Cx, Msg, Operation, Wire};

impl FsCore {
    pub(crate) fn file_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        Ok(match op {
            file::Read::NUMBER => {
                let file::Read { file, space, addr, len } = file::Read::get(msg)?;
                self.read_request(cx, from, bulk, file, None, (space, addr, len))?
            }
            file::ReadAt::NUMBER => {
                let file::ReadAt { file, space, addr, len, offset } = file::ReadAt::get(msg)?;
                let offset = Some(checked_offset(offset)?);
                self.read_request(cx, from, bulk, file, offset, (space, addr, len))?
            }
            file::ListDirectory::NUMBER => {
                let file::ListDirectory { file, space, addr, len } = file::ListDirectory::get(msg)?;
                self.read_request(cx, from, bulk, file, Some(LISTING), (space, addr, len))?
            }
            file::Write::NUMBER => {
                let file::Write { file, space, addr, len } = file::Write::get(msg)?;
                self.write_request(cx, from, bulk, file, None, Source::Space { space, addr, len })?
            }
            file::WriteAt::NUMBER => {
                let file::WriteAt { file, space, addr, len, offset } = file::WriteAt::get(msg)?;
                let offset = Some(checked_offset(offset)?);
                self.write_request(
                    cx,
                    from,
                    bulk,
                    file,
                    offset,
                    Source::Space { space, addr, len },
                )?
            }
            file::Resize::NUMBER => {
                let resize = file::Resize::get(msg)?;
                let file::Resize { file, len } = resize;
                if !self.is_mine(cx, file)? {
                    return Ok(self.forward(cx, from, file.slot(), &resize, Vec::new()));
                }
                self.start(cx, from, bulk, Work::Resize { file, len })
            }
            file::Allocate::NUMBER => self.allocate_request(cx, from, msg, bulk)?,
            file::FileStat::NUMBER => {
                let stat = file::FileStat::get(msg)?;
                let op = NameOp::Stat { follow: false };
                let who = Credentials::default();
                self.by_inode(cx, from, bulk, (stat.file, &stat), (op, who))?
            }
            file::SetAttributes::NUMBER => {
                let set = file::SetAttributes::get(msg)?;
                let op = NameOp::Change { follow: false, attributes: set.attributes };
                self.by_inode(cx, from, bulk, (set.file, &set), (op, set.who))?
            }
            file::Fsync::NUMBER => {
                let sync = file::Fsync::get(msg)?;
                if !self.is_mine(cx, sync.file)? {
                    return Ok(self.forward(cx, from, sync.file.slot(), &sync, Vec::new()));
                }
                let inode = self.files.get(sync.file)?.inode;
                self.sync_file(cx, from, inode, Reply::default())
            }
            file::SyncAll::NUMBER => {
                local_only(from)?;
                self.sync_all(cx, from)
            }
            file::ObjectOf::NUMBER => {
                let file::ObjectOf { file } = file::ObjectOf::get(msg)?;
                self.object_request(cx, from, file)?
            }
            file::Lock::NUMBER..=file::LoseLocks::NUMBER => self.lock_request(cx, from, op, msg)?,
            _ => self.state_request(cx, from, op, msg)?,
        })
    }

    fn allocate_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let it = file::Allocate::get(msg)?;
        let file::Allocate { file, mode, offset, len } = it;
        if !self.is_mine(cx, file)? {
            return Ok(self.forward(cx, from, file.slot(), &it, Vec::new()));
        }
        Ok(self.start(cx, from, bulk, Work::Allocate { file, mode, offset, len }))
    }

    pub(super) fn read_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        bulk: &mut Bulk<'_>,
        file: FileId,
        offset: Option<u64>,
        (space, addr, len): (abi::SpaceId, u64, u64),
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        let sink = Sink::Space { space, addr };
        if self.is_mine(cx, file)? {
            return Ok(self.start(cx, from, bulk, read_work(file, offset, len, sink)));
        }
        let len = len.min(crate::limits::REMOTE_BYTES);
        // So that the bytes, once read, have a place.
        if len > 0 {
            cx.leaf(&Prepare { space, addr, len, access: Access::Write })?;
        }
        let offset = offset.unwrap_or(AT_POSITION);
        let op = peer::Bytes { file, offset, len };
        Ok(self.call(cx, from, file.slot(), &op, Vec::new(), |ticket, _| Waiting::ReadBack {
            ticket,
            file,
            space,
            addr,
        }))
    }

    pub(super) fn write_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        bulk: &mut Bulk<'_>,
        file: FileId,
        offset: Option<u64>,
        source: Source,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if self.is_mine(cx, file)? {
            // fsync(2) is for who relies on it.
            cx.answer_early();
            return Ok(self.start(cx, from, bulk, Work::Write { file, offset, source }));
        }
        let Source::Space { space, addr, len } = source else { return Err(Errno::EPROTO) };
        let len = len.min(crate::limits::REMOTE_BYTES);
        let mut data = alloc::vec![0; len as usize];
        if len > 0 {
            cx.leaf_bulk(&CopyIn { space, addr, len }, &mut Bulk::new(&mut data))?;
        }
        let op = peer::PutBytes { file, offset: offset.unwrap_or(AT_POSITION) };
        Ok(self.forward(cx, from, file.slot(), &op, data))
    }

    /// An operation on an open file's inode, which may have another home than the description.
    pub(super) fn by_inode<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        bulk: &mut Bulk<'_>,
        (file, request): (FileId, &O),
        (op, who): (NameOp, Credentials),
    ) -> Result<Answer, Errno> {
        if !self.is_mine(cx, file)? {
            return Ok(self.forward(cx, from, file.slot(), request, Vec::new()));
        }
        let description = self.files.get(file)?;
        let inode = description.inode;
        if matches!(op, NameOp::Change { .. }) && description.flags & O_PATH != 0 {
            return Err(Errno::EBADF);
        }
        if self.tree.is_lost(inode) {
            return Err(Errno::EIO);
        }
        if matches!(op, NameOp::Stat { .. }) && self.tree.is_here(inode) {
            return Ok(Answer::from_result(self.tree.stat(inode)));
        }
        let walk = Walk::at(inode, who);
        Ok(self.start(cx, from, bulk, Work::Name { walk, op, shape: Shape::Bare }))
    }

    pub(super) fn object_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if self.is_mine(cx, file)? {
            let inode = self.files.get(file)?.inode;
            if !self.is_loaded(cx, inode)? {
                return Ok(Answer::NextView);
            }
            let behind = self.behind(cx, cx.node(), file)?;
            let object: FileObject = self.object_behind(cx, behind, false)?;
            return Ok(Answer::reply(&object));
        }
        Ok(self.call(cx, from, file.slot(), &peer::Behind { file }, Vec::new(), Waiting::Behind))
    }

    /// What is behind an open file; `node` refers to the object from now on.
    pub(super) fn behind(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        file: FileId,
    ) -> Result<BehindFile, Errno> {
        let description = self.files.get(file)?;
        description.check(crate::inode::MAY_READ).map_err(|_| Errno::EACCES)?;
        let writable = description.check(crate::inode::MAY_WRITE).is_ok();
        let inode = description.inode;
        match self.kind_behind(file)? {
            Kind::LowerFile(_) => Ok(BehindFile::Image(inode)),
            Kind::File => {
                let (object, size) = self.object(cx, inode)?;
                if writable && !self.tree.file(inode)?.mapped {
                    self.tree.file_mut(inode)?.0.mapped = true;
                }
                cx.leaf(&ObjectHold { object, node })?;
                Ok(BehindFile::Object { object, size, writable })
            }
            Kind::Directory
            | Kind::Link(_)
            | Kind::Device(_)
            | Kind::Special(_)
            | Kind::Elsewhere => Err(Errno::ENODEV),
        }
    }
}

pub(super) fn checked_offset(offset: u64) -> Result<u64, Errno> {
    i64::try_from(offset).map(|_| offset).map_err(|_| Errno::EINVAL)
}

pub(super) fn read_work(file: FileId, offset: Option<u64>, len: u64, sink: Sink) -> Work {
    if offset == Some(LISTING) {
        Work::List { file, len, sink, got: None }
    } else {
        Work::Read { file, offset, len, sink }
    }
}
