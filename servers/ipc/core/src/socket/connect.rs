// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names given, and connections made; [`super::accept`] has the listener's side.

use super::jobs::{Connecting, Job};
use super::names::Key;
use super::{Listener, Socket, State, ports};
use crate::files::{Kind, OpenFile};
use crate::limits::{BACKLOG_MAX, SOCKETS_MAX};
use crate::{Ipc, home_of};
use abi::linux::general::{O_NONBLOCK, O_RDWR};
use abi::{Errno, FileId, Ticket};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::mem::take;
use ipc_api::between::{Enqueue, Found, Joined, LISTENS, Lookup, Register};
use ipc_api::internet::Address;
use ipc_api::socket::{Bind, Connect, Listen, NAME_BYTES, Name, SocketType};
use runtime::{Answer, Client, Cx};

/// Abstract names that are tried for a socket whose program chose none.
const TRIES: u32 = 64;

impl Ipc {
    pub(crate) fn bind(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Bind,
    ) -> Result<Answer, Errno> {
        let Bind { file, name } = request;
        let socket = self.socket(file)?;
        Key::of(&name, socket.kind)?;
        if !socket.name.text.is_empty() || socket.binding {
            return Err(Errno::EINVAL);
        }
        if socket.version().is_some() {
            let address = Address::of(&name.text)?;
            if address.as_v4().is_some() && socket.internet.only_v6 {
                return Err(Errno::EINVAL);
            }
            if address.port == 0 {
                let marks = socket.marks();
                return Ok(Answer::from_result(self.choose_port(cx, file, address, marks)));
            }
        }
        let ticket = cx.open_ticket(from)?;
        self.socket(file)?.binding = true;
        let tries = if name.text.is_empty() { TRIES } else { 0 };
        self.register_at(cx, ticket, file, name, tries);
        Ok(Answer::Pending(ticket))
    }

    fn register_at(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        file: FileId,
        mut name: Name,
        tries: u32,
    ) {
        if tries > 0 {
            self.names_chosen = self.names_chosen.wrapping_add(1);
            let number =
                (u64::from(self.names_chosen) << 4 ^ file.raw() ^ file.raw() >> 40) & 0xf_ffff;
            name.text = format!("\0{number:05x}").into_bytes();
        }
        let about = |socket: &Socket| (socket.kind, socket.marks());
        let Some((kind, marks)) = self.sockets.get(&file).map(about) else {
            return cx.complete::<()>(ticket, Err(Errno::EBADF));
        };
        let key = match Key::of(&name, kind) {
            Ok(key) => key,
            Err(errno) => return cx.complete::<()>(ticket, Err(errno)),
        };
        let home = cx.view().home(key.slot());
        // It has the name again: nobody must hear any more that it is free.
        self.untold.retain(|fact| !fact.frees(file, &name));
        let request = Register { name: name.clone(), file, kind, marks };
        self.begin(cx, home, &request, Vec::new(), Job::Bind { ticket, file, kind, name, tries });
    }

    /// The home of a name has answered.
    pub(super) fn named(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        (file, kind, name, tries): (FileId, SocketType, Name, u32),
        result: Result<(), Errno>,
    ) {
        if result == Err(Errno::EADDRINUSE) && tries > 1 {
            return self.register_at(cx, ticket, file, name, tries - 1);
        }
        match (self.sockets.get_mut(&file), result) {
            (Some(socket), Ok(())) => {
                socket.binding = false;
                socket.registered = true;
                socket.name = name;
            }
            // It was closed meanwhile.
            (None, Ok(())) => self.unregister(cx, (&name, kind), file),
            (socket, Err(errno)) => {
                if let Some(socket) = socket {
                    socket.binding = false;
                }
                // Only these say for sure that the name's home did not register it.
                if errno != Errno::EADDRINUSE && errno != Errno::ENOSPC {
                    self.unregister(cx, (&name, kind), file);
                }
            }
        }
        cx.complete(ticket, result);
    }

    pub(crate) fn listen(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Listen,
    ) -> Result<Answer, Errno> {
        let socket = self.socket(request.file)?;
        if socket.is_datagram() {
            return Err(Errno::EOPNOTSUPP);
        }
        match (socket.version(), socket.name.text.is_empty(), &socket.state) {
            (None, true, _) => return Err(Errno::EINVAL),
            (Some(version), true, State::Idle) => {
                let marks = socket.marks() | LISTENS;
                self.choose_port(cx, request.file, ports::any(version), marks)?;
            }
            (Some(_), false, State::Idle) => return self.register_listener(cx, from, request),
            (_, _, _) => {}
        }
        Ok(Answer::from_result(self.begin_listening(cx, request)))
    }

    /// The home of its port must know that a socket listens.
    fn register_listener(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Listen,
    ) -> Result<Answer, Errno> {
        let file = request.file;
        let ticket = cx.open_ticket(from)?;
        let socket = self.socket(file)?;
        let (name, kind) = (socket.name.clone(), socket.kind);
        let marks = socket.marks() | LISTENS;
        let home = cx.view().home(Key::of(&name, kind)?.slot());
        let op = Register { name, file, kind, marks };
        self.begin(cx, home, &op, Vec::new(), Job::Listen { ticket, request });
        Ok(Answer::Pending(ticket))
    }

    pub(super) fn begin_listening(
        &mut self,
        cx: &mut Cx<'_>,
        request: Listen,
    ) -> Result<(), Errno> {
        let Listen { file, backlog, owner } = request;
        let backlog = (backlog as usize).min(BACKLOG_MAX);
        let socket = self.socket(file)?;
        match &mut socket.state {
            State::Idle => {
                socket.state = State::Listening(Listener { backlog, ..Listener::default() });
            }
            State::Listening(listener) => listener.backlog = backlog,
            State::Connecting(_) | State::Connected(_) | State::Gone => return Err(Errno::EINVAL),
        }
        socket.owner = owner;
        self.admit_connectors(cx, file);
        self.wake(cx, file);
        Ok(())
    }

    /// connect(2) of a stream or packets.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        waits: bool,
        request: Connect,
    ) -> Result<Answer, Errno> {
        let Connect { file, name, owner } = request;
        let socket = self.socket(file)?;
        let kind = socket.kind;
        Key::of(&name, kind)?;
        let is_tcp = socket.is_tcp();
        match socket.state {
            State::Idle => {}
            State::Listening(_) if is_tcp => return Err(Errno::EISCONN),
            State::Listening(_) => return Err(Errno::EINVAL),
            State::Connecting(_) if is_tcp && waits => {
                return self.await_connection(cx, from, file);
            }
            State::Connected(_) | State::Gone if take(&mut socket.internet.untold) => {
                return Ok(Answer::reply(&()));
            }
            State::Connecting(_) => return Err(Errno::EALREADY),
            State::Connected(_) | State::Gone => return Err(Errno::EISCONN),
        }
        if name.text.is_empty() {
            return Err(Errno::EINVAL);
        }
        if is_tcp && let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        self.check_sockets(1)?;
        if is_tcp {
            let own = self.source_for(cx, file, &name, false)?;
            self.socket(file)?.name = own;
        }
        let ticket = if is_tcp && !waits { None } else { Some(cx.open_ticket(from)?) };
        self.socket(file)?.owner = owner;
        let (waits, tries, given_up) = (waits || is_tcp, TRIES, false);
        let connecting = Connecting { ticket, file, name, kind, waits, tries, given_up };
        self.find_listener(cx, connecting);
        ticket.map(Answer::Pending).ok_or(Errno::EINPROGRESS)
    }

    /// Asks the home of the name whom to connect to.
    pub(super) fn find_listener(&mut self, cx: &mut Cx<'_>, connecting: Connecting) {
        let Connecting { file, ref name, kind, .. } = connecting;
        let found = Key::of(name, kind).and_then(|key| {
            let end = self.files.new_id_in(cx, file.slot())?;
            self.socket(file)?.state = State::Connecting(end);
            Ok((cx.view().home(key.slot()), Lookup { name: name.clone(), kind }))
        });
        match found {
            Ok((home, op)) => self.begin(cx, home, &op, Vec::new(), Job::Find(connecting)),
            Err(errno) => self.not_connected(cx, connecting, errno),
        }
    }

    /// Whom to connect to is known: makes the other end, and queues it there.
    pub(super) fn found(
        &mut self,
        cx: &mut Cx<'_>,
        connecting: Connecting,
        found: Result<Found, Errno>,
    ) {
        let file = connecting.file;
        let found = if connecting.given_up { Err(Errno::ECANCELED) } else { found };
        let fits = |it: Found| {
            let same_protocol = it.kind.internet().is_some() && it.kind.is_stream();
            let fits =
                it.kind == connecting.kind || same_protocol && connecting.kind.internet().is_some();
            if fits { Ok((it, home_of(cx, it.file)?)) } else { Err(Errno::EPROTO) }
        };
        let (Found { file: listener, kind }, home) = match found.and_then(fits) {
            Ok(it) => it,
            Err(errno) => return self.not_connected(cx, connecting, errno),
        };
        let Some(socket) = self.sockets.get_mut(&file) else {
            return connecting.end(cx, Err(Errno::EBADF));
        };
        let State::Connecting(end) = socket.state else {
            return connecting.end(cx, Err(Errno::EINVAL));
        };
        let text = socket.name.text.clone();
        let mut other = Socket::new(kind, socket.owner);
        other.state = State::Connected(file);
        other.peer_text = Some(text.clone());
        if kind.internet().is_some() {
            other.name = connecting.name.clone();
        } else {
            other.peer_owner = Some(socket.owner);
        }
        self.sockets.insert(end, other);
        let waiting = OpenFile {
            kind: Kind::Socket,
            flags: O_RDWR,
            holders: BTreeMap::new(),
            listener: Some(listener),
        };
        self.files.insert(end, waiting);
        let request = Enqueue { listener, end, kind, text, waits: connecting.waits };
        self.begin(cx, home, &request, Vec::new(), Job::Join { connecting, end });
    }

    /// The listener's home has answered.
    pub(super) fn joined(
        &mut self,
        cx: &mut Cx<'_>,
        connecting: Connecting,
        end: FileId,
        joined: Result<Joined, Errno>,
    ) {
        let file = connecting.file;
        let is_tcp = connecting.kind.internet().is_some();
        let sound = |it: &Joined| it.name.text.len() <= NAME_BYTES;
        match joined.and_then(|it| if sound(&it) { Ok(it) } else { Err(Errno::EPROTO) }) {
            Ok(Joined { name, owner }) => {
                // Of the Internet it is whom the program named, not all that the listener hears of.
                let text = if is_tcp { connecting.name.text.clone() } else { name.text };
                if let Some(it) = self.sockets.get_mut(&end) {
                    it.name = Name { inode: None, text: text.clone() };
                    it.owner = owner;
                }
                let there = self.sockets.contains_key(&end);
                let Some(socket) = self.sockets.get_mut(&file) else {
                    return connecting.end(cx, Err(Errno::EBADF));
                };
                socket.internet.untold = is_tcp && connecting.ticket.is_none();
                socket.peer_text = Some(text);
                socket.peer_owner = Some(owner).filter(|_| !is_tcp);
                if there {
                    socket.state = State::Connected(end);
                } else {
                    // It was closed at once.
                    socket.state = State::Gone;
                    (socket.no_receive, socket.no_send) = (true, true);
                }
                socket.came();
                socket.roomy();
                connecting.end(cx, Ok(()));
                self.pump(cx, file);
                self.pump(cx, end);
            }
            Err(errno) => {
                self.remove_end(cx, end);
                self.end_gone(cx, file, end, false);
                self.not_connected(cx, connecting, errno);
            }
        }
    }

    fn not_connected(&mut self, cx: &mut Cx<'_>, connecting: Connecting, errno: Errno) {
        if let Some(socket) = self.sockets.get_mut(&connecting.file) {
            socket.state = State::Idle;
        }
        let errno = match errno {
            // Whoever had the name is gone.
            Errno::EIO | Errno::EBADF => Errno::ECONNREFUSED,
            errno => errno,
        };
        if connecting.kind.internet().is_some() {
            self.tcp_not_connected(cx, connecting, errno);
        } else {
            connecting.end(cx, Err(errno));
        }
    }

    /// An end that nobody has accepted is gone.
    pub(super) fn remove_end(&mut self, cx: &mut Cx<'_>, end: FileId) {
        if self.files.remove_unclaimed(end) {
            self.socket_closed(cx, end);
        }
    }

    /// Makes room sure for `count` more sockets.
    pub(crate) fn check_sockets(&self, count: usize) -> Result<(), Errno> {
        let unborn = self.sockets.values().filter(|it| matches!(it.state, State::Connecting(_)));
        if self.sockets.len() + unborn.count() + count > SOCKETS_MAX {
            return Err(Errno::ENFILE);
        }
        self.files.check_room(count)
    }

    /// Makes a socket that the calling node holds.
    pub(crate) fn add_socket(
        &mut self,
        cx: &mut Cx<'_>,
        flags: u32,
        socket: Socket,
    ) -> Result<FileId, Errno> {
        let file = self.files.new_id(cx)?;
        self.files.open(file, cx.node(), Kind::Socket, O_RDWR | flags & O_NONBLOCK);
        self.sockets.insert(file, socket);
        Ok(file)
    }
}
