// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control messages, cmsg(3): SCM_CREDENTIALS, SCM_RIGHTS.

use super::owner;
use super::receive::{self, Message, Receiving, Tells};
use crate::files::glue;
use crate::files::table::{Descriptor, OpenFile};
use crate::layout::socket::{Cmsghdr, Ucred};
use crate::layout::{IntoBytes, Layout};
use crate::machine::Machine;
use crate::syscall::Call;
use abi::Errno;
use abi::linux::net::{
    MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_TRUNC, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET,
};
use alloc::vec::Vec;
use ipc_api::socket::{Owner, Received};

/// Longest control data of one sendmsg(2).
const CONTROL_BYTES_MAX: u64 = 2048;

/// What control messages say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// Who sends.
    pub owner: Owner,
    /// Descriptors that are to fly.
    pub descriptors: Vec<u32>,
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<u64>())
}

/// Reads control messages that a program sends.
///
/// # Errors
/// EINVAL: they are malformed, or unknown. EPERM: it is not who it says. ENOBUFS: too long.
pub fn read<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, len: u64) -> Result<Control, Errno> {
    let mut control = Control { owner: owner(call), descriptors: Vec::new() };
    if addr == 0 || len == 0 {
        return Ok(control);
    }
    if len > CONTROL_BYTES_MAX {
        return Err(Errno::ENOBUFS);
    }
    let bytes = glue::bytes(call, addr, len as usize)?;
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(Cmsghdr::from_slice) {
        let len = usize::try_from(header.len).map_err(|_| Errno::EINVAL)?;
        let end = at.checked_add(len).ok_or(Errno::EINVAL)?;
        let data = bytes.get(at + Cmsghdr::BYTES..end).ok_or(Errno::EINVAL)?;
        match (header.level, header.kind) {
            (SOL_SOCKET, SCM_CREDENTIALS) => control.owner = credentials(call, data)?,
            (SOL_SOCKET, SCM_RIGHTS) => {
                let numbers = data.chunks_exact(size_of::<u32>());
                let numbers = numbers.filter_map(u32::from_slice);
                control.descriptors.extend(numbers);
            }
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            _ => {}
        }
        at += aligned(len);
    }
    Ok(control)
}

/// Who a program says it is: itself, unless it is root's.
fn credentials<M: Machine>(call: &Call<'_, '_, M>, data: &[u8]) -> Result<Owner, Errno> {
    if data.len() != Ucred::BYTES {
        return Err(Errno::EINVAL);
    }
    let Ucred { pid, uid, gid } = Ucred::from_slice(data).ok_or(Errno::EINVAL)?;
    let (said, own) = (Owner { pid, uid, gid }, owner(call));
    if own.uid == 0 || said == own { Ok(said) } else { Err(Errno::EPERM) }
}

/// One control message.
fn push(out: &mut Vec<u8>, kind: u32, data: &[u8]) {
    let len = (Cmsghdr::BYTES + data.len()) as u64;
    out.extend_from_slice(Cmsghdr { len, level: SOL_SOCKET, kind }.as_bytes());
    out.extend_from_slice(data);
    out.resize(aligned(out.len()), 0);
}

/// What the program is told of a message beside its bytes.
pub fn message<M: Machine>(
    call: &mut Call<'_, '_, M>,
    receiving: &Receiving,
    received: Received,
    files: Vec<OpenFile>,
) -> Message {
    let mut control = Vec::new();
    if received.passes && (received.bytes > 0 || received.owner.pid != 0) {
        let Owner { pid, uid, gid } = received.owner;
        push(&mut control, SCM_CREDENTIALS, Ucred { pid, uid, gid }.as_bytes());
    }
    let cut = received.full > receiving.done && !receiving.kind.is_stream();
    let mut flags = if cut { MSG_TRUNC } else { 0 };
    let wanted = received.rights.map_or(0, |rights| rights.count as usize);
    let numbers = install(call, receiving, control.len(), files);
    if numbers.len() < wanted && matches!(receiving.tells, Tells::Header(..)) {
        flags |= MSG_CTRUNC;
    }
    if !numbers.is_empty() {
        let bytes: Vec<u8> = numbers.iter().flat_map(|fd| fd.to_le_bytes()).collect();
        push(&mut control, SCM_RIGHTS, &bytes);
    }
    Message { received, control, flags }
}

/// Gives files descriptors, as many as are told and as there is room for; closes the others.
fn install<M: Machine>(
    call: &mut Call<'_, '_, M>,
    receiving: &Receiving,
    before: usize,
    files: Vec<OpenFile>,
) -> Vec<u32> {
    let room = match &receiving.tells {
        Tells::Header(_, header) => receive::control_room(header),
        Tells::Nothing | Tells::Name(_) => 0,
    };
    let head = (before + Cmsghdr::BYTES) as u64;
    let fit = room.saturating_sub(head) / size_of::<u32>() as u64;
    let close_on_exec = receiving.flags & MSG_CMSG_CLOEXEC != 0;
    let limit = glue::descriptors_limit(call);
    let mut numbers = Vec::new();
    for file in files {
        let descriptor = Descriptor { close_on_exec, ..Descriptor::from(file) };
        if numbers.len() as u64 >= fit {
            glue::close(call.core, call.cx, descriptor);
            continue;
        }
        match call.process_mut().own.files.insert(descriptor, 0, limit) {
            Ok(fd) => numbers.push(fd as u32),
            Err((_, descriptor)) => glue::close(call.core, call.cx, descriptor),
        }
    }
    numbers
}

/// As many whole messages as there is room for.
pub fn fitting(control: &[u8], room: u64) -> &[u8] {
    let mut at = 0;
    while let Some(header) = control.get(at..).and_then(Cmsghdr::from_slice) {
        let end = at + aligned(header.len as usize);
        // The last one may go without its padding.
        if (at as u64) + header.len > room {
            break;
        }
        at = end;
    }
    &control[..at.min(control.len()).min(usize::try_from(room).unwrap_or(usize::MAX))]
}
