// SPDX-License-Identifier: MIT OR Apache-2.0
//! Room for files that is reserved and given back, fallocate(2), and where their holes are, lseek(2).
//!
//! # Limits
//! A hole cannot be made in a file of which other nodes hold pages: EOPNOTSUPP.

use super::{PAGE, no_memory_is_no_space};
use crate::FsCore;
use crate::inode::MAY_WRITE;
use crate::limits::FILE_BYTES_MAX;
use crate::tree::Kind;
use crate::walk::Stop;
use abi::linux::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};
use abi::{Errno, FileId, InodeId, ObjectId};
use alloc::vec;
use core::ops::Range;
use mem_api::{Access, ObjectPunch, ObjectResize, ObjectWrite};
use runtime::{Bulk, Cx};

impl FsCore {
    /// fallocate(2) of a description whose home is here.
    pub(crate) fn allocate(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        mode: u32,
        (offset, len): (u64, u64),
    ) -> Result<(), Stop> {
        let description = self.files.get(file)?;
        description.check(MAY_WRITE)?;
        let inode = description.inode;
        if self.kind_behind(file)? != Kind::File {
            return Err(Errno::ENODEV.into());
        }
        let end = offset.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(Errno::EFBIG)?;
        let keeps = mode & FALLOC_FL_KEEP_SIZE != 0;
        match mode & !FALLOC_FL_KEEP_SIZE {
            0 => {}
            FALLOC_FL_PUNCH_HOLE if keeps => return self.punch(cx, inode, offset..end),
            // What is zeroed is given back first: there is room for it.
            FALLOC_FL_ZERO_RANGE => self.punch(cx, inode, offset..end)?,
            _ => return Err(Errno::EOPNOTSUPP.into()),
        }
        let pages = offset / PAGE..end.div_ceil(PAGE);
        let body = self.tree.file(inode)?;
        self.tree.room_for(body.extents.missing(pages.clone()))?;
        let (size, object) = (body.size, body.object);
        if !keeps && end > size {
            if let Some(object) = object {
                longer(cx, object, end)?;
            }
            self.tree.file_mut(inode)?.0.size = end;
        }
        self.tree.reserve(inode, pages)?;
        self.changed_now(cx, inode)
    }

    /// Makes a hole, as far as the file goes.
    fn punch(&mut self, cx: &mut Cx<'_>, inode: InodeId, range: Range<u64>) -> Result<(), Stop> {
        let body = self.tree.file(inode)?;
        let (size, object) = (body.size, body.object);
        // What was reserved beyond the end goes too; there are no bytes.
        let end = if range.end >= size { range.end.div_ceil(PAGE) } else { range.end / PAGE };
        let first = range.start.div_ceil(PAGE);
        let whole = first..end.max(first);
        if let Some(object) = object {
            self.zero_edges(cx, (inode, object), range.start..range.end.min(size), &whole)?;
            if !whole.is_empty() {
                let (first, pages) = (whole.start, whole.end - whole.start);
                match cx.leaf(&ObjectPunch { object, first, pages }) {
                    Ok(()) => {}
                    Err(Errno::EAGAIN | Errno::ERESTART) => return Err(fetch(object, range.start)),
                    Err(Errno::ENOSYS) => return Err(Errno::EOPNOTSUPP.into()),
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        if !whole.is_empty() {
            self.tree.give_back(inode, whole)?;
        }
        self.changed_now(cx, inode)
    }

    /// Zeroes the parts of pages at both ends of a hole.
    fn zero_edges(
        &mut self,
        cx: &mut Cx<'_>,
        (inode, object): (InodeId, ObjectId),
        Range { start, end }: Range<u64>,
        whole: &Range<u64>,
    ) -> Result<(), Stop> {
        let parts = if whole.is_empty() {
            let middle = start.next_multiple_of(PAGE).min(end);
            [start..middle, middle..end]
        } else {
            [start..whole.start * PAGE, whole.end * PAGE..end]
        };
        for part in parts {
            let part = part.start..part.end.min(end);
            let page = part.start / PAGE;
            let body = self.tree.file(inode)?;
            if part.is_empty() || body.extents.missing(page..page + 1) > 0 && !body.mapped {
                continue;
            }
            let mut zeroes = vec![0; (part.end - part.start) as usize];
            let write = ObjectWrite { object, offset: part.start };
            match cx.leaf_bulk(&write, &mut Bulk::new(&mut zeroes)) {
                Ok(()) => {}
                Err(Errno::EAGAIN | Errno::ERESTART) => return Err(fetch(object, part.start)),
                Err(errno) => return Err(no_memory_is_no_space(errno).into()),
            }
            self.tree.touched.written.push((inode, part));
        }
        Ok(())
    }

    fn changed_now(&mut self, cx: &Cx<'_>, inode: InodeId) -> Result<(), Stop> {
        let now_ns = self.now_ns(cx);
        let (_, meta) = self.tree.file_mut(inode)?;
        (meta.mtime_ns, meta.ctime_ns) = (now_ns, now_ns);
        Ok(())
    }

    /// SEEK_DATA and SEEK_HOLE: the next byte from `offset` on that is data, or is not.
    pub(crate) fn next_of(&self, file: FileId, offset: i64, data: bool) -> Result<u64, Errno> {
        let inode = self.files.get(file)?.inode;
        let size = match self.kind_behind(file)? {
            Kind::File | Kind::LowerFile(_) => self.tree.stat(inode)?.size,
            Kind::Device(_) => return Ok(0),
            Kind::Directory | Kind::Link(_) | Kind::Special(_) | Kind::Elsewhere => {
                return Err(Errno::EINVAL);
            }
        };
        let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        let holes = self.tree.file(inode).ok().filter(|body| !body.mapped).map(|it| &it.extents);
        let Some(extents) = holes else { return Ok(if data { offset } else { size }) };
        let page = offset / PAGE;
        if data {
            let next = extents.next_in(page).map(|next| (next * PAGE).max(offset));
            next.filter(|next| *next < size).ok_or(Errno::ENXIO)
        } else {
            Ok((extents.next_out(page) * PAGE).max(offset).min(size))
        }
    }
}

fn fetch(object: ObjectId, offset: u64) -> Stop {
    Stop::Fetch { object, offset, access: Access::Write }
}

/// A file's object reaches further.
fn longer(cx: &mut Cx<'_>, object: ObjectId, len: u64) -> Result<(), Stop> {
    match cx.leaf(&ObjectResize { object, len }) {
        // Other nodes hold pages of it: a longer file needs no change of it.
        Ok(()) | Err(Errno::ENOSYS) => Ok(()),
        Err(Errno::EAGAIN | Errno::ERESTART) => Err(fetch(object, len)),
        Err(errno) => Err(errno.into()),
    }
}
