// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names, options and the end of sockets' directions.

use super::{Socket, State, ports};
use crate::Ipc;
use crate::limits::{SOCKET_BYTES, SOCKET_BYTES_MIN};
use abi::linux::net::*;
use abi::{Errno, FileId};
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::socket::{
    GetOption, IpVersion, Name, OptionValue, Owner, SetOption, Shutdown, SocketType,
};
use runtime::Cx;

/// Microseconds of a second.
const US_PER_S: u64 = 1_000_000;
/// Levels of IP, TCP and IPv6.
const IP: u32 = 0;
const TCP: u32 = 6;
const UDP: u32 = 17;
const IPV6: u32 = 41;

/// Options that change nothing between programs of a cluster and are told as they were set: level, number, and what
/// they are before.
pub(super) const KEPT: [(u32, u32, u32); 25] = [
    (SOL_SOCKET, SO_KEEPALIVE, 0),
    (SOL_SOCKET, SO_BROADCAST, 0),
    (SOL_SOCKET, SO_PRIORITY, 0),
    (SOL_SOCKET, SO_DONTROUTE, 0),
    (SOL_SOCKET, SO_OOBINLINE, 0),
    (IP, IP_TOS, 0),
    (IP, IP_TTL, 64),
    (IP, IP_MTU_DISCOVER, 1),
    (IP, IP_RECVERR, 0),
    (IP, IP_BIND_ADDRESS_NO_PORT, 0),
    (TCP, TCP_NODELAY, 0),
    (TCP, TCP_MAXSEG, 32768),
    (TCP, TCP_CORK, 0),
    (TCP, TCP_KEEPIDLE, 7200),
    (TCP, TCP_KEEPINTVL, 75),
    (TCP, TCP_KEEPCNT, 9),
    (TCP, TCP_SYNCNT, 6),
    (TCP, TCP_LINGER2, 60),
    (TCP, TCP_DEFER_ACCEPT, 0),
    (TCP, TCP_QUICKACK, 1),
    (TCP, TCP_USER_TIMEOUT, 0),
    (IPV6, IPV6_UNICAST_HOPS, 64),
    (IPV6, IPV6_MTU_DISCOVER, 1),
    (IPV6, IPV6_RECVERR, 0),
    (IPV6, IPV6_TCLASS, 0),
];

impl Socket {
    /// The place of an option among those that are only remembered.
    fn kept_place(&self, level: u32, option: u32) -> Result<usize, Errno> {
        let has = match level {
            SOL_SOCKET => true,
            IP => self.version().is_some(),
            TCP => self.is_tcp(),
            IPV6 => self.version() == Some(IpVersion::V6),
            _ => false,
        };
        let place = KEPT.iter().position(|(of, number, _)| (*of, *number) == (level, option));
        place.filter(|_| has).ok_or(Errno::ENOPROTOOPT)
    }

    fn kept_option(&self, level: u32, option: u32) -> Result<u32, Errno> {
        let place = self.kept_place(level, option)?;
        let set = self.internet.kept.iter().find(|(at, _)| usize::from(*at) == place);
        Ok(set.map_or(KEPT[place].2, |(_, value)| *value))
    }

    fn keep_option(&mut self, level: u32, option: u32, value: u32) -> Result<(), Errno> {
        let place = self.kept_place(level, option)? as u8;
        self.internet.kept.retain(|(at, _)| *at != place);
        self.internet.kept.push((place, value));
        Ok(())
    }
}

impl Ipc {
    pub(crate) fn option_of(&mut self, request: GetOption) -> Result<OptionValue, Errno> {
        let socket = self.socket(request.file)?;
        let time = |us: u64| {
            let (s, us) = (us / US_PER_S, us % US_PER_S);
            Ok(OptionValue(vec![s as u32, (s >> 32) as u32, us as u32, 0]))
        };
        let one = |value: u32| Ok(OptionValue(vec![value]));
        match request.option {
            IPV6_V6ONLY if request.level == IPV6 && socket.version() == Some(IpVersion::V6) => {
                one(socket.internet.only_v6.into())
            }
            option if request.level != SOL_SOCKET => {
                one(socket.kept_option(request.level, option)?)
            }
            SO_TYPE => one(match socket.kind {
                SocketType::Stream | SocketType::Tcp(_) => SOCK_STREAM,
                SocketType::Datagram | SocketType::Udp(_) => SOCK_DGRAM,
                SocketType::Packet => SOCK_SEQPACKET,
            }),
            SO_DOMAIN => one(match socket.version() {
                None => AF_UNIX,
                Some(IpVersion::V4) => AF_INET,
                Some(IpVersion::V6) => AF_INET6,
            }),
            SO_PROTOCOL => one(match socket.kind {
                SocketType::Stream | SocketType::Datagram | SocketType::Packet => 0,
                SocketType::Tcp(_) => TCP,
                SocketType::Udp(_) => UDP,
            }),
            SO_ERROR => one(socket.error.take().map_or(0, |errno| errno.number().into())),
            SO_ACCEPTCONN => one(matches!(socket.state, State::Listening(_)).into()),
            SO_PASSCRED => one(socket.passes.into()),
            SO_SNDBUF => one(socket.send_limit as u32),
            SO_RCVBUF => one(SOCKET_BYTES as u32),
            SO_REUSEADDR => one(socket.internet.reuses.into()),
            SO_RCVTIMEO => time(socket.receive_us),
            SO_SNDTIMEO => time(socket.send_us),
            SO_LINGER => {
                let linger = socket.internet.linger;
                Ok(OptionValue(vec![u32::from(linger > 0), linger.saturating_sub(1)]))
            }
            SO_PEERCRED => {
                let none = Owner { pid: 0, uid: u32::MAX, gid: u32::MAX };
                let Owner { pid, uid, gid } = socket.peer_owner.unwrap_or(none);
                Ok(OptionValue(vec![pid, uid, gid]))
            }
            option => one(socket.kept_option(SOL_SOCKET, option)?),
        }
    }

    pub(crate) fn set_option(&mut self, request: SetOption) -> Result<(), Errno> {
        let socket = self.socket(request.file)?;
        // All but times are `int`s.
        let value = request.value as u32;
        match request.option {
            IPV6_V6ONLY if request.level == IPV6 && socket.version() == Some(IpVersion::V6) => {
                if !socket.name.text.is_empty() || socket.binding {
                    return Err(Errno::EINVAL);
                }
                socket.internet.only_v6 = value != 0;
            }
            option if request.level != SOL_SOCKET => {
                socket.keep_option(request.level, option, value)?;
            }
            SO_PASSCRED => socket.passes = value != 0,
            SO_RCVTIMEO => socket.receive_us = request.value,
            SO_SNDTIMEO => socket.send_us = request.value,
            // socket(7): twice the value, within what there can be.
            SO_SNDBUF => {
                let wanted = (value as usize).saturating_mul(2);
                socket.send_limit = wanted.clamp(SOCKET_BYTES_MIN, SOCKET_BYTES);
            }
            SO_REUSEADDR => socket.internet.reuses = value != 0,
            SO_LINGER => socket.internet.linger = value,
            // Programs set it on every socket; there is one size.
            SO_RCVBUF => {}
            option => socket.keep_option(SOL_SOCKET, option, value)?,
        }
        Ok(())
    }

    /// FIONREAD: bytes of a stream, or of the next message.
    pub(crate) fn unread(&mut self, file: FileId) -> Result<u32, Errno> {
        let socket = self.socket(file)?;
        let mut lens = socket.queue.iter().map(|message| message.bytes.len() as u32);
        match (&socket.state, socket.kind) {
            (State::Listening(_), _) => Err(Errno::EINVAL),
            (_, SocketType::Stream | SocketType::Tcp(_)) => Ok(lens.sum()),
            (_, SocketType::Datagram | SocketType::Packet | SocketType::Udp(_)) => {
                Ok(lens.next().unwrap_or(0))
            }
        }
    }

    pub(crate) fn name_of(&mut self, file: FileId, peer: bool) -> Result<Name, Errno> {
        let socket = self.socket(file)?;
        if !peer {
            let unnamed = socket.version().filter(|_| socket.name.text.is_empty());
            return Ok(unnamed.map_or_else(|| socket.name.clone(), |it| ports::any(it).name()));
        }
        let text = socket.peer_text.clone().ok_or(Errno::ENOTCONN)?;
        Ok(Name { inode: None, text })
    }

    pub(crate) fn shut_down(&mut self, cx: &mut Cx<'_>, request: Shutdown) -> Result<(), Errno> {
        let Shutdown { file, receive, send } = request;
        let socket = self.socket(file)?;
        let is_tcp = socket.is_tcp();
        let unconnected = match socket.state {
            State::Idle => is_tcp || socket.is_udp() && socket.peer_text.is_none(),
            State::Connecting(_) => is_tcp,
            State::Listening(_) | State::Connected(_) | State::Gone => false,
        };
        if unconnected {
            // As on Linux, who waits for a datagram hears of it all the same.
            if socket.is_udp() && receive {
                socket.no_receive = true;
                socket.came();
                self.pump(cx, file);
            }
            return Err(Errno::ENOTCONN);
        }
        socket.no_receive |= receive;
        socket.no_send |= send;
        socket.came();
        socket.roomy();
        let peer = socket.peer().filter(|_| !socket.is_datagram());
        if receive && let State::Listening(listener) = &mut socket.state {
            for acceptor in listener.acceptors.drain(..) {
                cx.complete::<()>(acceptor.ticket, Err(Errno::EINVAL));
            }
        }
        if let Some(it) = peer.and_then(|peer| self.sockets.get_mut(&peer)) {
            it.no_receive |= send;
            // Of TCP only who sends is told.
            it.no_send |= receive && !is_tcp;
            it.came();
            it.roomy();
        }
        if send {
            self.break_writers(cx, file);
        }
        self.pump(cx, file);
        if let Some(peer) = peer {
            self.pump(cx, peer);
        }
        Ok(())
    }

    /// Ends the calls that wait to send from a socket which sends no more.
    fn break_writers(&mut self, cx: &mut Cx<'_>, file: FileId) {
        let Some(peer) = self.sockets.get(&file).and_then(Socket::peer) else { return };
        let Some(it) = self.sockets.get_mut(&peer) else { return };
        let all = core::mem::take(&mut it.writers);
        let (broken, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|writer| writer.sender == file);
        it.writers = kept.into();
        for writer in broken {
            self.drop_rights(cx, writer.rights);
            writer.end(cx, Err(Errno::EPIPE));
        }
    }

    /// A socket of this node.
    pub(crate) fn socket(&mut self, file: FileId) -> Result<&mut Socket, Errno> {
        self.sockets.get_mut(&file).ok_or(Errno::EIO)
    }
}
