// SPDX-License-Identifier: MIT OR Apache-2.0
//! A move as its target sees it.

use super::image::Image;
use super::source::IMAGE_BYTES_MAX;
use crate::ProcCore;
use crate::cluster::Fact;
use crate::entry::{alarm_cookie, timers_cookie};
use crate::files::OpenFile;
use crate::limits::{ARRIVALS_MAX, HEAP_RESERVE_BYTES, PROCESSES_MAX, THREADS_MAX};
use crate::machine::Machine;
use crate::pids::PidRow;
use crate::process::{ChildState, Phase, ProcessNo};
use crate::thread::Run;
use abi::limits::WINDOW_BYTES;
use abi::{CoreId, Errno, NodeId, ObjectId, SpaceId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mem_api::{SpaceDestroy, SpaceImport, ThreadCreate, ThreadRelease};
use proc_api::peer::{MoveCommit, MoveInstall, MoveInstalled, MovesOpen};
use runtime::{Bulk, Cx};

/// Moves to this node that may be under way.
const INCOMING_MAX: usize = 64;

/// A process that comes.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Parts of its state are missing.
    Parts(Vec<u8>),
    /// It stands ready, and waits for Commit.
    Ready(Box<Ready>),
}

/// A process that only has to be let go.
#[derive(Debug)]
pub(crate) struct Ready {
    image: Image,
    space: SpaceId,
    slots: Vec<u64>,
}

impl<M: Machine> ProcCore<M> {
    /// A part of a process's state. Parts come in order.
    pub(crate) fn install(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        part: MoveInstall,
        bytes: &[u8],
    ) -> Result<MoveInstalled, Errno> {
        let key = (from, part.token);
        let full = self.moves.incoming.len() >= INCOMING_MAX
            || self.moves.arrivals.len() + INCOMING_MAX >= ARRIVALS_MAX;
        if part.total > IMAGE_BYTES_MAX as u64 || full {
            return Err(Errno::EAGAIN);
        }
        let row = self.moves.incoming.entry(key).or_insert(Incoming::Parts(Vec::new()));
        let Incoming::Parts(parts) = row else { return Err(Errno::EPROTO) };
        let end = part.offset.saturating_add(bytes.len() as u64);
        if part.offset != parts.len() as u64 || end > part.total {
            self.moves.incoming.remove(&key);
            return Err(Errno::EPROTO);
        }
        parts.extend_from_slice(bytes);
        if end < part.total {
            return Ok(MoveInstalled { object: ObjectId::from_raw(0), ready: false });
        }
        let state = core::mem::take(parts);
        self.moves.incoming.remove(&key);
        let image = Image::decode(&state)?;
        let (ready, object) = self.make_ready(cx, from, part.token, image)?;
        self.moves.incoming.insert(key, Incoming::Ready(Box::new(ready)));
        Ok(MoveInstalled { object, ready: true })
    }

    fn make_ready(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        token: u64,
        image: Image,
    ) -> Result<(Ready, ObjectId), Errno> {
        let threads = image.threads.len();
        let full = cx.heap_left() < HEAP_RESERVE_BYTES
            || self.processes.len() + INCOMING_MAX >= PROCESSES_MAX
            || self.threads.len() + threads + INCOMING_MAX >= THREADS_MAX;
        if full {
            return Err(Errno::EAGAIN);
        }
        if self.is_here(image.process.pid.get()) {
            return Err(Errno::EEXIST);
        }
        let (space, object) = import_space(cx, from, token, &image.space)?;
        let mut ready = Ready { image, space, slots: Vec::new() };
        for _ in 0..threads {
            match cx.leaf(&ThreadCreate { space }) {
                Ok(created) => ready.slots.push(created.slot),
                Err(errno) => {
                    self.unmake(cx, &ready);
                    return Err(errno);
                }
            }
        }
        Ok((ready, object))
    }

    fn unmake(&mut self, cx: &mut Cx<'_>, ready: &Ready) {
        for slot in &ready.slots {
            if let Err(errno) = cx.leaf(&ThreadRelease { slot: *slot }) {
                self.machine.log(format_args!("a thread's objects are lost: {errno}"));
            }
        }
        if let Err(errno) = cx.leaf(&SpaceDestroy { space: ready.space }) {
            self.machine.log(format_args!("a space is lost: {errno}"));
        }
    }

    /// The source is going on without us.
    pub(crate) fn discard(&mut self, cx: &mut Cx<'_>, from: NodeId, token: u64, held: &[u8]) {
        let row = self.moves.incoming.remove(&(from, token));
        if let Some(Incoming::Ready(ready)) = row {
            self.unmake(cx, &ready);
        }
        let held: Vec<OpenFile> = postcard::from_bytes(held).unwrap_or_default();
        for file in held {
            self.release(cx, file.file, file.server());
        }
    }

    /// The process is ours from here on.
    ///
    /// # Errors
    /// ESRCH: it is not here. EPROTO: it is not the one that was announced.
    pub(crate) fn commit(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        commit: MoveCommit,
    ) -> Result<(), Errno> {
        let MoveCommit { token, pid, moves } = commit;
        let row = self.moves.incoming.remove(&(from, token));
        let Some(Incoming::Ready(ready)) = row else {
            return self.committed_before(pid, moves);
        };
        let next = ready.image.process.moves.checked_add(1);
        if (ready.image.process.pid.get(), next) != (pid, Some(moves)) {
            self.unmake(cx, &ready);
            return Err(Errno::EPROTO);
        }
        let Ready { mut image, space, slots } = *ready;
        image.process.moves = moves;
        image.arrive(cx.now_ns());
        let files = image.distinct_files();
        let pid = image.process.pid;
        let Image { process, threads, .. } = image;
        let (parent, alarm) = (process.parent, process.alarm);
        let timer_ns = process.timers.next_ns();
        let no = self.processes.add(process)?;
        self.pids.set(pid, PidRow::Process(no));
        let mut named = alloc::vec![pid];
        let mut ids = Vec::new();
        for (thread, slot) in threads.into_iter().zip(slots) {
            let core = self.choose_core();
            let (tid, fpu) = (thread.own.tid, thread.fpu());
            let id = self.threads.add(no, core, thread.own)?;
            self.equip(id, slot, core, &fpu)?;
            if tid != pid {
                self.pids.set(tid, PidRow::Thread(id));
                named.push(tid);
            }
            ids.push(id);
        }
        let mut surplus = Vec::new();
        if let Some(process) = self.processes.get_mut(no) {
            process.space = Some(space);
            process.threads.clone_from(&ids);
            process.phase = Phase::Live;
            surplus = count_files(&mut self.holders, &process.own, &files);
        }
        for file in surplus {
            self.release(cx, file.file, file.server());
        }
        if alarm.deadline_ns != 0 && cx.arm(alarm.deadline_ns, alarm_cookie(pid.get())).is_err() {
            self.machine.log(format_args!("the alarm of process {pid} is lost"));
        }
        let armed = timer_ns.map_or(Ok(()), |at_ns| cx.arm(at_ns, timers_cookie(pid.get())));
        if armed.is_err() {
            self.machine.log(format_args!("the timers of process {pid} are lost"));
        }
        self.arrived(cx, (pid.get(), moves), from, &named);
        if parent != 0 {
            self.tell_pid(cx, parent, &Fact::Moved { parent, pid: pid.get() });
        }
        self.tell_children(cx, no);
        for id in ids {
            if let Some(thread) = self.threads.get_mut(id) {
                thread.run = Run::Handling;
                self.settle_and_resume(cx, id);
            }
        }
        Ok(())
    }

    fn tell_children(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        let Some(process) = self.processes.get(no) else { return };
        let children = process.own.children.iter();
        let live = children.filter(|(_, child)| !matches!(child.state, ChildState::Ended(_)));
        for pid in live.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            if !self.is_here(pid) {
                self.tell_pid(cx, pid, &Fact::ParentMoved { pid });
            }
        }
    }

    fn equip(
        &mut self,
        id: abi::ThreadId,
        slot: u64,
        core: CoreId,
        fpu: &crate::Fpu,
    ) -> Result<(), Errno> {
        self.machine.configure(id, slot, core)?;
        self.machine.write_fpu(slot, fpu);
        if let Some(thread) = self.threads.get_mut(id) {
            thread.slot = Some(slot);
        }
        Ok(())
    }

    /// The answer to a Commit that was not for something that stands ready.
    fn committed_before(&self, pid: u32, moves: u32) -> Result<(), Errno> {
        let process = self.pids.process(pid).and_then(|no| self.processes.get(no));
        let here = process.is_some_and(|process| process.own.moves >= moves);
        if here { Ok(()) } else { Err(Errno::ESRCH) }
    }

    /// After a silence the source says which of its moves are under way.
    pub(crate) fn moves_open(&mut self, cx: &mut Cx<'_>, from: NodeId, open: &MovesOpen) {
        self.incoming_lost(cx, |source, token| {
            source == from && token <= open.last && !open.tokens.contains(&token)
        });
    }

    /// Processes that were coming and will not.
    pub(crate) fn incoming_lost(&mut self, cx: &mut Cx<'_>, is: impl Fn(NodeId, u64) -> bool) {
        let keys = self.moves.incoming.keys().copied().filter(|key| is(key.0, key.1));
        for key in keys.collect::<Vec<_>>() {
            let row = self.moves.incoming.remove(&key);
            let Some(Incoming::Ready(ready)) = row else { continue };
            self.unmake(cx, &ready);
            for file in ready.image.distinct_files() {
                self.release(cx, file.file, file.server());
            }
        }
    }
}

/// One hold came along for each file; further descriptors of it are copies. The files of which a hold is to be given
/// back.
fn count_files(
    holders: &mut crate::files::Holders,
    own: &crate::process::ProcessOwn,
    files: &[OpenFile],
) -> Vec<OpenFile> {
    let mut surplus = Vec::new();
    let mut first: Vec<OpenFile> = files.to_vec();
    for file in own.files.files() {
        match first.iter().position(|other| *other == file) {
            Some(at) => {
                first.swap_remove(at);
                if holders.add_brought(file) {
                    surplus.push(file);
                }
            }
            None => holders.add(file),
        }
    }
    surplus
}

fn import_space(
    cx: &mut Cx<'_>,
    from: NodeId,
    token: u64,
    description: &[u8],
) -> Result<(SpaceId, ObjectId), Errno> {
    let total = description.len() as u64;
    let mut offset = 0;
    for part in description.chunks(WINDOW_BYTES) {
        let op = SpaceImport { from, token, offset, total };
        let mut part = part.to_vec();
        let len = part.len() as u64;
        let imported = cx.leaf_bulk(&op, &mut Bulk::new(&mut part))?;
        if imported.complete {
            return Ok((imported.space, imported.object));
        }
        offset += len;
    }
    Err(Errno::EPROTO)
}
