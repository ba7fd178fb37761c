// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many descriptors of this node name each open file description.
//!
//! # Model
//! A file's server counts how often each node holds a file; this table counts what that hides: the
//! descriptors here. When the last one closes, the file is released as often as it was held: once for opening it here,
//! or for the process that first brought it along from another node.
//!
//! An attachment of shared memory is different: its server shows how many there are, so each is a hold of its own.
//! So is a device: all who open it have one description, which every node has by itself and nobody counts.
//!
//! # Invariants
//! A file without descriptors has no row.

use super::table::{FdTable, OpenFile};
use abi::FileId;
use alloc::vec::Vec;
use fs_api::name::FileKind;
use runtime::collections::HashMap;

/// Whether the file's server is to know of each that has it.
fn counts_each(file: OpenFile) -> bool {
    file.kind == FileKind::Held
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Count {
    file: OpenFile,
    descriptors: u32,
    holds: u32,
}

/// The counts of one node.
#[derive(Default)]
pub struct Holders {
    rows: HashMap<FileId, Count>,
}

impl Holders {
    /// One more descriptor, with one more hold at the file's server: it was opened, or came here.
    pub fn add_held(&mut self, file: OpenFile) {
        let row = self.rows.entry(file.file);
        let count = row.or_insert(Count { file, descriptors: 0, holds: 0 });
        count.descriptors += 1;
        count.holds += u32::from(file.kind != FileKind::Device);
    }

    /// One more descriptor, with a hold that came along from another node. True: the file is held here already, and
    /// this hold is to be given back; else a file that stays open would gather one with each program that comes.
    #[must_use]
    pub fn add_brought(&mut self, file: OpenFile) -> bool {
        match self.rows.get_mut(&file.file) {
            Some(count) if !counts_each(file) => {
                count.descriptors += 1;
                file.kind != FileKind::Device
            }
            Some(_) | None => {
                self.add_held(file);
                false
            }
        }
    }

    /// One more descriptor of a file that has one: dup(2).
    pub fn add(&mut self, file: OpenFile) {
        let count = self.rows.get_mut(&file.file);
        let count = count.expect("a descriptor is copied from one that is counted");
        count.descriptors += 1;
    }

    /// One more descriptor for each in `table`: fork(2). What of it is to be held once more.
    #[must_use]
    pub fn add_table(&mut self, table: &FdTable) -> Vec<OpenFile> {
        for file in table.files() {
            if counts_each(file) {
                self.add_held(file);
            } else {
                self.add(file);
            }
        }
        table.files().filter(|file| counts_each(*file)).collect()
    }

    /// One descriptor less. If it was the last: how often the file is to be released.
    pub fn remove(&mut self, file: OpenFile) -> u32 {
        let count = self.rows.get_mut(&file.file);
        let count = count.expect("a descriptor is counted until it closes");
        count.descriptors -= 1;
        if count.descriptors > 0 {
            let one = u32::from(counts_each(file));
            count.holds -= one;
            return one;
        }
        let holds = count.holds;
        self.rows.remove(&file.file);
        holds
    }

    /// Files with descriptors here.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no file has a descriptor.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::table::Attachment;

    #[test]
    fn last_descriptor_releases_every_hold() {
        let file = OpenFile { file: FileId::from_raw(5), kind: FileKind::Regular };
        let mut holders = Holders::default();
        holders.add_held(file);
        holders.add(file);
        holders.add_held(file);
        assert_eq!(holders.remove(file), 0);
        assert_eq!(holders.remove(file), 0);
        assert_eq!(holders.remove(file), 2);
        assert!(holders.is_empty());
    }

    /// Shells that had had /dev/null open for 15 minutes, while others opened it thousands of times, released it
    /// as often at once, for which there was no memory.
    #[test]
    fn device_is_never_released() {
        let file = OpenFile { file: FileId::from_raw(5), kind: FileKind::Device };
        let mut holders = Holders::default();
        holders.add_held(file);
        holders.add_held(file);
        assert!(!holders.add_brought(file));
        assert_eq!([0; 3], [0; 3].map(|_: u32| holders.remove(file)));
        assert!(holders.is_empty());
    }

    #[test]
    fn each_attachment_is_held() {
        let file = OpenFile { file: FileId::from_raw(5), kind: FileKind::Held };
        let mut table = FdTable::default();
        table.attach(Attachment { file: file.file, addr: 4096, bytes: 1 }).unwrap();
        let mut holders = Holders::default();
        holders.add_held(file);
        assert_eq!(holders.add_table(&table), [file]);
        assert!(!holders.add_brought(file));
        assert_eq!([1, 1, 1], [0; 3].map(|_: u32| holders.remove(file)));
        assert!(holders.is_empty());
    }

    #[test]
    fn file_that_is_held_gathers_no_holds() {
        let file = OpenFile { file: FileId::from_raw(5), kind: FileKind::Regular };
        let mut holders = Holders::default();
        assert!(!holders.add_brought(file));
        assert!(holders.add_brought(file));
        assert_eq!(holders.remove(file), 0);
        assert!(holders.add_brought(file));
        assert_eq!((holders.remove(file), holders.remove(file)), (0, 1));
        assert!(holders.is_empty());
    }
}
