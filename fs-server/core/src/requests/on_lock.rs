// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests about advisory locks: from the description, whose home knows offset and access mode, to the inode,
//! whose home has the locks.

use super::local_only;
use crate::FsCore;
use crate::files::{Description, is_device};
use crate::inode::{MAY_READ, MAY_WRITE};
use crate::job::Waiting;
use crate::limits::LOCK_WAITS_MAX;
use crate::locks::{At, LAST, Waiter, Want, description};
use crate::tree::Kind;
use abi::linux::general::{O_PATH, SEEK_CUR, SEEK_END, SEEK_SET};
use abi::{Errno, FileId, InodeId};
use alloc::vec::Vec;
use fs_api::file::{self, LockFound, LockMode, LockOwner, LockRange};
use fs_api::peer::{self, LockAt, LockHolder, LockStep};
use runtime::{Answer, Client, Cx, Msg, Operation, Wire};

impl FsCore {
    /// Operations on the locks of an open file.
    pub(super) fn lock_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        let at = asking_at(cx, from);
        match op {
            file::Lock::NUMBER => {
                let lock = file::Lock::get(msg)?;
                self.on_locks(cx, from, (lock.file, &lock), |it, file| {
                    check_mode(file, &lock)?;
                    let holder = holder(lock.file, lock.owner);
                    let (first, last) = it.lock_range(file, lock.owner, lock.range)?;
                    let moves =
                        if let LockOwner::Process { moves, .. } = lock.owner { moves } else { 0 };
                    let (mode, wait, at) = (lock.mode, lock.wait, (at, moves));
                    Ok((holder, LockStep::Set { mode, first, last, wait, at }))
                })
            }
            file::TestLock::NUMBER => {
                let test = file::TestLock::get(msg)?;
                self.on_locks(cx, from, (test.file, &test), |it, file| {
                    let (first, last) = it.lock_range(file, test.owner, test.range)?;
                    let step = LockStep::Test { mode: test.mode, first, last };
                    Ok((holder(test.file, test.owner), step))
                })
            }
            file::EndLocks::NUMBER => {
                let end = file::EndLocks::get(msg)?;
                self.on_locks(cx, from, (end.file, &end), |_, _| {
                    Ok((LockHolder::Process(end.pid), LockStep::End))
                })
            }
            file::MoveLocks::NUMBER => {
                let it = file::MoveLocks::get(msg)?;
                let step = LockStep::Move { enters: it.enters, leaves: it.leaves };
                self.on_locks(cx, from, (it.file, &it), |_, _| {
                    Ok((LockHolder::Process(it.pid), step))
                })
            }
            file::LoseLocks::NUMBER => {
                local_only(from)?;
                self.lose_locks(cx, file::LoseLocks::get(msg)?.pid);
                Ok(Answer::reply(&()))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// A step with the locks of the inode that is behind a description.
    fn on_locks<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (file, op): (FileId, &O),
        step: impl FnOnce(&Self, &Description) -> Result<(LockHolder, LockStep), Errno>,
    ) -> Result<Answer, Errno> {
        // One description for all who open it so: nobody could be told from others.
        if is_device(file) {
            return Err(Errno::ENOLCK);
        }
        if !self.is_mine(cx, file)? {
            return Ok(self.forward(cx, from, file.slot(), op, Vec::new()));
        }
        let description = self.files.get(file)?;
        let inode = description.inode;
        let (holder, step) = step(self, description)?;
        if self.tree.is_lost(inode) {
            return Err(Errno::EIO);
        }
        let it = LockAt { inode, holder, step };
        if self.tree.is_home(inode) {
            // The description's slot may be another, which stays.
            let waits = self.is_closed(cx, inode.slot());
            return if waits { Ok(Answer::NextView) } else { self.lock_step(cx, from, it) };
        }
        if matches!(step, LockStep::Set { .. }) && crate::locks::description(holder).is_some() {
            self.files.get_mut(file)?.locked = true;
        }
        Ok(self.call(cx, from, inode.slot(), &it, Vec::new(), |ticket, slot| match from {
            Client::Server { .. } => Waiting::Forwarded(ticket, slot),
            Client::Node { node, .. } => Waiting::Relayed(ticket, slot, node),
        }))
    }

    /// The bytes that a range means, the last one too.
    fn lock_range(
        &self,
        file: &Description,
        owner: LockOwner,
        range: LockRange,
    ) -> Result<(u64, u64), Errno> {
        if owner == LockOwner::Whole {
            return Ok((0, LAST));
        }
        let base = match range.whence {
            SEEK_SET => 0,
            SEEK_CUR => file.position,
            SEEK_END => self.tree.stat(file.inode).map_err(|_| Errno::EINVAL)?.size,
            _ => return Err(Errno::EINVAL),
        };
        let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
        let start = base.checked_add(range.start).ok_or(Errno::EOVERFLOW)?;
        let (first, last) = match range.len {
            0 => (start, i64::MAX),
            1.. => (start, start.checked_add(range.len - 1).ok_or(Errno::EOVERFLOW)?),
            _ => (start.checked_add(range.len).ok_or(Errno::EINVAL)?, start - 1),
        };
        let whole = |byte: i64| u64::try_from(byte).map_err(|_| Errno::EINVAL);
        Ok((whole(first)?, whole(last)?))
    }

    /// A step with the locks of an inode of this home. What it says may be another node's word.
    pub(super) fn lock_step(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        LockAt { inode, holder, step }: LockAt,
    ) -> Result<Answer, Errno> {
        let key = (inode, holder);
        let none = Answer::reply(&LockFound::default());
        match step {
            LockStep::Set { mode, first, last, wait, at } => {
                if !cx.view().contains(at.0) {
                    return Err(Errno::EINVAL);
                }
                let want = self.lock_wanted((inode, holder, at), mode, (first, last))?;
                return self.set_lock(cx, from, want, wait);
            }
            LockStep::Test { mode, first, last } => {
                let at = (cx.node(), 0);
                let want = self.lock_wanted((inode, holder, at), mode, (first, last))?;
                return Ok(Answer::reply(&LockFound { lock: self.locks.first_in_the_way(want) }));
            }
            LockStep::End => self.end_locks(cx, inode, holder),
            LockStep::Move { enters, leaves } => {
                if enters.is_some_and(|at| !cx.view().contains(at.0)) {
                    return Err(Errno::EINVAL);
                }
                self.locks.moved(key, enters, leaves);
                self.grant_locks(cx, inode);
            }
        }
        Ok(none)
    }

    /// A lock that can be asked for.
    fn lock_wanted(
        &self,
        (inode, holder, at): (InodeId, LockHolder, At),
        mode: LockMode,
        (first, last): (u64, u64),
    ) -> Result<Want, Errno> {
        match self.tree.kind(inode)? {
            Kind::File | Kind::LowerFile(_) | Kind::Directory => {}
            Kind::Device(_) | Kind::Link(_) | Kind::Special(_) | Kind::Elsewhere => {
                return Err(Errno::ENOLCK);
            }
        }
        let whole = matches!(holder, LockHolder::Whole(_));
        if first > last || last > LAST || whole && (first, last) != (0, LAST) {
            return Err(Errno::EINVAL);
        }
        Ok(Want { inode, holder, at, mode, first, last })
    }

    fn set_lock(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        want: Want,
        wait: bool,
    ) -> Result<Answer, Errno> {
        let (inode, holder) = (want.inode, want.holder);
        if self.tree.short && want.mode != LockMode::Unlock {
            return Err(Errno::ENOLCK);
        }
        if matches!(holder, LockHolder::Whole(_)) && want.mode != LockMode::Unlock {
            if self.locks.has_so(want) {
                return Ok(Answer::reply(&LockFound::default()));
            }
            // As on Linux: the lock before is let go first, whatever comes of it.
            self.end_locks_kept(cx, inode, holder);
        }
        if self.locks.is_free(want) {
            self.locks.set(want)?;
            self.grant_locks(cx, inode);
            if self.ends_with_this_node(cx, inode, holder) {
                cx.answer_early();
            }
            return Ok(Answer::reply(&LockFound::default()));
        }
        if !wait {
            return Err(Errno::EAGAIN);
        }
        if self.locks.waiters.len() >= LOCK_WAITS_MAX {
            return Err(Errno::ENOLCK);
        }
        if let LockHolder::Process(pid) = holder
            && self.locks.before(want).contains(&pid)
        {
            return Err(Errno::EDEADLK);
        }
        let ticket = cx.open_ticket(from)?;
        self.locks.waiters.push(Waiter::new(ticket, from, want, cx.now_ns()));
        self.watch_waits(cx);
        Ok(Answer::Pending(ticket))
    }

    /// Whether a holder's locks end with this node: then nobody relies on the backup's copy.
    fn ends_with_this_node(&self, cx: &Cx<'_>, inode: InodeId, holder: LockHolder) -> bool {
        match description(holder) {
            None => self.locks.is_only_at((inode, holder), cx.node()),
            Some(file) => self.files.get(file).is_ok_and(|it| it.is_only_of(cx.node())),
        }
    }

    /// The same from other nodes: untrusted input.
    pub(super) fn lock_peer_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        match op {
            peer::LockAt::NUMBER => {
                let at = LockAt::get(msg)?;
                if self.tree.is_lost(at.inode) {
                    return Err(Errno::EIO);
                }
                self.lock_step(cx, from, at)
            }
            peer::WaitsFor::NUMBER => {
                let pids = self.waits_for(&peer::WaitsFor::get(msg)?)?;
                Ok(Answer::reply(&pids))
            }
            peer::IsOpen::NUMBER => {
                let peer::IsOpen { file } = peer::IsOpen::get(msg)?;
                self.is_mine(cx, file)?;
                self.files.get(file)?;
                Ok(Answer::reply(&()))
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}

fn asking_at(cx: &Cx<'_>, from: Client) -> abi::NodeId {
    match from {
        Client::Server { .. } => cx.node(),
        Client::Node { node, .. } => node,
    }
}

fn holder(file: FileId, owner: LockOwner) -> LockHolder {
    match owner {
        LockOwner::Whole => LockHolder::Whole(file),
        LockOwner::Description => LockHolder::Description(file),
        LockOwner::Process { pid, .. } => LockHolder::Process(pid),
    }
}

/// fcntl(2) asks for the access mode that the lock is good for, flock(2) only that there is one.
fn check_mode(file: &Description, lock: &file::Lock) -> Result<(), Errno> {
    if file.flags & O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    match (lock.owner, lock.mode) {
        (LockOwner::Whole, _) | (_, LockMode::Unlock) => Ok(()),
        (_, LockMode::Shared) => file.check(MAY_READ),
        (_, LockMode::Exclusive) => file.check(MAY_WRITE),
    }
}
