// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects that move with their slot.

use super::object::{Object, Permissions, What};
use super::{Sysv, id, queue, semaphores};
use crate::limits::OBJECTS_MAX;
use crate::slots::distinct;
use abi::{Errno, FileId, SlotNo};
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

/// All objects of a slot on their way to another home. The lists of what is undone are files beside it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    objects: Vec<SavedObject>,
}

impl Saved {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether these can be the objects of a slot; `is_undo` says whether a file is a list of a set.
    pub(crate) fn is_sound(&self, slot: SlotNo, is_undo: impl Fn(FileId, u32) -> bool) -> bool {
        let sound = |it: &SavedObject| {
            let key_fits = it.key == 0 || id::slot_of_key(it.kind(), it.key) == slot;
            key_fits
                && id::slot(it.id) == slot
                && i32::try_from(it.id).is_ok()
                && match &it.what {
                    SavedWhat::Semaphores(set) => set.is_sound(|file| is_undo(file, it.id)),
                    SavedWhat::Messages(queue) => queue.is_sound(),
                }
        };
        let keys = self.objects.iter().filter(|it| it.key != 0).map(|it| (it.kind(), it.key));
        self.objects.iter().all(sound)
            && distinct(self.objects.iter().map(|it| (it.kind(), it.id)))
            && distinct(keys)
    }
}

impl Sysv {
    /// What goes along with the slot; what waits comes again. `None`: some of it stays.
    pub(crate) fn save(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Option<Saved> {
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
        Some(saved)
    }

    /// Whether none of them is here.
    pub(crate) fn is_new(&self, saved: &Saved) -> bool {
        !saved.objects.iter().any(|it| self.objects.contains_key(&(it.kind(), it.id)))
    }

    /// Whether there is room for them.
    ///
    /// # Errors
    /// ENOSPC.
    pub(crate) fn check_room(&self, saved: &Saved) -> Result<(), Errno> {
        let room = OBJECTS_MAX.saturating_sub(self.objects.len());
        if saved.objects.len() > room { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// Takes in what was admitted.
    pub(crate) fn restore(&mut self, saved: Saved) {
        for SavedObject { id, key, permissions, what } in saved.objects {
            let what = match what {
                SavedWhat::Semaphores(set) => What::Semaphores(set.restored()),
                SavedWhat::Messages(queue) => What::Messages(queue.restored()),
            };
            self.insert(id, Object { key, permissions, what });
        }
    }
}
