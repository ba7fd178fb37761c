// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits while this node may not act: its lease is over, and another node may be about to take
//! over what it is home to.
//!
//! # Model
//! A thread that faults meanwhile stays `Fenced`: nothing of its call has happened. What brings a waiting
//! call further (an answer, a timer) and what becomes a signal (an alarm, a key) is kept in the order in
//! which it came. [`runtime::Core::acting`] lets all of it go on. Messages of other nodes wait in the
//! host.
//!
//! # Invariants
//! A fenced fault is handled exactly once: by its handling, or because its thread settles and makes it
//! again (a signal came first) or ends.

use crate::ProcCore;
use crate::limits::FENCED_EVENTS_MAX;
use crate::machine::{FaultAnswer, Machine};
use crate::syscall::AskResult;
use crate::thread::{Restart, Run, Unhandled};
use abi::ThreadId;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use runtime::{Core, Cx, Event};

/// Something that came meanwhile.
#[derive(Debug)]
enum Late {
    /// The answer to a thread's ask: at most one for each that is open.
    Completion(u64, AskResult),
    /// An upcall or a timer.
    Event(Event),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Fence {
    late: VecDeque<Late>,
    events: usize,
}

impl Fence {
    pub(crate) fn keep_completion(&mut self, cookie: u64, result: AskResult) {
        self.late.push_back(Late::Completion(cookie, result));
    }
}

impl<M: Machine> ProcCore<M> {
    /// Keeps an event until the node may act.
    pub(crate) fn keep_event(&mut self, event: Event) {
        if self.fence.events >= FENCED_EVENTS_MAX {
            return self.machine.log(format_args!("an event is lost while the node may not act"));
        }
        self.fence.events += 1;
        self.fence.late.push_back(Late::Event(event));
    }

    /// The node may act again.
    pub(crate) fn lift_fence(&mut self, cx: &mut Cx<'_>) {
        self.fence.events = 0;
        for late in core::mem::take(&mut self.fence.late) {
            match late {
                Late::Completion(cookie, result) => self.completion(cx, cookie, result),
                Late::Event(event) => self.event(cx, event),
            }
        }
        let fenced = self.threads.iter().filter(|thread| matches!(thread.run, Run::Fenced(_)));
        let fenced: Vec<ThreadId> = fenced.map(|thread| thread.id).collect();
        for id in fenced {
            self.unfence(cx, id);
        }
        self.unpark(cx);
    }

    fn unfence(&mut self, cx: &mut Cx<'_>, id: ThreadId) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        let Run::Fenced(fault) = thread.run else { return };
        thread.run = Run::Handling;
        if thread.attention {
            return self.settle_unhandled(cx, id, fault);
        }
        match self.handle(cx, id, fault) {
            FaultAnswer::Return(_) => self.resume_with_rax(id),
            FaultAnswer::Retry => {
                if let Some(slot) = self.threads.get(id).and_then(|thread| thread.slot) {
                    self.machine.retry(slot);
                }
            }
            FaultAnswer::Silent => {}
        }
    }

    /// A signal, a move or the end comes before the fault, which is made again behind it.
    fn settle_unhandled(&mut self, cx: &mut Cx<'_>, id: ThreadId, fault: Unhandled) {
        match fault {
            Unhandled::SystemCall => {
                if let Some(thread) = self.threads.get_mut(id) {
                    thread.own.restart = Some(Restart::Always);
                }
            }
            Unhandled::Page { .. } | Unhandled::Exception { .. } => {
                let Some(registers) = self.stopped_registers(id) else { return };
                if let Some(thread) = self.threads.get_mut(id) {
                    thread.own.registers = registers;
                }
            }
        }
        self.settle_and_resume(cx, id);
    }
}
