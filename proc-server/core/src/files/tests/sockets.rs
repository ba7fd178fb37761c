// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls on sockets.

use super::failed;
use super::world::{BASE, FAR, World};
use crate::files::OpenFile;
use crate::layout::IntoBytes;
use crate::layout::io::Iovec;
use crate::layout::socket::{Cmsghdr, Msghdr, Ucred};
use crate::process::ProcessNo;
use abi::linux::general::*;
use abi::linux::net::*;
use abi::{Errno, FileId, InodeId, ServerId};
use alloc::vec;
use fs_api::file::{Hold, Moved, Release};
use fs_api::name::{FileKind, FindSocket, MakeSocket, Named, SocketType};
use ipc_api::socket::*;
use ipc_api::{EVENT_RIGHTS_DROPPED, RightsDropped};
use runtime::testing::Net;
use runtime::{Event, Msg, Operation};

fn open(world: &mut World, kind: SocketType) -> u64 {
    world.open(OpenFile { file: FileId::from_raw(5), kind: FileKind::Socket(kind) })
}

fn received(bytes: u64) -> Received {
    Received { bytes, full: bytes, ..Received::default() }
}

/// A `struct sockaddr_un` of an abstract name at this address; its length.
fn put_name(world: &mut World, addr: u64, name: &[u8]) -> u64 {
    let bytes = [&[1, 0, 0][..], name].concat();
    world.put(addr, &bytes);
    bytes.len() as u64
}

#[test]
fn socketpair_makes_two_descriptors() {
    let mut world = World::new();
    let ends = [FileId::from_raw(8), FileId::from_raw(9)];
    world.expect::<SocketPair>(Ok(SocketEnds { ends }));
    let kind = SOCK_SEQPACKET | O_NONBLOCK;
    let args = [AF_UNIX.into(), kind.into(), 0, BASE];
    assert_eq!(world.call(__NR_socketpair, &args), Some(0));
    assert_eq!(world.get(BASE, 8), [0, 0, 0, 0, 1, 0, 0, 0]);
    let made = world.last::<SocketPair>();
    assert_eq!((made.kind, made.flags), (SocketType::Packet, O_NONBLOCK));
    for (args, errno) in [
        ([17, 1, 0], Errno::EAFNOSUPPORT),
        ([2, 1, 17], Errno::EPROTONOSUPPORT),
        ([2, 3, 1], Errno::EPROTONOSUPPORT),
        ([1, 0x101, 0], Errno::EINVAL),
        ([1, 1, 6], Errno::EPROTONOSUPPORT),
        ([1, 9, 0], Errno::ESOCKTNOSUPPORT),
    ] {
        assert_eq!(world.call(__NR_socket, &args), failed(errno));
    }
}

#[test]
fn write_to_a_stream_goes_on_until_all_is_sent() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    world.expect::<Send>(Ok(Moved { bytes: PACKET_BYTES }));
    world.expect::<Send>(Ok(Moved { bytes: 100_000 - PACKET_BYTES }));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 100_000]), Some(100_000));
    let rest = (BASE + PACKET_BYTES, 100_000 - PACKET_BYTES);
    assert_eq!(world.last::<Send>().ranges, [rest]);
    // A call that does not wait ends with what went in.
    world.expect::<Send>(Ok(Moved { bytes: 7 }));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 100]), Some(7));
}

#[test]
fn message_goes_in_one_step_or_not_at_all() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Datagram);
    assert_eq!(world.call(__NR_write, &[fd, BASE, 61_441]), failed(Errno::EMSGSIZE));
    for at in 0..40 {
        let part = Iovec { base: BASE, len: 1 };
        world.put(BASE + 0x1000 + at * 16, part.as_bytes());
    }
    let args = [fd, BASE + 0x1000, 40];
    assert_eq!(world.call(__NR_writev, &args), failed(Errno::EMSGSIZE));
    world.expect::<Send>(Ok(Moved { bytes: 32 }));
    assert_eq!(world.call(__NR_writev, &[fd, BASE + 0x1000, 32]), Some(32));
    assert_eq!(world.last::<Send>().ranges.len(), 32);
}

#[test]
fn stream_that_is_lost_is_broken_and_reset() {
    for kind in [SocketType::Stream, SocketType::Packet] {
        let mut world = World::new();
        let fd = open(&mut world, kind);
        world.expect::<Send>(Err(Errno::EIO));
        let args = [fd, BASE, 5, MSG_NOSIGNAL.into(), 0, 0];
        assert_eq!(world.call(__NR_sendto, &args), failed(Errno::EPIPE));
        world.expect::<Receive>(Err(Errno::EIO));
        assert_eq!(world.call(__NR_read, &[fd, BASE, 5]), failed(Errno::ECONNRESET));
    }
}

#[test]
fn read_of_a_stream_gives_what_is_there_and_waitall_waits_for_all() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    world.expect_later::<Receive>(Ok(received(5)));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 100]), None);
    assert_eq!(world.end_one(), Some(5));
    world.expect::<Receive>(Ok(received(60)));
    world.expect_later::<Receive>(Ok(received(40)));
    let args = [fd, BASE, 100, MSG_WAITALL.into(), 0, 0];
    assert_eq!(world.call(__NR_recvfrom, &args), None);
    assert_eq!(world.end_one(), Some(100));
    assert_eq!(world.last::<Receive>().ranges, [(BASE + 60, 40)]);
}

#[test]
fn header_tells_who_sent_and_what_was_cut() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Datagram);
    let header = Msghdr {
        name: BASE + 0x100,
        name_len: 110,
        ranges: BASE + 0x200,
        range_count: 1,
        control: BASE + 0x300,
        control_len: 100,
        ..Msghdr::default()
    };
    world.put(BASE, header.as_bytes());
    world.put(BASE + 0x200, Iovec { base: BASE + 0x400, len: 10 }.as_bytes());
    let owner = Owner { pid: 7, uid: 1000, gid: 100 };
    let text = b"\0who".to_vec();
    let answer = Received { bytes: 10, full: 25, text, owner, passes: true, rights: None };
    world.expect::<Receive>(Ok(answer));
    assert_eq!(world.call(__NR_recvmsg, &[fd, BASE, MSG_TRUNC.into()]), Some(25));
    let told: Msghdr = world.read(BASE);
    assert_eq!((told.name_len, told.control_len, told.flags), (6, 32, MSG_TRUNC));
    assert_eq!(world.get(BASE + 0x100, 6), *b"\x01\0\0who");
    let control: Cmsghdr = world.read(BASE + 0x300);
    assert_eq!((control.len, control.level, control.kind), (28, SOL_SOCKET, SCM_CREDENTIALS));
    assert_eq!(world.read::<Ucred>(BASE + 0x310), Ucred { pid: 7, uid: 1000, gid: 100 });
}

#[test]
fn name_whose_page_is_elsewhere_is_told_when_it_has_come() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Datagram);
    world.state.borrow_mut().far = true;
    world.put(BASE, &100_u32.to_le_bytes());
    let answer = Received { text: b"\0who".to_vec(), ..received(4) };
    world.expect::<Receive>(Ok(answer));
    let args = [fd, BASE + 0x100, 10, 0, FAR, BASE];
    assert_eq!(world.call(__NR_recvfrom, &args), Some(4));
    assert_eq!(world.get(FAR, 6), *b"\x01\0\0who");
    assert_eq!(world.get(BASE, 4), [6, 0, 0, 0]);
}

#[test]
fn connection_is_accepted_with_its_name() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    world.put(BASE, &100_u32.to_le_bytes());
    let accepted = Accepted { file: FileId::from_raw(77), text: b"\0c".to_vec() };
    world.expect::<Accept>(Ok(accepted));
    let args = [fd, BASE + 0x100, BASE, O_NONBLOCK.into()];
    assert_eq!(world.call(__NR_accept4, &args), Some(1));
    assert_eq!(world.last::<Accept>().flags, O_NONBLOCK);
    assert_eq!(world.get(BASE, 4), [4, 0, 0, 0]);
    assert_eq!(world.call(__NR_accept4, &[fd, 0, 0, 1]), failed(Errno::EINVAL));
}

#[test]
fn addresses_are_checked() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    let len = put_name(&mut world, BASE, b"n");
    world.expect::<Bind>(Ok(()));
    assert_eq!(world.call(__NR_bind, &[fd, BASE, len]), Some(0));
    assert_eq!(world.last::<Bind>().name, Name { inode: None, text: b"\0n".to_vec() });
    world.expect::<Bind>(Ok(()));
    assert_eq!(world.call(__NR_bind, &[fd, BASE, 2]), Some(0));
    assert_eq!(world.last::<Bind>().name, Name::default());
    for len in [0, 1, 111, u64::MAX] {
        assert_eq!(world.call(__NR_connect, &[fd, BASE, len]), failed(Errno::EINVAL));
    }
    world.put(BASE, &[2, 0]);
    assert_eq!(world.call(__NR_bind, &[fd, BASE, 16]), failed(Errno::EINVAL));
    let pipe = world.open(super::world::pipe(3));
    assert_eq!(world.call(__NR_listen, &[pipe, 1]), failed(Errno::ENOTSOCK));
    assert_eq!(world.call(__NR_listen, &[60, 1]), failed(Errno::EBADF));
    assert_eq!(world.call(__NR_shutdown, &[fd, 3]), failed(Errno::EINVAL));
}

#[test]
fn path_is_made_or_found_in_the_tree_first() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Datagram);
    world.put(BASE, b"\x01\0/tmp/s\0");
    let inode = InodeId::from_raw(33);
    let named = Name { inode: Some(inode), text: b"/tmp/s".to_vec() };
    world.expect::<GetName>(Ok(Name::default()));
    world.expect::<MakeSocket>(Ok(Named::Here(inode)));
    world.expect::<Bind>(Ok(()));
    assert_eq!(world.call(__NR_bind, &[fd, BASE, 9]), Some(0));
    assert_eq!(world.last::<Bind>().name, named);
    world.expect::<GetName>(Ok(named.clone()));
    assert_eq!(world.call(__NR_bind, &[fd, BASE, 9]), failed(Errno::EINVAL));
    world.expect::<FindSocket>(Ok(Named::Here(inode)));
    world.expect::<Connect>(Ok(()));
    assert_eq!(world.call(__NR_connect, &[fd, BASE, 9]), Some(0));
    assert_eq!(world.last::<Connect>().name, named);
    world.expect::<FindSocket>(Err(Errno::EACCES));
    assert_eq!(world.call(__NR_connect, &[fd, BASE, 9]), failed(Errno::EACCES));
    world.expect::<FindSocket>(Ok(Named::Here(inode)));
    world.expect::<Send>(Ok(Moved { bytes: 3 }));
    assert_eq!(world.call(__NR_sendto, &[fd, BASE + 0x100, 3, 0, BASE, 9]), Some(3));
    assert_eq!(world.last::<Send>().head.to, Some(named));
    world.put(BASE, b"\x01\0/proc/s\0");
    world.expect::<FindSocket>(Ok(Named::Elsewhere("/proc/s".into())));
    let refused = world.call(__NR_connect, &[fd, BASE, 10]);
    assert!(refused == failed(Errno::ENOENT) || refused == failed(Errno::EACCES));
}

#[test]
fn options_are_told_as_far_as_there_is_room() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    world.put(BASE, &8_u32.to_le_bytes());
    world.expect::<GetOption>(Ok(OptionValue(vec![1, 2, 3])));
    let args = [fd, SOL_SOCKET.into(), SO_PEERCRED.into(), BASE + 0x100, BASE];
    assert_eq!(world.call(__NR_getsockopt, &args), Some(0));
    assert_eq!(world.get(BASE, 4), [8, 0, 0, 0]);
    assert_eq!(world.get(BASE + 0x100, 12), [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let args = [fd, 6, 1, BASE + 0x100, BASE];
    assert_eq!(world.call(__NR_getsockopt, &args), failed(Errno::EOPNOTSUPP));
    let args = [fd, SOL_SOCKET.into(), SO_PASSCRED.into(), BASE, 3];
    assert_eq!(world.call(__NR_setsockopt, &args), failed(Errno::EINVAL));
}

/// A header at BASE with room for control messages, and one byte.
fn put_header(world: &mut World, control_len: u64) {
    let header = Msghdr {
        ranges: BASE + 0x200,
        range_count: 1,
        control: BASE + 0x300,
        control_len,
        ..Msghdr::default()
    };
    world.put(BASE, header.as_bytes());
    world.put(BASE + 0x200, Iovec { base: BASE + 0x400, len: 1 }.as_bytes());
}

/// Sends these descriptors; what the message has of them.
fn fly(world: &mut World, fd: u64, descriptors: &[u64]) -> Rights {
    let len = 16 + 4 * descriptors.len() as u64;
    put_header(world, len);
    let control = Cmsghdr { len, level: SOL_SOCKET, kind: SCM_RIGHTS };
    world.put(BASE + 0x300, control.as_bytes());
    for (at, fd) in descriptors.iter().enumerate() {
        world.put(BASE + 0x310 + 4 * at as u64, &(*fd as u32).to_le_bytes());
    }
    world.expect::<Send>(Ok(Moved { bytes: 1 }));
    assert_eq!(world.call(__NR_sendmsg, &[fd, BASE, 0]), Some(1));
    world.last::<Send>().head.rights.expect("they fly")
}

fn releases(world: &World) -> usize {
    world.asked().iter().filter(|(_, op)| *op == Release::NUMBER).count()
}

fn dropped(world: &mut World, rights: Rights) {
    let Rights { node, token, .. } = rights;
    let msg = Msg::of(&RightsDropped { node, token }).expect("it fits");
    let event = Event::Upcall { from: ServerId::Ipc, number: EVENT_RIGHTS_DROPPED, msg };
    world.host.step(&mut world.node, |core, cx| runtime::Core::event(core, cx, event));
}

#[test]
fn descriptor_in_flight_outlives_the_senders_and_becomes_the_receivers() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    let sent = world.open(super::world::regular(9));
    let rights = fly(&mut world, fd, &[sent, sent]);
    assert_eq!((rights.count, rights.node), (2, abi::NodeId::new(1).expect("a node")));
    assert_eq!(world.call(__NR_close, &[sent]), Some(0));
    assert_eq!(releases(&world), 0, "it is held in flight");
    put_header(&mut world, 100);
    world.expect::<Receive>(Ok(Received { rights: Some(rights), ..received(1) }));
    let flags = MSG_CMSG_CLOEXEC;
    assert_eq!(world.call(__NR_recvmsg, &[fd, BASE, flags.into()]), Some(1));
    let control: Cmsghdr = world.read(BASE + 0x300);
    assert_eq!((control.len, control.kind), (24, SCM_RIGHTS));
    assert_eq!(world.get(BASE + 0x310, 8), [1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(world.call(__NR_fcntl, &[1, F_GETFD.into()]), Some(1));
    for fd in [1, 2] {
        assert_eq!(world.call(__NR_close, &[fd]), Some(0));
    }
    assert_eq!(releases(&world), 1);
}

#[test]
fn descriptors_that_nobody_receives_are_let_go_once() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    let sent = world.open(super::world::regular(9));
    let rights = fly(&mut world, fd, &[sent]);
    assert_eq!(world.call(__NR_close, &[sent]), Some(0));
    dropped(&mut world, rights);
    dropped(&mut world, rights);
    assert_eq!(releases(&world), 1);
    put_header(&mut world, 100);
    world.expect::<Receive>(Ok(Received { rights: Some(rights), ..received(1) }));
    assert_eq!(world.call(__NR_recvmsg, &[fd, BASE, 0]), Some(1));
    assert_eq!(world.read::<Msghdr>(BASE).flags, MSG_CTRUNC);
}

#[test]
fn descriptors_without_room_are_closed_and_those_looked_at_stay() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    let sent = world.open(super::world::regular(9));
    let rights = fly(&mut world, fd, &[sent, sent]);
    put_header(&mut world, 20);
    let answer = Received { rights: Some(rights), ..received(1) };
    world.expect::<Receive>(Ok(answer.clone()));
    assert_eq!(world.call(__NR_recvmsg, &[fd, BASE, MSG_PEEK.into()]), Some(1));
    assert_eq!(world.read::<Msghdr>(BASE).flags, MSG_CTRUNC);
    assert_eq!(world.get(BASE + 0x310, 4), [2, 0, 0, 0]);
    world.expect::<Receive>(Ok(answer));
    assert_eq!(world.call(__NR_read, &[fd, BASE + 0x400, 1]), Some(1));
    assert_eq!(releases(&world), 0);
    assert_eq!(world.call(__NR_close, &[2]), Some(0));
    assert_eq!(world.call(__NR_close, &[sent]), Some(0));
    assert_eq!(releases(&world), 1);
}

#[test]
fn descriptors_that_cannot_fly_are_refused_and_what_fails_lets_go() {
    let mut world = World::new();
    let fd = open(&mut world, SocketType::Stream);
    let sent = world.open(super::world::regular(9));
    put_header(&mut world, 20);
    world.put(BASE + 0x300, Cmsghdr { len: 20, level: SOL_SOCKET, kind: SCM_RIGHTS }.as_bytes());
    world.put(BASE + 0x310, &77_u32.to_le_bytes());
    assert_eq!(world.call(__NR_sendmsg, &[fd, BASE, 0]), failed(Errno::EBADF));
    world.put(BASE + 0x310, &(sent as u32).to_le_bytes());
    world.expect::<Send>(Err(Errno::EAGAIN));
    assert_eq!(world.call(__NR_sendmsg, &[fd, BASE, 0]), failed(Errno::EAGAIN));
    assert_eq!(world.call(__NR_close, &[sent]), Some(0));
    assert_eq!(releases(&world), 1);
    let sent = world.open(super::world::regular(10));
    for _ in 0..crate::limits::FLIGHT_FILES_MAX {
        fly(&mut world, fd, &[sent]);
    }
    assert_eq!(world.call(__NR_sendmsg, &[fd, BASE, 0]), failed(Errno::ETOOMANYREFS));
}

#[test]
fn descriptors_fly_to_another_node() {
    let net = Net::shared();
    let mut from = World::on(1, &[1, 2], net.clone());
    let mut to = World::on(2, &[1, 2], net.clone());
    let fd = open(&mut from, SocketType::Stream);
    let sent = from.open(super::world::regular(9));
    let rights = fly(&mut from, fd, &[sent]);
    assert_eq!(from.call(__NR_close, &[sent]), Some(0));
    let fd = open(&mut to, SocketType::Stream);
    put_header(&mut to, 100);
    to.expect::<Receive>(Ok(Received { rights: Some(rights), ..received(1) }));
    assert_eq!(to.call(__NR_recvmsg, &[fd, BASE, 0]), None);
    from.expect::<Hold>(Ok(()));
    while !net.borrow().is_idle() {
        net.borrow_mut().deliver(0);
        from.host.collect(&mut from.node, ServerId::Net);
        to.host.collect(&mut to.node, ServerId::Net);
    }
    let hold = from.last::<Hold>();
    assert_eq!((hold.file, hold.node.get()), (FileId::from_raw(9), 2));
    assert_eq!(releases(&from), 1, "the flight has ended");
    assert_eq!(to.result(), Some(1));
    assert_eq!(to.get(BASE + 0x310, 4), [1, 0, 0, 0]);
    assert_eq!(to.call(__NR_close, &[1]), Some(0));
    assert_eq!(releases(&to), 1);
}

#[test]
fn who_sends_is_who_it_says_unless_it_is_roots() {
    let mut world = World::new();
    world.host.step(&mut world.node, |core, _| {
        let process = core.processes.get_mut(ProcessNo(0)).expect("it lives");
        process.own.ids.uid = 1000;
    });
    let fd = open(&mut world, SocketType::Stream);
    let control = Cmsghdr { len: 28, level: SOL_SOCKET, kind: SCM_CREDENTIALS };
    let header = Msghdr {
        ranges: BASE + 0x200,
        range_count: 1,
        control: BASE + 0x300,
        control_len: 28,
        ..Msghdr::default()
    };
    world.put(BASE, header.as_bytes());
    world.put(BASE + 0x200, Iovec { base: BASE, len: 1 }.as_bytes());
    world.put(BASE + 0x300, control.as_bytes());
    world.put(BASE + 0x310, Ucred { pid: 1, uid: 0, gid: 0 }.as_bytes());
    assert_eq!(world.call(__NR_sendmsg, &[fd, BASE, 0]), failed(Errno::EPERM));
    world.put(BASE + 0x300, Cmsghdr { len: 8000, ..control }.as_bytes());
    assert_eq!(world.call(__NR_sendmsg, &[fd, BASE, 0]), failed(Errno::EINVAL));
    world.put(BASE + 0x300, Cmsghdr { kind: 77, ..control }.as_bytes());
    assert_eq!(world.call(__NR_sendmsg, &[fd, BASE, 0]), failed(Errno::EINVAL));
}
