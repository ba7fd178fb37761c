// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that move with what lives in them.
//!
//! # Model
//! Both ends of a pipe are in one slot. What moves is the bytes, counters, sockets and their names, the
//! descriptions and who holds them. Calls
//! that wait are sent away first: they come again, and wait at the host until the next view. A terminal is
//! of its node, so a slot with descriptions of it stays, and so does one with shared memory, or with more bytes
//! than [`SLOT_BYTES_MAX`].

use crate::Ipc;
use crate::epoll;
use crate::event::{self, Counter};
use crate::files::{Kind, OpenFile, PipeNo};
use crate::home_of;
use crate::limits::{
    COUNTERS_MAX, EPOLLS_MAX, NAMES_MAX, PIPE_BYTES, PIPES_MAX, RETURNED_BYTES_MAX, SOCKETS_MAX,
    TIMERS_MAX, WATCHED_MAX,
};
use crate::pipe::{End, Pipe, Saved};
use crate::socket::names::{Key, Named};
use crate::socket::saved;
use crate::sysv::{self, Held};
use crate::timer::{self, Timer};
use abi::{Errno, FileId, NodeId, SlotNo};
use alloc::vec::Vec;
use cluster::View;
use ipc_api::FifoOpen;
use ipc_api::between::{
    Claim, Deliver, Enqueue, Lookup, ReceiveFor, Refuse, Register, Return, SendFrom, Unregister,
};
use ipc_api::epoll::{EpollAgain, EpollControl, EpollWait, Nest, Watch};
use ipc_api::file::{
    FileStat, GetFlags, Hold, Ioctl, Poll, PollWait, Read, Release, SetFlags, TerminalRead, Write,
};
use ipc_api::peer::{PutBack, ReadFrom, WriteTo};
use ipc_api::socket::{
    Accept, Bind, Connect, GetName, GetOption, Listen, NAME_BYTES, Name, Receive, Send, SetOption,
    Shutdown,
};
use ipc_api::timer::{TimerGet, TimerSet};
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
    listener: Option<FileId>,
}

/// All that lives in a slot.
#[derive(Serialize, Deserialize)]
struct State {
    pipes: Vec<Saved>,
    counters: Vec<event::Saved>,
    sockets: Vec<saved::Saved>,
    names: Vec<(Key, Named)>,
    files: Vec<SavedFile>,
    epolls: Vec<epoll::saved::Saved>,
    timers: Vec<timer::Saved>,
    sysv: sysv::Saved,
}

impl State {
    /// Whether it can be the state of a slot.
    fn is_sound(&self, slot: SlotNo) -> bool {
        let Self { pipes, counters, sockets, names, files, epolls, timers, sysv } = self;
        let pipe_sound = |pipe: &Saved| {
            pipe.read_end.slot() == slot
                && pipe.inode.is_none_or(|inode| inode.slot() == slot)
                && pipe.bytes.len() <= PIPE_BYTES + RETURNED_BYTES_MAX
        };
        let file_sound = |file: &SavedFile| {
            file.id.slot() == slot
                && match file.kind {
                    Kind::Pipe { pipe, end } => {
                        let found = pipes.iter().find(|it| PipeNo(it.read_end) == pipe);
                        found.is_some_and(|it| {
                            // Other ids than its own name those who have a FIFO open.
                            let named = file.id == pipe.0;
                            let unnamed = end != End::Both && (end == End::Read) == named;
                            if it.inode.is_some() { !named } else { unnamed }
                        })
                    }
                    Kind::Counter => counters.iter().any(|counter| counter.file == file.id),
                    Kind::Socket => sockets.iter().any(|socket| socket.file == file.id),
                    Kind::Signals => true,
                    Kind::Timer => timers.iter().any(|timer| timer.file == file.id),
                    Kind::Epoll => epolls.iter().any(|epoll| epoll.file == file.id),
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
        let socket_sound = |socket: &saved::Saved| {
            socket.is_sound(sockets) && files.iter().any(|file| file.id == socket.file)
        };
        let epoll_sound = |epoll: &epoll::saved::Saved| {
            epoll.is_sound() && files.iter().any(|file| file.id == epoll.file)
        };
        sysv.is_sound(slot, is_undo)
            && epolls.iter().all(epoll_sound)
            && timers.iter().all(|it| files.iter().any(|file| file.id == it.file))
            && distinct(timers.iter().map(|timer| timer.file))
            && distinct(epolls.iter().map(|epoll| epoll.file))
            && sockets.iter().all(socket_sound)
            && distinct(sockets.iter().map(|socket| socket.file))
            && names.iter().all(|(key, _)| key.slot() == slot && key.0.len() <= NAME_BYTES + 1)
            && pipes.iter().all(pipe_sound)
            && counters.iter().all(counter_sound)
            && files.iter().all(file_sound)
            && distinct(files.iter().map(|file| file.id))
            && distinct(pipes.iter().map(|pipe| pipe.read_end))
            && distinct(counters.iter().map(|counter| counter.file))
    }
}

/// Whether no two are the same.
pub(crate) fn distinct<T: Ord>(all: impl Iterator<Item = T>) -> bool {
    let mut all: Vec<T> = all.collect();
    let before = all.len();
    all.sort_unstable();
    all.dedup();
    all.len() == before
}

/// What an operation is about.
enum About {
    File(FileId),
    /// A name of a socket.
    Name(SlotNo),
    Nothing,
}

/// What an operation is about.
fn about(op: u16, msg: &Msg) -> Result<About, Errno> {
    let name = |name: &Name, kind| Ok(About::Name(Key::of(name, kind)?.slot()));
    Ok(About::File(match op {
        Register::NUMBER => {
            let Register { name: it, kind, .. } = Register::get(msg)?;
            return name(&it, kind);
        }
        FifoOpen::NUMBER => return Ok(About::Name(FifoOpen::get(msg)?.inode.slot())),
        Unregister::NUMBER => {
            let Unregister { name: it, kind, .. } = Unregister::get(msg)?;
            return name(&it, kind);
        }
        Lookup::NUMBER => {
            let Lookup { name: it, kind } = Lookup::get(msg)?;
            return name(&it, kind);
        }
        Bind::NUMBER => Bind::get(msg)?.file,
        Listen::NUMBER => Listen::get(msg)?.file,
        Connect::NUMBER => Connect::get(msg)?.file,
        Accept::NUMBER => Accept::get(msg)?.file,
        Send::NUMBER => Send::get(msg)?.file,
        Receive::NUMBER => Receive::get(msg)?.file,
        GetName::NUMBER => GetName::get(msg)?.file,
        Shutdown::NUMBER => Shutdown::get(msg)?.file,
        GetOption::NUMBER => GetOption::get(msg)?.file,
        SetOption::NUMBER => SetOption::get(msg)?.file,
        SendFrom::NUMBER => SendFrom::get(msg)?.file,
        ReceiveFor::NUMBER => ReceiveFor::get(msg)?.file,
        Return::NUMBER => Return::get(msg)?.file,
        Enqueue::NUMBER => Enqueue::get(msg)?.listener,
        Claim::NUMBER => Claim::get(msg)?.end,
        Refuse::NUMBER => Refuse::get(msg)?.end,
        Deliver::NUMBER => Deliver::get(msg)?.to,
        TerminalRead::NUMBER => TerminalRead::get(msg)?.file,
        Ioctl::NUMBER => Ioctl::get(msg)?.file,
        ReadFrom::NUMBER => ReadFrom::get(msg)?.file,
        Read::NUMBER => Read::get(msg)?.file,
        Write::NUMBER => Write::get(msg)?.file,
        WriteTo::NUMBER => WriteTo::get(msg)?.file,
        TimerSet::NUMBER => TimerSet::get(msg)?.file,
        TimerGet::NUMBER => TimerGet::get(msg)?.file,
        EpollControl::NUMBER => EpollControl::get(msg)?.epoll,
        EpollWait::NUMBER => EpollWait::get(msg)?.file,
        EpollAgain::NUMBER => EpollAgain::get(msg)?.file,
        Watch::NUMBER => Watch::get(msg)?.file,
        Nest::NUMBER => Nest::get(msg)?.file,
        PutBack::NUMBER => PutBack::get(msg)?.file,
        Poll::NUMBER => Poll::get(msg)?.file,
        PollWait::NUMBER => PollWait::get(msg)?.file,
        FileStat::NUMBER => FileStat::get(msg)?.file,
        GetFlags::NUMBER => GetFlags::get(msg)?.file,
        SetFlags::NUMBER => SetFlags::get(msg)?.file,
        Hold::NUMBER => Hold::get(msg)?.file,
        Release::NUMBER => Release::get(msg)?.file,
        _ => return Ok(About::Nothing),
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
    let (home, slot) = match about(op, msg)? {
        About::File(file) => match home_of(cx, file) {
            Ok(home) => (home, file.slot()),
            // What is lost is for the operation to say.
            Err(_) => return Ok(None),
        },
        About::Name(slot) => (cx.view().home(slot), slot),
        About::Nothing => return Ok(None),
    };
    Ok(match from {
        _ if home == cx.node() => cx.is_frozen(slot).then_some(Answer::NextView),
        Client::Node { .. } => Some(Answer::Moved(slot)),
        Client::Server { .. } => None,
    })
}

impl Ipc {
    /// Bytes in the slot's pipes, sockets and queues.
    pub(crate) fn bytes_in(&self, slot: SlotNo) -> usize {
        let in_slot = self.pipes.iter().filter(|(number, _)| number.0.slot() == slot);
        let in_pipes = in_slot.map(|(_, pipe)| pipe.len()).sum::<usize>();
        in_pipes + self.queued_in(slot) + self.sysv.bytes_in(slot)
    }

    /// Whether these alone are more than is moved: they go with all else at once.
    pub(crate) fn has_too_much(&self, slot: SlotNo) -> bool {
        self.bytes_in(slot) > SLOT_BYTES_MAX
    }

    pub(crate) fn export_slot(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        if self.has_too_much(slot) || self.has_jobs_in(slot) || self.has_adding_in(slot) {
            return Export::Stays;
        }
        self.send_openings_away(cx, slot);
        let mut files = Vec::new();
        for (id, file) in self.files.in_slot(slot) {
            if file.kind == Kind::Terminal {
                return Export::Stays;
            }
            let holders = file.holders.iter().map(|(node, count)| (*node, *count)).collect();
            let (kind, flags, listener) = (file.kind, file.flags, file.listener);
            files.push(SavedFile { id, kind, flags, holders, listener });
        }
        let Some(sysv) = self.sysv.save(cx, slot) else { return Export::Stays };
        let names = self.names.iter().filter(|(key, _)| key.slot() == slot);
        let names: Vec<_> = names.map(|(key, it)| (key.clone(), *it)).collect();
        if files.is_empty() && names.is_empty() && sysv.is_empty() {
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
        let sockets = self.save_sockets(cx, slot);
        let mut timers = Vec::new();
        for (_, timer) in self.timers.iter_mut().filter(|(file, _)| file.slot() == slot) {
            timer.send_away(cx, Errno::ERESTART);
            timers.push(timer.saved(cx));
        }
        self.send_watches_away(cx, slot);
        let epolls = self.save_epolls(cx, slot);
        encode_head(&State { pipes, counters, sockets, names, files, epolls, timers, sysv })
            .map_or(Export::Stays, Export::State)
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
        let State { pipes, counters, sockets, names, files, epolls, timers, sysv } =
            self.sound(slot, state)?;
        self.sysv.check_room(&sysv)?;
        self.files.check_room(files.len())?;
        if self.timers.len() + timers.len() > TIMERS_MAX {
            return Err(Errno::ENFILE);
        }
        let watched = self.epolls.values().map(|epoll| epoll.items.len());
        let coming = epolls.iter().map(epoll::saved::Saved::len);
        if self.epolls.len() + epolls.len() > EPOLLS_MAX
            || watched.sum::<usize>() + coming.sum::<usize>() > WATCHED_MAX
        {
            return Err(Errno::ENFILE);
        }
        if self.counters.len() + counters.len() > COUNTERS_MAX
            || self.sockets.len() + sockets.len() > SOCKETS_MAX
            || self.names.len() + names.len() > NAMES_MAX
        {
            return Err(Errno::ENFILE);
        }
        if self.pipes.len() + pipes.len() > PIPES_MAX { Err(Errno::ENFILE) } else { Ok(()) }
    }

    pub(crate) fn import_slot(&mut self, cx: &mut Cx<'_>, old: &View, slot: SlotNo, state: &[u8]) {
        // It was admitted; that there is less room by now is no reason to lose it.
        let Ok(State { pipes, counters, sockets, names, files, epolls, timers, sysv }) =
            self.sound(slot, state)
        else {
            return;
        };
        for saved in &pipes {
            let number = PipeNo(saved.read_end);
            self.pipes.insert(number, Pipe::restored(saved));
            if let Some(inode) = saved.inode {
                self.fifos.insert(inode, number);
            }
        }
        for saved in &counters {
            self.counters.insert(saved.file, Counter::restored(saved));
        }
        for saved in &timers {
            self.timers.insert(saved.file, Timer::restored(cx, saved));
        }
        self.arm_timers(cx);
        for saved in epolls {
            self.epolls.insert(saved.file, saved.restored());
        }
        self.sysv.restore(sysv);
        for saved in sockets {
            self.sockets.insert(saved.file, saved.restored());
        }
        self.names.extend(names);
        for SavedFile { id, kind, flags, holders, listener } in files {
            // Who left with this view holds nothing any more.
            let stays = |node| old.keeps(cx.view(), node);
            if let Kind::Pipe { pipe, end } = kind
                && let Some(pipe) = self.pipes.get_mut(&pipe)
            {
                pipe.count(end);
            }
            let holders = holders.into_iter().filter(|(node, _)| stays(*node)).collect();
            self.files.insert(id, OpenFile { kind, flags, holders, listener });
        }
        for (file, kind) in self.files.drop_unheld() {
            self.closed(cx, file, kind);
        }
    }

    pub(crate) fn forget_slot(&mut self, slot: SlotNo) {
        self.files.forget_slot(slot);
        self.pipes.retain(|pipe, _| pipe.0.slot() != slot);
        self.fifos.retain(|inode, _| inode.slot() != slot);
        self.counters.retain(|file, _| file.slot() != slot);
        self.sysv.forget_slot(slot);
        self.timers.retain(|file, _| file.slot() != slot);
        self.epolls.retain(|file, _| file.slot() != slot);
        self.watchers.retain(|source, _| !crate::watch::is_of(*source, slot));
        self.sockets.retain(|file, _| file.slot() != slot);
        self.names.retain(|key, _| key.slot() != slot);
    }
}
