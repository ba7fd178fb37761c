// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls on sockets by number.

#![allow(non_upper_case_globals, reason = "the kernel's names")]

use super::super::descriptors::install_two;
use super::super::name_call::{self, NameCall};
use super::super::transfer::{self, Memory};
use super::super::{Wait as FileWait, glue, names};
use super::address::{self, Address, Place};
use super::receive::{self, Receiving, Tells};
use super::send::{self, Sending};
use super::{Named, Wait, control, internet, owner, socket};
use crate::files::table::OpenFile;
use crate::layout::io::Iovec;
use crate::layout::socket::Msghdr;
use crate::layout::time::Timeval;
use crate::machine::Machine;
use crate::syscall::{Call, Fail, Next, SysResult};
use abi::linux::general::*;
use abi::linux::net::{
    AF_INET, AF_INET6, AF_UNIX, MSG_CMSG_CLOEXEC, MSG_CONFIRM, MSG_DONTROUTE, MSG_DONTWAIT,
    MSG_EOR, MSG_MORE, MSG_NOSIGNAL, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, SHUT_RD, SHUT_RDWR, SHUT_WR,
    SO_ERROR, SO_LINGER, SO_RCVTIMEO, SO_SNDTIMEO, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET,
    SOCK_STREAM, SOL_SOCKET,
};
use abi::{Errno, InodeId};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::name::{FileKind, SocketType};
use ipc_api::socket::{
    Accept, Accepted, Bind, Connect, GetName, GetOption, IpVersion, Listen, Name, OptionValue,
    SendHead, SetOption, Shutdown, SocketCreate, SocketEnds, SocketMade, SocketPair,
};
use mem_api::{Access, Prepare};
use runtime::{NodeReply, Wire};

/// The bits of a socket's type that are a type.
const TYPE_MASK: u32 = 0xf;
/// IPPROTO_TCP.
const TCP: u32 = 6;
/// IPPROTO_UDP.
const UDP: u32 = 17;
/// IPPROTO_IP.
const IP: u32 = 0;
/// Flags of sending that change nothing here, or what is done.
const SEND_FLAGS: u32 =
    MSG_DONTWAIT | MSG_NOSIGNAL | MSG_EOR | MSG_MORE | MSG_CONFIRM | MSG_DONTROUTE;
/// The same of receiving.
const RECEIVE_FLAGS: u32 =
    MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC | MSG_WAITALL | MSG_CMSG_CLOEXEC | MSG_NOSIGNAL;

/// Runs the call `number` if it is one on sockets.
pub fn dispatch<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    let [a, b, c, d, e, f] = call.args;
    Some(match number {
        __NR_socket => make(call, a, b as u32, c),
        __NR_socketpair => pair(call, [a, b, c, d]),
        __NR_bind => bind(call, a, b, c),
        __NR_listen => listen(call, a, b),
        __NR_connect => connect(call, a, b, c),
        __NR_accept => accept(call, a, Place { addr: b, len: c }, 0),
        __NR_accept4 => accept(call, a, Place { addr: b, len: c }, d as u32),
        __NR_getsockname => name(call, a, Place { addr: b, len: c }, false),
        __NR_getpeername => name(call, a, Place { addr: b, len: c }, true),
        __NR_shutdown => shutdown(call, a, b as u32),
        __NR_getsockopt => get_option(call, [a, b, c, d, e]),
        __NR_setsockopt => set_option(call, [a, b, c, d, e]),
        __NR_sendto => send_to(call, [a, b, c, d, e, f]),
        __NR_recvfrom => receive_from(call, [a, b, c, d, e, f]),
        __NR_sendmsg => send_message(call, a, b, c as u32),
        __NR_recvmsg => receive_message(call, a, b, c as u32),
        _ => return None,
    })
}

fn wait(wait: Wait) -> crate::syscall::Wait {
    glue::wait(FileWait::Socket(Box::new(wait)))
}

/// Type and O_ flags of a new socket.
fn kind_of(domain: u64, kind: u32, protocol: u64) -> Result<(SocketType, u32), Errno> {
    let flags = kind & !TYPE_MASK;
    let version = match domain as u32 {
        AF_UNIX => None,
        AF_INET => Some(IpVersion::V4),
        AF_INET6 => Some(IpVersion::V6),
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    // SOCK_NONBLOCK and SOCK_CLOEXEC are the O_ flags of these names.
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    if let Some(version) = version {
        let kind = match (kind & TYPE_MASK, protocol as u32) {
            (SOCK_STREAM, 0 | TCP) => SocketType::Tcp(version),
            (SOCK_DGRAM, 0 | UDP) => SocketType::Udp(version),
            // There is nobody outside to send such things to.
            (SOCK_STREAM | SOCK_DGRAM | SOCK_RAW, _) => return Err(Errno::EPROTONOSUPPORT),
            (_, _) => return Err(Errno::ESOCKTNOSUPPORT),
        };
        return Ok((kind, flags));
    }
    if protocol as u32 != 0 && protocol as u32 != AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let kind = match kind & TYPE_MASK {
        SOCK_STREAM => SocketType::Stream,
        SOCK_DGRAM | SOCK_RAW => SocketType::Datagram,
        SOCK_SEQPACKET => SocketType::Packet,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    Ok((kind, flags))
}

fn make<M: Machine>(
    call: &mut Call<'_, '_, M>,
    domain: u64,
    kind: u32,
    protocol: u64,
) -> SysResult {
    let (kind, flags) = kind_of(domain, kind, protocol)?;
    let op = SocketCreate { kind, flags: flags & O_NONBLOCK, owner: owner(call) };
    Ok(call.ask(&op, wait(Wait::Made(kind, flags))))
}

fn pair<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [domain, kind, protocol, addr]: [u64; 4],
) -> SysResult {
    let (kind, flags) = kind_of(domain, kind as u32, protocol)?;
    if kind.internet().is_some() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let op = SocketPair { kind, flags: flags & O_NONBLOCK, owner: owner(call) };
    Ok(call.ask(&op, wait(Wait::Pair(kind, flags, addr))))
}

fn bind<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, addr: u64, len: u64) -> SysResult {
    let (file, kind) = socket(call, fd)?;
    let name = match address::read(call, kind, addr, len)? {
        Address::Unspecified if kind.internet().is_some() => {
            return Err(Errno::EAFNOSUPPORT.into());
        }
        Address::Unspecified => return Err(Errno::EINVAL.into()),
        Address::Internet(it) => internet::to_bind(call, it)?,
        Address::Unnamed => Name::default(),
        Address::Abstract(name) => name,
        Address::Path(path) => {
            // A socket that has a name makes no file.
            let op = GetName { file: file.file, peer: false };
            return Ok(call.ask(&op, wait(Wait::Unbound(file, path))));
        }
    };
    let op = Bind { file: file.file, name };
    Ok(call.ask(&op, glue::wait(FileWait::Zero)))
}

fn listen<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, backlog: u64) -> SysResult {
    let (file, _) = socket(call, fd)?;
    let op = Listen { file: file.file, backlog: backlog as u32, owner: owner(call) };
    Ok(call.ask(&op, glue::wait(FileWait::Zero)))
}

fn connect<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, addr: u64, len: u64) -> SysResult {
    let (file, kind) = socket(call, fd)?;
    let name = match address::read(call, kind, addr, len)? {
        Address::Unspecified if kind.is_datagram() => Name::default(),
        Address::Internet(it) => internet::to_reach(it)?,
        Address::Unspecified | Address::Unnamed => return Err(Errno::EINVAL.into()),
        Address::Abstract(name) => name,
        Address::Path(path) => return find(call, path.clone(), Named::Connect(file, path)),
    };
    let op = Connect { file: file.file, name, owner: owner(call) };
    Ok(call.ask(&op, glue::wait(FileWait::Zero)))
}

fn accept<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, place: Place, flags: u32) -> SysResult {
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (file, kind) = socket(call, fd)?;
    let op = Accept { file: file.file, flags: flags & O_NONBLOCK };
    Ok(call.ask(&op, wait(Wait::Accepted { kind, flags, place })))
}

fn name<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, place: Place, peer: bool) -> SysResult {
    let (file, kind) = socket(call, fd)?;
    Ok(call.ask(&GetName { file: file.file, peer }, wait(Wait::Name(kind, place))))
}

fn shutdown<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, how: u32) -> SysResult {
    let (file, _) = socket(call, fd)?;
    if how > SHUT_RDWR {
        return Err(Errno::EINVAL.into());
    }
    let op = Shutdown { file: file.file, receive: how != SHUT_WR, send: how != SHUT_RD };
    Ok(call.ask(&op, glue::wait(FileWait::Zero)))
}

/// A socket, and a level that it has options of.
fn at_level<M: Machine>(
    call: &Call<'_, '_, M>,
    fd: u64,
    level: u64,
) -> Result<(OpenFile, u32), Fail> {
    let (file, kind) = socket(call, fd)?;
    let level = level as u32;
    if level != SOL_SOCKET && kind.internet().is_none() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    Ok((file, level))
}

fn get_option<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [fd, level, option, addr, len]: [u64; 5],
) -> SysResult {
    let (file, level) = at_level(call, fd, level)?;
    let room: u32 = call.read(len)?;
    if room.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    if (level, option as u32) == (SOL_SOCKET, SO_ERROR) && room > 0 {
        // It is told once: if a page is away, it is fetched before.
        let space = call.space()?;
        let int = size_of::<u32>() as u64;
        for (addr, len) in [(addr, int.min(room.into())), (len, int)] {
            call.cx.leaf(&Prepare { space, addr, len, access: Access::Write })?;
        }
    }
    let op = GetOption { file: file.file, level, option: option as u32 };
    Ok(call.ask(&op, wait(Wait::Option { addr, len })))
}

fn set_option<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [fd, level, option, addr, len]: [u64; 5],
) -> SysResult {
    let (file, level) = at_level(call, fd, level)?;
    let (size, int) = (len as u32 as usize, size_of::<u32>());
    let value: u64 = match (level, option as u32) {
        (SOL_SOCKET, SO_LINGER) if size < 2 * int => return Err(Errno::EINVAL.into()),
        (SOL_SOCKET, SO_LINGER) => {
            let [on, seconds]: [u32; 2] = call.read(addr)?;
            if on == 0 { 0 } else { seconds.saturating_add(1).into() }
        }
        // ip(7) takes a byte, too.
        (IP, _) if (1..int).contains(&size) => call.read::<u8>(addr)?.into(),
        _ if size < int => return Err(Errno::EINVAL.into()),
        (SOL_SOCKET, SO_RCVTIMEO | SO_SNDTIMEO) => time_us(call, addr, len)?,
        _ => call.read::<u32>(addr)?.into(),
    };
    let op = SetOption { file: file.file, level, option: option as u32, value };
    Ok(call.ask(&op, glue::wait(FileWait::Zero)))
}

/// The time of SO_RCVTIMEO and SO_SNDTIMEO in microseconds. One below 0 is the shortest that there is, as on Linux.
fn time_us<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, len: u64) -> Result<u64, Errno> {
    if (len as u32) < size_of::<Timeval>() as u32 {
        return Err(Errno::EINVAL);
    }
    let time: Timeval = call.read(addr)?;
    if !(0..1_000_000).contains(&time.microseconds) {
        return Err(Errno::EDOM);
    }
    let Ok(seconds) = u64::try_from(time.seconds) else { return Ok(1) };
    Ok(seconds.saturating_mul(1_000_000).saturating_add(time.microseconds.unsigned_abs()))
}

/// read(2), readv(2) of a socket.
pub fn receive_plain<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (file, kind): (OpenFile, SocketType),
    memory: Memory,
) -> SysResult {
    let (flags, tells) = (0, Tells::Nothing);
    receive::begin(call, Receiving { file, kind, memory, flags, tells, done: 0 })
}

/// write(2), writev(2) to a socket.
pub fn send_plain<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (file, kind): (OpenFile, SocketType),
    memory: Memory,
) -> SysResult {
    let head = SendHead { owner: owner(call), ..SendHead::default() };
    send::begin(call, Sending { file, kind, memory, head, descriptors: Vec::new(), done: 0 })
}

fn one(base: u64, len: u64) -> Memory {
    Memory::One(Iovec { base, len: len.min(transfer::TRANSFER_BYTES_MAX) })
}

/// A path as a place.
fn place_of<M: Machine>(call: &Call<'_, '_, M>, path: Vec<u8>) -> Result<name_call::Place, Fail> {
    let path = String::from_utf8(path).map_err(|_| Errno::EINVAL)?;
    names::place_of(call, names::CWD, path)
}

/// Finds the socket of a path.
fn find<M: Machine>(call: &mut Call<'_, '_, M>, path: Vec<u8>, then: Named) -> SysResult {
    let (place, then) = (place_of(call, path)?, Box::new(then));
    names::advance(call, Box::new(NameCall::FindSocket { place, then }), 0)
}

/// The inode of a path is known.
pub fn named<M: Machine>(call: &mut Call<'_, '_, M>, then: Named, inode: InodeId) -> SysResult {
    let name = |text| Name { inode: Some(inode), text };
    match then {
        Named::Bind(file, text) => {
            let op = Bind { file: file.file, name: name(text) };
            Ok(call.ask(&op, glue::wait(FileWait::Zero)))
        }
        Named::Connect(file, text) => {
            let op = Connect { file: file.file, name: name(text), owner: owner(call) };
            Ok(call.ask(&op, glue::wait(FileWait::Zero)))
        }
        Named::Send(mut sending, text) => {
            sending.head.to = Some(name(text));
            send::begin(call, sending)
        }
    }
}

/// Sends a message, to whom this address says.
fn send_at<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut sending: Sending,
    (addr, len): (u64, u64),
) -> SysResult {
    // Over a connection of TCP an address means nothing.
    if addr == 0 || len as u32 == 0 || matches!(sending.kind, SocketType::Tcp(_)) {
        return send::begin(call, sending);
    }
    match address::read(call, sending.kind, addr, len)? {
        Address::Internet(it) => sending.head.to = Some(internet::to_reach(it)?),
        Address::Unspecified | Address::Unnamed => return Err(Errno::EINVAL.into()),
        Address::Abstract(name) => sending.head.to = Some(name),
        // A stream is refused in any case.
        Address::Path(path) if sending.kind == SocketType::Datagram => {
            return find(call, path.clone(), Named::Send(sending, path));
        }
        Address::Path(text) => sending.head.to = Some(Name { inode: None, text }),
    }
    send::begin(call, sending)
}

fn send_to<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [fd, base, len, flags, addr, addr_len]: [u64; 6],
) -> SysResult {
    let (file, kind) = socket(call, fd)?;
    let flags = flags as u32;
    if flags & !SEND_FLAGS != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let head = SendHead { to: None, flags, owner: owner(call), rights: None };
    let sending =
        Sending { file, kind, memory: one(base, len), head, descriptors: Vec::new(), done: 0 };
    send_at(call, sending, (addr, addr_len))
}

fn receive_from<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [fd, base, len, flags, addr, addr_len]: [u64; 6],
) -> SysResult {
    let (file, kind) = socket(call, fd)?;
    let flags = flags as u32;
    if flags & !RECEIVE_FLAGS != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let tells = match addr {
        0 => Tells::Nothing,
        addr => Tells::Name(Place { addr, len: addr_len }),
    };
    receive::begin(call, Receiving { file, kind, memory: one(base, len), flags, tells, done: 0 })
}

fn send_message<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    addr: u64,
    flags: u32,
) -> SysResult {
    let (file, kind) = socket(call, fd)?;
    if flags & !SEND_FLAGS != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let header: Msghdr = call.read(addr)?;
    let memory = transfer::ranges(call, header.ranges, header.range_count)?;
    let control = control::read(call, header.control, header.control_len)?;
    let head = SendHead { to: None, flags, owner: control.owner, rights: None };
    let descriptors = control.descriptors;
    let sending = Sending { file, kind, memory, head, descriptors, done: 0 };
    send_at(call, sending, (header.name, header.name_len.into()))
}

fn receive_message<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    addr: u64,
    flags: u32,
) -> SysResult {
    let (file, kind) = socket(call, fd)?;
    if flags & !RECEIVE_FLAGS != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let header: Msghdr = call.read(addr)?;
    let memory = transfer::ranges(call, header.ranges, header.range_count)?;
    let tells = Tells::Header(addr, header);
    receive::begin(call, Receiving { file, kind, memory, flags, tells, done: 0 })
}

/// The waits that an error ends.
pub fn answered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: Wait,
    reply: &NodeReply,
) -> SysResult {
    match wait {
        Wait::Made(kind, flags) => {
            let file = SocketMade::get(&reply.msg)?.file;
            names::install(call, OpenFile { file, kind: FileKind::Socket(kind) }, flags)
        }
        Wait::Pair(kind, flags, addr) => {
            let kind = FileKind::Socket(kind);
            let files = SocketEnds::get(&reply.msg)?.ends.map(|file| OpenFile { file, kind });
            install_two(call, files, addr, flags)
        }
        Wait::Accepted { kind, flags, place } => {
            let Accepted { file, text } = Accepted::get(&reply.msg)?;
            match names::install(call, OpenFile { file, kind: FileKind::Socket(kind) }, flags)? {
                Next::Done(fd) => address::put(call, fd, (kind, text), place),
                next => Ok(next),
            }
        }
        Wait::Unbound(file, path) => {
            if !Name::get(&reply.msg)?.text.is_empty() {
                return Err(Errno::EINVAL.into());
            }
            let place = place_of(call, path.clone())?;
            let then = Box::new(Named::Bind(file, path));
            names::advance(call, Box::new(NameCall::MakeSocket { place, then }), 0)
        }
        Wait::Name(kind, place) => {
            let text = Name::get(&reply.msg)?.text;
            address::put(call, 0, (kind, text), place)
        }
        Wait::Option { addr, len } => {
            let OptionValue(values) = OptionValue::get(&reply.msg)?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let room: u32 = call.read(len)?;
            let told = bytes.len().min(room as usize);
            call.copy_out(addr, &bytes[..told])?;
            call.write(len, &(told as u32))?;
            Ok(Next::Done(0))
        }
        Wait::PutName { .. }
        | Wait::Sent(..)
        | Wait::SendAgain(_)
        | Wait::Received(_)
        | Wait::ReceiveAgain(_)
        | Wait::Rights(..)
        | Wait::Tell(..) => unreachable!("taken out before"),
    }
}
