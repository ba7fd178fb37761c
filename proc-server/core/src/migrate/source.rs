// SPDX-License-Identifier: MIT OR Apache-2.0
//! A move as its source sees it.

use super::image::{Image, ThreadImage, distinct};
use crate::ProcCore;
use crate::cluster::{Fact, Place};
use crate::entry::move_cookie;
use crate::files::{OpenFile, locks};
use crate::limits::GIVEN_MAX;
use crate::machine::Machine;
use crate::parked::Origin;
use crate::process::{Phase, ProcessNo};
use crate::signal::{Info, Target, number};
use crate::syscall::{AskResult, Call, Fail, Next, SysResult, Wait, wait_status_signal};
use crate::thread::{Interrupt, Restart, Run};
use abi::limits::{PAGE_BYTES, WINDOW_BYTES};
use abi::{Errno, NodeId, ObjectId, Pid, SpaceId, ThreadId, Ticket};
use alloc::vec::Vec;
use core::task::Poll;
use fs_api::file::{Hold, MoveLocks};
use fs_api::name::FileKind;
use mem_api::{FetchAll, MoveProgress, MoveState, SpaceExport, SpaceGive, SpaceSize};
use proc_api::peer::{MoveDiscard, MoveInstall, MoveInstalled, MoveProcess, SendSignal, Tell};
use proc_api::{Migrated, Moving};
use runtime::limits::NODE_BODY_BYTES;
use runtime::{Bulk, Cx, NodeReply, Wire};

/// Bytes of a moving process's state.
pub(crate) const IMAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Messages that end the freeze: mem-server's word that the space is given, and Commit.
const GIVE_MESSAGES: u64 = 2;
/// Signals and facts kept for a process between its export and its commit.
const LATE_MAX: usize = 1024;
/// Who may wait for one move beside the one who asked first; the next gets EBUSY.
const ASKERS_MAX: usize = 64;

/// Who waits for a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A request.
    Ticket(Ticket),
    /// A thread of this node, maybe of the process itself.
    Thread(ThreadId),
}

/// How far a move is. Asks of a stage are counted down; the next stage begins with none open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// It has just come: the node that it came from must forget it first.
    Close,
    /// Pages that rest elsewhere come here first.
    Gather,
    /// Threads are being stopped.
    Freeze,
    /// Files are being held for the target.
    Hold { left: usize },
    /// The state is on its way.
    Install { left: usize },
    /// Given away.
    Commit,
}

/// Something for a process that has been exported.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Signal(Info),
    ThreadSignal(u32, Info),
    /// What a node says that is not always this one: a child is where its parent heard of it from.
    Fact(NodeId, Fact),
    /// A signal of another node or the administrator, who waits for its arrival.
    Asked {
        ticket: Ticket,
        admin: bool,
        message: SendSignal,
    },
}

/// A process that leaves.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(super) process: ProcessNo,
    pub(super) pid: u32,
    pub(super) to: NodeId,
    pub(super) asker: Asker,
    /// Who asked for the same meanwhile.
    pub(super) joined: Vec<Asker>,
    pub(super) stage: Stage,
    pub(super) started_ns: u64,
    pub(super) frozen_ns: u64,
    pub(super) pages: u64,
    pub(super) state: Vec<u8>,
    pub(super) state_bytes: u64,
    /// Messages sent and received for it while it stood still.
    pub(super) messages: u64,
    /// The target fell silent before it answered Commit: it is asked again, unless it leaves.
    pub(super) unanswered: bool,
    pub(super) held: Vec<OpenFile>,
    pub(super) wanted: Vec<OpenFile>,
    pub(super) failed: Option<Errno>,
    pub(super) object: Option<ObjectId>,
    pub(super) late: Vec<Late>,
}

type C<'a, 'b, 'c, M> = &'a mut Call<'b, 'c, M>;

/// Moves process `pid` to `node` for the calling thread; the call answers `done`
/// when it has moved: `/proc/PID/node`.
///
/// # Errors
/// Those of [`proc_api::Migrated`]; ESRCH; EPERM: it is another user's.
pub(crate) fn write_node<M: Machine>(
    call: C<'_, '_, '_, M>,
    pid: Pid,
    node: NodeId,
    done: u64,
) -> SysResult {
    let (pid, uid) = (pid.get(), call.credentials().uid);
    match call.core.place(call.cx, pid) {
        Place::Here if call.core.pids.process(pid).is_some() => {}
        Place::Here | Place::Nowhere => return Err(Errno::ESRCH.into()),
        Place::Unsettled => return Ok(call.wait_settled()),
        Place::There(at) => {
            let op = MoveProcess { pid, to: node, hops: 0, uid };
            return Ok(call.call_node(at, &op, Vec::new(), Wait::Move(done)));
        }
    }
    if !call.core.may_signal(uid, Target::Process(pid)) {
        return Err(Errno::EPERM.into());
    }
    if let Some(number) = call.core.move_under_way(pid, node) {
        call.core.join_move(number, Asker::Thread(call.thread))?;
        return Ok(call.keep_waiting(Wait::Move(done)));
    }
    if node == call.cx.node() {
        return Ok(Next::Done(done));
    }
    let number = call.core.check_move(call.cx, pid, node)?;
    // The caller must be waiting before its own process is frozen.
    let next = call.keep_waiting(Wait::Move(done));
    call.core.begin_move(call.cx, number, pid, node, Asker::Thread(call.thread))?;
    Ok(next)
}

/// Goes on with a call that asked for a move. If it was its own process that moved, the call ends
/// with what it was to answer: at the target.
pub(crate) fn move_resume<M: Machine>(
    call: C<'_, '_, '_, M>,
    done: u64,
    result: AskResult,
) -> SysResult {
    match (result, &call.process().phase) {
        (Ok(_), _) => Ok(Next::Done(done)),
        (Err(Errno::ECANCELED), Phase::Moving(_)) => Ok(Next::Done(done)),
        (Err(Errno::ECANCELED), _) => Err(Fail::Interrupted(Restart::Call)),
        (Err(errno), _) => Err(errno.into()),
    }
}

impl<M: Machine> ProcCore<M> {
    /// Moves a process of this node.
    pub(crate) fn move_process(&mut self, cx: &mut Cx<'_>, pid: u32, to: NodeId, asker: Asker) {
        let begun = if let Some(number) = self.move_under_way(pid, to) {
            self.join_move(number, asker)
        } else if to == cx.node() && self.pids.process(pid).is_some() {
            let moved = Migrated { from: cx.node().get(), ..Migrated::default() };
            return self.answer_move(cx, asker, Ok(moved));
        } else {
            self.check_move(cx, pid, to)
                .and_then(|number| self.begin_move(cx, number, pid, to, asker))
        };
        if let Err(errno) = begun {
            self.answer_move(cx, asker, Err(errno));
        }
    }

    /// The number of a move of this process to this node that has not ended.
    fn move_under_way(&self, pid: u32, to: NodeId) -> Option<u64> {
        let moves = self.moves.outgoing.iter();
        moves.filter(|(_, it)| it.pid == pid && it.to == to).map(|(number, _)| *number).next()
    }

    /// One more waits for a move that is under way. So a call that a signal interrupted can be run
    /// again: it does not find its own move in its way.
    fn join_move(&mut self, number: u64, asker: Asker) -> Result<(), Errno> {
        let outgoing = self.moves.outgoing.get_mut(&number).ok_or(Errno::ESRCH)?;
        if outgoing.joined.len() >= ASKERS_MAX {
            return Err(Errno::EBUSY);
        }
        outgoing.joined.push(asker);
        Ok(())
    }

    /// Whether a process can move; the number of its move.
    fn check_move(&mut self, cx: &Cx<'_>, pid: u32, to: NodeId) -> Result<u64, Errno> {
        let no = self.pids.process(pid).ok_or(Errno::ESRCH)?;
        let process = self.processes.get(no).ok_or(Errno::ESRCH)?;
        if !cx.view().contains(to) {
            return Err(Errno::EINVAL);
        }
        match process.phase {
            Phase::Live => {}
            Phase::Exec(_) | Phase::Moving(_) => return Err(Errno::EBUSY),
            Phase::Ending(_) | Phase::Zombie(_) => return Err(Errno::ESRCH),
        }
        if process.space.is_none() || process.vfork_parent.is_some() {
            return Err(Errno::EBUSY);
        }
        if self.moves.given.len() + process.threads.len() + 1 > GIVEN_MAX {
            return Err(Errno::EAGAIN);
        }
        self.moves.next += 1;
        Ok(self.moves.next)
    }

    fn begin_move(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        pid: u32,
        to: NodeId,
        asker: Asker,
    ) -> Result<(), Errno> {
        let process = self.pids.process(pid).ok_or(Errno::ESRCH)?;
        let space = self.processes.get(process).ok_or(Errno::ESRCH)?.space()?;
        let pages = cx.leaf(&SpaceSize { space })?.resident / PAGE_BYTES as u64;
        let outgoing = Outgoing {
            process,
            pid,
            to,
            asker,
            joined: Vec::new(),
            stage: Stage::Close,
            started_ns: cx.now_ns(),
            frozen_ns: cx.now_ns(),
            pages,
            state: Vec::new(),
            state_bytes: 0,
            messages: 0,
            unanswered: false,
            held: Vec::new(),
            wanted: Vec::new(),
            failed: None,
            object: None,
            late: Vec::new(),
        };
        self.moves.outgoing.insert(number, outgoing);
        self.may_move_on(cx, pid);
        Ok(())
    }

    /// If nobody else has word of the process, a move that waits for that begins.
    pub(crate) fn may_move_on(&mut self, cx: &mut Cx<'_>, pid: u32) {
        if self.is_arriving(pid) {
            return;
        }
        let waits = |it: &Outgoing| it.pid == pid && it.stage == Stage::Close;
        let moves = self.moves.outgoing.iter().filter(|(_, it)| waits(it));
        for number in moves.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.gather(cx, number);
        }
    }

    fn gather(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { return };
        outgoing.stage = Stage::Gather;
        let process = self.processes.get(outgoing.process);
        let live = process.filter(|process| process.own.pid.get() == outgoing.pid);
        let space = live.ok_or(Errno::ESRCH).and_then(crate::process::Process::space);
        let gathered =
            space.and_then(|space| cx.leaf_or_wait(&FetchAll { space }, move_cookie(number)));
        match gathered {
            Ok(Poll::Ready(())) => self.freeze(cx, number),
            Ok(Poll::Pending) => {}
            Err(errno) => self.abort_move(cx, number, errno),
        }
    }

    fn freeze(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { return };
        outgoing.frozen_ns = cx.now_ns();
        let no = outgoing.process;
        let live = self.processes.get_mut(no).filter(|process| {
            process.own.pid.get() == outgoing.pid && process.phase == Phase::Live
        });
        let Some(process) = live else { return self.abort_move(cx, number, Errno::EBUSY) };
        outgoing.stage = Stage::Freeze;
        process.phase = Phase::Moving(number);
        for id in process.threads.clone() {
            self.poke(cx, id, Interrupt::Freeze);
        }
        self.thread_held(cx, no);
    }

    /// A thread of a process is held: maybe it was the last one that a move waits for.
    pub(crate) fn thread_held(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        let Some(process) = self.processes.get(no) else { return };
        let Phase::Moving(number) = process.phase else { return };
        let held = |id: &ThreadId| {
            self.threads.get(*id).is_some_and(|thread| matches!(thread.run, Run::Held))
        };
        let freezing = |outgoing: &Outgoing| outgoing.stage == Stage::Freeze;
        if process.threads.iter().all(held)
            && self.moves.outgoing.get(&number).is_some_and(freezing)
        {
            self.export(cx, number);
        }
    }

    fn export(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(outgoing) = self.moves.outgoing.get(&number) else { return };
        let no = outgoing.process;
        let Some(process) = self.processes.get(no) else { return };
        let Some(space) = process.space else { return };
        let description = match export_space(cx, space) {
            Ok(description) => description,
            Err(Errno::ERESTART) => return self.gather_again(cx, number, space),
            Err(errno) => return self.abort_move(cx, number, errno),
        };
        let mut threads = Vec::new();
        for id in &process.threads {
            let Some(thread) = self.threads.get(*id) else { continue };
            let Some(slot) = thread.slot else { continue };
            let fpu = self.machine.read_fpu(slot).0.to_vec();
            threads.push(ThreadImage { own: thread.own.clone(), fpu });
        }
        let image = Image::new(process.own.clone(), threads, description, cx.now_ns());
        let state = match image.encode() {
            Ok(state) if state.len() <= IMAGE_BYTES_MAX => state,
            Ok(_) | Err(_) => return self.abort_move(cx, number, Errno::EFBIG),
        };
        let wanted = distinct(&process.own);
        let to = self.moves.outgoing.get(&number).map_or(cx.node(), |it| it.to);
        let locks = wanted.iter().filter_map(|file| locks::moving(&process.own, *file, to));
        let locks: Vec<MoveLocks> = locks.collect();
        let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { return };
        outgoing.state = state;
        outgoing.stage = Stage::Hold { left: wanted.len() + locks.len() };
        outgoing.wanted = wanted;
        for file in outgoing.wanted.clone().into_iter().enumerate() {
            let cookie = step_cookie(number, file.0);
            if cx.view().home(file.1.file.slot()) != cx.node() {
                // Its server here asks the one there, and is answered.
                outgoing.messages += 2;
            }
            cx.ask_server(file.1.server(), &Hold { file: file.1.file, node: to }, cookie);
        }
        for (at, op) in locks.into_iter().enumerate() {
            if cx.view().home(op.file.slot()) != cx.node() {
                outgoing.messages += 2;
            }
            cx.ask(&op, step_cookie(number, outgoing.wanted.len() + at));
        }
        self.next_stage(cx, number);
    }

    fn gather_again(&mut self, cx: &mut Cx<'_>, number: u64, space: SpaceId) {
        // The cookie of the first gathering is free: it has ended.
        match cx.leaf_or_wait(&FetchAll { space }, move_cookie(number)) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => self.abort_move(cx, number, Errno::EAGAIN),
            Err(errno) => self.abort_move(cx, number, errno),
        }
    }

    /// An answer for a move.
    pub(crate) fn move_completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: AskResult) {
        let (number, step) = (cookie & NUMBER_MASK, (cookie >> STEP_SHIFT) as usize);
        let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { return };
        match &mut outgoing.stage {
            Stage::Gather => match result {
                Ok(_) => return self.freeze(cx, number),
                Err(errno) => return self.abort_move(cx, number, errno),
            },
            Stage::Freeze => match result {
                Ok(_) => return self.export(cx, number),
                Err(errno) => return self.abort_move(cx, number, errno),
            },
            Stage::Hold { left } => {
                *left -= 1;
                match (result, step.checked_sub(1).and_then(|at| outgoing.wanted.get(at))) {
                    (Ok(_), Some(file)) => outgoing.held.push(*file),
                    (Ok(_), None) => {}
                    // A directory of a node that is down is of no more use there than here; the working
                    // directory, whose description may rest there, must not keep a process from moving.
                    (Err(Errno::EHOSTDOWN | Errno::EIO), Some(file))
                        if file.kind == FileKind::Directory => {}
                    // Where the home of its locks is gone, so are they.
                    (Err(Errno::EHOSTDOWN | Errno::EIO), None) => {}
                    (Err(errno), _) => outgoing.failed = Some(errno),
                }
            }
            Stage::Install { left } => {
                *left -= 1;
                outgoing.messages += 1;
                match result.and_then(|reply| MoveInstalled::get(&reply.msg)) {
                    Ok(MoveInstalled { object, ready: true }) => outgoing.object = Some(object),
                    Ok(_) => {}
                    Err(errno) => outgoing.failed = Some(errno),
                }
            }
            Stage::Close => return,
            Stage::Commit => return self.committed(cx, number, result),
        }
        self.next_stage(cx, number);
    }

    fn next_stage(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(outgoing) = self.moves.outgoing.get(&number) else { return };
        match (outgoing.stage, outgoing.failed, outgoing.object) {
            (Stage::Hold { left: 0 } | Stage::Install { left: 0 }, Some(errno), _) => {
                self.abort_move(cx, number, errno);
            }
            (Stage::Hold { left: 0 }, None, _) => self.send_state(cx, number),
            (Stage::Install { left: 0 }, None, Some(object)) => self.give(cx, number, object),
            (Stage::Install { left: 0 }, None, None) => {
                self.abort_move(cx, number, Errno::EPROTO);
            }
            _ => {}
        }
    }

    fn send_state(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { return };
        let state = core::mem::take(&mut outgoing.state);
        let total = state.len() as u64;
        outgoing.stage = Stage::Install { left: state.len().div_ceil(NODE_BODY_BYTES) };
        outgoing.pages = outgoing.pages.max(1);
        let to = outgoing.to;
        outgoing.state_bytes = total;
        outgoing.messages += state.len().div_ceil(NODE_BODY_BYTES) as u64;
        for (part, bytes) in state.chunks(NODE_BODY_BYTES).enumerate() {
            let offset = (part * NODE_BODY_BYTES) as u64;
            let op = MoveInstall { token: number, part: part as u64, offset, total };
            cx.call_node(to, &op, bytes.to_vec(), step_cookie(number, part));
        }
    }

    /// The point of no return.
    fn give(&mut self, cx: &mut Cx<'_>, number: u64, object: ObjectId) {
        let Some(outgoing) = self.moves.outgoing.get(&number) else { return };
        let (no, to) = (outgoing.process, outgoing.to);
        let Some(process) = self.processes.get(no) else { return };
        let Some(space) = process.space else { return };
        let threads = process.threads.clone();
        for id in &threads {
            let slot = self.threads.get_mut(*id).and_then(|thread| thread.slot.take());
            self.release_kernel_thread(cx, slot);
        }
        if let Err(errno) = cx.leaf(&SpaceGive { space, object, to }) {
            // Its threads are gone, so it cannot go on here; and it never ran there.
            self.machine.log(format_args!("a move failed where it cannot: {errno}"));
            self.abort_move(cx, number, errno);
            self.end_process(cx, no, wait_status_signal(number::KILL, false));
            return;
        }
        if let Some(process) = self.processes.get_mut(no) {
            process.space = None;
        }
        if let Some(outgoing) = self.moves.outgoing.get_mut(&number) {
            outgoing.stage = Stage::Commit;
            outgoing.messages += GIVE_MESSAGES;
        }
        self.send_commit(cx, number);
    }

    pub(super) fn answer_all(
        &mut self,
        cx: &mut Cx<'_>,
        outgoing: &Outgoing,
        result: Result<Migrated, Errno>,
    ) {
        for asker in core::iter::once(outgoing.asker).chain(outgoing.joined.iter().copied()) {
            self.answer_move(cx, asker, result);
        }
    }

    /// Whether the asker is a thread of the process itself: then the target answers it.
    pub(super) fn own_asker(&self, outgoing: &Outgoing) -> bool {
        match outgoing.asker {
            Asker::Ticket(_) => false,
            Asker::Thread(id) => {
                self.threads.get(id).is_some_and(|thread| thread.process == outgoing.process)
            }
        }
    }

    pub(super) fn send_late(&mut self, cx: &mut Cx<'_>, outgoing: &Outgoing, late: Late) {
        let (target, info) = match late {
            Late::Fact(from, fact) => {
                // It has passed this node: whoever gets it must not take this one for where it happened.
                return self.pass_on(cx, Tell { about: outgoing.pid, fact, from, hops: 1 });
            }
            Late::Signal(info) => (Target::Process(outgoing.pid), info),
            Late::ThreadSignal(tid, info) => (Target::Thread(tid, outgoing.pid), info),
            Late::Asked { ticket, admin, message } => {
                return self.follow(cx, (ticket, admin), outgoing.to, message);
            }
        };
        let Info { signal, code, words } = info;
        let message = SendSignal { target, signal, code, words, uid: 0, hops: 0 };
        // If the node is down the process is gone with it.
        let _ = cx.inform_node(outgoing.to, &message, Vec::new());
    }

    /// The process stays: it goes on here, and the target forgets what it has.
    pub(crate) fn abort_move(&mut self, cx: &mut Cx<'_>, number: u64, errno: Errno) {
        let Some(outgoing) = self.moves.outgoing.remove(&number) else { return };
        if !matches!(outgoing.stage, Stage::Close | Stage::Gather | Stage::Freeze) {
            let held = postcard::to_allocvec(&outgoing.held).unwrap_or_default();
            // A node that is down holds nothing any more.
            let _ = cx.inform_node(outgoing.to, &MoveDiscard { token: number }, held);
            locks::stays(self, cx, outgoing.process, outgoing.to);
        }
        let me = self.own_asker(&outgoing);
        if let (true, Asker::Thread(id)) = (me, outgoing.asker)
            && let Some(thread) = self.threads.get_mut(id)
            && matches!(thread.run, Run::Held)
        {
            thread.own.registers.rax = errno.as_return_value();
        }
        let Some(process) = self.processes.get_mut(outgoing.process) else { return };
        if process.phase == Phase::Moving(number) {
            process.phase = Phase::Live;
            for id in process.threads.clone() {
                self.poke(cx, id, Interrupt::Signal);
            }
        }
        for late in outgoing.late.iter().copied() {
            match late {
                Late::Fact(from, fact) => self.learn_from(cx, from, fact),
                Late::Signal(info) => self.signal_process(cx, outgoing.process, info),
                Late::ThreadSignal(tid, info) => {
                    self.signal_here(cx, Target::Thread(tid, outgoing.pid), info);
                }
                Late::Asked { ticket, admin, message } => {
                    self.arrive(cx, (ticket, admin), message);
                }
            }
        }
        if !me || matches!(outgoing.stage, Stage::Close | Stage::Gather) {
            self.answer_move(cx, outgoing.asker, Err(errno));
        }
        for asker in outgoing.joined.iter().copied() {
            self.answer_move(cx, asker, Err(errno));
        }
    }

    pub(super) fn answer_move(
        &mut self,
        cx: &mut Cx<'_>,
        asker: Asker,
        result: Result<Migrated, Errno>,
    ) {
        match asker {
            Asker::Ticket(ticket) => cx.complete(ticket, result),
            Asker::Thread(id) => {
                let waits = self.threads.get(id).is_some_and(|thread| match &thread.run {
                    Run::Waiting(waiting) => matches!(waiting.wait, Wait::Move(_)),
                    Run::User
                    | Run::Handling
                    | Run::Faulting { .. }
                    | Run::Held
                    | Run::Fenced(_) => false,
                });
                if waits {
                    let reply = result.and_then(|moved| runtime::Msg::of(&moved));
                    let reply = reply.map(|msg| NodeReply { msg, bulk: Vec::new() });
                    self.go_on(cx, id, 0, reply);
                }
            }
        }
    }

    /// A process that is frozen for a move is killed before it was exported.
    pub(crate) fn move_killed(&mut self, cx: &mut Cx<'_>, number: u64) {
        self.abort_move(cx, number, Errno::ESRCH);
    }

    /// Keeps a signal for a process that has been exported; `false`: it has not.
    pub(crate) fn keep_signal(&mut self, no: ProcessNo, tid: Option<u32>, info: Info) -> bool {
        self.keep_late(
            no,
            match tid {
                Some(tid) => Late::ThreadSignal(tid, info),
                None => Late::Signal(info),
            },
        )
    }

    /// Keeps a fact for a process that has been exported.
    pub(crate) fn keep_fact(&mut self, no: ProcessNo, from: NodeId, fact: Fact) -> bool {
        self.keep_late(no, Late::Fact(from, fact))
    }

    /// The move of a process that has been exported.
    fn on_its_way(&mut self, no: ProcessNo) -> Option<&mut Outgoing> {
        let Phase::Moving(number) = self.processes.get(no)?.phase else { return None };
        let outgoing = self.moves.outgoing.get_mut(&number)?;
        (!matches!(outgoing.stage, Stage::Close | Stage::Gather | Stage::Freeze))
            .then_some(outgoing)
    }

    /// Whether a process has been exported and not arrived yet.
    pub(crate) fn is_on_its_way(&mut self, pid: u32) -> bool {
        self.pids.process(pid).is_some_and(|no| self.on_its_way(no).is_some())
    }

    /// Keeps a request until the process has arrived, or stays.
    ///
    /// # Errors
    /// EAGAIN: too many wait. ESRCH: it is not on its way.
    pub(crate) fn keep_request(
        &mut self,
        cx: &mut Cx<'_>,
        pid: u32,
        from: Origin,
        message: SendSignal,
        admin: bool,
    ) -> Result<Ticket, Errno> {
        let no = self.pids.process(pid).ok_or(Errno::ESRCH)?;
        let outgoing = self.on_its_way(no).ok_or(Errno::ESRCH)?;
        if outgoing.late.len() >= LATE_MAX {
            return Err(Errno::EAGAIN);
        }
        let ticket = from.ticket(cx)?;
        outgoing.late.push(Late::Asked { ticket, admin, message });
        Ok(ticket)
    }

    fn keep_late(&mut self, no: ProcessNo, late: Late) -> bool {
        let Some(outgoing) = self.on_its_way(no) else { return false };
        if outgoing.late.len() < LATE_MAX {
            outgoing.late.push(late);
        } else {
            self.machine.log(format_args!("a signal for a moving process is lost"));
        }
        true
    }

    /// How far the fetching of a process's pages is, or was when the last one came.
    pub(crate) fn move_figures(&self, cx: &mut Cx<'_>, pid: Pid) -> Result<Moving, Errno> {
        let no = self.pids.process(pid.get()).ok_or(Errno::ESRCH)?;
        let process = self.processes.get(no).ok_or(Errno::ESRCH)?;
        let space = process.space.ok_or(Errno::ESRCH)?;
        let MoveProgress { left, on_demand, prefetched } = cx.leaf(&MoveState { space })?;
        Ok(Moving { left, on_demand, prefetched })
    }

    /// A space's last page has arrived.
    pub(crate) fn pages_arrived(&mut self, space: SpaceId, on_demand: u64, prefetched: u64) {
        let fetched = &mut self.moves.pages_fetched;
        fetched.0 = fetched.0.saturating_add(on_demand);
        fetched.1 = fetched.1.saturating_add(prefetched);
        if let Some(process) = self.processes.iter().find(|process| process.space == Some(space)) {
            let pid = process.own.pid;
            self.machine.log(format_args!(
                "process {pid}: all pages are here, {on_demand} on demand, {prefetched} ahead"
            ));
        }
    }
}

const STEP_SHIFT: u32 = 40;
pub(super) const NUMBER_MASK: u64 = (1 << STEP_SHIFT) - 1;

/// The cookie of one of several asks of a stage.
pub(super) fn step_cookie(number: u64, step: usize) -> u64 {
    move_cookie(number | (step as u64 + 1) << STEP_SHIFT)
}

fn export_space(cx: &mut Cx<'_>, space: SpaceId) -> Result<Vec<u8>, Errno> {
    let mut description = Vec::new();
    let mut window = alloc::vec![0; WINDOW_BYTES];
    loop {
        let mut bulk = Bulk { buf: &mut window, len: 0, answered: false };
        let offset = description.len() as u64;
        let total = cx.leaf_bulk(&SpaceExport { space, offset }, &mut bulk)?.count;
        description.extend_from_slice(bulk.data());
        let len = description.len();
        if len as u64 >= total {
            return Ok(description);
        }
        if len > IMAGE_BYTES_MAX || len as u64 == offset {
            return Err(Errno::EFBIG);
        }
    }
}
