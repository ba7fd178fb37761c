// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies between programs, objects and bulk data.
//!
//! # Invariants
//! Every page that a copy touches is found before the first byte moves, so a copy happens entirely
//! or not at all.

use crate::MemCore;
use crate::limits::{COPY_PAGES_MAX, PAGE};
use crate::machine::{FrameNo, Machine};
use crate::resolve::{Miss, Wanted};
use abi::limits::{PAGE_BYTES, USER_TOP, WINDOW_BYTES};
use abi::{Errno, ObjectId, SpaceId};
use core::ops::Range;
use mem_api::{
    Access, COPY_BYTES, CopyIn, CopyOut, CopyString, Count, ObjectCopy, ObjectRead, ObjectWrite,
    Prepare,
};
use runtime::Bulk;

/// The frames behind one copy, in order.
pub(crate) struct Run {
    frames: [Option<FrameNo>; COPY_PAGES_MAX],
    count: usize,
}

impl Run {
    fn new() -> Self {
        Self { frames: [None; COPY_PAGES_MAX], count: 0 }
    }

    /// `None` stands for a page of zeroes that nobody has touched.
    fn push(&mut self, frame: Option<FrameNo>) {
        self.frames[self.count] = frame;
        self.count += 1;
    }
}

/// The pieces of a copy that starts at byte `at` of its first page: index of the page, first byte in
/// it, range in the data.
fn pieces(at: usize, len: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let (page, first) = ((at + done) / PAGE_BYTES, (at + done) % PAGE_BYTES);
        let piece = done..len.min(done + PAGE_BYTES - first);
        done = piece.end;
        Some((page, first, piece))
    })
}

fn pages_of(addr: u64, len: u64) -> Range<u64> {
    if len == 0 { 0..0 } else { addr / PAGE..(addr + len).div_ceil(PAGE) }
}

/// Checks a program's range: EFAULT where it leaves user memory.
fn check_range(addr: u64, len: u64) -> Result<(), Errno> {
    match addr.checked_add(len) {
        Some(end) if end <= USER_TOP => Ok(()),
        Some(_) | None => Err(Errno::EFAULT),
    }
}

impl<M: Machine> MemCore<M> {
    /// A page of a program that rests elsewhere is noted: [`mem_api::FetchAbsent`] brings it.
    pub(crate) fn note_absent(&mut self, id: SpaceId, miss: Miss) -> Errno {
        match miss {
            Miss::Error(errno) => errno,
            Miss::Away(wanted) => {
                if let Ok(space) = self.spaces.get_mut(id) {
                    space.wanted = Some(wanted);
                }
                Errno::ERESTART
            }
        }
    }

    pub(crate) fn user_frame(
        &mut self,
        id: SpaceId,
        page: u64,
        access: Access,
    ) -> Result<FrameNo, Errno> {
        match self.resolve(id, page, access) {
            Ok(found) => Ok(found.frame),
            Err(miss) => Err(self.note_absent(id, miss)),
        }
    }

    fn user_run(&mut self, id: SpaceId, addr: u64, len: u64, access: Access) -> Result<Run, Errno> {
        check_range(addr, len)?;
        self.spaces.get(id)?;
        if len > WINDOW_BYTES as u64 {
            return Err(Errno::EMSGSIZE);
        }
        let mut run = Run::new();
        for page in pages_of(addr, len) {
            run.push(Some(self.user_frame(id, page, access)?));
        }
        Ok(run)
    }

    fn object_run(
        &mut self,
        object: ObjectId,
        offset: u64,
        len: u64,
        access: Access,
    ) -> Result<Run, Errno> {
        if len > WINDOW_BYTES as u64 {
            return Err(Errno::EMSGSIZE);
        }
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let target = self.objects.get_mut(object)?;
        let before = target.len();
        if access == Access::Write {
            target.extend(end)?;
        }
        let mut run = Run::new();
        for page in pages_of(offset, len) {
            let wanted = Wanted { object, page, access };
            let frame = match access {
                Access::Read => target.peek(&mut self.frames, wanted),
                Access::Write => {
                    target.page(&mut self.frames, wanted).map(|(frame, _)| Some(frame))
                }
            };
            run.push(frame.map_err(|miss| {
                target.shorten(before);
                match miss {
                    Miss::Error(errno) => errno,
                    Miss::Away(_) => Errno::EAGAIN,
                }
            })?);
        }
        Ok(run)
    }

    fn read_run(&self, run: &Run, at: u64, into: &mut [u8]) {
        for (page, first, piece) in pieces((at % PAGE) as usize, into.len()) {
            let into = &mut into[piece];
            match run.frames[page] {
                Some(frame) => {
                    let bytes = self.frames.machine.bytes(frame);
                    into.copy_from_slice(&bytes[first..first + into.len()]);
                }
                None => into.fill(0),
            }
        }
    }

    fn write_run(&mut self, run: &Run, at: u64, from: &[u8]) {
        for (page, first, piece) in pieces((at % PAGE) as usize, from.len()) {
            let from = &from[piece];
            let frame = run.frames[page].expect("pages to be written were found before");
            self.frames.machine.bytes_mut(frame)[first..first + from.len()].copy_from_slice(from);
        }
    }

    pub(crate) fn copy_in(&mut self, op: CopyIn, bulk: &mut Bulk<'_>) -> Result<(), Errno> {
        let run = self.user_run(op.space, op.addr, op.len, Access::Read)?;
        let into = answer_buffer(bulk, op.len)?;
        self.read_run(&run, op.addr, into);
        Ok(())
    }

    pub(crate) fn copy_out(&mut self, op: CopyOut, bulk: &Bulk<'_>) -> Result<(), Errno> {
        let data = bulk.data();
        let run = self.user_run(op.space, op.addr, data.len() as u64, Access::Write)?;
        self.write_run(&run, op.addr, data);
        Ok(())
    }

    pub(crate) fn copy_string(
        &mut self,
        op: CopyString,
        bulk: &mut Bulk<'_>,
    ) -> Result<Count, Errno> {
        let room = bulk.buf.len().min(WINDOW_BYTES);
        check_range(op.addr, 0)?;
        for (page, first, piece) in pieces((op.addr % PAGE) as usize, room) {
            let page = op.addr / PAGE + page as u64;
            let frame = self.user_frame(op.space, page, Access::Read)?;
            let bytes = &self.frames.machine.bytes(frame)[first..first + piece.len()];
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                bulk.buf[piece.start..piece.start + end].copy_from_slice(&bytes[..end]);
                (bulk.len, bulk.answered) = (piece.start + end, true);
                return Ok(Count { count: bulk.len as u64 });
            }
            bulk.buf[piece].copy_from_slice(bytes);
        }
        Err(Errno::ENAMETOOLONG)
    }

    pub(crate) fn prepare(&mut self, op: Prepare) -> Result<(), Errno> {
        self.user_run(op.space, op.addr, op.len, op.access).map(|_| ())
    }

    pub(crate) fn object_read(&mut self, op: ObjectRead, bulk: &mut Bulk<'_>) -> Result<(), Errno> {
        let run = self.object_run(op.object, op.offset, op.len, Access::Read);
        let run = run.map_err(restart)?;
        let into = answer_buffer(bulk, op.len)?;
        self.read_run(&run, op.offset, into);
        Ok(())
    }

    pub(crate) fn object_write(&mut self, op: ObjectWrite, bulk: &Bulk<'_>) -> Result<(), Errno> {
        let data = bulk.data();
        let run = self.object_run(op.object, op.offset, data.len() as u64, Access::Write);
        let run = run.map_err(restart)?;
        self.write_run(&run, op.offset, data);
        Ok(())
    }

    pub(crate) fn object_copy(&mut self, op: ObjectCopy) -> Result<(), Errno> {
        if op.len > COPY_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        let users = match op.access {
            Access::Read => Access::Write,
            Access::Write => Access::Read,
        };
        let user = self.user_run(op.space, op.addr, op.len, users)?;
        let object = self.object_run(op.object, op.offset, op.len, op.access)?;
        let (mut done, len) = (0, op.len as usize);
        let (user_at, object_at) = ((op.addr % PAGE) as usize, (op.offset % PAGE) as usize);
        while done < len {
            let (user_page, user_first) = split(user_at + done);
            let (object_page, object_first) = split(object_at + done);
            let step = (len - done).min(PAGE_BYTES - user_first.max(object_first));
            let user_frame = user.frames[user_page].expect("a program's page has a frame");
            let user_place = (user_frame, user_first);
            let machine = &mut self.frames.machine;
            match (op.access, object.frames[object_page]) {
                (Access::Read, Some(frame)) => {
                    machine.copy((frame, object_first), user_place, step);
                }
                (Access::Read, None) => {
                    machine.bytes_mut(user_frame)[user_first..user_first + step].fill(0);
                }
                (Access::Write, frame) => {
                    let frame = frame.expect("pages to be written were found before");
                    machine.copy(user_place, (frame, object_first), step);
                }
            }
            done += step;
        }
        Ok(())
    }
}

fn split(at: usize) -> (usize, usize) {
    (at / PAGE_BYTES, at % PAGE_BYTES)
}

/// Without a program in the call there is nothing to tell the two apart for.
fn restart(errno: Errno) -> Errno {
    if errno == Errno::EAGAIN { Errno::ERESTART } else { errno }
}

fn answer_buffer<'a>(bulk: &'a mut Bulk<'_>, len: u64) -> Result<&'a mut [u8], Errno> {
    let len = usize::try_from(len).map_err(|_| Errno::EMSGSIZE)?;
    let buffer = bulk.buf.get_mut(..len).ok_or(Errno::EMSGSIZE)?;
    (bulk.len, bulk.answered) = (len, true);
    Ok(buffer)
}
