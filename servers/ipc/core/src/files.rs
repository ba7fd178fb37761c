// SPDX-License-Identifier: MIT OR Apache-2.0
//! The open file descriptions whose home is this node.
//!
//! # Invariants
//! An id is never used again, by whatever home of its slot. Ids are easily guessed, so every operation checks that the node that
//! asks holds the file.

use crate::limits::FILES_MAX;
use crate::pipe::End;
use crate::sysv::Held;
use abi::{Errno, FileId, NodeId, SlotNo};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use runtime::Cx;
use runtime::collections::HashMap;
use serde::{Deserialize, Serialize};

/// Names a pipe: by the end from which it is read, so that no two have one name wherever they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct PipeNo(pub(crate) FileId);

/// What a description describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Pipe {
        pipe: PipeNo,
        end: End,
    },
    Terminal,
    /// Not a file: what a process has of a System V object.
    Sysv(Held),
    /// An event counter, which has the description's name.
    Counter,
    /// A socket, which has the description's name.
    Socket,
    /// What signalfd(2) made: proc-server reads and polls.
    Signals,
    /// A timer, which has the description's name.
    Timer,
    /// An epoll instance, which has the description's name.
    Epoll,
}

#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) kind: Kind,
    /// Status flags, open(2).
    pub(crate) flags: u32,
    /// Nodes with descriptors of it, and how often each holds it: once for opening it, once for each
    /// process that brought it along.
    pub(crate) holders: BTreeMap<NodeId, u32>,
    /// It waits at this socket to be accepted, and nobody holds it.
    pub(crate) listener: Option<FileId>,
}

impl OpenFile {
    pub(crate) fn is_epoll(&self) -> bool {
        self.kind == Kind::Epoll
    }

    /// `node` holds the file once more.
    pub(crate) fn hold(&mut self, node: NodeId) {
        let count = self.holders.entry(node).or_default();
        *count = count.saturating_add(1);
    }
}

/// Counts go down from here: fs-server makes ids in the same slots, and counts up. proc-server knows a
/// file by its id alone.
const COUNT_MAX: u64 = cluster::COUNT_MAX;

#[derive(Default, Debug)]
pub(crate) struct Files {
    files: HashMap<FileId, OpenFile>,
    /// How many this node has made.
    made: u64,
    /// The heap is nearly used up: see [`crate::limits::HEAP_RESERVE_BYTES`].
    pub(crate) short: bool,
}

impl Files {
    /// An empty table that never grows.
    pub(crate) fn with_room() -> Self {
        let files = HashMap::with_capacity_and_hasher(FILES_MAX, Default::default());
        Self { files, ..Self::default() }
    }

    /// Makes room sure for `count` more.
    pub(crate) fn check_room(&self, count: usize) -> Result<(), Errno> {
        if self.short || self.files.len() + count > FILES_MAX { Err(Errno::ENFILE) } else { Ok(()) }
    }

    /// An id for a new description in a slot of this node.
    pub(crate) fn new_id(&mut self, cx: &Cx<'_>) -> Result<FileId, Errno> {
        self.new_id_in(cx, cx.slot_for_new().ok_or(Errno::ENOSPC)?)
    }

    /// The same in a given one.
    pub(crate) fn new_id_in(&mut self, cx: &Cx<'_>, slot: SlotNo) -> Result<FileId, Errno> {
        self.made += 1;
        let count = COUNT_MAX.checked_sub(self.made).ok_or(Errno::ENFILE)?;
        let serial = cx.view().slot(slot).serial(count).ok_or(Errno::ENFILE)?;
        FileId::new(slot, serial).ok_or(Errno::ENFILE)
    }

    /// A new description, held by `holder`.
    pub(crate) fn open(&mut self, id: FileId, holder: NodeId, kind: Kind, flags: u32) {
        let holders = BTreeMap::from([(holder, 1)]);
        self.insert(id, OpenFile { kind, flags, holders, listener: None });
    }

    pub(crate) fn insert(&mut self, id: FileId, file: OpenFile) {
        let before = self.files.insert(id, file);
        assert!(before.is_none(), "ids are not given twice, and what comes is checked");
    }

    pub(crate) fn contains(&self, id: FileId) -> bool {
        self.files.contains_key(&id)
    }

    /// The descriptions in a slot.
    pub(crate) fn in_slot(&self, slot: SlotNo) -> impl Iterator<Item = (FileId, &OpenFile)> {
        self.files.iter().filter(move |(id, _)| id.slot() == slot).map(|(id, file)| (*id, file))
    }

    /// The slot is another home's now.
    pub(crate) fn forget_slot(&mut self, slot: SlotNo) {
        self.files.retain(|id, _| id.slot() != slot);
    }

    /// Descriptions that nobody holds are taken out.
    pub(crate) fn drop_unheld(&mut self) -> Vec<(FileId, Kind)> {
        let is_gone = |file: &OpenFile| file.holders.is_empty() && file.listener.is_none();
        let gone = self.files.extract_if(|_, file| is_gone(file));
        gone.map(|(id, file)| (id, file.kind)).collect()
    }

    /// What a description describes.
    pub(crate) fn kind(&self, id: FileId) -> Option<Kind> {
        self.files.get(&id).map(|file| file.kind)
    }

    /// The description, if `node` holds it.
    pub(crate) fn get(&mut self, id: FileId, node: NodeId) -> Result<&mut OpenFile, Errno> {
        match self.files.get_mut(&id) {
            Some(file) if file.holders.contains_key(&node) => Ok(file),
            Some(_) | None => Err(Errno::EBADF),
        }
    }

    /// `node` holds the file once less; its kind, if that was the last time.
    pub(crate) fn release(&mut self, id: FileId, node: NodeId) -> Result<Option<Kind>, Errno> {
        let file = self.get(id, node)?;
        match file.holders.get_mut(&node) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                file.holders.remove(&node);
            }
        }
        if !file.holders.is_empty() {
            return Ok(None);
        }
        Ok(self.files.remove(&id).map(|file| file.kind))
    }

    /// How often all nodes hold the file.
    pub(crate) fn holds(&self, id: FileId) -> u64 {
        self.files.get(&id).map_or(0, |file| file.holders.values().copied().map(u64::from).sum())
    }

    /// `node` is down and holds nothing any more: the files that nobody holds now.
    pub(crate) fn forget_node(&mut self, node: NodeId) -> Vec<(FileId, Kind)> {
        for file in self.files.values_mut() {
            file.holders.remove(&node);
        }
        self.drop_unheld()
    }

    /// A description that waits to be accepted is `node`'s now.
    pub(crate) fn claim(
        &mut self,
        id: FileId,
        listener: FileId,
        node: NodeId,
        flags: u32,
    ) -> Result<(), Errno> {
        let file = self.files.get_mut(&id).ok_or(Errno::EBADF)?;
        if file.listener != Some(listener) {
            return Err(Errno::EBADF);
        }
        file.listener = None;
        file.flags |= flags;
        file.hold(node);
        Ok(())
    }

    /// Where a description waits to be accepted.
    pub(crate) fn waits_for(&self, id: FileId) -> Option<FileId> {
        self.files.get(&id)?.listener
    }

    /// The descriptions that wait to be accepted, and where.
    pub(crate) fn unclaimed(&self) -> Vec<(FileId, FileId)> {
        let waiting = |(id, file): (&FileId, &OpenFile)| Some((*id, file.listener?));
        self.files.iter().filter_map(waiting).collect()
    }

    /// Forgets a description that nobody has accepted; false if somebody has, or there is none.
    pub(crate) fn remove_unclaimed(&mut self, id: FileId) -> bool {
        self.waits_for(id).is_some() && self.files.remove(&id).is_some()
    }

    /// Whether any description lives in the slot.
    pub(crate) fn any_in(&self, slot: SlotNo) -> bool {
        self.files.keys().any(|id| id.slot() == slot)
    }

    /// Whether any description of the terminal is left.
    pub(crate) fn has_terminal(&self) -> bool {
        self.files.values().any(|file| file.kind == Kind::Terminal)
    }
}
