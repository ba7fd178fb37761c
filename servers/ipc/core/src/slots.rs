// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that move with what lives in them.
//!
//! # Model
//! Both ends of a pipe are in one slot. What moves is the bytes, counters, the descriptions and who holds them. Calls
//! that wait are sent away first: they come again, and wait at the host until the next view. A terminal is
//! of its node, so a slot with descriptions of it stays, and so does one with shared memory, or with more bytes
//! than [`SLOT_BYTES_MAX`].

use crate::Ipc;
use crate::event::{self, Counter};
use crate::files::{Kind, OpenFile, PipeNo};
use crate::home_of;
use crate::limits::{COUNTERS_MAX, PIPE_BYTES, PIPES_MAX, RETURNED_BYTES_MAX};
use crate::pipe::{End, Pipe, Saved};
use crate::sysv::{self, Held};
use abi::{Errno, FileId, NodeId, SlotNo};
use alloc::vec::Vec;
use cluster::View;
use ipc_api::file::{
    FileStat, GetFlags, Hold, Ioctl, Poll, PollWait, Read, Release, SetFlags, TerminalRead, Write,
};
use ipc_api::peer::{PutBack, ReadFrom, WriteTo};
use runtime::limits::SLOT_BYTES_MAX;
use runtime::{Answer, Client, Cx, Export, Msg, Operation, Wire, encode_head};
use serde::{Deserialize, Serialize};

/// A description on its way.
#[derive(Serialize, Deserialize)]
struct SavedFile {
    id: FileId,
    kind: Kind,
    flags: u32,
    holders: Vec<(NodeId, u32)>,
}

/// All that lives in a slot.
#[derive(Serialize, Deserialize)]
struct State {
    pipes: Vec<Saved>,
    counters: Vec<event::Saved>,
    files: Vec<SavedFile>,
    sysv: sysv::Saved,
}

impl State {
    /// Whether it can be the state of a slot.
    fn is_sound(&self, slot: SlotNo) -> bool {
        let Self { pipes, counters, files, sysv } = self;
        let pipe_sound = |pipe: &Saved| {
            pipe.read_end.slot() == slot && pipe.bytes.len() <= PIPE_BYTES + RETURNED_BYTES_MAX
        };
        let file_sound = |file: &SavedFile| {
            file.id.slot() == slot
                && match file.kind {
                    Kind::Pipe { pipe, end } => {
                        pipes.iter().any(|it| PipeNo(it.read_end) == pipe)
                            && (end == End::Read) == (file.id == pipe.0)
                    }
                    Kind::Counter => counters.iter().any(|counter| counter.file == file.id),
                    // Its semaphores may be removed already.
                    Kind::Sysv(Held::Undo(_)) => true,
                    Kind::Terminal | Kind::Sysv(Held::Attachment(_)) => false,
                }
        };
        let counter_sound = |counter: &event::Saved| {
            counter.is_sound() && files.iter().any(|file| file.id == counter.file)
        };
        let is_undo = |id: FileId, set: u32| {
            files.iter().any(|file| file.id == id && file.kind == Kind::Sysv(Held::Undo(set)))
        };
        sysv.is_sound(slot, is_undo)
            && pipes.iter().all(pipe_sound)
            && counters.iter().all(counter_sound)
            && files.iter().all(file_sound)
            && distinct(files.iter().map(|file| file.id))
            && distinct(pipes.iter().map(|pipe| pipe.read_end))
            && distinct(counters.iter().map(|counter| counter.file))
    }
}

fn distinct(ids: impl Iterator<Item = FileId>) -> bool {
    let mut ids: Vec<FileId> = ids.collect();
    let before = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ids.len() == before
}

/// The file that an operation is about.
fn file_of(op: u16, msg: &Msg) -> Result<Option<FileId>, Errno> {
    Ok(Some(match op {
        TerminalRead::NUMBER => TerminalRead::get(msg)?.file,
        Ioctl::NUMBER => Ioctl::get(msg)?.file,
        ReadFrom::NUMBER => ReadFrom::get(msg)?.file,
        Read::NUMBER => Read::get(msg)?.file,
        Write::NUMBER => Write::get(msg)?.file,
        WriteTo::NUMBER => WriteTo::get(msg)?.file,
        PutBack::NUMBER => PutBack::get(msg)?.file,
        Poll::NUMBER => Poll::get(msg)?.file,
        PollWait::NUMBER => PollWait::get(msg)?.file,
        FileStat::NUMBER => FileStat::get(msg)?.file,
        GetFlags::NUMBER => GetFlags::get(msg)?.file,
        SetFlags::NUMBER => SetFlags::get(msg)?.file,
        Hold::NUMBER => Hold::get(msg)?.file,
        Release::NUMBER => Release::get(msg)?.file,
        _ => return Ok(None),
    }))
}

/// The answer to a call that is not performed here and now: the file's slot is about to move, or a node
/// asks here that ought to ask another.
pub(crate) fn elsewhere(
    cx: &Cx<'_>,
    from: Client,
    op: u16,
    msg: &Msg,
) -> Result<Option<Answer>, Errno> {
    let Some(file) = file_of(op, msg)? else { return Ok(None) };
    // What is lost is for the operation to say.
    let Ok(home) = home_of(cx, file) else { return Ok(None) };
    Ok(match from {
        _ if home == cx.node() => cx.is_frozen(file.slot()).then_some(Answer::NextView),
        Client::Node { .. } => Some(Answer::Moved(file.slot())),
        Client::Server { .. } => None,
    })
}

impl Ipc {
    /// Whether the bytes in the slot's pipes and queues alone are more than is moved: they go with all else at once.
    pub(crate) fn has_too_much(&self, slot: SlotNo) -> bool {
        let in_slot = self.pipes.iter().filter(|(number, _)| number.0.slot() == slot);
        let in_pipes = in_slot.map(|(_, pipe)| pipe.len()).sum::<usize>();
        in_pipes + self.sysv.bytes_in(slot) > SLOT_BYTES_MAX
    }

    pub(crate) fn export_slot(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        if self.has_too_much(slot) {
            return Export::Stays;
        }
        let mut files = Vec::new();
        for (id, file) in self.files.in_slot(slot) {
            if file.kind == Kind::Terminal {
                return Export::Stays;
            }
            let holders = file.holders.iter().map(|(node, count)| (*node, *count)).collect();
            files.push(SavedFile { id, kind: file.kind, flags: file.flags, holders });
        }
        let Some(sysv) = self.sysv.save(cx, slot) else { return Export::Stays };
        if files.is_empty() && sysv.is_empty() {
            return Export::Nothing;
        }
        let mut pipes = Vec::new();
        for (_, pipe) in self.pipes.iter_mut().filter(|(number, _)| number.0.slot() == slot) {
            pipe.send_away(cx);
            pipes.push(pipe.saved());
        }
        let mut counters = Vec::new();
        for (file, counter) in self.counters.iter_mut().filter(|(file, _)| file.slot() == slot) {
            counter.send_away(cx, Errno::ERESTART);
            counters.push(counter.saved(*file));
        }
        encode_head(&State { pipes, counters, files, sysv }).map_or(Export::Stays, Export::State)
    }

    /// What another node says lives in the slot, if it can be.
    fn sound(&self, slot: SlotNo, state: &[u8]) -> Result<State, Errno> {
        let state: State = postcard::from_bytes(state).map_err(|_| Errno::EPROTO)?;
        let is_new = |id: FileId| !self.files.contains(id);
        let pipes_new = state.pipes.iter().all(|it| !self.pipes.contains_key(&PipeNo(it.read_end)));
        let sound = state.is_sound(slot)
            && state.files.iter().all(|file| is_new(file.id))
            && pipes_new
            && self.sysv.is_new(&state.sysv);
        if sound { Ok(state) } else { Err(Errno::EPROTO) }
    }

    /// Whether there is room for it, too.
    pub(crate) fn admits_slot(&self, slot: SlotNo, state: &[u8]) -> Result<(), Errno> {
        let State { pipes, counters, files, sysv } = self.sound(slot, state)?;
        self.sysv.check_room(&sysv)?;
        self.files.check_room(files.len())?;
        if self.counters.len() + counters.len() > COUNTERS_MAX {
            return Err(Errno::ENFILE);
        }
        if self.pipes.len() + pipes.len() > PIPES_MAX { Err(Errno::ENFILE) } else { Ok(()) }
    }

    pub(crate) fn import_slot(&mut self, cx: &mut Cx<'_>, old: &View, slot: SlotNo, state: &[u8]) {
        // It was admitted; that there is less room by now is no reason to lose it.
        let Ok(State { pipes, counters, files, sysv }) = self.sound(slot, state) else { return };
        for saved in &pipes {
            self.pipes.insert(PipeNo(saved.read_end), Pipe::restored(saved));
        }
        for saved in &counters {
            self.counters.insert(saved.file, Counter::restored(saved));
        }
        self.sysv.restore(sysv);
        for SavedFile { id, kind, flags, holders } in files {
            // Who left with this view holds nothing any more.
            let stays = |node| old.keeps(cx.view(), node);
            let holders = holders.into_iter().filter(|(node, _)| stays(*node)).collect();
            self.files.insert(id, OpenFile { kind, flags, holders });
        }
        for (file, kind) in self.files.drop_unheld() {
            self.closed(cx, file, kind);
        }
    }

    pub(crate) fn forget_slot(&mut self, slot: SlotNo) {
        self.files.forget_slot(slot);
        self.pipes.retain(|pipe, _| pipe.0.slot() != slot);
        self.counters.retain(|file, _| file.slot() != slot);
        self.sysv.forget_slot(slot);
    }
}
