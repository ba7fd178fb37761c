// SPDX-License-Identifier: MIT OR Apache-2.0
//! Semaphores.
//!
//! # Invariants
//! What waits could not be done when a value changed last. All of one call is done at once, or nothing.
//!
//! # Source
//! semop(2), semctl(2).

use crate::limits::SEMAPHORE_MAX;
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::sysv::{About, SemOp};
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// IPC_NOWAIT.
pub(super) const NOWAIT: u16 = 0o4000;
/// SEM_UNDO.
pub(super) const UNDO: u16 = 0x1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Semaphore {
    value: u16,
    /// Who changed it last.
    pid: u32,
}

/// What is undone at the end of a process: by the semaphore's number.
type Undo = BTreeMap<u16, i32>;

/// A call that waits.
#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    from: NodeId,
    call: Operation,
}

/// What semop(2) asks for.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) ops: Vec<SemOp>,
    pub(super) undo: Option<FileId>,
    pub(super) pid: u32,
}

/// What becomes of a call.
#[derive(PartialEq, Eq, Debug)]
enum Attempt {
    Done,
    /// The operation with this index has to wait.
    Blocks(usize),
    Failed(Errno),
}

/// A set of them.
#[derive(Debug)]
pub(crate) struct Set {
    all: Vec<Semaphore>,
    undos: BTreeMap<FileId, Undo>,
    waiters: VecDeque<Waiter>,
    /// Last semop(2), seconds since 1970.
    pub(super) operated_s: i64,
}

/// A set on its way to another home.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    all: Vec<Semaphore>,
    undos: BTreeMap<FileId, Undo>,
    operated_s: i64,
}

impl Set {
    pub(super) fn new(count: usize) -> Self {
        let all = vec![Semaphore::default(); count];
        Self { all, undos: BTreeMap::new(), waiters: VecDeque::new(), operated_s: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Does all of it now; `false` if it has to wait.
    ///
    /// # Errors
    /// EFBIG: no such semaphore. EAGAIN: it would wait and must not. ERANGE: a value would be too large.
    pub(super) fn operate(
        &mut self,
        cx: &mut Cx<'_>,
        call: &Operation,
        now_s: i64,
    ) -> Result<bool, Errno> {
        if call.ops.iter().any(|op| usize::from(op.number) >= self.all.len()) {
            return Err(Errno::EFBIG);
        }
        match self.attempt(call) {
            Attempt::Failed(errno) => Err(errno),
            Attempt::Blocks(at) if call.ops[at].flags & NOWAIT != 0 => Err(Errno::EAGAIN),
            Attempt::Blocks(_) => Ok(false),
            Attempt::Done => {
                self.operated_s = now_s;
                self.wake(cx);
                Ok(true)
            }
        }
    }

    pub(super) fn wait(&mut self, ticket: Ticket, from: NodeId, call: Operation) {
        self.waiters.push_back(Waiter { ticket, from, call });
    }

    fn attempt(&mut self, call: &Operation) -> Attempt {
        for (at, op) in call.ops.iter().enumerate() {
            let value = self.all[usize::from(op.number)].value;
            let after = i32::from(value) + i32::from(op.value);
            let why = if op.value == 0 && value != 0 || after < 0 {
                Attempt::Blocks(at)
            } else if after > SEMAPHORE_MAX || !self.note(call.undo, *op, -i32::from(op.value)) {
                Attempt::Failed(Errno::ERANGE)
            } else {
                self.all[usize::from(op.number)].value = after as u16;
                continue;
            };
            for op in call.ops[..at].iter().rev() {
                let place = &mut self.all[usize::from(op.number)].value;
                *place = (i32::from(*place) - i32::from(op.value)) as u16;
                self.note(call.undo, *op, op.value.into());
            }
            return why;
        }
        for op in &call.ops {
            self.all[usize::from(op.number)].pid = call.pid;
        }
        Attempt::Done
    }

    /// Changes what is undone by `change`, if the operation wants that. False: it would be too much.
    fn note(&mut self, undo: Option<FileId>, op: SemOp, change: i32) -> bool {
        let Some(undo) = undo.filter(|_| op.flags & UNDO != 0 && change != 0) else { return true };
        let list = self.undos.entry(undo).or_default();
        let place = list.entry(op.number).or_default();
        let after = *place + change;
        let fits = after.abs() <= SEMAPHORE_MAX;
        if fits {
            *place = after;
        }
        if *place == 0 {
            list.remove(&op.number);
        }
        fits
    }

    /// Does what can be done now, in the order of arrival.
    fn wake(&mut self, cx: &mut Cx<'_>) {
        let mut waiters = core::mem::take(&mut self.waiters);
        loop {
            let before = waiters.len();
            waiters.retain(|waiter| match self.attempt(&waiter.call) {
                Attempt::Blocks(_) => true,
                Attempt::Done => {
                    cx.complete(waiter.ticket, Ok(()));
                    false
                }
                Attempt::Failed(errno) => {
                    cx.complete::<()>(waiter.ticket, Err(errno));
                    false
                }
            });
            if waiters.len() == before {
                break;
            }
        }
        self.waiters = waiters;
    }

    /// A process has ended: undoes what it has not.
    pub(super) fn undo(&mut self, cx: &mut Cx<'_>, file: FileId, now_s: i64) {
        // No correct node lets it go while one of its calls waits.
        let gone = self.waiters.iter().filter(|waiter| waiter.call.undo == Some(file));
        for ticket in gone.map(|waiter| waiter.ticket).collect::<Vec<_>>() {
            self.cancel(cx, ticket);
        }
        let Some(list) = self.undos.remove(&file) else { return };
        for (number, change) in list {
            let Some(it) = self.all.get_mut(usize::from(number)) else { continue };
            it.value = (i32::from(it.value) + change).clamp(0, SEMAPHORE_MAX) as u16;
        }
        self.operated_s = now_s;
        self.wake(cx);
    }

    /// Sets a value, or all.
    ///
    /// # Errors
    /// EINVAL: no such semaphore, or not as many values. ERANGE.
    pub(super) fn write(
        &mut self,
        cx: &mut Cx<'_>,
        number: Option<u16>,
        values: &[u16],
        pid: u32,
    ) -> Result<(), Errno> {
        if values.iter().any(|value| i32::from(*value) > SEMAPHORE_MAX) {
            return Err(Errno::ERANGE);
        }
        let first = usize::from(number.unwrap_or(0));
        let count = if number.is_some() { 1 } else { self.all.len() };
        let range = first..first.checked_add(count).ok_or(Errno::EINVAL)?;
        let places = self.all.get_mut(range.clone()).ok_or(Errno::EINVAL)?;
        if values.len() != places.len() {
            return Err(Errno::EINVAL);
        }
        for (place, value) in places.iter_mut().zip(values) {
            *place = Semaphore { value: *value, pid };
        }
        for list in self.undos.values_mut() {
            list.retain(|number, _| !range.contains(&usize::from(*number)));
        }
        self.wake(cx);
        Ok(())
    }

    /// What is asked about it.
    ///
    /// # Errors
    /// EINVAL: no such semaphore.
    pub(super) fn read(&self, about: About) -> Result<Vec<u32>, Errno> {
        let one = |number: u16| self.all.get(usize::from(number)).ok_or(Errno::EINVAL);
        Ok(match about {
            About::Values => self.all.iter().map(|it| it.value.into()).collect(),
            About::Value(number) => vec![one(number)?.value.into()],
            About::Pid(number) => vec![one(number)?.pid],
            About::WaitForMore(number) => {
                vec![self.count_waiting(one(number).map(|_| number)?, false)]
            }
            About::WaitForZero(number) => {
                vec![self.count_waiting(one(number).map(|_| number)?, true)]
            }
        })
    }

    /// Calls that wait for this semaphore: the first of their operations that cannot be done.
    fn count_waiting(&self, number: u16, zero: bool) -> u32 {
        let blocked = |call: &Operation| {
            let mut values: BTreeMap<u16, i32> = BTreeMap::new();
            for op in &call.ops {
                let now = self.all.get(usize::from(op.number)).map_or(0, |it| it.value.into());
                let value = values.entry(op.number).or_insert(now);
                if op.value == 0 && *value != 0 || *value + i32::from(op.value) < 0 {
                    return Some((op.number, op.value == 0));
                }
                *value += i32::from(op.value);
            }
            None
        };
        let waits = |waiter: &&Waiter| blocked(&waiter.call) == Some((number, zero));
        self.waiters.iter().filter(waits).count() as u32
    }

    /// It is removed.
    pub(super) fn remove(&mut self, cx: &mut Cx<'_>) {
        for waiter in self.waiters.drain(..) {
            cx.complete::<()>(waiter.ticket, Err(Errno::EIDRM));
        }
    }

    pub(super) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let Some(at) = self.waiters.iter().position(|waiter| waiter.ticket == ticket) else {
            return false;
        };
        self.waiters.remove(at);
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        true
    }

    pub(super) fn forget_node(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let gone = self.waiters.iter().filter(|waiter| waiter.from == node);
        for ticket in gone.map(|waiter| waiter.ticket).collect::<Vec<_>>() {
            self.cancel(cx, ticket);
        }
    }

    /// It is about to move: what waits comes again and waits for the next view.
    pub(super) fn send_away(&mut self, cx: &mut Cx<'_>) {
        for waiter in self.waiters.drain(..) {
            cx.complete::<()>(waiter.ticket, Err(Errno::ERESTART));
        }
    }

    pub(super) fn saved(&self) -> Saved {
        let Self { all, undos, operated_s, .. } = self;
        Saved { all: all.clone(), undos: undos.clone(), operated_s: *operated_s }
    }
}

impl Saved {
    /// Whether a set can be in this state; `is_undo` says whether a file is a list of it.
    pub(super) fn is_sound(&self, is_undo: impl Fn(FileId) -> bool) -> bool {
        let in_range = |change: &i32| change.abs() <= SEMAPHORE_MAX;
        (1..=crate::limits::SEMAPHORES_MAX).contains(&self.all.len())
            && self.all.iter().all(|it| i32::from(it.value) <= SEMAPHORE_MAX)
            && self.undos.iter().all(|(file, list)| is_undo(*file) && list.values().all(in_range))
    }

    pub(super) fn restored(self) -> Set {
        let Self { all, undos, operated_s } = self;
        Set { all, undos, waiters: VecDeque::new(), operated_s }
    }
}
