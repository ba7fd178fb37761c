// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations, one by one.

use super::object::{READ, WRITE};
use super::queue::{Message, NOWAIT, Taken, Target};
use super::semaphores::Operation;
use super::{Held, Memory, Object, Permissions, Queue, Set, What, id, merged};
use crate::files::Kind as FileKind;
use crate::limits::{
    KEPT_BYTES_MAX, MEMORY_BYTES_MAX, MESSAGE_BYTES_MAX, QUEUE_BYTES, QUEUE_BYTES_MAX,
    SEMAPHORES_MAX, SEMOPS_MAX,
};
use crate::{Ipc, local_only, node_of};
use abi::{Errno, NodeId, SlotNo};
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::file::Moved;
use ipc_api::sysv::peer::{GiveBack, ListHere, ReceiveText, SendText};
use ipc_api::sysv::{
    Attach, Attached, Get, GetStatus, Got, Kind, List, Operate, Receive, Remove, SemRead,
    SemValues, SemWrite, Send, SetStatus, UndoOpen, UndoOpened,
};
use mem_api::{
    Access, Content, CopyIn, ObjectCreate, ObjectHold, ObjectRelease, ObjectResize, Prepare,
};
use runtime::{Answer, Bulk, Client, Cx, Msg, Operation as Op, Wire};

/// IPC_CREAT.
const CREATE: u32 = 0o1000;
/// IPC_EXCL.
const EXCLUSIVE: u32 = 0o2000;
/// Bytes of a message's type before its text.
const TYPE_BYTES: u64 = 8;

/// Where an operation is performed.
enum Place {
    Here,
    There(NodeId),
    Answer(Answer),
}

/// Where an operation on a slot is performed: at its home, unless it is about to move; a node that asks here
/// ought to ask there.
fn place(cx: &Cx<'_>, from: Client, slot: SlotNo) -> Place {
    let home = cx.view().home(slot);
    match from {
        _ if home == cx.node() && cx.is_frozen(slot) => Place::Answer(Answer::NextView),
        _ if home == cx.node() => Place::Here,
        Client::Node { .. } => Place::Answer(Answer::Moved(slot)),
        Client::Server { .. } => Place::There(home),
    }
}

impl Ipc {
    /// Performs an operation on System V objects; `None` if it is none.
    pub(crate) fn sysv_call(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Option<Result<Answer, Errno>> {
        Some(match op {
            Get::NUMBER => self.get_or_make(cx, from, msg),
            GetStatus::NUMBER => self.at_home(cx, from, msg, |it| id::slot(it.id), Self::status),
            SetStatus::NUMBER => {
                self.at_home(cx, from, msg, |it| id::slot(it.id), Self::set_status)
            }
            Remove::NUMBER => {
                self.at_home(cx, from, msg, |it| id::slot(it.id), Self::remove_object)
            }
            Operate::NUMBER => self.at_home(cx, from, msg, |it| id::slot(it.id), Self::operate),
            UndoOpen::NUMBER => self.at_home(cx, from, msg, |it| id::slot(it.id), Self::undo_open),
            SemRead::NUMBER => self.at_home(cx, from, msg, |it| id::slot(it.id), Self::sem_read),
            SemWrite::NUMBER => self.at_home(cx, from, msg, |it| id::slot(it.id), Self::sem_write),
            Attach::NUMBER => Attach::get(msg).and_then(|it| self.attach(cx, from, it)),
            List::NUMBER => List::get(msg).and_then(|it| self.list_all(cx, from, it)),
            ListHere::NUMBER => {
                ListHere::get(msg).map(|it| Answer::reply(&self.sysv.list(it.kind, it.after)))
            }
            Send::NUMBER => Send::get(msg).and_then(|it| self.send_message(cx, from, it)),
            SendText::NUMBER => {
                SendText::get(msg).and_then(|it| self.send_text(cx, from, it, bulk.data().to_vec()))
            }
            Receive::NUMBER => {
                Receive::get(msg).and_then(|it| self.receive_message(cx, from, it, bulk))
            }
            ReceiveText::NUMBER => ReceiveText::get(msg)
                .and_then(|it| self.receive_message_here(cx, from, it, Target::Message, bulk)),
            GiveBack::NUMBER => {
                GiveBack::get(msg).and_then(|it| self.give_message_back(cx, from, it, bulk))
            }
            _ => return None,
        })
    }

    /// Performs an operation at the home of what it is about.
    fn at_home<O: Op + Wire>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        msg: &Msg,
        slot: fn(&O) -> SlotNo,
        perform: fn(&mut Self, &mut Cx<'_>, Client, O) -> Result<Answer, Errno>,
    ) -> Result<Answer, Errno> {
        let request = O::get(msg)?;
        match place(cx, from, slot(&request)) {
            Place::Here => perform(self, cx, from, request),
            Place::There(home) => self.forward(cx, from, home, &request),
            Place::Answer(answer) => Ok(answer),
        }
    }

    fn get_or_make(&mut self, cx: &mut Cx<'_>, from: Client, msg: &Msg) -> Result<Answer, Errno> {
        let request = Get::get(msg)?;
        if request.key != 0 {
            let slot = |it: &Get| id::slot_of_key(it.kind, it.key);
            return self.at_home(cx, from, msg, slot, Self::get_by_key);
        }
        local_only(from)?;
        self.sysv.heard(cx, request.by);
        let slot = cx.slot_for_new().ok_or(Errno::ENOSPC)?;
        self.make(cx, slot, request)
    }

    fn get_by_key(&mut self, cx: &mut Cx<'_>, _: Client, request: Get) -> Result<Answer, Errno> {
        let Get { kind, key, size, flags, by } = request;
        self.sysv.heard(cx, by);
        let Some(id) = self.sysv.keys.get(&(kind, key)).copied() else {
            if flags & CREATE == 0 {
                return Err(Errno::ENOENT);
            }
            return self.make(cx, id::slot_of_key(kind, key), request);
        };
        if flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE {
            return Err(Errno::EEXIST);
        }
        let object = self.sysv.get(cx, kind, id)?;
        object.permissions.check_get(by, flags)?;
        if size > object.what.size() {
            return Err(Errno::EINVAL);
        }
        Ok(Answer::reply(&Got { id }))
    }

    fn make(&mut self, cx: &mut Cx<'_>, slot: SlotNo, request: Get) -> Result<Answer, Errno> {
        let Get { kind, key, size, flags, by } = request;
        if self.files.short {
            return Err(Errno::ENOSPC);
        }
        let id = self.sysv.new_id(cx, kind, slot)?;
        let what = match kind {
            Kind::Messages => What::Messages(Queue::new()),
            Kind::Semaphores => {
                let count = usize::try_from(size).unwrap_or(usize::MAX);
                if !(1..=SEMAPHORES_MAX).contains(&count) {
                    return Err(Errno::EINVAL);
                }
                What::Semaphores(Set::new(count))
            }
            Kind::Memory => {
                if !(1..=MEMORY_BYTES_MAX).contains(&size) {
                    return Err(Errno::EINVAL);
                }
                let create = ObjectCreate { content: Content::Zero, slot: Some(slot) };
                let object = cx.leaf(&create)?.object;
                if let Err(errno) = cx.leaf(&ObjectResize { object, len: size }) {
                    let _ = cx.leaf(&ObjectRelease { object });
                    return Err(errno);
                }
                What::Memory(Memory::new(object, size, by.pid))
            }
        };
        self.sysv.insert(id, Object { key, permissions: Permissions::new(by, flags), what });
        Ok(Answer::reply(&Got { id }))
    }

    fn status(&mut self, cx: &mut Cx<'_>, _: Client, it: GetStatus) -> Result<Answer, Errno> {
        let object = self.sysv.get(cx, it.kind, it.id)?;
        if !it.any {
            object.permissions.check(it.by, READ)?;
        }
        Ok(Answer::reply(&object.status(&self.files)))
    }

    fn set_status(&mut self, cx: &mut Cx<'_>, _: Client, it: SetStatus) -> Result<Answer, Errno> {
        self.sysv.heard(cx, it.by);
        let object = self.sysv.get(cx, it.kind, it.id)?;
        object.permissions.check_owner(it.by)?;
        if let What::Messages(queue) = &mut object.what {
            if it.size > QUEUE_BYTES_MAX || it.size > QUEUE_BYTES && it.by.uid != 0 {
                return Err(Errno::EPERM);
            }
            queue.room = it.size;
        }
        object.permissions.change(it.by, (it.uid, it.gid, it.mode));
        if let What::Messages(queue) = &mut object.what {
            queue.pump(cx);
        }
        Ok(Answer::reply(&()))
    }

    fn remove_object(&mut self, cx: &mut Cx<'_>, _: Client, it: Remove) -> Result<Answer, Errno> {
        self.sysv.heard(cx, it.by);
        self.sysv.get(cx, it.kind, it.id)?.permissions.check_owner(it.by)?;
        self.sysv.remove(cx, &self.files, it.kind, it.id);
        Ok(Answer::reply(&()))
    }

    fn operate(&mut self, cx: &mut Cx<'_>, from: Client, it: Operate) -> Result<Answer, Errno> {
        let Operate { id, ops, undo, by } = it;
        if ops.is_empty() {
            return Err(Errno::EINVAL);
        }
        if ops.len() > SEMOPS_MAX {
            return Err(Errno::E2BIG);
        }
        if let Some(file) = undo {
            let open = self.files.get(file, node_of(cx, from))?;
            if open.kind != FileKind::Sysv(Held::Undo(id)) {
                return Err(Errno::EBADF);
            }
        }
        self.sysv.heard(cx, by);
        let (set, permissions) = self.sysv.set(cx, id)?;
        let changes = ops.iter().any(|op| op.value != 0);
        permissions.check(by, if changes { WRITE } else { READ })?;
        // What is to be undone is written down.
        if self.files.short && undo.is_some() {
            return Err(Errno::ENOMEM);
        }
        let call = Operation { ops, undo, pid: by.pid };
        if set.operate(cx, &call, by.now_s)? {
            return Ok(Answer::reply(&()));
        }
        if self.files.short {
            return Err(Errno::ENOMEM);
        }
        let ticket = cx.open_ticket(from)?;
        set.wait(ticket, node_of(cx, from), call);
        Ok(Answer::Pending(ticket))
    }

    fn undo_open(&mut self, cx: &mut Cx<'_>, from: Client, it: UndoOpen) -> Result<Answer, Errno> {
        self.sysv.set(cx, it.id)?.1.check(it.by, WRITE)?;
        self.files.check_room(1)?;
        let file = self.files.new_id_in(cx, id::slot(it.id))?;
        self.files.open(file, node_of(cx, from), FileKind::Sysv(Held::Undo(it.id)), 0);
        Ok(Answer::reply(&UndoOpened { file }))
    }

    fn sem_read(&mut self, cx: &mut Cx<'_>, _: Client, it: SemRead) -> Result<Answer, Errno> {
        let (set, permissions) = self.sysv.set(cx, it.id)?;
        permissions.check(it.by, READ)?;
        Ok(Answer::reply(&SemValues(set.read(it.about)?)))
    }

    fn sem_write(&mut self, cx: &mut Cx<'_>, _: Client, it: SemWrite) -> Result<Answer, Errno> {
        let SemWrite { id, number, values, by } = it;
        self.sysv.heard(cx, by);
        let (set, permissions) = self.sysv.set(cx, id)?;
        permissions.check(by, WRITE)?;
        set.write(cx, number, &values, by.pid)?;
        permissions.changed_s = by.now_s;
        Ok(Answer::reply(&()))
    }

    fn attach(&mut self, cx: &mut Cx<'_>, from: Client, it: Attach) -> Result<Answer, Errno> {
        let Attach { id, write, by } = it;
        match place(cx, from, id::slot(id)) {
            Place::Here => {}
            Place::There(home) => return self.forward_attach(cx, from, home, it),
            Place::Answer(answer) => return Ok(answer),
        }
        self.sysv.heard(cx, by);
        let (memory, permissions) = self.sysv.memory(cx, id)?;
        permissions.check(by, if write { READ | WRITE } else { READ })?;
        self.files.check_room(1)?;
        let file = self.files.new_id_in(cx, id::slot(id))?;
        let (node, object, bytes) = (node_of(cx, from), memory.object, memory.bytes);
        cx.leaf(&ObjectHold { object, node })?;
        self.files.open(file, node, FileKind::Sysv(Held::Attachment(id)), 0);
        memory.attachments.insert(file);
        (memory.times_s[0], memory.pids[1]) = (by.now_s, by.pid);
        Ok(Answer::reply(&Attached { file, object, bytes }))
    }

    fn list_all(&mut self, cx: &mut Cx<'_>, from: Client, it: List) -> Result<Answer, Errno> {
        local_only(from)?;
        let here = self.sysv.list(it.kind, it.after).0;
        let me = cx.node();
        let others: Vec<NodeId> =
            cx.view().members().iter().copied().filter(|node| *node != me).collect();
        if others.is_empty() {
            return Ok(Answer::reply(&merged(here)));
        }
        self.gather(cx, from, &others, &ListHere { kind: it.kind, after: it.after }, here)
    }

    fn send_message(&mut self, cx: &mut Cx<'_>, from: Client, it: Send) -> Result<Answer, Errno> {
        let Send { id, kind, flags, space, addr, len, by } = it;
        local_only(from)?;
        if len > MESSAGE_BYTES_MAX as u64 || kind <= 0 {
            return Err(Errno::EINVAL);
        }
        let mut text = vec![0; len as usize];
        if len > 0 {
            cx.leaf_bulk(&CopyIn { space, addr, len }, &mut Bulk::new(&mut text))?;
        }
        let request = SendText { id, kind, flags, by };
        match place(cx, from, id::slot(id)) {
            Place::Here => self.send_text(cx, from, request, text),
            Place::There(home) => self.forward_with(cx, from, home, &request, text),
            Place::Answer(answer) => Ok(answer),
        }
    }

    fn send_text(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        it: SendText,
        text: Vec<u8>,
    ) -> Result<Answer, Errno> {
        let SendText { id, kind, flags, by } = it;
        if let Place::Answer(answer) = place(cx, from, id::slot(id)) {
            return Ok(answer);
        }
        if text.len() > MESSAGE_BYTES_MAX || kind <= 0 {
            return Err(Errno::EINVAL);
        }
        if self.files.short {
            return Err(Errno::ENOMEM);
        }
        let kept = self.sysv.kept_bytes();
        self.sysv.heard(cx, by);
        let (queue, permissions) = self.sysv.queue(cx, id)?;
        permissions.check(by, WRITE)?;
        let Some(message) = queue.send(cx, Message { kind, text }, flags & NOWAIT != 0, by) else {
            return Ok(Answer::reply(&()));
        };
        if flags & NOWAIT != 0 {
            return Err(Errno::EAGAIN);
        }
        if kept + message.text.len() > KEPT_BYTES_MAX {
            return Err(Errno::ENOMEM);
        }
        let ticket = cx.open_ticket(from)?;
        queue.wait_to_send((ticket, node_of(cx, from)), message, by.pid);
        Ok(Answer::Pending(ticket))
    }

    fn receive_message(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        it: Receive,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let Receive { id, wanted, space, addr, by } = it;
        local_only(from)?;
        let request = ReceiveText { id, wanted, by };
        match place(cx, from, id::slot(id)) {
            Place::Here => {
                self.receive_message_here(cx, from, request, Target::Program { space, addr }, bulk)
            }
            Place::There(home) => {
                // So that the message, once taken, has a place.
                let len = TYPE_BYTES + wanted.len.min(MESSAGE_BYTES_MAX as u64);
                cx.leaf(&Prepare { space, addr, len, access: Access::Write })?;
                self.forward_receive(cx, from, home, &request, (space, addr))
            }
            Place::Answer(answer) => Ok(answer),
        }
    }

    fn receive_message_here(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        it: ReceiveText,
        target: Target,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let ReceiveText { id, wanted, by } = it;
        if let Place::Answer(answer) = place(cx, from, id::slot(id)) {
            return Ok(answer);
        }
        self.sysv.heard(cx, by);
        let (queue, permissions) = self.sysv.queue(cx, id)?;
        permissions.check(by, READ)?;
        if let Some(Taken { text, data }) = queue.receive(cx, (wanted, target), by)? {
            if !data.is_empty() {
                bulk.set(&data)?;
            }
            return Ok(Answer::reply(&Moved { bytes: text }));
        }
        if wanted.flags & NOWAIT != 0 {
            return Err(Errno::ENOMSG);
        }
        if self.files.short {
            return Err(Errno::ENOMEM);
        }
        let ticket = cx.open_ticket(from)?;
        queue.wait_to_receive((ticket, node_of(cx, from)), (wanted, target), by.pid);
        Ok(Answer::Pending(ticket))
    }

    fn give_message_back(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        it: GiveBack,
        bulk: &Bulk<'_>,
    ) -> Result<Answer, Errno> {
        if let Place::Answer(answer) = place(cx, from, id::slot(it.id)) {
            return Ok(answer);
        }
        let message = Message::parse(bulk.data())?;
        self.sysv.queue(cx, it.id)?.0.give_back(cx, message)?;
        Ok(Answer::reply(&()))
    }
}
