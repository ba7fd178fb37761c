// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process-shared futexes whose object has its home on another node.
//!
//! # Model
//! ```text
//! waiter's node                 home                          waker's node
//!   word is the value
//!   Sleep ---------------------> in the queue
//!   looks at the word <--Asleep-
//!     still the value: waits                                   writes the word
//!                                taken from the queue <---------- Rouse
//!   the wait ends <---answer----
//!     another value, or the page is away: cancels Sleep; if that was not too late, EAGAIN
//! ```
//! The word is looked at when nobody can wake the futex any more without this waiter. Who then sees the value
//! sees it before the waker writes, as only one node at a time can write a page: so the waker finds it asleep.
//! That the page is away says that somebody writes to it: the program looks again.
//!
//! # Failure
//! If the home is gone the program looks again (EAGAIN), and finds the next home. Nobody is woken there: who
//! waits hears of the death itself.

use crate::MemCore;
use crate::futex::{Key, Of, Waiter};
use crate::machine::Machine;
use crate::object::{home, is_home};
use abi::{Errno, ObjectId, SpaceId, Ticket};
use alloc::vec::Vec;
use mem_api::peer::{Asleep, Rouse, Sleep};
use mem_api::{Count, FutexWait};
use runtime::collections::HashMap;
use runtime::{Answer, Client, Cx, NodeReply, Wire};

/// A thread that waits at another home.
struct Sleeper {
    ticket: Ticket,
    space: SpaceId,
    addr: u64,
    /// What the word must be.
    value: u32,
    /// Of the open call.
    cookie: u64,
    /// The call is cancelled: how the wait ends if that is not too late.
    refused: Option<Errno>,
}

/// An open call to a home.
enum Call {
    Sleep(u32),
    Rouse(Ticket, Rouse),
}

/// Cookie of the timer that wakes again.
pub(crate) const TIMER_ROUSE: u64 = 3;
/// A wake-up for which a link has no room, or whose home does not answer, is tried again after this time.
const ROUSE_AGAIN_NS: u64 = 5_000_000;

/// The threads of this node that wait at other homes, and who wakes there.
#[derive(Default)]
pub(crate) struct Sleepers {
    rows: HashMap<u32, Sleeper>,
    by_ticket: HashMap<Ticket, u32>,
    calls: HashMap<u64, Call>,
    /// Wake-ups that are to be tried again: somebody may sleep until then.
    again: Vec<(Ticket, Rouse)>,
    last: u32,
}

impl Sleepers {
    fn remove(&mut self, number: u32) -> Option<Sleeper> {
        let sleeper = self.rows.remove(&number)?;
        self.by_ticket.remove(&sleeper.ticket);
        Some(sleeper)
    }

    /// Gives a wait up, unless it has been woken; false if the ticket is none.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let number = self.by_ticket.get(&ticket);
        let Some(sleeper) = number.and_then(|number| self.rows.get_mut(number)) else {
            // Who wakes hears soon.
            return self.again.iter().any(|(of, _)| *of == ticket)
                || self.calls.values().any(|it| matches!(it, Call::Rouse(of, _) if *of == ticket));
        };
        sleeper.refused = Some(Errno::ECANCELED);
        cx.cancel(sleeper.cookie);
        true
    }

    /// The space ends, and with it the waits of its threads.
    pub(crate) fn end_space(&mut self, cx: &mut Cx<'_>, space: SpaceId) {
        let of_space = self.rows.iter().filter(|(_, it)| it.space == space);
        for number in of_space.map(|(number, _)| *number).collect::<Vec<_>>() {
            let Some(sleeper) = self.remove(number) else { continue };
            self.calls.remove(&sleeper.cookie);
            cx.cancel(sleeper.cookie);
            cx.complete::<()>(sleeper.ticket, Err(Errno::ECANCELED));
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.by_ticket.is_empty()
            && self.calls.is_empty()
            && self.again.is_empty()
    }
}

impl<M: Machine> MemCore<M> {
    /// Waits at the home of an object.
    pub(crate) fn sleep(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: FutexWait,
        (object, offset): (ObjectId, u64),
    ) -> Result<Answer, Errno> {
        let ticket = cx.open_ticket(from)?;
        self.next_cookie += 1;
        let (cookie, afar) = (self.next_cookie, &mut self.futexes.afar);
        afar.last = afar.last.wrapping_add(1);
        let number = afar.last;
        let FutexWait { space, addr, value, bitset_shared } = op;
        let sleeper = Sleeper { ticket, space, addr, value, cookie, refused: None };
        afar.rows.insert(number, sleeper);
        afar.by_ticket.insert(ticket, number);
        afar.calls.insert(cookie, Call::Sleep(number));
        let sleep = Sleep { object, offset, bitset: bitset_shared as u32, number };
        cx.call_node(home(cx, object), &sleep, Vec::new(), cookie);
        Ok(Answer::Pending(ticket))
    }

    /// Wakes at the home of an object.
    pub(crate) fn rouse(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: Rouse,
    ) -> Result<Answer, Errno> {
        let ticket = cx.open_ticket(from)?;
        self.call_rouse(cx, ticket, op);
        Ok(Answer::Pending(ticket))
    }

    fn call_rouse(&mut self, cx: &mut Cx<'_>, ticket: Ticket, op: Rouse) {
        self.next_cookie += 1;
        self.futexes.afar.calls.insert(self.next_cookie, Call::Rouse(ticket, op));
        cx.call_node(home(cx, op.object), &op, Vec::new(), self.next_cookie);
    }

    /// Tries those wake-ups again that have not reached a home.
    pub(crate) fn rouse_again(&mut self, cx: &mut Cx<'_>) {
        for (ticket, op) in core::mem::take(&mut self.futexes.afar.again) {
            if is_home(cx, op.object) {
                let Rouse { object, offset, count, bitset } = op;
                let count = self.futexes.wake(cx, Key::Shared(object, offset), count, bitset);
                cx.complete(ticket, Ok(count));
            } else {
                self.call_rouse(cx, ticket, op);
            }
        }
    }

    /// At the home: a thread of another node waits.
    pub(crate) fn sleep_for(
        &mut self,
        cx: &mut Cx<'_>,
        (from, node): (Client, abi::NodeId),
        op: Sleep,
    ) -> Result<Answer, Errno> {
        let Sleep { object, offset, bitset, number } = op;
        if let Some(answer) = elsewhere(cx, object) {
            return Ok(answer);
        }
        if bitset == 0 || !offset.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        // Without that it could sleep for ever.
        cx.tell_node(node, &Asleep { number }, Vec::new())?;
        let ticket = cx.open_ticket(from)?;
        self.futexes
            .push(Key::Shared(object, offset), Waiter { ticket, bitset, of: Of::Node(node) });
        Ok(Answer::Pending(ticket))
    }

    /// At the home: another node wakes.
    pub(crate) fn rouse_for(&mut self, cx: &mut Cx<'_>, op: Rouse) -> Result<Answer, Errno> {
        let Rouse { object, offset, count, bitset } = op;
        if let Some(answer) = elsewhere(cx, object) {
            return Ok(answer);
        }
        Ok(Answer::reply(&self.futexes.wake(cx, Key::Shared(object, offset), count, bitset)))
    }

    /// The wait counts at the home: the word is looked at.
    pub(crate) fn asleep(&mut self, cx: &mut Cx<'_>, number: u32) {
        let Some(sleeper) = self.futexes.afar.rows.get(&number) else { return };
        let Sleeper { space, addr, value, cookie, refused, .. } = *sleeper;
        if refused.is_some() {
            // It has found another home, which has not heard of that.
            return cx.cancel(cookie);
        }
        let errno = match self.futex_word(space, addr) {
            Ok(word) if word == value => return,
            Ok(_) | Err(Errno::ERESTART) => Errno::EAGAIN,
            Err(errno) => errno,
        };
        if let Some(sleeper) = self.futexes.afar.rows.get_mut(&number)
            && sleeper.refused.is_none()
        {
            sleeper.refused = Some(errno);
            cx.cancel(sleeper.cookie);
        }
    }

    /// A home has answered; false if it is about something else.
    pub(crate) fn sleep_answered(
        &mut self,
        cx: &mut Cx<'_>,
        cookie: u64,
        result: &Result<NodeReply, Errno>,
    ) -> bool {
        match self.futexes.afar.calls.remove(&cookie) {
            Some(Call::Sleep(number)) => {
                let Some(sleeper) = self.futexes.afar.remove(number) else { return true };
                // Who was woken was: it was taken from somebody else.
                let ended = match (result, sleeper.refused) {
                    (Ok(_), _) => Ok(()),
                    (Err(_), Some(errno)) => Err(errno),
                    (Err(_), None) => Err(Errno::EAGAIN),
                };
                cx.complete(sleeper.ticket, ended);
                true
            }
            Some(Call::Rouse(ticket, op)) => {
                let unheard = matches!(result, Err(Errno::EAGAIN | Errno::EHOSTDOWN));
                let at_ns = cx.now_ns() + ROUSE_AGAIN_NS;
                if unheard && cx.arm(at_ns, TIMER_ROUSE).is_ok() {
                    self.futexes.afar.again.push((ticket, op));
                    return true;
                }
                let count = result.as_ref().ok().and_then(|reply| Count::get(&reply.msg).ok());
                cx.complete(ticket, Ok(count.unwrap_or(Count { count: 0 })));
                true
            }
            None => false,
        }
    }
}

/// The answer to a call about an object that is not at its home here, or about to leave.
fn elsewhere(cx: &Cx<'_>, object: ObjectId) -> Option<Answer> {
    if !is_home(cx, object) {
        return Some(Answer::Moved(object.slot()));
    }
    cx.is_frozen(object.slot()).then_some(Answer::NextView)
}
