// SPDX-License-Identifier: MIT OR Apache-2.0
//! What ioctl(2) tells of network interfaces, netdevice(7): there is `lo`, on every node the same.

use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::linux::ioctl::*;
use abi::linux::net::AF_INET;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of `struct ifreq`: a name and what is told.
const REQUEST_BYTES: usize = 40;
const NAME_BYTES: usize = 16;
/// Bytes of `struct ifconf` before its pointer.
const LIST_POINTER: u64 = 8;
const LO: &[u8] = b"lo\0";
/// IFF_UP, IFF_LOOPBACK, IFF_RUNNING.
const FLAGS: u16 = 0x49;
const INDEX: u32 = 1;
const MTU: u32 = 65536;
const QUEUE: u32 = 1000;
/// ARPHRD_LOOPBACK.
const HARDWARE: u16 = 772;

/// Whether a request is about interfaces.
pub const fn is_about(number: u32) -> bool {
    matches!(number, 0x8910..=0x894f)
}

/// Performs it.
pub fn ioctl<M: Machine>(call: &mut Call<'_, '_, M>, number: u32, arg: u64) -> SysResult {
    if number == SIOCGIFCONF {
        return list(call, arg);
    }
    let mut bytes = [0; REQUEST_BYTES];
    call.copy_in(arg, &mut bytes)?;
    let told = match number {
        SIOCGIFNAME => {
            let index = [bytes[16], bytes[17], bytes[18], bytes[19]];
            if u32::from_le_bytes(index) != INDEX {
                return Err(Errno::ENODEV.into());
            }
            call.copy_out(arg, LO)?;
            return Ok(Next::Done(0));
        }
        _ if !bytes.starts_with(LO) => return Err(Errno::ENODEV.into()),
        SIOCGIFADDR | SIOCGIFDSTADDR => address([127, 0, 0, 1]),
        SIOCGIFNETMASK => address([255, 0, 0, 0]),
        SIOCGIFBRDADDR => address([0; 4]),
        SIOCGIFFLAGS => FLAGS.to_le_bytes().to_vec(),
        SIOCGIFINDEX => INDEX.to_le_bytes().to_vec(),
        SIOCGIFMTU => MTU.to_le_bytes().to_vec(),
        SIOCGIFTXQLEN => QUEUE.to_le_bytes().to_vec(),
        SIOCGIFMETRIC => vec![0; 4],
        SIOCGIFMAP => vec![0; REQUEST_BYTES - NAME_BYTES],
        SIOCGIFHWADDR => {
            let mut told = HARDWARE.to_le_bytes().to_vec();
            told.resize(16, 0);
            told
        }
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    call.copy_out(arg.wrapping_add(NAME_BYTES as u64), &told)?;
    Ok(Next::Done(0))
}

/// `struct sockaddr_in` without a port.
fn address(ip: [u8; 4]) -> Vec<u8> {
    let mut all = (AF_INET as u16).to_le_bytes().to_vec();
    all.extend_from_slice(&[0; 2]);
    all.extend_from_slice(&ip);
    all.resize(16, 0);
    all
}

/// SIOCGIFCONF: the interfaces, or the room that they need.
fn list<M: Machine>(call: &mut Call<'_, '_, M>, arg: u64) -> SysResult {
    let room: u32 = call.read(arg)?;
    let pointer: u64 = call.read(arg.wrapping_add(LIST_POINTER))?;
    let mut bytes = LO.to_vec();
    bytes.resize(NAME_BYTES, 0);
    bytes.extend_from_slice(&address([127, 0, 0, 1]));
    bytes.resize(REQUEST_BYTES, 0);
    let told =
        if pointer == 0 || room as usize >= REQUEST_BYTES { REQUEST_BYTES as u32 } else { 0 };
    if pointer != 0 && told > 0 {
        call.copy_out(pointer, &bytes)?;
    }
    call.write(arg, &told)?;
    Ok(Next::Done(0))
}
