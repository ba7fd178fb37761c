// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a move at its source: the target takes the process, or does not, or is not heard of.

use super::arrival::Given;
use super::source::{Late, NUMBER_MASK, Outgoing, Stage, step_cookie};
use crate::ProcCore;
use crate::entry::alarm_cookie;
use crate::files;
use crate::limits::COMMIT_RETRY_NS;
use crate::machine::Machine;
use crate::process::{Phase, ProcessNo};
use crate::signal::number;
use crate::syscall::{AskResult, wait_status_signal};
use abi::{Errno, NodeId};
use alloc::vec::Vec;
use proc_api::Migrated;
use proc_api::peer::{MOVES_OPEN_MAX, MoveCommit, MovesOpen};
use runtime::Cx;

impl<M: Machine> ProcCore<M> {
    pub(super) fn send_commit(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { return };
        outgoing.unanswered = false;
        let (pid, to, process) = (outgoing.pid, outgoing.to, outgoing.process);
        let moves = self.processes.get(process).map_or(0, |process| process.own.moves + 1);
        let commit = MoveCommit { token: number, pid, moves };
        cx.call_node(to, &commit, Vec::new(), step_cookie(number, 0));
    }

    pub(super) fn committed(&mut self, cx: &mut Cx<'_>, number: u64, result: AskResult) {
        let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { return };
        let to = outgoing.to;
        outgoing.unanswered = true;
        match result {
            Ok(_) => self.has_gone(cx, number, true),
            // It runs there or does not: that is known when the node answers, or has left.
            Err(Errno::EHOSTDOWN) if self.may_answer(cx, to) => {}
            // It was there and has gone on or ended, or it never was.
            Err(Errno::EHOSTDOWN | Errno::ESRCH) => self.has_gone(cx, number, false),
            // The link has no room: the target is asked again, as nothing else is left to do.
            Err(Errno::EAGAIN) => {
                let armed = cx.arm(cx.now_ns() + COMMIT_RETRY_NS, step_cookie(number, 0));
                if let Err(errno) = armed {
                    self.not_taken(cx, number, errno);
                }
            }
            Err(errno) => self.not_taken(cx, number, errno),
        }
    }

    /// The target does not take what was given to it.
    fn not_taken(&mut self, cx: &mut Cx<'_>, number: u64, errno: Errno) {
        let Some(outgoing) = self.moves.outgoing.remove(&number) else { return };
        let Some(process) = self.processes.get_mut(outgoing.process) else { return };
        let pid = process.own.pid;
        self.machine
            .log(format_args!("process {pid} is lost on its way to node {}: {errno}", outgoing.to));
        files::locks::end_all(self, cx, outgoing.process);
        self.let_files_go(cx, outgoing.process);
        if let Some(process) = self.processes.get_mut(outgoing.process) {
            for id in core::mem::take(&mut process.threads) {
                let Some(thread) = self.threads.remove(id) else { continue };
                if thread.own.tid != pid {
                    self.pids.clear(thread.own.tid);
                    self.free_pid(cx, thread.own.tid);
                }
            }
        }
        for late in &outgoing.late {
            if let Late::Asked { ticket, .. } = late {
                cx.complete::<()>(*ticket, Err(Errno::ESRCH));
            }
        }
        // Nothing of it is left to stop: it ends here, as killed.
        if let Some(process) = self.processes.get_mut(outgoing.process) {
            process.phase = Phase::Live;
        }
        self.end_process(cx, outgoing.process, wait_status_signal(number::KILL, false));
        self.answer_all(cx, &outgoing, Err(errno));
    }

    fn let_files_go(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        self.end_timers(cx, no);
        let Some(process) = self.processes.get_mut(no) else { return };
        let descriptors = process.own.files.remove_all();
        let alarm = core::mem::take(&mut process.own.alarm);
        if alarm.deadline_ns != 0 {
            cx.disarm(alarm.deadline_ns, alarm_cookie(process.own.pid.get()));
        }
        files::close_all(self, cx, descriptors);
    }

    /// The process is the target's. If it is not `taken`, it may be nowhere: the homes of its ids find out.
    fn has_gone(&mut self, cx: &mut Cx<'_>, number: u64, taken: bool) {
        let Some(outgoing) = self.moves.outgoing.remove(&number) else { return };
        let (no, to) = (outgoing.process, outgoing.to);
        files::locks::left(self, cx, no);
        self.let_files_go(cx, no);
        // A thread of the process itself that asked is forgotten with the others: the target answers it.
        let Some(process) = self.processes.remove(no) else { return };
        let pid = process.own.pid;
        let given = Given { to, moves: process.own.moves + 1, pid: pid.get() };
        for id in process.threads {
            let Some(thread) = self.threads.remove(id) else { continue };
            if thread.own.tid != pid {
                self.gone_to(cx, thread.own.tid, given);
            }
        }
        self.gone_to(cx, pid, given);
        let result = if taken {
            let now_ns = cx.now_ns();
            Ok(Migrated {
                from: cx.node().get(),
                // The last one is the answer that was just received.
                messages: outgoing.messages + 1,
                freeze_ns: now_ns.saturating_sub(outgoing.frozen_ns),
                total_ns: now_ns.saturating_sub(outgoing.started_ns),
                pages: outgoing.pages,
                state_bytes: outgoing.state_bytes,
            })
        } else {
            self.machine.log(format_args!("process {pid} went to node {to}, and may be lost"));
            self.given_missing(cx, |it| *it == given);
            Err(Errno::EHOSTDOWN)
        };
        for late in outgoing.late.iter().copied() {
            self.send_late(cx, &outgoing, late);
        }
        self.answer_all(cx, &outgoing, result);
    }

    /// `node` answers after a silence: what it or this node said meanwhile may be lost.
    pub(crate) fn moves_again(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let to_it = self.moves.outgoing.iter().filter(|(_, it)| it.to == node);
        let tokens: Vec<u64> =
            to_it.clone().map(|(number, _)| *number).take(MOVES_OPEN_MAX).collect();
        let unanswered: Vec<u64> =
            to_it.filter(|(_, it)| it.unanswered).map(|(number, _)| *number).collect();
        let open = MovesOpen { last: self.moves.next, tokens };
        self.inform(cx, node, &open);
        for number in unanswered {
            self.send_commit(cx, number);
        }
        self.locate_all(cx);
    }

    /// `node` has left, or its proc-server has died.
    pub(crate) fn moves_lost(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        self.incoming_lost(cx, |from, _| from == node);
        let to_it = self.moves.outgoing.iter().filter(|(_, it)| it.to == node);
        for number in to_it.map(|(number, _)| *number).collect::<Vec<_>>() {
            let Some(outgoing) = self.moves.outgoing.get_mut(&number) else { continue };
            match outgoing.stage {
                Stage::Close | Stage::Gather | Stage::Freeze => {
                    self.abort_move(cx, number, Errno::EHOSTDOWN);
                }
                // It ends when all holds have: they must be let go.
                Stage::Hold { .. } => outgoing.failed = Some(Errno::EHOSTDOWN),
                // The calls to it have been ended.
                Stage::Install { .. } => {}
                Stage::Commit if outgoing.unanswered => self.has_gone(cx, number, false),
                Stage::Commit => {}
            }
        }
        self.arrivals_lost(cx, node);
        self.given_missing(cx, |given| given.to == node);
    }

    /// The target has a process whose Commit may not have been answered.
    pub(crate) fn taken(&mut self, cx: &mut Cx<'_>, pid: u32, to: NodeId) {
        let mut moves = self.moves.outgoing.iter();
        let is = |it: &Outgoing| (it.pid, it.to, it.stage) == (pid, to, Stage::Commit);
        if let Some(number) = moves.find(|(_, it)| is(it)).map(|(number, _)| *number) {
            self.has_gone(cx, number, true);
        }
    }

    /// Commit, which found no room, is said again.
    pub(crate) fn move_timer(&mut self, cx: &mut Cx<'_>, cookie: u64) {
        let number = cookie & NUMBER_MASK;
        if self.moves.outgoing.get(&number).is_some_and(|outgoing| outgoing.unanswered) {
            self.send_commit(cx, number);
        }
    }
}
