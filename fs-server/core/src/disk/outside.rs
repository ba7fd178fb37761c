// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the store acts through: the disk server, memory, and the tree.

use super::record::Record;
use super::{DiskWork, PAGE};
use crate::FsCore;
use crate::job::Waiting;
use crate::lower::Lower;
use abi::{Errno, InodeId, SlotNo};
use alloc::vec::Vec;
use core::task::Poll;
use disk_api::{Flush, Read, Region, Write};
use fs_store::Outside;
use mem_api::{Access, ObjectFetch, ObjectRead};
use runtime::{Bulk, Cx};

/// See the module.
pub(super) struct Out<'a, 'c> {
    pub(super) fs: &'a mut FsCore,
    pub(super) cx: &'a mut Cx<'c>,
}

impl Outside for Out<'_, '_> {
    fn write(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.cx.leaf_bulk(&Write { region: Region::Files, sector }, &mut Bulk::new(bytes))
    }

    fn flush(&mut self) {
        self.fs.ask_disk(self.cx, &Flush { region: Region::Files }, DiskWork::Flush);
    }

    fn read(&mut self, sector: u64, sectors: u64) {
        let read = Read { region: Region::Files, sector, sectors };
        self.fs.ask_disk(self.cx, &read, DiskWork::Find);
    }

    fn page_bytes(&mut self, inode: u64, page: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let file = self.fs.tree.file(InodeId::from_raw(inode))?;
        let object = file.object.ok_or(Errno::ESTALE)?;
        let offset = page * PAGE;
        let len = file.size.saturating_sub(offset).min(bytes.len() as u64);
        if len == 0 {
            return Ok(());
        }
        let read = ObjectRead { object, offset, len };
        let result = self.cx.leaf_bulk(&read, &mut Bulk::new(&mut bytes[..len as usize]));
        // Which of several pages is elsewhere is not said: they are tried one by one.
        if !matches!(result, Err(Errno::ERESTART | Errno::EAGAIN)) || len > PAGE {
            return result
                .map_err(|errno| if errno == Errno::EAGAIN { Errno::ERESTART } else { errno });
        }
        let cookie = self.fs.new_cookie();
        let fetch = ObjectFetch { object, offset, access: Access::Read };
        match self.cx.leaf_or_wait(&fetch, cookie)? {
            Poll::Pending => {
                self.fs.waiting.insert(cookie, Waiting::Disk(DiskWork::Page));
                Err(Errno::EAGAIN)
            }
            Poll::Ready(()) => self
                .cx
                .leaf_bulk(&read, &mut Bulk::new(&mut bytes[..len as usize]))
                .map_err(|_| Errno::EIO),
        }
    }

    fn record(&mut self, out: &mut Vec<u8>) {
        let disk = &mut self.fs.disk;
        if let Some(record) = disk.unsaid.next(&self.fs.tree, &disk.marks)
            && let Ok(bytes) = postcard::to_allocvec(&record)
        {
            out.extend(bytes);
        }
    }

    fn all_again(&mut self) {
        let disk = &mut self.fs.disk;
        let of = disk.of.unwrap_or((0, disk.image));
        disk.unsaid.all_again(of, &disk.marks);
        disk.unsaid.slots.retain(|slot| !disk.fresh.contains(slot));
    }

    fn begins(&mut self) {
        let fresh = core::mem::take(&mut self.fs.disk.fresh);
        self.fs.disk.unsaid.slots.extend(fresh);
    }

    fn found(&mut self, record: &[u8]) -> Result<(), Errno> {
        let (tree, disk) = (&mut self.fs.tree, &mut self.fs.disk);
        // Of another image only what every image has can be told apart.
        let other = disk.of.is_some_and(|(_, image)| image != disk.image);
        let known =
            |id: InodeId| !other || !Lower::is_lower(id) || Lower::writable().any(|it| it == id);
        match postcard::from_bytes(record).map_err(|_| Errno::EPROTO)? {
            Record::Of { cluster, image } => {
                disk.of = Some((cluster, image));
                Ok(())
            }
            Record::Slot { slot, had } => {
                disk.marks.insert(SlotNo::new(slot).ok_or(Errno::EPROTO)?, had);
                Ok(())
            }
            Record::NoSlot(slot) => {
                disk.marks.remove(&SlotNo::new(slot).ok_or(Errno::EPROTO)?);
                Ok(())
            }
            Record::Inode(saved) if known(saved.id()) => tree.found_inode(saved),
            Record::Name { dir, name, entry } if known(dir) => tree.found_name(dir, name, entry),
            Record::Inode(_) | Record::Name { .. } => Err(Errno::ESTALE),
            Record::Gone(id) => {
                tree.drop_copy(id);
                Ok(())
            }
        }
    }
}
