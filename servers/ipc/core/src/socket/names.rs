// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of sockets, of all nodes.
//!
//! # Model
//! A name has its home in a slot that is derived from it, and there one entry: which socket has it. The
//! socket itself knows its name too. So the entries of a slot that is lost with its home come again: each
//! home registers its sockets' names anew ([`Ipc::names_lost`]). An entry whose socket is lost counts as
//! none.

use super::{jobs::Fact, ports};
use crate::Ipc;
use crate::limits::NAMES_MAX;
use abi::id::SLOTS;
use abi::{Errno, FileId, NodeId, SlotNo};
use alloc::vec::Vec;
use cluster::View;
use ipc_api::between::{Found, Lookup, Register, Unregister};
use ipc_api::internet::Address;
use ipc_api::socket::{NAME_BYTES, Name, SocketType};
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// What names a socket: an inode, or a type and an abstract name, as on Linux; or protocol and port, with what
/// [`ports`] adds.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct Key(pub(crate) Vec<u8>);

impl Key {
    /// # Errors
    /// EINVAL: too long.
    pub(crate) fn of(name: &Name, kind: SocketType) -> Result<Self, Errno> {
        if name.text.len() > NAME_BYTES {
            return Err(Errno::EINVAL);
        }
        let kind = match kind {
            SocketType::Stream => 1,
            SocketType::Datagram => 2,
            SocketType::Packet => 3,
            // Who has no name yet has no port.
            SocketType::Tcp(_) | SocketType::Udp(_) if name.text.is_empty() => 4,
            SocketType::Tcp(_) | SocketType::Udp(_) => {
                return Ok(Self(ports::port_key(kind, Address::of(&name.text)?.port)));
            }
        };
        Ok(Self(name.inode.map_or_else(
            || [&[kind][..], &name.text].concat(),
            |inode| [&[0][..], &inode.raw().to_le_bytes()].concat(),
        )))
    }

    /// The slot in which it has its home: FNV-1a of its bytes.
    pub(crate) fn slot(&self) -> SlotNo {
        let hash =
            ports::slot_part(&self.0).iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let number = (hash ^ hash >> 32) % u64::from(SLOTS);
        SlotNo::new(number as u16).expect("it is below the number of slots")
    }
}

/// Who has a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) file: FileId,
    pub(crate) kind: SocketType,
}

impl Ipc {
    /// Performs [`Register`].
    pub(crate) fn register(
        &mut self,
        cx: &Cx<'_>,
        node: NodeId,
        request: &Register,
    ) -> Result<(), Errno> {
        let Register { name, file, kind, .. } = request;
        let key = Key::of(name, *kind)?;
        if name.text.is_empty() || cx.view().home(file.slot()) != node {
            return Err(Errno::EINVAL);
        }
        if kind.internet().is_some() {
            return self.register_port(cx, request);
        }
        match self.names.get(&key) {
            Some(it) if it.file != *file && is_there(cx, it.file) => Err(Errno::EADDRINUSE),
            None if self.files.short || self.names.len() >= NAMES_MAX => Err(Errno::ENOSPC),
            Some(_) | None => {
                self.names.insert(key, Named { file: *file, kind: *kind });
                Ok(())
            }
        }
    }

    /// Performs [`Unregister`].
    pub(crate) fn forget_name(
        &mut self,
        cx: &Cx<'_>,
        node: NodeId,
        request: &Unregister,
    ) -> Result<(), Errno> {
        let Unregister { name, file, kind } = request;
        let key = Key::of(name, *kind)?;
        if kind.internet().is_some() {
            if cx.view().home(file.slot()) == node {
                self.forget_port(name, *kind, *file);
            }
            return Ok(());
        }
        let has = self.names.get(&key).is_some_and(|it| it.file == *file);
        if has && cx.view().home(file.slot()) == node {
            self.names.remove(&key);
        }
        Ok(())
    }

    /// Performs [`Lookup`].
    pub(crate) fn look_up(&self, cx: &Cx<'_>, request: &Lookup) -> Result<Found, Errno> {
        if request.kind.internet().is_some() {
            return self.look_up_port(cx, &request.name, request.kind);
        }
        match self.names.get(&Key::of(&request.name, request.kind)?) {
            Some(it) if !is_there(cx, it.file) => Err(Errno::ECONNREFUSED),
            Some(it) if it.kind != request.kind => Err(Errno::EPROTOTYPE),
            Some(it) => Ok(Found { file: it.file, kind: it.kind }),
            None => Err(Errno::ECONNREFUSED),
        }
    }

    /// A socket with this name is closed.
    pub(crate) fn unregister(
        &mut self,
        cx: &mut Cx<'_>,
        (name, kind): (&Name, SocketType),
        file: FileId,
    ) {
        self.tell(cx, Fact::Unnamed(Unregister { name: name.clone(), file, kind }));
    }

    /// Registers names again whose homes are gone.
    pub(crate) fn names_lost(&mut self, cx: &mut Cx<'_>, old: &View) {
        let mut lost = Vec::new();
        for (file, socket) in &self.sockets {
            let Ok(key) = Key::of(&socket.name, socket.kind) else { continue };
            let slot = key.slot();
            let (before, now) = (old.slot(slot).broken, cx.view().slot(slot).broken);
            if socket.registered && before != now {
                let name = socket.name.clone();
                let (kind, marks) = (socket.kind, socket.marks());
                lost.push(Register { name, file: *file, kind, marks });
            }
        }
        for request in lost {
            self.tell(cx, Fact::Named(request));
        }
    }
}

/// Whether a socket was not lost with its home.
pub(crate) fn is_there(cx: &Cx<'_>, file: FileId) -> bool {
    !cx.view().has_broken(file.slot(), file.serial())
}
