// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of files: they are in mem-server's objects, and go straight from there to the program
//! where both are on this node.

use crate::FsCore;
use crate::inode::{Body, FileBody, MAY_READ, MAY_WRITE};
use crate::limits::{FILE_BYTES_MAX, REMOTE_BYTES};
use crate::lower::{LowerKind, LowerNo};
use crate::tree::Kind;
use crate::walk::Stop;
use abi::limits::PAGE_BYTES;
use abi::{Errno, FileId, InodeId, ObjectId, SpaceId};
use alloc::vec;
use alloc::vec::Vec;
use fs_api::name::FileKind;
use mem_api::{
    Access, COPY_BYTES, Content, CopyOut, ObjectCopy, ObjectCreate, ObjectHold, ObjectRead,
    ObjectRelease, ObjectResize, ObjectWrite,
};
use runtime::{Bulk, Cx};

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

/// Tries the whole range; where a page of the object is `absent`, as many pages as are there.
fn piecewise(
    offset: u64,
    len: u64,
    absent: Errno,
    mut step: impl FnMut(u64, u64) -> Result<(), Errno>,
) -> Result<u64, Errno> {
    match step(0, len) {
        Ok(()) => return Ok(len),
        Err(errno) if errno == absent => {}
        Err(errno) => return Err(errno),
    }
    let mut done = 0;
    while done < len {
        let at = offset + done;
        let piece = (PAGE - at % PAGE).min(len - done);
        match step(done, piece) {
            Ok(()) => done += piece,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

impl FsCore {
    /// What a description of this home is of. A directory's own state may have another home.
    pub(crate) fn kind_behind(&self, file: FileId) -> Result<Kind, Errno> {
        let description = self.files.get(file)?;
        match description.kind {
            FileKind::Directory => Ok(Kind::Directory),
            FileKind::Regular | FileKind::Device | FileKind::Pipe | FileKind::Terminal => {
                self.tree.kind(description.inode)
            }
        }
    }

    /// The object of a file of the image on this node.
    pub(crate) fn image_object(
        &mut self,
        cx: &mut Cx<'_>,
        number: LowerNo,
    ) -> Result<(ObjectId, u64), Errno> {
        let LowerKind::File { offset, len } = self.tree.lower.node(number).kind else {
            return Err(Errno::EINVAL);
        };
        if let Some(object) = self.tree.lower_object(number) {
            return Ok((object, len));
        }
        let content = if len == 0 { Content::Zero } else { Content::Root { offset, len } };
        let object = cx.leaf(&ObjectCreate { content })?.object;
        self.tree.set_lower_object(number, object);
        Ok((object, len))
    }

    /// The same, with one more reference for the caller.
    pub(crate) fn referred_image_object(
        &mut self,
        cx: &mut Cx<'_>,
        number: LowerNo,
    ) -> Result<(ObjectId, u64), Errno> {
        let (object, size) = self.image_object(cx, number)?;
        match self.tree.lower.node(number).kind {
            // mem-server has one object for each range of RootData.
            LowerKind::File { offset, len } if len > 0 => {
                let content = Content::Root { offset, len };
                Ok((cx.leaf(&ObjectCreate { content })?.object, size))
            }
            _ => {
                let node = cx.node();
                cx.leaf(&ObjectHold { object, node })?;
                Ok((object, size))
            }
        }
    }

    /// The object of a file of the writable tree; makes it.
    pub(crate) fn object(
        &mut self,
        cx: &mut Cx<'_>,
        inode: InodeId,
    ) -> Result<(ObjectId, u64), Errno> {
        let (file, _) = self.tree.file_mut(inode)?;
        if let Some(object) = file.object {
            return Ok((object, file.size));
        }
        let object = cx.leaf(&ObjectCreate { content: Content::Zero })?.object;
        file.object = Some(object);
        if file.size > 0 {
            cx.leaf(&ObjectResize { object, len: file.size })?;
        }
        Ok((object, file.size))
    }

    /// Gives back the objects of files that are gone.
    pub(crate) fn release_freed(&mut self, cx: &mut Cx<'_>) {
        while let Some(object) = self.tree.freed_objects.pop() {
            // An object that mem-server does not know needs no release.
            let _ = cx.leaf(&ObjectRelease { object });
        }
    }

    /// A copy of an inode of the image in the writable tree, without a name.
    pub(crate) fn copy_up(
        &mut self,
        cx: &mut Cx<'_>,
        inode: InodeId,
        with_data: bool,
    ) -> Result<InodeId, Stop> {
        let meta = self.tree.meta(inode)?;
        let number = match self.tree.kind(inode)? {
            Kind::LowerFile(number) => number,
            Kind::Link(target) => return Ok(self.tree.add(meta, Body::Link(target))?),
            Kind::Device(_) | Kind::Directory | Kind::File | Kind::Elsewhere => {
                return Err(Errno::EPERM.into());
            }
        };
        let (source, len) = self.image_object(cx, number)?;
        let mut file = FileBody::default();
        if with_data && len > 0 {
            self.tree.room_for(len.div_ceil(PAGE))?;
            let object = cx.leaf(&ObjectCreate { content: Content::Zero })?.object;
            if let Err(errno) = copy_object(cx, source, object, len) {
                self.tree.freed_objects.push(object);
                return Err(errno.into());
            }
            file.object = Some(object);
            file.size = len;
            self.tree.charge(file.extents.add(0..len.div_ceil(PAGE)), 0);
        }
        let (object, pages) = (file.object, file.extents.pages());
        let added = self.tree.add(meta, Body::File(file));
        if added.is_err() {
            self.tree.charge(0, pages);
            self.tree.freed_objects.extend(object);
        }
        Ok(added?)
    }

    /// truncate(2) of a file of the writable tree whose home is here.
    pub(crate) fn truncate(
        &mut self,
        cx: &mut Cx<'_>,
        inode: InodeId,
        len: u64,
    ) -> Result<(), Stop> {
        if len > FILE_BYTES_MAX {
            return Err(Errno::EFBIG.into());
        }
        let now_ns = self.now_ns(cx);
        let (file, meta) = self.tree.file_mut(inode)?;
        let mut replaced = None;
        if let Some(object) = file.object
            && len != file.size
        {
            match cx.leaf(&ObjectResize { object, len }) {
                Ok(()) => {}
                Err(Errno::EAGAIN | Errno::ERESTART) => {
                    return Err(Stop::Fetch { object, offset: len, access: Access::Write });
                }
                // Other nodes map pages beyond: they keep the old object, the file gets a new one.
                Err(Errno::ENOSYS) => {
                    file.object = Some(shortened(cx, object, len.min(file.size))?);
                    replaced = Some(object);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        file.size = len;
        meta.mtime_ns = now_ns;
        meta.ctime_ns = now_ns;
        let freed = file.extents.cut(len.div_ceil(PAGE));
        self.tree.charge(0, freed);
        self.tree.freed_objects.extend(replaced);
        Ok(())
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
            Kind::Link(_) | Kind::Elsewhere => return Err(Errno::EBADF.into()),
            Kind::Device(device) => {
                let mut data = vec![0; len as usize];
                let got = device.read(&mut self.random, &mut data);
                data.truncate(got);
                let (moved, data) = deliver(cx, sink, data)?;
                return Ok(ReadDone { moved, before, after: before, data });
            }
            Kind::LowerFile(number) => self.image_object(cx, number)?,
            Kind::File => {
                let body = self.tree.file_mut(inode)?.0;
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
        if let Ok(inode) = self.tree.inode_mut(inode)
            && inode.meta.atime_ns <= inode.meta.mtime_ns
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
            Kind::Directory | Kind::LowerFile(_) | Kind::Link(_) | Kind::Elsewhere => {
                return Err(Errno::EBADF.into());
            }
        }
        if source.len() == 0 {
            return Ok(0);
        }
        let size = self.tree.file_mut(inode)?.0.size;
        let at = if appends { size } else { offset.unwrap_or(position) };
        let room = FILE_BYTES_MAX.saturating_sub(at);
        if room == 0 {
            return Err(Errno::EFBIG.into());
        }
        let len = source.len().min(COPY_BYTES).min(room);
        let pages = at / PAGE..(at + len).div_ceil(PAGE);
        let missing = self.tree.file_mut(inode)?.0.extents.missing(pages);
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
        if offset.is_none() {
            self.files.get_mut(file)?.position = at + moved;
        }
        Ok(moved)
    }
}

fn no_memory_is_no_space(errno: Errno) -> Errno {
    if errno == Errno::ENOMEM { Errno::ENOSPC } else { errno }
}

/// Hands bytes to the program, or to the reply.
pub(crate) fn deliver(
    cx: &mut Cx<'_>,
    sink: Sink,
    mut data: Vec<u8>,
) -> Result<(u64, Vec<u8>), Errno> {
    let moved = data.len() as u64;
    match sink {
        Sink::Reply => Ok((moved, data)),
        Sink::Space { .. } if data.is_empty() => Ok((0, data)),
        Sink::Space { space, addr } => {
            cx.leaf_bulk(&CopyOut { space, addr }, &mut Bulk::new(&mut data))?;
            Ok((moved, Vec::new()))
        }
    }
}

fn object_out(
    cx: &mut Cx<'_>,
    object: ObjectId,
    offset: u64,
    len: u64,
    sink: Sink,
) -> Result<(u64, Vec<u8>), Stop> {
    let fetch = Stop::Fetch { object, offset, access: Access::Read };
    match sink {
        Sink::Space { space, addr } => {
            let moved = piecewise(offset, len, Errno::EAGAIN, |done, len| {
                let (offset, addr) = (offset + done, addr.wrapping_add(done));
                let access = Access::Read;
                cx.leaf(&ObjectCopy { object, offset, space, addr, len, access })
            });
            match moved {
                Ok(moved) => Ok((moved, Vec::new())),
                Err(Errno::EAGAIN) => Err(fetch),
                Err(errno) => Err(errno.into()),
            }
        }
        Sink::Reply => {
            let mut data = vec![0; len as usize];
            let moved = piecewise(offset, len, Errno::ERESTART, |done, len| {
                let part = &mut data[done as usize..(done + len) as usize];
                let read = ObjectRead { object, offset: offset + done, len };
                cx.leaf_bulk(&read, &mut Bulk::new(part))
            });
            match moved {
                Ok(moved) => {
                    data.truncate(moved as usize);
                    Ok((moved, data))
                }
                Err(Errno::ERESTART | Errno::EAGAIN) => Err(fetch),
                Err(errno) => Err(errno.into()),
            }
        }
    }
}

fn object_in(
    cx: &mut Cx<'_>,
    object: ObjectId,
    offset: u64,
    len: u64,
    source: &mut Source,
) -> Result<u64, Stop> {
    let (absent, moved) = match source {
        Source::Space { space, addr, .. } => {
            let (space, addr) = (*space, *addr);
            let moved = piecewise(offset, len, Errno::EAGAIN, |done, len| {
                let (offset, addr) = (offset + done, addr.wrapping_add(done));
                let access = Access::Write;
                cx.leaf(&ObjectCopy { object, offset, space, addr, len, access })
            });
            (Errno::EAGAIN, moved)
        }
        Source::Bytes(data) => {
            let moved = piecewise(offset, len, Errno::ERESTART, |done, len| {
                let part = &mut data[done as usize..(done + len) as usize];
                let write = ObjectWrite { object, offset: offset + done };
                cx.leaf_bulk(&write, &mut Bulk::new(part))
            });
            (Errno::ERESTART, moved)
        }
    };
    match moved {
        Ok(moved) => Ok(moved),
        Err(errno) if errno == absent => Err(Stop::Fetch { object, offset, access: Access::Write }),
        Err(errno) => Err(no_memory_is_no_space(errno).into()),
    }
}

fn copy_object(cx: &mut Cx<'_>, from: ObjectId, to: ObjectId, len: u64) -> Result<(), Errno> {
    let mut buf = vec![0; len.min(COPY_BYTES) as usize];
    let mut offset = 0;
    while offset < len {
        let step = (len - offset).min(COPY_BYTES);
        let part = &mut buf[..step as usize];
        let read = ObjectRead { object: from, offset, len: step };
        cx.leaf_bulk(&read, &mut Bulk::new(part))?;
        cx.leaf_bulk(&ObjectWrite { object: to, offset }, &mut Bulk::new(part))
            .map_err(no_memory_is_no_space)?;
        offset += step;
    }
    Ok(())
}

/// A new object with the first `len` bytes of another.
fn shortened(cx: &mut Cx<'_>, from: ObjectId, len: u64) -> Result<ObjectId, Stop> {
    let object = cx.leaf(&ObjectCreate { content: Content::Zero })?.object;
    let copied = copy_object(cx, from, object, len);
    let Err(errno) = copied else { return Ok(object) };
    // It was made a moment ago: it is there to be released.
    let _ = cx.leaf(&ObjectRelease { object });
    Err(errno.into())
}
