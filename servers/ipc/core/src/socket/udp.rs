// SPDX-License-Identifier: MIT OR Apache-2.0
//! UDP: each datagram finds its receiver anew, and may be lost.
//!
//! # Model
//! A socket that is connected has a peer's name and no more. Whom nobody hears is told so once, by an error of the
//! socket, if it is connected; there is no other word of what became of a datagram.

use super::datagram::Sending;
use super::flow::Part;
use super::memory::From;
use super::{Message, State};
use crate::Ipc;
use abi::{Errno, FileId};
use alloc::vec::Vec;
use ipc_api::file::Moved;
use ipc_api::internet::Address;
use ipc_api::socket::{Connect, Name, Owner};
use runtime::{Answer, Cx};

impl Ipc {
    /// connect(2): whom to send to, and from whom to receive.
    pub(super) fn choose_address(
        &mut self,
        cx: &mut Cx<'_>,
        request: Connect,
    ) -> Result<(), Errno> {
        let Connect { file, name, .. } = request;
        if name.text.is_empty() {
            self.socket(file)?.peer_text = None;
            return Ok(());
        }
        let own = self.source_for(cx, file, &name, false)?;
        let socket = self.socket(file)?;
        socket.name = own;
        socket.peer_text = Some(name.text);
        socket.error = None;
        self.wake(cx, file);
        Ok(())
    }

    /// Whom a datagram is for.
    pub(super) fn receiver_of(&mut self, file: FileId, to: Option<Name>) -> Result<Name, Errno> {
        let connected = self.socket(file)?.peer_text.clone();
        let connected = connected.map(|text| Name { inode: None, text });
        let to = to.or(connected).ok_or(Errno::EDESTADDRREQ)?;
        if Address::of(&to.text)?.port == 0 { Err(Errno::EINVAL) } else { Ok(to) }
    }

    /// A datagram has not arrived.
    pub(super) fn udp_not_sent(&mut self, cx: &mut Cx<'_>, sending: &Sending, errno: Errno) {
        match errno {
            Errno::ERESTART | Errno::ECANCELED => {
                return cx.complete::<()>(sending.ticket, Err(errno));
            }
            Errno::ECONNREFUSED | Errno::EIO if sending.connected => {
                if let Some(socket) = self.sockets.get_mut(&sending.file) {
                    socket.error = Some(Errno::ECONNREFUSED);
                    socket.came();
                }
            }
            _ => {}
        }
        cx.complete(sending.ticket, Ok(Moved { bytes: sending.len as u64 }));
        self.pump(cx, sending.file);
    }

    /// A datagram has come.
    pub(super) fn deliver_udp(
        &mut self,
        cx: &mut Cx<'_>,
        (sender, to): (FileId, FileId),
        text: Vec<u8>,
        bytes: Vec<u8>,
    ) -> Result<Answer, Errno> {
        Address::of(&text)?;
        let socket = self.socket(to)?;
        if !matches!(socket.state, State::Idle)
            || socket.peer_text.as_ref().is_some_and(|peer| *peer != text)
        {
            return Err(Errno::ECONNREFUSED);
        }
        if socket.no_receive {
            return Err(Errno::EAGAIN);
        }
        let len = bytes.len();
        let source = From::Message(bytes);
        let part = Part { sender, source: &source, done: 0, len };
        let message = Message { bytes: Vec::new(), text, owner: Owner::default(), rights: None };
        let came = self.put_into(cx, to, &part, message)?;
        self.pump(cx, to);
        came.map(|_| Answer::reply(&Moved { bytes: len as u64 })).ok_or(Errno::EAGAIN)
    }
}
