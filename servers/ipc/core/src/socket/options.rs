// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names, options and the end of sockets' directions.

use super::{Socket, State};
use crate::Ipc;
use crate::limits::{SOCKET_BYTES, SOCKET_BYTES_MIN};
use abi::linux::net::{
    AF_UNIX, SO_ACCEPTCONN, SO_BROADCAST, SO_DOMAIN, SO_ERROR, SO_KEEPALIVE, SO_LINGER,
    SO_PASSCRED, SO_PEERCRED, SO_PRIORITY, SO_PROTOCOL, SO_RCVBUF, SO_RCVTIMEO, SO_REUSEADDR,
    SO_SNDBUF, SO_SNDTIMEO, SO_TYPE, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM,
};
use abi::{Errno, FileId};
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::socket::{GetOption, Name, OptionValue, Owner, SetOption, Shutdown, SocketType};
use runtime::Cx;

/// Microseconds of a second.
const US_PER_S: u64 = 1_000_000;

impl Ipc {
    pub(crate) fn option_of(&mut self, request: GetOption) -> Result<OptionValue, Errno> {
        let socket = self.socket(request.file)?;
        let time = |us: u64| {
            let (s, us) = (us / US_PER_S, us % US_PER_S);
            Ok(OptionValue(vec![s as u32, (s >> 32) as u32, us as u32, 0]))
        };
        let one = |value: u32| Ok(OptionValue(vec![value]));
        match request.option {
            SO_TYPE => one(match socket.kind {
                SocketType::Stream => SOCK_STREAM,
                SocketType::Datagram => SOCK_DGRAM,
                SocketType::Packet => SOCK_SEQPACKET,
            }),
            SO_DOMAIN => one(AF_UNIX),
            SO_PROTOCOL => one(0),
            SO_ERROR => one(socket.error.take().map_or(0, |errno| errno.number().into())),
            SO_ACCEPTCONN => one(matches!(socket.state, State::Listening(_)).into()),
            SO_PASSCRED => one(socket.passes.into()),
            SO_SNDBUF => one(socket.send_limit as u32),
            SO_RCVBUF => one(SOCKET_BYTES as u32),
            SO_REUSEADDR | SO_KEEPALIVE | SO_BROADCAST | SO_PRIORITY => one(0),
            SO_RCVTIMEO => time(socket.receive_us),
            SO_SNDTIMEO => time(socket.send_us),
            SO_PEERCRED => {
                let none = Owner { pid: 0, uid: u32::MAX, gid: u32::MAX };
                let Owner { pid, uid, gid } = socket.peer_owner.unwrap_or(none);
                Ok(OptionValue(vec![pid, uid, gid]))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    pub(crate) fn set_option(&mut self, request: SetOption) -> Result<(), Errno> {
        let socket = self.socket(request.file)?;
        match request.option {
            SO_PASSCRED => socket.passes = request.value != 0,
            SO_RCVTIMEO => socket.receive_us = request.value,
            SO_SNDTIMEO => socket.send_us = request.value,
            // socket(7): twice the value, within what there can be.
            SO_SNDBUF => {
                let wanted = (request.value as usize).saturating_mul(2);
                socket.send_limit = wanted.clamp(SOCKET_BYTES_MIN, SOCKET_BYTES);
            }
            // Programs set these on every socket; on Linux, too, they mean nothing here.
            SO_REUSEADDR | SO_KEEPALIVE | SO_BROADCAST | SO_PRIORITY | SO_RCVBUF | SO_LINGER => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// FIONREAD: bytes of a stream, or of the next message.
    pub(crate) fn unread(&mut self, file: FileId) -> Result<u32, Errno> {
        let socket = self.socket(file)?;
        let mut lens = socket.queue.iter().map(|message| message.bytes.len() as u32);
        match (&socket.state, socket.kind) {
            (State::Listening(_), _) => Err(Errno::EINVAL),
            (_, SocketType::Stream) => Ok(lens.sum()),
            (_, SocketType::Datagram | SocketType::Packet) => Ok(lens.next().unwrap_or(0)),
        }
    }

    pub(crate) fn name_of(&mut self, file: FileId, peer: bool) -> Result<Name, Errno> {
        let socket = self.socket(file)?;
        if !peer {
            return Ok(socket.name.clone());
        }
        let text = socket.peer_text.clone().ok_or(Errno::ENOTCONN)?;
        Ok(Name { inode: None, text })
    }

    pub(crate) fn shut_down(&mut self, cx: &mut Cx<'_>, request: Shutdown) -> Result<(), Errno> {
        let Shutdown { file, receive, send } = request;
        let socket = self.socket(file)?;
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
            it.no_send |= receive;
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
