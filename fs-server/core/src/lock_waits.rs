// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls that wait for a lock: how they end, and rings of them over several homes.
//!
//! # Model
//! ```text
//! waits --the way is free--> granted
//!    |--cancelled, its node is gone--> ECANCELED     |--its slot leaves--> ERESTART: asks at the next home
//!    |--its description is closed--> EBADF           '--in a ring of waits--> EDEADLK
//! ```
//! Whoever lets something go looks at those who wait for the same file, in the order in which they came.

use crate::FsCore;
use crate::job::Waiting;
use crate::limits::{CANCEL_NS, LOOK_NS_MAX, LOOK_PIDS_MAX, LOOK_ROUNDS_MAX};
use crate::locks::{Search, Waiter, description};
use abi::{Errno, FileId, InodeId, NodeId, SlotNo, Ticket};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use cluster::View;
use fs_api::file::LockFound;
use fs_api::peer::{IsOpen, LockAt, LockHolder, LockStep, Pids, WaitsFor};
use runtime::{Cx, NodeReply, Wire};

/// The one timer of this module.
pub(crate) const LOCK_TIMER: u64 = 1;

/// What is under way about locks.
#[derive(Default)]
pub(crate) struct LockWork {
    searches: BTreeMap<u64, Search>,
    /// Calls at other homes that nobody wants any more and that have not ended.
    cancelled: BTreeSet<u64>,
    /// When the timer runs out.
    armed_ns: Option<u64>,
}

impl FsCore {
    /// Those who wait for the file and have the way free now get what they wait for.
    pub(crate) fn grant_locks(&mut self, cx: &mut Cx<'_>, inode: InodeId) {
        loop {
            let (mut at, mut shrank) = (0, false);
            while let Some(Waiter { want, ticket, .. }) = self.locks.waiters.get(at).cloned() {
                if want.inode != inode || !self.locks.is_free(want) {
                    at += 1;
                    continue;
                }
                self.locks.waiters.remove(at);
                // What its holder had exclusively may be in nobody's way any more.
                shrank |= self.locks.had_more(want);
                let set = self.locks.set(want).map(|()| LockFound::default());
                cx.complete(ticket, set);
            }
            if !shrank {
                return;
            }
        }
    }

    /// A holder has no locks of the file any more.
    pub(crate) fn end_locks(&mut self, cx: &mut Cx<'_>, inode: InodeId, holder: LockHolder) {
        if description(holder).is_some() {
            let its = |it: &mut Waiter| (it.want.inode, it.want.holder) == (inode, holder);
            for waiter in self.locks.waiters.extract_if(.., its).collect::<Vec<_>>() {
                cx.complete::<()>(waiter.ticket, Err(Errno::EBADF));
            }
        }
        self.end_locks_kept(cx, inode, holder);
    }

    /// The same, but who waits for more goes on waiting.
    pub(crate) fn end_locks_kept(&mut self, cx: &mut Cx<'_>, inode: InodeId, holder: LockHolder) {
        if self.locks.end(inode, holder) {
            self.grant_locks(cx, inode);
        }
    }

    /// A description is closed, of an inode of which it may have locks.
    pub(crate) fn end_locks_of_file(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        (inode, locked): (InodeId, bool),
    ) {
        for holder in [LockHolder::Whole(file), LockHolder::Description(file)] {
            if self.tree.is_home(inode) {
                self.end_locks(cx, inode, holder);
            } else if locked {
                let cookie = self.new_cookie();
                let end = LockAt { inode, holder, step: LockStep::End };
                cx.call_home(inode.slot(), &end, Vec::new(), cookie);
            }
        }
    }

    /// A process was lost.
    pub(crate) fn lose_locks(&mut self, cx: &mut Cx<'_>, pid: u32) {
        for inode in self.locks.files_of(pid) {
            if self.tree.is_home(inode) {
                self.end_locks(cx, inode, LockHolder::Process(pid));
            }
        }
    }

    /// A node is gone: its processes have no locks, and nobody there waits.
    pub(crate) fn drop_locks_of(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        for waiter in self.locks.take_waiters_of(node) {
            cx.complete::<()>(waiter.ticket, Err(Errno::ECANCELED));
        }
        for inode in self.locks.end_processes(None, |it| it != node) {
            self.grant_locks(cx, inode);
        }
        let relayed =
            |waiting: &Waiting| matches!(waiting, Waiting::Relayed(_, _, it) if *it == node);
        let cookies = self.waiting.iter().filter(|(_, waiting)| relayed(waiting));
        for cookie in cookies.map(|(cookie, _)| *cookie).collect::<BTreeSet<_>>() {
            self.give_up(cx, cookie);
        }
    }

    /// Nobody waits for a ticket any more.
    pub(crate) fn cancel_ticket(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        if let Some(at) = self.locks.waiters.iter().position(|it| it.ticket == ticket) {
            self.locks.waiters.remove(at);
            return cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        }
        let is_it = |waiting: &Waiting| match waiting {
            Waiting::Forwarded(it, _) | Waiting::Relayed(it, ..) => *it == ticket,
            _ => false,
        };
        let cookie = self.waiting.iter().find(|(_, it)| is_it(it)).map(|(cookie, _)| *cookie);
        if let Some(cookie) = cookie {
            self.give_up(cx, cookie);
        }
    }

    /// Nobody wants the answer of a call at another home any more.
    fn give_up(&mut self, cx: &mut Cx<'_>, cookie: u64) {
        cx.cancel(cookie);
        self.lock_work.cancelled.insert(cookie);
        self.watch_waits(cx);
    }

    /// Arms the timer for what is next to be done.
    pub(crate) fn watch_waits(&mut self, cx: &mut Cx<'_>) {
        let alone = self.tree.others().next().is_none();
        let process = |it: &&Waiter| matches!(it.want.holder, LockHolder::Process(_));
        let looks = self.locks.waiters.iter().filter(process).map(|it| it.look_ns);
        let again = cx.now_ns().saturating_add(CANCEL_NS);
        let again = Some(again).filter(|_| !self.lock_work.cancelled.is_empty());
        let Some(next_ns) = looks.filter(|_| !alone).chain(again).min() else { return };
        if self.lock_work.armed_ns.is_none_or(|armed| next_ns < armed)
            && cx.arm(next_ns, LOCK_TIMER).is_ok()
        {
            self.lock_work.armed_ns = Some(next_ns);
        }
    }

    /// The timer has run out.
    pub(crate) fn lock_timer(&mut self, cx: &mut Cx<'_>) {
        self.lock_work.armed_ns = None;
        let waiting = &self.waiting;
        self.lock_work.cancelled.retain(|cookie| waiting.contains_key(cookie));
        for cookie in &self.lock_work.cancelled {
            cx.cancel(*cookie);
        }
        let now_ns = cx.now_ns();
        let mut due = Vec::new();
        for waiter in &mut self.locks.waiters {
            if let LockHolder::Process(pid) = waiter.want.holder
                && waiter.look_ns <= now_ns
            {
                waiter.pause_ns = (waiter.pause_ns * 2).min(LOOK_NS_MAX);
                waiter.look_ns = now_ns.saturating_add(waiter.pause_ns);
                due.push((waiter.ticket, pid, waiter.want));
            }
        }
        for (ticket, pid, want) in due {
            let seen = self.locks.before(want);
            let got = BTreeSet::new();
            let search = Search { ticket, pid, seen, got, left: 0, rounds: 0 };
            let pids = search.seen.iter().copied().collect();
            self.search_on(cx, search, pids);
        }
        self.watch_waits(cx);
    }

    /// Asks all members for whom these processes wait.
    fn search_on(&mut self, cx: &mut Cx<'_>, mut search: Search, pids: Vec<u32>) {
        let others: Vec<NodeId> = self.tree.others().collect();
        search.rounds += 1;
        search.left = others.len();
        let over = pids.is_empty() || search.seen.len() > LOOK_PIDS_MAX;
        if over || search.left == 0 || search.rounds > LOOK_ROUNDS_MAX {
            return;
        }
        let number = self.new_cookie();
        self.lock_work.searches.insert(number, search);
        for node in others {
            let cookie = self.new_cookie();
            self.waiting.insert(cookie, Waiting::Search(number));
            cx.call_node(node, &WaitsFor { pids: pids.clone() }, Vec::new(), cookie);
        }
    }

    /// A member has answered, or does not.
    pub(crate) fn search_answered(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        result: Result<NodeReply, Errno>,
    ) {
        let Some(search) = self.lock_work.searches.get_mut(&number) else { return };
        if let Ok(Pids { pids }) = result.and_then(|reply| Pids::get(&reply.msg)) {
            search.got.extend(pids.into_iter().take(LOOK_PIDS_MAX + 1));
        }
        search.left -= 1;
        if search.left > 0 {
            return;
        }
        let Some(mut search) = self.lock_work.searches.remove(&number) else { return };
        let Some(at) = self.locks.waiters.iter().position(|it| it.ticket == search.ticket) else {
            return;
        };
        let new: BTreeSet<u32> = search.got.difference(&search.seen).copied().collect();
        let reached = self.locks.reached(new);
        if reached.contains(&search.pid) {
            let waiter = self.locks.waiters.remove(at);
            return cx.complete::<()>(waiter.ticket, Err(Errno::EDEADLK));
        }
        let next = reached.difference(&search.seen).copied().collect();
        search.seen.extend(reached);
        search.got.clear();
        self.search_on(cx, search, next);
    }

    /// What [`WaitsFor`] asks.
    pub(crate) fn waits_for(&self, asked: &WaitsFor) -> Result<Pids, Errno> {
        if asked.pids.len() > LOOK_PIDS_MAX {
            return Err(Errno::EINVAL);
        }
        let reached = self.locks.reached(asked.pids.iter().copied());
        let new = reached.into_iter().filter(|pid| !asked.pids.contains(pid));
        Ok(Pids { pids: new.collect() })
    }

    /// The slot is about to leave: who waits there asks again, and then waits for the next view.
    pub(crate) fn send_waiters_away(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let its = |it: &mut Waiter| it.want.inode.slot() == slot;
        for waiter in self.locks.waiters.extract_if(.., its).collect::<Vec<_>>() {
            cx.complete::<()>(waiter.ticket, Err(Errno::ERESTART));
        }
    }

    /// The slot has come here, or is taken over: holders that are no more have nothing.
    pub(crate) fn prune_locks(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let member = |node: NodeId| cx.view().contains(node);
        self.locks.end_processes(Some(slot), member);
        let all: Vec<_> = self.locks.of_descriptions().collect();
        for (inode, holder, file) in all.into_iter().filter(|it| it.0.slot() == slot) {
            self.check_holder(cx, inode, holder, file);
        }
    }

    /// A view came. Descriptions of other homes may have gone without a word, with the node that had them.
    pub(crate) fn check_holders(&mut self, cx: &mut Cx<'_>, old: &View) {
        if old.members().iter().all(|node| old.keeps(cx.view(), *node)) {
            return;
        }
        let all: Vec<_> = self.locks.of_descriptions().collect();
        for (inode, holder, file) in all {
            if self.tree.is_home(inode) && file.slot() != inode.slot() {
                self.check_holder(cx, inode, holder, file);
            }
        }
    }

    /// Ends the locks of a description if it is no more; asks its home if that is another.
    fn check_holder(&mut self, cx: &mut Cx<'_>, inode: InodeId, holder: LockHolder, file: FileId) {
        let lost = cx.view().has_lost(file.slot(), file.serial());
        let here = cx.view().home(file.slot()) == cx.node();
        if lost || here && self.files.get(file).is_err() {
            self.end_locks(cx, inode, holder);
        } else if !here {
            let cookie = self.new_cookie();
            self.waiting.insert(cookie, Waiting::Holder(inode, holder));
            cx.call_home(file.slot(), &IsOpen { file }, Vec::new(), cookie);
        }
    }

    /// A description's home has said whether it is there.
    pub(crate) fn holder_checked(
        &mut self,
        cx: &mut Cx<'_>,
        (inode, holder): (InodeId, LockHolder),
        result: Result<NodeReply, Errno>,
    ) {
        let file = description(holder);
        let lost = file.is_some_and(|it| cx.view().has_lost(it.slot(), it.serial()));
        let gone = matches!(result, Err(Errno::EBADF | Errno::EIO)) || result.is_err() && lost;
        if gone && self.tree.is_home(inode) {
            self.end_locks(cx, inode, holder);
        }
    }
}
