// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of the Internet as names of sockets.
//!
//! # Model
//! An address and a port in one form for both versions: IPv4's addresses are those of IPv6 that stand for them,
//! `::ffff:a.b.c.d` (RFC 4291). What a program sees is made of it where its socket's version is known.

use crate::socket::Name;
use abi::Errno;
use alloc::vec::Vec;

/// Bytes of a name: the address, and the port in network order.
pub const ADDRESS_BYTES: usize = 18;
/// Ports that are chosen for programs which choose none (`ip_local_port_range` on Linux).
pub const CHOSEN_PORTS: core::ops::RangeInclusive<u16> = 32768..=60999;
/// Ports below are root's.
pub const FREE_PORTS: u16 = 1024;

/// What IPv4's addresses begin with.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub ip: [u8; 16],
    /// The port.
    pub port: u16,
}

impl Address {
    /// IPv4's.
    pub fn v4(ip: [u8; 4], port: u16) -> Self {
        let mut all = [0; 16];
        all[..12].copy_from_slice(&MAPPED);
        all[12..].copy_from_slice(&ip);
        Self { ip: all, port }
    }

    /// The bytes of IPv4's address, if it is one.
    pub fn as_v4(&self) -> Option<[u8; 4]> {
        let (head, tail) = self.ip.split_at(12);
        (head == MAPPED).then(|| [tail[0], tail[1], tail[2], tail[3]])
    }

    /// Whether it stands for all addresses of its version.
    pub fn is_any(&self) -> bool {
        self.as_v4() == Some([0; 4]) || self.ip == [0; 16]
    }

    /// 127.0.0.0/8 and `::1`.
    pub fn is_loopback(&self) -> bool {
        match self.as_v4() {
            Some(ip) => ip[0] == 127,
            None => self.ip == Self::loopback_like(self).ip,
        }
    }

    /// The loopback's own address, of the version that `self` has, with its port.
    pub fn loopback_like(&self) -> Self {
        if self.as_v4().is_some() {
            return Self::v4([127, 0, 0, 1], self.port);
        }
        let mut ip = [0; 16];
        ip[15] = 1;
        Self { ip, port: self.port }
    }

    /// The name.
    pub fn text(&self) -> Vec<u8> {
        [&self.ip[..], &self.port.to_be_bytes()].concat()
    }

    /// The name.
    pub fn name(&self) -> Name {
        Name { inode: None, text: self.text() }
    }

    /// # Errors
    /// EINVAL: it is no such name.
    pub fn of(text: &[u8]) -> Result<Self, Errno> {
        let all: [u8; ADDRESS_BYTES] = text.try_into().map_err(|_| Errno::EINVAL)?;
        let mut ip = [0; 16];
        ip.copy_from_slice(&all[..16]);
        Ok(Self { ip, port: u16::from_be_bytes([all[16], all[17]]) })
    }
}
