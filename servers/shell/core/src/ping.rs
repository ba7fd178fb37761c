// SPDX-License-Identifier: MIT OR Apache-2.0
//! `net --ping` and `net --load`: null requests between the net-servers of two nodes, and bytes; here they are asked
//! for, counted and told.

use crate::job::JobId;
use crate::limits::PING_POLL_NS;
use crate::{Machine, Shell, Wait, text};
use abi::{Errno, NodeId};
use net_api::{LoadStart, LoadUse, PingStart, PingUse};
use runtime::Cx;

impl<M: Machine> Shell<M> {
    pub(crate) fn begin_ping(&mut self, cx: &mut Cx<'_>, job: JobId, node: NodeId, count: u64) {
        match cx.leaf(&PingStart { node, count }) {
            Ok(()) => self.ping_later(cx, job, node),
            Err(errno) => self.ping_failed(cx, job, node, errno),
        }
    }

    fn ping_later(&mut self, cx: &mut Cx<'_>, job: JobId, node: NodeId) {
        self.later(cx, PING_POLL_NS, Wait::Pings { job, node });
    }

    /// Looks how far a series is; tells its figures when it is over.
    pub(crate) fn look_at_pings(&mut self, cx: &mut Cx<'_>, job: JobId, node: NodeId) {
        match cx.leaf(&PingUse { node }) {
            Ok(it) if it.running => self.ping_later(cx, job, node),
            Ok(it) => {
                let status = u8::from(it.answered < it.sent || it.answered == 0);
                self.end_with(cx, job, &text::pings(node, &it), status);
            }
            Err(errno) => self.ping_failed(cx, job, node, errno),
        }
    }

    /// `load`: a node, MiB, and whether they are raw.
    pub(crate) fn begin_load(&mut self, cx: &mut Cx<'_>, job: JobId, load: (NodeId, u64, bool)) {
        let (node, mib, raw) = load;
        match cx.leaf(&LoadStart { node, bytes: mib << 20, raw }) {
            Ok(()) => self.later(cx, PING_POLL_NS, Wait::Load { job, node, raw }),
            Err(errno) => self.ping_failed(cx, job, node, errno),
        }
    }

    /// Looks how far a load is; tells its figures when it is over.
    pub(crate) fn look_at_load(&mut self, cx: &mut Cx<'_>, job: JobId, node: NodeId, raw: bool) {
        match cx.leaf(&LoadUse { node }) {
            Ok(it) if it.running => self.later(cx, PING_POLL_NS, Wait::Load { job, node, raw }),
            Ok(it) => {
                let status = u8::from(it.took_ns == 0);
                self.end_with(cx, job, &text::load(node, &it, raw), status);
            }
            Err(errno) => self.ping_failed(cx, job, node, errno),
        }
    }

    fn ping_failed(&mut self, cx: &mut Cx<'_>, job: JobId, node: NodeId, errno: Errno) {
        self.end_with(cx, job, &text::ping_refused(node, errno), 1);
    }
}
