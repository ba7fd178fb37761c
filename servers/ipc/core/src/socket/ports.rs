// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of the Internet: addresses and ports of the whole cluster's loopback.
//!
//! # Model
//! All bindings of a protocol's port have one home, in a slot that is derived from protocol and port: addresses
//! overlap, so who is asked must know them all. Each is an entry of the table of names, whose key is the binding:
//!
//! ```text
//! protocol | port | socket's id | address | marks
//!  ------ slot ------
//! ```
//!
//! # Limits
//! A port that nobody asked for is chosen among those whose home is this node, so that it costs no message: each
//! slot has some 27 of the [`CHOSEN_PORTS`] for each protocol. EADDRNOTAVAIL when all are taken.

use super::names::{Key, Named, is_there};
use super::{Socket, State};
use crate::Ipc;
use crate::limits::NAMES_MAX;
use abi::{Errno, FileId, NodeId};
use alloc::vec::Vec;
use ipc_api::between::{Found, LISTENS, ONLY_V6, Register, SHARES};
use ipc_api::internet::{Address, CHOSEN_PORTS};
use ipc_api::socket::{Name, SocketType};
use runtime::Cx;

/// What a port's bindings begin with.
const PORT_BYTES: usize = 3;
/// The same, with the socket.
const SOCKET_BYTES: usize = PORT_BYTES + 8;
/// With address and marks.
const BINDING_BYTES: usize = SOCKET_BYTES + 17;
/// Ports that are passed over between two that are chosen, so that a port is not chosen again soon.
const STRIDE: u32 = 7919;

/// The number of a protocol in keys; those below are of [`Key::of`].
const fn protocol(kind: SocketType) -> u8 {
    if kind.is_stream() { 4 } else { 5 }
}

/// What all bindings of a port begin with.
pub(super) fn port_key(kind: SocketType, port: u16) -> Vec<u8> {
    [&[protocol(kind)][..], &port.to_be_bytes()].concat()
}

/// The part of a key that its slot is derived from.
pub(super) fn slot_part(key: &[u8]) -> &[u8] {
    let is_port = matches!(key.first(), Some(4 | 5)) && key.len() >= PORT_BYTES;
    if is_port { &key[..PORT_BYTES] } else { key }
}

/// A socket's key, without address and marks.
fn socket_key(kind: SocketType, port: u16, file: FileId) -> Vec<u8> {
    [&port_key(kind, port)[..], &file.raw().to_be_bytes()].concat()
}

/// Address and marks of a binding.
fn binding(key: &Key) -> Option<(Address, u8)> {
    let all: &[u8; BINDING_BYTES] = key.0.as_slice().try_into().ok()?;
    let (ip, marks) =
        (all[SOCKET_BYTES..BINDING_BYTES - 1].try_into().ok()?, all[BINDING_BYTES - 1]);
    Some((Address { ip, port: 0 }, marks))
}

/// How well a binding fits an address; `None`: not at all.
fn fit((bound, marks): (Address, u8), ip: [u8; 16]) -> Option<u8> {
    let wanted = Address { ip, port: 0 };
    let any = bound.is_any();
    match (bound.as_v4().is_some(), wanted.as_v4().is_some()) {
        _ if bound.ip == ip => Some(2),
        (true, true) | (false, false) if any => Some(1),
        (false, true) if any && marks & ONLY_V6 == 0 => Some(0),
        _ => None,
    }
}

/// Whether a binding of a port is in the way of another that is to be.
fn collide(a: (Address, u8), b: (Address, u8)) -> bool {
    let overlap = fit(a, b.0.ip).is_some() || fit(b, a.0.ip).is_some();
    overlap && (a.1 & b.1 & SHARES == 0 || b.1 & LISTENS != 0)
}

impl Socket {
    /// What the home of its name has to know.
    pub(super) fn marks(&self) -> u8 {
        let listens = matches!(self.state, State::Listening(_));
        let mut marks = if self.internet.only_v6 { ONLY_V6 } else { 0 };
        if self.internet.reuses {
            marks |= SHARES;
        }
        if listens { marks | LISTENS } else { marks }
    }
}

impl Ipc {
    /// [`Register`] of a name of the Internet.
    pub(super) fn register_port(&mut self, cx: &Cx<'_>, request: &Register) -> Result<(), Errno> {
        let Register { name, file, kind, marks } = request;
        let address = Address::of(&name.text)?;
        let (port, own) = (port_key(*kind, address.port), socket_key(*kind, address.port, *file));
        self.names.retain(|key, it| !key.0.starts_with(&port) || is_there(cx, it.file));
        let mut others =
            self.names.keys().filter(|key| key.0.starts_with(&port) && !key.0.starts_with(&own));
        if others.any(|key| binding(key).is_none_or(|it| collide((address, *marks), it))) {
            return Err(Errno::EADDRINUSE);
        }
        let before = self.names.len();
        self.names.retain(|key, _| !key.0.starts_with(&own));
        if self.names.len() == before && (self.files.short || before >= NAMES_MAX) {
            return Err(Errno::ENOSPC);
        }
        let key = [&own[..], &address.ip, &[*marks]].concat();
        self.names.insert(Key(key), Named { file: *file, kind: *kind });
        Ok(())
    }

    /// A socket has its port no more.
    pub(super) fn forget_port(&mut self, name: &Name, kind: SocketType, file: FileId) {
        let Ok(address) = Address::of(&name.text) else { return };
        let own = socket_key(kind, address.port, file);
        self.names.retain(|key, _| !key.0.starts_with(&own));
    }

    /// Who is to hear of something for this address.
    pub(super) fn look_up_port(
        &self,
        cx: &Cx<'_>,
        name: &Name,
        kind: SocketType,
    ) -> Result<Found, Errno> {
        let address = Address::of(&name.text)?;
        let port = port_key(kind, address.port);
        let mut best = None;
        for (key, it) in self.names.iter().filter(|(key, _)| key.0.starts_with(&port)) {
            let Some(bound) = binding(key).filter(|_| is_there(cx, it.file)) else { continue };
            let hears = !kind.is_stream() || bound.1 & LISTENS != 0;
            let Some(score) = fit(bound, address.ip).filter(|_| hears) else { continue };
            if best.is_none_or(|(before, file, _)| (before, file) < (score, it.file)) {
                best = Some((score, it.file, it.kind));
            }
        }
        let (_, file, kind) = best.ok_or(Errno::ECONNREFUSED)?;
        Ok(Found { file, kind })
    }

    /// Gives a socket of this node a port that nobody has.
    pub(super) fn choose_port(
        &mut self,
        cx: &Cx<'_>,
        file: FileId,
        address: Address,
        marks: u8,
    ) -> Result<(), Errno> {
        let socket = self.socket(file)?;
        // A name is under way: of two only one would be unregistered.
        if socket.binding {
            return Err(Errno::EINVAL);
        }
        let kind = socket.kind;
        let (first, last) = (u32::from(*CHOSEN_PORTS.start()), u32::from(*CHOSEN_PORTS.end()));
        let count = last - first + 1;
        for _ in 0..count {
            self.names_chosen = self.names_chosen.wrapping_add(STRIDE);
            let port = (first + self.names_chosen % count) as u16;
            if !self.is_free_here(cx, kind, port) {
                continue;
            }
            let name = Address { port, ..address }.name();
            self.register(cx, cx.node(), &Register { name: name.clone(), file, kind, marks })?;
            let socket = self.socket(file)?;
            (socket.name, socket.registered) = (name, true);
            return Ok(());
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    /// Whether nobody has the port, and this node is its home for now.
    fn is_free_here(&self, cx: &Cx<'_>, kind: SocketType, port: u16) -> bool {
        let key = Key(port_key(kind, port));
        let slot = key.slot();
        let me: NodeId = cx.node();
        cx.view().home(slot) == me
            && !cx.is_frozen(slot)
            && !self.names.keys().any(|it| it.0.starts_with(&key.0))
    }

    /// Whom a socket may talk to, and with which name of its own: it gets a port if it has none.
    ///
    /// # Errors
    /// EINVAL, ENETUNREACH, EADDRNOTAVAIL.
    pub(super) fn source_for(
        &mut self,
        cx: &Cx<'_>,
        file: FileId,
        to: &Name,
        keeps_any: bool,
    ) -> Result<Name, Errno> {
        let to = Address::of(&to.text)?;
        let socket = self.socket(file)?;
        let from_v4 = Address::of(&socket.name.text).is_ok_and(|it| it.as_v4().is_some());
        if !to.is_loopback() || to.as_v4().is_some() && socket.internet.only_v6 {
            return Err(Errno::ENETUNREACH);
        }
        if socket.name.text.is_empty() {
            let any = match (keeps_any, socket.kind.internet()) {
                (false, _) | (_, None) => to.loopback_like(),
                (true, Some(version)) => any(version),
            };
            let marks = socket.marks();
            self.choose_port(cx, file, any, marks)?;
        } else if from_v4 && to.as_v4().is_none() {
            return Err(Errno::ENETUNREACH);
        }
        let own = Address::of(&self.socket(file)?.name.text)?;
        let ip = if own.is_any() { to.loopback_like().ip } else { own.ip };
        Ok(Address { ip, port: own.port }.name())
    }
}

/// All addresses of a version.
pub(super) fn any(version: ipc_api::socket::IpVersion) -> Address {
    match version {
        ipc_api::socket::IpVersion::V4 => Address::v4([0; 4], 0),
        ipc_api::socket::IpVersion::V6 => Address { ip: [0; 16], port: 0 },
    }
}
