// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control messages, cmsg(3): SCM_CREDENTIALS.

use super::owner;
use super::receive::{Message, Receiving};
use crate::files::glue;
use crate::layout::socket::{Cmsghdr, Ucred};
use crate::layout::{IntoBytes, Layout};
use crate::machine::Machine;
use crate::syscall::Call;
use abi::Errno;
use abi::linux::net::{MSG_TRUNC, SCM_CREDENTIALS, SOL_SOCKET};
use alloc::vec::Vec;
use ipc_api::socket::{Owner, Received};

/// Longest control data of one sendmsg(2).
const CONTROL_BYTES_MAX: u64 = 2048;

/// What control messages say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// Who sends.
    pub owner: Owner,
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<u64>())
}

/// Reads control messages that a program sends.
///
/// # Errors
/// EINVAL: they are malformed, or unknown. EPERM: it is not who it says. ENOBUFS: too long.
pub fn read<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, len: u64) -> Result<Control, Errno> {
    let mut control = Control { owner: owner(call) };
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
    _call: &mut Call<'_, '_, M>,
    receiving: &Receiving,
    received: Received,
) -> Result<Message, Errno> {
    let mut control = Vec::new();
    if received.passes && (received.bytes > 0 || received.owner.pid != 0) {
        let Owner { pid, uid, gid } = received.owner;
        push(&mut control, SCM_CREDENTIALS, Ucred { pid, uid, gid }.as_bytes());
    }
    let cut = received.full > receiving.done && receiving.kind != super::SocketType::Stream;
    let flags = if cut { MSG_TRUNC } else { 0 };
    Ok(Message { received, control, flags })
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
