// SPDX-License-Identifier: MIT OR Apache-2.0
//! Datagrams: their receivers may have any home.

use super::jobs::Job;
use super::memory::From;
use super::names::Key;
use super::{Message, Socket, State, Writer, flow::Part};
use crate::{Ipc, home_of, node_of};
use abi::linux::net::MSG_DONTWAIT;
use abi::{Errno, FileId, Ticket};
use alloc::vec::Vec;
use ipc_api::between::{Deliver, Lookup};
use ipc_api::file::Moved;
use ipc_api::socket::{Connect, Name, SendHead, SocketType};
use runtime::{Answer, Client, Cx};

/// A datagram on its way.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) ticket: Ticket,
    pub(super) file: FileId,
    bytes: Vec<u8>,
    /// How many there were.
    pub(super) len: usize,
    head: SendHead,
    /// It goes to whom the socket is connected to.
    pub(super) connected: bool,
    /// The sender's name.
    text: Vec<u8>,
    /// Its caller has given it up.
    pub(crate) given_up: bool,
}

impl Ipc {
    /// connect(2) of a datagram socket: whom to send to, and from whom to receive.
    pub(crate) fn choose(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Connect,
    ) -> Result<Answer, Errno> {
        let Connect { file, name, .. } = request;
        let key = Key::of(&name, SocketType::Datagram)?;
        if name.text.is_empty() {
            let socket = self.socket(file)?;
            socket.state = State::Idle;
            socket.peer_text = None;
            return Ok(Answer::reply(&()));
        }
        let ticket = cx.open_ticket(from)?;
        let home = cx.view().home(key.slot());
        let request = Lookup { name: name.clone(), kind: SocketType::Datagram };
        self.begin(cx, home, &request, Vec::new(), Job::Choose { ticket, file, name });
        Ok(Answer::Pending(ticket))
    }

    /// The home of a name has answered.
    pub(super) fn chosen(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        file: FileId,
        name: Name,
        found: Result<FileId, Errno>,
    ) {
        let result = match (found, self.sockets.get_mut(&file)) {
            (Ok(peer), Some(socket)) => {
                socket.state = State::Connected(peer);
                socket.peer_text = Some(name.text);
                Ok(())
            }
            (Err(errno), _) => Err(errno),
            (Ok(_), None) => Err(Errno::EBADF),
        };
        cx.complete(ticket, result);
        self.wake(cx, file);
    }

    /// Sends a datagram of a socket of this node.
    pub(crate) fn send_datagram(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        (source, len): (&From, usize),
        mut head: SendHead,
    ) -> Result<Answer, Errno> {
        let socket = self.socket(file)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        if socket.no_send {
            return Err(Errno::EPIPE);
        }
        if len > socket.room_when_empty() {
            return Err(Errno::EMSGSIZE);
        }
        let (peer, kind) = (socket.peer(), socket.kind);
        let connected = head.to.is_none();
        let mut text = socket.name.text.clone();
        if socket.is_udp() {
            let to = self.receiver_of(file, head.to.take())?;
            text = self.source_for(cx, file, &to, true)?.text;
            head.to = Some(to);
        }
        let key = head.to.as_ref().map(|to| Key::of(to, kind)).transpose()?;
        if key.is_none() && peer.is_none() {
            return Err(Errno::ENOTCONN);
        }
        let kept: usize = self.jobs.values().map(Job::kept).sum();
        if self.files.short || kept + len > crate::limits::KEPT_BYTES_MAX {
            return Err(Errno::ENOBUFS);
        }
        let bytes = source.fetch(cx, 0, len)?;
        let ticket = cx.open_ticket(from)?;
        let sending = Sending { ticket, file, bytes, len, head, connected, text, given_up: false };
        match (key, peer, sending.head.to.clone()) {
            (Some(key), _, Some(name)) => {
                let home = cx.view().home(key.slot());
                let request = Lookup { name, kind };
                self.begin(cx, home, &request, Vec::new(), Job::Address(sending));
            }
            (_, Some(peer), _) => self.addressed(cx, sending, Ok(peer)),
            _ => return Err(Errno::ENOTCONN),
        }
        Ok(Answer::Pending(ticket))
    }

    /// The receiver is known.
    pub(super) fn addressed(
        &mut self,
        cx: &mut Cx<'_>,
        mut sending: Sending,
        found: Result<FileId, Errno>,
    ) {
        let found = if sending.given_up { Err(Errno::ECANCELED) } else { found };
        let to = match found.and_then(|to| Ok((to, home_of(cx, to)?))) {
            Ok(it) => it,
            Err(errno) => return self.not_sent(cx, &sending, errno),
        };
        let (to, home) = to;
        if !self.sockets.contains_key(&sending.file) {
            return self.not_sent(cx, &sending, Errno::EBADF);
        }
        let request = Deliver {
            to,
            from: sending.file,
            text: core::mem::take(&mut sending.text),
            owner: sending.head.owner,
            waits: sending.head.flags & MSG_DONTWAIT == 0,
            rights: sending.head.rights,
        };
        let bytes = core::mem::take(&mut sending.bytes);
        self.begin(cx, home, &request, bytes, Job::Deliver(sending));
    }

    /// The receiver's home has answered.
    pub(super) fn delivered(
        &mut self,
        cx: &mut Cx<'_>,
        sending: &Sending,
        moved: Result<Moved, Errno>,
    ) {
        match moved {
            Ok(moved) => cx.complete(sending.ticket, Ok(moved)),
            Err(errno) => self.not_sent(cx, sending, errno),
        }
    }

    fn not_sent(&mut self, cx: &mut Cx<'_>, sending: &Sending, errno: Errno) {
        if self.sockets.get(&sending.file).is_some_and(Socket::is_udp) {
            return self.udp_not_sent(cx, sending, errno);
        }
        let errno = match errno {
            // Whoever received is gone.
            Errno::EIO | Errno::ECONNREFUSED => Errno::ECONNREFUSED,
            errno => errno,
        };
        if errno == Errno::ECONNREFUSED
            && sending.connected
            && let Some(socket) = self.sockets.get_mut(&sending.file)
        {
            socket.state = State::Idle;
        }
        cx.complete::<()>(sending.ticket, Err(errno));
    }

    /// Performs [`Deliver`].
    pub(crate) fn deliver(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Deliver,
        bytes: Vec<u8>,
    ) -> Result<Answer, Errno> {
        let Deliver { to, from: sender, text, owner, waits, rights } = request;
        let node = node_of(cx, from);
        if cx.view().home(sender.slot()) != node || text.len() > ipc_api::socket::NAME_BYTES {
            return Err(Errno::EPERM);
        }
        let socket = self.sockets.get_mut(&to).ok_or(Errno::ECONNREFUSED)?;
        if !socket.is_datagram() {
            return Err(Errno::EPROTOTYPE);
        }
        if socket.is_udp() {
            return self.deliver_udp(cx, (sender, to), text, bytes);
        }
        // One that is connected receives from its peer only.
        if socket.peer().is_some_and(|peer| peer != sender) {
            return Err(Errno::EPERM);
        }
        if socket.no_receive {
            return Err(Errno::EPIPE);
        }
        let queued = !socket.writers.is_empty();
        let len = bytes.len();
        let source = From::Message(bytes);
        let message = Message { bytes: Vec::new(), text: text.clone(), owner, rights };
        let part = Part { sender, source: &source, done: 0, len };
        if !queued && self.put_into(cx, to, &part, message)?.is_some() {
            self.pump(cx, to);
            return Ok(Answer::reply(&Moved { bytes: len as u64 }));
        }
        if !waits {
            return Err(Errno::EAGAIN);
        }
        self.check_kept_writes(&source)?;
        let ticket = cx.open_ticket(from)?;
        let writer =
            Writer { ticket, from: node, sender, source, len, done: 0, text, owner, rights };
        self.socket(to)?.writers.push_back(writer);
        Ok(Answer::Pending(ticket))
    }
}

impl Sending {
    /// Bytes that are kept here.
    pub(crate) fn kept(&self) -> usize {
        self.bytes.len()
    }
}
