// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects behind files.

use super::{PAGE, no_memory_is_no_space};
use crate::FsCore;
use crate::inode::{Body, FileBody};
use crate::limits::FILE_BYTES_MAX;
use crate::lower::{LowerKind, LowerNo};
use crate::tree::Kind;
use crate::walk::Stop;
use abi::{Errno, InodeId, ObjectId, SlotNo};
use alloc::vec;
use mem_api::{
    Access, COPY_BYTES, Content, ObjectCreate, ObjectRead, ObjectRelease, ObjectResize, ObjectWrite,
};
use runtime::{Bulk, Cx};

impl FsCore {
    /// The object of a file of the image on this node.
    pub(crate) fn image_object(
        &mut self,
        cx: &mut Cx<'_>,
        number: LowerNo,
    ) -> Result<(ObjectId, u64), Errno> {
        let LowerKind::File { offset, len } = self.tree.lower.node(number).kind else {
            return Err(Errno::EINVAL);
        };
        if len == 0 {
            // Nobody reads from it.
            return Ok((ObjectId::from_raw(0), 0));
        }
        if let Some(object) = self.tree.lower_object(number) {
            return Ok((object, len));
        }
        let content = Content::Root { offset, len };
        let object = cx.leaf(&ObjectCreate { content, slot: None })?.object;
        self.tree.set_lower_object(number, object);
        Ok((object, len))
    }

    /// The same, with one more reference for the caller.
    pub(crate) fn referred_image_object(
        &mut self,
        cx: &mut Cx<'_>,
        number: LowerNo,
    ) -> Result<(ObjectId, u64), Errno> {
        let LowerKind::File { offset, len } = self.tree.lower.node(number).kind else {
            return Err(Errno::EINVAL);
        };
        // What was run once is run again: this node keeps the file's object.
        self.image_object(cx, number)?;
        // mem-server has one object for each range of RootData.
        let content = if len == 0 { Content::Zero } else { Content::Root { offset, len } };
        Ok((cx.leaf(&ObjectCreate { content, slot: None })?.object, len))
    }

    /// The object of a file of the writable tree; makes it.
    pub(crate) fn object(
        &mut self,
        cx: &mut Cx<'_>,
        inode: InodeId,
    ) -> Result<(ObjectId, u64), Errno> {
        let file = self.tree.file(inode)?;
        let size = file.size;
        if let Some(object) = file.object {
            return Ok((object, size));
        }
        let slot = Some(inode.slot());
        let object = cx.leaf(&ObjectCreate { content: Content::Zero, slot })?.object;
        self.tree.set_object(inode, object)?;
        if size > 0 {
            cx.leaf(&ObjectResize { object, len: size })?;
        }
        Ok((object, size))
    }

    /// Gives back the objects of files that are gone.
    pub(crate) fn release_freed(&mut self, cx: &mut Cx<'_>) {
        while let Some(object) = self.tree.freed_objects.pop() {
            // An object that mem-server does not know needs no release.
            let _ = cx.leaf(&ObjectRelease { object });
        }
    }

    /// A copy of an inode of the image in the writable tree, for a directory in this slot, without a
    /// name.
    pub(crate) fn copy_up(
        &mut self,
        cx: &mut Cx<'_>,
        slot: SlotNo,
        inode: InodeId,
        with_data: bool,
    ) -> Result<InodeId, Stop> {
        let meta = self.tree.meta(inode)?;
        let number = match self.tree.kind(inode)? {
            Kind::LowerFile(number) => number,
            Kind::Link(target) => return Ok(self.tree.add(slot, meta, Body::Link(target))?),
            Kind::Device(_) | Kind::Directory | Kind::File | Kind::Special(_) | Kind::Elsewhere => {
                return Err(Errno::EPERM.into());
            }
        };
        let (source, len) = self.image_object(cx, number)?;
        let mut file = FileBody::default();
        if with_data && len > 0 {
            self.tree.room_for(len.div_ceil(PAGE))?;
            let create = ObjectCreate { content: Content::Zero, slot: Some(slot) };
            let object = cx.leaf(&create)?.object;
            if let Err((errno, _)) = copy_object(cx, (source, object), len, COPY_BYTES) {
                self.tree.freed_objects.push(object);
                return Err(errno.into());
            }
            file.object = Some(object);
            file.size = len;
            self.tree.charge(file.extents.add(0..len.div_ceil(PAGE)), 0);
        }
        let (object, pages) = (file.object, file.extents.pages());
        let added = self.tree.add(slot, meta, Body::File(file));
        if added.is_err() {
            self.tree.charge(0, pages);
            self.tree.freed_objects.extend(object);
        }
        let added = added?;
        if len > 0 && with_data {
            self.tree.touched.written.push((added, 0..len));
        }
        Ok(added)
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
        // What is cut off needs not be read.
        if len > 0 && !self.is_loaded(cx, inode)? {
            return Err(Stop::View);
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
                // Other nodes hold pages of it. A longer file needs no change of the object; a
                // shorter one gets a new object, and what maps the old one keeps that.
                Err(Errno::ENOSYS) if len > file.size => {}
                Err(Errno::ENOSYS) => {
                    file.object = Some(shortened(cx, object, len)?);
                    replaced = Some(object);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        file.size = len;
        meta.mtime_ns = now_ns;
        meta.ctime_ns = now_ns;
        let freed = file.extents.cut(len.div_ceil(PAGE));
        let has_bytes = file.object.is_some();
        self.tree.charge(0, freed);
        // Zeroes follow the last byte now.
        if !len.is_multiple_of(PAGE) && has_bytes {
            self.disk.dirty(inode, len / PAGE..len / PAGE + 1);
        }
        self.tree.freed_objects.extend(replaced);
        Ok(())
    }
}

/// Copies the first `len` bytes, `step` at a time; where it fails, at which byte.
fn copy_object(
    cx: &mut Cx<'_>,
    (from, to): (ObjectId, ObjectId),
    len: u64,
    step: u64,
) -> Result<(), (Errno, u64)> {
    let mut buf = vec![0; len.min(step) as usize];
    let mut offset = 0;
    while offset < len {
        let step = (len - offset).min(step);
        let part = &mut buf[..step as usize];
        let read = ObjectRead { object: from, offset, len: step };
        cx.leaf_bulk(&read, &mut Bulk::new(part)).map_err(|errno| (errno, offset))?;
        let write = ObjectWrite { object: to, offset };
        cx.leaf_bulk(&write, &mut Bulk::new(part))
            .map_err(|errno| (no_memory_is_no_space(errno), offset))?;
        offset += step;
    }
    Ok(())
}

/// A new object with the first `len` bytes of another.
fn shortened(cx: &mut Cx<'_>, from: ObjectId, len: u64) -> Result<ObjectId, Stop> {
    let slot = Some(from.slot());
    let object = cx.leaf(&ObjectCreate { content: Content::Zero, slot })?.object;
    // By pages, so that a page that rests elsewhere is known.
    let Err((errno, offset)) = copy_object(cx, (from, object), len, PAGE) else {
        return Ok(object);
    };
    // It was made a moment ago: it is there to be released.
    let _ = cx.leaf(&ObjectRelease { object });
    match errno {
        Errno::ERESTART => Err(Stop::Fetch { object: from, offset, access: Access::Read }),
        _ => Err(errno.into()),
    }
}
