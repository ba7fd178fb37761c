// SPDX-License-Identifier: MIT OR Apache-2.0
//! What ids name on this node, whoever is home to their slots.

use crate::process::ProcessNo;
use abi::{Pid, ThreadId};
use runtime::collections::HashMap;

/// What an id names on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PidRow {
    /// A process.
    Process(ProcessNo),
    /// A thread that is not its process's first.
    Thread(ThreadId),
}

/// The ids that name something on this node.
#[derive(Default)]
pub struct Pids {
    rows: HashMap<u32, PidRow>,
}

impl Pids {
    /// Says what an id names here.
    pub fn set(&mut self, pid: Pid, row: PidRow) {
        self.rows.insert(pid.get(), row);
    }

    /// The id names nothing here any more.
    pub fn clear(&mut self, pid: Pid) {
        self.rows.remove(&pid.get());
    }

    /// What an id names here.
    pub fn get(&self, pid: u32) -> Option<PidRow> {
        self.rows.get(&pid).copied()
    }

    /// The process with this id, if it is here.
    pub fn process(&self, pid: u32) -> Option<ProcessNo> {
        match self.get(pid)? {
            PidRow::Process(no) => Some(no),
            PidRow::Thread(_) => None,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, PidRow)> + '_ {
        self.rows.iter().map(|(pid, row)| (*pid, *row))
    }
}
