// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requester's side of the page protocol.
//!
//! # Model
//! A page that this node needs has one [`Fetch`], whoever and however many wait for it. Its frame is
//! reserved before the request leaves, so that what arrives always has a place.
//!
//! ```text
//! no fetch --fault--> Read --Data(Read)--> page is Copy; Done to the home
//!          --fault--> Write --Data(Write, n) or Grant(n), and n Acks--> page is Only;
//!                     Got to the keeper, who says Done, or Done to the home
//! either   --Grant(zero)--> page is Only; Done to the home
//!          --Lost--> the waiters fail
//!          --Query: a round begins--> from the start, when the home opens the slot; a page that has come
//!                     to be written is owned here
//! ```

use crate::MemCore;
use crate::limits::QUEUE_MAX;
use crate::machine::{FrameNo, Machine};
use crate::object::{Store, home, is_home};
use crate::pages::{Entry, Hold};
use crate::post::Note;
use crate::resolve::{Miss, Wanted};
use crate::slots::SlotSet;
use abi::limits::PAGE_BYTES;
use abi::{Errno, NodeId, ObjectId, SpaceId, Ticket};
use alloc::vec::Vec;
use mem_api::Access;
use mem_api::peer::{Ack, Data, Done, Got, Grant, Lost, REQUEST_BITS, Req, Transfer, Want};
use runtime::{Answer, Client, Cx};

/// A page on its way here.
pub(crate) struct Fetch {
    /// Where what arrives is put; `None` where the page has come and waits only for the right to be written.
    pub(crate) frame: Option<FrameNo>,
    state: Waiting,
    /// Number of the request that is on its way: what was given up for it has not come.
    asked: Option<u32>,
    pub(crate) waiters: Vec<Waiter>,
    /// Its range was unmapped meanwhile: let it arrive, keep nothing.
    pub(crate) dropped: bool,
}

impl Fetch {
    pub(crate) fn access(&self) -> Access {
        match self.state {
            Waiting::Read => Access::Read,
            Waiting::Write { .. } => Access::Write,
        }
    }

    /// The request for which another node may keep the page.
    pub(crate) fn awaited(&self) -> Option<u32> {
        self.asked.filter(|_| matches!(self.state, Waiting::Write { keeper: None, .. }))
    }

    /// Takes a frame as the place for what arrives, if it has none.
    pub(crate) fn take_place(&mut self, frame: FrameNo) -> bool {
        let needs = self.frame.is_none();
        if needs {
            self.frame = Some(frame);
        }
        needs
    }
}

enum Waiting {
    Read,
    Write {
        /// Acknowledgements to wait for, once known.
        need: Option<usize>,
        acked: Vec<NodeId>,
        keeper: Option<NodeId>,
        zero: bool,
    },
}

impl Waiting {
    fn new(access: Access) -> Self {
        match access {
            Access::Read => Self::Read,
            Access::Write => {
                Self::Write { need: None, acked: Vec::new(), keeper: None, zero: false }
            }
        }
    }
}

/// Who waits for a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    /// The fault to serve as soon as the page is here.
    pub(crate) fault: Option<(SpaceId, u64, Access)>,
}

/// A page of an object.
pub(crate) type Key = (ObjectId, u64);

impl<M: Machine> MemCore<M> {
    /// Answers "later": the ticket ends when the page is here.
    pub(crate) fn fetch_for(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        wanted: Wanted,
        fault: Option<(SpaceId, u64, Access)>,
    ) -> Result<Answer, Errno> {
        self.fetch(cx, wanted)?;
        let ticket = cx.open_ticket(from)?;
        if let Some(fetch) = self.fetches.get_mut(&(wanted.object, wanted.page)) {
            fetch.waiters.push(Waiter { ticket, fault });
        }
        Ok(Answer::Pending(ticket))
    }

    /// Makes sure that the page is on its way.
    pub(crate) fn fetch(&mut self, cx: &mut Cx<'_>, wanted: Wanted) -> Result<(), Errno> {
        let key = (wanted.object, wanted.page);
        if self.fetches.contains_key(&key) {
            return Ok(());
        }
        let have = match &self.objects.get(wanted.object)?.store {
            Store::Pages { pages, .. } => pages.get(wanted.page).page.is_some(),
            Store::Private(space) => return self.pull_on_demand(cx, *space, wanted),
            Store::Root { .. } | Store::Left(_) => return Err(Errno::ESTALE),
        };
        self.reserve(wanted)?;
        self.request(cx, wanted, have);
        Ok(())
    }

    /// Makes a place for what arrives.
    pub(crate) fn reserve(&mut self, wanted: Wanted) -> Result<(), Errno> {
        let frame = Some(self.frames.allocate()?);
        let state = Waiting::new(wanted.access);
        let fetch = Fetch { frame, state, asked: None, waiters: Vec::new(), dropped: false };
        self.fetches.insert((wanted.object, wanted.page), fetch);
        Ok(())
    }

    /// Sends the request for a page, unless its home will say when.
    fn request(&mut self, cx: &mut Cx<'_>, wanted: Wanted, have: bool) {
        let Wanted { object, page, access } = wanted;
        if self.is_closed(object) {
            return;
        }
        self.requests = (self.requests + 1) & ((1 << REQUEST_BITS) - 1);
        let number = self.requests;
        if let Some(fetch) = self.fetches.get_mut(&(object, page)) {
            fetch.asked = Some(number);
        }
        let (round, want) = (self.round_of(object), Want { access, have, number });
        self.post(cx, home(cx, object), Note::Req(Req { object, page, round, want }));
    }

    /// The home serves the slot of this page again: asks once more for it.
    pub(crate) fn request_again(&mut self, cx: &mut Cx<'_>, (object, page): Key) {
        let Some(fetch) = self.fetches.get(&(object, page)) else { return };
        if fetch.frame.is_none() && fetch.waiters.is_empty() {
            // It found no place, or came and nobody waits for the right to write it.
            self.fetches.remove(&(object, page));
            return;
        }
        let access = fetch.access();
        let Ok(Store::Pages { pages, .. }) = self.objects.get(object).map(|it| &it.store) else {
            return;
        };
        let have = pages.get(page).page.is_some();
        self.request(cx, Wanted { object, page, access }, have);
    }

    /// A round begins: what is on its way is void. A page that has come is owned here, as who had it has given
    /// it up; only the right to write it is missing.
    pub(crate) fn restart_fetch(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let access = fetch.access();
        let before = core::mem::replace(&mut fetch.state, Waiting::new(access));
        let has_come = matches!(before, Waiting::Write { keeper: Some(_), .. });
        if !has_come {
            return;
        }
        fetch.asked = None;
        let Some(frame) = fetch.frame.take() else { return };
        let target = self.objects.get_mut(key.0).map(|it| &mut it.store);
        let Ok(Store::Pages { pages, .. }) = target else { return self.frames.release(frame) };
        let before = pages.get(key.1);
        pages.set(key.1, Entry { page: Some((frame, Hold::Owner)), ..before });
        if let Some((old, _)) = before.page {
            self.unmap_object(key.0, key.1..key.1 + 1);
            self.frames.release(old);
        }
    }

    pub(crate) fn got_data(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        op: Data,
        bytes: &[u8; PAGE_BYTES],
    ) {
        let key = (op.object, op.page);
        if self.source_of(op.object).is_some() {
            // Pages of moved spaces do not come so.
            return;
        }
        let frame = match self.fetches.get_mut(&key) {
            Some(fetch) => {
                match (&mut fetch.state, op.transfer) {
                    (Waiting::Read, Transfer::Read) => {}
                    (Waiting::Write { need, keeper, .. }, Transfer::Write { acks }) => {
                        *need = Some(usize::from(acks));
                        *keeper = Some(from);
                    }
                    (Waiting::Read, Transfer::Write { .. }) | (Waiting::Write { .. }, _) => return,
                }
                fetch.frame
            }
            // Nobody wants it any more: end the transaction all the same.
            None => return self.end_transfer(cx, key, op.transfer, from),
        };
        let Some(frame) = frame.or_else(|| self.find_place(cx, key)) else { return };
        *self.frames.machine.bytes_mut(frame) = *bytes;
        match op.transfer {
            Transfer::Read => {
                self.arrived(cx, key, Hold::Copy, true);
                self.post_done(cx, key);
            }
            Transfer::Write { .. } => self.try_finish_write(cx, key, true),
        }
    }

    /// A frame for a page that had come and was taken away again. Without one who waits fails, and the page goes
    /// back to who sent it: the home has to ask.
    fn find_place(&mut self, cx: &mut Cx<'_>, key: Key) -> Option<FrameNo> {
        let allocated = self.frames.allocate();
        let fetch = self.fetches.get_mut(&key)?;
        match allocated {
            Ok(frame) => fetch.frame = Some(frame),
            Err(errno) => {
                // It stays until the next round, in which it says that the page has not come.
                fetch.state = Waiting::new(fetch.access());
                for waiter in core::mem::take(&mut fetch.waiters) {
                    cx.complete::<()>(waiter.ticket, Err(errno));
                }
                self.doubt(cx, SlotSet::of(key.0.slot()));
                return None;
            }
        }
        fetch.frame
    }

    fn end_transfer(&mut self, cx: &mut Cx<'_>, key: Key, transfer: Transfer, keeper: NodeId) {
        match transfer {
            Transfer::Read => self.post_done(cx, key),
            Transfer::Write { .. } => self.post_got(cx, key, keeper),
        }
    }

    pub(crate) fn post_done(&mut self, cx: &mut Cx<'_>, (object, page): Key) {
        let round = self.round_of(object);
        self.post(cx, home(cx, object), Note::Done(Done { object, page, round }));
    }

    /// Lets the keeper go. Where this node is the home, the keeper need not tell it.
    fn post_got(&mut self, cx: &mut Cx<'_>, (object, page): Key, keeper: NodeId) {
        let round = self.round_of(object);
        self.post(cx, keeper, Note::Got(Got { object, page, round }));
        if is_home(cx, object) {
            self.loopback.push_back((keeper, Note::Done(Done { object, page, round })));
        }
    }

    pub(crate) fn got_grant(&mut self, cx: &mut Cx<'_>, op: Grant) {
        let key = (op.object, op.page);
        match self.fetches.get_mut(&key).map(|fetch| &mut fetch.state) {
            Some(Waiting::Read) => {
                let hold = if op.terms.zero { Hold::Only } else { Hold::Owner };
                self.arrived(cx, key, hold, op.terms.zero);
                self.post_done(cx, key);
            }
            Some(Waiting::Write { need, zero, .. }) => {
                *need = Some(usize::from(op.terms.acks));
                *zero = op.terms.zero;
                self.try_finish_write(cx, key, op.terms.zero);
            }
            None => self.post_done(cx, key),
        }
    }

    pub(crate) fn got_ack(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Ack) {
        let key = (op.object, op.page);
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let Waiting::Write { acked, keeper, zero, .. } = &mut fetch.state else { return };
        if acked.len() < QUEUE_MAX && !acked.contains(&from) {
            acked.push(from);
        }
        let fresh = keeper.is_some() || *zero;
        self.try_finish_write(cx, key, fresh);
    }

    /// Ends a write fetch once everybody has acknowledged. `fresh`: the reserved frame holds the
    /// content; else it is in the copy that is here.
    fn try_finish_write(&mut self, cx: &mut Cx<'_>, key: Key, fresh: bool) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        let Waiting::Write { need: Some(need), acked, keeper, .. } = &fetch.state else { return };
        if acked.len() < *need {
            return;
        }
        let keeper = *keeper;
        self.arrived(cx, key, Hold::Only, fresh);
        match keeper {
            Some(keeper) => self.post_got(cx, key, keeper),
            None => self.post_done(cx, key),
        }
    }

    /// Puts the page in its place and serves who waits.
    pub(crate) fn arrived(&mut self, cx: &mut Cx<'_>, key: Key, hold: Hold, fresh: bool) {
        let Some(fetch) = self.fetches.remove(&key) else { return };
        let Fetch { mut frame, waiters, dropped, .. } = fetch;
        let (object, page) = key;
        let space = match self.objects.get(object).map(|it| &it.store) {
            Ok(Store::Private(space)) => Some(*space),
            Ok(_) | Err(_) => None,
        };
        let pages = match space {
            Some(space) => self.spaces.get_mut(space).ok().map(|space| &mut space.pages),
            None => match self.objects.get_mut(object).map(|it| &mut it.store) {
                Ok(Store::Pages { pages, .. }) => Some(pages),
                Ok(_) | Err(_) => None,
            },
        };
        match pages {
            Some(pages) if fresh && !dropped => {
                let before = pages.get(page);
                if let Some(frame) = frame.take() {
                    pages.set(page, Entry { page: Some((frame, hold)), ..before });
                    if let Some((old, _)) = before.page {
                        // A copy of the same content: what maps it moves to the new frame.
                        self.unmap_object(object, page..page + 1);
                        self.frames.release(old);
                    }
                }
            }
            Some(pages) => {
                let before = pages.get(page);
                if let Some((old, _)) = before.page.filter(|_| !dropped) {
                    pages.set(page, Entry { page: Some((old, hold)), ..before });
                }
            }
            None => {}
        }
        if let Some(frame) = frame {
            self.frames.release(frame);
        }
        match space {
            Some(space) => self.note_arrived(space, dropped),
            None if waiters.iter().any(|waiter| waiter.fault.is_some()) => {
                self.linger.begin(cx.now_ns(), key);
            }
            None => {}
        }
        self.serve(cx, &waiters);
    }

    fn serve(&mut self, cx: &mut Cx<'_>, waiters: &[Waiter]) {
        for waiter in waiters {
            if let Some((space, page, access)) = waiter.fault
                && let Ok(found) = self.resolve(space, page, access)
            {
                // If it cannot be mapped now, the fault comes again and says why.
                let _ = self.install(space, page, found);
            }
            cx.complete(waiter.ticket, Ok(()));
        }
    }

    pub(crate) fn got_lost(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Lost) {
        let key = (op.object, op.page);
        if self.lose_moved(cx, from, op.object) {
            return;
        }
        let waits = self.fetches.get(&key).map(Fetch::access);
        if from == home(cx, op.object) && waits == Some(op.refusal.access) {
            self.fail_fetch(cx, key, Errno::from_number(op.refusal.errno));
        }
    }

    pub(crate) fn fail_fetch(&mut self, cx: &mut Cx<'_>, key: Key, errno: Errno) {
        let Some(fetch) = self.fetches.remove(&key) else { return };
        if let Some(frame) = fetch.frame {
            self.frames.release(frame);
        }
        if let Waiting::Write { keeper: Some(keeper), .. } = fetch.state {
            // The content has come and cannot be used: the keeper need not wait.
            let round = self.round_of(key.0);
            self.post(cx, keeper, Note::Got(Got { object: key.0, page: key.1, round }));
        }
        for waiter in fetch.waiters {
            cx.complete::<()>(waiter.ticket, Err(errno));
        }
    }

    pub(crate) fn fail_fetches(&mut self, cx: &mut Cx<'_>, object: ObjectId, errno: Errno) {
        let keys: Vec<Key> = self.fetches.keys().filter(|key| key.0 == object).copied().collect();
        for key in keys {
            self.fail_fetch(cx, key, errno);
        }
    }

    /// A client gave up on a fetch; the page comes all the same. False: no fetch has this ticket.
    pub(crate) fn cancel_fetch(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        for fetch in self.fetches.values_mut() {
            let Some(at) = fetch.waiters.iter().position(|it| it.ticket == ticket) else {
                continue;
            };
            fetch.waiters.swap_remove(at);
            cx.complete::<()>(ticket, Err(Errno::ECANCELED));
            return true;
        }
        false
    }

    /// Brings an object's page here for a copy.
    pub(crate) fn object_fetch(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        wanted: Wanted,
    ) -> Result<Answer, Errno> {
        let target = self.objects.get_mut(wanted.object)?;
        let found = match wanted.access {
            Access::Read => target.peek(&mut self.frames, wanted).map(|_| ()),
            Access::Write => target.page(&mut self.frames, wanted).map(|_| ()),
        };
        match found {
            Ok(()) => Ok(Answer::Done(runtime::Msg::default())),
            Err(Miss::Error(errno)) => Err(errno),
            Err(Miss::Away(wanted)) => self.fetch_for(cx, from, wanted, None),
        }
    }
}
