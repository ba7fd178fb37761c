// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes of this node.

use crate::files::{Directory, FdTable};
use crate::limits::{NAME_BYTES, PROCESSES_MAX, STACK_BYTES};
use crate::signal::{Actions, Pending};
use crate::timers::Timers;
use abi::{Errno, NodeId, Pid, SpaceId, ThreadId, Ticket};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
pub use proc_api::peer::ChildState;
use serde::{Deserialize, Serialize};

/// A process's row on this node. Rows are used again; whoever keeps one over a wait checks the pid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessNo(pub u32);

/// User and group. There are no set-user-id programs: real, effective and saved ids are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A child as its parent knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Child {
    /// Its process group.
    pub group: u32,
    /// How it stands.
    pub state: ChildState,
    /// The node that it was last heard from.
    pub node: NodeId,
    /// Signal to send at its end; 0 for none, and then only a wait with __WCLONE finds it.
    pub exit_signal: u32,
    /// User of the child.
    pub uid: u32,
}

/// Resource limits that are kept: soft and hard, by RLIMIT_ number.
pub type Limits = [(u64, u64); 16];

/// An interval timer, ITIMER_REAL. Times are in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Alarm {
    /// When it ends, since boot; 0: it is not set.
    pub deadline_ns: u64,
    /// Interval; 0: once.
    pub interval_ns: u64,
}

/// The part of a process that travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessOwn {
    /// Its id.
    pub pid: Pid,
    /// Its parent; 0: the node's reaper.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// User and group.
    pub ids: Ids,
    /// umask(2).
    pub umask: u32,
    /// Working directory.
    pub directory: Directory,
    /// Node of the session's controlling terminal; 0: it has none.
    pub terminal: u16,
    /// Descriptors.
    pub files: FdTable,
    /// What signals do.
    pub actions: Actions,
    /// Signals sent to the process.
    pub pending: Pending,
    /// Its children.
    pub children: BTreeMap<u32, Child>,
    /// Signal to send to the parent at its end.
    pub exit_signal: u32,
    /// Start and end of the heap, brk(2).
    pub heap: (u64, u64),
    /// Where the arguments stand in memory, for /proc/PID/cmdline.
    pub arguments: (u64, u64),
    /// Where the environment stands.
    pub environment: (u64, u64),
    /// The program's path.
    pub program: String,
    /// Its name, at most [`NAME_BYTES`] bytes.
    pub name: String,
    /// Resource limits.
    pub limits: Limits,
    /// ITIMER_REAL.
    pub alarm: Alarm,
    /// POSIX timers.
    pub timers: Timers,
    /// Its monotonic clock is the node's plus this.
    pub clock_offset_ns: i64,
    /// It has called execve(2) since fork: setpgid(2) by the parent is refused.
    pub executed: bool,
    /// When it started, nanoseconds since 1970.
    pub started_ns: u64,
    /// Signal to get when the parent ends, prctl(PR_SET_PDEATHSIG).
    pub parent_death_signal: u32,
    /// The shell server wants to hear of its end, on this node; 0: it does not.
    pub watcher: u16,
    /// Stopped by this signal, job control; 0: not stopped.
    pub stopped_by: u32,
    /// How often it has moved to another node.
    pub moves: u32,
    /// It has asked for locks of files that are its own, F_SETLK: who closes a descriptor of one says so.
    pub has_locks: bool,
}

/// What a process is doing as a whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Phase {
    /// Lives.
    Live,
    /// One thread replaces the program; all others end.
    Exec(ThreadId),
    /// It is to move, or moves: its threads are held.
    Moving(u64),
    /// Its threads end; then this is its wait status.
    Ending(u32),
    /// It has ended and waits to be waited for.
    Zombie(u32),
}

/// One process.
#[derive(Debug)]
pub struct Process {
    /// Its row.
    pub no: ProcessNo,
    /// Its address space; `None` before the first exec and after its end.
    pub space: Option<SpaceId>,
    /// Its threads; the first is the oldest.
    pub threads: Vec<ThreadId>,
    /// What it is doing.
    pub phase: Phase,
    /// A parent that waits in vfork(2) for its exec or end.
    pub vfork_parent: Option<ThreadId>,
    /// The shell server's request that made it, until the program runs.
    pub spawn: Option<Ticket>,
    /// The part that travels.
    pub own: ProcessOwn,
}

impl Process {
    /// The space of a process that has one.
    pub fn space(&self) -> Result<SpaceId, Errno> {
        self.space.ok_or(Errno::ESRCH)
    }

    /// Whether job control has stopped it.
    pub fn is_stopped(&self) -> bool {
        self.own.stopped_by != 0
    }

    /// Sets its name from a program's path, or as prctl(2) gives it.
    pub fn set_name(&mut self, path: &str) {
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut end = name.len().min(NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        self.own.name = String::from(&name[..end]);
    }
}

/// The limits of a new session.
pub fn default_limits() -> Limits {
    let unlimited = (u64::MAX, u64::MAX);
    let mut limits = [unlimited; 16];
    limits[3] = (STACK_BYTES, u64::MAX);
    limits[4] = (0, u64::MAX);
    limits[6] = (crate::limits::PROCESSES_MAX as u64, crate::limits::PROCESSES_MAX as u64);
    limits[7] = (crate::files::DESCRIPTORS_SOFT as u64, crate::files::DESCRIPTORS_MAX as u64);
    limits[8] = (64 * 1024, 64 * 1024);
    limits[11] =
        (crate::limits::QUEUED_SIGNALS_MAX as u64, crate::limits::QUEUED_SIGNALS_MAX as u64);
    limits[12] = (0, 0);
    limits[13] = (0, 0);
    limits[14] = (0, 0);
    limits
}

/// All processes of the node.
#[derive(Default)]
pub struct Processes {
    rows: Vec<Option<alloc::boxed::Box<Process>>>,
    free: Vec<u32>,
}

impl Processes {
    /// The process in row `no`.
    pub fn get(&self, no: ProcessNo) -> Option<&Process> {
        self.rows.get(no.0 as usize)?.as_deref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, no: ProcessNo) -> Option<&mut Process> {
        self.rows.get_mut(no.0 as usize)?.as_deref_mut()
    }

    /// Adds a process without space and threads.
    ///
    /// # Errors
    /// EAGAIN: there are too many.
    pub fn add(&mut self, own: ProcessOwn) -> Result<ProcessNo, Errno> {
        let no = match self.free.pop() {
            Some(no) => no,
            None if self.rows.len() < PROCESSES_MAX => {
                self.rows.push(None);
                (self.rows.len() - 1) as u32
            }
            None => return Err(Errno::EAGAIN),
        };
        let no = ProcessNo(no);
        let process = Process {
            no,
            space: None,
            threads: Vec::new(),
            phase: Phase::Live,
            vfork_parent: None,
            spawn: None,
            own,
        };
        self.rows[no.0 as usize] = Some(alloc::boxed::Box::new(process));
        Ok(no)
    }

    /// Forgets a process.
    pub fn remove(&mut self, no: ProcessNo) -> Option<Process> {
        let process = self.rows.get_mut(no.0 as usize)?.take()?;
        self.free.push(no.0);
        Some(*process)
    }

    /// The rows of all processes.
    pub fn numbers(&self) -> Vec<ProcessNo> {
        self.iter().map(|process| process.no).collect()
    }

    /// All processes.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.rows.iter().filter_map(|row| row.as_deref())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
