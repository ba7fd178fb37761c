// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes and messages into queues, and out of them.

use super::memory::{From, To};
use super::{Message, Reader, Socket, State, Writer};
use crate::Ipc;
use crate::limits::{DATAGRAMS_MAX, MESSAGE_OVERHEAD_BYTES, SOCKET_BYTES, SOCKETS_BYTES_MAX};
use abi::linux::net::{MSG_PEEK, MSG_TRUNC};
use abi::{Errno, FileId, Ticket};
use alloc::vec::Vec;
use ipc_api::file::Moved;
use ipc_api::socket::{Received, SocketType};
use runtime::{Answer, Bulk, Cx};

impl Writer {
    /// Ends the call: what has been moved counts more than why it ended.
    pub(crate) fn end(self, cx: &mut Cx<'_>, result: Result<(), Errno>) {
        let moved = Moved { bytes: self.done as u64 };
        let result = if self.done > 0 { Ok(moved) } else { result.map(|()| moved) };
        cx.complete(self.ticket, result);
    }
}

/// What a receiving call got.
pub(crate) struct Got {
    received: Received,
    /// The bytes, if they go into a message.
    bytes: Vec<u8>,
}

impl Got {
    pub(crate) fn answer(self, bulk: &mut Bulk<'_>) -> Result<Answer, Errno> {
        if !self.bytes.is_empty() {
            bulk.set(&self.bytes)?;
        }
        Ok(Answer::reply(&self.received))
    }

    fn complete(self, cx: &mut Cx<'_>, ticket: Ticket) {
        cx.complete_bulk(ticket, Ok(self.received), self.bytes);
    }
}

impl Socket {
    /// Receives now; `None` if the call has to wait. On an error nothing was taken.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        to: &To,
        len: usize,
        flags: u32,
    ) -> Result<Option<Got>, Errno> {
        // As on Linux an error of UDP comes before what has arrived.
        if self.is_udp()
            && let Some(errno) = self.error.take()
        {
            return Err(errno);
        }
        if self.queue.is_empty() {
            // Behind the end there is no error.
            let ended = self.is_tcp() && self.error == Some(Errno::EPIPE);
            if !ended && let Some(errno) = self.error.take() {
                return Err(errno);
            }
            // Who waited for a connection would wait for ever.
            if self.is_tcp() && matches!(self.state, State::Idle) {
                return Err(Errno::ENOTCONN);
            }
            let nothing = Got { received: Received::default(), bytes: Vec::new() };
            return Ok(self.no_receive.then_some(nothing));
        }
        let (messages, mut bytes) = self.front(len);
        let first = &self.queue[0];
        let received = Received {
            bytes: bytes.len() as u64,
            full: if self.kind.is_stream() { bytes.len() } else { first.bytes.len() } as u64,
            text: first.text.clone(),
            owner: first.owner,
            passes: self.passes,
            rights: first.rights,
        };
        if let To::Program(ranges) = to {
            ranges.put(cx, &mut bytes)?;
        }
        if flags & MSG_PEEK == 0 {
            self.consume(messages, received.bytes as usize);
        }
        if let To::Program(_) = to {
            bytes.clear();
        }
        Ok(Some(Got { received, bytes }))
    }

    /// What one call takes: whole messages and bytes. One message; of a stream as many as may be read
    /// together.
    fn front(&self, len: usize) -> (usize, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut messages = 0;
        for message in &self.queue {
            let first = &self.queue[0];
            let joins = message.rights.is_none()
                && first.rights.is_none()
                && (!self.passes || message.owner == first.owner);
            if messages > 0 && !joins {
                break;
            }
            let part = message.bytes.len().min(len - bytes.len());
            bytes.extend_from_slice(&message.bytes[..part]);
            if !self.kind.is_stream() {
                return (1, bytes);
            }
            if part < message.bytes.len() {
                break;
            }
            messages += 1;
            if bytes.len() == len {
                break;
            }
        }
        (messages, bytes)
    }

    fn consume(&mut self, messages: usize, bytes: usize) {
        let mut left = bytes;
        self.drained |= messages > 0;
        for _ in 0..messages {
            left -= self.pop().map_or(0, |message| message.bytes.len().min(left));
        }
        if self.kind.is_stream()
            && left > 0
            && let Some(front) = self.queue.front_mut()
        {
            // What is left gets memory of its size.
            front.bytes = front.bytes.split_off(left);
            front.rights = None;
            self.queued -= left;
        }
    }

    /// Room for what a sender with this limit sends.
    pub(crate) fn room(&self, send_limit: usize) -> usize {
        send_limit.saturating_sub(self.queued + MESSAGE_OVERHEAD_BYTES)
    }

    /// Room for what it sends when nothing stands before it.
    pub(crate) fn room_when_empty(&self) -> usize {
        self.send_limit - MESSAGE_OVERHEAD_BYTES
    }

    /// Whether a queue of datagrams takes no more from `sender`.
    pub(crate) fn is_full_for(&self, sender: FileId) -> bool {
        self.peer() != Some(sender) && self.queue.len() >= DATAGRAMS_MAX
    }
}

/// Part of what a call sends, put into a queue.
pub(crate) struct Part<'a> {
    pub(crate) sender: FileId,
    pub(crate) source: &'a From,
    pub(crate) done: usize,
    pub(crate) len: usize,
}

impl Ipc {
    /// Puts what there is room for into the queue of `to`; the bytes, or `None` if nothing goes in now.
    pub(crate) fn put_into(
        &mut self,
        cx: &mut Cx<'_>,
        to: FileId,
        part: &Part<'_>,
        mut message: Message,
    ) -> Result<Option<usize>, Errno> {
        let limit = self.sockets.get(&part.sender).map_or(SOCKET_BYTES, |it| it.send_limit);
        let total: usize = self.sockets.values().map(|socket| socket.queued).sum();
        let socket = self.sockets.get_mut(&to).ok_or(Errno::ECONNREFUSED)?;
        let left = part.len - part.done;
        let room = socket.room(limit);
        let take = match socket.kind {
            SocketType::Stream | SocketType::Tcp(_) => left.min(room),
            SocketType::Datagram if socket.is_full_for(part.sender) => return Ok(None),
            // An empty queue takes any message that could be sent: its sender may have lowered its limit.
            SocketType::Datagram | SocketType::Packet | SocketType::Udp(_)
                if socket.queued > 0 && (room == 0 || left > room) =>
            {
                return Ok(None);
            }
            SocketType::Datagram | SocketType::Packet | SocketType::Udp(_) => left,
        };
        if take == 0 && left > 0 {
            return Ok(None);
        }
        if self.files.short || total + take > SOCKETS_BYTES_MAX {
            return Err(Errno::ENOBUFS);
        }
        message.bytes = part.source.fetch(cx, part.done, take)?;
        socket.push(message);
        Ok(Some(take))
    }

    /// Serves whoever waits at a socket, and wakes who looks at it or at its peer.
    pub(crate) fn pump(&mut self, cx: &mut Cx<'_>, file: FileId) {
        while self.serve_reader(cx, file) || self.serve_writer(cx, file) {}
        self.wake(cx, file);
        let Some(socket) = self.sockets.get_mut(&file) else { return };
        let drained = core::mem::take(&mut socket.drained);
        if let Some(peer) = socket.peer() {
            if let Some(peer) = self.sockets.get_mut(&peer).filter(|_| drained) {
                peer.roomy();
            }
            self.wake(cx, peer);
        }
    }

    fn serve_reader(&mut self, cx: &mut Cx<'_>, file: FileId) -> bool {
        let Some(socket) = self.sockets.get_mut(&file) else { return false };
        let Some(Reader { ticket, to, len, flags, .. }) = socket.readers.front() else {
            return false;
        };
        let (ticket, to, len, flags) = (*ticket, to.clone(), *len, *flags);
        match socket.receive(cx, &to, len, flags & !MSG_TRUNC) {
            Ok(None) => return false,
            Ok(Some(got)) => got.complete(cx, ticket),
            Err(errno) => cx.complete::<()>(ticket, Err(errno)),
        }
        if let Some(socket) = self.sockets.get_mut(&file) {
            socket.readers.pop_front();
        }
        true
    }

    fn serve_writer(&mut self, cx: &mut Cx<'_>, file: FileId) -> bool {
        let Some(socket) = self.sockets.get_mut(&file) else { return false };
        // Who calls shutdown(2) of TCP still takes what comes.
        let refuses = socket.no_receive && !socket.is_tcp();
        let Some(mut writer) = socket.writers.pop_front() else { return false };
        if refuses {
            self.drop_rights(cx, writer.rights);
            writer.end(cx, Err(Errno::EPIPE));
            return true;
        }
        let message = Message {
            bytes: Vec::new(),
            text: writer.text.clone(),
            owner: writer.owner,
            rights: writer.rights,
        };
        let Writer { sender, ref source, done, len, .. } = writer;
        let part = Part { sender, source, done, len };
        match self.put_into(cx, file, &part, message) {
            Ok(Some(moved)) => {
                writer.done += moved;
                writer.rights = None;
                if writer.done == writer.len {
                    writer.end(cx, Ok(()));
                } else {
                    self.requeue(file, writer);
                }
                true
            }
            Ok(None) => {
                self.requeue(file, writer);
                false
            }
            Err(errno) => {
                self.drop_rights(cx, writer.rights);
                writer.end(cx, Err(errno));
                true
            }
        }
    }

    fn requeue(&mut self, file: FileId, writer: Writer) {
        if let Some(socket) = self.sockets.get_mut(&file) {
            socket.writers.push_front(writer);
        }
    }

    /// Nobody holds a socket any more.
    pub(crate) fn socket_closed(&mut self, cx: &mut Cx<'_>, file: FileId) {
        let Some(mut socket) = self.sockets.remove(&file) else { return };
        if socket.registered {
            self.unregister(cx, (&socket.name, socket.kind), file);
        }
        let unread = !socket.queue.is_empty() || socket.closes_hard();
        for message in socket.queue.drain(..) {
            self.drop_rights(cx, message.rights);
        }
        let gone = match socket.kind {
            SocketType::Datagram | SocketType::Udp(_) => Errno::ECONNREFUSED,
            SocketType::Stream | SocketType::Packet => Errno::EPIPE,
            SocketType::Tcp(_) => Errno::ECONNRESET,
        };
        for writer in socket.writers.drain(..) {
            self.drop_rights(cx, writer.rights);
            writer.end(cx, Err(gone));
        }
        for reader in socket.readers.drain(..) {
            cx.complete::<()>(reader.ticket, Err(Errno::EBADF));
        }
        for poller in socket.pollers.drain(..) {
            cx.complete::<()>(poller.ticket, Err(Errno::EBADF));
        }
        match socket.state {
            State::Listening(listener) => self.listener_closed(cx, file, listener),
            State::Connected(peer) if !socket.kind.is_datagram() => {
                self.end_gone(cx, file, peer, unread);
            }
            State::Connecting(end) => {
                self.cancel_connection(cx, file);
                self.remove_end(cx, end);
                self.end_gone(cx, file, end, unread);
            }
            State::Idle | State::Connected(_) | State::Gone => {}
        }
    }

    /// The other end of a connection is closed.
    pub(super) fn end_gone(&mut self, cx: &mut Cx<'_>, file: FileId, peer: FileId, unread: bool) {
        let Some(it) = self.sockets.get_mut(&peer) else { return };
        // What it was going to send is for nobody.
        if it.peer() != Some(file) {
            return;
        }
        it.state = State::Gone;
        it.no_receive = true;
        // TCP learns of the end only when it sends.
        it.no_send |= unread || !it.is_tcp();
        if unread {
            it.error = Some(Errno::ECONNRESET);
        }
        it.came();
        it.roomy();
        self.pump(cx, peer);
    }
}
