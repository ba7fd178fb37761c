// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations, and what a host needs from the world around it.

use crate::{Bulk, Msg, Wire};
use abi::{CoreId, Errno, NodeId, ServerId, Ticket};

/// One operation of a server: its request type implements this.
pub trait Operation: Wire {
    /// Its number, never used again for another.
    const NUMBER: u16;
    /// Its name, for logs.
    const NAME: &'static str;
    /// Bounded, and waits for nobody: may be called under a lock.
    const LEAF: bool;
    /// May be repeated after an answer was lost.
    const IDEMPOTENT: bool;
    /// The server that performs it. File operations name fs; ipc performs them too.
    const SERVER: ServerId;
    /// What it answers.
    type Reply: Wire;
}

/// Defines the operations of a server: `number, leaf|slow, repeat|once: Request => Reply;`.
#[macro_export]
macro_rules! operations {
    ($server:expr; $($number:literal, $leaf:ident, $repeat:ident: $request:ty => $reply:ty;)*) => {
        $(
            impl $crate::Operation for $request {
                const NUMBER: u16 = $number;
                const NAME: &'static str = stringify!($request);
                const LEAF: bool = $crate::operations!(@leaf $leaf);
                const IDEMPOTENT: bool = $crate::operations!(@repeat $repeat);
                const SERVER: abi::ServerId = $server;
                type Reply = $reply;
            }
        )*

        /// The name of an operation's number, for logs.
        pub fn operation_name(number: u16) -> &'static str {
            match number {
                $($number => stringify!($request),)*
                _ => "unknown operation",
            }
        }
    };
    (@leaf leaf) => { true };
    (@leaf slow) => { false };
    (@repeat repeat) => { true };
    (@repeat once) => { false };
}

/// Numbers that every server's host answers itself.
pub mod system {
    /// Collects one completion or event.
    pub const TAKE: u16 = 0xff01;
    /// Cancels a ticket: word 0.
    pub const CANCEL: u16 = 0xff02;
    /// Makes the server fault, for tests and drills: only [`may_crash`] may ask. The platform does
    /// it, not the host, so that a real fault takes the real path.
    pub const CRASH: u16 = 0xff03;
    /// Enters a view, which comes in pieces: bytes, where they begin (word 0) and how many there are in
    /// all (word 1). Only the views server may ask.
    pub const ENTER: u16 = 0xff04;
    /// The node may act until a time of its clock ([`super::Lease`]). Only the views server may ask.
    pub const LEASE: u16 = 0xff05;
    /// Gives a slot away ([`super::Give`]). Only the views server may ask.
    pub const GIVE: u16 = 0xff07;
    /// Between nodes: a part of what lives in a slot that is given away, as bulk data; words: the slot, the
    /// number of the part, the length of the state or head, which comes first, and whether the part is the
    /// last one (1, else 0).
    pub const PART: u16 = 0xff08;
    /// Between nodes: a part of what a step changed at the primary of slots, for their backup, as bulk data;
    /// words: the number of the step among those for this backup (0: of none, answers only), the bytes of
    /// all parts, and where this one begins.
    pub const CHANGES: u16 = 0xff09;
    /// Between nodes: the backup has applied steps up to a number (word 0), or could not apply one to a slot
    /// (word 1: its number and one).
    pub const APPLIED: u16 = 0xff0a;
    /// What a worker performs that no server asked for: a Linux thread's fault or system call.
    pub const THREAD: u16 = 0xff10;
    /// The same: an interrupt.
    pub const INTERRUPT: u16 = 0xff11;
    /// The same: what follows from the death of another server.
    pub const SERVER_DOWN: u16 = 0xff12;

    /// Whether a server may make another one fault: the shell server, for an administrator.
    pub fn may_crash(client: abi::ServerId) -> bool {
        client == abi::ServerId::Shell
    }

    /// The name of one of these numbers, for logs.
    pub fn operation_name(number: u16) -> Option<&'static str> {
        match number {
            TAKE => Some("Take"),
            CANCEL => Some("Cancel"),
            CRASH => Some("Crash"),
            ENTER => Some("Enter"),
            LEASE => Some("Lease"),
            GIVE => Some("Give"),
            PART => Some("Part"),
            THREAD => Some("a program's fault or system call"),
            INTERRUPT => Some("an interrupt"),
            SERVER_DOWN => Some("the loss of another server"),
            _ => None,
        }
    }
}

/// [`system::CRASH`] as a request that any server may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crash;

impl Wire for Crash {
    fn put(&self, _msg: &mut Msg) -> Result<(), Errno> {
        Ok(())
    }

    fn get(_msg: &Msg) -> Result<Self, Errno> {
        Ok(Self)
    }
}

impl Operation for Crash {
    const NUMBER: u16 = system::CRASH;
    const NAME: &'static str = "Crash";
    const LEAF: bool = false;
    const IDEMPOTENT: bool = false;
    /// Of no importance: it is sent to the server that is named beside it.
    const SERVER: ServerId = ServerId::Shell;
    type Reply = ();
}

crate::hot! {
    /// [`system::LEASE`]: the node may act until this time of its clock.
    pub struct Lease {
        /// Nanoseconds since boot.
        pub until_ns: u64,
        /// Number of the node that gives leases; 0 if it is not known.
        pub leader: u16,
    }
}

crate::hot! {
    /// [`system::GIVE`]: brings all that lives in a slot of this node to the same server of another, which
    /// keeps it aside. Nothing changes in the slot until the next view.
    pub struct Give {
        /// The slot's number.
        pub slot: u16,
        /// The joiner.
        pub to: NodeId,
        /// Else nothing is done: would it be given? So that nothing is frozen and copied in vain.
        pub really: bool,
    }
}

crate::hot! {
    /// The answer to [`Give`], once the other node has everything.
    pub struct Given {
        /// Whether it has, or would; else the slot stays.
        pub given: bool,
    }
}

macro_rules! of_every_server {
    ($($request:ident, $number:ident => $reply:ty;)*) => {$(
        impl Operation for $request {
            const NUMBER: u16 = system::$number;
            const NAME: &'static str = stringify!($request);
            const LEAF: bool = false;
            const IDEMPOTENT: bool = true;
            /// Of no importance: it is sent to the server that is named beside it.
            const SERVER: ServerId = ServerId::Shell;
            type Reply = $reply;
        }
    )*};
}
of_every_server! {
    Lease, LEASE => ();
    Give, GIVE => Given;
}

/// How a call ended; the reply stands in the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// The reply is in the message.
    Done,
    /// The answer comes through `take`, under this ticket.
    Pending(Ticket),
    /// The call failed.
    Failed(Errno),
}

/// What surrounds a host: clock, other servers, notifications.
pub trait Platform {
    /// Nanoseconds since boot; never runs backwards.
    fn now_ns(&self) -> u64;
    /// The core that runs this.
    fn core(&self) -> CoreId;
    /// Bytes of the heap that are free: a core refuses what it would have to keep before there are none.
    fn heap_left(&self) -> usize {
        usize::MAX
    }
    /// Calls a server of this node on behalf of server `from`. The reply replaces `msg` and `bulk`.
    fn call(
        &mut self,
        from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status;
    /// Tells `client`'s worker on `core` that server `from` holds something for it.
    fn notify(&mut self, from: ServerId, client: ServerId, core: CoreId);
}
