// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of files: they are in mem-server's objects, and go straight from there to the program
//! where both are on this node.

mod copy;
mod objects;
mod room;

pub(crate) use copy::deliver;
use copy::{object_in, object_out};

use crate::FsCore;
use crate::inode::{MAY_READ, MAY_WRITE, Meta};
use crate::limits::{FILE_BYTES_MAX, REMOTE_BYTES};
use crate::tree::Kind;
use crate::walk::Stop;
use abi::limits::PAGE_BYTES;
use abi::{Errno, FileId, InodeId, ObjectId, SpaceId};
use alloc::vec;
use alloc::vec::Vec;
use fs_api::name::FileKind;
use mem_api::COPY_BYTES;
use runtime::{Cx, Mutant};

const PAGE: u64 = PAGE_BYTES as u64;

/// Where bytes go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sink {
    /// A program of this node.
    Space {
        /// Its space.
        space: SpaceId,
        /// Its address.
        addr: u64,
    },
    /// The reply to another node.
    Reply,
}

/// Where bytes come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A program of this node.
    Space {
        /// Its space.
        space: SpaceId,
        /// Its address.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// Another node's request.
    Bytes(Vec<u8>),
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Self::Space { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// What a read moved: how much, the offset before and after, and the bytes if they go elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadDone {
    /// Bytes moved.
    pub moved: u64,
    /// The description's offset before.
    pub before: u64,
    /// And after.
    pub after: u64,
    /// The bytes for [`Sink::Reply`].
    pub data: Vec<u8>,
}

impl FsCore {
    /// What a description of this home is of. A directory's own state may have another home.
    pub(crate) fn kind_behind(&self, file: FileId) -> Result<Kind, Errno> {
        let description = self.files.get(file)?;
        match description.kind {
            FileKind::Directory => Ok(Kind::Directory),
            FileKind::Regular
            | FileKind::Device
            | FileKind::Pipe
            | FileKind::Terminal
            | FileKind::Counter
            | FileKind::Socket(_)
            | FileKind::Epoll
            | FileKind::Timer(_)
            | FileKind::Signals(_)
            | FileKind::Held => self.tree.kind(description.inode),
        }
    }

    /// read(2) and pread(2) of a description whose home is here.
    pub(crate) fn read(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        offset: Option<u64>,
        len: u64,
        sink: Sink,
    ) -> Result<ReadDone, Stop> {
        let description = self.files.get(file)?;
        description.check(MAY_READ)?;
        let (inode, before) = (description.inode, description.position);
        let at = offset.unwrap_or(before);
        let len = len.min(if sink == Sink::Reply { REMOTE_BYTES } else { COPY_BYTES });
        let (object, size) = match self.kind_behind(file)? {
            Kind::Directory => return Err(Errno::EISDIR.into()),
            Kind::Link(_) | Kind::Special(_) | Kind::Elsewhere => return Err(Errno::EBADF.into()),
            Kind::Device(device) => {
                let mut data = vec![0; len as usize];
                let got = device.read(&mut self.random, &mut data);
                data.truncate(got);
                let (moved, data) = deliver(cx, sink, data)?;
                return Ok(ReadDone { moved, before, after: before, data });
            }
            Kind::LowerFile(number) => self.image_object(cx, number)?,
            Kind::File => {
                let body = self.tree.file(inode)?;
                if at >= body.size { (ObjectId::from_raw(0), 0) } else { self.object(cx, inode)? }
            }
        };
        let len = len.min(size.saturating_sub(at));
        if len == 0 {
            return Ok(ReadDone { before, after: before, ..ReadDone::default() });
        }
        let (moved, data) = object_out(cx, object, at, len, sink)?;
        let mut after = before;
        if offset.is_none() {
            after = at + moved;
            self.files.get_mut(file)?.position = after;
        }
        self.note_read(cx, inode);
        Ok(ReadDone { moved, before, after, data })
    }

    /// Access times as with Linux's `relatime`.
    fn note_read(&mut self, cx: &Cx<'_>, inode: InodeId) {
        let now_ns = self.now_ns(cx);
        let old = |meta: &Meta| meta.atime_ns <= meta.mtime_ns;
        if self.tree.inode(inode).is_ok_and(|inode| old(&inode.meta))
            && let Ok(inode) = self.tree.inode_mut(inode)
        {
            inode.meta.atime_ns = now_ns;
        }
    }

    /// write(2) and pwrite(2) of a description whose home is here.
    pub(crate) fn write(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        offset: Option<u64>,
        source: &mut Source,
    ) -> Result<u64, Stop> {
        let description = self.files.get(file)?;
        description.check(MAY_WRITE)?;
        let (inode, position, appends) =
            (description.inode, description.position, description.appends());
        match self.kind_behind(file)? {
            Kind::Device(device) => return Ok(device.write(source.len())?),
            Kind::File => {}
            Kind::Directory
            | Kind::LowerFile(_)
            | Kind::Link(_)
            | Kind::Special(_)
            | Kind::Elsewhere => {
                return Err(Errno::EBADF.into());
            }
        }
        if source.len() == 0 {
            return Ok(0);
        }
        let size = self.tree.file(inode)?.size;
        let appends = appends && !Mutant::AppendsWhereItStands.is_on();
        let at = if appends { size } else { offset.unwrap_or(position) };
        let room = FILE_BYTES_MAX.saturating_sub(at);
        if room == 0 {
            return Err(Errno::EFBIG.into());
        }
        let len = source.len().min(COPY_BYTES).min(room);
        let pages = at / PAGE..(at + len).div_ceil(PAGE);
        let missing = self.tree.file(inode)?.extents.missing(pages);
        self.tree.room_for(missing)?;
        let (object, _) = self.object(cx, inode).map_err(no_memory_is_no_space)?;
        let moved = object_in(cx, object, at, len, source)?;
        let now_ns = self.now_ns(cx);
        let (body, meta) = self.tree.file_mut(inode)?;
        body.size = body.size.max(at + moved);
        meta.mtime_ns = now_ns;
        meta.ctime_ns = now_ns;
        let more = body.extents.add(at / PAGE..(at + moved).div_ceil(PAGE));
        self.tree.charge(more, 0);
        self.tree.touched.written.push((inode, at..at + moved));
        if offset.is_none() {
            self.files.get_mut(file)?.position = at + moved;
        }
        Ok(moved)
    }
}

fn no_memory_is_no_space(errno: Errno) -> Errno {
    if errno == Errno::ENOMEM { Errno::ENOSPC } else { errno }
}
