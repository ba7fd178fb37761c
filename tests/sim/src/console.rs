// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console driver: what is written is kept, and now and then there is no room.

use abi::{Errno, ServerId, Ticket};
use ipc_api::console::{ConsoleInput, ConsoleWrite, EVENT_INPUT, EVENT_ROOM};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};

/// One write of so many finds the queue full.
const FULL_EVERY: u64 = 13;
/// The queue has room again after this time.
const ROOM_NS: u64 = 300_000;

/// A serial line.
#[derive(Default)]
pub struct Console {
    /// Everything that was written.
    pub output: Vec<u8>,
    writes: u64,
    full: bool,
}

impl Console {
    /// Somebody types.
    pub fn typed(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        cx.raise(ServerId::Ipc, EVENT_INPUT, &ConsoleInput(bytes.to_vec()));
    }
}

impl Core for Console {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        _from: Client,
        op: u16,
        msg: &Msg,
        _bulk: &mut Bulk<'_>,
    ) -> Answer {
        if op != ConsoleWrite::NUMBER {
            return Answer::Failed(Errno::ENOSYS);
        }
        self.writes += 1;
        if !self.full && self.writes.is_multiple_of(FULL_EVERY) {
            self.full = cx.arm(cx.now_ns() + ROOM_NS, 0).is_ok();
        }
        if self.full {
            return Answer::Failed(Errno::EAGAIN);
        }
        match ConsoleWrite::get(msg) {
            Ok(write) => {
                self.output.extend_from_slice(&write.0);
                Answer::reply(&())
            }
            Err(errno) => Answer::Failed(errno),
        }
    }

    fn completion(&mut self, _: &mut Cx<'_>, _: u64, _: Result<NodeReply, Errno>) {}

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        if let Event::Timer(_) = event {
            self.full = false;
            cx.raise(ServerId::Ipc, EVENT_ROOM, &());
        }
    }

    fn cancel(&mut self, _: &mut Cx<'_>, _: Ticket) {}
}
