// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects that move with their slot.

use super::object::{Object, Permissions, What};
use super::{Held, Sysv, id, queue, semaphores};
use crate::files::{Files, Kind as FileKind};
use crate::limits::OBJECTS_MAX;
use abi::{Errno, FileId, NodeId, SlotNo};
use alloc::vec::Vec;
use ipc_api::sysv::Kind;
use runtime::Cx;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum SavedWhat {
    Semaphores(semaphores::Saved),
    Messages(queue::Saved),
}

#[derive(Serialize, Deserialize)]
struct SavedObject {
    id: u32,
    key: u32,
    permissions: Permissions,
    what: SavedWhat,
}

impl SavedObject {
    fn kind(&self) -> Kind {
        match self.what {
            SavedWhat::Semaphores(_) => Kind::Semaphores,
            SavedWhat::Messages(_) => Kind::Messages,
        }
    }
}

/// A list of what is undone, as a file that nodes hold.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedUndo {
    pub(crate) file: FileId,
    set: u32,
    pub(crate) holders: Vec<(NodeId, u32)>,
}

impl SavedUndo {
    pub(crate) fn kind(&self) -> FileKind {
        FileKind::Sysv(Held::Undo(self.set))
    }
}

/// All objects of a slot on their way to another home.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    objects: Vec<SavedObject>,
    pub(crate) undos: Vec<SavedUndo>,
}

impl Saved {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.undos.is_empty()
    }
}

fn is_distinct<T: Ord>(mut all: Vec<T>) -> bool {
    let before = all.len();
    all.sort_unstable();
    all.dedup();
    all.len() == before
}

impl Sysv {
    /// What goes along with the slot; what waits comes again. `None`: some of it stays.
    pub(crate) fn save(&mut self, cx: &mut Cx<'_>, files: &Files, slot: SlotNo) -> Option<Saved> {
        if self.stays(slot) {
            return None;
        }
        let mut saved = Saved::default();
        for ((_, id), object) in &mut self.objects {
            if id::slot(*id) != slot {
                continue;
            }
            let what = match &mut object.what {
                What::Memory(_) => return None,
                What::Semaphores(set) => {
                    set.send_away(cx);
                    SavedWhat::Semaphores(set.saved())
                }
                What::Messages(queue) => {
                    queue.send_away(cx);
                    SavedWhat::Messages(queue.saved())
                }
            };
            let Object { key, permissions, .. } = *object;
            saved.objects.push(SavedObject { id: *id, key, permissions, what });
        }
        for (file, open) in files.in_slot(slot) {
            if let FileKind::Sysv(Held::Undo(set)) = open.kind {
                let holders = open.holders.iter().map(|(node, count)| (*node, *count)).collect();
                saved.undos.push(SavedUndo { file, set, holders });
            }
        }
        Some(saved)
    }

    /// Whether what another node says can live in the slot, and there is room for it.
    pub(crate) fn admits(&self, files: &Files, slot: SlotNo, saved: &Saved) -> Result<(), Errno> {
        let Saved { objects, undos } = saved;
        let is_undo =
            |file: FileId, of: u32| undos.iter().any(|it| it.file == file && it.set == of);
        let sound = |it: &SavedObject| {
            let key_fits = it.key == 0 || id::slot_of_key(it.kind(), it.key) == slot;
            key_fits
                && id::slot(it.id) == slot
                && i32::try_from(it.id).is_ok()
                && !self.objects.contains_key(&(it.kind(), it.id))
                && match &it.what {
                    SavedWhat::Semaphores(set) => set.is_sound(|file| is_undo(file, it.id)),
                    SavedWhat::Messages(queue) => queue.is_sound(),
                }
        };
        let undo_sound = |it: &SavedUndo| it.file.slot() == slot && !files.contains(it.file);
        let keys = objects.iter().filter(|it| it.key != 0).map(|it| (it.kind(), it.key));
        let sound = objects.iter().all(sound)
            && undos.iter().all(undo_sound)
            && is_distinct(objects.iter().map(|it| (it.kind(), it.id)).collect())
            && is_distinct(keys.collect())
            && is_distinct(undos.iter().map(|it| it.file).collect());
        if !sound {
            return Err(Errno::EPROTO);
        }
        let room = OBJECTS_MAX.saturating_sub(self.objects.len());
        if objects.len() > room { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// Takes in what was admitted.
    pub(crate) fn restore(&mut self, objects: Saved) -> Vec<SavedUndo> {
        for SavedObject { id, key, permissions, what } in objects.objects {
            let what = match what {
                SavedWhat::Semaphores(set) => What::Semaphores(set.restored()),
                SavedWhat::Messages(queue) => What::Messages(queue.restored()),
            };
            self.insert(id, Object { key, permissions, what });
        }
        objects.undos
    }
}
