// SPDX-License-Identifier: MIT OR Apache-2.0
//! Futexes: queues of tickets on words of memory, futex(2).
//!
//! # Model
//! A private futex is named by space and address, a process-shared one in a shared mapping by object
//! and offset. Comparing and queueing are one step under the server's lock.
//!
//! The queue of a process-shared futex is at the home of the object: [`crate::sleep`] has what other nodes do.

use crate::MemCore;
use crate::areas::Source;
use crate::limits::PAGE;
use crate::machine::Machine;
use crate::object::{Store, is_home};
use crate::sleep::Sleepers;
use abi::{Errno, NodeId, ObjectId, SpaceId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mem_api::peer::Rouse;
use mem_api::{Access, Count, FutexRequeue, FutexWait, FutexWake};
use runtime::collections::HashMap;
use runtime::{Answer, Client, Cx};

/// Set in `bitset_shared` for a process-shared futex.
const SHARED: u64 = 1 << 32;
/// Meets every bitset.
const ANY: u32 = u32::MAX;

/// What names a futex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Key {
    Private(SpaceId, u64),
    Shared(ObjectId, u64),
}

/// Where a futex's queue is.
enum Place {
    Here(Key),
    /// At the home of the object, which is another node.
    Afar(ObjectId, u64),
}

/// Whose thread waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    Space(SpaceId),
    Node(NodeId),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) bitset: u32,
    pub(crate) of: Of,
}

/// All queues.
#[derive(Default)]
pub(crate) struct Futexes {
    queues: HashMap<Key, VecDeque<Waiter>>,
    by_ticket: HashMap<Ticket, Key>,
    /// Threads of this node that wait at other homes.
    pub(crate) afar: Sleepers,
}

impl Futexes {
    pub(crate) fn push(&mut self, key: Key, waiter: Waiter) {
        self.by_ticket.insert(waiter.ticket, key);
        self.queues.entry(key).or_default().push_back(waiter);
    }

    /// Takes out up to `count` waiters that `wanted` accepts, in order.
    pub(crate) fn take(
        &mut self,
        key: Key,
        count: u32,
        wanted: impl Fn(&Waiter) -> bool,
    ) -> Vec<Waiter> {
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

    /// Wakes waiters in their order.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, key: Key, count: u32, bitset: u32) -> Count {
        wake(cx, &self.take(key, count, |waiter| waiter.bitset & bitset != 0))
    }

    /// Ends a wait with ECANCELED; false if the ticket waits for no futex.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let Some(&key) = self.by_ticket.get(&ticket) else {
            return self.afar.cancel(cx, ticket);
        };
        for waiter in self.take(key, 1, |waiter| waiter.ticket == ticket) {
            cx.complete::<()>(waiter.ticket, Err(Errno::ECANCELED));
        }
        true
    }

    /// The space ends: so do the waits of its threads.
    pub(crate) fn end_space(&mut self, cx: &mut Cx<'_>, space: SpaceId) {
        self.end_of(cx, Of::Space(space));
        self.afar.end_space(cx, space);
    }

    /// Ends the waits of these threads.
    pub(crate) fn end_of(&mut self, cx: &mut Cx<'_>, of: Of) {
        let has = |queue: &VecDeque<Waiter>| queue.iter().any(|it| it.of == of);
        let keys: Vec<Key> =
            self.queues.iter().filter(|(_, queue)| has(queue)).map(|(key, _)| *key).collect();
        for key in keys {
            for waiter in self.take(key, u32::MAX, |waiter| waiter.of == of) {
                cx.complete::<()>(waiter.ticket, Err(Errno::ECANCELED));
            }
        }
    }

    /// The object has another home, where its queues are from now on: who waits looks again.
    pub(crate) fn end_object(&mut self, cx: &mut Cx<'_>, object: ObjectId) {
        self.end_shared(cx, |of| of == object);
    }

    /// Who waits in these objects looks again.
    pub(crate) fn end_shared(&mut self, cx: &mut Cx<'_>, is_its: impl Fn(ObjectId) -> bool) {
        let is_its = |key: &&Key| matches!(key, Key::Shared(of, _) if is_its(*of));
        let keys: Vec<Key> = self.queues.keys().filter(is_its).copied().collect();
        for key in keys {
            wake(cx, &self.take(key, u32::MAX, |_| true));
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.by_ticket.is_empty() && self.afar.is_empty()
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
        let place = self.futex_place(cx, op.space, op.addr, op.bitset_shared & SHARED != 0)?;
        if self.futex_word(op.space, op.addr)? != op.value {
            return Err(Errno::EAGAIN);
        }
        match place {
            Place::Here(key) => {
                let ticket = cx.open_ticket(from)?;
                self.futexes.push(key, Waiter { ticket, bitset, of: Of::Space(op.space) });
                Ok(Answer::Pending(ticket))
            }
            Place::Afar(object, offset) => self.sleep(cx, from, op, (object, offset)),
        }
    }

    pub(crate) fn futex_wake(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: FutexWake,
    ) -> Result<Answer, Errno> {
        let bitset = op.bitset_shared as u32;
        match self.futex_place(cx, op.space, op.addr, op.bitset_shared & SHARED != 0)? {
            Place::Here(key) => Ok(Answer::reply(&self.futexes.wake(cx, key, op.count, bitset))),
            Place::Afar(object, offset) => {
                let rouse = Rouse { object, offset, count: op.count, bitset };
                self.rouse(cx, from, rouse)
            }
        }
    }

    pub(crate) fn futex_requeue(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: FutexRequeue,
    ) -> Result<Answer, Errno> {
        let place = self.futex_place(cx, op.space, op.addr, op.shared)?;
        let to = self.futex_place(cx, op.space, op.to, op.shared)?;
        if let Some(expected) = op.expected
            && self.futex_word(op.space, op.addr)? != expected
        {
            return Err(Errno::EAGAIN);
        }
        let all = op.wake.saturating_add(op.requeue);
        let (key, to) = match (place, to) {
            (Place::Here(key), Place::Here(to)) => (key, to),
            // Queues at two homes: who would be moved is woken, and looks again.
            (Place::Here(key), Place::Afar(..)) => {
                return Ok(Answer::reply(&self.futexes.wake(cx, key, all, ANY)));
            }
            (Place::Afar(object, offset), _) => {
                let rouse = Rouse { object, offset, count: all, bitset: ANY };
                return self.rouse(cx, from, rouse);
            }
        };
        let mut count = self.futexes.wake(cx, key, op.wake, ANY);
        if key != to {
            for waiter in self.futexes.take(key, op.requeue, |_| true) {
                self.futexes.push(to, waiter);
                count.count += 1;
            }
        }
        Ok(Answer::reply(&count))
    }

    pub(crate) fn futex_word(&mut self, space: SpaceId, addr: u64) -> Result<u32, Errno> {
        let frame = self.user_frame(space, addr / PAGE, Access::Read)?;
        let at = (addr % PAGE) as usize;
        let bytes = &self.frames.machine.bytes(frame)[at..at + 4];
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn futex_place(
        &mut self,
        cx: &Cx<'_>,
        id: SpaceId,
        addr: u64,
        shared: bool,
    ) -> Result<Place, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let space = self.spaces.get(id)?;
        let Some((start, area)) = space.areas.find(addr / PAGE) else {
            return Err(Errno::EFAULT);
        };
        match area.source {
            Source::Object { object, first } if shared && area.shared => {
                let offset = addr - start * PAGE + first * PAGE;
                // What nobody is the home of, or every node has by itself, only this node's threads share.
                let it = self.objects.get(object)?;
                let alone = it.orphan || matches!(it.store, Store::Root { .. });
                if alone || is_home(cx, object) {
                    Ok(Place::Here(Key::Shared(object, offset)))
                } else {
                    Ok(Place::Afar(object, offset))
                }
            }
            Source::Object { .. } | Source::Anonymous => Ok(Place::Here(Key::Private(id, addr))),
        }
    }
}

fn wake(cx: &mut Cx<'_>, woken: &[Waiter]) -> Count {
    for waiter in woken {
        cx.complete(waiter.ticket, Ok(()));
    }
    Count { count: woken.len() as u64 }
}
