// SPDX-License-Identifier: MIT OR Apache-2.0
//! Futexes: queues of tickets on words of memory, futex(2).
//!
//! # Model
//! A private futex is named by space and address, a process-shared one in a shared mapping by object
//! and offset. Comparing and queueing are one step under the server's lock.
//!
//! # Limits
//! A process-shared futex in an object of another home answers ENOSYS.

use crate::MemCore;
use crate::areas::Source;
use crate::limits::PAGE;
use crate::machine::Machine;
use crate::object::is_home;
use abi::{Errno, ObjectId, SpaceId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mem_api::{Access, Count, FutexRequeue, FutexWait, FutexWake};
use runtime::collections::HashMap;
use runtime::{Answer, Client, Cx};

/// Set in `bitset_shared` for a process-shared futex.
const SHARED: u64 = 1 << 32;

/// What names a futex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    Private(SpaceId, u64),
    Shared(ObjectId, u64),
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    bitset: u32,
    space: SpaceId,
}

/// All queues.
#[derive(Default)]
pub(crate) struct Futexes {
    queues: HashMap<Key, VecDeque<Waiter>>,
    by_ticket: HashMap<Ticket, Key>,
}

impl Futexes {
    fn push(&mut self, key: Key, waiter: Waiter) {
        self.by_ticket.insert(waiter.ticket, key);
        self.queues.entry(key).or_default().push_back(waiter);
    }

    /// Takes out up to `count` waiters that `wanted` accepts, in order.
    fn take(&mut self, key: Key, count: u32, wanted: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let Some(queue) = self.queues.get_mut(&key) else { return Vec::new() };
        let mut taken = Vec::new();
        queue.retain(|waiter| {
            let take = taken.len() < count as usize && wanted(waiter);
            if take {
                taken.push(*waiter);
            }
            !take
        });
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        for waiter in &taken {
            self.by_ticket.remove(&waiter.ticket);
        }
        taken
    }

    /// Ends a wait with ECANCELED; false if the ticket waits for no futex.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let Some(&key) = self.by_ticket.get(&ticket) else { return false };
        for waiter in self.take(key, 1, |waiter| waiter.ticket == ticket) {
            cx.complete::<()>(waiter.ticket, Err(Errno::ECANCELED));
        }
        true
    }

    /// The space ends: so do the waits of its threads.
    pub(crate) fn end_space(&mut self, cx: &mut Cx<'_>, space: SpaceId) {
        let of_space = |queue: &VecDeque<Waiter>| queue.iter().any(|it| it.space == space);
        let keys: Vec<Key> =
            self.queues.iter().filter(|(_, queue)| of_space(queue)).map(|(key, _)| *key).collect();
        for key in keys {
            for waiter in self.take(key, u32::MAX, |waiter| waiter.space == space) {
                cx.complete::<()>(waiter.ticket, Err(Errno::ECANCELED));
            }
        }
    }

    /// The object has another home, where its queues are from now on: who waits looks again.
    pub(crate) fn end_object(&mut self, cx: &mut Cx<'_>, object: ObjectId) {
        let is_its = |key: &&Key| matches!(key, Key::Shared(of, _) if *of == object);
        let keys: Vec<Key> = self.queues.keys().filter(is_its).copied().collect();
        for key in keys {
            wake(cx, &self.take(key, u32::MAX, |_| true));
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.by_ticket.is_empty()
    }
}

impl<M: Machine> MemCore<M> {
    pub(crate) fn futex_wait(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: FutexWait,
    ) -> Result<Answer, Errno> {
        let bitset = op.bitset_shared as u32;
        if bitset == 0 {
            return Err(Errno::EINVAL);
        }
        let key = self.futex_key(cx, op.space, op.addr, op.bitset_shared & SHARED != 0)?;
        if self.futex_word(op.space, op.addr)? != op.value {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        self.futexes.push(key, Waiter { ticket, bitset, space: op.space });
        Ok(Answer::Pending(ticket))
    }

    pub(crate) fn futex_wake(&mut self, cx: &mut Cx<'_>, op: FutexWake) -> Result<Count, Errno> {
        let bitset = op.bitset_shared as u32;
        let key = self.futex_key(cx, op.space, op.addr, op.bitset_shared & SHARED != 0)?;
        let woken = self.futexes.take(key, op.count, |waiter| waiter.bitset & bitset != 0);
        Ok(wake(cx, &woken))
    }

    pub(crate) fn futex_requeue(
        &mut self,
        cx: &mut Cx<'_>,
        op: FutexRequeue,
    ) -> Result<Count, Errno> {
        let key = self.futex_key(cx, op.space, op.addr, op.shared)?;
        let to = self.futex_key(cx, op.space, op.to, op.shared)?;
        if let Some(expected) = op.expected
            && self.futex_word(op.space, op.addr)? != expected
        {
            return Err(Errno::EAGAIN);
        }
        let woken = self.futexes.take(key, op.wake, |_| true);
        let mut count = wake(cx, &woken);
        if key != to {
            for waiter in self.futexes.take(key, op.requeue, |_| true) {
                self.futexes.push(to, waiter);
                count.count += 1;
            }
        }
        Ok(count)
    }

    fn futex_word(&mut self, space: SpaceId, addr: u64) -> Result<u32, Errno> {
        let frame = self.user_frame(space, addr / PAGE, Access::Read)?;
        let at = (addr % PAGE) as usize;
        let bytes = &self.frames.machine.bytes(frame)[at..at + 4];
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn futex_key(
        &mut self,
        cx: &Cx<'_>,
        id: SpaceId,
        addr: u64,
        shared: bool,
    ) -> Result<Key, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let space = self.spaces.get(id)?;
        let Some((start, area)) = space.areas.find(addr / PAGE) else {
            return Err(Errno::EFAULT);
        };
        match area.source {
            Source::Object { object, first } if shared && area.shared => {
                if !is_home(cx, object) {
                    return Err(Errno::ENOSYS);
                }
                Ok(Key::Shared(object, addr - start * PAGE + first * PAGE))
            }
            Source::Object { .. } | Source::Anonymous => Ok(Key::Private(id, addr)),
        }
    }
}

fn wake(cx: &mut Cx<'_>, woken: &[Waiter]) -> Count {
    for waiter in woken {
        cx.complete(waiter.ticket, Ok(()));
    }
    Count { count: woken.len() as u64 }
}
