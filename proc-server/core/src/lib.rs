// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of proc-server: the Linux personality.
//!
//! # Model
//! [`ProcCore`] is one state machine: faults of Linux threads come in through [`ProcCore::fault`],
//! requests of other servers, answers, events and timers through [`runtime::Core`]. It acts on
//! threads through [`Machine`], and on everything else through [`runtime::Cx`].
//!
//! A process runs where its [`process::Process`] is. The home of its pid's slot knows where that is
//! ([`home`]), and asks all members when a view makes it home; a pid is made in a slot of the node that
//! forks, so a program that never leaves its node never makes a message.
//!
//! # Invariants
//! A thread that is not `User` has its whole state in `own` (or, while it waits for a page, in its
//! kernel object, where nobody changes it). A thread ends only when no ask of it is open. A process
//! is in `processes` of at most one node at a time in any phase but `Moving`.

#![no_std]
#![forbid(unsafe_code)]
#![allow(non_upper_case_globals, reason = "system call numbers keep the names of the headers")]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod cluster_ops;
mod core_impl;
pub mod elf;
mod entry;
mod fence;
pub mod files;
pub mod home;
pub mod layout;
mod lifecycle;
pub mod limits;
mod lost;
pub mod machine;
pub mod migrate;
mod parked;
pub mod pids;
pub mod process;
pub mod procfs;
mod rebuild;
pub mod signal;
pub mod stack;
pub mod strings;
pub mod syscall;
#[cfg(test)]
mod tests;
pub mod thread;
pub mod timers;
#[cfg(test)]
mod view_tests;

pub(crate) use cluster_ops as cluster;
pub use machine::{FaultAnswer, Found, Fpu, Machine, Registers, Stopped, UserFault};

use ::cluster::View;
use abi::{CoreId, NodeId, ThreadId};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// The state of proc-server on one node.
pub struct ProcCore<M> {
    /// Effects on kernel threads.
    pub machine: M,
    /// All threads.
    pub threads: thread::Threads,
    /// All processes.
    pub processes: process::Processes,
    /// What ids name here.
    pub pids: pids::Pids,
    /// The ids of the slots that this node is home to.
    pub home: home::Home,
    /// Descriptors of this node by the file that they name.
    pub holders: files::Holders,
    /// Descriptors in flight from this node.
    pub(crate) flights: files::flight::Flights,
    /// Calls that are not implemented, by number.
    pub unimplemented: Vec<u32>,
    /// What files of proc-server itself wait for.
    pub procfs: procfs::ProcFs,
    /// This node.
    pub node: NodeId,
    pub(crate) cluster: cluster::Cluster,
    pub(crate) moves: migrate::Moves,
    pub(crate) fence: fence::Fence,
    pub(crate) rebuild: rebuild::Rebuild,
    pub(crate) waiting: parked::Waiting,
    /// The view that was last entered.
    pub(crate) view: View,
    /// Members that do not answer, or to which something did not leave.
    pub(crate) silent: BTreeSet<NodeId>,
    /// Processes whose end the shell server of this node wants to hear of.
    pub(crate) watched: BTreeSet<u32>,
    /// Threads to be stopped by the worker of each core.
    pub(crate) kicks: Vec<VecDeque<ThreadId>>,
    /// The thread whose fault the worker of each core answers after this step.
    pub(crate) answering: Vec<Option<ThreadId>>,
    /// The core of the next new process.
    pub(crate) next_core: u8,
    /// Forks since boot, for /proc/stat.
    pub forks: u64,
    /// What calls of execve(2) may still hold.
    pub(crate) exec_room: strings::ExecRoom,
}

impl<M: Machine> ProcCore<M> {
    /// proc-server of `node`, without processes.
    pub fn new(machine: M, view: &View, node: NodeId) -> Self {
        let cores = usize::from(machine.cores());
        Self {
            machine,
            threads: thread::Threads::default(),
            processes: process::Processes::default(),
            pids: pids::Pids::default(),
            home: home::Home::new(view, node),
            holders: files::Holders::default(),
            flights: files::flight::Flights::default(),
            unimplemented: alloc::vec![0; limits::CALL_NUMBERS],
            procfs: procfs::ProcFs::default(),
            node,
            cluster: cluster::Cluster::default(),
            moves: migrate::Moves::default(),
            fence: fence::Fence::default(),
            rebuild: rebuild::Rebuild::default(),
            waiting: parked::Waiting::default(),
            view: view.clone(),
            silent: BTreeSet::new(),
            watched: BTreeSet::new(),
            kicks: alloc::vec![VecDeque::new(); cores],
            answering: alloc::vec![None; cores],
            next_core: 0,
            forks: 0,
            exec_room: strings::ExecRoom::default(),
        }
    }

    /// The core for a new thread: round robin.
    pub(crate) fn choose_core(&mut self) -> CoreId {
        let core = self.next_core % self.machine.cores();
        self.next_core = (core + 1) % self.machine.cores();
        CoreId(core)
    }
}
