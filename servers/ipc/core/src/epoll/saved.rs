// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instances that move with their slot. All that they watch is asked after anew at the next look.

use super::Epoll;
use super::item::Item;
use crate::Ipc;
use crate::watch::Key;
use abi::{FileId, SlotNo};
use alloc::vec::Vec;
use ipc_api::epoll::{Changes, DEPTH_MAX};
use runtime::Cx;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Serialize, Deserialize)]
struct SavedItem {
    key: Key,
    nests: bool,
    events: u32,
    data: u64,
    seen: Option<Changes>,
    spent: bool,
}

/// An instance on its way to another home.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) file: FileId,
    changes: Changes,
    above: u8,
    items: Vec<SavedItem>,
}

impl Saved {
    /// Whether an instance can be so.
    pub(crate) fn is_sound(&self) -> bool {
        self.above <= DEPTH_MAX && crate::slots::distinct(self.items.iter().map(|it| it.key))
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// It takes its place here.
    pub(crate) fn restored(self) -> Epoll {
        let mut epoll = Epoll { changes: self.changes, above: self.above, ..Epoll::default() };
        for SavedItem { key, nests, events, data, seen, spent } in self.items {
            epoll.items.insert(key, Item { seen, spent, ..Item::new(nests, events, data) });
            epoll.due.push_back(key);
        }
        epoll
    }
}

impl Ipc {
    /// The instances of a slot that is about to move.
    pub(crate) fn save_epolls(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Vec<Saved> {
        let files = self.epolls.keys().copied().filter(|file| file.slot() == slot);
        let files: Vec<FileId> = files.collect();
        files.into_iter().filter_map(|file| self.save_epoll(cx, file)).collect()
    }

    fn save_epoll(&mut self, cx: &mut Cx<'_>, file: FileId) -> Option<Saved> {
        self.epolls.get_mut(&file)?.send_waiters_away(cx);
        let keys: Vec<Key> = self.epolls.get(&file)?.items.keys().copied().collect();
        for key in &keys {
            self.stop_watching(cx, file, *key);
        }
        let epoll = self.epolls.get_mut(&file)?;
        // If it stays after all they are asked after at the next look.
        epoll.due.extend(keys);
        let item = |(key, it): (&Key, &Item)| SavedItem {
            key: *key,
            nests: it.nests,
            events: it.events,
            data: it.data,
            seen: it.seen,
            spent: it.spent,
        };
        let items = epoll.items.iter().map(item).collect();
        Some(Saved { file, changes: epoll.changes, above: epoll.above, items })
    }
}
