// SPDX-License-Identifier: MIT OR Apache-2.0
//! System V objects: shared memory, semaphores, message queues.
//!
//! # Model
//! An object lives at the home of its slot, which its id names; a key leads to a slot, in which its object
//! lives. What a process has of an object beyond a call (an attachment, a list of what is undone at its end) is
//! an open file description without descriptors ([`Held`]): nodes hold it, so that it moves with the process,
//! and goes when the process ends or its node dies.
//!
//! # Limits
//! A slot with shared memory stays at its home. What else lives in a slot moves with it.

mod calls;
mod id;
mod memory;
mod object;
mod queue;
mod saved;
mod semaphores;

pub(crate) use memory::Memory;
pub(crate) use object::{Object, Permissions, What};
pub(crate) use queue::Queue;
pub(crate) use saved::Saved;
pub(crate) use semaphores::Set;

use crate::files::Files;
use crate::limits::OBJECTS_MAX;
use abi::{Errno, FileId, NodeId, SlotNo, Ticket};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ipc_api::sysv::{By, Ids, Kind};
use mem_api::ObjectRelease;
use runtime::Cx;
use runtime::collections::HashMap;

/// What an open file description without descriptors stands for, and the id of its object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Held {
    /// What is undone to semaphores when a process ends.
    Undo(u32),
    /// An attachment of shared memory.
    Attachment(u32),
}

/// Ids of one answer: what fits a message.
const LIST_MAX: usize = 128;
const NS_PER_S: u64 = 1_000_000_000;

/// The objects whose home is this node.
#[derive(Default, Debug)]
pub(crate) struct Sysv {
    objects: BTreeMap<(Kind, u32), Object>,
    /// Keys but IPC_PRIVATE.
    keys: HashMap<(Kind, u32), u32>,
    /// How many this node has made.
    made: u32,
    /// Seconds since 1970 when the node's clock began, as the last caller has it.
    epoch_s: i64,
}

impl Sysv {
    fn now_s(&self, cx: &Cx<'_>) -> i64 {
        self.epoch_s.saturating_add_unsigned(cx.now_ns() / NS_PER_S)
    }

    fn heard(&mut self, cx: &Cx<'_>, by: By) {
        self.epoch_s = by.now_s.saturating_sub_unsigned(cx.now_ns() / NS_PER_S);
    }

    /// The object.
    ///
    /// # Errors
    /// EIDRM: it was lost with a home. EINVAL: there is none.
    fn get(&mut self, cx: &Cx<'_>, kind: Kind, id: u32) -> Result<&mut Object, Errno> {
        self.objects.get_mut(&(kind, id)).ok_or_else(|| id::why_unknown(cx, id))
    }

    fn set(&mut self, cx: &Cx<'_>, id: u32) -> Result<(&mut Set, &mut Permissions), Errno> {
        match self.get(cx, Kind::Semaphores, id)? {
            Object { what: What::Semaphores(set), permissions, .. } => Ok((set, permissions)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn queue(&mut self, cx: &Cx<'_>, id: u32) -> Result<(&mut Queue, &mut Permissions), Errno> {
        match self.get(cx, Kind::Messages, id)? {
            Object { what: What::Messages(queue), permissions, .. } => Ok((queue, permissions)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn memory(&mut self, cx: &Cx<'_>, id: u32) -> Result<(&mut Memory, &mut Permissions), Errno> {
        match self.get(cx, Kind::Memory, id)? {
            Object { what: What::Memory(memory), permissions, .. } => Ok((memory, permissions)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// A new id in the slot.
    fn new_id(&mut self, cx: &Cx<'_>, kind: Kind, slot: SlotNo) -> Result<u32, Errno> {
        if self.objects.len() >= OBJECTS_MAX {
            return Err(Errno::ENOSPC);
        }
        // What came from another home, or is very old, may have the next one: then it is the one after.
        for _ in 0..=OBJECTS_MAX {
            self.made = self.made.wrapping_add(1);
            let id = id::new(cx, slot, self.made);
            if !self.objects.contains_key(&(kind, id)) {
                return Ok(id);
            }
        }
        Err(Errno::ENOSPC)
    }

    fn insert(&mut self, id: u32, object: Object) {
        let kind = object.what.kind();
        if object.key != 0 {
            self.keys.insert((kind, object.key), id);
        }
        self.objects.insert((kind, id), object);
    }

    /// Takes the object out; whoever waits at it hears that it is gone.
    fn remove(&mut self, cx: &mut Cx<'_>, files: &Files, kind: Kind, id: u32) {
        let now_s = self.now_s(cx);
        let Some(object) = self.objects.get_mut(&(kind, id)) else { return };
        let key = core::mem::take(&mut object.key);
        if key != 0 {
            self.keys.remove(&(kind, key));
        }
        match &mut object.what {
            What::Semaphores(set) => set.remove(cx),
            What::Messages(queue) => queue.remove(cx),
            // It stays without a name until the last attachment goes.
            What::Memory(memory) if memory.count(files) > 0 => {
                memory.condemned = true;
                object.permissions.changed_s = now_s;
                return;
            }
            What::Memory(memory) => release(cx, memory),
        }
        self.objects.remove(&(kind, id));
    }

    /// No node holds `file` any more.
    pub(crate) fn closed(&mut self, cx: &mut Cx<'_>, file: FileId, held: Held) {
        let now_s = self.now_s(cx);
        match held {
            Held::Undo(id) => {
                if let Some(Object { what: What::Semaphores(set), .. }) =
                    self.objects.get_mut(&(Kind::Semaphores, id))
                {
                    set.undo(cx, file, now_s);
                }
            }
            Held::Attachment(id) => {
                let key = (Kind::Memory, id);
                let Some(Object { what: What::Memory(memory), .. }) = self.objects.get_mut(&key)
                else {
                    return;
                };
                memory.attachments.remove(&file);
                memory.times_s[1] = now_s;
                if memory.condemned && memory.attachments.is_empty() {
                    release(cx, memory);
                    self.objects.remove(&key);
                }
            }
        }
    }

    /// The ids here above `after`.
    fn list(&self, kind: Kind, after: u32) -> Ids {
        let from = (kind, after.saturating_add(1));
        let keys = self.objects.range(from..=(kind, u32::MAX));
        Ids(keys.map(|((_, id), _)| *id).take(LIST_MAX).collect())
    }

    /// Ends a waiting call, if it waits here.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        self.objects.values_mut().any(|object| match &mut object.what {
            What::Semaphores(set) => set.cancel(cx, ticket),
            What::Messages(queue) => queue.cancel(cx, ticket),
            What::Memory(_) => false,
        })
    }

    /// Forgets the calls of a node that is down: nobody waits for their answers.
    pub(crate) fn forget_node(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        for object in self.objects.values_mut() {
            match &mut object.what {
                What::Semaphores(set) => set.forget_node(cx, node),
                What::Messages(queue) => queue.forget_node(cx, node),
                What::Memory(_) => {}
            }
        }
    }

    /// Bytes that blocked sends keep here.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.objects
            .values()
            .map(|object| match &object.what {
                What::Messages(queue) => queue.kept_bytes(),
                What::Semaphores(_) | What::Memory(_) => 0,
            })
            .sum()
    }

    fn in_slot(&self, slot: SlotNo) -> impl Iterator<Item = (&(Kind, u32), &Object)> {
        self.objects.iter().filter(move |((_, it), _)| id::slot(*it) == slot)
    }

    /// Whether any object lives in the slot.
    pub(crate) fn any_in(&self, slot: SlotNo) -> bool {
        self.in_slot(slot).next().is_some()
    }

    /// Whether what lives in the slot cannot move.
    pub(crate) fn stays(&self, slot: SlotNo) -> bool {
        self.in_slot(slot).any(|(_, object)| matches!(object.what, What::Memory(_)))
    }

    /// Bytes of the messages in the slot.
    pub(crate) fn bytes_in(&self, slot: SlotNo) -> usize {
        self.in_slot(slot)
            .map(|(_, object)| match &object.what {
                What::Messages(queue) => queue.bytes(),
                What::Semaphores(_) | What::Memory(_) => 0,
            })
            .sum()
    }

    /// The slot is another home's now.
    pub(crate) fn forget_slot(&mut self, slot: SlotNo) {
        self.objects.retain(|(_, it), _| id::slot(*it) != slot);
        self.keys.retain(|_, it| id::slot(*it) != slot);
    }
}

fn release(cx: &mut Cx<'_>, memory: &Memory) {
    // mem-server is dead if it fails, and the memory with it.
    let _ = cx.leaf(&ObjectRelease { object: memory.object });
}

/// Merges lists of ids into one answer.
pub(crate) fn merged(mut ids: Vec<u32>) -> Ids {
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(LIST_MAX);
    Ids(ids)
}
