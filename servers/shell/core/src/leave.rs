// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the shell server of a node that leaves does for the one that sees it off ([`crate::drain`]): passes
//! the wish on to its views server, ends its own login, and sends its processes away, one at a time.
//!
//! A login shell of a node that leaves is hung up and not started again: who is logged in there has a
//! terminal that is of that node. Its jobs go on elsewhere, as those of a terminal that was unplugged.

use crate::limits::{HANG_UP_NS, MOVE_PATIENCE_NS, MOVE_POLL_NS};
use crate::login::Login;
use crate::{Machine, Shell, Wait};
use abi::{Errno, NodeId, Pid, ServerId, Ticket};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use proc_api::{List, Migrate, ProcessList, Signal};
use runtime::{Answer, Client, Cx, NodeReply, Wire};
use shell_api::{EVENT_WISH, Wish};
use shell_api::{MoveNext, MovedNext, MovedPages, PagesMoved};

/// SIGHUP, of signal(7).
const HANG_UP: u32 = 1;
/// SIGKILL.
const KILL: u32 = 9;

/// A process on its way, until its last page has left this node.
#[derive(Clone, Debug)]
pub(crate) struct Away {
    ticket: Ticket,
    pid: Pid,
    name: String,
    to: NodeId,
    /// What cannot move is killed.
    force: bool,
    /// Pages that were here when last counted.
    left: u64,
    /// When that number last changed.
    changed_ns: u64,
}

impl<M: Machine> Shell<M> {
    /// This node is to leave, or to stay after all.
    pub(crate) fn wish(&mut self, cx: &mut Cx<'_>, leaves: bool) -> Result<(), Errno> {
        if !self.setup.views_agreed {
            return Err(Errno::ENOSYS);
        }
        cx.raise(ServerId::Views, EVENT_WISH, &Wish { leaves });
        Ok(())
    }

    /// The login is as the view wants it.
    pub(crate) fn follow_wish(&mut self, cx: &mut Cx<'_>) {
        if !self.setup.views_agreed {
            return;
        }
        match self.login {
            Login::Running { pid, .. } if leaves(cx) => {
                let text =
                    format!("node {}: it is leaving the cluster, the login ends\n", cx.node());
                self.print_console(cx, &text);
                self.login = Login::Ending { pid };
                self.ask(cx, &Signal { pid, signal: HANG_UP }, Wait::HungUp);
                self.later(cx, HANG_UP_NS, Wait::HangUp(pid));
            }
            Login::Off if !leaves(cx) => {
                self.login = Login::Starting;
                self.open_terminal(cx);
            }
            Login::Running { .. } | Login::Ending { .. } | Login::Starting | Login::Off => {}
        }
    }

    /// A login shell may have ended because it was hung up; what has not is made to.
    pub(crate) fn hang_up(&mut self, cx: &mut Cx<'_>, hung_up: Pid) {
        match self.login {
            Login::Ending { pid } if pid == hung_up => {
                self.ask(cx, &Signal { pid, signal: KILL }, Wait::HungUp);
            }
            Login::Running { .. } | Login::Ending { .. } | Login::Starting | Login::Off => {}
        }
    }

    pub(crate) fn move_next(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: &MoveNext,
    ) -> Result<Answer, Errno> {
        let ticket = cx.open_ticket(from)?;
        let MoveNext { after, force } = *op;
        self.ask(cx, &List { after }, Wait::NextToMove { ticket, force });
        Ok(Answer::Pending(ticket))
    }

    pub(crate) fn next_to_move(
        &mut self,
        cx: &mut Cx<'_>,
        (ticket, force): (Ticket, bool),
        result: &Result<NodeReply, Errno>,
    ) {
        let list = result.as_ref().map_err(|errno| *errno);
        let list = match list.and_then(|reply| ProcessList::get(&reply.msg)) {
            Ok(list) => list.0,
            Err(errno) => return cx.complete::<()>(ticket, Err(errno)),
        };
        let Some(last) = list.last().map(|process| process.pid) else {
            return cx.complete(ticket, Ok(MovedNext::End));
        };
        let login = match self.login {
            Login::Running { pid, .. } | Login::Ending { pid } => Some(pid),
            Login::Starting | Login::Off => None,
        };
        // A zombie has nothing left here but its status, which is its parent's.
        let moves = |pid: &Option<Pid>, state| state != 'Z' && *pid != login;
        let found = list
            .into_iter()
            .map(|it| (Pid::new(it.pid), it))
            .find(|(pid, it)| moves(pid, it.state));
        let Some((Some(pid), it)) = found else {
            return self.ask(cx, &List { after: last }, Wait::NextToMove { ticket, force });
        };
        let Some(to) = self.next_target(cx) else {
            return cx.complete::<()>(ticket, Err(Errno::EHOSTDOWN));
        };
        let (left, changed_ns) = (u64::MAX, cx.now_ns());
        let away = Away { ticket, pid, name: it.name, to, force, left, changed_ns };
        self.ask(cx, &Migrate { pid, node: to }, Wait::Away(away));
    }

    /// The members that stay take turns.
    fn next_target(&mut self, cx: &Cx<'_>) -> Option<NodeId> {
        let roster = cx.view().roster().iter();
        let stay: Vec<NodeId> = roster
            .filter(|member| member.node != cx.node() && !member.draining)
            .map(|member| member.node)
            .collect();
        self.targets += 1;
        stay.get(self.targets % stay.len().max(1)).copied()
    }

    pub(crate) fn away(&mut self, cx: &mut Cx<'_>, away: Away, result: &Result<NodeReply, Errno>) {
        let Away { ticket, pid, force, .. } = away;
        match result {
            Ok(_) => self.watch_away(cx, away),
            // It has ended, or somebody else has moved it.
            Err(Errno::ESRCH) => {
                let step = MovedNext::Gone { pid: pid.get() };
                cx.complete(ticket, Ok(step));
            }
            Err(Errno::EPERM | Errno::ENOMEM) if force => {
                self.ask(cx, &Signal { pid, signal: KILL }, Wait::HungUp);
                cx.complete(ticket, Ok(MovedNext::Killed { pid: pid.get(), name: away.name }));
            }
            Err(errno) => {
                let (to, errno) = (away.to.get(), errno.number());
                let step = MovedNext::Stays { pid: pid.get(), name: away.name, to, errno };
                cx.complete(ticket, Ok(step));
            }
        }
    }

    /// Its memory is here as long as its pages are.
    pub(crate) fn watch_away(&mut self, cx: &mut Cx<'_>, away: Away) {
        let (to, pid) = (away.to, away.pid);
        let cookie = self.expect(Wait::AwayPages(away));
        cx.call_node(to, &MovedPages { pid }, Vec::new(), cookie);
    }

    pub(crate) fn away_pages(
        &mut self,
        cx: &mut Cx<'_>,
        mut away: Away,
        result: &Result<NodeReply, Errno>,
    ) {
        let pages = result.as_ref().map_err(|errno| *errno);
        // Who cannot be asked has ended or gone on.
        let left = pages.and_then(|reply| PagesMoved::get(&reply.msg)).map_or(0, |it| it.left);
        if left != away.left {
            (away.left, away.changed_ns) = (left, cx.now_ns());
        }
        if left > 0 && cx.now_ns() - away.changed_ns <= MOVE_PATIENCE_NS {
            return self.later(cx, MOVE_POLL_NS, Wait::AwayAgain(away));
        }
        let Away { ticket, pid, name, to, .. } = away;
        cx.complete(ticket, Ok(MovedNext::Moved { pid: pid.get(), name, to: to.get() }));
    }
}

/// Whether the node wishes to leave, as the view has it.
pub(crate) fn leaves(cx: &Cx<'_>) -> bool {
    cx.view().member(cx.node()).is_some_and(|member| member.draining)
}
