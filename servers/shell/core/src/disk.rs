// SPDX-License-Identifier: MIT OR Apache-2.0
//! `disks --check`: whether a node's disk keeps what is written to it.
//!
//! # Model
//! The region that is kept for it holds the pattern of the last check, which follows from the check's
//! number. A check reads it, which shows whether it outlasted whatever happened since; writes its own,
//! the number one higher; flushes; and reads that back. So it does to the disk what its users do.

use crate::job::JobId;
use crate::{Machine, Shell, Wait, text};
use abi::Errno;
use abi::limits::WINDOW_BYTES;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use disk_api::limits::{CHECK_SECTORS, SECTOR_BYTES};
use disk_api::{Fetch, Flush, Read, Readable, Region, Write};
use runtime::{Bulk, Cx, NodeReply, Wire};

const MAGIC: u64 = u64::from_le_bytes(*b"KRRCHECK");
const WORDS: usize = SECTOR_BYTES / 8;

/// What was found of the check before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    /// There was none.
    Nothing,
    /// All of it is there.
    Whole(u64),
    /// Something of it is.
    Spoilt,
}

impl Before {
    fn of(bytes: &[u8]) -> Self {
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        match (word(0), word(8)) {
            (Some(MAGIC), Some(number)) if *pattern(number) == *bytes => Self::Whole(number),
            _ if bytes.iter().all(|byte| *byte == 0) => Self::Nothing,
            _ => Self::Spoilt,
        }
    }

    fn next(self) -> u64 {
        match self {
            Self::Nothing | Self::Spoilt => 1,
            Self::Whole(number) => number.wrapping_add(1),
        }
    }
}

/// What each sector holds after a check: magic, the check's number, the sector's, and words that follow
/// from both.
fn pattern(number: u64) -> Box<[u8]> {
    let mut bytes = vec![0; CHECK_SECTORS as usize * SECTOR_BYTES].into_boxed_slice();
    for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
        let (sector, at) = ((index / WORDS) as u64, index % WORDS);
        let value = match at {
            0 => MAGIC,
            1 => number,
            2 => sector,
            _ => (number << 32 ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// A check under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) job: JobId,
    pub(crate) part: usize,
    started_ns: u64,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// What is there is being read.
    Before,
    /// What was written is being flushed.
    Flush(Before),
    /// It is being read back.
    After(Before),
}

impl<M: Machine> Shell<M> {
    pub(crate) fn begin_check(&mut self, cx: &mut Cx<'_>, job: JobId, part: usize) {
        // Two at once would find each other's patterns.
        if self.waits.values().any(|wait| matches!(wait, Wait::DiskCheck(_))) {
            return self.part_failed(cx, job, part, Errno::EBUSY);
        }
        let started_ns = cx.now_ns();
        self.read_check(cx, Check { job, part, started_ns, step: Step::Before });
    }

    fn read_check(&mut self, cx: &mut Cx<'_>, check: Check) {
        let read = Read { region: Region::Check, sector: 0, sectors: CHECK_SECTORS };
        self.ask(cx, &read, Wait::DiskCheck(check));
    }

    /// A step of a check has ended.
    pub(crate) fn checked(
        &mut self,
        cx: &mut Cx<'_>,
        check: Check,
        result: &Result<NodeReply, Errno>,
    ) {
        let reply = result.as_ref().map_err(|errno| *errno);
        let ended = match check.step {
            Step::Before => reply.and_then(|reply| self.write_check(cx, check, reply)),
            Step::Flush(before) => {
                reply.map(|_| self.read_check(cx, Check { step: Step::After(before), ..check }))
            }
            Step::After(before) => {
                reply.and_then(|reply| self.compare_check(cx, check, before, reply))
            }
        };
        if let Err(errno) = ended {
            let line = text::check_failed(cx.node(), errno);
            self.part_ended(cx, check.job, check.part, line, 1);
        }
    }

    fn write_check(
        &mut self,
        cx: &mut Cx<'_>,
        check: Check,
        reply: &NodeReply,
    ) -> Result<(), Errno> {
        let before = Before::of(&fetch(cx, reply)?);
        let mut bytes = pattern(before.next());
        let write = Write { region: Region::Check, sector: 0 };
        cx.leaf_bulk(&write, &mut Bulk::new(&mut bytes))?;
        let check = Check { step: Step::Flush(before), ..check };
        self.ask(cx, &Flush { region: Region::Check }, Wait::DiskCheck(check));
        Ok(())
    }

    fn compare_check(
        &mut self,
        cx: &mut Cx<'_>,
        check: Check,
        before: Before,
        reply: &NodeReply,
    ) -> Result<(), Errno> {
        let number = before.next();
        let is_good = fetch(cx, reply)? == pattern(number);
        let (node, took_ns) = (cx.node(), cx.now_ns() - check.started_ns);
        let (line, status): (String, u8) = if is_good {
            (text::check_passed(node, number, before, took_ns), 0)
        } else {
            (format!("node {node}: check {number}: what is read back is not what was written\n"), 1)
        };
        self.part_ended(cx, check.job, check.part, line, status);
        Ok(())
    }
}

/// What was read.
pub(crate) fn fetch(cx: &mut Cx<'_>, reply: &NodeReply) -> Result<Box<[u8]>, Errno> {
    let id = Readable::get(&reply.msg)?.id;
    let mut bytes = vec![0; WINDOW_BYTES];
    let mut bulk = Bulk::new(&mut bytes);
    // Nothing is sent along.
    bulk.len = 0;
    cx.leaf_bulk(&Fetch { id }, &mut bulk)?;
    let len = bulk.len;
    bytes.truncate(len);
    Ok(bytes.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_before_is_told_from_none_and_from_a_spoilt_one() {
        assert_eq!(Before::of(&vec![0; WINDOW_BYTES]), Before::Nothing);
        let mut bytes = pattern(7);
        assert_eq!(Before::of(&bytes), Before::Whole(7));
        assert_eq!(Before::of(&bytes).next(), 8);
        bytes[40_000] ^= 1;
        assert_eq!(Before::of(&bytes), Before::Spoilt);
        let mut torn = pattern(8);
        torn[..512].copy_from_slice(&pattern(9)[..512]);
        assert_eq!(Before::of(&torn), Before::Spoilt);
    }
}
