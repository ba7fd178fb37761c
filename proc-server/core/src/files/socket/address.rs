// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of sockets: `struct sockaddr_un`, and what [`internet`] has.

use super::{SocketType, Wait, internet};
use crate::files::{self, glue};
use crate::machine::Machine;
use crate::syscall::{AskResult, Call, Next, SysResult};
use abi::Errno;
use abi::linux::net::AF_UNIX;
use alloc::vec::Vec;
use ipc_api::socket::{NAME_BYTES, Name};

/// Bytes before `sun_path`.
const FAMILY_BYTES: usize = 2;
/// Bytes of a `sockaddr_storage`: programs give all of it for an address of any family.
const STORAGE_BYTES: usize = 128;
/// AF_UNSPEC.
const UNSPECIFIED: u16 = 0;

/// An address that a program gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// No family: no peer any more.
    Unspecified,
    /// Without a name.
    Unnamed,
    /// An abstract name, with the zero before it.
    Abstract(Name),
    /// A path.
    Path(Vec<u8>),
    /// Of the Internet.
    Internet(ipc_api::internet::Address),
}

/// Where an address goes that a program asks for; nowhere, if it is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The address.
    pub addr: u64,
    /// Its length: how much room there is, and then how much it needs.
    pub len: u64,
}

/// Reads an address for a socket of this type.
///
/// # Errors
/// EINVAL, EAFNOSUPPORT, EFAULT, ERESTART.
pub fn read<M: Machine>(
    call: &mut Call<'_, '_, M>,
    kind: SocketType,
    addr: u64,
    len: u64,
) -> Result<Address, Errno> {
    let len = len as u32 as usize;
    let most = if kind.internet().is_some() { STORAGE_BYTES } else { FAMILY_BYTES + NAME_BYTES };
    if !(FAMILY_BYTES..=most).contains(&len) {
        return Err(Errno::EINVAL);
    }
    let bytes = glue::bytes(call, addr, len)?;
    let family = u16::from_le_bytes([bytes[0], bytes[1]]);
    let path = &bytes[FAMILY_BYTES..];
    match (u32::from(family), path.first()) {
        _ if family == UNSPECIFIED => Ok(Address::Unspecified),
        _ if kind.internet().is_some() => Ok(Address::Internet(internet::decode(kind, &bytes)?)),
        (AF_UNIX, None) => Ok(Address::Unnamed),
        (AF_UNIX, Some(0)) => Ok(Address::Abstract(Name { inode: None, text: path.to_vec() })),
        (AF_UNIX, Some(_)) => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Ok(Address::Path(path[..end].to_vec()))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// An address as programs see it.
pub fn encode(kind: SocketType, text: &[u8]) -> Vec<u8> {
    if let Some(version) = kind.internet() {
        return internet::encode(version, text);
    }
    let mut bytes = (AF_UNIX as u16).to_le_bytes().to_vec();
    bytes.extend_from_slice(text);
    if text.first().is_some_and(|byte| *byte != 0) {
        bytes.push(0);
    }
    bytes
}

/// Writes an address where the program wants it, and ends the call with this value.
pub fn put<M: Machine>(
    call: &mut Call<'_, '_, M>,
    value: u64,
    (kind, text): (SocketType, Vec<u8>),
    place: Place,
) -> SysResult {
    match try_put(call, kind, &text, place) {
        Ok(()) => Ok(Next::Done(value)),
        // What was accepted is not to be lost.
        Err(Errno::ERESTART) => call.fetch_then(glue::wait(files::Wait::Socket(
            alloc::boxed::Box::new(Wait::PutName { value, kind, text, place }),
        ))),
        Err(errno) => Err(errno.into()),
    }
}

fn try_put<M: Machine>(
    call: &mut Call<'_, '_, M>,
    kind: SocketType,
    text: &[u8],
    place: Place,
) -> Result<(), Errno> {
    if place.addr == 0 {
        return Ok(());
    }
    let room: u32 = call.read(place.len)?;
    if room.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    let bytes = encode(kind, text);
    call.copy_out(place.addr, &bytes[..bytes.len().min(room as usize)])?;
    call.write(place.len, &(bytes.len() as u32))
}

/// The page has come.
pub fn put_again<M: Machine>(
    call: &mut Call<'_, '_, M>,
    value: u64,
    name: (SocketType, Vec<u8>),
    place: Place,
    result: AskResult,
) -> SysResult {
    match result {
        Ok(_) if call.interrupt.is_none() => put(call, value, name, place),
        // The program is to move: it goes without the name rather than without the connection.
        Ok(_) | Err(_) => Ok(Next::Done(value)),
    }
}
