// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names given, and connections made; [`super::accept`] has the listener's side.

use super::jobs::{Connecting, Job};
use super::names::Key;
use super::{Listener, Socket, State};
use crate::files::{Kind, OpenFile};
use crate::limits::{BACKLOG_MAX, SOCKETS_MAX};
use crate::{Ipc, home_of};
use abi::linux::general::{O_NONBLOCK, O_RDWR};
use abi::{Errno, FileId, Ticket};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use ipc_api::between::{Enqueue, Joined, Lookup, Register};
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
        let Some(kind) = self.sockets.get(&file).map(|socket| socket.kind) else {
            return cx.complete::<()>(ticket, Err(Errno::EBADF));
        };
        let key = match Key::of(&name, kind) {
            Ok(key) => key,
            Err(errno) => return cx.complete::<()>(ticket, Err(errno)),
        };
        let home = cx.view().home(key.slot());
        let request = Register { name: name.clone(), file, kind };
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
            (Some(socket), Err(_)) => socket.binding = false,
            // It was closed meanwhile.
            (None, Ok(())) => self.unregister(cx, (&name, kind), file),
            (None, Err(_)) => {}
        }
        cx.complete(ticket, result);
    }

    pub(crate) fn listen(&mut self, cx: &mut Cx<'_>, request: Listen) -> Result<(), Errno> {
        let Listen { file, backlog, owner } = request;
        let backlog = (backlog as usize).min(BACKLOG_MAX);
        let socket = self.socket(file)?;
        if socket.is_datagram() {
            return Err(Errno::EOPNOTSUPP);
        }
        if socket.name.text.is_empty() {
            return Err(Errno::EINVAL);
        }
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
        let key = Key::of(&name, kind)?;
        match socket.state {
            State::Idle => {}
            State::Listening(_) => return Err(Errno::EINVAL),
            State::Connecting(_) => return Err(Errno::EALREADY),
            State::Connected(_) | State::Gone => return Err(Errno::EISCONN),
        }
        if name.text.is_empty() {
            return Err(Errno::EINVAL);
        }
        self.check_sockets(1)?;
        let end = self.files.new_id_in(cx, file.slot())?;
        let ticket = cx.open_ticket(from)?;
        let socket = self.socket(file)?;
        socket.owner = owner;
        socket.state = State::Connecting(end);
        let home = cx.view().home(key.slot());
        let job = Job::Find(Connecting { ticket, file, waits, given_up: false });
        self.begin(cx, home, &Lookup { name, kind }, Vec::new(), job);
        Ok(Answer::Pending(ticket))
    }

    /// Whom to connect to is known: makes the other end, and queues it there.
    pub(super) fn found(
        &mut self,
        cx: &mut Cx<'_>,
        connecting: Connecting,
        found: Result<FileId, Errno>,
    ) {
        let Connecting { ticket, file, waits, given_up } = connecting;
        let found = if given_up { Err(Errno::ECANCELED) } else { found };
        let listener = match found.and_then(|listener| Ok((listener, home_of(cx, listener)?))) {
            Ok(it) => it,
            Err(errno) => return self.not_connected(cx, ticket, file, errno),
        };
        let (listener, home) = listener;
        let Some(socket) = self.sockets.get_mut(&file) else {
            return cx.complete::<()>(ticket, Err(Errno::EBADF));
        };
        let State::Connecting(end) = socket.state else {
            return cx.complete::<()>(ticket, Err(Errno::EINVAL));
        };
        let (kind, text) = (socket.kind, socket.name.text.clone());
        let mut other = Socket::new(kind, socket.owner);
        other.state = State::Connected(file);
        other.peer_owner = Some(socket.owner);
        other.peer_text = Some(text.clone());
        self.sockets.insert(end, other);
        let waiting = OpenFile {
            kind: Kind::Socket,
            flags: O_RDWR,
            holders: BTreeMap::new(),
            listener: Some(listener),
        };
        self.files.insert(end, waiting);
        let request = Enqueue { listener, end, kind, text, waits };
        let job = Job::Join { connecting: Connecting { ticket, file, waits, given_up }, end };
        self.begin(cx, home, &request, Vec::new(), job);
    }

    /// The listener's home has answered.
    pub(super) fn joined(
        &mut self,
        cx: &mut Cx<'_>,
        connecting: &Connecting,
        end: FileId,
        joined: Result<Joined, Errno>,
    ) {
        let Connecting { ticket, file, .. } = *connecting;
        let sound = |it: &Joined| it.name.text.len() <= NAME_BYTES;
        match joined.and_then(|it| if sound(&it) { Ok(it) } else { Err(Errno::EPROTO) }) {
            Ok(Joined { name, owner }) => {
                if let Some(it) = self.sockets.get_mut(&end) {
                    it.name = Name { inode: None, text: name.text.clone() };
                    it.owner = owner;
                }
                let there = self.sockets.contains_key(&end);
                let Some(socket) = self.sockets.get_mut(&file) else {
                    return cx.complete::<()>(ticket, Err(Errno::EBADF));
                };
                socket.peer_text = Some(name.text);
                socket.peer_owner = Some(owner);
                if there {
                    socket.state = State::Connected(end);
                } else {
                    // It was closed at once.
                    socket.state = State::Gone;
                    (socket.no_receive, socket.no_send) = (true, true);
                }
                socket.came();
                socket.roomy();
                cx.complete(ticket, Ok(()));
                self.pump(cx, file);
                self.pump(cx, end);
            }
            Err(errno) => {
                self.remove_end(cx, end);
                self.end_gone(cx, file, end, false);
                self.not_connected(cx, ticket, file, errno);
            }
        }
    }

    fn not_connected(&mut self, cx: &mut Cx<'_>, ticket: Ticket, file: FileId, errno: Errno) {
        if let Some(socket) = self.sockets.get_mut(&file) {
            socket.state = State::Idle;
        }
        let errno = match errno {
            // Whoever had the name is gone.
            Errno::EIO | Errno::EBADF => Errno::ECONNREFUSED,
            errno => errno,
        };
        cx.complete::<()>(ticket, Err(errno));
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
