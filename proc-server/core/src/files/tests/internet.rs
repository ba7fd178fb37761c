// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls on sockets of the Internet.

use super::failed;
use super::world::{BASE, World};
use crate::files::OpenFile;
use abi::linux::general::*;
use abi::linux::ioctl::{SIOCGIFADDR, SIOCGIFCONF};
use abi::linux::net::*;
use abi::{Errno, FileId};
use alloc::vec::Vec;
use fs_api::file::Moved;
use fs_api::name::FileKind;
use ipc_api::internet::Address;
use ipc_api::socket::*;

const TCP: SocketType = SocketType::Tcp(IpVersion::V4);
const UDP6: SocketType = SocketType::Udp(IpVersion::V6);

fn open(world: &mut World, kind: SocketType) -> u64 {
    world.open(OpenFile { file: FileId::from_raw(5), kind: FileKind::Socket(kind) })
}

/// A `struct sockaddr_in`.
fn v4(ip: [u8; 4], port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&[2, 0, high, low][..], &ip, &[0; 8]].concat()
}

/// A `struct sockaddr_in6`.
fn v6(last: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&[10, 0, high, low][..], &[0; 4], &[0; 15], &[last], &[0; 4]].concat()
}

#[test]
fn sockets_are_made_of_the_types_that_there_are() {
    let mut world = World::new();
    for (args, kind) in [([2, 1, 0], TCP), ([2, 1, 6], TCP), ([10, 2, 17], UDP6)] {
        world.expect::<SocketCreate>(Ok(SocketMade { file: FileId::from_raw(9) }));
        assert!(world.call(__NR_socket, &args).is_some());
        assert_eq!(world.last::<SocketCreate>().kind, kind);
    }
    assert_eq!(world.call(__NR_socketpair, &[2, 1, 0, BASE]), failed(Errno::EOPNOTSUPP));
}

#[test]
fn addresses_are_read_and_those_outside_refused() {
    let mut world = World::new();
    let fd = open(&mut world, TCP);
    for (bytes, len, errno) in [
        (v4([127, 0, 0, 1], 80), 8, Errno::EINVAL),
        (v6(1, 80), 28, Errno::EAFNOSUPPORT),
        (v4([192, 0, 2, 1], 80), 16, Errno::EADDRNOTAVAIL),
    ] {
        world.put(BASE, &bytes);
        assert_eq!(world.call(__NR_bind, &[fd, BASE, len]), failed(errno));
    }
    world.put(BASE, &v4([192, 0, 2, 1], 80));
    assert_eq!(world.call(__NR_connect, &[fd, BASE, 16]), failed(Errno::ENETUNREACH));
    world.put(BASE, &v4([0; 4], 80));
    world.expect::<Connect>(Ok(()));
    assert_eq!(world.call(__NR_connect, &[fd, BASE, 16]), Some(0));
    assert_eq!(world.last::<Connect>().name, Address::v4([127, 0, 0, 1], 80).name());
    world.put(BASE, &v4([127, 0, 0, 9], 80));
    world.expect::<Bind>(Ok(()));
    assert_eq!(world.call(__NR_bind, &[fd, BASE, 16]), Some(0));
    assert_eq!(world.last::<Bind>().name, Address::v4([127, 0, 0, 9], 80).name());
}

#[test]
fn names_are_shown_in_the_form_of_their_version() {
    let mut world = World::new();
    for (kind, wanted) in [
        (TCP, v4([127, 0, 0, 1], 80)),
        (
            UDP6,
            [&[10, 0, 0, 80, 0, 0, 0, 0][..], &Address::v4([127, 0, 0, 1], 0).ip, &[0; 4]].concat(),
        ),
    ] {
        let fd = open(&mut world, kind);
        world.put(BASE, &100_u32.to_le_bytes());
        world.expect::<GetName>(Ok(Address::v4([127, 0, 0, 1], 80).name()));
        assert_eq!(world.call(__NR_getsockname, &[fd, BASE + 8, BASE]), Some(0));
        assert_eq!(world.get(BASE, 4), (wanted.len() as u32).to_le_bytes());
        assert_eq!(world.get(BASE + 8, wanted.len()), wanted);
    }
}

#[test]
fn connection_that_is_reset_breaks_no_pipe() {
    let mut world = World::new();
    let fd = open(&mut world, TCP);
    world.expect::<Send>(Err(Errno::ECONNRESET));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 5]), failed(Errno::ECONNRESET));
    world.put(BASE, &v4([192, 0, 2, 1], 80));
    world.expect::<Send>(Ok(Moved { bytes: 5 }));
    let args = [fd, BASE, 5, 0, BASE, 16];
    assert_eq!(world.call(__NR_sendto, &args), Some(5), "the address means nothing");
}

#[test]
fn options_have_levels_and_lengths() {
    let mut world = World::new();
    let fd = open(&mut world, TCP);
    world.put(BASE, &[1, 0, 0, 0, 5, 0, 0, 0]);
    for (level, option, len, value) in [(6, 1, 4, 1), (0, 1, 1, 1), (1, SO_LINGER, 8, 6)] {
        world.expect::<SetOption>(Ok(()));
        let args = [fd, u64::from(level), option.into(), BASE, len];
        assert_eq!(world.call(__NR_setsockopt, &args), Some(0));
        let set = world.last::<SetOption>();
        assert_eq!((set.level, set.option, set.value), (level, option, value));
    }
    let short = [fd, 1, SO_LINGER.into(), BASE, 4];
    assert_eq!(world.call(__NR_setsockopt, &short), failed(Errno::EINVAL));
}

#[test]
fn interface_is_the_loopback() {
    let mut world = World::new();
    let fd = open(&mut world, UDP6);
    world.put(BASE, b"lo\0");
    assert_eq!(world.call(__NR_ioctl, &[fd, SIOCGIFADDR.into(), BASE]), Some(0));
    assert_eq!(world.get(BASE + 16, 8), [2, 0, 0, 0, 127, 0, 0, 1]);
    world.put(BASE, b"eth0\0");
    let args = [fd, SIOCGIFADDR.into(), BASE];
    assert_eq!(world.call(__NR_ioctl, &args), failed(Errno::ENODEV));
    world.put(BASE, &[100, 0, 0, 0]);
    world.put(BASE + 8, &(BASE + 64).to_le_bytes());
    assert_eq!(world.call(__NR_ioctl, &[fd, SIOCGIFCONF.into(), BASE]), Some(0));
    assert_eq!(world.get(BASE, 4), [40, 0, 0, 0]);
    assert_eq!(world.get(BASE + 64, 3), *b"lo\0");
}
