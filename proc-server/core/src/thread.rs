// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux threads of this node.
//!
//! # Model
//! ```text
//!             fault()                     ask / sleep
//!   User ---------------> Handling ------------------------> Waiting
//!    ^ \--- kicked() ------^  |  ^------- completion, timer ----/
//!    |                        |
//!    +---- settle: resume ----+---- settle: stopped, frozen ---> Held ----> (settle again)
//!    |                        \---- settle: exit ---> gone
//!   Faulting: waits for a page; runs the instruction again, or settles
//!   Fenced: faulted while the node may not act; handled, or settles, when it may again
//! ```
//! "To settle" is to decide at a point where `own` holds the whole state of the thread: run, wait in
//! Held, or die.

use crate::limits::THREADS_MAX;
use crate::machine::Registers;
use crate::process::ProcessNo;
use crate::signal::{Pending, SignalSet};
use crate::syscall::Wait;
use abi::{CoreId, Errno, Pid, ThreadId};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The alternate signal stack, sigaltstack(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// Bytes; 0: none.
    pub len: u64,
    /// SS_AUTODISARM.
    pub autodisarm: bool,
}

/// How an interrupted system call goes on when no handler runs, and when one does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Restart {
    /// Again; behind a handler only if it has SA_RESTART.
    Call,
    /// Again, whatever happens: it has had no effect, or a move must not be noticed.
    Always,
    /// Again; EINTR behind a handler.
    NoHandler,
}

/// What a system call keeps while it is interrupted without the program's knowledge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Progress {
    /// Bytes moved so far.
    Bytes(u64),
    /// The time when it ends, nanoseconds since boot.
    Deadline(u64),
}

/// The part of a thread that travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThreadOwn {
    /// Its id.
    pub tid: Pid,
    /// Its registers while it does not run.
    pub registers: Registers,
    /// Blocked signals.
    pub mask: SignalSet,
    /// The mask to put back when the handler's frame is made: sigsuspend(2), ppoll(2).
    pub saved_mask: Option<SignalSet>,
    /// Signals sent to this thread.
    pub pending: Pending,
    /// Its alternate stack.
    pub alt_stack: AltStack,
    /// Where to write 0, and wake a futex, at its end.
    pub clear_tid: u64,
    /// Head of its robust futex list.
    pub robust_list: u64,
    /// The system call that was interrupted and how it goes on.
    pub restart: Option<Restart>,
    /// What that call has done.
    pub progress: Option<Progress>,
}

impl ThreadOwn {
    /// A thread that starts with these registers.
    pub fn new(tid: Pid, registers: Registers, mask: SignalSet) -> Self {
        Self {
            tid,
            registers,
            mask,
            saved_mask: None,
            pending: Pending::default(),
            alt_stack: AltStack::default(),
            clear_tid: 0,
            robust_list: 0,
            restart: None,
            progress: None,
        }
    }
}

/// A call to another server that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenAsk {
    /// Its number.
    pub cookie: u64,
    /// What the waiting call calls it.
    pub tag: u32,
}

/// Why a waiting call was interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// A signal, or the process's end.
    Signal,
    /// The process is to move, or is frozen for another reason that it must not notice.
    Freeze,
}

/// A system call that waits.
#[derive(Debug)]
pub struct Waiting {
    /// How it goes on.
    pub wait: Wait,
    /// The calls that it waits for.
    pub asks: Vec<OpenAsk>,
    /// When it stops waiting: deadline in nanoseconds since boot, and the timer's cookie.
    pub timer: Option<(u64, u64)>,
    /// Set once its calls have been cancelled.
    pub interrupt: Option<Interrupt>,
}

/// A fault that nobody has handled. A system call's registers are in `own`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unhandled {
    /// A system call.
    SystemCall,
    /// Memory that is not mapped.
    Page {
        /// The address.
        addr: u64,
        /// What was tried.
        access: mem_api::Access,
    },
    /// A processor exception.
    Exception {
        /// Its vector.
        number: u64,
        /// Its error code.
        code: u64,
    },
}

/// What a thread is doing.
#[derive(Debug)]
pub enum Run {
    /// Runs in user mode, as far as we know: a fault may be queued.
    User,
    /// A step of ours has its registers.
    Handling,
    /// In a system call that waits.
    Waiting(Waiting),
    /// Waits for a page; the call that brings it.
    Faulting {
        /// Its number.
        cookie: u64,
    },
    /// Does not run until it is settled again.
    Held,
    /// Has faulted while the node may not act.
    Fenced(Unhandled),
}

/// One thread.
#[derive(Debug)]
pub struct Thread {
    /// Its number on this node.
    pub id: ThreadId,
    /// Its process.
    pub process: ProcessNo,
    /// The core that it runs on.
    pub core: CoreId,
    /// Its kernel objects; `None` before its first exec, and after it has lost them.
    pub slot: Option<u64>,
    /// What it is doing.
    pub run: Run,
    /// Something waits to be looked at when it settles: signals, a stop, its end.
    pub attention: bool,
    /// A kick of its core is under way.
    pub kicked: bool,
    /// Runs of the present call so far, and the count of asks: numbers of its cookies.
    pub sequence: u32,
    /// How often the present call was run again for absent pages.
    pub reruns: u32,
    /// The part that travels.
    pub own: ThreadOwn,
}

#[derive(Default)]
struct Row {
    generation: u16,
    thread: Option<alloc::boxed::Box<Thread>>,
}

/// All threads of the node.
#[derive(Default)]
pub struct Threads {
    rows: Vec<Row>,
    free: Vec<u16>,
    count: usize,
}

impl Threads {
    /// The thread `id`, if it still exists.
    pub fn get(&self, id: ThreadId) -> Option<&Thread> {
        let row = self.rows.get(usize::from(id.index))?;
        if row.generation == id.generation { row.thread.as_deref() } else { None }
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: ThreadId) -> Option<&mut Thread> {
        let row = self.rows.get_mut(usize::from(id.index))?;
        if row.generation == id.generation { row.thread.as_deref_mut() } else { None }
    }

    /// Adds a thread that does not run.
    ///
    /// # Errors
    /// EAGAIN: there are too many.
    pub fn add(
        &mut self,
        process: ProcessNo,
        core: CoreId,
        own: ThreadOwn,
    ) -> Result<ThreadId, Errno> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.rows.len() < THREADS_MAX => {
                self.rows.push(Row { generation: 1, thread: None });
                (self.rows.len() - 1) as u16
            }
            None => return Err(Errno::EAGAIN),
        };
        let row = &mut self.rows[usize::from(index)];
        let id = ThreadId { index, generation: row.generation };
        let thread = Thread {
            id,
            process,
            core,
            slot: None,
            run: Run::Held,
            attention: false,
            kicked: false,
            sequence: 0,
            reruns: 0,
            own,
        };
        row.thread = Some(alloc::boxed::Box::new(thread));
        self.count += 1;
        Ok(id)
    }

    /// Forgets a thread.
    pub fn remove(&mut self, id: ThreadId) -> Option<Thread> {
        let row = self.rows.get_mut(usize::from(id.index))?;
        if row.generation != id.generation {
            return None;
        }
        let thread = row.thread.take()?;
        row.generation = (row.generation + 1) & ((1 << ThreadId::GENERATION_BITS) - 1);
        self.free.push(id.index);
        self.count -= 1;
        Some(*thread)
    }

    /// All threads.
    pub fn iter(&self) -> impl Iterator<Item = &Thread> {
        self.rows.iter().filter_map(|row| row.thread.as_deref())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
