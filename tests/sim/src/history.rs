// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs did and saw, in the order of the world's time.
//!
//! # Model
//! A program notes the number of an operation before the system call and again behind it, with what it
//! got. Between the two the operation took effect, or it did not: that is for the checkers to say. A
//! move changes nothing of this: a note is an instruction.

use abi::NodeId;

/// A program's note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note {
    /// The process.
    pub process: u64,
    /// The operation's number and, in bit 0, whether it has ended: see [`begins`] and [`ended`].
    pub number: u64,
    /// What it got.
    pub value: u64,
}

/// The number that a program notes before operation `index`.
pub fn begins(index: usize) -> u64 {
    index as u64 * 2
}

/// The number that it notes behind it.
pub fn ended(index: usize) -> u64 {
    index as u64 * 2 + 1
}

/// An operation as it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its number in the workload.
    pub index: usize,
    /// When it began, on a clock that counts notes.
    pub began: usize,
    /// When it ended, and with what; `None`: it never did.
    pub ended: Option<(usize, i64)>,
}

/// All notes of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    notes: Vec<(u64, NodeId, Note)>,
}

impl History {
    /// One more note.
    pub fn push(&mut self, now_ns: u64, node: NodeId, note: Note) {
        self.notes.push((now_ns, node, note));
    }

    /// The operations, in the order in which they began.
    pub fn operations(&self) -> Vec<Seen> {
        let mut all: Vec<Seen> = Vec::new();
        for (at, (_, _, note)) in self.notes.iter().enumerate() {
            let index = (note.number / 2) as usize;
            if note.number % 2 == 0 {
                all.push(Seen { index, began: at, ended: None });
            } else if let Some(seen) = all.iter_mut().rev().find(|seen| seen.index == index) {
                assert!(seen.ended.is_none(), "operation {index} ends twice");
                seen.ended = Some((at, note.value.cast_signed()));
            } else {
                panic!("operation {index} ends without having begun");
            }
        }
        all
    }

    /// The notes, a line each.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.notes.iter().map(|(now_ns, node, note)| {
            let Note { process, number, value } = note;
            let what = if number % 2 == 0 { "begins" } else { "ended" };
            let (index, value) = (number / 2, value.cast_signed());
            format!("{now_ns:>14} node {node} process {process} operation {index} {what} {value}")
        })
    }
}
