// SPDX-License-Identifier: MIT OR Apache-2.0
//! fsync(2) and its kin: they end when all copies are on disks.
//!
//! # Model
//! A call waits for this node's disk, and for those of other nodes, which are asked. A call to another node leaves when
//! that has applied what was changed before, so its disk is told of that, too. A node without a disk has what it has in
//! memory, and answers at once.
//!
//! # Failure
//! A node that does not answer is asked again in the next view, if it still has a copy then, and when it is up again.

use crate::FsCore;
use crate::job::{Reply, Waiting};
use crate::limits::SYNCS_MAX;
use abi::{Errno, InodeId, NodeId, SlotNo, Ticket};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use fs_api::peer::SyncDisk;
use runtime::{Answer, Client, Cx, NodeReply};

/// For whom it is done.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    /// Who asks now.
    Asks(Client),
    /// Who asked before.
    Waits(Ticket),
}

impl From<Client> for Who {
    fn from(client: Client) -> Self {
        Self::Asks(client)
    }
}

impl From<Ticket> for Who {
    fn from(ticket: Ticket) -> Self {
        Self::Waits(ticket)
    }
}

/// A call that waits.
struct Sync {
    ticket: Ticket,
    reply: Reply,
    /// The store's number, until that is safe.
    own: Option<u64>,
    /// Nodes that were asked.
    asked: BTreeSet<NodeId>,
    /// Nodes that are to be asked again.
    again: BTreeSet<NodeId>,
    /// About which slot; all, if none is named.
    slot: Option<SlotNo>,
}

/// All of them, by number.
#[derive(Default)]
pub(super) struct Syncs {
    open: BTreeMap<u64, Sync>,
    last: u64,
}

impl FsCore {
    /// fsync(2) of a file of this home; `reply` is what is answered then.
    pub(crate) fn sync_file(
        &mut self,
        cx: &mut Cx<'_>,
        who: impl Into<Who>,
        inode: InodeId,
        reply: Reply,
    ) -> Answer {
        if self.tree.file(inode).is_ok_and(|file| file.mapped) {
            self.dirty_all(inode);
        }
        let others = cx.view().slot(inode.slot()).backup;
        self.sync(cx, who.into(), Some(inode.slot()), others.into_iter().collect(), reply)
    }

    /// sync(2): all that any node has.
    pub(crate) fn sync_all(&mut self, cx: &mut Cx<'_>, from: Client) -> Answer {
        let others = self.tree.others().collect();
        self.dirty_mapped();
        self.sync(cx, from.into(), None, others, Reply::default())
    }

    /// The same for what this node has, as another one asks.
    pub(crate) fn sync_disk(&mut self, cx: &mut Cx<'_>, from: Client) -> Answer {
        self.dirty_mapped();
        self.sync(cx, from.into(), None, Vec::new(), Reply::default())
    }

    fn dirty_all(&mut self, inode: InodeId) {
        if let (Ok(file), Some(store)) = (self.tree.file(inode), &mut self.disk.store)
            && file.object.is_some()
        {
            store.dirty(inode.raw(), 0..file.size.div_ceil(super::PAGE));
        }
    }

    /// What programs write through mappings is not seen.
    fn dirty_mapped(&mut self) {
        for inode in self.tree.mapped() {
            self.dirty_all(inode);
        }
    }

    fn sync(
        &mut self,
        cx: &mut Cx<'_>,
        who: Who,
        slot: Option<SlotNo>,
        others: Vec<NodeId>,
        reply: Reply,
    ) -> Answer {
        cx.sync();
        self.note_changes(cx);
        let own = self.run_store(cx, |store, out| store.sync(out));
        if own.is_none() && others.is_empty() {
            if let Who::Waits(ticket) = who {
                crate::job::end(cx, ticket, Ok(reply));
                return Answer::Pending(ticket);
            }
            return Answer::Done(reply.msg);
        }
        if self.disk.syncs.open.len() >= SYNCS_MAX {
            return Answer::Failed(Errno::EAGAIN);
        }
        let ticket = match who {
            Who::Asks(client) => cx.open_ticket(client),
            Who::Waits(ticket) => Ok(ticket),
        };
        let ticket = match ticket {
            Ok(ticket) => ticket,
            Err(errno) => return Answer::Failed(errno),
        };
        self.disk.syncs.last += 1;
        let number = self.disk.syncs.last;
        let (asked, again) = (BTreeSet::new(), others.into_iter().collect());
        self.disk.syncs.open.insert(number, Sync { ticket, reply, own, asked, again, slot });
        self.ask_to_sync(cx, number);
        self.end_syncs(cx);
        Answer::Pending(ticket)
    }

    fn ask_to_sync(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(sync) = self.disk.syncs.open.get_mut(&number) else { return };
        let nodes = core::mem::take(&mut sync.again);
        sync.asked.extend(nodes.iter().copied());
        for node in nodes {
            let cookie = self.new_cookie();
            self.waiting.insert(cookie, Waiting::Synced(number, node));
            cx.call_node(node, &SyncDisk {}, Vec::new(), cookie);
        }
    }

    /// Another node has done it, or cannot.
    pub(crate) fn synced(
        &mut self,
        cx: &mut Cx<'_>,
        (number, node): (u64, NodeId),
        result: Result<NodeReply, Errno>,
    ) {
        let Some(sync) = self.disk.syncs.open.get_mut(&number) else { return };
        sync.asked.remove(&node);
        match result {
            Ok(_) => {}
            Err(errno @ (Errno::EIO | Errno::ENOSPC)) => self.end_sync(cx, number, Err(errno)),
            Err(_) => drop(sync.again.insert(node)),
        }
        self.end_syncs(cx);
    }

    /// A view was entered, or a node is up: who did not answer is asked again.
    pub(crate) fn sync_again(&mut self, cx: &mut Cx<'_>) {
        let numbers: Vec<u64> = self.disk.syncs.open.keys().copied().collect();
        for number in numbers {
            let Some(sync) = self.disk.syncs.open.get_mut(&number) else { continue };
            let slot = sync.slot;
            sync.again.retain(|node| match slot {
                Some(slot) => cx.view().slot(slot).backup == Some(*node),
                None => cx.view().contains(*node),
            });
            self.ask_to_sync(cx, number);
        }
        self.end_syncs(cx);
    }

    /// Ends the calls of which everything is safe.
    pub(super) fn end_syncs(&mut self, cx: &mut Cx<'_>) {
        let mut ended = Vec::new();
        for (number, sync) in &mut self.disk.syncs.open {
            let own = self.disk.store.as_ref().zip(sync.own);
            match own.map(|(store, own)| store.outcome(own)) {
                Some(Some(Err(errno))) => ended.push((*number, Err(errno))),
                Some(None) => {}
                Some(Some(Ok(()))) | None => {
                    sync.own = None;
                    if sync.asked.is_empty() && sync.again.is_empty() {
                        ended.push((*number, Ok(())));
                    }
                }
            }
        }
        for (number, result) in ended {
            self.end_sync(cx, number, result);
        }
    }

    fn end_sync(&mut self, cx: &mut Cx<'_>, number: u64, result: Result<(), Errno>) {
        let Some(sync) = self.disk.syncs.open.remove(&number) else { return };
        crate::job::end(cx, sync.ticket, result.map(|()| sync.reply));
    }

    /// Whether a call with this ticket waited for disks: it does no more.
    pub(crate) fn cancel_sync(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let open = &self.disk.syncs.open;
        let number = open.iter().find(|(_, sync)| sync.ticket == ticket).map(|(number, _)| *number);
        if let Some(number) = number {
            self.end_sync(cx, number, Err(Errno::ECANCELED));
        }
        number.is_some()
    }
}
