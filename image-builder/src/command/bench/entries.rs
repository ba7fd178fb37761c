// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts kernel entries and address-space switches in QEMU's log.
//!
//! # Model
//! QEMU writes the registers at each block of code whose address is in a range: here the kernel's
//! entry points. The program in tests/bench puts a call with a number of its own before and after
//! each batch; what the log has between them belongs to the batch. Whoever runs enters the kernel
//! before anyone else can, so that a switch is a change of the page table between two entries.

use anyhow::{Context, Result};
use object::{Object, ObjectSymbol};
use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::path::Path;

/// Call number before a batch of the operation 0; that operation's index is added.
const MARK: u64 = 0x4b00;
/// Call number after a batch of the operation 0.
const MARK_END: u64 = 0x4b80;
/// Operations that the call numbers can tell apart.
const OPERATIONS_MAX: u64 = MARK_END - MARK;

/// The kernel's entry points.
pub struct EntryPoints {
    /// Addresses of the instructions that the processor goes to for a system call.
    calls: Vec<u64>,
    /// Where it goes for faults and interrupts: one for each vector.
    vectors: Vec<u64>,
}

/// What happened between the two marks of one operation, over all its batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Batches.
    pub batches: u64,
    /// Kernel entries.
    pub entries: u64,
    /// Changes of the address space.
    pub switches: u64,
}

impl EntryPoints {
    /// Those of a kernel.
    ///
    /// # Errors
    /// The file is no kernel with symbols.
    pub fn of(kernel: &Path) -> Result<Self> {
        let data = fs::read(kernel).with_context(|| format!("no kernel {}", kernel.display()))?;
        let file = object::File::parse(&*data).context("the kernel is no ELF file")?;
        let (mut calls, mut vectors) = (Vec::new(), Vec::new());
        for symbol in file.symbols() {
            match symbol.name() {
                Ok("handle_syscall" | "handle_fastsyscall") => calls.push(symbol.address()),
                Ok(name) if is_vector(name) => vectors.push(symbol.address()),
                Ok(_) | Err(_) => {}
            }
        }
        anyhow::ensure!(calls.len() == 2 && vectors.len() == 256, "the kernel's entries changed");
        Ok(Self { calls, vectors })
    }

    /// The ranges for `-dfilter`.
    pub fn filter(&self) -> String {
        let ends = [self.vectors.iter().min(), self.vectors.iter().max()]
            .map(|end| end.copied().unwrap_or_default());
        let calls = self.calls.iter().map(|call| format!("{call:#x}..{call:#x}"));
        std::iter::once(format!("{:#x}..{:#x}", ends[0], ends[1]))
            .chain(calls)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Reads the log; what is told of an operation is found under its index.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn count(&self, log: impl BufRead) -> Result<BTreeMap<u64, Tally>> {
        let mut counter = Counter::default();
        let mut entry = Entry::default();
        for line in log.lines() {
            let line = line.context("cannot read QEMU's log")?;
            if line.starts_with("Trace ") {
                let pc = traced(&line).unwrap_or_default();
                let call = self.calls.contains(&pc);
                entry = Entry { known: call || self.vectors.contains(&pc), call, number: 0 };
            } else if let Some(number) = register(&line, "RAX=") {
                entry.number = number;
            } else if let Some(space) = register(&line, "CR3=")
                && entry.known
            {
                counter.entry(entry, space);
                entry.known = false;
            }
        }
        Ok(counter.tallies)
    }
}

fn is_vector(name: &str) -> bool {
    name.strip_prefix("int_")
        .is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok())
}

/// An entry whose registers are being read.
#[derive(Clone, Copy, Default)]
struct Entry {
    known: bool,
    call: bool,
    number: u64,
}

/// Where in the log we are.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Between batches.
    #[default]
    Outside,
    /// Servers answer the call that marks the beginning, made in this address space.
    Marked { operation: u64, space: u64 },
    /// In a batch; the address space of the last entry.
    Inside { operation: u64, space: u64 },
}

#[derive(Default)]
struct Counter {
    place: Place,
    tallies: BTreeMap<u64, Tally>,
}

impl Counter {
    fn entry(&mut self, entry: Entry, space: u64) {
        if entry.call && (MARK..MARK + OPERATIONS_MAX).contains(&entry.number) {
            self.place = Place::Marked { operation: entry.number - MARK, space };
            return;
        }
        if entry.call && (MARK_END..MARK_END + OPERATIONS_MAX).contains(&entry.number) {
            if let Place::Inside { operation, space: last } = self.place {
                let tally = self.tallies.entry(operation).or_default();
                tally.batches += 1;
                tally.switches += u64::from(last != space);
            }
            self.place = Place::Outside;
            return;
        }
        match self.place {
            Place::Outside => {}
            // The program runs again when its address space enters again.
            Place::Marked { operation, space: of_mark } if of_mark == space => {
                self.tallies.entry(operation).or_default().entries += 1;
                self.place = Place::Inside { operation, space };
            }
            Place::Marked { .. } => {}
            Place::Inside { operation, space: last } => {
                let tally = self.tallies.entry(operation).or_default();
                tally.entries += 1;
                tally.switches += u64::from(last != space);
                self.place = Place::Inside { operation, space };
            }
        }
    }
}

/// Address of the block that a line `Trace 0: 0x7f.. [cs/ADDRESS/flags/..]` is about.
fn traced(line: &str) -> Option<u64> {
    let (_, inside) = line.split_once('[')?;
    u64::from_str_radix(inside.split('/').nth(1)?, 16).ok()
}

/// Value of the register that is written as `name` and 16 hexadecimal digits.
fn register(line: &str, name: &str) -> Option<u64> {
    let (_, after) = line.split_once(name)?;
    u64::from_str_radix(after.get(..16).unwrap_or(after).trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const CALL: u64 = 0xffff_ffff_8070_0010;
    const FAULT: u64 = 0xffff_ffff_8070_0020;

    fn log(entries: &[(u64, u64, u64)]) -> String {
        let mut text = String::new();
        for (pc, number, space) in entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "Trace 0: 0x7f00 [00000000/{pc:016x}/00c0/ff000000] entry");
            let _ = writeln!(text, "RAX={number:016x} RBX=0000000000000000");
            let _ =
                writeln!(text, "CR0=80010033 CR2=0000000000000000 CR3={space:016x} CR4=000006f8");
        }
        text
    }

    fn points() -> EntryPoints {
        EntryPoints { calls: vec![CALL], vectors: vec![FAULT] }
    }

    #[test]
    fn entries_between_marks_are_counted() {
        let text = log(&[
            (CALL, 7, 0x1000),
            (CALL, MARK + 3, 0x1000),
            (CALL, 0, 0x2000),
            (FAULT, 0, 0x1000),
            (CALL, 0, 0x2000),
            (0x1234, 0, 0x3000),
            (CALL, 0, 0x2000),
            (FAULT, 0, 0x1000),
            (CALL, MARK_END + 3, 0x1000),
            (CALL, 0, 0x2000),
        ]);
        let tallies = points().count(text.as_bytes()).expect("a log");
        let wanted = Tally { batches: 1, entries: 4, switches: 2 };
        assert_eq!(tallies, BTreeMap::from([(3, wanted)]));
    }

    #[test]
    fn return_to_the_program_at_a_batchs_end_is_a_switch() {
        let text = log(&[
            (CALL, MARK, 0x1000),
            (CALL, 110, 0x1000),
            (CALL, 0, 0x2000),
            (CALL, MARK_END, 0x1000),
        ]);
        let tally = points().count(text.as_bytes()).expect("a log")[&0];
        assert_eq!(tally, Tally { batches: 1, entries: 2, switches: 2 });
    }

    #[test]
    fn torn_lines_are_left_out() {
        let text = "Trace 0:\nRAX=zz\nCR3=\nTrace 0: [a/b\n";
        assert!(points().count(text.as_bytes()).expect("a log").is_empty());
    }
}
