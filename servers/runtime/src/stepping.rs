// SPDX-License-Identifier: MIT OR Apache-2.0
//! A host driven in small steps, for tests and the simulator: what its workers do between two locks is
//! one step each here, so that several workers can be interleaved in every way.
//!
//! # Model
//! ```text
//! locked step --> next: a Deferred --> Call: the simulator makes it, then `answered`
//!      ^               |           \-> else: `perform`
//!      \---- until next is None ---/
//! ```

use crate::tables::Action;
use crate::{Bulk, Core, Cx, Host, Msg, Platform, Status, system};
use abi::{Errno, ServerId, SlotNo};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Something that a step asked for, taken by a worker and not begun.
#[derive(Debug)]
pub enum Deferred {
    /// A call to another server.
    Call(Call),
    /// Anything else.
    Other(Other),
}

/// A call to another server of the node that a worker is about to make.
#[derive(Debug)]
pub struct Call {
    /// Whom.
    pub server: ServerId,
    /// The operation.
    pub op: u16,
    /// The message.
    pub msg: Msg,
    /// Whose the answer is; a cancel has none.
    cookie: Option<u64>,
}

/// A notification, a timer or an answer.
#[derive(Debug)]
pub struct Other(Action);

impl<C: Core> Host<C> {
    /// The step of a request, without what it asks for.
    pub fn request_step(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        self.request_locked(platform, client, op, msg, bulk)
    }

    /// A step, without what it asks for.
    pub fn bare_step<R>(
        &self,
        platform: &mut dyn Platform,
        run: impl FnOnce(&mut C, &mut Cx<'_>) -> R,
    ) -> R {
        self.locked(platform, run)
    }

    /// A notification came: [`Self::collect_step`] follows until it answers `false`.
    pub fn collect_begin(&self, from: ServerId) {
        self.begin_collecting(from);
    }

    /// Collects one thing that `from` holds, without what follows from it.
    pub fn collect_step(&self, platform: &mut dyn Platform, from: ServerId) -> bool {
        self.collect_one(platform, from)
    }

    /// Another server died: the step, without what it asks for.
    pub fn server_down_step(&self, platform: &mut dyn Platform, server: ServerId) {
        self.server_down_locked(platform, server);
    }

    /// Takes the next thing that steps asked for.
    pub fn next_deferred(&self) -> Option<Deferred> {
        Some(match self.next_action()? {
            Action::Ask { server, op, msg, cookie } => {
                Deferred::Call(Call { server, op, msg, cookie: Some(cookie) })
            }
            Action::CancelAsk { server, ticket } => {
                let msg = Msg { words: [ticket.to_word(), 0, 0, 0], ..Msg::default() };
                Deferred::Call(Call { server, op: system::CANCEL, msg, cookie: None })
            }
            other @ (Action::Notify { .. }
            | Action::Complete { .. }
            | Action::Export { .. }
            | Action::RunParked
            | Action::CallOwn { .. }
            | Action::CancelOwn { .. }
            | Action::Arm { .. }) => Deferred::Other(Other(other)),
        })
    }

    /// Whether steps asked for something that nobody has taken.
    pub fn has_deferred(&self) -> bool {
        self.has_actions()
    }

    /// Whether something lives in a slot of this node; nothing begins there until the next view if not.
    ///
    /// # Errors
    /// EINVAL: this node is not its home.
    pub fn freeze(&self, slot: SlotNo) -> Result<bool, Errno> {
        let mut inner = self.inner.lock();
        let (core, _, membership) = inner.parts();
        if membership.view.home(slot) != self.node {
            return Err(Errno::EINVAL);
        }
        let occupied = core.occupies(slot);
        if !occupied {
            membership.freeze(slot);
        }
        Ok(occupied)
    }

    /// What is open, a line each: for whoever looks for the reason why something does not end.
    pub fn open(&self) -> Vec<String> {
        let inner = self.inner.lock();
        inner.tables.open().into_iter().map(|line| format!("{:?} {line}", self.id())).collect()
    }

    /// Performs what is no call.
    pub fn perform_deferred(&self, platform: &mut dyn Platform, other: Other) {
        self.perform(platform, other.0);
    }

    /// A call was answered.
    pub fn answered(&self, platform: &mut dyn Platform, call: &Call, status: Status, msg: Msg) {
        if let Some(cookie) = call.cookie {
            self.asked(platform, call.server, cookie, status, msg);
        }
    }
}
