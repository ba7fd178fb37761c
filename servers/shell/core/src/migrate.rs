// SPDX-License-Identifier: MIT OR Apache-2.0
//! `migrate`: the move itself is proc-server's; here it is asked for, and its figures are told.
//!
//! A process runs at its target before its pages are there. So the answer has two halves: the move's
//! when it runs, and the pages' when the last one has arrived.

use crate::job::JobId;
use crate::limits::{MOVE_PATIENCE_NS, MOVE_POLL_NS};
use crate::{Machine, Shell, Wait, text};
use abi::{Errno, NodeId, Pid};
use alloc::format;
use alloc::vec::Vec;
use proc_api::{Migrate, Migrated, MoveFigures, Moving};
use runtime::{Cx, NodeReply, Wire};
use shell_api::{MovedPages, PagesMoved};

/// A moved process whose pages are on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Watch {
    job: JobId,
    pid: Pid,
    to: NodeId,
    /// When the move was asked for.
    started_ns: u64,
    /// Pages that were missing when last counted.
    left: u64,
    /// When that number last changed.
    changed_ns: u64,
}

/// The figures as they travel between shell servers.
pub(crate) fn for_node(moving: Moving) -> PagesMoved {
    let Moving { left, on_demand, prefetched } = moving;
    PagesMoved { left, on_demand, prefetched }
}

fn from_node(pages: PagesMoved) -> Moving {
    let PagesMoved { left, on_demand, prefetched } = pages;
    Moving { left, on_demand, prefetched }
}

impl<M: Machine> Shell<M> {
    pub(crate) fn begin_migrate(&mut self, cx: &mut Cx<'_>, job: JobId, pid: Pid, to: NodeId) {
        if cx.view().contains(to) {
            self.ask(
                cx,
                &Migrate { pid, node: to },
                Wait::Migrate { job, pid, to, started_ns: cx.now_ns() },
            );
        } else {
            let sentence = text::migrate_refused(pid, to, Errno::EINVAL);
            self.end_with(cx, job, &sentence, 1);
        }
    }

    pub(crate) fn migrated(
        &mut self,
        cx: &mut Cx<'_>,
        job: JobId,
        pid: Pid,
        (to, started_ns): (NodeId, u64),
        result: &Result<NodeReply, Errno>,
    ) {
        let moved = result.as_ref().map_err(|errno| *errno);
        match moved.and_then(|reply| Migrated::get(&reply.msg)) {
            Ok(it) if it.from == to.get() => {
                let text = format!("process {pid} is on node {to} already\n");
                self.end_with(cx, job, &text, 0);
            }
            Ok(it) => {
                self.print(cx, job, &text::migrated(pid, to, &it));
                let (left, changed_ns) = (u64::MAX, cx.now_ns());
                let watch = Watch { job, pid, to, started_ns, left, changed_ns };
                self.watch_pages(cx, watch);
            }
            Err(errno) => {
                self.end_with(cx, job, &text::migrate_refused(pid, to, errno), 1);
            }
        }
    }

    pub(crate) fn watch_pages(&mut self, cx: &mut Cx<'_>, watch: Watch) {
        let cookie = self.expect(Wait::Pages(watch));
        let pid = watch.pid;
        if watch.to == cx.node() {
            cx.ask(&MoveFigures { pid }, cookie);
        } else {
            cx.call_node(watch.to, &MovedPages { pid }, Vec::new(), cookie);
        }
    }

    pub(crate) fn pages(
        &mut self,
        cx: &mut Cx<'_>,
        mut watch: Watch,
        result: &Result<NodeReply, Errno>,
    ) {
        let Watch { job, to, .. } = watch;
        let moving =
            result.as_ref().map_err(|errno| *errno).and_then(|reply| match to == cx.node() {
                true => Moving::get(&reply.msg),
                false => PagesMoved::get(&reply.msg).map(from_node),
            });
        match moving {
            Ok(it) => {
                if it.left != watch.left {
                    (watch.left, watch.changed_ns) = (it.left, cx.now_ns());
                }
                let gave_up = cx.now_ns() - watch.changed_ns > MOVE_PATIENCE_NS;
                if it.left == 0 || gave_up || !self.jobs.contains_key(&job) {
                    self.end_with(cx, job, &text::moving(&it, cx.now_ns() - watch.started_ns), 0);
                } else {
                    self.later(cx, MOVE_POLL_NS, Wait::PagesAgain(watch));
                }
            }
            Err(Errno::ESRCH) => {
                let text = "pages moved: not known, the process ended or went on\n";
                self.end_with(cx, job, text, 0);
            }
            Err(errno) => {
                let text = format!("pages moved: not known, node {to} says: {errno}\n");
                self.end_with(cx, job, &text, 0);
            }
        }
    }
}
