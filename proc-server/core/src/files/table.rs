// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process's descriptors.
//!
//! # Model
//! A descriptor names either an open file description of another server, which is shared by every
//! descriptor that names it, or a file of proc-server's own. What a process has of System V objects is held
//! in the same way, without descriptors. The table is one exportable value.
//! It only keeps numbers; who counts references is [`super::holders`].
//!
//! # Limits
//! [`DESCRIPTORS_MAX`] descriptors; a process may lower its own limit, RLIMIT_NOFILE.

use super::local::Local;
use abi::{Errno, FileId, ServerId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use fs_api::name::FileKind;
use serde::{Deserialize, Serialize};

/// Most descriptors of a process: RLIMIT_NOFILE's maximum. Bounds the state that moves with it.
pub const DESCRIPTORS_MAX: usize = 4096;
/// RLIMIT_NOFILE of a new session.
pub const DESCRIPTORS_SOFT: usize = 1024;

/// An open file description of another server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct OpenFile {
    /// Which.
    pub file: FileId,
    /// What it is; decides who performs its operations.
    pub kind: FileKind,
}

impl OpenFile {
    /// Whether it has no positions: it is of the ipc server.
    pub const fn is_stream(self) -> bool {
        matches!(self.server(), ServerId::Ipc)
    }

    /// The server that performs its operations.
    pub const fn server(self) -> ServerId {
        match self.kind {
            FileKind::Regular | FileKind::Directory | FileKind::Device => ServerId::Fs,
            FileKind::Pipe
            | FileKind::Terminal
            | FileKind::Counter
            | FileKind::Socket(_)
            | FileKind::Epoll
            | FileKind::Timer(_)
            | FileKind::Signals(_)
            | FileKind::Held => ServerId::Ipc,
        }
    }
}

/// What a descriptor names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Target {
    /// A file of fs-server or the ipc server.
    File(OpenFile),
    /// A file of proc-server: part of the descriptor, so that fork(2) and dup(2) copy its offset
    /// instead of sharing it.
    Local(Box<Local>),
}

/// One descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Descriptor {
    /// What it names.
    pub target: Target,
    /// FD_CLOEXEC.
    pub close_on_exec: bool,
}

impl From<OpenFile> for Descriptor {
    fn from(file: OpenFile) -> Self {
        Self { target: Target::File(file), close_on_exec: false }
    }
}

/// The descriptors of one process.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FdTable {
    rows: Vec<Option<Descriptor>>,
    /// The working directory, held like a descriptor's file so that it stays when its name goes.
    directory: Option<OpenFile>,
    /// Attachments of System V shared memory.
    attachments: Vec<Attachment>,
    /// What is undone to System V semaphores at the end, by their id.
    undos: Vec<(u32, FileId)>,
}

/// Most attachments of a process. Beyond it shmat(2) answers EMFILE.
pub const ATTACHMENTS_MAX: usize = 256;
/// Most sets of semaphores to which a process may have something to undo. Beyond it semop(2) answers ENOSPC.
pub const UNDOS_MAX: usize = 64;

/// Shared memory in a process's space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// What is held.
    pub file: FileId,
    /// Where it is.
    pub addr: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Attachment {
    const fn held(file: FileId) -> OpenFile {
        OpenFile { file, kind: FileKind::Held }
    }
}

const fn undo(file: FileId) -> OpenFile {
    OpenFile { file, kind: FileKind::Held }
}

impl FdTable {
    /// The descriptor `fd`.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn get(&self, fd: u64) -> Result<&Descriptor, Errno> {
        let row = self.rows.get(index(fd)?).and_then(Option::as_ref);
        row.ok_or(Errno::EBADF)
    }

    /// The descriptor `fd`, to change it.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn get_mut(&mut self, fd: u64) -> Result<&mut Descriptor, Errno> {
        let row = self.rows.get_mut(index(fd)?).and_then(Option::as_mut);
        row.ok_or(Errno::EBADF)
    }

    /// Puts a descriptor at the lowest free number from `least` on, below `limit`.
    ///
    /// # Errors
    /// EMFILE: none is free. The descriptor comes back with it: its references are the caller's.
    pub fn insert(
        &mut self,
        descriptor: Descriptor,
        least: usize,
        limit: usize,
    ) -> Result<usize, (Errno, Descriptor)> {
        let taken = self.rows.iter().skip(least).take_while(|row| row.is_some()).count();
        let fd = least + taken;
        if fd >= limit.min(DESCRIPTORS_MAX) {
            return Err((Errno::EMFILE, descriptor));
        }
        self.put(fd, descriptor);
        Ok(fd)
    }

    /// Puts a descriptor at exactly `fd`; what was there comes back.
    ///
    /// # Errors
    /// EBADF: `fd` is not below `limit`.
    pub fn replace(
        &mut self,
        fd: usize,
        descriptor: Descriptor,
        limit: usize,
    ) -> Result<Option<Descriptor>, Errno> {
        if fd >= limit.min(DESCRIPTORS_MAX) {
            return Err(Errno::EBADF);
        }
        Ok(self.put(fd, descriptor))
    }

    fn put(&mut self, fd: usize, descriptor: Descriptor) -> Option<Descriptor> {
        if self.rows.len() <= fd {
            self.rows.resize(fd + 1, None);
        }
        self.rows[fd].replace(descriptor)
    }

    /// Takes the descriptor `fd` out.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn remove(&mut self, fd: u64) -> Result<Descriptor, Errno> {
        let index = index(fd)?;
        let removed = self.rows.get_mut(index).and_then(Option::take).ok_or(Errno::EBADF)?;
        while self.rows.last().is_some_and(Option::is_none) {
            self.rows.pop();
        }
        Ok(removed)
    }

    /// Changes the kind of a file in all descriptors that name it.
    pub fn set_kind(&mut self, file: FileId, kind: FileKind) {
        for descriptor in self.rows.iter_mut().flatten() {
            if let Target::File(it) = &mut descriptor.target
                && it.file == file
            {
                it.kind = kind;
            }
        }
    }

    /// Notes an attachment.
    ///
    /// # Errors
    /// EMFILE: there are too many.
    pub fn attach(&mut self, attachment: Attachment) -> Result<(), Errno> {
        if self.attachments.len() >= ATTACHMENTS_MAX {
            return Err(Errno::EMFILE);
        }
        self.attachments.push(attachment);
        Ok(())
    }

    /// Takes the attachment at `addr` out, and what was held for it.
    pub fn detach(&mut self, addr: u64) -> Option<(Attachment, Descriptor)> {
        let at = self.attachments.iter().position(|it| it.addr == addr)?;
        let attachment = self.attachments.swap_remove(at);
        Some((attachment, Attachment::held(attachment.file).into()))
    }

    /// Where it is noted what is undone to these semaphores.
    pub fn undo_of(&self, id: u32) -> Option<FileId> {
        self.undos.iter().find(|(it, _)| *it == id).map(|(_, file)| *file)
    }

    /// Notes it.
    pub fn note_undo(&mut self, id: u32, file: FileId) {
        self.undos.push((id, file));
    }

    /// The semaphores are removed: what was noted is to be closed.
    pub fn drop_undo(&mut self, id: u32) -> Option<Descriptor> {
        let at = self.undos.iter().position(|(it, _)| *it == id)?;
        Some(undo(self.undos.swap_remove(at).1).into())
    }

    /// Whether no more may be noted.
    pub fn is_full_of_undos(&self) -> bool {
        self.undos.len() >= UNDOS_MAX
    }

    /// A child of fork(2) has nothing to undo.
    pub fn forget_undos(&mut self) {
        self.undos.clear();
    }

    /// Takes all descriptors out that execve(2) closes, and the attachments, which go with the space.
    pub fn remove_close_on_exec(&mut self) -> Vec<Descriptor> {
        let attachments = core::mem::take(&mut self.attachments).into_iter();
        let attachments = attachments.map(|it| Attachment::held(it.file).into());
        let closing = self
            .rows
            .iter_mut()
            .filter_map(|row| row.take_if(|descriptor| descriptor.close_on_exec));
        closing.chain(attachments).collect()
    }

    /// Keeps a working directory, or none; the one before comes back, to be closed.
    pub fn keep_directory(&mut self, directory: Option<OpenFile>) -> Option<Descriptor> {
        core::mem::replace(&mut self.directory, directory).map(Descriptor::from)
    }

    /// Takes all descriptors out, and what else is held as such.
    pub fn remove_all(&mut self) -> Vec<Descriptor> {
        let others: Vec<_> = self.held().map(Descriptor::from).collect();
        let table = core::mem::take(self);
        table.rows.into_iter().flatten().chain(others).collect()
    }

    /// What is held without descriptors.
    fn held(&self) -> impl Iterator<Item = OpenFile> {
        let attachments = self.attachments.iter().map(|it| Attachment::held(it.file));
        let undos = self.undos.iter().map(|(_, file)| undo(*file));
        self.directory.into_iter().chain(attachments).chain(undos)
    }

    /// The numbers in use and what they name, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Descriptor)> {
        self.rows.iter().enumerate().filter_map(|(fd, row)| Some((fd, row.as_ref()?)))
    }

    /// The open file descriptions that the descriptors name, once per descriptor, and what else is held.
    pub fn files(&self) -> impl Iterator<Item = OpenFile> {
        let named = self.iter().filter_map(|(_, descriptor)| match descriptor.target {
            Target::File(file) => Some(file),
            Target::Local(_) => None,
        });
        named.chain(self.held())
    }

    /// Checks a table that came from another node.
    pub fn is_well_formed(&self) -> bool {
        let directory = self.directory.is_none_or(|file| file.kind == FileKind::Directory);
        let held = self.attachments.len() <= ATTACHMENTS_MAX && self.undos.len() <= UNDOS_MAX;
        self.rows.len() <= DESCRIPTORS_MAX && directory && held
    }
}

/// A descriptor's number as programs pass it: an `int`.
fn index(fd: u64) -> Result<usize, Errno> {
    let number = fd as u32;
    let index = usize::try_from(number).map_err(|_| Errno::EBADF)?;
    if index < DESCRIPTORS_MAX { Ok(index) } else { Err(Errno::EBADF) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(serial: u64) -> Descriptor {
        let file = OpenFile { file: FileId::from_raw(serial), kind: FileKind::Pipe };
        Descriptor { target: Target::File(file), close_on_exec: false }
    }

    #[test]
    fn table_gives_the_lowest_free_number() {
        let mut table = FdTable::default();
        for expected in 0..3 {
            assert_eq!(table.insert(descriptor(1), 0, 8), Ok(expected));
        }
        table.remove(1).unwrap();
        assert_eq!(table.insert(descriptor(2), 0, 8), Ok(1));
        assert_eq!(table.insert(descriptor(2), 10, 8).unwrap_err().0, Errno::EMFILE);
        assert_eq!(table.insert(descriptor(2), 10, 20), Ok(10));
        assert_eq!(table.insert(descriptor(2), 10, 20), Ok(11));
    }

    #[test]
    fn table_at_its_limit_gives_the_descriptor_back() {
        let mut table = FdTable::default();
        assert_eq!(table.insert(descriptor(1), 0, 1), Ok(0));
        assert_eq!(table.insert(descriptor(7), 0, 1), Err((Errno::EMFILE, descriptor(7))));
        assert_eq!(table.replace(1, descriptor(7), 1), Err(Errno::EBADF));
    }

    #[test]
    fn table_of_an_exec_keeps_what_is_not_marked() {
        let mut table = FdTable::default();
        table.insert(Descriptor { close_on_exec: true, ..descriptor(1) }, 0, 8).unwrap();
        table.insert(descriptor(2), 0, 8).unwrap();
        let closed = table.remove_close_on_exec();
        assert_eq!(closed.len(), 1);
        assert!(table.get(0).is_err() && table.get(1).is_ok());
    }

    #[test]
    fn table_counts_its_working_directory_among_its_files() {
        let directory =
            |serial| OpenFile { file: FileId::from_raw(serial), kind: FileKind::Directory };
        let mut table = FdTable::default();
        table.insert(descriptor(1), 0, 8).unwrap();
        assert_eq!(table.keep_directory(Some(directory(2))), None);
        assert_eq!(table.keep_directory(Some(directory(3))), Some(directory(2).into()));
        assert_eq!(table.files().map(|file| file.file.raw()).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(table.iter().count(), 1);
        assert!(table.is_well_formed());
        assert_eq!(table.remove_all().len(), 2);
        assert_eq!(table.files().count(), 0);
    }

    #[test]
    fn table_with_wild_numbers_answers_ebadf() {
        let mut table = FdTable::default();
        for fd in [0, u64::MAX, 1 << 31, 4096] {
            assert_eq!(table.get(fd).unwrap_err(), Errno::EBADF);
            assert_eq!(table.remove(fd).unwrap_err(), Errno::EBADF);
        }
    }
}
