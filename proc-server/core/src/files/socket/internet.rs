// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of the Internet: `struct sockaddr_in`, `struct sockaddr_in6`.
//!
//! There is the loopback alone, of which all nodes have the same: any other address has no route.

use crate::machine::Machine;
use crate::syscall::Call;
use abi::Errno;
use abi::linux::net::{AF_INET, AF_INET6};
use alloc::vec::Vec;
use ipc_api::internet::{Address, FREE_PORTS};
use ipc_api::socket::{IpVersion, Name, SocketType};

/// Bytes of `struct sockaddr_in`.
const V4_BYTES: usize = 16;
/// Bytes of `struct sockaddr_in6`, and what of it has to be there (RFC 2133).
const V6_BYTES: usize = 28;
const V6_BYTES_MIN: usize = 24;

/// An address that a program gives to a socket of this type.
///
/// # Errors
/// EINVAL: too short. EAFNOSUPPORT: another family.
pub fn decode(kind: SocketType, bytes: &[u8]) -> Result<Address, Errno> {
    let family = u16::from_le_bytes([bytes[0], bytes[1]]);
    // A socket of UDP takes either.
    let own = match kind.internet() {
        Some(IpVersion::V6) if u32::from(family) == AF_INET && kind.is_datagram() => IpVersion::V4,
        Some(version) => version,
        None => return Err(Errno::EAFNOSUPPORT),
    };
    let (wanted, needs) = match own {
        IpVersion::V4 => (AF_INET, V4_BYTES),
        IpVersion::V6 => (AF_INET6, V6_BYTES_MIN),
    };
    if bytes.len() < needs {
        return Err(Errno::EINVAL);
    }
    if u32::from(family) != wanted {
        return Err(Errno::EAFNOSUPPORT);
    }
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    Ok(match own {
        IpVersion::V4 => Address::v4([bytes[4], bytes[5], bytes[6], bytes[7]], port),
        IpVersion::V6 => {
            let mut ip = [0; 16];
            ip.copy_from_slice(&bytes[8..V6_BYTES_MIN]);
            Address { ip, port }
        }
    })
}

/// An address as a program with a socket of this version sees it.
pub fn encode(version: IpVersion, text: &[u8]) -> Vec<u8> {
    let address = Address::of(text).unwrap_or(Address { ip: [0; 16], port: 0 });
    let (family, bytes) = match version {
        IpVersion::V4 => (AF_INET, V4_BYTES),
        IpVersion::V6 => (AF_INET6, V6_BYTES),
    };
    let mut all = (family as u16).to_le_bytes().to_vec();
    all.extend_from_slice(&address.port.to_be_bytes());
    match version {
        IpVersion::V4 => all.extend_from_slice(&address.as_v4().unwrap_or_default()),
        IpVersion::V6 => {
            // Flow information.
            all.extend_from_slice(&[0; 4]);
            all.extend_from_slice(&address.ip);
        }
    }
    all.resize(bytes, 0);
    all
}

/// The name for bind(2).
///
/// # Errors
/// EADDRNOTAVAIL: nobody has the address. EACCES: the port is root's.
pub fn to_bind<M: Machine>(call: &Call<'_, '_, M>, address: Address) -> Result<Name, Errno> {
    if !address.is_any() && !address.is_loopback() {
        return Err(Errno::EADDRNOTAVAIL);
    }
    if (1..FREE_PORTS).contains(&address.port) && call.process().own.ids.uid != 0 {
        return Err(Errno::EACCES);
    }
    Ok(address.name())
}

/// The name of whom to send to.
///
/// # Errors
/// ENETUNREACH.
pub fn to_reach(address: Address) -> Result<Name, Errno> {
    match address {
        it if it.is_any() => Ok(it.loopback_like().name()),
        it if it.is_loopback() => Ok(it.name()),
        _ => Err(Errno::ENETUNREACH),
    }
}
