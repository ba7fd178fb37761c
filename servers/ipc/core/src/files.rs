// SPDX-License-Identifier: MIT OR Apache-2.0
//! The open file descriptions whose home is this node.
//!
//! # Invariants
//! An id is never used again. Ids are easily guessed, so every operation checks that the node that
//! asks holds the file.

use crate::limits::FILES_MAX;
use crate::pipe::End;
use abi::{Errno, FileId, NodeId};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use hashbrown::HashMap;
use runtime::Cx;

/// Names a pipe of this node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PipeNo(pub(crate) u64);

/// What a description describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Pipe { pipe: PipeNo, end: End },
    Terminal,
}

#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) kind: Kind,
    /// Status flags, open(2).
    pub(crate) flags: u32,
    /// Nodes with descriptors of it. Each counts once.
    pub(crate) holders: BTreeSet<NodeId>,
}

#[derive(Default, Debug)]
pub(crate) struct Files {
    files: HashMap<FileId, OpenFile>,
    next_serial: u64,
}

impl Files {
    /// Makes room sure for `count` more.
    pub(crate) fn check_room(&self, count: usize) -> Result<(), Errno> {
        if self.files.len() + count > FILES_MAX { Err(Errno::ENFILE) } else { Ok(()) }
    }

    /// A new description in a slot of this node, held by `holder`.
    pub(crate) fn create(
        &mut self,
        cx: &Cx<'_>,
        holder: NodeId,
        kind: Kind,
        flags: u32,
    ) -> Result<FileId, Errno> {
        self.check_room(1)?;
        let slot = cx.view().slots_of(cx.node()).next().ok_or(Errno::ENOSPC)?;
        self.next_serial += 1;
        let id = FileId::new(slot, self.next_serial).ok_or(Errno::ENFILE)?;
        let holders = BTreeSet::from([holder]);
        self.files.insert(id, OpenFile { kind, flags, holders });
        Ok(id)
    }

    /// The description, if `node` holds it.
    pub(crate) fn get(&mut self, id: FileId, node: NodeId) -> Result<&mut OpenFile, Errno> {
        match self.files.get_mut(&id) {
            Some(file) if file.holders.contains(&node) => Ok(file),
            Some(_) | None => Err(Errno::EBADF),
        }
    }

    /// `node` holds the file no more; its kind, if it was the last one.
    pub(crate) fn release(&mut self, id: FileId, node: NodeId) -> Result<Option<Kind>, Errno> {
        let file = self.get(id, node)?;
        file.holders.remove(&node);
        if !file.holders.is_empty() {
            return Ok(None);
        }
        Ok(self.files.remove(&id).map(|file| file.kind))
    }

    /// The files that `node` holds.
    pub(crate) fn held_by(&self, node: NodeId) -> Vec<FileId> {
        let held = self.files.iter().filter(|(_, file)| file.holders.contains(&node));
        held.map(|(id, _)| *id).collect()
    }
}
