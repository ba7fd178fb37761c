// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that may have to wait, as values: each is run, and when it stops because something is
//! elsewhere it is kept until that is here, and run again from its start.
//!
//! ```text
//! drive --run--> done: answer
//!        '-----> Stop: open a ticket, ask, keep the job --completion--> drive
//! ```

mod answers;
mod run;

use crate::FsCore;
use crate::data::{Sink, Source};
use crate::disk::DiskWork;
use crate::limits::{JOBS_MAX, TURNS_MAX};
use crate::tree::Listing;
use crate::walk::{NameOp, Stop, Walk};
use abi::linux::general::O_DSYNC;
use abi::{Errno, FileId, InodeId, NodeId, SlotNo, SpaceId, Ticket};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::Poll;
use fs_api::peer::{LockHolder, NameStep, Overlaid, Records, Seal};
use mem_api::ObjectFetch;
use runtime::{Answer, Bulk, Client, Cx, Msg, Wire};

/// An answer: the message and its bulk data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reply {
    /// The message.
    pub msg: Msg,
    /// Bulk data for another node.
    pub data: Vec<u8>,
}

impl Reply {
    pub(crate) fn of<T: Wire>(value: &T) -> Result<Self, Errno> {
        Ok(Self { msg: Msg::of(value)?, data: Vec::new() })
    }
}

/// A message that is handed on as it came.
pub(crate) struct Raw(pub(crate) Msg);

impl Wire for Raw {
    fn put(&self, msg: &mut Msg) -> Result<(), Errno> {
        *msg = self.0.clone();
        Ok(())
    }

    fn get(msg: &Msg) -> Result<Self, Errno> {
        Ok(Self(msg.clone()))
    }
}

/// How a walk's end is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// To another node's fs-server, which drives the walk.
    Step,
    /// To a program, with [`Named`].
    Named,
    /// To a program that named an open file: without.
    Bare,
    /// Into a program's memory; it is told how many bytes.
    Into { space: SpaceId, addr: u64, len: u64 },
}

/// An operation that may have to wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// Something on a name.
    Name { walk: Walk, op: NameOp, shape: Shape },
    /// read(2) of a description of this home.
    Read { file: FileId, offset: Option<u64>, len: u64, sink: Sink },
    /// write(2) of a description of this home.
    Write { file: FileId, offset: Option<u64>, source: Source },
    /// ftruncate(2) of a description of this home.
    Resize { file: FileId, len: u64 },
    /// fallocate(2) of a description of this home.
    Allocate { file: FileId, mode: u32, offset: u64, len: u64 },
    /// getdents64(2) of a description of this home; `got` came from the directory's home.
    List { file: FileId, len: u64, sink: Sink, got: Option<Listing> },
}

/// An operation and who waits for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Job {
    pub(crate) client: Client,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) work: Work,
    pub(crate) turns: u32,
}

/// What waits for an answer.
pub(crate) enum Waiting {
    /// A job for what it stopped at.
    Job(Box<Job>, Stop),
    /// One of the answers that an announcement needs.
    Announced(u64),
    /// A request that the file's home performs.
    Forwarded(Ticket, SlotNo),
    /// A step with a lock for another node, which the inode's home performs.
    Relayed(Ticket, SlotNo, NodeId),
    /// One of the answers that a search for a ring of waits needs.
    Search(u64),
    /// Whether the description that has locks of an inode is still there.
    Holder(InodeId, LockHolder),
    /// A read that the file's home performs: where the bytes go.
    ReadBack { ticket: Ticket, file: FileId, space: SpaceId, addr: u64 },
    /// ObjectOf.
    Behind(Ticket, SlotNo),
    /// The disk server, for the store; or a page for it.
    Disk(DiskWork),
    /// Another node's disk, for a call that waits for it.
    Synced(u64, NodeId),
}

/// A directory of the image gets a writable part; the job goes on when everyone has heard.
pub(crate) struct Announcement {
    left: usize,
    pub(crate) dir: InodeId,
    pub(crate) place: u64,
    job: Box<Job>,
}

pub(crate) enum Driven {
    Ended(Result<Reply, Errno>),
    /// It has ended, and is to be answered when the file is safe, O_SYNC.
    Syncs(InodeId, Reply),
    Waits(Ticket),
}

impl FsCore {
    pub(crate) fn start(
        &mut self,
        cx: &mut Cx<'_>,
        client: Client,
        bulk: &mut Bulk<'_>,
        work: Work,
    ) -> Answer {
        let job = Box::new(Job { client, ticket: None, work, turns: 0 });
        match self.drive(cx, job) {
            Driven::Ended(Ok(reply)) => {
                if matches!(client, Client::Node { .. })
                    && !reply.data.is_empty()
                    && let Err(errno) = bulk.set(&reply.data)
                {
                    return Answer::Failed(errno);
                }
                Answer::Done(reply.msg)
            }
            Driven::Syncs(inode, reply) => self.sync_file(cx, client, inode, reply),
            Driven::Ended(Err(errno)) => Answer::Failed(errno),
            Driven::Waits(ticket) => Answer::Pending(ticket),
        }
    }

    pub(crate) fn new_cookie(&mut self) -> u64 {
        self.cookies += 1;
        self.cookies
    }

    /// Runs a job until it ends or waits.
    fn drive(&mut self, cx: &mut Cx<'_>, mut job: Box<Job>) -> Driven {
        loop {
            job.turns += 1;
            let stop = match self.run(cx, &mut job) {
                Ok(reply) => {
                    return match self.syncs_each(&job.work) {
                        Some(inode) => Driven::Syncs(inode, reply),
                        None => Driven::Ended(Ok(reply)),
                    };
                }
                Err(Stop::Fail(errno)) => return Driven::Ended(Err(errno)),
                Err(Stop::Moved(slot)) => {
                    let Some(ticket) = job.ticket else {
                        return Driven::Ended(Err(Errno::ESTALE));
                    };
                    cx.moved(ticket, slot);
                    return Driven::Waits(ticket);
                }
                Err(_) if job.turns > TURNS_MAX => return Driven::Ended(Err(Errno::ELOOP)),
                Err(stop) => stop,
            };
            if self.waiting.len() >= JOBS_MAX {
                return Driven::Ended(Err(Errno::EAGAIN));
            }
            let cookie = self.new_cookie();
            if let Stop::Fetch { object, offset, access } = stop {
                match cx.leaf_or_wait(&ObjectFetch { object, offset, access }, cookie) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(())) => continue,
                    Err(errno) => return Driven::Ended(Err(errno)),
                }
            }
            let ticket = match job.ticket.map_or_else(|| cx.open_ticket(job.client), Ok) {
                Ok(ticket) => ticket,
                Err(errno) => return Driven::Ended(Err(errno)),
            };
            job.ticket = Some(ticket);
            self.wait_for(cx, job, stop, cookie);
            return Driven::Waits(ticket);
        }
    }

    /// The inode, if what is written to the file is to be safe each time.
    fn syncs_each(&self, work: &Work) -> Option<InodeId> {
        let Work::Write { file, .. } = work else { return None };
        let description = self.files.get(*file).ok().filter(|it| it.flags & O_DSYNC != 0)?;
        self.tree.file(description.inode).ok().map(|_| description.inode)
    }

    /// Goes on with a job that has a ticket, and ends the ticket if the job ends.
    fn resume(&mut self, cx: &mut Cx<'_>, job: Box<Job>) {
        let Some(ticket) = job.ticket else { return };
        match self.drive(cx, job) {
            Driven::Ended(result) => end(cx, ticket, result),
            Driven::Syncs(inode, reply) => {
                if let Answer::Failed(errno) = self.sync_file(cx, ticket, inode, reply) {
                    end(cx, ticket, Err(errno));
                }
            }
            Driven::Waits(_) => {}
        }
    }

    /// A view was entered: what waited for it goes on.
    pub(crate) fn go_on(&mut self, cx: &mut Cx<'_>) {
        let waits = |waiting: &Waiting| matches!(waiting, Waiting::Job(_, Stop::View));
        let all = self.waiting.iter().filter(|(_, waiting)| waits(waiting));
        let mut cookies: Vec<u64> = all.map(|(cookie, _)| *cookie).collect();
        cookies.sort_unstable();
        for cookie in cookies {
            if let Some(Waiting::Job(job, _)) = self.waiting.remove(&cookie) {
                self.resume(cx, job);
            }
        }
    }

    /// Whether a job with this ticket waits for a view, or for a file to be read: it does no more.
    pub(crate) fn cancel_waiting(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let is_it = |waiting: &Waiting| matches!(waiting, Waiting::Job(job, Stop::View) if job.ticket == Some(ticket));
        let found = self.waiting.iter().find(|(_, waiting)| is_it(waiting));
        let Some(cookie) = found.map(|(cookie, _)| *cookie) else { return false };
        if let Some(Waiting::Job(job, _)) = self.waiting.remove(&cookie) {
            fail(cx, &job, Errno::ECANCELED);
        }
        true
    }

    fn wait_for(&mut self, cx: &mut Cx<'_>, job: Box<Job>, stop: Stop, cookie: u64) {
        match &stop {
            // Asked already, or over: nothing more to ask.
            Stop::Fetch { .. } | Stop::Fail(_) | Stop::View | Stop::Moved(_) => {}
            Stop::Go(slot) => {
                let bulk = match &job.work {
                    Work::Name { walk, op, .. } => postcard::to_allocvec(&(walk, op)).ok(),
                    Work::Read { .. }
                    | Work::Write { .. }
                    | Work::Resize { .. }
                    | Work::Allocate { .. }
                    | Work::List { .. } => None,
                };
                cx.call_home(*slot, &NameStep {}, bulk.unwrap_or_default(), cookie);
            }
            Stop::Announce { dir, place } => return self.announce(cx, job, *dir, *place),
            Stop::Seal(inode) => {
                cx.call_home(inode.slot(), &Seal { inode: *inode }, Vec::new(), cookie);
            }
            Stop::Records { dir, after, len } => {
                let records = Records { inode: *dir, after: *after, len: *len };
                cx.call_home(dir.slot(), &records, Vec::new(), cookie);
            }
        }
        self.waiting.insert(cookie, Waiting::Job(job, stop));
    }

    fn announce(&mut self, cx: &mut Cx<'_>, job: Box<Job>, dir: InodeId, place: u64) {
        let number = self.new_cookie();
        let others: Vec<NodeId> = self.tree.others().collect();
        self.announcements.insert(number, Announcement { left: others.len(), dir, place, job });
        for node in others {
            let cookie = self.new_cookie();
            self.waiting.insert(cookie, Waiting::Announced(number));
            cx.call_node(node, &Overlaid { inode: dir, place }, Vec::new(), cookie);
        }
    }
}

pub(crate) fn end(
    cx: &mut Cx<'_>,
    ticket: impl Into<Option<Ticket>>,
    result: Result<Reply, Errno>,
) {
    let Some(ticket) = ticket.into() else { return };
    match result {
        Ok(reply) => cx.complete_bulk(ticket, Ok(Raw(reply.msg)), reply.data),
        Err(errno) => cx.complete(ticket, Err::<(), _>(errno)),
    }
}

fn fail(cx: &mut Cx<'_>, job: &Job, errno: Errno) {
    end(cx, job.ticket, Err(errno));
}
