// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open file descriptions whose home is this node.

use crate::inode::{MAY_READ, MAY_WRITE};
use crate::limits::FILES_MAX;
use abi::linux::general::{O_ACCMODE, O_APPEND, O_PATH};
use abi::{Errno, FileId, InodeId, NodeId, SlotNo};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use fs_api::name::FileKind;
use hashbrown::HashMap;

/// An open file description, open(2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The file.
    pub inode: InodeId,
    /// What it is.
    pub kind: FileKind,
    /// Access mode and status flags.
    pub flags: u32,
    /// Offset; in a directory the cookie of the last entry that was read.
    pub position: u64,
    /// How often each node holds it.
    holds: BTreeMap<NodeId, u32>,
}

impl Description {
    /// Whether the access mode allows it.
    ///
    /// # Errors
    /// EBADF.
    pub fn check(&self, wanted: u32) -> Result<(), Errno> {
        let allowed = match self.flags & O_ACCMODE {
            _ if self.flags & O_PATH != 0 => 0,
            0 => MAY_READ,
            1 => MAY_WRITE,
            _ => MAY_READ | MAY_WRITE,
        };
        if allowed & wanted == wanted { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Whether writes go to the end.
    pub fn appends(&self) -> bool {
        self.flags & O_APPEND != 0
    }
}

/// The table of descriptions.
#[derive(Debug)]
pub struct Files {
    table: HashMap<FileId, Description>,
    serial: u64,
}

impl Files {
    /// An empty table, whose serials follow on `serial`.
    pub fn new(serial: u64) -> Self {
        Self { table: HashMap::new(), serial }
    }

    /// Whether one more fits.
    ///
    /// # Errors
    /// ENFILE.
    pub fn room(&self) -> Result<(), Errno> {
        if self.table.len() >= FILES_MAX { Err(Errno::ENFILE) } else { Ok(()) }
    }

    /// The next description's serial.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A new description, held once by `node`.
    ///
    /// # Errors
    /// ENFILE.
    pub fn add(
        &mut self,
        slot: SlotNo,
        serial: u64,
        node: NodeId,
        (inode, kind, flags): (InodeId, FileKind, u32),
    ) -> Result<FileId, Errno> {
        self.room()?;
        let id = FileId::new(slot, serial).ok_or(Errno::ENFILE)?;
        let holds = BTreeMap::from([(node, 1)]);
        self.table.insert(id, Description { inode, kind, flags, position: 0, holds });
        Ok(id)
    }

    /// The description.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn get(&self, file: FileId) -> Result<&Description, Errno> {
        self.table.get(&file).ok_or(Errno::EBADF)
    }

    /// The same.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn get_mut(&mut self, file: FileId) -> Result<&mut Description, Errno> {
        self.table.get_mut(&file).ok_or(Errno::EBADF)
    }

    /// `node` holds it once more.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn hold(&mut self, file: FileId, node: NodeId) -> Result<(), Errno> {
        let count = self.get_mut(file)?.holds.entry(node).or_default();
        *count = count.saturating_add(1);
        Ok(())
    }

    /// `node` holds it once less. The last one takes the description away.
    ///
    /// # Errors
    /// EBADF: there is none, or the node does not hold it.
    pub fn release(&mut self, file: FileId, node: NodeId) -> Result<Option<Description>, Errno> {
        let description = self.get_mut(file)?;
        let count = description.holds.get_mut(&node).ok_or(Errno::EBADF)?;
        *count -= 1;
        if *count == 0 {
            description.holds.remove(&node);
        }
        Ok(if description.holds.is_empty() { self.table.remove(&file) } else { None })
    }

    /// `node` is down and holds nothing any more; what nobody holds is handed out.
    pub fn drop_node(&mut self, node: NodeId) -> Vec<Description> {
        for description in self.table.values_mut() {
            description.holds.remove(&node);
        }
        self.table.extract_if(|_, it| it.holds.is_empty()).map(|(_, it)| it).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }
}
