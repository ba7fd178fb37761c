// SPDX-License-Identifier: MIT OR Apache-2.0
//! From messages to operations.

use crate::MemCore;
use crate::futex::Of;
use crate::limits::PAGE;
use crate::linger::TIMER_LINGER;
use crate::machine::Machine;
use crate::object::Store;
use crate::post::{Note, TIMER_OUTBOX};
use crate::resolve::{Miss, Wanted};
use crate::sleep::TIMER_ROUSE;
use abi::{Errno, NodeId, ServerId, SlotNo, Ticket};
use cluster::View;
use mem_api::*;
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Export, Msg, NodeReply, Operation, Wire};

type Served = Result<Answer, Errno>;

fn done<T: Wire>(value: T) -> Served {
    Ok(Answer::Done(Msg::of(&value)?))
}

impl<M: Machine> Core for MemCore<M> {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        let served = match from {
            Client::Server { id, .. } => match op {
                0..10 => self.serve_access(cx, from, op, msg, bulk),
                10..30 => self.serve_space(cx, from, op, msg),
                30..=41 => self.serve_object(cx, from, op, msg, bulk),
                _ => self.serve_rest(cx, (from, id), op, msg, bulk),
            },
            Client::Node { node, .. } => self.serve_node(cx, (from, node), op, msg, bulk),
        };
        self.drain_loopback(cx);
        served.unwrap_or_else(Answer::Failed)
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        if !self.sleep_answered(cx, cookie, &result) {
            self.hold_answered(cx, cookie, result.map(|_| ()));
        }
        self.drain_loopback(cx);
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Timer(TIMER_OUTBOX) => self.empty_outbox(cx),
            Event::Timer(TIMER_LINGER) => self.end_linger(cx),
            Event::Timer(TIMER_ROUSE) => self.rouse_again(cx),
            Event::NodeDown(node) => {
                self.down.insert(node);
                self.outbox.remove(&node);
                self.linger.node_down(node);
                self.futexes.end_of(cx, Of::Node(node));
                self.moves_node_down(cx, node);
                self.objects_node_down(cx, node);
            }
            Event::NodeUp(node) => {
                let was_down = self.down.remove(&node);
                self.ask_again(cx, node);
                if was_down {
                    self.link_was_down(cx);
                }
            }
            // A dead client's spaces stay: nobody can say what they were for.
            Event::ServerDown(_) | Event::Timer(_) | Event::Upcall { .. } => {}
        }
        self.drain_loopback(cx);
    }

    fn entered(&mut self, cx: &mut Cx<'_>, old: &View) {
        self.slots_entered(cx, old);
        // A word may be lost with a node, and with it who would have woken the others.
        if old.members().iter().any(|node| !old.keeps(cx.view(), *node)) {
            self.futexes.end_shared(cx, |_| true);
        }
        self.drain_loopback(cx);
    }

    fn occupies(&self, slot: SlotNo) -> bool {
        self.any_object_in(slot)
    }

    fn stays(&self, slot: SlotNo) -> bool {
        self.slot_stays(slot)
    }

    fn export(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        self.export_slot(cx, slot)
    }

    fn admits(&mut self, _cx: &mut Cx<'_>, slot: SlotNo, state: &[u8]) -> Result<(), Errno> {
        self.admits_slot(slot, state)
    }

    fn import(&mut self, cx: &mut Cx<'_>, old: &View, slot: SlotNo, state: &[u8]) {
        self.import_slot(cx, old, slot, state);
    }

    fn given(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        self.slot_given(cx, slot);
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        let _ = self.futexes.cancel(cx, ticket)
            || self.cancel_fetch(cx, ticket)
            || self.cancel_hold(cx, ticket)
            || self.cancel_fetch_all(cx, ticket);
    }
}

impl<M: Machine> MemCore<M> {
    fn serve_access(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Served {
        match op {
            Fault::NUMBER => self.fault(cx, from, Fault::get(msg)?),
            CopyIn::NUMBER => done(self.copy_in(CopyIn::get(msg)?, bulk)?),
            CopyOut::NUMBER => done(self.copy_out(CopyOut::get(msg)?, bulk)?),
            CopyString::NUMBER => done(self.copy_string(CopyString::get(msg)?, bulk)?),
            Prepare::NUMBER => done(self.prepare(Prepare::get(msg)?)?),
            FetchAbsent::NUMBER => self.fetch_absent(cx, from, FetchAbsent::get(msg)?),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn serve_space(&mut self, cx: &mut Cx<'_>, from: Client, op: u16, msg: &Msg) -> Served {
        match op {
            SpaceCreate::NUMBER => done(self.space_create()?),
            SpaceFork::NUMBER => self.space_fork(cx, from, SpaceFork::get(msg)?.space),
            SpaceDestroy::NUMBER => done(self.space_destroy(cx, SpaceDestroy::get(msg)?.space)?),
            Map::NUMBER => done(self.map(cx, Map::get(msg)?)?),
            Unmap::NUMBER => done(self.unmap(cx, Unmap::get(msg)?)?),
            Protect::NUMBER => done(self.protect(cx, Protect::get(msg)?)?),
            Remap::NUMBER => done(self.remap(cx, Remap::get(msg)?)?),
            SpaceSize::NUMBER => done(self.space_size(SpaceSize::get(msg)?.space)?),
            Regions::NUMBER => done(self.regions(Regions::get(msg)?)?),
            FutexWait::NUMBER => self.futex_wait(cx, from, FutexWait::get(msg)?),
            FutexWake::NUMBER => self.futex_wake(cx, from, FutexWake::get(msg)?),
            FutexRequeue::NUMBER => self.futex_requeue(cx, from, FutexRequeue::get(msg)?),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn serve_object(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Served {
        match op {
            ObjectCreate::NUMBER => done(self.object_create(cx, ObjectCreate::get(msg)?)?),
            ObjectRead::NUMBER => done(self.object_read(ObjectRead::get(msg)?, bulk)?),
            ObjectWrite::NUMBER => done(self.object_write(ObjectWrite::get(msg)?, bulk)?),
            ObjectCopy::NUMBER => done(self.object_copy(ObjectCopy::get(msg)?)?),
            ObjectFetch::NUMBER => {
                let ObjectFetch { object, offset, access } = ObjectFetch::get(msg)?;
                self.object_fetch(cx, from, Wanted { object, page: offset / PAGE, access })
            }
            ObjectResize::NUMBER => done(self.object_resize(ObjectResize::get(msg)?)?),
            ObjectPunch::NUMBER => done(self.object_punch(ObjectPunch::get(msg)?)?),
            ObjectRelease::NUMBER => {
                done(self.object_release(cx, ObjectRelease::get(msg)?.object)?)
            }
            ObjectHold::NUMBER => done(self.hold(cx, ObjectHold::get(msg)?)?),
            ObjectUse::NUMBER => done(self.object_use(ObjectUse::get(msg)?.object)?),
            ObjectRename::NUMBER => done(self.object_rename(cx, &ObjectRename::get(msg)?)?),
            ObjectAdopt::NUMBER => done(self.adopt(cx, ObjectAdopt::get(msg)?)?),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn serve_rest(
        &mut self,
        cx: &mut Cx<'_>,
        (from, id): (Client, ServerId),
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Served {
        match op {
            ThreadCreate::NUMBER => done(self.thread_create(id, ThreadCreate::get(msg)?)?),
            ThreadRelease::NUMBER => done(self.thread_release(id, ThreadRelease::get(msg)?.slot)?),
            SpaceExport::NUMBER => done(self.space_export(SpaceExport::get(msg)?, bulk)?),
            FetchAll::NUMBER => self.fetch_all(cx, from, FetchAll::get(msg)?.space),
            SpaceImport::NUMBER => done(self.space_import(cx, SpaceImport::get(msg)?, bulk)?),
            SpaceGive::NUMBER => done(self.space_give(cx, SpaceGive::get(msg)?)?),
            MoveState::NUMBER => done(self.move_state(MoveState::get(msg)?.space)?),
            MemoryUse::NUMBER => done(self.figures()),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn serve_node(
        &mut self,
        cx: &mut Cx<'_>,
        (from, node): (Client, NodeId),
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Served {
        if op == peer::Hold::NUMBER {
            let object = peer::Hold::get(msg)?.object;
            return self.hold_for(cx, from, ObjectHold { object, node });
        }
        match op {
            peer::Sleep::NUMBER => {
                return self.sleep_for(cx, (from, node), peer::Sleep::get(msg)?);
            }
            peer::Rouse::NUMBER => return self.rouse_for(cx, peer::Rouse::get(msg)?),
            peer::Asleep::NUMBER => {
                self.asleep(cx, peer::Asleep::get(msg)?.number);
                return done(());
            }
            _ => {}
        }
        // What the head of a slot says of references holds until the next view.
        if op == peer::Drop::NUMBER && cx.is_frozen(peer::Drop::get(msg)?.object.slot()) {
            return Ok(Answer::NextView);
        }
        if self.rebuild_note(cx, node, op, msg)? {
            return done(());
        }
        match Note::decode(op, msg, bulk)? {
            Some(note) => {
                self.note(cx, node, note);
                done(())
            }
            None => Err(Errno::ENOSYS),
        }
    }

    fn fault(&mut self, cx: &mut Cx<'_>, from: Client, op: Fault) -> Served {
        let page = op.addr / PAGE;
        match self.resolve(op.space, page, op.access) {
            Ok(found) => {
                self.install(op.space, page, found)?;
                Ok(Answer::Done(Msg::default()))
            }
            // Only here is a mapping that forbids the access told from none: programs are told too.
            Err(Miss::Error(Errno::EFAULT))
                if self
                    .spaces
                    .get(op.space)
                    .is_ok_and(|space| space.areas.find(page).is_some()) =>
            {
                Err(Errno::EACCES)
            }
            Err(Miss::Error(errno)) => Err(errno),
            Err(Miss::Away(wanted)) => {
                self.fetch_for(cx, from, wanted, Some((op.space, page, op.access)))
            }
        }
    }

    fn fetch_absent(&mut self, cx: &mut Cx<'_>, from: Client, op: FetchAbsent) -> Served {
        match self.spaces.get_mut(op.space)?.wanted.take() {
            Some(wanted) => self.fetch_wanted(cx, from, wanted),
            None => Ok(Answer::Done(Msg::default())),
        }
    }

    /// Fetches a page unless it has arrived meanwhile.
    fn fetch_wanted(&mut self, cx: &mut Cx<'_>, from: Client, wanted: Wanted) -> Served {
        let space = match self.objects.get(wanted.object).map(|object| &object.store) {
            Ok(Store::Private(space)) => *space,
            Ok(_) => return self.object_fetch(cx, from, wanted),
            // The move has ended, or the mapping is gone: running again tells.
            Err(_) => return Ok(Answer::Done(Msg::default())),
        };
        let space = self.spaces.get(space)?;
        let elsewhere = space
            .moving
            .as_ref()
            .is_some_and(|moving| moving.rests_elsewhere(wanted.page, &self.fetches));
        if !elsewhere {
            return Ok(Answer::Done(Msg::default()));
        }
        self.fetch_for(cx, from, wanted, None)
    }
}
