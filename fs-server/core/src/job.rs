// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that may have to wait, as values: each is run, and when it stops because something is
//! elsewhere it is kept until that is here, and run again from its start.
//!
//! ```text
//! drive --run--> done: answer
//!        '-----> Stop: open a ticket, ask, keep the job --completion--> drive
//! ```

use crate::FsCore;
use crate::data::{ReadDone, Sink, Source, deliver};
use crate::limits::{JOBS_MAX, REMOTE_BYTES, TURNS_MAX};
use crate::list::Listing;
use crate::lower::Lower;
use crate::walk::{Found, NameOp, Step, Stop, Walk};
use abi::{Errno, FileId, InodeId, NodeId, SpaceId, Ticket};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::Poll;
use fs_api::file::{FileObject, Moved};
use fs_api::name::{FileKind, Named, Opened};
use fs_api::peer::{BehindFile, BytesRead, NameStep, Overlaid, Records, RecordsEnd, Rewind, Seal};
use mem_api::{CopyOut, ObjectAdopt, ObjectFetch};
use runtime::{Answer, Bulk, Client, Cx, Msg, NodeReply, Wire};

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
    Forwarded(Ticket),
    /// A read that the file's home performs: where the bytes go.
    ReadBack { ticket: Ticket, file: FileId, space: SpaceId, addr: u64 },
    /// ObjectOf.
    Behind(Ticket),
}

/// A directory of the image gets a writable part; the job goes on when everyone has heard.
pub(crate) struct Announcement {
    left: usize,
    dir: InodeId,
    place: u64,
    job: Box<Job>,
}

pub(crate) enum Driven {
    Ended(Result<Reply, Errno>),
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
                Ok(reply) => return Driven::Ended(Ok(reply)),
                Err(Stop::Fail(errno)) => return Driven::Ended(Err(errno)),
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

    /// Goes on with a job that has a ticket, and ends the ticket if the job ends.
    fn resume(&mut self, cx: &mut Cx<'_>, job: Box<Job>) {
        let Some(ticket) = job.ticket else { return };
        if let Driven::Ended(result) = self.drive(cx, job) {
            end(cx, ticket, result);
        }
    }

    fn wait_for(&mut self, cx: &mut Cx<'_>, job: Box<Job>, stop: Stop, cookie: u64) {
        match &stop {
            // Asked already, or over: nothing more to ask.
            Stop::Fetch { .. } | Stop::Fail(_) => {}
            Stop::Go(node) => {
                let bulk = match &job.work {
                    Work::Name { walk, op, .. } => postcard::to_allocvec(&(walk, op)).ok(),
                    Work::Read { .. }
                    | Work::Write { .. }
                    | Work::Resize { .. }
                    | Work::List { .. } => None,
                };
                cx.call_node(*node, &NameStep {}, bulk.unwrap_or_default(), cookie);
            }
            Stop::Announce { dir, place } => return self.announce(cx, job, *dir, *place),
            Stop::Seal(inode) => {
                let home = self.tree.home(*inode);
                cx.call_node(home, &Seal { inode: *inode }, Vec::new(), cookie);
            }
            Stop::Records { dir, after, len } => {
                let records = Records { inode: *dir, after: *after, len: *len };
                cx.call_node(self.tree.home(*dir), &records, Vec::new(), cookie);
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

    /// One more has heard, or is down and will hear when it comes back.
    fn announced(&mut self, cx: &mut Cx<'_>, number: u64) {
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
            Some(Waiting::Forwarded(ticket)) => {
                cx.complete(ticket, result.map(|reply| Raw(reply.msg)));
            }
            Some(Waiting::ReadBack { ticket, file, space, addr }) => {
                let moved = result.and_then(|reply| self.read_back(cx, file, space, addr, reply));
                cx.complete(ticket, moved.map(|bytes| Moved { bytes }));
            }
            Some(Waiting::Behind(ticket)) => {
                let behind = result.and_then(|reply| BehindFile::get(&reply.msg));
                let object = behind.and_then(|behind| self.object_behind(cx, behind, true));
                cx.complete(ticket, object);
            }
        }
    }

    fn job_answered(
        &mut self,
        cx: &mut Cx<'_>,
        mut job: Box<Job>,
        stop: &Stop,
        result: Result<NodeReply, Errno>,
    ) {
        let reply = match result {
            Ok(reply) => reply,
            Err(errno) => return fail(cx, &job, errno),
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
    fn read_back(
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
                let _ = cx.tell_node(home, &Rewind { file, from: after, to: before }, Vec::new());
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

    fn run(&mut self, cx: &mut Cx<'_>, job: &mut Job) -> Result<Reply, Stop> {
        let client = job.client;
        match &mut job.work {
            Work::Name { walk, op, shape } => {
                let node = asking_node(cx, client);
                let step = match self.walk(cx, node, walk, op) {
                    Err(Stop::Go(_)) if *shape == Shape::Step => {
                        Step::Continue(walk.clone(), op.clone())
                    }
                    step => step?,
                };
                Ok(self.shaped(cx, client, step, op, *shape)?)
            }
            Work::Read { file, offset, len, sink } => {
                let done = self.read(cx, *file, *offset, *len, *sink)?;
                Ok(read_reply(done, *sink)?)
            }
            Work::Write { file, offset, source } => {
                let bytes = self.write(cx, *file, *offset, source)?;
                Ok(Reply::of(&Moved { bytes })?)
            }
            Work::Resize { file, len } => {
                let description = self.files.get(*file)?;
                description.check(crate::inode::MAY_WRITE).map_err(|_| Errno::EINVAL)?;
                let inode = description.inode;
                if Lower::is_lower(inode) {
                    return Err(Errno::EINVAL.into());
                }
                self.truncate(cx, inode, *len)?;
                Ok(Reply::default())
            }
            Work::List { file, len, sink, got } => {
                let done = self.list(cx, *file, *len, *sink, got.take())?;
                Ok(read_reply(done, *sink)?)
            }
        }
    }

    fn list(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        len: u64,
        sink: Sink,
        got: Option<Listing>,
    ) -> Result<ReadDone, Stop> {
        let description = self.files.get(file)?;
        description.check(crate::inode::MAY_READ)?;
        if description.kind != FileKind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        let (dir, before) = (description.inode, description.position);
        let len = len.min(REMOTE_BYTES);
        let listing = match got {
            Some(listing) => listing,
            None if self.tree.is_here(dir) => {
                let listing = self.tree.list(dir, before, len as usize);
                listing
                    .map_err(|errno| if errno == Errno::ESTALE { Errno::ENOENT } else { errno })?
            }
            None => return Err(Stop::Records { dir, after: before, len }),
        };
        let after = listing.last;
        let (moved, data) = deliver(cx, sink, listing.data)?;
        self.files.get_mut(file)?.position = after;
        Ok(ReadDone { moved, before, after, data })
    }

    fn shaped(
        &mut self,
        cx: &mut Cx<'_>,
        client: Client,
        step: Step,
        op: &NameOp,
        shape: Shape,
    ) -> Result<Reply, Errno> {
        if shape == Shape::Step {
            let data = postcard::to_allocvec(&step).map_err(|_| Errno::EMSGSIZE)?;
            return Ok(Reply { msg: Msg::default(), data });
        }
        let bare = shape == Shape::Bare;
        match step {
            Step::Found(Found::Unit) if bare => Ok(Reply::default()),
            Step::Found(Found::Stat(stat)) if bare => Reply::of(&stat),
            Step::Found(_) | Step::Text(_) | Step::Elsewhere(_) if bare => Err(Errno::EIO),
            Step::Found(Found::Unit) => Reply::of(&Named::Here(())),
            Step::Found(Found::Stat(stat)) => Reply::of(&Named::Here(stat)),
            Step::Found(Found::Inode(inode)) => Reply::of(&Named::Here(inode)),
            Step::Found(Found::Opened(opened)) => Reply::of(&Named::Here(opened)),
            Step::Found(Found::OpenThere { inode, kind }) => {
                let NameOp::Open { flags, .. } = op else { return Err(Errno::EPROTO) };
                let node = asking_node(cx, client);
                let file = self.open_here(node, inode, kind, *flags)?;
                Reply::of(&Named::Here(Opened { file, kind }))
            }
            Step::Text(text) => Reply::of(&Named::Here(text)),
            Step::Elsewhere(path) => Reply::of(&Named::<()>::Elsewhere(path)),
            // Only a peer that drives gets this, and it takes it apart before.
            Step::Continue(..) => Err(Errno::EPROTO),
        }
    }
}

fn asking_node(cx: &Cx<'_>, client: Client) -> NodeId {
    match client {
        Client::Server { .. } => cx.node(),
        Client::Node { node, .. } => node,
    }
}

fn read_reply(done: ReadDone, sink: Sink) -> Result<Reply, Errno> {
    match sink {
        Sink::Space { .. } => Reply::of(&Moved { bytes: done.moved }),
        Sink::Reply => {
            let msg = Msg::of(&BytesRead { before: done.before, after: done.after })?;
            Ok(Reply { msg, data: done.data })
        }
    }
}

fn end(cx: &mut Cx<'_>, ticket: impl Into<Option<Ticket>>, result: Result<Reply, Errno>) {
    let Some(ticket) = ticket.into() else { return };
    match result {
        Ok(reply) => cx.complete_bulk(ticket, Ok(Raw(reply.msg)), reply.data),
        Err(errno) => cx.complete(ticket, Err::<(), _>(errno)),
    }
}

fn fail(cx: &mut Cx<'_>, job: &Job, errno: Errno) {
    end(cx, job.ticket, Err(errno));
}
