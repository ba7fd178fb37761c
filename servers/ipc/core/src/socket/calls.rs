// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations on sockets, one by one.

use super::flow::Part;
use super::memory::{From, Ranges, To};
use super::{Message, Reader, Socket, State, Writer};
use crate::files::Kind;
use crate::forward::Forward;
use crate::limits::KEPT_BYTES_MAX;
use crate::{Ipc, home_of, local_only, node_of};
use abi::linux::general::O_NONBLOCK;
use abi::linux::net::MSG_DONTWAIT;
use abi::{Errno, FileId};
use alloc::vec::Vec;
use ipc_api::between::{
    Claim, Deliver, Enqueue, Lookup, ReceiveFor, Refuse, Register, Return, SendFrom, Unregister,
};
use ipc_api::file::Moved;
use ipc_api::socket::{
    Accept, Bind, Connect, GetName, GetOption, Listen, NAME_BYTES, PACKET_BYTES, Receive, Received,
    Rights, Send, SendHead, SetOption, Shutdown, SocketCreate, SocketEnds, SocketMade, SocketPair,
    SocketType,
};
use ipc_api::{EVENT_RIGHTS_DROPPED, RightsDropped};
use runtime::{Answer, Bulk, Client, Cx, Msg, Operation, Wire};

impl Ipc {
    /// Operations of programs.
    pub(crate) fn call_on_socket(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        if let Some(answer) = self.pass_on(cx, from, op, msg)? {
            return Ok(answer);
        }
        match op {
            SocketCreate::NUMBER => self.socket_create(cx, from, SocketCreate::get(msg)?),
            SocketPair::NUMBER => self.socket_pair(cx, from, SocketPair::get(msg)?),
            Bind::NUMBER => {
                let request = Bind::get(msg)?;
                self.held(cx, from, request.file)?;
                self.bind(cx, from, request)
            }
            Listen::NUMBER => {
                let request = Listen::get(msg)?;
                self.held(cx, from, request.file)?;
                self.listen(cx, from, request)
            }
            Connect::NUMBER => {
                let request = Connect::get(msg)?;
                let waits = !self.held(cx, from, request.file)?;
                let socket = self.socket(request.file)?;
                if socket.is_udp() {
                    return Ok(Answer::from_result(self.choose_address(cx, request)));
                }
                if socket.is_datagram() {
                    return self.choose(cx, from, request);
                }
                self.connect(cx, from, waits, request)
            }
            Accept::NUMBER => {
                let request = Accept::get(msg)?;
                let waits = !self.held(cx, from, request.file)?;
                self.accept(cx, from, waits, request)
            }
            GetName::NUMBER => {
                let GetName { file, peer } = GetName::get(msg)?;
                self.held(cx, from, file)?;
                Ok(Answer::from_result(self.name_of(file, peer)))
            }
            Shutdown::NUMBER => {
                let request = Shutdown::get(msg)?;
                self.held(cx, from, request.file)?;
                Ok(Answer::from_result(self.shut_down(cx, request)))
            }
            GetOption::NUMBER => {
                let request = GetOption::get(msg)?;
                self.held(cx, from, request.file)?;
                Ok(Answer::from_result(self.option_of(request)))
            }
            SetOption::NUMBER => {
                let request = SetOption::get(msg)?;
                self.held(cx, from, request.file)?;
                Ok(Answer::from_result(self.set_option(request)))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Passes a call on to the socket's home, if that is another node.
    fn pass_on(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Option<Answer>, Errno> {
        macro_rules! pass {
            ($($operation:ident),*) => {
                match op {
                    $($operation::NUMBER => {
                        let request = $operation::get(msg)?;
                        let home = home_of(cx, request.file)?;
                        if home == cx.node() {
                            return Ok(None);
                        }
                        self.forward(cx, from, home, &request).map(Some)
                    })*
                    _ => Ok(None),
                }
            };
        }
        pass!(Bind, Listen, Connect, Accept, GetName, Shutdown, GetOption, SetOption)
    }

    /// Operations of homes.
    pub(crate) fn call_between(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let Client::Node { node, .. } = from else { return Err(Errno::EPERM) };
        match op {
            SendFrom::NUMBER => {
                let SendFrom { file, head } = SendFrom::get(msg)?;
                home_of(cx, file)?;
                let bytes = bulk.data().to_vec();
                let len = bytes.len();
                self.send_here(cx, from, file, From::Message(bytes), len, head)
            }
            ReceiveFor::NUMBER => {
                let ReceiveFor { file, len, flags } = ReceiveFor::get(msg)?;
                home_of(cx, file)?;
                let len = len.min(PACKET_BYTES) as usize;
                self.receive_here(cx, from, file, (To::Message, len), flags, bulk)
            }
            Return::NUMBER => self.give_back(cx, from, Return::get(msg)?, bulk.data().to_vec()),
            Register::NUMBER => {
                Ok(Answer::from_result(self.register(cx, node, &Register::get(msg)?)))
            }
            Unregister::NUMBER => {
                Ok(Answer::from_result(self.forget_name(cx, node, &Unregister::get(msg)?)))
            }
            Lookup::NUMBER => Ok(Answer::from_result(self.look_up(cx, &Lookup::get(msg)?))),
            Enqueue::NUMBER => self.enqueue(cx, from, Enqueue::get(msg)?),
            Claim::NUMBER => Ok(Answer::from_result(self.claim(cx, node, Claim::get(msg)?))),
            Refuse::NUMBER => Ok(Answer::from_result(self.refuse(cx, node, Refuse::get(msg)?))),
            Deliver::NUMBER => {
                let bytes = bulk.data().to_vec();
                self.deliver(cx, from, Deliver::get(msg)?, bytes)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Whether the description says O_NONBLOCK, if the asking node holds it.
    fn held(&mut self, cx: &Cx<'_>, from: Client, file: FileId) -> Result<bool, Errno> {
        let open = self.files.get(file, node_of(cx, from))?;
        if open.kind != Kind::Socket {
            return Err(Errno::ENOTSOCK);
        }
        Ok(open.flags & O_NONBLOCK != 0)
    }

    fn socket_create(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: SocketCreate,
    ) -> Result<Answer, Errno> {
        let SocketCreate { kind, flags, owner } = request;
        local_only(from)?;
        self.check_sockets(1)?;
        let file = self.add_socket(cx, flags, Socket::new(kind, owner))?;
        Ok(Answer::reply(&SocketMade { file }))
    }

    fn socket_pair(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: SocketPair,
    ) -> Result<Answer, Errno> {
        let SocketPair { kind, flags, owner } = request;
        local_only(from)?;
        self.check_sockets(2)?;
        let first = self.add_socket(cx, flags, Socket::new(kind, owner))?;
        let second = self.add_socket(cx, flags, Socket::new(kind, owner))?;
        for (file, peer) in [(first, second), (second, first)] {
            let socket = self.socket(file)?;
            socket.state = State::Connected(peer);
            socket.peer_owner = Some(owner);
            socket.peer_text = Some(Vec::new());
        }
        Ok(Answer::reply(&SocketEnds { ends: [first, second] }))
    }

    /// Performs [`Send`].
    pub(crate) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Send,
    ) -> Result<Answer, Errno> {
        let Send { file, space, ranges, head } = request;
        local_only(from)?;
        let ranges = Ranges::new(space, ranges)?;
        // Of a stream this is a part; proc-server does not ask for longer packets.
        let len = ranges.len().min(PACKET_BYTES) as usize;
        let home = home_of(cx, file)?;
        if home == cx.node() {
            return self.send_here(cx, from, file, From::Program(ranges), len, head);
        }
        let bytes = ranges.fetch(cx, 0, len)?;
        self.forward_with(cx, from, home, &SendFrom { file, head }, bytes)
    }

    fn send_here(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        source: From,
        len: usize,
        mut head: SendHead,
    ) -> Result<Answer, Errno> {
        let nonblocking = self.held(cx, from, file)? || head.flags & MSG_DONTWAIT != 0;
        if len as u64 > PACKET_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        if nonblocking {
            head.flags |= MSG_DONTWAIT;
        }
        let socket = self.socket(file)?;
        if socket.is_datagram() {
            return self.send_datagram(cx, from, file, (&source, len), head);
        }
        if socket.is_tcp()
            && let Some(answer) = self.tcp_sends(cx, file, len, nonblocking)?
        {
            return Ok(answer);
        }
        let socket = self.socket(file)?;
        let kind = socket.kind;
        if kind == SocketType::Stream && head.to.is_some() {
            let connected = socket.peer().is_some();
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        if socket.no_send {
            return Err(Errno::EPIPE);
        }
        let peer = socket.peer().ok_or(Errno::ENOTCONN)?;
        if kind == SocketType::Packet && len > socket.room_when_empty() {
            return Err(Errno::EMSGSIZE);
        }
        if kind.is_stream() && len == 0 {
            self.drop_rights(cx, head.rights);
            return Ok(Answer::reply(&Moved { bytes: 0 }));
        }
        // Of TCP nobody asks who sent.
        let text = if socket.is_tcp() { Vec::new() } else { socket.name.text.clone() };
        self.send_connected(cx, from, (file, peer), (source, len), text, &head)
    }

    fn send_connected(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (file, peer): (FileId, FileId),
        (source, len): (From, usize),
        text: Vec<u8>,
        head: &SendHead,
    ) -> Result<Answer, Errno> {
        let SendHead { owner, rights, flags, .. } = *head;
        let mut sent = None;
        if self.socket(peer)?.writers.is_empty() {
            let message = Message { bytes: Vec::new(), text: text.clone(), owner, rights };
            let part = Part { sender: file, source: &source, done: 0, len };
            sent = self.put_into(cx, peer, &part, message)?;
            if sent.is_some() {
                self.pump(cx, peer);
            }
        }
        let done = sent.unwrap_or(0);
        let nonblocking = flags & MSG_DONTWAIT != 0;
        if sent.is_some() && (done == len || nonblocking) {
            return Ok(Answer::reply(&Moved { bytes: done as u64 }));
        }
        if nonblocking {
            return Err(Errno::EAGAIN);
        }
        let waits = self.check_kept_writes(&source).and_then(|()| cx.open_ticket(from));
        let ticket = match waits {
            Ok(ticket) => ticket,
            // What has been sent has been sent.
            Err(_) if sent.is_some() => {
                return Ok(Answer::reply(&Moved { bytes: done as u64 }));
            }
            Err(errno) => return Err(errno),
        };
        let rights = rights.filter(|_| sent.is_none());
        let node = node_of(cx, from);
        let writer =
            Writer { ticket, from: node, sender: file, source, len, done, text, owner, rights };
        self.socket(peer)?.writers.push_back(writer);
        Ok(Answer::Pending(ticket))
    }

    /// Whether one more call may wait whose bytes have to be kept here.
    pub(crate) fn check_kept_writes(&self, source: &From) -> Result<(), Errno> {
        let writers = self.sockets.values().flat_map(|socket| &socket.writers);
        let kept: usize = writers.map(|writer| writer.source.kept()).sum();
        let full = self.files.short || kept + source.kept() > KEPT_BYTES_MAX;
        if source.kept() > 0 && full {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// Performs [`Receive`].
    pub(crate) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Receive,
    ) -> Result<Answer, Errno> {
        let Receive { file, space, ranges, flags } = request;
        local_only(from)?;
        let ranges = Ranges::new(space, ranges)?;
        let len = ranges.len().min(PACKET_BYTES) as usize;
        let home = home_of(cx, file)?;
        if home == cx.node() {
            let to = (To::Program(ranges), len);
            return self.receive_here(cx, from, file, to, flags, &mut Bulk::none());
        }
        ranges.prepare(cx, len)?;
        let ticket = Self::forward_ticket(cx, from)?;
        let cookie = self.open_forward(Forward::Receive { ticket, file, home, ranges, flags });
        cx.call_node(home, &ReceiveFor { file, len: len as u64, flags }, Vec::new(), cookie);
        Ok(Answer::Pending(ticket))
    }

    fn receive_here(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        (to, len): (To, usize),
        flags: u32,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let nonblocking = self.held(cx, from, file)? || flags & MSG_DONTWAIT != 0;
        let socket = self.socket(file)?;
        let unconnected = matches!(socket.state, State::Idle | State::Listening(_));
        match socket.kind {
            SocketType::Stream if unconnected => return Err(Errno::EINVAL),
            SocketType::Packet if unconnected => return Err(Errno::ENOTCONN),
            SocketType::Tcp(_) if unconnected && socket.error.is_none() => {
                return Err(Errno::ENOTCONN);
            }
            SocketType::Stream | SocketType::Tcp(_) if len == 0 => {
                return Ok(Answer::reply(&Received::default()));
            }
            SocketType::Stream
            | SocketType::Packet
            | SocketType::Datagram
            | SocketType::Tcp(_)
            | SocketType::Udp(_) => {}
        }
        if socket.readers.is_empty()
            && let Some(got) = socket.receive(cx, &to, len, flags)?
        {
            self.pump(cx, file);
            return got.answer(bulk);
        }
        if nonblocking {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        let node = node_of(cx, from);
        let reader = Reader { ticket, from: node, to, len, flags };
        self.socket(file)?.readers.push_back(reader);
        Ok(Answer::Pending(ticket))
    }

    /// Performs [`Return`].
    fn give_back(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Return,
        bytes: Vec<u8>,
    ) -> Result<Answer, Errno> {
        let Return { file, received } = request;
        self.held(cx, from, file)?;
        let socket = self.socket(file)?;
        let total = socket.queued + bytes.len();
        if bytes.len() as u64 > PACKET_BYTES
            || received.text.len() > NAME_BYTES
            || total > crate::limits::SOCKET_BYTES + crate::limits::RETURNED_BYTES_MAX
        {
            return Err(Errno::ENOSPC);
        }
        let Received { text, owner, rights, .. } = received;
        let message = Message { bytes, text, owner, rights };
        socket.queued += message.weight();
        socket.queue.push_front(message);
        socket.came();
        self.pump(cx, file);
        Ok(Answer::reply(&()))
    }

    /// Descriptors in flight that nobody will get: proc-server lets go of them.
    pub(crate) fn drop_rights(&mut self, cx: &mut Cx<'_>, rights: Option<Rights>) {
        if let Some(Rights { node, token, .. }) = rights {
            let event = RightsDropped { node, token };
            cx.raise(abi::ServerId::Proc, EVENT_RIGHTS_DROPPED, &event);
        }
    }
}
