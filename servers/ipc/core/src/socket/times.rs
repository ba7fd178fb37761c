// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long calls at sockets wait, SO_RCVTIMEO and SO_SNDTIMEO.
//!
//! # Model
//! A call that waits at the socket's home has a deadline there. When it comes the call is given up as if its client did so, and
//! ends with EAGAIN, or with what it has done. The time begins anew for a call that comes again after a move.

use crate::Ipc;
use abi::{Errno, FileId, Ticket};
use alloc::vec::Vec;
use ipc_api::between::{ReceiveFor, SendFrom};
use ipc_api::socket::{Accept, Connect, Receive, Send};
use runtime::{Answer, Core, Cx, Msg, Operation, Wire};

/// The cookie of the one timer that is armed for all of them.
pub(crate) const DEADLINE_COOKIE: u64 = 4;
/// Deadlines that are kept before those of calls that have ended are looked for.
const KEPT_MIN: usize = 64;

/// The deadlines of calls at this home's sockets.
#[derive(Default)]
pub(crate) struct Deadlines {
    rows: Vec<(u64, Ticket)>,
    armed_ns: Option<u64>,
}

fn socket_of(op: u16, msg: &Msg) -> Option<(FileId, bool)> {
    match op {
        Receive::NUMBER => Some((Receive::get(msg).ok()?.file, true)),
        ReceiveFor::NUMBER => Some((ReceiveFor::get(msg).ok()?.file, true)),
        Accept::NUMBER => Some((Accept::get(msg).ok()?.file, true)),
        Send::NUMBER => Some((Send::get(msg).ok()?.file, false)),
        SendFrom::NUMBER => Some((SendFrom::get(msg).ok()?.file, false)),
        Connect::NUMBER => Some((Connect::get(msg).ok()?.file, false)),
        _ => None,
    }
}

impl Ipc {
    /// A call has been answered: if it waits here, it may be for some time only.
    pub(crate) fn limit_time(&mut self, cx: &mut Cx<'_>, op: u16, msg: &Msg, answer: &Answer) {
        let Answer::Pending(ticket) = answer else { return };
        let Some((file, receives)) = socket_of(op, msg) else { return };
        // One that is another home's has its deadline there.
        let Some(socket) = self.sockets.get(&file) else { return };
        let us = if receives { socket.receive_us } else { socket.send_us };
        if us == 0 {
            return;
        }
        let rows = &mut self.deadlines.rows;
        if rows.len() >= KEPT_MIN && rows.len() == rows.capacity() {
            rows.retain(|(_, ticket)| cx.is_open(*ticket));
        }
        rows.push((cx.now_ns().saturating_add(us.saturating_mul(1000)), *ticket));
        self.arm_deadlines(cx);
    }

    fn arm_deadlines(&mut self, cx: &mut Cx<'_>) {
        let it = &mut self.deadlines;
        let first = it.rows.iter().map(|(at_ns, _)| *at_ns).min();
        if first == it.armed_ns {
            return;
        }
        if let Some(armed_ns) = it.armed_ns.take() {
            cx.disarm(armed_ns, DEADLINE_COOKIE);
        }
        if let Some(at_ns) = first
            && cx.arm(at_ns, DEADLINE_COOKIE).is_ok()
        {
            it.armed_ns = Some(at_ns);
        }
    }

    /// The time of some calls is over.
    pub(crate) fn deadlines_due(&mut self, cx: &mut Cx<'_>) {
        self.deadlines.armed_ns = None;
        let now_ns = cx.now_ns();
        let rows = core::mem::take(&mut self.deadlines.rows);
        let (due, left): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(at_ns, _)| *at_ns <= now_ns);
        self.deadlines.rows = left;
        for (_, ticket) in due {
            if cx.is_open(ticket) {
                cx.expire(ticket, Errno::EAGAIN);
                self.cancel(cx, ticket);
            }
        }
        self.arm_deadlines(cx);
    }
}
