// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies between an object and a program, or a message.

use super::{PAGE, Sink, Source, no_memory_is_no_space};
use crate::walk::Stop;
use abi::{Errno, ObjectId};
use alloc::vec;
use alloc::vec::Vec;
use mem_api::{Access, CopyOut, ObjectCopy, ObjectRead, ObjectWrite};
use runtime::{Bulk, Cx};

/// Tries the whole range; where a page of the object is `absent`, as many pages as are there.
pub(super) fn piecewise(
    offset: u64,
    len: u64,
    absent: Errno,
    mut step: impl FnMut(u64, u64) -> Result<(), Errno>,
) -> Result<u64, Errno> {
    match step(0, len) {
        Ok(()) => return Ok(len),
        Err(errno) if errno == absent => {}
        Err(errno) => return Err(errno),
    }
    let mut done = 0;
    while done < len {
        let at = offset + done;
        let piece = (PAGE - at % PAGE).min(len - done);
        match step(done, piece) {
            Ok(()) => done += piece,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Hands bytes to the program, or to the reply.
pub(crate) fn deliver(
    cx: &mut Cx<'_>,
    sink: Sink,
    mut data: Vec<u8>,
) -> Result<(u64, Vec<u8>), Errno> {
    let moved = data.len() as u64;
    match sink {
        Sink::Reply => Ok((moved, data)),
        Sink::Space { .. } if data.is_empty() => Ok((0, data)),
        Sink::Space { space, addr } => {
            cx.leaf_bulk(&CopyOut { space, addr }, &mut Bulk::new(&mut data))?;
            Ok((moved, Vec::new()))
        }
    }
}

pub(super) fn object_out(
    cx: &mut Cx<'_>,
    object: ObjectId,
    offset: u64,
    len: u64,
    sink: Sink,
) -> Result<(u64, Vec<u8>), Stop> {
    let fetch = Stop::Fetch { object, offset, access: Access::Read };
    match sink {
        Sink::Space { space, addr } => {
            let moved = piecewise(offset, len, Errno::EAGAIN, |done, len| {
                let (offset, addr) = (offset + done, addr.wrapping_add(done));
                let access = Access::Read;
                cx.leaf(&ObjectCopy { object, offset, space, addr, len, access })
            });
            match moved {
                Ok(moved) => Ok((moved, Vec::new())),
                Err(Errno::EAGAIN) => Err(fetch),
                Err(errno) => Err(errno.into()),
            }
        }
        Sink::Reply => {
            let mut data = vec![0; len as usize];
            let moved = piecewise(offset, len, Errno::ERESTART, |done, len| {
                let part = &mut data[done as usize..(done + len) as usize];
                let read = ObjectRead { object, offset: offset + done, len };
                cx.leaf_bulk(&read, &mut Bulk::new(part))
            });
            match moved {
                Ok(moved) => {
                    data.truncate(moved as usize);
                    Ok((moved, data))
                }
                Err(Errno::ERESTART | Errno::EAGAIN) => Err(fetch),
                Err(errno) => Err(errno.into()),
            }
        }
    }
}

pub(super) fn object_in(
    cx: &mut Cx<'_>,
    object: ObjectId,
    offset: u64,
    len: u64,
    source: &mut Source,
) -> Result<u64, Stop> {
    let (absent, moved) = match source {
        Source::Space { space, addr, .. } => {
            let (space, addr) = (*space, *addr);
            let moved = piecewise(offset, len, Errno::EAGAIN, |done, len| {
                let (offset, addr) = (offset + done, addr.wrapping_add(done));
                let access = Access::Write;
                cx.leaf(&ObjectCopy { object, offset, space, addr, len, access })
            });
            (Errno::EAGAIN, moved)
        }
        Source::Bytes(data) => {
            let moved = piecewise(offset, len, Errno::ERESTART, |done, len| {
                let part = &mut data[done as usize..(done + len) as usize];
                let write = ObjectWrite { object, offset: offset + done };
                cx.leaf_bulk(&write, &mut Bulk::new(part))
            });
            (Errno::ERESTART, moved)
        }
    };
    match moved {
        Ok(moved) => Ok(moved),
        Err(errno) if errno == absent => Err(Stop::Fetch { object, offset, access: Access::Write }),
        Err(errno) => Err(no_memory_is_no_space(errno).into()),
    }
}
