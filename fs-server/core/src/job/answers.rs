// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of answers from other servers and nodes.

use super::{Announcement, Job, Raw, Waiting, Work, end, fail};
use crate::FsCore;
use crate::tree::Listing;
use crate::walk::{NameOp, Step, Stop};
use abi::{Errno, FileId, NodeId, SlotNo, SpaceId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use fs_api::file::{FileObject, Moved};
use fs_api::peer::{BehindFile, BytesRead, RecordsEnd, Rewind};
use mem_api::{CopyOut, ObjectAdopt};
use runtime::{Bulk, Client, Cx, NodeReply, Wire};

impl FsCore {
    /// One more has heard, or is down and will hear when it comes back.
    pub(super) fn announced(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(announcement) = self.announcements.get_mut(&number) else { return };
        announcement.left -= 1;
        if announcement.left > 0 {
            return;
        }
        let Some(Announcement { dir, place, job, .. }) = self.announcements.remove(&number) else {
            return;
        };
        match self.tree.overlay(dir, place) {
            Ok(()) => self.resume(cx, job),
            Err(errno) => fail(cx, &job, errno),
        }
    }

    /// Nobody on `node` waits any more: what it asked for and has not been done is not done.
    pub(crate) fn drop_jobs_of(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let is_its = |job: &Job| matches!(job.client, Client::Node { node: it, .. } if it == node);
        let waiting = self
            .waiting
            .extract_if(|_, waiting| matches!(waiting, Waiting::Job(job, _) if is_its(job)));
        for (_, waiting) in waiting {
            if let Waiting::Job(job, _) = waiting {
                fail(cx, &job, Errno::ECANCELED);
            }
        }
        for (_, announcement) in self.announcements.extract_if(|_, it| is_its(&it.job)) {
            fail(cx, &announcement.job, Errno::ECANCELED);
        }
    }

    /// An answer to something that this server asked for.
    pub(crate) fn answered(
        &mut self,
        cx: &mut Cx<'_>,
        cookie: u64,
        result: Result<NodeReply, Errno>,
    ) {
        match self.waiting.remove(&cookie) {
            None => {}
            Some(Waiting::Job(job, stop)) => self.job_answered(cx, job, &stop, result),
            Some(Waiting::Announced(number)) => self.announced(cx, number),
            Some(Waiting::Search(number)) => self.search_answered(cx, number, result),
            Some(Waiting::Holder(inode, holder)) => {
                self.holder_checked(cx, (inode, holder), result);
            }
            Some(Waiting::Forwarded(ticket, slot) | Waiting::Relayed(ticket, slot, _)) => {
                let result = result.map_err(|errno| lost_with(cx, slot, errno));
                cx.complete(ticket, result.map(|reply| Raw(reply.msg)));
            }
            Some(Waiting::ReadBack { ticket, file, space, addr }) => {
                let result = result.map_err(|errno| lost_with(cx, file.slot(), errno));
                let moved = result.and_then(|reply| self.read_back(cx, file, space, addr, reply));
                cx.complete(ticket, moved.map(|bytes| Moved { bytes }));
            }
            Some(Waiting::Disk(work)) => self.disk_answered(cx, work, result),
            Some(Waiting::Synced(number, node)) => self.synced(cx, (number, node), result),
            Some(Waiting::Behind(ticket, slot)) => {
                let result = result.map_err(|errno| lost_with(cx, slot, errno));
                let behind = result.and_then(|reply| BehindFile::get(&reply.msg));
                let object = behind.and_then(|behind| self.object_behind(cx, behind, true));
                cx.complete(ticket, object);
            }
        }
    }

    pub(super) fn job_answered(
        &mut self,
        cx: &mut Cx<'_>,
        mut job: Box<Job>,
        stop: &Stop,
        result: Result<NodeReply, Errno>,
    ) {
        let reply = match result {
            Ok(reply) => reply,
            Err(errno) => {
                let errno = match stop {
                    Stop::Go(slot) => lost_with(cx, *slot, errno),
                    _ => errno,
                };
                return fail(cx, &job, errno);
            }
        };
        match (stop, &mut job.work) {
            (Stop::Go(_), Work::Name { walk, op, shape }) => {
                match postcard::from_bytes::<Step>(&reply.bulk) {
                    Ok(Step::Continue(next, next_op)) => (*walk, *op) = (next, next_op),
                    Ok(step) => {
                        let reply = self.shaped(cx, job.client, step, op, *shape);
                        return end(cx, job.ticket, reply);
                    }
                    Err(_) => return fail(cx, &job, Errno::EPROTO),
                }
            }
            (Stop::Seal(inode), Work::Name { op: NameOp::Unlink { sealed, .. }, .. }) => {
                *sealed = Some(*inode);
            }
            (Stop::Records { .. }, Work::List { got, .. }) => match RecordsEnd::get(&reply.msg) {
                Ok(RecordsEnd { last }) => *got = Some(Listing { data: reply.bulk, last }),
                Err(errno) => return fail(cx, &job, errno),
            },
            (_, _) => {}
        }
        self.resume(cx, job);
    }

    /// Puts bytes that the file's home has read into the program's memory.
    pub(super) fn read_back(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        space: SpaceId,
        addr: u64,
        mut reply: NodeReply,
    ) -> Result<u64, Errno> {
        let BytesRead { before, after } = BytesRead::get(&reply.msg)?;
        let bytes = reply.bulk.len() as u64;
        if bytes == 0 {
            return Ok(0);
        }
        let copy = CopyOut { space, addr };
        cx.leaf_bulk(&copy, &mut Bulk::new(&mut reply.bulk)).inspect_err(|_| {
            if before != after {
                let home = cx.view().home(file.slot());
                // If the home does not answer, neither does the file.
                let _ = cx.inform_node(home, &Rewind { file, from: after, to: before }, Vec::new());
            }
        })?;
        Ok(bytes)
    }

    /// The object on this node that shows what is behind an open file, with one more reference;
    /// `remote` if another node's fs-server counted it.
    pub(crate) fn object_behind(
        &mut self,
        cx: &mut Cx<'_>,
        behind: BehindFile,
        remote: bool,
    ) -> Result<FileObject, Errno> {
        match behind {
            BehindFile::Object { object, size, writable } => {
                if remote {
                    cx.leaf(&ObjectAdopt { object })?;
                }
                Ok(FileObject { object, size, writable })
            }
            BehindFile::Image(inode) => {
                let number = self.tree.lower.number(inode).ok_or(Errno::ESTALE)?;
                let (object, size) = self.referred_image_object(cx, number)?;
                Ok(FileObject { object, size, writable: false })
            }
        }
    }
}

/// Why a call at a slot's home failed: one that left the cluster does not only not answer, what it had is gone.
fn lost_with(cx: &Cx<'_>, slot: SlotNo, errno: Errno) -> Errno {
    let row = cx.view().slot(slot);
    if errno == Errno::EHOSTDOWN && row.lost == row.since { Errno::EIO } else { errno }
}
