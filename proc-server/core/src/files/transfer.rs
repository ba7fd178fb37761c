// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing.
//!
//! # Model
//! A server moves at most a window at a time. Pipes, terminals and devices answer a read with what
//! there is; a read of a regular file goes on until it is complete or the file ends; a write goes on
//! until it is complete. Bytes that have moved are never moved again: an error behind them ends the
//! call with their count, an absent page is fetched and the rest goes on.
//!
//! # Limits
//! A vector's elements are separate operations: another writer's bytes may come between them.

use super::table::{OpenFile, Target};
use super::{Wait, glue, local_file, signalfd, socket};
use crate::layout::Layout;
use crate::layout::io::Iovec;
use crate::limits::HEAP_RESERVE_BYTES;
use crate::machine::Machine;
use crate::signal::number;
use crate::syscall::{AskResult, Call, Fail, Next, SysResult};
use abi::Errno;
use abi::limits::WINDOW_BYTES;
use alloc::boxed::Box;
use alloc::vec::Vec;
use fs_api::file::{Moved, Read, ReadAt, TerminalRead, Write, WriteAt};
use fs_api::name::FileKind;
use mem_api::FetchAbsent;
use runtime::Wire;

/// Elements of a vector: IOV_MAX.
pub const VECTOR_MAX: u64 = 1024;
/// Bytes that one call moves at most, as on Linux.
pub const TRANSFER_BYTES_MAX: u64 = 0x7fff_f000;

/// Until a reader in the background that was not stopped meanwhile tries again.
const TURN_NS: u64 = 20_000_000;

/// The program's memory that takes part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Memory {
    /// One range.
    One(Iovec),
    /// Several, at least one.
    Many(Box<[Iovec]>),
}

impl Memory {
    /// The ranges.
    pub fn ranges(&self) -> &[Iovec] {
        match self {
            Self::One(range) => core::slice::from_ref(range),
            Self::Many(ranges) => ranges,
        }
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.ranges().iter().map(|range| range.len).sum()
    }

    /// What lies `done` bytes from the start: the rest of that range, at most a window. `None` at
    /// the end.
    pub fn rest(&self, done: u64) -> Option<Iovec> {
        let mut skip = done;
        for range in self.ranges() {
            if skip < range.len {
                let len = (range.len - skip).min(WINDOW_BYTES as u64);
                return Some(Iovec { base: range.base.wrapping_add(skip), len });
            }
            skip -= range.len;
        }
        None
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the file into the program.
    Read,
    /// From the program into the file.
    Write,
}

/// A transfer that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// The file.
    pub file: OpenFile,
    /// The direction.
    pub way: Way,
    /// The program's memory.
    pub memory: Memory,
    /// Position in the file, pread(2) and pwrite(2); `None`: the file's own.
    pub offset: Option<u64>,
    /// Bytes moved so far.
    pub done: u64,
}

impl Transfer {
    /// Whether more is to be moved after a step of `moved` bytes out of `asked`.
    fn goes_on(&self, moved: u64, asked: u64) -> bool {
        if moved == 0 || self.done >= self.memory.total() {
            return false;
        }
        match (self.way, self.file.kind) {
            // A counter takes eight bytes of each range.
            (Way::Write, FileKind::Counter) | (Way::Read, FileKind::Regular | FileKind::Device) => {
                moved == asked
            }
            (Way::Write, _) => true,
            (Way::Read, _) => false,
        }
    }
}

/// read(2), write(2).
pub fn plain<M: Machine>(call: &mut Call<'_, '_, M>, way: Way) -> SysResult {
    let [fd, base, len, ..] = call.args;
    let memory = Memory::One(Iovec { base, len: len.min(TRANSFER_BYTES_MAX) });
    begin(call, fd, way, memory, None)
}

/// pread64(2), pwrite64(2).
pub fn positioned<M: Machine>(call: &mut Call<'_, '_, M>, way: Way) -> SysResult {
    let [fd, base, len, offset, ..] = call.args;
    if offset.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let memory = Memory::One(Iovec { base, len: len.min(TRANSFER_BYTES_MAX) });
    begin(call, fd, way, memory, Some(offset))
}

/// readv(2), writev(2), preadv(2), pwritev(2), preadv2(2), pwritev2(2). `offset` is `None` where the
/// file's own counts.
pub fn vector<M: Machine>(call: &mut Call<'_, '_, M>, way: Way, offset: Option<u64>) -> SysResult {
    let [fd, addr, count, ..] = call.args;
    if offset.is_some_and(|offset| offset.cast_signed() < 0) {
        return Err(Errno::EINVAL.into());
    }
    let memory = ranges(call, addr, count)?;
    begin(call, fd, way, memory, offset)
}

/// So many ranges are taken even where memory is short.
const FEW_RANGES: u64 = 8;

/// A vector of ranges.
///
/// # Errors
/// EINVAL: too many, or too long. EFAULT, ERESTART.
pub fn ranges<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    count: u64,
) -> Result<Memory, Errno> {
    if count > VECTOR_MAX {
        return Err(Errno::EINVAL);
    }
    // A call that waits keeps them.
    if count > FEW_RANGES && call.cx.heap_left() < HEAP_RESERVE_BYTES {
        return Err(Errno::ENOMEM);
    }
    let bytes = glue::bytes(call, addr, count as usize * Iovec::BYTES)?;
    let mut ranges: Vec<Iovec> =
        bytes.chunks_exact(Iovec::BYTES).filter_map(Iovec::from_slice).collect();
    let mut room = TRANSFER_BYTES_MAX;
    for range in &mut ranges {
        if range.len.cast_signed() < 0 {
            return Err(Errno::EINVAL);
        }
        range.len = range.len.min(room);
        room -= range.len;
    }
    Ok(match ranges.as_slice() {
        [] => Memory::One(Iovec { base: 0, len: 0 }),
        [one] => Memory::One(*one),
        _ => Memory::Many(ranges.into()),
    })
}

fn begin<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    way: Way,
    memory: Memory,
    offset: Option<u64>,
) -> SysResult {
    let file = match &call.process().own.files.get(fd)?.target {
        Target::File(file) => *file,
        Target::Local(_) => return local_file::transfer(call, fd, way, &memory, offset),
    };
    if offset.is_some() && file.is_stream() {
        return Err(Errno::ESPIPE.into());
    }
    if let FileKind::Socket(kind) = file.kind {
        return match way {
            Way::Read => socket::receive_plain(call, (file, kind), memory),
            Way::Write => socket::send_plain(call, (file, kind), memory),
        };
    }
    if let FileKind::Signals(set) = file.kind {
        return match way {
            Way::Read => signalfd::read(call, (file, set), memory),
            Way::Write => Err(Errno::EINVAL.into()),
        };
    }
    let done = call.bytes_done().min(memory.total());
    step(call, Transfer { file, way, memory, offset, done })
}

/// Asks for the next step. One of no bytes is asked too, for its errors.
fn step<M: Machine>(call: &mut Call<'_, '_, M>, transfer: Transfer) -> SysResult {
    let space = call.space()?;
    let range = transfer.memory.rest(transfer.done).unwrap_or_default();
    let Iovec { base: addr, len } = range;
    let file = transfer.file.file;
    let server = transfer.file.server();
    let offset = transfer.offset.map(|offset| offset.saturating_add(transfer.done));
    let kind = transfer.file.kind;
    let way = transfer.way;
    let wait = glue::wait(Wait::Transfer { transfer, asked: len });
    Ok(match (way, offset) {
        (Way::Read, None) if kind == FileKind::Terminal => {
            let caller = call.caller();
            call.ask_server(server, &TerminalRead { file, space, addr, len, caller }, 0, wait)
        }
        (Way::Read, None) => call.ask_server(server, &Read { file, space, addr, len }, 0, wait),
        (Way::Write, None) => call.ask_server(server, &Write { file, space, addr, len }, 0, wait),
        (Way::Read, Some(offset)) => {
            call.ask_server(server, &ReadAt { file, space, addr, len, offset }, 0, wait)
        }
        (Way::Write, Some(offset)) => {
            call.ask_server(server, &WriteAt { file, space, addr, len, offset }, 0, wait)
        }
    })
}

/// A step has ended.
pub fn stepped<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut transfer: Transfer,
    asked: u64,
    result: AskResult,
) -> SysResult {
    let moved = match result.and_then(|reply| Moved::get(&reply.msg)) {
        // More than asked cannot be: the program's memory ends there.
        Ok(moved) => moved.bytes.min(asked),
        Err(errno) => return failed(call, transfer, errno),
    };
    transfer.done += moved;
    if transfer.goes_on(moved, asked) {
        return step(call, transfer);
    }
    Ok(Next::Done(transfer.done))
}

/// The page that the next step needs has come.
pub fn again<M: Machine>(
    call: &mut Call<'_, '_, M>,
    transfer: Transfer,
    result: AskResult,
) -> SysResult {
    match result {
        Ok(_) if call.interrupt.is_none() => step(call, transfer),
        Ok(_) => failed(call, transfer, Errno::ECANCELED),
        Err(errno) => failed(call, transfer, errno),
    }
}

fn failed<M: Machine>(call: &mut Call<'_, '_, M>, transfer: Transfer, errno: Errno) -> SysResult {
    let done = transfer.done;
    let reads_terminal = transfer.way == Way::Read && transfer.file.kind == FileKind::Terminal;
    match errno {
        Errno::ERESTART if reads_terminal => terminal_refused(call, transfer),
        Errno::ERESTART if done > 0 => call.fetch_then(glue::wait(Wait::Again(transfer))),
        Errno::ECANCELED if done > 0 => call.partial(done),
        Errno::ERESTART | Errno::ECANCELED => Err(errno.into()),
        _ if done > 0 => Ok(Next::Done(done)),
        Errno::EPIPE if transfer.way == Way::Write => {
            glue::broken_pipe(call);
            Err(Fail::Errno(Errno::EPIPE))
        }
        _ => Err(errno.into()),
    }
}

/// A terminal's ERESTART: a page rests elsewhere, or the reader is in the background and SIGTTIN is
/// on its way. Then the call waits for the signal; if the reader will never stop, it is an error.
fn terminal_refused<M: Machine>(call: &mut Call<'_, '_, M>, transfer: Transfer) -> SysResult {
    let space = call.space()?;
    let again = glue::wait(Wait::Again(transfer.clone()));
    if call.leaf_or_wait(&FetchAbsent { space }, again)?.is_none() {
        return Ok(Next::Wait);
    }
    let ignores = call.process().own.actions.ignores(number::TTIN);
    let blocks = call.thread().own.mask.has(number::TTIN);
    if ignores || blocks || call.core.is_orphaned(call.process) {
        return Err(Errno::EIO.into());
    }
    let retry_ns = call.cx.now_ns().saturating_add(TURN_NS);
    call.timeout_at(retry_ns)?;
    Ok(call.keep_waiting(glue::wait(Wait::Turn(transfer))))
}

/// The reader was not stopped yet: it tries again.
pub fn turn<M: Machine>(
    call: &mut Call<'_, '_, M>,
    transfer: Transfer,
    result: AskResult,
) -> SysResult {
    match result {
        Err(Errno::ETIMEDOUT) | Ok(_) => step(call, transfer),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::FileId;
    use alloc::vec;

    fn range(base: u64, len: u64) -> Iovec {
        Iovec { base, len }
    }

    #[test]
    fn memory_of_several_ranges_goes_on_in_the_right_one() {
        let memory = Memory::Many(vec![range(100, 10), range(0, 0), range(500, 5)].into());
        assert_eq!(memory.total(), 15);
        assert_eq!(memory.rest(0), Some(range(100, 10)));
        assert_eq!(memory.rest(9), Some(range(109, 1)));
        assert_eq!(memory.rest(10), Some(range(500, 5)));
        assert_eq!(memory.rest(15), None);
    }

    #[test]
    fn memory_is_moved_a_window_at_a_time() {
        let memory = Memory::One(range(0x1000, 100_000));
        assert_eq!(memory.rest(0), Some(range(0x1000, 65536)));
        assert_eq!(memory.rest(65536), Some(range(0x11000, 34464)));
    }

    #[test]
    fn short_step_ends_a_read_and_not_a_write() {
        let transfer = |way, kind| Transfer {
            file: OpenFile { file: FileId::from_raw(1), kind },
            way,
            memory: Memory::One(range(0, 100)),
            offset: None,
            done: 10,
        };
        assert!(!transfer(Way::Read, FileKind::Regular).goes_on(10, 100));
        assert!(transfer(Way::Read, FileKind::Regular).goes_on(10, 10));
        assert!(transfer(Way::Read, FileKind::Device).goes_on(10, 10), "/dev/zero has no end");
        assert!(!transfer(Way::Read, FileKind::Pipe).goes_on(10, 10));
        assert!(transfer(Way::Write, FileKind::Pipe).goes_on(10, 100));
        assert!(!transfer(Way::Write, FileKind::Pipe).goes_on(0, 100));
    }
}
