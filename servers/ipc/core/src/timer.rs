// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers that are files, timerfd_create(2).
//!
//! # Model
//! A timer that has run out stands still until somebody reads or asks: then it is found how often it would have run out
//! since, as on Linux. So one that nobody reads costs nothing, whatever its interval.
//!
//! # Limits
//! While a timer's slot moves its time stands still, for as long as a view takes.

use crate::files::Kind;
use crate::limits::TIMERS_MAX;
use crate::transfer::{Poller, Taken, Target, wake_pollers};
use crate::watch::note;
use crate::{Ipc, home_of, local_only, node_of};
use abi::linux::general::{O_NONBLOCK, O_RDWR, POLLIN, POLLRDNORM};
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::epoll::Changes;
use ipc_api::file::Ready;
use ipc_api::timer::{TimerCreate, TimerGet, TimerMade, TimerSet, TimerValue};
use runtime::{Answer, Client, Cx};
use serde::{Deserialize, Serialize};

/// The cookie of the one timer that is armed for all of them.
pub(crate) const TIMER_COOKIE: u64 = 3;
/// Bytes of what is read.
const COUNT_BYTES: usize = 8;

#[derive(Debug)]
struct Reader {
    ticket: Ticket,
    from: NodeId,
    target: Target,
}

#[derive(Debug)]
pub(crate) struct Timer {
    file: FileId,
    /// When it runs out, on this node's clock; before it began, if that was before this node.
    deadline_ns: Option<i64>,
    interval_ns: u64,
    /// How often it has run out since it was read.
    count: u64,
    /// It has run out and stands still.
    stands: bool,
    pub(crate) changes: Changes,
    readers: VecDeque<Reader>,
    pub(crate) pollers: Vec<Poller>,
}

/// A timer on its way to another home.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) file: FileId,
    left_ns: Option<i64>,
    interval_ns: u64,
    count: u64,
    stands: bool,
    changes: Changes,
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

impl Timer {
    fn new(file: FileId) -> Self {
        Self {
            file,
            deadline_ns: None,
            interval_ns: 0,
            count: 0,
            stands: false,
            changes: Changes::default(),
            readers: VecDeque::new(),
            pollers: Vec::new(),
        }
    }

    /// When somebody is to be told that it has run out.
    fn due_ns(&self) -> Option<i64> {
        self.deadline_ns.filter(|_| !self.stands)
    }

    /// Counts the times that have passed since it stood still; it goes on.
    fn forward(&mut self, now_ns: i64) {
        let Some(deadline_ns) = self.deadline_ns.filter(|_| self.stands) else { return };
        self.stands = false;
        if self.interval_ns == 0 {
            self.deadline_ns = None;
            return;
        }
        let late_ns = now_ns.saturating_sub(deadline_ns).max(0).unsigned_abs();
        let passed = late_ns / self.interval_ns;
        // One was counted when it ran out.
        self.count = self.count.saturating_add(passed);
        let ahead = (u128::from(passed) + 1) * u128::from(self.interval_ns);
        let next = i128::from(deadline_ns).saturating_add_unsigned(ahead);
        self.deadline_ns = Some(i64::try_from(next).unwrap_or(i64::MAX));
    }

    fn value(&mut self, now_ns: i64) -> TimerValue {
        self.forward(now_ns);
        let left_ns = self.deadline_ns.map_or(0, |at| at.saturating_sub(now_ns).max(1));
        TimerValue { left_ns: left_ns.unsigned_abs(), interval_ns: self.interval_ns }
    }

    fn set(&mut self, cx: &mut Cx<'_>, request: TimerSet) -> TimerValue {
        let now_ns = signed(cx.now_ns());
        let before = self.value(now_ns);
        self.deadline_ns = request.first_ns.map(|first_ns| now_ns.saturating_add(first_ns));
        self.interval_ns = request.interval_ns;
        (self.count, self.stands) = (0, false);
        self.look(cx);
        before
    }

    /// It may have run out.
    fn look(&mut self, cx: &mut Cx<'_>) {
        if self.due_ns().is_some_and(|at| at <= signed(cx.now_ns())) {
            self.stands = true;
            // One that went on when its owner asked may have counted before.
            self.count = self.count.saturating_add(1);
            self.changes.ins = self.changes.ins.wrapping_add(1);
            self.pump(cx);
        }
    }

    /// Reads now; `None` if the call has to wait.
    pub(crate) fn read(
        &mut self,
        cx: &mut Cx<'_>,
        target: Target,
        len: usize,
    ) -> Result<Option<Taken>, Errno> {
        if len < COUNT_BYTES {
            return Err(Errno::EINVAL);
        }
        self.look(cx);
        if self.count == 0 || !self.readers.is_empty() {
            return Ok(None);
        }
        self.take(cx, target).map(Some)
    }

    fn take(&mut self, cx: &mut Cx<'_>, target: Target) -> Result<Taken, Errno> {
        self.forward(signed(cx.now_ns()));
        let taken = Taken::of(cx, target, &self.count.to_le_bytes())?;
        self.count = 0;
        Ok(taken)
    }

    pub(crate) fn wait_to_read(&mut self, ticket: Ticket, from: NodeId, target: Target) {
        self.readers.push_back(Reader { ticket, from, target });
    }

    /// Gives back what a read took that could not be delivered.
    pub(crate) fn put_back(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let count = u64::from_le_bytes(*bytes.as_array().ok_or(Errno::EINVAL)?);
        self.count = self.count.saturating_add(count);
        self.changes.ins = self.changes.ins.wrapping_add(1);
        self.pump(cx);
        Ok(())
    }

    fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.count > 0
            && let Some(reader) = self.readers.pop_front()
        {
            match self.take(cx, reader.target) {
                Ok(taken) => taken.complete(cx, reader.ticket),
                Err(errno) => cx.complete::<()>(reader.ticket, Err(errno)),
            }
        }
        let mut pollers = core::mem::take(&mut self.pollers);
        wake_pollers(cx, &mut pollers, |poller| self.poll(poller.events));
        self.pollers = pollers;
        note(cx, self.file);
    }

    /// Which of `events` hold.
    pub(crate) fn poll(&self, events: u32) -> u32 {
        if self.count > 0 { (POLLIN | POLLRDNORM) & events } else { 0 }
    }

    /// Ends a waiting call, if it waits here.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let waiting = self.readers.len() + self.pollers.len();
        self.readers.retain(|call| call.ticket != ticket);
        self.pollers.retain(|call| call.ticket != ticket);
        if self.readers.len() + self.pollers.len() == waiting {
            return false;
        }
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        true
    }

    /// Forgets the calls of a node that is down.
    pub(crate) fn forget_node(&mut self, node: NodeId) {
        self.readers.retain(|call| call.from != node);
        self.pollers.retain(|call| call.from != node);
    }

    /// Ends all that waits: nobody holds the timer any more, or it is about to move (ERESTART).
    pub(crate) fn send_away(&mut self, cx: &mut Cx<'_>, errno: Errno) {
        for reader in self.readers.drain(..) {
            cx.complete::<()>(reader.ticket, Err(errno));
        }
        for poller in self.pollers.drain(..) {
            match errno {
                Errno::ERESTART => cx.complete(poller.ticket, Ok(Ready { events: 0 })),
                errno => cx.complete::<()>(poller.ticket, Err(errno)),
            }
        }
    }

    /// What goes along to another home.
    pub(crate) fn saved(&self, cx: &Cx<'_>) -> Saved {
        let now_ns = signed(cx.now_ns());
        Saved {
            file: self.file,
            left_ns: self.deadline_ns.map(|at| at.saturating_sub(now_ns)),
            interval_ns: self.interval_ns,
            count: self.count,
            stands: self.stands,
            changes: self.changes,
        }
    }

    /// A timer that came from another home.
    pub(crate) fn restored(cx: &Cx<'_>, saved: &Saved) -> Self {
        let now_ns = signed(cx.now_ns());
        Self {
            deadline_ns: saved.left_ns.map(|left_ns| now_ns.saturating_add(left_ns)),
            interval_ns: saved.interval_ns,
            count: saved.count,
            stands: saved.stands,
            changes: saved.changes,
            ..Self::new(saved.file)
        }
    }
}

impl Ipc {
    pub(crate) fn timer_create(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: TimerCreate,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if request.flags & !O_NONBLOCK != 0 {
            return Err(Errno::EINVAL);
        }
        if self.timers.len() >= TIMERS_MAX {
            return Err(Errno::ENFILE);
        }
        self.files.check_room(1)?;
        let file = self.files.new_id(cx)?;
        self.files.open(file, cx.node(), Kind::Timer, O_RDWR | request.flags);
        self.timers.insert(file, Timer::new(file));
        Ok(Answer::reply(&TimerMade { file }))
    }

    pub(crate) fn timer_set(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: TimerSet,
    ) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        self.files.get(request.file, node_of(cx, from))?;
        let before = self.timer(request.file)?.set(cx, request);
        self.arm_timers(cx);
        Ok(Answer::reply(&before))
    }

    pub(crate) fn timer_get(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: TimerGet,
    ) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        self.files.get(request.file, node_of(cx, from))?;
        let now_ns = signed(cx.now_ns());
        let value = self.timer(request.file)?.value(now_ns);
        self.arm_timers(cx);
        Ok(Answer::reply(&value))
    }

    /// A timer of this node.
    ///
    /// # Errors
    /// EINVAL: the file is none.
    pub(crate) fn timer(&mut self, file: FileId) -> Result<&mut Timer, Errno> {
        self.timers.get_mut(&file).ok_or(Errno::EINVAL)
    }

    /// One of them may have run out.
    pub(crate) fn timers_due(&mut self, cx: &mut Cx<'_>) {
        self.timer_armed_ns = None;
        for timer in self.timers.values_mut() {
            timer.look(cx);
        }
        self.arm_timers(cx);
    }

    /// Arms for the one that runs out first.
    pub(crate) fn arm_timers(&mut self, cx: &mut Cx<'_>) {
        let first = self.timers.values().filter_map(Timer::due_ns).min();
        let first = first.map(|at| at.max(0).unsigned_abs());
        if first == self.timer_armed_ns {
            return;
        }
        if let Some(armed_ns) = self.timer_armed_ns.take() {
            cx.disarm(armed_ns, TIMER_COOKIE);
        }
        if let Some(at_ns) = first
            && cx.arm(at_ns, TIMER_COOKIE).is_ok()
        {
            self.timer_armed_ns = Some(at_ns);
        }
    }
}
