// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes requests apart: each is answered at once, becomes a job, or goes to the home.

mod on_description;
mod on_file;
mod on_lock;
mod on_name;
mod on_peer;

use crate::FsCore;
use crate::job::{Reply, Waiting};
use abi::{Errno, FileId, SlotNo};
use alloc::vec::Vec;
use runtime::{Answer, Client, Cx, Operation};

impl FsCore {
    /// Performs an operation on an open file at its home: here, or there.
    pub(super) fn at_home<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (file, op): (FileId, &O),
        here: impl FnOnce(&mut Self, &mut Cx<'_>) -> Result<Reply, Errno>,
    ) -> Answer {
        match self.is_mine(cx, file) {
            Ok(true) => {}
            Ok(false) => {
                return self.forward(cx, from, file.slot(), op, Vec::new());
            }
            Err(errno) => return Answer::Failed(errno),
        }
        match here(self, cx) {
            Ok(reply) => Answer::Done(reply.msg),
            Err(errno) => Answer::Failed(errno),
        }
    }

    pub(super) fn forward<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        slot: SlotNo,
        op: &O,
        bulk: Vec<u8>,
    ) -> Answer {
        // A request is handed on once at most: another node knows the homes as well.
        if matches!(from, Client::Node { .. }) {
            return Answer::Failed(Errno::EBADF);
        }
        self.call(cx, from, slot, op, bulk, Waiting::Forwarded)
    }

    pub(super) fn call<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        slot: SlotNo,
        op: &O,
        bulk: Vec<u8>,
        waiting: impl FnOnce(abi::Ticket, SlotNo) -> Waiting,
    ) -> Answer {
        match cx.open_ticket(from) {
            Ok(ticket) => {
                let cookie = self.new_cookie();
                self.waiting.insert(cookie, waiting(ticket, slot));
                cx.call_home(slot, op, bulk, cookie);
                Answer::Pending(ticket)
            }
            Err(errno) => Answer::Failed(errno),
        }
    }
}

pub(super) fn local_only(from: Client) -> Result<(), Errno> {
    // What names a space, or a program's path, is this node's programs' alone.
    match from {
        Client::Server { .. } => Ok(()),
        Client::Node { .. } => Err(Errno::EPERM),
    }
}
